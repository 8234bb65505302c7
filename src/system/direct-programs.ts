/**
 * The programs beside the processor that translated code has asked lately, where it finds them by itself: their functions in
 * the table of regions, and which accesses each is for in the vCPU's block (layout.ts). A port and direction have one place.
 */

import type { DirectAccess } from '../mmu/direct-access.ts';
import type { Mmu } from '../mmu/mmu.ts';
import type { CpuState } from '../state/cpu-state.ts';
import { directMemoryEntries, directPortBits, directPortsOffset } from '../state/layout.ts';
import { DirectMemory } from './direct-memory.ts';

const portMask = (1 << directPortBits) - 1;
const places = 2 << directPortBits;
/** The first place in the table; none is at 0. */
const firstSlot = 1;
const firstMemorySlot = firstSlot + places;
/** The first that is free for regions. */
export const firstRegionSlot = firstMemorySlot + directMemoryEntries;

/** The place of a port's accesses. */
export const portPlace = (port: number, write: boolean): number => (write ? portMask + 1 : 0) + (port & portMask);
/** What stands at a place; 0 = nothing. */
export const portKey = (port: number, bytes: number): number => port | (bytes << 16);
export const slotOf = (place: number): number => firstSlot + place;

export class DirectPrograms {
  private readonly u32: Uint32Array;
  private readonly table: WebAssembly.Table;
  private readonly used = new Set<number>();
  /** The same for accesses to memory. */
  readonly memory: DirectMemory;

  constructor(state: CpuState, table: WebAssembly.Table) {
    this.u32 = state.u32;
    this.table = table;
    this.memory = new DirectMemory(state, table, firstMemorySlot);
  }
  attach(mmu: Mmu): void {
    this.memory.attach(mmu);
  }
  /** This program answers such accesses, until {@link forget}. */
  setPort(port: number, bytes: 1 | 2 | 4, write: boolean, access: DirectAccess): void {
    const place = portPlace(port, write);
    this.table.set(slotOf(place), access);
    this.u32[(directPortsOffset >> 2) + place] = portKey(port, bytes);
    this.used.add(place);
  }
  /** Programs, or what is done at accesses besides asking them, may be others now. */
  forget(): void {
    for (const place of this.used) {
      this.u32[(directPortsOffset >> 2) + place] = 0;
      this.table.set(slotOf(place), null);
    }
    this.used.clear();
    this.memory.forget();
  }
}
