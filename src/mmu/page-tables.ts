/**
 * The tables by which guest-physical memory finds a page (physical-memory.ts), made for the maps of both address spaces: by
 * number for most pages, by a map for those far up and for what only processors in system-management mode see.
 */
import type { MemoryMap, MemoryRegion } from './memory-map.ts';

/** Added to a physical address: that address in system-management mode. */
export const SMM_ALIAS = 2 ** 52;
/** Page numbers of aliases begin here. */
export const firstAlias = SMM_ALIAS / 4096;
/** Pages from 16 GiB on, and aliases, are found by a map rather than by their number. */
export const densePages = 2 ** 22;

export interface PageTables {
  /** Entries: first those of pages that are found by their number, then the others. -1 = not RAM or ROM. */
  readonly hostPage: Int32Array;
  /** How many are found by their number. */
  readonly pages: number;
  /** In system-management mode: page -> the page that lies there. */
  readonly smmPages: Map<number, number>;
  /** Page -> index of its entry, for the others, and the smallest of their numbers. */
  readonly sparse: Map<number, number>;
  readonly firstSparse: number;
}

/** @param entry of a region's page, whose number in the buffer is `host` */
export function pageTables(
  normal: MemoryMap,
  smm: MemoryMap,
  entry: (region: MemoryRegion, host: number) => number,
): PageTables {
  const pages = Math.min(normal.slots.at(-1)?.to ?? 0, densePages);
  const smmPages = new Map<number, number>();
  const sparse = new Map<number, number>();
  const entries: number[] = [];
  let firstSparse = Number.POSITIVE_INFINITY;
  const addSparse = (page: number, made: number) => {
    sparse.set(page, pages + entries.length);
    entries.push(made);
    firstSparse = Math.min(firstSparse, page);
  };
  for (const { region, from, to, host } of smm.slots)
    for (let page = from; page < to; page++) {
      const at = host + page - from;
      // Memory that the normal space shows as well is that page of it.
      const shown = normal.slots.find(
        (s) =>
          s.region.kind === region.kind && s.region.fill === region.fill && at >= s.host && at - s.host < s.to - s.from,
      );
      if (shown === undefined) addSparse(firstAlias + page, entry(region, at));
      smmPages.set(page, shown === undefined ? firstAlias + page : shown.from + at - shown.host);
    }
  const dense = new Int32Array(pages).fill(-1);
  for (const { region, from, to, host } of normal.slots)
    for (let page = from; page < to; page++)
      if (page < pages) dense[page] = entry(region, host + page - from);
      else addSparse(page, entry(region, host + page - from));
  let hostPage = dense;
  if (entries.length > 0) {
    hostPage = new Int32Array(pages + entries.length);
    hostPage.set(dense);
    hostPage.set(entries, pages);
  }
  return { hostPage, pages, smmPages, sparse, firstSparse };
}
