/*
 * The system that the cases of 32-bit protected mode run in: flat segments of rings 0, 1 and 3, one TSS, paging that leaves
 * every address as it is, and some pages that fault. A guest defines `extend`, which adds its own to a fresh system.
 */
#include "../system/guests/guest.h"
#include "cases.h"

extern u32 saved_esp, frame_pointer;
int attempt(void (*f)(void));

struct frame { u32 gs, fs, es, ds, edi, esi, ebp, esp0, ebx, edx, ecx, eax, vector, error, eip, cs, eflags, esp, ss, ves, vds, vfs, vgs; };
static struct frame seen;
static u32 seen_cr2, seen_dr6, seen_tr, handler_flags;
/* --- tables and pages */
enum { GDT_COUNT = 64, CODE0 = 8, DATA0 = 0x10, CODE3 = 0x1b, DATA3 = 0x23, TSS = 0x28, ABSENT = 0x30, SMALL = 0x38, CODE1 = 0x41, DATA1 = 0x49, CONFORMING = 0x50, SHIFTED = 0x58 /* code whose first 64 KiB are this program */, OWN = 0x60 };
enum { SHIFT = 0x100000 };
static u64 gdt[GDT_COUNT] __attribute__((aligned(16)));
static u64 idt[64] __attribute__((aligned(4096)));
void record(void) {
  __asm__ volatile("pushf; pop %0" : "=r"(handler_flags));
  if (!(gdt[handler_ss / 8 % GDT_COUNT] >> 54 & 1)) frame_pointer &= 0xffff; /* a 16-bit stack */
  seen = *(struct frame *)frame_pointer;
  outcome = seen.vector;
  __asm__ volatile("mov %%cr2, %0; mov %%dr6, %1; str %2" : "=r"(seen_cr2), "=r"(seen_dr6), "=r"(seen_tr));
}

struct tss { u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi, es, cs, ss, ds, fs, gs, ldt; u16 trap, map; };
static struct tss tss __attribute__((aligned(128)));
static u8 stack0[4096] __attribute__((aligned(16))), stack1[4096] __attribute__((aligned(16)));
u8 stack3[4096] __attribute__((aligned(16)));
static u32 directory[1024] __attribute__((aligned(4096))), table[2][1024] __attribute__((aligned(4096)));
/* Pages of the second table: absent, read-only, supervisor's, user's, absent, code with nothing behind it. */
enum { PAGE_ABSENT = 0x400000, PAGE_READ_ONLY = 0x401000, PAGE_SYSTEM = 0x402000, PAGE_USER = 0x403000, PAGE_CODE = 0x405000, PAGE_RESERVED = 0x800000 };

static u64 gate_to(u32 selector, u32 offset, u32 access, u32 count) {
  return (offset & 0xffff) | (selector << 16) | ((u64)count << 32) | ((u64)access << 40) | ((u64)(offset >> 16) << 48);
}
static u64 gate(u32 offset, u32 access) { return gate_to(CODE0, offset, access, 0); }
static void cr0(u32 v) { __asm__ volatile("mov %0, %%cr0" ::"r"(v)); }
static void cr4(u32 v) { __asm__ volatile("mov %0, %%cr4" ::"r"(v)); }
enum { CR0 = 0x80010031, TS = 8, EM = 4, MP = 2, AM = 0x40000, WP = 0x10000 };

