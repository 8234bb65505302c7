/**
 * A small guest for comparing engines: a virtual machine with descriptor tables, an IDT whose handlers halt, page tables,
 * four pages of code and eight of data, in any mode, in an interpreter or in both engines.
 *
 * The code pages follow each other in linear memory and not in physical memory. Of the data pages the sixth is read-only and
 * the seventh is not present.
 */

import { type Translate, translate as translateRegion } from '../../jit/translate.ts';
import type { Translator } from '../../jit/translator.ts';
import type { Context } from '../../src/execute/context.ts';
import type { Regions } from '../../src/execute/regions.ts';
import { openBus } from '../../src/mmu/physical-memory.ts';
import { layout } from '../../src/state/layout.ts';
import type { CpuModelName } from '../../src/system/cpu-models.ts';
import type { CpuidPolicy } from '../../src/system/cpuid-policy.ts';
import type { VmModules } from '../vm/options.ts';
import { cpuBase } from '../vm/places.ts';
import type { Vcpu } from '../vm/vcpu.ts';
import { Vm } from '../vm/vm.ts';
import { buildMachine, IMAGE, levelsOf, type Machine, type Paging, type Segment } from './machine-image.ts';
import { firstDifference } from './same-bytes.ts';

/** Guest modes: 64-bit, flat 32-bit, 32-bit with segments, 16-bit protected, virtual-8086, real. */
export type GuestMode = '64' | '32' | '32-segments' | '16' | 'v86' | 'real';
export const guestModes: readonly GuestMode[] = ['64', '32', '32-segments', '16', 'v86', 'real'];

export interface GuestKind {
  readonly mode: GuestMode;
  /** Real mode has neither paging nor privilege. */
  readonly cpl: 0 | 3;
  readonly paging: Paging;
  /** The I/O privilege level (0). */
  readonly iopl?: 0 | 3;
  /** Linear addresses of code and data. */
  readonly code: bigint;
  readonly data: bigint;
}

export const CODE_PAGES = 4;
export const DATA_PAGES = 8;
export const READ_ONLY_PAGE = 5;
export const ABSENT_PAGE = 6;
export const RAM_BYTES = 0x80000;
/** The code pages can be reached a second time, for data, so far below their place in linear memory. */
export const CODE_ALIAS = 0x8000;
/** Selector of a data segment over the code pages, or over their second place, in protected modes with segments. */
export const codeSelector = (kind: GuestKind, alias: boolean): number => (alias ? 0x68 : 0x60) | kind.cpl;
/** Physical pages of code and data; in real mode code and data lie at the first of each, in order. */
const CODE = 0x50000;
const DATA = 0x60000;
const TABLES = 0x38000;
const codePhysical = (kind: GuestKind, page: number): number =>
  kind.mode === 'real' ? CODE + page * 4096 : CODE + (CODE_PAGES - 1 - page) * 8192;
const dataPhysical = (page: number): number => DATA + page * 4096;

export const codeSizeOf = (mode: GuestMode): 64 | 32 | 16 =>
  mode === '64' ? 64 : mode === '32' || mode === '32-segments' ? 32 : 16;
export const isFlat = (mode: GuestMode): boolean => mode === '64' || mode === '32';
/** Instruction pointer of the first byte of code, and offset of the first byte of data in its segment. */
export const codeStart = (kind: GuestKind): bigint => (isFlat(kind.mode) ? kind.code : 0n);
export const dataStart = (kind: GuestKind): bigint => (isFlat(kind.mode) ? kind.data : 0n);

/** Adds pages to the page tables that `buildMachine` has made. */
class PageMapper {
  private readonly view: DataView;
  private readonly machine: Machine;
  private free = TABLES;

