/**
 * Data breakpoints on linear addresses: the guest's own (its debug registers) and the embedder's. Pages that hold one are
 * kept out of the look-aside tables, so that every access to them is seen. SDM volume 3, section 19.2.
 */
import { addressOf, highOf, lowOf, moved, pageNumber } from './linear.ts';

export interface Watch {
  /** Linear address (linear.ts), and bytes. */
  readonly start: number;
  readonly length: number;
  readonly writesOnly: boolean;
  /** What is reported: a bit of DR6. */
  readonly bit: number;
}

/** A data breakpoint of the embedder: any length, anywhere. */
export interface EmbedderWatch {
  readonly start: number;
  readonly length: number;
  readonly reads: boolean;
  readonly writes: boolean;
}

const EMBEDDER = 1 << 31;

const pageOf = (address: number): number => pageNumber(lowOf(address), highOf(address));

export class WatchList {
  private list: readonly Watch[] = [];
  private embedders: readonly EmbedderWatch[] = [];
  active = false;
  /** An access has met one of the embedder's; the first of an instruction counts. Whoever reports it clears it. */
  met = false;
  /** The first watched byte that it touched, and whether it wrote. */
  address = 0;
  wrote = false;
  private candidate = 0;
  private candidateWrites = false;

  /** False: there were none and are none. */
  set(list: readonly Watch[]): boolean {
    if (list.length === 0 && this.list.length === 0) return false;
    this.list = list;
    this.active = list.length + this.embedders.length > 0;
    return true;
  }
  setEmbedders(list: readonly EmbedderWatch[]): boolean {
    if (list.length === 0 && this.embedders.length === 0) return false;
    this.embedders = list;
    this.active = list.length + this.list.length > 0;
    return true;
  }
  /** Does the page of a linear address hold a breakpoint? */
  page(low: number, high: number): boolean {
    const page = pageNumber(low, high);
    if (this.list.some(({ start }) => pageOf(start) === page)) return true;
    return this.embedders.some(({ start, length }) => {
      const last = moved(start, length - 1);
      return page >= pageOf(start) && page <= pageOf(last);
    });
  }
  /** The bits of the breakpoints that an access meets; the highest stands for the embedder's. */
  hits(low: number, high: number, bytes: number, read: boolean, write: boolean): number {
    let bits = 0;
    for (const { start, length, writesOnly, bit } of this.list) {
      // Exact where they are close.
      const distance = (highOf(start) - high) * 2 ** 32 + (lowOf(start) - low);
      if (-distance < length && distance < bytes && (write || !writesOnly)) bits |= bit;
    }
    for (const { start, length, reads, writes } of this.embedders) {
      const distance = (highOf(start) - high) * 2 ** 32 + (lowOf(start) - low);
      if (-distance >= length || distance >= bytes || !((read && reads) || (write && writes))) continue;
      this.candidate = distance > 0 ? start : addressOf(low, high);
      this.candidateWrites = write && writes;
      bits |= EMBEDDER;
      break;
    }
    return bits;
  }
  /** The access is made: notes what of it is the embedder's, and gives the guest's bits. */
  take(bits: number): number {
    if ((bits & EMBEDDER) !== 0 && !this.met) {
      this.met = true;
      this.address = this.candidate;
      this.wrote = this.candidateWrites;
    }
    return bits & ~EMBEDDER;
  }
  /** The instruction did not come to its end, or the hit was reported. */
  forget(): void {
    this.met = false;
  }
}
