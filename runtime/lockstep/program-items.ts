/** What a random program consists of before it has a place: items of bytes, in blocks. */

/** Bytes with at most one place that depends on where things lie. */
export interface Item {
  readonly bytes: readonly number[];
  /**
   * `relative`: distance from the item's instruction's end (`end` bytes into the item) to a block or address;
   * `absolute`: the block's instruction pointer, `plus` bytes further.
   */
  readonly fix: {
    readonly kind: 'relative' | 'absolute';
    readonly at: number;
    readonly size: number;
    readonly end: number;
    readonly to: number | bigint;
    readonly plus?: number;
  } | null;
}
export type Block = readonly Item[];
