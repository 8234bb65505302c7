/**
 * Guest-physical memory: which pages are RAM or ROM and where they lie in the VM's linear memory, and the one door through
 * which everything that is not RAM is reached. Shared by all vCPUs of a VM, by loaders and by devices (DMA).
 *
 * Physical addresses are numbers (up to 2^52 exactly). A page that is not in `hostPage` belongs to the MMIO handler.
 *
 * There are two address spaces: the normal one, and that of processors in system-management mode, which see SMRAM where
 * others see something else. What lies behind a page in that space alone has a page number of its own, beyond what a
 * processor can name ({@link PhysicalMemory.inSmm}): so code, flags and the dirty log of the two are never taken for each
 * other, and nobody but the page walk needs to know in which mode a processor is.
 */

/** The page holds translated code: writes are announced. */
export const PAGE_CODE = 1;
/** Read-only: writes go to the MMIO handler, as KVM's read-only slots do. */
export const PAGE_ROM = 2;
/** The dirty log is on and the page is clean: the first write sets its bit in the log. */
export const PAGE_LOG = 4;
/** Some vCPU's look-aside tables may hold a write entry for the page. */
export const PAGE_WRITE_MAPPED = 8;
/** Flags that keep a page out of the look-aside tables for writes. */
export const PAGE_SLOW_WRITE = PAGE_CODE | PAGE_ROM | PAGE_LOG;

export type AccessBytes = 1 | 2 | 4;

/** Added to physical addresses: that address in system-management mode; a device there, whatever the map says. */
const SMM_ALIAS = 2 ** 52;
const DEVICE_ALIAS = SMM_ALIAS + 2 ** 51;
const aliasOffset = 2 ** 51;
/** Page numbers of aliases begin here. */
const firstAlias = SMM_ALIAS / 4096;

/** Which processors see a map. */
export type AddressSpace = 'normal' | 'smm';

/** What answers at physical addresses that are not RAM. Values are unsigned. */
export interface MmioHandler {
  read(address: number, bytes: AccessBytes): number;
  write(address: number, bytes: AccessBytes, value: number): void;
}

/** Who keeps copies of the page table: the vCPUs' MMUs. */
export interface PageWatcher {
  /** Writes to this physical page must be seen from now on. */
  pageProtected(page: number): void;
  /** Regions or the A20 gate changed: nothing remembered holds. */
  mapChanged(): void;
}

export interface MemoryRegion {
  readonly kind: 'ram' | 'rom';
  /** Guest-physical address and length in bytes, multiples of 4096. */
  readonly start: number;
  readonly length: number;
  /** Byte offset in the VM's linear memory. */
  readonly hostOffset: number;
}

/** Nobody is there: reads give all ones. */
export const openBus: MmioHandler = {
  read: (_address, bytes) => (bytes === 4 ? 0xffff_ffff : bytes === 2 ? 0xffff : 0xff),
  write: () => {},
};

const inHex = (r: MemoryRegion) => `${r.kind} 0x${r.start.toString(16)}+0x${r.length.toString(16)}`;

export class PhysicalMemory {
  readonly buffer: ArrayBufferLike;
  readonly u8: Uint8Array;
  readonly view: DataView;
  /**
   * Index: physical page number up to the top of RAM, then the pages of SMRAM ({@link indexOf}). Byte offset in the buffer
   * (mod 2^32), or -1 = not RAM.
   */
  hostPage: Int32Array = new Int32Array(0);
  /** By the same index; see the PAGE_ constants. */
  pageFlags: Uint8Array = new Uint8Array(0);
  /** One bit per page, by the same index, written while its PAGE_LOG flag was set. */
  dirtyLog: Uint32Array = new Uint32Array(0);
  regions: readonly MemoryRegion[] = [];
  /** What processors in system-management mode see over the others' map. */
  smmRegions: readonly MemoryRegion[] = [];
  mmio: MmioHandler;
  /** After a write to a page with PAGE_CODE. */
  onCodeWrite: (physical: number, bytes: number) => void = () => {};
  readonly watchers = new Set<PageWatcher>();
  /** How many vCPUs have code of a page. */
  readonly #codeUsers = new Map<number, number>();
  /** Physical pages of the normal space. */
  #pages = 0;
  /** In system-management mode: page -> the page that lies there. */
  #smmPages = new Map<number, number>();
  /** Index of the pages that exist there alone. */
  #aliases = new Map<number, number>();
  #a20 = true;

  constructor(buffer: ArrayBufferLike, mmio: MmioHandler = openBus) {
    this.buffer = buffer;
    this.u8 = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.mmio = mmio;
  }

