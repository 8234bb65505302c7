/**
 * The dirty logs of a VM over the pages of its memory: which writes must be noted, and where they are. There may be several
 * readers, each with logs of its own: of the address spaces, by guest-physical page, or of the memory itself, by page of the
 * buffer, whatever maps show it. Each sees every page that was written since it has last collected it.
 *
 * A page of the memory has PAGE_LOG while it is clean in some log that is on for it; the first write takes the flag away and
 * marks the page in all of them, and whoever writes through a look-aside table has no entry for it until then. So the cost of
 * a write does not depend on the number of readers, but for the first one to a page. What is not logged costs nothing.
 */
import { MemoryMap, type PageRange, type Slot } from './memory-map.ts';
import { type AddressSpace, PAGE_LOG, PAGE_WRITE_MAPPED, type PageWatcher } from './page-flags.ts';
import { PageLog, withoutRange, withRange } from './page-log.ts';

/** What a log's pages are numbered by: guest-physical addresses of a space, or places in the buffer. */
export type LoggedSpace = AddressSpace | 'memory';

/** Up to so many pages are taken out of the look-aside tables one by one, more by emptying the tables. */
const fewPages = 4;

/** Dirty pages that are no longer shown where they were. */
export interface RemovedPages {
  /** Numbers of the pages in their space, and byte offsets of their memory. */
  readonly pages: readonly number[];
  readonly hosts: readonly number[];
}

const everything: PageRange = { from: 0, to: Number.POSITIVE_INFINITY };

/** A reader's log for another map. */
interface NextLog {
  readonly reader: LogReader;
  readonly log: PageLog;
  readonly removed: RemovedPages;
}

export class DirtyLogs {
  private readonly maps: Readonly<Record<AddressSpace, MemoryMap>>;
  private readonly wholeMemory: MemoryMap;
  private readonly pageFlags: Uint8Array;
  private readonly watchers: ReadonlySet<PageWatcher>;
  /** Those that log something. */
  private readonly readers = new Set<LogReader>();
  /** The logs of all of them. */
  private active: readonly PageLog[] = [];

  /** @param pageFlags by page of the VM's memory */
  constructor(
    maps: Readonly<Record<AddressSpace, MemoryMap>>,
    pageFlags: Uint8Array,
    watchers: ReadonlySet<PageWatcher>,
  ) {
    this.maps = maps;
    this.pageFlags = pageFlags;
    this.watchers = watchers;
    const length = pageFlags.length * 4096;
    this.wholeMemory = new MemoryMap([{ kind: 'ram', start: 0, length, hostOffset: 0 }]);
  }

  mapOf(space: LoggedSpace): MemoryMap {
    return space === 'memory' ? this.wholeMemory : this.maps[space];
  }
  /** A reader has begun or ceased to log something. */
  changed(reader: LogReader): void {
    if (reader.logs.size > 0) this.readers.add(reader);
    else this.readers.delete(reader);
    this.active = [...this.readers].flatMap(({ logs }) => [...logs.values()]);
  }

  /** The logs of a space for another map of it, {@link adopt}ed later, and what of the present one is not in them. */
  prepare(space: AddressSpace, map: MemoryMap, changed: readonly PageRange[]): readonly NextLog[] {
    return [...this.readers].flatMap((reader) => {
      const old = reader.logs.get(space);
      if (old === undefined) return [];
      const log = new PageLog(map, old.ranges);
      return [{ reader, log, removed: carryOver(old, log, changed) }];
    });
  }
  /** @param changed the pages to look at, where no memory is shown twice; null: all of the space */
  adopt(space: AddressSpace, next: readonly NextLog[], changed: readonly PageRange[] | null): void {
    for (const { reader, log, removed } of next) {
      reader.logs.set(space, log);
      this.changed(reader);
      reader.mapReplaced(space, removed);
      this.watch(log, changed ?? [everything]);
    }
  }

