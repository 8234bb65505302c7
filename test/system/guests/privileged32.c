/*
 * Asks a processor what it makes of segment registers, gates, rings, task switches, flags, control registers and page
 * tables in 32-bit protected and virtual-8086 mode, and prints the answers on the debug console, one line per question.
 * The expected answers beside this file are ours where QEMU's TCG gives the same, and otherwise the manual's: TCG checks no
 * segment limits, writes through CS, takes LTR of null, calls INT1 undefined, forgets P in the error code of reserved bits, does not ask for a
 * write in a read-modify-write, sets the accessed flags of walks that fault, and has #NP for an absent stack segment of RETF.
 */
#include "guest.h"

extern u32 saved_esp, frame_pointer;
int attempt(void (*f)(void));

struct frame { u32 gs, fs, es, ds, edi, esi, ebp, esp0, ebx, edx, ecx, eax, vector, error, eip, cs, eflags, esp, ss, ves, vds, vfs, vgs; };
static struct frame seen;

/* --- tables */
#define GDT_COUNT 256
static u64 gdt[GDT_COUNT] __attribute__((aligned(16)));
static u64 ldt[8] __attribute__((aligned(16)));
static u64 idt[64] __attribute__((aligned(16)));
struct tss { u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi, es, cs, ss, ds, fs, gs, ldt; u16 trap, map; };
static struct tss tss __attribute__((aligned(128)));
static struct tss other __attribute__((aligned(128)));
static struct { u16 link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags, ax, cx, dx, bx, sp, bp, si, di, es, cs, ss, ds, ldt; } other16 __attribute__((aligned(128)));
static u8 stack0[4096] __attribute__((aligned(16))), stack1[4096] __attribute__((aligned(16)));
u8 stack3[4096] __attribute__((aligned(16)));

enum { CODE0 = 8, DATA0 = 0x10, CODE3 = 0x1b, DATA3 = 0x23, TSS = 0x28, LDT = 0x30, CODE1 = 0x39, DATA1 = 0x41, SMALL = 0x48, DOWN = 0x50, STACK16 = 0x58, LOW_LANDING = 0x9000, MATRIX = 0x100 };

void record(void) {
  struct frame *f = (struct frame *)frame_pointer;
  /* After a task switch or on another stack segment the frame still lies at a flat address: all stacks are flat. */
  if (handler_ss == STACK16) f = (struct frame *)(frame_pointer & 0xffff);
  seen = *f;
  outcome = f->vector;
}

static u64 gate(u32 selector, u32 offset, u32 access, u32 count) {
  return (offset & 0xffff) | (selector << 16) | ((u64)count << 32) | ((u64)access << 40) | ((u64)(offset >> 16) << 48);
}

