/**
 * Tristate numbers: 64-bit numbers of which some bits are known (`value`) and some not (`mask`, where `value` is 0). What
 * the Linux verifier tracks by that name; the formulas are those of Vishwanathan et al., "Sound, Precise, and Fast Abstract
 * Interpretation with Tristate Numbers" (CGO 2022).
 */
import { reverseBytes } from './arithmetic.ts';

export interface Tnum {
  readonly value: bigint;
  readonly mask: bigint;
}

const all = (1n << 64n) - 1n;
const u64 = (n: bigint): bigint => BigInt.asUintN(64, n);

export const unknownTnum: Tnum = { value: 0n, mask: all };
export const knownTnum = (value: bigint): Tnum => ({ value, mask: 0n });

const bitLength = (n: bigint): bigint => {
  let length = 0n;
  for (let step = 32n; step > 0n; step >>= 1n) {
    if (n >> step !== 0n) {
      length += step;
      n >>= step;
    }
  }
  return n === 0n ? 0n : length + 1n;
};

/** All numbers from `min` to `max`, unsigned. */
export function rangeTnum(min: bigint, max: bigint): Tnum {
  const unknown = (1n << bitLength(min ^ max)) - 1n;
  return { value: min & ~unknown, mask: unknown };
}

export function addTnum(a: Tnum, b: Tnum): Tnum {
  const value = u64(a.value + b.value);
  const carries = u64(value + a.mask + b.mask) ^ value;
  const mask = carries | a.mask | b.mask;
  return { value: value & ~mask & all, mask };
}
export function subTnum(a: Tnum, b: Tnum): Tnum {
  const value = u64(a.value - b.value);
  const borrows = u64(value + a.mask) ^ u64(value - b.mask);
  const mask = borrows | a.mask | b.mask;
  return { value: value & ~mask & all, mask };
}
export function andTnum(a: Tnum, b: Tnum): Tnum {
  const value = a.value & b.value;
  return { value, mask: (a.value | a.mask) & (b.value | b.mask) & ~value };
}
export function orTnum(a: Tnum, b: Tnum): Tnum {
  const value = a.value | b.value;
  return { value, mask: (a.mask | b.mask) & ~value };
}
export function xorTnum(a: Tnum, b: Tnum): Tnum {
  const mask = a.mask | b.mask;
  return { value: (a.value ^ b.value) & ~mask, mask };
}
export function mulTnum(a: Tnum, b: Tnum): Tnum {
  let unknown: Tnum = knownTnum(0n);
  let { value: bits, mask: maybe } = a;
  let { value, mask } = b;
  while ((bits | maybe) !== 0n) {
    if ((bits & 1n) !== 0n) unknown = addTnum(unknown, { value: 0n, mask });
    else if ((maybe & 1n) !== 0n) unknown = addTnum(unknown, { value: 0n, mask: value | mask });
    bits >>= 1n;
    maybe >>= 1n;
    value = u64(value << 1n);
    mask = u64(mask << 1n);
  }
  return addTnum(knownTnum(u64(a.value * b.value)), unknown);
}

export const shiftTnumLeft = (a: Tnum, by: bigint): Tnum => ({ value: u64(a.value << by), mask: u64(a.mask << by) });
export const shiftTnumRight = (a: Tnum, by: bigint): Tnum => ({ value: a.value >> by, mask: a.mask >> by });
/** Copies of the highest of `width` bits, known or not, come in. */
export const shiftTnumSigned = (a: Tnum, by: bigint, width: number): Tnum => ({
  value: BigInt.asUintN(width, BigInt.asIntN(width, a.value) >> by),
  mask: BigInt.asUintN(width, BigInt.asIntN(width, a.mask) >> by),
});

export const lowTnum = (a: Tnum, bits: number): Tnum => ({
  value: BigInt.asUintN(bits, a.value),
  mask: BigInt.asUintN(bits, a.mask),
});
export const reverseTnum = (a: Tnum, bits: number): Tnum => ({
  value: reverseBytes(bits, a.value),
  mask: reverseBytes(bits, a.mask),
});

/** Numbers that both can be, or null if there are none. */
export function intersectTnum(a: Tnum, b: Tnum): Tnum | null {
  if (((a.value ^ b.value) & ~a.mask & ~b.mask) !== 0n) return null;
  const mask = a.mask & b.mask;
  return { value: (a.value | b.value) & ~mask, mask };
}

/** Every number of `b` is one of `a`. */
export const containsTnum = (a: Tnum, b: Tnum): boolean => (b.mask & ~a.mask) === 0n && (b.value & ~a.mask) === a.value;
