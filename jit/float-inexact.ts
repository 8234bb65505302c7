/**
 * Whether a native result was rounded: for code that runs while MXCSR's inexact flag is still clear, such as sums and
 * products of integers held as doubles. "Not exact" may be said of an exact result (the exact way then finds out), never
 * the other way round. Results are finite and not denormal here: everything else was set aside before.
 */
import type { Emitter, Expr } from './emitter.ts';
import { bitsOf, type FailIf, failLanes, isDouble, isVector, type Shape, type Use } from './float-class.ts';

/** Each lane as a scalar: not zero if `one` says so for any of them. */
function anyLane(
  e: Emitter,
  shape: Shape,
  values: readonly Use[],
  one: (scalar: Shape, values: readonly Use[]) => Expr,
): Expr {
  if (!isVector(shape)) return one(shape, values);
  const scalar = isDouble(shape) ? 'f64' : 'f32';
  const lanes = isDouble(shape) ? 2 : 4;
  return Array.from({ length: lanes }, (_, i) =>
    one(
      scalar,
      values.map((x) => () => e.op(`${shape}.extract_lane`, x(), i)),
    ),
  ).reduce((a, c) => e.op('i32.or', a, c));
}

/** A sum (or a difference) is exact if taking either operand away from it gives the other. Knuth's two-sum. */
export function inexactSum(
  e: Emitter,
  shape: Shape,
  name: 'add' | 'sub',
  a: Use,
  c: Use,
  r: Use,
  failIf: FailIf,
): void {
  const first = () => (name === 'add' ? e.op(`${shape}.sub`, r(), a()) : e.op(`${shape}.sub`, a(), r()));
  const second = () => e.op(`${shape}.${name === 'add' ? 'sub' : 'add'}`, r(), c());
  const different = [e.op(`${shape}.ne`, first(), c()), e.op(`${shape}.ne`, second(), a())] as const;
  if (!isVector(shape)) return failIf(e.op('i32.or', ...different));
  failLanes(e, shape, e.op('v128.or', ...different), failIf, (fail) => {
    const again = [e.op(`${shape}.ne`, first(), c()), e.op(`${shape}.ne`, second(), a())] as const;
    fail(e.op('v128.any_true', e.op('v128.or', ...again)));
  });
}

/** The product of two doubles has at most as many significant bits as both together. */
function mayRoundProduct(e: Emitter, a: Use, c: Use): Expr {
  const zeros = (x: Use) => e.op('i64.ctz', e.op('i64.or', bitsOf(e, 'f64', x()), e.i64(1n << 52n)));
  return e.op('i64.lt_u', e.op('i64.add', zeros(a), zeros(c)), e.i64(53n));
}
const promoted = (e: Emitter, x: Use): Expr => e.op('f64.promote', x());

/** Calls `settle` if one of two doubles has more than 26 significant bits, in any lane: else their product is exact. */
function ifLong(e: Emitter, shape: Shape, a: Use, c: Use, failIf: FailIf, settle: (failIf: FailIf) => void): void {
  const low = (1n << 27n) - 1n;
  if (!isVector(shape)) {
    const bits = e.op('i64.or', bitsOf(e, 'f64', a()), bitsOf(e, 'f64', c()));
    return e.if(e.op('i64.ne', e.op('i64.and', bits, e.i64(low)), e.i64(0n)), () => settle(failIf));
  }
  const mask = e.pooled(Array.from({ length: 16 }, (_, i) => Number((low >> BigInt((i & 7) * 8)) & 255n)));
  failLanes(e, shape, e.op('i64x2.neg', e.op('v128.and', e.op('v128.or', a(), c()), mask)), failIf, settle);
}

/** r = a * c was rounded, or may have been. */
export function inexactProduct(e: Emitter, shape: Shape, a: Use, c: Use, r: Use, failIf: FailIf): void {
  const rounded = (): Expr =>
    anyLane(e, shape, [a, c, r], (scalar, [x, y, z]) => {
      if (scalar === 'f32') return e.op('f64.ne', e.op('f64.mul', promoted(e, x!), promoted(e, y!)), promoted(e, z!));
      return e.op('i32.and', mayRoundProduct(e, x!, y!), e.op('f64.ne', z!(), e.f64(0)));
    });
  if (isDouble(shape)) ifLong(e, shape, a, c, failIf, (fail) => fail(rounded()));
  else failIf(rounded());
}

/** r = a / c was rounded, or may have been: exact if r * c is exact and is a. */
export function inexactQuotient(e: Emitter, shape: Shape, a: Use, c: Use, r: Use, failIf: FailIf): void {
  failIf(
    anyLane(e, shape, [a, c, r], (scalar, [x, y, z]) => {
      if (scalar === 'f32') return e.op('f64.ne', e.op('f64.mul', promoted(e, z!), promoted(e, y!)), promoted(e, x!));
      const different = e.op('f64.ne', e.op('f64.mul', z!(), y!()), x!());
      return e.op('i32.and', e.op('i32.or', mayRoundProduct(e, z!, y!), different), e.op('f64.ne', x!(), e.f64(0)));
    }),
  );
}

/** r, the square root of a, was rounded, or may have been. */
export const inexactRoot = (e: Emitter, shape: Shape, a: Use, r: Use, failIf: FailIf): void =>
  inexactQuotient(e, shape, a, r, r, failIf);
