/*
 * The SSE operations in integer arithmetic, once for singles and doubles: every rounding mode, special operands, DAZ,
 * FTZ and exact exception flags (SDM volume 1, 11.5; volume 2, ADDSD and its like). f32.ts and f64.ts put native fast
 * paths before them.
 */
import { setRaised, ZERO_DIVIDE } from './result';
import { infinity, signBit } from './round-pack';
import {
  denormalFlag,
  exponentOf,
  flushInput,
  invalid,
  isInfinite,
  isNan,
  isNegative,
  magnitude,
  nanResult,
  roundResult,
  significandOf,
  zeroSum,
} from './sse-operand';
import { divide128, low, multiplyHigh, shiftRightJam, squareRoot } from './wide';

/** a + b. */
export function add<T>(a: T, b: T, mxcsr: u32): T {
  if (isNan<T>(a) || isNan<T>(b)) return nanResult<T>(a, b);
  a = flushInput<T>(a, mxcsr);
  b = flushInput<T>(b, mxcsr);
  const before = denormalFlag<T>(a) | denormalFlag<T>(b);
  if (isInfinite<T>(a)) {
    if (isInfinite<T>(b) && a !== b) return invalid<T>();
    setRaised(before);
    return a;
  }
  if (isInfinite<T>(b)) {
    setRaised(before);
    return b;
  }
  if (magnitude<T>(a) === 0) {
    if (magnitude<T>(b) !== 0)
      return roundResult<T>(isNegative<T>(b), exponentOf<T>(b), significandOf<T>(b), mxcsr, before);
    setRaised(0);
    return a === b ? a : zeroSum<T>(mxcsr);
  }
  if (magnitude<T>(b) === 0)
    return roundResult<T>(isNegative<T>(a), exponentOf<T>(a), significandOf<T>(a), mxcsr, before);
  if (magnitude<T>(a) < magnitude<T>(b)) {
    const c = a;
    a = b;
    b = c;
  }
  // One bit of room for a carry; the formats leave enough spare bits below.
  const exponent = exponentOf<T>(a) + 1;
  const large = significandOf<T>(a) >> 1;
  const small = shiftRightJam(significandOf<T>(b) >> 1, exponent - 1 - exponentOf<T>(b));
  const sum = isNegative<T>(a) === isNegative<T>(b) ? large + small : large - small;
  if (sum === 0) {
    setRaised(before);
    return zeroSum<T>(mxcsr);
  }
  const shift = clz(sum);
  return roundResult<T>(isNegative<T>(a), exponent - <i32>shift, sum << shift, mxcsr, before);
}

/** a - b. */
export function subtract<T>(a: T, b: T, mxcsr: u32): T {
  return isNan<T>(b) ? add<T>(a, b, mxcsr) : add<T>(a, b ^ signBit<T>(), mxcsr);
}

/** a * b. */
export function multiply<T>(a: T, b: T, mxcsr: u32): T {
  if (isNan<T>(a) || isNan<T>(b)) return nanResult<T>(a, b);
  a = flushInput<T>(a, mxcsr);
  b = flushInput<T>(b, mxcsr);
  const before = denormalFlag<T>(a) | denormalFlag<T>(b);
  const sign = (a ^ b) & signBit<T>();
  if (isInfinite<T>(a) || isInfinite<T>(b)) {
    if (magnitude<T>(a) === 0 || magnitude<T>(b) === 0) return invalid<T>();
    setRaised(before);
    return sign | infinity<T>();
  }
  if (magnitude<T>(a) === 0 || magnitude<T>(b) === 0) {
    setRaised(before);
    return sign;
  }
  const sa = significandOf<T>(a);
  const sb = significandOf<T>(b);
  let product = multiplyHigh(sa, sb) | u64(sa * sb !== 0);
  let exponent = exponentOf<T>(a) + exponentOf<T>(b) + 1;
  if (<i64>product >= 0) {
    product <<= 1;
    exponent--;
  }
  return roundResult<T>(sign !== 0, exponent, product, mxcsr, before);
}

/** a / b. */
export function divide<T>(a: T, b: T, mxcsr: u32): T {
  if (isNan<T>(a) || isNan<T>(b)) return nanResult<T>(a, b);
  a = flushInput<T>(a, mxcsr);
  b = flushInput<T>(b, mxcsr);
  const before = denormalFlag<T>(a) | denormalFlag<T>(b);
  const sign = (a ^ b) & signBit<T>();
  if (isInfinite<T>(a)) {
    if (isInfinite<T>(b)) return invalid<T>();
    setRaised(before);
    return sign | infinity<T>();
  }
  if (magnitude<T>(b) === 0) {
    if (magnitude<T>(a) === 0) return invalid<T>();
    setRaised(ZERO_DIVIDE);
    return sign | infinity<T>();
  }
  if (magnitude<T>(a) === 0 || isInfinite<T>(b)) {
    setRaised(before);
    return sign;
  }
  let exponent = exponentOf<T>(a) - exponentOf<T>(b);
  let dividend = significandOf<T>(a);
  const divisor = significandOf<T>(b);
  if (dividend >= divisor) dividend >>= 1;
  else exponent--;
  const quotient = divide128(dividend, 0, divisor);
  return roundResult<T>(sign !== 0, exponent, quotient | u64(low !== 0), mxcsr, before);
}

/** The square root of a. */
export function squareRootOf<T>(a: T, mxcsr: u32): T {
  if (isNan<T>(a)) return nanResult<T>(a, a);
  a = flushInput<T>(a, mxcsr);
  if (magnitude<T>(a) === 0 || a === infinity<T>()) {
    setRaised(0);
    return a;
  }
  if (isNegative<T>(a)) return invalid<T>();
  const exponent = exponentOf<T>(a);
  // The significand has spare low bits, so that halving it loses none.
  const root = squareRoot(significandOf<T>(a) >> u64((exponent & 1) === 0), 0);
  return roundResult<T>(false, exponent >> 1, root | u64(low !== 0), mxcsr, denormalFlag<T>(a));
}
