/**
 * What the verifier knows about a number: its bits, and its bounds as an unsigned and as a signed number, of all 64 bits and
 * of the low 32. Each of the five constrains the others (`narrow`).
 */
import type { Width } from './instructions.ts';
import { containsTnum, intersectTnum, knownTnum, lowTnum, rangeTnum, type Tnum, unknownTnum } from './tnum.ts';

export interface Bounds {
  readonly umin: bigint;
  readonly umax: bigint;
  readonly smin: bigint;
  readonly smax: bigint;
}

export interface Scalar {
  readonly bits: Tnum;
  readonly wide: Bounds;
  readonly low: Bounds;
}

const word = 1n << 32n;
const wordMask = word - 1n;
const halves = { 32: 1n << 31n, 64: 1n << 63n };
/** The sign's bit. */
const half = (width: Width): bigint => halves[width];
const max = (a: bigint, b: bigint): bigint => (a > b ? a : b);
const min = (a: bigint, b: bigint): bigint => (a < b ? a : b);

export const anyBounds = (width: number): Bounds => ({
  umin: 0n,
  umax: (1n << BigInt(width)) - 1n,
  smin: -(1n << BigInt(width - 1)),
  smax: (1n << BigInt(width - 1)) - 1n,
});
export const anyWide = anyBounds(64);
export const anyLow = anyBounds(32);

const boundsOf = (width: number, value: bigint): Bounds => {
  const u = BigInt.asUintN(width, value);
  const s = BigInt.asIntN(width, value);
  return { umin: u, umax: u, smin: s, smax: s };
};

export const unknownScalar: Scalar = { bits: unknownTnum, wide: anyWide, low: anyLow };

export function knownScalar(value: bigint): Scalar {
  const unsigned = BigInt.asUintN(64, value);
  return { bits: knownTnum(unsigned), wide: boundsOf(64, unsigned), low: boundsOf(32, unsigned) };
}

export const isKnown = (s: Scalar): boolean => s.bits.mask === 0n;

/** Numbers from `from` to `to`, unsigned. */
export const unsignedScalar = (from: bigint, to: bigint): Scalar =>
  narrow({ bits: unknownTnum, wide: { ...anyWide, umin: from, umax: to }, low: anyLow })!;
export const signedScalar = (from: bigint, to: bigint): Scalar =>
  narrow({ bits: unknownTnum, wide: { ...anyWide, smin: from, smax: to }, low: anyLow })!;

export function intersectBounds(a: Bounds, b: Bounds): Bounds {
  return {
    umin: max(a.umin, b.umin),
    umax: min(a.umax, b.umax),
    smin: max(a.smin, b.smin),
    smax: min(a.smax, b.smax),
  };
}

const sameBounds = (a: Bounds, b: Bounds): boolean =>
  a.umin === b.umin && a.umax === b.umax && a.smin === b.smin && a.smax === b.smax;
const isEmpty = (b: Bounds): boolean => b.umin > b.umax || b.smin > b.smax;

/** Bounds that follow from known bits, of the width's own number. */
function fromBits(width: Width, bits: Tnum): Bounds {
  const { value, mask } = width === 64 ? bits : lowTnum(bits, width);
  const sign = half(width);
  return {
    umin: value,
    umax: value | mask,
    smin: BigInt.asIntN(width, value | (mask & sign)),
    smax: BigInt.asIntN(width, value | (mask & (sign - 1n))),
  };
}

/** Bounds of one kind from those of the other, where the sign is settled. */
function acrossSigns(width: Width, b: Bounds): Bounds {
  let { umin, umax, smin, smax } = b;
  if (umax < half(width) || umin >= half(width)) {
    smin = max(smin, BigInt.asIntN(width, umin));
    smax = min(smax, BigInt.asIntN(width, umax));
  }
  if (smin >= 0n || smax < 0n) {
    umin = max(umin, BigInt.asUintN(width, smin));
    umax = min(umax, BigInt.asUintN(width, smax));
  }
  return { umin, umax, smin, smax };
}

