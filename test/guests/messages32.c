/*
 * What arrives as a message: NMI and what blocks it, SMI with its handler and RSM, INIT and start-up of a second processor,
 * inter-processor interrupts. All are sent through the local APIC's interrupt command register. SDM volume 3, sections 7.7,
 * 10.4, 12.6 and chapter 33. Wants two processors.
 */
#include "cases32.h"

enum { ICR = 0xfee00300u, ICR_HIGH = 0xfee00310u, SPURIOUS = 0xfee000f0u, EOI = 0xfee000b0u, SMM_CODE = 0x38000, START = 0x9000, START2 = 0xa000, PLACE = 0x600 };
static volatile u32 *apic(u32 place) { return (volatile u32 *)place; }
static volatile u32 *place(u32 index) { return (volatile u32 *)PLACE + index; }
static void extend(void) { directory[0xfee00000u >> 22] = 0xfec00000u + 0x9b; }
static void send(u32 target, u32 command) { *apic(ICR_HIGH) = target << 24; *apic(ICR) = command; }
enum { NMI = 0x4400, SMI = 0x4200, INIT = 0x4500, INIT_LEVEL = 0xc500, STARTUP = 0x4600, FIXED = 0x4034 };
static int wait_for(volatile u32 *word, u32 value) {
  for (u32 n = 0; n < 3000000; n++) { if (*word == value) return 1; __asm__ volatile("pause"); }
  return 0;
}
static void pass_time(void) { for (u32 n = 0; n < 20000; n++) __asm__ volatile("pause"); }

/* --- NMI: to itself */
u32 command;
CASE(send_command, "mov $0x12345678, %%edx; mov command, %%eax; stc", "mov %%eax, 0xfee00300")
CASE(not_smm, "", "rsm")
/* Sends another one, which waits for IRET. */
extern u8 nmi_again[];
u32 nmi_count, nmi_inside, nmi_deepest;
__asm__(".text\nnmi_again: incl nmi_count\n incl nmi_inside\n mov nmi_inside, %ecx\n cmp nmi_deepest, %ecx\n jbe 1f\n mov %ecx, nmi_deepest\n1: cmpl $3, nmi_count\n jae 2f\n mov command, %eax\n mov %eax, 0xfee00300\n nop\n nop\n2: decl nmi_inside\n iret\n.globl nmi_again");
static void nmi_cases(void) {
  *apic(SPURIOUS) = 0x1ff; *apic(ICR_HIGH) = 0;
  command = NMI; EXPECT(send_command, 0, 2, NO_CODE, end, TRAP);
  /* Its handler was left without IRET: it stays blocked until there is one. */
  if (begins("NMI while one is handled")) {
    idt[2] = gate((u32)nmi_again, 0x8e);
    __asm__ volatile("pushf; push %%cs; push $1f; iret; 1:" ::: "memory");
    attempt(send_command);
    compare("NMI while one is handled", "vector", outcome, NONE);
    compare("NMI while one is handled", "times", nmi_count, 3);
    compare("NMI while one is handled", "nested", nmi_deepest, 1);
  }
  reset();
}

/* --- SMI: the handler lies at SMBASE + 8000H */
extern u8 smi_handler[], smi_handler_end[];
__asm__(".data\n.code16\n.globl smi_handler, smi_handler_end\nsmi_handler: xor %eax, %eax\n mov %ax, %ds\n incl 0x600\n mov %cr0, %eax\n mov %eax, 0x604\n mov %cr4, %eax\n mov %eax, 0x608\n mov %cs, %ax\n mov %ax, 0x60c\n mov $0xdead, %edx\n mov $0x5678, %ebx\n mov %ebx, 0x610\n mov $0xffff, %ax\n mov %ax, %es\n addr32 movl %ds:0x110000, %eax\n mov %eax, 0x614\n rsm\nsmi_handler_end:\n.code32\n.text");
static void smi_cases(void) {
  memcpy((void *)SMM_CODE, smi_handler, smi_handler_end - smi_handler);
  for (int i = 0; i < 8; i++) *place(i) = 0;
  *apic(SPURIOUS) = 0x1ff; *apic(ICR_HIGH) = 0;
  command = SMI; idt[0x34] = gate((u32)stubs + 0x34 * 16, 0xee);
  if (begins("SMI")) {
    attempt(send_command);
    compare("SMI", "vector", outcome, NONE);
    compare("SMI", "times", *place(0), 1);
    compare("SMI", "CR0 in the handler", *place(1) & 0x8000000d, 0);
    compare("SMI", "CR4 in the handler", *place(2), 0);
    compare("SMI", "CS in the handler", *place(3) & 0xffff, 0x3000);
    compare("SMI", "memory above 1 MiB", *place(5), *(u32 *)0x110000);
  }
  reset();
  EXPECT(not_smm, 0, 6, NO_CODE, at, FAULT);
  EXPECT(not_smm, 3, 6, NO_CODE, at, FAULT);
}

