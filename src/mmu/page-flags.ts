/**
 * What is known of a page of the VM's memory beside its contents, and who must be told when writes to it are to be seen. The
 * flags belong to the memory, not to a place where it is shown (src/mmu/physical-memory.ts).
 */

/** The page holds translated code: writes are announced. */
export const PAGE_CODE = 1;
/** Read-only: writes go to the MMIO handler, as KVM's read-only slots do. */
export const PAGE_ROM = 2;
/** Some dirty log is on and the page is clean in it: the first write makes it dirty. */
export const PAGE_LOG = 4;
/** Some vCPU's look-aside tables may hold a write entry for the page. */
export const PAGE_WRITE_MAPPED = 8;
/** Somebody wants to know of the page before it is written again. */
export const PAGE_FROZEN = 16;
/** The page's contents are still elsewhere (page-sources.ts). Every entry of a page table for it says so as well. */
export const PAGE_ABSENT = 32;
/** Flags that keep a page out of the look-aside tables for writes. */
export const PAGE_SLOW_WRITE = PAGE_CODE | PAGE_ROM | PAGE_LOG | PAGE_FROZEN;

/** Which processors see a map. */
export type AddressSpace = 'normal' | 'smm';
export const spaces = ['normal', 'smm'] as const;

/** Who keeps copies of the page table: the vCPUs' MMUs. */
export interface PageWatcher {
  /** Writes to the memory at this byte offset, a page, must be seen from now on. */
  pageProtected(host: number): void;
  /** The same for many pages: nothing that is remembered of writes holds. */
  writesProtected(): void;
  /** Regions or the A20 gate changed: nothing remembered holds. */
  mapChanged(): void;
}