/* A descriptor of each type (5 bits with S), DPL 0 or 3, absent or present: MATRIX + (type | dpl << 5 | present << 6) * 8. */
static void tables(void) {
  gdt[1] = descriptor(0, 0xfffff, 0x9a, 0xc);
  gdt[2] = descriptor(0, 0xfffff, 0x92, 0xc);
  gdt[3] = descriptor(0, 0xfffff, 0xfa, 0xc);
  gdt[4] = descriptor(0, 0xfffff, 0xf2, 0xc);
  gdt[5] = descriptor((u32)&tss, 0x67, 0x89, 0);
  gdt[6] = descriptor((u32)ldt, sizeof ldt - 1, 0x82, 0);
  gdt[7] = descriptor(0, 0xfffff, 0xba, 0xc);
  gdt[8] = descriptor(0, 0xfffff, 0xb2, 0xc);
  gdt[9] = descriptor((u32)stack3, 0xff, 0xf2, 4);
  gdt[10] = descriptor((u32)stack3 - 0x1000, 0xfff, 0xf6, 4);
  gdt[11] = descriptor(0, 0xffff, 0x92, 0);
  *(volatile u16 *)LOW_LANDING = 0x30cd; /* INT 30H, where 16 bits reach */
  for (u32 i = 0; i < 128; i++) {
    u32 type = i & 31, access = type | (i & 32 ? 0x60 : 0) | (i & 64 ? 0x80 : 0);
    u64 d = 0;
    if (type & 16) d = descriptor(0, 0xfffff, access, 0xc);
    else switch (type) {
      case 1: case 3: d = descriptor((u32)&other16, 0x2b, access, 0); break;
      case 9: case 11: d = descriptor((u32)&other, 0x67, access, 0); break;
      case 2: d = descriptor((u32)ldt, sizeof ldt - 1, access, 0); break;
      case 5: d = gate(MATRIX + (9 | 64) * 8, 0, access, 0); break;
      case 4: d = gate(CODE0, LOW_LANDING, access, 0); break;
      case 12: d = gate(CODE0, (u32)landing, access, 2); break;
      default: d = gate(CODE0, (u32)landing, access, 0);
    }
    gdt[MATRIX / 8 + i] = d;
  }
  for (int i = 0; i < 4; i++) ldt[i] = gdt[i + 1];
  ldt[5] = descriptor(0, 0xfffff, 0x98, 0xc);
  for (int i = 0; i < 64; i++) idt[i] = gate(CODE0, (u32)stubs + i * 16, i >= 0x30 ? 0xee : 0x8e, 0);
  tss.ss0 = DATA0; tss.esp0 = (u32)stack0 + sizeof stack0;
  tss.ss1 = DATA1; tss.esp1 = (u32)stack1 + sizeof stack1;
  tss.map = sizeof tss;
  other = tss;
  other.eip = (u32)landing; other.eflags = 2; other.esp = (u32)stack1 + sizeof stack1;
  other.cs = CODE0; other.ss = other.ds = other.es = DATA0; other.fs = DATA3; other.gs = 0; other.ldt = LDT;
  other.eax = 0xa1; other.ecx = 0xa2; other.edi = 0xa8;
  __builtin_memset(&other16, 0, sizeof other16);
  other16.ip = LOW_LANDING; other16.flags = 2; other16.sp = 0x6f00; other16.cs = CODE0; other16.ss = STACK16; other16.ds = other16.es = DATA0; other16.ax = 0xb1;
}
static void load_tables(void) {
  struct { u16 limit; u32 base; } __attribute__((packed)) g = {sizeof gdt - 1, (u32)gdt}, i = {sizeof idt - 1, (u32)idt};
  tables();
  __asm__ volatile("lgdt %0; lidt %1; ljmp $8, $1f; 1: mov %2, %%ds; mov %2, %%es; mov %2, %%fs; mov %2, %%gs; mov %2, %%ss" ::"m"(g), "m"(i), "r"(0x10));
  __asm__ volatile("lldt %w0; ltr %w1; clts" ::"r"(LDT), "r"(TSS));
  __asm__ volatile("push $2; popf");
}

static void answer(void) {
  print(" -> ");
  if (outcome == (u32)-1) print("done");
  else {
    print("#");
    hex(outcome);
    if (seen.error != 0x5a5a) { print("("); hex(seen.error); print(")"); }
  }
}
static void line(void) { put('\n'); }
static u32 tr(void) { u32 v; __asm__ volatile("str %0" : "=r"(v)); return v & 0xffff; }

/* --- what is probed, with its selector in `probe` */
u32 probe, result, flags_after, home_ss; /* named by the assembly below, as is whatever else is not static */
#define PROBE(name, text) static void name(void) { __asm__ volatile("mov probe, %%eax\n\t" text ::: "eax", "ebx", "ecx", "edx", "memory"); }
PROBE(mov_ds, "mov %%ax, %%ds")
PROBE(mov_ss, "mov home_ss, %%ebx; mov %%ax, %%ss; mov %%ebx, %%ss")
PROBE(pop_fs, "push %%eax; pop %%fs")
PROBE(lar, "mov $0x77, %%ebx; lar %%eax, %%ebx; mov %%ebx, result; pushf; pop flags_after")
PROBE(lsl, "mov $0x77, %%ebx; lsl %%eax, %%ebx; mov %%ebx, result; pushf; pop flags_after")
PROBE(verr, "verr %%ax; pushf; pop flags_after")
PROBE(verw, "verw %%ax; pushf; pop flags_after")
PROBE(lldt, "lldt %%ax")
PROBE(ltr, "ltr %%ax")
struct { u32 offset; u16 selector; } __attribute__((packed)) far_pointer;
PROBE(far_jump, "mov %%ax, far_pointer+4; movl $landing, far_pointer; ljmp *far_pointer")
PROBE(far_call, "mov %%ax, far_pointer+4; movl $landing, far_pointer; lcall *far_pointer")
PROBE(far_return, "push $0x23; push $stack3+4000; push %%eax; push $landing; lret")
PROBE(int_return, "push $0x23; push $stack3+4000; push $2; push %%eax; push $landing; iret")
PROBE(return_stack, "push %%eax; push $stack3+4000; push $0x1b; push $landing; lret")

