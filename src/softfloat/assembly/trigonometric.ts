/*
 * FSIN, FCOS, FSINCOS and FPTAN (SDM volume 2; 8.3.8 of volume 1 for the value of pi). An argument is reduced exactly
 * by the 66 bits of pi that Intel's processors have, then a table gives sine and cosine of the nearest 64th, and short
 * polynomials those of the rest. Errors stay below 2^-70 of the result.
 */
import { SINES } from './constants';
import { invalid80, isDenormal80, isStrange80, nanResultOfOne80 } from './f80-operand';
import { divideFraction, finish, multiplyFraction, part, scaleFraction, shiftRight } from './fraction';
import { DENORMAL, pack, packSecond, raised, resultSe, setCondition, setRaised } from './result';
import { low, multiplyHigh } from './wide';

const TOP: u64 = 1 << 63;
const C2: u32 = 0x400;
/** The lower 64 bits of pi * 2^64; the two upper ones are 3. */
const PI66_LOW: u64 = 0x243f6a8885a308d3;
/** 2 / pi. */
const TWO_OVER_PI: u64 = 0xa2f9836e4e441529;
/** The significand of pi / 4. */
const QUARTER_PI: u64 = 0xc90fdaa22168c234;

let sineHigh: u64 = 0;
let sineLow: u64 = 0;
/** Biased exponent of the sine, whose top bit may be zero. */
let sineExponent: i32 = 0;
let cosineHigh: u64 = 0;
let cosineLow: u64 = 0;
/** The reduced argument, normalised, and its unbiased exponent. */
let argumentHigh: u64 = 0;
let argumentLow: u64 = 0;
let argumentExponent: i32 = 0;
let argumentNegative: bool = false;

/** 2^14 * (1 - sin(r) / r) from z = 2^14 * r^2, r below 2^-7. */
function sineDefect(z: u64): u64 {
  const square = z >> 14;
  return multiplyHigh(
    z,
    part(6) - multiplyHigh(square, part(120) - multiplyHigh(square, part(5040) - multiplyHigh(square, part(362880)))),
  );
}

/** 2^14 * (1 - cos(r)) from z = 2^14 * r^2, r below 2^-7. */
function cosineDefect(z: u64): u64 {
  const square = z >> 14;
  return multiplyHigh(
    z,
    TOP - multiplyHigh(square, part(24) - multiplyHigh(square, part(720) - multiplyHigh(square, part(40320)))),
  );
}

/** Sine and cosine of the reduced argument, which is positive and at most a little above pi / 4. */
function evaluate(): void {
  if (argumentExponent < -7) {
    const shift = -8 - argumentExponent;
    const scaled = shift < 64 ? argumentHigh >> shift : 0;
    const z = multiplyHigh(scaled, scaled);
    const product = scaleFraction(sineDefect(z), argumentHigh, argumentLow);
    const defect = shiftRight(product, low, 14);
    // The last unit stands for all that is below: a sine is always less than its argument.
    const taken = low + 1;
    sineLow = argumentLow - taken;
    sineHigh = argumentHigh - defect - u64(argumentLow < taken);
    sineExponent = argumentExponent + 16383;
    const above = cosineDefect(z);
    const rest = above << 50;
    cosineLow = ~rest;
    cosineHigh = ~(above >> 14);
    return;
  }
  const shift = -1 - argumentExponent;
  let dHigh = argumentHigh;
  let dLow = argumentLow;
  if (shift > 0) {
    dHigh = shiftRight(dHigh, dLow, shift);
    dLow = low;
  }
  const k = (dHigh + (1 << 57)) >> 58;
  dHigh -= k << 58;
  const below = <i64>dHigh < 0;
  if (below) {
    dLow = 0 - dLow;
    dHigh = ~dHigh + u64(dLow === 0);
  }
  // A distance of exactly 2^-7 counts as the largest fraction.
  const scaled = dHigh >> 57 !== 0 ? ~(<u64>0) : (dHigh << 7) | (dLow >> 57);
  const z = multiplyHigh(scaled, scaled);
  const product = scaleFraction(sineDefect(z), dHigh, dLow);
  const defect = shiftRight(product, low, 14);
  const restLow = dLow - low;
  const restHigh = dHigh - defect - u64(dLow < low);
  const cosDefect = cosineDefect(z);
  const entry = SINES + ((<usize>k) << 5);
  const sHigh = load<u64>(entry);
  const sLow = load<u64>(entry, 8);
  const cHigh = load<u64>(entry, 16);
  const cLow = load<u64>(entry, 24);
  sineExponent = 16382;

  // sin(c + d) = sin c * cos d + cos c * sin d
  let high = scaleFraction(cosDefect, sHigh, sLow);
  high = shiftRight(high, low, 14);
  sineLow = sLow - low;
  sineHigh = sHigh - high - u64(sLow < low);
  high = multiplyFraction(cHigh, cLow, restHigh, restLow);
  if (below) {
    sineHigh -= high + u64(sineLow < low);
    sineLow -= low;
  } else {
    sineLow += low;
    sineHigh += high + u64(sineLow < low);
  }

  // cos(c + d) = cos c * cos d - sin c * sin d
  high = scaleFraction(cosDefect, cHigh, cLow);
  high = shiftRight(high, low, 14);
  cosineLow = cLow - low;
  cosineHigh = cHigh - high - u64(cLow < low);
  high = multiplyFraction(sHigh, sLow, restHigh, restLow);
  if (below) {
    cosineLow += low;
    cosineHigh += high + u64(cosineLow < low);
  } else {
    cosineHigh -= high + u64(cosineLow < low);
    cosineLow -= low;
  }
}

