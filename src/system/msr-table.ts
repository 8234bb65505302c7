/**
 * Who answers for a model-specific register: the processor, the embedder, or nobody. An empty table, which costs a look at a
 * length, leaves all registers to the processor.
 */

export const msrActions = ['allow', 'exit', 'fault'] as const;
/** `allow`: as the processor has it; `exit`: the embedder's; `fault`: #GP(0). */
export type MsrAction = (typeof msrActions)[number];

export const unknownMsrActions = ['fault', 'exit', 'ignore'] as const;
/** Registers that the processor does not have: #GP(0), the embedder's, or they read as zero and take everything. */
export type UnknownMsrAction = (typeof unknownMsrActions)[number];

/** A range of registers, both ends included. */
export interface MsrRange {
  readonly first: number;
  readonly last: number;
  readonly read: MsrAction;
  readonly write: MsrAction;
}

export class MsrTable {
  unknown: UnknownMsrAction = 'fault';
  private ranges: readonly MsrRange[] = [];

  /** Ranges that do not overlap, in ascending order. */
  replace(ranges: readonly MsrRange[]): void {
    this.ranges = ranges;
  }
  /** What becomes of an access. */
  action(index: number, write: boolean): MsrAction {
    const { ranges } = this;
    let low = 0;
    let high = ranges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const range = ranges[middle]!;
      if (index < range.first) high = middle;
      else if (index > range.last) low = middle + 1;
      else return write ? range.write : range.read;
    }
    return 'allow';
  }
}
