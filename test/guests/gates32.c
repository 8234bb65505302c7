/*
 * Call, interrupt and trap gates of 16 and 32 bits in protected mode, far transfers without a gate, and the ways back: where
 * they lead, what they push, which flags they clear, how they switch stacks, and each fault of theirs with its error code.
 * SYSENTER and SYSEXIT. SDM volume 3, sections 6.8 and 7.12; volume 2, CALL, INT, IRET, JMP, RET, SYSENTER, SYSEXIT.
 */
#include "cases32.h"

enum {
  CALL32 = 0x60, CALL16 = 0x68, CALL_CONFORMING = 0x70, CALL1 = 0x78, STACK16 = 0x80, ABSENT_CODE = 0x88, CALL_ABSENT = 0x90, SHORT_CODE = 0x98,
  CALL_SHORT = 0xa0, SHIFTED3 = 0xab, CALL_CLOSED = 0xb0, CALL_DATA = 0xb8, CALL_NULL = 0xc0, CALL_BEYOND = 0xc8, CALL_TO_ABSENT = 0xd0, CALL_OUT = 0xd8,
  SMALL_STACK1 = 0xe1, ABSENT1 = 0xe9, READ_ONLY1 = 0xf1, CONFORMING3 = 0xf8, SMALL3 = 0x103, DOWN1 = 0x109, CALL16_1 = 0x110, SHIFTED1 = 0x119, STACK16_1 = 0x121,
};
u32 esp_before, target, flags_before = 2;
u32 far_pointer[2];
u16 landing_offset; /* in the shifted segments */
static u32 low_stack = 0x7000;
static void extend(void) {
  landing_offset = (u32)landing - SHIFT;
  *(volatile u16 *)0x100 = 0x0b0f; /* behind the limit of SHORT_CODE: UD2, for who goes there all the same */
  gdt[CALL32 / 8] = gate_to(CODE0, (u32)landing, 0xec, 2);
  gdt[CALL16 / 8] = gate_to(SHIFTED, (u32)landing - SHIFT, 0xe4, 2);
  gdt[CALL_CONFORMING / 8] = gate_to(CONFORMING, (u32)landing, 0xec, 2);
  gdt[CALL1 / 8] = gate_to(CODE1, (u32)landing, 0xec, 2);
  gdt[STACK16 / 8] = descriptor(0, 0xffff, 0x92, 0);
  gdt[ABSENT_CODE / 8] = descriptor(0, 0xfffff, 0x1a, 0xc);
  gdt[CALL_ABSENT / 8] = gate_to(CODE0, (u32)landing, 0x6c, 0);
  gdt[SHORT_CODE / 8] = descriptor(0, 0xff, 0x9a, 4);
  gdt[CALL_SHORT / 8] = gate_to(SHORT_CODE, 0x100, 0xec, 0);
  gdt[SHIFTED3 / 8] = descriptor(SHIFT, 0xfffff, 0xfa, 0xc);
  gdt[CALL_CLOSED / 8] = gate_to(CODE0, (u32)landing, 0x0c, 0); /* closed to ring 3, and absent */
  gdt[CALL_DATA / 8] = gate_to(DATA0, (u32)landing, 0xec, 0);
  gdt[CALL_NULL / 8] = gate_to(0, (u32)landing, 0xec, 0);
  gdt[CALL_BEYOND / 8] = gate_to(0x7f8, (u32)landing, 0xec, 0);
  gdt[CALL_TO_ABSENT / 8] = gate_to(ABSENT_CODE, (u32)landing, 0xec, 0);
  gdt[CALL_OUT / 8] = gate_to(CODE3, (u32)landing, 0x8c, 0);
  gdt[SMALL_STACK1 / 8] = descriptor((u32)stack1, 0xff, 0xb2, 4);
  gdt[ABSENT1 / 8] = descriptor(0, 0xfffff, 0x32, 0xc);
  gdt[READ_ONLY1 / 8] = descriptor(0, 0xfffff, 0xb0, 0xc);
  gdt[CONFORMING3 / 8] = descriptor(0, 0xfffff, 0xfe, 0xc);
  gdt[SMALL3 / 8] = descriptor((u32)stack3, 0xff, 0xf2, 4);
  gdt[DOWN1 / 8] = descriptor((u32)stack1 - 0x1000, 0xfff, 0xb6, 4); /* from its first byte on */
  gdt[CALL16_1 / 8] = gate_to(SHIFTED1, (u32)landing - SHIFT, 0xe4, 2);
  gdt[SHIFTED1 / 8] = descriptor(SHIFT, 0xfffff, 0xba, 0xc);
  gdt[STACK16_1 / 8] = descriptor(0, 0xffff, 0xb2, 0);
}

