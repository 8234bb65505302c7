/**
 * Instruction breakpoints, the guest's own (its debug registers) and the embedder's: the code in their pages is executed one
 * by one, and no look-up finds anything there.
 *
 * The guest's raise #DB; the embedder's end the run before the instruction, and the guest notices nothing of them.
 */
import type { InstructionBreakpoint } from '../system/engine.ts';

/** What they know of the engine. */
export interface BreakpointSurroundings {
  /** Linear address of the next instruction, 64 bits, unsigned. */
  linearRip(): bigint;
  /** RSP. */
  stack(): bigint;
  /** What look-ups have found holds no longer. */
  changed(): void;
}

export class Breakpoints {
  private readonly around: BreakpointSurroundings;
  private list: readonly InstructionBreakpoint[] = [];
  private embedders: ReadonlySet<bigint> = new Set();
  /** Numbers of the linear pages that hold the guest's, and any. */
  private guestPages: ReadonlySet<bigint> = new Set();
  private pages: ReadonlySet<bigint> = new Set();
  /** Where the embedder goes on from a breakpoint, and with which stack: an instruction that is executed once. */
  private passed = -1n;
  private passedStack = 0n;

  constructor(around: BreakpointSurroundings) {
    this.around = around;
  }

  /** The guest's. */
  set(list: readonly InstructionBreakpoint[]): void {
    if (list.length === 0 && this.list.length === 0) return;
    this.list = list;
    this.guestPages = new Set(list.map(({ linear }) => linear >> 12n));
    this.merge();
  }
  /** The embedder's, by linear addresses. */
  setEmbedders(addresses: ReadonlySet<bigint>): void {
    const { embedders } = this;
    if (addresses.size === embedders.size && [...addresses].every((address) => embedders.has(address))) return;
    this.embedders = addresses;
    this.merge();
  }
  private merge(): void {
    const pages = new Set(this.guestPages);
    for (const linear of this.embedders) pages.add(linear >> 12n);
    this.pages = pages;
    this.around.changed();
  }

  get active(): boolean {
    return this.pages.size !== 0;
  }
  /** The guest has some. */
  get guestActive(): boolean {
    return this.guestPages.size !== 0;
  }
  get embedderActive(): boolean {
    return this.embedders.size !== 0;
  }
  /** Does the page of a linear address (64 bits, unsigned) hold one? */
  inPageOf(linear: bigint): boolean {
    return this.pages.has(linear >> 12n);
  }
  /** Does it hold one of the guest's? */
  inGuestPageOf(linear: bigint): boolean {
    return this.guestPages.has(linear >> 12n);
  }
  /** The bits in DR6 of the guest's at a linear address. */
  at(linear: bigint): number {
    let bits = 0;
    for (const breakpoint of this.list) if (breakpoint.linear === linear) bits |= breakpoint.bit;
    return bits;
  }

  /** One of the embedder's stops the run before the next instruction. Not the one that it goes on from. */
  get stopsHere(): boolean {
    if (this.embedders.size === 0) return false;
    const linear = this.around.linearRip();
    return this.embedders.has(linear) && (this.passed !== linear || this.passedStack !== this.around.stack());
  }
  /**
   * The embedder knows of the breakpoint here: the next instruction is executed when it comes. An interrupt may come first;
   * with the stack that it has now it is the same execution of it.
   */
  pass(): void {
    this.passed = this.around.linearRip();
    this.passedStack = this.around.stack();
  }
  /** The embedder has moved the instruction pointer: it goes on from nowhere. */
  forgetPassed(): void {
    this.passed = -1n;
  }
  /** An instruction was executed, to its end. */
  executed(linear: bigint): void {
    if (linear === this.passed) this.passed = -1n;
  }
}
