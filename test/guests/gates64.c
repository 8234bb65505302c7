/*
 * Gates, far transfers and fast system calls of IA-32e mode: 64-bit call, interrupt and trap gates, interrupt stacks, null
 * stack segments, compatibility mode, SYSCALL, SYSRET, SYSENTER, SYSEXIT; what they push and load, and each fault of theirs.
 * SDM volume 3, sections 6.8.3, 6.8.7, 6.8.8 and 7.14; volume 2.
 */
#include "cases64.h"

enum {
  CALL0 = 0x70, CALL_CONFORMING = 0x80, CALL1 = 0x90, CALL_COMPAT = 0xa0, CALL_ABSENT = 0xb0, CALL_HOLE = 0xc0, CALL_UPPER = 0xd0, CALL16 = 0xe0, TASK_GATE = 0xf0,
  CALL_NULL = 0x100, CALL_DATA = 0x110, CALL_CLOSED = 0x120, CALL_OUT = 0x130, CALL_TO_ABSENT = 0x140, ABSENT3 = 0x153, READ_ONLY3 = 0x15b, CONFORMING_COMPAT = 0x160, SHORT_COMPAT = 0x168,
};
#define HOLE 0x800000000000ul
static void gate_at(u64 *at, u32 selector, u64 offset, u64 access, u64 ist) {
  at[0] = (offset & 0xffff) | (u64)selector << 16 | ist << 32 | access << 40 | (offset >> 16 & 0xffff) << 48;
  at[1] = offset >> 32;
}
static void extend(void) {
  u64 to = (u64)landing;
  gate_at(&gdt[CALL0 / 8], CODE0, to, 0xec, 0);
  gate_at(&gdt[CALL_CONFORMING / 8], CONFORMING, to, 0xec, 0);
  gate_at(&gdt[CALL1 / 8], CODE1, to, 0xec, 0);
  gate_at(&gdt[CALL_COMPAT / 8], COMPAT0, to, 0xec, 0);
  gate_at(&gdt[CALL_ABSENT / 8], CODE0, to, 0x6c, 0);
  gate_at(&gdt[CALL_HOLE / 8], CODE0, HOLE, 0xec, 0);
  gate_at(&gdt[CALL_UPPER / 8], CODE0, to, 0xec, 0); gdt[CALL_UPPER / 8 + 1] |= 1ul << 40;
  gate_at(&gdt[CALL16 / 8], CODE0, to, 0xe4, 0);
  gate_at(&gdt[TASK_GATE / 8], TSS, 0, 0xe5, 0);
  gate_at(&gdt[CALL_NULL / 8], 0, to, 0xec, 0);
  gate_at(&gdt[CALL_DATA / 8], DATA0, to, 0xec, 0);
  gate_at(&gdt[CALL_CLOSED / 8], CODE0, to, 0x0c, 0);
  gate_at(&gdt[CALL_OUT / 8], CODE3, to, 0x8c, 0);
  gate_at(&gdt[CALL_TO_ABSENT / 8], ABSENT_CODE, to, 0xec, 0);
  gdt[ABSENT3 / 8] = descriptor(0, 0xfffff, 0x72, 0xc);
  gdt[READ_ONLY3 / 8] = descriptor(0, 0xfffff, 0xf0, 0xc);
  gdt[CONFORMING_COMPAT / 8] = descriptor(0, 0xfffff, 0x9e, 0xc);
  gdt[SHORT_COMPAT / 8] = descriptor(0, 0xfff, 0x9a, 4);
  tss.ist[1] = (u64)stack1 + 4096;
  tss.ist[2] = HOLE + 4096;
}
static void set_gate(int vector, u32 selector, u64 offset, u64 access, u64 ist) { gate_at(&idt[vector * 2], selector, offset, access, ist); }

