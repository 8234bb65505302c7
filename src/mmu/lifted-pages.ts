/**
 * The user pages that a supervisor has reached while EFLAGS.AC lifted SMAP: their entries in the supervisor's look-aside
 * tables are in force while AC is set, and hidden while it is not. SDM volume 3, section 5.6.
 *
 * The list stands in the vCPU's block, since STAC and CLAC are done in generated code (jit/smap.ts, which does the same as
 * {@link LiftedPages.allow}). A page has two places in a table, and may move from one to the other.
 */
import type { CpuState } from '../state/cpu-state.ts';
import { liftedOffset, liftedPages, offsetOf } from '../state/layout.ts';
import type { LookAside } from './look-aside.ts';
import type { SavedPages } from './saved-pages.ts';

const LIST = liftedOffset >> 2;
const COUNT = offsetOf('liftedCount') >> 2;
const SHOWN = offsetOf('liftedShown') >> 2;

export class LiftedPages {
  private readonly u32: Uint32Array;
  private readonly tables: readonly LookAside[];
  /** The place in the list that the next page takes from another, where all are taken. */
  private next = 0;

  /** @param tables the supervisor's */
  constructor({ u32 }: CpuState, tables: readonly LookAside[]) {
    this.u32 = u32;
    this.tables = tables;
  }
  /** The tables hold pages that only explicit accesses may reach. */
  get inForce(): boolean {
    return this.u32[SHOWN] !== 0 && this.u32[COUNT] !== 0;
  }
  /** A page has been entered while AC is set. */
  note(low: number, high: number): void {
    const { u32 } = this;
    let place = u32[COUNT]!;
    if (place < liftedPages) u32[COUNT] = place + 1;
    else {
      place = this.next;
      this.next = (place + 1) % liftedPages;
      this.drop(u32[LIST + place * 2]!, u32[LIST + place * 2 + 1]!);
    }
    u32[LIST + place * 2] = low;
    u32[LIST + place * 2 + 1] = high;
  }
  /** Nothing is known of a page any more, whatever AC is. */
  forget(low: number, high: number): void {
    const { u32 } = this;
    for (let i = 0; i < u32[COUNT]!; i++) {
      const at = LIST + i * 2;
      if (u32[at] !== low || u32[at + 1] !== high >>> 0) continue;
      this.drop(low, high);
      const last = LIST + --u32[COUNT]! * 2;
      u32[at] = u32[last]!;
      u32[at + 1] = u32[last + 1]!;
      return;
    }
  }
  forgetAll(): void {
    const { u32 } = this;
    for (let at = LIST; at < LIST + u32[COUNT]! * 2; at += 2) this.drop(u32[at]!, u32[at + 1]!);
    u32[COUNT] = 0;
  }
  /** Adds what the tables say of local pages to lists, one for each table, and forgets all. */
  leave(into: readonly SavedPages[]): void {
    const { u32, tables } = this;
    const end = LIST + u32[COUNT]! * 2;
    for (let i = 0; i < tables.length; i++)
      for (let at = LIST; at < end; at += 2) {
        const [low, high] = [u32[at]!, u32[at + 1]!];
        tables[i]!.hide(low, high, false);
        tables[i]!.saveOne(low, high, into[i]!);
        tables[i]!.dropBoth(low, high);
      }
    u32[COUNT] = 0;
  }
  /** The pages of such a list were put back into their table: they are hidden as the others are. */
  enter({ words, used }: SavedPages): void {
    for (let i = 0; i < used; i += 3) {
      const [low, high] = [words[i]!, words[i + 1]!];
      if (!this.has(low, high)) this.note(low, high);
      if (this.u32[SHOWN] === 0) for (const table of this.tables) table.hide(low, high, true);
    }
  }
  private has(low: number, high: number): boolean {
    const { u32 } = this;
    for (let at = LIST; at < LIST + u32[COUNT]! * 2; at += 2) if (u32[at] === low && u32[at + 1] === high) return true;
    return false;
  }
  /** @param lifted EFLAGS.AC */
  allow(lifted: boolean): void {
    const { u32 } = this;
    if ((u32[SHOWN] !== 0) === lifted) return;
    u32[SHOWN] = lifted ? 1 : 0;
    for (let at = LIST; at < LIST + u32[COUNT]! * 2; at += 2)
      for (const table of this.tables) table.hide(u32[at]!, u32[at + 1]!, !lifted);
  }
  private drop(low: number, high: number): void {
    for (const table of this.tables) table.dropBoth(low, high);
  }
}
