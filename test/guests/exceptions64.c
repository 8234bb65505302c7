/*
 * What IA-32e mode adds to exceptions32.c: 4-level paging with NX, protection keys, pages of 1 GiB and reserved
 * bits; process-context identifiers; addresses that are not canonical; UMIP; debug registers of 64 bits, BTF; single steps
 * through SYSCALL and SYSRET. SDM volume 3, chapters 5, 7 and 19.
 */
#include "cases64.h"

static void extend(void) {}

/* --- paging: accesses to `place` */
u64 place;
CASE(read_place, "mov place, %%rbx", "mov (%%rbx), %%eax")
CASE(write_place, "mov place, %%rbx", "mov %%eax, (%%rbx)")
static void jump_place(void) { ((void (*)(void))place)(); }

static void page(int ring, int what, int read, int write, int fetch) {
  place = PAGE(what) + 8;
  *(volatile u8 *)(PAGE(what) % (1 << 26) + 8) = 0xc3;
  u64 keep = 0;
  for (int k = 0; k < 3; k++) {
    int code = k == 0 ? read : k == 1 ? write : fetch;
    void (*f)(void) = k == 0 ? read_place : k == 1 ? write_place : jump_place;
    u64 at = k == 0 ? (u64)read_place_at : k == 1 ? (u64)write_place_at : place;
    __asm__ volatile("mov %%cr4, %0" : "=r"(keep));
    expect_at(k == 0 ? "read" : k == 1 ? "write" : "fetch", f, ring, code >= 0 ? 14 : ring ? DONE : NONE, code, at, FAULT, place, 0);
    *(volatile u8 *)(PAGE(what) % (1 << 26) + 8) = 0xc3;
    cr4(keep);
  }
  reset();
}

static void paging_cases(void) {
  page(0, ABSENT, 0, 2, 0x10);
  page(3, ABSENT, 4, 6, 0x14);
  page(0, READ_ONLY, NONE, 3, NONE);
  page(3, READ_ONLY, NONE, 7, NONE);
  page(0, SYSTEM, NONE, NONE, NONE);
  page(3, SYSTEM, 5, 7, 0x15);
  page(3, USER, NONE, NONE, NONE);
  page(0, NO_EXECUTE, NONE, NONE, 0x11);
  page(3, NO_EXECUTE, NONE, NONE, 0x15);
  page(0, RESERVED, 9, 0xb, 0x19);
  page(3, RESERVED, 0xd, 0xf, 0x1d);
  cases++;
  place = HUGE + (u64)variable;
  variable[0] = 0x1234;
  attempt(read_place);
  compare("a page of 1 GiB", "vector", outcome, (u32)NONE);
  pdpt[2] = 0x2087;
  reset();
  pdpt[2] = 0x2087;
  flush();
  EXPECT_PF(read_place, 0, 9, HUGE + (u64)variable);
}

CASE(write_keys, "mov $0x800, %%eax; xor %%ecx, %%ecx; xor %%edx, %%edx", "wrpkru")
CASE(read_keys, "xor %%ecx, %%ecx", "rdpkru")
CASE(keys_of_one, "mov $1, %%ecx", "rdpkru")
static void keys(u32 v) { __asm__ volatile(".byte 0x0f, 0x01, 0xef" ::"a"(v), "c"(0), "d"(0)); }
static void key_cases(void) {
  EXPECT(read_keys, 0, 6, NO_CODE, at, FAULT);
  EXPECT(write_keys, 3, 6, NO_CODE, at, FAULT);
  cr4(CR4 | PKE);
  EXPECT(keys_of_one, 3, 13, 0, at, FAULT);
  cr4(CR4 | PKE);
  EXPECT(write_keys, 3, DONE, 0, at, FAULT); /* key 5: no writes */
  for (int ring = 0; ring <= 3; ring += 3) {
    cr4(CR4 | PKE);
    keys(0x800);
    page(ring, KEY5, NONE, ring ? 0x27 : 0x23, NONE);
    cr4(CR4 | PKE);
    keys(0x400);
    page(ring, KEY5, ring ? 0x25 : 0x21, ring ? 0x27 : 0x23, NONE);
    cr4(CR4 | PKE);
    page(ring, USER, NONE, NONE, NONE);
  }
  cr4(CR4 | PKE);
  keys(0x800);
  cr0(CR0 & ~0x10000ul);
  place = PAGE(KEY5);
  EXPECT(write_place, 0, NONE, 0, at, FAULT);
}

