/*
 * Quicksort in place, insertion sort for short runs: unpredictable comparisons and some recursion.
 */
#include "workload.h"

enum { count = 450000, short_run = 12 };

static uint32_t values[count];

static void swap(uint32_t *a, uint32_t *b) {
  uint32_t kept = *a;
  *a = *b;
  *b = kept;
}

static void insertion_sort(uint32_t *first, uint32_t *last) {
  for (uint32_t *at = first + 1; at <= last; at++) {
    uint32_t value = *at, *hole = at;
    for (; hole > first && hole[-1] > value; hole--) *hole = hole[-1];
    *hole = value;
  }
}

/* Recurses into the smaller part only, so that the stack stays shallow. */
static void sort(uint32_t *first, uint32_t *last) {
  while (last - first >= short_run) {
    uint32_t *middle = first + (last - first) / 2;
    if (*middle < *first) swap(middle, first);
    if (*last < *first) swap(last, first);
    if (*last < *middle) swap(last, middle);
    uint32_t pivot = *middle;
    uint32_t *low = first, *high = last;
    while (low <= high) {
      while (*low < pivot) low++;
      while (*high > pivot) high--;
      if (low <= high) swap(low++, high--);
    }
    if (high - first < last - low) {
      sort(first, high);
      first = low;
    } else {
      sort(low, last);
      last = high;
    }
  }
  insertion_sort(first, last);
}

static uint32_t pass(void) {
  uint32_t seed = 6, sum = 0, checksum = FOLD_START;
  for (uint32_t i = 0; i < count; i++) sum += values[i] = next_random(&seed);
  sort(values, values + count - 1);
  for (uint32_t i = 0; i < count; i++) {
    if (i && values[i - 1] > values[i]) return 0;
    sum -= values[i];
    checksum = fold(checksum, values[i]);
  }
  return sum ? 0 : checksum;
}

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
