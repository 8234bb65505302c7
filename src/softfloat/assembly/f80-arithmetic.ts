/*
 * FADD, FSUB, FMUL, FDIV and FSQRT on 80-bit operands (SDM volume 2; special operands by the tables of each instruction).
 * Normal operands take a straight path; all others go through the `...Special` functions, which treat NaNs, infinities
 * and zeros, normalise denormals and come back to the same core.
 */
import {
  exponent80,
  invalid80,
  isDenormal80,
  isInfinite80,
  isNormal80,
  isStrange80,
  nanResult80,
  nanResultOfOne80,
} from './f80-operand';
import { addRaised, DENORMAL, pack, setRaised, ZERO_DIVIDE } from './result';
import { roundPack80 } from './round-pack';
import { divide128, low, multiplyHigh, shiftRightJam, squareRoot } from './wide';

const TOP: u64 = 1 << 63;

/** DE if one of the operands is a denormal. */
export function denormalOperands(am: u64, ase: u32, bm: u64, bse: u32): u32 {
  return isDenormal80(am, ase) || isDenormal80(bm, bse) ? DENORMAL : 0;
}

/** Sum of two normalised values of any exponents, `aSign` and `bSign` 0 or 0x8000. */
function addNormalised(am: u64, ae: i32, aSign: u32, bm: u64, be: i32, bSign: u32, control: u32): u64 {
  if (ae < be || (ae === be && am < bm)) {
    const m = am;
    am = bm;
    bm = m;
    const e = ae;
    ae = be;
    be = e;
    const s = aSign;
    aSign = bSign;
    bSign = s;
  }
  const distance = <u32>(ae - be);
  let lower: u64 = 0;
  if (distance !== 0) {
    if (distance < 64) {
      lower = bm << (64 - distance);
      bm >>= distance;
    } else {
      lower = shiftRightJam(bm, distance - 64);
      bm = 0;
    }
  }
  if (aSign === bSign) {
    let sum = am + bm;
    if (sum < am) {
      lower = (lower >> 1) | (lower & 1) | (sum << 63);
      sum = (sum >> 1) | TOP;
      ae++;
    }
    return roundPack80(aSign, ae, sum, lower, control);
  }
  let difference = am - bm - u64(lower !== 0);
  lower = 0 - lower;
  if (<i64>difference >= 0) {
    if (difference === 0) {
      if (lower === 0) {
        setRaised(0);
        return pack((control & 0xc00) === 0x400 ? 0x8000 : 0, 0);
      }
      difference = lower;
      lower = 0;
      ae -= 64;
    }
    const shift = clz(difference);
    if (shift !== 0) {
      difference = (difference << shift) | (lower >> (64 - shift));
      lower <<= shift;
      ae -= <i32>shift;
    }
  }
  return roundPack80(aSign, ae, difference, lower, control);
}

/** A sum that has an operand beside the normal ones; flip (0 or 0x8000) changes b's sign unless it is a NaN. */
function addSpecial(am: u64, ase: u32, bm: u64, bse: u32, flip: u32, control: u32): u64 {
  if (isStrange80(am, ase) || isStrange80(bm, bse)) return nanResult80(am, ase, bm, bse);
  bse ^= flip;
  const denormal = denormalOperands(am, ase, bm, bse);
  if (isInfinite80(am, ase)) {
    if (isInfinite80(bm, bse) && ase !== bse) return invalid80();
    setRaised(denormal);
    return pack(ase, am);
  }
  if (isInfinite80(bm, bse)) {
    setRaised(denormal);
    return pack(bse, bm);
  }
  if ((denormal & ~control) !== 0) {
    setRaised(denormal);
    return 0;
  }
  const aSign = ase & 0x8000;
  const bSign = bse & 0x8000;
  if (am === 0 && bm === 0) {
    setRaised(0);
    return pack(aSign === bSign ? aSign : (control & 0xc00) === 0x400 ? 0x8000 : 0, 0);
  }
  const ae = exponent80(am, ase);
  const be = exponent80(bm, bse);
  let result: u64;
  if (am === 0) result = roundPack80(bSign, be, bm << clz(bm), 0, control);
  else if (bm === 0) result = roundPack80(aSign, ae, am << clz(am), 0, control);
  else result = addNormalised(am << clz(am), ae, aSign, bm << clz(bm), be, bSign, control);
  addRaised(denormal);
  return result;
}

/** a + b. */
export function f80Add(am: u64, ase: u32, bm: u64, bse: u32, control: u32): u64 {
  if (isNormal80(am, ase) && isNormal80(bm, bse)) {
    return addNormalised(am, ase & 0x7fff, ase & 0x8000, bm, bse & 0x7fff, bse & 0x8000, control);
  }
  return addSpecial(am, ase, bm, bse, 0, control);
}

/** a - b. */
export function f80Sub(am: u64, ase: u32, bm: u64, bse: u32, control: u32): u64 {
  if (isNormal80(am, ase) && isNormal80(bm, bse)) {
    return addNormalised(am, ase & 0x7fff, ase & 0x8000, bm, bse & 0x7fff, ~bse & 0x8000, control);
  }
  return addSpecial(am, ase, bm, bse, 0x8000, control);
}