  /**
   * Replaces the whole map of a space. In `smm`, regions lie over the normal map: a processor in system-management mode sees
   * them, and where there are none what the others see.
   * @throws RangeError naming the region (or both) if one is not page-aligned, leaves the buffer or overlaps another of its
   *   space; then nothing has changed
   */
  replace(regions: readonly MemoryRegion[], space: AddressSpace = 'normal'): void {
    const sorted = [...regions].sort((a, b) => a.start - b.start);
    for (const [i, region] of sorted.entries()) {
      const { start, length, hostOffset } = region;
      if (start % 4096 !== 0 || length % 4096 !== 0 || hostOffset % 4096 !== 0 || start < 0 || length <= 0)
        throw new RangeError(`memory region ${inHex(region)} is not made of pages`);
      if (hostOffset + length > this.u8.length)
        throw new RangeError(`memory region ${inHex(region)} leaves the VM's memory of ${this.u8.length} bytes`);
      const before = sorted[i - 1];
      if (before !== undefined && before.start + before.length > start)
        throw new RangeError(`memory region ${inHex(region)} overlaps ${inHex(before)}`);
    }
    if (space === 'smm') this.smmRegions = sorted;
    else this.regions = sorted;
    this.#rebuild();
  }
  #rebuild(): void {
    const { regions, smmRegions } = this;
    const last = regions.at(-1);
    const pages = last === undefined ? 0 : (last.start + last.length) / 4096;
    const smmPages = new Map<number, number>();
    const aliases = new Map<number, number>();
    for (const { kind, start, length, hostOffset } of smmRegions)
      for (let done = 0; done < length; done += 4096) {
        const host = hostOffset + done;
        // Memory that the normal space shows as well is that page of it.
        const shown = regions.find((r) => r.kind === kind && host >= r.hostOffset && host < r.hostOffset + r.length);
        const page = (start + done) / 4096;
        const target = shown === undefined ? firstAlias + page : (shown.start + host - shown.hostOffset) / 4096;
        smmPages.set(page, target);
        if (shown === undefined) aliases.set(target, pages + aliases.size);
      }
    const hostPage = new Int32Array(pages + aliases.size).fill(-1);
    const pageFlags = new Uint8Array(hostPage.length);
    for (const { kind, start, length, hostOffset } of regions) {
      for (let done = 0; done < length; done += 4096) hostPage[(start + done) / 4096] = (hostOffset + done) | 0;
      if (kind === 'rom') pageFlags.fill(PAGE_ROM, start / 4096, (start + length) / 4096);
    }
    for (const { kind, start, length, hostOffset } of smmRegions)
      for (let done = 0; done < length; done += 4096) {
        const index = aliases.get(firstAlias + (start + done) / 4096);
        if (index === undefined) continue;
        hostPage[index] = (hostOffset + done) | 0;
        if (kind === 'rom') pageFlags[index] = PAGE_ROM;
      }
    const code = [...this.#codeUsers.keys()].map((page) => [page, this.hostOf(page)] as const);
    this.hostPage = hostPage;
    this.pageFlags = pageFlags;
    this.dirtyLog = new Uint32Array(Math.ceil(hostPage.length / 32));
    this.#pages = pages;
    this.#smmPages = smmPages;
    this.#aliases = aliases;
    for (const watcher of this.watchers) watcher.mapChanged();
    // Code that was made from a page stays watched where the page is the same memory, and goes where it is not.
    for (const [page, host] of code)
      if (this.hostOf(page) !== host) this.onCodeWrite(page * 4096, 4096);
      else if (host !== -1) this.protect(page, PAGE_CODE);
  }

  /** Adds one region to the map; see {@link replace}. */
  add(region: MemoryRegion): void {
    this.replace([...this.regions, region]);
  }

