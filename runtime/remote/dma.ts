/** Guest memory as a device sees it from afar: ranges that may be reached, and reads and writes in them. */
import { MESSAGES, MESSAGES_LENGTH, type PageWatcher, type PhysicalMemory } from '../../src/mmu/physical-memory.ts';

/** A range of guest-physical memory, in bytes. */
export interface DmaRange {
  /** Guest-physical address of the first byte. */
  readonly start: number;
  /** Bytes. */
  readonly length: number;
  /** False: ROM. */
  readonly writable: boolean;
  /** Left out: it is. */
  readonly readable?: boolean;
}

/** What a machine offers to its devices. Writes must reach the dirty log and whoever watches code. */
export interface GuestDma {
  /** The map as it is now; ranges do not overlap. */
  ranges(): readonly DmaRange[];
  /** Called with a range's bytes alone. */
  read(physical: number, into: Uint8Array): void;
  /** As {@link read}, the other way. */
  write(physical: number, from: Uint8Array): void;
  /** Tells of another map from now on; returns what ends that. */
  watch(changed: () => void): () => void;
}

/** What a device uses, wherever it is. Addresses are guest-physical. */
export interface Dma {
  /** @throws RemoteError (as a rejection) `dma-unmapped` outside the guest's memory, or what ended the connection */
  read(physical: number, length: number): Promise<Uint8Array>;
  /** @throws RemoteError (as a rejection) as {@link read}, and where the range is not writable */
  write(physical: number, bytes: Uint8Array): Promise<void>;
}

/**
 * A machine's RAM, its ROM to read, and the addresses to which messages are written that are interrupts (SDM volume 3, section
 * 11.11). Regions that touch are one range, so that a transfer may go on from one to the next.
 */
export function physicalDma(memory: PhysicalMemory): GuestDma {
  let known: PhysicalMemory['regions'] | null = null;
  let ranges: readonly DmaRange[] = [];
  return {
    ranges() {
      if (known !== memory.regions) {
        known = memory.regions;
        ranges = joined(known);
        const free = !ranges.some(
          ({ start, length }) => start < MESSAGES + MESSAGES_LENGTH && MESSAGES < start + length,
        );
        if (free && memory.onMessage !== null)
          ranges = [...ranges, { start: MESSAGES, length: MESSAGES_LENGTH, writable: true, readable: false }];
      }
      return ranges;
    },
    read: (physical, into) => memory.readBytes(physical, into),
    write: (physical, from) => memory.writeByDevice(physical, from),
    watch(changed) {
      const watcher: PageWatcher = { pageProtected() {}, writesProtected() {}, mapChanged: () => changed() };
      memory.watchers.add(watcher);
      return () => void memory.watchers.delete(watcher);
    },
  };
}

function joined(regions: PhysicalMemory['regions']): DmaRange[] {
  const ranges: DmaRange[] = [];
  for (const { kind, start, length } of [...regions].sort((a, b) => a.start - b.start)) {
    const writable = kind !== 'rom';
    const last = ranges.at(-1);
    if (last !== undefined && last.writable === writable && last.start + last.length === start)
      ranges[ranges.length - 1] = { ...last, length: last.length + length };
    else ranges.push({ start, length, writable });
  }
  return ranges;
}

/** The range that holds all of an access, if one does. */
export function rangeOf(ranges: readonly DmaRange[], physical: number, length: number): DmaRange | undefined {
  return ranges.find((range) => physical >= range.start && physical + length <= range.start + range.length);
}
