/* operands.c - makes one instruction of a form, and the state that leads it somewhere useful: addresses that point into the
 * window, counts that end, divisors that fit. What it changes in the drawn state is what a record holds. */
#include <string.h>
#include "oracle.h"

struct build { struct vector *v; const struct form *f; int asz, osz, rexw, base, index, rip_fix, has_memory; u64 ea; u8 rex, imm0; };

static u64 mask(int bits) { return bits == 64 ? ~0ull : bits == 32 ? 0xffffffffull : 0xffffull; }
static void set_sized(u64 *r, int bits, u64 x) { *r = bits == 64 ? x : bits == 32 ? (u32)x : (*r & ~mask(16)) | (x & 0xffff); }
static u64 get_memory(const struct vector *v, u64 ea, int n) { /* zero outside the window */
  u64 x = 0;
  for (int i = 0; i < n; i++) { u64 o = ea + (u64)i - window_of(v); if (o < WINDOW) x |= (u64)v->in.window[o] << 8 * i; }
  return x;
}
static void put_memory(struct vector *v, u64 ea, u64 x, int n) {
  for (int i = 0; i < n; i++) { u64 o = ea + (u64)i - window_of(v); if (o < WINDOW) v->in.window[o] = (u8)(x >> 8 * i); }
}
static u64 pick_address(struct build *b) {
  int size = b->f->mem_size, r = (int)below(100), offset;
  if (size < 8) size = 8;
  if (b->f->vex && size == 16 && b->f->vex_l) size = 32;
  if (r < (rare ? 20 : 3)) return window_of(b->v) + WINDOW - below((u32)size + 1);          /* straddles the end: faults */
  offset = (int)below((u32)(WINDOW - size + 1));
  if (b->f->fp >= FP_SSE ? r < 92 : r < (rare ? 60 : 40)) offset &= ~((size & -size) - 1);
  return window_of(b->v) + (u64)offset;
}
static int modrm16(struct build *b, u8 *p, int reg) {
  static const signed char first[8] = {3, 3, 5, 5, 6, 7, 5, 3}, second[8] = {6, 7, 6, 7, -1, -1, -1, -1};
  u64 *r = b->v->in.gpr;
  int rm = (int)below(8), mod = (int)below(3), displacement = mod == 1 ? (int)below(256) - 128 : mod == 2 ? (int)(short)next() : 0;
  u16 x;
  if (rm == 6 && mod == 0) { p[0] = (u8)((reg & 7) << 3 | 6); memcpy(p + 1, &b->ea, 2); return 3; }
  x = (u16)(b->ea - (u64)(s64)displacement); b->base = first[rm]; b->index = second[rm];
  if (b->index >= 0) x -= (u16)(r[b->index] = (r[b->index] & ~0xffffull) | below(percent(70) ? 200 : 65536));
  r[b->base] = (r[b->base] & ~0xffffull) | x;
  p[0] = (u8)(mod << 6 | (reg & 7) << 3 | rm);
  memcpy(p + 1, &displacement, 2);
  return 1 + mod;
}
/* A displacement for mod (0, 1, 2): mostly near, often far */
static s64 displacement_for(int mod) { return mod == 1 ? (int)below(256) - 128 : mod == 2 ? (s64)(int)next() >> below(24) : 0; }
static int displaced(u8 *p, int n, int mod, s64 d) { memcpy(p + n, &d, 4); return n + (mod == 1 ? 1 : mod == 2 ? 4 : 0); }

