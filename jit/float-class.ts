/**
 * Classes of floating point values, as generated code tests them: for the four shapes in which SSE computes, the cheap
 * test that almost every value passes, and the exact classes behind it.
 *
 * The cheap test of a result is on its exponent field alone: 0 to 2 and the largest one (infinities and NaNs) are set
 * aside. 1 must be, since a tiny result may have been rounded up to the smallest normal number; so is 2, for the sake of
 * a test without a comparison: the field plus 1 has a bit above the lowest two.
 */
import type { Type } from '../src/ir/types.ts';
import type { Emitter, Expr } from './emitter.ts';

export type Shape = 'f32' | 'f64' | 'f32x4' | 'f64x2';
/** A value that may be used more than once. */
export type Use = () => Expr;

export const typeOfShape = (shape: Shape): Type => (shape === 'f32' || shape === 'f64' ? shape : 'v128');
export const isVector = (shape: Shape): boolean => shape === 'f32x4' || shape === 'f64x2';
export const isDouble = (shape: Shape): boolean => shape === 'f64' || shape === 'f64x2';
/** The bits of a scalar. */
export const bitsOf = (e: Emitter, shape: Shape, x: Expr): Expr =>
  e.op(shape === 'f64' ? 'i64.reinterpret' : 'i32.reinterpret', x);

/** One bit pattern in all lanes. */
function lanesOf(shape: Shape, pattern: bigint): number[] {
  const bytes = isDouble(shape) ? 8 : 4;
  return Array.from({ length: 16 }, (_, i) => Number((pattern >> BigInt((i % bytes) * 8)) & 255n));
}
const splat = (e: Emitter, shape: Shape, pattern: bigint): Expr => e.v128(lanesOf(shape, pattern));
const integers = (shape: Shape): string => (isDouble(shape) ? 'i64x2' : 'i32x4');
const fraction = (shape: Shape): bigint => (isDouble(shape) ? 52n : 23n);
const size = (shape: Shape): bigint => (isDouble(shape) ? 64n : 32n);
const mask = (shape: Shape, n: bigint): bigint => BigInt.asUintN(Number(size(shape)), n);
const exponentMask = (shape: Shape): bigint => (isDouble(shape) ? 0x7ff0_0000_0000_0000n : 0x7f80_0000n);
const magnitudeMask = (shape: Shape): bigint => (1n << (size(shape) - 1n)) - 1n;

/** Sign and exponent field of a scalar as an i32. */
function head(e: Emitter, shape: Shape, x: Expr): Expr {
  if (shape === 'f64') return e.op('i32.wrap', e.op('i64.shr_u', bitsOf(e, shape, x), e.i64(52n)));
  return e.op('i32.shr_u', bitsOf(e, shape, x), e.i32(23));
}

/**
 * A word that is zero where the value is set aside: `result` = exponent field 0 to 2 or the largest; `number` = 0 or the
 * largest; `operand` = 0. Vectors: a word in each lane.
 */
export type Test = 'result' | 'number' | 'operand';
function word(e: Emitter, shape: Shape, x: Expr, test: Test): Expr {
  if (!isVector(shape)) {
    const field = isDouble(shape) ? 0x7ff : 0xff;
    if (test === 'operand') return e.op('i32.and', head(e, shape, x), e.i32(field));
    return e.op('i32.and', e.op('i32.add', head(e, shape, x), e.i32(1)), e.i32(field & (test === 'result' ? ~3 : ~1)));
  }
  // Few constants, so that they stay in registers: `number` is tested as `result`.
  const pooled = (pattern: bigint) => e.pooled(lanesOf(shape, pattern));
  if (test === 'operand') return e.op('v128.and', x, pooled(exponentMask(shape)));
  // Minus the pattern of sign and exponent all ones = plus one in the exponent field.
  const plusOne = e.op(`${integers(shape)}.sub`, x, pooled(mask(shape, -1n << fraction(shape))));
  return e.op('v128.and', plusOne, pooled(exponentMask(shape) & ~(3n << fraction(shape))));
}