  constructor(ram: Uint8Array, machine: Machine) {
    this.view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
    this.machine = machine;
  }
  map(linear: bigint, physical: number, flags: number): void {
    const { view, machine } = this;
    const wide = machine.paging !== '32-bit';
    const bits = wide ? 9n : 10n;
    const levels = levelsOf[machine.paging];
    let table = machine.cr3;
    for (let level = levels - 1; ; level--) {
      const index = Number((BigInt.asUintN(57, linear) >> (12n + bits * BigInt(level))) & ((1n << bits) - 1n));
      const at = table + index * (wide ? 8 : 4);
      if (level === 0) return view.setUint32(at, physical | flags, true);
      let entry = view.getUint32(at, true);
      if ((entry & 1) === 0) {
        entry = this.free | (machine.paging === 'pae' && level === 2 ? 1 : 7);
        this.free += 4096;
        view.setUint32(at, entry, true);
      }
      table = entry & ~0xfff;
    }
  }
}

const CR4_OSXSAVE = 1 << 18;
const USABLE = 0x10000;
const INT3 = 0xcc;
/** For made code: there may be a hundred guests at a time, and they are to drop theirs now and then. */
const codeMemory = 2 << 20;
const RFLAGS_VM = 0x20000;
/** Guest-physical ranges that can be taken out of the map; nothing of the guest lies there. */
const HOLES = [
  [0x48000, 0x50000],
  [0x58000, 0x60000],
  [0x7c000, 0x80000],
] as const;
const pattern = (i: number): number => (i * 31 + 0x5a) & 0xff;

/** Segments of the program, by mode and privilege. */
function segmentsOf(kind: GuestKind, machine: Machine): Record<'cs' | 'data', Segment> | null {
  const { mode, cpl } = kind;
  const make = (selector: number, base: bigint, limit: number, access: number): Segment => ({
    selector,
    base: Number(base),
    limit,
    access: access | USABLE | (cpl << 5),
  });
  const rpl = cpl;
  if (mode === 'real') return null;
  if (mode === 'v86') {
    const paragraph = (base: bigint): Segment => make(Number(base >> 4n), base, 0xffff, 0x93);
    return { cs: paragraph(kind.code), data: paragraph(kind.data) };
  }
  if (mode === '64' || mode === '32') {
    if (cpl === 3) return { cs: machine.segments.cs, data: machine.segments.ds };
    return {
      cs: mode === '64' ? make(0x10, 0n, 0xffffffff, 0xa09b) : make(0x08, 0n, 0xffffffff, 0xc09b),
      data: make(0x18, 0n, 0xffffffff, 0xc093),
    };
  }
  const big = mode === '32-segments' ? 0x4000 : 0;
  return {
    cs: make(4 | rpl, kind.code, CODE_PAGES * 4096 - 1, big | 0x9b),
    data: make(0xc | rpl, kind.data, DATA_PAGES * 4096 - 1, big | 0x93),
  };
}

/** Where a data segment over the code pages lies. */
const codeWindow = ({ code }: GuestKind, below: number) => ({
  base: Number(code) - below,
  limit: CODE_PAGES * 4096 - 1,
});

/** `translate`: never, at the first execution, or when code has become hot. */
export class Guest {
  readonly kind: GuestKind;
  readonly vm: Vm;
  readonly vcpu: Vcpu;
  readonly machine: Machine;
  /** Physical addresses of the data pages' entries in the page tables, where there are any. */
  readonly pageEntries: readonly number[];
  private readonly image: Uint8Array;
  private readonly fields: Uint8Array;
  private readonly loadedRam: Uint8Array;
  private readonly loadedFields: Uint8Array;

