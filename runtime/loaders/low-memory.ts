/**
 * Where loaders put what they make themselves - page tables, descriptor tables, the multiboot information: the RAM below
 * 640 KiB, from its top downwards, around whatever the image occupies. The first 4 KiB (interrupt vectors, BIOS data)
 * are left alone.
 */
import { LoaderError } from '../errors.ts';

/** End of conventional memory; above it lie video memory and firmware. */
export const lowMemoryEnd = 0x9_f000;
const lowMemoryStart = 0x1000;
const pageSize = 0x1000;

/** A half-open range of guest-physical addresses. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** The highest page-aligned place below 640 KiB with room for `length` bytes outside of `taken`. */
export function findLowMemory(ramSize: number, taken: readonly Range[], length: number, purpose: string): number {
  const size = Math.ceil(length / pageSize) * pageSize;
  const end = Math.min(lowMemoryEnd, Math.floor(ramSize / pageSize) * pageSize);
  for (let start = end - size; start >= lowMemoryStart; ) {
    const blocker = taken.find((range) => range.start < start + size && start < range.end);
    if (blocker === undefined) return start;
    start = Math.floor(blocker.start / pageSize) * pageSize - size;
  }
  throw new LoaderError('no-low-memory', `no ${length} bytes are free below 640 KiB for ${purpose}`);
}
