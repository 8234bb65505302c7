/**
 * Guest-physical memory: which pages are RAM or ROM and where they lie in the VM's linear memory, and the one door through
 * which everything that is not RAM is reached. Shared by all vCPUs of a VM, by loaders and by devices (DMA).
 *
 * Physical addresses are numbers (up to 2^52 exactly). A page that is not in `hostPage` belongs to the MMIO handler.
 *
 * There are two address spaces: the normal one, and that of processors in system-management mode, which see SMRAM where
 * others see something else. What lies behind a page in that space alone has a page number of its own, beyond what a
 * processor can name ({@link PhysicalMemory.inSmm}): so the code of the two is never taken for each other's, and nobody but
 * the page walk needs to know in which mode a processor is.
 *
 * Whether writes must be seen is a property of the memory, not of the place where it is shown: the flags are kept for the
 * pages of the VM's linear memory, so that memory shown in two places is watched in both. Each space has its own dirty log.
 */
import { type AccessBytes, type MmioHandler, openBus, readParts, writeParts } from './device-parts.ts';
import type { DirectAccess } from './direct-access.ts';
import { DirtyLogs } from './dirty-logs.ts';
import { changedPages, MemoryMap, type MemoryRegion, type PageRange, problemOf, showsTwice } from './memory-map.ts';
import {
  type AddressSpace,
  PAGE_CODE,
  PAGE_FROZEN,
  PAGE_LOG,
  PAGE_ROM,
  PAGE_SLOW_WRITE,
  PAGE_WRITE_MAPPED,
  type PageWatcher,
  spaces,
} from './page-flags.ts';
import { PageSources, type ProvidePage } from './page-sources.ts';
import { densePages, firstAlias, type PageTables, pageTables, SMM_ALIAS } from './page-tables.ts';

export { type AccessBytes, type MmioHandler, openBus } from './device-parts.ts';
export type { FillPage, MemoryRegion } from './memory-map.ts';
export { type AddressSpace, PAGE_CODE, PAGE_LOG, PAGE_ROM, type PageWatcher } from './page-flags.ts';

/** In the low bits of an entry of `hostPage`: see PAGE_ROM; and a page whose contents must be asked for, or were elsewhere. */
const ENTRY_ROM = 1;
const ENTRY_LAZY = 2;

/** Added to a physical address: a processor's own device there, whatever the map says. */
const DEVICE_ALIAS = SMM_ALIAS + 2 ** 51;
const aliasOffset = 2 ** 51;
/** Where devices write messages. */
export const MESSAGES = 0xfee0_0000;
export const MESSAGES_LENGTH = 0x10_0000;

export class PhysicalMemory {
  readonly buffer: ArrayBufferLike;
  readonly u8: Uint8Array;
  readonly view: DataView;
  readonly u32: Uint32Array;
  /**
   * Index: physical page number up to the top of RAM, then the pages of SMRAM and of memory far up ({@link indexOf}). Byte
   * offset in the buffer (mod 2^32) with ENTRY_ bits, or -1 = not RAM.
   */
  hostPage: Int32Array = new Int32Array(0);
  /** By page of the buffer; see the PAGE_ constants, except PAGE_ROM. */
  readonly pageFlags: Uint8Array;
  mmio: MmioHandler;
  /** After a write to a page with PAGE_CODE. */
  onCodeWrite: (physical: number, bytes: number) => void = () => {};
  readonly watchers = new Set<PageWatcher>();
  /**
   * Takes devices' writes of 32 bits to FEE00000H-FEEFFFFFH, which are interrupts (SDM volume 3, section 11.11); null: nobody
   * does, they are lost as others outside of memory.
   */
  onMessage: ((address: number, data: number) => void) | null = null;
  /** How many vCPUs have code of a page. */
  readonly #codeUsers = new Map<number, number>();
  readonly #maps = { normal: new MemoryMap([]), smm: new MemoryMap([]) };
  readonly logs: DirtyLogs;
  readonly sources: PageSources;
  #onThaw: (host: number) => void = () => {};
  /** Normal physical pages that are found by their number. */
  #pages = 0;
  /** The smallest number of those that are not. */
  #firstSparse = Number.POSITIVE_INFINITY;
  #sparse = new Map<number, number>();
  /** In system-management mode: page -> the page that lies there. */
  #smmPages = new Map<number, number>();
  /** Some memory is shown in more than one place. */
  #shared = false;
  #a20 = true;

