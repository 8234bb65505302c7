/*
 * Several conditions at once: which one is reported, in the order of SDM volume 3, table 7-2, from the traps of the instruction
 * before over interrupts, breakpoints and the fetch to the decoding and the execution of the next; and within one instruction
 * the order that volume 2 gives for its checks.
 */
#include "cases32.h"

enum { SHORT_CODE = 0x60 /* of ring 3 */, ABSENT_CLOSED = 0x68, GATE_BAD = 0x70, CODE_PAGE = 0x78, SMALL3 = 0x83, BUSY_ABSENT = 0x88, ABSENT3 = 0x93 };
enum { SPURIOUS = 0xfee000f0u, EOI = 0xfee000b0u };
static volatile u32 *apic(u32 place) { return (volatile u32 *)place; }
u32 icr_self = 0x40034;
const u16 unmasked_zero = 0x37b;
const u32 float_zero = 0;
static void extend(void) {
  gdt[SHORT_CODE / 8] = descriptor(0, 0xff, 0xfa, 4);
  gdt[ABSENT_CLOSED / 8] = descriptor(0, 0xfffff, 0x12, 0xc);
  gdt[GATE_BAD / 8] = gate_to(0x7f8, 0, 0x0c, 0);
  gdt[CODE_PAGE / 8] = descriptor(PAGE_ABSENT - 0x10, 0x0f, 0x9a, 4); /* ends where the absent page begins */
  gdt[SMALL3 / 8] = descriptor(PAGE_ABSENT, 0xff, 0xf2, 4);
  gdt[BUSY_ABSENT / 8] = descriptor((u32)&tss, 0x10, 0x0b, 0);
  gdt[ABSENT3 / 8] = descriptor(0, 0xfffff, 0x72, 0xc);
  directory[0xfee00000u >> 22] = 0xfec00000u + 0x9b;
}

#define ARM(address, control) "mov $" address ", %%eax; mov %%eax, %%dr0; mov $" control ", %%eax; mov %%eax, %%dr7; "
#define STEP "pushf; orl $0x100, (%%esp); popf"
#define SEND(value) "mov " value ", %%eax; mov %%eax, 0xfee00300; "
#define PENDING_MF "fninit; fldcw unmasked_zero; fld1; fdivs float_zero; "

/* --- before the instruction: traps, NMI, interrupts, breakpoints */
CASE(trap_and_interrupt, "cli; " SEND("icr_self") "nop; nop; pushf; orl $0x300, (%%esp); popf", "nop")
CASE(data_and_interrupt, "cli; " SEND("icr_self") "nop; pushf; orl $0x200, (%%esp); " ARM("variable", "0xd0402") "popf", "movl $1, variable")
CASE(interrupt_and_breakpoint, "cli; " SEND("icr_self") "nop; mov $interrupt_and_breakpoint_end, %%eax; mov %%eax, %%dr0; mov $0x402, %%eax; mov %%eax, %%dr7; sti", "nop")
CASE(interrupt_and_undefined, "cli; " SEND("icr_self") "nop; sti; nop", "ud2")
CASE(step_and_breakpoint, "mov $step_and_breakpoint_end, %%eax; mov %%eax, %%dr0; mov $0x402, %%eax; mov %%eax, %%dr7; " STEP, "nop")
CASE(step_and_undefined, STEP, "nop; ud2")

/* --- fetch and decoding */
static void limit_and_page(void) { __asm__ volatile("ljmp $0x78, $0x10"); }
static void breakpoint_and_page(void) { __asm__ volatile("mov %0, %%dr0; mov %1, %%dr7; jmp *%0" ::"r"(PAGE_ABSENT), "r"(0x402)); }
static u8 *const page_end = (u8 *)PAGE_CODE + 0xff0;
static void run_page_end(void) { ((void (*)(void))page_end)(); }
CASE(breakpoint_and_undefined, ARM("breakpoint_and_undefined_at", "0x402"), "ud2")
CASE(undefined_lock_page, "mov $0x400010, %%ebx", ".byte 0xf0, 0x8b, 0x03")
CASE(undefined_register_form, "", ".byte 0x0f, 0x01, 0xf8") /* SWAPGS, outside 64-bit mode */
CASE(lock_privileged, "", ".byte 0xf0, 0x0f, 0x30")
CASE(undefined_and_no_fpu, "mov $0x80010039, %%eax; mov %%eax, %%cr0", ".byte 0xf0; fnop")
CASE(no_fpu_and_page, "mov $0x80010039, %%eax; mov %%eax, %%cr0; mov $0x400010, %%ebx", "fldl (%%ebx)")
CASE(no_fpu_and_pending, PENDING_MF "mov $0x80010039, %%eax; mov %%eax, %%cr0", "fld1")
CASE(pending_and_page, PENDING_MF "mov $0x400010, %%ebx", "fldl (%%ebx)")
CASE(sse_off_and_no_fpu, "mov $0x80010039, %%eax; mov %%eax, %%cr0; mov $0x10, %%eax; mov %%eax, %%cr4", "addps %%xmm0, %%xmm1")
CASE(emulated_and_no_fpu, "mov $0x8001003d, %%eax; mov %%eax, %%cr0", "addps %%xmm0, %%xmm1")
CASE(no_fpu_and_misaligned, "mov $0x80010039, %%eax; mov %%eax, %%cr0; mov $0x400011, %%ebx", "movaps (%%ebx), %%xmm0")
CASE(misaligned_and_page, "mov $0x400011, %%ebx", "movaps (%%ebx), %%xmm0")
CASE(mmx_pending_and_no_fpu, PENDING_MF "mov $0x80010039, %%eax; mov %%eax, %%cr0", "paddb %%mm0, %%mm1")
CASE(mmx_pending, PENDING_MF, "paddb %%mm0, %%mm1")
CASE(wait_pending, PENDING_MF "mov $0x80010033, %%eax; mov %%eax, %%cr0", "fwait")
CASE(wait_stopped, PENDING_MF "mov $0x8001003b, %%eax; mov %%eax, %%cr0", "fwait")

