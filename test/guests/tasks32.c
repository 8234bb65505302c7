/*
 * Hardware task switching: by JMP, CALL, task gate, INT, exception and IRET, to 32- and 16-bit TSSs and to virtual-8086
 * mode; what is saved and loaded, busy flags, links and NT, TS, T, CR3, the local breakpoints; every fault of it, before the
 * switch (in the old task) and after it (in the new one, handled by further tasks). SDM volume 3, chapter 9, tables 9-1, 9-2.
 */
#include "cases32.h"

enum { TASK = 0x60, TASK16 = 0x68, GATE = 0x70, LDT = 0x78, HANDLERS = 0x80 /* five */, STACK16 = 0xa8, READ_ONLY = 0xb0, EXECUTE_ONLY = 0xb8, ABSENT_CODE = 0xc0, SHORT_CODE = 0xc8, ABSENT_LDT = 0xd0, DATA_OF_3 = 0xd8 };
enum { BUSY = 2 };
static struct tss task __attribute__((aligned(128))), handlers[5] __attribute__((aligned(128)));
static struct { u16 link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags, ax, cx, dx, bx, sp, bp, si, di, es, cs, ss, ds, ldt; } task16 __attribute__((aligned(128)));
static u64 ldt[2];
static u8 task_stack[4096] __attribute__((aligned(16)));
static u32 handler_stacks[5][64];
static const u8 handled[5] = {8, 10, 11, 12, 13};

static void extend(void) {
  gdt[TASK / 8] = descriptor((u32)&task, 0x67, 0x89, 0);
  gdt[TASK16 / 8] = descriptor((u32)&task16, 0x2b, 0x81, 0);
  gdt[GATE / 8] = gate_to(TASK, 0, 0xe5, 0);
  gdt[LDT / 8] = descriptor((u32)ldt, sizeof ldt - 1, 0x82, 0);
  gdt[STACK16 / 8] = descriptor(0, 0xffff, 0x92, 0);
  gdt[READ_ONLY / 8] = descriptor(0, 0xfffff, 0x90, 0xc);
  gdt[EXECUTE_ONLY / 8] = descriptor(0, 0xfffff, 0x98, 0xc);
  gdt[ABSENT_CODE / 8] = descriptor(0, 0xfffff, 0x1a, 0xc);
  gdt[SHORT_CODE / 8] = descriptor(0, 0xff, 0x9a, 4);
  gdt[ABSENT_LDT / 8] = descriptor((u32)ldt, sizeof ldt - 1, 0x02, 0);
  gdt[DATA_OF_3 / 8] = descriptor(0, 0xfffff, 0xf2, 0xc);
  memset(&task, 0, sizeof task);
  task.eip = (u32)landing; task.eflags = 0x802; task.cr3 = (u32)directory; task.map = 0x68;
  task.esp = (u32)task_stack + 2048; task.esp0 = (u32)task_stack + 4096; task.ss0 = DATA0;
  task.cs = CODE0; task.ss = task.ds = task.es = DATA0; task.fs = DATA3; task.ldt = LDT;
  task.eax = 0xa0; task.ecx = 0xa1; task.edx = 0xa2; task.ebx = 0xa3; task.ebp = 0xa5; task.esi = 0xa6; task.edi = 0xa7;
  memset(&task16, 0, sizeof task16);
  task16.ip = (u32)landing - SHIFT; task16.flags = 2; task16.sp = 0x6f00; task16.cs = SHIFTED; task16.ss = STACK16; task16.ds = task16.es = DATA0; task16.ax = 0xb0; task16.di = 0xb7;
  for (int i = 0; i < 5; i++) {
    struct tss *h = &handlers[i];
    memset(h, 0, sizeof *h);
    h->eip = (u32)stubs + handled[i] * 16; h->eflags = 2; h->cr3 = (u32)directory; h->map = 0x68;
    h->esp = (u32)&handler_stacks[i][40]; h->cs = CODE0; h->ss = h->ds = h->es = DATA0;
    gdt[HANDLERS / 8 + i] = descriptor((u32)h, 0x67, 0x89, 0);
  }
}
static u32 type_of(u32 selector) { return gdt[selector / 8] >> 40 & 15; }
static u32 cr0_now(void) { u32 v; __asm__ volatile("mov %%cr0, %0" : "=r"(v)); return v; }
static u32 cr3_now(void) { u32 v; __asm__ volatile("mov %%cr3, %0" : "=r"(v)); return v; }
static u32 dr7_now(void) { u32 v; __asm__ volatile("mov %%dr7, %0" : "=r"(v)); return v; }
static u32 ldt_now(void) { u32 v = 0; __asm__ volatile("sldt %0" : "=r"(v)); return v; }

