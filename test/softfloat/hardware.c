/*
 * Runs floating point operations on this machine's CPU. Standard input is a sequence of `struct request`; standard output gets
 * one `struct answer` for each. The arguments name the operations: a request's `operation` is an index into them.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

struct request {
  uint32_t operation, control;
  uint64_t am, bm, cm;
  uint16_t ase, bse;
  uint32_t argument;
};
struct answer {
  uint64_t m, m2;
  uint32_t se, se2, flags, condition;
};
struct __attribute__((packed)) f80 {
  uint64_t m;
  uint16_t se;
};

static const struct request *in;
static struct answer *out;
static struct f80 a, b, r, r2;
static uint16_t fcw, sw;
static const uint16_t masked = 0x37f;
static uint32_t mxcsr;
static uint64_t x, y, z;
static uint64_t word;

#define LOAD_B_A "fninit; fldt %[b]; fldt %[a]; fnclex; fldcw %[fcw]; "
#define STATUS "fnstsw %[sw]; fnclex; fldcw %[masked]; "
#define X87(code) \
  asm volatile(code : [r] "+m"(r), [r2] "+m"(r2), [sw] "=m"(sw), [word] "+m"(word) \
               : [a] "m"(a), [b] "m"(b), [fcw] "m"(fcw), [masked] "m"(masked) : "memory", "st", "st(1)", "st(2)", "st(3)")

static void result80(void) {
  out->m = r.m;
  out->se = r.se;
  out->flags = sw & 0x23f;
}
#define BINARY80(name, instruction) \
  static void name(void) { X87(LOAD_B_A instruction "; " STATUS "fstpt %[r]; fninit"); result80(); }
#define UNARY80(name, instruction) \
  static void name(void) { X87("fninit; fldt %[a]; fnclex; fldcw %[fcw]; " instruction "; " STATUS "fstpt %[r]; fninit"); result80(); }
#define LOAD80(name, instruction) \
  static void name(void) { word = in->am; X87("fninit; fldcw %[fcw]; " instruction "; " STATUS "fstpt %[r]; fninit"); result80(); }
#define STORE80(name, instruction, mask) \
  static void name(void) { word = 0; X87("fninit; fldt %[a]; fnclex; fldcw %[fcw]; " instruction "; " STATUS "fninit"); \
    out->m = word & (mask); out->flags = sw & 0x23f; }

BINARY80(f80Add, ".byte 0xd8,0xc1")
BINARY80(f80Sub, ".byte 0xd8,0xe1")
BINARY80(f80Mul, ".byte 0xd8,0xc9")
BINARY80(f80Div, ".byte 0xd8,0xf1")
BINARY80(f80Scale, "fscale")
BINARY80(fprem, "fprem")
BINARY80(fprem1, "fprem1")
UNARY80(f80Sqrt, "fsqrt")
UNARY80(f80RoundToInt, "frndint")
UNARY80(f80F2xm1, "f2xm1")
UNARY80(f80Sin, "fsin")
UNARY80(f80Cos, "fcos")
/* a is ST(0), b is ST(1); these pop ST(0), so that the result is on top */
BINARY80(f80Yl2x, "fyl2x")
BINARY80(f80Yl2xp1, "fyl2xp1")
BINARY80(f80Patan, "fpatan")
LOAD80(f80FromF32, "flds %[word]")
LOAD80(f80FromF64, "fldl %[word]")
LOAD80(f80FromI64, "fildll %[word]")
STORE80(f80ToF32, "fstps %[word]", 0xffffffff)
STORE80(f80ToF64, "fstpl %[word]", ~0ull)
STORE80(fistp16, "fistps %[word]", 0xffff)
STORE80(fistp32, "fistpl %[word]", 0xffffffff)
STORE80(fistp64, "fistpll %[word]", ~0ull)
STORE80(fisttp16, "fisttps %[word]", 0xffff)
STORE80(fisttp32, "fisttpl %[word]", 0xffffffff)
STORE80(fisttp64, "fisttpll %[word]", ~0ull)
static void f80ToI16(void) { in->argument ? fisttp16() : fistp16(); }
static void f80ToI32(void) { in->argument ? fisttp32() : fistp32(); }
static void f80ToI64(void) { in->argument ? fisttp64() : fistp64(); }
static void f80Rem(void) {
  in->argument ? fprem1() : fprem();
  out->flags = sw & 0x3f;
  out->condition = sw & 0x4700;
}
static void f80Extract(void) {
  X87("fninit; fldt %[a]; fnclex; fldcw %[fcw]; fxtract; " STATUS "fstpt %[r2]; fstpt %[r]; fninit");
  result80();
  out->m2 = r2.m;
  out->se2 = r2.se;
}
static void f80SinCos(void) {
  X87("fninit; fldt %[a]; fnclex; fldcw %[fcw]; fsincos; " STATUS "fstpt %[r2]; fstpt %[r]; fninit");
  result80();
  out->condition = sw & 0x400;
  out->m2 = r2.m;
  out->se2 = r2.se;
  if (sw & 0x400) out->m = r2.m, out->se = r2.se;
}
static void f80Ptan(void) {
  X87("fninit; fldt %[a]; fnclex; fldcw %[fcw]; fptan; " STATUS "fstpt %[r2]; fstpt %[r]; fninit");
  if (sw & 0x400) r = r2;
  result80();
  out->condition = sw & 0x400;
  out->m2 = r2.m;
  out->se2 = r2.se;
}
static void sine(void) { f80Sin(); out->condition = sw & 0x400; }
static void cosine(void) { f80Cos(); out->condition = sw & 0x400; }
static void f80Compare(void) {
  if (in->argument) X87(LOAD_B_A "fucom; " STATUS "fninit");
  else X87(LOAD_B_A "fcom; " STATUS "fninit");
  out->m = sw & 0x4500;
  out->flags = sw & 0x23f;
}
static void f80Examine(void) {
  X87("fninit; fldt %[a]; fnclex; fxam; " STATUS "fninit");
  out->m = sw & 0x4700;
  out->flags = sw & 0x3f;
}
static void f80ToBcd(void) {
  X87("fninit; fldt %[a]; fnclex; fldcw %[fcw]; fbstp %[r]; " STATUS "fninit");
  result80();
}
static void f80FromBcd(void) {
  X87("fninit; fldcw %[fcw]; fbld %[a]; " STATUS "fstpt %[r]; fninit");
  result80();
}