/* The same from ring 3 or 1: IRET to code that does it, then INT 31H. */
static void (*user_function)(void);
u32 user_cs, user_ss;
static void user_landing(void) { user_function(); __asm__ volatile("int $0x31"); }
static void enter_user(void) {
  __asm__ volatile("mov user_ss, %%eax; mov %%ax, %%ds; mov %%ax, %%es; push %%eax; push $stack3+3000; push $2; push user_cs; push %0; iret" ::"r"(user_landing) : "eax", "memory");
}

static void reset(void) { load_tables(); }
static void run(int ring, void (*f)(void)) {
  reset();
  result = flags_after = 0;
  home_ss = ring == 3 ? DATA3 : DATA0;
  if (ring == 0) attempt(f);
  else {
    user_function = f;
    user_cs = ring == 3 ? CODE3 : CODE1;
    user_ss = ring == 3 ? DATA3 : DATA1;
    attempt(enter_user);
  }
  u32 task = tr();
  answer();
  if (outcome == 0x30 || task != TSS) {
    print(" cs="); hex(seen.cs); print(" tr="); hex(task);
    if (task != TSS) { print(" ax="); hex(seen.eax); print(" link="); hex(task ? *(u16 *)(gdt[task / 8] >> 40 & 8 ? (void *)&other : (void *)&other16) : 0); print(" nt="); hex(seen.eflags >> 14 & 1); }
  }
}

static const struct { const char *name; void (*f)(void); u8 rings, answers; } segment_probes[] = {
  {"mov ds", mov_ds, 9, 0}, {"mov ss", mov_ss, 9, 0}, {"pop fs", pop_fs, 8, 0}, {"lar", lar, 9, 1}, {"lsl", lsl, 9, 1},
  {"verr", verr, 9, 1}, {"verw", verw, 9, 1}, {"lldt", lldt, 1, 0}, {"ltr", ltr, 1, 0}, {"ljmp", far_jump, 9, 0},
  {"lcall", far_call, 9, 0}, {"lret", far_return, 9, 0}, {"iret", int_return, 1, 0}, {"lret ss", return_stack, 1, 0},
};

static void segments(void) {
  for (u32 k = 0; k < sizeof segment_probes / sizeof *segment_probes; k++)
    for (int ring = 0; ring <= 3; ring += 3) {
      if (!(segment_probes[k].rings & (1 << ring))) continue;
      for (u32 i = 0; i < 128 + 12; i++)
        for (u32 rpl = 0; rpl <= 3; rpl += 3) {
          static const u16 extra[] = {0, 0x7f8, 0x1000, 4, 0xc, 0x14, 0x1c, 0x24, 0x2c, 0x3c, 0x44, 0x28};
          probe = (i < 128 ? MATRIX + i * 8 : extra[i - 128]) | rpl;
          print(segment_probes[k].name); print(" ring "); hex(ring); print(" selector "); hex(probe);
          if (i < 128) { print(" type "); hex(i & 31); print(i & 32 ? " dpl 3" : " dpl 0"); print(i & 64 ? "" : " absent"); }
          run(ring, segment_probes[k].f);
          if (segment_probes[k].answers && outcome != 13) {
            print(flags_after & 0x40 ? " zf " : " no ");
            if (segment_probes[k].f == lar || segment_probes[k].f == lsl) hex(result);
          }
          line();
        }
    }
}

