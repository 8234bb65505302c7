/** SSE floating point arithmetic and comparisons, scalar and packed; exact-float.ts says how. */
import type { Immediate, MicroOp } from '../src/ir/micro-ops.ts';
import { isQuietPredicate, sseKnown } from '../src/ir/sse-ops.ts';
import type { Emitter, Expr } from './emitter.ts';
import { eachLane, exactName, integerOf, perform } from './exact-float.ts';
import {
  bitsOf,
  failOperands,
  failProduct,
  failRoot,
  failSum,
  isDouble,
  isVector,
  type Shape,
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
    const op = `sse.${shape}.${name}` as const;
    arms[op] = (reader, args, imm) => {
      const [a, c] = twice(reader.e, shape, args) as [Use, Use];
      const open = unknown(op, imm, [a, c], CLEAN);
      return perform(reader, {
        result: type,
        native: (e) => e.op(`${shape}.${name}`, a(), c()),
        check: (e, r, failIf) => {
          if (name === 'mul') failProduct(e, shape, r, [a, c], open, failIf);
          else if (name === 'div') failProduct(e, shape, r, [a], open, failIf);
          else failSum(e, shape, r, open, failIf);
        },
        inexact: (e, r, failIf) => {
          if (name === 'mul') inexactProduct(e, shape, a, c, r, failIf);
          else if (name === 'div') inexactQuotient(e, shape, a, c, r, failIf);
          else inexactSum(e, shape, name, a, c, r, failIf);
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
      check: (e, r, failIf) => failRoot(e, shape, a, r, open, failIf),
      inexact: (e, r, failIf) => inexactRoot(e, shape, a, r, failIf),
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
      const open = unknown(op, imm, [a, c], CLEAN);
      const unordered = unknown(op, imm, [a, c], ORDERED);
      return perform(reader, {
        result: type,
        native: (e) => {
          if (isVector(shape)) return e.op(`${shape}.p${name}`, c(), a());
          return e.select(e.op(`${shape}.${name === 'min' ? 'lt' : 'gt'}`, a(), c()), a(), c());
        },
        check: (e, _r, failIf) => failOperands(e, shape, open, unordered, false, failIf),
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
    const open = unknown(comparison, imm, [a, c], CLEAN);
    const unordered = unknown(comparison, imm, [a, c], ORDERED);
    const n = imm[0] as number;
    const quiet = isQuietPredicate(n);
    return perform(reader, {
      result: isVector(shape) ? 'v128' : 'i32',
      native: (e) => holds(e, shape, n & 7, a, c),
      check: (e, _r, failIf) => failOperands(e, shape, open, unordered, quiet, failIf),
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
    const open = unknown(op, imm, [a, c], CLEAN);
    const unordered = unknown(op, imm, [a, c], ORDERED);
    const [quiet] = imm;
    return perform(reader, {
      result: 'i32',
      native: (e) => {
        const below = e.op(`${shape}.lt`, a(), c());
        const equal = e.op('i32.shl', e.op(`${shape}.eq`, a(), c()), e.i32(6));
        if (quiet === 0) return e.op('i32.or', below, equal);
        return e.op('i32.or', e.op('i32.or', below, equal), e.op('i32.mul', holds(e, shape, 3, a, c), e.i32(0x45)));
      },
      check: (e, _r, failIf) => failOperands(e, shape, open, unordered, quiet === 1, failIf),
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
