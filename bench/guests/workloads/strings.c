/*
 * Work on strings of words: lengths, comparisons, copies, fills and searches by the x86 string instructions with REP where
 * there are any (C loops elsewhere), and numbers to and from decimal.
 */
#include "text.h"

#if defined(__i386__) || defined(__x86_64__)

static void fill(uint8_t *to, uint8_t value, uint32_t length) {
  uintptr_t count = length;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
}

static void copy(uint8_t *to, const uint8_t *from, uint32_t length) {
  uintptr_t words = length / 4, rest = length % 4;
  __asm__ volatile("rep movsl\n\tmov %3, %2\n\trep movsb" : "+D"(to), "+S"(from), "+c"(words) : "r"(rest) : "memory");
}

/* Moves a block towards higher addresses within one buffer, from its end to its start. */
static void move_up(uint8_t *to, const uint8_t *from, uint32_t length) {
  uintptr_t count = length;
  to += length - 1, from += length - 1;
  __asm__ volatile("std\n\trep movsb\n\tcld" : "+D"(to), "+S"(from), "+c"(count) : : "memory", "cc");
}

/* How far `value` is from `at`; it must be within `limit` bytes. */
static uint32_t find(const uint8_t *at, uint8_t value, uint32_t limit) {
  const uint8_t *found = at;
  uintptr_t count = limit;
  __asm__ volatile("repne scasb" : "+D"(found), "+c"(count) : "a"(value) : "memory", "cc");
  return (uint32_t)(found - at) - 1;
}

/* The length of the common beginning of two strings of `length` bytes, at least one. */
static uint32_t common(const uint8_t *a, const uint8_t *b, uint32_t length) {
  const uint8_t *start = a;
  uintptr_t count = length;
  int equal;
  __asm__ volatile("repe cmpsb" : "+S"(a), "+D"(b), "+c"(count), "=@ccz"(equal) : : "memory");
  return equal ? length : (uint32_t)(a - start) - 1;
}

#else

static void fill(uint8_t *to, uint8_t value, uint32_t length) {
  for (uint32_t i = 0; i < length; i++) to[i] = value;
}

static void copy(uint8_t *to, const uint8_t *from, uint32_t length) {
  for (uint32_t i = 0; i < length; i++) to[i] = from[i];
}

static void move_up(uint8_t *to, const uint8_t *from, uint32_t length) {
  while (length--) to[length] = from[length];
}

static uint32_t find(const uint8_t *at, uint8_t value, uint32_t limit) {
  uint32_t distance = 0;
  while (distance < limit && at[distance] != value) distance++;
  return distance;
}

static uint32_t common(const uint8_t *a, const uint8_t *b, uint32_t length) {
  uint32_t same = 0;
  while (same < length && a[same] == b[same]) same++;
  return same;
}

#endif

enum { text_length = 64 << 10, work_length = 256 << 10, repetitions = 24 };

static uint8_t text[text_length], work[work_length + 16];

static uint32_t put_decimal(uint8_t *to, uint32_t value) {
  uint8_t digits[10];
  uint32_t count = 0;
  do digits[count++] = (uint8_t)('0' + value % 10);
  while (value /= 10);
  for (uint32_t i = 0; i < count; i++) to[i] = digits[count - 1 - i];
  return count;
}

static uint32_t take_decimal(const uint8_t *from, uint32_t count) {
  uint32_t value = 0;
  for (uint32_t i = 0; i < count; i++) value = value * 10 + (from[i] - '0');
  return value;
}

/* Copies the text word by word, each with its number and a mark of how much it shares with the word before. */
static uint32_t number_words(uint32_t checksum) {
  uint32_t at = 0, out = 0, number = 0, previous = 0, previous_length = 0;
  while (at < text_length) {
    uint32_t length = find(text + at, ' ', text_length - at);
    uint32_t limit = length < previous_length ? length : previous_length;
    uint32_t shared = common(text + at, text + previous, limit + 1);
    uint32_t digits = put_decimal(work + out, number * 7919);
    if (take_decimal(work + out, digits) != number * 7919) return 0;
    out += digits;
    fill(work + out, '.', shared + 1);
    out += shared + 1;
    copy(work + out, text + at, length);
    for (uint32_t i = out; i < out + length; i++) work[i] -= work[i] >= 'a' && work[i] <= 'z' ? 'a' - 'A' : 0;
    out += length;
    checksum = fold(checksum, shared << 16 ^ length);
    previous = at, previous_length = length;
    at += length + 1;
    number++;
  }
  for (uint32_t i = 0; i < out; i++) checksum = fold(checksum, work[i]);
  return fold(checksum, out);
}

/* Fills, copies and moves long blocks, overlapping ones among them, and compares them. */
static uint32_t move_blocks(uint32_t checksum) {
  fill(work, (uint8_t)checksum, work_length);
  for (uint32_t at = 0; at + text_length <= work_length; at += text_length) copy(work + at, text, text_length - at % 7);
  move_up(work + 13, work, text_length);
  work[13 + text_length] = (uint8_t)~text[text_length - 1];
  uint32_t same = common(work + 13, text, text_length + 1);
  for (uint32_t i = 0; i < work_length; i += 97) checksum = fold(checksum, work[i]);
  return fold(checksum, same);
}

static uint32_t pass(void) {
  uint32_t checksum = FOLD_START;
  fill_text(text, text_length, 11);
  text[text_length - 1] = ' ';
  for (int turn = 0; turn < repetitions; turn++) checksum = move_blocks(number_words(checksum));
  return checksum;
}

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
