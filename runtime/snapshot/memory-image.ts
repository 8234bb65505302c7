/**
 * The guest-physical memory of a VM for snapshots, forks and migrations: its maps in terms of the backing store, and the
 * pages of that store, whole or those that were written since.
 */
import { LogReader } from '../../src/mmu/dirty-logs.ts';
import type { FillPage } from '../../src/mmu/memory-map.ts';
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

/** Has every lazy page provided: the backing store holds all of the guest's memory then. */
export function fillLazyPages({ memory, physical, ram }: MemoryOwner): void {
  const byte = new Uint8Array(1);
  const firstHost = ram.byteOffset / pageBytes;
  for (const space of spaces)
    for (const region of memory.regions({ space })) {
      if (region.kind !== 'lazy') continue;
      const { start, length, backing, fill } = region;
      for (let at = 0; at < length; at += pageBytes)
        if (!physical.isFilledBy(fill, firstHost + (backing + at) / pageBytes))
          memory.read(start + at, byte, { space });
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

  /** @param known a `fill` that brings no news */
  constructor({ physical, ram }: MemoryOwner, known: FillPage | null = null) {
    this.reader = new LogReader(physical.logs);
    this.reader.knownFill = known;
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

/** Other contents are in all of the memory: nothing that was made of the old ones holds, and all of it was written. */
export function contentsReplaced({ memory, physical }: MemoryOwner): void {
  for (const space of spaces)
    for (const { start, length } of memory.regions({ space }))
      for (let at = start; at < start + length; at += pageBytes)
        physical.written(space === 'smm' ? physical.inSmm(at) : at, pageBytes);
}
