/**
 * The programs beside the processor that translated code has asked lately for accesses to memory, where it finds them by
 * itself (jit/direct-memory.ts): by linear address and kind of access. Devices' pages are in no look-aside table, and each
 * access walks the page tables: here what the walk found holds as long as the words that it read are what they were.
 *
 * An entry: linear address u64, context u32, kind u32 (twice the size plus 1 for a write); physical address in halves, place
 * in the table, number of guards, u32 each; then the guards: address u32, nothing u32, what stands there u64.
 */

import { addressOf, fitsLinear } from '../mmu/linear.ts';
import type { Mmu } from '../mmu/mmu.ts';
import { PAGING_5_LEVEL, PAGING_32, PAGING_OFF, PAGING_PAE } from '../mmu/walk.ts';
import type { CpuState } from '../state/cpu-state.ts';
import { directMemoryEntries, directMemoryEntryBytes, directMemoryOffset, offsetOf } from '../state/layout.ts';

/** Offsets in an entry. */
export const directEntry = {
  linear: 0,
  context: 8,
  way: 12,
  low: 16,
  high: 20,
  slot: 24,
  guards: 28,
  first: 32,
} as const;
export const guardBytes = 16;
const mostGuards = (directMemoryEntryBytes - directEntry.first) / guardBytes;

/** Place of an address. */
export const memoryPlace = (low: number): number => ((low >>> 2) ^ (low >>> 12)) & (directMemoryEntries - 1);

const ARGUMENT3 = offsetOf('argument3') >> 2;
const CONTEXT = offsetOf('context') >> 2;
const CPL = offsetOf('cpl') >> 2;

/** A request with this bit tells that the program was asked and has passed the access on. */
export const passedWay = 16;

export class DirectMemory {
  private readonly state: CpuState;
  private readonly table: WebAssembly.Table;
  private readonly firstSlot: number;
  private readonly used = new Set<number>();
  private mmu: Mmu | null = null;

  constructor(state: CpuState, table: WebAssembly.Table, firstSlot: number) {
    this.state = state;
    this.table = table;
    this.firstSlot = firstSlot;
  }
  /** Whose walks these are. */
  attach(mmu: Mmu): void {
    this.mmu = mmu;
    const { onFlush } = mmu;
    mmu.onFlush = (scope) => {
      onFlush(scope);
      // Guards know of a load of CR3, and of what INVLPG is for.
      if (scope === 'all') this.forget();
    };
  }

  /**
   * Translated code looks for the program that answers an access at the linear address in the field argument3; or it has asked
   * it, and it has passed the access on.
   * @returns whether the program can be asked now
   */
  find(request: number): boolean {
    const { state, mmu } = this;
    const { u32, i32 } = state;
    const [low, high] = [u32[ARGUMENT3]!, i32[ARGUMENT3 + 1]!];
    const way = request & ~passedWay;
    const place = memoryPlace(low);
    const entry = (directMemoryOffset + place * directMemoryEntryBytes) >> 2;
    if (mmu === null) return false;
    const bytes = (way >> 1) as 1 | 2 | 4;
    if (way !== request) {
      const physical = addressOf(u32[entry + (directEntry.low >> 2)]!, i32[entry + (directEntry.high >> 2)]!);
      mmu.memory.passedOn(physical, bytes, (way & 1) !== 0);
      return false;
    }
    const physical = this.physicalOf(mmu, low, high, bytes, (way & 1) !== 0);
    const program = physical < 0 ? null : mmu.memory.directAt(physical, bytes, (way & 1) !== 0);
    if (program === null) return false;
    const count = this.putGuards(mmu, entry + (directEntry.first >> 2));
    if (count < 0) return false;
    u32[entry] = low;
    i32[entry + 1] = high;
    u32[entry + (directEntry.context >> 2)] = u32[CONTEXT]!;
    u32[entry + (directEntry.way >> 2)] = way;
    u32[entry + (directEntry.low >> 2)] = physical % 0x1_0000_0000;
    u32[entry + (directEntry.high >> 2)] = Math.floor(physical / 0x1_0000_0000);
    u32[entry + (directEntry.slot >> 2)] = this.firstSlot + place;
    u32[entry + (directEntry.guards >> 2)] = count;
    this.table.set(this.firstSlot + place, program);
    this.used.add(place);
    return true;
  }

  /** Where the access would go, if it is one that a walk alone decides about; -1: it may be another. */
  private physicalOf(mmu: Mmu, low: number, high: number, bytes: number, write: boolean): number {
    const { walker, watches } = mmu;
    const user = this.state.u32[CPL] === 3;
    if ((low & 0xfff) + bytes > 4096 || watches.active || walker.protectionKeys) return -1;
    if (!fitsLinear(addressOf(low, high), walker.mode === PAGING_5_LEVEL ? 57 : 48)) return -1;
    if (!walker.peek(low, high, write, user, false, false)) return -1;
    // EFLAGS.AC decides.
    if (walker.smap && walker.user && !user) return -1;
    return walker.physical + (low & 0xfff);
  }

  /** Everything that the last walk has read. @returns how many; -1: too many, or not all of it in memory */
  private putGuards(mmu: Mmu, at: number): number {
    const { walker, memory } = mmu;
    const { u32, base } = this.state;
    if (walker.mode === PAGING_OFF) return 0;
    const places = [base + offsetOf('cr3')];
    if (walker.mode === PAGING_PAE) for (const i of [0, 1, 2, 3]) places.push(base + offsetOf(`pdpte${i}`));
    for (const address of walker.entryPlaces) {
      const page = memory.hostOf(Math.floor(address / 4096));
      if (page === -1) return -1;
      // Of two entries of 32 bits both are looked at.
      places.push((page + (address % 4096)) & (walker.mode === PAGING_32 ? ~7 : ~0));
    }
    if (places.length > mostGuards) return -1;
    const words = new Uint32Array(u32.buffer);
    for (const [index, place] of places.entries()) {
      const guard = at + index * (guardBytes >> 2);
      u32[guard] = place;
      u32[guard + 2] = words[place >>> 2]!;
      u32[guard + 3] = words[(place >>> 2) + 1]!;
    }
    return places.length;
  }

  /** See DirectPrograms. */
  forget(): void {
    if (this.used.size === 0) return;
    for (const place of this.used) {
      this.state.u32[(directMemoryOffset + place * directMemoryEntryBytes + directEntry.context) >> 2] = 0;
      this.table.set(this.firstSlot + place, null);
    }
    this.used.clear();
  }
}
