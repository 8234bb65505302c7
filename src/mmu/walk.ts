/**
 * The page walk: linear address and kind of access to physical page, or the error code of a page fault. SDM volume 3,
 * chapter 5 (paging). Warm code: 64-bit entries are two 32-bit halves, physical addresses are numbers, and the one result
 * object is the walker itself.
 */
import type { PhysicalMemory } from './physical-memory.ts';

/** Physical-address width, as CPUID 8000_0008H reports it. Address bits above it are reserved. */
export const physicalAddressBits = 40;
const highAddressMask = 0xff;
const reservedHigh = 0x000f_ff00;
const reservedHighPae = 0x7fff_ff00;

export const PAGING_OFF = 0;
export const PAGING_32 = 1;
export const PAGING_PAE = 2;
export const PAGING_4_LEVEL = 3;
export const PAGING_5_LEVEL = 4;
export type PagingMode = 0 | 1 | 2 | 3 | 4;

const PRESENT = 1;
const WRITABLE = 2;
const USER = 4;
const ACCESSED = 0x20;
const DIRTY = 0x40;
const LARGE = 0x80;
const GLOBAL = 0x100;

/** Bits of the page-fault error code. */
export const PF_PRESENT = 1;
export const PF_WRITE = 2;
export const PF_USER = 4;
export const PF_RESERVED = 8;
export const PF_FETCH = 16;
export const PF_KEY = 32;

const twoTo32 = 2 ** 32;
const twoTo20 = 2 ** 20;

const CR0_PG = 1 << 31;
const CR4_PAE = 1 << 5;
const CR4_LA57 = 1 << 12;
const EFER_LMA = 1 << 10;
/** The form of paging that control registers and EFER ask for. SDM volume 3, section 5.1.1. */
export function pagingMode(cr0: number, cr4: number, efer: number): PagingMode {
  if ((cr0 & CR0_PG) === 0) return PAGING_OFF;
  if ((cr4 & CR4_PAE) === 0) return PAGING_32;
  if ((efer & EFER_LMA) === 0) return PAGING_PAE;
  return (cr4 & CR4_LA57) === 0 ? PAGING_4_LEVEL : PAGING_5_LEVEL;
}

export class PageWalker {
  private readonly memory: PhysicalMemory;
  // What the control registers say; the MMU sets these.
  mode: PagingMode = PAGING_OFF;
  /** Physical address of the top table (CR3 without its low bits). */
  root = 0;
  writeProtect = false;
  pageSizeExtension = false;
  noExecute = false;
  smep = false;
  smap = false;
  globalPages = false;
  /** Pages of 1 GiB exist. */
  gigabytePages = true;
  /** CR4.PKE, and the register PKRU: two bits for each key, access-disable and write-disable. */
  protectionKeys = false;
  keyRights = 0;
  /** PDPTE registers of PAE paging: low and high halves, alternating. */
  readonly pdpte = new Uint32Array(8);

  /** Physical addresses lead elsewhere than they say. */
  apart = false;
  private inSmm = false;
  private devicePage = -1;

  // The result of a walk that succeeded.
  /** Physical address of the 4 KiB page. */
  physical = 0;
  /** May the given privilege write to it? (It need not be dirty.) */
  writable = false;
  /** A user page: user bit in every level. */
  user = false;
  /** The dirty flag is set (now). */
  dirty = false;
  /** The page is global: a load of CR3 does not change it. */
  global = false;
  /** Bits of an address within the page that was found, of which `physical` is a part: 12, or more. */
  pageBits = 12;
  // The result of one that failed.
  errorCode = 0;

  // The way taken: addresses and low halves of the entries that carry an accessed flag.
  private readonly entryAddress = new Float64Array(5);
  private readonly entryLow = new Int32Array(5);
  private entries = 0;
  private isNoExecute = false;
  /** High half of the last entry of a 64-bit format. */
  private leafHigh = 0;
  /** Sets no flags: a walk that would have to fails. */
  private passive = false;

