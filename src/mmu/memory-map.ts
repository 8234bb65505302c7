/**
 * The map of one address space: which stretches of guest-physical memory there are, and where they lie in the VM's linear
 * memory. A map does not change; another one takes its place. What a KVM memory slot is, a region is here.
 */

/** Provides the contents of a page of a lazy region, once, at its first touch: its 4096 bytes go into `bytes`. */
export type FillPage = (page: number, bytes: Uint8Array) => void;

export interface MemoryRegion {
  /** `rom`: writes go to the MMIO handler. `lazy`: RAM whose pages `fill` provides when they are first touched. */
  readonly kind: 'ram' | 'rom' | 'lazy';
  /** Guest-physical address and length in bytes, multiples of 4096. */
  readonly start: number;
  readonly length: number;
  /** Byte offset in the VM's linear memory. */
  readonly hostOffset: number;
  /** Of a lazy region. A page is filled once for each such function, wherever it is shown and whenever. */
  readonly fill?: FillPage;
}

/** Guest-physical addresses have so many bits: src/mmu/walk.ts. */
const physicalLimit = 2 ** 40;

const inHex = (r: MemoryRegion) => `${r.kind} 0x${r.start.toString(16)}+0x${r.length.toString(16)}`;

export interface MapProblem {
  readonly code: 'bad-region' | 'region-overlap';
  readonly message: string;
}

const isPages = (n: unknown): boolean => typeof n === 'number' && Number.isInteger(n / 4096) && n >= 0;

/**
 * Why these regions are no map, or null.
 * @param hostBytes length of the VM's linear memory
 */
export function problemOf(regions: readonly MemoryRegion[], hostBytes: number): MapProblem | null {
  const sorted = [...regions].sort((a, b) => a.start - b.start);
  for (const [i, region] of sorted.entries()) {
    const { kind, start, length, hostOffset } = region;
    const bad = (what: string): MapProblem => ({
      code: 'bad-region',
      message: `memory region ${inHex(region)} ${what}`,
    });
    if (!isPages(start) || !isPages(length) || !isPages(hostOffset) || length === 0) return bad('is not made of pages');
    if (start + length > physicalLimit) return bad(`ends beyond 0x${physicalLimit.toString(16)}`);
    if (hostOffset + length > hostBytes) return bad(`leaves the VM's memory of ${hostBytes} bytes`);
    if (kind !== 'ram' && kind !== 'rom' && kind !== 'lazy') return bad('is of no known kind');
    if ((kind === 'lazy') !== (typeof region.fill === 'function'))
      return bad('is lazy without a fill function, or has one');
    const before = sorted[i - 1];
    if (before !== undefined && before.start + before.length > start)
      return { code: 'region-overlap', message: `memory region ${inHex(region)} overlaps ${inHex(before)}` };
  }
  return null;
}

/** A region in pages. */
export interface Slot {
  readonly region: MemoryRegion;
  /** Its pages' numbers, the last one excluded. */
  readonly from: number;
  readonly to: number;
  /** The first page's number in the VM's linear memory. */
  readonly host: number;
  /** How many pages the regions before it have: a page's index in the space is counted without the holes. */
  readonly first: number;
}

/** An interval of pages, the last one excluded. */
export interface PageRange {
  readonly from: number;
  readonly to: number;
}

export class MemoryMap {
  /** Sorted by address. */
  readonly slots: readonly Slot[];
  /** Pages in all slots. */
  readonly pages: number;

  /** @param regions with which {@link problemOf} finds no fault */
  constructor(regions: readonly MemoryRegion[]) {
    let pages = 0;
    this.slots = [...regions]
      .sort((a, b) => a.start - b.start)
      .map((region) => {
        const from = region.start / 4096;
        const slot = { region, from, to: from + region.length / 4096, host: region.hostOffset / 4096, first: pages };
        pages += slot.to - from;
        return slot;
      });
    this.pages = pages;
  }
  get regions(): readonly MemoryRegion[] {
    return this.slots.map(({ region }) => region);
  }
  /** Number of the first slot that ends after a page. */
  after(page: number): number {
    let low = 0;
    let high = this.slots.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.slots[middle]!.to <= page) low = middle + 1;
      else high = middle;
    }
    return low;
  }
  /** The slot that a page is in, or null. */
  at(page: number): Slot | null {
    const slot = this.slots[this.after(page)];
    return slot !== undefined && slot.from <= page ? slot : null;
  }
}

/** The same memory is seen in the same way, by a page that is in both slots. */
const isSame = (a: Slot, b: Slot): boolean =>
  a.host - a.from === b.host - b.from && a.region.kind === b.region.kind && a.region.fill === b.region.fill;

/** The pages that lead elsewhere in the new map than in the old one. */
export function changedPages(old: MemoryMap, now: MemoryMap): PageRange[] {
  const edges = new Set<number>();
  for (const { slots } of [old, now])
    for (const { from, to } of slots) {
      edges.add(from);
      edges.add(to);
    }
  const sorted = [...edges].sort((a, b) => a - b);
  const changed: { from: number; to: number }[] = [];
  for (let i = 0; i + 1 < sorted.length; i++) {
    const [from, to] = [sorted[i]!, sorted[i + 1]!];
    const [a, b] = [old.at(from), now.at(from)];
    if (a === null ? b === null : b !== null && isSame(a, b)) continue;
    const last = changed.at(-1);
    if (last?.to === from) last.to = to;
    else changed.push({ from, to });
  }
  return changed;
}

/** Some page of the VM's memory is shown in more than one place. */
export function showsTwice(maps: readonly MemoryMap[]): boolean {
  const slots = maps.flatMap((map) => map.slots).sort((a, b) => a.host - b.host);
  let end = 0;
  for (const { from, to, host } of slots) {
    if (host < end) return true;
    end = host + to - from;
  }
  return false;
}
