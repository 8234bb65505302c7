/**
 * The jump cache of a vCPU (layout.ts), as TypeScript sees it: the core module reads it on every block.
 *
 * An entry stands at its own place, or next to it where a later one has taken that: two addresses that alternate and share
 * a place are both found. Regions look at an entry's own place alone, the core module at both.
 *
 * A flush begins an epoch: what was entered in an earlier one is not in force, but most of it is right still, and whoever
 * looks it up has only to compare its pages. Where these are in the instruction look-aside table, the core module does.
 *
 * Beside it blocks lead to those that come after them (encode.ts). What a block that leads to another one compares stands
 * with the other, and is kept here as what stands in the cache is.
 */

import { fetchTag, noPhysicalNumber, physicalNumber } from '../mmu/fetch-look-aside.ts';
import type { CpuState } from '../state/cpu-state.ts';
import {
  jumpCacheBits,
  jumpCacheEntry,
  jumpCacheEntryBytes,
  jumpCacheOffset,
  offsetOf,
  pageListBytes,
  pageListOffset,
  pageLists,
} from '../state/layout.ts';
import type { CodeMemory, InterpreterBlock } from './code-memory.ts';

const entries = 1 << jumpCacheBits;
const mask = entries - 1;
const words = jumpCacheEntryBytes >> 2;
/** So many entries, then the cache is sure to be used all over. */
const fewEntries = 256;
const start = jumpCacheOffset >> 2;
const CONTEXT = jumpCacheEntry.context >> 2;
const EPOCH = jumpCacheEntry.epoch >> 2;
const BLOCK = jumpCacheEntry.block >> 2;
const REGION = jumpCacheEntry.region >> 2;
const PHYSICAL = jumpCacheEntry.physical >> 2;
const PAGES = jumpCacheEntry.pages >> 2;
/** In the field `pages`. */
const ONE_PAGE = 0;
const ASK_ENGINE = 1;

const CODE_EPOCH = offsetOf('codeEpoch') >> 2;
const CPL = offsetOf('cpl') >> 2;

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

/** The own place of an instruction pointer, by its low half; jit/jump-entry.ts computes the same. */
export const jumpIndexOf = (low: number): number => (low ^ (low >>> 12)) & mask;

export class JumpCache {
  /** How often something was taken out: code or its mapping has changed. */
  changes = 0;
  private readonly u32: Uint32Array;
  private readonly code: CodeMemory;
  /** As in the state; a state that is replaced brings an older one along, until the flush that follows. */
  private codeEpoch = 0;
  private readonly blocks = new Array<InterpreterBlock | null>(entries).fill(null);
  private readonly regions = new Array<FoundRegion | null>(entries).fill(null);
  /** Pairs of places in which something was entered, and whether a pair is among them. */
  private readonly used: number[] = [];
  private readonly isUsed = new Uint8Array(entries >> 1);
  /** Entries until {@link touch}. */
  private untouched = fewEntries;
  /** Another look-up may find something better than what stands here. */
  private readonly passing = new Uint8Array(entries);

  constructor(state: CpuState, code: CodeMemory) {
    this.u32 = state.u32;
    this.code = code;
    this.flush();
  }
  /**
   * @param passing what is found is not the best that may be there: it is not remembered beyond a flush
   * @param flat instruction pointers are linear addresses
   */
  set(
    low: number,
    high: number,
    context: number,
    block: InterpreterBlock | null,
    region: FoundRegion | null,
    passing: boolean,
    flat: boolean,
  ): void {
    const index = jumpIndexOf(low);
    const { u32 } = this;
    if (this.untouched > 0 && --this.untouched === 0) this.touch();
    const pair = index >> 1;
    if (this.isUsed[pair] === 0) {
      this.isUsed[pair] = 1;
      this.used.push(pair);
    }
    if (!this.holds(index, low, high, context)) {
      const beside = index ^ 1;
      if (this.holds(beside, low, high, context)) this.clearAt(beside);
      else if (this.isToMove(index, beside)) this.move(index, beside);
    }
    const at = start + index * words;
    u32[at] = low;
    u32[at + 1] = high;
    u32[at + CONTEXT] = context;
    u32[at + EPOCH] = this.codeEpoch;
    u32[at + BLOCK] = block === null ? 0 : block.address;
    u32[at + REGION] = region === null ? 0 : region.slot;
    u32[at + PHYSICAL] = 0;
    u32[at + PAGES] = ASK_ENGINE;
    this.blocks[index] = block;
    this.regions[index] = region;
    this.passing[index] = passing ? 1 : 0;
    if (flat && !passing) this.setPages(at, block, region);
    if (block === null) return;
    if (region !== null) return this.code.endLinks(block);
    this.link(block, at);
  }
  /**
   * Has the host provide the cache's memory. It would page by page, twice: the core module reads an entry before it is set,
   * and to replace what a page reads as before it is written stops the host's other threads.
   */
  private touch(): void {
    for (let at = start; at < start + entries * words; at += 1024) Atomics.or(this.u32, at, 0);
  }
  /** What the core module compares in a later epoch. */
  private setPages(at: number, block: InterpreterBlock | null, region: FoundRegion | null): void {
    const { u32 } = this;
    if (region === null && block!.second >= 0) return;
    if (region === null || region.pages.length === 1) {
      const physical = region === null ? block!.physical - (block!.physical % 4096) : region.pages[0]!.physical;
      u32[at + PHYSICAL] = physicalNumber(physical);
      u32[at + PAGES] = ONE_PAGE;
      return;
    }
    const { pages, slot } = region;
    if (slot >= pageLists || pages.length === 0 || (pages.length + 1) * 16 > pageListBytes) return;
    const user = u32[CPL] === 3;
    let to = (pageListOffset + slot * pageListBytes) >> 2;
    u32[at + PAGES] = to << 2;
    u32[to] = pages.length;
    for (const { low, high, physical } of pages) {
      to += 4;
      fetchTag(u32, to, low, high, user);
      u32[to + 2] = physicalNumber(physical);
    }
  }

