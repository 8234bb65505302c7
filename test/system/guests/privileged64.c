/*
 * The questions of privileged32.c that have other answers in IA-32e mode, and those that only exist there: 64-bit gates and
 * interrupt stacks, canonical addresses, fast system calls, 4-level paging with NX, SMEP and SMAP. The expected answers are
 * ours where QEMU's TCG (as an Intel processor) gives the same, and otherwise the manual's. Besides what privileged32.c says,
 * TCG accepts 16-bit types in LAR, LSL and LTR, code segments with both L and D, null SS of another RPL, has no #SS for
 * addresses that are not canonical, counts IDT error codes in 16 bytes, loads SS on any interrupt stack, and loses the
 * arithmetic flags in SYSCALL. It does not survive the last question.
 */
#include "guest.h"

extern u64 saved_rsp, pml4[512], pdpt[512], pd[512];
void attempt(void (*f)(void));

static void line(void) { put('\n'); }

struct frame { u64 r11, rbx, rdx, rcx, rax, vector, error, rip, cs, rflags, rsp, ss; };
static struct frame seen;
static u64 seen_at;
void record(struct frame *f) {
  seen = *f;
  seen_at = (u64)f;
  outcome = f->vector;
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

/* --- tables */
enum { CODE0 = 8, DATA0 = 0x10, COMPAT3 = 0x1b, DATA3 = 0x23, CODE3 = 0x2b, TSS = 0x30, LDT = 0x40, COMPAT0 = 0x50, BOTH = 0x58, CONFORMING = 0x60, CODE1 = 0x69, DATA1 = 0x71, CONFORMING_COMPAT = 0x78, MATRIX = 0x100 };
static u64 gdt[32 + 256] __attribute__((aligned(16))), ldt[8] __attribute__((aligned(16))), idt[128] __attribute__((aligned(16)));
static struct { u32 r0; u64 rsp[3], r1, ist[7], r2; u16 r3, map; } __attribute__((packed)) tss __attribute__((aligned(128)));
static u8 stack0[8192] __attribute__((aligned(16))), stack1[8192] __attribute__((aligned(16))), ist_stack[8192] __attribute__((aligned(16)));
u8 stack3[8192] __attribute__((aligned(16)));

static void gate(u64 *at, u32 selector, u64 offset, u64 access, u64 ist) {
  at[0] = (offset & 0xffff) | (selector << 16) | ist << 32 | access << 40 | (offset >> 16 & 0xffff) << 48;
  at[1] = offset >> 32;
}
/* A descriptor of each type (5 bits with S), DPL 0 or 3, absent or present, 16 bytes each. */
static void tables(void) {
  gdt[1] = descriptor(0, 0xfffff, 0x9a, 0xa);
  gdt[2] = descriptor(0, 0xfffff, 0x92, 0xc);
  gdt[3] = descriptor(0, 0xfffff, 0xfa, 0xc);
  gdt[4] = descriptor(0, 0xfffff, 0xf2, 0xc);
  gdt[5] = descriptor(0, 0xfffff, 0xfa, 0xa);
  gdt[6] = descriptor((u64)&tss, 0x67, 0x89, 0); gdt[7] = 0;
  gdt[8] = descriptor((u64)ldt, sizeof ldt - 1, 0x82, 0); gdt[9] = 0;
  gdt[10] = descriptor(0, 0xfffff, 0x9a, 0xc);
  gdt[11] = descriptor(0, 0xfffff, 0x9a, 0xe);
  gdt[12] = descriptor(0, 0xfffff, 0x9e, 0xa);
  gdt[13] = descriptor(0, 0xfffff, 0xba, 0xa);
  gdt[14] = descriptor(0, 0xfffff, 0xb2, 0xc);
  gdt[15] = descriptor(0, 0xfffff, 0x9e, 0xc);
  for (u32 i = 0; i < 128; i++) {
    u32 type = i & 31, access = type | (i & 32 ? 0x60 : 0) | (i & 64 ? 0x80 : 0);
    u64 *d = &gdt[MATRIX / 8 + i * 2];
    d[1] = 0;
    if (type & 16) d[0] = descriptor(0, 0xfffff, access, type & 8 ? 0xa : 0xc);
    else if (type == 2) d[0] = descriptor((u64)ldt, sizeof ldt - 1, access, 0);
    else if (type == 1 || type == 3 || type == 9 || type == 11) d[0] = descriptor((u64)&tss, 0x67, access, 0);
    else gate(d, CODE0, (u64)landing, access, 0);
  }
  for (int i = 0; i < 6; i++) ldt[i] = gdt[i + 1];
  for (int i = 0; i < 64; i++) gate(&idt[i * 2], CODE0, (u64)stubs + i * 16, i >= 0x30 ? 0xee : 0x8e, i == 8 ? 2 : 0);
  __builtin_memset(&tss, 0, sizeof tss);
  tss.rsp[0] = (u64)stack0 + sizeof stack0;
  tss.rsp[1] = (u64)stack1 + sizeof stack1;
  tss.ist[0] = (u64)ist_stack + 0x1008;
  tss.ist[1] = (u64)ist_stack + sizeof ist_stack;
  tss.map = sizeof tss;
}
static void write_msr(u32 index, u64 v) { __asm__ volatile("wrmsr" ::"c"(index), "a"((u32)v), "d"((u32)(v >> 32))); }
static u64 read_msr(u32 index) { u32 a, d; __asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(index)); return a | (u64)d << 32; }
static void load_tables(void) {
  struct { u16 limit; u64 base; } __attribute__((packed)) g = {sizeof gdt - 1, (u64)gdt}, i = {64 * 16 - 1, (u64)idt};
  tables();
  __asm__ volatile("lgdt %0; lidt %1; push $8; lea 1f(%%rip), %%rax; push %%rax; lretq; 1: mov %2, %%ds; mov %2, %%es; mov %2, %%fs; mov %2, %%gs; mov %2, %%ss; lldt %w3; ltr %w4; push $2; popf" ::"m"(g), "m"(i), "r"(0x10), "r"(LDT), "r"(TSS) : "rax", "memory");
  write_msr(0xc0000080, 0xd01);
}
static u32 tr(void) { u32 v; __asm__ volatile("str %0" : "=r"(v)); return v & 0xffff; }