/* What leads somewhere, with two parameters on the stack. */
#define HERE "push flags_before; popf; push $0x11112222; push $0x33334444; mov %%esp, esp_before"
CASE(call, "mov target, %%eax; mov %%eax, far_pointer+4; movl $landing, far_pointer;" HERE, "lcall *far_pointer")
CASE(call_narrow, "mov target, %%eax; mov %%ax, far_pointer+2; mov landing_offset, %%ax; mov %%ax, far_pointer;" HERE, "lcallw *far_pointer")
CASE(jump, "mov target, %%eax; mov %%eax, far_pointer+4; movl $landing, far_pointer;" HERE, "ljmp *far_pointer")
CASE(interrupt, HERE, "int $0x34")
CASE(undefined, HERE, "ud2")
CASE(protection, "mov $0x7fb, %%eax;" HERE, "mov %%eax, %%fs")
CASE(far_return, "push $0x23; push $stack3+2000; push $0x55; push $0x66; push target; push $landing; mov %%esp, esp_before", "lret $8")
CASE(far_return_narrow, "pushw $0x23; pushw $0x7100; pushw $0x55; pushw $0x66; mov target, %%eax; push %%ax; pushw landing_offset", "lretw $4")
CASE(interrupt_return, "push $0x23; push $stack3+2000; push flags_before; push target; push $landing", "iret")
CASE(interrupt_return_narrow, "pushw $0x23; pushw $0x7100; pushw flags_before; mov target, %%eax; push %%ax; pushw landing_offset", "iretw")
u32 return_stack = DATA3;
CASE(return_to_stack, "push return_stack; push $stack3+2000; push $0x1b; push $landing", "lret")
CASE(iret_to_stack, "push return_stack; push $stack3+2000; push $2; push $0x1b; push $landing", "iret")
CASE(small_frame, "mov $0x103, %%eax; mov %%eax, %%ss; mov $6, %%esp", "lcall $0x50, $0")

/* Arrives at the landing, with words below a stack's top. Of words of ffffffff nothing is known. */
static void arrives(const char *name, void (*f)(void), int ring, u32 cs, u32 top, u32 width, const u32 *words, u32 count) {
  if (!begins(name)) { reset(); return; }
  attempt_in(ring, f);
  u32 at = (u32)landing + 2 - (gdt[cs / 8] >> 16 & 0xffffff);
  compare(name, "vector", outcome, LANDED);
  compare(name, "CS", seen.cs & 0xffff, cs);
  compare(name, "EIP", seen.eip, at);
  if (!top) top = esp_before;
  for (u32 i = 0; i < count; i++) {
    u32 place = top - (i + 1) * width, got = width == 2 ? *(u16 *)place : *(u32 *)place;
    u32 expected = width == 2 ? words[i] & 0xffff : words[i];
    if (words[i] == 0xffffffff) continue;
    if (words[i] == 0xfffffffe) expected = width == 2 ? esp_before & 0xffff : esp_before;
    compare(name, "a word of the frame", got, expected);
  }
  u32 esp = seen.cs & 3 ? seen.esp + (gdt[seen.ss / 8 % GDT_COUNT] >> 16 & 0xffffff) : frame_pointer + 17 * 4;
  if (count) compare(name, "ESP", esp & 0xffff, (top - count * width) & 0xffff);
  reset();
}
#define WORDS(...) (const u32[]){__VA_ARGS__}, sizeof((u32[]){__VA_ARGS__}) / 4
enum { ESP = 0xfffffffe, ANY = 0xffffffff };
#define TOP0 ((u32)stack0 + sizeof stack0)
#define TOP1 ((u32)stack1 + sizeof stack1)
enum { P1 = 0x11112222, P2 = 0x33334444, LOW = 0x2222 };

