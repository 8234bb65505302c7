/*
 * Debug exceptions beyond exceptions32.c: what RF shows in frames of interrupts that split a repeated instruction; data
 * breakpoints that the processor's own accesses meet (descriptors, TSS, frames); single steps and breakpoints around INT, IRET,
 * HLT, STI, MOV SS and branches; BTF; I/O breakpoints; several at once. SDM volume 3, chapter 19.
 */
#include "cases32.h"

enum { SPARE = 0x60, GATE1 = 0x68, DR7_FIXED = 0x400 };
static void extend(void) {
  gdt[SPARE / 8] = descriptor(0, 0xfffff, 0x92, 0xc);
  gdt[GATE1 / 8] = gate_to(CODE1, (u32)landing, 0xec, 0);
  directory[0xfee00000u >> 22] = 0xfec00000u + 0x9b;
}
enum { ICR = 0xfee00300u, SPURIOUS = 0xfee000f0u, EOI = 0xfee000b0u };
static volatile u32 *apic(u32 place) { return (volatile u32 *)place; }

#define ARM(address, control) "mov $" address ", %%eax; mov %%eax, %%dr0; mov $" control ", %%eax; mov %%eax, %%dr7; "
#define STEP "pushf; orl $0x100, (%%esp); popf"
static void expect_trap(const char *name, void (*f)(void), int ring, void *eip, int rf, u32 dr6) {
  expect_at(name, f, ring, 1, NO_CODE, (u32)eip, rf, 0, dr6);
}
#define TRAPPED(name, ring, where, dr6) expect_trap(#name, name, ring, name##_##where, TRAP, dr6)

/* --- interrupts between the elements of a repeated instruction: sent by the processor itself, after the write of the ICR */
u32 icr_value = 0x40034; /* to itself, vector 34H */
CASE(split_stos, "mov $0x2000, %%ecx; mov $0x7000, %%edi; cld; sti; mov icr_value, %%eax; mov %%eax, 0xfee00300", "rep stosb")
CASE(split_movs, "mov $0x7000, %%esi; mov $0x2000, %%ecx; mov $0x7000, %%edi; cld; sti; mov icr_value, %%eax; mov %%eax, 0xfee00300", "rep movsb")
CASE(after_sti, "cli; mov icr_value, %%eax; mov %%eax, 0xfee00300; nop; nop; sti", "nop")
CASE(after_sti_sti, "cli; mov icr_value, %%eax; mov %%eax, 0xfee00300; nop; nop; sti; sti", "nop")
CASE(after_ss, "cli; mov icr_value, %%eax; mov %%eax, 0xfee00300; mov %%ss, %%edx; nop; sti; mov %%edx, %%ss", "nop")
CASE(sti_cli, "cli; mov icr_value, %%eax; mov %%eax, 0xfee00300; nop; nop; sti; cli", "nop")
CASE(halted, "cli; mov icr_value, %%eax; mov %%eax, 0xfee00300; nop; nop; sti", "hlt")
static void apic_on(void) { *apic(SPURIOUS) = 0x1ff; }
/* How far a string instruction gets is not determined; that it is split, and how that shows, is. */
static void splits(const char *name, void (*f)(void), u8 *at, u8 *end) {
  apic_on();
  if (begins(name)) {
    attempt(f);
    *apic(EOI) = 0;
    compare(name, "vector", outcome, 0x34);
    int inside = seen.ecx != 0 && seen.ecx != 0x2000;
    compare(name, "instruction pointer", seen.eip, (u32)(seen.ecx ? at : end));
    if (seen.ecx != 0x2000) compare(name, "RF", seen.eflags >> 16 & 1, inside);
  }
  reset();
}
static void arrives_at(const char *name, void (*f)(void), void *eip) {
  apic_on();
  expect_at(name, f, 0, 0x34, NO_CODE, (u32)eip, TRAP, 0, 0);
  *apic(EOI) = 0;
}
static void take_interrupt(void) { __asm__ volatile("sti; nop; nop; cli"); }
static void interrupt_cases(void) {
  splits("split_stos", split_stos, split_stos_at, split_stos_end);
  splits("split_movs", split_movs, split_movs_at, split_movs_end);
  arrives_at("after_sti", after_sti, after_sti_end);
  arrives_at("after_sti_sti", after_sti_sti, after_sti_sti_at);
  arrives_at("after_ss", after_ss, after_ss_end);
  arrives_at("halted", halted, halted_end);
  apic_on();
  expect_at("sti_cli", sti_cli, 0, NONE, 0, 0, 0, 0, 0);
  apic_on();
  attempt(take_interrupt);
  *apic(EOI) = 0;
  reset();
}