u64 rsp_before, target, flags_before = 2, target_rip, return_stack = DATA3, return_rsp;
struct { u64 offset; u16 selector; } __attribute__((packed)) far_pointer;
#define HERE "mov target, %%eax; mov %%ax, far_pointer+8; movq $landing, far_pointer; push flags_before; popf; mov %%rsp, rsp_before"
CASE(call, HERE, "rex.w lcall *far_pointer")
CASE(jump, HERE, "rex.w ljmp *far_pointer")
CASE(interrupt, HERE, "int $0x34")
CASE(interrupt_unaligned, "sub $3, %%rsp;" HERE, "int $0x34")
CASE(undefined, HERE, "ud2")
CASE(protection, "mov $0x7fb, %%ecx;" HERE, "mov %%ecx, %%fs")
CASE(far_return, "push return_stack; push return_rsp; push target; push target_rip", "lretq")
CASE(far_return_narrow, "mov %%rsp, %%rax; sub $16, %%rsp; mov target_rip, %%eax; mov %%eax, (%%rsp); mov target, %%eax; mov %%eax, 4(%%rsp); mov return_rsp, %%eax; mov %%eax, 8(%%rsp); mov return_stack, %%eax; mov %%eax, 12(%%rsp)", "lretl")
CASE(interrupt_return, "push return_stack; push return_rsp; push flags_before; push target; push target_rip", "iretq")
CASE(jump_narrow, "mov target, %%eax; mov %%eax, far_pointer+4; movl $landing, far_pointer", "ljmpl *far_pointer")

#define TOP(stack) ((u64)stack + sizeof stack)
#define WORDS(...) (const u64[]){__VA_ARGS__}, sizeof((u64[]){__VA_ARGS__}) / 8
#define ANY 0xfffffffffffffffful
#define RSP 0xfffffffffffffffeul
static void arrives(const char *name, void (*f)(void), int ring, u32 cs, u32 ss, u64 top, const u64 *words, u32 count) {
  if (!begins(name)) { reset(); return; }
  attempt_in(ring, f);
  compare(name, "vector", outcome, LANDED);
  compare(name, "CS", seen.cs, cs);
  compare(name, "SS", seen.ss, ss);
  compare(name, "RIP", seen.rip, (u64)landing + 2);
  if (!top) top = rsp_before;
  for (u32 i = 0; i < count; i++) if (words[i] != ANY) compare(name, "a word of the frame", *(u64 *)(top - (i + 1) * 8), words[i] == RSP ? rsp_before : words[i]);
  if (count) compare(name, "RSP", seen.rsp, top - count * 8);
  reset();
}
#define REFUSED(name, f, ring, vector, error) expect_at(name, f, ring, vector, error, (u64)f##_at, FAULT, 0, 0)

