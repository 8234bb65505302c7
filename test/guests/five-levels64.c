/*
 * 5-level paging from inside: what its tables allow and forbid, where canonical addresses end for every instruction that
 * looks at one, and addresses with all of 57 bits and odd last ones in every register that holds an address. SDM volume 3,
 * chapter 5. The cases are compared here; what differs is printed.
 */
#include "../system/guests/guest.h"

extern u64 saved_rsp, pml5[512], pml4[512], pdpt[512], pd[512];
void attempt(void (*f)(void));

struct frame { u64 r11, rbx, rdx, rcx, rax, vector, error, rip, cs, rflags, rsp, ss; };
static struct frame seen;
static u64 seen_cr2, seen_dr6, seen_at;
void record(struct frame *f) {
  seen = *f;
  seen_at = (u64)f;
  outcome = f->vector;
  __asm__ volatile("mov %%cr2, %0" : "=r"(seen_cr2));
  __asm__ volatile("mov %%dr6, %0" : "=r"(seen_dr6));
}

enum { CODE0 = 8, DATA0 = 0x10, DATA3 = 0x23, CODE3 = 0x2b, TSS = 0x30, LDT = 0x40 };
enum { EFER = 0xc0000080, STAR, LSTAR, CSTAR, SFMASK, FS_BASE = 0xc0000100, GS_BASE, KERNEL_GS_BASE };
enum { CR4 = 0x516b0 /* PSE, PAE, PGE, OSFXSR, OSXMMEXCPT, LA57, FSGSBASE, OSXSAVE */ };
static u64 gdt[16] __attribute__((aligned(16))), idt[128] __attribute__((aligned(16)));
static struct { u32 r0; u64 rsp[3], r1, ist[7], r2; u16 r3, map; } __attribute__((packed)) tss __attribute__((aligned(128)));
static u8 stack0[8192] __attribute__((aligned(16)));
u8 stack3[8192] __attribute__((aligned(16)));

/* Linear pages beyond 48 bits, the frames behind them, and the rights. */
enum { LOW, HIGH, LAST, FIRST, SYSTEM, CODE, HIGH_CODE, TABLES, PAGES };
#define ABSENT 0x0012345678901000ul
static const u64 linear[PAGES] = {
  0x00fedcba98765000, 0xff01234567899000, 0x00fffffffffff000, 0xff00000000000000, 0x0087654321fed000, 0x00abcdef01234000, 0xff76543210fed000, 0xffa1b2c3d4e5f000,
};
static u8 frames[PAGES][4096] __attribute__((aligned(4096)));
static u64 tables[40][512] __attribute__((aligned(4096)));
static u32 used;
static u64 *entry_of(u64 at, int level) {
  u64 *table = pml5;
  for (int k = 4; k > level; k--) {
    u64 *e = &table[at >> (12 + 9 * k) & 511];
    if (!(*e & 1)) *e = (u64)tables[used++] | 7;
    table = (u64 *)(*e & 0xfffffffffffff000ul & ~(1ul << 63));
  }
  return &table[at >> (12 + 9 * level) & 511];
}

