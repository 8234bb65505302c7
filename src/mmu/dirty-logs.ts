/**
 * The dirty logs of a VM's address spaces over the pages of its memory: which writes must be noted, and where they are. A
 * page of the memory has PAGE_LOG while it is clean in some log that is on for it; the first write takes the flag away, and
 * whoever writes through a look-aside table has no entry for it until then. What is not logged costs nothing.
 */
import type { MemoryMap, PageRange, Slot } from './memory-map.ts';
import { type AddressSpace, PAGE_LOG, PAGE_WRITE_MAPPED, type PageWatcher, spaces } from './page-flags.ts';
import { PageLog, withoutRange, withRange } from './page-log.ts';

/** Up to so many pages are taken out of the look-aside tables one by one, more by emptying the tables. */
const fewPages = 4;

/** Dirty pages that are no longer shown where they were. */
export interface RemovedPages {
  /** Numbers of the pages in their space, and byte offsets of their memory. */
  readonly pages: readonly number[];
  readonly hosts: readonly number[];
}

/** Pages of one space. */
interface Within {
  readonly space: AddressSpace;
  readonly changed: readonly PageRange[];
}
const everything: PageRange = { from: 0, to: Number.POSITIVE_INFINITY };

export class DirtyLogs {
  private readonly logs: Record<AddressSpace, PageLog>;
  private readonly pageFlags: Uint8Array;
  private readonly watchers: ReadonlySet<PageWatcher>;

  /** @param pageFlags by page of the VM's memory */
  constructor(
    maps: Readonly<Record<AddressSpace, MemoryMap>>,
    pageFlags: Uint8Array,
    watchers: ReadonlySet<PageWatcher>,
  ) {
    this.logs = { normal: new PageLog(maps.normal, []), smm: new PageLog(maps.smm, []) };
    this.pageFlags = pageFlags;
    this.watchers = watchers;
  }

  /** The log of a space for another map of it, {@link adopt}ed later, and what of the present one is not in it. */
  prepare(space: AddressSpace, map: MemoryMap, changed: readonly PageRange[]): { log: PageLog; removed: RemovedPages } {
    const log = new PageLog(map, this.logs[space].ranges);
    return { log, removed: carryOver(this.logs[space], log, changed) };
  }
  /** @param changed the pages to look at, where no memory is shown twice; null: all of every space */
  adopt(space: AddressSpace, log: PageLog, changed: readonly PageRange[] | null): void {
    const within = changed === null ? undefined : { space, changed };
    this.unwatch(within);
    this.logs[space] = log;
    this.watch(within);
  }
  /** Calls for the pieces of slots, in the spaces that have logs, that lie in a range. */
  private forEachPiece(within: Within | undefined, each: (log: PageLog, slot: Slot, range: PageRange) => void): void {
    for (const space of spaces) {
      const log = this.logs[space];
      if (log.ranges.length === 0 || (within !== undefined && within.space !== space)) continue;
      for (const range of within?.changed ?? [everything])
        for (let i = log.map.after(range.from); i < log.map.slots.length && log.map.slots[i]!.from < range.to; i++) {
          const slot = log.map.slots[i]!;
          each(log, slot, { from: Math.max(slot.from, range.from), to: Math.min(slot.to, range.to) });
        }
    }
  }

