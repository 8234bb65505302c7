/** VCVTPH2PS and VCVTPS2PH; exact-float.ts says how. */
import type { MicroOp } from '../src/ir/micro-ops.ts';
import type { Emitter, Expr } from './emitter.ts';
import { once, perform } from './exact-float.ts';
import type { Use } from './float-class.ts';
import { type Arm, addArms } from './lower.ts';

const arms: Partial<Record<MicroOp, Arm>> = {};
const words = (e: Emitter, n: number): Expr => e.op('i32x4.splat', e.i32(n));
const zeros = (e: Emitter): Expr => e.v128(new Array<number>(16).fill(0));
const SIGN = -0x8000_0000;

arms['sse.f32x4.from_f16x4'] = (reader, args) => {
  const x = reader.e.share(args[0]!, 'v128');
  const wide = reader.e.share(reader.e.op('i32x4.extend_low_i16x8_u', x()), 'v128');
  /** Exponent and fraction where a single has them. */
  const size = reader.e.share(
    reader.e.op('i32x4.shl', reader.e.op('v128.and', wide(), words(reader.e, 0x7fff)), reader.e.i32(13)),
    'v128',
  );
  const INFINITE = 0x7c00 << 13;
  return perform(reader, {
    result: 'v128',
    native: (e) => {
      // The exponent's bias differs by 112: denormal halves, too, come out right.
      const finite = e.op('f32x4.mul', size(), e.op('f32x4.splat', e.f32(2 ** 112)));
      const infinite = e.op('v128.or', size(), words(e, 0x7f80_0000));
      const chosen = e.op('v128.bitselect', infinite, finite, e.op('i32x4.ge_s', size(), words(e, INFINITE)));
      return e.op('v128.or', chosen, e.op('v128.and', e.op('i32x4.shl', wide(), e.i32(16)), words(e, SIGN)));
    },
    check: (e, _r, failIf) => failIf(e.op('v128.any_true', e.op('i32x4.gt_s', size(), words(e, INFINITE)))),
    exact: (e, _mxcsr, each) => lanes(e, wide, each, (bits) => e.call('f16ToF32', [bits], 'i32')),
  });
};

/** The results of calls for the four lanes. */
function lanes(e: Emitter, x: Use, each: () => void, one: (bits: Expr) => Expr): Expr {
  const whole = e.local('v128');
  e.set(whole, zeros(e));
  for (let i = 0; i < 4; i++) {
    const value = once(e, each, 'i32', one(e.op('i32x4.extract_lane', x(), i)));
    e.set(whole, e.op('i32x4.replace_lane', e.get(whole, 'v128'), i, value));
  }
  return e.get(whole, 'v128');
}
/** The low halves of four words in the low half of a vector. */
const packed = (e: Emitter, v: Expr): Expr =>
  e.op('i8x16.shuffle', v, zeros(e), [0, 1, 4, 5, 8, 9, 12, 13, 16, 16, 16, 16, 16, 16, 16, 16]);

arms['sse.f16x4.from_f32x4'] = (reader, args, [control]) => {
  const x = reader.e.share(args[0]!, 'v128');
  const FRACTION = 0x1fff;
  return perform(reader, {
    result: 'v128',
    native: (e) => {
      const size = e.share(e.op('v128.and', x(), words(e, 0x7fff_ffff)), 'v128');
      const moreIf = (lanes: Expr): Expr => e.op('v128.and', lanes, words(e, FRACTION));
      let more: Expr;
      if (control === 1) more = moreIf(e.op('i32x4.shr_s', x(), e.i32(31)));
      else if (control === 2) more = moreIf(e.op('v128.not', e.op('i32x4.shr_s', x(), e.i32(31))));
      else if (control === 3) more = zeros(e);
      else {
        // To nearest, as MXCSR says where regions run: half a unit less one bit, and that bit where the last one is odd.
        const odd = e.op('v128.and', e.op('i32x4.shr_u', size(), e.i32(13)), words(e, 1));
        more = e.op('i32x4.add', odd, words(e, FRACTION >> 1));
      }
      const rounded = e.op('i32x4.add', size(), more);
      const moved = e.op('i32x4.shr_u', e.op('i32x4.sub', rounded, words(e, 112 << 23)), e.i32(13));
      const number = e.op('v128.andnot', moved, e.op('i32x4.eq', size(), zeros(e)));
      const sign = e.op('i32x4.shr_u', e.op('v128.and', x(), words(e, SIGN)), e.i32(16));
      return packed(e, e.op('v128.or', number, sign));
    },
    // Zeros, and what is a normal half after rounding.
    check: (e, _r, failIf) => {
      const size = e.share(e.op('f32x4.abs', x()), 'v128');
      const range = e.op(
        'v128.and',
        e.op('f32x4.ge', size(), e.op('f32x4.splat', e.f32(2 ** -14))),
        e.op('f32x4.lt', size(), e.op('f32x4.splat', e.f32(65504))),
      );
      const fine = e.op('v128.or', range, e.op('f32x4.eq', size(), zeros(e)));
      failIf(e.op('i32.eqz', e.op('i32x4.all_true', fine)));
    },
    inexact: (e, _r, failIf) => failIf(e.op('v128.any_true', e.op('v128.and', x(), words(e, FRACTION)))),
    exact: (e, mxcsr, each) =>
      packed(
        e,
        lanes(e, x, each, (bits) => e.call('f32ToF16', [bits, mxcsr(), e.i32(control as number)], 'i32')),
      ),
  });
};

addArms(arms);
