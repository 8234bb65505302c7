/* main.c - selects forms and modes, makes the vectors and writes them (format: ../README.md).
 *
 *   oracle -s SEED -n PER_FORM [-m 64,32,16] [-c class,...] [-x name,...] -o FILE   (- is the standard output)
 *
 * A SEED from 2^31 on draws what is rare otherwise: see `rare` in oracle.h. PER_FORM is multiplied by the form's weight. A smaller number gives a prefix of every section of a larger one. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "oracle.h"

static u8 *buffer;
static size_t used, room;
static void put(u64 x, int n) {
  if (used + 16 > room) { room = room ? room * 2 : 1 << 20; buffer = realloc(buffer, room); if (!buffer) exit(2); }
  for (int i = 0; i < n; i++) buffer[used++] = (u8)(x >> 8 * i);
}
static void put_bytes(const u8 *p, int n) { for (int i = 0; i < n; i++) put(p[i], 1); }

/* The items of a patch; ../record-format.ts reads them. */
enum { ITEM_FLAGS = 0x80, ITEM_WINDOW, ITEM_FCW, ITEM_FSW, ITEM_FTW, ITEM_MXCSR, ITEM_EXCEPTION, ITEM_CR2, ITEM_RIP, ITEM_UNDEF, ITEM_FSW_UNDEF,
  ITEM_R87 = 0x90, ITEM_XMM = 0xA0, ITEM_YMM_HIGH = 0xB0, ITEM_XMM4 = 0xC0, ITEM_XMM8 = 0xD0, ITEM_END = 0xFF };
static void put_gpr(int i, u64 before, u64 after, u64 window) {
  s64 step = (s64)(after - before), place = (s64)(after - window);
  if (step == (signed char)step) put((u64)i, 1), put((u64)step, 1);
  else if (place == (short)place) put((u64)(0x10 | i), 1), put((u64)place, 2);
  else if (!((before ^ after) >> 16)) put((u64)(0x20 | i), 1), put(after, 2);
  else if (after == (u32)after) put((u64)(0x30 | i), 1), put(after, 4);
  else if (place == (int)place) put((u64)(0x40 | i), 1), put((u64)place, 4);
  else if ((s64)after == (int)after) put((u64)(0x50 | i), 1), put(after, 4);
  else put((u64)(0x60 | i), 1), put(after, 8);
}
static void put_state(const struct state *a, const struct state *b, u64 window) {
  for (int i = 0; i < 16; i++) if (a->gpr[i] != b->gpr[i]) put_gpr(i, a->gpr[i], b->gpr[i], window);
  if (a->flags != b->flags) put(ITEM_FLAGS, 1), put(b->flags, 2);
  for (int i = 0; i < WINDOW; i++) if (a->window[i] != b->window[i]) {
    int end = i + 1, j = end; /* runs with a gap of up to two bytes are one */
    for (; j < WINDOW && j < end + 3; j++) if (a->window[j] != b->window[j]) end = j + 1;
    put(ITEM_WINDOW, 1); put((u64)i, 1); put((u64)(end - i - 1), 1); put_bytes(b->window + i, end - i);
    i = end;
  }
  if (a->fcw != b->fcw) put(ITEM_FCW, 1), put(b->fcw, 2);
  if (a->fsw != b->fsw) put(ITEM_FSW, 1), put(b->fsw, 2);
  if (a->ftw != b->ftw) put(ITEM_FTW, 1), put(b->ftw, 1);
  if (a->mxcsr != b->mxcsr) put(ITEM_MXCSR, 1), put(b->mxcsr, 4);
  for (int i = 0; i < 8; i++) if (memcmp(a->r87[i], b->r87[i], 10)) put((u64)(ITEM_R87 | i), 1), put_bytes(b->r87[i], 10);
  for (int i = 0; i < 16; i++) {
    int n = !memcmp(a->ymm[i] + 8, b->ymm[i] + 8, 8) ? !memcmp(a->ymm[i] + 4, b->ymm[i] + 4, 4) ? 4 : 8 : 16;
    if (memcmp(a->ymm[i], b->ymm[i], 16)) put((u64)((n == 4 ? ITEM_XMM4 : n == 8 ? ITEM_XMM8 : ITEM_XMM) | i), 1), put_bytes(b->ymm[i], n);
    if (memcmp(a->ymm[i] + 16, b->ymm[i] + 16, 16)) put((u64)(ITEM_YMM_HIGH | i), 1), put_bytes(b->ymm[i] + 16, 16);
  }
}
static void put_record(const struct vector *v, u32 skipped) {
  u64 window = window_of(v);
  put((u64)(v->len | v->high << 4), 1); put(skipped, 1);
  put_bytes(v->bytes, v->len);
  put_state(&v->drawn, &v->in, window); put(ITEM_END, 1);
  put_state(&v->in, &v->out, window);
  if (v->exception >= 0) put(ITEM_EXCEPTION, 1), put((u64)v->exception, 1), put(v->error, 2);
  if (v->exception == 14) put(ITEM_CR2, 1), put(v->cr2, 8);
  if (v->rip != (v->exception >= 0 ? 0 : v->len)) put(ITEM_RIP, 1), put((u64)v->rip, 4);
  if (v->undef) put(ITEM_UNDEF, 1), put(v->undef, 2);
  if (v->fsw_undef) put(ITEM_FSW_UNDEF, 1), put(v->fsw_undef, 2);
  put(ITEM_END, 1);
}

