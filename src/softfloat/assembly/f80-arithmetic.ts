/*
 * FADD, FSUB, FMUL, FDIV and FSQRT on 80-bit operands (SDM volume 2; special operands by the tables of each instruction).
 * Normal operands take the straight path through a function, without a call; denormals are normalised and join it. NaNs,
 * infinities, zeros and unmasked denormals go to the `...Special` functions.
 */
import {
  exponent80,
  invalid80,
  isDenormal80,
  isInfinite80,
  isNormal80,
  isOrdinary80,
  isStrange80,
  nanResult80,
  nanResultOfOne80,
} from './f80-operand';
import { DENORMAL, pack, setRaised, ZERO_DIVIDE } from './result';
import { isPlain80, packNearest80, roundPack80 } from './round-pack';
import { divide128, low, multiplyHigh, shiftRightJam, squareRoot } from './wide';

const TOP: u64 = 1 << 63;

/** DE if one of the operands is a denormal. */
export function denormalOperands(am: u64, ase: u32, bm: u64, bse: u32): u32 {
  return isDenormal80(am, ase) || isDenormal80(bm, bse) ? DENORMAL : 0;
}

/** Neither both normal, nor both ordinary with their denormals masked. */
function isSpecialPair(am: u64, ase: u32, bm: u64, bse: u32, control: u32): bool {
  return !(isOrdinary80(am, ase) && isOrdinary80(bm, bse) && (control & DENORMAL) !== 0);
}

/** A sum with a special operand; flip (0 or 0x8000) changes b's sign unless it is a NaN. */
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
  if ((am | bm) === 0) {
    setRaised(0);
    return pack(aSign === bSign ? aSign : (control & 0xc00) === 0x400 ? 0x8000 : 0, 0);
  }
  if (am === 0) return roundPack80(bSign, exponent80(bm, bse), bm << clz(bm), 0, control, denormal);
  return roundPack80(aSign, exponent80(am, ase), am << clz(am), 0, control, denormal);
}

/** a + b, where flip (0 or 0x8000) changes b's sign. */
function sum(am: u64, ase: u32, bm: u64, bse: u32, flip: u32, control: u32): u64 {
  let ae = <i32>(ase & 0x7fff);
  let be = <i32>(bse & 0x7fff);
  let before: u32 = 0;
  if (!(isNormal80(am, ase) & isNormal80(bm, bse))) {
    if (isSpecialPair(am, ase, bm, bse, control)) return addSpecial(am, ase, bm, bse, flip, control);
    before = DENORMAL;
    ae = exponent80(am, ase);
    be = exponent80(bm, bse);
    am <<= clz(am);
    bm <<= clz(bm);
  }
  bse ^= flip;
  const swap = ae < be || (ae === be && am < bm);
  const sign = select(bse, ase, swap) & 0x8000;
  let high = select(bm, am, swap);
  let addend = select(am, bm, swap);
  let exponent = select(be, ae, swap);
  const distance = <u32>(exponent - select(ae, be, swap));
  let lower: u64 = 0;
  if (distance !== 0) {
    if (distance < 64) {
      lower = addend << (64 - distance);
      addend >>= distance;
    } else {
      lower = shiftRightJam(addend, distance - 64);
      addend = 0;
    }
  }
  if (((ase ^ bse) & 0x8000) === 0) {
    high += addend;
    if (high < addend) {
      lower = (lower >> 1) | (lower & 1) | (high << 63);
      high = (high >> 1) | TOP;
      exponent++;
    }
  } else {
    high -= addend + u64(lower !== 0);
    lower = 0 - lower;
    if (<i64>high >= 0) {
      if (high === 0) {
        if (lower === 0) {
          setRaised(before);
          return pack((control & 0xc00) === 0x400 ? 0x8000 : 0, 0);
        }
        high = lower;
        lower = 0;
        exponent -= 64;
      }
      const shift = clz(high);
      // shifted in two steps, since a count of 64 would shift by zero
      high = (high << shift) | ((lower >> 1) >> (63 - shift));
      lower <<= shift;
      exponent -= <i32>shift;
    }
  }
  if (isPlain80(exponent, control)) return packNearest80(sign, exponent, high, lower, before);
  return roundPack80(sign, exponent, high, lower, control, before);
}

/** a + b. */
export function f80Add(am: u64, ase: u32, bm: u64, bse: u32, control: u32): u64 {
  return sum(am, ase, bm, bse, 0, control);
}

/** a - b. */
export function f80Sub(am: u64, ase: u32, bm: u64, bse: u32, control: u32): u64 {
  return sum(am, ase, bm, bse, 0x8000, control);
}