/* Emits ModRM (+SIB, displacement) at p for the register field `reg`; returns its length, -1 = try again. */
static int modrm(struct build *b, u8 *p, int reg, int rm) {
  struct vector *v = b->v;
  u64 m = mask(b->asz), *r = v->in.gpr, keep = b->asz == 64 ? 0 : ~m, iv;
  int n = 0, kind, mod, scale;
  s64 d;
  if (rm >= 0) { if (rm & 8) b->rex |= 1; p[0] = (u8)(0xC0 | (reg & 7) << 3 | (rm & 7)); return 1; }
  b->has_memory = 1; b->ea = pick_address(b);
  if (v->mode == 64 && b->asz == 64 && percent(rare ? 5 : 1)) b->ea ^= 1ull << (48 + below(16)); /* non-canonical */
  if (b->asz == 16) return modrm16(b, p, reg);
  kind = (int)below(10);
  if (kind == 0) { /* displacement alone, or RIP-relative */
    if (v->mode == 64 && (b->ea >> 31 || percent(50))) { p[0] = (u8)((reg & 7) << 3 | 5); b->rip_fix = 1; return 5; }
    if (v->mode == 64) { p[n++] = (u8)((reg & 7) << 3 | 4); p[n++] = 0x25; } else p[n++] = (u8)((reg & 7) << 3 | 5);
    memcpy(p + n, &b->ea, 4);
    return n + 4;
  }
  b->base = (int)below(v->mode == 64 ? 16 : 8);
  mod = (int)below(3);
  if (kind < 5) { /* [base + displacement] */
    d = displacement_for(mod);
    if (mod == 0 && (b->base & 7) == 5) { mod = 1; d = 0; }
    if (b->base == 4) { d = (s64)(b->ea - r[4]); if (d != (int)d) return -1; mod = 2; }
    else r[b->base] = (r[b->base] & keep) | ((b->ea - (u64)d) & m);
    p[n++] = (u8)(mod << 6 | (reg & 7) << 3 | (b->base & 7));
    if ((b->base & 7) == 4) p[n++] = 0x24;
    if (b->base & 8) b->rex |= 1;
    return displaced(p, n, mod, d);
  }
  b->index = (int)below(v->mode == 64 ? 16 : 8);
  if (b->index == 4) b->index = v->mode == 64 ? 12 : 6;
  scale = (int)below(4);
  iv = percent(70) ? below(64) : percent(50) ? (u64)-(s64)below(64) : integer();
  if (b->index & 8) b->rex |= 2;
  p[n++] = (u8)(mod << 6 | (reg & 7) << 3 | 4);
  if (kind == 5) { /* [index*scale + disp32] */
    if (b->ea >> 31 && b->asz == 64) iv = (b->ea >> scale) - below(0x1000);
    d = (s64)(b->ea - (iv << scale));
    if (b->asz == 64 && d != (int)d) return -1;
    r[b->index] = iv; b->base = -1;
    p[0] &= 0x3F; p[n++] = (u8)(scale << 6 | (b->index & 7) << 3 | 5);
    return displaced(p, n, 2, d);
  }
  if (b->base == b->index) return -1;
  r[b->index] = iv;
  if (b->base == 4) { d = (s64)(b->ea - r[4] - (iv << scale)); if (b->asz == 64 && d != (int)d) return -1; mod = 2; }
  else {
    d = displacement_for(mod);
    if (mod == 0 && (b->base & 7) == 5) { mod = 1; d = 0; }
    r[b->base] = (r[b->base] & keep) | ((b->ea - (u64)d - (iv << scale)) & m);
  }
  if (b->base & 8) b->rex |= 1;
  p[0] = (u8)(mod << 6 | (reg & 7) << 3 | 4);
  p[n++] = (u8)(scale << 6 | (b->index & 7) << 3 | (b->base & 7));
  return displaced(p, n, mod, d);
}

