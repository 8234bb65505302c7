/** SSE conversions between singles, doubles and integers; exact-float.ts says how. */
import type { Immediate, MicroOp } from '../src/ir/micro-ops.ts';
import { sseKnown } from '../src/ir/sse-ops.ts';
import type { Type } from '../src/ir/types.ts';
import type { Emitter, Expr } from './emitter.ts';
import { type Operation, once, perform } from './exact-float.ts';
import { bitsOf, failOperands, isNotZero, isSuspect, type Use } from './float-class.ts';
import { CLEAN, ORDERED } from './float-facts.ts';
import { type Arm, addArms, type Reader } from './lower.ts';

const arms: Partial<Record<MicroOp, Arm>> = {};
type Conversion = (reader: Reader, x: Use, imm: readonly Immediate[]) => Operation;
const conversion =
  (type: Type, of: Conversion): Arm =>
  (reader, args, imm) =>
    perform(reader, of(reader, reader.e.share(args[0]!, type), imm));
const never = (): void => {};

arms['sse.f64.promote'] = conversion('f32', (_, x, imm) => ({
  result: 'f64',
  native: (e) => e.op('f64.promote', x()),
  check: (e, _r, failIf) => {
    const known = sseKnown('sse.f64.promote', imm, 0);
    failOperands(e, 'f32', (known & CLEAN) !== 0 ? [] : [x], (known & ORDERED) !== 0 ? [] : [x], false, failIf);
  },
  exact: (e, mxcsr, each) =>
    e.op('f64.reinterpret', once(e, each, 'i64', e.call('f32ToF64', [bitsOf(e, 'f32', x()), mxcsr()], 'i64'))),
}));
arms['sse.f32.demote'] = conversion('f64', (_, x) => ({
  result: 'f32',
  native: (e) => e.op('f32.demote', x()),
  // Too great, or small and not from a zero.
  check: (e, r, failIf) => {
    e.if(isSuspect(e, 'f32', r), () => failIf(e.op('i32.or', isNotZero(e, 'f32', r), isNotZero(e, 'f64', x))));
  },
  inexact: (e, r, failIf) => failIf(e.op('f64.ne', e.op('f64.promote', r()), x())),
  exact: (e, mxcsr, each) =>
    e.op('f32.reinterpret', once(e, each, 'i32', e.call('f64ToF32', [bitsOf(e, 'f64', x()), mxcsr()], 'i32'))),
}));
/** From integers: nothing but the inexact flag, which is set. */
const fromInteger = (from: 'i32' | 'i64', to: 'f32' | 'f64'): Arm =>
  conversion(from, (_, x) => ({
    result: to,
    native: (e) => e.op(`${to}.convert_s.${from}`, x()),
    check: never,
    inexact: (e, r, failIf) => {
      // Back to an integer; the limit itself comes back changed.
      const wide = () => (to === 'f64' ? r() : e.op('f64.promote', r()));
      const back = e.op(`${from}.trunc_s_sat.f64`, wide());
      failIf(
        e.op(
          'i32.or',
          e.op(`${from}.ne`, back, x()),
          e.op('f64.ge', wide(), e.f64(from === 'i64' ? 2 ** 63 : 2 ** 31)),
        ),
      );
    },
    exact: (e, mxcsr, each) => {
      const integer = to === 'f64' ? 'i64' : 'i32';
      return e.op(
        `${to}.reinterpret`,
        once(e, each, integer, e.call(`${from}To${to.toUpperCase()}`, [x(), mxcsr()], integer)),
      );
    },
  }));
arms['sse.f64.from_i64'] = fromInteger('i64', 'f64');
arms['sse.f32.from_i32'] = fromInteger('i32', 'f32');
arms['sse.f32.from_i64'] = fromInteger('i64', 'f32');

/** 1.5 * 2^52: added to a number below 2^51 it leaves its integer (to nearest) in the low bits. */
const MAGIC = 6755399441055744;
const MAGIC_BITS = 0x4338_0000_0000_0000n;

/** To integers: invalid, with the integer indefinite as the result, is what is out of range. */
function toInteger(from: 'f32' | 'f64', to: 'i32' | 'i64'): Arm {
  return conversion(from, (_, x, [truncate]) => {
    const wide = (e: Emitter): Expr => (from === 'f64' ? x() : e.op('f64.promote', x()));
    const whole = (e: Emitter): Expr => (truncate === 1 ? e.op('f64.trunc', wide(e)) : wide(e));
    const below = (e: Emitter, limit: number): Expr => e.op('f64.lt', e.op('f64.abs', wide(e)), e.f64(limit));
    return {
      result: to,
      native: (e) => {
        const bits = e.op('i64.reinterpret', e.op('f64.add', whole(e), e.f64(MAGIC)));
        return to === 'i32' ? e.op('i32.wrap', bits) : e.op('i64.sub', bits, e.i64(MAGIC_BITS));
      },
      check: (e, _r, failIf) => failIf(e.op('i32.eqz', below(e, to === 'i32' ? 2 ** 31 - 1 : 2 ** 51))),
      inexact: (e, _r, failIf) => failIf(e.op('f64.ne', e.op('f64.trunc', wide(e)), wide(e))),
      exact: (e, mxcsr, each) =>
        once(
          e,
          each,
          to,
          e.call(`${from}To${to.toUpperCase()}`, [bitsOf(e, from, x()), mxcsr(), e.i32(truncate as number)], to),
        ),
    };
  });
}
arms['sse.i32.from_f64'] = toInteger('f64', 'i32');
arms['sse.i64.from_f64'] = toInteger('f64', 'i64');
arms['sse.i32.from_f32'] = toInteger('f32', 'i32');
arms['sse.i64.from_f32'] = toInteger('f32', 'i64');

