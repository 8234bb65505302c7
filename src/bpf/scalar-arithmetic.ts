/** What arithmetic makes of numbers that are known in part: each result holds every number that could come out. */
import { compute, extend, negate, shiftCount, swap } from './arithmetic.ts';
import type { AluOperation, Width } from './instructions.ts';
import { anyLow, anyWide, type Bounds, isKnown, knownScalar, narrow, type Scalar, unknownScalar } from './scalar.ts';
import {
  addTnum,
  andTnum,
  lowTnum,
  mulTnum,
  orTnum,
  reverseTnum,
  shiftTnumLeft,
  shiftTnumRight,
  shiftTnumSigned,
  subTnum,
  type Tnum,
  unknownTnum,
  xorTnum,
} from './tnum.ts';

const any = (width: Width): Bounds => (width === 64 ? anyWide : anyLow);
const least = (list: readonly bigint[]): bigint => list.reduce((a, b) => (a < b ? a : b));
const most = (list: readonly bigint[]): bigint => list.reduce((a, b) => (a > b ? a : b));

/** The part of a scalar that an operation of that width sees. */
interface Part {
  readonly bits: Tnum;
  readonly b: Bounds;
}
const part = (width: Width, s: Scalar): Part =>
  width === 64 ? { bits: s.bits, b: s.wide } : { bits: lowTnum(s.bits, 32), b: s.low };

/** A scalar from what an operation of that width gave; one of 32 bits clears the others. */
function whole(width: Width, bits: Tnum, b: Bounds, low: Bounds = anyLow): Scalar {
  const made =
    width === 64
      ? { bits, wide: b, low }
      : { bits: lowTnum(bits, 32), wide: { ...anyWide, umax: anyLow.umax }, low: b };
  return narrow(made) ?? (width === 64 ? unknownScalar : zeroExtended);
}
const zeroExtended = narrow({ bits: lowTnum(unknownTnum, 32), wide: anyWide, low: anyLow })!;

/** Bounds of which both ends, or neither, left the width go around together. */
function around(width: Width, kind: 'unsigned' | 'signed', from: bigint, to: bigint): [bigint, bigint] | null {
  const wrap = kind === 'unsigned' ? BigInt.asUintN : BigInt.asIntN;
  const a = wrap(width, from);
  const b = wrap(width, to);
  return to - from < 1n << BigInt(width) && a <= b ? [a, b] : null;
}

function joined(width: Width, unsigned: [bigint, bigint] | null, signed: [bigint, bigint] | null): Bounds {
  const { umin, umax, smin, smax } = any(width);
  return {
    umin: unsigned?.[0] ?? umin,
    umax: unsigned?.[1] ?? umax,
    smin: signed?.[0] ?? smin,
    smax: signed?.[1] ?? smax,
  };
}