/* --- switches that succeed */
u32 flags_after;
CASE(jump_tss, "mov $0x1234, %%ebx; stc", "ljmp $0x60, $0")
CASE(call_tss, "mov $0x1234, %%ebx; stc", "lcall $0x60, $0")
CASE(jump_gate, "mov $0x1234, %%ebx; stc", "ljmp $0x73, $0")
CASE(call_gate, "mov $0x1234, %%ebx; stc", "lcall $0x73, $0")
CASE(int_gate, "mov $0x1234, %%ebx; stc", "int $0x34")
CASE(undefined, "mov $0x1234, %%ebx; stc", "ud2")
CASE(call_tss16, "mov $0x1234, %%ebx; stc", "lcall $0x68, $0")
CASE(call_and_back, "mov $0x1234, %%ebx; stc", "lcall $0x60, $0; pushf; pop flags_after")

enum { JUMP, NESTED };
static void switches(const char *name, void (*f)(void), int ring, int kind, u32 resume, u32 rf) {
  idt[0x34] = gate_to(TASK, 0, 0xe5, 0);
  idt[6] = gate_to(TASK, 0, 0x85, 0);
  if (begins(name)) {
    attempt_in(ring, f);
    compare(name, "vector", outcome, LANDED);
    compare(name, "task register", seen_tr, TASK);
    compare(name, "EIP", seen.eip, (u32)landing + 2);
    compare(name, "flags", seen.eflags & 0xfffff, 0x802 | (kind == NESTED ? 0x4000 : 0));
    compare(name, "ESP", frame_pointer + 68, task.esp);
    compare(name, "registers", seen.eax ^ seen.ecx << 4 ^ seen.edx << 8 ^ seen.ebx << 12 ^ seen.ebp << 16 ^ seen.esi << 20 ^ seen.edi << 24, 0xa0 ^ 0xa10 ^ 0xa200 ^ 0xa3000 ^ 0xa50000 ^ 0xa600000 ^ 0xa7000000u);
    compare(name, "FS", seen.fs & 0xffff, DATA3);
    compare(name, "GS", seen.gs & 0xffff, 0);
    compare(name, "LDTR", ldt_now(), LDT);
    compare(name, "link", task.link, kind == NESTED ? TSS : 0);
    compare(name, "type of the old TSS", type_of(TSS), kind == NESTED ? 11 : 9);
    compare(name, "type of the new TSS", type_of(TASK), 11);
    compare(name, "TS", cr0_now() & TS, TS);
    compare(name, "saved EIP", tss.eip, resume);
    compare(name, "saved flags", tss.eflags & ~0xd4, 3 | rf << 16);
    compare(name, "saved EBX", tss.ebx, 0x1234);
    compare(name, "saved CS", tss.cs, ring ? CODE3 : CODE0);
    compare(name, "saved SS", tss.ss, ring ? DATA3 : DATA0);
  }
  reset();
}
/* A nested task goes back by IRET, and goes on behind it when it is entered again. */
extern u8 goes_back[], goes_back_end[];
__asm__(".text\n.globl goes_back, goes_back_end\ngoes_back: mov $0xbeef, %edi\n iret\ngoes_back_end: jmp landing");
static void goes_there_and_back(void) {
  task.eip = (u32)goes_back;
  if (begins("call_and_back")) {
    attempt(call_and_back);
    compare("call_and_back", "vector", outcome, NONE);
    compare("call_and_back", "flags", flags_after & 0x4001, 1);
    compare("call_and_back", "type of the old TSS", type_of(TSS), 11);
    compare("call_and_back", "type of the new TSS", type_of(TASK), 9);
    compare("call_and_back", "saved EIP", task.eip, (u32)goes_back_end);
    compare("call_and_back", "saved EDI", task.edi, 0xbeef);
    compare("call_and_back", "saved NT", task.eflags & 0x4000, 0);
    attempt(call_and_back);
    compare("call_and_back", "vector of the second call", outcome, LANDED);
    compare("call_and_back", "EDI of the second call", seen.edi, 0xbeef);
  }
  reset();
}

