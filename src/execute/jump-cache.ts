/**
 * The jump cache of a vCPU (layout.ts), as TypeScript sees it: the core module reads it on every block.
 *
 * An entry stands at its own place, or next to it where a later one has taken that: two addresses that alternate and share
 * a place are both found. Regions look at an entry's own place alone, the core module at both.
 *
 * A flush takes entries out of force, but what they led to is remembered: after it most of them are right still, and whoever
 * looks them up has only to compare their pages.
 */
import { pageNumber } from '../mmu/linear.ts';
import type { CpuState } from '../state/cpu-state.ts';
import { jumpCacheBits, jumpCacheEntryBytes, jumpCacheOffset } from '../state/layout.ts';
import type { InterpreterBlock } from './code-memory.ts';

const entries = 1 << jumpCacheBits;
const mask = entries - 1;
const words = jumpCacheEntryBytes >> 2;
const start = jumpCacheOffset >> 2;

/** A page of code: a linear address in it, by halves (signed high one), and the physical page that it must be. */
export interface CodePlace {
  readonly low: number;
  readonly high: number;
  readonly physical: number;
}

/** A translated region as the jump cache leads to it. */
export interface FoundRegion {
  /** Its place in the table of functions. */
  readonly slot: number;
  readonly pages: readonly CodePlace[];
  /** False once it has gone. */
  readonly alive: boolean;
}

/** Places of one kind that may be in force, and the linear pages that they rely on. */
class Places {
  readonly list = new Uint32Array(entries);
  count = 0;
  readonly pages = new Set<number>();
}
/** A place is in the list of local ones, of global ones; what stands there now is global. */
const IN_LOCAL = 1;
const IN_GLOBAL = 2;
const IS_GLOBAL = 4;

export class JumpCache {
  /** How often something was taken out: code or its mapping has changed. */
  changes = 0;
  private readonly u32: Uint32Array;
  private readonly local = new Places();
  /** Of entries with all their code in global pages: a load of CR3 need not look at them. */
  private readonly global = new Places();
  private readonly marks = new Uint8Array(entries);
  /** Context of each entry, in force or not; 0 = none. */
  private readonly contexts = new Uint32Array(entries);
  private readonly blocks = new Array<InterpreterBlock | null>(entries).fill(null);
  private readonly regions = new Array<FoundRegion | null>(entries).fill(null);
  /** Another look-up may find something better than what stands here. */
  private readonly passing = new Uint8Array(entries);

  constructor(state: CpuState) {
    this.u32 = state.u32;
  }
  private index(low: number): number {
    return (low ^ (low >>> 12)) & mask;
  }
  /**
   * @param passing what is found is not the best that may be there: it is not remembered beyond a flush
   * @param global all pages that it relies on are global
   */
  set(
    low: number,
    high: number,
    context: number,
    block: InterpreterBlock | null,
    region: FoundRegion | null,
    passing: boolean,
    global: boolean,
  ): void {
    const index = this.index(low);
    const { u32 } = this;
    if (!this.holds(index, low, high, context)) {
      const beside = index ^ 1;
      if (this.holds(beside, low, high, context)) this.clearAt(beside);
      else if (u32[start + index * words + 2] !== 0) this.move(index, beside);
    }
    const at = start + index * words;
    u32[at] = low;
    u32[at + 1] = high;
    u32[at + 3] = block === null ? 0 : block.address;
    u32[at + 4] = region === null ? 0 : region.slot;
    this.contexts[index] = context;
    this.blocks[index] = block;
    this.regions[index] = region;
    this.passing[index] = passing ? 1 : 0;
    this.enforce(index, global);
  }
  private enforce(index: number, global: boolean): void {
    const { marks, u32 } = this;
    u32[start + index * words + 2] = this.contexts[index]!;
    const mark = marks[index]!;
    const places = global ? this.global : this.local;
    const inList = global ? IN_GLOBAL : IN_LOCAL;
    if ((mark & inList) === 0) places.list[places.count++] = index;
    marks[index] = global ? mark | inList | IS_GLOBAL : (mark | inList) & ~IS_GLOBAL;
    const region = this.regions[index]!;
    if (region !== null) for (const page of region.pages) places.pages.add(pageNumber(page.low, page.high));
    else {
      const block = this.blocks[index]!;
      places.pages.add(block.linearPage);
      if (block.linearSecond !== -1) places.pages.add(block.linearSecond);
    }
  }