/* --- instructions that need a privilege */
#define SIMPLE(name, text) static void name(void) { __asm__ volatile(text ::: "eax", "ebx", "ecx", "edx", "memory"); }
struct { u16 limit; u32 base; } __attribute__((packed)) saved_table;
SIMPLE(do_hlt_user, "hlt")
SIMPLE(do_cli, "cli")
SIMPLE(do_sti, "sti; nop; cli")
SIMPLE(do_in, "in $0x80, %%al")
SIMPLE(do_in_word, "mov $0x7f, %%edx; in %%dx, %%ax")
SIMPLE(do_lgdt, "sgdt saved_table; lgdt saved_table")
SIMPLE(do_lidt, "sidt saved_table; lidt saved_table")
SIMPLE(do_clts, "clts")
SIMPLE(do_lmsw, "smsw %%ax; lmsw %%ax")
SIMPLE(do_mov_cr0, "mov %%cr0, %%eax; mov %%eax, %%cr0")
SIMPLE(do_read_cr3, "mov %%cr3, %%eax")
SIMPLE(do_cr1, ".byte 0x0f, 0x20, 0xc8")
SIMPLE(do_dr, "mov %%dr7, %%eax; mov %%eax, %%dr7")
SIMPLE(do_dr4, ".byte 0x0f, 0x21, 0xe0")
SIMPLE(do_invlpg, "invlpg (0)")
SIMPLE(do_wbinvd, "wbinvd")
SIMPLE(do_rdmsr, "mov $0x10, %%ecx; rdmsr")
SIMPLE(do_rdmsr_bad, "mov $0x12345678, %%ecx; rdmsr")
SIMPLE(do_rdtsc, "rdtsc")
SIMPLE(do_int0, "int $0")
SIMPLE(do_int3, "int3")
SIMPLE(do_int1, ".byte 0xf1")
SIMPLE(do_into, "mov $0x7f, %%al; add $1, %%al; into")
SIMPLE(do_int32, "int $0x32")
SIMPLE(do_int_far, "int $0x80")
SIMPLE(do_ud2, "ud2")
SIMPLE(do_div, "xor %%ecx, %%ecx; div %%ecx")
SIMPLE(do_bound, "push $5; push $3; mov $9, %%eax; bound %%eax, (%%esp); add $8, %%esp")
SIMPLE(do_sysenter, "sysenter")
SIMPLE(do_sldt, "sldt %%eax; str %%ebx; sgdt saved_table")
SIMPLE(do_popf_all, "mov $0x00243fd7, %%eax; and $~0x100, %%eax; push %%eax; popf; pushf; pop result; push $2; popf")
SIMPLE(do_popf_word, "mov $0x7ed7, %%eax; push %%ax; popfw; pushf; pop result; push $2; popf")
SIMPLE(do_iret_flags, "push $0x00243ed7; push %%cs; push $1f; iret; 1: pushf; pop result; push $2; popf")
SIMPLE(do_lar_null, "xor %%eax, %%eax; lar %%eax, %%ebx; pushf; pop result")
SIMPLE(do_arpl, "mov $0x10, %%eax; mov $0x1b, %%ebx; arpl %%bx, %%ax; pushf; pop result; andl $0x40, result; or %%eax, result")
SIMPLE(do_outs, "push $0x33; mov $0x80, %%edx; mov %%esp, %%esi; mov $1, %%ecx; rep outsb; pop %%eax")
SIMPLE(do_mov_cs, "mov $8, %%eax; .byte 0x8e, 0xc8")
SIMPLE(do_seg7, ".byte 0x8c, 0xf8")
SIMPLE(do_push_pop, "push %%ds; push %%es; push %%ss; push %%fs; pop %%eax; pop %%ebx; pop %%ecx; pop %%edx")
SIMPLE(do_limit, "mov $0x48, %%eax; mov %%eax, %%es; movl %%es:0xfc, %%eax; movl %%es:0xfd, %%eax")
SIMPLE(do_limit_write, "mov $0x48, %%eax; mov %%eax, %%es; movb $0, %%es:0x100")
SIMPLE(do_down_low, "mov $0x50, %%eax; mov %%eax, %%es; movb %%es:0x1000, %%al; movb %%es:0xfff, %%al")
SIMPLE(do_null_use, "xor %%eax, %%eax; mov %%eax, %%es; movb %%es:0, %%al")
SIMPLE(do_code_write, "movb $0, %%cs:saved_table")
SIMPLE(do_ss_limit, "mov $0x4b, %%eax; mov %%eax, %%ss; mov $0x102, %%esp; push %%eax")
SIMPLE(do_ss_read, "mov $0x4b, %%eax; mov %%eax, %%ss; mov $0xfe, %%esp; pop %%eax")

