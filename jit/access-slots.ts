/**
 * Pages that a loop stays on: for accesses that probably touch the page they touched last (a stack frame, a pointer that
 * is moved in small steps, a small table), the region keeps page and host address in two locals, and looks the page up
 * only when it changes. What stays put is judged by how the innermost loop around the access changes its registers.
 */
import { memoryAccesses, type Node } from '../src/ir/micro-ops.ts';
import { findLoops, type Loop } from './loops.ts';
import type { Region, RegionBlock } from './region.ts';

/** Steps of a pointer per iteration, in bytes, that count as staying on a page. */
const smallStep = 64;
const maximumSlots = 6;

export interface Slot {
  readonly key: string;
  write: boolean;
  accesses: number;
}

/** Sums of a value and a constant, with the constant's sign. */
const signs: ReadonlyMap<string, number> = new Map([
  ['i32.add', 1],
  ['i64.add', 1],
  ['i32.sub', -1],
  ['i64.sub', -1],
]);
const isConstant = ({ op }: Node): boolean => op === 'i32.const' || op === 'i64.const';

/** A value as a general register plus a small constant: the register, or -1. */
function registerBehind(nodes: readonly Node[], v: number, step: { by: number }): number {
  for (let i = 0; i < 8; i++) {
    const { op, args, imm } = nodes[v]!;
    const second = args.length > 1 ? nodes[args[1]!]! : null;
    if (op === 'reg.get') return imm[0] as number;
    if (op === 'i64.extend_u' || op === 'i32.wrap') v = args[0]!;
    else if (op === 'address.base') {
      step.by += imm[0] as number;
      v = args[0]!;
    } else if (second !== null && signs.has(op) && isConstant(second)) {
      step.by += signs.get(op)! * Number(second.imm[0]);
      v = args[0]!;
    } else return -1;
  }
  return -1;
}

/** Registers that a loop leaves alone or moves in small steps: a mask. */
function steadyRegisters({ body }: Loop): number {
  let steady = 0xffff;
  for (const { nodes, terminator } of body) {
    if (terminator.kind === 'call') steady &= 1 << 4; // the stack pointer comes back
    for (const { op, args, imm } of nodes) {
      if (op !== 'reg.set') continue;
      const index = imm[0] as number;
      const step = { by: 0 };
      if (registerBehind(nodes, args[0]!, step) !== index || Math.abs(step.by) > smallStep) steady &= ~(1 << index);
    }
  }
  return steady;
}

/** What an address is made of, as the key of its slot; null if it may be anywhere. */
function slotKey(nodes: readonly Node[], v: number, steady: number): string | null {
  const { op, args, imm } = nodes[v]!;
  const isSteady = (register: number) => register >= 0 && (steady & (1 << register)) !== 0;
  if (op === 'address.index') {
    const base = nodes[args[0]!]!;
    if (base.op === 'i64.const') return `c${imm[1]}`;
    const [first, second] = [registerBehind(nodes, args[0]!, { by: 0 }), registerBehind(nodes, args[1]!, { by: 0 })];
    return isSteady(first) && isSteady(second) ? `r${first},${second}` : null;
  }
  const step = { by: 0 };
  const register = registerBehind(nodes, v, step);
  return isSteady(register) ? `r${register}` : null;
}

/** Slots of a region, and which access (block, node) uses which. */
export class AccessSlots {
  readonly slots: readonly Slot[];
  private readonly chosen = new Map<Node, Slot>();

  /** `without`: whether an access has another way to its page. */
  constructor(region: Region, without: (block: RegionBlock, v: number) => boolean) {
    const { blocks, context } = region;
    const found = new Map<string, Slot & { readonly nodes: Node[] }>();
    if (context.flat) {
      const { innermost } = findLoops(blocks);
      const steady = new Map<Loop, number>();
      for (const block of blocks) {
        const loop = innermost[block.order]!;
        if (loop === null) continue;
        let mask = steady.get(loop);
        if (mask === undefined) steady.set(loop, (mask = steadyRegisters(loop)));
        for (let v = 0; v < block.nodes.length; v++) {
          const node = block.nodes[v]!;
          const access = memoryAccesses[node.code]!;
          if (access === null || without(block, v)) continue;
          const key = slotKey(block.nodes, node.args[0]!, mask);
          if (key === null) continue;
          let slot = found.get(key);
          if (slot === undefined) found.set(key, (slot = { key, write: false, accesses: 0, nodes: [] }));
          slot.accesses++;
          slot.write ||= access.kind !== 'load';
          slot.nodes.push(node);
        }
      }
    }
    const kept = [...found.values()].sort((a, b) => b.accesses - a.accesses).slice(0, maximumSlots);
    for (const slot of kept) for (const node of slot.nodes) this.chosen.set(node, slot);
    this.slots = kept;
  }

  of(node: Node): Slot | undefined {
    return this.chosen.get(node);
  }
}
