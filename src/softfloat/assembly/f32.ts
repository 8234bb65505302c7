/*
 * Single precision SSE arithmetic: like f64.ts, with doubles to find out whether a result is exact.
 */
import { PRECISION, setRaised } from './result';
import { add, divide, multiply, squareRootOf, subtract } from './sse-arithmetic';
import { isMiddling, isNearest } from './sse-operand';

function sum(x: f32, y: f32): u32 {
  const result = x + y;
  const part = result - x;
  const error = x - (result - part) + (y - part);
  setRaised(error !== 0 ? PRECISION : 0);
  return reinterpret<u32>(result);
}

/** ADDSS. */
export function f32Add(a: u32, b: u32, mxcsr: u32): u32 {
  if (isNearest(mxcsr) && isMiddling<u32>(a) && isMiddling<u32>(b))
    return sum(reinterpret<f32>(a), reinterpret<f32>(b));
  return add<u32>(a, b, mxcsr);
}

/** SUBSS. */
export function f32Sub(a: u32, b: u32, mxcsr: u32): u32 {
  if (isNearest(mxcsr) && isMiddling<u32>(a) && isMiddling<u32>(b))
    return sum(reinterpret<f32>(a), -reinterpret<f32>(b));
  return subtract<u32>(a, b, mxcsr);
}

/** MULSS. */
export function f32Mul(a: u32, b: u32, mxcsr: u32): u32 {
  if (isNearest(mxcsr) && isMiddling<u32>(a) && isMiddling<u32>(b)) {
    const product = <f64>reinterpret<f32>(a) * <f64>reinterpret<f32>(b);
    const result = <f32>product;
    setRaised(<f64>result !== product ? PRECISION : 0);
    return reinterpret<u32>(result);
  }
  return multiply<u32>(a, b, mxcsr);
}

/** DIVSS. */
export function f32Div(a: u32, b: u32, mxcsr: u32): u32 {
  if (isNearest(mxcsr) && isMiddling<u32>(a) && isMiddling<u32>(b)) {
    const result = reinterpret<f32>(a) / reinterpret<f32>(b);
    setRaised(<f64>result * <f64>reinterpret<f32>(b) !== <f64>reinterpret<f32>(a) ? PRECISION : 0);
    return reinterpret<u32>(result);
  }
  return divide<u32>(a, b, mxcsr);
}

/** SQRTSS. */
export function f32Sqrt(a: u32, mxcsr: u32): u32 {
  if (isNearest(mxcsr) && <i32>a > 0 && isMiddling<u32>(a)) {
    const result = sqrt(reinterpret<f32>(a));
    setRaised(<f64>result * <f64>result !== <f64>reinterpret<f32>(a) ? PRECISION : 0);
    return reinterpret<u32>(result);
  }
  return squareRootOf<u32>(a, mxcsr);
}