void iopl_user(void);
static const struct { const char *name; void (*f)(void); u8 rings; } simple[] = {
  {"hlt", do_hlt_user, 8}, {"cli", do_cli, 9}, {"sti", do_sti, 9}, {"in byte", do_in, 9}, {"in word", do_in_word, 9},
  {"lgdt", do_lgdt, 9}, {"lidt", do_lidt, 9}, {"clts", do_clts, 9}, {"lmsw", do_lmsw, 9}, {"mov cr0", do_mov_cr0, 9},
  {"read cr3", do_read_cr3, 9}, {"cr1", do_cr1, 9}, {"dr7", do_dr, 9}, {"dr4", do_dr4, 9}, {"invlpg", do_invlpg, 9},
  {"wbinvd", do_wbinvd, 8}, {"rdmsr", do_rdmsr, 9}, {"rdmsr unknown", do_rdmsr_bad, 9}, {"rdtsc", do_rdtsc, 9},
  {"int 0", do_int0, 9}, {"int3", do_int3, 9}, {"int1", do_int1, 9}, {"into", do_into, 9}, {"int 32h", do_int32, 9},
  {"int 80h beyond the idt", do_int_far, 9}, {"ud2", do_ud2, 9}, {"div", do_div, 9}, {"bound", do_bound, 9},
  {"sysenter with no cs", do_sysenter, 9}, {"sldt str sgdt", do_sldt, 9}, {"popf", do_popf_all, 9}, {"popfw", do_popf_word, 9},
  {"iret flags", do_iret_flags, 9}, {"lar null", do_lar_null, 9}, {"arpl", do_arpl, 9}, {"outs", do_outs, 9},
  {"mov cs", do_mov_cs, 9}, {"mov from segment 7", do_seg7, 9}, {"push and pop", do_push_pop, 9}, {"limit", do_limit, 9},
  {"limit write", do_limit_write, 9}, {"expand-down", do_down_low, 9}, {"null segment", do_null_use, 9},
  {"write through cs", do_code_write, 9}, {"stack limit", do_ss_limit, 8}, {"stack read limit", do_ss_read, 8},
};

static void instructions(void) {
  for (u32 k = 0; k < sizeof simple / sizeof *simple; k++)
    for (int ring = 0; ring <= 3; ring += 3)
      for (u32 variant = 0; variant < 2; variant++) {
        if (!(simple[k].rings & (1 << ring))) continue;
        if (variant && ring == 0) continue;
        print(simple[k].name); print(" ring "); hex(ring); print(variant ? " iopl 3" : "");
        reset();
        result = 0;
        tss.map = sizeof tss; /* no permission map: its limit ends the TSS */
        user_function = simple[k].f; user_cs = CODE3; user_ss = DATA3;
        if (ring == 0) attempt(simple[k].f);
        else if (!variant) attempt(enter_user);
        else {
          __asm__ volatile("push $0x3002; popf");
          attempt(iopl_user);
        }
        answer();
        if (result) { print(" "); hex(result); }
        line();
      }
}
void iopl_user(void) {
  __asm__ volatile("mov user_ss, %%eax; mov %%ax, %%ds; mov %%ax, %%es; push %%eax; push $stack3+3000; push $0x3002; push user_cs; push %0; iret" ::"r"(user_landing) : "eax", "memory");
}

/* --- gates of the IDT, from rings 0 and 3 */
static void int34(void) { __asm__ volatile("int $0x34"); }
static void idt_gates(void) {
  for (u32 type = 0; type < 16; type++)
    for (u32 dpl = 0; dpl <= 3; dpl += 3)
      for (u32 present = 0; present < 2; present++)
        for (u32 target = 0; target < 9; target++)
          for (int ring = 0; ring <= 3; ring += 3) {
            static const u16 targets[] = {CODE0, 0, DATA0, CODE3, CODE1, MATRIX + (0x1c | 64) * 8, MATRIX + (0x1a) * 8, 0x7f8, MATRIX + (9 | 64) * 8};
            if ((target == 8) != (type == 5)) continue;
            if (type != 5 && type != 6 && type != 7 && type != 14 && type != 15 && (target || !present)) continue;
            print("gate type "); hex(type); print(" dpl "); hex(dpl); print(present ? "" : " absent"); print(" to "); hex(targets[target]); print(" ring "); hex(ring);
            reset();
            idt[0x34] = gate(targets[target], (type & 8) ? (u32)stubs + 0x34 * 16 : (u32)stubs + 0x34 * 16, type | dpl << 5 | present << 7, 0);
            user_function = int34; user_cs = CODE3; user_ss = DATA3;
            if ((type == 6 || type == 7) && present && dpl >= (u32)ring) { print(" (16-bit, not tried)\n"); continue; }
            attempt(ring ? enter_user : int34);
            u32 task = tr();
            answer();
            if (outcome == 0x34 || task != TSS) { print(" cs="); hex(seen.cs & 0xffff); print(" flags="); hex(seen.eflags & 0x7fff); print(" tr="); hex(task); }
            line();
          }
}

