/*
 * Text to work on: lines of made-up words, short words being far more frequent than long ones, as in real text.
 */
#pragma once
#include "workload.h"

enum { vocabulary_size = 1024, longest_word = 12 };

/* Fills the text with words, spaces and line ends; needs no terminator and writes none. */
static inline void fill_text(uint8_t *text, uint32_t length, uint32_t seed) {
  static uint8_t words[vocabulary_size][longest_word];
  static uint8_t word_lengths[vocabulary_size];
  for (uint32_t word = 0; word < vocabulary_size; word++) {
    word_lengths[word] = (uint8_t)(1 + next_random(&seed) % 4 + word * (longest_word - 4) / vocabulary_size);
    for (uint32_t i = 0; i < word_lengths[word]; i++) {
      words[word][i] = (uint8_t)(i % 2 ? "aeiouaei"[next_random(&seed) % 8] : "tnshrdlcmwfgypbvkxjqz0123456789"[next_random(&seed) % 31]);
    }
  }
  uint32_t at = 0, column = 0;
  while (at < length) {
    uint32_t random = next_random(&seed);
    uint32_t word = (random & 1023) * (random >> 10 & 1023) / 1024 * (random >> 20 & 1023) / 1024;
    for (uint32_t i = 0; i < word_lengths[word] && at < length; i++) text[at++] = words[word][i];
    column += word_lengths[word] + 1u;
    if (at < length) text[at++] = column > 64 ? '\n' : ' ';
    if (column > 64) column = 0;
  }
}
