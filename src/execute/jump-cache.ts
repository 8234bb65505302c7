/** The direct-mapped jump cache of a vCPU (layout.ts), as TypeScript sees it: the core module reads it on every block. */
import type { CpuState } from '../state/cpu-state.ts';
import { jumpCacheBits, jumpCacheEntryBytes, jumpCacheOffset } from '../state/layout.ts';

const mask = (1 << jumpCacheBits) - 1;
const words = jumpCacheEntryBytes >> 2;
const start = jumpCacheOffset >> 2;

export class JumpCache {
  private readonly u32: Uint32Array;
  private readonly used = new Set<number>();

  constructor(state: CpuState) {
    this.u32 = state.u32;
  }
  private index(low: number): number {
    return start + ((low ^ (low >>> 12)) & mask) * words;
  }
  /** `block`: address of an interpreter block or 0; `slot`: table slot of a region or 0. */
  set(low: number, high: number, context: number, block: number, slot: number): void {
    const at = this.index(low);
    const { u32 } = this;
    u32[at] = low;
    u32[at + 1] = high;
    u32[at + 2] = context;
    u32[at + 3] = block;
    u32[at + 4] = slot;
    this.used.add(at);
  }
  drop(low: number, high: number, context: number): void {
    const at = this.index(low);
    const { u32 } = this;
    if (u32[at] === low >>> 0 && u32[at + 1] === high >>> 0 && u32[at + 2] === context) u32[at + 2] = 0;
  }
  /** Drops everything: no context has number 0. */
  flush(): void {
    for (const at of this.used) this.u32[at + 2] = 0;
    this.used.clear();
  }
}
