/*
 * Reads and writes 32-bit words at random in 32 MiB: independent accesses that miss the caches and the TLB.
 */
#include "workload.h"

enum { words = 32 << 20 >> 2, updates = 2000000 };

static uint32_t table[words];

static uint32_t pass(void) {
  for (uint32_t i = 0; i < words; i++) table[i] = i;
  uint32_t seed = 12, checksum = FOLD_START;
  for (uint32_t i = 0; i < updates; i++) {
    uint32_t random = next_random(&seed), *word = &table[(random ^ random >> 9) % words];
    checksum += *word;
    *word ^= random;
  }
  for (uint32_t i = 0; i < words; i += 61) checksum = fold(checksum, table[i]);
  return checksum;
}

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
