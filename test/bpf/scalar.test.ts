/** The verifier's arithmetic holds every number that the concrete arithmetic gives, for random ranges and bit patterns. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compute, extend, holds, negate, swap } from '../../src/bpf/arithmetic.ts';
import {
  type AluOperation,
  aluOperations,
  type Condition,
  conditions,
  type Width,
} from '../../src/bpf/instructions.ts';
import {
  anyLow,
  anyWide,
  containsScalar,
  isKnown,
  knownScalar,
  mayBe,
  narrow,
  type Scalar,
  sameScalar,
  scalarText,
  signedScalar,
  unknownScalar,
  unsignedScalar,
} from '../../src/bpf/scalar.ts';
import {
  computeScalar,
  extendScalar,
  negateScalar,
  swapScalar,
  truncateScalar,
} from '../../src/bpf/scalar-arithmetic.ts';
import { refine } from '../../src/bpf/scalar-conditions.ts';
import { Random } from './random.ts';

const random = new Random(20260901);
const u64 = (n: bigint) => BigInt.asUintN(64, n);

/** A scalar and some numbers that it holds. */
function sample(): { s: Scalar; members: bigint[] } {
  const base = random.number();
  switch (random.below(5)) {
    case 0:
      return { s: knownScalar(base), members: [base] };
    case 1: {
      const members = [base, random.number(), random.number()];
      return { s: unknownScalar, members };
    }
    case 2: {
      const length = random.bits(random.below(40));
      const end = u64(base + length);
      const [low, high] = base <= end ? [base, end] : [end, base];
      return { s: unsignedScalar(low, high), members: [low, high, low + (high - low) / 3n, low + (high - low) / 2n] };
    }
    case 3: {
      const [a, b] = [BigInt.asIntN(64, base), BigInt.asIntN(64, base) + random.bits(random.below(33))];
      if (b > anyWide.smax) return { s: knownScalar(base), members: [base] };
      return { s: signedScalar(a, b), members: [a, b, (a + b) >> 1n].map(u64) };
    }
    default: {
      const mask = random.number() & random.number();
      const value = base & ~mask;
      const members = [value, value | mask, value | (mask & random.number()), value | (mask & random.number())];
      return { s: narrow({ bits: { value, mask }, wide: anyWide, low: anyLow })!, members };
    }
  }
}

/** All five kinds of knowledge admit the number. */
function holdsNumber(s: Scalar, n: bigint): boolean {
  return containsScalar(s, knownScalar(n));
}

test('samples hold their members', () => {
  for (let i = 0; i < 3000; i++) {
    const { s, members } = sample();
    for (const n of members) assert.ok(holdsNumber(s, n) && mayBe(s, n), `${scalarText(s)} does not hold ${n}`);
  }
});

test('arithmetic: every operation, both widths', () => {
  for (const operation of Object.keys(aluOperations) as AluOperation[]) {
    for (const width of [32, 64] as Width[]) {
      for (let i = 0; i < 400; i++) {
        const [a, b] = [sample(), random.below(3) === 0 ? small() : sample()];
        const s = computeScalar(operation, width, a.s, b.s);
        for (const x of a.members)
          for (const y of b.members) {
            const n = compute(operation, width, x, y);
            assert.ok(holdsNumber(s, n), `${width} ${operation} ${x} ${y}: ${scalarText(s)} does not hold ${n}`);
          }
      }
    }
  }
});
function small(): { s: Scalar; members: bigint[] } {
  const to = BigInt(random.below(70));
  const from = BigInt(random.below(Number(to) + 1));
  return { s: unsignedScalar(from, to), members: [from, to] };
}

test('negation, extension, swaps, truncation', () => {
  for (let i = 0; i < 4000; i++) {
    const { s, members } = sample();
    const width: Width = random.below(2) === 0 ? 32 : 64;
    const bits = ([8, 16, 32] as const)[random.below(width === 64 ? 3 : 2)]!;
    const swapped = ([16, 32, 64] as const)[random.below(3)]!;
    const order = (['le', 'be', 'swap'] as const)[random.below(3)]!;
    for (const n of members) {
      assert.ok(holdsNumber(negateScalar(width, s), negate(width, n)));
      assert.ok(
        holdsNumber(extendScalar(width, bits, s), extend(width, bits, n)),
        `${width} ${bits} ${n} ${scalarText(s)}`,
      );
      assert.ok(holdsNumber(swapScalar(order, swapped, s), swap(order, swapped, n)));
      assert.ok(holdsNumber(truncateScalar(bits, s), BigInt.asUintN(bits, n)));
    }
  }
});

test('conditions: what is possible stays possible, and both operands are narrowed soundly', () => {
  for (const condition of Object.keys(conditions) as Condition[]) {
    for (const width of [32, 64] as Width[]) {
      for (let i = 0; i < 400; i++) {
        const a = sample();
        const b = random.below(3) === 0 ? { s: a.s, members: a.members } : sample();
        for (const outcome of [true, false]) {
          const refined = refine(condition, width, outcome, a.s, b.s);
          for (const x of a.members)
            for (const y of b.members) {
              if (holds(condition, width, x, y) !== outcome) continue;
              const named = `${width} ${condition} ${outcome}: ${x} (${scalarText(a.s)}), ${y} (${scalarText(b.s)})`;
              assert.ok(refined !== null, `${named} was called impossible`);
              assert.ok(holdsNumber(refined[0], x) && holdsNumber(refined[1], y), named);
            }
        }
      }
    }
  }
});

test('it is precise where programs need it', () => {
  const range = (s: Scalar) => [s.wide.umin, s.wide.umax];
  const byte = computeScalar('and', 64, unknownScalar, knownScalar(255n));
  assert.deepEqual(range(byte), [0n, 255n]);
  assert.deepEqual(range(computeScalar('lsh', 64, byte, knownScalar(3n))), [0n, 2040n]);
  assert.equal(computeScalar('lsh', 64, byte, knownScalar(3n)).bits.mask, 2040n);
  assert.deepEqual(range(computeScalar('add', 64, byte, knownScalar(16n))), [16n, 271n]);
  assert.deepEqual(range(computeScalar('mod', 64, unknownScalar, knownScalar(10n))), [0n, 9n]);
  assert.deepEqual(range(computeScalar('div', 64, byte, knownScalar(16n))), [0n, 15n]);
  const halves = computeScalar('rsh', 64, computeScalar('lsh', 64, byte, knownScalar(32n)), knownScalar(32n));
  assert.deepEqual(range(halves), [0n, 255n]);
  const limited = refine('lt', 64, true, unknownScalar, knownScalar(10n))!;
  assert.deepEqual(range(limited[0]), [0n, 9n]);
  assert.deepEqual(range(refine('sgt', 64, true, limited[0], knownScalar(3n))![0]), [4n, 9n]);
  assert.equal(refine('gt', 64, true, limited[0], knownScalar(9n)), null);
  assert.deepEqual(
    range(refine('lt', 32, true, computeScalar('mov', 32, unknownScalar, unknownScalar), knownScalar(7n))![0]),
    [0n, 6n],
  );
  assert.ok(isKnown(refine('eq', 64, true, unknownScalar, knownScalar(5n))![0]));
  assert.ok(sameScalar(refine('ne', 64, true, unsignedScalar(0n, 5n), knownScalar(0n))![0], unsignedScalar(1n, 5n)));
});