static void call_gates(void) {
  u64 end = (u64)call_end;
  target = CALL0; arrives("call gate within ring 0", call, 0, CODE0, DATA0, 0, WORDS(CODE0, end));
  target = CALL0; arrives("call gate to ring 0", call, 3, CODE0, 0, TOP(stack0), WORDS(DATA3, RSP, CODE3, end));
  target = CALL1 | 3; arrives("call gate to ring 1", call, 3, CODE1, 1, TOP(stack1), WORDS(DATA3, RSP, CODE3, end));
  target = CALL_CONFORMING | 3; arrives("call gate to conforming code", call, 3, CONFORMING | 3, DATA3, 0, WORDS(CODE3, end));
  target = CALL_CONFORMING; arrives("jump through a gate to conforming code", jump, 3, CONFORMING | 3, DATA3, 0, 0, 0);
  target = CALL0; arrives("jump through a gate within ring 0", jump, 0, CODE0, DATA0, 0, 0, 0);
  target = CODE0; arrives("call", call, 0, CODE0, DATA0, 0, WORDS(CODE0, end));
  target = CONFORMING; arrives("call to conforming code", call, 3, CONFORMING | 3, DATA3, 0, WORDS(CODE3, end));
  target = COMPAT0; arrives("jump to compatibility mode", jump_narrow, 0, COMPAT0, DATA0, 0, 0, 0);
  target = COMPAT3; arrives("jump to compatibility mode in ring 3", jump_narrow, 3, COMPAT3, DATA3, 0, 0, 0);
  for (int ring = 0; ring <= 3; ring += 3) {
    target = CALL_ABSENT; REFUSED("gate absent", call, ring, 11, CALL_ABSENT);
    target = CALL_COMPAT; REFUSED("gate to compatibility mode", call, ring, 13, COMPAT0);
    target = CALL_HOLE; REFUSED("gate to a hole", call, ring, 13, 0);
    target = CALL_UPPER; REFUSED("gate with a type in its upper half", call, ring, 13, CALL_UPPER);
    target = CALL16; REFUSED("16-bit gate", call, ring, 13, CALL16);
    target = TASK_GATE; REFUSED("task gate", call, ring, 13, TASK_GATE);
    target = TSS; REFUSED("TSS", call, ring, 13, TSS);
    target = CALL_NULL; REFUSED("gate to null", call, ring, 13, 0);
    target = CALL_DATA; REFUSED("gate to data", call, ring, 13, DATA0);
    target = CALL_TO_ABSENT; REFUSED("gate to absent code", call, ring, 11, ABSENT_CODE);
    target = BOTH; REFUSED("code with L and D", call, ring, 13, BOTH);
    target = 0x7f8; REFUSED("beyond the GDT", call, ring, 13, 0x7f8);
    target = 0; REFUSED("null", jump, ring, 13, 0);
  }
  target = CALL_CLOSED; REFUSED("closed and absent gate", call, 3, 13, CALL_CLOSED);
  target = CALL_OUT; REFUSED("gate outwards", call, 0, 13, CODE3 & ~3);
  target = CALL0; REFUSED("jump through a gate to ring 0", jump, 3, 13, CODE0);
  target = SHORT_COMPAT; REFUSED("behind the limit of compatibility mode", jump_narrow, 0, 13, 0);
  target = CALL1; tss.rsp[1] = HOLE + 8; REFUSED("inner stack in a hole", call, 3, 12, 0);
  target = CALL1; tss.rsp[1] = PAGE(ABSENT) + 4096; expect_at("inner stack in an absent page", call, 3, 14, 2, (u64)call_at, FAULT, PAGE(ABSENT) + 4088, 0);
}

static void returns(void) {
  u64 top = TOP(stack3) - 512;
  static const struct { const char *name; u32 target, stack; u32 ss; int iret; } good[] = {
    {"return to ring 3", CODE3, DATA3, DATA3, 2}, {"return to compatibility mode", COMPAT3, DATA3, DATA3, 2}, {"IRET to ring 0", CODE0, DATA0, DATA0, 1},
    {"IRET to ring 0 with a null stack", CODE0, 0, 0, 1}, {"IRET to compatibility mode in ring 0", COMPAT0, DATA0, DATA0, 1}, {"return to ring 1 with a null stack", CODE1, 1, 1, 2},
  };
  for (u32 i = 0; i < sizeof good / sizeof *good; i++)
    for (int k = 0; k < 2; k++) {
      if (k == 0 && good[i].iret == 1) continue;
      target = good[i].target; return_stack = good[i].stack; return_rsp = top; target_rip = (u64)landing; flags_before = 0x202;
      arrives(good[i].name, k ? interrupt_return : far_return, 0, good[i].target, good[i].ss, 0, 0, 0);
      if (!is_skipped) { compare(good[i].name, "RSP", seen.rsp, top); if (k) compare(good[i].name, "flags", seen.rflags, 0x202); }
    }
  static const struct { const char *name; u64 target, stack, rip; int ring, vector; u32 error; } bad[] = {
    {"return to null", 0, DATA3, 0, 0, 13, 0}, {"return beyond the GDT", 0x7f8, DATA3, 0, 0, 13, 0x7f8}, {"return to data", DATA0, DATA0, 0, 0, 13, DATA0}, {"return inwards", CODE0, DATA0, 0, 3, 13, CODE0},
    {"return to absent code", ABSENT_CODE, DATA0, 0, 0, 11, ABSENT_CODE}, {"return to code with L and D", BOTH, DATA0, 0, 0, 13, BOTH}, {"return to a hole", CODE3, DATA3, HOLE, 0, 13, 0},
    {"return with a null stack to ring 3", CODE3, 3, 0, 0, 13, 0}, {"return with a null stack to compatibility mode", COMPAT3, 3, 0, 0, 13, 0}, {"return with a stack of ring 0", CODE3, DATA0, 0, 0, 13, DATA0},
    {"return with an absent stack", CODE3, ABSENT3, 0, 0, 12, ABSENT3 & ~3}, {"return with a stack not writable", CODE3, READ_ONLY3, 0, 0, 13, READ_ONLY3 & ~3}, {"return to a gate", CALL0, DATA0, 0, 0, 13, CALL0},
  };
  for (u32 i = 0; i < sizeof bad / sizeof *bad; i++)
    for (int k = 0; k < 2; k++) {
      target = bad[i].target; return_stack = bad[i].stack; return_rsp = top; target_rip = bad[i].rip ? bad[i].rip : (u64)landing; flags_before = 2;
      expect_at(bad[i].name, k ? interrupt_return : far_return, bad[i].ring, bad[i].vector, bad[i].error, k ? (u64)interrupt_return_at : (u64)far_return_at, FAULT, 0, 0);
    }
  target = CODE3; return_stack = DATA3; return_rsp = top; target_rip = (u64)landing;
  arrives("narrow far return", far_return_narrow, 0, CODE3, DATA3, 0, 0, 0);
}
CASE(nested_return, "push $0x10; push %%rsp; push $2; push $8; push $landing; push $0x4002; popf", "iretq")

