/**
 * How an SSE floating point operation is done exactly, results and exceptions (the micro-ops of src/ir/sse-ops.ts).
 *
 * As long as MXCSR rounds to nearest, masks all exceptions and has the inexact flag set already, the native operation is
 * right whenever no other exception is raised: no denormal operand, no NaN, nothing that overflowed or underflowed. One
 * cheap test on exponents says so for almost every value; the exact test behind it lets zeros and infinities pass where
 * they are harmless. Since whatever is denormal is set aside, FTZ and DAZ do not matter to it.
 *
 * While the inexact flag is clear, a region does the operation as long as it can tell that nothing was rounded.
 *
 * What does not pass goes the exact way: a region leaves before the instruction, and the interpreter calls softfloat.wasm.
 */
import type { Type } from '../src/ir/types.ts';
import { useLibrary } from './arith.ts';
import type { Emitter, Expr } from './emitter.ts';
import { bitsOf, type FailIf, isDouble, isVector, type Shape, type Use } from './float-class.ts';
import { addArms, type Reader } from './lower.ts';
import { FAST_MASK, FAST_VALUE, INEXACT, type InexactFlag } from './mxcsr.ts';

/** Not zero if a region may not do floating point under an MXCSR; `inexact`: the state of its flag that the region wants. */
export function unfitMxcsr(e: Emitter, mxcsr: Expr, inexact: InexactFlag): Expr {
  const mask = inexact === 'either' ? FAST_MASK & ~INEXACT : FAST_MASK;
  const value = inexact === 'set' ? FAST_VALUE : FAST_VALUE & ~INEXACT;
  return e.op('i32.ne', e.op('i32.and', mxcsr, e.i32(mask)), e.i32(value));
}

const EXCEPTIONS = 0x3f;
/** Invalid, denormal, zero divide. */
const BEFORE = 7;
const CR4_OSXMMEXCPT = 0x400n;
const UD = 6;
const XM = 19;

/** An operation on values that each may be used several times. */
export interface Operation {
  readonly result: Type;
  /** The native way is long: the interpreter takes the exact one. */
  readonly inRegionsOnly?: boolean;
  /** The native result. */
  native(e: Emitter): Expr;
  /** Calls `failIf` with what is not zero if the native result `r` will not do. */
  check(e: Emitter, r: Use, failIf: FailIf): void;
  /** Calls `failIf` with what is not zero if the result was rounded or may have been; left out if it never is. */
  inexact?(e: Emitter, r: Use, failIf: FailIf): void;
  /** The exact result, by calls that set the global `raised`; `each` must follow each call. */
  exact(e: Emitter, mxcsr: Use, each: () => void): Expr;
}

/** Makes one test of the quick tests that `tests` has, and their exact ones behind it. */
function joined(e: Emitter, failIf: FailIf, tests: (failIf: FailIf) => void): void {
  const lanes: Expr[] = [];
  const settles: ((failIf: FailIf) => void)[] = [];
  const later: Expr[] = [];
  const collect = Object.assign((condition: Expr) => void later.push(condition), {
    suspect: (suspect: Expr, settle: (failIf: FailIf) => void) => {
      lanes.push(suspect);
      settles.push(settle);
    },
  });
  tests(collect);
  if (lanes.length > 0) {
    const any = lanes.reduce((a, c) => e.op('v128.or', a, c));
    e.if(e.op('i32x4.bitmask', any), () => {
      for (const settle of settles) settle(failIf);
    });
  }
  for (const condition of later) failIf(condition);
}

export function perform(reader: Reader, operation: Operation): Expr {
  const { e, inRegion } = reader;
  const r = e.local(operation.result);
  const result: Use = () => e.get(r, operation.result);
  if (inRegion) {
    e.set(r, operation.native(e));
    const failIf: FailIf = (condition) => reader.exitIf(condition, XM);
    const { inexact } = operation;
    if (inexact !== undefined && operation.result === 'v128' && reader.isInexactClear) {
      joined(e, failIf, (fail) => {
        operation.check(e, result, fail);
        inexact(e, result, fail);
      });
    } else {
      operation.check(e, result, failIf);
      if (inexact !== undefined) reader.ifInexactClear(() => inexact(e, result, failIf));
    }
    return result();
  }
  const mxcsr = e.share(e.state32('mxcsr'), 'i32');
  const done = e.label('done');
  const slow = e.label('slow');
  e.block(done, () => {
    if (operation.inRegionsOnly !== true)
      e.block(slow, () => {
        e.if(e.op('i32.eq', e.op('i32.and', mxcsr(), e.i32(FAST_MASK)), e.i32(FAST_VALUE)), () => {
          e.set(r, operation.native(e));
          operation.check(e, result, (condition) => e.brIf(slow, condition));
          e.br(done);
        });
      });
    const raised = e.local('i32');
    e.set(raised, e.i32(0));
    const each = () => e.set(raised, e.op('i32.or', e.get(raised, 'i32'), e.global('raised', 'i32')));
    e.set(r, operation.exact(e, mxcsr, each));
    const several = e.share(e.state32('sseRaised'), 'i32');
    e.if(several(), () => {
      e.setState32('sseRaised', e.op('i32.or', several(), e.get(raised, 'i32')));
      e.br(done);
    });
    raise(reader, raised);
  });
  return result();
}