  constructor(
    kind: GuestKind,
    translate: 'never' | 'first' | 'hot',
    modules: VmModules,
    model: CpuModelName = kind.paging === '5-level' ? 'max-la57' : 'max',
    translator: Translate = translateRegion,
    cpuid: CpuidPolicy = {},
  ) {
    this.kind = kind;
    this.vm = new Vm({
      mmio: openBus,
      memory: RAM_BYTES,
      cpus: 1,
      codeMemory,
      model,
      cpuid,
      modules,
      ports: { read: () => 0xffffffff, write: () => {} },
      tsc: { read: () => 0x123456789n, hertz: 1e9 },
      random: { seed: 1 },
      translate:
        translate === 'never'
          ? false
          : {
              way: { kind: translate, translate: translator },
              cache: null,
              mode: { shared: false, x87: 'exact', cpu: cpuBase },
              maximumBytes: 4 * codeMemory,
            },
    });
    this.vcpu = this.vm.vcpu(0);
    const mode = codeSizeOf(kind.mode);
    this.machine = buildMachine(this.vm.ram, mode, kind.paging);
    this.build();
    this.image = this.vm.ram.slice();
    this.fields = this.vcpu.fields.u8.slice(0, fieldBytes);
    this.loadedRam = this.image.slice();
    this.pageEntries =
      kind.mode === 'real'
        ? []
        : Array.from({ length: DATA_PAGES }, (_, page) => this.pageEntry(kind.data + BigInt(page * 4096)));
    this.loadedFields = this.fields.slice();
  }

  private build(): void {
    const { kind, machine, vm } = this;
    const { fields: state, cpu } = this.vcpu;
    const { ram } = vm;
    const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
    const set = (name: string, segment: Segment) => {
      state.set32(`${name}Selector`, segment.selector);
      state.set64(`${name}Base`, BigInt(segment.base));
      state.set32(`${name}Limit`, segment.limit);
      state.set32(`${name}Access`, segment.access);
    };
    if (kind.mode === 'real') {
      for (let vector = 0; vector < 256; vector++) view.setUint32(vector * 4, IMAGE.handlers + 16 * vector, true);
      const real = (selector: number): Segment => ({
        selector,
        base: selector * 16,
        limit: 0xffff,
        access: USABLE | 0x93,
      });
      set('cs', { ...real(CODE >> 4), access: USABLE | 0x9b });
      for (const name of ['ds', 'es', 'ss', 'fs', 'gs']) set(name, real(DATA >> 4));
      state.set32('idtrLimit', 0x3ff);
      state.set64('cr0', 0x30n);
      state.set64('cr4', 0x600n);
      state.set64('rip', 0n);
      cpu.stateReplaced();
      return;
    }
    const mapper = new PageMapper(ram, machine);
    const user = kind.cpl === 3 ? 4 : 0;
    for (let page = 0; page < CODE_PAGES; page++)
      for (const below of kind.mode === 'v86' ? [0] : [0, CODE_ALIAS])
        mapper.map(kind.code + BigInt(page * 4096 - below), codePhysical(kind, page), 3 | user);
    for (let page = 0; page < DATA_PAGES; page++) {
      if (page === ABSENT_PAGE) continue;
      mapper.map(kind.data + BigInt(page * 4096), dataPhysical(page), (page === READ_ONLY_PAGE ? 1 : 3) | user);
    }
    const program = segmentsOf(kind, machine)!;
    if (kind.mode === '16' || kind.mode === '32-segments') {
      for (const below of [0, CODE_ALIAS]) {
        const selector = codeSelector(kind, below > 0);
        putDescriptor(view, IMAGE.gdt, { ...program.data, ...codeWindow(kind, below), selector });
      }
    }
    for (const segment of [program.cs, program.data])
      if (kind.mode !== 'v86' && (segment.selector & 4) !== 0) putDescriptor(view, IMAGE.ldt, segment);
    for (const [name, segment] of Object.entries(machine.segments)) set(name, segment);
    set('cs', program.cs);
    for (const name of ['ds', 'es', 'ss']) set(name, program.data);
    if (kind.mode === 'v86') for (const name of ['fs', 'gs']) set(name, program.data);
    const virtual = kind.mode === 'v86' ? RFLAGS_VM : 0;
    state.set32('rflagsRest', state.get32('rflagsRest') | virtual | ((kind.iopl ?? 0) << 12));
    // What the model has no XSAVE for stays off.
    const { features } = cpu.processor;
    for (const [name, value] of Object.entries({
      cr0: machine.cr0,
      cr3: machine.cr3,
      cr4: features.has('xsave') ? machine.cr4 : machine.cr4 & ~CR4_OSXSAVE,
      efer: machine.efer,
      xcr0: features.has('avx') ? machine.xcr0 : 1,
    }))
      state.set64(name, BigInt(value));
    for (const [name, table] of Object.entries({ gdtr: machine.gdtr, idtr: machine.idtr })) {
      state.set64(`${name}Base`, BigInt(table.base));
      state.set32(`${name}Limit`, table.limit);
    }
    if (kind.paging === 'pae')
      for (let i = 0; i < 4; i++) state.set64(`pdpte${i}`, view.getBigUint64(machine.cr3 + 8 * i, true));
    state.set32('cpl', kind.cpl);
    cpu.stateReplaced();
  }