  /** The place of an entry that a flush has taken out of force, or -1. */
  lost(low: number, high: number, context: number): number {
    let index = this.index(low);
    if (!this.holds(index, low, high, context)) {
      index ^= 1;
      if (!this.holds(index, low, high, context)) return -1;
    }
    return this.passing[index] !== 0 || this.u32[start + index * words + 2] !== 0 ? -1 : index;
  }
  blockAt(index: number): InterpreterBlock | null {
    return this.blocks[index]!;
  }
  regionAt(index: number): FoundRegion | null {
    return this.regions[index]!;
  }
  /** An entry that was lost is right again. */
  restore(index: number, global: boolean): void {
    const block = this.blocks[index]!;
    if (block !== null) this.u32[start + index * words + 3] = block.address; // it may have been made again
    this.enforce(index, global);
  }

  drop(low: number, high: number, context: number): void {
    this.changes++;
    const index = this.index(low);
    if (this.holds(index, low, high, context)) this.clearAt(index);
    if (this.holds(index ^ 1, low, high, context)) this.clearAt(index ^ 1);
  }
  private holds(index: number, low: number, high: number, context: number): boolean {
    const at = start + index * words;
    return (
      this.contexts[index] === context && this.u32[at] === low >>> 0 && this.u32[at + 1] === high >>> 0 && context !== 0
    );
  }
  /** No context has number 0. */
  private clearAt(index: number): void {
    this.u32[start + index * words + 2] = 0;
    this.contexts[index] = 0;
    this.blocks[index] = null;
    this.regions[index] = null;
  }
  private move(from: number, to: number): void {
    const { u32 } = this;
    const [source, target] = [start + from * words, start + to * words];
    for (let i = 0; i < 5; i++) u32[target + i] = u32[source + i]!;
    this.contexts[to] = this.contexts[from]!;
    this.blocks[to] = this.blocks[from]!;
    this.regions[to] = this.regions[from]!;
    this.passing[to] = this.passing[from]!;
    this.enforce(to, (this.marks[from]! & IS_GLOBAL) !== 0);
  }
  /** Takes everything out of force. */
  flush(): void {
    this.changes++;
    this.flushLocal();
    this.flushGlobal();
  }
  /** What is not made from global pages alone. */
  flushLocal(): void {
    this.changes++;
    const { local, marks, u32 } = this;
    for (let i = 0; i < local.count; i++) {
      const index = local.list[i]!;
      if ((marks[index]! & IS_GLOBAL) === 0) u32[start + index * words + 2] = 0;
      marks[index] = marks[index]! & ~IN_LOCAL;
    }
    local.count = 0;
    local.pages.clear();
  }
  private flushGlobal(): void {
    const { global, marks, u32 } = this;
    for (let i = 0; i < global.count; i++) {
      const index = global.list[i]!;
      if ((marks[index]! & IS_GLOBAL) !== 0) u32[start + index * words + 2] = 0;
      marks[index] = marks[index]! & ~(IN_GLOBAL | IS_GLOBAL);
    }
    global.count = 0;
    global.pages.clear();
  }
  /** What may rely on a linear page; mostly nothing does. */
  flushPage(page: number): void {
    this.changes++;
    if (this.local.pages.has(page)) this.flushLocal();
    if (this.global.pages.has(page)) this.flushGlobal();
  }
  /** Forgets everything. */
  forget(): void {
    this.changes++;
    this.flush();
    this.contexts.fill(0);
    this.blocks.fill(null);
    this.regions.fill(null);
  }
}
