/**
 * The guest-physical memory of a VM for snapshots, forks and migrations: its maps in terms of the backing store, and the
 * pages of that store, whole or those that were written since.
 */
import { LogReader } from '../../src/mmu/dirty-logs.ts';
import type { PhysicalMemory } from '../../src/mmu/physical-memory.ts';
import type { AddressSpace, GuestMemory } from '../vm/guest-memory.ts';
import { pageBytes } from './pages.ts';

export const spaces = ['normal', 'smm'] as const satisfies readonly AddressSpace[];

/** A region as it is saved: what is lazy is RAM whose pages were asked for. */
export interface SavedRegion {
  readonly kind: 'ram' | 'rom';
  readonly start: number;
  readonly length: number;
  readonly backing: number;
}
export type SavedMaps = Readonly<Record<AddressSpace, readonly SavedRegion[]>>;

/** The VM, as far as its memory is concerned. */
export interface MemoryOwner {
  readonly ram: Uint8Array;
  readonly memory: GuestMemory;
  readonly physical: PhysicalMemory;
}

export function savedMaps({ memory }: MemoryOwner): SavedMaps {
  const save = (space: AddressSpace) =>
    memory.regions({ space }).map(
      ({ kind, start, length, backing }): SavedRegion => ({
        kind: kind === 'rom' ? 'rom' : 'ram',
        start,
        length,
        backing,
      }),
    );
  return { normal: save('normal'), smm: save('smm') };
}

/**
 * Has every lazy page, and every page that was put off, provided: the backing store holds all of the guest's memory then.
 * @throws what the sources of pages throw
 */
export function fillLazyPages({ memory, physical, ram }: MemoryOwner): void {
  const byte = new Uint8Array(1);
  const firstHost = ram.byteOffset / pageBytes;
  for (let page = 0; page < ram.length / pageBytes; page++) physical.sources.provide(firstHost + page);
  for (const space of spaces)
    for (const region of memory.regions({ space })) {
      if (region.kind !== 'lazy') continue;
      const { start, length, backing, fill } = region;
      const filled = physical.sources.filledBy(fill);
      for (let at = 0; at < length; at += pageBytes)
        if (filled[firstHost + (backing + at) / pageBytes] === 0) memory.read(start + at, byte, { space });
    }
}

const collected = new Uint32Array(4096);

/**
 * What was written to a VM's memory since somebody has looked last, by page of the backing store: whatever maps show of it,
 * and however they change meanwhile. A reader of the dirty log of its own. Everything is clean at first.
 */
export class MemoryLog {
  private readonly reader: LogReader;
  private readonly from: number;
  private readonly to: number;

  constructor({ physical, ram }: MemoryOwner) {
    this.reader = new LogReader(physical.logs);
    this.from = ram.byteOffset / pageBytes;
    this.to = this.from + ram.length / pageBytes;
    this.reader.start('memory', { from: this.from, to: this.to });
  }
  /** How many pages were written. */
  get count(): number {
    return this.reader.count('memory');
  }
  /** The pages of the backing store that were written, ascending. They are clean then. */
  take(): number[] {
    const pages: number[] = [];
    for (let from = this.from; ; ) {
      const count = this.reader.collect('memory', from, this.to, collected, collected.length, true);
      for (let i = 0; i < count; i++) pages.push(collected[i]! - this.from);
      if (count < collected.length) return pages;
      from = collected[count - 1]! + 1;
    }
  }
  /** Pages that were taken, and came to nothing, are dirty again. */
  putBack(pages: Iterable<number>): void {
    for (const page of pages) this.reader.mark('memory', this.from + page);
  }
  close(): void {
    this.reader.close();
  }
}

/**
 * Other contents will be in all of the memory: nothing that was made of the old ones holds, all of it was written, and what
 * was put off does not come any more.
 */
export function contentsReplaced({ ram, physical }: MemoryOwner): void {
  physical.thawAll();
  physical.sources.putOff(null);
  physical.writingAt(ram.byteOffset, ram.length);
}

/** The pages of the backing store that maps show, 1 for each. */
export function shownPages({ ram }: MemoryOwner, maps: SavedMaps): Uint8Array {
  const shown = new Uint8Array(ram.length / pageBytes);
  for (const space of spaces)
    for (const { length, backing } of maps[space]) shown.fill(1, backing / pageBytes, (backing + length) / pageBytes);
  return shown;
}