/** Conditions of which one is not zero if a value, in any lane, is set aside by its test. */
export function setAside(e: Emitter, shape: Shape, values: readonly (readonly [Use, Test])[]): Expr[] {
  if (values.length === 0) return [];
  if (!isVector(shape)) return values.map(([x, test]) => e.op('i32.eqz', word(e, shape, x(), test)));
  // Words are not negative and, for doubles, zero in their low halves: the least of them as 32-bit lanes is zero if one is.
  const least = values.map(([x, test]) => word(e, shape, x(), test)).reduce((a, c) => e.op('i32x4.min_s', a, c));
  const zero = e.op(`${integers(shape)}.eq`, least, e.v128(new Array<number>(16).fill(0)));
  return [e.op(`${integers(shape)}.bitmask`, zero)];
}

/**
 * Exact classes. A scalar's answer is an i32 0 or 1, a vector's a mask of lanes: combine them with `both`, `either` and
 * `not`, and end with `any`.
 */
export class Classes {
  private readonly e: Emitter;
  private readonly shape: Shape;

  constructor(e: Emitter, shape: Shape) {
    this.e = e;
    this.shape = shape;
  }
  private get integer(): string {
    return isDouble(this.shape) ? 'i64' : 'i32';
  }
  private constant(n: bigint): Expr {
    return this.integer === 'i64' ? this.e.i64(n) : this.e.i32(Number(BigInt.asIntN(32, n)));
  }
  private magnitude(x: Expr): Expr {
    const { e, shape } = this;
    if (isVector(shape)) return e.op('v128.and', x, splat(e, shape, magnitudeMask(shape)));
    return e.op(`${this.integer}.and`, bitsOf(e, shape, x), this.constant(magnitudeMask(shape)));
  }
  /** Magnitude as an integer compared with a pattern; magnitudes are not negative as integers. */
  private compare(name: 'eq' | 'lt_s' | 'gt_s', x: Use, pattern: bigint): Expr {
    const { e, shape } = this;
    if (isVector(shape)) return e.op(`${integers(shape)}.${name}`, this.magnitude(x()), splat(e, shape, pattern));
    return e.op(`${this.integer}.${name}`, this.magnitude(x()), this.constant(pattern));
  }
  zero(x: Use): Expr {
    return this.compare('eq', x, 0n);
  }
  denormal(x: Use): Expr {
    return this.both(this.compare('lt_s', x, 1n << fraction(this.shape)), this.not(this.zero(x)));
  }
  nan(x: Use): Expr {
    return this.compare('gt_s', x, exponentMask(this.shape));
  }
  signallingNan(x: Use): Expr {
    const { e, shape } = this;
    const quiet = 1n << (fraction(shape) - 1n);
    const isQuiet = isVector(shape)
      ? e.op(`${integers(shape)}.ne`, e.op('v128.and', x(), splat(e, shape, quiet)), splat(e, shape, 0n))
      : e.op(
          `${this.integer}.ne`,
          e.op(`${this.integer}.and`, bitsOf(e, shape, x()), this.constant(quiet)),
          this.constant(0n),
        );
    return this.both(this.nan(x), this.not(isQuiet));
  }
  notFinite(x: Use): Expr {
    return this.compare('gt_s', x, exponentMask(this.shape) - 1n);
  }
  /** Not above the smallest normal number: a result that may have underflowed, or a zero. */
  small(x: Use): Expr {
    return this.compare('lt_s', x, (1n << fraction(this.shape)) + 1n);
  }
  both(a: Expr, c: Expr): Expr {
    return this.e.op(isVector(this.shape) ? 'v128.and' : 'i32.and', a, c);
  }
  either(...all: Expr[]): Expr {
    if (all.length === 0) return isVector(this.shape) ? splat(this.e, this.shape, 0n) : this.e.i32(0);
    return all.reduce((a, c) => this.e.op(isVector(this.shape) ? 'v128.or' : 'i32.or', a, c));
  }
  not(a: Expr): Expr {
    return isVector(this.shape) ? this.e.op('v128.not', a) : this.e.op('i32.eqz', a);
  }
  any(a: Expr): Expr {
    return isVector(this.shape) ? this.e.op('v128.any_true', a) : a;
  }
}
