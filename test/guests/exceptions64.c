/*
 * What IA-32e mode adds to exceptions32.c: 4-level paging with NX, protection keys, pages of 1 GiB and reserved
 * bits; process-context identifiers; addresses that are not canonical; UMIP; debug registers of 64 bits, BTF; single steps
 * through SYSCALL and SYSRET. SDM volume 3, chapters 5, 7 and 19.
 *
 * QEMU 7.2's TCG differs in: RF in the frames of faults; P in the error code of reserved bits; where the fault of a jump
 * to an address that is not canonical is; #SS for such stack addresses; such values in base registers and MSRs, and CR8, which
 * it does not check; BTF, which it does not know. It does not get through the process-context identifiers.
 */
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned char u8;
typedef unsigned long u64;

extern u32 outcome, handler_ss;
extern u64 pml4[512], pdpt[512], pd[512];
extern u8 stubs[];
void attempt(void (*f)(void));

static void put(char c) { __asm__ volatile("outb %0, $0xe9" ::"a"(c)); }
static void print(const char *s) { while (*s) put(*s++); }
static void hex(u64 v) {
  int started = 0;
  for (int i = 60; i >= 0; i -= 4) {
    u32 d = (v >> i) & 15;
    if (d || started || i == 0) { put(d < 10 ? '0' + d : 'a' + d - 10); started = 1; }
  }
}

struct frame { u64 r11, rbx, rdx, rcx, rax, vector, error, rip, cs, rflags, rsp, ss; };
static struct frame seen;
static u64 seen_cr2, seen_dr6;
void record(struct frame *f) {
  seen = *f;
  outcome = f->vector;
  __asm__ volatile("mov %%cr2, %0" : "=r"(seen_cr2));
  __asm__ volatile("mov %%dr6, %0" : "=r"(seen_dr6));
}

enum { CODE0 = 8, DATA0 = 0x10, DATA3 = 0x23, CODE3 = 0x2b, TSS = 0x30 };
static u64 gdt[8] __attribute__((aligned(16))), idt[128] __attribute__((aligned(16)));
static struct { u32 r0; u64 rsp[3], r1, ist[7], r2; u16 r3, map; } __attribute__((packed)) tss __attribute__((aligned(128)));
static u8 stack0[8192] __attribute__((aligned(16))), stack2[8192] __attribute__((aligned(16)));
u8 stack3[8192] __attribute__((aligned(16)));
/* Pages of 4 KiB at 1 GiB + 2 MiB, and how page i of them is mapped; at 2 GiB a page of 1 GiB that is the first 1 GiB. */
static u64 small[512] __attribute__((aligned(4096))), directory1[512] __attribute__((aligned(4096)));
enum { ABSENT, READ_ONLY, SYSTEM, USER, NO_EXECUTE, RESERVED, KEY5, SYSTEM_TOO };
#define PAGE(i) (0x40200000ul + (i) * 0x1000ul)
#define HUGE 0x80000000ul

static u64 descriptor(u32 base, u32 limit, u64 access, u64 flags) {
  return (limit & 0xffff) | ((u64)(base & 0xffffff) << 16) | access << 40 | ((u64)(limit >> 16 & 15) << 48) | flags << 52 | ((u64)(base >> 24) << 56);
}
static void write_msr(u32 index, u64 v) { __asm__ volatile("wrmsr" ::"c"(index), "a"((u32)v), "d"((u32)(v >> 32))); }
static void cr0(u64 v) { __asm__ volatile("mov %0, %%cr0" ::"r"(v)); }
static void cr4(u64 v) { __asm__ volatile("mov %0, %%cr4" ::"r"(v)); }
static void cr3(u64 v) { __asm__ volatile("mov %0, %%cr3" ::"r"(v)); }
enum { CR0 = 0x80010031, CR4 = 0x6b0 /* PSE, PAE, PGE, OSFXSR, OSXMMEXCPT */, DE = 8, UMIP = 1 << 11, FSGSBASE = 1 << 16, PCIDE = 1 << 17, PKE = 1 << 22 };
enum { STAR = 0xc0000081, LSTAR, CSTAR, SFMASK };

