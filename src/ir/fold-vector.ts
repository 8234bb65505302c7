/**
 * Identities of lane and vector micro-ops, applied as they are recorded: scalar floating point passes from instruction to
 * instruction as an f64 and not through the register that holds it.
 */
import { foldConstant, type Recording } from './fold.ts';
import { type Immediate, type MicroOp, opList } from './micro-ops.ts';
import { partsOf } from './op-names.ts';
import type { Value } from './types.ts';

const laneBytes: Record<string, number> = { f64x2: 8, i64x2: 8, f32x4: 4, i32x4: 4 };
const scalarOf: Record<string, string> = { f64x2: 'f64', i64x2: 'i64', f32x4: 'f32', i32x4: 'i32' };

/** A value of the type that the lanes of `shape` have, from the lanes of `from` (the same size). */
function recast(b: Recording, v: Value, from: string, shape: string): Value {
  return from === shape ? v : b.emit(`${scalarOf[shape]!}.reinterpret` as MicroOp, [v]);
}

function extract(b: Recording, shape: string, vector: Value, lane: number): Value | null {
  const size = laneBytes[shape];
  if (size === undefined) return null;
  const node = b.nodes[vector]!;
  const [from, name] = node.op.split('.') as [string, string];
  if (name === 'replace_lane' && laneBytes[from] === size) {
    if (node.imm[0] === lane) return recast(b, node.args[1] as Value, from, shape);
    return b.emit(`${shape}.extract_lane` as MicroOp, [node.args[0]!], lane);
  }
  if (name === 'splat' && laneBytes[from] === size) return recast(b, node.args[0] as Value, from, shape);
  if (node.op === 'i8x16.shuffle') {
    const pattern = (node.imm[0] as readonly number[]).slice(lane * size, lane * size + size);
    const first = pattern[0]!;
    if (first % size !== 0 || pattern.some((n, i) => n !== first + i)) return null;
    return b.emit(`${shape}.extract_lane` as MicroOp, [node.args[first >> 4]!], (first & 15) / size);
  }
  if (node.op === 'v128.const' && (node.imm[0] as readonly number[]).every((n) => n === 0)) {
    if (shape === 'i64x2') return b.i64(0);
    if (shape === 'i32x4') return b.i32(0);
    return b.emit(shape === 'f64x2' ? 'f64.const' : 'f32.const', [], 0);
  }
  return null;
}

/** What a pure micro-op on vectors or floating point bits is equal to, or null. */
function foldVector(b: Recording, op: MicroOp, args: readonly number[], imm: readonly Immediate[]): Value | null {
  const [shape, name] = partsOf(op);
  switch (name) {
    case 'extract_lane':
      return extract(b, shape, args[0] as Value, imm[0] as number);
    case 'replace_lane': {
      const inner = b.nodes[args[0]!]!;
      const value = b.nodes[args[1]!]!;
      if (value.op === `${shape}.extract_lane` && value.args[0] === args[0] && value.imm[0] === imm[0])
        return args[0] as Value;
      const [from, innerName] = partsOf(inner.op);
      if (
        innerName === 'replace_lane' &&
        inner.imm[0] === imm[0] &&
        laneBytes[from] !== undefined &&
        laneBytes[from] === laneBytes[shape]
      )
        return b.emit(op, [inner.args[0]!, args[1]!], ...imm);
      return null;
    }
    case 'reinterpret': {
      const inner = b.nodes[args[0]!]!;
      return inner.op.endsWith('.reinterpret') ? (inner.args[0] as Value) : null;
    }
    case 'xor':
    case 'andnot':
      return shape === 'v128' && args[0] === args[1] ? b.emit('v128.const', [], new Array<number>(16).fill(0)) : null;
    case 'and':
    case 'or':
      return shape === 'v128' && args[0] === args[1] ? (args[0] as Value) : null;
    default:
      return null;
  }
}

const names = ['extract_lane', 'replace_lane', 'reinterpret', 'xor', 'andnot', 'and', 'or'];
/** Which micro-ops foldVector knows anything of, by number. */
const isVector = opList.map((op) => {
  const [shape, name] = partsOf(op);
  return names.includes(name) && (shape === 'v128' || !names.slice(3).includes(name));
});

/** What a pure micro-op is equal to, or null. */
export function fold(
  b: Recording,
  code: number,
  op: MicroOp,
  args: readonly number[],
  imm: readonly Immediate[],
): Value | null {
  if (args.length === 0) return null;
  return isVector[code] ? foldVector(b, op, args, imm) : foldConstant(b, code, op, args);
}
