/**
 * Fused multiply-add (VFMADDPD and its relatives): a * b + c in one rounding.
 *
 * Regions do it with plain operations. The product of two doubles is taken apart into its rounded value and its error
 * (Veltkamp, Dekker), the sum of three doubles is rounded once by rounding its small part to odd first (Boldo and Melquiond,
 * "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd"). That holds as long as nothing
 * comes near the ends of the exponent range; other operands go the exact way. Products of singles are exact as doubles.
 */
import type { Immediate, MicroOp } from '../src/ir/micro-ops.ts';
import type { Emitter, Expr } from './emitter.ts';
import { eachLane, exactName, integerOf, perform } from './exact-float.ts';
import { failSum, isDouble, isVector, type Shape, typeOfShape, type Use } from './float-class.ts';
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
  const split = (x: Use): readonly [Use, Use] => {
    const scaled = keep(e, e.op('f64x2.mul', x(), d(e, 2 ** 27 + 1)));
    const high = keep(e, e.op('f64x2.sub', scaled(), subtract(e, scaled, x)));
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
/** A rounded sum with its error, rounded to odd in place: away from an even last bit, towards the error. */
function toOdd(e: Emitter, sum: Use, error: Use): Expr {
  const zeros = () => e.v128(new Array<number>(16).fill(0));
  const one = () => e.v128(bytes([1n, 1n], 8));
  const step = e.op('v128.or', e.op('i64x2.shr_s', e.op('v128.xor', sum(), error()), e.i32(63)), one());
  const isEven = e.op('i64x2.eq', e.op('v128.and', sum(), one()), zeros());
  const wanted = e.op('v128.and', isEven, e.op('f64x2.ne', error(), zeros()));
  return e.op('i64x2.add', sum(), e.op('v128.and', step, wanted));
}

/** Zero, or of a magnitude in the range. */
function within(e: Emitter, x: Use, least: number, most: number): Expr {
  const size = keep(e, e.op('f64x2.abs', x()));
  const range = e.op('v128.and', e.op('f64x2.ge', size(), d(e, least)), e.op('f64x2.le', size(), d(e, most)));
  return e.op('v128.or', range, e.op('f64x2.eq', size(), d(e, 0)));
}
const someFail = (e: Emitter, fine: Expr): Expr => e.op('i32.eqz', e.op('i64x2.all_true', fine));

interface Part {
  readonly result: Expr;
  /** Not zero if a lane will not do, and if one was rounded or may have been. */
  fails(): Expr;
  inexact(): Expr;
}
function ofDoubles(e: Emitter, a: Use, c: Use, addend: Use): Part {
  const [high, low] = twoProduct(e, a, c);
  const [middle, tail] = twoSum(e, addend, low);
  const [top, rest] = twoSum(e, high, middle);
  const small = keep(e, toOdd(e, ...twoSum(e, tail, rest)));
  return {
    // If the product is zero, this says the sign of a sum of zeros.
    result: e.op('v128.bitselect', add(e, high, addend), add(e, top, small), e.op('f64x2.eq', high(), d(e, 0))),
    fails: () => {
      const factors = e.op('v128.and', within(e, a, 2 ** -450, 2 ** 450), within(e, c, 2 ** -450, 2 ** 450));
      return someFail(e, e.op('v128.and', factors, within(e, addend, 2 ** -960, 2 ** 1000)));
    },
    inexact: () => e.op('v128.any_true', e.op('f64x2.ne', small(), d(e, 0))),
  };
}
function ofSingles(e: Emitter, a: Use, c: Use, addend: Use): Part {
  const product = keep(e, e.op('f64x2.mul', a(), c()));
  const [sum, error] = twoSum(e, product, addend);
  const odd = keep(e, toOdd(e, sum, error));
  const single = keep(e, e.op('f32x4.demote_f64x2_zero', odd()));
  return {
    result: single(),
    fails: () => someFail(e, within(e, odd, 2 ** -126, 2 ** 128)),
    inexact: () => e.op('v128.any_true', e.op('f64x2.ne', e.op('f64x2.promote_low_f32x4', single()), odd())),
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
        const [first, second] = parts.map(({ result }) => result);
        if (shape === 'f32x4')
          return e.op('i8x16.shuffle', first, second, [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]);
        return isVector(shape) ? first! : e.op(`${shape}x${shape === 'f64' ? 2 : 4}.extract_lane`, first, 0);
      },
      check: (e, r, failIf) => {
        for (const part of parts) failIf(part.fails());
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
