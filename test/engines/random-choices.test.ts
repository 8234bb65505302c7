/** Seeds of the fuzzers: a run is repeated by its seed, and no two seeds are the same run. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { randomNumbers } from '../../runtime/lockstep/random-numbers.ts';

const first = (seed: number) => {
  const random = randomNumbers(seed);
  return Array.from({ length: 4 }, () => random(2 ** 32)).join();
};

test('a seed gives the same numbers each time, and its neighbours give others', () => {
  const seeds = [...Array.from({ length: 5000 }, (_, i) => i), -1, -2, 2 ** 31, 2 ** 31 + 1, 2 ** 32 - 3];
  assert.equal(new Set(seeds.map(first)).size, seeds.length);
  assert.deepEqual(seeds.map(first), seeds.map(first));
});

test('numbers are spread from the first one on', () => {
  for (const place of [0, 1, 2]) {
    const counts = new Uint32Array(16);
    for (let seed = 0; seed < 16_000; seed++) {
      const random = randomNumbers(seed);
      for (let i = 0; i < place; i++) random(2);
      counts[random(16)]!++;
    }
    assert.ok(Math.min(...counts) > 800 && Math.max(...counts) < 1200, `${place}: ${counts}`);
  }
});
