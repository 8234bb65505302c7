/*
 * Every exception of a 32-bit protected-mode system with paging, debug exceptions and the priority among them. Each case
 * knows what the manual says: vector, error code, CR2, instruction pointer, RF and TF of the pushed flags, DR6. The guest
 * prints what differs and ends with status 0 if nothing does. SDM volume 3, chapters 7 (table 7-2: priority) and 19.
 */
#include "cases32.h"

float minus_one = -1;
u32 saved_word[2];
const u32 float_zero = 0;
const u32 unmasked_invalid = 0x1f00;
const u16 unmasked_zero = 0x37b;
static void extend(void) {}

/* One of each vector. */
CASE(divide, "xor %%ecx, %%ecx; mov $1, %%eax; cltd", "div %%ecx")
CASE(overflow_divide, "mov $-1, %%ecx; mov $0x80000000, %%eax; cltd", "idiv %%ecx")
CASE(icebp, "", ".byte 0xf1")
CASE(breakpoint, "", "int3")
CASE(breakpoint_long, "", ".byte 0xcd, 3")
CASE(into, "mov $0x7fffffff, %%eax; inc %%eax", "into")
CASE(into_not, "xor %%eax, %%eax", "into")
CASE(bound, "mov $variable, %%ebx; movl $2, (%%ebx); movl $4, 4(%%ebx); mov $5, %%eax", "bound %%eax, (%%ebx)")
CASE(undefined, "", "ud2")
CASE(lock_register, "", ".byte 0xf0, 0x01, 0xc0")
CASE(lock_load, "mov $variable, %%ebx", ".byte 0xf0, 0x8b, 0x03")
CASE(mov_cr1, "", ".byte 0x0f, 0x20, 0xc8")
CASE(load_absent, "mov $0x30, %%eax", "mov %%eax, %%fs")
CASE(load_absent_stack, "mov $0x30, %%eax", "mov %%eax, %%ss")
CASE(beyond_gdt, "mov $0xff8, %%eax", "mov %%eax, %%fs")
CASE(beyond_idt, "", "int $0x45")
CASE(guarded_gate, "", "int $0x20")
CASE(open_gate, "", "int $0x32")
CASE(small_limit, "mov $0x3b, %%eax; mov %%eax, %%fs", "mov %%fs:0xfd, %%eax")
CASE(fpu_error, "fninit; fldcw unmasked_zero; fld1; fdivs float_zero; mov $0, %%eax", "fwait")
CASE(sse_error, "ldmxcsr unmasked_invalid; movss minus_one, %%xmm0", "sqrtss %%xmm0, %%xmm1")
CASE(not_aligned, "mov $variable, %%ebx", "mov 1(%%ebx), %%eax")
CASE(fnop, "", "fnop")
CASE(wait, "", "fwait")
CASE(sse_move, "", "movaps %%xmm0, %%xmm1")

/* Page faults. */
CASE(read_absent, "mov $0x400010, %%ebx", "mov (%%ebx), %%eax")
CASE(write_absent, "mov $0x400010, %%ebx", "mov %%eax, (%%ebx)")
CASE(modify_absent, "mov $0x400010, %%ebx", "add %%eax, (%%ebx)")
CASE(write_read_only, "mov $0x401010, %%ebx", "mov %%eax, (%%ebx)")
CASE(read_system, "mov $0x402010, %%ebx", "mov (%%ebx), %%eax")
CASE(write_system, "mov $0x402010, %%ebx", "mov %%eax, (%%ebx)")
CASE(read_across, "mov $0x403ffe, %%ebx", "mov (%%ebx), %%eax")
CASE(write_across, "mov $0x403ffe, %%ebx", "mov %%eax, (%%ebx)")
CASE(read_reserved, "mov $0x800010, %%ebx", "mov (%%ebx), %%eax")
CASE(push_absent, "mov $0x405000, %%esp", "push %%eax")
CASE(movs_absent, "mov $variable, %%esi; mov $0x400000, %%edi; mov $1, %%ecx; cld", "rep movsb")
CASE(movs_later, "mov $variable, %%esi; mov $0x403ffe, %%edi; mov $8, %%ecx; cld", "rep movsb")
CASE(call_through_absent, "mov $0x400010, %%ebx", "call *(%%ebx)")
static void jump_absent(void) { ((void (*)(void))PAGE_ABSENT)(); }
static void fetch_across(void) { ((void (*)(void))(PAGE_CODE + 0xffe))(); }

