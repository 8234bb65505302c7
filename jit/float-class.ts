/**
 * Classes of floating point values, as generated code tests them, for the four shapes in which SSE computes. Each `fail…`
 * emits the tests of one kind of operation; `failIf` gets what is not zero where the native operation is not enough.
 *
 * Numbers are tested by their bits as integers: shifted left by one they have no sign, zero is 0, denormals lie from 2 on,
 * then come normal numbers, infinity and NaNs. Vectors are tested by their exponent fields, all operands and the result at
 * once, and exactly only where a field is suspect.
 */
import type { Type } from '../src/ir/types.ts';
import type { Emitter, Expr } from './emitter.ts';

export type Shape = 'f32' | 'f64' | 'f32x4' | 'f64x2';
/** A value that may be used more than once. */
export type Use = () => Expr;
export interface FailIf {
  (condition: Expr): void;
  /**
   * Takes a quick test instead of emitting it, to make one of several: lanes with their highest bit set where a value is suspect, and what is to
   * be emitted where one is.
   */
  readonly suspect?: (lanes: Expr, settle: (failIf: FailIf) => void) => void;
}

export const typeOfShape = (shape: Shape): Type => (shape === 'f32' || shape === 'f64' ? shape : 'v128');
export const isVector = (shape: Shape): boolean => shape === 'f32x4' || shape === 'f64x2';
export const isDouble = (shape: Shape): boolean => shape === 'f64' || shape === 'f64x2';
/** The bits of a scalar. */
export const bitsOf = (e: Emitter, shape: Shape, x: Expr): Expr =>
  e.op(shape === 'f64' ? 'i64.reinterpret' : 'i32.reinterpret', x);

const integer = (shape: Shape): 'i32' | 'i64' => (isDouble(shape) ? 'i64' : 'i32');
const integers = (shape: Shape): string => (isDouble(shape) ? 'i64x2' : 'i32x4');
const fraction = (shape: Shape): bigint => (isDouble(shape) ? 52n : 23n);
const infinity = (shape: Shape): bigint => (isDouble(shape) ? 0x7ff0_0000_0000_0000n : 0x7f80_0000n);
const quiet = (shape: Shape): bigint => 1n << (fraction(shape) - 1n);
const leastNormal = (shape: Shape): number => (isDouble(shape) ? 2 ** -1022 : 2 ** -126);

// --- scalars
const constant = (e: Emitter, shape: Shape, n: bigint): Expr =>
  isDouble(shape) ? e.i64(n) : e.i32(Number(BigInt.asIntN(32, n)));
/** Without the sign, times two. */
const shifted = (e: Emitter, shape: Shape, x: Use): Expr =>
  e.op(`${integer(shape)}.shl`, bitsOf(e, shape, x()), constant(e, shape, 1n));
const compare = (e: Emitter, shape: Shape, name: string, a: Expr, n: bigint): Expr =>
  e.op(`${integer(shape)}.${name}`, a, constant(e, shape, n));

export const isZero = (e: Emitter, shape: Shape, x: Use): Expr => compare(e, shape, 'eq', shifted(e, shape, x), 0n);
export const isNotZero = (e: Emitter, shape: Shape, x: Use): Expr => compare(e, shape, 'ne', shifted(e, shape, x), 0n);
export function isDenormal(e: Emitter, shape: Shape, x: Use): Expr {
  const less = e.op(`${integer(shape)}.sub`, shifted(e, shape, x), constant(e, shape, 1n));
  return compare(e, shape, 'lt_u', less, (2n << fraction(shape)) - 1n);
}
export const isNan = (e: Emitter, shape: Shape, x: Use): Expr =>
  compare(e, shape, 'gt_u', shifted(e, shape, x), infinity(shape) << 1n);
/**
 * Not zero for a result that may have overflowed or underflowed, and for zero: exponent field 0 to 2 or the largest. 1 must
 * be there, since a tiny result may have been rounded up to the smallest normal number; 2 makes the test a simple one.
 * `exact`: nothing tiny was rounded, only 0 and the largest field count.
 */
export function isSuspect(e: Emitter, shape: Shape, x: Use, exact = false): Expr {
  const bits = bitsOf(e, shape, x());
  const head = isDouble(shape)
    ? e.op('i32.wrap', e.op('i64.shr_u', bits, e.i64(52n)))
    : e.op('i32.shr_u', bits, e.i32(23));
  const field = (isDouble(shape) ? 0x7fe : 0xfe) & (exact ? ~1 : ~3);
  return e.op('i32.eqz', e.op('i32.and', e.op('i32.add', head, e.i32(1)), e.i32(field)));
}

