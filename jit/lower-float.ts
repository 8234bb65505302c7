/**
 * SSE floating point, exact in results and exceptions (the micro-ops of src/ir/sse-ops.ts).
 *
 * As long as MXCSR rounds to nearest, masks all exceptions and has the inexact flag set already, the native operation is
 * right whenever no other exception is raised: no denormal operand, no NaN, nothing that overflowed or underflowed. One
 * cheap test on exponents says so for almost every value; the exact test behind it lets zeros and infinities pass where
 * they are harmless. Since whatever is denormal is set aside, FTZ and DAZ do not matter to it.
 *
 * What does not pass goes the exact way: a region leaves before the instruction, and the interpreter calls softfloat.wasm.
 */
import type { Immediate, MicroOp } from '../src/ir/micro-ops.ts';
import type { SseOp } from '../src/ir/sse-ops.ts';
import type { Type } from '../src/ir/types.ts';
import { useLibrary } from './arith.ts';
import type { Emitter, Expr } from './emitter.ts';
import { anySetAside, bitsOf, Classes, isDouble, isVector, type Shape, typeOfShape, type Use } from './float-class.ts';
import { addArms, type Arm, type Reader } from './lower.ts';

/** MXCSR's bits that make the fast way possible, and what they must be: masks, rounding control and the inexact flag. */
export const FAST_MASK = 0x7fa0;
export const FAST_VALUE = 0x1fa0;
/** Whether the fast way may be taken under an MXCSR. */
export const isFastMxcsr = (mxcsr: number): boolean => (mxcsr & FAST_MASK) === FAST_VALUE;

const EXCEPTIONS = 0x3f;
const CR4_OSXMMEXCPT = 0x400n;
const UD = 6;
const XM = 19;

/** An operation on values that each may be used several times. */
interface Operation {
  readonly result: Type;
  /** The native result. */
  native(e: Emitter): Expr;
  /** Not zero if the fast way is in doubt. `r` is the native result. */
  doubt(e: Emitter, r: Use): Expr;
  /** Not zero if the doubt was justified. */
  wrong(e: Emitter, r: Use): Expr;
  /** The exact result, by calls that set the global `raised`; `each` must follow each call. */
  exact(e: Emitter, mxcsr: Use, each: () => void): Expr;
}

function perform(reader: Reader, operation: Operation): Expr {
  const { e, inRegion } = reader;
  const r = e.local(operation.result);
  const result: Use = () => e.get(r, operation.result);
  if (inRegion) {
    e.set(r, operation.native(e));
    e.if(operation.doubt(e, result), () => reader.exitIf(operation.wrong(e, result), XM));
    return result();
  }
  const mxcsr = e.share(e.state32('mxcsr'), 'i32');
  const done = e.label('exact');
  e.block(done, () => {
    e.if(e.op('i32.eq', e.op('i32.and', mxcsr(), e.i32(FAST_MASK)), e.i32(FAST_VALUE)), () => {
      e.set(r, operation.native(e));
      e.brIf(done, e.op('i32.eqz', operation.doubt(e, result)));
      e.brIf(done, e.op('i32.eqz', operation.wrong(e, result)));
    });
    const raised = e.local('i32');
    e.set(raised, e.i32(0));
    const each = () => e.set(raised, e.op('i32.or', e.get(raised, 'i32'), e.global('raised', 'i32')));
    e.set(r, operation.exact(e, mxcsr, each));
    e.set(raised, e.op('i32.and', e.get(raised, 'i32'), e.i32(EXCEPTIONS)));
    e.setState32('mxcsr', e.op('i32.or', mxcsr(), e.get(raised, 'i32')));
    const unmasked = e.op('i32.and', e.get(raised, 'i32'), e.op('i32.xor', e.op('i32.shr_u', mxcsr(), e.i32(7)), e.i32(-1)));
    e.if(unmasked, () => {
      reader.exitIf(e.op('i64.eqz', e.op('i64.and', e.state64('cr4'), e.i64(CR4_OSXMMEXCPT))), UD);
      reader.exitIf(e.i32(1), XM);
    });
  });
  return result();
}

