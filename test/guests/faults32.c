/*
 * Exceptions in the delivery of exceptions: which two become a double fault and which are handled one after the other, for
 * each first vector with each kind of second; and what has happened when the second is handled. SDM volume 3, tables 7-4 and
 * 7-5. With `triple=1` on its command line in place of `from=`, the guest ends in a shutdown.
 */
#include "cases32.h"

enum { ABSENT_CODE = 0x60 };
u32 unmasked = 0x1f00, saved[2];
float minus_one = -1;
const u16 unmasked_zero = 0x37b;
const u32 float_zero = 0;
static void extend(void) {
  gdt[ABSENT_CODE / 8] = descriptor(0, 0xfffff, 0x1a, 0xc);
}

CASE(divide, "xor %%ecx, %%ecx; mov $1, %%eax; cltd", "div %%ecx")
CASE(icebp, "", ".byte 0xf1")
CASE(breakpoint, "", "int3")
CASE(overflow, "mov $0x7fffffff, %%eax; inc %%eax", "into")
CASE(bound, "mov $variable, %%ebx; movl $2, (%%ebx); movl $4, 4(%%ebx); mov $5, %%eax", "bound %%eax, (%%ebx)")
CASE(undefined, "", "ud2")
CASE(no_fpu, "mov $0x80010039, %%eax; mov %%eax, %%cr0", "fnop")
CASE(task, "push $0x4002; popf", "iret")
CASE(absent, "mov $0x30, %%eax", "mov %%eax, %%fs")
CASE(stack, "mov $0x30, %%eax", "mov %%eax, %%ss")
CASE(protection, "mov $0x1f8, %%eax; add $0x600, %%eax", "mov %%eax, %%fs")
CASE(page, "", "mov 0x400010, %%eax")
CASE(fpu_error, "fninit; fldcw unmasked_zero; fld1; fdivs float_zero; mov $0, %%eax", "fwait")
CASE(alignment, "mov $0x80050031, %%eax; nop", "mov variable+1, %%eax")
CASE(sse_error, "ldmxcsr unmasked; movss minus_one, %%xmm0", "sqrtss %%xmm0, %%xmm1")
CASE(software, "", "int $0x34")

enum { BENIGN, CONTRIBUTORY, PAGE };
static const struct { const char *name; void (*f)(void); u8 *at, *end; u8 vector, class, software; } firsts[] = {
  {"#DE", divide, divide_at, 0, 0, CONTRIBUTORY, 0}, {"INT1", icebp, icebp_at, icebp_end, 1, BENIGN, 2}, {"INT3", breakpoint, breakpoint_at, breakpoint_end, 3, BENIGN, 1},
  {"INTO", overflow, overflow_at, overflow_end, 4, BENIGN, 1}, {"#BR", bound, bound_at, 0, 5, BENIGN, 0}, {"#UD", undefined, undefined_at, 0, 6, BENIGN, 0}, {"#NM", no_fpu, no_fpu_at, 0, 7, BENIGN, 0},
  {"#TS", task, task_at, 0, 10, CONTRIBUTORY, 0}, {"#NP", absent, absent_at, 0, 11, CONTRIBUTORY, 0}, {"#SS", stack, stack_at, 0, 12, CONTRIBUTORY, 0}, {"#GP", protection, protection_at, 0, 13, CONTRIBUTORY, 0},
  {"#PF", page, page_at, 0, 14, PAGE, 0}, {"#MF", fpu_error, fpu_error_at, 0, 16, BENIGN, 0}, {"#AC", alignment, alignment_at, 0, 17, BENIGN, 0}, {"#XM", sse_error, sse_error_at, 0, 19, BENIGN, 0}, {"INT", software, software_at, software_end, 0x34, BENIGN, 1},
};
/* The second exception: what is wrong with the first one's gate, and what follows from it. */
enum { GATE_ABSENT, GATE_TYPE, CODE_ABSENT, CODE_NULL, CODE_DATA, TASK_BUSY, IDT_PAGE, INNER_STACK, INNER_PAGE, SECONDS };
static const char *const seconds[] = {"its gate is absent", "its gate is none", "its code is absent", "its code is null", "its code is data", "its task is busy", "the table is not there", "its stack is of another ring", "its stack is not there"};