// --- vectors
/** One bit pattern in all lanes. */
function pattern(shape: Shape, n: bigint): number[] {
  const bytes = isDouble(shape) ? 8 : 4;
  return Array.from({ length: 16 }, (_, i) => Number((n >> BigInt((i % bytes) * 8)) & 255n));
}
const zeros = (e: Emitter): Expr => e.v128(new Array<number>(16).fill(0));
const splat = (e: Emitter, shape: Shape, n: number): Expr =>
  e.op(`${shape}.splat`, isDouble(shape) ? e.f64(n) : e.f32(n));
const floats = (e: Emitter, shape: Shape, name: string, a: Expr, c: Expr): Expr => e.op(`${shape}.${name}`, a, c);
const size = (e: Emitter, shape: Shape, x: Use): Expr => e.op(`${shape}.abs`, x());

/** What of a vector makes a lane suspect: an exponent field of 0, or as `isSuspect`; and what forgives it. */
interface Suspicion {
  readonly x: Use;
  readonly test: 'zero' | 'ends';
  /** Lanes of ones where the value is harmless. */
  forgiven(): Expr;
}

/** A word in each lane that is zero where the exponent field is suspect; few constants, so that they stay in registers. */
function fields(e: Emitter, shape: Shape, { x, test }: Suspicion): Expr {
  const pooled = (n: bigint) => e.pooled(pattern(shape, n));
  if (test === 'zero') return e.op('v128.and', x(), pooled(infinity(shape)));
  const bits = isDouble(shape) ? 64 : 32;
  // Minus the pattern of sign and exponent all ones = plus one in the exponent field.
  const plusOne = e.op(`${integers(shape)}.sub`, x(), pooled(BigInt.asUintN(bits, -1n << fraction(shape))));
  return e.op('v128.and', plusOne, pooled(infinity(shape) & ~(3n << fraction(shape))));
}

function failVectors(e: Emitter, shape: Shape, suspicions: readonly Suspicion[], failIf: FailIf): void {
  if (suspicions.length === 0) return;
  // Words are not negative and, for doubles, zero in their low halves: the least of them as 32-bit lanes is zero if one is.
  const least = suspicions.map((s) => fields(e, shape, s)).reduce((a, c) => e.op('i32x4.min_s', a, c));
  const isZeroWord = (words: Expr) => e.op(`${integers(shape)}.eq`, words, zeros(e));
  failLanes(e, shape, isZeroWord(least), failIf, (fail) => {
    const bad = suspicions.map((s) => e.op('v128.andnot', isZeroWord(fields(e, shape, s)), s.forgiven()));
    fail(
      e.op(
        'v128.any_true',
        bad.reduce((a, c) => e.op('v128.or', a, c)),
      ),
    );
  });
}
/** A quick test of a vector, and the exact one behind it. */
export function failLanes(
  e: Emitter,
  shape: Shape,
  suspect: Expr,
  failIf: FailIf,
  settle: (failIf: FailIf) => void,
): void {
  if (failIf.suspect === undefined) e.if(e.op(`${integers(shape)}.bitmask`, suspect), () => settle(failIf));
  else failIf.suspect(suspect, settle);
}
const equalsZero = (e: Emitter, shape: Shape, x: Use): Expr => floats(e, shape, 'eq', x(), zeros(e));
/** Zero, normal or infinite. */
function isNumber(e: Emitter, shape: Shape, x: Use): Expr {
  const normal = floats(e, shape, 'ge', size(e, shape, x), splat(e, shape, leastNormal(shape)));
  return e.op('v128.or', normal, equalsZero(e, shape, x));
}
const denormals = (e: Emitter, shape: Shape, open: readonly Use[]): Suspicion[] =>
  open.map((x) => ({ x, test: 'zero', forgiven: () => equalsZero(e, shape, x) }));

// --- operations; `open`: the operands that may be denormal
function failDenormals(e: Emitter, shape: Shape, open: readonly Use[], failIf: FailIf): void {
  for (const x of open) failIf(isDenormal(e, shape, x));
}

