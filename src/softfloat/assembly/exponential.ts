/*
 * F2XM1, FYL2X and FYL2XP1 (SDM volume 2). Tables of 2^(k / 64) and of logarithms of simple numbers leave arguments below
 * 2^-7, for which polynomials follow; errors stay below 2^-70 of the result.
 */
import { INVERSES, LN2_HIGH, LN2_LOW, LOG2E_HIGH, LOG2E_LOW, LOGARITHMS, POWERS } from './constants';
import { denormalOperands } from './f80-arithmetic';
import {
  exponent80,
  invalid80,
  isDenormal80,
  isInfinite80,
  isStrange80,
  nanResult80,
  nanResultOfOne80,
} from './f80-operand';
import { finish, multiplyFraction, part, scaleFraction, shiftRight } from './fraction';
import { addRaised, DENORMAL, PRECISION, pack, resultSe, setRaised, UNDERFLOW, ZERO_DIVIDE } from './result';
import { roundPack80 } from './round-pack';
import { low, multiplyHigh, shiftRightSticky, wide } from './wide';

const TOP: u64 = 1 << 63;

/** (high : lower) with its top bit set, in `low` the lower word; how far it moved goes to `moved`. */
let moved: i32 = 0;

function normalise(high: u64, lower: u64): u64 {
  if (high === 0) {
    const shift = clz(lower);
    moved = 64 + <i32>shift;
    return wide(lower << shift, 0);
  }
  const shift = clz(high);
  moved = <i32>shift;
  if (shift === 0) return wide(high, lower);
  return wide((high << shift) | (lower >> (64 - shift)), lower << shift);
}

/** 1 / 3! + w / 4! + w^2 / 5! + ... for the magnitude w of a number below 2^-7. */
function exponentialTail(w: u64, negative: bool): u64 {
  let sum = part(362880);
  if (negative) {
    sum = part(40320) - multiplyHigh(w, sum);
    sum = part(5040) - multiplyHigh(w, sum);
    sum = part(720) - multiplyHigh(w, sum);
    sum = part(120) - multiplyHigh(w, sum);
    sum = part(24) - multiplyHigh(w, sum);
    return part(6) - multiplyHigh(w, sum);
  }
  sum = part(40320) + multiplyHigh(w, sum);
  sum = part(5040) + multiplyHigh(w, sum);
  sum = part(720) + multiplyHigh(w, sum);
  sum = part(120) + multiplyHigh(w, sum);
  sum = part(24) + multiplyHigh(w, sum);
  return part(6) + multiplyHigh(w, sum);
}

/** 1 / 3 - u / 4 + u^2 / 5 - ... for the magnitude u of a number below 2^-7. */
function logarithmTail(u: u64, negative: bool): u64 {
  let sum = part(12);
  if (negative) {
    for (let n: u64 = 11; n > 2; n--) sum = part(n) + multiplyHigh(u, sum);
  } else {
    for (let n: u64 = 11; n > 2; n--) sum = part(n) - multiplyHigh(u, sum);
  }
  return sum;
}

/**
 * v * (1 + v / 2 + v^2 * tail) for a normalised v = +-(high : lower) * 2^(exponent - 127) below 2^-7, `grows` telling the sign of
 * the term v / 2. The result has the same scale; it may have its top bit clear.
 */
function series(high: u64, lower: u64, exponent: i32, tail: u64, z: u64, grows: bool): u64 {
  // The factor, which is about one, as half of it.
  const quadratic = multiplyHigh(z, tail);
  let factorLow = quadratic << 49;
  let factorHigh = TOP + (quadratic >> 15);
  const linearHigh = shiftRightSticky(high, lower, 1 - exponent);
  const linearLow = low;
  if (grows) {
    factorLow += linearLow;
    factorHigh += linearHigh + u64(factorLow < linearLow);
  } else {
    factorHigh -= linearHigh + u64(factorLow < linearLow);
    factorLow -= linearLow;
  }
  return multiplyFraction(high, lower, factorHigh, factorLow);
}

/** The fraction 2^7 * v of a normalised v with the exponent, which is below -7. */
function scaled(high: u64, exponent: i32): u64 {
  const shift = -8 - exponent;
  return shift < 64 ? high >> shift : 0;
}

