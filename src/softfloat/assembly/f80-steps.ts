/*
 * The x87's remaining exact operations: FRNDINT, FSCALE, FXTRACT, FPREM, FPREM1, the compares and FXAM (SDM volume 2).
 */
import { denormalOperands } from './f80-arithmetic';
import {
  exponent80,
  invalid80,
  isDenormal80,
  isInfinite80,
  isNan80,
  isSignalling80,
  isStrange80,
  isUnsupported80,
  nanResult80,
  nanResultOfOne80,
} from './f80-operand';
import {
  addRaised,
  DENORMAL,
  INVALID,
  pack,
  packSecond,
  raised,
  resultSe,
  setCondition,
  setRaised,
  ZERO_DIVIDE,
} from './result';
import { roundPack80, roundToMagnitude } from './round-pack';
import { divide128, low } from './wide';

const TOP: u64 = 1 << 63;
const C0: u32 = 0x100;
const C1: u32 = 0x200;
const C2: u32 = 0x400;
const C3: u32 = 0x4000;

/** FRNDINT: a rounded to an integer by the control word's rounding mode. */
export function f80RoundToInt(am: u64, ase: u32, control: u32): u64 {
  const exponent = <i32>(ase & 0x7fff) - 16383;
  if (isStrange80(am, ase)) return nanResultOfOne80(am, ase);
  if (am === 0 || exponent >= 63) {
    setRaised(0);
    return pack(ase, am);
  }
  const denormal = isDenormal80(am, ase) ? DENORMAL : 0;
  if ((denormal & ~control) !== 0) {
    setRaised(denormal);
    return 0;
  }
  const sign = ase & 0x8000;
  const magnitude = roundToMagnitude(sign !== 0, exponent80(am, ase) - 16383, am << clz(am), (control >> 10) & 3);
  addRaised(denormal);
  if (magnitude === 0) return pack(sign, 0);
  const shift = clz(magnitude);
  return pack(sign | (16383 + 63 - <u32>shift), magnitude << shift);
}

/** FSCALE: a * 2^trunc(b). */
export function f80Scale(am: u64, ase: u32, bm: u64, bse: u32, control: u32): u64 {
  if (isStrange80(am, ase) || isStrange80(bm, bse)) return nanResult80(am, ase, bm, bse);
  const sign = ase & 0x8000;
  const denormal = denormalOperands(am, ase, bm, bse);
  if (isInfinite80(bm, bse)) {
    if ((bse & 0x8000) === 0) {
      if (am === 0) return invalid80();
      setRaised(denormal);
      return pack(sign | 0x7fff, TOP);
    }
    if (isInfinite80(am, ase)) return invalid80();
    setRaised(denormal);
    return pack(sign, 0);
  }
  if (am === 0 || isInfinite80(am, ase) || (denormal & ~control) !== 0) {
    setRaised(denormal);
    return pack(ase, am);
  }
  const size = <i32>(bse & 0x7fff) - 16383;
  let distance = size < 0 ? 0 : size > 16 ? 0x20000 : <i32>(bm >> (63 - size));
  if ((bse & 0x8000) !== 0) distance = -distance;
  return roundPack80(sign, exponent80(am, ase) + distance, am << clz(am), 0, control | 0x300, denormal);
}

/** FXTRACT: the exponent of a is the result, its significand (in [1, 2)) the second one. */
export function f80Extract(am: u64, ase: u32, control: u32): u64 {
  if (isStrange80(am, ase)) {
    const m = nanResultOfOne80(am, ase);
    packSecond(resultSe, m);
    return m;
  }
  if (isInfinite80(am, ase)) {
    setRaised(0);
    packSecond(ase, am);
    return pack(0x7fff, TOP);
  }
  if (am === 0) {
    setRaised(ZERO_DIVIDE);
    packSecond(ase, am);
    return pack(0xffff, TOP);
  }
  setRaised(isDenormal80(am, ase) ? DENORMAL : 0);
  if ((raised & ~control) !== 0) return 0;
  packSecond((ase & 0x8000) | 0x3fff, am << clz(am));
  const exponent = exponent80(am, ase) - 16383;
  if (exponent === 0) return pack(0, 0);
  const magnitude = <u64>abs(exponent);
  const shift = clz(magnitude);
  return pack((exponent < 0 ? 0x8000 : 0) | (16383 + 63 - <u32>shift), magnitude << shift);
}

/**
 * FPREM (nearest 0) and FPREM1 (nearest 1): one step of a modulo b. `condition` gets the three low bits of the quotient
 * in C0, C3, C1, or C2 when the exponents are too far apart for one step.
 */