static void memory_cases(void) {
  static const struct { void (*f)(void); const char *name; u8 *at; u32 cr2; int code0, code3; } rows[] = {
    {read_absent, "read_absent", read_absent_at, 0x400010, 0, 4},
    {write_absent, "write_absent", write_absent_at, 0x400010, 2, 6},
    {modify_absent, "modify_absent", modify_absent_at, 0x400010, 2, 6},
    {write_read_only, "write_read_only", write_read_only_at, 0x401010, 3, 7},
    {read_system, "read_system", read_system_at, 0x402010, -1, 5},
    {write_system, "write_system", write_system_at, 0x402010, -1, 7},
    {read_across, "read_across", read_across_at, 0x404000, 0, 4},
    {write_across, "write_across", write_across_at, 0x404000, 2, 6},
    {read_reserved, "read_reserved", read_reserved_at, 0x800010, 9, 13},
    {movs_absent, "movs_absent", movs_absent_at, 0x400000, 2, 6},
    {movs_later, "movs_later", movs_later_at, 0x404000, 2, 6},
    {call_through_absent, "call_through_absent", call_through_absent_at, 0x400010, 0, 4},
  };
  for (u32 i = 0; i < sizeof rows / sizeof *rows; i++)
    for (int ring = 0; ring <= 3; ring += 3) {
      int code = ring ? rows[i].code3 : rows[i].code0;
      *(u32 *)(PAGE_USER + 0xffc) = 0x11223344;
      expect_at(rows[i].name, rows[i].f, ring, code < 0 ? NONE : 14, code, (u32)rows[i].at, FAULT, rows[i].cr2, 0);
      if (rows[i].f == movs_later) { compare("movs_later", "left", seen.ecx, 6); compare("movs_later", "source", seen.esi, (u32)variable + 2); }
      else compare(rows[i].name, "what lies before the page", *(u32 *)(PAGE_USER + 0xffc), 0x11223344);
    }
  expect_at("jump_absent", jump_absent, 0, 14, 0, PAGE_ABSENT, FAULT, PAGE_ABSENT, 0);
  expect_at("jump_absent", jump_absent, 3, 14, 4, PAGE_ABSENT, FAULT, PAGE_ABSENT, 0);
  *(u8 *)(PAGE_CODE + 0xffe) = 0xb8; /* mov eax, imm32: goes on in the next page */
  expect_at("fetch_across", fetch_across, 3, 14, 4, PAGE_CODE + 0xffe, FAULT, PAGE_CODE + 0x1000, 0);
  EXPECT_PF(push_absent, 3, 6, 0x404ffc);
  cr0(CR0 & ~WP);
  EXPECT(write_read_only, 0, NONE, 0, at, FAULT);
}

