/*
 * SHA-256 (FIPS 180-4) over a chain of messages: rotations and additions with many live values.
 */
#include "workload.h"

enum { message_length = 64 << 10, rounds = 64, messages = 96 };

/* Fractional parts of the cube roots of the first 64 primes (FIPS 180-4, section 4.2.2). */
static const uint32_t constants[rounds] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint8_t message[message_length + 128];

static uint32_t rotate(uint32_t value, int count) { return value >> count | value << (32 - count); }

static uint32_t load_big_endian(const uint8_t *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void hash_block(uint32_t state[8], const uint8_t *block) {
  uint32_t schedule[rounds];
  for (int i = 0; i < 16; i++) schedule[i] = load_big_endian(block + 4 * i);
  for (int i = 16; i < rounds; i++) {
    uint32_t early = schedule[i - 15], late = schedule[i - 2];
    schedule[i] = schedule[i - 16] + (rotate(early, 7) ^ rotate(early, 18) ^ early >> 3) + schedule[i - 7] +
                  (rotate(late, 17) ^ rotate(late, 19) ^ late >> 10);
  }
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
  for (int i = 0; i < rounds; i++) {
    uint32_t first = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + constants[i] + schedule[i];
    uint32_t second = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + first, d = c, c = b, b = a, a = first + second;
  }
  state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

/* Hashes the first `length` bytes of the message; writes the padding behind them. */
static void hash_message(uint32_t state[8], uint32_t length) {
  static const uint32_t initial[8] = {
      0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
  };
  for (int i = 0; i < 8; i++) state[i] = initial[i];
  uint32_t padded = (length + 8) / 64 * 64 + 64;
  for (uint32_t i = length; i < padded; i++) message[i] = 0;
  message[length] = 0x80;
  for (int i = 0; i < 4; i++) message[padded - 1 - (uint32_t)i] = (uint8_t)(length * 8 >> 8 * i);
  for (uint32_t at = 0; at < padded; at += 64) hash_block(state, message + at);
}

static uint32_t pass(void) {
  uint32_t state[8];
  message[0] = 'a', message[1] = 'b', message[2] = 'c';
  hash_message(state, 3);
  if (state[0] != 0xba7816bf || state[7] != 0xf20015ad) return 0;

  uint32_t seed = 1;
  for (uint32_t i = 0; i < message_length; i++) message[i] = (uint8_t)next_random(&seed);
  for (int turn = 0; turn < messages; turn++) {
    hash_message(state, message_length);
    for (int i = 0; i < 32; i++) message[i] = (uint8_t)(state[i / 4] >> 8 * (i % 4));
  }
  return state[0];
}

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
