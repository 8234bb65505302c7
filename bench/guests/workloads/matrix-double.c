/*
 * Product of two 432 x 432 matrices of doubles, row by row: multiply and add over contiguous memory.
 *
 * The elements are small integers, so that every build computes the same, exact product.
 */
#include "workload.h"

enum { size = 432 };

static double a[size][size], b[size][size], product[size][size];

static uint32_t pass(void) {
  uint32_t seed = 9, checksum = FOLD_START;
  for (int i = 0; i < size; i++) {
    for (int j = 0; j < size; j++) {
      a[i][j] = (double)(int32_t)(next_random(&seed) % 2001) - 1000;
      b[i][j] = (double)(int32_t)(next_random(&seed) % 2001) - 1000;
      product[i][j] = 0;
    }
  }
  for (int i = 0; i < size; i++) {
    for (int k = 0; k < size; k++) {
      double factor = a[i][k];
      for (int j = 0; j < size; j++) product[i][j] += factor * b[k][j];
    }
  }
  for (int i = 0; i < size; i++) {
    for (int j = 0; j < size; j++) checksum = fold(checksum, (uint32_t)(int32_t)product[i][j]);
  }
  return checksum;
}

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
