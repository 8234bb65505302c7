/*
 * Double precision SSE arithmetic. Where operands are far from the ends of the range and rounding is to nearest, the native
 * instruction gives the result, and an integer or error-free computation whether it is exact; else sse-arithmetic.ts.
 */
import { PRECISION, setRaised } from './result';
import { add, divide, multiply, squareRootOf, subtract } from './sse-arithmetic';
import { isMiddling, isNearest } from './sse-operand';

const TOP_BIT: u64 = 1 << 52;
const FRACTION: u64 = TOP_BIT - 1;

function significand(a: u64): u64 {
  return (a & FRACTION) | TOP_BIT;
}

function sum(x: f64, y: f64): u64 {
  const result = x + y;
  const part = result - x;
  const error = x - (result - part) + (y - part);
  setRaised(error !== 0 ? PRECISION : 0);
  return reinterpret<u64>(result);
}

/** ADDSD. */
export function f64Add(a: u64, b: u64, mxcsr: u32): u64 {
  if (isNearest(mxcsr) && isMiddling<u64>(a) && isMiddling<u64>(b))
    return sum(reinterpret<f64>(a), reinterpret<f64>(b));
  return add<u64>(a, b, mxcsr);
}

/** SUBSD. */
export function f64Sub(a: u64, b: u64, mxcsr: u32): u64 {
  if (isNearest(mxcsr) && isMiddling<u64>(a) && isMiddling<u64>(b))
    return sum(reinterpret<f64>(a), -reinterpret<f64>(b));
  return subtract<u64>(a, b, mxcsr);
}

/** MULSD. */
export function f64Mul(a: u64, b: u64, mxcsr: u32): u64 {
  if (isNearest(mxcsr) && isMiddling<u64>(a) && isMiddling<u64>(b)) {
    const result = reinterpret<u64>(reinterpret<f64>(a) * reinterpret<f64>(b));
    // The product of the significands has 105 or 106 bits, of which 53 are kept.
    const carried = ((result >> 52) - (a >> 52) - (b >> 52) + 1023) & 1;
    const lost = (significand(a) * significand(b)) << (12 - carried);
    setRaised(lost !== 0 ? PRECISION : 0);
    return result;
  }
  return multiply<u64>(a, b, mxcsr);
}

/** DIVSD. */
export function f64Div(a: u64, b: u64, mxcsr: u32): u64 {
  if (isNearest(mxcsr) && isMiddling<u64>(a) && isMiddling<u64>(b)) {
    const result = reinterpret<u64>(reinterpret<f64>(a) / reinterpret<f64>(b));
    // Quotient times divisor differs from the dividend by less than 2^64 units: compare the low words.
    const scale = 52 + (((result >> 52) - (a >> 52) + (b >> 52) - 1023) & 1);
    const exact = significand(result) * significand(b) === significand(a) << scale;
    setRaised(exact ? 0 : PRECISION);
    return result;
  }
  return divide<u64>(a, b, mxcsr);
}

/** SQRTSD. */
export function f64Sqrt(a: u64, mxcsr: u32): u64 {
  if (isNearest(mxcsr) && <i64>a > 0 && isMiddling<u64>(a)) {
    const result = reinterpret<u64>(sqrt(reinterpret<f64>(a)));
    const root = significand(result);
    // An even biased exponent is an odd true one.
    const scale = 53 - ((a >> 52) & 1);
    setRaised(root * root === significand(a) << scale ? 0 : PRECISION);
    return result;
  }
  return squareRootOf<u64>(a, mxcsr);
}
