/*
 * Products of two 256 x 256 matrices of 32-bit integers, row by column: multiplications and a long stride.
 */
#include "workload.h"

enum { size = 256, products = 2 };

static uint32_t a[size][size], b[size][size], product[size][size];

/* Freivalds' check: (a b) x = a (b x) for a random vector x. */
static int agrees(uint32_t seed) {
  uint32_t x[size], bx[size];
  for (int i = 0; i < size; i++) x[i] = next_random(&seed);
  for (int i = 0; i < size; i++) {
    bx[i] = 0;
    for (int j = 0; j < size; j++) bx[i] += b[i][j] * x[j];
  }
  for (int i = 0; i < size; i++) {
    uint32_t difference = 0;
    for (int j = 0; j < size; j++) difference += product[i][j] * x[j] - a[i][j] * bx[j];
    if (difference) return 0;
  }
  return 1;
}

static uint32_t pass(void) {
  uint32_t seed = 8, checksum = FOLD_START;
  for (int i = 0; i < size; i++) {
    for (int j = 0; j < size; j++) a[i][j] = next_random(&seed), b[i][j] = next_random(&seed);
  }
  for (int turn = 0; turn < products; turn++) {
    for (int i = 0; i < size; i++) {
      for (int j = 0; j < size; j++) {
        uint32_t sum = 0;
        for (int k = 0; k < size; k++) sum += a[i][k] * b[k][j];
        product[i][j] = sum;
        checksum = fold(checksum, sum);
      }
    }
    if (!agrees(checksum | 1)) return 0;
    memcpy(a, product, sizeof a);
  }
  return checksum;
}

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