/** The softfloat function of a shape: `f64Add`. */
const exactName = (shape: Shape, name: string): string => `${isDouble(shape) ? 'f64' : 'f32'}${name}`;
const elementOf = (shape: Shape): 'f32' | 'f64' => (isDouble(shape) ? 'f64' : 'f32');
const integerOf = (shape: Shape): 'i32' | 'i64' => (isDouble(shape) ? 'i64' : 'i32');
const laneCount = (shape: Shape): number => (shape === 'f64x2' ? 2 : 4);
const integerLanes = (shape: Shape): string => (isDouble(shape) ? 'i64x2' : 'i32x4');

/** Calls `one` with the bits of the operands, for each lane where there are lanes, and puts the results together. */
function eachLane(e: Emitter, shape: Shape, operands: readonly Use[], each: () => void, one: (bits: Expr[]) => Expr): Expr {
  const integer = integerOf(shape);
  if (!isVector(shape)) {
    const value = e.share(one(operands.map((x) => bitsOf(e, shape, x()))), integer);
    each();
    return e.op(`${elementOf(shape)}.reinterpret`, value());
  }
  const lanes = integerLanes(shape);
  const whole = e.local('v128');
  e.set(whole, operands[0]!());
  for (let i = 0; i < laneCount(shape); i++) {
    const value = e.share(one(operands.map((x) => e.op(`${lanes}.extract_lane`, x(), i))), integer);
    each();
    e.set(whole, e.op(`${lanes}.replace_lane`, e.get(whole, 'v128'), i, value()));
  }
  return e.get(whole, 'v128');
}

/** How an arithmetic operation with two operands may be wrong. */
function wrongResult(e: Emitter, shape: Shape, name: string, a: Use, c: Use, r: Use): Expr {
  const is = new Classes(e, shape);
  const operands = is.either(is.denormal(a), is.denormal(c));
  switch (name) {
    case 'add':
    case 'sub': // what is tiny is exact, but it would be a denormal operand next, and FTZ may be on
      return is.any(is.either(operands, is.notFinite(r), is.denormal(r)));
    case 'mul':
      return is.any(is.either(operands, is.notFinite(r), is.both(is.small(r), is.not(is.either(is.zero(a), is.zero(c))))));
    default: // div
      return is.any(is.either(operands, is.notFinite(r), is.both(is.small(r), is.not(is.zero(a)))));
  }
}

const shapes: readonly Shape[] = ['f32', 'f64', 'f32x4', 'f64x2'];
const arms: Partial<Record<MicroOp, Arm>> = {};
const twice = (e: Emitter, shape: Shape, args: readonly Expr[]): Use[] => args.map((x) => e.share(x, typeOfShape(shape)));