/* --- rings */
u64 probe, result, flags_after, home_ss, user_cs, user_ss, user_flags; /* named by assembly */
static void (*user_function)(void);
static void user_landing(void) { user_function(); __asm__ volatile("int $0x31"); }
static void enter_user(void) {
  __asm__ volatile("mov user_ss, %%eax; mov %%eax, %%ds; mov %%eax, %%es; push user_ss; push $stack3+6000; push user_flags; push user_cs; push %0; iretq" ::"r"(user_landing) : "rax", "memory");
}
static void run(int ring, u64 flags, void (*f)(void)) {
  load_tables();
  result = flags_after = 0;
  home_ss = ring == 3 ? DATA3 : DATA0;
  if (ring == 0) attempt(f);
  else {
    user_function = f;
    user_cs = ring == 3 ? CODE3 : CODE1;
    user_ss = ring == 3 ? DATA3 : DATA1;
    user_flags = flags | 2;
    attempt(enter_user);
  }
}

#define PROBE(name, text) static void name(void) { __asm__ volatile("mov probe, %%rax\n\t" text ::: "rax", "rbx", "rcx", "rdx", "r11", "memory"); }
PROBE(mov_ds, "mov %%eax, %%ds")
PROBE(mov_ss, "mov home_ss, %%ebx; mov %%eax, %%ss; mov %%ebx, %%ss")
PROBE(pop_fs, "push %%rax; pop %%fs")
PROBE(lar, "mov $0x77, %%ebx; lar %%eax, %%ebx; mov %%rbx, result; pushf; pop flags_after")
PROBE(lsl, "mov $0x77, %%ebx; lsl %%eax, %%ebx; mov %%rbx, result; pushf; pop flags_after")
PROBE(verr, "verr %%ax; pushf; pop flags_after")
PROBE(verw, "verw %%ax; pushf; pop flags_after")
PROBE(lldt, "lldt %%ax")
PROBE(ltr, "ltr %%ax")
struct { u64 offset; u16 selector; } __attribute__((packed)) far64;
struct { u32 offset; u16 selector; } __attribute__((packed)) far32;
PROBE(far_jump32, "mov %%ax, far32+4; movl $landing, far32; ljmp *far32")
PROBE(far_call32, "mov %%ax, far32+4; movl $landing, far32; lcall *far32")
PROBE(far_call64, "mov %%ax, far64+8; movq $landing, far64; rex.w lcall *far64")
PROBE(far_return, "push $0x23; push $stack3+6000; push %%rax; push $landing; lretq")
PROBE(int_return, "push $0x23; push $stack3+6000; push $2; push %%rax; push $landing; iretq")
PROBE(return_stack, "push %%rax; push $stack3+6000; push $2; push $0x2b; push $landing; iretq")
PROBE(same_stack, "push %%rax; push $stack3+6000; push $2; push $8; push $landing; iretq")

