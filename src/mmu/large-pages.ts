/**
 * Pages of 2 MiB, 4 MiB and 1 GiB that the look-aside tables, which know pages of 4 KiB only, may hold parts of: INVLPG
 * within one invalidates all of it (SDM volume 3, section 5.10.4.1). A page that is none any more, or is not remembered any
 * more, stays noted until then, since some of it may have outlived other flushes.
 */
export class LargePages {
  private readonly noted = new Set<number>();
  /** Those that were invalidated; other address spaces that come back may hold parts of them. */
  private readonly taken = new Set<number>();
  private last = -1;

  /** @param bits of an address within the page: 21, 22 or 30; of others nothing is noted */
  note(low: number, high: number, bits: number): void {
    if (bits === 12) return;
    const key = keyOf(low, high, bits);
    if (key === this.last) return;
    this.last = key;
    this.noted.add(key);
  }
  /** Bits of an address within the largest one that is noted and holds this address, or 12. None is noted any more. */
  take(low: number, high: number): number {
    const { noted } = this;
    let found = 12;
    if (noted.size === 0) return found;
    for (const bits of sizes) {
      const key = keyOf(low, high, bits);
      if (!noted.delete(key)) continue;
      this.taken.add(key);
      this.last = -1;
      found = bits;
    }
    return found;
  }
  /** What is known of another address space is in force again. */
  spaceChanged(): void {
    for (const key of this.taken) this.noted.add(key);
    this.taken.clear();
  }
  clear(): void {
    this.noted.clear();
    this.taken.clear();
    this.last = -1;
  }
}

const sizes = [21, 22, 30];
/** The page's number, of 43 bits at most with its sign, and its size. */
const keyOf = (low: number, high: number, bits: number): number =>
  ((high | 0) * 2 ** (32 - bits) + (low >>> bits)) * 32 + bits;
