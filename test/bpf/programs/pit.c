/* Reads of counter 0 of an 8254 (port 40H) from the device's state and the time: everything else is passed on. */
#include "device.h"

struct counter {
  unsigned long long start; /* nanoseconds */
  unsigned int reload;
  unsigned int mode;
  unsigned int access; /* 1 = low byte, 2 = high byte, 3 = low, then high */
  unsigned int read_high;
  int latched; /* -1 = no */
  unsigned int counting;
};

static unsigned int count(const struct counter *c, unsigned long long now) {
  unsigned long long elapsed = muldiv64(now - c->start, 1193182, 1000000000);
  unsigned int reload = c->reload;
  if (c->mode == 2) return (reload - (unsigned int)(elapsed % reload)) & 0xffff;
  if (c->mode == 3) return (reload - (unsigned int)(elapsed * 2 % reload)) & 0xfffe;
  return (reload - (unsigned int)elapsed) & 0xffff;
}

PROGRAM("pit") unsigned long long pit(struct device_access *a) {
  struct counter *c = a->state;
  if (a->write || a->size != 1 || a->address != 0x40 || !c->counting) return 0;
  unsigned int value = c->latched >= 0 ? (unsigned int)c->latched : count(c, a->time);
  unsigned int high = c->access == 2 || (c->access == 3 && c->read_high);
  if (c->access == 3) c->read_high = !c->read_high;
  if (c->access != 3 || high) c->latched = -1;
  a->value = high ? value >> 8 : value & 0xff;
  return 1;
}
