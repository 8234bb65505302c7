/**
 * The instruction look-aside table in a vCPU's block (src/state/layout.ts): the physical pages that code is fetched from. It
 * stands where the core module can read it: after a flush that finds by itself whether code is where it was (jit/core.ts).
 */
import type { CpuState } from '../state/cpu-state.ts';
import { fetchTlbBits, fetchTlbOffset } from '../state/layout.ts';
import { pageNumber } from './linear.ts';
import { SavedPages } from './saved-pages.ts';

const entries = 1 << fetchTlbBits;
const mask = entries - 1;
/** High half of a tag that no page has. */
const invalid = 0x4000_0000;

/** jit/jump-check.ts computes the same, of the tag. */
const placeOf = (low: number, user: boolean): number => (((low >>> 12) << 1) | (user ? 1 : 0)) & mask;

export class FetchLookAside {
  private readonly u32: Uint32Array;
  private readonly start: number;
  private readonly physical = new Float64Array(entries);
  private readonly global = new Uint8Array(entries);
  /** Places that may hold pages that are not global, each once. */
  private readonly local = new Uint16Array(entries);
  private readonly isListed = new Uint8Array(entries);
  private locals = 0;
  /** Linear pages that were entered since the last flush of their kind. */
  private localPages = new Set<number>();
  private readonly globalPages = new Set<number>();

  constructor(state: CpuState) {
    this.u32 = state.u32;
    this.start = fetchTlbOffset >> 2;
    this.flush();
  }

  /** Place of the page of an address, or -1. */
  find(low: number, high: number, user: boolean): number {
    const place = placeOf(low, user);
    const at = this.start + place * 4;
    const page = (low >>> 12) | (high << 20);
    const { u32 } = this;
    return u32[at] === ((page << 1) | (user ? 1 : 0)) >>> 0 &&
      u32[at + 1] === (((high >> 12) << 1) | (page >>> 31)) >>> 0
      ? place
      : -1;
  }
  /** @param physical address of the page */
  set(low: number, high: number, user: boolean, physical: number, global: boolean): void {
    const place = placeOf(low, user);
    const at = this.start + place * 4;
    const { u32 } = this;
    fetchTag(u32, at, low, high, user);
    u32[at + 2] = physicalNumber(physical);
    this.physical[place] = physical;
    this.global[place] = global ? 1 : 0;
    (global ? this.globalPages : this.localPages).add(pageNumber(low, high));
    if (global || this.isListed[place] !== 0) return;
    this.isListed[place] = 1;
    this.local[this.locals++] = place;
  }
  pageAt(place: number): number {
    return this.physical[place]!;
  }
  /** Was a page entered since the last flush of its kind? Code may rely on it. */
  wasEntered(page: number): boolean {
    return this.localPages.has(page) || this.globalPages.has(page);
  }

  /** Takes out the pages of addresses, for whoever fetches from them. */
  drop(first: number, bytes: number): void {
    for (let low = first; low < first + bytes; low += 4096)
      for (const user of [false, true]) this.invalidate(placeOf(low, user));
  }
  private invalidate(place: number): void {
    this.u32[this.start + place * 4 + 1] = invalid;
  }
  flush(): void {
    for (let place = 0; place < entries; place++) this.invalidate(place);
    this.isListed.fill(0);
    this.locals = 0;
    this.localPages.clear();
    this.globalPages.clear();
  }
  /** Adds the tags and numbers of pages that are not global to a list; of too many, those that came last. */
  save(into: SavedPages): void {
    const { u32, local, global, start } = this;
    for (let i = Math.max(0, this.locals - SavedPages.most); i < this.locals; i++) {
      const place = local[i]!;
      const at = start + place * 4;
      if (global[place] === 0 && u32[at + 1] !== invalid && u32[at + 2] !== noPhysicalNumber)
        into.add(u32[at]!, u32[at + 1]!, u32[at + 2]!);
    }
  }
  /** Puts the pages of such a list back, after {@link exchange}. */
  putBack({ words, used }: SavedPages): void {
    const { u32, start, isListed } = this;
    for (let i = 0; i < used; i += 3) {
      const place = words[i]! & mask;
      const at = start + place * 4;
      u32[at] = words[i]!;
      u32[at + 1] = words[i + 1]!;
      u32[at + 2] = words[i + 2]!;
      this.physical[place] = words[i + 2]! * 4096;
      this.global[place] = 0;
      if (isListed[place] !== 0) continue;
      isListed[place] = 1;
      this.local[this.locals++] = place;
    }
  }
  /** Takes another set of the pages that were entered and are not global, and gives the one that it had. */
  exchange(entered: Set<number>): Set<number> {
    const before = this.localPages;
    this.localPages = entered;
    return before;
  }
  /** All but global pages. */
  flushLocal(): void {
    const { local, global, isListed } = this;
    for (let i = 0; i < this.locals; i++) {
      const place = local[i]!;
      isListed[place] = 0;
      if (global[place] === 0) this.invalidate(place);
    }
    this.locals = 0;
    this.localPages.clear();
  }
}

/** Writes the tag of the page of an address: its number * 2, + 1 for user code, as 64 bits. */
export function fetchTag(u32: Uint32Array, at: number, low: number, high: number, user: boolean): void {
  const page = (low >>> 12) | (high << 20);
  u32[at] = (page << 1) | (user ? 1 : 0);
  u32[at + 1] = ((high >> 12) << 1) | (page >>> 31);
}
/** A physical page's number where 32 bits hold it; else one that no code is remembered with. */
export function physicalNumber(physical: number): number {
  const number = physical / 4096;
  return number < noPhysicalNumber ? number : noPhysicalNumber;
}
export const noPhysicalNumber = 0xffff_ffff;
