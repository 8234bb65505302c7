/*
 * Arithmetic wider than 64 bits on pairs of u64. WebAssembly has neither a wide multiply nor a 128-bit
 * divide, so both are made of 32-bit halves. A second word of a result is left in `low`.
 */

const HALF: u64 = 0xffffffff;

/** The less significant word of the last wide result. */
export let low: u64 = 0;

/** Stores the less significant word, and passes the other one through. */
export function wide(high: u64, lower: u64): u64 {
  low = lower;
  return high;
}

/** The upper 64 bits of a * b; the lower ones are plain `a * b`. */
export function multiplyHigh(a: u64, b: u64): u64 {
  const aLow = a & HALF;
  const aHigh = a >> 32;
  const bLow = b & HALF;
  const bHigh = b >> 32;
  const middle = aHigh * bLow + ((aLow * bLow) >> 32);
  const other = aLow * bHigh + (middle & HALF);
  return aHigh * bHigh + (middle >> 32) + (other >> 32);
}

/**
 * (high : lower) / divisor for a divisor with its top bit set and high < divisor. The remainder goes to `low`.
 * Schoolbook division, two digits of 32 bits; each estimate is at most two too large.
 */
export function divide128(high: u64, lower: u64, divisor: u64): u64 {
  const top = divisor >> 32;
  const bottom = divisor & HALF;
  let digit = high / top;
  let rest = high - digit * top;
  let next = lower >> 32;
  while (digit > HALF || digit * bottom > ((rest << 32) | next)) {
    digit--;
    rest += top;
    if (rest > HALF) break;
  }
  const middle = ((high << 32) | next) - digit * divisor;
  const quotient = digit << 32;
  digit = middle / top;
  rest = middle - digit * top;
  next = lower & HALF;
  while (digit > HALF || digit * bottom > ((rest << 32) | next)) {
    digit--;
    rest += top;
    if (rest > HALF) break;
  }
  low = ((middle << 32) | next) - digit * divisor;
  return quotient | digit;
}

/** The upper word of (high : lower) >> count, count 0 to 127; the lower word goes to `low`, its bit 0 sticky. */
export function shiftRightSticky(high: u64, lower: u64, count: u32): u64 {
  if (count === 0) {
    low = lower;
    return high;
  }
  if (count < 64) {
    const lost = lower << (64 - count);
    low = (high << (64 - count)) | (lower >> count) | u64(lost !== 0);
    return high >> count;
  }
  if (count === 64) {
    low = high | u64(lower !== 0);
    return 0;
  }
  if (count < 128) {
    const lost = (high << (128 - count)) | lower;
    low = (high >> (count - 64)) | u64(lost !== 0);
    return 0;
  }
  low = u64((high | lower) !== 0);
  return 0;
}

/** value >> count with the lost bits or-ed into bit 0; any count. */
export function shiftRightJam(value: u64, count: u32): u64 {
  if (count === 0) return value;
  if (count > 63) return u64(value !== 0);
  return (value >> count) | u64(value << (64 - count) !== 0);
}

/**
 * Floor of the square root of the 128-bit number (high : lower), which must be at least 2^126. `low` is the fraction beyond it:
 * 0 when exact, else a word on the right side of one half (a root is never exactly there).
 */
export function squareRoot(high: u64, lower: u64): u64 {
  // 52 good bits from the machine's own square root, then one Newton step, then an exact correction.
  const estimate = sqrt(<f64>(<i64>(high >> 1)) * 2.0);
  const inverse = 0.5 / (estimate * 4294967296.0);
  let root = (<u64>(<i64>(estimate * 2147483648.0))) << 1;
  let square = root * root;
  let restLow = lower - square;
  let restHigh = <i64>(high - multiplyHigh(root, root) - u64(lower < square));
  const rest = <f64>restHigh * 18446744073709551616.0 + <f64>(<i64>(restLow >> 1)) * 2.0;
  const step = <i64>(rest * inverse);
  const moved = root + <u64>step;
  root = step > 0 && moved < root ? ~(<u64>0) : moved;
  square = root * root;
  restLow = lower - square;
  restHigh = <i64>(high - multiplyHigh(root, root) - u64(lower < square));
  while (restHigh < 0) {
    root--;
    const before = restLow;
    restLow += (root << 1) | 1;
    restHigh += <i64>(root >> 63) + <i64>u64(restLow < before);
  }
  while (restHigh > 1 || (restHigh === 1 && restLow > root << 1)) {
    const decrease = (root << 1) | 1;
    restHigh -= <i64>(root >> 63) + <i64>u64(restLow < decrease);
    restLow -= decrease;
    root++;
  }
  low = (<u64>restHigh | restLow) === 0 ? 0 : restHigh > 0 || restLow > root ? ((<u64>1) << 63) | 1 : 1;
  return root;
}