function multiplySpecial(am: u64, ase: u32, bm: u64, bse: u32): u64 {
  if (isStrange80(am, ase) || isStrange80(bm, bse)) return nanResult80(am, ase, bm, bse);
  const aInfinite = isInfinite80(am, ase);
  const bInfinite = isInfinite80(bm, bse);
  if ((aInfinite && bm === 0) || (bInfinite && am === 0)) return invalid80();
  setRaised(denormalOperands(am, ase, bm, bse));
  const sign = (ase ^ bse) & 0x8000;
  return aInfinite || bInfinite ? pack(sign | 0x7fff, TOP) : pack(sign, 0);
}

/** a * b. */
export function f80Mul(am: u64, ase: u32, bm: u64, bse: u32, control: u32): u64 {
  const sign = (ase ^ bse) & 0x8000;
  let exponent = <i32>((ase & 0x7fff) + (bse & 0x7fff)) - 16382;
  let before: u32 = 0;
  if (!(isNormal80(am, ase) & isNormal80(bm, bse))) {
    if (isSpecialPair(am, ase, bm, bse, control)) return multiplySpecial(am, ase, bm, bse);
    before = DENORMAL;
    exponent = exponent80(am, ase) + exponent80(bm, bse) - 16382;
    am <<= clz(am);
    bm <<= clz(bm);
  }
  let high = multiplyHigh(am, bm);
  let lower = am * bm;
  // The product of two numbers from 1 to 2 is one from 1 to 4.
  const shift = u64(<i64>high >= 0);
  high = (high << shift) | ((lower >> 63) & shift);
  lower <<= shift;
  exponent -= <i32>shift;
  if (isPlain80(exponent, control)) return packNearest80(sign, exponent, high, lower, before);
  return roundPack80(sign, exponent, high, lower, control, before);
}

function divideSpecial(am: u64, ase: u32, bm: u64, bse: u32): u64 {
  if (isStrange80(am, ase) || isStrange80(bm, bse)) return nanResult80(am, ase, bm, bse);
  const sign = (ase ^ bse) & 0x8000;
  setRaised(denormalOperands(am, ase, bm, bse));
  if (isInfinite80(am, ase)) return isInfinite80(bm, bse) ? invalid80() : pack(sign | 0x7fff, TOP);
  if (isInfinite80(bm, bse)) return pack(sign, 0);
  if (bm === 0) {
    if (am === 0) return invalid80();
    setRaised(ZERO_DIVIDE);
    return pack(sign | 0x7fff, TOP);
  }
  return pack(sign, 0);
}

/** a / b. */
export function f80Div(am: u64, ase: u32, bm: u64, bse: u32, control: u32): u64 {
  const sign = (ase ^ bse) & 0x8000;
  let exponent = <i32>(ase & 0x7fff) - <i32>(bse & 0x7fff) + 16382;
  let before: u32 = 0;
  if (!(isNormal80(am, ase) & isNormal80(bm, bse))) {
    if (isSpecialPair(am, ase, bm, bse, control)) return divideSpecial(am, ase, bm, bse);
    before = DENORMAL;
    exponent = exponent80(am, ase) - exponent80(bm, bse) + 16382;
    am <<= clz(am);
    bm <<= clz(bm);
  }
  const shift = u64(am >= bm);
  const quotient = divide128(am >> shift, (am & shift) << 63, bm);
  exponent += <i32>shift;
  // One more bit and a sticky one: the remainder against half the divisor.
  const rest = low;
  const lower: u64 = rest === 0 ? 0 : rest > bm - rest ? TOP | 1 : rest === bm - rest ? TOP : 1;
  if (isPlain80(exponent, control)) return packNearest80(sign, exponent, quotient, lower, before);
  return roundPack80(sign, exponent, quotient, lower, control, before);
}

/** The square root of a. */
export function f80Sqrt(am: u64, ase: u32, control: u32): u64 {
  let exponent = <i32>(ase & 0x7fff);
  let before: u32 = 0;
  if (!isNormal80(am, ase) || (ase & 0x8000) !== 0) {
    if (isStrange80(am, ase)) return nanResultOfOne80(am, ase);
    if (am === 0 || ase === 0x7fff) {
      setRaised(0);
      return pack(ase, am);
    }
    if ((ase & 0x8000) !== 0) return invalid80();
    before = DENORMAL;
    if ((control & DENORMAL) === 0) {
      setRaised(before);
      return 0;
    }
    exponent = exponent80(am, ase);
    am <<= clz(am);
  }
  // The root of a fraction from 1/4 to 1 is one from 1/2 to 1; the true exponent must be odd for the whole word.
  const shift = <u64>(exponent & 1);
  const root = squareRoot(am >> shift, (am & shift) << 63);
  return roundPack80(0, ((exponent - 16383) >> 1) + 16383, root, low, control, before);
}