static const struct { const char *name; void (*f)(void); u8 rings, answers; } segment_probes[] = {
  {"mov ds", mov_ds, 9, 0}, {"mov ss", mov_ss, 9, 0}, {"pop fs", pop_fs, 8, 0}, {"lar", lar, 9, 1}, {"lsl", lsl, 9, 1},
  {"verr", verr, 8, 1}, {"verw", verw, 8, 1}, {"lldt", lldt, 1, 0}, {"ltr", ltr, 1, 0}, {"ljmp", far_jump32, 9, 0},
  {"lcall", far_call32, 9, 0}, {"lcall 64", far_call64, 9, 0}, {"lret", far_return, 9, 0}, {"iret", int_return, 1, 0},
  {"iret ss", return_stack, 1, 0}, {"iret ss inside", same_stack, 1, 0},
};
static void segments(void) {
  static const u16 extra[] = {0, 0xff8, 4, 0xc, 0x14, 0x1c, 0x24, 0x2c, COMPAT0, BOTH, CONFORMING, CONFORMING_COMPAT, CODE1 & ~3, COMPAT3 & ~3, CODE3 & ~3, DATA1 & ~3};
  for (u32 k = 0; k < sizeof segment_probes / sizeof *segment_probes; k++)
    for (int ring = 0; ring <= 3; ring += 3) {
      if (!(segment_probes[k].rings & (1 << ring))) continue;
      for (u32 i = 0; i < 128 + sizeof extra / 2; i++)
        for (u32 rpl = 0; rpl <= 3; rpl += 3) {
          probe = (i < 128 ? MATRIX + i * 16 : extra[i - 128]) | rpl;
          print(segment_probes[k].name); print(" ring "); hex(ring); print(" selector "); hex(probe);
          if (i < 128) { print(" type "); hex(i & 31); print(i & 32 ? " dpl 3" : " dpl 0"); print(i & 64 ? "" : " absent"); }
          run(ring, 0, segment_probes[k].f);
          u32 task = tr();
          answer();
          if (outcome == 0x30) { print(" cs="); hex(seen.cs); print(" ss="); hex(seen.ss); }
          if (task != TSS) { print(" tr="); hex(task); }
          if (segment_probes[k].answers && outcome != 13) {
            print(flags_after & 0x40 ? " zf " : " no ");
            if (segment_probes[k].f == lar || segment_probes[k].f == lsl) hex(result);
          }
          line();
        }
    }
}