  /**
   * Logs writes to pages of a space from now on, wherever there is memory in the range.
   * @param dirty all of them count as written, else none does that was not logged before
   */
  start(space: AddressSpace, range: PageRange, dirty = false): void {
    const log = this.logs[space];
    this.unwatch();
    log.ranges = withRange(log.ranges, range);
    if (dirty)
      for (const { from, to, first } of log.map.slots)
        for (let page = Math.max(from, range.from); page < Math.min(to, range.to); page++) log.set(first + page - from);
    if (this.watch()) for (const watcher of this.watchers) watcher.writesProtected();
  }
  /** Logs no writes to a range any more, and forgets those that were. */
  stop(space: AddressSpace, range: PageRange): void {
    const log = this.logs[space];
    this.unwatch();
    log.ranges = withoutRange(log.ranges, range);
    for (const { from, to, first } of log.map.slots)
      log.clearAll(first + Math.max(0, range.from - from), first + Math.min(to, range.to) - from);
    this.watch();
  }
  /** How many pages of a space are dirty. */
  count(space: AddressSpace): number {
    return this.logs[space].count;
  }
  /**
   * Writes the numbers of dirty pages from `from` up to `to`, at most `most` of them, into an array.
   * @param clear they are clean, and writes to them are logged again
   */
  collect(space: AddressSpace, from: number, to: number, into: Uint32Array, most: number, clear: boolean): number {
    const log = this.logs[space];
    const { slots } = log.map;
    if (log.count === 0) return 0;
    const mapped: number[] = [];
    let count = 0;
    for (let i = log.map.after(from); i < slots.length && count < most; i++) {
      const slot = slots[i]!;
      if (slot.from >= to) break;
      const low = slot.first + Math.max(0, from - slot.from);
      const high = slot.first + Math.min(slot.to, to) - slot.from;
      const before = count;
      count = log.take(low, high, slot.from - slot.first, clear, into, count, most);
      if (!clear) continue;
      for (let at = before; at < count; at++) {
        const host = slot.host + into[at]! - slot.from;
        const flags = this.pageFlags[host]!;
        this.pageFlags[host] = (flags | PAGE_LOG) & ~PAGE_WRITE_MAPPED;
        if ((flags & PAGE_WRITE_MAPPED) !== 0 && mapped.length <= fewPages) mapped.push(host);
      }
    }
    for (const watcher of this.watchers)
      if (mapped.length > fewPages) watcher.writesProtected();
      else for (const host of mapped) watcher.pageProtected(host * 4096);
    return count;
  }
  /** Sets PAGE_LOG where a write must be noted. True if some page that has it now was mapped for writes. */
  private watch(within?: Within): boolean {
    let mapped = 0;
    const { pageFlags } = this;
    this.forEachPiece(within, (log, slot, piece) => {
      const toIndex = slot.first - slot.from;
      const toHost = slot.host - slot.from;
      for (const range of log.ranges)
        for (let page = Math.max(piece.from, range.from); page < Math.min(piece.to, range.to); page++) {
          if (log.has(page + toIndex)) continue;
          const flags = pageFlags[page + toHost]!;
          mapped |= flags & PAGE_WRITE_MAPPED;
          pageFlags[page + toHost] = (flags | PAGE_LOG) & ~PAGE_WRITE_MAPPED;
        }
    });
    return mapped !== 0;
  }
  private unwatch(within?: Within): void {
    const { pageFlags } = this;
    this.forEachPiece(within, (_log, slot, { from, to }) => {
      for (let host = slot.host + from - slot.from; host < slot.host + to - slot.from; host++)
        pageFlags[host]! &= ~PAGE_LOG;
    });
  }
  /** A page of the buffer has been written: it is dirty wherever it is shown. */
  noteWrite(host: number): void {
    this.pageFlags[host]! &= ~PAGE_LOG;
    for (const space of spaces) {
      const log = this.logs[space];
      if (log.ranges.length === 0) continue;
      for (const slot of log.map.slots) {
        const within = host - slot.host;
        if (within >= 0 && within < slot.to - slot.from && log.isOn(slot.from + within)) log.set(slot.first + within);
      }
    }
  }
}

/** What is dirty in one log goes over to the next where its page stays the same, and is the answer where it does not. */
function carryOver(old: PageLog, now: PageLog, changed: readonly PageRange[]): RemovedPages {
  const pages: number[] = [];
  const hosts: number[] = [];
  let at = 0;
  for (const slot of old.map.slots) {
    const end = slot.first + slot.to - slot.from;
    for (let index = old.next(slot.first); index >= 0 && index < end; index = old.next(index + 1)) {
      const page = slot.from + index - slot.first;
      while (at < changed.length && changed[at]!.to <= page) at++;
      if (at < changed.length && changed[at]!.from <= page) {
        pages.push(page);
        hosts.push((slot.host + page - slot.from) * 4096);
      } else {
        const next = now.map.at(page)!;
        now.set(next.first + page - next.from);
      }
    }
  }
  return { pages, hosts };
}