/* --- execution */
CASE(privilege_and_page, "mov $0x400010, %%ebx", "lidt (%%ebx)")
CASE(privilege_and_value, "mov $0x80000000, %%eax", "mov %%eax, %%cr4")
CASE(privilege_and_msr, "mov $0x12345, %%ecx", "rdmsr")
CASE(limit_and_alignment, "mov $0x83, %%eax; mov %%eax, %%fs", "mov %%fs:0xfd, %%eax")
CASE(null_and_alignment, "xor %%eax, %%eax; mov %%eax, %%fs", "mov %%fs:1, %%eax")
CASE(alignment_and_page, "mov $0x400011, %%ebx", "mov (%%ebx), %%eax")
CASE(divide_and_page, "xor %%eax, %%eax; xor %%edx, %%edx; mov $0x400010, %%ebx", "divl (%%ebx)")
CASE(bound_and_page, "mov $0x400010, %%ebx", "bound %%eax, (%%ebx)")
CASE(write_code_and_page, "mov $0x400010, %%ebx", "movl $0, %%cs:(%%ebx)")
CASE(stack_and_page, "mov $0x83, %%eax; mov %%eax, %%ss; mov $0x102, %%ebp", "mov (%%ebp), %%eax")
CASE(push_source_and_stack, "mov $0x83, %%eax; mov %%eax, %%ss; mov $2, %%esp; mov $0x400010, %%ebx", "pushl (%%ebx)")
CASE(pop_stack_and_page, "mov $0x400010, %%ebx; mov $0x405ffd, %%esp; xor %%eax, %%eax", "popl (%%ebx)")
CASE(movs_both_absent, "mov $0x400010, %%esi; mov $0x400020, %%edi; cld", "movsl")
CASE(repeat_nothing, "mov $0x400010, %%esi; mov $0x400020, %%edi; xor %%ecx, %%ecx; cld", "rep movsl")
CASE(port_and_page, "mov $0x400010, %%edi; mov $0x99, %%edx; cld", "insb")
CASE(outs_and_page, "mov $0x400010, %%esi; mov $0x99, %%edx; cld", "outsb")
CASE(enter_and_page, "mov $0x405010, %%esp; mov $0x405010, %%ebp", "enter $0x1000, $0")
CASE(compare_exchange_page, "mov $0x401010, %%ebx", "cmpxchg %%ecx, (%%ebx)") /* not equal, but the write is checked */
CASE(shift_by_nothing, "mov $0x401010, %%ebx; xor %%ecx, %%ecx", "shll %%cl, (%%ebx)")
CASE(exchange_page, "mov $0x401010, %%ebx", "xchg %%eax, (%%ebx)")
CASE(pusha_page, "mov $0x405010, %%esp", "pusha")

/* --- segments: null, privilege, type, presence in the order of the tables */
u32 selector;
CASE(load, "mov selector, %%eax", "mov %%eax, %%fs")
CASE(load_stack, "mov selector, %%eax", "mov %%eax, %%ss")
CASE(load_task, "mov selector, %%eax", "ltr %%ax")
CASE(load_ldt, "mov selector, %%eax", "lldt %%ax")
CASE(load_far, "mov $0x400010, %%ebx", "lfs (%%ebx), %%eax")
CASE(call_closed, "", "lcall $0x70, $0")
CASE(call_absent, "", "lcall $0x30, $0")
CASE(interrupt, "", "int $0x34")
CASE(return_stack, "push $0x93; push $stack3+2000; push $0x63; push $0x100", "lret")

