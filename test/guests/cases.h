/*
 * Cases with their expectations, for both word sizes. A case is a function with the label NAME_at at the instruction in
 * question and NAME_end behind it. The guest prints what differs, and its status is 0 if nothing does.
 *
 * Multiboot's command line may say, as `compare.ts` does for emulators that do not get through all of it, from which case on
 * to run, as a decimal number; then each case is announced as well.
 */
static u32 cases, failures, first_case, is_announced, is_skipped;
extern u32 *boot_info;

static void read_command_line(void) {
  if (!boot_info || !(*boot_info & 4)) return;
  const char *s = (const char *)(word)boot_info[4];
  while (*s && *s != '=') s++;
  if (!*s) return;
  for (s++; *s >= '0' && *s <= '9'; s++) first_case = first_case * 10 + *s - '0';
  is_announced = 1;
}
/* Whether the case is to be run. */
static int begins(const char *name) {
  is_skipped = cases++ < first_case;
  if (!is_skipped && is_announced) { print("case "); print(name); put('\n'); }
  return !is_skipped;
}
static void compare(const char *name, const char *what, word got, word expected) {
  if (got == expected || is_skipped) return;
  print(name); print(": "); print(what); put(' '); hex(got); print(", expected "); hex(expected); put('\n');
  failures++;
}
static u32 finish(void) {
  hex(cases); print(" cases, "); hex(failures); print(" differences\n");
  return failures != 0;
}

enum { NONE = -1, NO_CODE = 0x5a5a, DONE = 0x31 /* ring 3 went on */, LANDED = 0x30 };
enum { FAULT = 1, TRAP = 0 }; /* FAULT: RF is set in the frame */

void *memset(void *p, int c, __SIZE_TYPE__ n) { u8 *q = p; while (n--) *q++ = c; return p; }
void *memcpy(void *p, const void *s, __SIZE_TYPE__ n) { u8 *q = p; const u8 *r = s; while (n--) *q++ = *r++; return p; }