/* --- instructions */
#define SIMPLE(name, text) static void name(void) { __asm__ volatile(text ::: "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r11", "memory"); }
struct { u16 limit; u64 base; } __attribute__((packed)) saved_table;
u8 area[1024] __attribute__((aligned(64)));
SIMPLE(do_hlt, "hlt")
SIMPLE(do_cli, "cli")
SIMPLE(do_in, "in $0x80, %%al")
SIMPLE(do_lgdt, "sgdt saved_table; lgdt saved_table")
SIMPLE(do_lidt_bad, "sidt saved_table; btsq $62, saved_table+2; lidt saved_table")
SIMPLE(do_mov_cr0, "mov %%cr0, %%rax; mov %%rax, %%cr0")
SIMPLE(do_cr8, "mov $5, %%eax; mov %%rax, %%cr8; mov %%cr8, %%rbx; mov %%rbx, result; xor %%eax, %%eax; mov %%rax, %%cr8")
SIMPLE(do_cr8_bad, "mov $16, %%eax; mov %%rax, %%cr8")
SIMPLE(do_cr3_bad, "mov $1, %%eax; shl $60, %%rax; mov %%rax, %%cr3")
SIMPLE(do_cr0_high, "mov %%cr0, %%rax; bts $32, %%rax; mov %%rax, %%cr0")
SIMPLE(do_cr0_pg, "mov %%cr0, %%rax; btr $31, %%rax; mov %%rax, %%cr0")
SIMPLE(do_cr4_pae, "mov %%cr4, %%rax; btr $5, %%rax; mov %%rax, %%cr4")
SIMPLE(do_efer_lme, "mov $0xc0000080, %%ecx; rdmsr; btr $8, %%eax; wrmsr")
SIMPLE(do_efer_bad, "mov $0xc0000080, %%ecx; rdmsr; bts $20, %%eax; wrmsr")
SIMPLE(do_efer_lma, "mov $0xc0000080, %%ecx; rdmsr; btr $10, %%eax; wrmsr; rdmsr; mov %%rax, result")
SIMPLE(do_dr7_high, "mov $1, %%eax; shl $33, %%rax; mov %%rax, %%dr7")
SIMPLE(do_dr0_high, "mov $1, %%eax; shl $33, %%rax; mov %%rax, %%dr0; mov %%dr0, %%rbx; mov %%rbx, result")
SIMPLE(do_swapgs, "swapgs; swapgs")
SIMPLE(do_invlpg_bad, "mov $1, %%eax; shl $60, %%rax; invlpg (%%rax)")
SIMPLE(do_rdmsr, "mov $0x12345678, %%ecx; rdmsr")
SIMPLE(do_lstar_bad, "mov $0xc0000082, %%ecx; xor %%eax, %%eax; mov $0x8000, %%edx; wrmsr")
SIMPLE(do_fs_bad, "mov $0xc0000100, %%ecx; xor %%eax, %%eax; mov $0x8000, %%edx; wrmsr")
SIMPLE(do_fs_base, "mov $0xc0000100, %%ecx; mov $area, %%eax; xor %%edx, %%edx; wrmsr; movl $0x1234, area+8; mov %%fs:8, %%eax; mov %%rax, result")
SIMPLE(do_rdfsbase, ".byte 0xf3, 0x48, 0x0f, 0xae, 0xc0")
SIMPLE(do_syscall_off, "mov $0xc0000080, %%ecx; rdmsr; btr $0, %%eax; wrmsr; syscall")
SIMPLE(do_sysret_bad, "mov $1, %%ecx; shl $47, %%rcx; mov $2, %%r11d; sysretq")
SIMPLE(do_sysret_user, "sysretq")
SIMPLE(do_read_bad, "mov $1, %%eax; shl $47, %%rax; mov (%%rax), %%ebx")
SIMPLE(do_read_edge, "mov $1, %%eax; shl $47, %%rax; mov -4(%%rax), %%rbx")
SIMPLE(do_read_high, "mov $1, %%eax; shl $63, %%rax; mov (%%rax), %%ebx")
SIMPLE(do_stack_bad, "mov %%rsp, %%rbx; mov $1, %%eax; shl $47, %%rax; mov %%rax, %%rsp; push %%rax")
SIMPLE(do_stack_pop, "mov $1, %%eax; shl $50, %%rax; mov %%rax, %%rsp; pop %%rbx")
SIMPLE(do_rbp_bad, "push %%rbp; mov $1, %%eax; shl $47, %%rax; mov %%rax, %%rbp; mov 8(%%rbp), %%ebx")
SIMPLE(do_jump_bad, "mov $1, %%eax; shl $47, %%rax; jmp *%%rax")
SIMPLE(do_call_bad, "mov $1, %%eax; shl $47, %%rax; call *%%rax")
SIMPLE(do_ret_bad, "mov $1, %%eax; shl $47, %%rax; push %%rax; ret")
SIMPLE(do_iret_bad, "mov $1, %%eax; shl $47, %%rax; push $0x10; push %%rsp; push $2; push $8; push %%rax; iretq")
SIMPLE(do_lret_bad, "mov $1, %%eax; shl $47, %%rax; push $8; push %%rax; lretq")
SIMPLE(do_iret_nt, "push $0x4002; popf; push $0x10; push %%rsp; push $2; push $8; push $landing; iretq")
SIMPLE(do_fxsave, "fxsave64 area+4")
SIMPLE(do_cx16, "cmpxchg16b area+8")
SIMPLE(do_popf, "mov $0x00243ed7, %%eax; push %%rax; popf; pushf; pop result; push $2; popf")
SIMPLE(do_popfw, "push $0x7ed7; popfw; pushf; pop result; add $6, %%rsp; push $2; popf")
SIMPLE(do_iret_flags, "mov %%rsp, %%rax; mov %%ss, %%ebx; push %%rbx; push %%rax; push $0x00243ed7; mov %%cs, %%ebx; push %%rbx; push $1f; iretq; 1: pushf; pop result; push $2; popf")
SIMPLE(do_iret32, "mov %%rsp, %%rax; sub $20, %%rsp; movl $landing, (%%rsp); movl $8, 4(%%rsp); movl $2, 8(%%rsp); mov %%eax, 12(%%rsp); movl $0x10, 16(%%rsp); iretl")
SIMPLE(do_push_cs, ".byte 0x0e")
SIMPLE(do_into, ".byte 0xce")
SIMPLE(do_pusha, ".byte 0x60")
SIMPLE(do_lcall_direct, ".byte 0x9a, 0, 0, 0, 0, 8, 0")
SIMPLE(do_aam, ".byte 0xd4, 0x0a")
SIMPLE(do_salc, ".byte 0xd6")
SIMPLE(do_int1, ".byte 0xf1")
SIMPLE(do_int80, "int $0x80")
SIMPLE(do_int8, "int $8")
SIMPLE(do_sysenter, "mov $0x174, %%ecx; xor %%eax, %%eax; xor %%edx, %%edx; wrmsr; sysenter")
SIMPLE(do_stac, ".byte 0x0f, 0x01, 0xcb; pushf; pop result; .byte 0x0f, 0x01, 0xca")
SIMPLE(do_sldt, "mov $-1, %%rax; sldt %%eax; mov %%rax, result")
SIMPLE(do_str64, "mov $-1, %%rax; rex.w str %%rax; mov %%rax, result")
SIMPLE(do_mov_seg, "mov $-1, %%rax; mov %%ds, %%eax; mov %%rax, result")
SIMPLE(do_null_ds, "xor %%eax, %%eax; mov %%eax, %%ds; mov saved_table, %%eax")
SIMPLE(do_code_write, "movb $0, %%cs:saved_table")
SIMPLE(do_es_prefix, "xor %%eax, %%eax; mov %%eax, %%es; movb $0, %%es:saved_table")
struct question { const char *name; void (*f)(void); u8 rings; };
static const struct question simple[] = {
  {"hlt", do_hlt, 8}, {"cli", do_cli, 9}, {"in", do_in, 9}, {"lgdt", do_lgdt, 9}, {"mov cr0", do_mov_cr0, 9},
  {"cr8", do_cr8, 9}, 
  {"dr0 high", do_dr0_high, 9}, {"swapgs", do_swapgs, 9}, {"invlpg not canonical", do_invlpg_bad, 9}, {"rdmsr", do_rdmsr, 8}, 
  {"fs base", do_fs_base, 1}, {"rdfsbase without fsgsbase", do_rdfsbase, 9}, 
  {"sysret in ring 3", do_sysret_user, 8}, {"read not canonical", do_read_bad, 9}, {"read over the edge", do_read_edge, 1}, {"read high", do_read_high, 9}, {"push not canonical", do_stack_bad, 8},
  {"pop not canonical", do_stack_pop, 8}, {"rbp not canonical", do_rbp_bad, 8}, {"jmp not canonical", do_jump_bad, 8}, {"call not canonical", do_call_bad, 8},
  {"ret not canonical", do_ret_bad, 8}, {"iret not canonical", do_iret_bad, 1}, {"lret not canonical", do_lret_bad, 1}, {"iret with nt", do_iret_nt, 1}, {"fxsave unaligned", do_fxsave, 1},
  {"cmpxchg16b unaligned", do_cx16, 9}, {"popf", do_popf, 9}, {"popfw", do_popfw, 9}, {"iret flags", do_iret_flags, 9}, {"iret 32", do_iret32, 1}, {"push cs", do_push_cs, 8},
  {"into", do_into, 8}, {"pusha", do_pusha, 8}, {"lcall direct", do_lcall_direct, 8}, {"aam", do_aam, 8}, {"salc", do_salc, 8}, {"int1", do_int1, 9}, {"int 80h", do_int80, 9},
  {"int 8", do_int8, 8}, {"sysenter with no cs", do_sysenter, 1}, {"stac", do_stac, 9}, {"sldt", do_sldt, 9}, {"str", do_str64, 9}, {"mov from ds", do_mov_seg, 9},
  {"null ds", do_null_ds, 9}, {"write through cs", do_code_write, 9}, {"write through null es", do_es_prefix, 9},
};
static const struct question refused[] = {
  {"cr8 too big", do_cr8_bad, 1}, {"cr0 high", do_cr0_high, 1}, {"cr0 without pg", do_cr0_pg, 1},
  {"cr4 without pae", do_cr4_pae, 1}, {"efer without lme", do_efer_lme, 1}, {"efer reserved", do_efer_bad, 1}, {"efer lma is kept", do_efer_lma, 1},
  {"dr7 high", do_dr7_high, 1}, {"lidt not canonical", do_lidt_bad, 1}, {"lstar not canonical", do_lstar_bad, 1}, {"fs base not canonical", do_fs_bad, 1},
  {"syscall off", do_syscall_off, 1}, {"sysret not canonical", do_sysret_bad, 1},
  {"cr3 reserved", do_cr3_bad, 1},
};
static void instructions(const struct question *simple, u32 count) {
  for (u32 k = 0; k < count; k++)
    for (int ring = 0; ring <= 3; ring += 3)
      for (u32 iopl = 0; iopl <= 3; iopl += 3) {
        if (!(simple[k].rings & (1 << ring)) || (ring == 0 && iopl)) continue;
        print(simple[k].name); print(" ring "); hex(ring); print(iopl ? " iopl 3" : "");
        run(ring, iopl << 12, simple[k].f);
        answer();
        if (result) { print(" "); hex(result); }
        line();
      }
}

