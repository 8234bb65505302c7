/**
 * One look-aside table in a vCPU's block (src/state/layout.ts), which of its entries may be valid, and which of those are of
 * global pages. SDM volume 3, section 5.10.
 */
import type { CpuState } from '../state/cpu-state.ts';
import { tlbBits } from '../state/layout.ts';

const indexMask = (1 << tlbBits) - 1;
/** Entry of a linear page, by the low half of an address in it; jit/probe.ts computes the same. */
export const indexOf = (low: number): number => ((low >>> 12) ^ (low >>> (12 + tlbBits))) & indexMask;

/** The index stands in the list of local or of global entries; what it holds now is a global one. */
const IN_LOCAL = 1;
const IN_GLOBAL = 2;
const IS_GLOBAL = 4;

export class LookAside {
  /** Index of the table in the state's 32-bit view. */
  private readonly start: number;
  private readonly u32: Uint32Array;
  private readonly marks = new Uint8Array(1 << tlbBits);
  /** Indices of entries that may be valid; a flush of local ones does not look at the others. */
  private readonly local = new Uint16Array(1 << tlbBits);
  private readonly global = new Uint16Array(1 << tlbBits);
  private locals = 0;
  private globals = 0;

  constructor(state: CpuState, offset: number) {
    this.u32 = state.u32;
    this.start = offset >> 2;
    // Zero is the tag of page 0, whose entry is the first: the others match nothing.
    this.u32.fill(0, this.start, this.start + 4 * (indexMask + 1));
    this.invalidate(0);
  }
  set(index: number, low: number, high: number, addend: number, global: boolean): void {
    const at = this.start + index * 4;
    this.u32[at] = low;
    this.u32[at + 1] = high;
    this.u32[at + 2] = addend;
    const marks = this.marks[index]!;
    if (global) {
      if ((marks & IN_GLOBAL) === 0) this.global[this.globals++] = index;
      this.marks[index] = marks | IN_GLOBAL | IS_GLOBAL;
    } else {
      if ((marks & IN_LOCAL) === 0) this.local[this.locals++] = index;
      this.marks[index] = (marks | IN_LOCAL) & ~IS_GLOBAL;
    }
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
    const { local, global, marks } = this;
    for (let i = 0; i < this.locals; i++) {
      const index = local[i]!;
      if ((marks[index]! & IS_GLOBAL) === 0) this.invalidate(index);
      marks[index] = marks[index]! & ~IN_LOCAL;
    }
    this.locals = 0;
    if (keepGlobal) return;
    for (let i = 0; i < this.globals; i++) {
      const index = global[i]!;
      if ((marks[index]! & IS_GLOBAL) !== 0) this.invalidate(index);
      marks[index] = 0;
    }
    this.globals = 0;
  }
  /** Drops entries that lead to a host page. */
  forget(host: number): void {
    for (let i = 0; i < this.locals; i++) this.forgetAt(this.local[i]!, host);
    for (let i = 0; i < this.globals; i++) this.forgetAt(this.global[i]!, host);
  }
  private forgetAt(index: number, host: number): void {
    const at = this.start + index * 4;
    const low = this.u32[at]!;
    if (indexOf(low) === index && (low + this.u32[at + 2]!) >>> 0 === host) this.invalidate(index);
  }
}