/* --- process-context identifiers */
struct { u64 identifier, linear; } __attribute__((aligned(16))) invalidation;
u64 invalidation_type;
CASE(invpcid, "mov invalidation_type, %%rbx", "invpcid invalidation, %%rbx")
CASE(set_pcide, "mov %%cr4, %%rax; bts $17, %%rax", "mov %%rax, %%cr4")
CASE(paging_off, "mov %%cr0, %%rax; btr $31, %%rax", "mov %%rax, %%cr0")
CASE(high_cr3, "mov %%cr3, %%rax; bts $63, %%rax", "mov %%rax, %%cr3")
static void invalidate(u64 type, u64 identifier, u64 linear, int vector) {
  cr4(CR4 | PCIDE);
  invalidation_type = type; invalidation.identifier = identifier; invalidation.linear = linear;
  EXPECT(invpcid, 0, vector, 0, at, FAULT);
}
static void context_cases(void) {
  cr3((u64)pml4 | 8);
  EXPECT(set_pcide, 0, 13, 0, at, FAULT);
  EXPECT(set_pcide, 0, NONE, 0, at, FAULT);
  EXPECT(high_cr3, 0, 13, 0, at, FAULT);
  cr4(CR4 | PCIDE);
  EXPECT(high_cr3, 0, NONE, 0, at, FAULT);
  cr4(CR4 | PCIDE);
  EXPECT(paging_off, 0, 13, 0, at, FAULT);
  EXPECT(paging_off, 0, 13, 0, at, FAULT); /* in 64-bit code never */
  for (int type = 0; type < 4; type++) invalidate(type, 0, PAGE(USER), NONE);
  invalidate(4, 0, 0, 13);
  invalidate(0, 0x1000, 0, 13);
  invalidate(0, 5, 0x800000000000, 13);
  invalidate(2, 0, 0x800000000000, NONE);
  invalidation_type = 1; invalidation.identifier = 5; invalidation.linear = 0;
  EXPECT(invpcid, 0, 13, 0, at, FAULT); /* without CR4.PCIDE only 0 */
  EXPECT(invpcid, 3, 13, 0, at, FAULT);
  /* A page's entry is changed; INVPCID and INVLPG make the change seen. */
  for (int type = 0; type < 3; type++) {
    cr4(CR4 | PCIDE);
    place = PAGE(USER);
    *(volatile u32 *)place;
    small[USER] = 0;
    invalidation_type = type; invalidation.identifier = 0; invalidation.linear = place;
    attempt(invpcid);
    EXPECT_PF(read_place, 0, 0, PAGE(USER));
  }
}

/* --- addresses that are not canonical, and alignment */
CASE(read_hole, "mov $0x800000000000, %%rbx", "mov (%%rbx), %%eax")
CASE(read_stack_hole, "mov $0x800000000000, %%rbp", "mov (%%rbp), %%eax")
CASE(push_hole, "mov $0x800000000008, %%rsp", "push %%rax")
CASE(jump_hole, "mov $0x800000000000, %%rbx", "jmp *%%rbx")
CASE(call_hole, "mov $0x800000000000, %%rbx", "call *%%rbx")
CASE(base_hole, "mov $0x800000000000, %%rbx", "wrgsbase %%rbx")
CASE(msr_hole, "mov $0xc0000082, %%ecx; xor %%eax, %%eax; mov $0x8000, %%edx", "wrmsr")
CASE(not_aligned_vector, "mov $variable+8, %%ebx", "movaps (%%rbx), %%xmm0")
CASE(high_cr8, "mov $16, %%eax", "mov %%rax, %%cr8")
CASE(swapgs, "", "swapgs")
CASE(syscall_off, "mov $0xc0000080, %%ecx; mov $0xd00, %%eax; xor %%edx, %%edx; wrmsr", "syscall")
CASE(sysret_user, "", "sysretl")
CASE(smsw, "", "smsw %%eax")
CASE(sldt, "", "sldt %%eax")
CASE(without_base, "", "rdfsbase %%rax")
static void address_cases(void) {
  for (int ring = 0; ring <= 3; ring += 3) {
    EXPECT(read_hole, ring, 13, 0, at, FAULT);
    EXPECT(jump_hole, ring, 13, 0, at, FAULT);
    EXPECT(call_hole, ring, 13, 0, at, FAULT);
    EXPECT(read_stack_hole, ring, 12, 0, at, FAULT);
    EXPECT(push_hole, ring, 12, 0, at, FAULT); /* has a stack of its own */
    EXPECT(not_aligned_vector, ring, 13, 0, at, FAULT);
    EXPECT(without_base, ring, 6, NO_CODE, at, FAULT);
    cr4(CR4 | FSGSBASE);
    EXPECT(base_hole, ring, 13, 0, at, FAULT);
  }
  EXPECT(msr_hole, 0, 13, 0, at, FAULT);
  EXPECT(high_cr8, 0, 13, 0, at, FAULT);
  EXPECT(syscall_off, 0, 6, NO_CODE, at, FAULT);
  EXPECT(swapgs, 3, 13, 0, at, FAULT);
  EXPECT(sysret_user, 3, 13, 0, at, FAULT);
  EXPECT(smsw, 3, DONE, 0, at, FAULT);
  cr4(CR4 | UMIP);
  EXPECT(smsw, 3, 13, 0, at, FAULT);
  cr4(CR4 | UMIP);
  EXPECT(sldt, 3, 13, 0, at, FAULT);
  cr4(CR4 | UMIP);
  EXPECT(sldt, 0, NONE, 0, at, FAULT);
}

