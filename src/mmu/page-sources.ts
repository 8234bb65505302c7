/**
 * Where the contents of pages come from that are not there yet, at their first touch: from the function of a lazy region
 * (memory-map.ts), which belongs to a place in a map; or from whoever has put off the contents of the memory itself, whatever
 * maps show of it: a snapshot that a VM was restored from, the parent of a fork.
 */
import type { FillPage, MemoryRegion } from './memory-map.ts';
import { PAGE_ABSENT } from './page-flags.ts';

/** Puts the contents of a page of the buffer, by its number, into its 4096 bytes. */
export type ProvidePage = (host: number, bytes: Uint8Array) => void;

export class PageSources {
  /** An instruction was given up for this error of a source. */
  failure: Error | null = null;
  private readonly u8: Uint8Array;
  private readonly pageFlags: Uint8Array;
  /** For each fill function the pages of the buffer that it has filled. */
  private readonly filled = new WeakMap<FillPage, Uint8Array>();
  private provider: ProvidePage | null = null;
  private active = 0;
  private error: Error | null = null;

  /** @param pageFlags by page of the buffer */
  constructor(u8: Uint8Array, pageFlags: Uint8Array) {
    this.u8 = u8;
    this.pageFlags = pageFlags;
  }

  /** The pages of the buffer that a function has filled. */
  filledBy(fill: FillPage): Uint8Array {
    let filled = this.filled.get(fill);
    if (filled === undefined) this.filled.set(fill, (filled = new Uint8Array(this.pageFlags.length)));
    return filled;
  }
  /** Must something be asked before a page of the buffer is used as a page of a region? */
  isMissing({ kind, fill }: MemoryRegion, host: number): boolean {
    return this.isAbsent(host) || (kind === 'lazy' && this.filledBy(fill!)[host] === 0);
  }
  isAbsent(host: number): boolean {
    return (this.pageFlags[host]! & PAGE_ABSENT) !== 0;
  }

  /** The contents of pages that are marked come from here. Those that were put off before do not come any more. */
  putOff(provider: ProvidePage | null, isPutOff: (host: number) => boolean = () => false): void {
    const { pageFlags } = this;
    this.provider = provider;
    for (let host = 0; host < pageFlags.length; host++) {
      if (provider !== null && isPutOff(host)) pageFlags[host]! |= PAGE_ABSENT;
      else pageFlags[host]! &= ~PAGE_ABSENT;
    }
  }
  /** A page of the buffer that was put off is there now. */
  provide(host: number): void {
    if (!this.isAbsent(host)) return;
    this.ask(() => this.provider!(host, this.bytesOf(host)));
    this.pageFlags[host]! &= ~PAGE_ABSENT;
  }
  /**
   * A page of the buffer is filled as its region wants it, if it was not.
   * @param page its number in the space
   * @returns whether it was filled now
   */
  fill({ kind, fill }: MemoryRegion, page: number, host: number): boolean {
    if (kind !== 'lazy') return false;
    const filled = this.filledBy(fill!);
    if (filled[host] !== 0) return false;
    filled[host] = 1;
    try {
      this.ask(() => fill!(page, this.bytesOf(host)));
    } catch (error) {
      filled[host] = 0;
      throw error;
    }
    return true;
  }

  /** A page is being provided. */
  get busy(): boolean {
    return this.active > 0;
  }
  /** Is this what the last failing source threw? */
  failedWith(thrown: unknown): boolean {
    if (thrown !== this.error || this.error === null) return false;
    this.failure = this.error;
    return true;
  }

  private bytesOf(host: number): Uint8Array {
    return this.u8.subarray(host * 4096, host * 4096 + 4096);
  }
  private ask(source: () => void): void {
    this.active++;
    try {
      source();
    } catch (error) {
      this.error = error instanceof Error ? error : new Error(String(error));
      throw this.error;
    } finally {
      this.active--;
    }
  }
}