static sigjmp_buf trap;
static void on_trap(int number, siginfo_t *info, void *context) {
  (void)number;
  (void)info;
  mxcsr = ((ucontext_t *)context)->uc_mcontext.fpregs->mxcsr;
  siglongjmp(trap, 1);
}
#define SSE(code) \
  do { \
    if (!sigsetjmp(trap, 1)) \
      asm volatile("ldmxcsr %[c]; movq %[x], %%xmm0; movq %[y], %%xmm1; movq %[z], %%xmm2; " code "; stmxcsr %[c]" \
                   : [c] "+m"(mxcsr), [x] "+m"(x), [y] "+m"(y), [z] "+m"(z) : : "xmm0", "xmm1", "xmm2", "rax", "memory"); \
    asm volatile("ldmxcsr %0" : : "m"((uint32_t){0x1f80})); \
    out->flags = mxcsr & 63; \
  } while (0)
#define MOVE64 "; movq %%xmm0, %[x]"
#define MOVE32 "; movd %%xmm0, %%eax; movq %%rax, %[x]"
#define RESULT64(name, code) static void name(void) { SSE(code MOVE64); out->m = x; }
#define RESULT32(name, code) static void name(void) { SSE(code MOVE32); out->m = (uint32_t)x; }
#define INTEGER64(name, code) static void name(void) { SSE(code " %%xmm0, %%rax; movq %%rax, %[x]"); out->m = x; }
#define INTEGER32(name, code) static void name(void) { SSE(code " %%xmm0, %%eax; movq %%rax, %[x]"); out->m = (uint32_t)x; }
#define BOTH(operation, instruction) \
  RESULT64(f64##operation, instruction "sd %%xmm1, %%xmm0") RESULT32(f32##operation, instruction "ss %%xmm1, %%xmm0")
BOTH(Add, "add") BOTH(Sub, "sub") BOTH(Mul, "mul") BOTH(Div, "div") BOTH(Min, "min") BOTH(Max, "max")
RESULT64(f64Sqrt, "sqrtsd %%xmm0, %%xmm0")
RESULT32(f32Sqrt, "sqrtss %%xmm0, %%xmm0")
RESULT64(f64Fma, "vfmadd213sd %%xmm2, %%xmm0, %%xmm1; movaps %%xmm1, %%xmm0")
RESULT32(f32Fma, "vfmadd213ss %%xmm2, %%xmm0, %%xmm1; movaps %%xmm1, %%xmm0")
RESULT64(f64Fma231, "vfmadd231sd %%xmm1, %%xmm0, %%xmm2; movaps %%xmm2, %%xmm0")
RESULT64(f64Fma132, "vfmadd132sd %%xmm1, %%xmm2, %%xmm0")
RESULT64(f32ToF64, "cvtss2sd %%xmm0, %%xmm0")
RESULT32(f64ToF32, "cvtsd2ss %%xmm0, %%xmm0")
RESULT32(i32ToF32, "cvtsi2ssl %[x], %%xmm0")
RESULT32(i64ToF32, "cvtsi2ssq %[x], %%xmm0")
RESULT64(i32ToF64, "cvtsi2sdl %[x], %%xmm0")
RESULT64(i64ToF64, "cvtsi2sdq %[x], %%xmm0")
INTEGER32(cvtss32, "cvtss2si") INTEGER64(cvtss64, "cvtss2si") INTEGER32(cvttss32, "cvttss2si") INTEGER64(cvttss64, "cvttss2si")
INTEGER32(cvtsd32, "cvtsd2si") INTEGER64(cvtsd64, "cvtsd2si") INTEGER32(cvttsd32, "cvttsd2si") INTEGER64(cvttsd64, "cvttsd2si")
static void f32ToI32(void) { in->argument ? cvttss32() : cvtss32(); }
static void f32ToI64(void) { in->argument ? cvttss64() : cvtss64(); }
static void f64ToI32(void) { in->argument ? cvttsd32() : cvtsd32(); }
static void f64ToI64(void) { in->argument ? cvttsd64() : cvtsd64(); }
#define FLAGS "; pushfq; pop %%rax; movq %%rax, %[x]"
static void f64Compare(void) {
  if (in->argument) SSE("ucomisd %%xmm1, %%xmm0" FLAGS);
  else SSE("comisd %%xmm1, %%xmm0" FLAGS);
  out->m = x & 0x45;
}
static void f32Compare(void) {
  if (in->argument) SSE("ucomiss %%xmm1, %%xmm0" FLAGS);
  else SSE("comiss %%xmm1, %%xmm0" FLAGS);
  out->m = x & 0x45;
}
#define PREDICATE(n) case n: SSE(CODE(n) MOVE64); break;
#define ALL(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13) M(14) M(15)
#define MORE(M) M(16) M(17) M(18) M(19) M(20) M(21) M(22) M(23) M(24) M(25) M(26) M(27) M(28) M(29) M(30) M(31)
static void f64CompareWith(void) {
#define CODE(n) "vcmpsd $" #n ", %%xmm1, %%xmm0, %%xmm0"
  switch (in->argument) { ALL(PREDICATE) MORE(PREDICATE) }
#undef CODE
  out->m = x & 1;
}
static void f32CompareWith(void) {
#define CODE(n) "vcmpss $" #n ", %%xmm1, %%xmm0, %%xmm0"
  switch (in->argument) { ALL(PREDICATE) MORE(PREDICATE) }
#undef CODE
  out->m = x & 1;
}
static void f64RoundToInt(void) {
#define CODE(n) "roundsd $" #n ", %%xmm0, %%xmm0"
  switch (in->argument) { ALL(PREDICATE) }
#undef CODE
  out->m = x;
}
static void f32RoundToInt(void) {
#define CODE(n) "roundss $" #n ", %%xmm0, %%xmm0"
  switch (in->argument) { ALL(PREDICATE) }
#undef CODE
  out->m = (uint32_t)x;
}

static const struct {
  const char *name;
  void (*run)(void);
} operations[] = {
#define O(name) {#name, name},
    O(f80Add) O(f80Sub) O(f80Mul) O(f80Div) O(f80Sqrt) O(f80RoundToInt) O(f80Scale) O(f80Extract) O(f80Rem) O(f80Compare)
    O(f80Examine) O(f80FromF32) O(f80FromF64) O(f80FromI64) O(f80ToF32) O(f80ToF64) O(f80ToI16) O(f80ToI32) O(f80ToI64)
    O(f80ToBcd) O(f80FromBcd) O(f80F2xm1) O(f80Yl2x) O(f80Yl2xp1) O(f80Ptan) O(f80Patan) {"f80Sin", sine}, {"f80Cos", cosine},
    O(f80SinCos) O(f64Add) O(f64Sub) O(f64Mul) O(f64Div) O(f64Sqrt) O(f64Min) O(f64Max) O(f64Compare) O(f64CompareWith)
    O(f64RoundToInt) O(f64Fma) O(f64Fma231) O(f64Fma132) O(f64ToF32) O(f64ToI32) O(f64ToI64) O(f32Add) O(f32Sub) O(f32Mul)
    O(f32Div) O(f32Sqrt) O(f32Min) O(f32Max) O(f32Compare) O(f32CompareWith) O(f32RoundToInt) O(f32Fma) O(f32ToF64)
    O(f32ToI32) O(f32ToI64) O(i32ToF32) O(i64ToF32) O(i32ToF64) O(i64ToF64)
};

int main(int count, char **names) {
  void (*table[256])(void) = {0};
  for (int i = 1; i < count; i++) {
    for (unsigned k = 0; k < sizeof operations / sizeof *operations; k++)
      if (!strcmp(names[i], operations[k].name)) table[i - 1] = operations[k].run;
    if (!table[i - 1]) return fprintf(stderr, "no operation %s\n", names[i]), 2;
  }
  struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
  sigaction(SIGFPE, &action, 0);
  struct request request;
  struct answer answer;
  while (fread(&request, sizeof request, 1, stdin) == 1) {
    memset(&answer, 0, sizeof answer);
    in = &request;
    out = &answer;
    a = (struct f80){request.am, request.ase};
    b = (struct f80){request.bm, request.bse};
    memset(&r, 0, sizeof r);
    memset(&r2, 0, sizeof r2);
    fcw = request.control;
    mxcsr = request.control;
    x = request.am, y = request.bm, z = request.cm;
    table[request.operation]();
    fwrite(&answer, sizeof answer, 1, stdout);
  }
  return 0;
}
