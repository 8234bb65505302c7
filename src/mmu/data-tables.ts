/**
 * The look-aside tables for data in a vCPU's block: for reads and writes of the system and of programs, and small ones for
 * their stacks, which hold pages that are read and written.
 */
import type { CpuState } from '../state/cpu-state.ts';
import { stackTlbBits, stackTlbOffsets, tlbBits, tlbNeverOffset, tlbOffsets } from '../state/layout.ts';
import { LiftedPages } from './lifted-pages.ts';
import { LookAside } from './look-aside.ts';
import type { PhysicalMemory } from './physical-memory.ts';
import type { PageWalker } from './walk.ts';

/** Bytes of a large page that are entered at once. */
const stretch = 16 * 4096;

export class DataTables {
  private readonly supervisorRead: LookAside;
  private readonly supervisorWrite: LookAside;
  private readonly userRead: LookAside;
  private readonly userWrite: LookAside;
  private readonly supervisorStack: LookAside;
  private readonly userStack: LookAside;
  /** The supervisor's come first. */
  readonly reads: readonly LookAside[];
  /** Those that say what may be written. The supervisor's come first. */
  readonly writes: readonly LookAside[];
  private readonly all: readonly LookAside[];
  /** Supervisor entries for user pages, made while EFLAGS.AC lifted SMAP. */
  readonly lifted: LiftedPages;

  /**
   * @param state whose block is new
   * @param hostPages pages of the host's memory
   */
  constructor(state: CpuState, hostPages: number) {
    this.supervisorRead = new LookAside(state, tlbOffsets.supervisorRead);
    this.supervisorWrite = new LookAside(state, tlbOffsets.supervisorWrite, tlbBits, hostPages);
    this.userRead = new LookAside(state, tlbOffsets.userRead);
    this.userWrite = new LookAside(state, tlbOffsets.userWrite, tlbBits, hostPages);
    this.supervisorStack = new LookAside(state, stackTlbOffsets.supervisor, stackTlbBits);
    this.userStack = new LookAside(state, stackTlbOffsets.user, stackTlbBits);
    this.reads = [this.supervisorRead, this.userRead];
    this.writes = [this.supervisorWrite, this.userWrite, this.supervisorStack, this.userStack];
    this.all = [...this.reads, ...this.writes];
    this.lifted = new LiftedPages(state, [this.supervisorRead, this.supervisorWrite]);
    new LookAside(state, tlbNeverOffset); // all entries invalid, for ever
  }
  of(user: boolean, write: boolean): LookAside {
    return user ? (write ? this.userWrite : this.userRead) : write ? this.supervisorWrite : this.supervisorRead;
  }
  stackOf(user: boolean): LookAside {
    return user ? this.userStack : this.supervisorStack;
  }
  /**
   * Enters the page that the walker has found.
   * @param around its neighbours, too, if it is a part of a large one
   */
  enter(
    linear: number,
    high: number,
    addend: number,
    user: boolean,
    walker: PageWalker,
    memory: PhysicalMemory,
    around: boolean,
  ): void {
    const [reads, writes] = [this.of(user, false), this.of(user, true)];
    let isNew = reads.find(linear, high) < 0;
    reads.set(linear, high, addend, walker.global);
    if (walker.writable && walker.dirty && memory.mapWrites(Math.floor(walker.physical / 4096))) {
      isNew ||= writes.find(linear, high) < 0;
      writes.set(linear, high, addend, walker.global);
    } else {
      // An older entry of the same place may say otherwise (the page was remapped without a flush): it must not outlive this.
      writes.drop(linear, high);
      this.stackOf(user).drop(linear, high);
    }
    if (isNew && around && walker.pageBits !== 12) this.enterAround(linear, high, addend, user, walker, memory);
  }
  /** A large page's walk has been made for all of it, and memory is used in stretches. */
  private enterAround(
    linear: number,
    high: number,
    addend: number,
    user: boolean,
    walker: PageWalker,
    memory: PhysicalMemory,
  ): void {
    // With SMAP the system's tables hold of user pages what it has asked for alone.
    if (walker.apart || (walker.smap && walker.user && !user)) return;
    const reads = this.of(user, false);
    const writes = walker.writable && walker.dirty ? this.of(user, true) : null;
    const first = (linear & -stretch) >>> 0;
    const page = (walker.physical - (linear - first)) / 4096;
    for (let i = 0; i < stretch / 4096; i++) {
      const low = first + i * 4096;
      const host = memory.wordsOf(page + i) * 4;
      // Memory may be put together of parts: there another host page follows.
      if (host < 0 || host !== (addend + low) >>> 0) continue;
      reads.offer(low, high, addend, walker.global);
      if (writes !== null && memory.mapWritesAgain(host)) writes.offer(low, high, addend, walker.global);
    }
  }
  /**
   * Makes an access of at most 16 bytes that goes on in the next page, if the tables know both pages: between memory and a
   * field of the vCPU, at `field` in the buffer, of which a load sets 8 bytes at least. False: nothing has happened.
   * @param write the pages must be writable
   */
  across(
    low: number,
    high: number,
    bytes: number,
    user: boolean,
    write: boolean,
    stores: boolean,
    u8: Uint8Array,
    field: number,
  ): boolean {
    const table = this.of(user, write);
    const page = (low & ~0xfff) >>> 0;
    const next = page + 4096;
    const first = next < 2 ** 32 ? table.find(page, high) : -1;
    const second = first < 0 ? -1 : table.find(next, high);
    if (second < 0) return false;
    const at = (table.addend(first) + low) >>> 0;
    const inFirst = next - (low >>> 0);
    const goesOn = ((table.addend(second) + next) >>> 0) - inFirst;
    if (!stores) u8.fill(0, field, field + 8);
    for (let i = 0; i < bytes; i++) {
      const host = (i < inFirst ? at : goesOn) + i;
      if (stores) u8[host] = u8[field + i]!;
      else u8[field + i] = u8[host]!;
    }
    return true;
  }
  flush(keepGlobal: boolean): void {
    this.lifted.forgetAll();
    for (const table of this.all) table.flush(keepGlobal);
  }
  /** Drops what is known of linear pages within 4 GiB. */
  drop(first: number, high: number, bytes: number): void {
    for (let low = first; low < first + bytes; low += 4096) {
      this.lifted.forget(low, high);
      for (const table of this.all) table.drop(low, high);
    }
  }
  /** Drops what is known of writes to a page of the host's memory. */
  forgetWrites(host: number): void {
    this.lifted.forgetAll();
    for (const table of this.writes) table.forget(host);
  }
  flushWrites(): void {
    for (const table of this.writes) table.flush(false);
  }
}