static u32 directory2[1024] __attribute__((aligned(4096)));
CASE(armed_call, "mov $0x7ff, %%eax; mov $landing, %%ebx; add $0x1000, %%ebx; mov %%ebx, %%dr0; mov %%eax, %%dr7", "lcall $0x60, $0")
static void other_switches(void) {
  if (begins("call_tss16")) {
    attempt(call_tss16);
    compare("call_tss16", "vector", outcome, LANDED);
    compare("call_tss16", "task register", seen_tr, TASK16);
    compare("call_tss16", "IP", seen.eip, (u32)landing + 2 - SHIFT);
    compare("call_tss16", "AX", seen.eax & 0xffff, 0xb0);
    compare("call_tss16", "DI", seen.edi & 0xffff, 0xb7);
    compare("call_tss16", "link", task16.link, TSS);
    compare("call_tss16", "NT", seen.eflags & 0x4000, 0x4000);
    compare("call_tss16", "type of the new TSS", type_of(TASK16), 3);
    compare("call_tss16", "saved EIP", tss.eip, (u32)call_tss16_end);
  }
  reset();
  task.trap = 1;
  expect_at("trap flag of the TSS", call_tss, 0, 1, NO_CODE, (u32)landing, TRAP, 0, 0x8000);
  for (u32 i = 0; i < 1024; i++) directory2[i] = directory[i];
  task.cr3 = (u32)directory2;
  if (begins("CR3")) { attempt(call_tss); compare("CR3", "CR3", cr3_now(), (u32)directory2); }
  reset();
  if (begins("local breakpoints")) { attempt(armed_call); compare("local breakpoints", "vector", outcome, LANDED); compare("local breakpoints", "DR7", dr7_now() & 0x3ff, 0x2aa); }
  reset();
  *(volatile u8 *)0x8000 = 0xcc;
  idt[3] = gate((u32)stubs + 3 * 16, 0xee);
  task.eflags = 0x23002; task.cs = 0x800; task.eip = 0; task.ss = 0x700; task.esp = 0x80; task.ds = 0x111; task.es = 0x222; task.fs = 0x333; task.gs = 0x444;
  if (begins("to virtual-8086 mode")) {
    attempt(call_tss);
    compare("to virtual-8086 mode", "vector", outcome, 3);
    compare("to virtual-8086 mode", "EIP", seen.eip, 1);
    compare("to virtual-8086 mode", "CS", seen.cs, 0x800);
    compare("to virtual-8086 mode", "flags", seen.eflags & 0xfffff, 0x27002);
    compare("to virtual-8086 mode", "SS", seen.ss, 0x700);
    compare("to virtual-8086 mode", "ESP", seen.esp, 0x80);
    compare("to virtual-8086 mode", "segments", seen.vds << 16 ^ seen.ves ^ seen.vfs << 4 ^ seen.vgs << 20, 0x111 << 16 ^ 0x222 ^ 0x333 << 4 ^ 0x44400000);
  }
  reset();
}

/* --- faults of the old task: nothing has changed */
CASE(jump_other, "mov probe_selector, %%eax; mov %%ax, pointer+4", "ljmp *pointer")
CASE(call_other, "mov probe_selector, %%eax; mov %%ax, pointer+4", "lcall *pointer")
CASE(return_nested, "pushl $0x4002; popf", "iret")
CASE(return_nested16, "pushl $0x4002; popf", "iretw")
u32 probe_selector;
struct { u32 offset; u16 selector; } __attribute__((packed)) pointer;