for (const shape of shapes) {
  const type = typeOfShape(shape);
  for (const [name, exact] of [['add', 'Add'], ['sub', 'Sub'], ['mul', 'Mul'], ['div', 'Div']] as const) {
    const sum = name === 'add' || name === 'sub';
    arms[`sse.${shape}.${name}`] = (reader, args) => {
      const [a, c] = twice(reader.e, shape, args) as [Use, Use];
      return perform(reader, {
        result: type,
        native: (e) => e.op(`${shape}.${name}`, a(), c()),
        doubt: (e, r) => anySetAside(e, shape, [[r, sum ? 'number' : 'result'], [a, 'operand'], [c, 'operand']]),
        wrong: (e, r) => wrongResult(e, shape, name, a, c, r),
        exact: (e, mxcsr, each) => eachLane(e, shape, [a, c], each, (bits) => e.call(exactName(shape, exact), [...bits, mxcsr()], integerOf(shape))),
      });
    };
  }
  arms[`sse.${shape}.sqrt`] = (reader, args) => {
    const [a] = twice(reader.e, shape, args) as [Use];
    return perform(reader, {
      result: type,
      native: (e) => e.op(`${shape}.sqrt`, a()),
      doubt: (e, r) => anySetAside(e, shape, [[r, 'number'], [a, 'operand']]),
      wrong: (e, r) => {
        const is = new Classes(e, shape);
        return is.any(is.either(is.denormal(a), is.nan(r)));
      },
      exact: (e, mxcsr, each) => eachLane(e, shape, [a], each, (bits) => e.call(exactName(shape, 'Sqrt'), [...bits, mxcsr()], integerOf(shape))),
    });
  };
  // No result of these is new: it is enough to look at the operands.
  for (const [name, exact] of [['min', 'Min'], ['max', 'Max']] as const) {
    arms[`sse.${shape}.${name}`] = (reader, args) => {
      const [a, c] = twice(reader.e, shape, args) as [Use, Use];
      return perform(reader, {
        result: type,
        native: (e) => {
          if (isVector(shape)) return e.op(`${shape}.p${name}`, c(), a());
          return e.select(e.op(`${shape}.${name === 'min' ? 'lt' : 'gt'}`, a(), c()), a(), c());
        },
        doubt: (e) => anySetAside(e, shape, [[a, 'number'], [c, 'number']]),
        wrong: (e) => unfit(e, shape, a, c, false),
        exact: (e, mxcsr, each) => eachLane(e, shape, [a, c], each, (bits) => e.call(exactName(shape, exact), [...bits, mxcsr()], integerOf(shape))),
      });
    };
  }
  arms[`sse.${shape}.cmp`] = (reader, args, [predicate]) => {
    const [a, c] = twice(reader.e, shape, args) as [Use, Use];
    const n = predicate as number;
    return perform(reader, {
      result: isVector(shape) ? 'v128' : 'i32',
      native: (e) => holds(e, shape, n, a, c),
      doubt: (e) => anySetAside(e, shape, [[a, 'number'], [c, 'number']]),
      wrong: (e) => unfit(e, shape, a, c, n === 0 || n === 3 || n === 4 || n === 7),
      exact: (e, mxcsr, each) => {
        const call = (bits: Expr[]) => e.call(exactName(shape, 'CompareWith'), [...bits, mxcsr(), e.i32(n)], 'i32');
        if (isVector(shape)) {
          return eachLane(e, shape, [a, c], each, (bits) => {
            const yes = call(bits);
            return isDouble(shape) ? e.op('i64.sub', e.i64(0n), e.op('i64.extend_u', yes)) : e.op('i32.sub', e.i32(0), yes);
          });
        }
        const value = e.share(call([bitsOf(e, shape, a()), bitsOf(e, shape, c())]), 'i32');
        each();
        return value();
      },
    });
  };
}

/** Operands of a comparison that raise an exception: denormals, NaNs unless they are quiet and the comparison is. */
function unfit(e: Emitter, shape: Shape, a: Use, c: Use, quiet: boolean): Expr {
  const is = new Classes(e, shape);
  const of = (x: Use) => is.either(is.denormal(x), quiet ? is.signallingNan(x) : is.nan(x));
  return is.any(is.either(of(a), of(c)));
}

/** The predicates of CMPPS: EQ LT LE UNORD, and their opposites. */
function holds(e: Emitter, shape: Shape, predicate: number, a: Use, c: Use): Expr {
  const compare = (name: string, x: Use, y: Use) => e.op(`${shape}.${name}`, x(), y());
  const not = (x: Expr) => (isVector(shape) ? e.op('v128.not', x) : e.op('i32.eqz', x));
  const either = (x: Expr, y: Expr) => e.op(isVector(shape) ? 'v128.or' : 'i32.or', x, y);
  switch (predicate) {
    case 0:
      return compare('eq', a, c);
    case 1:
      return compare('lt', a, c);
    case 2:
      return compare('le', a, c);
    case 3:
      return either(compare('ne', a, a), compare('ne', c, c));
    case 4:
      return compare('ne', a, c);
    case 5:
      return not(compare('lt', a, c));
    case 6:
      return not(compare('le', a, c));
    default:
      return not(either(compare('ne', a, a), compare('ne', c, c)));
  }
}

for (const shape of ['f32', 'f64'] as const) {
  arms[`sse.${shape}.compare`] = (reader, args, [quiet]) => {
    const [a, c] = twice(reader.e, shape, args) as [Use, Use];
    return perform(reader, {
      result: 'i32',
      native: (e) => {
        const below = e.op(`${shape}.lt`, a(), c());
        const equal = e.op('i32.shl', e.op(`${shape}.eq`, a(), c()), e.i32(6));
        if (quiet === 0) return e.op('i32.or', below, equal);
        return e.op('i32.or', e.op('i32.or', below, equal), e.op('i32.mul', holds(e, shape, 3, a, c), e.i32(0x45)));
      },
      doubt: (e) => anySetAside(e, shape, [[a, 'number'], [c, 'number']]),
      wrong: (e) => unfit(e, shape, a, c, quiet === 1),
      exact: (e, mxcsr, each) => {
        const word = e.call(exactName(shape, 'Compare'), [bitsOf(e, shape, a()), bitsOf(e, shape, c()), mxcsr(), e.i32(quiet as number)], 'i32');
        const value = e.share(word, 'i32');
        each();
        return value();
      },
    });
  };
}

