/** Random registers set to random values in every mode, see registers-fuzz.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guestModes } from '../../runtime/lockstep/guest.ts';
import { guestKinds } from '../../runtime/lockstep/program-fuzzer.ts';
import { randomNumbers } from '../../runtime/lockstep/random-numbers.ts';
import { fuzzSets } from './registers-fuzz.ts';

for (const [i, mode] of guestModes.entries())
  test(`row 5: random values in random registers are taken or refused as a whole, and the guest runs on: ${mode}`, () => {
    const kinds = guestKinds(mode);
    const { taken, refused } = fuzzSets(randomNumbers(i * 7919 + 1), kinds[i % kinds.length]!, 50);
    assert.ok(taken > 5 && refused > 5, `${taken} taken, ${refused} refused`);
  });
