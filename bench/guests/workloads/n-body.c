/*
 * Five bodies under gravity, by the leapfrog method: additions, multiplications, divisions and square roots.
 *
 * The method conserves energy to a small relative error and momentum to rounding; the pass checks both.
 */
#include "workload.h"

enum { bodies = 5, steps = 300000 };

static const double time_step = 0.0005;

struct body {
  double x, y, z, vx, vy, vz, mass;
};

static struct body system[bodies];

/* Planets on nearly circular, slightly inclined orbits around a star of mass 1, with the gravitational constant 1. */
static void set_up(void) {
  static const double radius[bodies] = {0, 1, 1.7, 2.6, 4.1}, mass[bodies] = {1, 1e-3, 3e-4, 8e-4, 5e-5};
  double px = 0, py = 0, pz = 0;
  for (int i = 1; i < bodies; i++) {
    double speed = __builtin_sqrt(1 / radius[i]);
    double direction = i % 2 ? 1 : -1;
    system[i] = (struct body){direction * radius[i], 0, 0, 0, direction * speed, speed * 0.02 * i, mass[i]};
    px += mass[i] * system[i].vx, py += mass[i] * system[i].vy, pz += mass[i] * system[i].vz;
  }
  system[0] = (struct body){0, 0, 0, -px, -py, -pz, mass[0]};
}

static void accelerate(double interval) {
  for (int i = 0; i < bodies; i++) {
    for (int j = i + 1; j < bodies; j++) {
      double dx = system[i].x - system[j].x, dy = system[i].y - system[j].y, dz = system[i].z - system[j].z;
      double square = dx * dx + dy * dy + dz * dz;
      double pull = interval / (square * __builtin_sqrt(square));
      double on_i = pull * system[j].mass, on_j = pull * system[i].mass;
      system[i].vx -= dx * on_i, system[i].vy -= dy * on_i, system[i].vz -= dz * on_i;
      system[j].vx += dx * on_j, system[j].vy += dy * on_j, system[j].vz += dz * on_j;
    }
  }
}

static void drift(void) {
  for (int i = 0; i < bodies; i++) {
    system[i].x += time_step * system[i].vx, system[i].y += time_step * system[i].vy, system[i].z += time_step * system[i].vz;
  }
}

static double energy(void) {
  double total = 0;
  for (int i = 0; i < bodies; i++) {
    const struct body *a = &system[i];
    total += a->mass * (a->vx * a->vx + a->vy * a->vy + a->vz * a->vz) / 2;
    for (int j = i + 1; j < bodies; j++) {
      double dx = a->x - system[j].x, dy = a->y - system[j].y, dz = a->z - system[j].z;
      total -= a->mass * system[j].mass / __builtin_sqrt(dx * dx + dy * dy + dz * dz);
    }
  }
  return total;
}

static int at_rest(void) {
  double px = 0, py = 0, pz = 0;
  for (int i = 0; i < bodies; i++) {
    px += system[i].mass * system[i].vx, py += system[i].mass * system[i].vy, pz += system[i].mass * system[i].vz;
  }
  return near(px, 0, 1e-12) && near(py, 0, 1e-12) && near(pz, 0, 1e-12);
}

static uint32_t pass(void) {
  set_up();
  double before = energy();
  accelerate(time_step / 2);
  for (int step = 0; step < steps; step++) {
    drift();
    accelerate(time_step);
  }
  accelerate(-time_step / 2);
  double after = energy();
  if (!at_rest() || !near(after, before, 1e-9)) return 0;
  return (uint32_t)(int32_t)(after * -1e8 + 0.5);
}

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
