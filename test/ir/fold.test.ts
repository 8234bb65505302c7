/** Constant folding against evaluation. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Builder } from '../../src/ir/builder.ts';
import { type MicroOp, microOps } from '../../src/ir/micro-ops.ts';
import type { Type, Value } from '../../src/ir/types.ts';
import { evaluatePure } from '../isa/evaluate.ts';
import { userContext } from '../isa/vector-run.ts';

const integers: readonly MicroOp[] = (Object.keys(microOps) as MicroOp[]).filter((op) => {
  const { effect, operands, result } = microOps[op];
  const isInteger = (type: Type | null) => type === 'i32' || type === 'i64';
  return (
    effect === 'pure' &&
    /^i(32|64)\.[a-z0-9_]+$/.test(op) &&
    operands.length > 0 &&
    operands.every(isInteger) &&
    isInteger(result)
  );
});

const values = [
  0n,
  1n,
  2n,
  5n,
  31n,
  32n,
  63n,
  255n,
  0x7fffn,
  0x8000n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_ffff_ffffn,
];

const unsigned = (type: Type, n: bigint) => BigInt.asUintN(type === 'i64' ? 64 : 32, n);

test('an operation on constants folds to what it evaluates to, and is not lost where an operand is unknown', () => {
  assert.ok(integers.length > 60);
  let folded = 0;
  for (const op of integers) {
    const { operands, result } = microOps[op];
    const divides = /div|rem/.test(op);
    for (const a of values) {
      for (const c of operands.length > 1 ? values : [0n]) {
        const args = [a, c, a ^ c].slice(0, operands.length).map((n, i) => unsigned(operands[i]!, n));
        if (divides && args.at(-1) === 0n) continue;
        if (/div_s$/.test(op) && args[1] === unsigned(operands[1]!, -1n)) continue;
        if (/128/.test(op) && args[0]! >= args[2]!) continue;
        const expected = evaluatePure(op, args, []);
        // Every choice of which operands are constants; the others are registers that hold the same.
        for (let known = 0; known < 1 << operands.length; known++) {
          const b = new Builder(userContext(64));
          const inputs = new Map<number, bigint>();
          const make = (type: Type, n: bigint, isKnown: boolean): Value => {
            if (isKnown) return type === 'i64' ? b.i64(n) : b.i32(Number(n));
            const v = type === 'i64' ? b.state64('x') : b.state32('x');
            inputs.set(v, n);
            return v;
          };
          const made = b.emit(
            op,
            args.map((n, i) => make(operands[i]!, n, ((known >> i) & 1) !== 0)),
          );
          const constant = b.constantOf(made);
          if (constant !== undefined) folded++;
          const results: bigint[] = b.nodes.map(() => 0n);
          b.nodes.forEach((node, i) => {
            results[i] =
              inputs.get(i) ??
              evaluatePure(
                node.op,
                node.args.map((n) => results[n]!),
                node.imm,
              );
          });
          assert.equal(
            unsigned(result!, results[made]!),
            expected,
            `${op}(${args.join()}) with ${known.toString(2)} known`,
          );
        }
      }
    }
  }
  assert.ok(folded > 5000);
});
