/** The core's answer to a condition against the word of flags: for every producer of flags, width and condition. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Guest } from '../../runtime/lockstep/guest.ts';
import { CF, FLAG_CARRY_BIT, flagCode, flagKinds, OF, PF, SF, ZF } from '../../src/ir/flags.ts';
import { vmModules } from '../engines/modules.ts';
import { randomNumbers } from '../isa/random.ts';

const below = randomNumbers(0xf1a9);
const widths = [8, 16, 32, 64] as const;

/** SDM volume 1, appendix B: what a condition code says of the flags. */
function conditionOf(word: number, code: number): number {
  const has = (flag: number): boolean => (word & flag) !== 0;
  const less = has(SF) !== has(OF);
  const holds = [has(OF), has(CF), has(ZF), has(CF) || has(ZF), has(SF), has(PF), less, less || has(ZF)][code >> 1]!;
  return Number(holds) ^ (code & 1);
}

/** An operand of the width: small, large, at an edge, or any. */
function operand(width: number): bigint {
  const any = (BigInt(below(2 ** 32)) << 32n) | BigInt(below(2 ** 32));
  const half = 1n << BigInt(width - 1);
  const choices = [any, BigInt(below(4)), -BigInt(below(4)), half - BigInt(below(2)), half + BigInt(below(2))];
  return BigInt.asUintN(width, choices[below(choices.length)]!);
}

test('a condition is what the flags say, for every producer of flags and every width', async () => {
  const guest = new Guest(
    { mode: '64', cpl: 0, paging: '4-level', code: 0x3450_0000n, data: 0x3456_7000n },
    'never',
    vmModules(),
  );
  const { fields: state, engine } = guest.vcpu;
  const core = engine.core as unknown as {
    flagsWord(cpu: number): number;
    flagsTest(cpu: number, code: number): number;
  };
  let asked = 0;
  for (const kind of flagKinds) {
    for (const width of widths) {
      for (let trial = 0; trial < 200; trial++) {
        const first = operand(width);
        const isShift = kind === 'shl' || kind === 'shr' || kind === 'sar';
        const second = isShift ? BigInt(1 + below(width)) : trial % 4 === 0 ? first : operand(width);
        state.set64('flagA', first);
        state.set64('flagB', second);
        state.set32('flagKind', flagCode(kind, width) | (below(2) << FLAG_CARRY_BIT));
        const word = core.flagsWord(state.base);
        for (let code = 0; code < 16; code++, asked++)
          assert.equal(
            core.flagsTest(state.base, code),
            conditionOf(word, code),
            `condition ${code} of ${kind} ${width}: ${first.toString(16)}, ${second.toString(16)}`,
          );
      }
    }
  }
  assert.equal(asked, flagKinds.length * widths.length * 200 * 16);
});
