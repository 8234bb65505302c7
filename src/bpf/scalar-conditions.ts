/** What is known of two numbers after a comparison of them came out one way; nothing if it cannot have. */
import { holds } from './arithmetic.ts';
import type { Condition, Width } from './instructions.ts';
import { anyLow, anyWide, type Bounds, intersectBounds, isKnown, narrow, type Scalar } from './scalar.ts';
import { intersectTnum, lowTnum, type Tnum } from './tnum.ts';

const opposites = {
  eq: 'ne',
  ne: 'eq',
  gt: 'le',
  le: 'gt',
  ge: 'lt',
  lt: 'ge',
  sgt: 'sle',
  sle: 'sgt',
  sge: 'slt',
  slt: 'sge',
} as const;
const mirrored = { gt: 'lt', ge: 'le', sgt: 'slt', sge: 'sle' } as const;

export type Refined = readonly [Scalar, Scalar] | null;

/**
 * @param outcome whether the condition held
 * @returns the narrowed operands, or null if there are none
 */
export function refine(condition: Condition, width: Width, outcome: boolean, a: Scalar, b: Scalar): Refined {
  if (isKnown(a) && isKnown(b)) return holds(condition, width, a.bits.value, b.bits.value) === outcome ? [a, b] : null;
  if (condition === 'set') return refineBits(width, outcome, a, b);
  const holding = outcome ? condition : opposites[condition];
  switch (holding) {
    case 'eq':
      return refineEqual(width, a, b);
    case 'ne': {
      const left = exclude(width, a, b);
      const right = left === null ? null : exclude(width, b, a);
      return left === null || right === null ? null : [left, right];
    }
    case 'gt':
    case 'ge':
    case 'sgt':
    case 'sge': {
      const swapped = refineLess(mirrored[holding], width, b, a);
      return swapped === null ? null : [swapped[1], swapped[0]];
    }
    case 'lt':
    case 'le':
    case 'slt':
    case 'sle':
      return refineLess(holding, width, a, b);
    default:
      return holding satisfies never;
  }
}

const boundsOf = (width: Width, s: Scalar): Bounds => (width === 64 ? s.wide : s.low);
const limited = (width: Width, s: Scalar, limits: Partial<Bounds>): Scalar | null =>
  narrow(
    width === 64
      ? { ...s, wide: intersectBounds(s.wide, { ...anyWide, ...limits }) }
      : { ...s, low: intersectBounds(s.low, { ...anyLow, ...limits }) },
  );
const both = (a: Scalar | null, b: Scalar | null): Refined => (a === null || b === null ? null : [a, b]);

function refineEqual(width: Width, a: Scalar, b: Scalar): Refined {
  if (width === 64) {
    const bits = intersectTnum(a.bits, b.bits);
    if (bits === null) return null;
    const common = narrow({ bits, wide: intersectBounds(a.wide, b.wide), low: intersectBounds(a.low, b.low) });
    return both(common, common);
  }
  const bits = intersectTnum(lowTnum(a.bits, 32), lowTnum(b.bits, 32));
  if (bits === null) return null;
  const low = intersectBounds(a.low, b.low);
  return both(narrow({ ...a, bits: withLow(a.bits, bits), low }), narrow({ ...b, bits: withLow(b.bits, bits), low }));
}

const high = anyWide.umax ^ anyLow.umax;
const withLow = (whole: Tnum, low: Tnum): Tnum => ({
  value: (whole.value & high) | low.value,
  mask: (whole.mask & high) | low.mask,
});

/** `a` without the number that `b` is. */
function exclude(width: Width, a: Scalar, b: Scalar): Scalar | null {
  const { bits } = width === 64 ? b : { bits: lowTnum(b.bits, 32) };
  if (bits.mask !== 0n) return a;
  const bounds = boundsOf(width, a);
  const value = bits.value;
  const signed = BigInt.asIntN(width, value);
  if (bounds.umin === value && bounds.umax === value) return null;
  const limits: { -readonly [K in keyof Bounds]?: bigint } = {};
  if (bounds.umin === value) limits.umin = value + 1n;
  if (bounds.umax === value) limits.umax = value - 1n;
  if (bounds.smin === signed) limits.smin = signed + 1n;
  if (bounds.smax === signed) limits.smax = signed - 1n;
  return limited(width, a, limits);
}

function refineLess(condition: 'lt' | 'le' | 'slt' | 'sle', width: Width, a: Scalar, b: Scalar): Refined {
  const [x, y] = [boundsOf(width, a), boundsOf(width, b)];
  const apart = condition === 'lt' || condition === 'slt' ? 1n : 0n;
  if (condition === 'lt' || condition === 'le')
    return both(limited(width, a, { umax: y.umax - apart }), limited(width, b, { umin: x.umin + apart }));
  return both(limited(width, a, { smax: y.smax - apart }), limited(width, b, { smin: x.smin + apart }));
}

function refineBits(width: Width, outcome: boolean, a: Scalar, b: Scalar): Refined {
  const part = (s: Scalar): Tnum => (width === 64 ? s.bits : lowTnum(s.bits, 32));
  const [x, y] = [part(a), part(b)];
  const common = (x.value | x.mask) & (y.value | y.mask);
  if (outcome) {
    if (common === 0n) return null;
    const single = (common & (common - 1n)) === 0n;
    // Only one bit can be set in both, so it is.
    const set = (s: Scalar): Scalar | null =>
      single ? narrow({ ...s, bits: { value: s.bits.value | common, mask: s.bits.mask & ~common } }) : s;
    return both(set(a), set(b));
  }
  if ((x.value & y.value) !== 0n) return null;
  const clear = (s: Scalar, other: Tnum): Scalar | null =>
    narrow({ ...s, bits: { value: s.bits.value, mask: s.bits.mask & ~other.value } });
  return both(clear(a, y), clear(b, x));
}