static void string_operands(struct build *b) {
  struct vector *v = b->v;
  u64 *r = v->in.gpr, source = window_of(v) + below(WINDOW), target = window_of(v) + below(WINDOW), count;
  if (percent(70)) source &= ~7ull, target &= ~7ull;
  if (percent(20)) target = source + below(17) - 8; /* overlapping */
  if (b->asz == 64) r[6] = source, r[7] = target;
  else if (b->asz == 32) r[6] = (r[6] & ~0xffffffffull) | (u32)source, r[7] = (r[7] & ~0xffffffffull) | (u32)target;
  else set_sized(&r[6], 16, source), set_sized(&r[7], 16, target);
  count = percent(85) ? below(20) : below(70);
  r[1] = b->asz == 64 ? count : (r[1] & ~mask(b->asz)) | count;
  if (b->f->rep == 2 && percent(60)) r[0] = 0x4141414141414141ull;
  else if (percent(30)) r[0] = get_memory(v, target, 8);
  if (v->mode != 64) for (int i = 0; i < 8; i++) r[i] = (u32)r[i];
}
/* Registers with a fixed part in the instruction get values that lead somewhere useful. 0 = they clash with the address. */
static int special(struct build *b, int reg, int rm) {
  struct vector *v = b->v;
  const struct form *f = b->f;
  const char *n = f->name;
  u64 *r = v->in.gpr, ip = (v->mode == 16 ? 0 : v->code) + CODE_OFFSET;
  int bits = b->osz, used[4], count = 0, narrow = v->mode != 64;
#define USE(register_number) (used[count++] = (register_number))
  if (f->rep) { string_operands(b); USE(6); USE(7); USE(1); }
  if (!strcmp(f->cls, "branch")) {
    u64 target = ip + (percent(50) ? 0x20 + below(0x80) : (u64)-(s64)(0x20 + below(0x80)));
    if (starts(n, "ret")) put_memory(v, r[4], target, v->mode == 64 ? 8 : b->osz / 8);
    else if (!strcmp(n, "jmpr") || !strcmp(n, "callr")) {
      if (rm == 4) return 0;
      if (rm >= 0) { r[rm] = v->mode == 16 && b->osz == 16 ? (r[rm] & ~0xffffull) | target : target; USE(rm); }
      else put_memory(v, b->ea, target, v->mode == 64 ? 8 : b->osz / 8);
    } else if (starts(n, "loop") || strstr(n, "cxz")) {
      USE(1); r[1] = (b->asz == 64 ? 0 : r[1] & ~mask(b->asz)) | (percent(60) ? below(3) : wide() & mask(b->asz));
    }
  } else if (!strcmp(n, "div") || !strcmp(n, "idiv")) {
    int is_signed = n[0] == 'i';
    if (percent(75)) {
      USE(0);
      if (f->size == SIZE_BYTE) r[0] = (r[0] & ~0xffffull) | (percent(50) ? below(256) : is_signed ? (u64)(u16)(short)(signed char)below(256) : below(4096));
      else {
        s64 a = bits == 64 ? (s64)r[0] : bits == 32 ? (int)r[0] : (short)r[0];
        u64 high = percent(50) ? below(is_signed ? 3 : 20) : 0;
        if (is_signed) high = percent(70) ? (a < 0 ? ~0ull : 0) : (u64)((s64)(int)below(9) - 4);
        set_sized(&r[2], bits, high); USE(2);
      }
    }
  } else if (f->opcode_len == 2 && starts(n, "bt") && f->imm == IMM_NONE && b->has_memory) {
    if (reg == b->base || reg == b->index || reg == 4) return 0;
    set_sized(&r[reg], bits, percent(60) ? below((u32)bits) : (u64)(s64)((int)below(600) - 300)); USE(reg);
  } else if (!strcmp(n, "int")) {
    return b->imm0 != 3 && b->imm0 != 4 && b->imm0 != 0x80; /* gates that user mode reaches: not ours to run */
  } else if (!strcmp(n, "xlat")) {
    u64 table = window_of(v) + below(WINDOW - 16) - (r[0] & 0xff);
    set_sized(&r[3], b->asz, table); USE(3);
    if (b->asz != 64 && v->mode == 64) r[3] = (u64)next() << 32 | (u32)table;
  } else if (starts(n, "cmpxchg") && n[7]) { /* 8B, 16B */
    int w = b->rexw ? 8 : 4;
    USE(0); USE(2);
    if (percent(50)) { r[0] = get_memory(v, b->ea, w); r[2] = get_memory(v, b->ea + (u64)w, w); }
  } else if (!strcmp(n, "cmpxchg")) {
    if (percent(50)) { if (b->has_memory) r[0] = get_memory(v, b->ea, 8); else if (rm >= 0 && f->size != SIZE_BYTE) r[0] = r[rm]; USE(0); }
  } else if (!strcmp(n, "enter") || !strcmp(n, "leave")) {
    u64 frame = window_of(v) + 64 + below(WINDOW - 80);
    if (percent(80)) frame &= ~7ull;
    USE(5); set_sized(&r[5], v->mode, frame); if (v->mode == 16) r[5] &= 0xffff;
  } else if (starts(n, "popf")) put_memory(v, r[4], get_memory(v, r[4], 8) & (FLAGS | 0x3200), 8);
  else if (!strcmp(n, "fbld")) { /* other digits than 0 to 9 give an undefined result */
    for (u64 i = 0; i < 9; i++) { u32 tens = percent(40) ? 0 : below(10), ones = percent(40) ? 0 : below(10); put_memory(v, b->ea + i, tens << 4 | ones, 1); }
  } else if (!strcmp(n, "ldmxcsr") || !strcmp(n, "vldmxcsr")) { /* bit 17 is AMD's alone */
    u64 x = get_memory(v, b->ea, 4);
    put_memory(v, b->ea, percent(80) ? x & 0xffff : x & ~(u64)0x20000, 4);
  } else if (starts(n, "maskmov") || starts(n, "vmaskmovdq")) {
    if (b->asz == 32 && v->mode == 64) return 0;
    USE(7); r[7] = window_of(v) + below(WINDOW - 15);
  } else if (starts(n, "pcmpestr") || starts(n, "vpcmpestr")) {
    USE(0); USE(2); r[0] = (u64)(s64)((int)below(40) - 20); r[2] = (u64)(s64)((int)below(40) - 20);
  } else if ((!strcmp(f->cls, "shift") && (f->opcode[0] == 0xD2 || f->opcode[0] == 0xD3)) || (starts(n, "sh") && f->opcode[0] == 0x0F && f->imm == IMM_NONE)) {
    USE(1); r[1] = (r[1] & ~0xffull) | (percent(70) ? below(34) : below(256));
  }
  if (narrow) for (int i = 0; i < 8; i++) r[i] = (u32)r[i];
  for (int i = 0; i < count; i++) if (b->has_memory && (used[i] == b->base || used[i] == b->index)) return 0;
  return 1;
}

