/**
 * The guest-physical memory of a VM as its embedder sees it: a map of regions for each address space over the VM's RAM,
 * the backing store, and accesses by guest-physical address (DMA). Where no region is, devices and exits answer.
 *
 * A region is what KVM calls a memory slot (KVM_SET_USER_MEMORY_REGION); here the whole map is replaced in one step.
 */

import { problemOf } from '../../src/mmu/memory-map.ts';
import { type MemoryRegion, PAGE_ROM, type PhysicalMemory } from '../../src/mmu/physical-memory.ts';
import { ConfigurationError, MemoryError } from '../errors.ts';
import type { GuestRam } from '../loaders/initial-state.ts';
import { type AddressSpace, type SpaceOption, spaceOf } from './address-space.ts';
import type { DirtyLog, RemovedDirty } from './dirty-log.ts';

export type { AddressSpace, SpaceOption } from './address-space.ts';

interface RegionPlace {
  /** Guest-physical address, a multiple of 4096. */
  readonly start: number;
  /** Bytes, a multiple of 4096. */
  readonly length: number;
  /**
   * Where the region lies in the VM's RAM: a byte offset, a multiple of 4096. Two regions may show the same bytes: then
   * they are one memory.
   */
  readonly backing: number;
}

/** Readable, writable, executable. */
export interface RamRegion extends RegionPlace {
  readonly kind: 'ram';
}

/** Readable and executable; a write goes where writes to no memory go. */
export interface RomRegion extends RegionPlace {
  readonly kind: 'rom';
}

/** RAM whose contents are made when they are wanted. */
export interface LazyRegion extends RegionPlace {
  readonly kind: 'lazy';
  /**
   * Called before the first access to a page, by whomever: puts its contents into `bytes` (4096, what lies in the backing
   * store). `page` is the page's number in the space, its address / 4096. A page is filled once for each such function, in
   * whatever map the function stands again, so that a region can move. It must not replace the map. What it throws comes out
   * of the access, or of `enter` with the processor before the instruction; the page will be asked for again.
   */
  readonly fill: (page: number, bytes: Uint8Array) => void;
}

/** A region of a memory map; what no region covers is no memory: accesses there are `vm.io`'s, or an exit `mmio`. */
export type GuestRegion = RamRegion | RomRegion | LazyRegion;

/** How the embedder writes. */
export interface WriteOptions extends SpaceOption {
  /** Writes ROM as well, as a loader of firmware does. */
  readonly rom?: boolean;
}

/** What a view is for. */
export interface ViewOptions extends SpaceOption {
  /** `write`: all pages count as written now, and code in them as changed. */
  readonly access: 'read' | 'write';
}

const inHex = (n: number) => `0x${n.toString(16)}`;
/** No processor names an address beyond. */
const limit = 2 ** 40;

/** The guest-physical memory of a VM: `vm.memory`. */
export class GuestMemory {
  /** The VM's RAM, in which regions lie. What is written here directly no dirty log sees, and no processor's code. */
  readonly backing: Uint8Array;
  /** The same for loaders, who say what they write: logs and processors see that. */
  readonly ram: GuestRam;
  private readonly physical: PhysicalMemory;
  private readonly log: DirtyLog;

  /**
   * @param backing the part of the physical memory's buffer that is guest RAM, on a page's boundary
   * @param log whose removed pages {@link replace} returns
   */
  constructor(physical: PhysicalMemory, backing: Uint8Array, log: DirtyLog) {
    this.physical = physical;
    this.log = log;
    this.backing = backing;
    this.ram = {
      bytes: backing,
      writing: (start, length) => physical.writingAt(backing.byteOffset + start, length),
    };
  }

  /** The map of a space, sorted by address. */
  regions(options?: SpaceOption): readonly GuestRegion[] {
    const space = spaceOf(options);
    const list = space === 'smm' ? this.physical.smmRegions : this.physical.regions;
    return list.map(({ kind, start, length, hostOffset, fill }) => {
      const place = { start, length, backing: hostOffset - this.backing.byteOffset };
      return kind === 'lazy' ? { kind, ...place, fill: fill! } : { kind, ...place };
    });
  }

