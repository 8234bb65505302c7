/**
 * What the look-aside tables knew of the address spaces that were left last, by their process-context identifiers: a load of
 * CR3 that says so (bit 63) finds it again. SDM volume 3, section 5.10.4.
 *
 * A list is in force for the identifier and the root that it was made with, once. Global pages are in no list. Whoever makes
 * the tables forget for another reason than a load of CR3 has all lists forgotten, but for one page of the space in force and
 * for what becomes of a page of the VM's memory: writes to it are looked into when they are put back.
 */
import type { DataTables } from './data-tables.ts';
import type { FetchLookAside } from './fetch-look-aside.ts';
import type { PhysicalMemory } from './physical-memory.ts';
import { SavedPages } from './saved-pages.ts';

/** As many spaces are kept: Linux has six. */
const most = 8;

interface LeftSpace {
  identifier: number;
  root: number;
  keyRights: number;
  /** The lists that follow. */
  readonly all: readonly SavedPages[];
  readonly reads: readonly SavedPages[];
  readonly writes: readonly SavedPages[];
  /** Of the supervisor's tables, for reads and for writes. */
  readonly lifted: readonly SavedPages[];
  readonly fetches: SavedPages;
  /** Pages that code was fetched from. */
  entered: Set<number>;
}

export class LeftSpaces {
  private readonly tables: DataTables;
  private readonly fetches: FetchLookAside;
  private readonly memory: PhysicalMemory;
  /** In the order in which they were left. */
  private spaces: LeftSpace[] = [];
  private readonly unused: LeftSpace[] = [];

  constructor(tables: DataTables, fetches: FetchLookAside, memory: PhysicalMemory) {
    this.tables = tables;
    this.fetches = fetches;
    this.memory = memory;
  }
  /** The tables are about to lose what they know of the space in force. @param keyRights what they hold depends on it */
  leave(identifier: number, root: number, keyRights: number): void {
    const { reads, writes, lifted } = this.tables;
    this.forget(identifier);
    if (this.spaces.length === most) this.unused.push(this.spaces.shift()!);
    const space = this.unused.pop() ?? newSpace(this.tables);
    space.identifier = identifier;
    space.root = root;
    space.keyRights = keyRights;
    this.spaces.push(space);
    for (const list of space.all) list.clear();
    lifted.leave(space.lifted);
    for (let i = 0; i < reads.length; i++) reads[i]!.save(space.reads[i]!);
    for (let i = 0; i < writes.length; i++) writes[i]!.save(space.writes[i]!);
    this.fetches.save(space.fetches);
    space.entered.clear();
    space.entered = this.fetches.exchange(space.entered);
  }
  /** The space comes into force, in tables that know of no local page. */
  enter(identifier: number, root: number, keyRights: number): void {
    const space = this.take(identifier);
    if (space === null || space.root !== root) return;
    const { memory } = this;
    const { reads, writes, lifted } = this.tables;
    space.entered = this.fetches.exchange(space.entered);
    this.fetches.putBack(space.fetches);
    if (space.keyRights !== keyRights) return;
    for (let i = 0; i < reads.length; i++) reads[i]!.putBack(space.reads[i]!, null);
    for (let i = 0; i < writes.length; i++) writes[i]!.putBack(space.writes[i]!, memory);
    reads[0]!.putBack(space.lifted[0]!, null);
    writes[0]!.putBack(space.lifted[1]!, memory);
    for (const list of space.lifted) lifted.enter(list);
  }
  /** The identifier's translations are invalid. */
  forget(identifier: number): void {
    this.take(identifier);
  }
  /** All identifiers' are. */
  forgetAll(): void {
    this.unused.push(...this.spaces.splice(0));
  }
  private take(identifier: number): LeftSpace | null {
    const index = this.spaces.findIndex((space) => space.identifier === identifier);
    if (index < 0) return null;
    const space = this.spaces[index]!;
    this.spaces.splice(index, 1);
    this.unused.push(space);
    return space;
  }
}

function newSpace(tables: DataTables): LeftSpace {
  const reads = tables.reads.map(() => new SavedPages());
  const writes = tables.writes.map(() => new SavedPages());
  const lifted = [new SavedPages(), new SavedPages()];
  const fetches = new SavedPages();
  const all = [...reads, ...writes, ...lifted, fetches];
  return { identifier: 0, root: 0, keyRights: 0, all, reads, writes, lifted, fetches, entered: new Set() };
}
