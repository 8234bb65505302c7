/*
 * Fractions of 128 bits (two words, value below one) for the transcendental instructions, and the last step that they share. The
 * lower word of a result is left in `low` (see wide.ts).
 */
import { roundPack80 } from './round-pack';
import { divide128, low, multiplyHigh, wide } from './wide';

/** One nth as a fraction of 64 bits. */
export function part(n: u64): u64 {
  return ~(<u64>0) / n;
}

/** a * b for fractions of 64 and 128 bits. */
export function scaleFraction(a: u64, bHigh: u64, bLow: u64): u64 {
  const carried = multiplyHigh(a, bLow);
  const lower = a * bHigh + carried;
  return wide(multiplyHigh(a, bHigh) + u64(lower < carried), lower);
}

/** a * b, at most a few units of the last place too small. */
export function multiplyFraction(aHigh: u64, aLow: u64, bHigh: u64, bLow: u64): u64 {
  const high = scaleFraction(aHigh, bHigh, bLow);
  const other = multiplyHigh(aLow, bHigh);
  const lower = low + other;
  return wide(high + u64(lower < other), lower);
}

/** (high : lower) >> count, count 1 to 63. */
export function shiftRight(high: u64, lower: u64, count: u64): u64 {
  return wide(high >> count, (high << (64 - count)) | (lower >> count));
}

/** n / d for nHigh < dHigh and d with its top bit set, at most a few units of the last place off. */
export function divideFraction(nHigh: u64, nLow: u64, dHigh: u64, dLow: u64): u64 {
  // An estimate from the upper word of the divisor alone is too large by two at most.
  let upper = divide128(nHigh, nLow, dHigh);
  const rest = low;
  const taken = upper * dLow;
  const takenHigh = multiplyHigh(upper, dLow) + u64(taken !== 0);
  let restLow = 0 - taken;
  let restHigh = rest - takenHigh;
  let negative = rest < takenHigh;
  while (negative) {
    upper--;
    restLow += dLow;
    const sum = restHigh + dHigh;
    const whole = sum + u64(restLow < dLow);
    negative = !(sum < restHigh || whole < sum);
    restHigh = whole;
  }
  return wide(upper, restHigh < dHigh ? divide128(restHigh, restLow, dHigh) : ~(<u64>0));
}

/**
 * Rounds (high : lower) * 2^-128 * 2^(exponent + 1 - 16383), a result that is never exact, to 64 bits whatever the precision
 * control says, and adds the denormal operand exception.
 */
export function finish(sign: u32, exponent: i32, high: u64, lower: u64, control: u32, denormal: u32): u64 {
  const shift = clz(high);
  if (shift !== 0) {
    high = (high << shift) | (lower >> (64 - shift));
    lower <<= shift;
  }
  return roundPack80(sign, exponent - <i32>shift, high, lower | 1, control | 0x300, denormal);
}
