/*
 * Conversions between the 80-bit format and singles, doubles, integers and packed BCD (FLD, FST, FILD, FIST, FISTTP,
 * FBLD, FBSTP; SDM volume 2).
 */
import { exponent80, isInfinite80, isNan80, isNormal80, isUnsupported80 } from './f80-operand';
import { DENORMAL, INVALID, OVERFLOW, pack, raised, setRaised, UNDERFLOW } from './result';
import {
  exponentBias,
  exponentMaximum,
  fractionBits,
  infinity,
  roundPack,
  roundToMagnitude,
  signBit,
  ZERO,
} from './round-pack';

const TOP: u64 = 1 << 63;
const QUIET: u64 = 1 << 62;

/** An 80-bit number from the bits of a single. */
export function f80FromF32(bits: u32): u64 {
  return widen<u32>(bits);
}

/** An 80-bit number from the bits of a double. */
export function f80FromF64(bits: u64): u64 {
  return widen<u64>(bits);
}

function widen<T>(bits: T): u64 {
  const sign = bits >= signBit<T>() ? 0x8000 : 0;
  const exponent = <i32>(bits >> <T>fractionBits<T>()) & exponentMaximum<T>();
  const fraction = ((<u64>bits) << (63 - fractionBits<T>())) & ~TOP;
  setRaised(0);
  if (<u32>(exponent - 1) < <u32>(exponentMaximum<T>() - 1)) {
    return pack(sign | (exponent + 16383 - exponentBias<T>()), fraction | TOP);
  }
  if (exponent !== 0) {
    if (fraction === 0) return pack(sign | 0x7fff, TOP);
    if ((fraction & QUIET) === 0) setRaised(INVALID);
    return pack(sign | 0x7fff, TOP | QUIET | fraction);
  }
  if (fraction === 0) return pack(sign, 0);
  setRaised(DENORMAL);
  const shift = clz(fraction);
  return pack(sign | (16383 + 1 - exponentBias<T>() - <i32>shift), fraction << shift);
}

/** An 80-bit number from a signed integer; always exact. */
export function f80FromI64(value: i64): u64 {
  setRaised(0);
  if (value === 0) return pack(0, 0);
  const negative = value < 0;
  const magnitude = negative ? 0 - <u64>value : <u64>value;
  const shift = clz(magnitude);
  return pack((negative ? 0x8000 : 0) | (16383 + 63 - <u32>shift), magnitude << shift);
}

/** The bits of a single. */
export function f80ToF32(am: u64, ase: u32, control: u32): u32 {
  return narrow<u32>(am, ase, control);
}

/** The bits of a double. */
export function f80ToF64(am: u64, ase: u32, control: u32): u64 {
  return narrow<u64>(am, ase, control);
}

function narrow<T>(am: u64, ase: u32, control: u32): T {
  const negative = (ase & 0x8000) !== 0;
  const sign: T = negative ? signBit<T>() : 0;
  const lost = 63 - fractionBits<T>();
  if (isNormal80(am, ase)) {
    const exponent = <i32>(ase & 0x7fff) - 16383;
    const biased = exponent + exponentBias<T>();
    if (am << (64 - lost) === 0 && <u32>(biased - 1) < <u32>(exponentMaximum<T>() - 1)) {
      setRaised(0);
      return sign | (((<T>(biased - 1)) << (<T>fractionBits<T>())) + <T>(am >> lost));
    }
    return store<T>(negative, exponent, am, control);
  }
  if (am === 0 && (ase & 0x7fff) === 0) {
    setRaised(0);
    return sign;
  }
  if (isInfinite80(am, ase)) {
    setRaised(0);
    return sign | infinity<T>();
  }
  const quiet = (<T>1) << (<T>(fractionBits<T>() - 1));
  if (isUnsupported80(am, ase)) {
    setRaised(INVALID);
    return signBit<T>() | infinity<T>() | quiet;
  }
  if (isNan80(am, ase)) {
    setRaised((am & QUIET) === 0 ? INVALID : 0);
    return sign | infinity<T>() | quiet | <T>((am & ~TOP) >> lost);
  }
  return store<T>(negative, exponent80(am, ase) - 16383, am << clz(am), control);
}