static void system_descriptor(u32 selector, u64 base, u32 limit, u64 access) {
  gdt[selector / 8] = descriptor((u32)base, limit, access, 0);
  gdt[selector / 8 + 1] = base >> 32;
}
static void write_msr(u32 index, u64 v) { __asm__ volatile("wrmsr" ::"c"(index), "a"((u32)v), "d"((u32)(v >> 32))); }
static u64 read_msr(u32 index) {
  u32 low, high;
  __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
  return low | (u64)high << 32;
}
struct { u16 limit; u64 base; } __attribute__((packed)) good_gdt, good_idt;
static void load_tables(u64 gdt_at, u64 idt_at) {
  good_gdt.limit = sizeof gdt - 1; good_gdt.base = gdt_at;
  good_idt.limit = 64 * 16 - 1; good_idt.base = idt_at;
  __asm__ volatile("lgdt good_gdt; lidt good_idt" ::: "memory");
}
static void flush(void) { __asm__ volatile("mov %0, %%cr4; mov %1, %%cr4" ::"r"(CR4 & ~0x80ul), "r"((u64)CR4) : "memory"); }
static void map(void) {
  for (int k = 0; k < PAGES; k++) *entry_of(linear[k], 0) = (u64)frames[k] | (k == SYSTEM || k == TABLES ? 3 : 7);
  flush();
}
static void reset(void) {
  gdt[1] = descriptor(0, 0xfffff, 0x9a, 0xa);
  gdt[2] = descriptor(0, 0xfffff, 0x92, 0xc);
  gdt[3] = descriptor(0, 0xfffff, 0xfa, 0xc);
  gdt[4] = descriptor(0, 0xfffff, 0xf2, 0xc);
  gdt[5] = descriptor(0, 0xfffff, 0xfa, 0xa);
  system_descriptor(TSS, (u64)&tss, 0x67, 0x89);
  for (int k = 0; k < 64; k++) {
    u64 offset = (u64)stubs + k * 16;
    idt[k * 2] = (offset & 0xffff) | CODE0 << 16 | (u64)(k == 12 || k == 8) << 32 | (k >= 0x30 || k == 3 ? 0xeeul : 0x8eul) << 40 | (offset >> 16 & 0xffff) << 48;
    idt[k * 2 + 1] = offset >> 32;
  }
  tss.rsp[0] = (u64)stack0 + sizeof stack0;
  tss.ist[0] = (u64)stack0 + 4096;
  tss.map = sizeof tss;
  load_tables((u64)gdt, (u64)idt);
  __asm__ volatile("push $8; lea 1f(%%rip), %%rax; push %%rax; lretq; 1: mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs; mov %0, %%ss; ltr %w1; push $2; popf" ::"r"(DATA0), "r"(TSS) : "rax", "memory");
  write_msr(EFER, 0xd01);
  write_msr(STAR, 0x0018000800000000);
  write_msr(SFMASK, 0);
  __asm__ volatile("mov %0, %%dr7; mov %1, %%dr6" ::"r"(0x400ul), "r"(0xffff0ff0ul));
  map();
}

static void (*user_function)(void);
static void user_landing(void) { user_function(); __asm__ volatile("int $0x31"); }
static void enter_user(void) {
  __asm__ volatile("mov %1, %%eax; mov %%eax, %%ds; mov %%eax, %%es; push %1; push $stack3+6000; push $2; push %2; push %0; iretq" ::"r"(user_landing), "i"(DATA3), "i"(CODE3) : "rax", "memory");
}