export function f80Rem(am: u64, ase: u32, bm: u64, bse: u32, nearest: u32, control: u32): u64 {
  setCondition(0);
  if (isStrange80(am, ase) || isStrange80(bm, bse)) return nanResult80(am, ase, bm, bse);
  if (isInfinite80(am, ase) || bm === 0) return invalid80();
  const denormal = denormalOperands(am, ase, bm, bse);
  if (am === 0 || (denormal & ~control) !== 0) {
    setRaised(denormal);
    return pack(ase, am);
  }
  let sign = ase & 0x8000;
  const dividend = am << clz(am);
  const ae = exponent80(am, ase);
  const be = isInfinite80(bm, bse) ? 0x10000 : exponent80(bm, bse);
  const divisor = bm << clz(bm);
  const distance = ae - be;
  let quotient: u64 = 0;
  let rest = dividend;
  let exponent = ae;
  if (distance >= 64) {
    // Intel's processors leave the exponents a multiple of 32 apart.
    const step = (distance & 31) | 32;
    divideSteps(dividend, divisor, step);
    rest = low;
    exponent = be + distance - step;
    setCondition(C2);
  } else {
    if (distance >= 0) {
      quotient = divideSteps(dividend, divisor, distance);
      rest = low;
      exponent = be;
      if (nearest !== 0 && (rest > divisor - rest || (rest === divisor - rest && (quotient & 1) !== 0))) {
        rest = divisor - rest;
        quotient++;
        sign ^= 0x8000;
      }
    } else if (nearest !== 0 && distance === -1 && dividend > divisor) {
      // more than half of the divisor: 2 * divisor - dividend, still in units of the dividend
      rest = divisor - (dividend - divisor);
      quotient = 1;
      sign ^= 0x8000;
    }
    const q = <u32>quotient;
    setCondition(((q & 4) << 6) | ((q & 2) << 13) | ((q & 1) << 9));
  }
  if (rest === 0) {
    setRaised(denormal);
    return pack(ase & 0x8000, 0);
  }
  const shift = <i32>clz(rest);
  return roundPack80(sign, exponent - shift, rest << shift, 0, control | 0x300, denormal);
}

/** The quotient of dividend * 2^count by divisor, both normalised, count 0 to 63; the remainder goes to `low`. */
function divideSteps(dividend: u64, divisor: u64, count: i32): u64 {
  const fits = u64(dividend >= divisor);
  if (fits !== 0) dividend -= divisor;
  const high = count === 0 ? 0 : dividend >> (64 - count);
  return (fits << count) + divide128(high, dividend << count, divisor);
}

/** FCOM (quiet 0) and FUCOM (quiet 1): C3, C2, C0 at their places in the status word. */
export function f80Compare(am: u64, ase: u32, bm: u64, bse: u32, quiet: u32): u32 {
  if (isStrange80(am, ase) || isStrange80(bm, bse)) {
    const invalid =
      quiet === 0 ||
      isUnsupported80(am, ase) ||
      isUnsupported80(bm, bse) ||
      isSignalling80(am, ase) ||
      isSignalling80(bm, bse);
    setRaised(invalid ? INVALID : 0);
    return C3 | C2 | C0;
  }
  setRaised(denormalOperands(am, ase, bm, bse));
  if ((am | bm) === 0) return C3;
  if (((ase ^ bse) & 0x8000) !== 0) return (ase & 0x8000) !== 0 ? C0 : 0;
  // A pseudo-denormal is worth the normal number of the same bits with exponent 1.
  const ae = (ase & 0x7fff) | u32((ase & 0x7fff) === 0);
  const be = (bse & 0x7fff) | u32((bse & 0x7fff) === 0);
  if (ae === be && am === bm) return C3;
  const less = ae < be || (ae === be && am < bm);
  return less !== ((ase & 0x8000) !== 0) ? C0 : 0;
}

/** FXAM: the class of a in C3, C2, C0 and its sign in C1. The caller knows of empty registers. */
export function f80Examine(am: u64, ase: u32): u32 {
  const sign = (ase >> 6) & C1;
  setRaised(0);
  if (isUnsupported80(am, ase)) return sign;
  if (isNan80(am, ase)) return sign | C0;
  if (isInfinite80(am, ase)) return sign | C2 | C0;
  if (am === 0) return sign | C3;
  return sign | ((ase & 0x7fff) === 0 ? C3 | C2 : C2);
}