  constructor(memory: PhysicalMemory) {
    this.memory = memory;
  }

  /**
   * @param smapEnforced a supervisor's data access to a user page faults (SMAP on, and EFLAGS.AC = 0 or access implicit)
   * @returns false: a page fault with `errorCode`
   */
  walk(low: number, high: number, write: boolean, user: boolean, fetch: boolean, smapEnforced: boolean): boolean {
    if (!this.passive && !this.apart && this.quickWalk(low, high, write, user, fetch, smapEnforced)) return true;
    this.entries = 0;
    this.isNoExecute = false;
    this.pageBits = 12;
    let flags: number;
    switch (this.mode) {
      case PAGING_OFF:
        this.physical = this.place((low & ~0xfff) >>> 0);
        this.writable = true;
        this.user = false;
        this.dirty = true;
        this.global = false;
        return true;
      case PAGING_32:
        flags = this.walk32(low);
        break;
      case PAGING_PAE:
        flags = this.walkPae(low);
        break;
      case PAGING_4_LEVEL:
        flags = this.walk4Level(this.root, low, high, USER | WRITABLE);
        break;
      default:
        flags = this.walk5Level(low, high);
    }
    if (flags < 0) return this.fail(flags === RESERVED_FAULT ? PF_PRESENT | PF_RESERVED : 0, write, user, fetch);

    const userPage = (flags & USER) !== 0;
    const writablePage = (flags & WRITABLE) !== 0;
    let writable = user ? userPage && writablePage : writablePage || !this.writeProtect;
    let allowed = write ? writable : true;
    if (user) allowed &&= userPage;
    else if (userPage && (fetch ? this.smep : smapEnforced)) allowed = false;
    if (fetch && this.isNoExecute) allowed = false;
    let keyForbids = false;
    if (this.protectionKeys && userPage && !fetch && this.mode >= PAGING_4_LEVEL) {
      const rights = this.keyRights >>> (((this.leafHigh >>> 27) & 15) * 2);
      if ((rights & 2) !== 0 && (user || this.writeProtect)) {
        keyForbids = write;
        writable = false;
      }
      if ((rights & 1) !== 0) keyForbids = true;
    }
    if (!allowed || keyForbids) return this.fail(PF_PRESENT | (keyForbids ? PF_KEY : 0), write, user, fetch);

    // Only now the flags: entries of a walk that faults stay as they are.
    const last = this.entries - 1;
    for (let i = 0; i <= last; i++) {
      const old = this.entryLow[i]!;
      const set = i === last && write ? ACCESSED | DIRTY : ACCESSED;
      if ((old & set) === set) continue;
      if (this.passive) return false;
      this.memory.write32(this.entryAddress[i]!, old | set);
    }
    this.writable = writable;
    this.user = userPage;
    this.dirty = write || (this.entryLow[last]! & DIRTY) !== 0;
    this.global = this.globalPages && (this.entryLow[last]! & GLOBAL) !== 0;
    this.physical = this.place(this.physical);
    return true;
  }

