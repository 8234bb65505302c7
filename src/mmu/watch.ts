/**
 * Data breakpoints on linear addresses. Pages that hold one are kept out of the look-aside tables, so that every access to
 * them is seen. SDM volume 3, section 19.2.
 */
export interface Watch {
  /** Linear address, signed in 64-bit mode as the MMU's are, and bytes. */
  readonly start: number;
  readonly length: number;
  readonly writesOnly: boolean;
  /** What is reported. */
  readonly bit: number;
}

const twoTo32 = 2 ** 32;

export class WatchList {
  private list: readonly Watch[] = [];
  active = false;

  set(list: readonly Watch[]): void {
    this.list = list;
    this.active = list.length > 0;
  }
  /** Does the page of a linear address hold a breakpoint? */
  page(low: number, high: number): boolean {
    const page = Math.floor((high * twoTo32 + low) / 4096);
    return this.list.some(({ start }) => Math.floor(start / 4096) === page);
  }
  /** The bits of the breakpoints that an access meets. */
  hits(low: number, high: number, bytes: number, write: boolean): number {
    const first = high * twoTo32 + low;
    let bits = 0;
    for (const { start, length, writesOnly, bit } of this.list)
      if (first < start + length && start < first + bytes && (write || !writesOnly)) bits |= bit;
    return bits;
  }
}
