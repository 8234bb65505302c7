/**
 * What the lazy flags are where a loop of one block begins again: mostly operands that stand in registers then. They need
 * not be carried round the loop; who leaves it makes them from the registers.
 */
import { type FlagKind, flagCode } from '../src/ir/flags.ts';
import type { Node } from '../src/ir/micro-ops.ts';
import type { Width } from '../src/ir/types.ts';

/** An operand, made of registers as they are at the block's beginning. */
export type HeadValue =
  | { readonly op: 'register'; readonly register: number }
  | { readonly op: 'constant'; readonly value: bigint }
  | { readonly op: 'i64.sub' | 'i32.sub'; readonly of: HeadValue; readonly by: bigint }
  | { readonly op: 'i32.wrap' | 'i64.extend_u'; readonly of: HeadValue }
  | { readonly op: 'i64.and' | 'i32.and'; readonly of: HeadValue; readonly by: bigint };

export interface LoopFlags {
  readonly code: number;
  readonly carry: number;
  /** Null: it is carried. */
  readonly a: HeadValue | null;
  readonly b: HeadValue | null;
  /** The registers that they are made of: a mask. */
  readonly registers: number;
}

const looks = (node: Node): boolean =>
  /^flags\.(get|test|merge)$/.test(node.op) || (/^state\./.test(node.op) && String(node.imm[0]).startsWith('flag'));

/** The flags at the beginning of a block that goes round, or null if they cannot be told. */
export function loopFlags(nodes: readonly Node[]): LoopFlags | null {
  const last = nodes.findLast((n) => n.op === 'flags.set');
  if (last === undefined || nodes.some((n) => looks(n) || n.op === 'when')) return null;
  const carry = nodes[last.args[2]!]!;
  if (carry.op !== 'i32.const') return null;
  const final = new Map<number, number>();
  for (const { op, args, imm } of nodes) {
    if (op === 'reg.get' && final.has(imm[0] as number)) return null; // it is not the register of the beginning
    if (op === 'reg.set') final.set(imm[0] as number, args[0]!);
  }
  let registers = 0;
  const register = (index: number): HeadValue => {
    registers |= 1 << index;
    return { op: 'register', register: index };
  };
  const constant = (v: number): bigint | null => {
    const { op, imm } = nodes[v]!;
    return op === 'i64.const' || op === 'i32.const' ? BigInt(imm[0] as bigint | number) : null;
  };
  /** What the block adds to a register, in 64 or in 32 bits; null = something else becomes of it. */
  const added = (index: number, width: 32 | 64): bigint | null => {
    const made = final.get(index);
    if (made === undefined) return 0n;
    let v = made;
    let wrapped = width === 64;
    for (let by = 0n; ; ) {
      const { op, args, imm }: Node = nodes[v]!;
      if (op === 'reg.get') return imm[0] === index && wrapped ? by : null;
      const n = args.length > 1 ? constant(args[1]!) : null;
      if (n !== null && (op === `i${width}.add` || op === `i${width}.sub`)) by += op.endsWith('add') ? n : -n;
      else if (width === 32 && op === 'i32.wrap') wrapped = true;
      else if (width === 64 || op !== 'i64.extend_u') return null;
      v = args[0]!;
    }
  };
  const before = (index: number, width: 32 | 64): HeadValue | null => {
    const by = added(index, width);
    if (by === null) return null;
    const whole = register(index);
    const now: HeadValue = width === 64 ? whole : { op: 'i32.wrap', of: whole };
    return by === 0n ? now : { op: `i${width}.sub`, of: now, by };
  };
  const derive = (v: number, depth: number): HeadValue | null => {
    const { op, args, imm } = nodes[v]!;
    const value = constant(v);
    if (value !== null) return op === 'i64.const' ? { op: 'constant', value } : null;
    for (const [index, made] of final) if (made === v) return register(index);
    if (op === 'reg.get') return before(imm[0] as number, 64);
    if (depth === 0) return null;
    if (op === 'i32.wrap' || op === 'i64.extend_u') {
      const source = nodes[args[0]!]!;
      if (op === 'i32.wrap' && source.op === 'reg.get') return before(source.imm[0] as number, 32);
      const of = derive(args[0]!, depth - 1);
      return of === null ? null : { op, of };
    }
    if (op === 'i64.and' || op === 'i32.and') {
      const by = constant(args[1]!);
      const of = derive(args[0]!, depth - 1);
      return of === null || by === null ? null : { op, of, by };
    }
    return null;
  };
  const [a, b] = [derive(last.args[0]!, 4), derive(last.args[1]!, 4)];
  const code = flagCode(last.imm[0] as FlagKind, last.imm[1] as Width);
  return { code, carry: carry.imm[0] as number, a, b, registers };
}