function addBounds(width: Width, a: Bounds, b: Bounds): Bounds {
  return joined(
    width,
    around(width, 'unsigned', a.umin + b.umin, a.umax + b.umax),
    around(width, 'signed', a.smin + b.smin, a.smax + b.smax),
  );
}
function subBounds(width: Width, a: Bounds, b: Bounds): Bounds {
  return joined(
    width,
    around(width, 'unsigned', a.umin - b.umax, a.umax - b.umin),
    around(width, 'signed', a.smin - b.smax, a.smax - b.smin),
  );
}
function mulBounds(width: Width, a: Bounds, b: Bounds): Bounds {
  const limits = any(width);
  const highest = a.umax * b.umax;
  const products = [a.smin * b.smin, a.smin * b.smax, a.smax * b.smin, a.smax * b.smax];
  const [lowestSigned, highestSigned] = [least(products), most(products)];
  return joined(
    width,
    highest <= limits.umax ? [a.umin * b.umin, highest] : null,
    lowestSigned >= limits.smin && highestSigned <= limits.smax ? [lowestSigned, highestSigned] : null,
  );
}
function divBounds(width: Width, a: Bounds, b: Bounds): Bounds {
  // Division by zero gives 0.
  const from = b.umin === 0n ? 0n : a.umin / b.umax;
  return { ...any(width), umin: from, umax: a.umax / (b.umin === 0n ? 1n : b.umin) };
}
function modBounds(width: Width, a: Bounds, b: Bounds): Bounds {
  // The remainder by zero is the dividend.
  if (b.umin === 0n) return { ...any(width), umax: a.umax };
  if (a.umax < b.umin) return a;
  return { ...any(width), umax: a.umax < b.umax - 1n ? a.umax : b.umax - 1n };
}
function sdivBounds(width: Width, a: Bounds, b: Bounds): Bounds {
  if (b.smin !== b.smax || b.smin === 0n || b.smin === -1n) return any(width);
  const ends = [a.smin / b.smin, a.smax / b.smin];
  return { ...any(width), smin: least(ends), smax: most(ends) };
}
function smodBounds(width: Width, a: Bounds, b: Bounds): Bounds {
  if (b.smin !== b.smax || b.smin === 0n) return any(width);
  const limit = (b.smin < 0n ? -b.smin : b.smin) - 1n;
  const smin = a.smin >= 0n ? 0n : most([-limit, a.smin]);
  const smax = a.smax <= 0n ? 0n : least([limit, a.smax]);
  return { ...any(width), smin, smax };
}

/** Counts of a shift, or null if they may be reduced. */
function counts(width: Width, b: Bounds): [bigint, bigint] | null {
  if (b.umin === b.umax) {
    const count = shiftCount(width, b.umin);
    return [count, count];
  }
  return b.umax < BigInt(width) ? [b.umin, b.umax] : null;
}

function shift(operation: 'lsh' | 'rsh' | 'arsh', width: Width, a: Part, b: Bounds): Part {
  const count = counts(width, b);
  if (count === null) {
    if (operation === 'rsh') return { bits: unknownTnum, b: { ...any(width), umax: a.b.umax } };
    return { bits: unknownTnum, b: any(width) };
  }
  const [from, to] = count;
  const exact = from === to;
  switch (operation) {
    case 'lsh': {
      const highest = a.b.umax << to;
      const fits = highest <= any(width).umax;
      const [low, high] = [a.b.smin << (a.b.smin < 0n ? to : from), a.b.smax << (a.b.smax < 0n ? from : to)];
      const signed: [bigint, bigint] | null = low >= any(width).smin && high <= any(width).smax ? [low, high] : null;
      return {
        bits: exact ? shiftTnumLeft(a.bits, from) : unknownTnum,
        b: joined(width, fits ? [a.b.umin << from, highest] : null, signed),
      };
    }
    case 'rsh':
      return {
        bits: exact ? shiftTnumRight(a.bits, from) : unknownTnum,
        b: { ...any(width), umin: a.b.umin >> to, umax: a.b.umax >> from },
      };
    case 'arsh':
      return {
        bits: exact ? shiftTnumSigned(a.bits, from, width) : unknownTnum,
        b: {
          ...any(width),
          smin: a.b.smin >> (a.b.smin < 0n ? from : to),
          smax: a.b.smax >> (a.b.smax < 0n ? to : from),
        },
      };
    default:
      return operation satisfies never;
  }
}