/* --- debug */
#define ARM(address, control) "mov $" address ", %%eax; mov %%rax, %%dr0; mov $" control ", %%eax; mov %%rax, %%dr7; "
CASE(at_instruction, ARM("at_instruction_at", "0x402"), "nop")
CASE(data_of_eight, ARM("variable+8", "0x90402"), "movb $1, variable+15")
CASE(data_beyond, ARM("variable+8", "0x90402"), "movb $1, variable+16")
CASE(data_vector, ARM("variable+12", "0xd0402"), "movups %%xmm0, variable")
CASE(single_step, "pushf; orl $0x100, (%%rsp); popf", "nop")
CASE(high_dr7, "mov $0x100000400, %%rax", "mov %%rax, %%dr7")
CASE(branch_step, "mov $0x1d9, %%ecx; mov $2, %%eax; xor %%edx, %%edx; wrmsr; pushf; orl $0x100, (%%rsp); popf; nop; nop; jmp branch_step_at; nop", "nop")
/* SYSCALL and SYSRET with TF set: the target, and the mask. */
CASE(step_syscall, "mov $0xc0000082, %%ecx; mov $step_syscall_end, %%eax; xor %%edx, %%edx; wrmsr; pushf; orl $0x100, (%%rsp); popf", "syscall")
CASE(step_masked_syscall, "mov $0xc0000082, %%ecx; mov $step_masked_target, %%eax; xor %%edx, %%edx; wrmsr; mov $0xc0000084, %%ecx; mov $0x100, %%eax; wrmsr; pushf; orl $0x100, (%%rsp); popf", "syscall; step_masked_target: nop; nop; ud2")
extern u8 step_masked_target[];
CASE(step_sysret, "mov $step_sysret_end, %%ecx; mov $0x102, %%r11d; mov $stack3+6000, %%rsp", "sysretq")
static void debug_cases(void) {
  EXPECT_DB(at_instruction, 0, at, 1);
  EXPECT_DB(data_of_eight, 0, end, 1);
  EXPECT(data_beyond, 0, NONE, 0, at, TRAP);
  EXPECT_DB(data_vector, 0, end, 1);
  EXPECT_DB(single_step, 0, end, 0x4000);
  EXPECT(high_dr7, 0, 13, 0, at, FAULT);
  EXPECT_DB(branch_step, 0, at, 0x4000);
  EXPECT_DB(step_syscall, 0, end, 0x4000);
  expect_at("step_masked_syscall", step_masked_syscall, 0, 6, NO_CODE, (u64)step_masked_target + 2, FAULT, 0, 0);
  begins("step_sysret");
  if (!is_skipped) attempt(step_sysret);
  compare("step_sysret", "vector", outcome, 1);
  compare("step_sysret", "instruction pointer", seen.rip, (u64)step_sysret_end);
  compare("step_sysret", "CPL", seen.cs & 3, 3);
  reset();
}

int main(void) {
  read_command_line();
  reset();
  paging_cases();
  key_cases();
  context_cases();
  address_cases();
  debug_cases();
  u32 status = finish();
  __asm__ volatile("out %0, $0xf4" ::"a"(status));
  return 0;
}
