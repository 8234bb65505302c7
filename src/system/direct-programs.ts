/**
 * The programs beside the processor that translated code has asked lately, where it finds them by itself: their functions in
 * the table of regions, and which accesses each is for in the vCPU's block (layout.ts). A port and direction have one place.
 */
import type { CpuState } from '../state/cpu-state.ts';
import { directPortBits, directPortsOffset } from '../state/layout.ts';

/**
 * A program's function for other generated code: address in halves, twice the size plus 1 for a write, the value that is
 * written. The answer is -1 if it passes the access on, else the value that was read, or 0. It calls nobody who could change
 * more than the program's own memory.
 */
export type DirectAccess = (low: number, high: number, way: number, value: number) => bigint;

const portMask = (1 << directPortBits) - 1;
const places = 2 << directPortBits;
/** The first place in the table; none is at 0. */
const firstSlot = 1;
/** The first that is free for regions. */
export const firstRegionSlot = firstSlot + places;

/** The place of a port's accesses. */
export const portPlace = (port: number, write: boolean): number => (write ? portMask + 1 : 0) + (port & portMask);
/** What stands at a place; 0 = nothing. */
export const portKey = (port: number, bytes: number): number => port | (bytes << 16);
export const slotOf = (place: number): number => firstSlot + place;

export class DirectPrograms {
  private readonly u32: Uint32Array;
  private readonly table: WebAssembly.Table;
  private readonly used = new Set<number>();

  constructor({ u32 }: CpuState, table: WebAssembly.Table) {
    this.u32 = u32;
    this.table = table;
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
  }
}
