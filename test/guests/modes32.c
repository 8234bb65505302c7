/*
 * Other modes: real mode with its vector table, its limits, unreal ("big real") segments and A20; virtual-8086 mode with and
 * without its extensions, protected mode with virtual interrupts; IOPL and the permission bitmap of ports; expand-down
 * segments; XSAVE and segment limits. SDM volume 3, chapters 21 and 22; volume 1, section 20.5.
 */
#include "cases32.h"

enum { CODE16 = 0x60, DATA16 = 0x68, DOWN = 0x73, DOWN16 = 0x7b, DOWN_ALL = 0x83, LOW = 0x8000 };
static struct { struct tss t; u8 redirect[32], ports[32], end; } __attribute__((packed)) wide __attribute__((aligned(128)));
static void extend(void) {
  gdt[CODE16 / 8] = descriptor(LOW, 0xffff, 0x9a, 0);
  gdt[DATA16 / 8] = descriptor(0, 0xffff, 0x92, 0);
  gdt[DOWN / 8] = descriptor((u32)variable - 0x1000, 0xfff, 0xf6, 4); /* from `variable` on */
  gdt[DOWN16 / 8] = descriptor((u32)variable - 0x1000, 0xfff, 0xf6, 0); /* 60 KiB from there */
  gdt[DOWN_ALL / 8] = descriptor(0, 0xfffff, 0xf6, 0xc); /* nothing at all */
  memset(&wide, 0, sizeof wide);
  memcpy(&wide.t, &tss, 0x68);
  wide.t.map = 0x68 + 32;
  wide.end = 0xff;
  gdt[TSS / 8] = descriptor((u32)&wide, sizeof wide - 1, 0x89, 0);
}

/* --- real mode: the code between real_code and real_end is at 8000H then, its data segment is the same */
extern u8 real_code[], real_end[], real_target[], real_seen[], real_fs[], real_stubs[];
extern u8 enter_real[];
#define LOW_OF(label) (LOW + (label - real_code))
__asm__(
  ".text\n.code32\n.globl enter_real\nenter_real: pusha\n mov %esp, real_esp\n mov %cr0, %eax\n and $0x7fffffff, %eax\n mov %eax, %cr0\n lidt real_idt\n ljmp $0x60, $(to_real-real_code)\n"
  ".globl back32\nback32: mov $0x10, %eax\n mov %eax, %ds\n mov %eax, %es\n mov %eax, %ss\n mov %eax, %fs\n mov %eax, %gs\n mov real_esp, %esp\n mov %cr0, %eax\n or $0x80000000, %eax\n mov %eax, %cr0\n popa\n ret\n"
  ".data\nreal_esp: .long 0\nreal_idt: .word 0x3ff\n .long 0\n"
  ".globl real_code, real_end, real_target, real_seen, real_fs, real_stubs\n"
  ".code16\n.align 16\nreal_code:\n"
  "to_real: mov $0x68, %ax\n mov %ax, %ds\n mov %ax, %es\n mov %ax, %ss\n mov %ax, %gs\n mov %cs:real_fs-real_code, %ax\n mov %ax, %fs\n mov %cr0, %eax\n and $0xfe, %al\n mov %eax, %cr0\n ljmp $0x800, $(in_real-real_code)\n"
  "in_real: mov $0x800, %ax\n mov %ax, %ds\n xor %ax, %ax\n mov %ax, %es\n mov %ax, %fs\n mov %ax, %gs\n mov $0x700, %ax\n mov %ax, %ss\n mov $0x800, %esp\n pushl $0x202\n popfl\n xor %ecx, %ecx\n mov $0x1234, %ax\n mov real_target-real_code, %bx\n jmp *%bx\n"
  "real_common: mov %eax, real_seen-real_code+12\n pushfw\n pop %ax\n mov %ax, real_seen-real_code+8\n pop %ax\n mov %ax, real_seen-real_code\n pop %ax\n mov %ax, real_seen-real_code+2\n pop %ax\n mov %ax, real_seen-real_code+4\n pop %ax\n mov %ax, real_seen-real_code+6\n mov %sp, real_seen-real_code+10\n"
  " cli\n mov %cr0, %eax\n or $1, %al\n mov %eax, %cr0\n ljmpl $8, $back32\n"
  ".align 8\nreal_stubs:\n.set rn, 0\n.rept 64\n .align 8\n pushw $rn\n ljmp $0x800, $(real_common-real_code)\n .set rn, rn + 1\n.endr\n"
  ".align 16\nreal_target: .word 0\nreal_fs: .word 0x68\nreal_seen: .space 32\n");