/* The inner stack of the TSS. */
static void inner_stacks(void) {
  static const u16 stacks[] = {0, DATA0, DATA0 | 3, DATA3, CODE0, DATA1, 0x7f8, MATRIX + 0x12 * 8, MATRIX + (0x10 | 64) * 8, SMALL & ~3, 0x14};
  for (u32 i = 0; i < sizeof stacks / sizeof *stacks; i++) {
    print("ring 1 stack "); hex(stacks[i]);
    reset();
    /* Ring 3 to ring 1: the exceptions of it go to ring 0, whose stack is sound. */
    tss.ss1 = stacks[i];
    gdt[MATRIX / 8 + 2] = gate(CODE1, (u32)landing, 0xec, 2);
    probe = MATRIX + 2 * 8 + 3;
    user_function = far_call; user_cs = CODE3; user_ss = DATA3;
    attempt(enter_user);
    answer();
    if (outcome == 0x30) { print(" cs="); hex(seen.cs); print(" ss="); hex(seen.ss); print(" esp="); hex(seen.esp - (u32)stack1); }
    line();
  }
}

/* --- virtual-8086 mode: 16-bit code at 8000H */
static const struct { const char *name; u8 code[16]; } v86[] = {
  {"int 32h", {0xcd, 0x32}}, {"int3", {0xcc}}, {"cli", {0xfa, 0xcd, 0x33}}, {"sti", {0xfb, 0x90, 0xfa, 0xcd, 0x33}},
  {"pushf", {0x9c, 0x58, 0xcc}}, {"popf", {0x68, 0x02, 0x02, 0x9d, 0xcc}}, {"iret", {0x9c, 0x0e, 0x68, 0x0a, 0x00, 0xcf, 0xf4, 0xf4, 0xf4, 0xf4, 0xcc}}, {"in", {0xe4, 0x80, 0xcc}},
  {"hlt", {0xf4}}, {"mov ds", {0xb8, 0x34, 0x12, 0x8e, 0xd8, 0xcc}}, {"far jump", {0xea, 0x10, 0x00, 0x00, 0x08}},
  {"lldt", {0x0f, 0x00, 0xd0}}, {"lar", {0x0f, 0x02, 0xc0}}, {"str", {0x0f, 0x00, 0xc8}}, {"smsw", {0x0f, 0x01, 0xe0, 0xcc}}, {"arpl", {0x63, 0xc0}},
  {"mov cr0", {0x0f, 0x20, 0xc0}}, {"sgdt", {0x0f, 0x01, 0x06, 0x00, 0x10, 0xcc}}, {"lgdt", {0x0f, 0x01, 0x16, 0x00, 0x10}},
  {"limit", {0x66, 0xbb, 0xff, 0xff, 0, 0, 0x8b, 0x07}}, {"stack wraps", {0xbc, 0x01, 0x00, 0x50}}, {"into", {0xb0, 0x7f, 0x04, 0x01, 0xce, 0xcc}},
  {"int1", {0xf1}}, {"clts", {0x0f, 0x06}}, {"rdmsr", {0x0f, 0x32}}, {"ud2", {0x0f, 0x0b}},
};
u32 v86_flags;
static void enter_v86(void) {
  __asm__ volatile("push $0x1111; push $0x2222; push $0x3333; push $0x4444; push $0x0700; push $0x100; push v86_flags; push $0x800; push $0; iret" ::: "memory");
}
static void virtual8086(void) {
  for (u32 k = 0; k < sizeof v86 / sizeof *v86; k++)
    for (u32 iopl = 0; iopl <= 3; iopl += 3) {
      print("v86 "); print(v86[k].name); print(" iopl "); hex(iopl);
      reset();
      __builtin_memset((void *)0x8000, 0xcc, 64);
      __builtin_memcpy((void *)0x8000, v86[k].code, 16);
      idt[3] = gate(CODE0, (u32)stubs + 3 * 16, 0xee, 0);
      idt[4] = gate(CODE0, (u32)stubs + 4 * 16, 0xee, 0);
      v86_flags = 0x20002 | iopl << 12;
      attempt(enter_v86);
      answer();
      print(" cs:ip="); hex(seen.cs & 0xffff); put(':'); hex(seen.eip); print(" ss:sp="); hex(seen.ss & 0xffff); put(':'); hex(seen.esp & 0xffff);
      print(" ds="); hex(seen.vds & 0xffff); print(" es="); hex(seen.ves & 0xffff); print(" fs="); hex(seen.vfs & 0xffff); print(" gs="); hex(seen.vgs & 0xffff);
      print(" flags="); hex(seen.eflags & 0x237fd7 & ~0x10000);
      if (v86[k].code[0] == 0x9c) { print(" ax="); hex(seen.eax & 0xffff); }
      line();
    }
}

