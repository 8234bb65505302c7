/**
 * One look-aside table in a vCPU's block (src/state/layout.ts), which of its entries may be valid, and which of those are of
 * global pages. SDM volume 3, section 5.10.
 */
import type { CpuState } from '../state/cpu-state.ts';
import { tlbBits } from '../state/layout.ts';

const indexMask = (1 << tlbBits) - 1;
/** Entry of a linear page, by the low half of an address in it; jit/probe.ts computes the same. */
export const indexOf = (low: number): number => ((low >>> 12) ^ (low >>> (12 + tlbBits))) & indexMask;

const TOUCHED = 1;
const GLOBAL = 2;

export class LookAside {
  /** Index of the table in the state's 32-bit view. */
  private readonly start: number;
  private readonly u32: Uint32Array;
  private readonly touched = new Uint16Array(1 << tlbBits);
  private readonly marks = new Uint8Array(1 << tlbBits);
  private count = 0;

  constructor(state: CpuState, offset: number) {
    this.u32 = state.u32;
    this.start = offset >> 2;
    for (let i = 0; i <= indexMask; i++) this.invalidate(i);
  }
  set(index: number, low: number, high: number, addend: number, global: boolean): void {
    const at = this.start + index * 4;
    this.u32[at] = low;
    this.u32[at + 1] = high;
    this.u32[at + 2] = addend;
    if (this.marks[index] === 0) this.touched[this.count++] = index;
    this.marks[index] = global ? TOUCHED | GLOBAL : TOUCHED;
  }
  /** Makes an entry match nothing that is looked up in it: the tag is a page of the neighbouring entry. */
  invalidate(index: number): void {
    const at = this.start + index * 4;
    this.u32[at] = (index ^ 1) << 12;
    this.u32[at + 1] = 0;
  }
  holds(index: number, low: number, high: number): boolean {
    const at = this.start + index * 4;
    return this.u32[at] === low && this.u32[at + 1] === high >>> 0;
  }
  addend(index: number): number {
    return this.u32[this.start + index * 4 + 2]!;
  }
  /** @param keepGlobal entries of global pages stay */
  flush(keepGlobal: boolean): void {
    let kept = 0;
    for (let i = 0; i < this.count; i++) {
      const index = this.touched[i]!;
      if (keepGlobal && this.marks[index] === (TOUCHED | GLOBAL)) {
        this.touched[kept++] = index;
        continue;
      }
      this.marks[index] = 0;
      this.invalidate(index);
    }
    this.count = kept;
  }
  /** Drops entries that lead to a host page. */
  forget(host: number): void {
    for (let i = 0; i < this.count; i++) {
      const index = this.touched[i]!;
      const at = this.start + index * 4;
      const low = this.u32[at]!;
      if (indexOf(low) === index && (low + this.u32[at + 2]!) >>> 0 === host) this.invalidate(index);
    }
  }
}
