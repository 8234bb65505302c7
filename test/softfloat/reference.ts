/*
 * The true values of the transcendental operations, from BigInt arithmetic with 320 bits: finite operands only.
 */
import {
  arctangent,
  cosine,
  divide,
  exponentialMinusOne,
  LN2,
  logarithmOfOnePlus,
  ONE,
  PI,
  PRECISION,
  sine,
} from '../../src/softfloat/big-real.ts';
import type { Operand } from './operands.ts';

/** A number: units * 2^exponent, with many more bits than an 80-bit number has. */
export interface True {
  readonly units: bigint;
  readonly exponent: number;
}

/** The 66 bits of pi (times 2^64) by which Intel's processors reduce arguments. */
const PI66 = 0x3243f6a8885a308d3n;

const exponentOf = (operand: Operand): number => Math.max(operand.se & 0x7fff, 1) - 16383 - 63;
const signed = (operand: Operand): bigint => ((operand.se & 0x8000) !== 0 ? -operand.m : operand.m);
const sizeOf = (value: bigint): number => (value < 0n ? -value : value).toString(2).length;
/** The exponent of the leading bit. */
const leadingExponent = (operand: Operand): number => exponentOf(operand) + sizeOf(operand.m) - 1;

/** The operand as a fixed point number with 320 bits after the point, where it is large enough. */
function fixed(operand: Operand): bigint {
  const shift = BigInt(exponentOf(operand)) + PRECISION;
  return shift >= 0n ? signed(operand) << shift : signed(operand) >> -shift;
}

const asTrue = (value: bigint): True => ({ units: value, exponent: -Number(PRECISION) });

/** x * factor for an x so small that the next term of the series does not count. */
const linear = (x: Operand, factor: bigint): True => ({
  units: signed(x) * factor,
  exponent: exponentOf(x) - Number(PRECISION),
});

const isTiny = (x: Operand): boolean => leadingExponent(x) < -100;

/** 2^x - 1. */
export function powerOfTwoMinusOne(x: Operand): True {
  return isTiny(x) ? linear(x, LN2) : asTrue(exponentialMinusOne((fixed(x) * LN2) >> PRECISION));
}

function times(y: Operand, logarithm: True): True {
  return { units: signed(y) * logarithm.units, exponent: exponentOf(y) + logarithm.exponent };
}

/** y * log2(x). */
export function yLog2(x: Operand, y: Operand): True {
  const exponent = leadingExponent(x);
  const significand = (x.m << PRECISION) >> BigInt(sizeOf(x.m) - 1);
  const logarithm = divide(logarithmOfOnePlus(significand - ONE), LN2) + BigInt(exponent) * ONE;
  return times(y, asTrue(logarithm));
}

/** y * log2(1 + x). */
export function yLog2OfOnePlus(x: Operand, y: Operand): True {
  if (isTiny(x)) return times(y, linear(x, divide(ONE, LN2)));
  return times(y, asTrue(divide(logarithmOfOnePlus(fixed(x)), LN2)));
}

/** Reduces |x| by multiples of half of the 66-bit pi. */
function reduce(x: Operand): { quadrant: bigint; rest: bigint } {
  const size = fixed({ m: x.m, se: x.se & 0x7fff });
  const half = PI66 << (PRECISION - 65n);
  const quadrant = (size + half / 2n) / half;
  return { quadrant: quadrant & 3n, rest: size - quadrant * half };
}

function sineOf(quadrant: bigint, rest: bigint): bigint {
  const value = (quadrant & 1n) === 0n ? sine(rest) : cosine(rest);
  return (quadrant & 2n) === 0n ? value : -value;
}

/** The sine of x. */
export function sineOfOperand(x: Operand): True {
  if (isTiny(x)) return linear(x, ONE);
  const { quadrant, rest } = reduce(x);
  const value = sineOf(quadrant, rest);
  return asTrue((x.se & 0x8000) !== 0 ? -value : value);
}

/** The cosine of x. */
export function cosineOfOperand(x: Operand): True {
  if (isTiny(x)) return asTrue(ONE - 1n);
  const { quadrant, rest } = reduce(x);
  return asTrue(sineOf(quadrant + 1n, rest));
}

/** The tangent of x. */
export function tangentOfOperand(x: Operand): True {
  if (isTiny(x)) return linear(x, ONE);
  const { quadrant, rest } = reduce(x);
  const value = divide(sineOf(quadrant, rest), sineOf(quadrant + 1n, rest));
  return asTrue((x.se & 0x8000) !== 0 ? -value : value);
}

/** The angle of the point (x, y). */
export function angle(x: Operand, y: Operand): True {
  const distance = leadingExponent(y) - leadingExponent(x);
  const negative = (y.se & 0x8000) !== 0;
  const left = (x.se & 0x8000) !== 0;
  if (distance < -200 && !left) {
    // no more than the quotient
    const units = (y.m << 512n) / x.m;
    return { units: negative ? -units : units, exponent: exponentOf(y) - exponentOf(x) - 512 };
  }
  const apart = BigInt(Math.min(Math.abs(exponentOf(y) - exponentOf(x)), 20000));
  const [a, b] = exponentOf(y) > exponentOf(x) ? [x.m, y.m << apart] : [x.m << apart, y.m];
  let value = b > a ? PI / 2n - arctangent(divide(a, b)) : arctangent(divide(b, a));
  if (left) value = PI - value;
  return asTrue(negative ? -value : value);
}

/** How far a normal 80-bit result is from the truth, in thousandths of a unit of its last place; positive: further from zero. */
export function errorOf(result: Operand, truth: True): number {
  const unit = exponentOf(result);
  const shift = BigInt(unit - truth.exponent);
  const size = truth.units < 0n ? -truth.units : truth.units;
  if (shift < 20n) throw new Error('the reference is not precise enough');
  const difference = (result.m << shift) - size;
  return Number((difference * 1_000_000n) >> shift) / 1000;
}