/* --- page tables: user, writable, present, reserved bits, in each format */
static u32 directory[1024] __attribute__((aligned(4096))), table[1024] __attribute__((aligned(4096)));
static u64 pae_pointers[4] __attribute__((aligned(32))), pae_directory[4][512] __attribute__((aligned(4096))), pae_table[512] __attribute__((aligned(4096)));
static u8 page[4096] __attribute__((aligned(4096)));
#define WINDOW 0x40000000
static void touch_read(void) { __asm__ volatile("movl %0, %%eax" ::"m"(*(u32 *)(WINDOW + 8)) : "eax"); }
static void touch_write(void) { __asm__ volatile("movl $7, %0" : "=m"(*(u32 *)(WINDOW + 8))); }
static void touch_modify(void) { __asm__ volatile("addl $7, %0" : "+m"(*(u32 *)(WINDOW + 8))); }
static void touch_fetch(void) { ((void (*)(void))WINDOW)(); }
static void touch_cross(void) { __asm__ volatile("movl $7, %0" : "=m"(*(u32 *)(WINDOW + 0xffe))); }
static void (*const touches[])(void) = {touch_read, touch_write, touch_modify, touch_fetch, touch_cross};
static const char *const touch_names[] = {"read", "write", "modify", "fetch", "cross"};
static void set_cr0(u32 v) { __asm__ volatile("mov %0, %%cr0" ::"r"(v) : "memory"); }
static void set_cr3(u32 v) { __asm__ volatile("mov %0, %%cr3" ::"r"(v) : "memory"); }
static void set_cr4(u32 v) { __asm__ volatile("mov %0, %%cr4" ::"r"(v) : "memory"); }
static u32 cr2(void) { u32 v; __asm__ volatile("mov %%cr2, %0" : "=r"(v)); return v; }

static void try_page(int ring, u32 touch, u32 wp) {
  reset();
  set_cr0((wp ? 0x80010001 : 0x80000001) | 0x30);
  user_function = touches[touch]; user_cs = CODE3; user_ss = DATA3;
  __asm__ volatile("mov %%eax, %%cr2" ::"a"(0));
  page[0] = 0xc3;
  attempt(ring ? enter_user : touches[touch]);
  answer();
  if (outcome == 14) { print(" cr2="); hex(cr2()); }
}
static void paging(void) {
  for (u32 i = 0; i < 16; i++) directory[i] = i << 22 | 0x87;
  for (u32 i = 0; i < 1024; i++) table[i] = 0;
  set_cr4(0x10);
  for (u32 where = 0; where < 3; where++) /* flags in the PTE, in the PDE, in the PDE of a 4 MiB page */
    for (u32 bits = 0; bits < 16; bits++)
      for (u32 touch = 0; touch < 5; touch++)
        for (int ring = 0; ring <= 3; ring += 3)
          for (u32 wp = 0; wp < 2; wp++) {
            u32 f = bits & 7, reserved = bits & 8;
            if (reserved && where != 2) continue;
            table[0] = (u32)page | (where == 0 ? f : 7);
            table[1] = 0;
            directory[WINDOW >> 22] = where == 2 ? (((u32)page & 0xffc00000) | 0x80 | f | (reserved ? 1 << 21 : 0)) : (u32)table | (where == 1 ? f : 7);
            if (where == 2 && touch > 2) continue; /* what lies there is code of this program */
            if (where == 2 && touch && (f & 1)) continue;
            set_cr3((u32)directory);
            print("32-bit paging "); hex(where); print(" flags "); hex(bits); print(" "); print(touch_names[touch]); print(" ring "); hex(ring); print(wp ? " wp" : "");
            try_page(ring, touch, wp);
            print(" pde "); hex(directory[WINDOW >> 22] & 0xfff); print(" pte "); hex(table[0] & 0xfff);
            set_cr0(0x31);
            line();
          }
  /* PAE with and without NX */
  for (u32 nxe = 0; nxe < 2; nxe++) {
    u32 a, d;
    __asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(0xc0000080));
    __asm__ volatile("wrmsr" ::"a"(nxe ? a | 0x800 : a & ~0x800), "d"(d), "c"(0xc0000080));
    for (u32 i = 0; i < 4; i++) { pae_pointers[i] = (u32)pae_directory[i] | 1; for (u32 k = 0; k < 512; k++) pae_directory[i][k] = 0; }
    for (u32 i = 0; i < 32; i++) pae_directory[0][i] = (u64)i << 21 | 0x87;
    set_cr4(0x20);
    for (u32 where = 0; where < 2; where++)
      for (u32 bits = 0; bits < 32; bits++)
        for (u32 touch = 0; touch < 5; touch++)
          for (int ring = 0; ring <= 3; ring += 3) {
            u64 f = (bits & 7) | (bits & 8 ? 1ull << 63 : 0) | (bits & 16 ? 1ull << 51 : 0);
            pae_table[0] = (u32)page | (where == 0 ? f : 7);
            pae_table[1] = 0;
            pae_directory[1][0] = (u32)pae_table | (where == 1 ? f : 7);
            set_cr3((u32)pae_pointers);
            print("pae nxe "); hex(nxe); put(' '); hex(where); print(" flags "); hex(bits); print(" "); print(touch_names[touch]); print(" ring "); hex(ring);
            try_page(ring, touch, 1);
            print(" pde "); hex((u32)pae_directory[1][0] & 0xfff); print(" pte "); hex((u32)pae_table[0] & 0xfff);
            set_cr0(0x31);
            line();
          }
    set_cr4(0);
  }
}