/* --- SYSCALL and SYSRET */
static void do_syscall(void) { __asm__ volatile("mov $0x5555, %%edx; stc; syscall" ::: "rcx", "r11", "rdx", "memory"); }
static void do_sysretq(void) { __asm__ volatile("mov $landing, %%ecx; mov $0x00247ed7, %%r11d; mov $stack3+6000, %%rsp; sysretq" ::: "rcx", "r11"); }
static void do_sysretl(void) { __asm__ volatile("mov $landing, %%ecx; mov $2, %%r11d; mov $stack3+6000, %%rsp; sysretl" ::: "rcx", "r11"); }
static void fast_calls(void) {
  void (*const fs[])(void) = {do_syscall, do_sysretq, do_sysretl};
  for (u32 i = 0; i < 3; i++) {
    load_tables();
    write_msr(0xc0000081, (u64)0x001b0008 << 32);
    write_msr(0xc0000082, (u64)landing);
    write_msr(0xc0000084, 0x200);
    print("fast call "); hex(i);
    user_function = fs[i]; user_cs = CODE3; user_ss = DATA3; user_flags = 0x202;
    attempt(i == 0 ? enter_user : fs[i]);
    answer();
    print(" cs="); hex(seen.cs); print(" ss="); hex(seen.ss); print(" flags="); hex(seen.rflags & ~0x10000);
    if (i == 0) { print(" rcx-rip="); hex(seen.rcx > (u64)do_syscall && seen.rcx < (u64)do_syscall + 32); print(" r11="); hex(seen.r11); print(" rdx="); hex(seen.rdx); }
    line();
  }
}

