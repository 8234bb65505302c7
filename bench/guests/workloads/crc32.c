/*
 * CRC-32 (the reflected polynomial of IEEE 802.3), one table look-up per byte: one long dependency chain.
 */
#include "workload.h"

enum { length = 1 << 20, repetitions = 12 };

static uint32_t table[256];
static uint8_t data[length];

static uint32_t crc(uint32_t remainder, const uint8_t *bytes, uint32_t count) {
  remainder = ~remainder;
  for (uint32_t i = 0; i < count; i++) remainder = remainder >> 8 ^ table[(remainder ^ bytes[i]) & 255];
  return ~remainder;
}

static uint32_t pass(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t remainder = i;
    for (int bit = 0; bit < 8; bit++) remainder = remainder >> 1 ^ (remainder & 1 ? 0xedb88320 : 0);
    table[i] = remainder;
  }
  if (crc(0, (const uint8_t *)"123456789", 9) != 0xcbf43926) return 0;

  uint32_t seed = 3;
  for (uint32_t i = 0; i < length; i++) data[i] = (uint8_t)(next_random(&seed) >> 24);
  uint32_t remainder = 0;
  for (int turn = 0; turn < repetitions; turn++) remainder = crc(remainder, data, length);
  return remainder;
}

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