/** Sums: a tiny result is exact, but it would be a denormal operand next, and FTZ may be on. */
export function failSum(e: Emitter, shape: Shape, r: Use, open: readonly Use[], failIf: FailIf): void {
  if (isVector(shape)) {
    const finite = () => floats(e, shape, 'lt', size(e, shape, r), splat(e, shape, Number.POSITIVE_INFINITY));
    const result: Suspicion = { x: r, test: 'ends', forgiven: () => e.op('v128.and', isNumber(e, shape, r), finite()) };
    return failVectors(e, shape, [result, ...denormals(e, shape, open)], failIf);
  }
  e.if(isSuspect(e, shape, r, true), () => failIf(isNotZero(e, shape, r)));
  failDenormals(e, shape, open, failIf);
}

/** Products and quotients: a result of zero is right if one of `zeroFrom` is zero. */
export function failProduct(
  e: Emitter,
  shape: Shape,
  r: Use,
  zeroFrom: readonly Use[],
  open: readonly Use[],
  failIf: FailIf,
): void {
  if (isVector(shape)) {
    const fromZero = () => zeroFrom.map((x) => equalsZero(e, shape, x)).reduce((a, c) => e.op('v128.or', a, c));
    const forgiven = () => e.op('v128.and', equalsZero(e, shape, r), fromZero());
    return failVectors(e, shape, [{ x: r, test: 'ends', forgiven }, ...denormals(e, shape, open)], failIf);
  }
  e.if(isSuspect(e, shape, r), () => {
    const nonZero = zeroFrom.map((x) => isNotZero(e, shape, x)).reduce((a, c) => e.op('i32.and', a, c));
    failIf(e.op('i32.or', isNotZero(e, shape, r), nonZero));
  });
  failDenormals(e, shape, open, failIf);
}

/** Square roots: of a zero, a positive normal number or infinity. */
export function failRoot(e: Emitter, shape: Shape, a: Use, r: Use, open: readonly Use[], failIf: FailIf): void {
  if (isVector(shape)) {
    const result: Suspicion = { x: r, test: 'ends', forgiven: () => isNumber(e, shape, r) };
    return failVectors(e, shape, [result, ...denormals(e, shape, open)], failIf);
  }
  const least = 1n << fraction(shape);
  const above = e.op(`${integer(shape)}.sub`, bitsOf(e, shape, a()), constant(e, shape, least));
  e.if(compare(e, shape, 'gt_u', above, infinity(shape) - least), () => failIf(isNotZero(e, shape, a)));
}

/**
 * Comparisons and other operations that have no new result. `quietly`: quiet NaNs are welcome. `open`: the operands that
 * may be denormal; `unordered`: those that may be NaNs.
 */
export function failOperands(
  e: Emitter,
  shape: Shape,
  open: readonly Use[],
  unordered: readonly Use[],
  quietly: boolean,
  failIf: FailIf,
): void {
  if (isVector(shape)) {
    const isQuiet = (x: Use) => {
      const bit = e.op('v128.and', x(), e.v128(pattern(shape, quiet(shape))));
      return e.op('v128.and', floats(e, shape, 'ne', x(), x()), e.op(`${integers(shape)}.ne`, bit, zeros(e)));
    };
    const forgiven = (x: Use) => () =>
      quietly ? e.op('v128.or', isNumber(e, shape, x), isQuiet(x)) : isNumber(e, shape, x);
    const all = [...new Set([...open, ...unordered])];
    return failVectors(
      e,
      shape,
      all.map((x) => ({ x, test: 'ends', forgiven: forgiven(x) })),
      failIf,
    );
  }
  failDenormals(e, shape, open, failIf);
  for (const x of unordered) {
    if (!quietly) failIf(isNan(e, shape, x));
    else {
      const bit = () => e.op(`${integer(shape)}.and`, bitsOf(e, shape, x()), constant(e, shape, quiet(shape)));
      e.if(isNan(e, shape, x), () => failIf(e.op(`${integer(shape)}.eqz`, bit())));
    }
  }
}

/** Not zero if a lane is a denormal, or (`nans`) a NaN: for values that come in from elsewhere. */
export function isUnfit(e: Emitter, shape: Shape, x: Use, nans: boolean): Expr {
  if (!isVector(shape)) {
    const denormal = isDenormal(e, shape, x);
    return nans ? e.op('i32.or', denormal, isNan(e, shape, x)) : denormal;
  }
  const number = isNumber(e, shape, x);
  const fine = nans ? number : e.op('v128.or', number, floats(e, shape, 'ne', x(), x()));
  return e.op('i32.eqz', e.op(`${integers(shape)}.all_true`, fine));
}
