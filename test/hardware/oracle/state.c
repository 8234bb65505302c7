/* state.c - the initial state of a vector, drawn from its own stream.
 *
 * ../initial-state.ts is this file in TypeScript: the recorded vectors hold only what operands.c changed afterwards. So
 * everything here is 32-bit arithmetic in a fixed order of draws, and a change here needs the vectors recorded again
 * (vectors.test.ts fails otherwise). */
#include <string.h>
#include "oracle.h"

struct stream *drawing;

u32 next(void) { /* sfc32 */
  struct stream *s = drawing;
  u32 t = s->a + s->b + s->counter++;
  s->a = s->b ^ (s->b >> 9);
  s->b = s->c + (s->c << 3);
  s->c = (s->c << 21 | s->c >> 11) + t;
  return t;
}
void stream_seed(struct stream *s, u32 x, u32 y, u32 z) {
  struct stream *old = drawing;
  s->a = x; s->b = y; s->c = z; s->counter = 1;
  drawing = s;
  for (int i = 0; i < 12; i++) next();
  drawing = old;
}
u32 below(u32 n) { return (u32)((u64)next() * n >> 32); }
int percent(u32 p) { return below(100) < p; }
u64 wide(void) { u32 low = next(); return (u64)next() << 32 | low; }

u64 integer(void) {
  static const u64 k[] = {0, 1, 2, 3, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000,
    0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000, ~0ull, ~1ull, 0xaaaaaaaaaaaaaaaa, 0x5555555555555555};
  switch (below(6)) {
  case 0: return k[below(22)];
  case 1: return below(256);
  case 2: return (u64)-(s64)below(256);
  case 3: { u64 x = wide(); return x >> below(64); }
  case 4: return next();
  default: return wide();
  }
}
static u32 single(void) {
  static const u32 k[] = {0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7fa00001,
    1, 0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff, 0xff7fffff, 0x4f000000, 0xcf000000, 0x5f000000, 0x3f000000, 0x40200000};
  switch (below(4)) {
  case 0: return k[below(20)];
  case 1: { float f = (float)(int)below(2000) / 8 - 100; u32 x; memcpy(&x, &f, 4); return x; }
  case 2: { u32 sign = below(2) << 31, exponent = (127 - 24 + below(48)) << 23; return sign | exponent | next() >> 9; }
  default: return next();
  }
}
static u64 real(void) {
  static const u64 k[] = {0, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000, 0x7ff0000000000000, 0xfff0000000000000,
    0x7ff8000000000000, 0xfff8000000000000, 0x7ff4000000000001, 1, 0x800fffffffffffff, 0x0010000000000000, 0x7fefffffffffffff,
    0x41dfffffffc00000, 0x41e0000000000000, 0xc1e0000000000000, 0x43e0000000000000, 0x3fe0000000000000, 0x47efffffe0000000, 0x36a0000000000000};
  switch (below(4)) {
  case 0: return k[below(20)];
  case 1: { double f = (double)(int)below(2000) / 8 - 100; u64 x; memcpy(&x, &f, 8); return x; }
  case 2: { u64 sign = (u64)below(2) << 63, exponent = (u64)(1023 - 50 + below(100)) << 52; return sign | exponent | (wide() & 0xfffffffffffffull); }
  default: return wide();
  }
}
/* v / 2^scale as a double extended */
static void scaled(s64 v, int scale, u64 *significand, u16 *exponent) {
  u64 m = v < 0 ? 0 - (u64)v : (u64)v;
  int zeros = 0;
  *significand = 0; *exponent = 0;
  if (!m) return;
  while (!(m >> 63)) m <<= 1, zeros++;
  *significand = m;
  *exponent = (u16)((v < 0 ? 0x8000 : 0) | (16383 + 63 - zeros - scale));
}
static void extended(u8 *p) {
  static const u16 ke[] = {0, 0x8000, 0x7fff, 0xffff, 0x7fff, 0xffff, 0x3fff, 0xbfff, 0, 0x7ffe, 0x7fff, 0x8000};
  static const u64 km[] = {0, 0, 1ull << 63, 1ull << 63, 3ull << 62, 3ull << 62, 1ull << 63, 1ull << 63, 1, ~0ull, 0xa000000000000001, 0x7fffffffffffffff};
  u64 m = wide() | 1ull << 63;
  u32 magnitude = below(140), sign = below(2) << 15;
  u16 e = (u16)((16383 - 70 + magnitude) | sign);
  switch (below(8)) {
  case 0: { u32 i = below(12); e = ke[i]; m = km[i]; break; }
  case 1: case 2: { s64 v = (s64)integer(); scaled(v >> below(40), 0, &m, &e); break; }
  case 3: scaled((s64)below(4000) - 1920, 4, &m, &e); break;
  case 4: e = (u16)next(); if (percent(5)) m = wide(); break;
  default: if (percent(40)) { m &= ~0ull << (11 + below(50)); m |= 1ull << 63; }
  }
  memcpy(p, &m, 8); memcpy(p + 8, &e, 2);
}
static void lane(u8 *p) { /* 16 bytes of one flavour */
  int flavour = below(10), i;
  if (flavour >= 3 && flavour < 6) { for (i = 0; i < 2; i++) { u64 x = real(); memcpy(p + 8 * i, &x, 8); } return; }
  for (i = 0; i < 4; i++) { u32 x = flavour < 3 ? single() : flavour < 8 ? (u32)integer() : next(); memcpy(p + 4 * i, &x, 4); }
  if (flavour == 9) for (i = 0; i < 16; i++) if (percent(20)) p[i] = (u8)below(4);
}

