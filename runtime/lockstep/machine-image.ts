/**
 * A machine in RAM, as data: CPL 3 behind paging, every exception delivered to a handler that halts. The functions fill an
 * image of guest RAM with descriptor tables and page tables, code and data page. Nothing here knows an engine. (SDM volume
 * 3A, chapters 3, 4 and 6.)
 *
 * The selectors are those of a Linux process, in which hardware vectors are recorded, so that error codes and pushed
 * selectors agree with them.
 */

/** Size of code. */
export type Mode = 16 | 32 | 64;

/** Physical layout of the image; linear equals physical here, for the supervisor alone. */
export const IMAGE = {
  size: 0x40000,
  gdt: 0x1000,
  ldt: 0x1100,
  tss: 0x1200,
  idt: 0x2000,
  /** vector n is handled at `handlers + 16 * n` by HLT (0xF4) */
  handlers: 0x3000,
  stackTop: 0x5000,
  pageTables: 0x8000,
  code: 0x20000,
  data: 0x21000,
} as const;

/** A segment register with its descriptor. */
export interface Segment {
  readonly selector: number;
  readonly base: number;
  /** in bytes, inclusive */
  readonly limit: number;
  /** descriptor bits 8-15 in bits 0-7, bits 20-23 in bits 12-15; bit 16 = usable */
  readonly access: number;
}
export type SegmentName = 'es' | 'cs' | 'ss' | 'ds' | 'fs' | 'gs' | 'ldtr' | 'tr';
/** How linear addresses are translated; modes 32 and 16 under `4-level` and `5-level` are compatibility mode. */
export type Paging = '32-bit' | 'pae' | '4-level' | '5-level';
/** How many levels of tables a linear address is looked up in. */
export const levelsOf: Readonly<Record<Paging, number>> = { '32-bit': 2, pae: 3, '4-level': 4, '5-level': 5 };
const isLong = (paging: Paging): boolean => levelsOf[paging] >= 4;

/** System registers of the machine; CPL is 3. */
export interface Machine {
  readonly mode: Mode;
  readonly paging: Paging;
  readonly cr0: number;
  readonly cr3: number;
  readonly cr4: number;
  readonly efer: number;
  readonly xcr0: number;
  readonly gdtr: { readonly base: number; readonly limit: number };
  readonly idtr: { readonly base: number; readonly limit: number };
  readonly segments: Readonly<Record<SegmentName, Segment>>;
}

/** RFLAGS bits that are set besides a vector's own flags: IF and bit 1. */
export const RFLAGS_ALWAYS = 0x202;
/** Where code and data stand in linear memory. */
const CODE_PAGES: Record<Mode, readonly number[]> = {
  64: [0x34500000, 0x1234500000],
  32: [0x20000000],
  16: [0x20000000],
};
const DATA_PAGES: Record<Mode, readonly number[]> = {
  64: [0x34567000, 0x1234567000],
  32: [0x30000000],
  16: [0x30000000],
};

const USABLE = 0x10000;
const FLAT = 0xffffffff;
const segment = (selector: number, access: number, base = 0, limit = FLAT): Segment => ({
  selector,
  base,
  limit,
  access: access | USABLE,
});
const NULL_SEGMENT: Segment = { selector: 0, base: 0, limit: 0, access: 0 };
const KERNEL_CODE32 = segment(0x08, 0xc09b);
const KERNEL_CODE64 = segment(0x10, 0xa09b);
const KERNEL_DATA = segment(0x18, 0xc093);
const USER_CODE32 = segment(0x23, 0xc0fb);
const USER_DATA = segment(0x2b, 0xc0f3);
const USER_CODE64 = segment(0x33, 0xa0fb);
const USER_CODE16 = segment(0x07, 0x00fb, CODE_PAGES[16][0]!, 0xfff);
const USER_DATA16 = segment(0x0f, 0x00f3, DATA_PAGES[16][0]!, 0xfff);
const TASK = segment(0x40, 0x008b, IMAGE.tss, 0x67);
const LOCAL_TABLE = segment(0x50, 0x0082, IMAGE.ldt, 15);

const GDT_LIMIT = 0x7f;
const PE_MP_ET_NE_WP_PG = 0x80010033;
const CR4_PAE = 0x20;
const CR4_LA57 = 0x1000;
const CR4_OSFXSR_OSXMMEXCPT_OSXSAVE = 0x40600;
/** x87, SSE and AVX state. */
const XCR0 = 7;
const EFER_LME_LMA = 0x500;
const EFER_NXE = 0x800;

