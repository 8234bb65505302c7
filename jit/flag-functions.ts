/** The evaluators of lazy flags whose producer is not known, generated from the formulas of src/ir/flags.ts. */
import { Builder } from '../src/ir/builder.ts';
import { condition, type FlagSource, flagWord } from '../src/ir/flag-formulas.ts';
import { ARITHMETIC_FLAGS, FLAG_CARRY_BIT, type FlagKind, flagCode, flagKinds } from '../src/ir/flags.ts';
import { schedule } from '../src/ir/schedule.ts';
import type { Value, Width } from '../src/ir/types.ts';
import { offsetOf } from '../src/state/layout.ts';
import type { Expr } from './emitter.ts';
import { lower, type Reader } from './lower.ts';

const context = {
  codeSize: 64,
  stackSize: 64,
  flat: true,
  cpl: 0,
  protectedMode: true,
  virtual8086: false,
  iopl: 0,
  x87: 'available',
  mmx: 'available',
  waitFaults: false,
  sse: 'available',
  avx: 'available',
  linearBits: 48,
  baseBits: 48,
} as const;
const widths: readonly Width[] = [8, 16, 32, 64];
/** What most conditions are asked of: these are answered by the condition's own formula, without a word of flags. */
const frequentKinds: readonly FlagKind[] = ['sub', 'logic', 'add', 'inc', 'dec'];
/** Condition codes come in pairs, of which the second is the first one's negation. */
const conditionPairs = 8;

/** Emits a pure computation over state fields; returns its value's expression. */
function straight(reader: Reader, record: (b: Builder) => Value<'i32'>): Expr {
  const { e } = reader;
  const b = new Builder(context);
  const result = record(b);
  b.setState32('faultVector', result); // an effect, so that the schedule keeps what it needs
  const { steps, uses } = schedule(b.nodes);
  const values = new Map<number, () => Expr>();
  for (const step of steps) {
    const v = step >> 1;
    const { op, args, imm } = b.nodes[v]!;
    if (op === 'state.set32') return values.get(args[0]!)!();
    let expr: Expr;
    if (op === 'state.get32') expr = e.load('i32', e.cpu(), offsetOf(imm[0] as string));
    else if (op === 'state.get64') expr = e.load('i64', e.cpu(), offsetOf(imm[0] as string));
    else
      expr = lower(
        reader,
        op,
        args.map((a) => values.get(a)!()),
        imm,
      );
    const type = b.typeOf(v as Value);
    values.set(v, uses[v]! > 1 ? e.share(expr, type) : () => expr);
  }
  throw new Error('flags: no result');
}

/** Adds `flagsWord(cpu) -> i32` (all arithmetic flags) and `flagsTest(cpu, condition code) -> 0 or 1`. */
export function addFlagFunctions(reader: Reader): void {
  const { e } = reader;
  e.addFunction(
    'flagsWord',
    ['i32'],
    'i32',
    () => {
      const cases = flagKinds.flatMap((kind) => widths.map((width) => ({ kind, width, label: `${kind}${width}` })));
      const build = (i: number): void => {
        if (i < 0) {
          const code = e.op('i32.and', e.state32('flagKind'), e.i32((1 << FLAG_CARRY_BIT) - 1));
          return e.switch(
            cases.map((c) => c.label),
            cases[0]!.label,
            code,
          );
        }
        const { kind, width, label } = cases[i]!;
        e.block(label, () => build(i - 1));
        e.return(
          straight(reader, (b) => {
            const carry = b.and(b.shrU(b.state32('flagKind'), b.i32(FLAG_CARRY_BIT)), b.i32(1));
            const source: FlagSource = { kind, width, a: b.state64('flagA'), b: b.state64('flagB'), carry };
            return flagWord(b, source, ARITHMETIC_FLAGS);
          }),
        );
      };
      build(cases.length - 1);
      e.unreachable();
    },
    true,
  );
  e.addFunction(
    'flagsTest',
    ['i32', 'i32'],
    'i32',
    () => {
      const word = e.local('i32');
      // One switch over what has produced the flags and the pair of conditions.
      const frequent = [
        ...frequentKinds.flatMap((kind) => widths.map((width): [FlagKind, Width] => [kind, width])),
        ['bits', 8] as [FlagKind, Width],
      ];
      const labels = new Array<string>(flagKinds.length * widths.length * conditionPairs).fill('other');
      const cases = frequent.flatMap(([kind, width]) =>
        Array.from({ length: conditionPairs }, (_, pair) => {
          const label = `${kind}${width}c${pair}`;
          labels[flagCode(kind, width) * conditionPairs + pair] = label;
          return { kind, width, pair, label };
        }),
      );
      const code = e.op('i32.and', e.state32('flagKind'), e.i32((1 << FLAG_CARRY_BIT) - 1));
      const pairOf = () => e.op('i32.shr_u', e.get(1, 'i32'), e.i32(1));
      const answer = (value: Expr): void =>
        e.return(e.op('i32.xor', value, e.op('i32.and', e.get(1, 'i32'), e.i32(1))));
      const build = (i: number): void => {
        if (i < 0)
          return e.switch(labels, 'other', e.op('i32.add', e.op('i32.mul', code, e.i32(conditionPairs)), pairOf()));
        const { kind, width, pair, label } = cases[i]!;
        e.block(label, () => build(i - 1));
        answer(
          straight(reader, (b) => {
            const carry = b.and(b.shrU(b.state32('flagKind'), b.i32(FLAG_CARRY_BIT)), b.i32(1));
            return condition(b, { kind, width, a: b.state64('flagA'), b: b.state64('flagB'), carry }, pair * 2);
          }),
        );
      };
      e.block('other', () => build(cases.length - 1));
      e.set(word, e.call('flagsWord', [e.cpu()], 'i32'));
      e.setState64('result1', e.op('i64.extend_u', e.get(word, 'i32')));
      const pairs = Array.from({ length: conditionPairs }, (_, pair) => `c${pair}`);
      const buildOther = (i: number): void => {
        if (i < 0) return e.switch(pairs, pairs[0]!, pairOf());
        e.block(pairs[i]!, () => buildOther(i - 1));
        answer(
          straight(reader, (b) =>
            condition(b, { kind: 'bits', width: 32, a: b.state64('result1'), b: b.i64(0), carry: b.i32(0) }, i * 2),
          ),
        );
      };
      buildOther(conditionPairs - 1);
      e.unreachable();
    },
    true,
  );
}