  /**
   * What most walks of 64-bit entries are: tables in RAM, accessed and dirty flags set already, nothing unusual, no fault.
   * False says nothing.
   */
  private quickWalk(
    low: number,
    high: number,
    write: boolean,
    user: boolean,
    fetch: boolean,
    smapEnforced: boolean,
  ): boolean {
    const { memory, mode } = this;
    const { u32 } = memory;
    let flags = -1;
    let highs = 0;
    let reserved = reservedHighPae;
    let at: number;
    if (mode === PAGING_PAE) {
      const index = (low >>> 30) * 2;
      const pointer = this.pdpte[index]!;
      if ((pointer & PRESENT) === 0) return false;
      at = memory.wordsOf((pointer >>> 12) + (this.pdpte[index + 1]! & highAddressMask) * twoTo20);
    } else if (mode === PAGING_4_LEVEL) {
      reserved = reservedHigh;
      at = memory.wordsOf(this.root / 4096);
      if (at < 0) return false;
      at += ((high >>> 7) & 0x1ff) * 2;
      flags = u32[at]!;
      highs = u32[at + 1]!;
      if ((flags & (PRESENT | LARGE)) !== PRESENT) return false;
      at = memory.wordsOf((flags >>> 12) + (highs & highAddressMask) * twoTo20);
      if (at < 0) return false;
      at += (((high & 0x7f) << 2) | (low >>> 30)) * 2;
      const entry = u32[at]!;
      const entryHigh = u32[at + 1]!;
      if ((entry & (PRESENT | LARGE)) !== PRESENT) return false;
      flags &= entry;
      highs |= entryHigh;
      at = memory.wordsOf((entry >>> 12) + (entryHigh & highAddressMask) * twoTo20);
    } else return false;
    if (at < 0) return false;
    at += ((low >>> 21) & 0x1ff) * 2;
    let entry = u32[at]!;
    let entryHigh = u32[at + 1]!;
    if ((entry & PRESENT) === 0) return false;
    flags &= entry;
    highs |= entryHigh;
    let place: number;
    let bits = 12;
    if ((entry & LARGE) !== 0) {
      if ((entry & 0x1f_e000) !== 0) return false;
      place = (entry & 0xffe0_0000) | (low & 0x1f_f000);
      bits = 21;
    } else {
      at = memory.wordsOf((entry >>> 12) + (entryHigh & highAddressMask) * twoTo20);
      if (at < 0) return false;
      at += ((low >>> 12) & 0x1ff) * 2;
      entry = u32[at]!;
      entryHigh = u32[at + 1]!;
      if ((entry & PRESENT) === 0) return false;
      flags &= entry;
      highs |= entryHigh;
      place = entry & ~0xfff;
    }
    if ((flags & ACCESSED) === 0 || (highs & reserved) !== 0) return false;
    const noExecute = highs >>> 31 !== 0;
    if (noExecute && (fetch || !this.noExecute)) return false;
    const userPage = (flags & USER) !== 0;
    const writablePage = (flags & WRITABLE) !== 0;
    const writable = user ? userPage && writablePage : writablePage || !this.writeProtect;
    if (write && (!writable || (entry & DIRTY) === 0)) return false;
    if (userPage) {
      if (!user && (fetch ? this.smep : smapEnforced)) return false;
      if (this.protectionKeys && mode === PAGING_4_LEVEL && ((this.keyRights >>> ((entryHigh >>> 26) & 30)) & 3) !== 0)
        return false;
    } else if (user) return false;
    this.pageBits = bits;
    this.writable = writable;
    this.user = userPage;
    this.dirty = (entry & DIRTY) !== 0;
    this.global = this.globalPages && (entry & GLOBAL) !== 0;
    this.physical = (place >>> 0) + (entryHigh & highAddressMask) * twoTo32;
    return true;
  }

  /** A walk that leaves no trace: it succeeds only where the accessed and dirty flags that it wants are set already. */
  peek(low: number, high: number, write: boolean, user: boolean, fetch: boolean, smapEnforced: boolean): boolean {
    this.passive = true;
    const found = this.walk(low, high, write, user, fetch, smapEnforced);
    this.passive = false;
    return found;
  }

  /** Where the entries stand that the last walk has used; not the PDPTE registers. */
  get entryPlaces(): Float64Array {
    return this.entryAddress.subarray(0, this.entries);
  }

  /** The physical page that a linear address leads to, whoever may go there; -1 = none. For debuggers: it leaves no trace. */
  look(low: number, high: number): number {
    const { mode } = this;
    const signs = mode === PAGING_5_LEVEL ? high >> 24 : mode === PAGING_4_LEVEL ? high >> 15 : high;
    if (signs !== 0 && (mode < PAGING_4_LEVEL || signs !== -1)) return -1;
    if (mode === PAGING_OFF) return this.place((low & ~0xfff) >>> 0);
    this.entries = 0;
    this.passive = true;
    const flags =
      mode === PAGING_32
        ? this.walk32(low)
        : mode === PAGING_PAE
          ? this.walkPae(low)
          : mode === PAGING_4_LEVEL
            ? this.walk4Level(this.root, low, high, 0)
            : this.walk5Level(low, high);
    this.passive = false;
    return flags < 0 ? -1 : this.place(this.physical);
  }

