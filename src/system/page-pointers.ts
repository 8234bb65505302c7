/** The four page-directory-pointer registers of PAE paging. SDM volume 3, section 5.4.1. */
import { physicalAddressBits } from '../mmu/walk.ts';
import { offsetOf } from '../state/layout.ts';
import type { Processor } from './processor.ts';

const PDPTE = offsetOf('pdpte0') >> 2;
const PRESENT = 1;
const RESERVED_LOW = 0x1e6;
const reservedHigh = -(2 ** (physicalAddressBits - 32)) >>> 0;

/** Not present, or without reserved bits. */
export const isPointer = (low: number, high: number): boolean =>
  (low & PRESENT) === 0 || ((low & RESERVED_LOW) === 0 && (high & reservedHigh) === 0);

/** The entries that CR3 points to, low and high halves alternating; null if a present one has a reserved bit set. */
export function readPointers(p: Processor, cr3: number): number[] | null {
  const found: number[] = [];
  const table = (cr3 & ~31) >>> 0;
  for (let i = 0; i < 8; i += 2) {
    const low = p.memory.read32(p.mmu.walker.place(table + i * 4));
    const high = p.memory.read32(p.mmu.walker.place(table + i * 4 + 4));
    if (!isPointer(low, high)) return null;
    found.push(low, high);
  }
  return found;
}

/** Takes entries over; the MMU is told by whoever changes the control registers. */
export function setPointers(p: Processor, entries: readonly number[]): void {
  for (let i = 0; i < 8; i++) p.state.u32[PDPTE + i] = entries[i]!;
}

/** Both; false = a reserved bit, nothing changed. */
export function loadPointers(p: Processor, cr3: number): boolean {
  const entries = readPointers(p, cr3);
  if (entries === null) return false;
  setPointers(p, entries);
  return true;
}
