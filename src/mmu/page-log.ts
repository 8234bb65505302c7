/**
 * The dirty log of one address space: which of its pages were written since they were last collected. A bit for each page
 * in a pile of bitmaps, each of which says which words of the one below are not zero: a stretch of clean pages is skipped
 * in a few steps, however long it is.
 */
import type { MemoryMap, PageRange } from './memory-map.ts';

/** Number of the lowest bit that is set. */
const lowest = (word: number): number => 31 - Math.clz32(word & -word);

export class PageLog {
  readonly map: MemoryMap;
  /** Pages in which writes are logged, sorted and apart; they may lie beyond the map. */
  ranges: readonly PageRange[];
  /** How many pages are dirty. */
  count = 0;
  /** From the pages' bits, by their index in the map, up to a single word. */
  private readonly levels: Uint32Array[] = [];

  constructor(map: MemoryMap, ranges: readonly PageRange[]) {
    this.map = map;
    this.ranges = ranges;
    let bits = map.pages;
    do {
      bits = Math.ceil(bits / 32);
      this.levels.push(new Uint32Array(bits));
    } while (bits > 1);
  }

  /** Are writes to this page logged? */
  isOn(page: number): boolean {
    for (const { from, to } of this.ranges) if (page >= from && page < to) return true;
    return false;
  }
  has(index: number): boolean {
    return ((this.levels[0]![index >>> 5]! >>> (index & 31)) & 1) !== 0;
  }
  /** 32 pages at once, from a multiple of 32 on. */
  word(index: number): number {
    return this.levels[0]![index >>> 5]!;
  }
  set(index: number): void {
    const { levels } = this;
    if (this.has(index)) return;
    this.count++;
    for (let depth = 0; depth < levels.length; depth++) {
      const level = levels[depth]!;
      const at = index >>> 5;
      const old = level[at]!;
      level[at] = old | (1 << (index & 31));
      if (old !== 0) return;
      index = at;
    }
  }
  /** The first dirty page from an index on, or -1. */
  next(index: number): number {
    const { levels } = this;
    for (let depth = 0; depth < levels.length; depth++) {
      const at = index >>> 5;
      const level = levels[depth]!;
      if (at >= level.length) return -1;
      const word = level[at]! & (-1 << (index & 31));
      if (word !== 0) {
        let found = at * 32 + lowest(word);
        while (depth-- > 0) found = found * 32 + lowest(levels[depth]![found]!);
        return found;
      }
      index = at + 1;
    }
    return -1;
  }
  /**
   * Writes the numbers of dirty pages among the indices from `from` up to `to` into an array, each one increased by
   * `offset`, until `end` entries are there.
   * @param clear they are clean then
   * @returns the index in the array behind the last one
   */
  take(from: number, to: number, offset: number, clear: boolean, into: Uint32Array, at: number, end: number): number {
    const words = this.levels[0]!;
    let index = this.next(from);
    while (index >= 0 && index < to && at < end) {
      const place = index >>> 5;
      const first = place * 32;
      let word = words[place]! & (-1 << (index & 31));
      if (to - first < 32) word &= (1 << (to - first)) - 1;
      let taken = 0;
      while (word !== 0 && at < end) {
        into[at++] = first + lowest(word) + offset;
        taken |= word & -word;
        word &= word - 1;
      }
      if (clear) this.clearBits(place, taken);
      index = first + 32 < to && at < end ? this.next(first + 32) : -1;
    }
    return at;
  }
  /** The pages among the indices from `from` up to `to` are clean. */
  clearAll(from: number, to: number): void {
    for (let index = this.next(from); index >= 0 && index < to; index = this.next(index + 1))
      this.clearBits(index >>> 5, 1 << (index & 31));
  }
  private clearBits(place: number, bits: number): void {
    const { levels } = this;
    for (let rest = bits; rest !== 0; rest &= rest - 1) this.count--;
    let left = (levels[0]![place]! &= ~bits);
    for (let depth = 1; depth < levels.length && left === 0; depth++) {
      left = levels[depth]![place >>> 5]! &= ~(1 << (place & 31));
      place >>>= 5;
    }
  }
}

/** The union of sorted ranges and one more. */
export function withRange(ranges: readonly PageRange[], added: PageRange): PageRange[] {
  const touching = ranges.filter(({ from, to }) => to >= added.from && from <= added.to);
  const from = Math.min(added.from, ...touching.map((r) => r.from));
  const to = Math.max(added.to, ...touching.map((r) => r.to));
  return [...ranges.filter((r) => r.to < added.from), { from, to }, ...ranges.filter((r) => r.from > added.to)];
}

/** Sorted ranges without the pages of one. */
export function withoutRange(ranges: readonly PageRange[], taken: PageRange): PageRange[] {
  return ranges.flatMap(({ from, to }) =>
    [
      { from, to: Math.min(to, taken.from) },
      { from: Math.max(from, taken.to), to },
    ].filter((r) => r.from < r.to),
  );
}
