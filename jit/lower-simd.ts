/** Vector operations whose form differs between WebAssembly and binaryen's interface; the table is src/ir/simd-ops.ts. */
import type { MicroOp } from '../src/ir/micro-ops.ts';
import { binaryenName, type SimdOp, simdImmediate, simdOps } from '../src/ir/simd-ops.ts';
import { type Arm, addArms } from './lower.ts';

const arms: Partial<Record<MicroOp, Arm>> = {};
for (const op of Object.keys(simdOps) as SimdOp[]) {
  const [shape, name] = op.split('.') as [string, string];
  const spelled = `${shape}.${binaryenName(name)}`;
  // binaryen takes the lane before the new value.
  if (simdImmediate(op) === 'lane' && name === 'replace_lane') {
    arms[op] = ({ e }, [vector, value], [lane]) => e.op(spelled, vector, lane, value);
  } else if (spelled !== op) arms[op] = ({ e }, args) => e.op(spelled, ...args);
}
addArms(arms);
