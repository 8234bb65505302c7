/* native.c - runs a vector on this CPU.
 *
 * The host is a plain Linux x86-64 process: 32-bit code runs through the kernel's compatibility code segment, 16-bit code
 * through LDT segments. Whatever ends the vector, the CPU raises an exception, and the signal handler takes the state. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>
#include <asm/ldt.h>
#include "oracle.h"

u32 hw_mxcsr = 0x1f80; /* the host's: drawing rounds to nearest */
u64 hw_gpr[16], hw_flags, hw_target, hw_host_rsp;
u16 hw_ds, hw_ss;
struct { u32 offset; u16 selector; } __attribute__((packed)) hw_far;
u8 hw_xsave[4096] __attribute__((aligned(64)));
void hw_enter64(void);
void hw_enter32(void);
void hw_resume(void);
/* enter: save the host's registers, load the guest's, go; resume: the reverse. */
asm(".text\n"
"hw_enter64:\n push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
" mov %rsp, hw_host_rsp(%rip)\n mov $7, %eax\n xor %edx, %edx\n xrstor64 hw_xsave(%rip)\n"
" pushq hw_flags(%rip)\n popfq\n call hw_load\n jmp *hw_target(%rip)\n"
"hw_enter32:\n push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
" mov %rsp, hw_host_rsp(%rip)\n mov $7, %eax\n xor %edx, %edx\n xrstor64 hw_xsave(%rip)\n"
" pushq hw_flags(%rip)\n popfq\n mov hw_ds(%rip), %ds\n mov hw_ds(%rip), %es\n"
" call hw_load\n mov hw_ss(%rip), %ss\n ljmp *hw_far(%rip)\n"
"hw_load:\n pop hw_return(%rip)\n"
" mov hw_gpr+0(%rip), %rax\n mov hw_gpr+8(%rip), %rcx\n mov hw_gpr+16(%rip), %rdx\n mov hw_gpr+24(%rip), %rbx\n"
" mov hw_gpr+32(%rip), %rsp\n mov hw_gpr+40(%rip), %rbp\n mov hw_gpr+48(%rip), %rsi\n mov hw_gpr+56(%rip), %rdi\n"
" mov hw_gpr+64(%rip), %r8\n mov hw_gpr+72(%rip), %r9\n mov hw_gpr+80(%rip), %r10\n mov hw_gpr+88(%rip), %r11\n"
" mov hw_gpr+96(%rip), %r12\n mov hw_gpr+104(%rip), %r13\n mov hw_gpr+112(%rip), %r14\n mov hw_gpr+120(%rip), %r15\n"
" jmp *hw_return(%rip)\n"
"hw_resume:\n cld\n fninit\n vzeroupper\n ldmxcsr hw_mxcsr(%rip)\n pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n"
".local hw_return\n.comm hw_return,8,8\n");

static struct { u64 gpr[16], rip, flags, cr2; u32 trap, error; int signal; u8 fx[512], ymm_high[256]; } taken;
static volatile int in_guest, stuck;