/** Fills `ram` (at least `IMAGE.size` bytes) with the tables of a machine for `mode`. */
export function buildMachine(
  ram: Uint8Array,
  mode: Mode,
  paging: Paging = mode === 64 ? '4-level' : '32-bit',
): Machine {
  if (ram.length < IMAGE.size) throw new Error(`machine: ${ram.length} bytes of RAM, needs ${IMAGE.size}`);
  if (mode === 64 && !isLong(paging)) throw new Error(`machine: mode 64 under ${paging} paging`);
  ram.fill(0, 0, IMAGE.size);
  const long = isLong(paging);
  const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  for (const one of [
    KERNEL_CODE32,
    KERNEL_CODE64,
    KERNEL_DATA,
    USER_CODE32,
    USER_DATA,
    USER_CODE64,
    TASK,
    LOCAL_TABLE,
  ]) {
    putDescriptor(view, IMAGE.gdt, one);
  }
  putDescriptor(view, IMAGE.ldt, USER_CODE16);
  putDescriptor(view, IMAGE.ldt, USER_DATA16);
  view.setUint32(IMAGE.tss + 4, IMAGE.stackTop, true); // ESP0 or RSP0
  if (!long) view.setUint32(IMAGE.tss + 8, KERNEL_DATA.selector, true);
  view.setUint16(IMAGE.tss + 0x66, 0x68, true); // no I/O bitmap
  for (let vector = 0; vector < 256; vector++) {
    ram[IMAGE.handlers + 16 * vector] = 0xf4;
    putGate(view, vector, long);
  }
  const cr3 = new PageTables(view, paging, mode).root;
  const [code, data] =
    mode === 64 ? [USER_CODE64, USER_DATA] : mode === 32 ? [USER_CODE32, USER_DATA] : [USER_CODE16, USER_DATA16];
  return {
    mode,
    paging,
    cr0: PE_MP_ET_NE_WP_PG,
    cr3,
    cr4: CR4_OSFXSR_OSXMMEXCPT_OSXSAVE | (paging === '32-bit' ? 0 : CR4_PAE) | (paging === '5-level' ? CR4_LA57 : 0),
    xcr0: XCR0,
    efer: paging === '32-bit' ? 0 : long ? EFER_NXE | EFER_LME_LMA : EFER_NXE,
    gdtr: { base: IMAGE.gdt, limit: GDT_LIMIT },
    idtr: { base: IMAGE.idt, limit: 256 * (long ? 16 : 8) - 1 },
    segments: {
      es: data,
      cs: code,
      ss: data,
      ds: data,
      fs: NULL_SEGMENT,
      gs: NULL_SEGMENT,
      ldtr: LOCAL_TABLE,
      tr: TASK,
    },
  };
}

function putDescriptor(view: DataView, table: number, { selector, base, limit, access }: Segment): void {
  const at = table + (selector & ~7);
  const units = access & 0x8000 ? limit >>> 12 : limit;
  view.setUint16(at, units, true);
  view.setUint16(at + 2, base, true);
  view.setUint8(at + 4, base >>> 16);
  view.setUint8(at + 5, access);
  view.setUint8(at + 6, ((units >>> 16) & 15) | ((access >> 8) & 0xf0));
  view.setUint8(at + 7, base >>> 24);
}

/** An interrupt gate; only vectors 3 and 4 can be reached by INT from CPL 3. */
function putGate(view: DataView, vector: number, long: boolean): void {
  const at = IMAGE.idt + vector * (long ? 16 : 8);
  const handler = IMAGE.handlers + 16 * vector;
  view.setUint16(at, handler, true);
  view.setUint16(at + 2, (long ? KERNEL_CODE64 : KERNEL_CODE32).selector, true);
  view.setUint16(at + 4, vector === 3 || vector === 4 ? 0xee00 : 0x8e00, true);
  view.setUint16(at + 6, handler >>> 16, true);
}

/** Page tables for the image (supervisor) and the pages of code and data (user; the data page not executable where NX exists). */
class PageTables {
  readonly root: number;
  readonly #view: DataView;
  readonly #paging: Paging;
  #free: number = IMAGE.pageTables;

  constructor(view: DataView, paging: Paging, mode: Mode) {
    this.#view = view;
    this.#paging = paging;
    this.root = this.#table();
    for (let page = 0; page < IMAGE.size; page += 0x1000) this.#map(page, page, 3, false);
    for (const page of CODE_PAGES[mode]) this.#map(page, IMAGE.code, 7, false);
    for (const page of DATA_PAGES[mode]) this.#map(page, IMAGE.data, 7, paging !== '32-bit');
  }

  #table(): number {
    const table = this.#free;
    this.#free += 0x1000;
    return table;
  }

  #map(linear: number, physical: number, flags: number, noExecute: boolean): void {
    const wide = this.#paging !== '32-bit';
    const bits = wide ? 9 : 10;
    const levels = levelsOf[this.#paging];
    let table = this.root;
    for (let level = levels - 1; ; level--) {
      const index = Math.floor(linear / 2 ** (12 + bits * level)) % 2 ** bits;
      const at = table + index * (wide ? 8 : 4);
      if (level === 0) {
        this.#view.setUint32(at, physical | flags, true);
        if (noExecute) this.#view.setUint32(at + 4, 0x8000_0000, true);
        return;
      }
      let entry = this.#view.getUint32(at, true);
      // the four entries of the PAE root have no write and user bits
      if (entry === 0) this.#view.setUint32(at, (entry = this.#table() | (level === 2 && levels === 3 ? 1 : 7)), true);
      table = entry & ~0xfff;
    }
  }
}