/** Brings |a|, with unbiased exponent below 63, to the range of `evaluate`; gives the quadrant. */
function reduce(m: u64, exponent: i32): u32 {
  argumentNegative = false;
  if (exponent < -1 || (exponent === -1 && m <= QUARTER_PI)) {
    argumentHigh = m;
    argumentLow = 0;
    argumentExponent = exponent;
    return 0;
  }
  // In units of 2^-65 the argument is m * 2^(exponent + 2), and pi / 2 an integer of 66 bits.
  let quotient: u64 = 1;
  if (exponent >= 0) quotient = (multiplyHigh(m, TWO_OVER_PI) + ((<u64>1) << (62 - exponent))) >> (63 - exponent);
  const shift = exponent + 2;
  const taken = quotient * PI66_LOW;
  let lower = (shift < 64 ? m << shift : 0) - taken;
  let high = shift < 64 ? m >> (64 - shift) : m;
  high -= quotient * 3 + multiplyHigh(quotient, PI66_LOW) + u64((shift < 64 ? m << shift : 0) < taken);
  if (<i64>high < 0) {
    argumentNegative = true;
    lower = 0 - lower;
    high = ~high + u64(lower === 0);
  }
  // A large quotient can be off by one; then the rest is beyond pi / 4 = 1.571 * 2^64.
  if (high > 1 || (high === 1 && lower > 0x9500000000000000)) {
    const borrow = u64(PI66_LOW < lower);
    lower = PI66_LOW - lower;
    high = 3 - high - borrow;
    quotient += argumentNegative ? -1 : 1;
    argumentNegative = !argumentNegative;
    if (<i64>high < 0) {
      argumentNegative = !argumentNegative;
      lower = 0 - lower;
      high = ~high + u64(lower === 0);
    }
  }
  // 65 bits: the top of the high word is bit 127, worth 2^62
  if (high === 0) {
    const leading = clz(lower);
    argumentHigh = lower << leading;
    argumentLow = 0;
    argumentExponent = -2 - <i32>leading;
  } else {
    const leading = clz(high);
    argumentHigh = (high << leading) | (lower >> (64 - leading));
    argumentLow = lower << leading;
    argumentExponent = 62 - <i32>leading;
  }
  return <u32>quotient & 3;
}

let specialResult: u64 = 0;

/** NaNs, infinities, arguments out of range and unmasked denormals: true if `specialResult` is the result. */
function isSpecial(am: u64, ase: u32, control: u32): bool {
  setCondition(0);
  if (isStrange80(am, ase)) {
    specialResult = nanResultOfOne80(am, ase);
    return true;
  }
  if ((ase & 0x7fff) === 0x7fff) {
    specialResult = invalid80();
    return true;
  }
  if ((ase & 0x7fff) >= 16383 + 63) {
    setCondition(C2);
    setRaised(0);
    specialResult = pack(ase, am);
    return true;
  }
  if (isDenormal80(am, ase) && (control & DENORMAL) === 0) {
    setRaised(DENORMAL);
    specialResult = pack(ase, am);
    return true;
  }
  return false;
}

