/*
 * The four functions that a compiler may call of its own accord, in plain C: guests, native and wasm builds all use these,
 * so that they run the same algorithm. Compiled with -fno-builtin and without loop distribution, lest memset calls memset.
 */
#include <stddef.h>
#include <stdint.h>

/* A machine word that may alias anything and lie at any address. */
typedef uintptr_t __attribute__((may_alias, aligned(1))) word;

void *memset(void *destination, int value, size_t length) {
  uint8_t *to = destination;
  word pattern = (word)-1 / 255 * (uint8_t)value;
  for (; length >= sizeof(word); length -= sizeof(word), to += sizeof(word)) *(word *)to = pattern;
  while (length--) *to++ = (uint8_t)value;
  return destination;
}

void *memcpy(void *restrict destination, const void *restrict source, size_t length) {
  uint8_t *to = destination;
  const uint8_t *from = source;
  for (; length >= sizeof(word); length -= sizeof(word), to += sizeof(word), from += sizeof(word)) *(word *)to = *(const word *)from;
  while (length--) *to++ = *from++;
  return destination;
}

void *memmove(void *destination, const void *source, size_t length) {
  uint8_t *to = destination;
  const uint8_t *from = source;
  if ((uintptr_t)to - (uintptr_t)from >= length) return memcpy(destination, source, length);
  while (length--) to[length] = from[length];
  return destination;
}

int memcmp(const void *left, const void *right, size_t length) {
  const uint8_t *a = left, *b = right;
  for (; length; length--, a++, b++) {
    if (*a != *b) return *a < *b ? -1 : 1;
  }
  return 0;
}
