/**
 * Fused multiply-add (VFMADDPD and its relatives): a * b + c in one rounding.
 *
 * Regions do it with plain operations. Doubles: the product is taken apart into its rounded value and its error (Dekker),
 * the sum of the three numbers into a leading double, what that leaves, and the rest (Knuth's two-sum, twice). The sum of
 * the last two is rounded, then added to the first. The second rounding goes wrong only where what is added lies exactly
 * halfway between two results: it is then a power of two that was itself rounded (Boldo and Melquiond, "Emulation of FMA
 * and correctly rounded sums: proved algorithms using rounding to odd", treat the same sum). That holds as long as nothing
 * comes near the ends of the exponent range. Singles: their product is exact as a double, and the sum's rounding matters
 * only where it is exactly halfway between two singles. What is not covered goes the exact way.
 */
import type { Immediate, MicroOp } from '../src/ir/micro-ops.ts';
import type { Emitter, Expr } from './emitter.ts';
import { eachLane, exactName, integerOf, perform } from './exact-float.ts';
import { type FailIf, failSum, isDouble, isVector, type Shape, typeOfShape, type Use } from './float-class.ts';
import { type Arm, addArms } from './lower.ts';

const bytes = (words: readonly bigint[], size: number): number[] =>
  words.flatMap((word) => Array.from({ length: size }, (_, i) => Number((word >> BigInt(8 * i)) & 255n)));
const d = (e: Emitter, n: number): Expr => e.op('f64x2.splat', e.f64(n));
const add = (e: Emitter, a: Use, c: Use): Expr => e.op('f64x2.add', a(), c());
const subtract = (e: Emitter, a: Use, c: Use): Expr => e.op('f64x2.sub', a(), c());
const keep = (e: Emitter, x: Expr): Use => e.share(x, 'v128');

/** The rounded sum and its error. */
function twoSum(e: Emitter, a: Use, c: Use): readonly [sum: Use, error: Use] {
  const sum = keep(e, add(e, a, c));
  const part = keep(e, subtract(e, sum, a));
  const rest = e.op('f64x2.sub', a(), subtract(e, sum, part));
  return [sum, keep(e, e.op('f64x2.add', rest, subtract(e, c, part)))];
}
/** The rounded product and its error. */
function twoProduct(e: Emitter, a: Use, c: Use): readonly [product: Use, error: Use] {
  // The upper 26 bits, rounded: what is left has 26 with its sign.
  const split = (x: Use): readonly [Use, Use] => {
    const half = e.op('i64x2.add', x(), e.pooled(bytes([1n << 26n, 1n << 26n], 8)));
    const high = keep(e, e.op('v128.and', half, e.pooled(bytes([~0x7ff_ffffn, ~0x7ff_ffffn], 8))));
    return [high, keep(e, subtract(e, x, high))];
  };
  const [aHigh, aLow] = split(a);
  const [cHigh, cLow] = split(c);
  const times = (x: Use, y: Use): Expr => e.op('f64x2.mul', x(), y());
  const product = keep(e, times(a, c));
  const first = e.op('f64x2.sub', product(), times(aHigh, cHigh));
  const second = e.op('f64x2.sub', first, times(aLow, cHigh));
  const third = e.op('f64x2.sub', second, times(aHigh, cLow));
  return [product, keep(e, e.op('f64x2.sub', times(aLow, cLow), third))];
}
const zeros = (e: Emitter): Expr => e.v128(new Array<number>(16).fill(0));
const someLane = (e: Emitter, v: Expr): Expr => e.op('v128.any_true', v);
/** Not zero unless the sums are exact. */
const rounded = (e: Emitter, a: Use, c: Use): Expr => someLane(e, e.op('f64x2.ne', twoSum(e, a, c)[1](), zeros(e)));

/** Zero, or of a magnitude in the range. */
function within(e: Emitter, x: Use, least: number, most: number): Expr {
  const size = keep(e, e.op('f64x2.abs', x()));
  const range = e.op('v128.and', e.op('f64x2.ge', size(), d(e, least)), e.op('f64x2.le', size(), d(e, most)));
  return e.op('v128.or', range, e.op('f64x2.eq', size(), d(e, 0)));
}
const someFail = (e: Emitter, fine: Expr): Expr => e.op('i32.eqz', e.op('i64x2.all_true', fine));

interface Part {
  readonly result: Use;
  /** Calls `failIf` with what is not zero if a lane will not do. */
  check(failIf: FailIf): void;
  /** Not zero if a lane was rounded or may have been. */
  inexact(): Expr;
}

