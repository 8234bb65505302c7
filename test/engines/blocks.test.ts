/**
 * Random programs, run one instruction at a time, in interpreted blocks and in translations, in every mode: all that the
 * guest can see is the same after any number of instructions. Longer runs: `jit86 diff --random`.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guestModes } from '../../runtime/lockstep/guest.ts';
import { Lockstep } from '../../runtime/lockstep/lockstep.ts';
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

test('a region that is left on the way to x87 instructions has the flags that come before them', () => {
  const item = (...bytes: number[]) => ({ bytes, fix: null });
  const lockstep = new Lockstep(
    { mode: '32', cpl: 0, paging: '4-level', code: 0x20000000n, data: 0x30001000n },
    vmModules(),
  );
  // bextr edi, ebx, edi, which clears AF, and jumps; aas, which looks at AF; fimul, whose register is empty
  const blocks = [
    [item(0xc4, 0xe2, 0x40, 0xf7, 0xfb), item(0xe9, 0, 0, 0, 0)],
    [item(0x3f)],
    [item(0xda, 0x4c, 0x11, 0x23)],
  ];
  const registers = new BigUint64Array(16);
  registers.set([0n, 0xffff_ffffn, 0xcn, 0xdn, 0x3000_4800n, 0n, 0n, 0x3000_116dn]);
  const program = {
    ...{
      kind: { mode: '32', cpl: 0, paging: '4-level', code: 0x20000000n, data: 0x30001000n } as const,
      blocks,
      registers,
    },
    ...{ start: 0, flags: 0x91, mxcsr: 0x1f80, xmm: new Uint8Array(256), upperHalves: new Uint8Array(256) },
    ...{ x87: { fcw: 0x37f, fsw: 0, ftw: 0, registers: new Uint8Array(128) }, data: new Uint8Array(0x4000) },
  };
  for (let choose = 0; choose < 8; choose++)
    assert.equal(lockstep.run(program, { points: [4], stops: [], choose, resumes: [] }), null, `choose ${choose}`);
  assert.ok(lockstep.translatedInstructions > 0);
});