static void refused(const char *name, void (*f)(void), int ring, int vector, u32 error, u8 *at) {
  expect_at(name, f, ring, vector, error, (u32)at, FAULT, 0, 0);
}
#define REFUSED(name, f, ring, vector, error) refused(name, f, ring, vector, error, f##_at)

static void call_gates(void) {
  target = CALL32; arrives("call gate within ring 0", call, 0, CODE0, 0, 4, WORDS(CODE0, (u32)call_end));
  target = CALL32 | 3; arrives("call gate to ring 0", call, 3, CODE0, TOP0, 4, WORDS(DATA3, ESP, P1, P2, CODE3, (u32)call_end));
  target = CALL16; arrives("16-bit call gate within ring 0", call, 0, SHIFTED, 0, 2, WORDS(CODE0, (u32)call_end));
  target = CALL16 | 3; arrives("16-bit call gate to ring 0", call, 3, SHIFTED, TOP0, 2, WORDS(DATA3, ESP, P2 >> 16, P2, CODE3, (u32)call_end));
  target = CALL32 | 3; arrives("narrow call through a wide gate", call_narrow, 3, CODE0, TOP0, 4, WORDS(DATA3, ESP, P1, P2, CODE3, (u32)call_narrow_end));
  target = CALL_CONFORMING | 3; arrives("call gate to conforming code", call, 3, CONFORMING | 3, 0, 4, WORDS(CODE3, (u32)call_end));
  target = CALL1 | 3; arrives("call gate to ring 1", call, 3, CODE1, TOP1, 4, WORDS(DATA3, ESP, P1, P2, CODE3, (u32)call_end));
  target = CALL1 | 3; gdt[CALL1 / 8] = gate_to(CODE1, (u32)landing, 0xec, 0); arrives("call gate without parameters", call, 3, CODE1, TOP1, 4, WORDS(DATA3, ESP, CODE3, (u32)call_end));
  target = CALL16_1 | 3; tss.ss1 = STACK16_1; tss.esp1 = low_stack; arrives("16-bit call gate to a 16-bit stack", call, 3, SHIFTED1, low_stack, 2, WORDS(DATA3, ESP, P2 >> 16, P2, CODE3, (u32)call_end));
  target = CALL1 | 3; tss.ss1 = DOWN1; tss.esp1 = 0x1000 + 4096; arrives("call gate to an expand-down stack", call, 3, CODE1, TOP1, 4, WORDS(DATA3, ESP, P1, P2, CODE3, (u32)call_end));
  target = CALL_CONFORMING | 3; arrives("jump through a gate to conforming code", jump, 3, CONFORMING | 3, 0, 4, 0, 0);
  target = CALL32; arrives("jump through a gate within ring 0", jump, 0, CODE0, 0, 4, 0, 0);

  for (int ring = 0; ring <= 3; ring += 3) {
    target = CALL_ABSENT | ring; REFUSED("call gate absent", call, ring, 11, CALL_ABSENT);
    target = CALL_ABSENT | ring; REFUSED("jump: call gate absent", jump, ring, 11, CALL_ABSENT);
    target = CALL_DATA | ring; REFUSED("call gate to data", call, ring, 13, DATA0);
    target = CALL_NULL | ring; REFUSED("call gate to null", call, ring, 13, 0);
    target = CALL_BEYOND | ring; REFUSED("call gate beyond the GDT", call, ring, 13, 0x7f8);
    target = CALL_TO_ABSENT | ring; REFUSED("call gate to absent code", call, ring, 11, ABSENT_CODE);
    target = CALL_SHORT | ring; REFUSED("call gate behind the limit", call, ring, 13, 0);
  }
  target = CALL_CLOSED | 3; REFUSED("closed and absent call gate", call, 3, 13, CALL_CLOSED);
  target = CALL32 | 3; REFUSED("jump through a gate to ring 0", jump, 3, 13, CODE0);
  target = CALL_OUT; REFUSED("call gate outwards", call, 0, 13, CODE3 & ~3);
  /* The stack of ring 1. */
  target = CALL1 | 3; tss.ss1 = 0; REFUSED("inner stack null", call, 3, 10, 0);
  target = CALL1 | 3; tss.ss1 = 0x7f9; REFUSED("inner stack beyond the GDT", call, 3, 10, 0x7f8);
  target = CALL1 | 3; tss.ss1 = DATA0; REFUSED("inner stack of another ring", call, 3, 10, DATA0);
  target = CALL1 | 3; tss.ss1 = DATA1 & ~3; REFUSED("inner stack with another RPL", call, 3, 10, DATA1 & ~3);
  target = CALL1 | 3; tss.ss1 = READ_ONLY1; REFUSED("inner stack not writable", call, 3, 10, READ_ONLY1 & ~3);
  target = CALL1 | 3; tss.ss1 = CODE1; REFUSED("inner stack is code", call, 3, 10, CODE1 & ~3);
  target = CALL1 | 3; tss.ss1 = ABSENT1; REFUSED("inner stack absent", call, 3, 12, ABSENT1 & ~3);
  target = CALL1 | 3; tss.ss1 = SMALL_STACK1; tss.esp1 = 20; REFUSED("inner stack full", call, 3, 12, SMALL_STACK1 & ~3);
  target = CALL1 | 3; tss.ss1 = SMALL_STACK1; tss.esp1 = 0x200; REFUSED("inner stack behind its limit", call, 3, 12, SMALL_STACK1 & ~3);
  target = CALL1 | 3; tss.esp1 = PAGE_ABSENT + 0x1000; expect_at("inner stack in an absent page", call, 3, 14, 2, (u32)call_at, FAULT, PAGE_ABSENT + 0x1000 - 4, 0);
  expect_at("frame that does not fit", small_frame, 3, 12, 0, (u32)small_frame_at, FAULT, 0, 0);
  target = CALL1 | 3; gdt[TSS / 8] = descriptor((u32)&tss, 0x10, 0x89, 0); __asm__ volatile("ltr %w0" ::"r"(TSS)); REFUSED("inner stack behind the TSS", call, 3, 10, TSS);
}