/** The low half's bounds where all numbers share the high half. */
function lowOf(wide: Bounds, low: Bounds): Bounds {
  let found = low;
  if (wide.umin >> 32n === wide.umax >> 32n)
    found = intersectBounds(found, { ...anyLow, umin: wide.umin & wordMask, umax: wide.umax & wordMask });
  if (wide.smin >> 32n === wide.smax >> 32n)
    found = intersectBounds(found, { ...anyLow, umin: wide.smin & wordMask, umax: wide.smax & wordMask });
  if (wide.smin >= anyLow.smin && wide.smax <= anyLow.smax)
    found = intersectBounds(found, { ...anyLow, smin: wide.smin, smax: wide.smax });
  return found;
}

/** In a number at its lowest the low half is at least the low half's lowest, and so on. */
function wideOf(low: Bounds, wide: Bounds): Bounds {
  const put = (whole: bigint, part: bigint): bigint => ((whole >> 32n) << 32n) | part;
  return intersectBounds(wide, {
    umin: put(wide.umin, low.umin),
    umax: put(wide.umax, low.umax),
    smin: put(wide.smin, low.umin),
    smax: put(wide.smax, low.umax),
  });
}

/** Draws all conclusions; null if no number is left. */
export function narrow(s: Scalar): Scalar | null {
  let { bits, wide, low } = s;
  for (let round = 0; round < 4; round++) {
    const before = { bits, wide, low };
    wide = intersectBounds(wide, fromBits(64, bits));
    low = intersectBounds(low, fromBits(32, bits));
    if (isEmpty(wide) || isEmpty(low)) return null;
    wide = acrossSigns(64, wide);
    low = lowOf(wide, acrossSigns(32, low));
    if (isEmpty(wide) || isEmpty(low)) return null;
    low = acrossSigns(32, low);
    wide = acrossSigns(64, wideOf(low, wide));
    if (isEmpty(wide) || isEmpty(low)) return null;
    const one = intersectTnum(bits, rangeTnum(wide.umin, wide.umax));
    if (one === null) return null;
    const lowRange = rangeTnum(low.umin, low.umax);
    const two = intersectTnum(one, { value: lowRange.value, mask: lowRange.mask | (anyWide.umax ^ wordMask) });
    if (two === null) return null;
    bits = two;
    if (bits.mask === before.bits.mask && sameBounds(wide, before.wide) && sameBounds(low, before.low)) break;
  }
  return { bits, wide, low };
}

const containsBounds = (a: Bounds, b: Bounds): boolean =>
  a.umin <= b.umin && a.umax >= b.umax && a.smin <= b.smin && a.smax >= b.smax;

/** Every number of `b` is one of `a`. */
export const containsScalar = (a: Scalar, b: Scalar): boolean =>
  a === b || (containsBounds(a.wide, b.wide) && containsBounds(a.low, b.low) && containsTnum(a.bits, b.bits));

export const sameScalar = (a: Scalar, b: Scalar): boolean =>
  a === b ||
  (a.bits.value === b.bits.value &&
    a.bits.mask === b.bits.mask &&
    sameBounds(a.wide, b.wide) &&
    sameBounds(a.low, b.low));

/** The number may be `value`. */
export const mayBe = (s: Scalar, value: bigint): boolean => {
  const u = BigInt.asUintN(64, value);
  return ((u ^ s.bits.value) & ~s.bits.mask) === 0n && u >= s.wide.umin && u <= s.wide.umax;
};

/** For messages: the number, or its bounds. */
export function scalarText(s: Scalar): string {
  if (isKnown(s)) return `${BigInt.asIntN(64, s.bits.value)}`;
  const { umin, umax, smin, smax } = s.wide;
  if (smin >= 0n) return `${umin}..${umax}`;
  if (smin > anyWide.smin || smax < anyWide.smax) return `${smin}..${smax}`;
  return umin > 0n || umax < anyWide.umax ? `${umin}..${umax} (unsigned)` : 'any number';
}
