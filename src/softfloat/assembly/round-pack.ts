/*
 * Rounding and packing: the one place where exact intermediate results become numbers of a format, with rounding
 * modes, precision control, overflow, underflow and the inexact flag (SDM volume 1, 4.8.4 and 4.9.1).
 *
 * A finite non-zero value comes in as sign, exponent and a significand whose top bit is set. Tininess is
 * detected after rounding, as x86 does.
 */
import { OVERFLOW, PRECISION, pack, ROUNDED_UP, setRaised, UNDERFLOW } from './result';
import { low, shiftRightJam, shiftRightSticky } from './wide';

/** Rounding modes as the RC fields of the x87 control word and of MXCSR encode them. */
export const NEAREST: u32 = 0;
/** Towards minus infinity. */
export const DOWN: u32 = 1;
/** Towards plus infinity. */
export const UP: u32 = 2;
/** Towards zero. */
export const ZERO: u32 = 3;

const TOP: u64 = 1 << 63;
/** What an unmasked overflow subtracts from the exponent of an 80-bit result, and an unmasked underflow adds to it. */
const BIAS_ADJUST: i32 = 24576;

/** Whether a fraction (of 2^-64ths) is rounded away from zero; odd: the last kept bit is set. */
function roundsUp(mode: u32, negative: bool, odd: bool, fraction: u64): bool {
  if (mode === NEAREST) return fraction > TOP || (fraction === TOP && odd);
  if (mode === DOWN) return negative && fraction !== 0;
  if (mode === UP) return !negative && fraction !== 0;
  return false;
}

/** How many low bits of the 64-bit significand the precision control takes away. */
function discarded(control: u32): u32 {
  const precision = control & 0x300;
  return precision === 0 ? 40 : precision === 0x200 ? 11 : 0;
}

/** Whether a result with this biased exponent is rounded by `packNearest80`: 64 bits, to nearest, in range even after a carry. */
export function isPlain80(exponent: i32, control: u32): bool {
  return <bool>(u32((control & 0xf00) === 0x300) & u32(<u32>(exponent - 1) < 0x7ffd));
}

/** Rounds sign * (high : lower) in the plain case; `before` are exceptions that the operands have raised. */
export function packNearest80(sign: u32, exponent: i32, high: u64, lower: u64, before: u32): u64 {
  const up = u64(lower > TOP - (high & 1));
  const rounded = high + up;
  setRaised(before | (u32(lower !== 0) << 5) | ((<u32>up) << 9));
  // A carry out of the significand leaves zero: the next power of two.
  const carried = u32(rounded === 0);
  return pack(sign | (exponent + carried), rounded | ((<u64>carried) << 63));
}

/**
 * The 80-bit number sign * (high : lower) with the biased exponent `exponent`, which may lie outside of the format.
 * Sign is 0 or 0x8000. Sets `raised` and `resultSe`; control is the x87 control word.
 */
export function roundPack80(sign: u32, exponent: i32, high: u64, lower: u64, control: u32, before: u32): u64 {
  if (<u32>(exponent - 1) >= 0x7ffd) return roundPack80Slow(sign, exponent, high, lower, control, before);
  const bits = discarded(control);
  let fraction = lower;
  if (bits !== 0) {
    fraction = (high << (64 - bits)) | u64(lower !== 0);
    high = (high >> bits) << bits;
  }
  const up = u64(roundsUp((control >> 10) & 3, sign !== 0, ((high >> bits) & 1) !== 0, fraction));
  const rounded = high + (up << bits);
  setRaised(before | (u32(fraction !== 0) << 5) | ((<u32>up) << 9));
  const carried = u32(rounded === 0);
  return pack(sign | (exponent + carried), rounded | ((<u64>carried) << 63));
}

/** Results at or beyond the ends of the exponent's range. */
function roundPack80Slow(sign: u32, exponent: i32, high: u64, lower: u64, control: u32, before: u32): u64 {
  const mode = (control >> 10) & 3;
  const bits = discarded(control);
  const unit = (<u64>1) << bits;
  let kept = high & (0 - unit);
  let fraction = bits === 0 ? lower : (high << (64 - bits)) | u64(lower !== 0);
  let flags = before;
  let up = roundsUp(mode, sign !== 0, (kept & unit) !== 0, fraction);
  if (exponent <= 0) {
    const tiny = exponent < 0 || !(up && kept === 0 - unit);
    if (tiny && (control & UNDERFLOW) === 0) {
      flags |= UNDERFLOW;
      exponent += BIAS_ADJUST;
      if (exponent <= 0) {
        // Only FSCALE goes so far below: the adjusted result is a zero.
        setRaised(before | UNDERFLOW | PRECISION);
        return pack(sign, 0);
      }
    } else {
      high = shiftRightSticky(high, lower, 1 - exponent);
      kept = high & (0 - unit);
      fraction = bits === 0 ? low : (high << (64 - bits)) | u64(low !== 0);
      exponent = 0;
      up = roundsUp(mode, sign !== 0, (kept & unit) !== 0, fraction);
      if (fraction !== 0) flags |= PRECISION | (tiny ? UNDERFLOW : 0) | (up ? ROUNDED_UP : 0);
      if (up) kept += unit;
      setRaised(flags);
      return pack(sign | u32(kept >> 63), kept);
    }
  }
  if (fraction !== 0) flags |= PRECISION | (up ? ROUNDED_UP : 0);
  if (up) {
    kept += unit;
    if (kept === 0) {
      kept = TOP;
      exponent++;
    }
  }
  if (exponent >= 0x7fff) {
    if ((control & OVERFLOW) === 0) {
      exponent -= BIAS_ADJUST;
      flags |= OVERFLOW;
      if (exponent >= 0x7fff) {
        // again FSCALE alone
        setRaised(before | OVERFLOW | PRECISION | ROUNDED_UP);
        return pack(sign | 0x7fff, TOP);
      }
    } else {
      const infinite = mode === NEAREST || (mode === DOWN && sign !== 0) || (mode === UP && sign === 0);
      setRaised(before | OVERFLOW | PRECISION | (infinite ? ROUNDED_UP : 0));
      return infinite ? pack(sign | 0x7fff, TOP) : pack(sign | 0x7ffe, 0 - unit);
    }
  }
  setRaised(flags);
  return pack(sign | exponent, kept);
}