/* A section's checksum covers every state before and after, so that a reader knows that it drew the same. */
static u32 fold(u32 hash, const void *bytes, size_t n) {
  u32 word;
  for (const u8 *p = bytes; n; n -= 4, p += 4) { memcpy(&word, p, 4); hash = ((hash << 5 | hash >> 27) ^ word) * 0x01000193; }
  return hash;
}
static u32 fold_state(u32 hash, const struct state *s) {
  u32 rest[5] = {s->flags, s->fcw, s->fsw, s->ftw, s->mxcsr};
  hash = fold(fold(fold(hash, s->gpr, 128), s->window, WINDOW), s->r87, 80);
  for (int i = 0; i < 16; i++) hash = fold(hash, s->ymm[i], 16);
  for (int i = 0; i < 16; i++) hash = fold(hash, s->ymm[i] + 16, 16);
  return fold(hash, rest, sizeof rest);
}

static int listed(const char *list, const char *s) {
  size_t n = strlen(s);
  for (const char *p = list; p && (p = strstr(p, s)); p += n) if ((p == list || p[-1] == ',') && (p[n] == ',' || !p[n])) return 1;
  return 0;
}
static void clear_unused(struct vector *v) { /* what the class does not hold is not recorded */
  struct state *a = &v->in, *b = &v->out;
  int mmx = !strcmp(v->form->cls, "mmx");
  if (v->form->fp != FP_X87) b->fcw = a->fcw, b->fsw = a->fsw, b->ftw = a->ftw, memcpy(b->r87, a->r87, sizeof b->r87);
  if (v->form->fp < FP_SSE && !mmx) b->mxcsr = a->mxcsr, memcpy(b->ymm, a->ymm, sizeof b->ymm);
}
static int make(struct vector *v, u32 seed) {
  static struct vector again;
  struct stream s;
  int ok = 0;
  stream_seed(&s, seed ^ 0x5bd1e995, v->form->hash, v->draw * 4 + (u32)v->mode / 32);
  drawing = &s;
  v->high = v->mode == 64 && percent(50);
  draw_state(v, seed);
  drawing = &s;
  for (int i = 0; i < 20 && !ok; i++) ok = draw_operands(v);
  if (!ok || !native_run(v) || !narrow_undefined(v)) return 0;
  clear_unused(v);
  again = *v;
  if (!native_run(&again)) return 0;
  clear_unused(&again);
  return !memcmp(&again.out, &v->out, sizeof v->out) && again.exception == v->exception && again.error == v->error && again.cr2 == v->cr2 && again.rip == v->rip;
}
/* How many vectors a form gets: more where operand sizes, memory and register forms, or rounding states multiply. */
static u32 share(const struct form *f) {
  static const struct { const char *cls; u32 times; } more[] = {{"bcd", 10}, {"string", 6}, {"atomic", 4}, {"stack", 3}, {"x87", 2}, {"x87t", 4},
    {"sse", 2}, {"ssea", 2}, {"muldiv", 2}, {"bmi", 2}, {"branch", 2}, {"fault", 2}, {"bit", 2}};
  u32 n = f->weight * (f->size == SIZE_V || f->size == SIZE_STACK ? 3 : f->size == SIZE_Y ? 2 : 1);
  if (f->modrm && f->memory && f->reg) n *= 2;
  if (f->fp) n *= 2;
  for (int i = 0; i < (int)(sizeof more / sizeof *more); i++) if (!strcmp(f->cls, more[i].cls)) n *= more[i].times;
  return n;
}
static void cpu_json(FILE *o) {
  u32 a, b, c, d, name[13] = {0}, vendor[4] = {0};
  __cpuid(0, a, vendor[0], vendor[2], vendor[1]);
  for (u32 i = 0; i < 3; i++) __cpuid(0x80000002 + i, name[4 * i], name[4 * i + 1], name[4 * i + 2], name[4 * i + 3]);
  __cpuid(1, a, b, c, d);
  u32 family = (a >> 8 & 15) + (a >> 20 & 255), model = (a >> 4 & 15) | (a >> 12 & 0xf0);
  fprintf(o, "\"cpu\":{\"vendor\":\"%s\",\"name\":\"%s\",\"family\":%u,\"model\":%u,\"stepping\":%u}", (char *)vendor, (char *)name, family, model, a & 15);
}
int main(int argc, char **argv) {
  static const char *fp_names[] = {"none", "x87", "sse", "avx"};
  static const int modes[] = {64, 32, 16};
  static struct vector v;
  u32 seed = 1, per_form = 1, total = 0, faults = 0;
  const char *classes = 0, *except = 0, *mode_list = "64,32,16", *path = "-";
  int option, mode_on[3];
  while ((option = getopt(argc, argv, "s:n:m:c:x:o:")) != -1) switch (option) {
    case 's': seed = (u32)strtoul(optarg, 0, 0); break;
    case 'n': per_form = (u32)atoi(optarg); break;
    case 'm': mode_list = optarg; break;
    case 'c': classes = optarg; break;
    case 'x': except = optarg; break;
    case 'o': path = optarg; break;
    default: fprintf(stderr, "usage: oracle -s seed -n per-form [-m 64,32,16] [-c classes] [-x names] -o file\n"); return 2;
  }
  rare = seed >> 31;
  build_forms(); native_setup();
  char *json; size_t json_size;
  FILE *head = open_memstream(&json, &json_size), *out = strcmp(path, "-") ? fopen(path, "wb") : stdout;
  if (!out) { perror(path); return 2; }
  mode_on[0] = listed(mode_list, "64"); mode_on[1] = listed(mode_list, "32"); mode_on[2] = listed(mode_list, "16") && native_has_16;
  fprintf(head, "{\"seed\":%u,\"perForm\":%u,", seed, per_form); cpu_json(head); fprintf(head, ",\"forms\":[");
  int selected = 0;
  for (int i = 0; i < form_count; i++) {
    const struct form *f = &forms[i];
    if ((classes && !listed(classes, f->cls)) || listed(except, f->name)) continue;
    fprintf(head, "%s{\"cls\":\"%s\",\"name\":\"%s\",\"encoding\":\"%s\",\"fp\":\"%s\",\"rep\":%d,\"approximate\":%s}",
      selected ? "," : "", f->cls, f->name, f->encoding, fp_names[f->fp], f->rep, f->approx ? "true" : "false");
    for (int m = 0; m < 3; m++) {
      u32 want = per_form * share(f), made = 0, last = 0, sections = (u32)used, checksum = 0;
      if (!mode_on[m] || (f->only == 64 && modes[m] != 64) || (f->only == 32 && modes[m] == 64)) continue;
      put((u64)selected, 2); put((u64)modes[m], 1); put(0, 1); put(0, 4); put(0, 4); put(0, 4);
      for (v.draw = 0; made < want && v.draw < want * 4 + 40; v.draw++) {
        v.form = f; v.mode = modes[m];
        if (v.draw - last >= 255) break;
        if (!make(&v, seed)) continue;
        put_record(&v, v.draw - last); last = v.draw + 1;
        checksum = fold_state(fold_state(checksum, &v.in), &v.out);
        made++; total++; faults += v.exception >= 0;
      }
      u32 length = (u32)used - sections - 16;
      if (!made) { used = sections; continue; }
      memcpy(buffer + sections + 4, &made, 4); memcpy(buffer + sections + 8, &length, 4); memcpy(buffer + sections + 12, &checksum, 4);
    }
    selected++;
  }
  fprintf(head, "]}"); fclose(head);
  u32 start[2] = {0x5636384Au /* "J86V" */, (u32)json_size};
  fwrite(start, 4, 2, out); fwrite(json, 1, json_size, out); fwrite(buffer, 1, used, out);
  if (fclose(out)) { perror(path); return 2; }
  fprintf(stderr, "%u vectors (%u with an exception) of %d forms, %zu bytes\n", total, faults, selected, used);
  return 0;
}