static void refused(const char *name, void (*f)(void), int ring, int vector, u32 error, u8 *at) {
  u32 types = type_of(TASK) << 4 | type_of(TSS);
  if (begins(name)) {
    attempt_in(ring, f);
    compare(name, "vector", outcome, vector);
    compare(name, "error code", seen.error, error);
    compare(name, "instruction pointer", seen.eip, (u32)at);
    compare(name, "RF", seen.eflags >> 16 & 1, 1);
    compare(name, "task register", seen_tr, TSS);
    compare(name, "CPL", seen.cs & 3, ring);
    compare(name, "TS", cr0_now() & TS, 0);
    compare(name, "types", type_of(TASK) << 4 | type_of(TSS), types);
  }
  reset();
}
static void old_task_faults(void) {
  for (u32 calls = 0; calls < 2; calls++) {
    void (*direct)(void) = calls ? call_other : jump_other;
    u8 *at = calls ? call_other_at : jump_other_at;
    const char *by = calls ? "call: " : "jump: ";
#define DIRECT(name, ring, vector, error) if (is_announced && cases >= first_case) print(by); refused(name, direct, ring, vector, error, at)
    probe_selector = TASK;
    gdt[TASK / 8] &= ~(1ull << 47); DIRECT("TSS absent", 0, 11, TASK);
    gdt[TASK / 8] |= (u64)BUSY << 40; DIRECT("TSS busy", 0, 13, TASK);
    gdt[TASK / 8] = descriptor((u32)&task, 0x66, 0x89, 0); DIRECT("TSS too short", 0, 10, TASK);
    gdt[TASK / 8] = descriptor((u32)&task, 0x66, 0x09, 0); DIRECT("TSS absent and too short", 0, 11, TASK);
    DIRECT("TSS of ring 0 from ring 3", 3, 13, TASK);
    gdt[TASK / 8] = descriptor((u32)&task, 0x67, 0xe9, 0); probe_selector = TASK | 3;
    gdt[TASK / 8] &= ~(1ull << 47); DIRECT("open TSS absent from ring 3", 3, 11, TASK);
    gdt[TASK / 8] = descriptor((u32)&task, 0x67, 0xa9, 0); DIRECT("RPL above DPL", 0, 13, TASK);
    probe_selector = TASK16;
    gdt[TASK16 / 8] = descriptor((u32)&task16, 0x2a, 0x81, 0); DIRECT("16-bit TSS too short", 0, 10, TASK16);
    probe_selector = GATE;
    gdt[GATE / 8] &= ~(1ull << 47); DIRECT("gate absent", 0, 11, GATE);
    gdt[GATE / 8] = gate_to(TASK, 0, 0x85, 0); DIRECT("gate of ring 0 from ring 3", 3, 13, GATE);
    gdt[GATE / 8] = gate_to(TASK, 0, 0x05, 0); DIRECT("closed gate absent from ring 3", 3, 13, GATE);
    gdt[GATE / 8] = gate_to(0, 0, 0xe5, 0); DIRECT("gate to null", 0, 13, 0);
    gdt[GATE / 8] = gate_to(DATA0, 0, 0xe5, 0); DIRECT("gate to data", 0, 13, DATA0);
    gdt[GATE / 8] = gate_to(TASK | 4, 0, 0xe5, 0); DIRECT("gate to the LDT", 0, 13, TASK | 4);
    gdt[GATE / 8] = gate_to(0x7f8, 0, 0xe5, 0); DIRECT("gate beyond the GDT", 0, 13, 0x7f8);
    gdt[TASK / 8] |= (u64)BUSY << 40; DIRECT("gate to a busy TSS", 0, 13, TASK);
    gdt[TASK / 8] &= ~(1ull << 47); DIRECT("gate to an absent TSS", 3, 11, TASK);
    gdt[TASK / 8] = descriptor(PAGE_ABSENT + 0x100, 0x67, 0x89, 0); probe_selector = TASK;
    if (is_announced && cases >= first_case) print(by);
    expect_at("TSS in an absent page", direct, 0, 14, 0, (u32)at, FAULT, PAGE_ABSENT + 0x100, 0);
  }
  /* IRET with NT set. */
  for (u32 narrow = 0; narrow < 2; narrow++) {
    void (*f)(void) = narrow ? return_nested16 : return_nested;
    u8 *at = narrow ? return_nested16_at : return_nested_at;
    tss.link = 0; refused("IRET to null", f, 0, 10, 0, at);
    tss.link = TASK; refused("IRET to a task that is not busy", f, 0, 10, TASK, at);
    tss.link = DATA0; refused("IRET to data", f, 0, 10, DATA0, at);
    tss.link = TASK | 4; refused("IRET to the LDT", f, 0, 10, TASK | 4, at);
    tss.link = 0x7f8; refused("IRET beyond the GDT", f, 0, 10, 0x7f8, at);
    tss.link = TASK; gdt[TASK / 8] = descriptor((u32)&task, 0x67, 0x0b, 0); refused("IRET to an absent task", f, 0, 11, TASK, at);
    tss.link = TASK; gdt[TASK / 8] = descriptor((u32)&task, 0x66, 0x8b, 0); refused("IRET to a short TSS", f, 0, 10, TASK, at);
  }
  /* Gates of the IDT: EXT tells an exception from INT. */
  idt[0x34] = gate_to(TASK, 0, 0xe5, 0); gdt[TASK / 8] &= ~(1ull << 47); refused("INT to an absent task", int_gate, 3, 11, TASK, int_gate_at);
  idt[0x34] = gate_to(TASK, 0, 0xe5, 0); gdt[TASK / 8] |= (u64)BUSY << 40; refused("INT to a busy task", int_gate, 3, 13, TASK, int_gate_at);
  idt[0x34] = gate_to(TASK, 0, 0x85, 0); refused("INT through a closed gate", int_gate, 3, 13, 0x34 * 8 + 2, int_gate_at);
  idt[0x34] = gate_to(TASK, 0, 0x65, 0); refused("INT through an absent gate", int_gate, 3, 11, 0x34 * 8 + 2, int_gate_at);
  idt[6] = gate_to(TASK, 0, 0x85, 0); gdt[TASK / 8] &= ~(1ull << 47); refused("exception to an absent task", undefined, 3, 11, TASK | 1, undefined_at);
  idt[6] = gate_to(TASK, 0, 0x85, 0); gdt[TASK / 8] |= (u64)BUSY << 40; refused("exception to a busy task", undefined, 3, 13, TASK | 1, undefined_at);
  idt[6] = gate_to(TASK, 0, 0x85, 0); gdt[TASK / 8] = descriptor((u32)&task, 0x60, 0x89, 0); refused("exception to a short TSS", undefined, 3, 10, TASK | 1, undefined_at);
}

