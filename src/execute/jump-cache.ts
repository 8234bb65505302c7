/** The direct-mapped jump cache of a vCPU (layout.ts), as TypeScript sees it: the core module reads it on every block. */
import type { CpuState } from '../state/cpu-state.ts';
import { jumpCacheBits, jumpCacheEntryBytes, jumpCacheOffset } from '../state/layout.ts';

const mask = (1 << jumpCacheBits) - 1;
const words = jumpCacheEntryBytes >> 2;
const start = jumpCacheOffset >> 2;

export class JumpCache {
  private readonly u32: Uint32Array;
  /** Entries in use: those whose code is all in global pages, and the others, which go with each load of CR3. */
  private readonly globals = new Set<number>();
  private readonly locals = new Set<number>();
  /** Numbers of the linear pages that entries rely on; some of those may be gone. */
  private readonly pages = new Set<number>();

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
    u32[at] = low;
    u32[at + 1] = high;
    u32[at + 2] = context;
    u32[at + 3] = block;
    u32[at + 4] = slot;
    (global ? this.locals : this.globals).delete(at);
    (global ? this.globals : this.locals).add(at);
    for (const page of pages) this.pages.add(page);
  }
  drop(low: number, high: number, context: number): void {
    const at = this.index(low);
    const { u32 } = this;
    if (u32[at] === low >>> 0 && u32[at + 1] === high >>> 0 && u32[at + 2] === context) u32[at + 2] = 0;
  }
  /** Drops everything: no context has number 0. */
  flush(): void {
    for (const at of this.globals) this.u32[at + 2] = 0;
    this.globals.clear();
    this.flushLocal();
    this.pages.clear();
  }
  /** Drops what is not made from global pages alone. */
  flushLocal(): void {
    for (const at of this.locals) this.u32[at + 2] = 0;
    this.locals.clear();
  }
  /** Drops what may rely on a linear page; mostly nothing does. */
  flushPage(page: number): void {
    if (this.pages.has(page)) this.flush();
  }
}
