/*
 * The Mandelbrot set on a grid: short chains of double arithmetic with a data-dependent number of turns.
 *
 * Near the set's edge the number of turns depends on the last bit of a double, so that the totals have a tolerance. The
 * image is symmetric in every build, since negation is exact.
 */
#include "workload.h"

enum { width = 220, height = 160, most_turns = 1000, expected_inside = 6696, tolerance = 60 };

static uint16_t turns[height][width];

static uint32_t count_turns(double cx, double cy) {
  double x = 0, y = 0, xx = 0, yy = 0;
  uint32_t count = 0;
  while (count < most_turns && xx + yy <= 4) {
    y = 2 * x * y + cy;
    x = xx - yy + cx;
    xx = x * x;
    yy = y * y;
    count++;
  }
  return count;
}

static uint32_t pass(void) {
  int32_t inside = 0;
  for (int row = 0; row < height; row++) {
    for (int column = 0; column < width; column++) {
      double cx = column * 0.015 - 2.25, cy = (row - (height - 1) / 2.0) * 0.015;
      turns[row][column] = (uint16_t)count_turns(cx, cy);
      inside += turns[row][column] == most_turns;
    }
  }
  for (int row = 0; row < height / 2; row++) {
    if (memcmp(turns[row], turns[height - 1 - row], sizeof turns[row])) return 0;
  }
  return inside > expected_inside - tolerance && inside < expected_inside + tolerance ? expected_inside : (uint32_t)inside;
}

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
