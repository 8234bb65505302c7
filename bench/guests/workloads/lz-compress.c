/*
 * LZ77 compression with hash chains, and decompression: byte comparisons, unpredictable branches, short copies.
 *
 * The compressed form is a row of tokens: a byte n below 128 is followed by n + 1 literal bytes; any other is a copy of
 * (n & 127) + 4 bytes from the distance, 1 to 65535, that the next two bytes give.
 */
#include "text.h"

enum {
  length = 1 << 20,
  window = 1 << 16,
  hash_bits = 14,
  longest_chain = 8,
  shortest_copy = 4,
  longest_copy = 127 + shortest_copy,
  longest_literals = 128,
};

static uint8_t text[length], restored[length], packed[length + length / longest_literals + 2];
static uint32_t newest[1 << hash_bits], older[window];

static uint32_t hash(const uint8_t *at) {
  uint32_t word = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
  return word * 2654435761u >> (32 - hash_bits);
}

/* Positions are stored plus one, so that 0 means none. */
static void remember(uint32_t at) {
  uint32_t slot = hash(text + at);
  older[at % window] = newest[slot];
  newest[slot] = at + 1;
}

static uint32_t put_literals(uint32_t out, uint32_t from, uint32_t to) {
  while (from < to) {
    uint32_t count = to - from < longest_literals ? to - from : longest_literals;
    packed[out++] = (uint8_t)(count - 1);
    while (count--) packed[out++] = text[from++];
  }
  return out;
}

static uint32_t compress(void) {
  uint32_t out = 0, at = 0, literals_from = 0;
  for (uint32_t i = 0; i < 1 << hash_bits; i++) newest[i] = 0;
  while (at + shortest_copy <= length) {
    uint32_t limit = length - at < longest_copy ? length - at : longest_copy;
    uint32_t best = 0, best_distance = 0, candidate = newest[hash(text + at)];
    for (int chain = 0; chain < longest_chain && candidate && at + 1 - candidate < window; chain++) {
      const uint8_t *past = text + candidate - 1;
      uint32_t same = 0;
      while (same < limit && past[same] == text[at + same]) same++;
      if (same > best) best = same, best_distance = at + 1 - candidate;
      candidate = older[(candidate - 1) % window];
    }
    if (best < shortest_copy) {
      remember(at++);
      continue;
    }
    out = put_literals(out, literals_from, at);
    packed[out++] = (uint8_t)(128 + best - shortest_copy);
    packed[out++] = (uint8_t)best_distance;
    packed[out++] = (uint8_t)(best_distance >> 8);
    for (; best; best--, at++) {
      if (at + shortest_copy <= length) remember(at);
    }
    literals_from = at;
  }
  return put_literals(out, literals_from, length);
}

static uint32_t decompress(uint32_t packed_length) {
  uint32_t out = 0, at = 0;
  while (at < packed_length) {
    uint32_t token = packed[at++];
    if (token < 128) {
      for (uint32_t count = token + 1; count; count--) restored[out++] = packed[at++];
    } else {
      uint32_t distance = (uint32_t)packed[at] | (uint32_t)packed[at + 1] << 8;
      at += 2;
      for (uint32_t count = (token & 127) + shortest_copy; count; count--, out++) restored[out] = restored[out - distance];
    }
  }
  return out;
}

static uint32_t pass(void) {
  fill_text(text, length, 4);
  uint32_t packed_length = compress();
  if (decompress(packed_length) != length || memcmp(text, restored, length)) return 0;
  uint32_t checksum = FOLD_START;
  for (uint32_t i = 0; i < packed_length; i++) checksum = fold(checksum, packed[i]);
  return fold(checksum, packed_length);
}

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
