/*
 * Runs a workload as a Linux process: the yardstick for the guest that is built from the same source.
 *
 * Each argument is a scale (default: 1). Per argument one line, with the time of that one call and
 * the processor's time in it: the first call also pays for the first touch of its memory, a second argument shows the
 * time without.
 */
#define _POSIX_C_SOURCE 199309L
#include "workload.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static long long now(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static int run(uint32_t scale) {
  long long nanos = -now(CLOCK_MONOTONIC), cpu = -now(CLOCK_PROCESS_CPUTIME_ID);
  uint32_t checksum = workload(scale);
  cpu += now(CLOCK_PROCESS_CPUTIME_ID), nanos += now(CLOCK_MONOTONIC);
  int wrong = checksum != EXPECTED_CHECKSUM;
  printf("%s scale=%u nanos=%lld cpu=%lld checksum=0x%08x %s\n", GUEST_NAME, scale, nanos, cpu, checksum,
         wrong ? "WRONG" : "ok");
  fflush(stdout);
  return wrong;
}

int main(int count, char **arguments) {
  int wrong = 0;
  if (count < 2) wrong = run(1);
  for (int i = 1; i < count; i++) wrong |= run((uint32_t)strtoul(arguments[i], NULL, 10));
  return wrong;
}
