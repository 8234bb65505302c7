/*
 * Recursive merge sort of records with few distinct keys: streams through two buffers, and must be stable.
 */
#include "workload.h"

enum { count = 300000 };

struct record {
  uint32_t key, order;
};

static struct record records[count], spare[count];

/* Sorts from[0..length) into to[0..length); both hold the same records to begin with. */
static void sort(struct record *from, struct record *to, uint32_t length) {
  if (length < 2) return;
  uint32_t middle = length / 2, a = 0, b = middle;
  sort(to, from, middle);
  sort(to + middle, from + middle, length - middle);
  for (uint32_t i = 0; i < length; i++) {
    int take_first = b == length || (a < middle && from[a].key <= from[b].key);
    to[i] = take_first ? from[a++] : from[b++];
  }
}

static uint32_t pass(void) {
  uint32_t seed = 7, checksum = FOLD_START;
  for (uint32_t i = 0; i < count; i++) spare[i] = records[i] = (struct record){next_random(&seed) % 50000, i};
  sort(spare, records, count);
  for (uint32_t i = 0; i < count; i++) {
    if (i && records[i - 1].key > records[i].key) return 0;
    if (i && records[i - 1].key == records[i].key && records[i - 1].order > records[i].order) return 0;
    checksum = fold(checksum, records[i].order);
  }
  return checksum;
}

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
