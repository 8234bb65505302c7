/**
 * The guest-physical memory of a VM for snapshots, forks and migrations: its maps in terms of the backing store, and the
 * pages of that store, whole or those that were written since.
 */
import type { PhysicalMemory } from '../../src/mmu/physical-memory.ts';
import type { DirtyLog } from '../vm/dirty-log.ts';
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
  readonly dirty: DirtyLog;
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
export function fillLazyPages({ memory }: MemoryOwner): void {
  const byte = new Uint8Array(1);
  for (const space of spaces)
    for (const { kind, start, length } of memory.regions({ space }))
      if (kind === 'lazy') for (let at = start; at < start + length; at += pageBytes) memory.read(at, byte, { space });
}

/** Turns the dirty logs of all memory on, everything clean. */
export function startLogs({ dirty }: MemoryOwner, initially: 'clean' | 'dirty' = 'clean'): void {
  for (const space of spaces) {
    dirty.stop({ space });
    dirty.start({ space, initially });
  }
}
export function stopLogs({ dirty }: MemoryOwner): void {
  for (const space of spaces) dirty.stop({ space });
}

const collected = new Uint32Array(4096);

/** Pages of the backing store that were written since they were collected last, ascending, each once. They are clean then. */
export function takeDirtyPages({ dirty, memory }: MemoryOwner): number[] {
  const pages = new Set<number>();
  for (const space of spaces) {
    const regions = memory.regions({ space });
    let region = 0;
    for (let start = 0, done = false; !done; ) {
      const cursor = dirty.collect({ space, start, into: collected });
      for (let i = 0; i < cursor.count; i++) {
        const address = collected[i]! * pageBytes;
        while (address >= regions[region]!.start + regions[region]!.length) region++;
        pages.add((regions[region]!.backing + address - regions[region]!.start) / pageBytes);
      }
      start = cursor.next;
      done = cursor.done;
    }
  }
  return [...pages].sort((a, b) => a - b);
}

/** Other contents are in all of the memory: nothing that was made of the old ones holds, and all of it was written. */
export function contentsReplaced({ memory, physical }: MemoryOwner): void {
  for (const space of spaces)
    for (const { start, length } of memory.regions({ space }))
      for (let at = start; at < start + length; at += pageBytes)
        physical.written(space === 'smm' ? physical.inSmm(at) : at, pageBytes);
}