/** Exponents of ordinary operands: products and sums of such stay clear of both ends. */
const LEAST = 450;
const MANTISSA = (1n << 52n) - 1n;
function ofDoubles(e: Emitter, a: Use, c: Use, addend: Use): Part {
  const [high, low] = twoProduct(e, a, c);
  const [middle, tail] = twoSum(e, addend, low);
  const [top, rest] = twoSum(e, high, middle);
  const small = keep(e, add(e, tail, rest));
  const result = e.local('v128');
  e.set(result, add(e, top, small));
  // The exponent fields less the least one, as unsigned words; the lower words are zeros.
  const above = (x: Use): Expr => {
    const field = e.op('v128.and', x(), e.pooled(bytes([0x7ffn << 52n, 0x7ffn << 52n], 8)));
    return e.op('i32x4.sub', field, e.pooled(bytes([BigInt(1023 - LEAST) << 52n, BigInt(1023 - LEAST) << 52n], 8)));
  };
  const most = e.op('i32x4.max_u', e.op('i32x4.max_u', above(a), above(c)), above(addend));
  const limit = BigInt(2 * LEAST) << 52n;
  const unusual = e.share(someLane(e, e.op('i32x4.gt_u', most, e.pooled(bytes([limit, limit], 8)))), 'i32');
  e.if(unusual(), () => {
    // If the product is zero, this says the sign of a sum of zeros.
    const plain = e.op('f64x2.eq', high(), zeros(e));
    e.set(result, e.op('v128.bitselect', add(e, high, addend), e.get(result, 'v128'), plain));
  });
  return {
    result: () => e.get(result, 'v128'),
    check: (failIf) => {
      e.if(unusual(), () => {
        const factors = e.op('v128.and', within(e, a, 2 ** -450, 2 ** 450), within(e, c, 2 ** -450, 2 ** 450));
        failIf(someFail(e, e.op('v128.and', factors, within(e, addend, 2 ** -960, 2 ** 1000))));
      });
      const power = e.op('i64x2.eq', e.op('v128.and', small(), e.pooled(bytes([MANTISSA, MANTISSA], 8))), zeros(e));
      e.if(someLane(e, e.op('v128.and', power, e.op('f64x2.ne', small(), zeros(e)))), () =>
        failIf(rounded(e, tail, rest)),
      );
    },
    inexact: () => someLane(e, e.op('f64x2.ne', small(), zeros(e))),
  };
}
/** The bits of a double that a single does not have, and what they are halfway between two singles. */
const BELOW = (1n << 29n) - 1n;
const HALFWAY = 1n << 28n;
function ofSingles(e: Emitter, a: Use, c: Use, addend: Use): Part {
  const product = keep(e, e.op('f64x2.mul', a(), c()));
  const sum = keep(e, add(e, product, addend));
  const single = keep(e, e.op('f32x4.demote_f64x2_zero', sum()));
  return {
    result: single,
    check: (failIf) => {
      failIf(someFail(e, within(e, sum, 2 ** -126, 2 ** 128)));
      const rest = e.op('v128.and', sum(), e.pooled(bytes([BELOW, BELOW], 8)));
      e.if(someLane(e, e.op('i64x2.eq', rest, e.pooled(bytes([HALFWAY, HALFWAY], 8)))), () =>
        failIf(rounded(e, product, addend)),
      );
    },
    inexact: () => {
      const changed = someLane(e, e.op('f64x2.ne', e.op('f64x2.promote_low_f32x4', single()), sum()));
      return e.op('i32.or', changed, rounded(e, product, addend));
    },
  };
}

/** The two doubles, or the first or last two singles as doubles; a scalar stands in all lanes. */
function pair(e: Emitter, shape: Shape, x: Use, half: number): Use {
  if (shape === 'f64x2') return x;
  if (shape === 'f64') return keep(e, e.op('f64x2.splat', x()));
  const singles = shape === 'f32' ? e.op('f32x4.splat', x()) : x();
  const order = Array.from({ length: 16 }, (_, i) => (i & 7) + 8 * half);
  const low = half === 0 ? singles : e.op('i8x16.shuffle', singles, x(), order);
  return keep(e, e.op('f64x2.promote_low_f32x4', low));
}

const arms: Partial<Record<MicroOp, Arm>> = {};
for (const shape of ['f32', 'f64', 'f32x4', 'f64x2'] as const) {
  arms[`sse.${shape}.fma`] = (reader, args, [word]: readonly Immediate[]) => {
    const type = typeOfShape(shape);
    const [a, c, addend] = args.map((x) => reader.e.share(x, type)) as [Use, Use, Use];
    const n = word as number;
    const parts: Part[] = [];
    return perform(reader, {
      result: type,
      inRegionsOnly: true,
      native: (e) => {
        const [productSign, even, odd] = [4, 1, 2].map((bit) => ((n & bit) !== 0 ? 1n << 63n : 0n)) as [
          bigint,
          bigint,
          bigint,
        ];
        const signed = (x: Use, signs: readonly bigint[]): Use =>
          signs.every((s) => s === 0n) ? x : keep(e, e.op('v128.xor', x(), e.v128(bytes(signs, 8))));
        for (let half = 0; half < (shape === 'f32x4' ? 2 : 1); half++) {
          const factor = signed(pair(e, shape, a, half), [productSign, productSign]);
          const last = signed(pair(e, shape, addend, half), isVector(shape) ? [even, odd] : [even, even]);
          const make = isDouble(shape) ? ofDoubles : ofSingles;
          parts.push(make(e, factor, pair(e, shape, c, half), last));
        }
        const [first, second] = parts.map(({ result }) => result());
        if (shape === 'f32x4')
          return e.op('i8x16.shuffle', first, second, [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]);
        return isVector(shape) ? first! : e.op(`${shape}x${shape === 'f64' ? 2 : 4}.extract_lane`, first, 0);
      },
      check: (e, r, failIf) => {
        for (const part of parts) part.check(failIf);
        // Singles: operands that are denormal, results beyond the range, NaNs and infinities.
        if (!isDouble(shape)) failSum(e, shape, r, [a, c, addend], failIf);
      },
      inexact: (_e, _r, failIf) => {
        for (const part of parts) failIf(part.inexact());
      },
      exact: (e, mxcsr, each) =>
        eachLane(e, shape, [a, c, addend], each, (bits, lane) => {
          const negated = ((n >> (lane & 1)) & 1) | ((n >> 2) << 1);
          return e.call(exactName(shape, 'Fma'), [...bits, mxcsr(), e.i32(negated)], integerOf(shape));
        }),
    });
  };
}
addArms(arms);
