/** Instruction breakpoints: the code in their pages is executed one by one, and no look-up finds anything there. */
import type { InstructionBreakpoint } from '../system/engine.ts';

export class Breakpoints {
  private list: readonly InstructionBreakpoint[] = [];
  /** Numbers of the linear pages that hold them. */
  private readonly pages = new Set<bigint>();

  /** False: there were none and are none. */
  set(list: readonly InstructionBreakpoint[]): boolean {
    if (list.length === 0 && this.list.length === 0) return false;
    this.list = list;
    this.pages.clear();
    for (const { linear } of list) this.pages.add(linear >> 12n);
    return true;
  }
  get active(): boolean {
    return this.pages.size !== 0;
  }
  /** Does the page of a linear address (64 bits, unsigned) hold one? */
  inPageOf(linear: bigint): boolean {
    return this.pages.has(linear >> 12n);
  }
  /** The bits in DR6 of those at a linear address. */
  at(linear: bigint): number {
    let bits = 0;
    for (const breakpoint of this.list) if (breakpoint.linear === linear) bits |= breakpoint.bit;
    return bits;
  }
}
