/** SSE floating point arithmetic and comparisons, scalar and packed; exact-float.ts says how. */
import type { Immediate, MicroOp } from '../src/ir/micro-ops.ts';
import { sseKnown } from '../src/ir/sse-ops.ts';
import type { Emitter, Expr } from './emitter.ts';
import { eachLane, exactName, integerOf, perform } from './exact-float.ts';
import {
  bitsOf,
  Classes,
  isDouble,
  isVector,
  type Shape,
  setAside,
  type Test,
  typeOfShape,
  type Use,
} from './float-class.ts';
import { CLEAN, ORDERED } from './float-facts.ts';
import { inexactProduct, inexactQuotient, inexactRoot, inexactSum } from './float-inexact.ts';
import { type Arm, addArms } from './lower.ts';

/** The operands of which a region does not know yet all that `facts` says. */
function unknown(op: string, imm: readonly Immediate[], operands: readonly Use[], facts: number): Use[] {
  return operands.filter((_, i) => (sseKnown(op, imm, i) & facts) !== facts);
}
const tests = (operands: readonly Use[], test: Test): (readonly [Use, Test])[] =>
  operands.map((x) => [x, test] as const);

/** How an arithmetic operation with two operands may be wrong; `open`: the operands that may be denormal. */
function wrongResult(
  e: Emitter,
  shape: Shape,
  name: string,
  [a, c]: readonly [Use, Use],
  open: readonly Use[],
  r: Use,
): Expr {
  const is = new Classes(e, shape);
  const common = [...open.map((x) => is.denormal(x)), is.notFinite(r)];
  switch (name) {
    case 'add':
    case 'sub': // what is tiny is exact, but it would be a denormal operand next, and FTZ may be on
      return is.any(is.either(...common, is.denormal(r)));
    case 'mul':
      return is.any(is.either(...common, is.both(is.small(r), is.not(is.either(is.zero(a), is.zero(c))))));
    default: // div
      return is.any(is.either(...common, is.both(is.small(r), is.not(is.zero(a)))));
  }
}

const shapes: readonly Shape[] = ['f32', 'f64', 'f32x4', 'f64x2'];
const arms: Partial<Record<MicroOp, Arm>> = {};
const twice = (e: Emitter, shape: Shape, args: readonly Expr[]): Use[] =>
  args.map((x) => e.share(x, typeOfShape(shape)));