  /** From the next reset on who runs astray comes to an end: INT3 where there is nothing, stack and data excepted. */
  fillWithTraps(): void {
    const ram = this.image;
    ram.fill(INT3, IMAGE.tss + 0x100, IMAGE.idt);
    if (this.kind.mode === 'real') ram.fill(INT3, 0x400, IMAGE.handlers);
    const words = new Uint32Array(ram.buffer, ram.byteOffset, RAM_BYTES / 4);
    // As an entry of a page table, too, that is one that is not present.
    for (let i = IMAGE.stackTop / 4; i < DATA / 4; i += 2)
      if (words[i] === 0 && words[i + 1] === 0) words.fill(INT3 * 0x1010101, i, i + 2);
    words.fill(INT3 * 0x1010101, (DATA + DATA_PAGES * 4096) / 4);
  }

  /** Bytes of the host that no guest may change: below the vCPU, and where guest-physical memory has holes. */
  private *guarded(): Iterable<Uint8Array> {
    const { linear, ram } = this.vm;
    yield new Uint8Array(linear.buffer, 0, cpuBase);
    for (const [start, end] of HOLES) yield ram.subarray(start, end);
  }
  /** Makes holes in guest-physical memory, and fills what lies there in the host with a pattern. */
  makeHoles(): void {
    const host = this.vm.ram.byteOffset;
    let start = 0;
    const regions = [...HOLES, [RAM_BYTES, RAM_BYTES] as const].map(([hole, end]) => {
      const region = { kind: 'ram' as const, start, length: hole - start, hostOffset: host + start };
      start = end;
      return region;
    });
    this.vm.physical.replace(regions.filter(({ length }) => length > 0));
    for (const bytes of this.guarded()) for (let i = 0; i < bytes.length; i++) bytes[i] = pattern(i);
    for (const [from, to] of HOLES) this.image.set(this.vm.ram.subarray(from, to), from);
  }
  /** The pattern is still there. */
  holesIntact(): boolean {
    for (const bytes of this.guarded())
      for (let i = 0; i < bytes.length; i++) if (bytes[i] !== pattern(i)) return false;
    return true;
  }

  /** Back to the state after construction. */
  reset(): void {
    const { fields: state, code, cpu } = this.vcpu;
    this.vm.ram.set(this.image);
    state.u8.set(this.fields);
    code.dropAll();
    for (const translator of this.vm.translators) translator.forget();
    cpu.stateReplaced();
  }