  constructor(buffer: ArrayBufferLike, mmio: MmioHandler = openBus) {
    this.buffer = buffer;
    this.u8 = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.u32 = new Uint32Array(buffer);
    this.pageFlags = new Uint8Array(Math.ceil(buffer.byteLength / 4096));
    this.sources = new PageSources(this.u8, this.pageFlags);
    this.logs = new DirtyLogs(this.#maps, this.pageFlags, this.watchers);
    this.mmio = mmio;
  }

  /** The normal map, sorted by address. */
  get regions(): readonly MemoryRegion[] {
    return this.#maps.normal.regions;
  }
  /** What processors in system-management mode see over the others' map. */
  get smmRegions(): readonly MemoryRegion[] {
    return this.#maps.smm.regions;
  }
  mapOf(space: AddressSpace): MemoryMap {
    return this.#maps[space];
  }

  /**
   * Replaces the whole map of a space at once, also in the middle of an instruction that has reached a device. In `smm`,
   * regions lie over the normal map: a processor in system-management mode sees them, and where there are none what the
   * others see. Readers of the dirty logs are told what was dirty and is not where it was any more; new pages are clean.
   * @throws RangeError naming the region (or both) if one is not page-aligned, leaves the buffer or overlaps another of its
   *   space; then nothing has changed
   */
  replace(regions: readonly MemoryRegion[], space: AddressSpace = 'normal'): void {
    const problem = problemOf(regions, this.u8.length);
    if (problem !== null) throw new RangeError(problem.message);
    if (this.sources.busy) throw new Error('the memory map cannot change while a page of it is being filled');
    const map = new MemoryMap(regions);
    const maps = { ...this.#maps, [space]: map };
    const changed = changedPages(this.#maps[space], map);
    const shared = showsTwice([maps.normal, maps.smm]);
    // Where nothing is shown twice and the table keeps its size, only what changes needs a look.
    const partly = space === 'normal' && !shared && !this.#shared && this.#fits(this.#maps.normal) && this.#fits(map);
    for (const { fill } of regions) if (fill !== undefined) this.sources.filledBy(fill);
    const tables = partly ? null : this.#tables(maps.normal, maps.smm);
    const logs = this.logs.prepare(space, map, changed);
    const code = [...this.#codeUsers.keys()].map((page) => [page, this.#entryOf(page)] as const);
    // From here on nothing can fail.
    for (const [page] of code) this.unprotect(page, PAGE_CODE);
    this.#maps[space] = map;
    this.logs.adopt(space, logs, partly ? changed : null);
    if (tables === null) this.#patch(map, changed);
    else this.#useTables(tables);
    this.#shared = shared;
    for (const watcher of this.watchers) watcher.mapChanged();
    // Code that was made from a page stays watched where the page is the same memory, and goes where it is not.
    for (const [page, entry] of code) {
      const now = this.#entryOf(page);
      if (entry >> 12 !== now >> 12 || (entry === -1) !== (now === -1)) this.onCodeWrite(page * 4096, 4096);
    }
    for (const page of this.#codeUsers.keys()) this.protect(page, PAGE_CODE);
  }

  /** Does a normal map end where the table does, with all its pages found by their number? */
  #fits(map: MemoryMap): boolean {
    const top = map.slots.at(-1)?.to ?? 0;
    return top === this.#pages && top < densePages;
  }
  /** Puts what changed of the normal map into the table. */
  #patch(map: MemoryMap, changed: readonly PageRange[]): void {
    for (const { from, to } of changed) {
      this.hostPage.fill(-1, from, to);
      for (let i = map.after(from); i < map.slots.length && map.slots[i]!.from < to; i++) {
        const slot = map.slots[i]!;
        for (let page = Math.max(from, slot.from); page < Math.min(to, slot.to); page++)
          this.hostPage[page] = this.#entry(slot.region, slot.host + page - slot.from);
      }
    }
  }
  #useTables({ hostPage, pages, smmPages, sparse, firstSparse }: PageTables): void {
    this.hostPage = hostPage;
    this.#pages = pages;
    this.#smmPages = smmPages;
    this.#sparse = sparse;
    this.#firstSparse = firstSparse;
  }
  /** The tables for two maps. */
  #tables(normal: MemoryMap, smm: MemoryMap): PageTables {
    return pageTables(normal, smm, (region, host) => this.#entry(region, host));
  }
  /** @param host number of a page of the buffer */
  #entry(region: MemoryRegion, host: number): number {
    const missing = this.sources.isMissing(region, host) ? ENTRY_LAZY : 0;
    return (host * 4096) | missing | (region.kind === 'rom' ? ENTRY_ROM : 0);
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
  /** Index of a physical page in `hostPage`, or -1. */
  indexOf(page: number): number {
    if (page < this.#pages) return page;
    return page < this.#firstSparse ? -1 : (this.#sparse.get(page) ?? -1);
  }
  #entryOf(page: number): number {
    const index = this.indexOf(page);
    return index === -1 ? -1 : this.hostPage[index]!;
  }
  /** Byte offset of a physical page in the buffer, or -1 (not RAM or ROM). A lazy page is filled now. */
  hostOf(page: number): number {
    const index = page < this.#pages ? page : this.indexOf(page);
    if (index === -1) return -1;
    const entry = this.hostPage[index]!;
    return (entry & 0xfff) === 0 ? entry >>> 0 : this.#special(page, index, entry);
  }
  /** Index in {@link u32} of a page of RAM that is found by its number and is there; -1 says nothing. */
  wordsOf(page: number): number {
    const entry = page < this.#pages ? this.hostPage[page]! : -1;
    return (entry & 0xfff) === 0 ? entry >>> 2 : -1;
  }
  #special(page: number, index: number, entry: number): number {
    if (entry === -1) return -1;
    if ((entry & ENTRY_LAZY) !== 0) {
      const [map, number] = page < firstAlias ? [this.#maps.normal, page] : [this.#maps.smm, page - firstAlias];
      const host = entry >>> 12;
      const { region } = map.at(number)!;
      this.sources.provide(host);
      if (region.kind === 'lazy') this.#thaw(host); // others that have the memory have it as it is now
      if (this.sources.fill(region, number, host)) this.logs.noteFill(host);
      this.hostPage[index] = entry & ~ENTRY_LAZY;
    }
    return (entry & ~0xfff) >>> 0;
  }
  /** Is there RAM or ROM? Lazy pages stay as they are. */
  isMemory(page: number): boolean {
    return this.#entryOf(page) !== -1;
  }
  /** Is this what the last failing source of pages threw? Then the instruction is given up before it has had an effect. */
  failedWith(thrown: unknown): boolean {
    return this.sources.failedWith(thrown);
  }
  /**
   * Contents of pages of the buffer that come when they are first touched, in the place of what is there; see
   * {@link PageSources.putOff}.
   */
  putOff(provider: ProvidePage, isPutOff: (host: number) => boolean): void {
    this.sources.putOff(provider, isPutOff);
    this.#useTables(this.#tables(this.#maps.normal, this.#maps.smm));
    for (const watcher of this.watchers) watcher.mapChanged();
  }
  flagsOf(page: number): number {
    const entry = this.#entryOf(page);
    if (entry === -1) return 0;
    return this.pageFlags[entry >>> 12]! | ((entry & ENTRY_ROM) !== 0 ? PAGE_ROM : 0);
  }
  /** Byte offset of a page that is written without further ado, or -1. */
  #open(page: number): number {
    const index = page < this.#pages ? page : this.indexOf(page);
    if (index === -1) return -1;
    const entry = this.hostPage[index]!;
    if ((entry & 0xfff) !== 0 || (this.pageFlags[entry >>> 12]! & PAGE_SLOW_WRITE) !== 0) return -1;
    return entry >>> 0;
  }
  /** May a look-aside table hold an entry for writes to the page? It does from now on. */
  mapWrites(page: number): boolean {
    const host = this.#open(page);
    if (host === -1) return false;
    this.pageFlags[host >>> 12]! |= PAGE_WRITE_MAPPED;
    return true;
  }
  /** The same of a page that had one, by its place in the buffer: the map has not changed since. */
  mapWritesAgain(host: number): boolean {
    if ((this.pageFlags[host >>> 12]! & PAGE_SLOW_WRITE) !== 0) return false;
    this.pageFlags[host >>> 12]! |= PAGE_WRITE_MAPPED;
    return true;
  }
  /** Announces writes to a page from now on: PAGE_CODE or PAGE_LOG. */
  protect(page: number, flag: number): void {
    const entry = this.#entryOf(page);
    if (entry === -1) return;
    const flags = this.pageFlags[entry >>> 12]!;
    if ((flags & flag) === flag) return;
    this.pageFlags[entry >>> 12] = (flags | flag) & ~PAGE_WRITE_MAPPED;
    if ((flags & PAGE_WRITE_MAPPED) !== 0)
      for (const watcher of this.watchers) watcher.pageProtected((entry & ~0xfff) >>> 0);
  }
  unprotect(page: number, flag: number): void {
    const entry = this.#entryOf(page);
    if (entry !== -1) this.pageFlags[entry >>> 12]! &= ~flag;
  }
  /**
   * From now on somebody is told before a page of a range of the buffer is written: once, with its number.
   * @param onWrite takes the place of the one before, and must do for that one, too
   */
  freeze(from: number, to: number, onWrite: (host: number) => void): void {
    const { pageFlags } = this;
    this.#onThaw = onWrite;
    for (let page = from; page < to; page++) pageFlags[page] = (pageFlags[page]! | PAGE_FROZEN) & ~PAGE_WRITE_MAPPED;
    for (const watcher of this.watchers) watcher.writesProtected();
  }
  /** All that is frozen is about to be written. */
  thawAll(): void {
    for (let host = 0; host < this.pageFlags.length; host++) this.#thaw(host);
  }
  /** A page is about to be written. */
  #thaw(host: number): void {
    const flags = this.pageFlags[host]!;
    if ((flags & PAGE_FROZEN) === 0) return;
    this.pageFlags[host] = flags & ~PAGE_FROZEN;
    this.#onThaw(host);
  }
  /** A vCPU has made something of code in a page: writes to it are announced until the last one has let it go. */
  useCode(page: number): void {
    this.#codeUsers.set(page, (this.#codeUsers.get(page) ?? 0) + 1);
    this.protect(page, PAGE_CODE);
  }
  releaseCode(page: number): void {
    const left = (this.#codeUsers.get(page) ?? 1) - 1;
    if (left > 0) {
      this.#codeUsers.set(page, left);
      return;
    }
    this.#codeUsers.delete(page);
    if (this.#shared && this.#usersOf(this.#entryOf(page) >>> 12).length > 0) return;
    this.unprotect(page, PAGE_CODE);
  }
  /** The pages with code that show a page of the buffer. */
  #usersOf(host: number): number[] {
    const pages = new Set<number>();
    for (const space of spaces)
      for (const slot of this.#maps[space].slots) {
        const within = host - slot.host;
        if (within < 0 || within >= slot.to - slot.from) continue;
        pages.add(space === 'smm' ? this.#smmPages.get(slot.from + within)! : slot.from + within);
      }
    return [...pages].filter((page) => this.#codeUsers.has(page));
  }

  // --- programs beside the processor
  directAt(physical: number, bytes: AccessBytes, write: boolean): DirectAccess | null {
    if (physical >= SMM_ALIAS || this.hostOf(Math.floor(physical / 4096)) !== -1) return null;
    return this.mmio.directAt?.(physical, bytes, write) ?? null;
  }
  passedOn(physical: number, bytes: AccessBytes, write: boolean): void {
    this.mmio.passedOn?.(physical, bytes, write);
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
    const host = this.#open(page);
    if (host === -1) this.#writeSlow(page, physical, 1, value & 0xff);
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
    const host = this.#open(page);
    if (host === -1) this.#writeSlow(page, physical, 2, value & 0xffff);
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
    const host = this.#open(page);
    if (host === -1) this.#writeSlow(page, physical, 4, value >>> 0);
    else this.view.setUint32(host + within, value, true);
  }
  write64(physical: number, value: bigint): void {
    this.write32(physical, Number(value & 0xffff_ffffn));
    this.write32(physical + 4, Number((value >> 32n) & 0xffff_ffffn));
  }

  /** `bytes` (any number, within one page) into an array: RAM as it lies, MMIO in the parts of device-parts.ts. */
  readInto(physical: number, bytes: number, into: Uint8Array, at: number): void {
    const host = this.hostOf(Math.floor(physical / 4096));
    if (host !== -1) {
      const from = host + (physical & 0xfff);
      for (let i = 0; i < bytes; i++) into[at + i] = this.u8[from + i]!;
      return;
    }
    readParts(this.mmio, outside(physical), bytes, into, at);
  }
  /** The other direction of {@link readInto}. */
  writeFrom(physical: number, bytes: number, from: Uint8Array, at: number): void {
    const page = Math.floor(physical / 4096);
    const host = this.hostOf(page);
    if (host !== -1 && (this.flagsOf(page) & PAGE_ROM) === 0) {
      const to = host + (physical & 0xfff);
      this.#thaw(host >>> 12);
      for (let i = 0; i < bytes; i++) this.u8[to + i] = from[at + i]!;
      if ((this.flagsOf(page) & PAGE_SLOW_WRITE) !== 0) this.#announce(page, physical, bytes);
      return;
    }
    writeParts(this.mmio, outside(physical), bytes, from, at);
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
        this.#thaw(host >>> 12);
        this.u8.set(from.subarray(done, done + part), host + (address & 0xfff));
        if ((this.flagsOf(page) & PAGE_SLOW_WRITE) !== 0) this.#announce(page, address, part);
      }
      done += part;
    }
  }

  /**
   * Whether a device's write is a message-signalled interrupt: of 32 bits, aligned, to the processors' addresses. Where an
   * embedder has put memory there, that is what is written.
   */
  isMessage(physical: number, bytes: number): boolean {
    if (physical < MESSAGES || physical >= MESSAGES + MESSAGES_LENGTH || this.onMessage === null) return false;
    return bytes === 4 && physical % 4 === 0 && !this.isMemory(Math.floor(physical / 4096));
  }
  /** A device's write, as {@link writeBytes}, if it is no message. @throws what {@link onMessage} throws */
  writeByDevice(physical: number, from: Uint8Array): void {
    if (!this.isMessage(physical, from.length)) return this.writeBytes(physical, from);
    this.onMessage!(physical, new DataView(from.buffer, from.byteOffset).getUint32(0, true));
  }

  /** Bulk writes by loaders, within RAM and ROM alike. */
  writeMemory(physical: number, from: Uint8Array): void {
    for (let done = 0; done < from.length; ) {
      const address = physical + done;
      const part = Math.min(4096 - (address & 0xfff), from.length - done);
      const host = this.hostOf(Math.floor(address / 4096));
      this.#thaw(host >>> 12);
      this.u8.set(from.subarray(done, done + part), host + (address & 0xfff));
      this.written(address, part);
      done += part;
    }
  }
  /** Bytes within one page of RAM or ROM have been written, or are about to be before anything is executed. */
  written(physical: number, bytes: number): void {
    this.#announce(Math.floor(physical / 4096), physical, bytes);
  }

  #writeSlow(page: number, physical: number, bytes: AccessBytes, value: number): void {
    const host = this.hostOf(page);
    if (host === -1 || (this.flagsOf(page) & PAGE_ROM) !== 0) {
      this.mmio.write(outside(physical), bytes, value);
      return;
    }
    const at = host + (physical & 0xfff);
    this.#thaw(host >>> 12);
    if (bytes === 1) this.u8[at] = value;
    else if (bytes === 2) this.view.setUint16(at, value, true);
    else this.view.setUint32(at, value, true);
    this.#announce(page, physical, bytes);
  }
  /** Bytes of the buffer are about to be written, before anything is executed, by somebody who knows where memory lies. */
  writingAt(host: number, bytes: number): void {
    for (let done = 0; done < bytes; ) {
      const part = Math.min(4096 - ((host + done) & 0xfff), bytes - done);
      this.#announceAt(Math.floor((host + done) / 4096), null, (host + done) & 0xfff, part);
      done += part;
    }
  }

  #announce(page: number, physical: number, bytes: number): void {
    this.#announceAt(this.#entryOf(page) >>> 12, page, physical & 0xfff, bytes);
  }
  /** @param page where a page of the buffer is shown; null: it is not known */
  #announceAt(host: number, page: number | null, within: number, bytes: number): void {
    this.sources.provide(host);
    this.#thaw(host);
    const flags = this.pageFlags[host]!;
    if ((flags & PAGE_LOG) !== 0) this.logs.noteWrite(host);
    if ((flags & PAGE_CODE) === 0) return;
    if (page !== null && !this.#shared) this.onCodeWrite(page * 4096 + within, bytes);
    else for (const user of this.#usersOf(host)) this.onCodeWrite(user * 4096 + within, bytes);
  }
}

/** The address that a device sees. */
const outside = (physical: number): number => (physical < SMM_ALIAS ? physical : physical % aliasOffset);