function combine(operation: Exclude<AluOperation, 'mov'>, width: Width, a: Part, b: Part): Part {
  const limits = any(width);
  switch (operation) {
    case 'add':
      return { bits: addTnum(a.bits, b.bits), b: addBounds(width, a.b, b.b) };
    case 'sub':
      return { bits: subTnum(a.bits, b.bits), b: subBounds(width, a.b, b.b) };
    case 'mul':
      return { bits: mulTnum(a.bits, b.bits), b: mulBounds(width, a.b, b.b) };
    case 'div':
      return { bits: unknownTnum, b: divBounds(width, a.b, b.b) };
    case 'mod':
      return { bits: unknownTnum, b: modBounds(width, a.b, b.b) };
    case 'sdiv':
      return { bits: unknownTnum, b: sdivBounds(width, a.b, b.b) };
    case 'smod':
      return { bits: unknownTnum, b: smodBounds(width, a.b, b.b) };
    case 'and':
      return { bits: andTnum(a.bits, b.bits), b: { ...limits, umax: least([a.b.umax, b.b.umax]) } };
    case 'or':
      return { bits: orTnum(a.bits, b.bits), b: { ...limits, umin: most([a.b.umin, b.b.umin]) } };
    case 'xor':
      return { bits: xorTnum(a.bits, b.bits), b: limits };
    case 'lsh':
    case 'rsh':
    case 'arsh':
      return shift(operation, width, a, b.b);
    default:
      return operation satisfies never;
  }
}

/** Operations whose low 32 bits follow from the operands' low 32 bits. */
const lowFromLow: ReadonlySet<AluOperation> = new Set(['add', 'sub', 'mul', 'and', 'or', 'xor']);

/** `compute` over all numbers that the operands can be. */
export function computeScalar(operation: AluOperation, width: Width, a: Scalar, b: Scalar): Scalar {
  if (isKnown(b) && (isKnown(a) || operation === 'mov'))
    return knownScalar(compute(operation, width, a.bits.value, b.bits.value));
  if (operation === 'mov') return width === 64 ? b : whole(32, b.bits, b.low);
  const made = combine(operation, width, part(width, a), part(width, b));
  const bits = width === 64 ? made.bits : lowTnum(made.bits, 32);
  if (width === 64 && lowFromLow.has(operation)) {
    const low = combine(operation, 32, part(32, a), part(32, b)).b;
    return whole(64, bits, made.b, low);
  }
  return whole(width, bits, made.b);
}

export function negateScalar(width: Width, a: Scalar): Scalar {
  if (isKnown(a)) return knownScalar(negate(width, a.bits.value));
  return computeScalar('sub', width, knownScalar(0n), a);
}

/** The low `bits` extended by their sign. */
export function extendScalar(width: Width, bits: 8 | 16 | 32, a: Scalar): Scalar {
  if (isKnown(a)) return knownScalar(extend(width, bits, a.bits.value));
  const seen = part(width, a);
  const half = 1n << BigInt(bits - 1);
  if (seen.b.smin >= -half && seen.b.smax < half) return whole(width, seen.bits, seen.b);
  const up = BigInt(width - bits);
  const extended = shiftTnumSigned(lowTnum(shiftTnumLeft(seen.bits, up), width), up, width);
  const from = bits === 32 ? a.low : null;
  return whole(width, extended, { ...any(width), smin: from?.smin ?? -half, smax: from?.smax ?? half - 1n });
}

export function swapScalar(order: 'le' | 'be' | 'swap', bits: 16 | 32 | 64, a: Scalar): Scalar {
  if (isKnown(a)) return knownScalar(swap(order, bits, a.bits.value));
  if (order === 'le') return bits === 64 ? a : truncateScalar(bits, a);
  return whole(64, reverseTnum(a.bits, bits), anyWide);
}

/** The low `bits`, zero-extended: what a load of them gives. */
export function truncateScalar(bits: number, a: Scalar): Scalar {
  if (bits >= 64) return a;
  return computeScalar('and', 64, a, { ...knownScalar((1n << BigInt(bits)) - 1n) });
}

/** A number of so many bits that nothing is known about. */
export const loadedScalar = (bits: number, signed: boolean): Scalar =>
  signed
    ? extendScalar(64, bits as 8, unknownScalar)
    : narrow({ ...unknownScalar, bits: { value: 0n, mask: (1n << BigInt(bits)) - 1n } })!;

export const addScalars = (a: Scalar, b: Scalar): Scalar => computeScalar('add', 64, a, b);