/**
 * 2^d - 1 for d = (high : lower) * 2^(exponent - 127), normalised, |d| at most 2^-7. Half of the result's magnitude on the scale of
 * d is what is returned: a fraction to be multiplied by 2^(exponent + 2).
 */
function powerMinusOne(high: u64, lower: u64, exponent: i32, negative: bool): u64 {
  const product = multiplyFraction(high, lower, LN2_HIGH, LN2_LOW);
  const w = normalise(product, low);
  const wLow = low;
  const shift = moved;
  const fraction = scaled(w, exponent - shift);
  const tail = exponentialTail(fraction >> 7, negative);
  const result = series(w, wLow, exponent - shift, tail, multiplyHigh(fraction, fraction), !negative);
  return shift === 0 ? wide(result, low) : shiftRight(result, low, shift);
}

/** F2XM1: 2^a - 1. Arguments beyond +-1 are undefined: they come back as they are. */
export function f80F2xm1(am: u64, ase: u32, control: u32): u64 {
  if (isStrange80(am, ase)) return nanResultOfOne80(am, ase);
  const denormal = isDenormal80(am, ase) ? DENORMAL : 0;
  if (am === 0 || (ase & 0x7fff) >= 0x3fff || (denormal & ~control) !== 0) {
    setRaised(denormal);
    if ((ase & 0x7fff) === 0x7fff) return ase === 0x7fff ? pack(ase, am) : pack(0xbfff, TOP);
    if ((ase & 0x7fff) >= 0x3fff) setRaised(PRECISION);
    if (ase === 0xbfff && am === TOP) return pack(0xbffe, TOP);
    return pack(ase, am);
  }
  const sign = ase & 0x8000;
  const negative = sign !== 0;
  const exponent = exponent80(am, ase) - 16383;
  let high = am << clz(am);
  if (exponent < -7) {
    const result = powerMinusOne(high, 0, exponent, negative);
    return finish(sign, exponent + 16384, result, low, control, denormal);
  }
  // |a| = k / 64 + d
  let lower: u64 = 0;
  if (exponent < -1) {
    high = shiftRight(high, 0, -1 - exponent);
    lower = low;
  }
  let k = (high >> 58) + ((high >> 57) & 1);
  high -= k << 58;
  let below = k === 64 ? high !== 0 || lower !== 0 : <i64>high < 0;
  if (below) {
    lower = 0 - lower;
    high = ~high + u64(lower === 0);
  }
  // 2^a = 2^(k / 64) * 2^d, with k and d changing their signs with a
  below = below !== negative;
  let powerHigh: u64;
  let powerLow: u64;
  if (negative) {
    // 1 - 2^(-k / 64) = (1 - (2^((64 - k) / 64) - 1)) / 2
    k = 64 - k;
    powerLow = 0 - load<u64>(POWERS + ((<usize>k) << 4), 8);
    powerHigh = ~load<u64>(POWERS + ((<usize>k) << 4)) + u64(powerLow === 0);
    if (k === 0) {
      powerHigh = TOP;
      powerLow = 0;
    } else {
      powerHigh = shiftRight(powerHigh, powerLow, 1);
      powerLow = low;
    }
  } else {
    powerHigh = load<u64>(POWERS + ((<usize>k) << 4));
    powerLow = load<u64>(POWERS + ((<usize>k) << 4), 8);
  }
  let restHigh: u64 = 0;
  let restLow: u64 = 0;
  if ((high | lower) !== 0) {
    const d = normalise(high, lower);
    const distance = moved;
    restHigh = powerMinusOne(d, low, -1 - distance, below);
    // the result is worth 2^(1 - distance) times as much
    if (distance > 1) {
      restHigh = shiftRightSticky(restHigh, low, distance - 1);
    }
    restLow = low;
  }
  // a > 0: power + rest + power * rest; a < 0, negated: power - rest + power * rest
  const product = multiplyFraction(powerHigh, powerLow, restHigh, restLow);
  const productLow = low;
  let sumLow: u64;
  let sumHigh: u64;
  if (negative) {
    sumLow = restLow - productLow;
    sumHigh = restHigh - product - u64(restLow < productLow);
  } else {
    sumLow = restLow + productLow;
    sumHigh = restHigh + product + u64(sumLow < productLow);
  }
  if (below !== negative) {
    powerHigh -= sumHigh + u64(powerLow < sumLow);
    powerLow -= sumLow;
  } else {
    powerLow += sumLow;
    powerHigh += sumHigh + u64(powerLow < sumLow);
  }
  return finish(sign, 16382, powerHigh, powerLow, control, denormal);
}