  private fail(cause: number, write: boolean, user: boolean, fetch: boolean): false {
    this.errorCode =
      cause |
      (write ? PF_WRITE : 0) |
      (user ? PF_USER : 0) |
      (fetch && (this.smep || (this.noExecute && this.mode >= PAGING_PAE)) ? PF_FETCH : 0);
    return false;
  }

  /** Where a physical address of this processor leads: behind the A20 gate, in its address space. */
  place(address: number): number {
    return this.apart ? this.placeApart(address) : address;
  }
  private placeApart(address: number): number {
    const gated = this.memory.gated(address);
    if (Math.floor(gated / 4096) === this.devicePage) return this.memory.atDevice(gated);
    return this.inSmm ? this.memory.inSmm(gated) : gated;
  }
  /**
   * After a change of the A20 gate too.
   * @param inSmm in system-management mode
   * @param devicePage the page of a device of the processor's own over memory, or -1
   */
  setSpace(inSmm: boolean, devicePage: number): void {
    this.inSmm = inSmm;
    this.devicePage = devicePage;
    this.apart = inSmm || devicePage !== -1 || !this.memory.a20;
  }

  /** Notes an entry on the way; returns its low half. */
  private entry(address: number): number {
    const place = this.place(address);
    // A table in a device: who only looks does not ask it.
    if (this.passive && this.memory.hostOf(Math.floor(place / 4096)) < 0) return 0;
    const low = this.memory.read32(place) | 0;
    this.entryAddress[this.entries] = place;
    this.entryLow[this.entries++] = low;
    return low;
  }

  /** Two levels of 32-bit entries; 4 MiB pages with 40-bit addresses (PSE-36). Returns the user and writable flags. */
  private walk32(low: number): number {
    const directory = this.entry(this.root + (low >>> 22) * 4);
    if ((directory & PRESENT) === 0) return NOT_PRESENT;
    if (this.pageSizeExtension && (directory & LARGE) !== 0) {
      if ((directory & 0x20_0000) !== 0) return RESERVED_FAULT;
      this.pageBits = 22;
      this.physical = ((directory & 0xffc0_0000) >>> 0) + ((directory >>> 13) & 0xff) * twoTo32 + (low & 0x3f_f000);
      return directory & (USER | WRITABLE);
    }
    const table = this.entry(((directory & ~0xfff) >>> 0) + ((low >>> 12) & 0x3ff) * 4);
    if ((table & PRESENT) === 0) return NOT_PRESENT;
    this.physical = (table & ~0xfff) >>> 0;
    return directory & table & (USER | WRITABLE);
  }

  private walkPae(low: number): number {
    const index = (low >>> 30) * 2;
    const pointer = this.pdpte[index]!;
    if ((pointer & PRESENT) === 0) return NOT_PRESENT;
    const directory = ((pointer & ~0xfff) >>> 0) + (this.pdpte[index + 1]! & highAddressMask) * twoTo32;
    return this.lowerLevels(directory, low, USER | WRITABLE, reservedHighPae);
  }

  private walk5Level(low: number, high: number): number {
    const entry = this.entry(this.root + ((high >>> 16) & 0x1ff) * 8);
    if ((entry & PRESENT) === 0) return NOT_PRESENT;
    const entryHigh = this.memory.read32(this.entryAddress[this.entries - 1]! + 4);
    if ((entryHigh & reservedHigh) !== 0 || (entry & LARGE) !== 0 || this.forbidsNoExecute(entryHigh))
      return RESERVED_FAULT;
    const table = ((entry & ~0xfff) >>> 0) + (entryHigh & highAddressMask) * twoTo32;
    return this.walk4Level(table, low, high, entry & (USER | WRITABLE));
  }