static void interrupt_gates(void) {
  u64 flags = 0x4202;
  for (int ring = 0; ring <= 3; ring += 3)
    for (u32 type = 14; type < 16; type++)
      for (u32 ist = 0; ist <= 2; ist += 2)
        for (u32 what = 0; what < 4; what++) {
          void (*f)(void) = what == 0 ? interrupt : what == 1 ? undefined : what == 2 ? protection : interrupt_unaligned;
          u64 rip = what == 0 ? (u64)interrupt_end : what == 1 ? (u64)undefined_at : what == 2 ? (u64)protection_at : (u64)interrupt_unaligned_end;
          const char *name = type == 14 ? "interrupt gate" : "trap gate";
          int vector = what == 1 ? 6 : what == 2 ? 13 : 0x34;
          set_gate(vector, CODE0, (u64)landing, 0xe0 | type, ist);
          user_flags = 0x202; flags_before = flags;
          u64 top = ist ? (u64)stack1 + 4096 : ring ? TOP(stack0) : 0;
          if (!begins(name)) { reset(); continue; }
          attempt_in(ring, f);
          if (!top) top = rsp_before & ~15ul;
          u64 words[] = {ring ? DATA3 : DATA0, rsp_before, flags | (what == 1 || what == 2 ? 0x10000 : 0), ring ? CODE3 : CODE0, rip, 0x7f8};
          u32 count = what == 2 ? 6 : 5;
          compare(name, "vector", outcome, LANDED);
          for (u32 i = 0; i < count; i++) compare(name, "a word of the frame", *(u64 *)(top - (i + 1) * 8), words[i]);
          compare(name, "RSP", seen.rsp, top - count * 8);
          compare(name, "SS", seen.ss, ring ? 0 : DATA0);
          compare(name, "flags in the handler", seen.rflags & 0x14300, type & 1 ? 0x200 : 0);
          flags_before = 2;
          reset();
        }
  set_gate(0x34, CONFORMING, (u64)landing, 0xee, 0);
  if (begins("gate to conforming code")) {
    attempt_in(3, interrupt);
    compare("gate to conforming code", "CS", seen.cs, CONFORMING | 3);
    compare("gate to conforming code", "SS", seen.ss, DATA3);
  }
  reset();
  static const struct { const char *name; u32 selector; u64 offset; u32 access, ist; int ring, vector; u32 error; } bad[] = {
    {"gate to null", 0, 0, 0xee, 0, 0, 13, 0}, {"gate to data", DATA0, 0, 0xee, 0, 0, 13, DATA0}, {"gate to compatibility mode", COMPAT0, 0, 0xee, 0, 0, 13, COMPAT0}, {"gate to code with L and D", BOTH, 0, 0xee, 0, 0, 13, BOTH},
    {"gate outwards", CODE3, 0, 0xee, 0, 0, 13, CODE3 & ~3}, {"gate to absent code", ABSENT_CODE, 0, 0xee, 0, 0, 11, ABSENT_CODE}, {"gate to a hole", CODE0, HOLE, 0xee, 0, 0, 13, 0}, {"gate closed", CODE0, 0, 0x8e, 0, 3, 13, 0x1a2},
    {"gate absent", CODE0, 0, 0x6e, 0, 3, 11, 0x1a2}, {"gate closed and absent", CODE0, 0, 0x0e, 0, 3, 13, 0x1a2}, {"task gate in the IDT", CODE0, 0, 0xe5, 0, 0, 13, 0x1a2}, {"16-bit gate in the IDT", CODE0, 0, 0xe6, 0, 0, 13, 0x1a2},
    {"call gate in the IDT", CODE0, 0, 0xec, 0, 0, 13, 0x1a2}, {"interrupt stack in a hole", CODE0, 0, 0xee, 3, 0, 12, 0},
  };
  for (u32 i = 0; i < sizeof bad / sizeof *bad; i++) {
    set_gate(0x34, bad[i].selector, bad[i].offset ? bad[i].offset : (u64)landing, bad[i].access, bad[i].ist);
    REFUSED(bad[i].name, interrupt, bad[i].ring, bad[i].vector, bad[i].error);
  }
  set_gate(6, DATA0, (u64)landing, 0x8e, 0); REFUSED("exception: gate to data", undefined, 0, 13, DATA0 | 1);
  set_gate(6, CODE0, (u64)landing, 0x0e, 0); REFUSED("exception: gate absent", undefined, 3, 11, 6 * 8 + 3);
  REFUSED("IRET with NT", nested_return, 0, 13, 0);
}

