/* Global data of each kind, array maps, local calls, switches, loops: what the loader must put together. */
#include "device.h"

struct entry {
  unsigned long long reads, writes;
};
MAP(accesses, struct entry, 16);
MAP(sizes, unsigned int, 9);

unsigned long long total;            /* .bss */
static unsigned int seed = 0x811c9dc5; /* .data */
static const unsigned int weights[8] = {3, 1, 4, 1, 5, 9, 2, 6}; /* .rodata */

static __attribute__((noinline)) unsigned int mix(unsigned int h, unsigned int byte) {
  return (h ^ byte) * 0x01000193;
}

static __attribute__((noinline)) unsigned int hash(unsigned long long value) {
  unsigned int h = seed;
#pragma clang loop unroll(disable)
  for (int i = 0; i < 8; i++) h = mix(h, (value >> (i * 8)) & 0xff) + weights[i];
  return h;
}

PROGRAM("statistics") unsigned long long statistics(struct device_access *a) {
  unsigned int key = a->address & 15;
  struct entry *e = map_lookup_elem(&accesses, &key);
  if (!e) return 0;
  if (a->write) e->writes++;
  else e->reads++;
  unsigned int size = a->size, one = 1;
  unsigned int *n = map_lookup_elem(&sizes, &size);
  if (n) {
    if (*n == 0) map_update_elem(&sizes, &size, &one, 2);
    else *n += 1;
  }
  total += a->value;
  unsigned char text[16];
  for (int i = 0; i < 16; i++) text[i] = (unsigned char)(a->value + i);
  unsigned int at = a->value & 15;
  seed += text[at];
  switch (a->address & 7) {
    case 0: a->value = hash(a->value); break;
    case 1: a->value = (unsigned long long)hash(a->value) << 7; break;
    case 2: a->value = a->value / (key | 1); break;
    case 3: a->value = a->value % (key + 3); break;
    case 4: a->value = __builtin_bswap32((unsigned int)a->value); break;
    case 5: a->value = weights[a->value & 7]; break;
    case 6: a->value = total; break;
    default: a->value = (unsigned long long)((long long)a->value >> 3);
  }
  return 1;
}
