/*
 * Elementary functions of fixed point numbers with 320 bits after the binary point, in plain BigInt: from them come the
 * constants of the transcendental instructions, and tests take them as the truth. Not for run time.
 */

/** Bits after the binary point. */
export const PRECISION = 320n;
/** The number one. */
export const ONE = 1n << PRECISION;

/** a * b. */
export function multiply(a: bigint, b: bigint): bigint {
  return (a * b) >> PRECISION;
}

/** a / b. */
export function divide(a: bigint, b: bigint): bigint {
  return (a << PRECISION) / b;
}

/** The sum of a series whose first term is `term` and whose next one is `next(term, index)`, index from 1. */
function series(term: bigint, next: (term: bigint, index: bigint) => bigint): bigint {
  let sum = term;
  for (let index = 1n; (term = next(term, index)) !== 0n && term !== -1n; index++) sum += term;
  return sum;
}

/** The arc tangent of 1 / n. */
function arctangentOfInverse(n: bigint): bigint {
  let power = ONE / n;
  let sum = power;
  for (let k = 3n, sign = -1n; power !== 0n; k += 2n, sign = -sign) {
    power /= n * n;
    sum += (sign * power) / k;
  }
  return sum;
}

/** The circle's ratio, by Machin's formula. */
export const PI = 4n * (4n * arctangentOfInverse(5n) - arctangentOfInverse(239n));

/** The sine of x, |x| at most a few units. */
export function sine(x: bigint): bigint {
  const square = multiply(x, x);
  return series(x, (term, k) => -multiply(term, square) / (2n * k * (2n * k + 1n)));
}

/** The cosine of x, |x| at most a few units. */
export function cosine(x: bigint): bigint {
  const square = multiply(x, x);
  return series(ONE, (term, k) => -multiply(term, square) / ((2n * k - 1n) * 2n * k));
}

/** e to the x, minus one, |x| at most a few units. */
export function exponentialMinusOne(x: bigint): bigint {
  return series(x, (term, k) => multiply(term, x) / (k + 1n));
}

/** 2 * artanh(x) = ln((1 + x) / (1 - x)), |x| well below one. */
function logarithmOfRatio(x: bigint): bigint {
  const square = multiply(x, x);
  let power = x;
  let sum = x;
  for (let k = 3n; power !== 0n && power !== -1n; k += 2n) {
    power = multiply(power, square);
    sum += power / k;
  }
  return 2n * sum;
}

/** The natural logarithm of two. */
export const LN2 = logarithmOfRatio(ONE / 3n);

/** ln(1 + x) for x above -1, accurate for small x too. */
export function logarithmOfOnePlus(x: bigint): bigint {
  let y = ONE + x;
  let exponent = 0n;
  for (; y > (ONE * 3n) / 2n; exponent++) y >>= 1n;
  for (; y < (ONE * 3n) / 4n; exponent--) y <<= 1n;
  return exponent * LN2 + logarithmOfRatio(divide(y - ONE, y + ONE));
}

/** The arc tangent of x, 0 <= x <= 1. */
export function arctangent(x: bigint): bigint {
  // atan(x) = atan(c) + atan((x - c) / (1 + x c)) brings the argument near zero
  let sum = 0n;
  while (x > ONE / 5n) {
    x = divide(x - ONE / 5n, ONE + x / 5n);
    sum += ARCTANGENT_FIFTH;
  }
  const square = multiply(x, x);
  let power = x;
  sum += x;
  for (let k = 3n, sign = -1n; power !== 0n; k += 2n, sign = -sign) {
    power = multiply(power, square);
    sum += (sign * power) / k;
  }
  return sum;
}

const ARCTANGENT_FIFTH = arctangentOfInverse(5n);