static void vector_cases(void) {
  for (int ring = 0; ring <= 3; ring += 3) {
    EXPECT(divide, ring, 0, NO_CODE, at, FAULT);
    EXPECT(overflow_divide, ring, 0, NO_CODE, at, FAULT);
    EXPECT_DB(icebp, ring, end, 0);
    idt[3] = idt[4] = 0;
    idt[3] = gate((u32)stubs + 3 * 16, 0xee); idt[4] = gate((u32)stubs + 4 * 16, 0xee);
    EXPECT(breakpoint, ring, 3, NO_CODE, end, TRAP);
    idt[3] = gate((u32)stubs + 3 * 16, 0xee);
    EXPECT(breakpoint_long, ring, 3, NO_CODE, end, TRAP);
    idt[4] = gate((u32)stubs + 4 * 16, 0xee);
    EXPECT(into, ring, 4, NO_CODE, end, TRAP);
    EXPECT(into_not, ring, ring ? DONE : NONE, NO_CODE, end, TRAP);
    EXPECT(bound, ring, 5, NO_CODE, at, FAULT);
    EXPECT(undefined, ring, 6, NO_CODE, at, FAULT);
    EXPECT(lock_register, ring, 6, NO_CODE, at, FAULT);
    EXPECT(lock_load, ring, 6, NO_CODE, at, FAULT);
    EXPECT(mov_cr1, ring, 6, NO_CODE, at, FAULT);
    EXPECT(load_absent, ring, ring ? 13 : 11, 0x30, at, FAULT);
    EXPECT(load_absent_stack, ring, ring ? 13 : 12, 0x30, at, FAULT);
    EXPECT(beyond_gdt, ring, 13, 0xff8, at, FAULT);
    EXPECT(beyond_idt, ring, 13, 0x45 * 8 + 2, at, FAULT);
    EXPECT(small_limit, ring, 13, 0, at, FAULT);
    EXPECT(fpu_error, ring, 16, NO_CODE, at, FAULT);
    EXPECT(sse_error, ring, 19, NO_CODE, at, FAULT);
    cr4(0x210);
    EXPECT(sse_error, ring, 6, NO_CODE, at, FAULT);
    cr0(CR0 | AM); user_flags = 0x40002;
    EXPECT(not_aligned, ring, ring ? 17 : NONE, 0, at, FAULT);
    cr0(CR0 | TS);
    EXPECT(fnop, ring, 7, NO_CODE, at, FAULT);
    cr0(CR0 | EM);
    EXPECT(fnop, ring, 7, NO_CODE, at, FAULT);
    cr0(CR0 | TS | MP);
    EXPECT(wait, ring, 7, NO_CODE, at, FAULT);
    cr0(CR0 | EM);
    EXPECT(sse_move, ring, 6, NO_CODE, at, FAULT);
    cr0(CR0 | TS);
    EXPECT(sse_move, ring, 7, NO_CODE, at, FAULT);
    cr4(0x10);
    EXPECT(sse_move, ring, 6, NO_CODE, at, FAULT);
  }
  EXPECT(guarded_gate, 3, 13, 0x20 * 8 + 2, at, FAULT);
  EXPECT(open_gate, 3, 0x32, NO_CODE, end, TRAP);
  EXPECT(breakpoint, 3, 13, 3 * 8 + 2, at, FAULT);
}

/* Faults in the delivery of faults. */
CASE(bad_cr4, "mov $0x80000000, %%eax", "mov %%eax, %%cr4")
static void double_cases(void) {
  idt[13] = idt[11] = 0;
  EXPECT(bad_cr4, 0, 8, 0, at, TRAP); /* #GP, then #GP for its gate */
  idt[13] = gate((u32)stubs + 13 * 16, 0x0e);
  EXPECT(bad_cr4, 0, 8, 0, at, TRAP); /* #GP, then #NP for its gate */
  idt[14] = gate((u32)stubs + 14 * 16, 0x0e);
  EXPECT(read_absent, 0, 8, 0, at, TRAP); /* #PF, then #NP */
  compare("read_absent", "CR2 of the double fault", seen_cr2, 0x400010);
  idt[6] = gate((u32)stubs + 6 * 16, 0x0e);
  EXPECT(undefined, 0, 11, 6 * 8 + 3, at, FAULT); /* a benign one, then #NP with EXT */
  idt[3] = gate((u32)stubs + 3 * 16, 0x6e);
  EXPECT(breakpoint, 0, 11, 3 * 8 + 2, at, FAULT); /* of an instruction: no EXT */
  idt[0] = 0;
  EXPECT(divide, 0, 8, 0, at, TRAP); /* #DE contributes */
  idt[6] = gate((u32)stubs + 6 * 16, 0x8e) & ~0xffffffffull;
  idt[6] |= (0x30ull << 16) | ((u32)stubs + 6 * 16) % 65536;
  EXPECT(undefined, 0, 13, 0x30 | 1, at, FAULT); /* its selector names no code segment */
}

