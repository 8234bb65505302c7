/*
 * The system that the cases of 64-bit mode run in: flat segments of rings 0, 1 and 3, interrupt stacks, the first 1 GiB where
 * it lies, and some pages that fault. A guest defines `extend`, which adds its own to a fresh system.
 */
#include "../system/guests/guest.h"
#include "cases.h"

extern u64 pml4[512], pdpt[512], pd[512];
void attempt(void (*f)(void));

struct frame { u64 r11, rbx, rdx, rcx, rax, vector, error, rip, cs, rflags, rsp, ss; };
static struct frame seen;
static u64 seen_cr2, seen_dr6, seen_at, handler_flags;
void record(struct frame *f) {
  __asm__ volatile("pushf; pop %0" : "=r"(handler_flags));
  seen_at = (u64)f;
  seen = *f;
  outcome = f->vector;
  __asm__ volatile("mov %%cr2, %0" : "=r"(seen_cr2));
  __asm__ volatile("mov %%dr6, %0" : "=r"(seen_dr6));
}

enum { CODE0 = 8, DATA0 = 0x10, COMPAT3 = 0x1b, DATA3 = 0x23, CODE3 = 0x2b, TSS = 0x30, COMPAT0 = 0x40, CONFORMING = 0x48, CODE1 = 0x51, DATA1 = 0x59, ABSENT_CODE = 0x60, BOTH = 0x68 /* L and D */, OWN = 0x70 };
static u64 gdt[64] __attribute__((aligned(16))), idt[128] __attribute__((aligned(16)));
static struct { u32 r0; u64 rsp[3], r1, ist[7], r2; u16 r3, map; } __attribute__((packed)) tss __attribute__((aligned(128)));
static u8 stack0[8192] __attribute__((aligned(16))), stack1[8192] __attribute__((aligned(16))), stack2[8192] __attribute__((aligned(16)));
u8 stack3[8192] __attribute__((aligned(16)));
/* Pages of 4 KiB at 1 GiB + 2 MiB, and how page i of them is mapped; at 2 GiB a page of 1 GiB that is the first 1 GiB. */
static u64 small[512] __attribute__((aligned(4096))), directory1[512] __attribute__((aligned(4096)));
enum { ABSENT, READ_ONLY, SYSTEM, USER, NO_EXECUTE, RESERVED, KEY5, SYSTEM_TOO };
#define PAGE(i) (0x40200000ul + (i) * 0x1000ul)
#define HUGE 0x80000000ul

static void write_msr(u32 index, u64 v) { __asm__ volatile("wrmsr" ::"c"(index), "a"((u32)v), "d"((u32)(v >> 32))); }
static void cr0(u64 v) { __asm__ volatile("mov %0, %%cr0" ::"r"(v)); }
static void cr4(u64 v) { __asm__ volatile("mov %0, %%cr4" ::"r"(v)); }
static void cr3(u64 v) { __asm__ volatile("mov %0, %%cr3" ::"r"(v)); }
enum { CR0 = 0x80010031, CR4 = 0x6b0 /* PSE, PAE, PGE, OSFXSR, OSXMMEXCPT */, DE = 8, UMIP = 1 << 11, FSGSBASE = 1 << 16, PCIDE = 1 << 17, PKE = 1 << 22 };
enum { STAR = 0xc0000081, LSTAR, CSTAR, SFMASK };

static void flush(void) { cr4(CR4 & ~0x80); cr4(CR4); }
static void extend(void);
static void reset(void) {
  struct { u16 limit; u64 base; } __attribute__((packed)) g = {sizeof gdt - 1, (u64)gdt}, i = {64 * 16 - 1, (u64)idt};
  gdt[1] = descriptor(0, 0xfffff, 0x9a, 0xa);
  gdt[2] = descriptor(0, 0xfffff, 0x92, 0xc);
  gdt[3] = descriptor(0, 0xfffff, 0xfa, 0xc);
  gdt[4] = descriptor(0, 0xfffff, 0xf2, 0xc);
  gdt[5] = descriptor(0, 0xfffff, 0xfa, 0xa);
  gdt[6] = descriptor((u64)&tss, 0x67, 0x89, 0); gdt[7] = 0;
  gdt[8] = descriptor(0, 0xfffff, 0x9a, 0xc);
  gdt[9] = descriptor(0, 0xfffff, 0x9e, 0xa);
  gdt[10] = descriptor(0, 0xfffff, 0xba, 0xa);
  gdt[11] = descriptor(0, 0xfffff, 0xb2, 0xc);
  gdt[12] = descriptor(0, 0xfffff, 0x1a, 0xa);
  gdt[13] = descriptor(0, 0xfffff, 0x9a, 0xe);
  for (int k = 0; k < 64; k++) {
    u64 offset = (u64)stubs + k * 16;
    idt[k * 2] = (offset & 0xffff) | CODE0 << 16 | (u64)(k == 12 || k == 8) << 32 | (k >= 0x30 ? 0xeeul : 0x8eul) << 40 | (offset >> 16 & 0xffff) << 48;
    idt[k * 2 + 1] = offset >> 32;
  }
  tss.rsp[0] = (u64)stack0 + sizeof stack0;
  tss.rsp[1] = (u64)stack1 + sizeof stack1;
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
  extend();
  __asm__ volatile("lgdt %0; lidt %1; push $8; lea 1f(%%rip), %%rax; push %%rax; lretq; 1: mov %2, %%ds; mov %2, %%es; mov %2, %%fs; mov %2, %%gs; mov %2, %%ss; ltr %w3; lldt %w4; push $2; popf" ::"m"(g), "m"(i), "r"(DATA0), "r"(TSS), "r"(0) : "rax", "memory");
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

static void attempt_in(int ring, void (*f)(void)) {
  if (ring == 3) { user_function = f; attempt(enter_user); } else attempt(f);
  user_flags = 2;
}
static void expect_at(const char *name, void (*f)(void), int ring, int vector, u64 error, u64 rip, int rf, u64 cr2, u64 dr6) {
  if (begins(name)) {
    attempt_in(ring, f);
    compare(name, "vector", outcome, (u32)vector);
    if ((int)outcome == vector && vector != NONE && vector != DONE) {
      compare(name, "error code", seen.error, error);
      compare(name, "instruction pointer", seen.rip, rip);
      compare(name, "RF", seen.rflags >> 16 & 1, rf);
      compare(name, "CPL", seen.cs & 3, ring);
      if (vector == 14) compare(name, "CR2", seen_cr2, cr2);
      if (vector == 1) compare(name, "DR6", seen_dr6 & 0xffff, 0xff0 | dr6);
    }
  }
  user_flags = 2;
  reset();
}
#define EXPECT(name, ring, vector, error, where, rf) expect_at(#name, name, ring, vector, error, (u64)name##_##where, rf, 0, 0)
#define EXPECT_PF(name, ring, error, cr2) expect_at(#name, name, ring, 14, error, (u64)name##_at, FAULT, cr2, 0)
#define EXPECT_DB(name, ring, where, dr6) expect_at(#name, name, ring, 1, NO_CODE, (u64)name##_##where, TRAP, 0, dr6)