  /** @param table the PML4 */
  private walk4Level(table: number, low: number, high: number, upper: number): number {
    let flags = upper;
    let address = table + ((high >>> 7) & 0x1ff) * 8;
    let entry = this.entry(address);
    if ((entry & PRESENT) === 0) return NOT_PRESENT;
    let entryHigh = this.memory.read32(this.entryAddress[this.entries - 1]! + 4);
    if ((entryHigh & reservedHigh) !== 0 || (entry & LARGE) !== 0 || this.forbidsNoExecute(entryHigh))
      return RESERVED_FAULT;
    flags &= entry;
    // Page-directory-pointer table
    address = ((entry & ~0xfff) >>> 0) + (entryHigh & highAddressMask) * twoTo32;
    entry = this.entry(address + (((high & 0x7f) << 2) | (low >>> 30)) * 8);
    if ((entry & PRESENT) === 0) return NOT_PRESENT;
    entryHigh = this.memory.read32(this.entryAddress[this.entries - 1]! + 4);
    if ((entryHigh & reservedHigh) !== 0 || this.forbidsNoExecute(entryHigh)) return RESERVED_FAULT;
    flags &= entry;
    if ((entry & LARGE) !== 0) {
      if (!this.gigabytePages || (entry & 0x3fff_e000) !== 0) return RESERVED_FAULT;
      this.leafHigh = entryHigh;
      this.pageBits = 30;
      this.physical = ((entry & 0xc000_0000) >>> 0) + (entryHigh & highAddressMask) * twoTo32 + (low & 0x3fff_f000);
      return flags;
    }
    address = ((entry & ~0xfff) >>> 0) + (entryHigh & highAddressMask) * twoTo32;
    return this.lowerLevels(address, low, flags, reservedHigh);
  }

  /** Page directory and page table of 64-bit entries. */
  private lowerLevels(directory: number, low: number, flags: number, reserved: number): number {
    let entry = this.entry(directory + ((low >>> 21) & 0x1ff) * 8);
    if ((entry & PRESENT) === 0) return NOT_PRESENT;
    let entryHigh = this.memory.read32(this.entryAddress[this.entries - 1]! + 4);
    if ((entryHigh & reserved) !== 0 || this.forbidsNoExecute(entryHigh)) return RESERVED_FAULT;
    flags &= entry;
    if ((entry & LARGE) !== 0) {
      if ((entry & 0x1f_e000) !== 0) return RESERVED_FAULT;
      this.leafHigh = entryHigh;
      this.pageBits = 21;
      this.physical = ((entry & 0xffe0_0000) >>> 0) + (entryHigh & highAddressMask) * twoTo32 + (low & 0x1f_f000);
      return flags;
    }
    const table = ((entry & ~0xfff) >>> 0) + (entryHigh & highAddressMask) * twoTo32;
    entry = this.entry(table + ((low >>> 12) & 0x1ff) * 8);
    if ((entry & PRESENT) === 0) return NOT_PRESENT;
    entryHigh = this.memory.read32(this.entryAddress[this.entries - 1]! + 4);
    if ((entryHigh & reserved) !== 0 || this.forbidsNoExecute(entryHigh)) return RESERVED_FAULT;
    this.leafHigh = entryHigh;
    this.physical = ((entry & ~0xfff) >>> 0) + (entryHigh & highAddressMask) * twoTo32;
    return flags & entry;
  }

  /** Takes note of an entry's XD bit; true if it is set although EFER.NXE = 0, which makes it reserved. */
  private forbidsNoExecute(entryHigh: number): boolean {
    if (entryHigh >>> 31 === 0) return false;
    this.isNoExecute = true;
    return !this.noExecute;
  }
}

const NOT_PRESENT = -1;
const RESERVED_FAULT = -2;