// --- packed conversions
const lane = (e: Emitter, shape: string, x: Use, i: number): Expr => e.op(`${shape}.extract_lane`, x(), i);
/** The results of calls for the first lanes, the others zero. */
function lanesOf(
  e: Emitter,
  shape: 'i32x4' | 'i64x2',
  count: number,
  each: () => void,
  one: (i: number) => Expr,
): Expr {
  const whole = e.local('v128');
  e.set(whole, e.v128(new Array<number>(16).fill(0)));
  for (let i = 0; i < count; i++) {
    const value = once(e, each, shape === 'i32x4' ? 'i32' : 'i64', one(i));
    e.set(whole, e.op(`${shape}.replace_lane`, e.get(whole, 'v128'), i, value));
  }
  return e.get(whole, 'v128');
}

arms['sse.f64x2.promote'] = conversion('v128', ({ e: emitter }, x) => {
  // The upper lanes of the operand do not count: the lower ones take their places.
  const low = emitter.share(
    emitter.op('i8x16.shuffle', x(), x(), [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7]),
    'v128',
  );
  return {
    result: 'v128',
    native: (e) => e.op('f64x2.promote_low_f32x4', low()),
    check: (e, _r, failIf) => failOperands(e, 'f32x4', [low], [low], false, failIf),
    exact: (e, mxcsr, each) =>
      lanesOf(e, 'i64x2', 2, each, (i) => e.call('f32ToF64', [lane(e, 'i32x4', x, i), mxcsr()], 'i64')),
  };
});
arms['sse.f32x4.demote'] = conversion('v128', (_, x) => ({
  result: 'v128',
  native: (e) => e.op('f32x4.demote_f64x2_zero', x()),
  // A lane that is no normal single must come from a zero.
  check: (e, r, failIf) => {
    const again = e.share(e.op('f64x2.promote_low_f32x4', r()), 'v128');
    const outside = e.share(e.op('v128.not', inSingleRange(e, again)), 'v128');
    const fromZero = () => e.op('f64x2.eq', x(), e.v128(new Array<number>(16).fill(0)));
    e.if(e.op('i64x2.bitmask', outside()), () =>
      failIf(e.op('v128.any_true', e.op('v128.andnot', outside(), fromZero()))),
    );
  },
  inexact: (e, r, failIf) => failIf(e.op('v128.any_true', e.op('f64x2.ne', e.op('f64x2.promote_low_f32x4', r()), x()))),
  exact: (e, mxcsr, each) =>
    lanesOf(e, 'i32x4', 2, each, (i) => e.call('f64ToF32', [lane(e, 'i64x2', x, i), mxcsr()], 'i32')),
}));
/** Lanes whose magnitude is above the smallest normal single and finite as a single. */
function inSingleRange(e: Emitter, x: Use): Expr {
  const splat = (n: number) => e.op('f64x2.splat', e.f64(n));
  const size = e.share(e.op('f64x2.abs', x()), 'v128');
  return e.op('v128.and', e.op('f64x2.gt', size(), splat(2 ** -126)), e.op('f64x2.lt', size(), splat(2 ** 128)));
}
arms['sse.f32x4.from_i32x4'] = conversion('v128', (_, x) => ({
  result: 'v128',
  native: (e) => e.op('f32x4.convert_i32x4_s', x()),
  check: never,
  inexact: (e, r, failIf) => {
    const changed = e.op('i32x4.ne', e.op('i32x4.trunc_sat_f32x4_s', r()), x());
    const limit = e.op('f32x4.ge', r(), e.op('f32x4.splat', e.f32(2 ** 31)));
    failIf(e.op('v128.any_true', e.op('v128.or', changed, limit)));
  },
  exact: (e, mxcsr, each) =>
    lanesOf(e, 'i32x4', 4, each, (i) => e.call('i32ToF32', [lane(e, 'i32x4', x, i), mxcsr()], 'i32')),
}));
/** Packed to integers. */
function toIntegers(from: 'f32x4' | 'f64x2', native: string, limit: number, call: string): Arm {
  const count = from === 'f32x4' ? 4 : 2;
  const integers = from === 'f32x4' ? 'i32x4' : 'i64x2';
  return conversion('v128', (_, x, [truncate]) => {
    const outside = (e: Emitter): Expr => {
      const splat = e.op(`${from}.splat`, from === 'f32x4' ? e.f32(limit) : e.f64(limit));
      return e.op(`${integers}.bitmask`, e.op('v128.not', e.op(`${from}.lt`, e.op(`${from}.abs`, x()), splat)));
    };
    return {
      result: 'v128',
      native: (e) => e.op(native, truncate === 1 ? x() : e.op(`${from}.nearest`, x())),
      check: (e, _r, failIf) => failIf(outside(e)),
      inexact: (e, _r, failIf) => failIf(e.op('v128.any_true', e.op(`${from}.ne`, e.op(`${from}.trunc`, x()), x()))),
      exact: (e, mxcsr, each) =>
        lanesOf(e, 'i32x4', count, each, (i) =>
          e.call(call, [lane(e, integers, x, i), mxcsr(), e.i32(truncate as number)], 'i32'),
        ),
    };
  });
}
arms['sse.i32x4.from_f32x4'] = toIntegers('f32x4', 'i32x4.trunc_sat_f32x4_s', 2 ** 31, 'f32ToI32');
arms['sse.i32x4.from_f64x2'] = toIntegers('f64x2', 'i32x4.trunc_sat_f64x2_s_zero', 2 ** 31 - 1, 'f64ToI32');

addArms(arms);
