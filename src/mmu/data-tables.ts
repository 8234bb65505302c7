/**
 * The look-aside tables for data in a vCPU's block: for reads and writes of the system and of programs, and small ones for
 * their stacks, which hold pages that are read and written.
 */
import type { CpuState } from '../state/cpu-state.ts';
import { stackTlbBits, stackTlbOffsets, tlbBits, tlbNeverOffset, tlbOffsets } from '../state/layout.ts';
import { LiftedPages } from './lifted-pages.ts';
import { LookAside } from './look-aside.ts';

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
  flush(keepGlobal: boolean): void {
    this.lifted.forgetAll();
    for (const table of this.all) table.flush(keepGlobal);
  }
  /** Drops what is known of a linear page. */
  drop(low: number, high: number): void {
    this.lifted.forget(low, high);
    for (const table of this.all) table.drop(low, high);
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
