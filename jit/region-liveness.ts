/**
 * Which guest registers a region must hold in its locals, and which of them differ from memory, at each block: a local is
 * filled only where it is read, or where it must be written back because another way to the same place has changed it.
 *
 * General registers are bits 0-15 of a mask, xmm registers bits 16-31; the lazy flags are told apart from them.
 */

import { codeMayFault, type MicroOp, opList } from '../src/ir/micro-ops.ts';
import { callsOut, type Region, type RegionBlock } from './region.ts';

export interface Held {
  /** Registers. */
  readonly mask: number;
  readonly flags: boolean;
}

export const registerBit = (op: string, index: number): number => 1 << (op.charCodeAt(0) === 120 ? 16 + index : index); // x

/** What a node means for the locals, by its micro-op. */
const NOTHING = 0,
  READS = 1,
  WRITES = 2,
  SETS_FLAGS = 3,
  MERGES_FLAGS = 4,
  LOOKS_AT_FLAGS = 5,
  READS_FIELD = 6,
  WHEN = 7,
  END = 8,
  STEERS = 9,
  LEAVES = 10;
const meanings: Partial<Record<MicroOp, number>> = {
  'reg.get': READS,
  'xmm.get': READS,
  'reg.set': WRITES,
  'xmm.set': WRITES,
  'flags.set': SETS_FLAGS,
  'flags.merge': MERGES_FLAGS,
  'flags.get': LOOKS_AT_FLAGS,
  'flags.test': LOOKS_AT_FLAGS,
  'state.get32': READS_FIELD,
  'state.get64': READS_FIELD,
  when: WHEN,
  end: END,
  jump: STEERS,
  branch: STEERS,
  call: LEAVES,
};
const meaningOf = Uint8Array.from(opList, (op, code) => meanings[op] ?? (codeMayFault(code) ? LEAVES : NOTHING));

/** The flags as one more register, in the masks of this file. */
interface Masks {
  registers: number;
  flags: number;
}

/** One block: what its nodes mean, without those that mean nothing. */
class BlockEvents {
  readonly block: RegionBlock;
  private readonly kinds: number[] = [];
  /** Registers that an event is about. */
  private readonly masks: number[] = [];
  /** The write may not happen. */
  private readonly conditional: boolean[] = [];
  /** What differs from memory at each event. */
  private readonly dirtyRegisters: number[] = [];
  private readonly dirtyFlags: number[] = [];
  /** What the block writes, if it may. */
  readonly writes: Masks = { registers: 0, flags: 0 };

  constructor(block: RegionBlock) {
    this.block = block;
    const { nodes } = block;
    let depth = 0;
    for (let i = 0; i < nodes.length; i++) {
      const { code, op, imm } = nodes[i]!;
      const kind = meaningOf[code]!;
      if (kind === NOTHING) continue;
      let mask = 0;
      if (kind === READS || kind === WRITES) {
        mask = registerBit(op, imm[0] as number);
        if (kind === WRITES) this.writes.registers |= mask;
      } else if (kind === WHEN) depth++;
      else if (kind === END) depth--;
      else if (kind === STEERS) {
        if (i === nodes.length - 1) continue; // the terminator
      } else if (kind === READS_FIELD) {
        if (!String(imm[0]).startsWith('flag')) continue;
      } else if (kind === SETS_FLAGS || kind === MERGES_FLAGS) this.writes.flags = 1;
      if (kind === WHEN || kind === END) continue;
      this.kinds.push(kind);
      this.masks.push(mask);
      this.conditional.push(depth > 0);
    }
  }