/* --- fast system calls */
CASE(call_system, "mov $0x5555, %%edx; push flags_before; popf", "syscall")
CASE(return_wide, "mov target_rip, %%rcx; mov flags_before, %%r11; mov return_rsp, %%rsp", "sysretq")
CASE(return_narrow, "mov target_rip, %%rcx; mov flags_before, %%r11; mov return_rsp, %%rsp", "sysretl")
CASE(enter_system, "push flags_before; popf", "sysenter")
CASE(exit_narrow, "mov return_rsp, %%rcx; mov target_rip, %%rdx", "sysexitl")
CASE(exit_wide, "mov return_rsp, %%rcx; mov target_rip, %%rdx", "sysexitq")
static void fast_calls(void) {
  u64 top = TOP(stack3) - 512;
  write_msr(LSTAR, (u64)landing); write_msr(SFMASK, 0x4200); flags_before = 0x4303 & ~0x100; user_flags = 0x202;
  if (begins("SYSCALL")) {
    attempt_in(3, call_system);
    compare("SYSCALL", "vector", outcome, LANDED);
    compare("SYSCALL", "CS", seen.cs, 8); compare("SYSCALL", "SS", seen.ss, 0x10);
    compare("SYSCALL", "RCX", seen.rcx, (u64)call_system_end);
    compare("SYSCALL", "R11", seen.r11 & 0xffff, 0x4203);
    compare("SYSCALL", "flags", seen.rflags & 0xff01, 1);
  }
  reset();
  for (int wide = 0; wide < 2; wide++) {
    const char *name = wide ? "SYSRETQ" : "SYSRETL";
    write_msr(STAR, 0x001b000800000000);
    target_rip = (u64)landing; flags_before = 0x14a03; return_rsp = top;
    if (begins(name)) {
      attempt(wide ? return_wide : return_narrow);
      compare(name, "vector", outcome, LANDED);
      compare(name, "CS", seen.cs, wide ? 0x2b : 0x1b); compare(name, "SS", seen.ss, 0x23); compare(name, "RSP", seen.rsp, top);
      compare(name, "flags", seen.rflags, 0x4a03);
    }
    reset();
  }
  target_rip = HOLE; flags_before = 2; return_rsp = top; REFUSED("SYSRETQ to a hole", return_wide, 0, 13, 0);
  REFUSED("SYSRETQ in ring 3", return_wide, 3, 13, 0);
  write_msr(0xc0000080, 0xd00); REFUSED("SYSCALL switched off", call_system, 3, 6, NO_CODE);
  write_msr(0xc0000080, 0xd00); REFUSED("SYSRET switched off", return_wide, 3, 6, NO_CODE);
  write_msr(0x174, 0); REFUSED("SYSENTER without a segment", enter_system, 3, 13, 0);
  write_msr(0x174, 0); REFUSED("SYSEXIT without a segment", exit_wide, 0, 13, 0);
  write_msr(0x174, 8); write_msr(0x175, TOP(stack0) - 64); write_msr(0x176, (u64)landing); flags_before = 0x4203; user_flags = 0x202;
  if (begins("SYSENTER")) {
    attempt_in(3, enter_system);
    compare("SYSENTER", "vector", outcome, LANDED);
    compare("SYSENTER", "CS", seen.cs, 8); compare("SYSENTER", "SS", seen.ss, 0x10); compare("SYSENTER", "RSP", seen.rsp, TOP(stack0) - 64);
    compare("SYSENTER", "flags", seen.rflags & 0xff01, 0x4001);
  }
  reset();
  for (int wide = 0; wide < 2; wide++) {
    const char *name = wide ? "SYSEXITQ" : "SYSEXITL";
    gdt[wide ? 6 : 4] = gdt[wide ? 5 : 3];
    target_rip = (u64)landing; return_rsp = top;
    write_msr(0x174, 8);
    if (begins(name)) {
      attempt(wide ? exit_wide : exit_narrow);
      compare(name, "vector", outcome, LANDED);
      compare(name, "CS", seen.cs, wide ? 0x2b : 0x1b); compare(name, "SS", seen.ss, wide ? 0x33 : 0x23); compare(name, "RSP", seen.rsp, top);
    }
    reset();
  }
  write_msr(0x174, 8); REFUSED("SYSEXIT in ring 3", exit_wide, 3, 13, 0);
  write_msr(0x174, 8); target_rip = HOLE; return_rsp = top; REFUSED("SYSEXITQ to a hole", exit_wide, 0, 13, 0);
  write_msr(0x174, 8); target_rip = (u64)landing; return_rsp = HOLE; REFUSED("SYSEXITQ with a stack in a hole", exit_wide, 0, 13, 0);
}