for (const shape of shapes) {
  const type = typeOfShape(shape);
  for (const [name, exact] of [
    ['add', 'Add'],
    ['sub', 'Sub'],
    ['mul', 'Mul'],
    ['div', 'Div'],
  ] as const) {
    const sum = name === 'add' || name === 'sub';
    const op = `sse.${shape}.${name}` as const;
    arms[op] = (reader, args, imm) => {
      const [a, c] = twice(reader.e, shape, args) as [Use, Use];
      const open = unknown(op, imm, [a, c], CLEAN);
      return perform(reader, {
        result: type,
        native: (e) => e.op(`${shape}.${name}`, a(), c()),
        doubts: (e, r) => setAside(e, shape, [[r, sum ? 'number' : 'result'], ...tests(open, 'operand')]),
        wrong: (e, r) => wrongResult(e, shape, name, [a, c], open, r),
        inexact: (e, r, leaveIf) => {
          if (name === 'mul') inexactProduct(e, shape, a, c, r, leaveIf);
          else if (name === 'div') inexactQuotient(e, shape, a, c, r, leaveIf);
          else leaveIf(inexactSum(e, shape, name, a, c, r));
        },
        exact: (e, mxcsr, each) =>
          eachLane(e, shape, [a, c], each, (bits) =>
            e.call(exactName(shape, exact), [...bits, mxcsr()], integerOf(shape)),
          ),
      });
    };
  }
  const root = `sse.${shape}.sqrt` as const;
  arms[root] = (reader, args, imm) => {
    const [a] = twice(reader.e, shape, args) as [Use];
    const open = unknown(root, imm, [a], CLEAN);
    return perform(reader, {
      result: type,
      native: (e) => e.op(`${shape}.sqrt`, a()),
      doubts: (e, r) => setAside(e, shape, [[r, 'number'], ...tests(open, 'operand')]),
      wrong: (e, r) => {
        const is = new Classes(e, shape);
        return is.any(is.either(...open.map((x) => is.denormal(x)), is.nan(r)));
      },
      inexact: (e, r, leaveIf) => inexactRoot(e, shape, a, r, leaveIf),
      exact: (e, mxcsr, each) =>
        eachLane(e, shape, [a], each, (bits) => e.call(exactName(shape, 'Sqrt'), [...bits, mxcsr()], integerOf(shape))),
    });
  };
  // No result of these is new: it is enough to look at the operands.
  for (const [name, exact] of [
    ['min', 'Min'],
    ['max', 'Max'],
  ] as const) {
    const op = `sse.${shape}.${name}` as const;
    arms[op] = (reader, args, imm) => {
      const [a, c] = twice(reader.e, shape, args) as [Use, Use];
      const open = unknown(op, imm, [a, c], CLEAN | ORDERED);
      return perform(reader, {
        result: type,
        native: (e) => {
          if (isVector(shape)) return e.op(`${shape}.p${name}`, c(), a());
          return e.select(e.op(`${shape}.${name === 'min' ? 'lt' : 'gt'}`, a(), c()), a(), c());
        },
        doubts: (e) => setAside(e, shape, tests(open, 'number')),
        wrong: (e) => unfit(e, shape, open, false),
        exact: (e, mxcsr, each) =>
          eachLane(e, shape, [a, c], each, (bits) =>
            e.call(exactName(shape, exact), [...bits, mxcsr()], integerOf(shape)),
          ),
      });
    };
  }
  const comparison = `sse.${shape}.cmp` as const;
  arms[comparison] = (reader, args, imm) => {
    const [a, c] = twice(reader.e, shape, args) as [Use, Use];
    const open = unknown(comparison, imm, [a, c], CLEAN | ORDERED);
    const n = imm[0] as number;
    return perform(reader, {
      result: isVector(shape) ? 'v128' : 'i32',
      native: (e) => holds(e, shape, n, a, c),
      doubts: (e) => setAside(e, shape, tests(open, 'number')),
      wrong: (e) => unfit(e, shape, open, n === 0 || n === 3 || n === 4 || n === 7),
      exact: (e, mxcsr, each) => {
        const call = (bits: Expr[]) => e.call(exactName(shape, 'CompareWith'), [...bits, mxcsr(), e.i32(n)], 'i32');
        if (isVector(shape)) {
          return eachLane(e, shape, [a, c], each, (bits) => {
            const yes = call(bits);
            return isDouble(shape)
              ? e.op('i64.sub', e.i64(0n), e.op('i64.extend_u', yes))
              : e.op('i32.sub', e.i32(0), yes);
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
function unfit(e: Emitter, shape: Shape, operands: readonly Use[], quiet: boolean): Expr {
  const is = new Classes(e, shape);
  const of = (x: Use) => is.either(is.denormal(x), quiet ? is.signallingNan(x) : is.nan(x));
  return is.any(is.either(...operands.map(of)));
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
  const op = `sse.${shape}.compare` as const;
  arms[op] = (reader, args, imm) => {
    const [a, c] = twice(reader.e, shape, args) as [Use, Use];
    const open = unknown(op, imm, [a, c], CLEAN | ORDERED);
    const [quiet] = imm;
    return perform(reader, {
      result: 'i32',
      native: (e) => {
        const below = e.op(`${shape}.lt`, a(), c());
        const equal = e.op('i32.shl', e.op(`${shape}.eq`, a(), c()), e.i32(6));
        if (quiet === 0) return e.op('i32.or', below, equal);
        return e.op('i32.or', e.op('i32.or', below, equal), e.op('i32.mul', holds(e, shape, 3, a, c), e.i32(0x45)));
      },
      doubts: (e) => setAside(e, shape, tests(open, 'number')),
      wrong: (e) => unfit(e, shape, open, quiet === 1),
      exact: (e, mxcsr, each) => {
        const word = e.call(
          exactName(shape, 'Compare'),
          [bitsOf(e, shape, a()), bitsOf(e, shape, c()), mxcsr(), e.i32(quiet as number)],
          'i32',
        );
        const value = e.share(word, 'i32');
        each();
        return value();
      },
    });
  };
}

addArms(arms);