function store<T>(negative: bool, exponent: i32, significand: u64, control: u32): T {
  const result = roundPack<T>(negative, exponent, significand, (control >> 10) & 3, ~control, false);
  // An unmasked overflow or underflow leaves memory alone, so that nothing has been rounded.
  const kept = raised & ~control & (OVERFLOW | UNDERFLOW);
  if (kept !== 0) setRaised(kept);
  return result;
}

/** a as an integer of at most `limit` in magnitude (one more when negative), or the integer indefinite -limit - 1. */
function toInteger(am: u64, ase: u32, mode: u32, limit: u64): u64 {
  if (am === 0 && (ase & 0x7fff) === 0) {
    setRaised(0);
    return 0;
  }
  const negative = (ase & 0x8000) !== 0;
  if ((ase & 0x7fff) === 0x7fff || isUnsupported80(am, ase)) {
    setRaised(INVALID);
    return ~limit;
  }
  const magnitude = roundToMagnitude(negative, exponent80(am, ase) - 16383, am << clz(am), mode);
  if ((raised & INVALID) !== 0 || magnitude > limit + u64(negative)) {
    setRaised(INVALID);
    return ~limit;
  }
  return negative ? 0 - magnitude : magnitude;
}

/** FIST and FISTTP (truncate 1) to 16 bits, in the low bits of the result. */
export function f80ToI16(am: u64, ase: u32, control: u32, truncate: u32): u32 {
  return <u32>toInteger(am, ase, truncate !== 0 ? ZERO : (control >> 10) & 3, 0x7fff) & 0xffff;
}

/** FIST and FISTTP (truncate 1) to 32 bits. */
export function f80ToI32(am: u64, ase: u32, control: u32, truncate: u32): u32 {
  return <u32>toInteger(am, ase, truncate !== 0 ? ZERO : (control >> 10) & 3, 0x7fffffff);
}

/** FISTP and FISTTP (truncate 1) to 64 bits. */
export function f80ToI64(am: u64, ase: u32, control: u32, truncate: u32): u64 {
  return toInteger(am, ase, truncate !== 0 ? ZERO : (control >> 10) & 3, ~TOP);
}

/** FBSTP: the low 8 bytes are the result, the upper two are in `resultSe`. */
export function f80ToBcd(am: u64, ase: u32, control: u32): u64 {
  const value = <i64>toInteger(am, ase, (control >> 10) & 3, ~TOP);
  let rest = <u64>abs(value);
  if ((raised & INVALID) !== 0 || rest > 999_999_999_999_999_999) {
    setRaised(INVALID);
    return pack(0xffff, 0xc000_0000_0000_0000);
  }
  let digits: u64 = 0;
  for (let shift: u64 = 0; shift < 64; shift += 4) {
    const next = rest / 10;
    digits |= (rest - next * 10) << shift;
    rest = next;
  }
  const upper = <u32>rest;
  return pack((ase & 0x8000) | ((upper / 10) << 4) | (upper % 10), digits);
}

/** FBLD: the number in 18 BCD digits, of which `upper` has the sign (bit 15) and the two first ones. */
export function f80FromBcd(digits: u64, upper: u32): u64 {
  let magnitude: u64 = ((upper >> 4) & 15) * 10 + (upper & 15);
  for (let shift: i64 = 60; shift >= 0; shift -= 4) magnitude = magnitude * 10 + ((digits >> shift) & 15);
  setRaised(0);
  if (magnitude === 0) return pack(upper & 0x8000, 0);
  const shift = clz(magnitude);
  return pack((upper & 0x8000) | (16383 + 63 - <u32>shift), magnitude << shift);
}
