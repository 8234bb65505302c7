/* oracle.h - what the parts of the hardware oracle share.
 *
 * The oracle makes random user-mode x86 instructions, runs each one on the CPU of this machine from a random state and
 * writes what changed (the format is described in ../README.md). Parts: forms.c reads the instruction table (table.h),
 * state.c draws the initial state, operands.c makes an instruction fit for that state, native.c runs it, main.c selects
 * and writes. A vector is a function of (seed, form, mode, draw) alone, whatever else is selected. */
#ifndef ORACLE_H
#define ORACLE_H
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64;
typedef long long s64;

enum { WINDOW = 256, CODE_OFFSET = 0x800, PAGE = 4096, FLAGS = 0xCD5 /* CF PF AF ZF SF DF OF */ };
enum { CODE64_LOW = 0x34500000, DATA64_LOW = 0x34567000, CODE32 = 0x20000000, DATA32 = 0x30000000 };
#define CODE64_HIGH 0x1234500000ull
#define DATA64_HIGH 0x1234567000ull

enum { FP_NONE, FP_X87, FP_SSE, FP_AVX };
enum { SIZE_BYTE, SIZE_V, SIZE_Y, SIZE_STACK, SIZE_FIXED, SIZE_W0, SIZE_W1 }; /* what the prefixes do to the operand size */
enum { IMM_NONE, IMM_B, IMM_W, IMM_Z, IMM_V, IMM_REL8, IMM_RELZ, IMM_OFFSET, IMM_WB };

struct form {
  const char *cls, *name, *encoding;
  u8 opcode[4], opcode_len, prefix, vex, vex_l, vex_w, nds, modrm, imm, size, memory, reg, lock, plus_r, only, rep, fp, mem_size, approx;
  signed char digit;
  u32 undef, weight, hash;
};
struct state {
  u64 gpr[16]; /* rax rcx rdx rbx rsp rbp rsi rdi r8..r15 */
  u32 flags, mxcsr;
  u16 fcw, fsw;
  u8 ftw;          /* abridged, as FXSAVE stores it: bit i set = R(i) in use */
  u8 r87[8][10];   /* R0..R7, not ST(i): a push then changes one register */
  u8 ymm[16][32];
  u8 window[WINDOW];
};
struct vector {
  const struct form *form;
  int mode, high, len;
  u32 draw;
  u64 code, data;  /* pages; mode 16: segment bases */
  u8 bytes[16];
  struct state drawn, in, out;
  int exception;   /* -1 = completed */
  u32 error;
  u64 cr2;
  s64 rip;         /* relative to the instruction's own address */
  u32 undef;       /* flags whose result is architecturally undefined */
  u16 fsw_undef;
};

/* The generator (sfc32), small enough to be written again in ../initial-state.ts */
struct stream { u32 a, b, c, counter; };
extern struct stream *drawing; /* the stream that the functions below draw from */
void stream_seed(struct stream *s, u32 x, u32 y, u32 z);
u32 next(void);
u32 below(u32 n);
int percent(u32 p);
u64 wide(void);
u64 integer(void);

extern struct form forms[];
extern int form_count;
void build_forms(void);
int starts(const char *s, const char *prefix);

extern int rare; /* faults, unmasked exceptions and unusual control words are drawn often */
u64 window_of(const struct vector *v);
void draw_state(struct vector *v, u32 seed);
int draw_operands(struct vector *v); /* 0 = this attempt made nothing that can be run */

void native_setup(void);
extern int native_has_16;
int native_run(struct vector *v);    /* 0 = the result is not usable */
int narrow_undefined(struct vector *v); /* after a run; 0 = the result itself is undefined */
#endif
