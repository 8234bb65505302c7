/*
 * Integer arithmetic that WebAssembly lacks: the high half of a 64-bit product, division of 128 by 64 bits, and parallel
 * bit deposit and extract (SDM volume 2: MUL, DIV, PDEP, PEXT).
 */

export function mulHighU(a: u64, b: u64): u64 {
  const aLow = a & 0xffffffff;
  const aHigh = a >> 32;
  const bLow = b & 0xffffffff;
  const bHigh = b >> 32;
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >> 32);
  const other = aLow * bHigh + (middle & 0xffffffff);
  return aHigh * bHigh + (middle >> 32) + (other >> 32);
}

export function mulHighS(a: u64, b: u64): u64 {
  let high = mulHighU(a, b);
  if (<i64>a < 0) high -= b;
  if (<i64>b < 0) high -= a;
  return high;
}

let remainder: u64 = 0;

/** (high, low) / divisor; the caller knows that high < divisor. Leaves the remainder beside it. */
function divide(high: u64, low: u64, divisor: u64): u64 {
  if (high === 0) {
    remainder = low % divisor;
    return low / divisor;
  }
  // Two digits of 32 bits, after Knuth's algorithm D, with the divisor's top bit set.
  const shift = clz(divisor);
  const d = divisor << shift;
  const dHigh = d >> 32;
  const dLow = d & 0xffffffff;
  const n: u64 = shift === 0 ? high : (high << shift) | (low >> (64 - shift));
  const rest = low << shift;
  const q1 = digit(n, rest >> 32, dHigh, dLow);
  const n1 = ((n << 32) | (rest >> 32)) - q1 * d;
  const q0 = digit(n1, rest & 0xffffffff, dHigh, dLow);
  remainder = (((n1 << 32) | (rest & 0xffffffff)) - q0 * d) >> shift;
  return (q1 << 32) | q0;
}

// @ts-expect-error: a decorator of AssemblyScript
function digit(n: u64, next: u64, dHigh: u64, dLow: u64): u64 {
  let q = n / dHigh;
  let r = n - q * dHigh;
  while (q >= 0x100000000 || q * dLow > ((r << 32) | next)) {
    q--;
    r += dHigh;
    if (r >= 0x100000000) break;
  }
  return q;
}

export function div128(high: u64, low: u64, divisor: u64): u64 {
  return divide(high, low, divisor);
}

export function rem128(high: u64, low: u64, divisor: u64): u64 {
  divide(high, low, divisor);
  return remainder;
}

export function pdep(source: u64, mask: u64): u64 {
  let result: u64 = 0;
  while (mask !== 0) {
    const lowest = mask & (0 - mask);
    if (source & 1) result |= lowest;
    source >>= 1;
    mask ^= lowest;
  }
  return result;
}

export function pext(source: u64, mask: u64): u64 {
  let result: u64 = 0;
  let bit: u64 = 1;
  while (mask !== 0) {
    const lowest = mask & (0 - mask);
    if (source & lowest) result |= bit;
    bit <<= 1;
    mask ^= lowest;
  }
  return result;
}