static void direct_transfers(void) {
  static const struct { const char *name; u32 target; int ring, vector; u32 error; } rows[] = {
    {"null", 0, 0, 13, 0}, {"null with RPL 3", 3, 3, 13, 0}, {"beyond the GDT", 0x7f8, 0, 13, 0x7f8}, {"LDT", 0xc, 0, 13, 0xc}, {"data", DATA0, 0, 13, DATA0},
    {"outer code", CODE3, 0, 13, CODE3 & ~3}, {"inner code", CODE0, 3, 13, CODE0}, {"RPL above CPL", CODE0 | 3, 0, 13, CODE0}, {"absent code", ABSENT_CODE, 0, 11, ABSENT_CODE},
    {"conforming code of an outer ring", CONFORMING3, 0, 13, CONFORMING3}, {"behind the limit", SHORT_CODE, 0, 13, 0}, {"LDT descriptor", TSS, 3, 13, TSS},
  };
  for (u32 i = 0; i < sizeof rows / sizeof *rows; i++) {
    target = rows[i].target; refused(rows[i].name, call, rows[i].ring, rows[i].vector, rows[i].error, call_at);
    target = rows[i].target; refused(rows[i].name, jump, rows[i].ring, rows[i].vector, rows[i].error, jump_at);
  }
  target = CODE0; arrives("call", call, 0, CODE0, 0, 4, WORDS(CODE0, (u32)call_end));
  target = SHIFTED; arrives("narrow call", call_narrow, 0, SHIFTED, 0, 2, WORDS(CODE0, (u32)call_narrow_end));
  target = CODE3; arrives("call in ring 3", call, 3, CODE3, 0, 4, WORDS(CODE3, (u32)call_end));
  target = CONFORMING; arrives("call to conforming code", call, 3, CONFORMING | 3, 0, 4, WORDS(CODE3, (u32)call_end));
  target = CONFORMING | 3; arrives("call to conforming code, RPL above CPL", call, 0, CONFORMING, 0, 4, WORDS(CODE0, (u32)call_end));
  target = CONFORMING; arrives("jump to conforming code", jump, 3, CONFORMING | 3, 0, 4, 0, 0);
}