  /**
   * Replaces the map of a space in one step, also from within a device while a processor is in the middle of an
   * instruction. Pages that lie where they did before keep their place in the dirty log; others are clean.
   * @returns the final dirty pages of what is not where it was
   * @throws ConfigurationError `bad-region` naming the region, `region-overlap` naming both, `bad-option`, or `busy` from
   *   within a `fill`; then nothing has changed
   */
  replace(regions: readonly GuestRegion[], options?: SpaceOption): RemovedDirty {
    const space = spaceOf(options);
    if (!Array.isArray(regions)) throw new ConfigurationError('bad-region', `regions ${String(regions)}: not a list`);
    const list = regions.map((region: GuestRegion) => this.located(region));
    const problem = problemOf(list, this.backing.byteOffset + this.backing.length);
    if (problem !== null) throw new ConfigurationError(problem.code, problem.message);
    if (this.physical.sources.busy)
      throw new ConfigurationError('busy', 'the memory map cannot be replaced while a lazy page is being filled');
    this.physical.replace(list, space);
    return this.log.takeRemoved({ space });
  }
  private located(region: GuestRegion): MemoryRegion {
    if (typeof region !== 'object' || region === null)
      throw new ConfigurationError('bad-region', `memory region ${String(region)}: not an object`);
    const { kind, start, length, backing } = region;
    for (const [name, value] of Object.entries({ start, length, backing }))
      if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value % 4096 !== 0)
        throw new ConfigurationError(
          'bad-region',
          `memory region ${String(kind)}: ${name} ${String(value)} is not made of pages`,
        );
    if (backing + length > this.backing.length)
      throw new ConfigurationError(
        'bad-region',
        `memory region ${String(kind)} ${inHex(start)}+${inHex(length)}: backing ${inHex(backing)} leaves the VM's RAM of ${this.backing.length} bytes`,
      );
    const place = { kind, start, length, hostOffset: this.backing.byteOffset + backing };
    return region.kind === 'lazy' || 'fill' in region ? { ...place, fill: (region as LazyRegion).fill } : place;
  }

  /**
   * Reads guest-physical memory, as a device does.
   * @param into how many bytes, or where they go
   * @throws MemoryError `unbacked` naming the first page that is neither RAM nor ROM; ConfigurationError `bad-option`
   */
  read(address: number, into: number | Uint8Array, options?: SpaceOption): Uint8Array {
    const space = spaceOf(options);
    if (typeof into !== 'number' && !(into instanceof Uint8Array))
      throw new ConfigurationError('bad-option', `read into ${String(into)}: neither a length nor a Uint8Array`);
    const length = typeof into === 'number' ? into : into.length;
    this.check(address, length, space, 'read');
    const bytes = typeof into === 'number' ? new Uint8Array(length) : into;
    forEachPart(address, length, (at, part, done) =>
      this.physical.readBytes(this.place(at, space), bytes.subarray(done, done + part)),
    );
    return bytes;
  }

  /**
   * Writes guest-physical memory, as a device does: dirty logs and translated code see it. Four bytes to FEE00000H-FEEFFFFFH,
   * where there is no memory, are a message-signalled interrupt: `vm.msi()`.
   * @throws MemoryError `unbacked` naming the first page that is no memory, `read-only` naming the first that is ROM;
   *   ConfigurationError `bad-option`; InterruptError `bad-msi` for a message that is none; then nothing was written
   */
  write(address: number, bytes: Uint8Array, options?: WriteOptions): void {
    const space = spaceOf(options);
    if (!(bytes instanceof Uint8Array))
      throw new ConfigurationError('bad-option', `bytes ${String(bytes)}: not a Uint8Array`);
    if (typeof address === 'number' && this.physical.isMessage(address, bytes.length))
      return this.physical.writeByDevice(address, bytes);
    this.check(address, bytes.length, space, options?.rom === true ? 'write-rom' : 'write');
    forEachPart(address, bytes.length, (at, part, done) =>
      this.physical.writeMemory(this.place(at, space), bytes.subarray(done, done + part)),
    );
  }

  /**
   * The memory itself behind a range that is contiguous in the backing store. Valid until the map is replaced. What is
   * written there later than at once, before a processor is entered and a log collected, is not seen.
   * @throws MemoryError `unbacked`, `read-only`, or `not-contiguous` naming the first page that lies elsewhere
   */
  view(address: number, length: number, options?: ViewOptions): Uint8Array {
    const space = spaceOf(options);
    const access: unknown = options?.access ?? 'read';
    if (access !== 'read' && access !== 'write')
      throw new ConfigurationError('bad-option', `access ${String(access)}: neither read nor write`);
    this.check(address, length, space, access);
    const start = this.hostAt(address, space);
    forEachPart(address, length, (at, _part, done) => {
      if (this.hostAt(at, space) !== start + done)
        throw new MemoryError(
          'not-contiguous',
          `page ${inHex(at)} of the ${space} space lies apart from the one before`,
        );
    });
    if (access === 'write')
      forEachPart(address, length, (at, part) => this.physical.written(this.place(at, space), part));
    return length === 0 ? this.backing.subarray(0, 0) : this.physical.u8.subarray(start, start + length);
  }

  /** Whether there is RAM or ROM at an address. */
  isBacked(address: number, options?: SpaceOption): boolean {
    const space = spaceOf(options);
    return Number.isSafeInteger(address) && address >= 0 && address < limit && this.isMemory(address, space);
  }

  private check(address: number, length: number, space: AddressSpace, access: 'read' | 'write' | 'write-rom'): void {
    for (const [name, value] of [
      ['address', address],
      ['length', length],
    ] as const)
      if (!Number.isSafeInteger(value) || value < 0)
        throw new ConfigurationError('bad-option', `${name} ${String(value)}: not a whole number from 0 on`);
    forEachPart(address, length, (at) => {
      if (at >= limit || !this.isMemory(at, space))
        throw new MemoryError('unbacked', `address ${inHex(at)} of the ${space} space is neither RAM nor ROM`);
      if (access === 'write' && (this.physical.flagsOf(this.pageAt(at, space)) & PAGE_ROM) !== 0)
        throw new MemoryError('read-only', `address ${inHex(at)} of the ${space} space is ROM`);
    });
  }
  private place(address: number, space: AddressSpace): number {
    return space === 'smm' ? this.physical.inSmm(address) : address;
  }
  private pageAt(address: number, space: AddressSpace): number {
    return Math.floor(this.place(address, space) / 4096);
  }
  private isMemory(address: number, space: AddressSpace): boolean {
    return this.physical.isMemory(this.pageAt(address, space));
  }
  private hostAt(address: number, space: AddressSpace): number {
    return this.physical.hostOf(this.pageAt(address, space)) + (address % 4096);
  }
}

/** Calls for the piece of each page. */
function forEachPart(address: number, length: number, each: (at: number, part: number, done: number) => void): void {
  for (let done = 0; done < length; ) {
    const part = Math.min(4096 - ((address + done) % 4096), length - done);
    each(address + done, part, done);
    done += part;
  }
}
