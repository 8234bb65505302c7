/* forms.c - reads the instruction table (table.h, whose opening explains the notation) into forms[]. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "oracle.h"
#include "table.h"

struct form forms[2600];
int form_count;

int starts(const char *s, const char *prefix) { return !strncmp(s, prefix, strlen(prefix)); }

static u32 flag_bits(const char *s) {
  u32 m = 0;
  for (; *s; s++) m |= *s == 'C' ? 1 : *s == 'P' ? 4 : *s == 'A' ? 0x10 : *s == 'Z' ? 0x40 : *s == 'S' ? 0x80 : *s == 'O' ? 0x800 : 0;
  return m;
}
static void token(struct form *f, const char *t) {
  static const struct { const char *name; int imm; } imms[] = {{"ib", IMM_B}, {"iw", IMM_W}, {"iz", IMM_Z}, {"iv", IMM_V},
    {"rel8", IMM_REL8}, {"relz", IMM_RELZ}, {"moff", IMM_OFFSET}, {"iwb", IMM_WB}};
  static const struct { const char *name; int size; } sizes[] = {{"b", SIZE_BYTE}, {"v", SIZE_V}, {"y", SIZE_Y}, {"d64", SIZE_STACK}, {"w0", SIZE_W0}, {"w1", SIZE_W1}};
  for (int i = 0; i < 8; i++) if (!strcmp(t, imms[i].name)) { f->imm = imms[i].imm; return; }
  for (int i = 0; i < 6; i++) if (!strcmp(t, sizes[i].name)) { f->size = sizes[i].size; f->vex_w = f->size == SIZE_W1; return; }
  if (strlen(t) == 2 && strspn(t, "0123456789ABCDEF") == 2) f->opcode[f->opcode_len++] = (u8)strtol(t, 0, 16);
  else if (t[0] == 'p' && strlen(t) == 3) f->prefix = (u8)strtol(t + 1, 0, 16);
  else if (!strcmp(t, "/r")) f->modrm = 1;
  else if (t[0] == '/') f->modrm = 1, f->digit = t[1] - '0';
  else if (!strcmp(t, "m")) f->reg = 0;
  else if (!strcmp(t, "rr")) f->memory = 0;
  else if (!strcmp(t, "L")) f->lock = 1;
  else if (!strcmp(t, "+r")) f->plus_r = 1;
  else if (!strcmp(t, "x64")) f->only = 64;
  else if (!strcmp(t, "i64")) f->only = 32;
  else if (!strcmp(t, "rep")) f->rep = 1;
  else if (!strcmp(t, "repz")) f->rep = 2;
  else if (!strcmp(t, "vex")) f->vex = 1, f->vex_l = 2;
  else if (!strcmp(t, "v128")) f->vex = 1, f->vex_l = 0;
  else if (!strcmp(t, "v256")) f->vex = 1, f->vex_l = 1;
  else if (!strcmp(t, "nds")) f->nds = 1;
  else if (!strcmp(t, "wr")) f->vex_w = 2;
  else if (starts(t, "u:")) f->undef = flag_bits(t + 2);
  else if (starts(t, "sz")) f->mem_size = (u8)atoi(t + 2);
  else if (starts(t, "wt")) f->weight = (u32)atoi(t + 2);
  else if (!strcmp(t, "x87")) f->fp = FP_X87;
  else if (!strcmp(t, "sse")) f->fp = FP_SSE;
  else if (!strcmp(t, "avx")) f->fp = FP_AVX;
  else if (!strcmp(t, "approx")) f->approx = 1;
  else { fprintf(stderr, "table.h: bad token '%s' in %s\n", t, f->encoding); exit(2); }
}
static void add(const char *cls, const char *name, const char *encoding) {
  struct form f = {0};
  char *copy = strdup(encoding), *rest;
  f.cls = cls; f.name = name; f.encoding = encoding; f.digit = -1; f.memory = f.reg = 1; f.size = SIZE_FIXED; f.weight = 1;
  for (char *t = strtok_r(copy, " ", &rest); t; t = strtok_r(0, " ", &rest)) token(&f, t);
  free(copy);
  if (!f.mem_size) f.mem_size = f.fp >= FP_SSE ? 16 : 8;
  f.hash = 0x811c9dc5; /* FNV-1a over "class name encoding" */
  const char *parts[3] = {cls, name, encoding};
  for (int i = 0; i < 3; i++) {
    if (i) f.hash = (f.hash ^ ' ') * 0x01000193;
    for (const char *p = parts[i]; *p; p++) f.hash = (f.hash ^ (u8)*p) * 0x01000193;
  }
  if (form_count == (int)(sizeof forms / sizeof *forms)) { fprintf(stderr, "table full\n"); exit(2); }
  forms[form_count++] = f;
}
static char *text(const char *format, ...) {
  char b[200];
  va_list args;
  va_start(args, format); vsnprintf(b, sizeof b, format, args); va_end(args);
  size_t n = strlen(b);
  while (n && b[n - 1] == ' ') b[--n] = 0;
  return strdup(b);
}
/* "name:OP name:OP" lists that share one encoding with %s for the opcode */
static void add_list(const char *cls, const char *prefix, const char *encoding, const char *list) {
  char *copy = strdup(list), *rest;
  for (char *t = strtok_r(copy, " ", &rest); t; t = strtok_r(0, " ", &rest)) {
    char *colon = strchr(t, ':'); *colon = 0;
    add(cls, text("%s%s", prefix, t), text(encoding, colon + 1));
  }
}
void build_forms(void) {
  static const char *alu[] = {"add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"};
  static const char *cc[] = {"o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g"};
  static const char *shift[] = {"rol", "ror", "rcl", "rcr", "shl", "shr", "sal", "sar"};
  for (unsigned i = 0; i < 8; i++) {
    const char *u = i == 1 || i == 4 || i == 6 ? "u:A" : "", *L = i == 7 ? "" : "L";
    unsigned o = i * 8;
    add("alu", alu[i], text("%02X /r b wt2 %s %s", o, u, L)); add("alu", alu[i], text("%02X /r v wt2 %s %s", o + 1, u, L));
    add("alu", alu[i], text("%02X /r b wt2 %s", o + 2, u)); add("alu", alu[i], text("%02X /r v wt2 %s", o + 3, u));
    add("alu", alu[i], text("%02X ib b %s", o + 4, u)); add("alu", alu[i], text("%02X iz v %s", o + 5, u));
    add("alu", alu[i], text("80 /%d ib b %s %s", i, L, u)); add("alu", alu[i], text("81 /%d iz v %s %s", i, L, u));
    add("alu", alu[i], text("83 /%d ib v %s %s", i, L, u)); add("alu", alu[i], text("82 /%d ib b i64 %s", i, u));
    add("shift", shift[i], text("C0 /%d ib b", i)); add("shift", shift[i], text("C1 /%d ib v wt2", i));
    add("shift", shift[i], text("D0 /%d b", i)); add("shift", shift[i], text("D1 /%d v", i));
    add("shift", shift[i], text("D2 /%d b wt2", i)); add("shift", shift[i], text("D3 /%d v wt3", i));
  }
  for (unsigned i = 0; i < 16; i++) {
    add("branch", text("j%s", cc[i]), text("%02X rel8", 0x70 + i)); add("branch", text("j%s", cc[i]), text("0F %02X relz d64", 0x80 + i));
    add("move", text("set%s", cc[i]), text("0F %02X /0 b", 0x90 + i)); add("move", text("cmov%s", cc[i]), text("0F %02X /r v", 0x40 + i));
  }
  for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
    const char *prefix = table[i].prefix ? table[i].prefix : "";
    if (strchr(table[i].name, ':')) add_list(table[i].cls, prefix, table[i].encoding, table[i].name);
    else add(table[i].cls, table[i].name, text("%s", table[i].encoding));
  }
}
