/**
 * What is known of the x87 stack at each block of a region while it is translated: how deep it is against the entry, which
 * registers are surely full or empty, which must be held in locals and which differ from memory.
 *
 * Registers are numbered from the top of the stack where the region was entered (or where a call came back), so that a
 * region serves every TOP: place i of the stack at depth d is register (d + i) mod 8. A push makes the depth smaller.
 */
import { codeMayFault, type Node, x87Codes } from '../src/ir/micro-ops.ts';
import { isX87 } from '../src/ir/x87-ops.ts';
import { callsOut, type Region, type RegionBlock } from './region.ts';

/** Beside the eight registers: the pointers to the last instruction and to its operand; status, tags and TOP. */
export const CODE = 1 << 8;
export const DATA = 1 << 9;
export const HEADER = 1 << 10;

/** What a micro-op does to the stack. Masks of registers. */
export interface StackStep {
  readonly needsFull: number;
  readonly needsEmpty: number;
  readonly reads: number;
  readonly writes: number;
  readonly fills: number;
  readonly empties: number;
  /** Depth afterwards. */
  readonly depth: number;
}

const nothing = { needsFull: 0, needsEmpty: 0, reads: 0, writes: 0, fills: 0, empties: 0 };

/** Places of the roles; the memory operand is no register. */
export interface Roles {
  readonly to: number;
  readonly a: number;
  readonly b: number;
  readonly pops: number;
}
export const rolesOf = (n: number): Roles => ({ to: n & 15, a: (n >> 4) & 15, b: (n >> 8) & 15, pops: (n >> 12) & 3 });

export function stackStep({ op, imm }: Node, depth: number): StackStep {
  const bit = (place: number): number => (place === 8 ? 0 : 1 << ((depth + place) & 7));
  const popped = (count: number): number => (count > 0 ? bit(0) : 0) | (count > 1 ? bit(1) : 0);
  const after = (pops: number): number => (depth + pops) & 7;
  const n = imm[0] as number;
  const changed = { ...nothing, reads: HEADER, writes: HEADER, depth };
  switch (op) {
    case 'x87.push':
      return { ...changed, needsEmpty: bit(7), writes: HEADER | bit(7), fills: bit(7), depth: after(7) };
    case 'x87.load':
      return {
        ...changed,
        needsFull: bit(n),
        needsEmpty: bit(7),
        reads: HEADER | bit(n),
        writes: HEADER | bit(7),
        fills: bit(7),
        depth: after(7),
      };
    case 'x87.add':
    case 'x87.sub':
    case 'x87.mul':
    case 'x87.div':
    case 'x87.scale':
    case 'x87.remainder':
    case 'x87.remainder1':
    case 'x87.yl2x':
    case 'x87.yl2xp1':
    case 'x87.patan': {
      const { to, a, b, pops } = rolesOf(n);
      const both = bit(a) | bit(b);
      return {
        ...changed,
        needsFull: both,
        reads: HEADER | both,
        writes: HEADER | bit(to),
        empties: popped(pops),
        depth: after(pops),
      };
    }
    case 'x87.sqrt':
    case 'x87.round':
    case 'x87.f2xm1':
    case 'x87.sin':
    case 'x87.cos':
    case 'x87.abs':
    case 'x87.chs':
      return { ...changed, needsFull: bit(0), reads: HEADER | bit(0), writes: HEADER | bit(0) };
    case 'x87.xtract':
    case 'x87.tan':
    case 'x87.sincos':
      return {
        ...changed,
        needsFull: bit(0),
        needsEmpty: bit(7),
        reads: HEADER | bit(0),
        writes: HEADER | bit(0) | bit(7),
        fills: bit(7),
        depth: after(7),
      };
    case 'x87.compare':
    case 'x87.compare.flags': {
      const { a, b, pops } = rolesOf(n);
      const both = bit(a) | bit(b);
      return { ...changed, needsFull: both, reads: HEADER | both, empties: popped(pops), depth: after(pops) };
    }
    case 'x87.examine':
    case 'x87.result.f32':
    case 'x87.result.f64':
    case 'x87.result.i16':
    case 'x87.result.i32':
    case 'x87.result.i64':
    case 'x87.result.f80':
    case 'x87.result.bcd':
      return { ...changed, needsFull: bit(0), reads: HEADER | bit(0) };
    case 'x87.commit':
      return { ...changed, empties: popped(n), depth: after(n) };
    case 'x87.store': {
      const { to, pops } = rolesOf(n);
      const gone = popped(pops);
      return {
        ...changed,
        needsFull: bit(0),
        reads: HEADER | bit(0),
        writes: HEADER | bit(to),
        fills: bit(to) & ~gone,
        empties: gone,
        depth: after(pops),
      };
    }
    case 'x87.exchange': {
      const both = bit(0) | bit(n);
      return { ...changed, needsFull: both, reads: HEADER | both, writes: HEADER | both };
    }
    case 'x87.move': {
      const both = bit(0) | bit(n);
      return { ...changed, needsFull: both, reads: HEADER | both, writes: HEADER | bit(0) };
    }
    case 'x87.free':
      return { ...changed, empties: bit(n) };
    case 'x87.rotate':
      return { ...changed, depth: after(n) };
    case 'x87.pop':
      return { ...changed, empties: bit(0), depth: after(1) };
    case 'x87.clear':
    case 'x87.control':
    case 'x87.init':
      return changed;
    case 'x87.status':
    case 'x87.ready': // an exception that is pending is met where the region is entered
      return { ...changed, writes: 0 };
    case 'x87.code':
      return { ...nothing, writes: CODE, depth };
    case 'x87.data':
      return { ...nothing, writes: DATA, depth };
    default:
      return { ...nothing, depth };
  }
}