/* --- faults of the new task: its handlers are tasks, too */
static void new_task_fault(const char *name, void (*f)(void), int vector, u32 error) {
  int i = 0;
  while (handled[i] != vector) i++;
  for (int k = 0; k < 5; k++) idt[handled[k]] = gate_to(HANDLERS + k * 8, 0, 0x85, 0);
  idt[6] = gate_to(TASK, 0, 0x85, 0);
  u32 eip = task.eip;
  if (begins(name)) {
    attempt(f);
    compare(name, "vector", outcome, vector);
    compare(name, "error code", seen.error, error);
    compare(name, "task register", seen_tr, HANDLERS + i * 8);
    compare(name, "link of the handler", handlers[i].link, TASK);
    compare(name, "link of the task", task.link, f == jump_tss ? 0 : TSS);
    compare(name, "EIP in the task", task.eip, eip);
    compare(name, "type of the new TSS", type_of(TASK), 11);
    compare(name, "type of the old TSS", type_of(TSS), f == jump_tss ? 9 : 11);
    compare(name, "saved EIP", tss.eip, f == jump_tss ? (u32)jump_tss_end : f == call_tss ? (u32)call_tss_end : (u32)undefined_at);
    compare(name, "TS", cr0_now() & TS, TS);
  }
  reset();
}
static void new_task_faults(void) {
  void (*const ways[])(void) = {jump_tss, call_tss, undefined};
  for (int way = 0; way < 3; way++) {
    void (*f)(void) = ways[way];
    u32 ext = f == undefined;
    task.ldt = DATA0; new_task_fault("LDT is data", f, 10, DATA0 | ext);
    task.ldt = LDT | 4; new_task_fault("LDT in the LDT", f, 10, LDT | 4 | ext);
    task.ldt = ABSENT_LDT; new_task_fault("LDT absent", f, 10, ABSENT_LDT | ext);
    task.ldt = 0x7f8; new_task_fault("LDT beyond the GDT", f, 10, 0x7f8 | ext);
    task.cs = 0; new_task_fault("CS null", f, 10, ext);
    task.cs = DATA0; new_task_fault("CS is data", f, 10, DATA0 | ext);
    task.cs = CODE3 & ~3; new_task_fault("CS with another RPL", f, 10, (CODE3 & ~3) | ext);
    task.cs = ABSENT_CODE; new_task_fault("CS absent", f, 11, ABSENT_CODE | ext);
    task.cs = 0x7f8; new_task_fault("CS beyond the GDT", f, 10, 0x7f8 | ext);
    task.ss = 0; new_task_fault("SS null", f, 10, ext);
    task.ss = READ_ONLY; new_task_fault("SS not writable", f, 10, READ_ONLY | ext);
    task.ss = CODE0; new_task_fault("SS is code", f, 10, CODE0 | ext);
    task.ss = DATA_OF_3; new_task_fault("SS with another DPL", f, 10, DATA_OF_3 | ext);
    task.ss = DATA0 | 3; new_task_fault("SS with another RPL", f, 10, DATA0 | ext);
    task.ss = ABSENT; new_task_fault("SS absent", f, 12, ABSENT | ext);
    task.ds = EXECUTE_ONLY; new_task_fault("DS not readable", f, 10, EXECUTE_ONLY | ext);
    task.es = LDT; new_task_fault("ES is a system segment", f, 10, LDT | ext);
    task.fs = ABSENT; new_task_fault("FS absent", f, 11, ABSENT | ext);
    task.gs = 0x7f8; new_task_fault("GS beyond the GDT", f, 10, 0x7f8 | ext);
    task.cs = SHORT_CODE; task.eip = 0x100; new_task_fault("EIP beyond the limit", f, 13, ext);
  }
}

int main(void) {
  read_command_line();
  reset();
  switches("jump_tss", jump_tss, 0, JUMP, (u32)jump_tss_end, 0);
  switches("call_tss", call_tss, 0, NESTED, (u32)call_tss_end, 0);
  switches("jump_gate", jump_gate, 0, JUMP, (u32)jump_gate_end, 0);
  switches("call_gate", call_gate, 0, NESTED, (u32)call_gate_end, 0);
  switches("int_gate", int_gate, 0, NESTED, (u32)int_gate_end, 0);
  switches("undefined", undefined, 0, NESTED, (u32)undefined_at, 1);
  switches("jump_gate of ring 3", jump_gate, 3, JUMP, (u32)jump_gate_end, 0);
  switches("call_gate of ring 3", call_gate, 3, NESTED, (u32)call_gate_end, 0);
  switches("int_gate of ring 3", int_gate, 3, NESTED, (u32)int_gate_end, 0);
  switches("undefined of ring 3", undefined, 3, NESTED, (u32)undefined_at, 1);
  goes_there_and_back();
  other_switches();
  old_task_faults();
  new_task_faults();
  u32 status = finish();
  __asm__ volatile("out %0, $0xf4" ::"a"(status));
  return 0;
}