static void fetch_cases(void) {
  expect_at("limit_and_page", limit_and_page, 0, 13, 0, (u32)limit_and_page, FAULT, 0, 0);
  expect_at("breakpoint_and_page", breakpoint_and_page, 0, 1, NO_CODE, PAGE_ABSENT, TRAP, 0, 1);
  EXPECT_DB(breakpoint_and_undefined, 0, at, 1);
  /* An instruction that goes on in an absent page: too long, undefined, or neither; the fetch comes first. */
  static const struct { const char *name; u8 bytes[16]; int vector; } rows[] = {
    {"fifteen prefixes, then the end of the page", {0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e}, 13},
    {"fourteen prefixes, then the end of the page", {0x90, 0x90, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e}, 14},
    {"half an undefined instruction", {0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x0f}, 14},
    {"half a locked load", {0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xf0, 0x8b, 0x05}, 14},
    {"undefined before the end", {0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x0f, 0x0b}, 6},
  };
  for (u32 i = 0; i < sizeof rows / sizeof *rows; i++) {
    memcpy(page_end, rows[i].bytes, 16);
    u32 at = 0;
    while (rows[i].bytes[at] == 0x90) at++;
    expect_at(rows[i].name, run_page_end, 0, rows[i].vector, rows[i].vector == 6 ? NO_CODE : 0, (u32)page_end + at, FAULT, PAGE_CODE + 0x1000, 0);
  }
}
static void interrupt_cases(void) {
  *apic(SPURIOUS) = 0x1ff;
  expect_at("trap_and_interrupt", trap_and_interrupt, 0, 0x34, NO_CODE, (u32)trap_and_interrupt_at, TRAP, 0, 0); *apic(EOI) = 0;
  expect_at("data_and_interrupt", data_and_interrupt, 0, 0x34, NO_CODE, (u32)data_and_interrupt_at, TRAP, 0, 0); *apic(EOI) = 0;
  expect_at("interrupt_and_breakpoint", interrupt_and_breakpoint, 0, 0x34, NO_CODE, (u32)interrupt_and_breakpoint_end, TRAP, 0, 0); *apic(EOI) = 0;
  expect_at("interrupt_and_undefined", interrupt_and_undefined, 0, 0x34, NO_CODE, (u32)interrupt_and_undefined_at, TRAP, 0, 0); *apic(EOI) = 0;
  if (begins("step_and_breakpoint")) { /* the breakpoint may show already */
    attempt(step_and_breakpoint);
    compare("step_and_breakpoint", "instruction pointer", seen.eip, (u32)step_and_breakpoint_end);
    compare("step_and_breakpoint", "DR6", seen_dr6 & 0xfffe, 0x4ff0);
  }
  reset();
  expect_at("step_and_undefined", step_and_undefined, 0, 1, NO_CODE, (u32)step_and_undefined_at + 1, TRAP, 0, 0x4000);
}
static void decode_cases(void) {
  EXPECT(undefined_lock_page, 3, 6, NO_CODE, at, FAULT);
  EXPECT(undefined_register_form, 3, 6, NO_CODE, at, FAULT);
  EXPECT(lock_privileged, 3, 6, NO_CODE, at, FAULT);
  EXPECT(undefined_and_no_fpu, 0, 6, NO_CODE, at, FAULT);
  EXPECT(no_fpu_and_page, 0, 7, NO_CODE, at, FAULT);
  EXPECT(no_fpu_and_pending, 0, 7, NO_CODE, at, FAULT);
  EXPECT(pending_and_page, 0, 16, NO_CODE, at, FAULT);
  EXPECT(sse_off_and_no_fpu, 0, 6, NO_CODE, at, FAULT);
  EXPECT(emulated_and_no_fpu, 0, 6, NO_CODE, at, FAULT);
  EXPECT(no_fpu_and_misaligned, 0, 7, NO_CODE, at, FAULT);
  EXPECT(misaligned_and_page, 0, 13, 0, at, FAULT);
  EXPECT(mmx_pending_and_no_fpu, 0, 7, NO_CODE, at, FAULT);
  EXPECT(mmx_pending, 0, 16, NO_CODE, at, FAULT);
  EXPECT(wait_pending, 0, 16, NO_CODE, at, FAULT);
  EXPECT(wait_stopped, 0, 7, NO_CODE, at, FAULT);
}
static void execution_cases(void) {
  EXPECT(privilege_and_page, 3, 13, 0, at, FAULT);
  EXPECT(privilege_and_value, 3, 13, 0, at, FAULT);
  EXPECT(privilege_and_msr, 3, 13, 0, at, FAULT);
  cr0(CR0 | AM); user_flags = 0x40002; EXPECT(limit_and_alignment, 3, 13, 0, at, FAULT);
  cr0(CR0 | AM); user_flags = 0x40002; EXPECT(null_and_alignment, 3, 13, 0, at, FAULT);
  cr0(CR0 | AM); user_flags = 0x40002; EXPECT(alignment_and_page, 3, 17, 0, at, FAULT);
  EXPECT_PF(divide_and_page, 3, 4, 0x400010);
  EXPECT_PF(bound_and_page, 3, 4, 0x400010);
  EXPECT(write_code_and_page, 3, 13, 0, at, FAULT);
  EXPECT(stack_and_page, 3, 12, 0, at, FAULT);
  EXPECT_PF(push_source_and_stack, 3, 4, 0x400010);
  EXPECT_PF(pop_stack_and_page, 3, 4, 0x406000);
  EXPECT_PF(movs_both_absent, 3, 4, 0x400010);
  EXPECT(repeat_nothing, 3, DONE, 0, at, FAULT);
  EXPECT(port_and_page, 3, 13, 0, at, FAULT);
  EXPECT(outs_and_page, 3, 13, 0, at, FAULT);
  EXPECT_PF(compare_exchange_page, 3, 7, 0x401010);
  EXPECT_PF(shift_by_nothing, 3, 7, 0x401010);
  EXPECT_PF(exchange_page, 3, 7, 0x401010);
  if (begins("pusha_page")) {
    attempt_in(3, pusha_page);
    compare("pusha_page", "vector", outcome, 14);
    compare("pusha_page", "page", seen_cr2 & ~0xfff, 0x404000);
    compare("pusha_page", "ESP", seen.esp, 0x405010);
  }
  reset();
  EXPECT_PF(enter_and_page, 3, 6, 0x40400c);
}
static void segment_cases(void) {
  selector = 0x7f8; EXPECT(load, 3, 13, 0x7f8, at, FAULT);
  selector = ABSENT_CLOSED | 3; EXPECT(load, 3, 13, ABSENT_CLOSED, at, FAULT);
  selector = TSS; EXPECT(load, 3, 13, TSS, at, FAULT);
  selector = ABSENT3; EXPECT(load, 3, 11, ABSENT3 & ~3, at, FAULT);
  selector = 3; EXPECT(load_stack, 3, 13, 0, at, FAULT);
  selector = ABSENT3 & ~3; EXPECT(load_stack, 3, 13, ABSENT3 & ~3, at, FAULT);
  selector = ABSENT3; EXPECT(load_stack, 3, 12, ABSENT3 & ~3, at, FAULT);
  selector = BUSY_ABSENT; EXPECT(load_task, 0, 13, BUSY_ABSENT, at, FAULT);
  selector = BUSY_ABSENT; EXPECT(load_task, 3, 13, 0, at, FAULT);
  selector = 0; EXPECT(load_task, 0, 13, 0, at, FAULT);
  selector = DATA0; EXPECT(load_ldt, 0, 13, DATA0, at, FAULT);
  selector = 12; EXPECT(load_ldt, 0, 13, 12, at, FAULT);
  if (begins("load_far")) { /* whichever half is read first */
    attempt_in(3, load_far);
    compare("load_far", "vector", outcome, 14);
    compare("load_far", "CR2", seen_cr2 & ~7, 0x400010);
  }
  reset();
  EXPECT(call_closed, 3, 13, GATE_BAD, at, FAULT);
  EXPECT(call_absent, 3, 13, ABSENT, at, FAULT);
  idt[0x34] = gate_to(0x7f8, 0, 0x0e, 0); EXPECT(interrupt, 3, 13, 0x34 * 8 + 2, at, FAULT); /* closed, absent, beyond */
  idt[0x34] = gate_to(0x7f8, 0, 0x6e, 0); EXPECT(interrupt, 3, 11, 0x34 * 8 + 2, at, FAULT);
  idt[0x34] = gate_to(0x7f8, 0, 0xee, 0); EXPECT(interrupt, 3, 13, 0x7f8, at, FAULT);
  idt[0x34] = gate_to(SHORT_CODE & ~3, 0x100, 0xee, 0); EXPECT(interrupt, 3, 13, 0, at, FAULT);
  EXPECT(return_stack, 0, 12, ABSENT3 & ~3, at, FAULT); /* the stack comes before the limit of the code */
}

int main(void) {
  read_command_line();
  reset();
  interrupt_cases();
  fetch_cases();
  decode_cases();
  execution_cases();
  segment_cases();
  u32 status = finish();
  __asm__ volatile("out %0, $0xf4" ::"a"(status));
  return 0;
}
