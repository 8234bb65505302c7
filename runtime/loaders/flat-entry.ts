/**
 * The world of a guest that comes without a boot protocol: descriptor tables, a small stack, and in long mode page
 * tables that map the first 4 GiB one to one. All of it is built below 640 KiB, outside of the image:
 *
 *   +0x0000  stack, 4 KiB, growing down from +0x1000
 *   +0x1000  GDT: null, 0x08 code, 0x10 data
 *   +0x2000  PML4, PDPT, four page directories of 2 MiB pages (long mode only)
 */
import { clear, type GuestRam, gpr, type InitialState, registers } from './initial-state.ts';
import { findLowMemory, type Range } from './low-memory.ts';

const pageSize = 0x1000;
const directories = 4;
const selectors = { code: 0x08, data: 0x10 } as const;
/** Present, writable (SDM 3A 4.5, tables 4-15 to 4-17). */
const tableEntry = 0x03;
/** Present, writable, 2 MiB page. */
const largePage = 0x83;
/** Flat code and data descriptors, accessed, 4 GiB, DPL 0 (SDM 3A 3.4.5); the 64-bit code one has L instead of D. */
const descriptors = {
  code32: [0x0000_ffff, 0x00cf_9b00],
  code64: [0x0000_ffff, 0x00af_9b00],
  data: [0x0000_ffff, 0x00cf_9300],
} as const;

/** Builds the tables for a flat guest and says how to enter it at `entry`. */
export function flatEntry(
  ram: GuestRam,
  taken: readonly Range[],
  mode: 'protected' | 'long',
  entry: number,
): InitialState {
  const pages = mode === 'long' ? 2 + 2 + directories : 2;
  const base = findLowMemory(ram.bytes.length, taken, pages * pageSize, 'the descriptor and page tables');
  clear(ram, base, base + pages * pageSize);
  const view = new DataView(ram.bytes.buffer, ram.bytes.byteOffset, ram.bytes.length);

  const gdt = base + pageSize;
  const code = mode === 'long' ? descriptors.code64 : descriptors.code32;
  for (const [selector, words] of [
    [selectors.code, code],
    [selectors.data, descriptors.data],
  ] as const) {
    view.setUint32(gdt + selector, words[0], true);
    view.setUint32(gdt + selector + 4, words[1], true);
  }

  let pageTables: number | null = null;
  if (mode === 'long') {
    pageTables = base + 2 * pageSize;
    const pointers = pageTables + pageSize;
    const firstDirectory = pointers + pageSize;
    view.setUint32(pageTables, pointers | tableEntry, true);
    for (let directory = 0; directory < directories; directory++) {
      view.setUint32(pointers + directory * 8, (firstDirectory + directory * pageSize) | tableEntry, true);
    }
    for (let page = 0; page < directories * 512; page++) {
      view.setUint32(firstDirectory + page * 8, (page * 0x20_0000 + largePage) >>> 0, true);
    }
  }
  return {
    mode,
    rip: entry,
    gpr: registers({ [gpr.rsp]: base + pageSize }),
    codeSelector: selectors.code,
    dataSelector: selectors.data,
    a20: true,
    pageTables,
    gdt: { base: gdt, limit: 0x17 },
  };
}
