/* A virtio doorbell: the queue's notify flag is cleared, then its event is signalled; FFFFH rings for all that are marked. */
#include "device.h"

#define QUEUES 8

struct doorbell {
  unsigned int queues; /* in use */
  unsigned int notify[QUEUES];
  unsigned long long rings;
};

static __attribute__((noinline)) void ring(struct doorbell *d, unsigned int queue) {
  if (queue >= QUEUES) return;
  __sync_lock_test_and_set(&d->notify[queue], 0);
  signal(queue);
  __sync_fetch_and_add(&d->rings, 1);
}

PROGRAM("doorbell") unsigned long long doorbell(struct device_access *a) {
  struct doorbell *d = a->state;
  if (!a->write || a->address != 0x50) return 0;
  unsigned int queue = a->value & 0xffff;
  if (queue == 0xffff) {
#pragma clang loop unroll(disable)
    for (unsigned int q = 0; q < QUEUES; q++)
      if (d->notify[q]) ring(d, q);
    set_line(1, 1);
    return 1;
  }
  if (queue >= d->queues) return 0;
  ring(d, queue);
  return 1;
}

/* A second program in the same object. */
PROGRAM("status") unsigned long long status(struct device_access *a) {
  struct doorbell *d = a->state;
  if (a->write) return 0;
  a->value = d->rings;
  set_line(1, 0);
  return 1;
}
