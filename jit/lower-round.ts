/** ROUNDPS and its like: SSE numbers rounded to integers; exact-float.ts says how. */
import type { MicroOp } from '../src/ir/micro-ops.ts';
import { useLibrary } from './arith.ts';
import { eachLane, exactName, integerOf, perform } from './exact-float.ts';
import { failOperands, isVector, type Shape, typeOfShape } from './float-class.ts';
import { type Arm, addArms } from './lower.ts';

/** By the two low bits of the immediate; MXCSR rounds to nearest on the fast way. */
const native = ['nearest', 'floor', 'ceil', 'trunc'] as const;
const BY_MXCSR = 4;
const SUPPRESS = 8;

const arms: Partial<Record<MicroOp, Arm>> = {};
for (const shape of ['f32', 'f64', 'f32x4', 'f64x2'] as const satisfies readonly Shape[]) {
  arms[`sse.${shape}.round`] = (reader, args, imm) => {
    const how = imm[0] as number;
    const x = reader.e.share(args[0]!, typeOfShape(shape));
    return perform(reader, {
      result: typeOfShape(shape),
      native: (e) => e.op(`${shape}.${(how & BY_MXCSR) !== 0 ? 'nearest' : native[how & 3]!}`, x()),
      check: (e, _r, failIf) => failOperands(e, shape, [x], [x], false, failIf),
      inexact: (e, r, failIf) => {
        if ((how & SUPPRESS) !== 0) return;
        const changed = e.op(`${shape}.ne`, r(), x());
        failIf(isVector(shape) ? e.op('v128.any_true', changed) : changed);
      },
      exact: (e, mxcsr, each) =>
        eachLane(e, shape, [x], each, (bits) =>
          e.call(exactName(shape, 'RoundToInt'), [...bits, mxcsr(), e.i32(how)], integerOf(shape)),
        ),
    });
  };
}
useLibrary({
  f32RoundToInt: { parameters: ['i32', 'i32', 'i32'], result: 'i32' },
  f64RoundToInt: { parameters: ['i64', 'i32', 'i32'], result: 'i64' },
});
addArms(arms);