static void on_signal(int number, siginfo_t *info, void *context) {
  ucontext_t *uc = context;
  greg_t *g = uc->uc_mcontext.gregs;
  static const int map[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
    REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  u8 *fx = (u8 *)uc->uc_mcontext.fpregs;
  u64 present;
  (void)info;
  if (number == SIGALRM && (!in_guest || ++stuck < 4)) return; /* a vector that never ends is discarded */
  if (!in_guest) { static const char m[] = "oracle: fault outside a vector\n"; (void)!write(2, m, sizeof m - 1); _exit(3); }
  in_guest = 0;
  for (int i = 0; i < 16; i++) taken.gpr[i] = (u64)g[map[i]];
  taken.rip = (u64)g[REG_RIP]; taken.flags = (u64)g[REG_EFL]; taken.cr2 = (u64)g[REG_CR2];
  taken.trap = (u32)g[REG_TRAPNO]; taken.error = (u32)g[REG_ERR]; taken.signal = number;
  memcpy(taken.fx, fx, 512); memcpy(&present, fx + 512, 8);
  if (present & 4) memcpy(taken.ymm_high, fx + 576, 256); else memset(taken.ymm_high, 0, 256);
  if (!(present & 2)) memset(taken.fx + 160, 0, 256);
  if (!(present & 1)) { memset(taken.fx, 0, 24); taken.fx[0] = 0x7f; taken.fx[1] = 3; memset(taken.fx + 32, 0, 128); }
  g[REG_RIP] = (greg_t)hw_resume; g[REG_RSP] = (greg_t)hw_host_rsp; g[REG_EFL] = 0x202;
  g[REG_CSGSFS] = (greg_t)(((u64)g[REG_CSGSFS] & ~0xffffull & ~(0xffffull << 48)) | 0x33 | 0x2bull << 48);
}

static void map_page(u64 at, int executable) {
  int protection = PROT_READ | PROT_WRITE | (executable ? PROT_EXEC : 0);
  if (mmap((void *)at, PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) { perror("mmap"); exit(2); }
}
int native_has_16;
void native_setup(void) {
  static const int signals[] = {SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGBUS, SIGALRM};
  static u8 alternate[1 << 16];
  struct itimerval every = {{0, 20000}, {0, 20000}};
  struct user_desc d = {0};
  struct sigaction action;
  stack_t stack;
  stack.ss_sp = alternate; stack.ss_size = sizeof alternate; stack.ss_flags = 0;
  sigaltstack(&stack, 0);
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_signal; action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigfillset(&action.sa_mask);
  for (int i = 0; i < 6; i++) sigaction(signals[i], &action, 0);
  map_page(CODE64_LOW, 1); map_page(CODE64_HIGH, 1); map_page(CODE32, 1);
  map_page(DATA64_LOW, 0); map_page(DATA64_HIGH, 0); map_page(DATA32, 0);
  d.entry_number = 0; d.base_addr = CODE32; d.limit = 0xfff; d.contents = MODIFY_LDT_CONTENTS_CODE; d.useable = 1;
  native_has_16 = syscall(SYS_modify_ldt, 1, &d, sizeof d) == 0;
  d.entry_number = 1; d.base_addr = DATA32; d.contents = MODIFY_LDT_CONTENTS_DATA;
  native_has_16 = native_has_16 && syscall(SYS_modify_ldt, 1, &d, sizeof d) == 0;
  setitimer(ITIMER_REAL, &every, 0);
}

static void load(const struct vector *v) {
  const struct state *s = &v->in;
  u8 *x = hw_xsave;
  u64 components = 7;
  memset(x, 0, 1024);
  memcpy(x, &s->fcw, 2); memcpy(x + 2, &s->fsw, 2); x[4] = s->ftw; memcpy(x + 24, &s->mxcsr, 4);
  for (int i = 0; i < 8; i++) memcpy(x + 32 + 16 * i, s->r87[(s->fsw >> 11 & 7) + i & 7], 10);
  for (int i = 0; i < 16; i++) { memcpy(x + 160 + 16 * i, s->ymm[i], 16); memcpy(x + 576 + 16 * i, s->ymm[i] + 16, 16); }
  memcpy(x + 512, &components, 8);
  memcpy(hw_gpr, s->gpr, sizeof hw_gpr); hw_flags = s->flags | 0x202;
}
static void unload(struct vector *v) {
  struct state *s = &v->out;
  memcpy(s->gpr, taken.gpr, sizeof s->gpr);
  if (v->mode != 64) for (int i = 0; i < 16; i++) s->gpr[i] = i < 8 ? (u32)s->gpr[i] : 0;
  if (v->mode == 16) s->gpr[4] = (v->in.gpr[4] & ~0xffffull) | (s->gpr[4] & 0xffff); /* IRET loses the upper half of ESP */
  s->flags = taken.flags & FLAGS;
  memcpy(&s->fcw, taken.fx, 2); memcpy(&s->fsw, taken.fx + 2, 2); s->ftw = taken.fx[4]; memcpy(&s->mxcsr, taken.fx + 24, 4);
  for (int i = 0; i < 8; i++) memcpy(s->r87[(s->fsw >> 11 & 7) + i & 7], taken.fx + 32 + 16 * i, 10);
  for (int i = 0; i < 16; i++) { memcpy(s->ymm[i], taken.fx + 160 + 16 * i, 16); memcpy(s->ymm[i] + 16, taken.ymm_high + 16 * i, 16); }
}
int native_run(struct vector *v) {
  u8 *code = (u8 *)v->code, *data = (u8 *)v->data;
  u64 rip;
  memset(code, 0xCC, PAGE); memcpy(code + CODE_OFFSET, v->bytes, (size_t)v->len);
  memset(data, 0, PAGE - WINDOW); memcpy(data + PAGE - WINDOW, v->in.window, WINDOW);
  load(v);
  stuck = 0; in_guest = 1;
  if (v->mode == 64) { hw_target = v->code + CODE_OFFSET; hw_enter64(); }
  else {
    hw_far.offset = (u32)(v->mode == 32 ? v->code + CODE_OFFSET : CODE_OFFSET); hw_far.selector = v->mode == 32 ? 0x23 : 7;
    hw_ds = hw_ss = v->mode == 32 ? 0x2b : 15; hw_enter32();
  }
  if (taken.signal == SIGALRM) return 0;
  rip = taken.rip - (v->mode == 16 ? CODE_OFFSET : v->code + CODE_OFFSET);
  v->exception = (int)taken.trap; v->error = taken.error; v->cr2 = 0;
  if (taken.signal == SIGTRAP && taken.trap == 3) { v->exception = -1; v->error = 0; rip--; }
  if (v->exception == 14) v->cr2 = taken.cr2;
  else if (v->exception != 13 && v->exception != 12 && v->exception != 11) v->error = 0;
  v->rip = (s64)rip;
  if (v->rip != (int)v->rip) return 0;                               /* left the page and faulted there */
  if (v->exception == 14 && v->cr2 == taken.rip && rip) return 0;    /* instruction fetch elsewhere */
  unload(v);
  for (int i = 0; i < PAGE - WINDOW; i++) if (data[i]) return 0;     /* wrote outside the window */
  memcpy(v->out.window, data + PAGE - WINDOW, WINDOW);
  for (int i = 0; i < PAGE; i++) if (code[i] != (i >= CODE_OFFSET && i < CODE_OFFSET + v->len ? v->bytes[i - CODE_OFFSET] : 0xCC)) return 0;
  return 1;
}
