/*
 * Follows half a ring of pointers that lies scattered over 32 MiB, one to a cache line: nothing but load latency, and a
 * new page with almost every step.
 */
#include "workload.h"

enum { nodes = 32 << 20 >> 6, steps = nodes / 2 };

struct node {
  struct node *next;
  uint32_t value;
} __attribute__((aligned(64)));

static struct node ring[nodes];

static uint32_t pass(void) {
  /* i -> 81925 * i + 12345 has the full period: its multiplier is 1 modulo 4, its increment odd (Hull and Dobell). */
  for (uint32_t i = 0; i < nodes; i++) {
    ring[i].next = &ring[(i * 81925 + 12345) % nodes];
    ring[i].value = i * 2654435761u;
  }
  uint32_t checksum = FOLD_START;
  const struct node *at = ring;
  for (uint32_t i = 0; i < steps; i++, at = at->next) checksum = (checksum << 1 | checksum >> 31) + at->value;
  return fold(checksum, at->value);
}

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