/** Reduces and evaluates a; gives the quadrant. */
function prepare(am: u64, ase: u32): u32 {
  const shift = clz(am);
  const field = <i32>(ase & 0x7fff);
  const quadrant = reduce(am << shift, (field !== 0 ? field : 1) - 16383 - <i32>shift);
  evaluate();
  return quadrant;
}

function sineOf(quadrant: u32, sign: u32, control: u32, denormal: u32): u64 {
  if ((quadrant & 1) !== 0) {
    return finish(sign ^ ((quadrant & 2) << 14), 16382, cosineHigh, cosineLow, control, denormal);
  }
  const negative = u32(argumentNegative) << 15;
  return finish(sign ^ negative ^ ((quadrant & 2) << 14), sineExponent, sineHigh, sineLow, control, denormal);
}

/** FSIN. `condition` has C2 if a is out of range. */
export function f80Sin(am: u64, ase: u32, control: u32): u64 {
  if (isSpecial(am, ase, control)) return specialResult;
  if (am === 0) {
    setRaised(0);
    return pack(ase, 0);
  }
  const denormal = (ase & 0x7fff) === 0 ? DENORMAL : 0;
  return sineOf(prepare(am, ase), ase & 0x8000, control, denormal);
}

/** FCOS. `condition` has C2 if a is out of range. */
export function f80Cos(am: u64, ase: u32, control: u32): u64 {
  if (isSpecial(am, ase, control)) return specialResult;
  if (am === 0) {
    setRaised(0);
    return pack(0x3fff, TOP);
  }
  const denormal = (ase & 0x7fff) === 0 ? DENORMAL : 0;
  return sineOf(prepare(am, ase) + 1, 0, control, denormal);
}

/** FSINCOS: the sine, and as the second result the cosine. `condition` has C2 if a is out of range. */
export function f80SinCos(am: u64, ase: u32, control: u32): u64 {
  if (isSpecial(am, ase, control)) {
    packSecond(resultSe, specialResult);
    return specialResult;
  }
  if (am === 0) {
    setRaised(0);
    packSecond(0x3fff, TOP);
    return pack(ase, 0);
  }
  const denormal = (ase & 0x7fff) === 0 ? DENORMAL : 0;
  const quadrant = prepare(am, ase);
  const cosine = sineOf(quadrant + 1, 0, control, denormal);
  const before = raised;
  packSecond(resultSe, cosine);
  const sine = sineOf(quadrant, ase & 0x8000, control, denormal);
  setRaised(raised | (before & 63));
  return sine;
}

/** FPTAN: the tangent, and as the second result what is pushed after it. `condition` has C2 if a is out of range. */
export function f80Ptan(am: u64, ase: u32, control: u32): u64 {
  if (isSpecial(am, ase, control)) {
    packSecond(resultSe, specialResult);
    return specialResult;
  }
  packSecond(0x3fff, TOP);
  if (am === 0) {
    setRaised(0);
    return pack(ase, 0);
  }
  const denormal = (ase & 0x7fff) === 0 ? DENORMAL : 0;
  const quadrant = prepare(am, ase);
  const sign = (ase & 0x8000) ^ (u32(argumentNegative) << 15) ^ ((quadrant & 1) << 15);
  if (argumentExponent < -33 && (quadrant & 1) === 0) {
    // x < tan x < x + x^3, which is nothing more than a sticky bit
    return finish(sign, argumentExponent + 16383, argumentHigh, argumentLow, control, denormal);
  }
  const sineShift = clz(sineHigh);
  if (sineShift !== 0) {
    sineHigh = (sineHigh << sineShift) | (sineLow >> (64 - sineShift));
    sineLow <<= sineShift;
  }
  const cosineShift = clz(cosineHigh);
  if (cosineShift !== 0) {
    cosineHigh = (cosineHigh << cosineShift) | (cosineLow >> (64 - cosineShift));
    cosineLow <<= cosineShift;
  }
  const exponent = sineExponent - <i32>sineShift - (16382 - <i32>cosineShift);
  // A halved dividend is always below the divisor.
  if ((quadrant & 1) === 0) {
    const half = shiftRight(sineHigh, sineLow, 1);
    const high = divideFraction(half, low, cosineHigh, cosineLow);
    return finish(sign, exponent + 16383, high, low, control, denormal);
  }
  const half = shiftRight(cosineHigh, cosineLow, 1);
  const high = divideFraction(half, low, sineHigh, sineLow);
  return finish(sign, 16383 - exponent, high, low, control, denormal);
}