u64 window_of(const struct vector *v) { return (v->mode == 16 ? 0 : v->data) + PAGE - WINDOW; }

int rare;

/* v->form, mode, high and draw are set; fills in the pages and v->drawn. */
void draw_state(struct vector *v, u32 seed) {
  static struct stream s;
  const struct form *f = v->form;
  struct state *st = &v->drawn;
  int registers = v->mode == 64 ? 16 : 8, mmx = !strcmp(f->cls, "mmx"), i;
  memset(st, 0, sizeof *st);
  v->code = v->mode != 64 ? CODE32 : v->high ? CODE64_HIGH : CODE64_LOW;
  v->data = v->mode != 64 ? DATA32 : v->high ? DATA64_HIGH : DATA64_LOW;
  stream_seed(&s, seed, f->hash, v->draw * 4 + v->mode / 32);
  drawing = &s;
  for (i = 0; i < registers; i++) { u64 x = integer(); st->gpr[i] = v->mode == 64 ? x : (u32)x; }
  st->gpr[4] = window_of(v) + 64 + below(WINDOW - 128);
  if (percent(90)) st->gpr[4] &= ~7ull;
  if (!strcmp(f->cls, "stack") && percent(rare ? 25 : 3)) st->gpr[4] = window_of(v) + WINDOW - below(8);
  st->flags = next() & FLAGS;
  if (!f->rep && percent(80)) st->flags &= ~0x400u;
  for (i = 0; i < WINDOW; i += 16) lane(st->window + i);
  if (percent(30)) for (i = 0; i < WINDOW; i += 8) { u64 x = integer(); memcpy(st->window + i, &x, 8); }
  if (f->rep == 2 && percent(60)) for (i = 0; i < WINDOW; i++) st->window[i] = percent(90) ? 0x41 : 0x42;
  st->fcw = 0x37f; st->mxcsr = 0x1f80;
  if (f->fp == FP_X87 && !mmx) {
    u32 precision = below(6), rounding = percent(50) ? below(4) : 0, stale = percent(15), depth;
    st->fcw = (u16)(0x7f | (precision == 0 ? 0 : precision == 1 ? 2 : 3) << 8 | rounding << 10);
    if (percent(rare ? 50 : 2)) st->fcw &= (u16)~(rare ? below(64) : 1u << below(6));
    st->fsw = (u16)(below(8) << 11);
    if (stale) st->fsw |= (u16)(next() & 0x473f);
    if ((st->fsw & 0x3f) & ~st->fcw) st->fsw |= 0x8080;
    depth = percent(15) ? 8 : percent(50) ? 7 : below(6);
    if (depth == 8) st->ftw = (u8)below(256);
    else if (depth == 7) st->ftw = 0xff;
    else for (i = 0; i <= (int)depth; i++) st->ftw |= (u8)(1u << ((st->fsw / 2048 + i) & 7));
    for (i = 0; i < 8; i++) extended(st->r87[i]);
  }
  if (mmx) {
    int left = percent(30); /* by x87 instructions */
    st->ftw = 0xff;
    if (left) {
      st->fsw = (u16)(below(8) << 11);
      st->fsw |= (u16)(next() & 0x473f);
      if (percent(rare ? 50 : 20)) st->fcw &= (u16)~(rare ? below(64) : 1u << below(6));
      if ((st->fsw & 0x3f) & ~st->fcw) st->fsw |= 0x8080;
      st->ftw = (u8)below(256);
    }
    for (i = 0; i < 8; i++) {
      u8 t[16];
      u16 exponent = (u16)(left ? next() : 0xffff);
      lane(t); memcpy(st->r87[i], t, 8); memcpy(st->r87[i] + 8, &exponent, 2);
    }
  }
  if (f->fp >= FP_SSE || mmx) {
    if (percent(40)) st->mxcsr |= below(4) << 13;
    if (percent(rare ? 40 : 10)) st->mxcsr |= 0x8000;
    if (percent(rare ? 40 : 10)) st->mxcsr |= 0x40;
    if (percent(20)) st->mxcsr |= below(64);
    if (percent(rare ? 50 : 3)) st->mxcsr &= ~(rare ? below(64) << 7 : 0x80u << below(6));
    for (i = 0; i < registers; i++) lane(st->ymm[i]);
    if (f->fp == FP_AVX) for (i = 0; i < registers; i++) lane(st->ymm[i] + 16);
  }
}