// --- conversions
type Conversion = (reader: Reader, x: Use, imm: readonly Immediate[]) => Operation;
const conversion = (type: Type, of: Conversion): Arm => (reader, args, imm) => perform(reader, of(reader, reader.e.share(args[0]!, type), imm));
/** One call of the library, its result once `each` has run. */
function once(e: Emitter, each: () => void, type: Type, call: Expr): Expr {
  const value = e.share(call, type);
  each();
  return value();
}
const never = (e: Emitter): Expr => e.i32(0);

arms['sse.f64.promote'] = conversion('f32', (_, x) => ({
  result: 'f64',
  native: (e) => e.op('f64.promote', x()),
  doubt: (e) => anySetAside(e, 'f32', [[x, 'number']]),
  wrong: (e) => {
    const is = new Classes(e, 'f32');
    return is.either(is.denormal(x), is.nan(x));
  },
  exact: (e, mxcsr, each) => e.op('f64.reinterpret', once(e, each, 'i64', e.call('f32ToF64', [bitsOf(e, 'f32', x()), mxcsr()], 'i64'))),
}));
arms['sse.f32.demote'] = conversion('f64', (_, x) => ({
  result: 'f32',
  native: (e) => e.op('f32.demote', x()),
  doubt: (e, r) => anySetAside(e, 'f32', [[r, 'result']]),
  wrong: (e, r) => demoted(e, 'f32', r, () => new Classes(e, 'f64').zero(x)),
  exact: (e, mxcsr, each) => e.op('f32.reinterpret', once(e, each, 'i32', e.call('f64ToF32', [bitsOf(e, 'f64', x()), mxcsr()], 'i32'))),
}));
/** A single made of a double: too great, or small and not from a zero. */
function demoted(e: Emitter, shape: Shape, r: Use, fromZero: () => Expr): Expr {
  const is = new Classes(e, shape);
  return is.any(is.either(is.notFinite(r), is.both(is.small(r), is.not(fromZero()))));
}