/* --- what IRET to ring 3 leaves of FS and GS: those of ring 0 are null, whatever nulls were there are 0, and bases stay */
u64 left_selectors[2], left_read;
u32 leaving_fs, leaving_gs;
static void leave_by_iret(void) {
  __asm__ volatile("mov leaving_fs, %%eax; mov %%eax, %%fs; mov leaving_gs, %%eax; mov %%eax, %%gs" ::: "rax");
  write_msr(0xc0000101, (u64)variable);
  __asm__ volatile("push $0x23; push $stack3+6000; push $2; push $0x2b; push $look; iretq" ::: "memory");
}
__asm__(".text\n.globl look\nlook: mov %fs, %eax\n mov %rax, left_selectors\n mov %gs, %eax\n mov %rax, left_selectors+8\n mov %gs:8, %rax\n mov %rax, left_read\n int $0x31");
static void data_segments(void) {
  static const u32 rows[][4] = {{DATA0, DATA0, 0, 0}, {3, 2, 0, 0}, {DATA3, DATA3, DATA3, DATA3}, {0, 1, 0, 0}};
  for (u32 i = 0; i < 4; i++) {
    if (begins("IRET and GS")) {
      leaving_fs = rows[i][0]; leaving_gs = rows[i][1]; left_read = 0; variable[1] = 0x123456789abcdef0;
      attempt(leave_by_iret);
      compare("IRET and GS", "vector", outcome, DONE);
      compare("IRET and GS", "FS", left_selectors[0], rows[i][2]);
      compare("IRET and GS", "GS", left_selectors[1], rows[i][3]);
      compare("IRET and GS", "what lies at its base", left_read, 0x123456789abcdef0);
    }
    reset();
  }
}

int main(void) {
  read_command_line();
  reset();
  call_gates();
  returns();
  interrupt_gates();
  fast_calls();
  data_segments();
  u32 status = finish();
  __asm__ volatile("out %0, $0xf4" ::"a"(status));
  return 0;
}
