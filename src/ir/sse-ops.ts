/**
 * The micro-ops of SSE floating point: each gives the exact x86 result under the MXCSR in force, sets MXCSR's sticky
 * flags, and raises #XM (or #UD with CR4.OSXMMEXCPT clear) where an exception is not masked. SDM volume 1, chapters 10.2.3 and 11.5.
 *
 * Lowered in jit/lower-float.ts: the native operation, one classification of operands and result, and an exact slow way.
 * They may fault, so they stand before the instruction's first change.
 */
import { spec } from './micro-op-spec.ts';

const row = (signature: string) => spec('memory', signature);

export const sseOps = {
  // Scalars. `min` and `max` as MINSD and MAXSD: the second operand if one is a NaN or both are zeros.
  'sse.f64.add': row('dd>d'),
  'sse.f64.sub': row('dd>d'),
  'sse.f64.mul': row('dd>d'),
  'sse.f64.div': row('dd>d'),
  'sse.f64.min': row('dd>d'),
  'sse.f64.max': row('dd>d'),
  'sse.f64.sqrt': row('d>d'),
  'sse.f32.add': row('ff>f'),
  'sse.f32.sub': row('ff>f'),
  'sse.f32.mul': row('ff>f'),
  'sse.f32.div': row('ff>f'),
  'sse.f32.min': row('ff>f'),
  'sse.f32.max': row('ff>f'),
  'sse.f32.sqrt': row('f>f'),
  // [predicate 0-7 of CMPSD, 16-19 of VCMPSD]: 1 if it holds.
  'sse.f64.cmp': row('dd>i'),
  'sse.f32.cmp': row('ff>i'),
  // [quiet: 1 = UCOMISD, 0 = COMISD]: ZF, PF, CF at their places in RFLAGS.
  'sse.f64.compare': row('dd>i'),
  'sse.f32.compare': row('ff>i'),
  // [immediate of ROUNDSD, see `roundings`]
  'sse.f64.round': row('d>d'),
  'sse.f32.round': row('f>f'),
  // Conversions. [truncate: 1 = CVTTSD2SI and its like] where floating point becomes an integer.
  'sse.f64.promote': row('f>d'),
  'sse.f32.demote': row('d>f'),
  'sse.f64.from_i64': row('l>d'),
  'sse.f32.from_i32': row('i>f'),
  'sse.f32.from_i64': row('l>f'),
  'sse.i32.from_f64': row('d>i'),
  'sse.i64.from_f64': row('d>l'),
  'sse.i32.from_f32': row('f>i'),
  'sse.i64.from_f32': row('f>l'),
  // a * b + c in one rounding, a being the factor that the manual names first. [bit 0: -c in the even lanes, bit 1: -c in the
  // odd ones, bit 2: -(a * b)]
  'sse.f64.fma': row('ddd>d'),
  'sse.f32.fma': row('fff>f'),
  // The same on all lanes: flags are those of all lanes, and nothing changes if one of them faults.
  'sse.f64x2.add': row('vv>v'),
  'sse.f64x2.sub': row('vv>v'),
  'sse.f64x2.mul': row('vv>v'),
  'sse.f64x2.div': row('vv>v'),
  'sse.f64x2.min': row('vv>v'),
  'sse.f64x2.max': row('vv>v'),
  'sse.f64x2.sqrt': row('v>v'),
  'sse.f32x4.add': row('vv>v'),
  'sse.f32x4.sub': row('vv>v'),
  'sse.f32x4.mul': row('vv>v'),
  'sse.f32x4.div': row('vv>v'),
  'sse.f32x4.min': row('vv>v'),
  'sse.f32x4.max': row('vv>v'),
  'sse.f32x4.sqrt': row('v>v'),
  'sse.f64x2.round': row('v>v'),
  'sse.f32x4.round': row('v>v'),
  'sse.f64x2.fma': row('vvv>v'),
  'sse.f32x4.fma': row('vvv>v'),
  'sse.f64x2.cmp': row('vv>v'), // [predicate]: lanes of ones where it holds
  'sse.f32x4.cmp': row('vv>v'),
  'sse.f64x2.promote': row('v>v'), // the two low lanes
  'sse.f32x4.demote': row('v>v'), // to the two low lanes, the others zero
  'sse.f32x4.from_i32x4': row('v>v'),
  'sse.i32x4.from_f32x4': row('v>v'), // [truncate]
  'sse.i32x4.from_f64x2': row('v>v'), // [truncate]; to the two low lanes, the others zero
  'sse.f32x4.from_f16x4': row('v>v'), // the four low halves
  'sse.f16x4.from_f32x4': row('v>v'), // [rounding control 0-3, 4 = MXCSR's]; to the low half, the upper zero
} as const;

/** Bits 1:0 the way of rounding, bit 2: MXCSR's (bits 1:0 are then 0), bit 3: no inexact exception. */
const roundings = [0, 1, 2, 3, 4, 8, 9, 10, 11, 12];

/** The values that the immediate of an operation may have, or none: the interpreter has one case for each. */
export function sseImmediates(op: string): readonly number[] {
  if (!op.startsWith('sse.')) return [];
  if (op.endsWith('.round')) return roundings;
  if (op.endsWith('.cmp')) return [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19];
  if (op === 'sse.f16x4.from_f32x4') return [0, 1, 2, 3, 4];
  if (op.endsWith('.fma')) return op.includes('x') ? [0, 1, 2, 3, 4, 7] : [0, 3, 4, 7];
  if (op.endsWith('.compare') || /^sse\.i\d+(x\d)?\.from_/.test(op)) return [0, 1];
  return [];
}

/** Whether a predicate of VCMPPS takes quiet NaNs without an exception. */
export const isQuietPredicate = (n: number): boolean => ((n & 3) === 0 || (n & 3) === 3) === n < 16;

/** What a region has found out about operand `i`: bit 0 = no denormal, bit 1 = no NaN, in all its lanes. 0 = nothing. */
export function sseKnown(op: string, imm: readonly unknown[], i: number): number {
  const word = imm[sseImmediates(op).length > 0 ? 1 : 0];
  return typeof word === 'number' ? (word >> (2 * i)) & 3 : 0;
}