static void returns(void) {
  u32 esp3 = (u32)stack3 + 2000;
  target = CODE3; arrives("far return to ring 3", far_return, 0, CODE3, esp3 + 8, 4, 0, 0);
  compare("far return to ring 3", "ESP", seen.esp, esp3 + 8);
  compare("far return to ring 3", "DS", seen.ds & 0xffff, 0);
  compare("far return to ring 3", "SS", seen.ss, DATA3);
  target = CODE0; arrives("far return within ring 0", far_return, 0, CODE0, 0, 4, 0, 0);
  compare("far return within ring 0", "ESP", frame_pointer + 68, esp_before + 16);
  compare("far return within ring 0", "DS", seen.ds & 0xffff, DATA0);
  target = SHIFTED3; arrives("narrow far return to ring 3", far_return_narrow, 0, SHIFTED3, 0, 2, 0, 0);
  compare("narrow far return to ring 3", "ESP", seen.esp & 0xffff, 0x7104);
  target = CODE3; flags_before = 0x202; arrives("IRET to ring 3", interrupt_return, 0, CODE3, 0, 4, 0, 0);
  compare("IRET to ring 3", "ESP", seen.esp, esp3);
  compare("IRET to ring 3", "flags", seen.eflags, 0x202);
  compare("IRET to ring 3", "DS", seen.ds & 0xffff, 0);
  flags_before = 2;
  target = SHIFTED3; arrives("narrow IRET to ring 3", interrupt_return_narrow, 0, SHIFTED3, 0, 2, 0, 0);
  compare("narrow IRET to ring 3", "ESP", seen.esp & 0xffff, 0x7100);
  static const struct { const char *name; u32 target; int ring, vector; u32 error; } rows[] = {
    {"return to null", 0, 0, 13, 0}, {"return beyond the GDT", 0x7f8, 0, 13, 0x7f8}, {"return to data", DATA0, 0, 13, DATA0}, {"return inwards", CODE0, 3, 13, CODE0},
    {"return to absent code", ABSENT_CODE, 0, 11, ABSENT_CODE}, {"return behind the limit", SHORT_CODE, 0, 13, 0}, {"return with DPL below RPL", CODE0 | 3, 0, 13, CODE0},
    {"return to conforming code above RPL", CONFORMING3, 0, 13, CONFORMING3}, {"return to a gate", CALL32, 0, 13, CALL32},
  };
  for (u32 i = 0; i < sizeof rows / sizeof *rows; i++) {
    target = rows[i].target; refused(rows[i].name, far_return, rows[i].ring, rows[i].vector, rows[i].error, far_return_at);
    target = rows[i].target; refused(rows[i].name, interrupt_return, rows[i].ring, rows[i].vector, rows[i].error, interrupt_return_at);
  }
  static const struct { const char *name; u32 stack; int vector; u32 error; } stacks[] = {
    {"return to a null stack", 3, 13, 0}, {"return to a stack beyond the GDT", 0x7fb, 13, 0x7f8}, {"return to a stack of ring 0", DATA0, 13, DATA0}, {"return to a stack with another RPL", DATA3 & ~3, 13, DATA3 & ~3},
    {"return to a stack of code", CODE3, 13, CODE3 & ~3}, {"return to an absent stack", 0x12b, 12, 0x128},
  };
  for (u32 i = 0; i < sizeof stacks / sizeof *stacks; i++)
    for (int k = 0; k < 2; k++) {
      gdt[0x128 / 8] = descriptor(0, 0xfffff, 0x72, 0xc);
      return_stack = stacks[i].stack;
      refused(stacks[i].name, k ? iret_to_stack : return_to_stack, 0, stacks[i].vector, stacks[i].error, k ? iret_to_stack_at : return_to_stack_at);
    }
}

