/*
 * FPATAN (SDM volume 2, table 3-31 for the special operands). The quotient of the operands is brought below 2^-7 by a
 * table of arc tangents of 64ths before it is formed, and a polynomial follows; errors stay below 2^-70.
 */
import { ARCTANGENTS, PI_HIGH, PI_LOW } from './constants';
import { denormalOperands } from './f80-arithmetic';
import { exponent80, isInfinite80, isStrange80, nanResult80 } from './f80-operand';
import { divideFraction, finish, part, scaleFraction, shiftRight } from './fraction';
import { pack, setRaised } from './result';
import { divide128, low, multiplyHigh, shiftRightSticky, wide } from './wide';

/** 2^14 * (1 - atan(u) / u) from z = 2^14 * u^2, u below 2^-7. */
function defect(z: u64): u64 {
  const square = z >> 14;
  let sum = part(9) - multiplyHigh(square, part(11));
  sum = part(7) - multiplyHigh(square, sum);
  sum = part(5) - multiplyHigh(square, sum);
  return multiplyHigh(z, part(3) - multiplyHigh(square, sum));
}

/** atan(u) for u = (high : lower) * 2^-scale, given 2^7 * u as a fraction; always below u. */
function smallArctangent(high: u64, lower: u64, scaled: u64): u64 {
  const product = scaleFraction(defect(multiplyHigh(scaled, scaled)), high, lower);
  const taken = shiftRight(product, low, 14);
  const takenLow = low + 1;
  return wide(high - taken - u64(lower < takenLow), lower - takenLow);
}

/** pi * eighths / 8 with the sign. */
function circlePart(eighths: u32, sign: u32, control: u32, denormal: u32): u64 {
  if (eighths !== 6) return finish(sign, 16380 + <i32>ctz(eighths) + 1, PI_HIGH, PI_LOW, control, denormal);
  const quarter = shiftRight(PI_HIGH, PI_LOW, 2);
  return finish(sign, 16384, PI_HIGH - quarter - u64(PI_LOW < low), PI_LOW - low, control, denormal);
}

/** FPATAN: the angle of the point with abscissa a and ordinate b. */
export function f80Patan(am: u64, ase: u32, bm: u64, bse: u32, control: u32): u64 {
  if (isStrange80(am, ase) || isStrange80(bm, bse)) return nanResult80(am, ase, bm, bse);
  const denormal = denormalOperands(am, ase, bm, bse);
  const sign = bse & 0x8000;
  const left = (ase & 0x8000) !== 0;
  if ((denormal & ~control) !== 0) {
    setRaised(denormal);
    return pack(sign, 0);
  }
  if (isInfinite80(bm, bse)) {
    return circlePart(isInfinite80(am, ase) ? (left ? 6 : 2) : 4, sign, control, denormal);
  }
  if (bm === 0 || isInfinite80(am, ase)) {
    if (left) return circlePart(8, sign, control, denormal);
    setRaised(denormal);
    return pack(sign, 0);
  }
  if (am === 0) return circlePart(4, sign, control, denormal);

  let n = bm << clz(bm);
  let d = am << clz(am);
  let distance = exponent80(bm, bse) - exponent80(am, ase);
  const steep = distance > 0 || (distance === 0 && n > d);
  if (steep) {
    const m = n;
    n = d;
    d = m;
    distance = -distance;
  }
  // atan(n / d), at most pi / 4, in units of 2^-127
  let high: u64;
  let lower: u64;
  if (distance < -7) {
    let exponent = distance - 1;
    lower = 0;
    if (n >= d) {
      lower = n << 63;
      n >>= 1;
      exponent++;
    }
    high = divide128(n, lower, d);
    lower = divide128(low, 0, d);
    const shift = -8 - exponent;
    high = smallArctangent(high, lower, shift < 64 ? high >> shift : 0);
    if (!steep && !left) return finish(sign, exponent + 16383, high, low, control, denormal);
    high = shiftRightSticky(high, low, -exponent);
    lower = low;
  } else {
    lower = 0;
    if (distance < 0) {
      n = shiftRight(n, 0, -distance);
      lower = low;
    }
    const k = <u64>((<f64>(<i64>(n >> 1)) / <f64>(<i64>(d >> 1))) * 64.0 + 0.5);
    if (k === 0) {
      high = divideFraction(n, lower, d, 0);
      lower = low;
      high = smallArctangent(high, lower, (high << 7) | (lower >> 57));
      high = shiftRight(high, low, 1);
      lower = low;
    } else {
      // tan(atan(n / d) - atan(k / 64)) = (n - d * k / 64) / (d + n * k / 64), both halved
      const above = multiplyHigh(k, d);
      const product = k * d;
      const wholeLow = product << 58;
      let uHigh = n - ((above << 58) | (product >> 6)) - u64(lower < wholeLow);
      let uLow = lower - wholeLow;
      const below = <i64>uHigh < 0;
      if (below) {
        uLow = 0 - uLow;
        uHigh = ~uHigh + u64(uLow === 0);
      }
      uHigh = shiftRight(uHigh, uLow, 1);
      uLow = low;
      const otherHigh = scaleFraction(k << 57, n, lower);
      const dLow = (d << 63) + low;
      const dHigh = (d >> 1) + otherHigh + u64(dLow < low);
      const shift = clz(dHigh);
      if (shift === 0) {
        uHigh = divideFraction(uHigh, uLow, dHigh, dLow);
      } else {
        uHigh = divideFraction(
          (uHigh << shift) | (uLow >> (64 - shift)),
          uLow << shift,
          (dHigh << shift) | (dLow >> (64 - shift)),
          dLow << shift,
        );
      }
      uLow = low;
      if ((uHigh | uLow) !== 0) {
        uHigh = smallArctangent(uHigh, uLow, (uHigh << 7) | (uLow >> 57));
        uLow = low;
      }
      const entry = ARCTANGENTS + ((<usize>k) << 4);
      high = load<u64>(entry);
      lower = load<u64>(entry, 8);
      if (below) {
        high -= uHigh + u64(lower < uLow);
        lower -= uLow;
      } else {
        lower += uLow;
        high += uHigh + u64(lower < uLow);
      }
      if (!steep && !left) return finish(sign, 16382, high, lower, control, denormal);
      high = shiftRight(high, lower, 1);
      lower = low;
    }
    if (!steep && !left) return finish(sign, 16383, high, lower, control, denormal);
  }
  // Now in units of 2^-126: the other octants.
  high = shiftRight(high, lower, 1);
  lower = low;
  if (steep) {
    const half = shiftRight(PI_HIGH, PI_LOW, 1);
    if (left) {
      lower += low;
      high += half + u64(lower < low);
    } else {
      high = half - high - u64(low < lower);
      lower = low - lower;
    }
  } else {
    high = PI_HIGH - high - u64(PI_LOW < lower);
    lower = PI_LOW - lower;
  }
  return finish(sign, 16384, high, lower, control, denormal);
}