let logarithmNegative: bool = false;
let logarithmExponent: i32 = 0;

/** log2 of (high : lower) * 2^(n - 127), normalised; gives the significand, with sign and exponent in globals. */
function logarithm(high: u64, lower: u64, n: i32): u64 {
  const index = <usize>(high >> 56) - 128;
  const inverse = <u64>load<u16>(INVERSES + (index << 1));
  // 2^125 * (m * inverse - 256) modulo 2^128: what has been cut off are two zeros
  const mHigh = shiftRight(high, lower, 2);
  const mLow = low;
  let uLow = mLow * inverse;
  let uHigh = mHigh * inverse + multiplyHigh(mLow, inverse);
  let exponent = -6;
  if (index >= 53) {
    n++;
    exponent--;
  }
  const negative = <i64>uHigh < 0;
  if (negative) {
    uLow = 0 - uLow;
    uHigh = ~uHigh + u64(uLow === 0);
  }
  let resultHigh: u64 = 0;
  let resultLow: u64 = 0;
  if ((uHigh | uLow) !== 0) {
    uHigh = normalise(uHigh, uLow);
    uLow = low;
    exponent -= moved;
    const fraction = scaled(uHigh, exponent);
    const tail = logarithmTail(fraction >> 7, negative);
    resultHigh = series(uHigh, uLow, exponent, tail, multiplyHigh(fraction, fraction), negative);
    resultHigh = multiplyFraction(resultHigh, low, LOG2E_HIGH, LOG2E_LOW);
    resultHigh = normalise(resultHigh, low);
    resultLow = low;
    // ln(1 + u) has been halved twice: by the factor of its series and by that of log2(e)
    exponent += 2 - moved;
  }
  if (n === 0 && inverse === 256) {
    logarithmNegative = negative;
    logarithmExponent = exponent;
    return wide(resultHigh, resultLow);
  }
  // A sum of three terms in units of 2^-112.
  resultHigh = shiftRightSticky(resultHigh, resultLow, 15 - exponent);
  resultLow = low;
  if (negative) {
    resultLow = 0 - resultLow;
    resultHigh = ~resultHigh + u64(resultLow === 0);
  }
  const tableHigh = load<u64>(LOGARITHMS + (index << 4));
  const table = shiftRight(tableHigh, load<u64>(LOGARITHMS + (index << 4), 8), 16);
  if (inverse <= 256) {
    resultLow += low;
    resultHigh += table + u64(resultLow < low);
  } else {
    resultHigh -= table + u64(resultLow < low);
    resultLow -= low;
  }
  resultHigh += (<u64>(<i64>n)) << 48;
  logarithmNegative = <i64>resultHigh < 0;
  if (logarithmNegative) {
    resultLow = 0 - resultLow;
    resultHigh = ~resultHigh + u64(resultLow === 0);
  }
  resultHigh = normalise(resultHigh, resultLow);
  logarithmExponent = 15 - moved;
  return resultHigh;
}

/** y times the logarithm that has been left in the globals, with its significand's words. */
function timesLogarithm(high: u64, lower: u64, exact: bool, bm: u64, bse: u32, control: u32, denormal: u32): u64 {
  const sign = (bse & 0x8000) ^ (u32(logarithmNegative) << 15);
  const exponent = logarithmExponent + exponent80(bm, bse) + 1;
  const factor = bm << clz(bm);
  if (!exact) {
    const product = scaleFraction(factor, high, lower);
    return finish(sign, exponent, product, low, control, denormal);
  }
  let product = multiplyHigh(factor, high);
  let productLow = factor * high;
  const shift = clz(product);
  if (shift !== 0) {
    product = (product << shift) | (productLow >> (64 - shift));
    productLow <<= shift;
  }
  const result = roundPack80(sign, exponent - <i32>shift, product, productLow, control | 0x300, denormal);
  // Processors call even these logarithms inexact.
  const tiny = (resultSe & 0x7fff) === 0 && <i64>result > 0;
  addRaised(PRECISION | (tiny ? UNDERFLOW : 0));
  return result;
}