static u32 shift_undefined(const char *n, int count, int bits) { /* count as encoded */
  int c = count & (bits == 64 ? 63 : 31);
  u32 u = 0;
  if (!c) return 0;
  if (c != 1) u |= 0x800;
  if (n[0] == 's') { u |= 0x10; if (c >= bits && strcmp(n, "sar")) u |= 1; }
  return u;
}
static int undefined_flags(struct vector *v, const struct build *b) { /* 0 = the result itself is undefined */
  const struct form *f = b->f;
  const char *n = f->name;
  u64 cl = v->in.gpr[1] & 0xff;
  v->undef = f->undef; v->fsw_undef = 0;
  if (!strcmp(f->cls, "shift") && f->opcode_len == 1) {
    int c = f->opcode[0] >= 0xD2 ? (int)cl : f->opcode[0] >= 0xD0 ? 1 : b->imm0;
    v->undef = shift_undefined(n, c, b->osz);
  } else if (!strcmp(n, "shld") || !strcmp(n, "shrd")) {
    int c = (f->imm == IMM_B ? b->imm0 : (int)cl) & (b->osz == 64 ? 63 : 31);
    if (c > b->osz) return 0;
    v->undef = !c ? 0 : 0x10 | (c != 1 ? 0x800 : 0);
  }
  if (!strcmp(f->cls, "x87")) {
    static const char *all[] = {"fcom", "fucom", "fxam", "ftst", "fprem", "fninit"}, *none[] = {"fnstcw", "ffree", "fnclex", "fldcw", "fnstsw", "fnop"};
    v->fsw_undef = 0x4500; /* C0, C2, C3; C1 is defined */
    for (int i = 0; i < 6; i++) if (starts(n, all[i])) v->fsw_undef = 0;
    for (int i = 0; i < 6; i++) if (starts(n, none[i])) v->fsw_undef = 0x4700;
    if (strstr(n, "comi")) v->fsw_undef = 0x4700;
  }
  if (!strcmp(f->cls, "x87t")) v->fsw_undef = starts(n, "fsin") || !strcmp(n, "fcos") || !strcmp(n, "fptan") ? 0x4300 : 0x4700;
  return 1;
}
int narrow_undefined(struct vector *v) {
  const char *n = v->form->name;
  int is_scan = starts(n, "bsf") || starts(n, "bsr");
  /* a zero source leaves the destination alone, but for its upper half makers differ */
  if (is_scan && v->mode == 64 && (v->out.flags & 0x40) && !memchr(v->bytes, 0x66, 2)) {
    for (int i = 0; i < v->len && v->bytes[i] != 0x0F; i++) if ((v->bytes[i] & 0xF8) == 0x48) return 1;
    return 0;
  }
  if (v->exception >= 12 && v->exception <= 14) { /* how far a faulting instruction got is not architectural here */
    if (!strcmp(n, "popa") || !strcmp(n, "enter") || !strcmp(n, "pusha")) return 0;
    if (!strcmp(n, "cmps") || !strcmp(n, "scas")) v->undef = 0x8d5;
  }
  return 1;
}

