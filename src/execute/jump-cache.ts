/**
 * The jump cache of a vCPU (layout.ts), as TypeScript sees it: the core module reads it on every block.
 *
 * An entry stands at its own place, or next to it where a later one has taken that: two addresses that alternate and share
 * a place are both found. Regions look at an entry's own place alone, the core module at both.
 */
import type { CpuState } from '../state/cpu-state.ts';
import { jumpCacheBits, jumpCacheEntryBytes, jumpCacheOffset } from '../state/layout.ts';

const mask = (1 << jumpCacheBits) - 1;
const words = jumpCacheEntryBytes >> 2;
const start = jumpCacheOffset >> 2;

export class JumpCache {
  private readonly u32: Uint32Array;
  /** Entries in use, and the numbers of the linear pages that they rely on (some of those entries may be gone). */
  private readonly local = { used: new Set<number>(), pages: new Set<number>() };
  /** The same for entries with all their code in global pages: a load of CR3 need not look at them. */
  private readonly global = { used: new Set<number>(), pages: new Set<number>() };

  constructor(state: CpuState) {
    this.u32 = state.u32;
  }
  private index(low: number): number {
    return start + ((low ^ (low >>> 12)) & mask) * words;
  }
  /**
   * `block`: address of an interpreter block or 0; `slot`: table slot of a region or 0; `pages`: numbers of the linear pages
   * that it was made from, `global`: all of them are global.
   */
  set(
    low: number,
    high: number,
    context: number,
    block: number,
    slot: number,
    pages: Iterable<number>,
    global: boolean,
  ): void {
    const at = this.index(low);
    const { u32 } = this;
    if (!this.holds(at, low, high, context)) {
      const beside = at ^ words;
      if (this.holds(beside, low, high, context)) this.clearAt(beside);
      else if (u32[at + 2] !== 0) this.move(at, beside);
    }
    u32[at] = low;
    u32[at + 1] = high;
    u32[at + 2] = context;
    u32[at + 3] = block;
    u32[at + 4] = slot;
    const [mine, other] = global ? [this.global, this.local] : [this.local, this.global];
    mine.used.add(at);
    other.used.delete(at);
    for (const page of pages) mine.pages.add(page);
  }
  drop(low: number, high: number, context: number): void {
    const at = this.index(low);
    for (const place of [at, at ^ words]) if (this.holds(place, low, high, context)) this.clearAt(place);
  }
  private holds(at: number, low: number, high: number, context: number): boolean {
    const { u32 } = this;
    return u32[at] === low >>> 0 && u32[at + 1] === high >>> 0 && u32[at + 2] === context;
  }
  private clearAt(at: number): void {
    this.u32[at + 2] = 0;
    this.global.used.delete(at);
    this.local.used.delete(at);
  }
  private move(from: number, to: number): void {
    const { u32, global, local } = this;
    for (let i = 0; i < 5; i++) u32[to + i] = u32[from + i]!;
    const isGlobal = global.used.has(from);
    (isGlobal ? global : local).used.add(to);
    (isGlobal ? local : global).used.delete(to);
  }
  /** Drops everything. */
  flush(): void {
    this.clear(this.local);
    this.clear(this.global);
  }
  /** Drops what is not made from global pages alone. */
  flushLocal(): void {
    this.clear(this.local);
  }
  /** No context has number 0. */
  private clear({ used, pages }: typeof this.local): void {
    for (const at of used) this.u32[at + 2] = 0;
    used.clear();
    pages.clear();
  }
  /** Drops what may rely on a linear page; mostly nothing does. */
  flushPage(page: number): void {
    if (this.local.pages.has(page)) this.clear(this.local);
    if (this.global.pages.has(page)) this.clear(this.global);
  }
}