static void pair(u32 i, u32 second) {
  u32 vector = firsts[i].vector, ext = firsts[i].software == 1 ? 0 : 1, error = 0, cr2 = 0;
  int got = 13;
  switch (second) {
    case GATE_ABSENT: idt[vector] = gate((u32)stubs, 0x6e); got = 11; error = vector * 8 + 2; break;
    case GATE_TYPE: idt[vector] = gate((u32)stubs, 0xec); error = vector * 8 + 2; break;
    case CODE_ABSENT: idt[vector] = gate_to(ABSENT_CODE, (u32)stubs, 0xee, 0); got = 11; error = ABSENT_CODE; break;
    case CODE_NULL: idt[vector] = gate_to(0, (u32)stubs, 0xee, 0); break;
    case CODE_DATA: idt[vector] = gate_to(DATA0, (u32)stubs, 0xee, 0); error = DATA0; break;
    case TASK_BUSY: idt[vector] = gate_to(TSS, 0, 0xe5, 0); error = TSS; break;
    case INNER_STACK: idt[vector] = gate_to(CODE1, (u32)landing, 0xee, 0); tss.ss1 = DATA0; got = 10; error = DATA0; break;
    case INNER_PAGE: idt[vector] = gate_to(CODE1, (u32)landing, 0xee, 0); tss.esp1 = PAGE_ABSENT + 0x1000; got = 14; error = 2; cr2 = PAGE_ABSENT + 0xffc; break;
    case IDT_PAGE: {
      /* The table moves so that the gate alone, or what follows it, lies in the absent page. */
      struct { u16 limit; u32 base; } __attribute__((packed)) moved = {sizeof idt - 1, PAGE_ABSENT - 8 * vector};
      memcpy((void *)(PAGE_ABSENT - 8 * vector), idt, 8 * vector);
      __asm__ volatile("lidt %0" ::"m"(moved));
      got = 14; error = 0; cr2 = PAGE_ABSENT;
      break;
    }
  }
  if (got == 14) ext = 0;
  else error |= ext;
  /* A table that ends before its handler cannot be used to handle what follows. */
  int doubles = firsts[i].class == CONTRIBUTORY ? got != 14 : firsts[i].class == PAGE;
  u32 handler = doubles ? 8 : got;
  if (second == IDT_PAGE && handler >= vector) { reset(); return; }
  int ring = second >= INNER_STACK ? 3 : 0;
  if (ring == 3 && (firsts[i].f == task || firsts[i].f == no_fpu || firsts[i].f == alignment)) { reset(); return; }
  if (ring == 0 && firsts[i].f == alignment) { reset(); return; }
  /* Ring 3 may not load what ring 0 may: the two #NP and #SS are #GP there. */
  if (ring == 3 && (firsts[i].f == absent || firsts[i].f == stack)) { reset(); return; }
  if (second == GATE_ABSENT && firsts[i].software) ext = ext;
  if (begins(firsts[i].name)) {
    if (is_announced) { print("  "); print(seconds[second]); put('\n'); }
    attempt_in(ring, firsts[i].f);
    u32 vector_seen = outcome, place = (u32)firsts[i].at;
    if (vector_seen != handler || seen.error != (doubles ? 0 : error) || seen.eip != place) { print(seconds[second]); print(": "); }
    compare(firsts[i].name, "vector", outcome, handler);
    compare(firsts[i].name, "error code", seen.error, doubles ? 0 : error);
    compare(firsts[i].name, "instruction pointer", seen.eip, place);
    if (got == 14) compare(firsts[i].name, "CR2", seen_cr2, cr2);
    else if (vector == 14) compare(firsts[i].name, "CR2", seen_cr2, 0x400010);
  }
  reset();
}

/* The alignment check wants CPL 3, with CR0.AM and EFLAGS.AC. */
static void pairs(void) {
  for (u32 second = 0; second < SECONDS; second++)
    for (u32 i = 0; i < sizeof firsts / sizeof *firsts; i++) pair(i, second);
  for (u32 k = 0; k < 2; k++) {
    cr0(CR0 | AM); user_flags = 0x40002;
    idt[17] = gate((u32)stubs + 17 * 16, k ? 0xec : 0x6e);
    expect_at("#AC, then a fault for its gate", alignment, 3, k ? 13 : 11, 17 * 8 + 3, (u32)alignment_at, FAULT, 0, 0);
  }
  /* A page fault in the delivery of a page fault: CR2 is the second's. */
  tss.esp1 = PAGE_ABSENT + 0x1000; idt[14] = gate_to(CODE1, (u32)landing, 0xee, 0);
  if (begins("#PF, then #PF")) {
    attempt_in(3, page);
    compare("#PF, then #PF", "vector", outcome, 8);
    compare("#PF, then #PF", "CR2", seen_cr2, PAGE_ABSENT + 0xffc);
  }
  reset();
}

int main(void) {
  read_command_line();
  reset();
  const char *line = boot_info && (*boot_info & 4) ? (const char *)boot_info[4] : "";
  while (*line && !(line[0] == 't' && line[1] == 'r')) line++;
  if (*line) {
    idt[13] = idt[8] = 0; /* #GP, then #GP for its gate, then #GP for the double fault's */
    protection();
  }
  pairs();
  u32 status = finish();
  __asm__ volatile("out %0, $0xf4" ::"a"(status));
  return 0;
}