/* Operand size and prefixes of the form. */
static int sizes(struct build *b, int *p66) {
  const struct form *f = b->f;
  int mode = b->v->mode, branch = !strcmp(f->cls, "branch");
  b->osz = mode == 16 ? 16 : 32;
  switch (f->size) {
  case SIZE_BYTE: b->osz = 8; break;
  case SIZE_V: case SIZE_Y:
    if (mode == 64 && percent(40)) b->rexw = 1, b->osz = 64;
    else if (f->size == SIZE_V && percent(mode == 16 ? 40 : 30)) *p66 = 1, b->osz = mode == 16 ? 32 : 16;
    if (f->size == SIZE_Y && b->osz == 16) { b->osz = 32; *p66 = !strcmp(f->name, "bswap"); }
    break;
  case SIZE_STACK:
    if (mode == 64) { b->osz = 64; if (!branch && percent(15)) *p66 = 1, b->osz = 16; }
    else if (percent(25) && (!branch || mode == 16)) *p66 = 1, b->osz = mode == 16 ? 32 : 16;
    break;
  case SIZE_W1: if (!f->vex) { if (mode != 64) return 0; b->rexw = 1; b->osz = 64; } break;
  }
  if (f->prefix == 0x66) *p66 = 1;
  if (f->prefix && f->size == SIZE_V && *p66 && f->prefix != 0x66) b->osz = mode == 16 ? 32 : 16;
  return 1;
}
static int immediate(struct build *b, u64 *x) {
  const struct form *f = b->f;
  int mode = b->v->mode;
  *x = percent(50) ? below(64) : wide();
  switch (f->imm) {
  case IMM_B: return 1;
  case IMM_W: if (starts(f->name, "ret")) *x = below(48); return 2;
  case IMM_Z: return b->osz == 16 ? 2 : 4;
  case IMM_V: return b->osz / 8;
  case IMM_REL8: *x = percent(50) ? 0x10 + below(0x60) : 0x80 + below(0x60); return 1;
  case IMM_RELZ: *x = percent(50) ? 0x20 + below(0x200) : (u64)-(s64)(0x20 + below(0x200)); return mode == 64 || b->osz == 32 ? 4 : 2;
  case IMM_OFFSET: b->has_memory = 1; b->ea = *x = pick_address(b); return b->asz / 8;
  case IMM_WB: { u64 size = (u64)below(2) * 8 * below(3); *x = size | (u64)(percent(60) ? 0 : below(4)) << 16; return 3; }
  }
  return 0;
}
static int vex_prefix(const struct build *b, u8 *p) {
  const struct form *f = b->f;
  int map = f->opcode[1] == 0x38 ? 2 : f->opcode[1] == 0x3A ? 3 : 1, n = 0;
  int pp = f->prefix == 0x66 ? 1 : f->prefix == 0xF3 ? 2 : f->prefix == 0xF2 ? 3 : 0;
  int W = f->size == SIZE_Y ? b->rexw : f->vex_w == 2 ? (int)below(2) : f->vex_w, L = f->vex_l == 2 ? (int)below(2) : f->vex_l;
  int vvvv = f->nds ? (int)below(b->v->mode == 64 ? 16 : 8) : 0;
  if (b->v->mode == 16 && vvvv == 4) vvvv = 5;
  if (map == 1 && !W && !(b->rex & 3) && percent(60)) { p[n++] = 0xC5; p[n++] = (u8)((b->rex & 4 ? 0 : 0x80) | (~vvvv & 15) << 3 | L << 2 | pp); }
  else {
    p[n++] = 0xC4;
    p[n++] = (u8)((b->rex & 4 ? 0 : 0x80) | (b->rex & 2 ? 0 : 0x40) | (b->rex & 1 ? 0 : 0x20) | map);
    p[n++] = (u8)(W << 7 | (~vvvv & 15) << 3 | L << 2 | pp);
  }
  p[n++] = f->opcode[map == 1 ? 1 : 2];
  return n;
}