  /** Notes what is dirty where, and adds the combinations with which the region may leave. */
  follow(registers: number, flags: number, leave: (registers: number) => void): void {
    const { kinds, masks } = this;
    let [mask, flag] = [registers, flags];
    for (let i = 0; i < kinds.length; i++) {
      this.dirtyRegisters.push(mask);
      this.dirtyFlags.push(flag);
      const kind = kinds[i]!;
      if (kind >= STEERS) leave(mask);
      else if (kind === WRITES) mask |= masks[i]!;
      else if (kind === SETS_FLAGS || kind === MERGES_FLAGS) flag = 1;
    }
    leave(mask);
  }
  /** What is live before the block, of what is live behind it; in the same object. */
  before(live: Masks, inner: Masks): void {
    const { kinds, masks, conditional } = this;
    let { registers, flags } = live;
    for (let i = kinds.length - 1; i >= 0; i--) {
      switch (kinds[i]) {
        case READS:
          registers |= masks[i]!;
          break;
        case WRITES:
          if (!conditional[i]!) registers &= ~masks[i]!;
          break;
        case SETS_FLAGS:
          if (!conditional[i]!) flags = 0;
          break;
        case STEERS:
          registers |= this.dirtyRegisters[i]! | inner.registers;
          flags |= this.dirtyFlags[i]! | inner.flags;
          break;
        case LEAVES:
          registers |= this.dirtyRegisters[i]!;
          flags |= this.dirtyFlags[i]!;
          break;
        default: // who looks at flags, or replaces some of them
          flags = 1;
      }
    }
    live.registers = registers;
    live.flags = flags;
  }
}

export class Liveness {
  /** What differs from memory where a block begins. */
  readonly dirty: Held[];
  /** What a block needs in locals where it begins. */
  readonly live: Held[];
  /** Every combination of registers that is written back at some leave; nothing at the entry. */
  readonly leaves = new Set([0]);

  constructor(region: Region) {
    const { blocks } = region;
    const count = blocks.length;
    const events = blocks.map((block) => new BlockEvents(block));
    const dirtyIn = new Int32Array(count);
    const dirtyFlagsIn = new Uint8Array(count);
    for (let changed = true; changed; ) {
      changed = false;
      for (let i = 0; i < count; i++) {
        const { block, writes } = events[i]!;
        if (callsOut(block) && block.facts.inner.length === 0) continue;
        const mask = dirtyIn[i]! | writes.registers;
        const flags = dirtyFlagsIn[i]! | writes.flags;
        for (const { order } of block.successors) {
          if ((mask & ~dirtyIn[order]!) === 0 && (flags & ~dirtyFlagsIn[order]!) === 0) continue;
          dirtyIn[order]! |= mask;
          dirtyFlagsIn[order]! |= flags;
          changed = true;
        }
      }
    }

    const leave = (mask: number) => void this.leaves.add(mask);
    for (let i = count - 1; i >= 0; i--) events[i]!.follow(dirtyIn[i]!, dirtyFlagsIn[i]!, leave);

    const liveIn = new Int32Array(count);
    const liveFlagsIn = new Uint8Array(count);
    const after: Masks = { registers: 0, flags: 0 };
    const live: Masks = { registers: 0, flags: 0 };
    for (let changed = true; changed; ) {
      changed = false;
      for (let i = count - 1; i >= 0; i--) {
        const { block, writes } = events[i]!;
        after.registers = 0;
        after.flags = 0;
        for (const { order } of block.successors) {
          after.registers |= liveIn[order]!;
          after.flags |= liveFlagsIn[order]!;
        }
        // Every end may leave: out of the region, at a call, or where a back edge finds the budget used up.
        const isOut = callsOut(block);
        live.registers = dirtyIn[i]! | writes.registers | (isOut ? 0 : after.registers);
        live.flags = dirtyFlagsIn[i]! | writes.flags | (isOut ? 0 : after.flags);
        events[i]!.before(live, after);
        if (live.registers === liveIn[i] && live.flags === liveFlagsIn[i]) continue;
        liveIn[i] = live.registers;
        liveFlagsIn[i] = live.flags;
        changed = true;
      }
    }
    this.dirty = blocks.map((_, i) => ({ mask: dirtyIn[i]!, flags: dirtyFlagsIn[i] !== 0 }));
    this.live = blocks.map((_, i) => ({ mask: liveIn[i]!, flags: liveFlagsIn[i] !== 0 }));
  }
}
