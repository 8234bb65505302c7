/*
 * AES-128 (FIPS 197) in CBC mode with four tables of 1 KiB: byte extraction and table look-ups.
 */
#include "workload.h"

enum { rounds = 10, data_words = 16 << 10, repetitions = 128 };

static uint8_t substitution[256];
static uint32_t tables[4][256];
static uint32_t round_keys[4 * (rounds + 1)];
static uint32_t data[data_words];

static uint8_t times_two(uint8_t value) { return (uint8_t)(value << 1 ^ (value & 0x80 ? 0x1b : 0)); }

static uint8_t rotate_byte(uint8_t value, int count) { return (uint8_t)(value << count | value >> (8 - count)); }

static uint32_t rotate_right(uint32_t value, int count) { return value >> count | value << (32 - count); }

/* Walks the field's multiplicative group by a generator (3) and its inverse (0xF6), which gives each element's inverse. */
static void make_tables(void) {
  uint8_t element = 1, inverse = 1;
  do {
    element ^= times_two(element);
    inverse ^= (uint8_t)(inverse << 1);
    inverse ^= (uint8_t)(inverse << 2);
    inverse ^= (uint8_t)(inverse << 4);
    if (inverse & 0x80) inverse ^= 0x09;
    substitution[element] = (uint8_t)(inverse ^ rotate_byte(inverse, 1) ^ rotate_byte(inverse, 2) ^ rotate_byte(inverse, 3) ^
                                      rotate_byte(inverse, 4) ^ 0x63);
  } while (element != 1);
  substitution[0] = 0x63;
  for (int i = 0; i < 256; i++) {
    uint8_t value = substitution[i], twice = times_two(value);
    uint32_t column = (uint32_t)twice << 24 | (uint32_t)value << 16 | (uint32_t)value << 8 | (uint8_t)(twice ^ value);
    for (int t = 0; t < 4; t++) tables[t][i] = t ? rotate_right(column, 8 * t) : column;
  }
}

static uint32_t substitute_word(uint32_t word) {
  return (uint32_t)substitution[word >> 24] << 24 | (uint32_t)substitution[word >> 16 & 255] << 16 |
         (uint32_t)substitution[word >> 8 & 255] << 8 | substitution[word & 255];
}

static void expand_key(const uint32_t key[4]) {
  uint8_t round_constant = 1;
  for (int i = 0; i < 4; i++) round_keys[i] = key[i];
  for (int i = 4; i < 4 * (rounds + 1); i++) {
    uint32_t word = round_keys[i - 1];
    if (i % 4 == 0) {
      word = substitute_word(word << 8 | word >> 24) ^ (uint32_t)round_constant << 24;
      round_constant = times_two(round_constant);
    }
    round_keys[i] = round_keys[i - 4] ^ word;
  }
}

static uint32_t mix(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  return tables[0][a >> 24] ^ tables[1][b >> 16 & 255] ^ tables[2][c >> 8 & 255] ^ tables[3][d & 255];
}

static uint32_t last(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  return substitute_word((a & 0xff000000) | (b & 0xff0000) | (c & 0xff00) | (d & 0xff));
}

static void encrypt(uint32_t block[4]) {
  const uint32_t *key = round_keys;
  uint32_t a = block[0] ^ key[0], b = block[1] ^ key[1], c = block[2] ^ key[2], d = block[3] ^ key[3];
  for (int round = 1; round < rounds; round++) {
    key += 4;
    uint32_t next_a = mix(a, b, c, d) ^ key[0], next_b = mix(b, c, d, a) ^ key[1];
    uint32_t next_c = mix(c, d, a, b) ^ key[2], next_d = mix(d, a, b, c) ^ key[3];
    a = next_a, b = next_b, c = next_c, d = next_d;
  }
  key += 4;
  block[0] = last(a, b, c, d) ^ key[0], block[1] = last(b, c, d, a) ^ key[1];
  block[2] = last(c, d, a, b) ^ key[2], block[3] = last(d, a, b, c) ^ key[3];
}

static uint32_t pass(void) {
  static const uint32_t example_key[4] = {0x00010203, 0x04050607, 0x08090a0b, 0x0c0d0e0f};
  uint32_t block[4] = {0x00112233, 0x44556677, 0x8899aabb, 0xccddeeff};
  make_tables();
  expand_key(example_key);
  encrypt(block);
  if (block[0] != 0x69c4e0d8 || block[3] != 0x70b4c55a) return 0; /* FIPS 197, appendix C.1 */

  uint32_t seed = 2;
  for (int i = 0; i < data_words; i++) data[i] = next_random(&seed);
  for (int turn = 0; turn < repetitions; turn++) {
    for (int at = 0; at < data_words; at += 4) {
      for (int i = 0; i < 4; i++) block[i] ^= data[at + i];
      encrypt(block);
      for (int i = 0; i < 4; i++) data[at + i] = block[i];
    }
  }
  return block[0] ^ block[1] ^ block[2] ^ block[3];
}

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