/** Notes the exceptions in a local, and raises #XM if one of them is not masked. */
function raise(reader: Reader, raised: number): void {
  const { e } = reader;
  const mxcsr = e.share(e.state32('mxcsr'), 'i32');
  // Exceptions found before computing that are not masked keep all lanes from computing: no others are raised then.
  const open = e.share(e.op('i32.xor', e.op('i32.shr_u', mxcsr(), e.i32(7)), e.i32(-1)), 'i32');
  const before = e.op('i32.and', e.op('i32.and', e.get(raised, 'i32'), open()), e.i32(BEFORE));
  e.set(raised, e.op('i32.and', e.get(raised, 'i32'), e.select(before, e.i32(BEFORE), e.i32(EXCEPTIONS))));
  e.setState32('mxcsr', e.op('i32.or', mxcsr(), e.get(raised, 'i32')));
  e.if(e.op('i32.and', e.get(raised, 'i32'), open()), () => {
    reader.exitIf(e.op('i64.eqz', e.op('i64.and', e.state64('cr4'), e.i64(CR4_OSXMMEXCPT))), UD);
    reader.exitIf(e.i32(1), XM);
  });
}

/** Bit 31 of the field sseRaised: operations only collect what they raise. */
const SEVERAL = 0x8000_0000;
addArms({
  // A region leaves before the instruction whatever operation of it wants the exact way.
  'fp.begin': ({ e, inRegion }) => {
    if (!inRegion) e.setState32('sseRaised', e.i32(SEVERAL));
    return e.nop();
  },
  'fp.end': (reader) => {
    const { e } = reader;
    if (reader.inRegion) return e.nop();
    const raised = e.local('i32');
    e.set(raised, e.op('i32.and', e.state32('sseRaised'), e.i32(EXCEPTIONS)));
    e.setState32('sseRaised', e.i32(0));
    e.if(e.get(raised, 'i32'), () => raise(reader, raised));
    return e.nop();
  },
});

/** The softfloat function of a shape: `f64Add`. */
export const exactName = (shape: Shape, name: string): string => `${isDouble(shape) ? 'f64' : 'f32'}${name}`;
export const elementOf = (shape: Shape): 'f32' | 'f64' => (isDouble(shape) ? 'f64' : 'f32');
export const integerOf = (shape: Shape): 'i32' | 'i64' => (isDouble(shape) ? 'i64' : 'i32');
export const laneCount = (shape: Shape): number => (shape === 'f64x2' ? 2 : 4);
export const integerLanes = (shape: Shape): string => (isDouble(shape) ? 'i64x2' : 'i32x4');

/** Calls `one` with the bits of the operands, for each lane where there are lanes, and puts the results together. */
export function eachLane(
  e: Emitter,
  shape: Shape,
  operands: readonly Use[],
  each: () => void,
  one: (bits: Expr[], lane: number) => Expr,
): Expr {
  const integer = integerOf(shape);
  if (!isVector(shape)) {
    const value = e.share(
      one(
        operands.map((x) => bitsOf(e, shape, x())),
        0,
      ),
      integer,
    );
    each();
    return e.op(`${elementOf(shape)}.reinterpret`, value());
  }
  const lanes = integerLanes(shape);
  const whole = e.local('v128');
  e.set(whole, operands[0]!());
  for (let i = 0; i < laneCount(shape); i++) {
    const bits = operands.map((x) => e.op(`${lanes}.extract_lane`, x(), i));
    const value = e.share(one(bits, i), integer);
    each();
    e.set(whole, e.op(`${lanes}.replace_lane`, e.get(whole, 'v128'), i, value()));
  }
  return e.get(whole, 'v128');
}

/** One call of the library, its result once `each` has run. */
export function once(e: Emitter, each: () => void, type: Type, call: Expr): Expr {
  const value = e.share(call, type);
  each();
  return value();
}
// --- the functions of softfloat.wasm
const library: Record<string, { parameters: Type[]; result: Type }> = {};
for (const [name, t] of [
  ['f32', 'i32'],
  ['f64', 'i64'],
] as const) {
  for (const f of ['Add', 'Sub', 'Mul', 'Div', 'Min', 'Max'])
    library[`${name}${f}`] = { parameters: [t, t, 'i32'], result: t };
  library[`${name}Sqrt`] = { parameters: [t, 'i32'], result: t };
  library[`${name}Fma`] = { parameters: [t, t, t, 'i32', 'i32'], result: t };
  for (const f of ['Compare', 'CompareWith'])
    library[`${name}${f}`] = { parameters: [t, t, 'i32', 'i32'], result: 'i32' };
  library[`${name}ToI32`] = { parameters: [t, 'i32', 'i32'], result: 'i32' };
  library[`${name}ToI64`] = { parameters: [t, 'i32', 'i32'], result: 'i64' };
  library[`i32To${name.toUpperCase()}`] = { parameters: ['i32', 'i32'], result: t };
  library[`i64To${name.toUpperCase()}`] = { parameters: ['i64', 'i32'], result: t };
}
library.f32ToF64 = { parameters: ['i32', 'i32'], result: 'i64' };
library.f64ToF32 = { parameters: ['i64', 'i32'], result: 'i32' };
library.f16ToF32 = { parameters: ['i32'], result: 'i32' };
library.f32ToF16 = { parameters: ['i32', 'i32', 'i32'], result: 'i32' };
delete library.i32ToF64; // always exact: f64.convert_i32_s
useLibrary(library, { raised: 'i32' });