/* --- data breakpoints on accesses that no operand names */
u32 watched; /* what DR0 gets */
#define WATCH(control) "mov watched, %%eax; mov %%eax, %%dr0; mov $" control ", %%eax; mov %%eax, %%dr7; "
CASE(load_descriptor, "mov $0x60, %%ecx;" WATCH("0xf0402"), "mov %%ecx, %%fs")
CASE(mark_accessed, "mov $0x60, %%ecx;" WATCH("0x10402"), "mov %%ecx, %%fs")
CASE(ask_descriptor, "mov $0x60, %%ecx;" WATCH("0xf0402"), "lar %%ecx, %%edx")
CASE(read_gate, WATCH("0xf0402"), "int $0x34")
CASE(frame_of_int, "mov %%esp, %%edx; sub $4, %%edx; mov %%edx, %%dr0; mov $0xd0402, %%eax; mov %%eax, %%dr7", "int $0x34")
CASE(read_inner_stack, "nop", "int $0x34")
CASE(far_call_descriptor, WATCH("0xf0402"), "ljmp $0x50, $far_call_descriptor_to; far_call_descriptor_to: nop")
CASE(iret_frame, "push $0x23; push $stack3+2000; push $2; push $0x1b; push $iret_frame_to; mov %%esp, %%eax; mov %%eax, %%dr0; mov $0xf0402, %%eax; mov %%eax, %%dr7", "iret; iret_frame_to: nop")
extern u8 far_call_descriptor_to[], iret_frame_to[];
static void arm(u32 address, u32 control) { __asm__ volatile("mov %0, %%dr0; mov %1, %%dr7" ::"r"(address), "r"(control)); }
static void implicit_cases(void) {
  watched = (u32)&gdt[SPARE / 8] + 4; TRAPPED(load_descriptor, 0, end, 1);
  watched = (u32)&gdt[SPARE / 8] + 5; TRAPPED(mark_accessed, 0, end, 1);
  watched = (u32)&gdt[SPARE / 8]; TRAPPED(ask_descriptor, 0, end, 1);
  watched = (u32)&idt[0x34]; idt[0x34] = gate((u32)landing, 0xee); expect_trap("read_gate", read_gate, 0, landing, TRAP, 1);
  idt[0x34] = gate((u32)landing, 0xee); expect_trap("frame_of_int", frame_of_int, 0, landing, TRAP, 1);
  idt[0x34] = gate_to(CODE1, (u32)landing, 0xee, 0); arm((u32)&tss.esp1, 0xf0402);
  if (begins("read_inner_stack")) {
    attempt_in(3, read_inner_stack);
    compare("read_inner_stack", "vector", outcome, 1);
    compare("read_inner_stack", "instruction pointer", seen.eip, (u32)landing);
    compare("read_inner_stack", "CPL", seen.cs & 3, 1);
    compare("read_inner_stack", "DR6", seen_dr6 & 0xf00f, 1);
  }
  reset();
  watched = (u32)&gdt[CONFORMING / 8]; expect_trap("far_call_descriptor", far_call_descriptor, 0, far_call_descriptor_to, TRAP, 1);
  if (begins("iret_frame")) {
    attempt(iret_frame);
    compare("iret_frame", "vector", outcome, 1);
    compare("iret_frame", "instruction pointer", seen.eip, (u32)iret_frame_to);
    compare("iret_frame", "CPL", seen.cs & 3, 3);
  }
  reset();
}

/* --- single steps */
CASE(step_iret, "push $2; push %%cs; push $step_iret_to; " STEP, "iret; nop; step_iret_to: nop")
extern u8 step_iret_to[];
CASE(iret_sets, "pushf; orl $0x100, (%%esp); push %%cs; push $iret_sets_at; iret", "nop")
CASE(step_hlt, "cli;" STEP, "hlt")
CASE(step_sti, "cli;" STEP, "sti")
CASE(step_pushf, STEP, "pushf")
CASE(step_int3, STEP, "int3")
CASE(step_into, "mov $0x7f, %%al; " STEP "; add $1, %%al", "into")
CASE(step_jump, STEP, "jmp step_jump_to; nop; step_jump_to: nop")
extern u8 step_jump_to[];
CASE(step_movs_last, "mov $variable, %%esi; mov $variable+4, %%edi; mov $1, %%ecx; cld; " STEP, "rep movsb")
CASE(step_string_none, "xor %%ecx, %%ecx; mov $variable, %%edi;" STEP, "rep stosb")
CASE(step_scas, "mov $variable, %%edi; movl $0, variable; mov $3, %%ecx; xor %%eax, %%eax; cld; " STEP, "repe scasb")
CASE(step_cpuid, STEP, "cpuid")
CASE(step_in, STEP, "in $0x80, %%al")
CASE(step_cr, "mov %%cr0, %%eax; " STEP, "mov %%eax, %%cr0")
CASE(step_lss, "mov %%esp, variable; mov %%ss, variable+4; " STEP, "lss variable, %%esp")
CASE(step_pop_ss, "push %%ss; " STEP, "pop %%ss; nop")
CASE(step_pop_ds, "push %%ds; " STEP, "pop %%ds")
CASE(icebp_with_dr6, "mov $0xffff0ff5, %%eax; mov %%eax, %%dr6", ".byte 0xf1")
CASE(icebp_clears_gd, "mov $0x2400, %%eax; mov %%eax, %%dr7", ".byte 0xf1")
CASE(dr6_adds, "mov $0xffff4ff8, %%eax; mov %%eax, %%dr6; " ARM("dr6_adds_at", "0x402"), "nop")