/* Which of two wins. */
CASE(long_undefined, "", ".byte 0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x0f,0x0b")
CASE(locked_fnop, "", ".byte 0xf0; fnop")
CASE(fld_absent, "mov $0x400010, %%ebx", "flds (%%ebx)")
CASE(lgdt_absent, "mov $0x400010, %%ebx", "lgdt (%%ebx)")
CASE(limit_and_page, "mov $0x3b, %%eax; mov %%eax, %%fs", "mov %%fs:0xfd, %%eax")
CASE(page_in_limit, "mov $0x3b, %%eax; mov %%eax, %%fs", "mov %%fs:0xfc, %%eax")
CASE(align_and_page, "mov $0x400011, %%ebx", "mov (%%ebx), %%eax")
CASE(privileged_undefined, "", ".byte 0xf0, 0xf4")
static void priority_cases(void) {
  EXPECT(long_undefined, 0, 13, 0, at, FAULT);
  EXPECT(long_undefined, 3, 13, 0, at, FAULT);
  cr0(CR0 | TS);
  EXPECT(locked_fnop, 0, 6, NO_CODE, at, FAULT);
  cr0(CR0 | TS);
  EXPECT(fld_absent, 3, 7, NO_CODE, at, FAULT);
  EXPECT_PF(fld_absent, 3, 4, 0x400010);
  EXPECT(lgdt_absent, 3, 13, 0, at, FAULT);
  EXPECT_PF(lgdt_absent, 0, 0, 0x400010);
  EXPECT(limit_and_page, 3, 13, 0, at, FAULT);
  EXPECT_PF(page_in_limit, 3, 4, 0x4000fc);
  cr0(CR0 | AM); user_flags = 0x40002;
  EXPECT(align_and_page, 3, 17, 0, at, FAULT);
  EXPECT(privileged_undefined, 3, 6, NO_CODE, at, FAULT);
}

