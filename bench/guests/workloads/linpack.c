/*
 * Solves a dense system of linear equations by Gaussian elimination with partial pivoting, as LINPACK's benchmark does.
 *
 * The right-hand side is made so that the solution is a vector of ones. The pass checks the solution and the residual.
 */
#include "workload.h"

enum { size = 540 };

static double matrix[size][size], factors[size][size], right[size], solution[size];

static double magnitude(double value) { return value < 0 ? -value : value; }

static void add_multiple(double *to, double factor, const double *from, int length) {
  for (int i = 0; i < length; i++) to[i] += factor * from[i];
}

static void swap_rows(int a, int b) {
  for (int i = 0; i < size; i++) {
    double kept = factors[a][i];
    factors[a][i] = factors[b][i];
    factors[b][i] = kept;
  }
  double kept = solution[a];
  solution[a] = solution[b];
  solution[b] = kept;
}

static void solve(void) {
  for (int step = 0; step < size; step++) {
    int pivot = step;
    for (int row = step + 1; row < size; row++) {
      if (magnitude(factors[row][step]) > magnitude(factors[pivot][step])) pivot = row;
    }
    if (pivot != step) swap_rows(pivot, step);
    for (int row = step + 1; row < size; row++) {
      double factor = -factors[row][step] / factors[step][step];
      add_multiple(&factors[row][step], factor, &factors[step][step], size - step);
      solution[row] += factor * solution[step];
    }
  }
  for (int row = size - 1; row >= 0; row--) {
    for (int column = row + 1; column < size; column++) solution[row] -= factors[row][column] * solution[column];
    solution[row] /= factors[row][row];
  }
}

static uint32_t pass(void) {
  uint32_t seed = 14, checksum = FOLD_START;
  for (int row = 0; row < size; row++) {
    right[row] = 0;
    for (int column = 0; column < size; column++) {
      int32_t element = (int32_t)(next_random(&seed) >> 8) - (1 << 23);
      checksum = fold(checksum, (uint32_t)element);
      matrix[row][column] = factors[row][column] = element / 8388608.0;
      right[row] += matrix[row][column];
    }
    solution[row] = right[row];
  }
  solve();
  for (int row = 0; row < size; row++) {
    double residual = -right[row];
    for (int column = 0; column < size; column++) residual += matrix[row][column] * solution[column];
    if (!near(residual, 0, 1e-10) || !near(solution[row], 1, 1e-8)) return 0;
  }
  return checksum;
}

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
