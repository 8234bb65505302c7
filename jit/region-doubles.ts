/**
 * Vector registers that a region uses for scalar doubles: such a register has a second local for its low lane, so that a
 * scalar operation touches neither a vector nor what the register held before. The local of the whole register is right
 * but for its low lane; the two are put together where the whole is wanted.
 */
import type { Node } from '../src/ir/micro-ops.ts';
import type { Emitter, Expr } from './emitter.ts';
import type { Region } from './region.ts';
import type { RegionFrame, RegisterLocal } from './region-frame.ts';

const isDoubleLane = (node: Node, name: 'extract_lane' | 'replace_lane'): boolean =>
  (node.op === `f64x2.${name}` || node.op === `i64x2.${name}`) && node.imm[0] === 0;

/** The registers that are set by scalar operations more often than they are used or set as a whole. */
function scalarRegisters(region: Region): Iterable<number> {
  if (!region.blocks.some(({ nodes }) => nodes.some(({ op }) => op === 'xmm.set'))) return [];
  const balance = new Int32Array(16);
  const add = (register: number, n: number) => {
    balance[register]! += n;
  };
  for (const { nodes } of region.blocks) {
    for (const node of nodes) {
      if (node.op === 'xmm.set') {
        const value = nodes[node.args[0]!]!;
        if (isDoubleLane(value, 'replace_lane')) add(node.imm[0] as number, 1);
        else if (value.op !== 'v128.const' && value.op !== 'xmm.get') add(node.imm[0] as number, -1);
        continue;
      }
      node.args.forEach((a, i) => {
        const arg = nodes[a]!;
        if (arg.op !== 'xmm.get') return;
        const scalar = isDoubleLane(node, 'extract_lane') || (i === 0 && isDoubleLane(node, 'replace_lane'));
        if (!scalar) add(arg.imm[0] as number, -1);
      });
    }
  }
  return new Set([...balance.keys()].filter((r) => balance[r]! > 0));
}

/** What a block's emission lends: its nodes, and their values as far as they are made. */
export interface BlockValues {
  readonly nodes: readonly Node[];
  /** The value has a local of its own, or was copied from its register. */
  isKept(v: number): boolean;
  /** Nothing but one node uses the value. */
  isUsedOnce(v: number): boolean;
  value(v: number): Expr;
}

export class RegionDoubles {
  private readonly e: Emitter;
  private readonly frame: RegionFrame;
  /** What stands in the upper lanes of registers, as names: equal names, equal lanes. */
  private upper = new Map<number, string>();
  private epoch = 0;

  constructor(e: Emitter, region: Region, frame: RegionFrame) {
    this.e = e;
    this.frame = frame;
    for (const register of scalarRegisters(region)) {
      const local = frame.register('x', register);
      if (local !== undefined) local.low = e.local('f64');
    }
  }

  /** Control comes from elsewhere: nothing is known of the registers. */
  forget(): void {
    this.upper = new Map();
    this.epoch++;
  }

  /** The low lane that a node extracts, if it stands in a local of its own. */
  lane(node: Node, block: BlockValues): Expr | null {
    if (!isDoubleLane(node, 'extract_lane')) return null;
    const source = this.source(node.args[0]!, block);
    if (source === null) return null;
    const low = this.e.get(source.low!, 'f64');
    return node.op === 'f64x2.extract_lane' ? low : this.e.op('i64.reinterpret', low);
  }
  /** The split register that a value stands for, or null. */
  private source(v: number, { nodes, isKept }: BlockValues): RegisterLocal | null {
    const { op, imm } = nodes[v]!;
    if (op !== 'xmm.get' || isKept(v)) return null;
    const register = this.frame.register('x', imm[0] as number);
    return register.low === null ? null : register;
  }

  /** Sets a register to the value of a node, which has no other user that is still to be emitted. */
  set(index: number, v: number, block: BlockValues): void {
    const { e } = this;
    const register = this.frame.register('x', index);
    const { low } = register;
    if (low === null) return e.set(register.local, block.value(v));
    const node = block.nodes[v]!;
    const source = this.source(v, block);
    if (source !== null) {
      const name = this.nameOf(v, block);
      e.set(low, e.get(source.low!, 'f64'));
      if (this.current(index) !== name) e.set(register.local, e.get(source.local, 'v128'));
      this.upper.set(index, name);
    } else if (isDoubleLane(node, 'replace_lane') && block.isUsedOnce(v)) {
      const name = this.nameOf(v, block);
      const lane = block.value(node.args[1]!);
      const value = node.op === 'f64x2.replace_lane' ? lane : e.op('f64.reinterpret', lane);
      // The lanes above may come from the register itself, whose low lane is set last.
      if (this.current(index) !== name) e.set(register.local, this.whole(node.args[0]!, block));
      e.set(low, value);
      this.upper.set(index, name);
    } else {
      e.set(register.local, block.value(v));
      e.set(low, e.op('f64x2.extract_lane', e.get(register.local, 'v128'), 0));
      this.upper.set(index, this.nameOf(v, block));
    }
  }

  private current(index: number): string {
    return this.upper.get(index) ?? `register ${index} ${this.epoch}`;
  }
  /** Name of the upper lane of a value. */
  private nameOf(v: number, block: BlockValues): string {
    const node = block.nodes[v]!;
    if (isDoubleLane(node, 'replace_lane')) return this.nameOf(node.args[0]!, block);
    if (node.op === 'v128.const' && (node.imm[0] as readonly number[]).slice(8).every((n) => n === 0)) return 'zero';
    const source = this.source(v, block);
    return source === null ? `value ${v} ${this.epoch}` : this.current(node.imm[0] as number);
  }
  /** A vector with a value's upper lane. */
  private whole(v: number, block: BlockValues): Expr {
    const node = block.nodes[v]!;
    if (isDoubleLane(node, 'replace_lane') && block.isUsedOnce(v)) return this.whole(node.args[0]!, block);
    const source = this.source(v, block);
    return source === null ? block.value(v) : this.e.get(source.local, 'v128');
  }
}