  /** The place of an entry that a flush has taken out of force, or -1. */
  lost(low: number, high: number, context: number): number {
    let index = jumpIndexOf(low);
    if (!this.holds(index, low, high, context)) {
      index ^= 1;
      if (!this.holds(index, low, high, context)) return -1;
    }
    const { u32 } = this;
    return this.passing[index] !== 0 || u32[start + index * words + EPOCH] === this.codeEpoch ? -1 : index;
  }
  /** What stands in force for an instruction pointer is a block. */
  leadsToBlock(low: number, high: number, context: number): boolean {
    const own = jumpIndexOf(low);
    const index = this.holds(own, low, high, context) ? own : own ^ 1;
    if (!this.holds(index, low, high, context)) return false;
    return this.regions[index] === null && this.u32[start + index * words + EPOCH] === this.codeEpoch;
  }
  blockAt(index: number): InterpreterBlock | null {
    return this.blocks[index]!;
  }
  regionAt(index: number): FoundRegion | null {
    return this.regions[index]!;
  }
  /** An entry that was lost is right again. */
  restore(index: number): void {
    const { u32 } = this;
    const at = start + index * words;
    const block = this.blocks[index]!;
    u32[at + EPOCH] = this.codeEpoch;
    if (block === null) return;
    u32[at + BLOCK] = block.address; // it may have been made again
    if (this.regions[index] === null) this.link(block, at);
  }
  /** Blocks that come before the block lead to it as the entry does. */
  private link(block: InterpreterBlock, at: number): void {
    const { u32 } = this;
    const physical = u32[at + PAGES] === ONE_PAGE ? u32[at + PHYSICAL]! : noPhysicalNumber;
    this.code.beginLinks(block, u32[at]!, u32[at + 1]!, this.codeEpoch, physical);
  }

  drop(low: number, high: number, context: number): void {
    this.changes++;
    const index = jumpIndexOf(low);
    if (this.holds(index, low, high, context)) this.clearAt(index);
    if (this.holds(index ^ 1, low, high, context)) this.clearAt(index ^ 1);
  }
  /** What stands at its own place moves aside, unless there is something there that is more likely to be wanted. */
  private isToMove(from: number, to: number): boolean {
    const { u32 } = this;
    const at = start + from * words;
    if (u32[at + CONTEXT] === 0 || jumpIndexOf(u32[at]!) !== from) return false;
    return u32[at + EPOCH] === this.codeEpoch || u32[start + to * words + EPOCH] !== this.codeEpoch;
  }
  private holds(index: number, low: number, high: number, context: number): boolean {
    const at = start + index * words;
    const { u32 } = this;
    return u32[at + CONTEXT] === context && u32[at] === low >>> 0 && u32[at + 1] === high >>> 0 && context !== 0;
  }
  /** No context has number 0. */
  private clearAt(index: number): void {
    this.u32[start + index * words + CONTEXT] = 0;
    this.blocks[index] = null;
    this.regions[index] = null;
  }
  private move(from: number, to: number): void {
    const source = start + from * words;
    this.u32.copyWithin(start + to * words, source, source + words);
    this.blocks[to] = this.blocks[from]!;
    this.regions[to] = this.regions[from]!;
    this.passing[to] = this.passing[from]!;
  }

  /** Takes everything out of force. */
  flush(): void {
    this.changes++;
    this.codeEpoch = (this.codeEpoch + 1) >>> 0;
    this.u32[CODE_EPOCH] = this.codeEpoch;
    if (this.codeEpoch === 0) this.forget(); // what is 2^32 flushes old would be in force
  }
  /** Forgets everything. */
  forget(): void {
    this.flush();
    this.code.endAllLinks();
    for (const pair of this.used) {
      this.isUsed[pair] = 0;
      this.clearAt(2 * pair);
      this.clearAt(2 * pair + 1);
    }
    this.used.length = 0;
  }
}
