/*
 * Fused multiply-add, a * b + c with one rounding (SDM volume 1, 14.5.2). The NaN that is returned is the first in the
 * order a, b, c, its sign unchanged, where a is the first factor in the manual's formula (VFMADD213: operand 2); infinity times zero is invalid unless c is a NaN.
 */
import { setRaised } from './result';
import { infinity, signBit } from './round-pack';
import {
  denormalFlag,
  exponentOf,
  flushInput,
  invalid,
  isInfinite,
  isNan,
  isSignalling,
  magnitude,
  nanResult,
  roundResult,
  significandOf,
  zeroSum,
} from './sse-operand';
import { low, multiplyHigh, shiftRightSticky } from './wide';

/** What of a * b + c is negated: the addend, the product. */
const ADDEND: u32 = 1;
const PRODUCT: u32 = 2;

function fma<T>(a: T, b: T, c: T, mxcsr: u32, negated: u32): T {
  if (isNan<T>(a) || isNan<T>(b) || isNan<T>(c)) {
    if (!isNan<T>(a) && !isNan<T>(b)) return nanResult<T>(c, c);
    const result = nanResult<T>(a, b);
    if (isSignalling<T>(c)) setRaised(1);
    return result;
  }
  if ((negated & PRODUCT) !== 0) a ^= signBit<T>();
  if ((negated & ADDEND) !== 0) c ^= signBit<T>();
  a = flushInput<T>(a, mxcsr);
  b = flushInput<T>(b, mxcsr);
  c = flushInput<T>(c, mxcsr);
  const before = denormalFlag<T>(a) | denormalFlag<T>(b) | denormalFlag<T>(c);
  const sign = (a ^ b) & signBit<T>();
  const addendSign = c & signBit<T>();
  if (isInfinite<T>(a) || isInfinite<T>(b)) {
    if (magnitude<T>(a) === 0 || magnitude<T>(b) === 0) return invalid<T>();
    if (isInfinite<T>(c) && sign !== addendSign) return invalid<T>();
    setRaised(before);
    return sign | infinity<T>();
  }
  if (isInfinite<T>(c)) {
    setRaised(before);
    return c;
  }
  const cZero = magnitude<T>(c) === 0;
  if (magnitude<T>(a) === 0 || magnitude<T>(b) === 0) {
    if (!cZero) return roundResult<T>(addendSign !== 0, exponentOf<T>(c), significandOf<T>(c), mxcsr, before);
    setRaised(before);
    return sign === addendSign ? sign : zeroSum<T>(mxcsr);
  }
  const sa = significandOf<T>(a);
  const sb = significandOf<T>(b);
  // The product with its binary point after bit 126: one bit of room for a carry once it is below 2.
  let productHigh = multiplyHigh(sa, sb);
  let productLow = sa * sb;
  let exponent = exponentOf<T>(a) + exponentOf<T>(b) + 1;
  if (<i64>productHigh >= 0) {
    productHigh = (productHigh << 1) | (productLow >> 63);
    productLow <<= 1;
    exponent--;
  }
  if (cZero) return roundResult<T>(sign !== 0, exponent, productHigh | u64(productLow !== 0), mxcsr, before);
  productLow = (productLow >> 1) | (productHigh << 63);
  productHigh >>= 1;
  const cExponent = exponentOf<T>(c);
  let addendHigh = significandOf<T>(c) >> 1;
  let addendLow: u64 = 0;
  let negative = sign !== 0;
  if (exponent >= cExponent) {
    addendHigh = shiftRightSticky(addendHigh, 0, exponent - cExponent);
    addendLow = low;
  } else {
    productHigh = shiftRightSticky(productHigh, productLow, cExponent - exponent);
    productLow = low;
    exponent = cExponent;
  }
  let high: u64;
  let lower: u64;
  if (sign === addendSign) {
    lower = productLow + addendLow;
    high = productHigh + addendHigh + u64(lower < productLow);
  } else {
    lower = productLow - addendLow;
    high = productHigh - addendHigh - u64(productLow < addendLow);
    if (<i64>high < 0) {
      negative = !negative;
      lower = 0 - lower;
      high = ~high + u64(lower === 0);
    }
    if ((high | lower) === 0) {
      setRaised(before);
      return zeroSum<T>(mxcsr);
    }
  }
  exponent++;
  if (high === 0) {
    high = lower;
    lower = 0;
    exponent -= 64;
  }
  const shift = clz(high);
  if (shift !== 0) {
    high = (high << shift) | (lower >> (64 - shift));
    lower <<= shift;
  }
  return roundResult<T>(negative, exponent - <i32>shift, high | u64(lower !== 0), mxcsr, before);
}

/** VFMADDSD and its relatives: a * b + c, a being the factor that the manual's formula names first; `negated`: 1 = c, 2 = the product. */
export function f64Fma(a: u64, b: u64, c: u64, mxcsr: u32, negated: u32): u64 {
  return fma<u64>(a, b, c, mxcsr, negated);
}

/** VFMADDSS and its relatives, as `f64Fma`. */
export function f32Fma(a: u32, b: u32, c: u32, mxcsr: u32, negated: u32): u32 {
  return fma<u32>(a, b, c, mxcsr, negated);
}
