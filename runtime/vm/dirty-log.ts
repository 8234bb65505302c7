/**
 * The dirty logs of a VM: which pages of guest-physical memory were written, by processors (also by page walks and the
 * processor's own tables), by devices and by loaders. Each address space has a log of its own. A page is dirty if the memory
 * behind it was written, wherever that memory is shown as well.
 *
 * A VM has a log of its own, `vm.dirty`, and an embedder may open more (`vm.openDirtyLog()`): a display, a backup. Each is
 * started, stopped and collected by itself, and sees every page that was written since it has collected it last. Snapshots
 * and migrations have logs of theirs.
 *
 * As with KVM_CLEAR_DIRTY_LOG (manual protect), a page is write-protected again when it is collected with `clear`, and no
 * other is: the work is that of the pages collected. Where no log is on, writes cost nothing.
 */
import { LogReader, type RemovedPages } from '../../src/mmu/dirty-logs.ts';
import type { PhysicalMemory } from '../../src/mmu/physical-memory.ts';
import { ConfigurationError } from '../errors.ts';
import { type AddressSpace, type SpaceOption, spaceOf } from './address-space.ts';

/** A range of guest-physical addresses: multiples of 4096. All of the space if left out. */
export interface LogRange extends SpaceOption {
  /** First address of the range. */
  readonly start?: number;
  /** Bytes; to the end of the space if left out. */
  readonly length?: number;
}

/** What is logged from now on. */
export interface StartOptions extends LogRange {
  /** `dirty`: every page of the range counts as written, as a first round of copying wants it. `clean` if left out. */
  readonly initially?: 'clean' | 'dirty';
}

/** Which pages are taken, and where their numbers go. */
export interface CollectOptions extends LogRange {
  /** At most so many pages are taken; the length of `into` if left out. */
  readonly maxPages?: number;
  /** The pages taken are clean then. `true` if left out. */
  readonly clear?: boolean;
  /** Takes the numbers of the pages (address / 4096), ascending. */
  readonly into: Uint32Array;
}

/** How far a collection came. */
export interface DirtyCursor {
  /** Entries of `into` that were written. */
  readonly count: number;
  /** Address at which to go on; nothing before it in the range is left. The end of the range when it is through. */
  readonly next: number;
  /** The whole range has been looked at. */
  readonly done: boolean;
}

/** The pages of a replaced map that were dirty in a log and do not lie where they did any more. */
export interface RemovedDirty {
  readonly count: number;
  /** Numbers of the pages (address / 4096) in their space, ascending for each replacement. */
  readonly pages: Uint32Array;
  /** The byte offset of each one's memory in the VM's RAM, in the same order. */
  readonly backing: Float64Array;
}

/** Beyond every address that a processor can name. */
const limit = 2 ** 40;

function pageNumber(name: string, value: unknown): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value % 4096 !== 0 || value > limit)
    throw new ConfigurationError('bad-region', `${name} ${String(value)}: not a multiple of 4096 up to 2^40`);
  return value / 4096;
}

function pagesOf(options: LogRange): { from: number; to: number } {
  const from = pageNumber('start', options.start ?? 0);
  const pages = pageNumber('length', options.length ?? limit - from * 4096);
  return { from, to: Math.min(from + pages, limit / 4096) };
}

/** Which pages of guest memory were written: by processors, devices and loaders. */
export class DirtyLog {
  private readonly reader: LogReader;
  private readonly removed: Record<AddressSpace, RemovedPages[]> = { normal: [], smm: [] };
  /** Where the VM's RAM begins in its memory. */
  private readonly ramBase: number;

  /** A log of its own, off; see `vm.openDirtyLog()`. */
  constructor(physical: PhysicalMemory, ramBase: number) {
    this.ramBase = ramBase;
    this.reader = new LogReader(physical.logs, (space, removed) => {
      if (removed.pages.length > 0) this.removed[space].push(removed);
    });
  }

  /**
   * Logs writes to a range from now on; the range keeps being logged when the memory map is replaced. What is logged
   * already keeps its dirty pages.
   * @throws ConfigurationError `bad-region`, `bad-option`; then nothing has changed
   */
  start(options: StartOptions = {}): void {
    const space = spaceOf(options);
    const range = pagesOf(options);
    const initially: unknown = options.initially ?? 'clean';
    if (initially !== 'clean' && initially !== 'dirty')
      throw new ConfigurationError('bad-option', `initially ${String(initially)}: neither clean nor dirty`);
    if (range.from < range.to) this.reader.start(space, range, initially === 'dirty');
  }

  /** Logs writes to a range no more, and forgets which of its pages are dirty. */
  stop(options: LogRange = {}): void {
    const space = spaceOf(options);
    this.reader.stop(space, pagesOf(options));
  }

  /** How many pages of a space are dirty. */
  count(options?: SpaceOption): number {
    return this.reader.count(spaceOf(options));
  }

  /**
   * Takes dirty pages of a range into the caller's array.
   * @throws ConfigurationError `bad-region`, `bad-option`; then nothing has changed
   */
  collect(options: CollectOptions): DirtyCursor {
    const space = spaceOf(options ?? null);
    const { from, to } = pagesOf(options);
    const { into, clear = true } = options;
    if (!(into instanceof Uint32Array))
      throw new ConfigurationError('bad-option', `into ${String(into)}: not a Uint32Array`);
    if (typeof clear !== 'boolean') throw new ConfigurationError('bad-option', `clear ${String(clear)}: not a boolean`);
    const most = options.maxPages ?? into.length;
    if (!Number.isSafeInteger(most) || most < 0 || most > into.length)
      throw new ConfigurationError(
        'bad-option',
        `maxPages ${String(most)}: not from 0 to ${into.length} entries of into`,
      );
    const count = this.reader.collect(space, from, to, into, most, clear);
    const through = count < most;
    const next = through ? to : count === 0 ? from : into[count - 1]! + 1;
    return { count, next: next * 4096, done: next >= to };
  }

  /**
   * The final dirty pages of regions that maps have taken away since the last call. `vm.memory.replace()` returns those of
   * the VM's own log; other logs keep theirs until they are taken here.
   * @throws ConfigurationError `bad-option`
   */
  takeRemoved(options?: SpaceOption): RemovedDirty {
    const space = spaceOf(options);
    const list = this.removed[space];
    this.removed[space] = [];
    const pages = list.flatMap((removed) => removed.pages);
    const hosts = list.flatMap((removed) => removed.hosts);
    return {
      count: pages.length,
      pages: Uint32Array.from(pages),
      backing: Float64Array.from(hosts, (host) => host - this.ramBase),
    };
  }

  /** Logs nothing any more: what {@link stop} does for everything. It can be started again. */
  close(): void {
    this.reader.close();
    this.removed.normal = [];
    this.removed.smm = [];
  }
  [Symbol.dispose](): void {
    this.close();
  }
}
