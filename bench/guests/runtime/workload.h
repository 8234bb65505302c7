/*
 * The contract of a workload, and the few things that many of them need.
 *
 * A workload is a pass, which initialises all memory that it reads, does some 20-50 ms of native work and returns a
 * checksum, the same in every build. workload(scale) makes `scale` passes. Floating point differs in its last bits from
 * build to build (x87 keeps more of them), so that a pass over doubles checks its result against a tolerance and returns
 * what does not depend on them.
 */
#pragma once
#include <stdint.h>

/* Makes `scale` passes (at least one) and returns their common checksum, or something else where they disagree. */
uint32_t workload(uint32_t scale);

static inline uint32_t repeat_pass(uint32_t (*function)(void), uint32_t scale) {
  /* Volatile, so that the compiler can neither inline the pass nor see that all passes are alike. */
  uint32_t (*volatile pass)(void) = function;
  uint32_t checksum = pass();
  for (uint32_t done = 1; done < scale; done++) {
    if (pass() != checksum) return ~checksum;
  }
  return checksum;
}

/* Marsaglia's xorshift generator with shifts 13, 17, 5; the state must not be 0. */
static inline uint32_t next_random(uint32_t *state) {
  uint32_t x = *state;
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  return *state = x;
}

/* One FNV-1a step over a 32-bit value: the checksum that most workloads fold their results into. */
static inline uint32_t fold(uint32_t checksum, uint32_t value) { return (checksum ^ value) * 16777619u; }

#define FOLD_START 2166136261u

/* Whether a result lies where it must. False for a NaN. */
static inline int near(double value, double reference, double tolerance) {
  double distance = value - reference;
  return distance <= tolerance && -distance <= tolerance;
}

void *memset(void *destination, int value, __SIZE_TYPE__ length);
void *memcpy(void *restrict destination, const void *restrict source, __SIZE_TYPE__ length);
void *memmove(void *destination, const void *source, __SIZE_TYPE__ length);
int memcmp(const void *left, const void *right, __SIZE_TYPE__ length);