/* --- gates of the IDT */
static void int34(void) { __asm__ volatile("int $0x34"); }
static void int34_unaligned(void) { __asm__ volatile("push %%rax; mov %%rsp, %%rbx; sub $3, %%rsp; int $0x34" ::: "rbx"); }
static void gates(void) {
  static const u16 targets[] = {CODE0, 0, DATA0, CODE3, COMPAT0, BOTH, CONFORMING, CONFORMING_COMPAT, CODE1, 0xff8, MATRIX + 0x1a * 16, 0xc};
  for (u32 type = 0; type < 16; type++)
    for (u32 dpl = 0; dpl <= 3; dpl += 3)
      for (u32 present = 0; present < 2; present++)
        for (u32 t = 0; t < sizeof targets / 2; t++)
          for (u32 ist = 0; ist < 2; ist++)
            for (int ring = 0; ring <= 3; ring += 3) {
              if (type < 14 && (t || ist || !present)) continue;
              if (!present && (t || ist)) continue;
              print("gate type "); hex(type); print(" dpl "); hex(dpl); print(present ? "" : " absent"); print(" to "); hex(targets[t]); print(" ist "); hex(ist); print(" ring "); hex(ring);
              load_tables();
              gate(&idt[0x34 * 2], targets[t], (u64)stubs + 0x34 * 16, type | dpl << 5 | present << 7, ist);
              user_function = int34_unaligned; user_cs = CODE3; user_ss = DATA3; user_flags = 0x4202;
              attempt(ring ? enter_user : int34_unaligned);
              answer();
              if (outcome == 0x34) {
                u64 after; __asm__ volatile("pushf; pop %0" : "=r"(after));
                print(" cs="); hex(seen.cs); print(" ss="); hex(seen.ss); print(" handler ss="); hex(handler_ss); print(" flags="); hex(seen.rflags); print(" if "); hex(after >> 9 & 1);
                print(" frame "); hex(seen_at & 15); print(" rsp "); hex(seen.rsp & 15);
                __asm__ volatile("cli");
              }
              line();
            }
  /* Stacks that cannot be used. */
  static const u64 bad[] = {1ul << 47, 1ul << 62, 0x7000000000};
  for (u32 i = 0; i < 3; i++) {
    print("rsp0 "); hex(bad[i]);
    load_tables();
    tss.rsp[0] = bad[i];
    user_function = int34; user_cs = CODE3; user_ss = DATA3; user_flags = 2;
    attempt(enter_user);
    answer();
    line();
  }
  print("short tss");
  load_tables();
  gdt[6] = descriptor((u64)&tss, 8, 0x89, 0);
  __asm__ volatile("ltr %w0" ::"r"(TSS));
  gate(&idt[8 * 2], CODE0, (u64)stubs + 8 * 16, 0x8e, 0);
  gate(&idt[10 * 2], CONFORMING, (u64)stubs + 10 * 16, 0x8e, 0);
  gate(&idt[0x34 * 2], CODE0, (u64)stubs + 0x34 * 16, 0xee, 1);
  attempt(int34);
  answer();
  line();
}

