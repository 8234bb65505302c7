/*
 * Every exception of a 32-bit protected-mode system with paging, debug exceptions and the priority among them. Each case
 * knows what the manual says: vector, error code, CR2, instruction pointer, RF and TF of the pushed flags, DR6. The guest
 * prints what differs and ends with status 0 if nothing does. SDM volume 3, chapters 7 (table 7-2: priority) and 19.
 *
 * QEMU 7.2's TCG differs in: RF in the frames of faults, which it never sets; INT1, which it does not know; LOCK of a load
 * and the order of #UD and #NM or #GP; MOV from CR1 at CPL 3; segment limits; #AC and SSE exceptions, which it does not raise;
 * W in the error code of a read-modify-write; P in that of reserved bits. It does not get through the double faults and the
 * debug exceptions.
 */
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned char u8;
typedef unsigned long long u64;

extern u32 saved_esp, frame_pointer, outcome, handler_ss;
extern u8 stubs[];
int attempt(void (*f)(void));

static void put(char c) { __asm__ volatile("outb %0, $0xe9" ::"a"(c)); }
static void print(const char *s) { while (*s) put(*s++); }
static void hex(u32 v) {
  int started = 0;
  for (int i = 28; i >= 0; i -= 4) {
    u32 d = (v >> i) & 15;
    if (d || started || i == 0) { put(d < 10 ? '0' + d : 'a' + d - 10); started = 1; }
  }
}

struct frame { u32 gs, fs, es, ds, edi, esi, ebp, esp0, ebx, edx, ecx, eax, vector, error, eip, cs, eflags, esp, ss; };
static struct frame seen;
static u32 seen_cr2, seen_dr6;
void record(void) {
  seen = *(struct frame *)frame_pointer;
  outcome = seen.vector;
  __asm__ volatile("mov %%cr2, %0" : "=r"(seen_cr2));
  __asm__ volatile("mov %%dr6, %0" : "=r"(seen_dr6));
}

/* --- tables and pages */
static u64 gdt[16] __attribute__((aligned(16)));
static u64 idt[64] __attribute__((aligned(4096)));
static struct { u32 link, esp0, ss0, rest[22]; u16 trap, map; } tss __attribute__((aligned(128)));
static u8 stack0[4096] __attribute__((aligned(16)));
u8 stack3[4096] __attribute__((aligned(16)));
static u32 directory[1024] __attribute__((aligned(4096))), table[2][1024] __attribute__((aligned(4096)));
enum { CODE0 = 8, DATA0 = 0x10, CODE3 = 0x1b, DATA3 = 0x23, TSS = 0x28, ABSENT = 0x30, SMALL = 0x38 };
/* Pages of the second table: absent, read-only, supervisor's, user's, absent, code with nothing behind it. */
enum { PAGE_ABSENT = 0x400000, PAGE_READ_ONLY = 0x401000, PAGE_SYSTEM = 0x402000, PAGE_USER = 0x403000, PAGE_CODE = 0x405000, PAGE_RESERVED = 0x800000 };

static u64 descriptor(u32 base, u32 limit, u32 access, u32 flags) {
  return (limit & 0xffff) | ((u64)(base & 0xffffff) << 16) | ((u64)access << 40) | ((u64)(limit >> 16 & 15) << 48) | ((u64)flags << 52) | ((u64)(base >> 24) << 56);
}
static u64 gate(u32 offset, u32 access) { return (offset & 0xffff) | (CODE0 << 16) | ((u64)access << 40) | ((u64)(offset >> 16) << 48); }
static void cr0(u32 v) { __asm__ volatile("mov %0, %%cr0" ::"r"(v)); }
static void cr4(u32 v) { __asm__ volatile("mov %0, %%cr4" ::"r"(v)); }
enum { CR0 = 0x80010031, TS = 8, EM = 4, MP = 2, AM = 0x40000, WP = 0x10000 };