/* Debug exceptions. %eax = what goes to DR7 once DR0 has its address. */
#define ARM(address, control) "mov $" address ", %%eax; mov %%eax, %%dr0; mov $" control ", %%eax; mov %%eax, %%dr7; "
CASE(at_instruction, ARM("at_instruction_at", "0x402"), "nop")
CASE(at_undefined, ARM("at_undefined_at", "0x402"), "ud2")
CASE(local_bit, ARM("local_bit_at", "0x401"), "nop")
CASE(disabled, ARM("disabled_at", "0x408"), "nop")
CASE(data_write, ARM("variable", "0xd0402"), "movl $1, variable")
CASE(data_read_of_write, ARM("variable", "0xd0402"), "mov variable, %%eax")
CASE(data_read, ARM("variable", "0xf0402"), "mov variable, %%eax")
CASE(data_byte, ARM("variable+1", "0x10402"), "movl $1, variable")
CASE(data_beside, ARM("variable+1", "0x10402"), "movb $1, variable+2")
CASE(data_push, "mov %%esp, %%ebx; sub $4, %%ebx; mov %%ebx, %%dr0; mov $0xd0402, %%eax; mov %%eax, %%dr7", "push %%eax")
CASE(data_string, ARM("variable+2", "0x10402") "mov $variable, %%edi; mov $8, %%ecx; cld", "rep stosb")
CASE(port_in, ARM("0x80", "0x20402"), "in $0x80, %%al")
CASE(single_step, "pushf; orl $0x100, (%%esp); popf", "nop")
CASE(step_and_data, ARM("variable", "0xd0402") "pushf; orl $0x100, (%%esp); popf", "movl $1, variable")
CASE(step_divide, "xor %%ecx, %%ecx; pushf; orl $0x100, (%%esp); popf", "div %%ecx")
CASE(step_int, "pushf; orl $0x100, (%%esp); popf", "int $0x33")
CASE(step_string, "mov $variable, %%edi; mov $3, %%ecx; cld; pushf; orl $0x100, (%%esp); popf", "rep stosb")
CASE(step_stack_segment, "mov %%ss, %%eax; pushf; orl $0x100, (%%esp); popf; mov %%eax, %%ss", "nop")
CASE(breakpoint_in_shadow, ARM("breakpoint_in_shadow_at", "0x402") "mov %%ss, %%eax; mov %%eax, %%ss", "nop")
CASE(data_in_shadow, "mov %%ss, variable; " ARM("variable", "0xf0402") "mov variable, %%ss", "nop")
CASE(detect, "mov $0x2400, %%eax; mov %%eax, %%dr7", "mov %%dr0, %%eax")
CASE(alias, "", "mov %%dr4, %%eax")
CASE(user_debug, "", "mov %%dr0, %%eax")
CASE(resume, ARM("resume_at", "0x402") "pushf; orl $0x10000, (%%esp); push %%cs; push $resume_at; iret", "nop")
static void breakpoint_on_absent(void) {
  __asm__ volatile("mov %0, %%dr0; mov %1, %%dr7; jmp *%0" ::"r"(PAGE_ABSENT), "r"(0x402));
}
static void debug_cases(void) {
  EXPECT_DB(at_instruction, 0, at, 1);
  EXPECT_DB(at_undefined, 0, at, 1);
  EXPECT_DB(local_bit, 0, at, 1);
  EXPECT(disabled, 0, NONE, 0, at, TRAP);
  EXPECT(resume, 0, NONE, 0, at, TRAP);
  expect_at("breakpoint_on_absent", breakpoint_on_absent, 0, 1, NO_CODE, PAGE_ABSENT, TRAP, 0, 1);
  EXPECT_DB(data_write, 0, end, 1);
  EXPECT(data_read_of_write, 0, NONE, 0, at, TRAP);
  EXPECT_DB(data_read, 0, end, 1);
  EXPECT_DB(data_byte, 0, end, 1);
  EXPECT(data_beside, 0, NONE, 0, at, TRAP);
  EXPECT_DB(data_push, 0, end, 1);
  expect_at("data_string", data_string, 0, 1, NO_CODE, (u32)data_string_at, FAULT, 0, 1); /* RF, too: it goes on */
  compare("data_string", "left", seen.ecx, 5);
  EXPECT(port_in, 0, NONE, 0, at, TRAP);
  cr4(0x618);
  EXPECT_DB(port_in, 0, end, 1);
  EXPECT_DB(single_step, 0, end, 0x4000);
  EXPECT_DB(step_and_data, 0, end, 0x4001);
  EXPECT(step_divide, 0, 0, NO_CODE, at, FAULT);
  compare("step_divide", "TF", seen.eflags >> 8 & 1, 1);
  EXPECT(step_int, 0, 0x33, NO_CODE, end, TRAP);
  compare("step_int", "TF", seen.eflags >> 8 & 1, 1);
  expect_at("step_string", step_string, 0, 1, NO_CODE, (u32)step_string_at, FAULT, 0, 0x4000);
  compare("step_string", "left", seen.ecx, 2);
  EXPECT_DB(step_stack_segment, 0, end, 0x4000); /* MOV SS is the first that is stepped, and holds its trap back */
  EXPECT(breakpoint_in_shadow, 0, NONE, 0, at, TRAP);
  EXPECT_DB(data_in_shadow, 0, end, 1);
  expect_at("detect", detect, 0, 1, NO_CODE, (u32)detect_at, FAULT, 0, 0x2000);
  EXPECT(alias, 0, NONE, 0, at, TRAP);
  cr4(0x618);
  EXPECT(alias, 0, 6, NO_CODE, at, FAULT);
  EXPECT(user_debug, 3, 13, 0, at, FAULT);
  user_flags = 0x102;
  if (begins("a step in ring 3")) {
    attempt_in(3, into_not);
    compare("a step in ring 3", "vector", outcome, 1);
    compare("a step in ring 3", "CPL", seen.cs & 3, 3);
    compare("a step in ring 3", "DR6", seen_dr6 & 0xffff, 0x4ff0);
  }
  user_flags = 2;
  reset();
}