static void flush(void) { cr4(CR4 & ~0x80); cr4(CR4); }
static void reset(void) {
  struct { u16 limit; u64 base; } __attribute__((packed)) g = {sizeof gdt - 1, (u64)gdt}, i = {64 * 16 - 1, (u64)idt};
  gdt[1] = descriptor(0, 0xfffff, 0x9a, 0xa);
  gdt[2] = descriptor(0, 0xfffff, 0x92, 0xc);
  gdt[3] = descriptor(0, 0xfffff, 0xfa, 0xc);
  gdt[4] = descriptor(0, 0xfffff, 0xf2, 0xc);
  gdt[5] = descriptor(0, 0xfffff, 0xfa, 0xa);
  gdt[6] = descriptor((u64)&tss, 0x67, 0x89, 0); gdt[7] = 0;
  for (int k = 0; k < 64; k++) {
    u64 offset = (u64)stubs + k * 16;
    idt[k * 2] = (offset & 0xffff) | CODE0 << 16 | (u64)(k == 12 || k == 8) << 32 | (k >= 0x30 ? 0xeeul : 0x8eul) << 40 | (offset >> 16 & 0xffff) << 48;
    idt[k * 2 + 1] = offset >> 32;
  }
  tss.rsp[0] = (u64)stack0 + sizeof stack0;
  tss.ist[0] = (u64)stack2 + sizeof stack2;
  tss.map = sizeof tss;
  small[ABSENT] = 0;
  small[READ_ONLY] = PAGE(READ_ONLY) % (1 << 26) | 5;
  small[SYSTEM] = PAGE(SYSTEM) % (1 << 26) | 3;
  small[USER] = PAGE(USER) % (1 << 26) | 7;
  small[NO_EXECUTE] = PAGE(NO_EXECUTE) % (1 << 26) | 1ul << 63 | 7;
  small[RESERVED] = PAGE(RESERVED) % (1 << 26) | 1ul << 51 | 7;
  small[KEY5] = PAGE(KEY5) % (1 << 26) | 5ul << 59 | 7;
  small[SYSTEM_TOO] = PAGE(SYSTEM_TOO) % (1 << 26) | 3;
  directory1[1] = (u64)small | 7;
  pdpt[1] = (u64)directory1 | 7;
  pdpt[2] = 0x87;
  __asm__ volatile("lgdt %0; lidt %1; push $8; lea 1f(%%rip), %%rax; push %%rax; lretq; 1: mov %2, %%ds; mov %2, %%es; mov %2, %%fs; mov %2, %%gs; mov %2, %%ss; ltr %w3; push $2; popf" ::"m"(g), "m"(i), "r"(DATA0), "r"(TSS) : "rax", "memory");
  cr0(CR0);
  cr4(CR4);
  cr3((u64)pml4);
  flush();
  write_msr(0xc0000080, 0xd01);
  write_msr(STAR, 0x0018000800000000);
  write_msr(SFMASK, 0);
  write_msr(0x1d9, 0);
  __asm__ volatile("mov %0, %%dr7; mov %1, %%dr6" ::"r"(0x400ul), "r"(0xffff0ff0ul));
}

u64 user_flags = 2, variable[4] __attribute__((aligned(32)));
#define CASE(name, before, text) \
  extern u8 name##_at[], name##_end[]; \
  static void name(void) { __asm__ volatile(before "\n.globl " #name "_at, " #name "_end\n" #name "_at: " text "\n" #name "_end: nop" ::: "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r11", "memory"); }

static void (*user_function)(void);
static void user_landing(void) { user_function(); __asm__ volatile("int $0x31"); }
static void enter_user(void) {
  __asm__ volatile("mov %1, %%eax; mov %%eax, %%ds; mov %%eax, %%es; push %1; push $stack3+6000; push user_flags; push %2; push %0; iretq" ::"r"(user_landing), "i"(DATA3), "i"(CODE3) : "rax", "memory");
}

enum { NONE = -1, NO_CODE = 0x5a5a, DONE = 0x31 };
enum { FAULT = 1, TRAP = 0 };
static u32 failures, cases;
static void compare(const char *name, const char *what, u64 got, u64 expected) {
  if (got == expected) return;
  print(name); print(": "); print(what); put(' '); hex(got); print(", expected "); hex(expected); put('\n');
  failures++;
}
static void expect_at(const char *name, void (*f)(void), int ring, int vector, u64 error, u64 rip, int rf, u64 cr2, u64 dr6) {
  cases++;
  if (ring == 3) { user_function = f; attempt(enter_user); } else attempt(f);
  user_flags = 2;
  compare(name, "vector", outcome, (u32)vector);
  if ((int)outcome == vector && vector != NONE && vector != DONE) {
    compare(name, "error code", seen.error, error);
    compare(name, "instruction pointer", seen.rip, rip);
    compare(name, "RF", seen.rflags >> 16 & 1, rf);
    compare(name, "CPL", seen.cs & 3, ring);
    if (vector == 14) compare(name, "CR2", seen_cr2, cr2);
    if (vector == 1) compare(name, "DR6", seen_dr6 & 0xffff, 0xff0 | dr6);
  }
  reset();
}
#define EXPECT(name, ring, vector, error, where, rf) expect_at(#name, name, ring, vector, error, (u64)name##_##where, rf, 0, 0)
#define EXPECT_PF(name, ring, error, cr2) expect_at(#name, name, ring, 14, error, (u64)name##_at, FAULT, cr2, 0)
#define EXPECT_DB(name, ring, where, dr6) expect_at(#name, name, ring, 1, NO_CODE, (u64)name##_##where, TRAP, 0, dr6)

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
  cases++;
  attempt(step_sysret);
  compare("step_sysret", "vector", outcome, 1);
  compare("step_sysret", "instruction pointer", seen.rip, (u64)step_sysret_end);
  compare("step_sysret", "CPL", seen.cs & 3, 3);
  reset();
}

int main(void) {
  reset();
  paging_cases();
  key_cases();
  context_cases();
  address_cases();
  debug_cases();
  hex(cases); print(" cases, "); hex(failures); print(" differences\n");
  u32 status = failures != 0;
  __asm__ volatile("out %0, $0xf4" ::"a"(status));
  return 0;
}