/** FYL2X: b * log2(a). */
export function f80Yl2x(am: u64, ase: u32, bm: u64, bse: u32, control: u32): u64 {
  if (isStrange80(am, ase) || isStrange80(bm, bse)) return nanResult80(am, ase, bm, bse);
  const sign = bse & 0x8000;
  const denormal = denormalOperands(am, ase, bm, bse);
  const one = ase === 0x3fff && am === TOP;
  if (am === 0) {
    if (bm === 0) return invalid80();
    setRaised(isInfinite80(bm, bse) ? 0 : ZERO_DIVIDE);
    return pack((sign ^ 0x8000) | 0x7fff, TOP);
  }
  if ((ase & 0x8000) !== 0) return invalid80();
  if (isInfinite80(bm, bse)) {
    if (one) return invalid80();
    setRaised(denormal);
    return pack((ase & 0x7fff) < 0x3fff ? bse ^ 0x8000 : bse, TOP);
  }
  if (isInfinite80(am, ase)) {
    if (bm === 0) return invalid80();
    setRaised(denormal);
    return pack(sign | 0x7fff, TOP);
  }
  if (bm === 0 || (denormal & ~control) !== 0) {
    setRaised(denormal);
    return pack((ase & 0x7fff) < 0x3fff ? bse ^ 0x8000 : bse, 0);
  }
  if (one) {
    setRaised(denormal);
    return pack(sign, 0);
  }
  const m = am << clz(am);
  const high = logarithm(m, 0, exponent80(am, ase) - 16383);
  return timesLogarithm(high, low, m === TOP, bm, bse, control, denormal);
}

/** FYL2XP1: b * log2(a + 1). Arguments of -1 and below are undefined; they come back as they are. */
export function f80Yl2xp1(am: u64, ase: u32, bm: u64, bse: u32, control: u32): u64 {
  if (isStrange80(am, ase) || isStrange80(bm, bse)) return nanResult80(am, ase, bm, bse);
  const sign = (ase ^ bse) & 0x8000;
  const denormal = denormalOperands(am, ase, bm, bse);
  if (ase === 0xffff) return invalid80();
  if (isInfinite80(bm, bse)) {
    if (am === 0) return invalid80();
    setRaised(denormal);
    return pack(sign | 0x7fff, TOP);
  }
  if (isInfinite80(am, ase)) {
    if (bm === 0) return invalid80();
    setRaised(denormal);
    return pack(sign | 0x7fff, TOP);
  }
  if (am === 0 || bm === 0 || (denormal & ~control) !== 0) {
    setRaised(denormal);
    return pack(sign, 0);
  }
  const m = am << clz(am);
  const exponent = exponent80(am, ase) - 16383;
  if (exponent >= 0 && (ase & 0x8000) !== 0) {
    setRaised(denormal | PRECISION);
    return pack(ase, am);
  }
  let high: u64;
  let exact: bool = false;
  if (exponent < -7) {
    const negative = (ase & 0x8000) !== 0;
    const fraction = scaled(m, exponent);
    const tail = logarithmTail(fraction >> 7, negative);
    high = series(m, 0, exponent, tail, multiplyHigh(fraction, fraction), negative);
    high = multiplyFraction(high, low, LOG2E_HIGH, LOG2E_LOW);
    high = normalise(high, low);
    logarithmExponent = exponent + 2 - moved;
    logarithmNegative = negative;
  } else if (exponent < 63) {
    // 1 + a as a normalised number of 128 bits
    let lower: u64;
    let size = 0;
    if ((ase & 0x8000) !== 0) {
      high = shiftRightSticky(m, 0, -1 - exponent);
      lower = 0 - low;
      high = ~high + u64(lower === 0);
      high = normalise(high, lower);
      size = -1 - moved;
    } else if (exponent < 0) {
      high = TOP | shiftRightSticky(m, 0, -exponent);
    } else {
      high = m + (TOP >> exponent);
      wide(0, 0);
      size = exponent;
      if (high < m) {
        high = TOP | shiftRight(high, 0, 1);
        size++;
      }
    }
    lower = low;
    exact = high === TOP && lower === 0;
    high = logarithm(high, lower, size);
  } else {
    high = logarithm(m, 0, exponent);
  }
  return timesLogarithm(high, low, exact, bm, bse, control, denormal);
}
