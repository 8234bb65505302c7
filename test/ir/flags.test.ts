/** The formulas of lazy flags against flags worked out at once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Builder } from '../../src/ir/builder.ts';
import { condition, type FlagSource, flagWord } from '../../src/ir/flag-formulas.ts';
import { ARITHMETIC_FLAGS, type FlagKind, flagKinds } from '../../src/ir/flags.ts';
import type { Value, Width } from '../../src/ir/types.ts';
import { evaluate, Guest } from '../isa/evaluate.ts';
import { userContext } from '../isa/vector-run.ts';

/** Values at the edges of each width, and two without a pattern. */
function operands(width: Width): bigint[] {
  const top = 1n << BigInt(width - 1);
  const edges = [
    0n,
    1n,
    2n,
    0xfn,
    0x10n,
    top - 1n,
    top,
    top + 1n,
    top >> 1n,
    2n * top - 1n,
    0x5bd1_e995_1234_89abn,
    0x9e37_79b9_7f4a_7c15n,
  ];
  return edges.map((n) => BigInt.asUintN(width, n));
}
const isShift = (kind: FlagKind) => kind === 'shl' || kind === 'shr' || kind === 'sar';
const counts = (width: Width): bigint[] =>
  [1, 2, 7, 8, 9, 15, 16, 17, 31, ...(width === 64 ? [32, 33, 63] : [])].map(BigInt);

/** Puts a, b and carry in registers and records `use` of them. */
function source(kind: FlagKind, width: Width): { readonly b: Builder; readonly from: FlagSource } {
  const b = new Builder(userContext(64));
  const register = (index: number) => b.register(index, 64) as Value<'i64'>;
  return { b, from: { kind, width, a: register(0), b: register(1), carry: b.wrap(register(2)) } };
}

for (const kind of flagKinds) {
  test(`the flags of '${kind}' are those of its result, in every width and for every condition`, () => {
    for (const width of [8, 16, 32, 64] as const) {
      const word = source(kind, width);
      word.b.setRegister(3, 32, flagWord(word.b, word.from, ARITHMETIC_FLAGS));
      const tests = source(kind, width);
      const mask = kind === 'bits' ? BigInt(ARITHMETIC_FLAGS) : -1n;
      for (let code = 0; code < 16; code++) tests.b.setState32(`test${code}`, condition(tests.b, tests.from, code));
      for (const a of operands(width)) {
        for (const second of isShift(kind) ? counts(width) : operands(width)) {
          for (const carry of [0n, 1n]) {
            const guest = new Guest();
            guest.gpr.set([a & mask, second, carry]);
            evaluate(word.b.nodes, guest);
            evaluate(tests.b.nodes, guest);
            const eager = new Guest();
            const expected = new Builder(userContext(64));
            expected.setFlags(kind, width, expected.i64(a & mask), expected.i64(second), expected.i32(Number(carry)));
            for (let code = 0; code < 16; code++) expected.setState32(`test${code}`, expected.condition(code));
            evaluate(expected.nodes, eager);
            const what = `${kind} ${width} ${a.toString(16)} ${second.toString(16)} ${carry}`;
            assert.equal(Number(guest.gpr[3]), eager.flags, what);
            assert.deepEqual(guest.fields, eager.fields, what);
          }
        }
      }
    }
  });
}