/** From integers: nothing but the inexact flag, which is set. */
const fromInteger = (from: 'i32' | 'i64', to: 'f32' | 'f64'): Arm =>
  conversion(from, (_, x) => ({
    result: to,
    native: (e) => e.op(`${to}.convert_s.${from}`, x()),
    doubt: never,
    wrong: never,
    exact: (e, mxcsr, each) => {
      const integer = to === 'f64' ? 'i64' : 'i32';
      return e.op(`${to}.reinterpret`, once(e, each, integer, e.call(`${from}To${to.toUpperCase()}`, [x(), mxcsr()], integer)));
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
      doubt: (e) => e.op('i32.eqz', below(e, to === 'i32' ? 2 ** 31 - 1 : 2 ** 51)),
      wrong: (e) => e.i32(1),
      exact: (e, mxcsr, each) => once(e, each, to, e.call(`${from}To${to.toUpperCase()}`, [bitsOf(e, from, x()), mxcsr(), e.i32(truncate as number)], to)),
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
function lanesOf(e: Emitter, shape: 'i32x4' | 'i64x2', count: number, each: () => void, one: (i: number) => Expr): Expr {
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
  const low = emitter.share(emitter.op('i8x16.shuffle', x(), x(), [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7]), 'v128');
  return {
    result: 'v128',
    native: (e) => e.op('f64x2.promote_low_f32x4', low()),
    doubt: (e) => anySetAside(e, 'f32x4', [[low, 'number']]),
    wrong: (e) => {
      const is = new Classes(e, 'f32x4');
      return is.any(is.either(is.denormal(low), is.nan(low)));
    },
    exact: (e, mxcsr, each) => lanesOf(e, 'i64x2', 2, each, (i) => e.call('f32ToF64', [lane(e, 'i32x4', x, i), mxcsr()], 'i64')),
  };
});
arms['sse.f32x4.demote'] = conversion('v128', (_, x) => ({
  result: 'v128',
  native: (e) => e.op('f32x4.demote_f64x2_zero', x()),
  // The classes are those of singles that must be normal as doubles again.
  doubt: (e, r) => {
    const again = e.share(e.op('f64x2.promote_low_f32x4', r()), 'v128');
    return e.op('i64x2.bitmask', e.op('v128.not', inSingleRange(e, again)));
  },
  wrong: (e, r) => {
    const again = e.share(e.op('f64x2.promote_low_f32x4', r()), 'v128');
    return e.op('v128.any_true', e.op('v128.andnot', e.op('v128.not', inSingleRange(e, again)), new Classes(e, 'f64x2').zero(x)));
  },
  exact: (e, mxcsr, each) => lanesOf(e, 'i32x4', 2, each, (i) => e.call('f64ToF32', [lane(e, 'i64x2', x, i), mxcsr()], 'i32')),
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
  doubt: never,
  wrong: never,
  exact: (e, mxcsr, each) => lanesOf(e, 'i32x4', 4, each, (i) => e.call('i32ToF32', [lane(e, 'i32x4', x, i), mxcsr()], 'i32')),
}));
arms['sse.i32x4.from_f32x4'] = conversion('v128', (_, x, [truncate]) => ({
  result: 'v128',
  native: (e) => e.op('i32x4.trunc_sat_f32x4_s', truncate === 1 ? x() : e.op('f32x4.nearest', x())),
  doubt: (e) => e.op('i32x4.bitmask', e.op('v128.not', e.op('f32x4.lt', e.op('f32x4.abs', x()), e.op('f32x4.splat', e.f32(2 ** 31))))),
  wrong: (e) => e.i32(1),
  exact: (e, mxcsr, each) => lanesOf(e, 'i32x4', 4, each, (i) => e.call('f32ToI32', [lane(e, 'i32x4', x, i), mxcsr(), e.i32(truncate as number)], 'i32')),
}));
arms['sse.i32x4.from_f64x2'] = conversion('v128', (_, x, [truncate]) => ({
  result: 'v128',
  native: (e) => e.op('i32x4.trunc_sat_f64x2_s_zero', truncate === 1 ? x() : e.op('f64x2.nearest', x())),
  doubt: (e) => e.op('i64x2.bitmask', e.op('v128.not', e.op('f64x2.lt', e.op('f64x2.abs', x()), e.op('f64x2.splat', e.f64(2 ** 31 - 1))))),
  wrong: (e) => e.i32(1),
  exact: (e, mxcsr, each) => lanesOf(e, 'i32x4', 2, each, (i) => e.call('f64ToI32', [lane(e, 'i64x2', x, i), mxcsr(), e.i32(truncate as number)], 'i32')),
}));

addArms(arms satisfies Partial<Record<MicroOp | SseOp, Arm>>);

// --- the functions of softfloat.wasm
const library: Record<string, { parameters: Type[]; result: Type }> = {};
for (const [name, t] of [['f32', 'i32'], ['f64', 'i64']] as const) {
  for (const f of ['Add', 'Sub', 'Mul', 'Div', 'Min', 'Max']) library[`${name}${f}`] = { parameters: [t, t, 'i32'], result: t };
  library[`${name}Sqrt`] = { parameters: [t, 'i32'], result: t };
  for (const f of ['Compare', 'CompareWith']) library[`${name}${f}`] = { parameters: [t, t, 'i32', 'i32'], result: 'i32' };
  library[`${name}ToI32`] = { parameters: [t, 'i32', 'i32'], result: 'i32' };
  library[`${name}ToI64`] = { parameters: [t, 'i32', 'i32'], result: 'i64' };
  library[`i32To${name.toUpperCase()}`] = { parameters: ['i32', 'i32'], result: t };
  library[`i64To${name.toUpperCase()}`] = { parameters: ['i64', 'i32'], result: t };
}
library.f32ToF64 = { parameters: ['i32', 'i32'], result: 'i64' };
library.f64ToF32 = { parameters: ['i64', 'i32'], result: 'i32' };
delete library.i32ToF64; // always exact: f64.convert_i32_s
useLibrary(library, { raised: 'i32' });