/* --- the other processor: starts in real mode at a page of its own */
extern u8 starts[], starts_call[], starts_end[];
__asm__(".data\n.code16\n.globl starts, starts_end\nstarts: xor %ax, %ax\n mov %ax, %ds\n mov %ax, %ss\n mov $0x500, %sp\n mov %cs, %ax\n mov %ax, 0x624\n.globl starts_call\n call starts_call\nstarts_call: pop %ax\n mov %ax, 0x628\n mov %cr0, %eax\n mov %eax, 0x62c\n mov %edx, 0x630\n pushfl\n pop %eax\n mov %eax, 0x634\n lock incl 0x620\n2: hlt\n jmp 2b\nstarts_end:\n.code32\n.text");
static void start_cases(void) {
  memcpy((void *)START, starts, starts_end - starts);
  memcpy((void *)START2, starts, starts_end - starts);
  for (int i = 8; i < 16; i++) *place(i) = 0;
  *apic(SPURIOUS) = 0x1ff;
  if (begins("start-up")) {
    send(1, STARTUP | START >> 12);
    compare("start-up", "started out of reset", wait_for(place(8), 1), 1);
    send(1, INIT); pass_time();
    send(1, STARTUP | START >> 12);
    compare("start-up", "started after INIT", wait_for(place(8), 2), 1);
    compare("start-up", "CS", *place(9) & 0xffff, START >> 4);
    compare("start-up", "IP", *place(10) & 0xffff, starts_call - starts);
    compare("start-up", "CR0", *place(11) & 0x9fffffff, 0x10);
    compare("start-up", "EDX is the signature", *place(12) != 0, 1);
    compare("start-up", "flags", *place(13) & 0x3f7f00, 0);
    u32 times = *place(8);
    send(1, STARTUP | START2 >> 12); pass_time();
    compare("start-up", "a second one is ignored", *place(8), times);
    send(1, INIT); pass_time();
    compare("start-up", "INIT waits", *place(8), times);
    send(1, STARTUP | START2 >> 12);
    compare("start-up", "started again", wait_for(place(8), times + 1), 1);
    compare("start-up", "CS of the second", *place(9) & 0xffff, START2 >> 4);
    send(1, INIT); pass_time();
  }
  reset();
}
/* A fixed message to itself waits for IF. */
CASE(wait_for_if, "cli; mov command, %%eax; mov %%eax, 0xfee00300; nop; nop; sti", "nop")
CASE(nmi_and_interrupt, "cli; mov $0x4034, %%eax; mov %%eax, 0xfee00300; mov command, %%eax; nop; sti", "mov %%eax, 0xfee00300")
static void take_interrupt(void) { __asm__ volatile("sti; nop; nop; cli"); }
static void fixed_cases(void) {
  *apic(SPURIOUS) = 0x1ff; *apic(ICR_HIGH) = 0;
  command = FIXED; EXPECT(wait_for_if, 0, 0x34, NO_CODE, end, TRAP);
  *apic(EOI) = 0;
  /* Both become known at the end of the shadow of STI. */
  __asm__ volatile("pushf; push %%cs; push $1f; iret; 1:" ::: "memory");
  command = NMI; EXPECT(nmi_and_interrupt, 0, 2, NO_CODE, end, TRAP);
  if (!is_skipped) attempt(take_interrupt);
  compare("nmi_and_interrupt", "then", outcome, 0x34);
  *apic(EOI) = 0;
}

int main(void) {
  read_command_line();
  reset();
  nmi_cases();
  smi_cases();
  start_cases();
  fixed_cases();
  u32 status = finish();
  __asm__ volatile("out %0, $0xf4" ::"a"(status));
  return 0;
}
