/** Random bytes as code in every mode: the host notices nothing. Longer runs: `fuzz-bytes.ts`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guestModes } from '../../runtime/lockstep/guest.ts';
import { randomNumbers } from '../isa/random.ts';
import { fuzzBytes } from './byte-fuzzer.ts';

test('random bytes are executed in every mode without harm to the host, within their budget', (t) => {
  const { sequences, instructions, failures } = fuzzBytes(randomNumbers(20200202), {
    sequences: 6000,
    seconds: Number.POSITIVE_INFINITY,
    modes: guestModes,
    failures: 1,
    secondsPerSequence: Number.POSITIVE_INFINITY,
  });
  t.diagnostic(`${sequences} sequences, ${instructions} instructions`);
  assert.deepEqual(failures, []);
  assert.ok(instructions > 6000, `only ${instructions} instructions`);
});