#define REAL(name, before, text) \
  extern u8 name##_from[], name##_at[], name##_end[]; \
  __asm__(".data\n.code16\n.globl " #name "_from, " #name "_at, " #name "_end\n" #name "_from: " before "\n" #name "_at: " text "\n" #name "_end: int $0x30\n");
REAL(real_int, "", "int $0x21")
REAL(real_divide, "xor %cx, %cx", "div %cx")
REAL(real_limit, "mov $0xffff, %bx", "mov (%bx), %ax")
REAL(real_limit_last, "mov $0xfffe, %bx", "mov (%bx), %ax")
REAL(real_stack_limit, "mov $0xffff, %bp", "mov (%bp), %ax")
REAL(real_undefined, "", "ud2")
REAL(real_lldt, "xor %ax, %ax", ".byte 0x0f, 0, 0xd0")
REAL(real_arpl, "", ".byte 0x63, 0xc0")
REAL(real_lock, "", ".byte 0xf0, 0x90")
REAL(real_cr4, "mov $0x80000000, %eax", "mov %eax, %cr4")
REAL(real_paging, "mov %cr0, %eax; or $0x80000000, %eax", "mov %eax, %cr0")
REAL(real_step, "pushfw; pop %ax; or $0x100, %ax; push %ax; popfw", "nop")
REAL(real_int3, "", "int3")
REAL(real_into, "mov $0x7f, %al; inc %al", "into")
REAL(real_unreal, "mov $0x110000, %ebx", "mov %fs:(%ebx), %eax")
REAL(real_vectors, "lidt short_idt-real_code", "int $0x30")
__asm__("short_idt: .word 0x7f\n .long 0\n");
REAL(real_iret, "pushl $0x246; pushl $0x800; pushl $real_iret_at-real_code; iretl", "nop")
REAL(real_far_limit, "", "ljmpl $0x800, $0x10000")
REAL(real_a20, "mov $0xffff, %bx; mov %bx, %gs; mov %gs:0x510, %cl; not %cl; mov %cl, %es:0x500; mov %gs:0x510, %ch; in $0x92, %al; and $0xfd, %al; out %al, $0x92; mov %gs:0x510, %dl; or $2, %al; and $0xfe, %al; out %al, $0x92; mov %gs:0x510, %dh; mov %ecx, %eax; shl $16, %eax; mov %dx, %ax", "nop")
__asm__(".data\nreal_end:\n.code32\n.text\n");

struct real { u16 vector, ip, cs, flags, handler_flags, sp; u32 eax; };
static volatile struct real *in_real_mode(u8 *from, u32 fs) {
  struct { u16 limit; u32 base; } __attribute__((packed)) i = {sizeof idt - 1, (u32)idt};
  memcpy((void *)LOW, real_code, real_end - real_code);
  *(u16 *)LOW_OF(real_target) = from - real_code;
  *(u16 *)LOW_OF(real_fs) = fs;
  for (u32 k = 0; k < 256; k++) ((volatile u32 *)0)[k] = 0x800 << 16 | (real_stubs - real_code + (k < 64 ? k : 63) * 8);
  __asm__ volatile("call *%0" ::"r"(enter_real) : "memory", "eax", "ecx", "edx", "ebx", "esi", "edi");
  __asm__ volatile("lidt %0" ::"m"(i));
  return (volatile struct real *)LOW_OF(real_seen);
}
static void real(const char *name, u8 *from, u32 vector, u8 *where) {
  if (begins(name)) {
    volatile struct real *r = in_real_mode(from, DATA16);
    compare(name, "vector", r->vector, vector);
    compare(name, "IP", r->ip, where - real_code);
    compare(name, "CS", r->cs, 0x800);
    compare(name, "IF and TF in the handler", r->handler_flags & 0x300, 0);
    compare(name, "IF in the frame", r->flags & 0x200, 0x200);
    compare(name, "SP", r->sp, 0x800);
  }
  reset();
}
static void real_cases(void) {
  real("INT", real_int_from, 0x21, real_int_end);
  real("#DE", real_divide_from, 0, real_divide_at);
  real("limit", real_limit_from, 13, real_limit_at);
  real("last word", real_limit_last_from, 0x30, real_limit_last_end + 2);
  real("stack limit", real_stack_limit_from, 12, real_stack_limit_at);
  real("UD2", real_undefined_from, 6, real_undefined_at);
  real("LLDT", real_lldt_from, 6, real_lldt_at);
  real("ARPL", real_arpl_from, 6, real_arpl_at);
  real("LOCK NOP", real_lock_from, 6, real_lock_at);
  real("CR4", real_cr4_from, 13, real_cr4_at);
  real("paging without protection", real_paging_from, 13, real_paging_at);
  real("single step", real_step_from, 1, real_step_end);
  real("INT3", real_int3_from, 3, real_int3_end);
  real("INTO", real_into_from, 4, real_into_end);
  real("IRET with 32 bits", real_iret_from, 0x30, real_iret_end + 2);
  real("far jump behind the limit", real_far_limit_from, 13, real_far_limit_at);
  real("vector behind the table", real_vectors_from, 13, real_vectors_at);
  real("1 MiB away", real_unreal_from, 13, real_unreal_at);
  if (begins("unreal")) {
    volatile struct real *r = in_real_mode(real_unreal_from, DATA0);
    compare("unreal", "vector", r->vector, 0x30);
    compare("unreal", "EAX", r->eax, *(u32 *)0x110000);
  }
  reset();
  if (begins("A20")) {
    volatile struct real *r = in_real_mode(real_a20_from, DATA16);
    u32 a = r->eax; /* low: what the alias shows with A20 closed, and open again; high: what was written, and the alias then */
    compare("A20", "vector", r->vector, 0x30);
    compare("A20", "open: differs from what lies 1 MiB below", (a >> 16 & 0xff) != (a >> 24), 1);
    compare("A20", "closed: is what lies 1 MiB below", a & 0xff, a >> 16 & 0xff);
    compare("A20", "open again", a >> 8 & 0xff, a >> 24);
  }
  reset();
}

/* --- virtual-8086 mode: code at 8000H, stack below 7100H, its vector 33H leads to 8100H */
u32 v86_flags;
static void enter_v86(void) { __asm__ volatile("push $0x1111; push $0x2222; push $0x3333; push $0x4444; push $0x0700; push $0x100; push v86_flags; push $0x800; push $0; iret" ::: "memory"); }
enum { VME = 1, PVI = 2, VIF = 0x80000, VIP = 0x100000, V86 = 0x20002, IOPL3 = 0x3000 };
static void v86(const char *name, const char *code, u32 flags, u32 features, int redirected, u32 vector, u32 error, u32 ip, u32 shown) {
  memset((void *)LOW, 0xcc, 512);
  memcpy((void *)LOW, code, 16);
  ((volatile u32 *)0)[0x33] = 0x08000100;
  if (!redirected) memset(wide.redirect, 0xff, 32);
  idt[3] = gate((u32)stubs + 3 * 16, 0xee);
  v86_flags = V86 | flags;
  cr4(0x610 | features);
  if (begins(name)) {
    attempt(enter_v86);
    compare(name, "vector", outcome, vector);
    compare(name, "error code", seen.error, error);
    compare(name, "IP", seen.eip, ip);
    compare(name, "CS", seen.cs, 0x800);
    compare(name, "flags", seen.eflags & 0x1a7300, (V86 | shown) & 0x1a7300);
  }
  reset();
}
static void v86_cases(void) {
  static const char interrupt[16] = "\xcd\x33\xcc", sti[16] = "\xfb\xcc", cli[16] = "\xfa\xcc", pushf_[16] = "\x9c\x58\xcc", popf_[16] = "\x68\x02\x02\x9d\xcc", popf_tf[16] = "\x68\x02\x01\x9d\xcc";
  static const char iret_[16] = "\x68\x02\x02\x68\x00\x08\x68\x20\x00\xcf", in_[16] = "\xe4\x40\xcc", in_denied[16] = "\xe4\x48\xcc", hlt_[16] = "\xf4", int3_[16] = "\xcc";
  static const char popfd[16] = "\x66\x68\x02\x02\x00\x00\x66\x9d\xcc", pushfd[16] = "\x66\x9c\xcc";
  /* Without the extensions. */
  v86("INT, IOPL 3", interrupt, IOPL3, 0, 1, 0x33, NO_CODE, 2, IOPL3);
  v86("INT, IOPL 0", interrupt, 0, 0, 1, 13, 0, 0, 0);
  v86("INT3, IOPL 0", int3_, 0, 0, 1, 3, NO_CODE, 1, 0);
  v86("CLI, IOPL 3", cli, IOPL3 | 0x200, 0, 1, 3, NO_CODE, 2, IOPL3);
  v86("CLI, IOPL 0", cli, 0x200, 0, 1, 13, 0, 0, 0x200);
  v86("STI, IOPL 0", sti, 0, 0, 1, 13, 0, 0, 0);
  v86("PUSHF, IOPL 0", pushf_, 0, 0, 1, 13, 0, 0, 0);
  v86("POPF, IOPL 0", popf_, 0, 0, 1, 13, 0, 3, 0);
  v86("POPF, IOPL 3", popf_, IOPL3, 0, 1, 3, NO_CODE, 5, IOPL3 | 0x200);
  v86("IRET, IOPL 0", iret_, 0, 0, 1, 13, 0, 9, 0);
  v86("IRET, IOPL 3", iret_, IOPL3, 0, 1, 3, NO_CODE, 0x21, IOPL3 | 0x200);
  v86("HLT", hlt_, IOPL3, 0, 1, 13, 0, 0, IOPL3);
  v86("IN", in_, IOPL3, 0, 1, 3, NO_CODE, 3, IOPL3);
  wide.ports[9] = 1;
  v86("IN denied in spite of IOPL 3", in_denied, IOPL3, 0, 1, 13, 0, 0, IOPL3);
  /* With them: INT by the redirection bitmap, IF is VIF below IOPL 3. */
  v86("VME: INT, IOPL 3, redirected", interrupt, IOPL3 | 0x200, VME, 1, 3, NO_CODE, 0x101, IOPL3);
  v86("VME: INT, IOPL 3, not redirected", interrupt, IOPL3, VME, 0, 0x33, NO_CODE, 2, IOPL3);
  v86("VME: INT, IOPL 0, redirected", interrupt, VIF, VME, 1, 3, NO_CODE, 0x101, 0);
  compare("VME: INT, IOPL 0, redirected", "pushed flags", is_skipped ? 0 : *(u16 *)0x70fe & 0x7300, is_skipped ? 0 : 0x3200);
  v86("VME: INT, IOPL 0, not redirected", interrupt, 0, VME, 0, 13, 0, 0, 0);
  v86("VME: STI", sti, 0, VME, 1, 3, NO_CODE, 2, VIF);
  v86("VME: STI, VIP", sti, VIP, VME, 1, 13, 0, 0, VIP);
  v86("VME: CLI", cli, VIF | 0x200, VME, 1, 3, NO_CODE, 2, 0x200);
  v86("VME: PUSHF", pushf_, VIF, VME, 1, 3, NO_CODE, 3, VIF);
  v86("VME: PUSHFD", pushfd, VIF, VME, 1, 13, 0, 0, VIF);
  v86("VME: POPF", popf_, 0, VME, 1, 3, NO_CODE, 5, VIF);
  v86("VME: POPFD", popfd, 0, VME, 1, 13, 0, 6, 0);
  v86("VME: POPF, VIP", popf_, VIP, VME, 1, 13, 0, 3, VIP);
  v86("VME: POPF, TF", popf_tf, 0, VME, 1, 13, 0, 3, 0);
  v86("VME: IRET", iret_, 0, VME, 1, 3, NO_CODE, 0x21, VIF);
  v86("VME: IRET, VIP", iret_, VIP, VME, 1, 13, 0, 9, VIP);
}

/* --- ports and flags in ring 3 */
CASE(port_allowed, "", "in $0x40, %%al")
CASE(port_denied, "", "in $0x49, %%al")
CASE(port_word, "", "in $0x48, %%ax")
CASE(port_last, "mov $0xff, %%edx", "in %%dx, %%al")
CASE(port_across, "mov $0xff, %%edx", "in %%dx, %%ax")
CASE(port_beyond, "mov $0x108, %%edx", "out %%al, %%dx")
CASE(port_string, "mov $0x49, %%edx; mov $variable, %%edi", "insb")
CASE(clear_if, "", "cli")
CASE(set_if, "", "sti")
CASE(pop_flags, "pushf; xorl $0x3200, (%%esp)", "popf; pushf; pop %%eax; int $0x33")
static void ring3_cases(void) {
  for (u32 iopl = 0; iopl <= 3; iopl += 3) {
    u32 flags = 2 | iopl << 12;
    int denied = iopl ? DONE : 13;
    wide.ports[9] = 2;
    user_flags = flags; EXPECT(port_allowed, 3, DONE, 0, at, FAULT);
    wide.ports[9] = 2; user_flags = flags; EXPECT(port_denied, 3, denied, 0, at, FAULT);
    wide.ports[9] = 2; user_flags = flags; EXPECT(port_word, 3, denied, 0, at, FAULT);
    wide.ports[9] = 2; user_flags = flags; EXPECT(port_string, 3, denied, 0, at, FAULT);
    user_flags = flags; EXPECT(port_last, 3, DONE, 0, at, FAULT);
    user_flags = flags; EXPECT(port_across, 3, denied, 0, at, FAULT); /* its second byte is the one that ends the map */
    user_flags = flags; EXPECT(port_beyond, 3, denied, 0, at, FAULT);
    gdt[TSS / 8] = descriptor((u32)&wide, sizeof wide - 2, 0x89, 0); __asm__ volatile("ltr %w0" ::"r"(TSS));
    user_flags = flags; EXPECT(port_last, 3, denied, 0, at, FAULT); /* two bytes are read: the second lies outside */
    wide.t.map = 0xfff0; user_flags = flags; EXPECT(port_allowed, 3, denied, 0, at, FAULT);
    user_flags = flags; EXPECT(clear_if, 3, denied, 0, at, FAULT);
    user_flags = flags; EXPECT(set_if, 3, denied, 0, at, FAULT);
    user_flags = flags;
    if (begins("pop_flags")) {
      attempt_in(3, pop_flags);
      compare("pop_flags", "vector", outcome, 0x33);
      compare("pop_flags", "flags", seen.eax & 0x3200, iopl ? 0x3200 : 0);
    }
    reset();
  }
  for (u32 vip = 0; vip < 2; vip++) {
    cr4(0x610 | PVI); user_flags = 2 | (vip ? VIP : 0); EXPECT(set_if, 3, vip ? 13 : DONE, 0, at, FAULT);
    compare("PVI: STI", "VIF", seen.eflags & VIF, vip ? 0 : is_skipped ? 0 : VIF);
    cr4(0x610 | PVI); user_flags = 2 | VIF | (vip ? VIP : 0); EXPECT(clear_if, 3, DONE, 0, at, FAULT);
    compare("PVI: CLI", "VIF", seen.eflags & VIF, 0);
  }
}

/* --- expand-down segments */
CASE(down_below, "mov $0x73, %%eax; mov %%eax, %%fs", "mov %%fs:0xffc, %%eax")
CASE(down_across, "mov $0x73, %%eax; mov %%eax, %%fs", "mov %%fs:0xfff, %%eax")
CASE(down_first, "mov $0x73, %%eax; mov %%eax, %%fs", "mov %%fs:0x1000, %%eax")
CASE(down_far, "mov $0x73, %%eax; mov %%eax, %%fs; mov $0x1000000, %%ebx", "mov %%fs:(%%ebx), %%eax")
CASE(down16_last, "mov $0x7b, %%eax; mov %%eax, %%fs", "mov %%fs:0xfffc, %%eax")
CASE(down16_across, "mov $0x7b, %%eax; mov %%eax, %%fs", "mov %%fs:0xfffd, %%eax")
CASE(down16_far, "mov $0x7b, %%eax; mov %%eax, %%fs", "mov %%fs:0x10000, %%eax")
CASE(down_nothing, "mov $0x83, %%eax; mov %%eax, %%fs; mov $0x2000, %%ebx", "mov %%fs:(%%ebx), %%eax")
static void down_cases(void) {
  EXPECT(down_below, 3, 13, 0, at, FAULT);
  EXPECT(down_across, 3, 13, 0, at, FAULT);
  EXPECT(down_first, 3, DONE, 0, at, FAULT);
  EXPECT_PF(down_far, 3, 4, (u32)variable + 0x1000000 - 0x1000);
  EXPECT(down16_last, 3, DONE, 0, at, FAULT);
  EXPECT(down16_across, 3, 13, 0, at, FAULT);
  EXPECT(down16_far, 3, 13, 0, at, FAULT);
  EXPECT(down_nothing, 3, 13, 0, at, FAULT);
}

/* --- XSAVE and XRSTOR know how far their area goes: 576 bytes, and 256 with the upper halves of the vectors */
u32 components;
static u8 area[1024] __attribute__((aligned(64)));
CASE(save, "mov $0x8b, %%eax; mov %%eax, %%fs; mov components, %%eax; xor %%edx, %%edx", "xsave %%fs:0")
CASE(restore, "mov $0x8b, %%eax; mov %%eax, %%fs; mov components, %%eax; xor %%edx, %%edx", "xrstor %%fs:0")
static void area_cases(void) {
  static const struct { u32 components, limit; int fits; } rows[] = {{3, 575, 1}, {3, 574, 0}, {7, 831, 1}, {7, 640, 0}, {7, 575, 0}, {3, 63, 0}};
  for (u32 i = 0; i < sizeof rows / sizeof *rows; i++)
    for (u32 k = 0; k < 2; k++) {
      cr4(0x40610);
      __asm__ volatile("xsetbv" ::"a"(7), "d"(0), "c"(0));
      memset(area, 0, sizeof area);
      area[24] = 0x80; area[25] = 0x1f; area[512] = rows[i].components;
      gdt[0x88 / 8] = descriptor((u32)area, rows[i].limit, 0xf2, 4);
      components = rows[i].components;
      expect_at(k ? "XRSTOR at a limit" : "XSAVE at a limit", k ? restore : save, 3, rows[i].fits ? DONE : 13, 0, k ? (u32)restore_at : (u32)save_at, FAULT, 0, 0);
    }
}

int main(void) {
  read_command_line();
  reset();
  real_cases();
  v86_cases();
  ring3_cases();
  down_cases();
  area_cases();
  u32 status = finish();
  __asm__ volatile("out %0, $0xf4" ::"a"(status));
  return 0;
}