  get a20(): boolean {
    return this.#a20;
  }
  /** The A20 gate: closed, bit 20 of every address that a CPU makes is zero. */
  set a20(open: boolean) {
    if (open === this.#a20) return;
    this.#a20 = open;
    for (const watcher of this.watchers) watcher.mapChanged();
  }
  /** A CPU's physical address behind the A20 gate. */
  gated(physical: number): number {
    return this.#a20 || (physical & 0x10_0000) === 0 ? physical : physical - 0x10_0000;
  }

  /** An address of a processor in system-management mode. */
  inSmm(physical: number): number {
    const page = this.#smmPages.get(Math.floor(physical / 4096));
    return page === undefined ? physical : page * 4096 + (physical & 0xfff);
  }
  /** An address at which a processor meets a device of its own, whatever else is there. */
  atDevice(physical: number): number {
    return physical + DEVICE_ALIAS;
  }
  /** Index of a physical page in `hostPage` and `pageFlags`, or -1. */
  indexOf(page: number): number {
    if (page < this.#pages) return page;
    return page < firstAlias ? -1 : (this.#aliases.get(page) ?? -1);
  }
  /** Byte offset of a physical page in the buffer, or -1 (not RAM or ROM). */
  hostOf(page: number): number {
    const index = page < this.#pages ? page : this.indexOf(page);
    if (index === -1) return -1;
    const host = this.hostPage[index]!;
    return host === -1 ? -1 : host >>> 0;
  }
  flagsOf(page: number): number {
    const index = page < this.#pages ? page : this.indexOf(page);
    return index === -1 ? 0 : this.pageFlags[index]!;
  }
  /** Announces writes to a page from now on: PAGE_CODE or PAGE_LOG. */
  protect(page: number, flag: number): void {
    const flags = this.flagsOf(page);
    if ((flags & flag) === flag) return;
    this.pageFlags[this.indexOf(page)] = (flags | flag) & ~PAGE_WRITE_MAPPED;
    if ((flags & PAGE_WRITE_MAPPED) !== 0) for (const watcher of this.watchers) watcher.pageProtected(page);
  }
  unprotect(page: number, flag: number): void {
    this.pageFlags[this.indexOf(page)]! &= ~flag;
  }
  /** A vCPU has made something of code in a page: writes to it are announced until the last one has let it go. */
  useCode(page: number): void {
    this.#codeUsers.set(page, (this.#codeUsers.get(page) ?? 0) + 1);
    this.protect(page, PAGE_CODE);
  }
  releaseCode(page: number): void {
    const left = (this.#codeUsers.get(page) ?? 1) - 1;
    if (left > 0) this.#codeUsers.set(page, left);
    else {
      this.#codeUsers.delete(page);
      this.unprotect(page, PAGE_CODE);
    }
  }

  // --- numbers, little endian
  read8(physical: number): number {
    const host = this.hostOf(Math.floor(physical / 4096));
    if (host === -1) return this.mmio.read(outside(physical), 1);
    return this.u8[host + (physical & 0xfff)]!;
  }
  read16(physical: number): number {
    const host = this.hostOf(Math.floor(physical / 4096));
    const within = physical & 0xfff;
    if (host !== -1 && within <= 0xffe) return this.view.getUint16(host + within, true);
    if (within > 0xffe) return this.read8(physical) | (this.read8(physical + 1) << 8);
    return this.mmio.read(outside(physical), 2);
  }
  read32(physical: number): number {
    const host = this.hostOf(Math.floor(physical / 4096));
    const within = physical & 0xfff;
    if (host !== -1 && within <= 0xffc) return this.view.getUint32(host + within, true);
    if (within > 0xffc) return (this.read16(physical) | (this.read16(physical + 2) << 16)) >>> 0;
    return this.mmio.read(outside(physical), 4) >>> 0;
  }
  read64(physical: number): bigint {
    return BigInt(this.read32(physical)) | (BigInt(this.read32(physical + 4)) << 32n);
  }
  write8(physical: number, value: number): void {
    const page = Math.floor(physical / 4096);
    const host = this.hostOf(page);
    if (host === -1 || (this.flagsOf(page) & PAGE_SLOW_WRITE) !== 0) this.#writeSlow(page, physical, 1, value & 0xff);
    else this.u8[host + (physical & 0xfff)] = value;
  }
  write16(physical: number, value: number): void {
    const page = Math.floor(physical / 4096);
    const within = physical & 0xfff;
    if (within > 0xffe) {
      this.write8(physical, value);
      this.write8(physical + 1, value >>> 8);
      return;
    }
    const host = this.hostOf(page);
    if (host === -1 || (this.flagsOf(page) & PAGE_SLOW_WRITE) !== 0) this.#writeSlow(page, physical, 2, value & 0xffff);
    else this.view.setUint16(host + within, value, true);
  }
  write32(physical: number, value: number): void {
    const page = Math.floor(physical / 4096);
    const within = physical & 0xfff;
    if (within > 0xffc) {
      this.write16(physical, value);
      this.write16(physical + 2, value >>> 16);
      return;
    }
    const host = this.hostOf(page);
    if (host === -1 || (this.flagsOf(page) & PAGE_SLOW_WRITE) !== 0) this.#writeSlow(page, physical, 4, value >>> 0);
    else this.view.setUint32(host + within, value, true);
  }
  write64(physical: number, value: bigint): void {
    this.write32(physical, Number(value & 0xffff_ffffn));
    this.write32(physical + 4, Number((value >> 32n) & 0xffff_ffffn));
  }

  /** `bytes` (at most 16, any number, within one page) into an array: RAM as it lies, MMIO in parts of 4, 2 and 1. */
  readInto(physical: number, bytes: number, into: Uint8Array, at: number): void {
    const host = this.hostOf(Math.floor(physical / 4096));
    if (host !== -1) {
      const from = host + (physical & 0xfff);
      for (let i = 0; i < bytes; i++) into[at + i] = this.u8[from + i]!;
      return;
    }
    for (let done = 0; done < bytes; ) {
      const part = partOf(physical + done, bytes - done);
      const value = this.mmio.read(outside(physical + done), part);
      for (let i = 0; i < part; i++) into[at + done + i] = value >>> (i * 8);
      done += part;
    }
  }
  /** The other direction of {@link readInto}. */
  writeFrom(physical: number, bytes: number, from: Uint8Array, at: number): void {
    const page = Math.floor(physical / 4096);
    const host = this.hostOf(page);
    if (host !== -1 && (this.flagsOf(page) & PAGE_ROM) === 0) {
      const to = host + (physical & 0xfff);
      for (let i = 0; i < bytes; i++) this.u8[to + i] = from[at + i]!;
      if ((this.flagsOf(page) & PAGE_SLOW_WRITE) !== 0) this.#announce(page, physical, bytes);
      return;
    }
    for (let done = 0; done < bytes; ) {
      const part = partOf(physical + done, bytes - done);
      let value = 0;
      for (let i = part - 1; i >= 0; i--) value = value * 256 + from[at + done + i]!;
      this.mmio.write(outside(physical + done), part, value);
      done += part;
    }
  }

  /** Bulk copies for loaders and devices: RAM and ROM alike are readable; what is not RAM reads as the handler says. */
  readBytes(physical: number, into: Uint8Array): void {
    for (let done = 0; done < into.length; ) {
      const address = physical + done;
      const part = Math.min(4096 - (address & 0xfff), into.length - done);
      const host = this.hostOf(Math.floor(address / 4096));
      if (host === -1) this.readInto(address, part, into, done);
      else into.set(this.u8.subarray(host + (address & 0xfff), host + (address & 0xfff) + part), done);
      done += part;
    }
  }
  /** Bulk writes by devices: code pages and the dirty log see them. */
  writeBytes(physical: number, from: Uint8Array): void {
    for (let done = 0; done < from.length; ) {
      const address = physical + done;
      const page = Math.floor(address / 4096);
      const part = Math.min(4096 - (address & 0xfff), from.length - done);
      const host = this.hostOf(page);
      if (host === -1 || (this.flagsOf(page) & PAGE_ROM) !== 0) this.writeFrom(address, part, from, done);
      else {
        this.u8.set(from.subarray(done, done + part), host + (address & 0xfff));
        if ((this.flagsOf(page) & PAGE_SLOW_WRITE) !== 0) this.#announce(page, address, part);
      }
      done += part;
    }
  }

  #writeSlow(page: number, physical: number, bytes: AccessBytes, value: number): void {
    const host = this.hostOf(page);
    if (host === -1 || (this.flagsOf(page) & PAGE_ROM) !== 0) {
      this.mmio.write(outside(physical), bytes, value);
      return;
    }
    const at = host + (physical & 0xfff);
    if (bytes === 1) this.u8[at] = value;
    else if (bytes === 2) this.view.setUint16(at, value, true);
    else this.view.setUint32(at, value, true);
    this.#announce(page, physical, bytes);
  }
  #announce(page: number, physical: number, bytes: number): void {
    const flags = this.flagsOf(page);
    if ((flags & PAGE_LOG) !== 0) {
      const index = this.indexOf(page);
      this.dirtyLog[index >>> 5]! |= 1 << (index & 31);
      this.pageFlags[index] = flags & ~PAGE_LOG;
    }
    if ((flags & PAGE_CODE) !== 0) this.onCodeWrite(physical, bytes);
  }
}

/** The address that a device sees. */
const outside = (physical: number): number => (physical < SMM_ALIAS ? physical : physical % aliasOffset);

function partOf(address: number, left: number): AccessBytes {
  if ((address & 3) === 0 && left >= 4) return 4;
  if ((address & 1) === 0 && left >= 2) return 2;
  return 1;
}