/* --- 4-level paging */
static u64 tables4[4][512] __attribute__((aligned(4096)));
static u8 page[4096] __attribute__((aligned(4096)));
#define WINDOW 0x7f0040000000ul
static void touch_read(void) { __asm__ volatile("mov %0, %%rax; movl 8(%%rax), %%eax" ::"i"(WINDOW) : "rax"); }
static void touch_write(void) { __asm__ volatile("mov %0, %%rax; movl $7, 8(%%rax)" ::"i"(WINDOW) : "rax", "memory"); }
static void touch_modify(void) { __asm__ volatile("mov %0, %%rax; addl $7, 8(%%rax)" ::"i"(WINDOW) : "rax", "memory"); }
static void touch_fetch(void) { ((void (*)(void))WINDOW)(); }
static void touch_cross(void) { __asm__ volatile("mov %0, %%rax; movl $7, 0xffe(%%rax)" ::"i"(WINDOW) : "rax", "memory"); }
static void touch_read_ac(void) { __asm__ volatile("push $0x40002; popf; mov %0, %%rax; movl 8(%%rax), %%eax; push $2; popf" ::"i"(WINDOW) : "rax"); }
static void (*const touches[])(void) = {touch_read, touch_write, touch_modify, touch_fetch, touch_cross, touch_read_ac};
static const char *const touch_names[] = {"read", "write", "modify", "fetch", "cross", "read ac"};
static void set_cr4(u64 v) { __asm__ volatile("mov %0, %%cr4" ::"r"(v) : "memory"); }
static void flush(void) { __asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory"); }

static void try_page(const char *what, u32 where, u32 bits, u32 touch, int ring, u64 cr4) {
  print(what); hex(where); print(" flags "); hex(bits); print(" "); print(touch_names[touch]); print(" ring "); hex(ring);
  if (cr4 & (1 << 20)) print(" smep");
  if (cr4 & (1 << 21)) print(" smap");
  __asm__ volatile("mov %0, %%cr2" ::"r"(0ul));
  load_tables();
  flush();
  user_function = touches[touch]; user_cs = CODE3; user_ss = DATA3; user_flags = 2;
  page[0] = 0xc3;
  attempt(ring ? enter_user : touches[touch]);
  answer();
  u64 cr2; __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
  if (outcome == 14) { print(" cr2="); hex(cr2); }
  print(" entries");
  for (int i = 0; i < 4; i++) { put(' '); hex(i == 0 ? pml4[WINDOW >> 39 & 511] & 0xfff : tables4[i][i == 1 ? WINDOW >> 30 & 511 : i == 2 ? WINDOW >> 21 & 511 : 0] & 0xfff); }
  line();
}
static void fresh(void) {
  pml4[WINDOW >> 39 & 511] = (u64)tables4[1] | 7;
  tables4[1][WINDOW >> 30 & 511] = (u64)tables4[2] | 7;
  tables4[2][WINDOW >> 21 & 511] = (u64)tables4[3] | 7;
  tables4[3][0] = (u64)page | 7;
  tables4[3][1] = 0;
}
static void paging(void) {
  for (u32 where = 0; where < 4; where++)
    for (u32 bits = 0; bits < 32; bits++) {
      if ((bits & 16) && (bits & 8)) continue;
      for (u32 touch = 0; touch < 5; touch++)
        for (int ring = 0; ring <= 3; ring += 3) {
          fresh();
          u64 *e = where == 0 ? &pml4[WINDOW >> 39 & 511] : where == 1 ? &tables4[1][WINDOW >> 30 & 511] : where == 2 ? &tables4[2][WINDOW >> 21 & 511] : &tables4[3][0];
          *e = (*e & ~7ul) | (bits & 7) | (bits & 8 ? 1ul << 63 : 0) | (bits & 16 ? 1ul << 51 : 0);
          try_page("4-level ", where, bits, touch, ring, 0);
        }
    }
  /* SMEP and SMAP */
  for (u64 cr4 = 0; cr4 < 4; cr4++)
    for (u32 user = 0; user < 2; user++)
      for (u32 touch = 0; touch < 6; touch++) {
        fresh();
        if (!user) tables4[3][0] &= ~4ul;
        /* The kernel's own pages are the supervisor's while these are on. */
        for (u32 i = 0; i < 512; i++) pd[i] &= ~4ul;
        set_cr4(0x20 | cr4 << 20);
        try_page("smep smap ", user, 0, touch, 0, cr4 << 20);
        set_cr4(0x20);
        for (u32 i = 0; i < 512; i++) pd[i] |= 4ul;
        flush();
      }
  /* Large pages, their reserved bits, and PS where there is none. */
  for (u32 where = 0; where < 3; where++)
    for (u32 reserved = 0; reserved < 2; reserved++)
      for (u32 touch = 0; touch < 2; touch++) {
        fresh();
        u64 *e = where == 0 ? &pml4[WINDOW >> 39 & 511] : where == 1 ? &tables4[1][WINDOW >> 30 & 511] : &tables4[2][WINDOW >> 21 & 511];
        *e = (where == 0 ? (u64)tables4[1] : 0) | 0x87 | (reserved ? 0x2000 : 0);
        if (where != 0 && touch) { if (!reserved) continue; }
        try_page("large ", where, reserved, touch, 3, 0);
      }
}

void *memset(void *p, int c, unsigned long n) { u8 *q = p; while (n--) *q++ = c; return p; }
void *memcpy(void *p, const void *s, unsigned long n) { u8 *q = p; const u8 *r = s; while (n--) *q++ = *r++; return p; }

int main(void) {
  __asm__ volatile("mov $0xff, %%al; out %%al, $0x21; out %%al, $0xa1" ::: "al");
  (void)read_msr;
  load_tables();
  segments();
  instructions(simple, sizeof simple / sizeof *simple);
  fast_calls();
  gates();
  paging();
  instructions(refused, sizeof refused / sizeof *refused);
  print("end\n");
  return 0;
}