/* Interrupt and trap gates of both sizes, from rings 0 and 3, for INT and for exceptions. */
static void interrupt_gates(void) {
  static const u8 types[] = {6, 7, 14, 15};
  static const char *const names[] = {"16-bit interrupt gate", "16-bit trap gate", "interrupt gate", "trap gate"};
  for (u32 k = 0; k < 4; k++)
    for (int ring = 0; ring <= 3; ring += 3)
      for (u32 what = 0; what < 3; what++) {
        void (*f)(void) = what == 0 ? interrupt : what == 1 ? undefined : protection;
        u32 type = types[k], width = type < 8 ? 2 : 4, cs = type < 8 ? SHIFTED : CODE0;
        u64 gate = gate_to(cs, (u32)landing - (type < 8 ? SHIFT : 0), 0xe0 | type, 0);
        idt[0x34] = idt[6] = idt[13] = gate;
        u32 eip = what == 0 ? (u32)interrupt_end : what == 1 ? (u32)undefined_at : (u32)protection_at;
        u32 stack = ring ? TOP0 : 0, old_cs = ring ? CODE3 : CODE0, shown = 0x4202 | (what ? 0x10000 : 0);
        user_flags = 0x202;
        flags_before = 0x4202;
        u32 words[6], count = 0;
        if (ring) { words[count++] = DATA3; words[count++] = ESP; }
        words[count++] = shown; words[count++] = old_cs; words[count++] = eip;
        if (what == 2) words[count++] = 0x7f8;
        arrives(names[k], f, ring, cs, stack, width, words, count);
        compare(names[k], "IF in the handler", seen.eflags & 0x200, type & 1 ? 0x200 : 0);
        compare(names[k], "NT, TF and RF in the handler", seen.eflags & 0x14100, 0);
        compare(names[k], "DS in the handler", seen.ds & 0xffff, ring ? DATA3 : DATA0);
        flags_before = 2;
        reset();
      }
  idt[0x34] = gate_to(CODE1, (u32)landing, 0xee, 0); arrives("interrupt gate to ring 1", interrupt, 3, CODE1, TOP1, 4, WORDS(DATA3, ESP, ANY, CODE3, (u32)interrupt_end));
  idt[0x34] = gate_to(CONFORMING, (u32)landing, 0xee, 0); arrives("interrupt gate to conforming code", interrupt, 3, CONFORMING | 3, 0, 4, WORDS(ANY, CODE3, (u32)interrupt_end));
  static const struct { const char *name; u32 selector, access; int ring, vector; u32 error; } rows[] = {
    {"gate to null", 0, 0xee, 0, 13, 0}, {"gate beyond the GDT", 0x7f8, 0xee, 0, 13, 0x7f8}, {"gate to data", DATA0, 0xee, 0, 13, DATA0}, {"gate outwards", CODE3, 0xee, 0, 13, CODE3 & ~3},
    {"gate to absent code", ABSENT_CODE, 0xee, 0, 11, ABSENT_CODE}, {"gate absent", CODE0, 0x6e, 3, 11, 0x34 * 8 + 2}, {"gate closed", CODE0, 0x8e, 3, 13, 0x34 * 8 + 2},
    {"gate closed and absent", CODE0, 0x0e, 3, 13, 0x34 * 8 + 2}, {"call gate in the IDT", CODE0, 0xec, 0, 13, 0x34 * 8 + 2}, {"TSS in the IDT", CODE0, 0xe9, 0, 13, 0x34 * 8 + 2}, {"code in the IDT", CODE0, 0xfa, 0, 13, 0x34 * 8 + 2},
  };
  for (u32 i = 0; i < sizeof rows / sizeof *rows; i++) {
    idt[0x34] = gate_to(rows[i].selector, (u32)landing, rows[i].access, 0);
    refused(rows[i].name, interrupt, rows[i].ring, rows[i].vector, rows[i].error, interrupt_at);
    if (rows[i].ring || rows[i].vector != 13) continue;
    idt[6] = gate_to(rows[i].selector, (u32)landing, rows[i].access, 0); /* the same of an exception: EXT */
    refused(rows[i].name, undefined, rows[i].ring, rows[i].vector, (rows[i].error == 0x34 * 8 + 2 ? 6 * 8 + 2 : rows[i].error) | 1, undefined_at);
  }
  idt[0x34] = gate_to(SHORT_CODE, 0x100, 0xee, 0); REFUSED("gate behind the limit", interrupt, 0, 13, 0);
  idt[0x34] = gate_to(CODE1, (u32)landing, 0xee, 0); tss.ss1 = 0; REFUSED("interrupt: inner stack null", interrupt, 3, 10, 0);
  idt[0x34] = gate_to(CODE1, (u32)landing, 0xee, 0); tss.ss1 = ABSENT1; REFUSED("interrupt: inner stack absent", interrupt, 3, 12, ABSENT1 & ~3);
  idt[0x34] = gate_to(CODE1, (u32)landing, 0xee, 0); tss.ss1 = SMALL_STACK1; tss.esp1 = 16; REFUSED("interrupt: inner stack full", interrupt, 3, 12, SMALL_STACK1 & ~3);
  idt[6] = gate_to(CODE1, (u32)landing, 0xee, 0); tss.ss1 = DATA0; REFUSED("exception: inner stack of another ring", undefined, 3, 10, DATA0 | 1);
}