/* --- control register values that are refused */
u32 value;
static void load_cr0(void) { __asm__ volatile("mov value, %%eax; mov %%cr0, %%ebx; mov %%eax, %%cr0; mov %%ebx, %%cr0" ::: "eax", "ebx"); }
static void load_cr4(void) { __asm__ volatile("mov value, %%eax; mov %%eax, %%cr4; xor %%eax, %%eax; mov %%eax, %%cr4" ::: "eax"); }
static void load_dr7(void) { __asm__ volatile("mov value, %%eax; mov %%eax, %%dr7; mov %%dr7, %%eax; mov %%eax, result; mov $0x400, %%eax; mov %%eax, %%dr7" ::: "eax"); }
static void load_dr6(void) { __asm__ volatile("mov value, %%eax; mov %%eax, %%dr6; mov %%dr6, %%eax; mov %%eax, result" ::: "eax"); }
static void control(void) {
  static const u32 cr0s[] = {0x80000000, 0x20000031, 0x60000031, 0x40000031, 0x31, 0x3f, 0x50031};
  static const u32 cr4s[] = {0, 4, 8, 0x10, 0x20, 0x40, 0x80, 0x100, 0x200, 0x400, 0x8000, 0x80000, 0x1000000, 0x80000000};
  for (u32 i = 0; i < sizeof cr0s / 4; i++) { value = cr0s[i]; print("cr0 "); hex(value); run(0, load_cr0); line(); }
  for (u32 i = 0; i < sizeof cr4s / 4; i++) { value = cr4s[i]; print("cr4 "); hex(value); run(0, load_cr4); line(); }
  for (u32 i = 10; i < 32; i++) { if (i == 11 || i == 13) continue; value = 1u << i; print("dr7 "); hex(value); run(0, load_dr7); print(" "); hex(result); line(); }
  value = 0xffffe00f; print("dr6"); run(0, load_dr6); print(" "); hex(result & ~0x11800u); line();
}

/* --- single step */
static void stepping(void) { __asm__ volatile("push $0x102; popf; nop; nop; push $2; popf"); }
static void step_over_int(void) { __asm__ volatile("push $0x102; popf; int $0x35"); }
static void step_over_ss(void) { __asm__ volatile("mov %%ss, %%eax; push $0x102; popf; mov %%eax, %%ss; nop; nop" ::: "eax"); }
static void single_step(void) {
  void (*const fs[])(void) = {stepping, step_over_int, step_over_ss};
  for (u32 i = 0; i < 3; i++) {
    print("single step "); hex(i);
    run(0, fs[i]);
    u32 dr6; __asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
    print(" eip+"); hex(seen.eip - (u32)fs[i]); print(" bs "); hex(dr6 >> 14 & 1); print(" tf "); hex(seen.eflags >> 8 & 1);
    __asm__ volatile("mov %0, %%dr6" ::"r"(0));
    line();
  }
}

void *memset(void *p, int c, unsigned n) { u8 *q = p; while (n--) *q++ = c; return p; }
void *memcpy(void *p, const void *s, unsigned n) { u8 *q = p; const u8 *r = s; while (n--) *q++ = *r++; return p; }

int main(void) {
  __asm__ volatile("mov $0xff, %%al; out %%al, $0x21; out %%al, $0xa1" ::: "al"); /* no interrupts */
  set_cr0(0x31);
  load_tables();
  segments();
  instructions();
  idt_gates();
  inner_stacks();
  virtual8086();
  single_step();
  paging();
  control();
  print("end\n");
  return 0;
}
