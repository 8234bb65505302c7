/*
 * Sieve of Eratosthenes over 16 MiB, one byte per odd number: long strided stores that leave every cache.
 */
#include "workload.h"

enum { count = 16 << 20 };

/* composite[i] speaks of the number 2 * i + 1. */
static uint8_t composite[count];

static uint32_t pass(void) {
  memset(composite, 0, sizeof composite);
  composite[0] = 1;
  for (uint32_t i = 1; 2 * i * (i + 1) < count; i++) {
    if (composite[i]) continue;
    uint32_t prime = 2 * i + 1;
    for (uint32_t multiple = 2 * i * (i + 1); multiple < count; multiple += prime) composite[multiple] = 1;
  }
  uint32_t primes = 1;
  for (uint32_t i = 0; i < count; i++) primes += !composite[i];
  return primes;
}

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