/* --- SYSENTER and SYSEXIT */
CASE(enter_system, "push flags_before; popf; mov $0x1111, %%ecx", "sysenter")
CASE(exit_system, "mov $stack3+2000, %%ecx; mov $landing, %%edx", "sysexit")
static void write_msr(u32 index, u32 v) { __asm__ volatile("wrmsr" ::"c"(index), "a"(v), "d"(0)); }
static void fast_calls(void) {
  /* Their segments follow one another: code and stack of ring 0, code and stack of ring 3. */
  write_msr(0x174, CODE0 | 3); write_msr(0x175, TOP1); write_msr(0x176, (u32)landing);
  for (int ring = 0; ring <= 3; ring += 3) {
    flags_before = 0x4003; user_flags = 0x202;
    if (begins("SYSENTER")) {
      attempt_in(ring, enter_system);
      compare("SYSENTER", "vector", outcome, LANDED);
      compare("SYSENTER", "CS", seen.cs & 0xffff, CODE0);
      compare("SYSENTER", "EIP", seen.eip, (u32)landing + 2);
      compare("SYSENTER", "SS", handler_ss & 0xffff, DATA0);
      compare("SYSENTER", "ESP", frame_pointer + 68, TOP1);
      compare("SYSENTER", "ECX", seen.ecx, 0x1111);
      compare("SYSENTER", "flags", seen.eflags & 0x7f01, 0x4001);
    }
    flags_before = 2;
    reset();
  }
  if (begins("SYSEXIT")) {
    attempt(exit_system);
    compare("SYSEXIT", "vector", outcome, LANDED);
    compare("SYSEXIT", "CS", seen.cs & 0xffff, CODE3);
    compare("SYSEXIT", "EIP", seen.eip, (u32)landing + 2);
    compare("SYSEXIT", "SS", seen.ss & 0xffff, DATA3);
    compare("SYSEXIT", "ESP", seen.esp, (u32)stack3 + 2000);
  }
  reset();
  REFUSED("SYSEXIT in ring 3", exit_system, 3, 13, 0);
  write_msr(0x174, 3);
  REFUSED("SYSENTER without a segment", enter_system, 0, 13, 0);
  REFUSED("SYSENTER without a segment", enter_system, 3, 13, 0);
  REFUSED("SYSEXIT without a segment", exit_system, 0, 13, 0);
}