/** Bits of the fraction field of the interchange format with bit pattern type T (u16: half, u32: single, u64: double). */
export function fractionBits<T>(): u32 {
  return sizeof<T>() === 2 ? 10 : sizeof<T>() === 4 ? 23 : 52;
}

/** The largest biased exponent of the format. */
export function exponentMaximum<T>(): i32 {
  return sizeof<T>() === 2 ? 31 : sizeof<T>() === 4 ? 255 : 2047;
}

/** The exponent bias of the format. */
export function exponentBias<T>(): i32 {
  return sizeof<T>() === 2 ? 15 : sizeof<T>() === 4 ? 127 : 1023;
}

/** The sign bit of the format. */
export function signBit<T>(): T {
  return <T>((<u64>1) << (8 * sizeof<T>() - 1));
}

/** The bit pattern of plus infinity. */
export function infinity<T>(): T {
  return <T>((<T>exponentMaximum<T>()) << (<T>fractionBits<T>()));
}

/**
 * The single or double precision number (-1)^negative * 2^exponent * significand * 2^-63, for results of SSE and for
 * x87 stores. Bit 0 of the significand is sticky. With an unmasked underflow or overflow only `raised` counts; it then has the
 * inexact flag if rounding with an unbounded exponent is inexact.
 */
export function roundPack<T>(
  negative: bool,
  exponent: i32,
  significand: u64,
  mode: u32,
  unmasked: u32,
  flush: bool,
): T {
  const bits = 63 - fractionBits<T>();
  const unit = (<u64>1) << bits;
  const sign: T = negative ? signBit<T>() : 0;
  let biased = exponent + exponentBias<T>();
  let kept = significand & (0 - unit);
  let fraction = significand << (64 - bits);
  let up = roundsUp(mode, negative, (kept & unit) !== 0, fraction);
  if (biased <= 0) {
    const tiny = biased < 0 || !(up && kept === 0 - unit);
    if (tiny && flush) {
      setRaised(UNDERFLOW | PRECISION);
      return sign;
    }
    if (tiny && (unmasked & UNDERFLOW) !== 0) {
      setRaised(fraction !== 0 ? UNDERFLOW | PRECISION : UNDERFLOW);
      return sign;
    }
    const shifted = shiftRightJam(significand, 1 - biased);
    kept = shifted & (0 - unit);
    fraction = shifted << (64 - bits);
    up = roundsUp(mode, negative, (kept & unit) !== 0, fraction);
    setRaised(fraction === 0 ? 0 : PRECISION | (tiny ? UNDERFLOW : 0) | (up ? ROUNDED_UP : 0));
    return sign + <T>(kept >> bits) + <T>u32(up);
  }
  const inexact: u32 = fraction !== 0 ? PRECISION | (up ? ROUNDED_UP : 0) : 0;
  if (up) {
    kept += unit;
    if (kept === 0) {
      kept = TOP;
      biased++;
    }
  }
  if (biased >= exponentMaximum<T>()) {
    const infinite = mode === NEAREST || (mode === DOWN && negative) || (mode === UP && !negative);
    setRaised(OVERFLOW | ((unmasked & OVERFLOW) !== 0 ? inexact : PRECISION | (infinite ? ROUNDED_UP : 0)));
    return infinite ? sign + infinity<T>() : sign + infinity<T>() - 1;
  }
  setRaised(inexact);
  return sign + ((<T>(biased - 1)) << (<T>fractionBits<T>())) + <T>(kept >> bits);
}

/**
 * The integer nearest to 2^exponent * significand * 2^-63 by the rounding mode, as a magnitude; values from 2^64
 * on give no magnitude and `raised` = INVALID. Otherwise `raised` is the inexact flag with C1.
 */
export function roundToMagnitude(negative: bool, exponent: i32, significand: u64, mode: u32): u64 {
  if (exponent > 63) {
    setRaised(1);
    return 0;
  }
  let magnitude: u64 = 0;
  let fraction: u64 = 0;
  if (exponent >= 0) {
    magnitude = significand >> (63 - exponent);
    fraction = exponent === 63 ? 0 : significand << (exponent + 1);
  } else {
    fraction = shiftRightJam(significand, -1 - exponent);
  }
  const up = roundsUp(mode, negative, (magnitude & 1) !== 0, fraction);
  setRaised(fraction === 0 ? 0 : PRECISION | (up ? ROUNDED_UP : 0));
  if (up) {
    magnitude++;
    if (magnitude === 0) setRaised(1);
  }
  return magnitude;
}
