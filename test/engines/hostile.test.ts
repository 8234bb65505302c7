/**
 * Hostile guests in every mode, at CPL 0 and 3: no host exception, no byte of the host outside guest RAM changed, no more
 * instructions than were allowed, and one state in all engines. Longer runs: `jit86 diff --hostile`.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guestModes } from '../../runtime/lockstep/guest.ts';
import { fuzzHostile } from '../../runtime/lockstep/hostile-fuzzer.ts';
import { randomNumbers } from '../isa/random.ts';
import { vmModules } from './modules.ts';

for (const mode of guestModes) {
  test(`hostile guests in mode ${mode} harm neither the host nor the engines' agreement`, (t) => {
    const { programs, instructions, translated, reports } = fuzzHostile(randomNumbers(20150101), {
      seconds: Number.POSITIVE_INFINITY,
      programs: 35,
      modes: [mode],
      modules: vmModules(),
      secondsPerProgram: Number.POSITIVE_INFINITY,
    });
    t.diagnostic(`${programs} programs, ${instructions} instructions, ${translated} of them in translations`);
    assert.equal(reports.length, 0, reports.join('\n\n'));
    assert.ok(instructions > 800, `only ${instructions} instructions`);
  });
}