/* --- branches alone */
#define BTF "mov $0x1d9, %%ecx; mov $2, %%eax; xor %%edx, %%edx; wrmsr; mov $2, %%ecx; " STEP "; "
CASE(btf_next, BTF "nop; nop", "jmp btf_next_end")
CASE(btf_taken, BTF "nop; cmp %%eax, %%eax", "je btf_taken_end")
CASE(btf_not_taken, BTF "nop; cmp %%eax, %%eax; jne btf_not_taken_at; nop", "jmp btf_not_taken_end")
CASE(btf_loop, BTF "nop", "loop btf_loop_end")
CASE(btf_return, "push $btf_return_end;" BTF "nop", "ret")
CASE(btf_none, BTF "nop; cpuid; push %%eax; pop %%eax; nop", "nop; push $2; popf")

/* --- breakpoints */
CASE(four_at_once, "mov $four_at_once_at, %%eax; mov %%eax, %%dr0; mov %%eax, %%dr1; mov %%eax, %%dr2; mov %%eax, %%dr3; mov $0x4aa, %%eax; mov %%eax, %%dr7", "nop")
CASE(one_disabled, "mov $one_disabled_end, %%eax; mov %%eax, %%dr0; mov $one_disabled_at, %%eax; mov %%eax, %%dr2; mov $0x420, %%eax; mov %%eax, %%dr7", "nop")
CASE(data_and_code, "mov $variable, %%eax; mov %%eax, %%dr1; mov $data_and_code_end, %%eax; mov %%eax, %%dr0; mov $0xd0040a, %%eax; mov %%eax, %%dr7", "movl $1, variable")
CASE(two_data, "mov $variable, %%eax; mov %%eax, %%dr1; mov $variable+2, %%eax; mov %%eax, %%dr3; mov $0x50d00488, %%eax; mov %%eax, %%dr7", "movl $1, variable")
CASE(modify_read, ARM("variable", "0xf0402"), "addl $1, variable")
CASE(exchange, ARM("variable", "0xd0402") "mov $1, %%eax", "xchg %%eax, variable")
CASE(movs_both, "mov $variable, %%esi; mov $variable+8, %%edi; cld; " ARM("variable", "0xf0402"), "movsl")
CASE(fault_after_hit, "mov $variable, %%esi; mov $0x400000, %%edi; cld; " ARM("variable", "0xf0402"), "movsl")
CASE(inner_byte, ARM("inner_byte_at+1", "0x402"), "mov $1, %%eax")
CASE(port_out, ARM("0x80", "0x20402"), "out %%al, $0x80")
CASE(port_word, ARM("0x80", "0x60402"), "in $0x81, %%al")
CASE(port_beside, ARM("0x80", "0x20402"), "in $0x81, %%al")
CASE(port_outs, "mov $0x80, %%edx; mov $variable, %%esi; mov $2, %%ecx; cld; " ARM("0x80", "0x20402"), "rep outsb")
CASE(ss_then_icebp, "mov %%ss, variable; " ARM("variable", "0xf0402"), "mov variable, %%ss; .byte 0xf1")
CASE(step_ss_icebp, "mov %%ss, %%edx; " STEP, "mov %%edx, %%ss; .byte 0xf1")
CASE(ss_then_int, "mov %%ss, variable; " ARM("variable", "0xf0402"), "mov variable, %%ss; int $0x34")
CASE(read_detect, "mov $0x2400, %%eax; mov %%eax, %%dr7", "mov %%dr7, %%eax")
CASE(iret_to_breakpoint, ARM("iret_to_breakpoint_at", "0x402") "pushf; push %%cs; push $iret_to_breakpoint_at; iret", "nop")
CASE(popf_no_rf, ARM("popf_no_rf_at", "0x402") "pushf; orl $0x10000, (%%esp); popf", "nop")
CASE(user_breakpoint, "", "nop")