/* v->form, mode, drawn and the pages are set; v->in begins as the drawn state. */
int draw_operands(struct vector *v) {
  const struct form *f = v->form;
  struct build b = {0};
  u8 mrm[16] = {0}, *p = v->bytes;
  int mode = v->mode, n = 0, nm = 0, ni, p66 = 0, p67 = 0, rep = 0, lock = 0, reg = 0, rm = -1, fix = -1, opcode_reg = 0;
  u64 imm;
  b.v = v; b.f = f; b.base = b.index = -1;
  v->in = v->drawn; memset(v->bytes, 0, sizeof v->bytes);
  b.asz = mode;
  if (mode != 32 && percent(mode == 64 ? 8 : 25) && !(mode == 64 && v->high)) { b.asz = 32; p67 = 1; }
  if (!sizes(&b, &p66)) return 0;
  if (f->rep && percent(70)) rep = f->rep == 2 && percent(50) ? 0xF2 : 0xF3;
  if (f->lock && percent(rare ? 30 : 8)) lock = 1;
  else if (!f->vex && f->fp == FP_NONE && percent(rare ? 5 : 1) && !f->prefix) lock = 1; /* mostly #UD */
  if (mode == 64 && !f->vex && percent(30)) b.rex |= 0x40 | (percent(50) ? 4 : 0);
  if (f->plus_r) { opcode_reg = (int)below(8); if (mode == 64 && percent(40)) b.rex |= 0x41; }
  if (f->modrm) {
    reg = f->digit >= 0 ? f->digit : (int)below(8) | (mode == 64 && (b.rex & 4 || (f->vex && percent(50))) ? 8 : 0);
    if (f->digit >= 0) b.rex &= (u8)~4;
    if (!f->memory || (f->reg && percent(50))) rm = (int)below(mode == 64 ? 16 : 8);
    nm = modrm(&b, mrm, reg, rm);
    if (nm < 0) return 0;
    if (reg & 8) b.rex |= 4;
  }
  if (b.rexw) b.rex |= 8;
  if (b.rex && mode != 64) return 0;
  if (b.rex & 15) b.rex |= 0x40;
  ni = immediate(&b, &imm);
  b.imm0 = (u8)imm;
  if (!special(&b, reg, rm)) return 0;
  if (!strcmp(f->name, "bound") && b.ea + 16 > window_of(v) + WINDOW) return 0; /* which bound is read first is not architectural */
  if (p67) p[n++] = 0x67;
  if (lock) p[n++] = 0xF0;
  if (f->vex) n += vex_prefix(&b, p + n);
  else {
    if (p66) p[n++] = 0x66;
    if (f->prefix == 0xF3 || f->prefix == 0xF2) p[n++] = f->prefix;
    if (rep) p[n++] = (u8)rep;
    if (percent(1) && mode == 64 && !f->prefix && !rep) p[n++] = percent(50) ? 0x2E : 0x36; /* ignored in 64-bit mode */
    if (b.rex) p[n++] = b.rex;
    for (int i = 0; i < f->opcode_len; i++) p[n++] = f->opcode[i];
    if (f->plus_r) p[n - 1] |= (u8)opcode_reg;
  }
  if (n + nm + ni > 15) return 0;
  if (b.rip_fix) fix = n + 1;
  memcpy(p + n, mrm, (size_t)nm); n += nm;
  memcpy(p + n, &imm, (size_t)ni); n += ni;
  v->len = n;
  if (fix > 0) {
    s64 d = (s64)(b.ea - (v->code + CODE_OFFSET + (u64)n));
    int d32 = (int)d;
    if (d != d32) return 0;
    memcpy(p + fix, &d32, 4);
  }
  /* IRET to a 16-bit stack leaves the upper half of ESP unset: keep it from mattering */
  if (mode == 16 && (b.base == 4 || ((b.osz == 32 || f->fp || f->prefix || p67) && (reg == 4 || rm == 4 || (f->plus_r && opcode_reg == 4))))) return 0;
  if (mode == 16 && b.osz == 32 && (!strcmp(f->name, "pusha") || !strcmp(f->name, "enter") || !strcmp(f->name, "leave"))) return 0;
  return undefined_flags(v, &b);
}