  /**
   * Sets PAGE_LOG where a write must be noted for a log. The flag may stand where no log wants it any more: the first write
   * takes it away.
   */
  watch(log: PageLog, within: readonly PageRange[]): void {
    const { pageFlags } = this;
    let mapped = 0;
    forEachPiece(log, within, (slot, piece) => {
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
    if (mapped !== 0) for (const watcher of this.watchers) watcher.writesProtected();
  }
  /** Takes the flag away wherever no log wants it. */
  unwatch(): void {
    const { pageFlags } = this;
    for (let page = 0; page < pageFlags.length; page++) pageFlags[page]! &= ~PAGE_LOG;
    for (const log of this.active) this.watch(log, [everything]);
  }

  /** Pages of a log that were collected and cleared: writes to them are noted again. */
  watchAgain(slot: Slot, pages: Uint32Array, from: number, to: number, mapped: number[]): void {
    const { pageFlags } = this;
    for (let at = from; at < to; at++) {
      const host = slot.host + pages[at]! - slot.from;
      const flags = pageFlags[host]!;
      pageFlags[host] = (flags | PAGE_LOG) & ~PAGE_WRITE_MAPPED;
      if ((flags & PAGE_WRITE_MAPPED) !== 0 && mapped.length <= fewPages) mapped.push(host);
    }
  }
  /** Tells of pages that {@link watchAgain} found to be mapped for writes. */
  protectAgain(mapped: readonly number[]): void {
    if (mapped.length === 0) return;
    for (const watcher of this.watchers)
      if (mapped.length > fewPages) watcher.writesProtected();
      else for (const host of mapped) watcher.pageProtected(host * 4096);
  }

  /** A page of the buffer has been written: it is dirty wherever it is shown. */
  noteWrite(host: number): void {
    this.pageFlags[host]! &= ~PAGE_LOG;
    for (const log of this.active) mark(log, host);
  }
  /** A page of the buffer has got its first contents: no write by anybody, but other bytes are there. */
  noteFill(host: number): void {
    for (const log of this.active) if (log.map === this.wholeMemory) mark(log, host);
  }
}

/** Somebody who collects dirty pages. */
export class LogReader {
  /** By space; those that are on. */
  readonly logs = new Map<LoggedSpace, PageLog>();
  private readonly all: DirtyLogs;
  /** Told which dirty pages of a replaced map are no longer where they were. */
  readonly mapReplaced: (space: AddressSpace, removed: RemovedPages) => void;

  constructor(all: DirtyLogs, mapReplaced: (space: AddressSpace, removed: RemovedPages) => void = () => {}) {
    this.all = all;
    this.mapReplaced = mapReplaced;
  }

  /**
   * Logs writes to pages of a space from now on, wherever there is memory in the range.
   * @param dirty all of them count as written, else none does that was not logged before
   */
  start(space: LoggedSpace, range: PageRange, dirty = false): void {
    let log = this.logs.get(space);
    if (log === undefined) {
      log = new PageLog(this.all.mapOf(space), []);
      this.logs.set(space, log);
      this.all.changed(this);
    }
    log.ranges = withRange(log.ranges, range);
    if (dirty)
      for (const { from, to, first } of log.map.slots)
        for (let page = Math.max(from, range.from); page < Math.min(to, range.to); page++) log.set(first + page - from);
    this.all.watch(log, [range]);
  }
  /** Logs no writes to a range any more, and forgets those that were. */
  stop(space: LoggedSpace, range: PageRange): void {
    const log = this.logs.get(space);
    if (log === undefined) return;
    log.ranges = withoutRange(log.ranges, range);
    for (const { from, to, first } of log.map.slots)
      log.clearAll(first + Math.max(0, range.from - from), first + Math.min(to, range.to) - from);
    if (log.ranges.length === 0) this.logs.delete(space);
    this.all.changed(this);
    this.all.unwatch();
  }
  /** Logs nothing any more. */
  close(): void {
    if (this.logs.size === 0) return;
    this.logs.clear();
    this.all.changed(this);
    this.all.unwatch();
  }
  /** How many pages of a space are dirty. */
  count(space: LoggedSpace): number {
    return this.logs.get(space)?.count ?? 0;
  }
  /** Pages of the range that are logged are dirty. */
  mark(space: LoggedSpace, page: number): void {
    const log = this.logs.get(space);
    const slot = log?.map.at(page) ?? null;
    if (slot !== null && log!.isOn(page)) log!.set(slot.first + page - slot.from);
  }
  /**
   * Writes the numbers of dirty pages from `from` up to `to`, at most `most` of them, into an array.
   * @param clear they are clean, and writes to them are logged again
   */
  collect(space: LoggedSpace, from: number, to: number, into: Uint32Array, most: number, clear: boolean): number {
    const log = this.logs.get(space);
    if (log === undefined || log.count === 0) return 0;
    const { slots } = log.map;
    const mapped: number[] = [];
    let count = 0;
    for (let i = log.map.after(from); i < slots.length && count < most; i++) {
      const slot = slots[i]!;
      if (slot.from >= to) break;
      const low = slot.first + Math.max(0, from - slot.from);
      const high = slot.first + Math.min(slot.to, to) - slot.from;
      const before = count;
      count = log.take(low, high, slot.from - slot.first, clear, into, count, most);
      if (clear) this.all.watchAgain(slot, into, before, count, mapped);
    }
    this.all.protectAgain(mapped);
    return count;
  }
}

/** Calls for the pieces of a log's slots that lie in ranges. */
function forEachPiece(
  { map }: PageLog,
  within: readonly PageRange[],
  each: (slot: Slot, piece: PageRange) => void,
): void {
  for (const range of within)
    for (let i = map.after(range.from); i < map.slots.length && map.slots[i]!.from < range.to; i++) {
      const slot = map.slots[i]!;
      each(slot, { from: Math.max(slot.from, range.from), to: Math.min(slot.to, range.to) });
    }
}

/** A page of the buffer is dirty in a log, wherever its map shows it. */
function mark(log: PageLog, host: number): void {
  for (const slot of log.map.slots) {
    const within = host - slot.host;
    if (within >= 0 && within < slot.to - slot.from && log.isOn(slot.from + within)) log.set(slot.first + within);
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