  /** Remembers the state for {@link resume}. */
  loaded(): void {
    this.loadedRam.set(this.vm.ram);
    this.loadedFields.set(this.vcpu.fields.u8.subarray(0, fieldBytes));
  }
  /**
   * Goes on after a fault: all but the data pages is again as it was loaded, the general registers if `registers` says so,
   * and the instruction pointer is at `rip`. What engines keep of code that has not changed stays valid.
   * `changed`: the pages that can have changed, if that is known.
   */
  resume(rip: bigint, registers: 'kept' | 'loaded', changed?: Iterable<number>): void {
    const { ram, physical } = this.vm;
    const { fields: state, cpu } = this.vcpu;
    const kept = state.u64.slice(0, 16);
    for (const number of changed ?? Array(RAM_BYTES / 4096).keys()) {
      const at = number * 4096;
      if ((at >= DATA && at < DATA + DATA_PAGES * 4096) || physical.hostOf(number) < 0) continue;
      const page = this.loadedRam.subarray(at, at + 4096);
      if (firstDifference(ram.subarray(at, at + 4096), page) >= 0) physical.writeBytes(at, page);
    }
    state.u8.set(this.loadedFields);
    if (registers === 'kept') for (let i = 0; i < 16; i++) if (i !== 4) state.u64[i] = kept[i]!;
    state.set64('rip', rip);
    cpu.stateReplaced();
  }

  /** Writes bytes at an offset of the code or data pages, from outside. */
  write(area: 'code' | 'data', offset: number, bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) this.vm.ram[this.physical(area, offset + i)] = bytes[i]!;
  }
  physical(area: 'code' | 'data', offset: number): number {
    const page = offset >> 12;
    return (area === 'code' ? codePhysical(this.kind, page) : dataPhysical(page)) + (offset & 0xfff);
  }

  /** Physical address of the page-table entry of a linear address. */
  pageEntry(linear: bigint): number {
    const { ram } = this.vm;
    const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
    const wide = this.machine.paging !== '32-bit';
    const bits = wide ? 9n : 10n;
    const levels = levelsOf[this.machine.paging];
    let table = this.machine.cr3;
    for (let level = levels - 1; ; level--) {
      const index = Number((BigInt.asUintN(57, linear) >> (12n + bits * BigInt(level))) & ((1n << bits) - 1n));
      const place = table + index * (wide ? 8 : 4);
      if (level === 0) return place;
      table = view.getUint32(place, true) & ~0xfff;
    }
  }

  /** Inverts bits in the entry of a data page, as another processor does that tells this one afterwards. */
  editPage(page: number, bits: number): void {
    const at = this.pageEntries[page];
    if (at === undefined) return;
    const { physical } = this.vm;
    const entry = new Uint8Array(4);
    physical.readBytes(at, entry);
    const view = new DataView(entry.buffer);
    view.setUint32(0, view.getUint32(0, true) ^ bits, true);
    physical.writeBytes(at, entry);
    this.vcpu.cpu.stateReplaced();
  }

  /** Runs for so many instructions. True = halted or shut down. */
  run(instructions: number): boolean {
    const { kind } = this.vcpu.enter(instructions);
    if (kind !== 'budget' && kind !== 'halt' && kind !== 'shutdown') throw new Error(`the guest left with ${kind}`);
    return kind !== 'budget';
  }
}

/** End of the fields; value slots and tables follow. */
const fieldBytes = Math.max(...[...layout.values()].map((f) => f.offset)) + 16;

function putDescriptor(view: DataView, table: number, { selector, base, limit, access }: Segment): void {
  const at = table + (selector & ~7);
  view.setUint16(at, limit, true);
  view.setUint16(at + 2, base, true);
  view.setUint8(at + 4, base >>> 16);
  view.setUint8(at + 5, access);
  view.setUint8(at + 6, ((limit >>> 16) & 15) | ((access >> 8) & 0xf0));
  view.setUint8(at + 7, base >>> 24);
}

/** Offers translations only at the instruction pointers where `wanted` says so. */
export function restrictTranslation(guest: Guest, wanted: (rip: number) => boolean): void {
  const translator = guest.vm.translators[0]!;
  guest.vcpu.engine.regions = new Proxy<Regions>(translator, {
    get: (_, name: keyof Translator) => {
      if (name === 'find')
        return (context: Context, key: number) => (wanted(key) ? translator.find(context, key) : null);
      const member = translator[name];
      return typeof member === 'function' ? member.bind(translator) : member;
    },
  });
}
