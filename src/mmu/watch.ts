/**
 * Data breakpoints on linear addresses. Pages that hold one are kept out of the look-aside tables, so that every access to
 * them is seen. SDM volume 3, section 19.2.
 */
import { highOf, lowOf } from './linear.ts';

export interface Watch {
  /** Linear address (linear.ts), and bytes. */
  readonly start: number;
  readonly length: number;
  readonly writesOnly: boolean;
  /** What is reported. */
  readonly bit: number;
}

const pageOf = (low: number, high: number): number => high * 2 ** 20 + (low >>> 12);

export class WatchList {
  private list: readonly Watch[] = [];
  active = false;

  set(list: readonly Watch[]): void {
    this.list = list;
    this.active = list.length > 0;
  }
  /** Does the page of a linear address hold a breakpoint? */
  page(low: number, high: number): boolean {
    const page = pageOf(low, high);
    return this.list.some(({ start }) => pageOf(lowOf(start), highOf(start)) === page);
  }
  /** The bits of the breakpoints that an access meets. */
  hits(low: number, high: number, bytes: number, write: boolean): number {
    let bits = 0;
    for (const { start, length, writesOnly, bit } of this.list) {
      // Exact where they are close.
      const distance = (highOf(start) - high) * 2 ** 32 + (lowOf(start) - low);
      if (-distance < length && distance < bytes && (write || !writesOnly)) bits |= bit;
    }
    return bits;
  }
}