enum { NONE = -1, NO_CODE = 0x5a5a, DONE = 0x31 };
static u32 failures, cases;
u64 place, second;
static void compare(const char *name, const char *what, u64 got, u64 expected) {
  if (got == expected) return;
  print(name); print(": "); print(what); put(' '); hex(got); print(", expected "); hex(expected); put('\n');
  failures++;
}
/* Runs a function in a ring; what it is to raise, and where. */
static void expect(const char *name, void (*f)(void), int ring, int vector, u64 error, u64 rip, u64 cr2) {
  cases++;
  if (ring == 3) { user_function = f; attempt(enter_user); } else attempt(f);
  if (vector == NONE && ring == 3) vector = DONE;
  compare(name, "vector", outcome, (u32)vector);
  if ((int)outcome == vector && vector != NONE && vector != DONE) {
    compare(name, "error code", seen.error, error);
    compare(name, "instruction pointer", seen.rip, rip);
    compare(name, "CPL", seen.cs & 3, ring);
    if (vector == 14) compare(name, "CR2", seen_cr2, cr2);
  }
  reset();
}
#define CASE(name, before, text) \
  extern u8 name##_at[], name##_end[]; \
  static void name(void) { __asm__ volatile(before "\n.globl " #name "_at, " #name "_end\n" #name "_at: " text "\n" #name "_end: nop" ::: "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r11", "memory"); }
#define EXPECT(name, ring, vector, error) expect(#name, name, ring, vector, error, (u64)name##_at, place)

CASE(read, "mov place, %%rbx", "mov (%%rbx), %%rax")
CASE(write, "mov place, %%rbx", "mov %%eax, (%%rbx)")
CASE(modify, "mov place, %%rbx", "lock incq (%%rbx)")
static void jump(void) { ((void (*)(void))place)(); }

static void rights(u64 at, int ring, int reads, int writes, int fetches) {
  place = at;
  EXPECT(read, ring, reads == NONE ? NONE : 14, reads);
  EXPECT(write, ring, writes == NONE ? NONE : 14, writes);
  EXPECT(modify, ring, writes == NONE ? NONE : 14, writes);
  if (fetches == NONE) *(u8 *)((*entry_of(at, 0) & 0xfffff000) + (at & 0xfff)) = 0xc3;
  expect("fetch", jump, ring, fetches == NONE ? NONE : 14, fetches, place, place);
}
static void paging_cases(void) {
  /* The last bits are what a number of 53 bits would lose. */
  for (int k = 0; k < 8; k++) {
    rights(ABSENT + 0x123 + k, 0, 0, 2, 0x10);
    rights(linear[SYSTEM] + 0x451 + k, 3, 5, 7, 0x15);
    rights(linear[LOW] + 0xe01 + k, 3, NONE, NONE, NONE);
    rights(linear[HIGH] + 0xe01 + k, 0, NONE, NONE, NONE);
  }
  /* Bits of the new level: no large pages, reserved ones, XD, rights. */
  u64 *top = entry_of(linear[LOW], 4), old = *top;
  static const struct { u64 set, clear; int error; } made[] = {{0x80, 0, 9}, {1ul << 51, 0, 9}, {0, 1, 0}, {0, 0, NONE}};
  for (u32 k = 0; k < 4; k++) {
    *top = (old | made[k].set) & ~made[k].clear;
    flush();
    place = linear[LOW] + 9;
    EXPECT(read, 0, made[k].error == NONE ? NONE : 14, made[k].error);
    *top = old;
  }
  *top = old & ~4ul;
  flush();
  rights(linear[LOW] + 7, 3, 5, 7, 0x15);
  *top = old & ~2ul;
  __asm__ volatile("mov %%cr0, %%rax; bts $16, %%rax; mov %%rax, %%cr0" ::: "rax");
  flush();
  rights(linear[LOW] + 7, 0, NONE, 3, NONE);
  *top = old | 1ul << 63;
  flush();
  rights(linear[LOW] + 7, 0, NONE, NONE, 0x11);
  *top = old;
  flush();
  compare("accessed", "flag", entry_of(linear[LOW], 4)[0] & 0x20, 0x20);
  /* INVLPG and INVPCID find the page again. */
  static struct { u64 identifier, linear; } one __attribute__((aligned(16)));
  for (int how = 0; how < 2; how++) {
    place = linear[HIGH] + 5;
    *(volatile u8 *)place;
    *entry_of(place, 0) = 0;
    one.linear = place;
    if (how == 0) __asm__ volatile("invlpg (%0)" ::"r"(place) : "memory");
    else __asm__ volatile("invpcid %0, %1" ::"m"(one), "r"(0ul) : "memory");
    cases++;
    attempt(read);
    compare("invalidated", "vector", outcome, 14);
    compare("invalidated", "CR2", seen_cr2, place);
    reset();
  }
}

/* --- where canonical addresses end: `place` is one that is not */
CASE(read_stack, "mov place, %%rbp", "mov (%%rbp), %%rax")
CASE(push, "mov place, %%rsp; add $8, %%rsp", "push %%rax")
CASE(jump_near, "mov place, %%rbx", "jmp *%%rbx")
CASE(call_near, "mov place, %%rbx", "call *%%rbx")
CASE(ret_near, "push place", "ret")
CASE(jump_far, "mov place, %%rbx; mov %%rbx, target; movw $8, target+8", "rex.w ljmp *target")
CASE(ret_far, "push $8; push place", "lretq")
CASE(iret, "push $0x10; push $stack3; push $2; push $8; push place", "iretq")
CASE(sysret, "mov place, %%rcx; mov $2, %%r11d", "sysretq")
CASE(sysexit, "mov $0x174, %%ecx; mov $8, %%eax; xor %%edx, %%edx; wrmsr; mov place, %%rdx; mov $stack3, %%ecx", "rex.w sysexit")
CASE(sysexit_stack, "mov $0x174, %%ecx; mov $8, %%eax; xor %%edx, %%edx; wrmsr; mov place, %%rcx; mov $stack3, %%edx", "rex.w sysexit")
CASE(fxsave, "mov place, %%rbx", "fxsave64 (%%rbx)")
CASE(xsave, "mov place, %%rbx; mov $7, %%eax; xor %%edx, %%edx", "xsave (%%rbx)")
CASE(strings, "mov place, %%rdi; mov $stack3, %%esi; mov $3, %%ecx", "rep movsb")
CASE(output, "mov place, %%rsi; mov $0x80, %%edx", "outsb")
CASE(msr, "mov second, %%ecx; mov place, %%rax; mov %%rax, %%rdx; shr $32, %%rdx", "wrmsr")
CASE(fs_base, "mov place, %%rbx", "wrfsbase %%rbx")
CASE(gs_base, "mov place, %%rbx", "wrgsbase %%rbx")
CASE(gdt_base, "mov place, %%rbx; movw $0x7f, pointer; mov %%rbx, pointer+2", "lgdt pointer; lgdt good_gdt")
CASE(idt_base, "mov place, %%rbx; movw $0x3ff, pointer; mov %%rbx, pointer+2", "lidt pointer; lidt good_idt")
CASE(task_register, "mov $0x30, %%eax", "ltr %%ax")
CASE(local_table, "mov $0x40, %%eax", "lldt %%ax")
CASE(one_page, "mov place, %%rbx; mov %%rbx, descriptor_of_page+8; movq $0, descriptor_of_page; xor %%eax, %%eax", "invpcid descriptor_of_page, %%rax")
CASE(invlpg, "mov place, %%rbx", "invlpg (%%rbx)")
CASE(interrupt_target, "", "int $0x33")
u64 target[2], descriptor_of_page[2] __attribute__((aligned(16)));
u8 pointer[16];

/* A value that registers hold: taken (NONE) or #GP. */
static void held(u64 value, int vector) {
  static const u32 msrs[] = {0x175, 0x176, LSTAR, CSTAR, FS_BASE, GS_BASE, KERNEL_GS_BASE};
  for (u32 k = 0; k < sizeof msrs / sizeof *msrs; k++) {
    place = value; second = msrs[k];
    cases++;
    attempt(msr);
    compare("msr", "vector", outcome, (u32)vector);
    if (vector == NONE) compare("msr", "value", read_msr(msrs[k]), value);
    reset();
  }
  place = value;
  EXPECT(fs_base, 3, vector, 0);
  EXPECT(gs_base, 0, vector, 0);
  EXPECT(gdt_base, 0, vector, 0);
  EXPECT(idt_base, 0, vector, 0);
  system_descriptor(TSS, value, 0x67, 0x89);
  EXPECT(task_register, 0, vector, TSS);
  system_descriptor(LDT, value, 0x7f, 0x82);
  EXPECT(local_table, 0, vector, LDT);
  EXPECT(one_page, 0, vector, 0);
  EXPECT(invlpg, 0, NONE, 0);
}
static void outside(u64 at) {
  place = at;
  for (int ring = 0; ring <= 3; ring += 3) {
    EXPECT(read, ring, 13, 0);
    EXPECT(write, ring, 13, 0);
    EXPECT(modify, ring, 13, 0);
    EXPECT(read_stack, ring, 12, 0);
    EXPECT(push, ring, 12, 0);
    EXPECT(jump_near, ring, 13, 0);
    EXPECT(call_near, ring, 13, 0);
    EXPECT(ret_near, ring, 13, 0);
    EXPECT(fxsave, ring, 13, 0);
    EXPECT(xsave, ring, 13, 0);
    EXPECT(strings, ring, 13, 0);
  }
  EXPECT(output, 0, 13, 0);
  EXPECT(jump_far, 0, 13, 0);
  EXPECT(ret_far, 0, 13, 0);
  EXPECT(iret, 0, 13, 0);
  EXPECT(sysret, 0, 13, 0);
  EXPECT(sysexit, 0, 13, 0);
  EXPECT(sysexit_stack, 0, 13, 0);
  held(at, 13);
  /* Through the IDT: a bad target is #GP(0), a bad stack #SS, which has the good one of this test. */
  idt[0x33 * 2] = (at & 0xffff) | CODE0 << 16 | 0xeeul << 40 | (at >> 16 & 0xffff) << 48;
  idt[0x33 * 2 + 1] = at >> 32;
  expect("interrupt_target", interrupt_target, 0, 13, 0, (u64)interrupt_target_at, 0);
  idt[0x33 * 2] = idt[0x34 * 2] | 2ul << 32;
  idt[0x33 * 2 + 1] = idt[0x34 * 2 + 1];
  tss.ist[1] = at + 0x30;
  expect("interrupt_stack", interrupt_target, 0, 12, 0, (u64)interrupt_target_at, 0);
}
static void canonical_cases(void) {
  static const u64 out[] = {0x0100000000000000, 0xfeffffffffffffc0, 0x0100000000001240, 0x8000000000000000, 0x7fffffffffffffc0, 0x01fedcba98765400};
  for (u32 k = 0; k < 6; k++) outside(out[k]);
  held(0x0000800000000000, NONE);
  held(0xffff7fffffffffff, NONE);
  held(0x00fffffffffffff3, NONE);
  held(0xff00000000000005, NONE);
  /* What is not canonical with 48 bits is a page as others, absent here. */
  rights(0x0000800000000003, 0, 0, 2, 0x10);
  rights(0xffff7ffffffff00d, 3, 4, 6, 0x14);
  /* Accesses that leave the last page below the hole. */
  for (int k = 1; k < 8; k++) {
    place = linear[LAST] + 4096 - k;
    EXPECT(read, 0, 13, 0);
    EXPECT(read_stack, 3, 12, 0);
  }
  place = linear[LAST] + 4096 - 8;
  EXPECT(read, 3, NONE, 0);
  place = linear[FIRST];
  EXPECT(read, 3, NONE, 0);
  place = linear[FIRST] - 4;
  EXPECT(read, 3, 13, 0);
}

/* CR4.LA57 stays in IA-32e mode. */
CASE(fewer_levels, "mov %%cr4, %%rax; btr $12, %%rax", "mov %%rax, %%cr4")
static void control_cases(void) {
  u32 a = 7, b, c = 0, d;
  __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  compare("CPUID", "LA57", c >> 16 & 1, 1);
  a = 0x80000008;
  __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  compare("CPUID", "linear address bits", a >> 8 & 0xff, 57);
  EXPECT(fewer_levels, 0, 13, 0);
}

/* --- code that runs there: copied to an odd place of a page */
#define CODE_THERE(name, text) \
  extern u8 name##_code[], name##_code_end[]; \
  __asm__(".globl " #name "_code, " #name "_code_end\n" #name "_code: " text "\n" #name "_code_end: nop");
CODE_THERE(trap, "nop; int3")
CODE_THERE(hot, "mov $200000, %ecx; xor %eax, %eax; 1: add %rcx, %rax; call 2f; dec %ecx; jnz 1b; ret; 2: lea 3f(%rip), %rdx; xor %rdx, %rax; xor %rdx, %rax; ret; 3:")
CODE_THERE(floating, "fninit; nop; fldpi; fxsave64 0x200(%rbx); movb $0, (%rbx); mov $100, %ecx; 1: fldpi; fstp %st(0); dec %ecx; jnz 1b; fxsave64 0x400(%rbx); ret")
CODE_THERE(fast_call, "syscall")
CODE_THERE(written, "mov $50, %ecx; 1: movb %cl, 2f+1(%rip); 2: mov $0, %al; add %al, %bl; dec %ecx; jnz 1b; movzx %bl, %eax; ret")
static u64 there(int page, int offset, u8 *from, u8 *end) {
  for (u32 k = 0; from + k < end; k++) *(volatile u8 *)(linear[page] + offset + k) = from[k];
  return linear[page] + offset;
}
#define THERE(page, offset, name) there(page, offset, name##_code, name##_code_end)
static void fast_landing(void) { __asm__ volatile("int $0x32"); }
static void code_cases(void) {
  for (int k = 0; k < 16; k++) {
    int page = k & 1 ? CODE : HIGH_CODE;
    place = THERE(page, 0x101 + 64 * k + k, trap);
    cases++;
    attempt(jump);
    compare("int3 there", "vector", outcome, 3);
    compare("int3 there", "instruction pointer", seen.rip, place + 2);
    reset();
    place = THERE(page, 0x802 + k, fast_call);
    write_msr(LSTAR, (u64)fast_landing);
    cases++;
    attempt(jump);
    compare("SYSCALL there", "vector", outcome, 0x32);
    compare("SYSCALL there", "RCX", seen.rcx, place + 2);
    reset();
    place = THERE(page, 0x702 + k, trap) + 1;
    second = linear[page] + 0x700 + k;
    u64 bit = place;
    __asm__ volatile("mov %0, %%dr0; mov %1, %%dr7" ::"r"(bit), "r"(0x402ul));
    place--;
    cases++;
    attempt(jump);
    compare("breakpoint there", "vector", outcome, 1);
    compare("breakpoint there", "instruction pointer", seen.rip, place + 1);
    reset();
  }
  for (int k = 0; k < 2; k++) {
    u64 sum, at = THERE(k ? CODE : HIGH_CODE, 0x203, hot);
    cases++;
    __asm__ volatile("call *%1" : "=a"(sum) : "r"(at) : "rcx", "rdx", "memory");
    compare("loop there", "sum", sum, 200000ul * 200001 / 2);
    at = THERE(k ? CODE : HIGH_CODE, 0x305, floating);
    u64 area = linear[LOW];
    cases++;
    __asm__ volatile("call *%0" ::"r"(at), "b"(area) : "rcx", "memory");
    compare("x87 there", "FIP", *(u64 *)(area + 0x208), at + 3);
    u64 last = *(u64 *)(area + 0x408);
    compare("x87 in a loop there", "FIP", last > at && last < at + 48 && *(u8 *)last == 0xdd, 1);
    at = THERE(k ? CODE : HIGH_CODE, 0x407, written);
    cases++;
    __asm__ volatile("call *%1" : "=a"(sum), "+r"(at) : "b"(0ul) : "rcx", "memory");
    compare("code that writes itself there", "sum", sum, 50 * 51 / 2 & 0xff);
  }
}

/* --- stacks and tables there */
u64 keep;
static void on_stack(void) {
  __asm__ volatile("mov %%rsp, keep; mov place, %%rsp; push $0x10; push $stack3+64; push $2; push $8; lea 1f(%%rip), %%rax; push %%rax; mov %%rsp, second; iretq; 1: mov keep, %%rsp" ::: "rax", "memory");
}
static void far_return(void) {
  __asm__ volatile("mov %%rsp, keep; mov place, %%rsp; push $8; lea 1f(%%rip), %%rax; push %%rax; lretq $5; 1: mov %%rsp, second; mov keep, %%rsp" ::: "rax", "memory");
}
static void far_call(void) {
  __asm__ volatile("mov %%rsp, keep; mov place, %%rsp; lea 1f(%%rip), %%rax; mov %%rax, target; movw $8, target+8; rex.w lcall *target; 1: pop %%rax; mov %%rsp, second; mov keep, %%rsp" ::: "rax", "memory");
}
static void trap_here(void) { __asm__ volatile("mov %%rsp, keep; mov place, %%rsp; int3" ::: "memory"); }
static void stack_cases(void) {
  for (int k = 0; k < 16; k++) {
    u64 top = linear[k & 1 ? HIGH : LOW] + 0x800 + k;
    place = top;
    expect("IRET from a stack there", on_stack, 0, NONE, 0, 0, 0);
    compare("IRET from a stack there", "RSP", second, top - 40);
    place = top;
    expect("far return there", far_return, 0, NONE, 0, 0, 0);
    compare("far return there", "RSP", second, top + 5);
    place = top;
    expect("far call there", far_call, 0, NONE, 0, 0, 0);
    compare("far call there", "RSP", second, top - 8);
    place = top;
    cases++;
    attempt(trap_here);
    compare("exception there", "RSP", seen.rsp, top);
    compare("exception there", "frame", seen_at, (top & ~15ul) - sizeof seen);
    reset();
    /* The stack of ring 0 in the TSS, and the tables themselves at odd places. */
    u64 base = linear[TABLES] + 0x20 + k;
    for (u32 n = 0; n < sizeof tss; n++) frames[TABLES][0x20 + k + n] = ((u8 *)&tss)[n];
    *(u64 *)(base + 4) = linear[HIGH] + 0xff0 + k;
    system_descriptor(TSS, base, 0x67, 0x89);
    for (u32 n = 0; n < sizeof gdt; n++) frames[TABLES][0x200 + k + n] = ((u8 *)gdt)[n];
    for (u32 n = 0; n < sizeof idt; n++) frames[TABLES][0x400 + k + n] = ((u8 *)idt)[n];
    load_tables(linear[TABLES] + 0x200 + k, linear[TABLES] + 0x400 + k);
    __asm__ volatile("ltr %w0" ::"r"(TSS));
    compare("LTR there", "busy", frames[TABLES][0x200 + k + TSS + 5], 0x8b);
    cases++;
    attempt(enter_user);
    compare("interrupt through tables there", "vector", outcome, DONE);
    compare("interrupt through tables there", "frame", seen_at, linear[HIGH] + 0xff0 - sizeof seen);
    struct { u16 limit; u64 base; } __attribute__((packed)) was;
    __asm__ volatile("sgdt %0" : "=m"(was));
    compare("SGDT", "base", was.base, linear[TABLES] + 0x200 + k);
    reset();
  }
}

/* --- data there: odd places, bases, strings, areas, breakpoints */
static void nothing(void) {}
CASE(watched, "mov place, %%rbx", "movb $1, (%%rbx)")
static void data_cases(void) {
  user_function = nothing;
  for (int k = 0; k < 16; k++) {
    for (int half = 0; half < 2; half++) {
      int page = half ? HIGH : LOW;
      u64 at = linear[page] + 0x340 + k, got;
      u8 *frame = frames[page] + 0x340 + k;
      cases++;
      *(volatile u64 *)at = 0x1122334455667788 + k;
      compare("store there", "value", *(u64 *)frame, 0x1122334455667788 + k);
      __asm__ volatile("wrgsbase %1; mov %%gs:(%2), %0" : "=r"(got) : "r"(at - 0x345678901bul), "r"(0x345678901bul));
      compare("load by a base there", "value", got, 0x1122334455667788 + k);
      __asm__ volatile("wrfsbase %0; invlpg %%fs:(%1)" ::"r"(at - 0x77ul), "r"(0x77ul));
      __asm__ volatile("mov %0, %%rdi; mov $0x92, %%edx; insb; mov %%rdi, %1" ::"r"(at), "m"(second) : "rdi", "rdx", "memory");
      compare("INS there", "RDI", second, at + 1);
      __asm__ volatile("fninit; fnstenv (%0); fldenv (%0)" ::"r"(at) : "memory");
      compare("FNSTENV there", "control word", *(u32 *)frame, 0xffff037f);
      u64 aligned = linear[page] + 0x800;
      __asm__ volatile("xor %%edx, %%edx; mov $7, %%eax; movq %0, %%xmm1; xsave (%0); xrstor (%0)" ::"r"(aligned) : "rax", "rdx", "memory");
      compare("XSAVE there", "XMM1", *(u64 *)(frames[page] + 0x800 + 160 + 16), aligned);
      __asm__ volatile("mov %0, %%dr0; mov %1, %%dr7; mov %2, %%dr6" ::"r"(at + 1), "r"(0x10402ul), "r"(0xffff0ff0ul));
      place = at + 1;
      cases++;
      attempt(watched);
      compare("data breakpoint there", "vector", outcome, 1);
      compare("data breakpoint there", "instruction pointer", seen.rip, (u64)watched_end);
      compare("data breakpoint there", "DR6", seen_dr6 & 0xffff, 0xff1);
      reset();
      __asm__ volatile("mov %0, %%dr0; mov %1, %%dr7; mov %2, %%dr6" ::"r"(at + 1), "r"(0x10402ul), "r"(0xffff0ff0ul));
      place = at + 2;
      cases++;
      attempt(watched);
      compare("beside a data breakpoint there", "vector", outcome, (u32)NONE);
      reset();
    }
  }
}

int main(void) {
  used = 0;
  __asm__ volatile("mov %0, %%cr4" ::"r"((u64)CR4));
  __asm__ volatile("xor %%ecx, %%ecx; xor %%edx, %%edx; mov $7, %%eax; xsetbv" ::: "rax", "rcx", "rdx");
  reset();
  paging_cases();
  canonical_cases();
  control_cases();
  code_cases();
  stack_cases();
  data_cases();
  hex(cases); print(" cases, "); hex(failures); print(" differences\n");
  return 0;
}
