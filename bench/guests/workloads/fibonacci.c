/*
 * Fibonacci numbers by naive recursion: calls and returns, and little else.
 */
#include "workload.h"

enum { argument = 35 };

static __attribute__((noinline)) uint32_t fibonacci(uint32_t n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

static uint32_t pass(void) {
  volatile uint32_t n = argument;
  return fibonacci(n);
}

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