/* Control registers, and what UMIP hides. */
CASE(paging_unprotected, "mov %%cr0, %%eax; and $~1, %%eax", "mov %%eax, %%cr0")
CASE(not_write_through, "mov %%cr0, %%eax; or $0x20000000, %%eax", "mov %%eax, %%cr0")
CASE(unknown_msr, "mov $0x12345, %%ecx", "rdmsr")
CASE(reserved_pat, "mov $0x277, %%ecx; mov $2, %%eax; xor %%edx, %%edx", "wrmsr")
CASE(reserved_efer, "mov $0xc0000080, %%ecx; mov $2, %%eax; xor %%edx, %%edx", "wrmsr")
CASE(sysenter_null, "mov $0x174, %%ecx; xor %%eax, %%eax; xor %%edx, %%edx; wrmsr", "sysenter")
CASE(sgdt, "", "sgdt saved_word")
CASE(sidt, "", "sidt saved_word")
CASE(sldt, "", "sldt %%eax")
CASE(str, "", "str %%eax")
CASE(smsw, "", "smsw %%eax")
CASE(sgdt_absent, "", "sgdt 0x400010")
static void control_cases(void) {
  EXPECT(paging_unprotected, 0, 13, 0, at, FAULT);
  EXPECT(not_write_through, 0, 13, 0, at, FAULT);
  EXPECT(bad_cr4, 0, 13, 0, at, FAULT);
  EXPECT(unknown_msr, 0, 13, 0, at, FAULT);
  EXPECT(unknown_msr, 3, 13, 0, at, FAULT);
  EXPECT(reserved_pat, 0, 13, 0, at, FAULT);
  EXPECT(reserved_efer, 0, 13, 0, at, FAULT);
  EXPECT(sysenter_null, 0, 13, 0, at, FAULT);
  static const struct { const char *name; void (*f)(void); u8 *at; } hidden[] = {
    {"sgdt", sgdt, sgdt_at}, {"sidt", sidt, sidt_at}, {"sldt", sldt, sldt_at}, {"str", str, str_at}, {"smsw", smsw, smsw_at}, {"sgdt_absent", sgdt_absent, sgdt_absent_at},
  };
  for (u32 i = 0; i < sizeof hidden / sizeof *hidden; i++) {
    int faults = hidden[i].f == sgdt_absent;
    expect_at(hidden[i].name, hidden[i].f, 3, faults ? 14 : DONE, 6, (u32)hidden[i].at, FAULT, 0x400010, 0);
    cr4(0xe10);
    expect_at(hidden[i].name, hidden[i].f, 3, 13, 0, (u32)hidden[i].at, FAULT, 0, 0);
    cr4(0xe10);
    expect_at(hidden[i].name, hidden[i].f, 0, faults ? 14 : NONE, faults ? 2 : 0, (u32)hidden[i].at, FAULT, 0x400010, 0);
  }
}

int main(void) {
  read_command_line();
  reset();
  vector_cases();
  memory_cases();
  double_cases();
  priority_cases();
  debug_cases();
  control_cases();
  u32 status = finish();
  __asm__ volatile("out %0, $0xf4" ::"a"(status));
  return 0;
}
