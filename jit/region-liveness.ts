/**
 * Which guest registers a region must hold in its locals, and which of them differ from memory, at each block: a local is
 * filled only where it is read, or where it must be written back because another way to the same place has changed it.
 *
 * General registers are bits 0-15 of a mask, xmm registers bits 16-31; the lazy flags are told apart from them.
 */
import { codeMayFault, type Node } from '../src/ir/micro-ops.ts';
import { callsOut, innerTargets, type Region, type RegionBlock } from './region.ts';

export interface Held {
  /** Registers. */
  readonly mask: number;
  readonly flags: boolean;
}

export const registerBit = (op: string, index: number): number => 1 << (op[0] === 'x' ? 16 + index : index);
export const heldKey = ({ mask, flags }: Held): string => `${mask >>> 0}${flags ? 'f' : ''}`;

/** What a node means for the locals. */
interface Event {
  readonly reads: number;
  readonly writes: number;
  readonly readsFlags: boolean;
  readonly writesFlags: boolean;
  /** The write may not happen. */
  readonly conditional: boolean;
  readonly leaves: boolean;
  readonly targets: readonly RegionBlock[];
}

function eventOf(node: Node, depth: number, last: boolean, block: RegionBlock): Event | null {
  const { op, imm } = node;
  let [reads, writes, readsFlags, writesFlags] = [0, 0, false, false];
  switch (op) {
    case 'reg.get':
    case 'xmm.get':
      reads = registerBit(op, imm[0] as number);
      break;
    case 'reg.set':
    case 'xmm.set':
      writes = registerBit(op, imm[0] as number);
      break;
    case 'flags.set':
      writesFlags = true;
      break;
    case 'flags.merge':
      readsFlags = true;
      writesFlags = true;
      break;
    case 'flags.get':
    case 'flags.test':
      readsFlags = true;
      break;
    case 'state.get32':
    case 'state.get64':
      readsFlags = String(imm[0]).startsWith('flag');
      break;
    default:
  }
  const steers = (op === 'jump' || op === 'branch') && !last;
  const leaves = steers || codeMayFault(node.code) || op === 'call';
  if (reads === 0 && writes === 0 && !readsFlags && !writesFlags && !leaves) return null;
  const targets = steers ? block.successors : [];
  return { reads, writes, readsFlags, writesFlags, conditional: depth > 0, leaves, targets };
}

function eventsOf(block: RegionBlock): Event[] {
  const events: Event[] = [];
  let depth = 0;
  block.nodes.forEach((node, i) => {
    if (node.op === 'when') depth++;
    else if (node.op === 'end') depth--;
    const event = eventOf(node, depth, i === block.nodes.length - 1, block);
    if (event !== null) events.push(event);
  });
  return events;
}

export class Liveness {
  /** What differs from memory where a block begins. */
  readonly dirty: Held[];
  /** What a block needs in locals where it begins. */
  readonly live: Held[];
  /** Every combination that is written back at some leave, by key. */
  readonly leaves = new Map<string, Held>();

  constructor(region: Region) {
    const { blocks } = region;
    const events = blocks.map(eventsOf);
    const dirtyIn = new Int32Array(blocks.length);
    const dirtyFlagsIn = new Uint8Array(blocks.length);
    const dirtyOut = (b: RegionBlock): Held => {
      let mask = dirtyIn[b.order]!;
      let flags = dirtyFlagsIn[b.order] !== 0;
      for (const event of events[b.order]!) {
        mask |= event.writes;
        flags ||= event.writesFlags;
      }
      return { mask, flags };
    };
    for (let changed = true; changed; ) {
      changed = false;
      for (const block of blocks) {
        if (callsOut(block) && innerTargets(block.nodes).length === 0) continue;
        const out = dirtyOut(block);
        for (const s of block.successors) {
          const mask = dirtyIn[s.order]! | out.mask;
          const flags = dirtyFlagsIn[s.order]! | (out.flags ? 1 : 0);
          if (mask !== dirtyIn[s.order] || flags !== dirtyFlagsIn[s.order]) {
            dirtyIn[s.order] = mask;
            dirtyFlagsIn[s.order] = flags;
            changed = true;
          }
        }
      }
    }

    const liveIn = new Int32Array(blocks.length);
    const liveFlagsIn = new Uint8Array(blocks.length);
    const liveBefore = (block: RegionBlock): Held => {
      const list = events[block.order]!;
      // What is dirty at each event, forwards; then live, backwards.
      const dirtyAt: Held[] = [];
      let dirty: Held = { mask: dirtyIn[block.order]!, flags: dirtyFlagsIn[block.order] !== 0 };
      for (const event of list) {
        dirtyAt.push(dirty);
        if (event.leaves) this.leaves.set(heldKey(dirty), dirty);
        if (event.writes !== 0 || event.writesFlags)
          dirty = { mask: dirty.mask | event.writes, flags: dirty.flags || event.writesFlags };
      }
      this.leaves.set(heldKey(dirty), dirty);
      // Every end may leave: out of the region, at a call, or where a back edge finds the budget used up.
      let mask = dirty.mask;
      let flags = dirty.flags;
      if (!callsOut(block)) {
        for (const s of block.successors) {
          mask |= liveIn[s.order]!;
          flags ||= liveFlagsIn[s.order] !== 0;
        }
      }
      for (let i = list.length - 1; i >= 0; i--) {
        const event = list[i]!;
        if (!event.conditional) {
          mask &= ~event.writes;
          if (event.writesFlags) flags = false;
        }
        mask |= event.reads;
        flags ||= event.readsFlags;
        if (event.leaves) {
          mask |= dirtyAt[i]!.mask;
          flags ||= dirtyAt[i]!.flags;
        }
        for (const s of event.targets) {
          mask |= liveIn[s.order]!;
          flags ||= liveFlagsIn[s.order] !== 0;
        }
      }
      return { mask, flags };
    };
    for (let changed = true; changed; ) {
      changed = false;
      for (let i = blocks.length - 1; i >= 0; i--) {
        const { mask, flags } = liveBefore(blocks[i]!);
        if (mask !== liveIn[i] || (flags ? 1 : 0) !== liveFlagsIn[i]) {
          liveIn[i] = mask;
          liveFlagsIn[i] = flags ? 1 : 0;
          changed = true;
        }
      }
    }
    this.dirty = blocks.map((_, i) => ({ mask: dirtyIn[i]!, flags: dirtyFlagsIn[i] !== 0 }));
    this.live = blocks.map((_, i) => ({ mask: liveIn[i]!, flags: liveFlagsIn[i] !== 0 }));
  }
}
