/**
 * One look-aside table in a vCPU's block (src/state/layout.ts), which of its entries may be valid, and which of those are of
 * global pages. SDM volume 3, section 5.10.
 *
 * A page stands at its own place; when another page with the same place comes, it moves to the place in the other half of
 * the table, where translated code looks for what often misses. The interpreter looks at a page's own place alone, and at
 * the other by way of {@link LookAside.recover}.
 */
import type { CpuState } from '../state/cpu-state.ts';
import { tlbBits } from '../state/layout.ts';
import type { PhysicalMemory } from './physical-memory.ts';
import { SavedPages } from './saved-pages.ts';

/**
 * How far a page's number is moved where it is folded onto itself: a program's parts begin at round addresses, and what
 * distinguishes these comes to the top of the place, so that parts of some megabytes do not meet. The number has 20 bits in
 * an address's low half.
 */
export const foldOf = (bits: number): number => (bits > 10 ? 20 - bits : bits);
/** Place of a linear page in a table of 2^bits, by the low half of an address in it; jit/probe.ts computes the same. */
export const indexOf = (low: number, bits = tlbBits): number =>
  ((low >>> 12) ^ (low >>> (12 + foldOf(bits)))) & ((1 << bits) - 1);
/** A page with this place. */
function pageAt(index: number, bits: number): number {
  const fold = foldOf(bits);
  let page = index;
  for (let by = fold; by < bits; by += fold) page ^= index >>> by;
  return page;
}

/**
 * What distinguishes the tag of a hidden entry from that of its page: it is the tag of a page that has its places elsewhere, so
 * it matches nothing that is looked up there, and no invalid entry has it.
 */
const hiddenLow = 1 << 12;
const hiddenHigh = 1 << 30;
export const hiddenTag = (BigInt(hiddenHigh) << 32n) | BigInt(hiddenLow);

/** In `homes`: there may be entries at several places. */
const SEVERAL = 0xffff;
/** The index stands in the list of local or of global entries; what it holds now is a global one. */
const IN_LOCAL = 1;
const IN_GLOBAL = 2;
const IS_GLOBAL = 4;

export class LookAside {
  /** Index of the table in the state's 32-bit view. */
  private readonly start: number;
  private readonly u32: Uint32Array;
  private readonly bits: number;
  private readonly other: number;
  private readonly marks: Uint8Array;
  /** Indices of entries that may be valid; a flush of local ones does not look at the others. */
  private readonly local: Uint16Array;
  private readonly global: Uint16Array;
  private locals = 0;
  private globals = 0;
  /**
   * By page of the host's memory, where that is wanted: own places + 1 of the entries that may lead there, as long as there
   * are no more than two. Systems have their own code at two addresses.
   */
  private readonly homes: Uint16Array | null;