/** What is known at a point. */
export interface StackState {
  readonly depth: number;
  readonly full: number;
  readonly empty: number;
  /** Differs from memory. */
  readonly dirty: number;
}

export function stateAfter(state: StackState, step: StackStep): StackState {
  const full = ((state.full | step.needsFull) & ~step.empties) | step.fills;
  const empty = ((state.empty | step.needsEmpty) & ~step.fills) | step.empties;
  return { depth: step.depth, full, empty, dirty: state.dirty | step.writes };
}

export const usesX87 = (region: Region): boolean =>
  region.blocks.some((b) => b.nodes.some(({ code }) => x87Codes[code]!));

const isInnerJump = (block: RegionBlock, i: number): boolean => {
  const { op } = block.nodes[i]!;
  return (op === 'jump' || op === 'branch') && i !== block.nodes.length - 1;
};

/** Registers that a block needs full or empty as it finds them. */
function needsOf(block: RegionBlock, depth: number): { readonly full: number; readonly empty: number } {
  let state: StackState = { depth, full: 0, empty: 0, dirty: 0 };
  let full = 0;
  let empty = 0;
  for (const node of block.nodes) {
    if (!isX87(node.op)) continue;
    const step = stackStep(node, state.depth);
    full |= step.needsFull & ~(state.full | state.empty);
    empty |= step.needsEmpty & ~(state.full | state.empty);
    state = stateAfter(state, step);
  }
  return { full, empty: empty & ~full };
}

/** The state at the entry of each block, and what must be in locals there. */
export class X87Flow {
  /**
   * What a block may take for granted. What it needs of the stack is part of it: whoever goes there makes sure of it, so
   * that a loop looks once.
   */
  readonly entry: StackState[];
  readonly needs: readonly { readonly full: number; readonly empty: number }[];
  readonly live: number[];
  /** What the region changes anywhere. */
  readonly ever: number;

  constructor(region: Region) {
    const { blocks } = region;
    const depths = this.depths(region);
    this.needs = blocks.map((block, i) => needsOf(block, depths[i]!));
    // Optimistic: everything known, nothing dirty; then to the fixpoint.
    this.entry = blocks.map((_, i) => ({ depth: depths[i]!, full: 255, empty: 255, dirty: 0 }));
    this.entry[0] = { depth: 0, ...this.needs[0]!, dirty: 0 };
    for (let changed = true; changed; ) {
      changed = false;
      for (const block of blocks) {
        const out = this.after(block);
        const inner = block.nodes.some((_, i) => isInnerJump(block, i));
        const called = callsOut(block);
        for (const s of block.successors) {
          const old = this.entry[s.order]!;
          const apart = out.depth !== old.depth;
          const unknown = apart || called || inner;
          const needs = this.needs[s.order]!;
          const full = (unknown ? 0 : old.full & out.full) | needs.full;
          const empty = (unknown ? 0 : old.empty & out.empty) | needs.empty;
          const dirty = (called && !inner) || (apart && !inner) ? old.dirty : old.dirty | out.dirty;
          if (full !== old.full || empty !== old.empty || dirty !== old.dirty) {
            this.entry[s.order] = { depth: old.depth, full, empty, dirty };
            changed = true;
          }
        }
      }
    }
    this.ever = blocks.reduce((mask, block) => mask | this.after(block).dirty, 0);
    this.live = blocks.map(() => 0);
    for (let changed = true; changed; ) {
      changed = false;
      for (const block of [...blocks].reverse()) {
        const live = this.liveBefore(block);
        if (live !== this.live[block.order]) {
          this.live[block.order] = live;
          changed = true;
        }
      }
    }
  }

  private depths({ blocks }: Region): number[] {
    const depths: (number | undefined)[] = blocks.map(() => undefined);
    depths[0] = 0;
    for (const block of blocks) {
      let depth = depths[block.order] ?? 0;
      depths[block.order] = depth;
      for (const node of block.nodes) depth = stackStep(node, depth).depth;
      for (const s of block.successors) depths[s.order] ??= depth;
    }
    return depths as number[];
  }

  private after(block: RegionBlock): StackState {
    let state = this.entry[block.order]!;
    for (const node of block.nodes) if (isX87(node.op)) state = stateAfter(state, stackStep(node, state.depth));
    return state;
  }

  private liveBefore(block: RegionBlock): number {
    // Forwards: the step and what is dirty at each node; then backwards.
    const { nodes } = block;
    const dirtyAt: number[] = [];
    const steps: (StackStep | null)[] = [];
    let state = this.entry[block.order]!;
    for (const node of nodes) {
      dirtyAt.push(state.dirty);
      const step = isX87(node.op) ? stackStep(node, state.depth) : null;
      steps.push(step);
      if (step !== null) state = stateAfter(state, step);
    }
    // Every end may leave: out of the region, at a call, or where a back edge finds the budget used up.
    let live = state.dirty;
    const targets = block.successors.reduce((mask, s) => mask | this.live[s.order]!, 0);
    if (!callsOut(block)) live |= targets;
    for (let i = nodes.length - 1; i >= 0; i--) {
      const step = steps[i]!;
      if (step !== null) live = (live & ~step.writes) | step.reads;
      const { op, code } = nodes[i]!;
      if (codeMayFault(code) || op === 'call') live |= dirtyAt[i]!;
      if (isInnerJump(block, i)) live |= dirtyAt[i]! | targets;
    }
    return live;
  }
}
