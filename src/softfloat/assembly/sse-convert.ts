/*
 * Conversions between singles, doubles and integers, and ROUNDSD (SDM volume 2, CVTSD2SI and its like; volume 1, 11.5.2).
 */
import { INVALID, PRECISION, raised, setRaised } from './result';
import { exponentBias, fractionBits, infinity, roundToMagnitude, signBit, ZERO } from './round-pack';
import {
  denormalFlag,
  exponentOf,
  flushInput,
  isInfinite,
  isNan,
  isNegative,
  isSignalling,
  magnitude,
  nanResult,
  quietBit,
  roundResult,
  significandOf,
} from './sse-operand';

/** CVTSS2SD. */
export function f32ToF64(a: u32, mxcsr: u32): u64 {
  const sign = (<u64>(a & 0x80000000)) << 32;
  if (isNan<u32>(a)) {
    setRaised(isSignalling<u32>(a) ? INVALID : 0);
    return sign | infinity<u64>() | quietBit<u64>() | ((<u64>(a & 0x3fffff)) << 29);
  }
  a = flushInput<u32>(a, mxcsr);
  setRaised(denormalFlag<u32>(a));
  return reinterpret<u64>(<f64>reinterpret<f32>(a));
}

/** CVTSD2SS. */
export function f64ToF32(a: u64, mxcsr: u32): u32 {
  const sign = <u32>(a >> 32) & 0x80000000;
  if (isNan<u64>(a)) {
    setRaised(isSignalling<u64>(a) ? INVALID : 0);
    return sign | infinity<u32>() | quietBit<u32>() | (<u32>(a >> 29) & 0x3fffff);
  }
  a = flushInput<u64>(a, mxcsr);
  if (magnitude<u64>(a) === 0) {
    setRaised(0);
    return sign;
  }
  if (isInfinite<u64>(a)) {
    setRaised(0);
    return sign | infinity<u32>();
  }
  return roundResult<u32>(sign !== 0, exponentOf<u64>(a), significandOf<u64>(a), mxcsr, denormalFlag<u64>(a));
}

function fromInteger<T>(value: i64, mxcsr: u32): T {
  if (value === 0) {
    setRaised(0);
    return 0;
  }
  const size = value < 0 ? 0 - <u64>value : <u64>value;
  const shift = clz(size);
  return roundResult<T>(value < 0, 63 - <i32>shift, size << shift, mxcsr, 0);
}

/** CVTSI2SS from 32 bits. */
export function i32ToF32(value: i32, mxcsr: u32): u32 {
  return fromInteger<u32>(value, mxcsr);
}

/** CVTSI2SS from 64 bits. */
export function i64ToF32(value: i64, mxcsr: u32): u32 {
  return fromInteger<u32>(value, mxcsr);
}

/** CVTSI2SD from 32 bits: always exact. */
export function i32ToF64(value: i32): u64 {
  setRaised(0);
  return reinterpret<u64>(<f64>value);
}

/** CVTSI2SD from 64 bits. */
export function i64ToF64(value: i64, mxcsr: u32): u64 {
  return fromInteger<u64>(value, mxcsr);
}

/** a as an integer of at most `limit` in magnitude (one more when negative), or the integer indefinite -limit - 1. */
function toInteger<T>(a: T, mxcsr: u32, truncate: u32, limit: u64): u64 {
  a = flushInput<T>(a, mxcsr);
  if (magnitude<T>(a) === 0) {
    setRaised(0);
    return 0;
  }
  const exponent = exponentOf<T>(a);
  if (exponent > 63) {
    setRaised(INVALID);
    return ~limit;
  }
  const negative = isNegative<T>(a);
  const size = roundToMagnitude(negative, exponent, significandOf<T>(a), truncate !== 0 ? ZERO : (mxcsr >> 13) & 3);
  if ((raised & INVALID) !== 0 || size > limit + u64(negative)) {
    setRaised(INVALID);
    return ~limit;
  }
  setRaised(raised & PRECISION);
  return negative ? 0 - size : size;
}

/** CVTSS2SI and CVTTSS2SI (truncate 1) to 32 bits. */
export function f32ToI32(a: u32, mxcsr: u32, truncate: u32): u32 {
  return <u32>toInteger<u32>(a, mxcsr, truncate, 0x7fffffff);
}

/** CVTSS2SI and CVTTSS2SI (truncate 1) to 64 bits. */
export function f32ToI64(a: u32, mxcsr: u32, truncate: u32): u64 {
  return toInteger<u32>(a, mxcsr, truncate, 0x7fffffff_ffffffff);
}

/** CVTSD2SI and CVTTSD2SI (truncate 1) to 32 bits. */
export function f64ToI32(a: u64, mxcsr: u32, truncate: u32): u32 {
  return <u32>toInteger<u64>(a, mxcsr, truncate, 0x7fffffff);
}

/** CVTSD2SI and CVTTSD2SI (truncate 1) to 64 bits. */
export function f64ToI64(a: u64, mxcsr: u32, truncate: u32): u64 {
  return toInteger<u64>(a, mxcsr, truncate, 0x7fffffff_ffffffff);
}

function roundToIntegral<T>(a: T, mxcsr: u32, immediate: u32): T {
  if (isNan<T>(a)) return nanResult<T>(a, a);
  a = flushInput<T>(a, mxcsr);
  setRaised(0);
  if (magnitude<T>(a) === 0) return a;
  const exponent = exponentOf<T>(a);
  if (exponent >= <i32>fractionBits<T>()) return a;
  const mode = (immediate & 4) !== 0 ? (mxcsr >> 13) & 3 : immediate & 3;
  const size = roundToMagnitude(isNegative<T>(a), exponent, significandOf<T>(a), mode);
  setRaised((immediate & 8) !== 0 ? 0 : raised & PRECISION);
  const sign = a & signBit<T>();
  if (size === 0) return sign;
  const shift = <u32>clz(size);
  const field = 63 - <i32>shift + exponentBias<T>() - 1;
  return sign | (<T>((<T>field) << (<T>fractionBits<T>())) + <T>((size << shift) >> (63 - fractionBits<T>())));
}

/** ROUNDSD with its immediate: bits 1:0 the mode, bit 2 take MXCSR's, bit 3 do not raise the inexact exception. */
export function f64RoundToInt(a: u64, mxcsr: u32, immediate: u32): u64 {
  return roundToIntegral<u64>(a, mxcsr, immediate);
}

/** ROUNDSS with its immediate: bits 1:0 the mode, bit 2 take MXCSR's, bit 3 do not raise the inexact exception. */
export function f32RoundToInt(a: u32, mxcsr: u32, immediate: u32): u32 {
  return roundToIntegral<u32>(a, mxcsr, immediate);
}
