/**
 * Random programs, run one instruction at a time, in interpreted blocks and in translations, in every mode: all that the
 * guest can see is the same after any number of instructions. Longer runs: `fuzz-programs.ts`.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { randomNumbers } from '../isa/random.ts';
import { guestModes } from './guest.ts';
import { fuzzPrograms } from './program-fuzzer.ts';

for (const mode of guestModes) {
  test(`random programs in mode ${mode} do the same in all engines, after any number of instructions`, (t) => {
    const { programs, translated, reports } = fuzzPrograms(randomNumbers(20060101), {
      seconds: 60,
      programs: 80,
      modes: [mode],
      differences: 1,
    });
    t.diagnostic(`${programs} programs, ${translated} instructions in translations`);
    assert.equal(reports.length, 0, reports.join('\n\n'));
    assert.ok(translated > 2000, `only ${translated} instructions were translated`);
  });
}