  /**
   * @param state whose block is new
   * @param hostPages pages of the host's memory, if {@link forget} is to be quick
   */
  constructor(state: CpuState, offset: number, bits = tlbBits, hostPages = 0) {
    this.u32 = state.u32;
    this.homes = hostPages === 0 ? null : new Uint16Array(2 * hostPages);
    this.bits = bits;
    this.other = 1 << (bits - 1);
    this.marks = new Uint8Array(1 << bits);
    this.local = new Uint16Array(1 << bits);
    this.global = new Uint16Array(1 << bits);
    this.start = offset >> 2;
    // A new vCPU's block is zero, and is not touched where it is not used: half a megabyte for each table. Zero is the tag
    // of page 0, which is looked for in two places: the others match nothing.
    this.invalidate(0);
    this.invalidate(this.other);
  }
  /** @param low of the page's linear address (bits 0-11 zero), unsigned */
  set(low: number, high: number, addend: number, global: boolean): void {
    const index = indexOf(low, this.bits);
    const at = this.start + index * 4;
    const { u32 } = this;
    if (u32[at] !== low || u32[at + 1] !== high >>> 0) {
      const beside = index ^ this.other;
      if (this.isAt(beside, low, high)) this.invalidate(beside);
      // What has its own place here moves on; an invalid entry's tag has it elsewhere.
      if (indexOf(u32[at]!, this.bits) === index)
        this.place(beside, u32[at]!, u32[at + 1]!, u32[at + 2]!, (this.marks[index]! & IS_GLOBAL) !== 0);
    }
    this.place(index, low, high, addend, global);
    if (this.homes !== null) this.note(this.homes, (low + addend) >>> 12, index);
  }
  /** Enters a page that nobody has asked for yet, unless that costs another one its place. */
  offer(low: number, high: number, addend: number, global: boolean): void {
    const index = indexOf(low, this.bits);
    if (indexOf(this.u32[this.start + index * 4]!, this.bits) === index) return;
    if (this.isAt(index ^ this.other, low, high)) return;
    this.place(index, low, high, addend, global);
    if (this.homes !== null) this.note(this.homes, (low + addend) >>> 12, index);
  }
  private note(homes: Uint16Array, page: number, index: number): void {
    const at = page * 2;
    const [first, second] = [homes[at]!, homes[at + 1]!];
    if (first === index + 1 || second === index + 1 || first === SEVERAL) return;
    if (!this.isHome(first, page)) homes[at] = index + 1;
    else if (!this.isHome(second, page)) homes[at + 1] = index + 1;
    else homes[at] = SEVERAL;
  }
  /** An entry with this own place (+ 1; 0 = none) leads to a page of the host's memory. */
  private isHome(home: number, page: number): boolean {
    return home !== 0 && (this.leadsTo(home - 1, page * 4096) || this.leadsTo((home - 1) ^ this.other, page * 4096));
  }
  private place(index: number, low: number, high: number, addend: number, global: boolean): void {
    const at = this.start + index * 4;
    this.u32[at] = low;
    this.u32[at + 1] = high;
    this.u32[at + 2] = addend;
    const marks = this.marks[index]!;
    if (global) {
      if ((marks & IN_GLOBAL) === 0) this.global[this.globals++] = index;
      this.marks[index] = marks | IN_GLOBAL | IS_GLOBAL;
    } else {
      if ((marks & IN_LOCAL) === 0) this.local[this.locals++] = index;
      this.marks[index] = (marks | IN_LOCAL) & ~IS_GLOBAL;
    }
  }
  /** Makes an entry match nothing that is looked up in it: the tag is a page that has its places elsewhere. */
  private invalidate(index: number): void {
    const at = this.start + index * 4;
    this.u32[at] = pageAt(index ^ 1, this.bits) << 12;
    this.u32[at + 1] = 0;
  }
  private isAt(index: number, low: number, high: number): boolean {
    const at = this.start + index * 4;
    return this.u32[at] === low && this.u32[at + 1] === high >>> 0;
  }
  /** Index of the entry of a page, or -1. */
  find(low: number, high: number): number {
    const index = indexOf(low, this.bits);
    if (this.isAt(index, low, high)) return index;
    return this.isAt(index ^ this.other, low, high) ? index ^ this.other : -1;
  }
  /** Invalidates the entry of a page, if there is one. */
  drop(low: number, high: number): void {
    const index = this.find(low, high);
    if (index >= 0) this.invalidate(index);
  }
  /** The same at either place, and where it is hidden. */
  dropBoth(low: number, high: number): void {
    this.hide(low, high, false);
    const index = indexOf(low, this.bits);
    if (this.isAt(index, low, high)) this.invalidate(index);
    if (this.isAt(index ^ this.other, low, high)) this.invalidate(index ^ this.other);
  }
  /** Hides the entry of a page from all who look it up, or shows a hidden one again. */
  hide(low: number, high: number, hidden: boolean): void {
    const index = indexOf(low, this.bits);
    this.hideAt(index, low, high, hidden);
    this.hideAt(index ^ this.other, low, high, hidden);
  }
  private hideAt(index: number, low: number, high: number, hidden: boolean): void {
    const { u32 } = this;
    const at = this.start + index * 4;
    const otherLow = (low ^ hiddenLow) >>> 0;
    const otherHigh = (high ^ hiddenHigh) >>> 0;
    const isHidden = u32[at] === otherLow && u32[at + 1] === otherHigh;
    if (hidden ? u32[at] !== low || u32[at + 1] !== high >>> 0 : !isHidden) return;
    u32[at] = hidden ? otherLow : low;
    u32[at + 1] = hidden ? otherHigh : high;
  }
  /** Brings a page that stands in the other half to its own place. False: it does not stand there. */
  recover(low: number, high: number): boolean {
    const index = indexOf(low, this.bits) ^ this.other;
    if (!this.isAt(index, low, high)) return false;
    const global = (this.marks[index]! & IS_GLOBAL) !== 0;
    this.set(low, high, this.addend(index), global);
    return true;
  }
  addend(index: number): number {
    return this.u32[this.start + index * 4 + 2]!;
  }
  /** @param keepGlobal entries of global pages stay */
  flush(keepGlobal: boolean): void {
    const { local, global, marks } = this;
    for (let i = 0; i < this.locals; i++) {
      const index = local[i]!;
      if ((marks[index]! & IS_GLOBAL) === 0) this.invalidate(index);
      marks[index] = marks[index]! & ~IN_LOCAL;
    }
    this.locals = 0;
    if (keepGlobal) return;
    for (let i = 0; i < this.globals; i++) {
      const index = global[i]!;
      if ((marks[index]! & IS_GLOBAL) !== 0) this.invalidate(index);
      marks[index] = 0;
    }
    this.globals = 0;
  }
  /** Adds what is known of local pages to a list; of too many, those that came last. Hidden entries are none of them. */
  save(into: SavedPages): void {
    const { local, marks, u32 } = this;
    for (let i = Math.max(0, this.locals - SavedPages.most); i < this.locals; i++) {
      const index = local[i]!;
      const at = this.start + index * 4;
      const low = u32[at]!;
      const own = indexOf(low, this.bits);
      if ((marks[index]! & IS_GLOBAL) === 0 && (own === index || own === (index ^ this.other)))
        into.add(low, u32[at + 1]!, u32[at + 2]!);
    }
  }
  /** The same of one page. */
  saveOne(low: number, high: number, into: SavedPages): void {
    const index = this.find(low, high);
    if (index >= 0 && (this.marks[index]! & IS_GLOBAL) === 0) into.add(low, high, this.addend(index));
  }
  /** Puts the pages of such a list back. @param memory where the table says what may be written */
  putBack({ words, used }: SavedPages, memory: PhysicalMemory | null): void {
    for (let i = 0; i < used; i += 3) {
      const [low, addend] = [words[i]!, words[i + 2]!];
      if (memory === null || memory.mapWritesAgain((low + addend) >>> 0)) this.set(low, words[i + 1]!, addend, false);
    }
  }
  /** Drops entries that lead to a host page. */
  forget(host: number): void {
    const { homes } = this;
    const at = (host >>> 12) * 2;
    if (homes !== null && homes[at] !== SEVERAL) {
      this.forgetHome(homes[at]!, host);
      this.forgetHome(homes[at + 1]!, host);
    } else {
      for (let i = 0; i < this.locals; i++) this.forgetAt(this.local[i]!, host);
      for (let i = 0; i < this.globals; i++) this.forgetAt(this.global[i]!, host);
    }
    if (homes !== null) homes.fill(0, at, at + 2);
  }
  private forgetHome(home: number, host: number): void {
    if (home === 0) return;
    this.forgetAt(home - 1, host);
    this.forgetAt((home - 1) ^ this.other, host);
  }
  private forgetAt(index: number, host: number): void {
    if (this.leadsTo(index, host)) this.invalidate(index);
  }
  /** The entry is valid, and its page the one at this place in the host's memory. */
  private leadsTo(index: number, host: number): boolean {
    const at = this.start + index * 4;
    const low = this.u32[at]!;
    const own = indexOf(low, this.bits);
    return (own === index || own === (index ^ this.other)) && (low + this.u32[at + 2]!) >>> 0 === host;
  }
}