static void step_cases(void) {
  expect_trap("step_iret", step_iret, 0, step_iret_to, TRAP, 0x4000);
  compare("step_iret", "TF", seen.eflags >> 8 & 1, 0);
  TRAPPED(iret_sets, 0, end, 0x4000);
  TRAPPED(step_hlt, 0, end, 0x4000);
  TRAPPED(step_sti, 0, end, 0x4000);
  TRAPPED(step_pushf, 0, end, 0x4000);
  expect_at("step_int3", step_int3, 0, 3, NO_CODE, (u32)step_int3_end, TRAP, 0, 0);
  expect_at("step_into", step_into, 0, 1, NO_CODE, (u32)step_into_at, TRAP, 0, 0x4000);
  expect_trap("step_jump", step_jump, 0, step_jump_to, TRAP, 0x4000);
  TRAPPED(step_movs_last, 0, end, 0x4000);
  TRAPPED(step_string_none, 0, end, 0x4000);
  expect_trap("step_scas", step_scas, 0, step_scas_at, FAULT, 0x4000);
  TRAPPED(step_cpuid, 0, end, 0x4000);
  TRAPPED(step_in, 0, end, 0x4000);
  TRAPPED(step_cr, 0, end, 0x4000);
  TRAPPED(step_lss, 0, end, 0x4000);
  TRAPPED(step_pop_ss, 0, end, 0x4000);
  TRAPPED(step_pop_ds, 0, end, 0x4000);
  expect_at("icebp_with_dr6", icebp_with_dr6, 0, 1, NO_CODE, (u32)icebp_with_dr6_end, TRAP, 0, 5);
  expect_at("icebp_clears_gd", icebp_clears_gd, 0, 1, NO_CODE, (u32)icebp_clears_gd_end, TRAP, 0, 0);
  TRAPPED(dr6_adds, 0, at, 0x4001);
  TRAPPED(btf_next, 0, end, 0x4000);
  TRAPPED(btf_taken, 0, end, 0x4000);
  TRAPPED(btf_not_taken, 0, end, 0x4000);
  TRAPPED(btf_loop, 0, end, 0x4000);
  TRAPPED(btf_return, 0, end, 0x4000);
  expect_at("btf_none", btf_none, 0, NONE, 0, 0, 0, 0, 0);
  __asm__ volatile("wrmsr" ::"c"(0x1d9), "a"(0), "d"(0));
}
static void breakpoint_cases(void) {
  TRAPPED(four_at_once, 0, at, 15);
  TRAPPED(one_disabled, 0, at, 4);
  if (begins("data_and_code")) { /* the trap of the instruction before goes first, the breakpoint may show already */
    attempt(data_and_code);
    compare("data_and_code", "instruction pointer", seen.eip, (u32)data_and_code_end);
    compare("data_and_code", "DR6", seen_dr6 & 0xfffe, 0xff2);
  }
  reset();
  TRAPPED(two_data, 0, end, 10);
  TRAPPED(modify_read, 0, end, 1);
  TRAPPED(exchange, 0, end, 1);
  TRAPPED(movs_both, 0, end, 1);
  expect_at("fault_after_hit", fault_after_hit, 0, 14, 2, (u32)fault_after_hit_at, FAULT, 0x400000, 0);
  expect_at("inner_byte", inner_byte, 0, NONE, 0, 0, 0, 0, 0);
  cr4(0x618); TRAPPED(port_out, 0, end, 1);
  cr4(0x618); TRAPPED(port_word, 0, end, 1);
  cr4(0x618); expect_at("port_beside", port_beside, 0, NONE, 0, 0, 0, 0, 0);
  cr4(0x618); expect_trap("port_outs", port_outs, 0, port_outs_at, FAULT, 1);
  TRAPPED(ss_then_icebp, 0, end, 1);
  TRAPPED(step_ss_icebp, 0, end, 0);
  idt[0x34] = gate((u32)landing, 0xee); expect_trap("ss_then_int", ss_then_int, 0, landing, TRAP, 1);
  expect_at("read_detect", read_detect, 0, 1, NO_CODE, (u32)read_detect_at, FAULT, 0, 0x2000);
  TRAPPED(iret_to_breakpoint, 0, at, 1);
  TRAPPED(popf_no_rf, 0, at, 1);
  arm((u32)user_breakpoint_at, 0x402);
  expect_at("user_breakpoint", user_breakpoint, 3, 1, NO_CODE, (u32)user_breakpoint_at, TRAP, 0, 1);
}

int main(void) {
  read_command_line();
  reset();
  interrupt_cases();
  implicit_cases();
  step_cases();
  breakpoint_cases();
  u32 status = finish();
  __asm__ volatile("out %0, $0xf4" ::"a"(status));
  return 0;
}
