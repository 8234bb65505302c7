/**
 * Random programs, run one instruction at a time, in interpreted blocks and in translations, in every mode: all that the
 * guest can see is the same after any number of instructions. Longer runs: `jit86 diff --random`.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guestModes } from '../../runtime/lockstep/guest.ts';
import { fuzzPrograms } from '../../runtime/lockstep/program-fuzzer.ts';
import { randomNumbers } from '../isa/random.ts';
import { vmModules } from './modules.ts';

for (const mode of guestModes) {
  test(`random programs in mode ${mode} do the same in all engines, after any number of instructions`, (t) => {
    const { programs, translated, reports } = fuzzPrograms(randomNumbers(20060101), {
      seconds: Number.POSITIVE_INFINITY,
      programs: 25,
      modes: [mode],
      modules: vmModules(),
      differences: 1,
    });
    t.diagnostic(`${programs} programs, ${translated} instructions in translations`);
    assert.equal(reports.length, 0, reports.join('\n\n'));
    assert.ok(translated > 1500, `only ${translated} instructions were translated`);
  });
}