/* --- what returns to an outer ring leave of the data segments: those of inner rings are null then, and so is every null */
u32 leaving[4], left[4]; /* DS, ES, FS, GS */
#define LOAD_LEAVING "mov leaving+4, %%eax; mov %%eax, %%es; mov leaving+8, %%eax; mov %%eax, %%fs; mov leaving+12, %%eax; mov %%eax, %%gs; mov leaving, %%eax; mov %%eax, %%ds; "
static void leave_by_iret(void) { __asm__ volatile("push $0x23; push $stack3+3000; push $2; push $0x1b; push $look; " LOAD_LEAVING "iret" ::: "eax", "memory"); }
static void leave_by_retf(void) { __asm__ volatile("push $0x23; push $stack3+3000; push $0x1b; push $look; " LOAD_LEAVING "lret" ::: "eax", "memory"); }
__asm__(".text\n.globl look, look_at\nlook: mov %ds, %eax\n mov %eax, %ss:left\n mov %es, %eax\n mov %eax, %ss:left+4\n mov %fs, %eax\n mov %eax, %ss:left+8\n mov %gs, %eax\n mov %eax, %ss:left+12\nlook_at: mov leaving, %eax\n int $0x31");
extern u8 look_at[];
static void data_segments(void) {
  static const struct { const char *name; u32 before[4], after[4]; int vector; } rows[] = {
    {"of ring 0", {DATA0, DATA0, DATA0, CODE0}, {0, 0, 0, 0}, 13},
    {"nulls of every level", {1, 2, 3, 0}, {0, 0, 0, 0}, 13},
    {"of ring 3, and conforming code", {DATA3, CODE3, CONFORMING, DATA3 & ~3}, {DATA3, CODE3, CONFORMING, DATA3 & ~3}, DONE},
    {"of ring 1", {DATA1, DATA3, DATA1, 3}, {0, DATA3, 0, 0}, 13},
  };
  static void (*const ways[])(void) = {leave_by_iret, leave_by_retf};
  for (u32 way = 0; way < 2; way++)
    for (u32 i = 0; i < sizeof rows / sizeof *rows; i++) {
      if (begins(rows[i].name)) {
        for (u32 k = 0; k < 4; k++) { leaving[k] = rows[i].before[k]; left[k] = 0xffff; }
        attempt(ways[way]);
        for (u32 k = 0; k < 4; k++) compare(rows[i].name, "selector", left[k] & 0xffff, rows[i].after[k]);
        compare(rows[i].name, "vector", outcome, rows[i].vector);
        if (rows[i].vector == 13) compare(rows[i].name, "instruction pointer", seen.eip, (u32)look_at);
      }
      reset();
    }
}

int main(void) {
  read_command_line();
  reset();
  call_gates();
  direct_transfers();
  returns();
  interrupt_gates();
  fast_calls();
  data_segments();
  u32 status = finish();
  __asm__ volatile("out %0, $0xf4" ::"a"(status));
  return 0;
}