function multiplyNormalised(am: u64, ae: i32, bm: u64, be: i32, sign: u32, control: u32): u64 {
  let high = multiplyHigh(am, bm);
  let lower = am * bm;
  let exponent = ae + be - 16382;
  if (<i64>high >= 0) {
    high = (high << 1) | (lower >> 63);
    lower <<= 1;
    exponent--;
  }
  return roundPack80(sign, exponent, high, lower, control);
}

/** a * b. */
export function f80Mul(am: u64, ase: u32, bm: u64, bse: u32, control: u32): u64 {
  const sign = (ase ^ bse) & 0x8000;
  if (isNormal80(am, ase) && isNormal80(bm, bse)) {
    return multiplyNormalised(am, ase & 0x7fff, bm, bse & 0x7fff, sign, control);
  }
  if (isStrange80(am, ase) || isStrange80(bm, bse)) return nanResult80(am, ase, bm, bse);
  const aInfinite = isInfinite80(am, ase);
  const bInfinite = isInfinite80(bm, bse);
  if ((aInfinite && bm === 0) || (bInfinite && am === 0)) return invalid80();
  const denormal = denormalOperands(am, ase, bm, bse);
  if (aInfinite || bInfinite) {
    setRaised(denormal);
    return pack(sign | 0x7fff, TOP);
  }
  if (am === 0 || bm === 0 || (denormal & ~control) !== 0) {
    setRaised(denormal);
    return pack(sign, 0);
  }
  const result = multiplyNormalised(
    am << clz(am),
    exponent80(am, ase),
    bm << clz(bm),
    exponent80(bm, bse),
    sign,
    control,
  );
  addRaised(denormal);
  return result;
}

function divideNormalised(am: u64, ae: i32, bm: u64, be: i32, sign: u32, control: u32): u64 {
  let exponent = ae - be + 16382;
  let lower: u64 = 0;
  if (am >= bm) {
    lower = am << 63;
    am >>= 1;
    exponent++;
  }
  const quotient = divide128(am, lower, bm);
  const rest = low;
  // One more bit and a sticky one: the remainder against half the divisor.
  const fraction: u64 = rest === 0 ? 0 : rest > bm - rest ? TOP | 1 : rest === bm - rest ? TOP : 1;
  return roundPack80(sign, exponent, quotient, fraction, control);
}

/** a / b. */
export function f80Div(am: u64, ase: u32, bm: u64, bse: u32, control: u32): u64 {
  const sign = (ase ^ bse) & 0x8000;
  if (isNormal80(am, ase) && isNormal80(bm, bse)) {
    return divideNormalised(am, ase & 0x7fff, bm, bse & 0x7fff, sign, control);
  }
  if (isStrange80(am, ase) || isStrange80(bm, bse)) return nanResult80(am, ase, bm, bse);
  const denormal = denormalOperands(am, ase, bm, bse);
  if (isInfinite80(am, ase)) {
    if (isInfinite80(bm, bse)) return invalid80();
    setRaised(denormal);
    return pack(sign | 0x7fff, TOP);
  }
  if (isInfinite80(bm, bse)) {
    setRaised(denormal);
    return pack(sign, 0);
  }
  if (bm === 0) {
    if (am === 0) return invalid80();
    setRaised(ZERO_DIVIDE);
    return pack(sign | 0x7fff, TOP);
  }
  if (am === 0 || (denormal & ~control) !== 0) {
    setRaised(denormal);
    return pack(sign, 0);
  }
  const result = divideNormalised(
    am << clz(am),
    exponent80(am, ase),
    bm << clz(bm),
    exponent80(bm, bse),
    sign,
    control,
  );
  addRaised(denormal);
  return result;
}

/** The square root of a. */
export function f80Sqrt(am: u64, ase: u32, control: u32): u64 {
  let denormal: u32 = 0;
  if (!isNormal80(am, ase) || (ase & 0x8000) !== 0) {
    if (isStrange80(am, ase)) return nanResultOfOne80(am, ase);
    if (am === 0 || ase === 0x7fff) {
      setRaised(0);
      return pack(ase, am);
    }
    if ((ase & 0x8000) !== 0) return invalid80();
    denormal = isDenormal80(am, ase) ? DENORMAL : 0;
    if ((denormal & ~control) !== 0) {
      setRaised(denormal);
      return 0;
    }
  }
  const exponent = exponent80(am, ase) - 16383;
  let high = am << clz(am);
  let lower: u64 = 0;
  if ((exponent & 1) === 0) {
    lower = high << 63;
    high >>= 1;
  }
  const root = squareRoot(high, lower);
  // The root of a fraction in [1/4, 1) is one in [1/2, 1).
  const result = roundPack80(0, (exponent >> 1) + 16383, root, low, control);
  addRaised(denormal);
  return result;
}