static void reset(void) {
  struct { u16 limit; u32 base; } __attribute__((packed)) g = {sizeof gdt - 1, (u32)gdt}, i = {sizeof idt - 1, (u32)idt};
  gdt[1] = descriptor(0, 0xfffff, 0x9a, 0xc);
  gdt[2] = descriptor(0, 0xfffff, 0x92, 0xc);
  gdt[3] = descriptor(0, 0xfffff, 0xfa, 0xc);
  gdt[4] = descriptor(0, 0xfffff, 0xf2, 0xc);
  gdt[5] = descriptor((u32)&tss, 0x67, 0x89, 0);
  gdt[6] = descriptor(0, 0xfffff, 0x12, 0xc);
  gdt[7] = descriptor(0x400000, 0xff, 0xf2, 4); /* 256 bytes in the absent page */
  for (int k = 0; k < 64; k++) idt[k] = gate((u32)stubs + k * 16, k >= 0x30 ? 0xee : 0x8e);
  tss.ss0 = DATA0; tss.esp0 = (u32)stack0 + sizeof stack0;
  tss.map = 0x68;
  for (int k = 0; k < 1024; k++) table[0][k] = k * 4096 + 7;
  for (int k = 0; k < 1024; k++) table[1][k] = 0;
  table[1][1] = PAGE_READ_ONLY + 5;
  table[1][2] = PAGE_SYSTEM + 3;
  table[1][3] = PAGE_USER + 7;
  table[1][5] = PAGE_CODE + 7;
  directory[0] = (u32)table[0] + 7;
  directory[1] = (u32)table[1] + 7;
  directory[2] = 0x2000e7; /* a large page with a reserved bit set */
  *(volatile u32 *)&tss = 0;
  __asm__ volatile("lgdt %0; lidt %1; ljmp $8, $1f; 1: mov %2, %%ds; mov %2, %%es; mov %2, %%fs; mov %2, %%gs; mov %2, %%ss" ::"m"(g), "m"(i), "r"(DATA0));
  __asm__ volatile("mov %0, %%cr3" ::"r"(directory));
  cr4(0x610); /* PSE, OSFXSR, OSXMMEXCPT */
  cr0(CR0);
  __asm__ volatile("ltr %w0; fninit; ldmxcsr usual_mxcsr; push $2; popf" ::"r"(TSS));
  __asm__ volatile("mov %0, %%dr7; mov %1, %%dr6" ::"r"(0x400), "r"(0xffff0ff0));
  __asm__ volatile("mov %0, %%cr2" ::"r"(0));
}

/* --- cases: a function with the label NAME_at at the instruction in question and NAME_end behind it */
u32 user_flags = 2, saved_word, variable[4] __attribute__((aligned(16)));
float minus_one = -1;
const u32 float_zero = 0, usual_mxcsr = 0x1f80;
const u32 unmasked_invalid = 0x1f00;
const u16 unmasked_zero = 0x37b;
#define CASE(name, before, text) \
  extern u8 name##_at[], name##_end[]; \
  static void name(void) { __asm__ volatile(before "\n.globl " #name "_at, " #name "_end\n" #name "_at: " text "\n" #name "_end: nop" ::: "eax", "ebx", "ecx", "edx", "esi", "edi", "memory"); }

static void (*user_function)(void);
static void user_landing(void) { user_function(); __asm__ volatile("int $0x31"); }
static void enter_user(void) {
  __asm__ volatile("mov %1, %%eax; mov %%eax, %%ds; mov %%eax, %%es; push %%eax; push $stack3+3000; push user_flags; push %2; push %0; iret" ::"r"(user_landing), "i"(DATA3), "i"(CODE3) : "eax", "memory");
}

enum { NONE = -1, NO_CODE = 0x5a5a, DONE = 0x31 /* ring 3 went on */ };
enum { FAULT = 1, TRAP = 0 }; /* FAULT: RF is set in the frame */
static u32 failures, cases;
static void differs(const char *name, const char *what, u32 got, u32 expected) {
  print(name); print(": "); print(what); put(' '); hex(got); print(", expected "); hex(expected); put('\n');
  failures++;
}
static void compare(const char *name, const char *what, u32 got, u32 expected) { if (got != expected) differs(name, what, got, expected); }

static void expect_at(const char *name, void (*f)(void), int ring, int vector, u32 error, u32 eip, int rf, u32 cr2, u32 dr6) {
  cases++;
  if (ring == 3) { user_function = f; attempt(enter_user); } else attempt(f);
  user_flags = 2;
  compare(name, "vector", outcome, vector);
  if ((int)outcome == vector && vector != NONE && vector != DONE) {
    compare(name, "error code", seen.error, error);
    compare(name, "instruction pointer", seen.eip, eip);
    compare(name, "RF", seen.eflags >> 16 & 1, rf);
    compare(name, "CPL", seen.cs & 3, ring);
    if (vector == 14) compare(name, "CR2", seen_cr2, cr2);
    if (vector == 1) compare(name, "DR6", seen_dr6 & 0xffff, 0xff0 | dr6);
  }
  reset();
}
#define EXPECT(name, ring, vector, error, where, rf) expect_at(#name, name, ring, vector, error, (u32)name##_##where, rf, 0, 0)
#define EXPECT_PF(name, ring, error, cr2) expect_at(#name, name, ring, 14, error, (u32)name##_at, FAULT, cr2, 0)
#define EXPECT_DB(name, ring, where, dr6) expect_at(#name, name, ring, 1, NO_CODE, (u32)name##_##where, TRAP, 0, dr6)

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
  EXPECT_DB(data_string, 0, at, 1);
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
  EXPECT_DB(step_string, 0, at, 0x4000);
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
  user_function = into_not;
  attempt(enter_user);
  cases++;
  compare("a step in ring 3", "vector", outcome, 1);
  compare("a step in ring 3", "CPL", seen.cs & 3, 3);
  compare("a step in ring 3", "DR6", seen_dr6 & 0xffff, 0x4ff0);
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
  reset();
  vector_cases();
  memory_cases();
  double_cases();
  priority_cases();
  debug_cases();
  control_cases();
  hex(cases); print(" cases, "); hex(failures); print(" differences\n");
  u32 status = failures != 0;
  __asm__ volatile("out %0, $0xf4" ::"a"(status));
  return 0;
}