static void extend(void);
static void reset(void) {
  struct { u16 limit; u32 base; } __attribute__((packed)) g = {sizeof gdt - 1, (u32)gdt}, i = {sizeof idt - 1, (u32)idt};
  __asm__ volatile("mov %0, %%dr7; mov %1, %%dr6" ::"r"(0x400), "r"(0xffff0ff0));
  memset(gdt, 0, sizeof gdt);
  gdt[1] = descriptor(0, 0xfffff, 0x9a, 0xc);
  gdt[2] = descriptor(0, 0xfffff, 0x92, 0xc);
  gdt[3] = descriptor(0, 0xfffff, 0xfa, 0xc);
  gdt[4] = descriptor(0, 0xfffff, 0xf2, 0xc);
  gdt[5] = descriptor((u32)&tss, 0x67, 0x89, 0);
  gdt[6] = descriptor(0, 0xfffff, 0x12, 0xc);
  gdt[7] = descriptor(0x400000, 0xff, 0xf2, 4); /* 256 bytes in the absent page */
  gdt[8] = descriptor(0, 0xfffff, 0xba, 0xc);
  gdt[9] = descriptor(0, 0xfffff, 0xb2, 0xc);
  gdt[10] = descriptor(0, 0xfffff, 0x9e, 0xc);
  gdt[11] = descriptor(SHIFT, 0xfffff, 0x9a, 0xc);
  for (int k = 0; k < 64; k++) idt[k] = gate((u32)stubs + k * 16, k >= 0x30 ? 0xee : 0x8e);
  memset(&tss, 0, sizeof tss);
  tss.ss0 = DATA0; tss.esp0 = (u32)stack0 + sizeof stack0;
  tss.ss1 = DATA1; tss.esp1 = (u32)stack1 + sizeof stack1;
  tss.map = 0x68; tss.cr3 = (u32)directory;
  for (int k = 0; k < 1024; k++) table[0][k] = k * 4096 + 7;
  for (int k = 0; k < 1024; k++) table[1][k] = 0;
  table[1][1] = PAGE_READ_ONLY + 5;
  table[1][2] = PAGE_SYSTEM + 3;
  table[1][3] = PAGE_USER + 7;
  table[1][5] = PAGE_CODE + 7;
  directory[0] = (u32)table[0] + 7;
  directory[1] = (u32)table[1] + 7;
  directory[2] = 0x2000e7; /* a large page with a reserved bit set */
  extend();
  __asm__ volatile("lgdt %0; lidt %1; ljmp $8, $1f; 1: mov %2, %%ds; mov %2, %%es; mov %2, %%fs; mov %2, %%gs; mov %2, %%ss" ::"m"(g), "m"(i), "r"(DATA0));
  __asm__ volatile("mov %0, %%cr3" ::"r"(directory));
  cr4(0x610); /* PSE, OSFXSR, OSXMMEXCPT */
  cr0(CR0);
  __asm__ volatile("ltr %w0; lldt %w1; fninit; ldmxcsr usual_mxcsr; push $2; popf" ::"r"(TSS), "r"(0));
  __asm__ volatile("mov %0, %%cr2" ::"r"(0));
}

/* --- cases */
u32 user_flags = 2, variable[4] __attribute__((aligned(16)));
const u32 usual_mxcsr = 0x1f80;
#define CASE(name, before, text) \
  extern u8 name##_at[], name##_end[]; \
  static void name(void) { __asm__ volatile(before "\n.globl " #name "_at, " #name "_end\n" #name "_at: " text "\n" #name "_end: nop" ::: "eax", "ebx", "ecx", "edx", "esi", "edi", "memory"); }

static void (*user_function)(void);
static void user_landing(void) { user_function(); __asm__ volatile("int $0x31"); }
static void enter_user(void) {
  __asm__ volatile("mov %1, %%eax; mov %%eax, %%ds; mov %%eax, %%es; push %%eax; push $stack3+3000; push user_flags; push %2; push %0; iret" ::"r"(user_landing), "i"(DATA3), "i"(CODE3) : "eax", "memory");
}
static void attempt_in(int ring, void (*f)(void)) {
  if (ring == 3) { user_function = f; attempt(enter_user); } else attempt(f);
  user_flags = 2;
}

static void expect_at(const char *name, void (*f)(void), int ring, int vector, u32 error, u32 eip, int rf, u32 cr2, u32 dr6) {
  if (begins(name)) {
    attempt_in(ring, f);
    compare(name, "vector", outcome, vector);
    if ((int)outcome == vector && vector != NONE && vector != DONE) {
      compare(name, "error code", seen.error, error);
      compare(name, "instruction pointer", seen.eip, eip);
      compare(name, "RF", seen.eflags >> 16 & 1, rf);
      compare(name, "CPL", seen.eflags & 0x20000 ? 3 : seen.cs & 3, ring);
      if (vector == 14) compare(name, "CR2", seen_cr2, cr2);
      if (vector == 1) compare(name, "DR6", seen_dr6 & 0xffff, 0xff0 | dr6);
    }
  }
  user_flags = 2;
  reset();
}
#define EXPECT(name, ring, vector, error, where, rf) expect_at(#name, name, ring, vector, error, (u32)name##_##where, rf, 0, 0)
#define EXPECT_PF(name, ring, error, cr2) expect_at(#name, name, ring, 14, error, (u32)name##_at, FAULT, cr2, 0)
#define EXPECT_DB(name, ring, where, dr6) expect_at(#name, name, ring, 1, NO_CODE, (u32)name##_##where, TRAP, 0, dr6)
