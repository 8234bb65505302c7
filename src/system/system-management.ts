/**
 * System-management mode: SMI, the save-state area in its two formats, RSM. SDM volume 3, chapter 33; the format of
 * processors with 64-bit mode is the one of the AMD64 manual, volume 2, section 10.2, which firmware knows from emulators.
 *
 * The area lies from SMBASE + 8000H on in the memory that processors in the mode see (src/mmu/physical-memory.ts).
 */
import { physicalAddressBits } from '../mmu/walk.ts';
import { offsetOf } from '../state/layout.ts';
import { CR0_KNOWN, controlsAgree, dr6Of, dr7Of } from './control.ts';
import { debugChanged } from './debug.ts';
import { undefinedOpcode } from './fault.ts';
import { readPointers, setPointers } from './page-pointers.ts';
import { CR0_EM, CR0_PE, CR0_PG, CR0_TS, CR4_PAE, EFER_LMA, type Processor, RFLAGS_VM } from './processor.ts';
import { ACCESS_DB, ACCESS_REAL, ACCESS_USABLE, LDTR, type SegmentRegister, TR } from './segment-register.ts';
import { refreshRanges } from './segments.ts';

const SMM = offsetOf('smm') >> 2;
const NMI_BLOCKED = offsetOf('nmiBlocked') >> 2;
const HALTED = offsetOf('halted') >> 2;
const SHUTDOWN = offsetOf('shutdown') >> 2;
const SHADOW = offsetOf('interruptShadow') >> 2;
const PENDING = offsetOf('pendingDebug') >> 2;
/** The field `smm`: in the mode; NMIs were blocked before; the pending debug traps of then. */
const ACTIVE = 1;
const NMI_WAS_BLOCKED = 2;
const PENDING_SHIFT = 8;

/** Revision: SMBASE can be moved; the low half names the format. */
const RELOCATION = 0x2_0000;
const FORMAT_64 = 0x64;
const AREA = 0x8000;

/** Offsets from SMBASE + 8000H: what stands once, by the field's name. */
interface Format {
  readonly revision: number;
  readonly revisionAt: number;
  readonly baseAt: number;
  readonly haltAt: number;
  readonly wide: boolean;
  readonly registers: readonly (readonly [field: string, offset: number])[];
  readonly rflagsAt: number;
  readonly tables: readonly (readonly [table: 'gdtr' | 'idtr', base: number, limit: number])[];
  /** By the segment's number: selector, access rights, limit, base. */
  segment(index: number): readonly [number, number, number, number];
}

const general = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'];
const format32: Format = {
  revision: RELOCATION,
  revisionAt: 0x7efc,
  baseAt: 0x7ef8,
  haltAt: 0x7f02,
  wide: false,
  registers: [
    ['cr0', 0x7ffc],
    ['cr3', 0x7ff8],
    ['rip', 0x7ff0],
    ...general.map((name, i) => [name, 0x7fd0 + 4 * i] as const),
    ['dr6', 0x7fcc],
    ['dr7', 0x7fc8],
    ['cr4', 0x7f14],
  ],
  rflagsAt: 0x7ff4,
  tables: [
    ['gdtr', 0x7f74, 0x7f70],
    ['idtr', 0x7f58, 0x7f54],
  ],
  segment(index) {
    if (index === TR) return [0x7fc4, 0x7f5c, 0x7f60, 0x7f64];
    if (index === LDTR) return [0x7fc0, 0x7f78, 0x7f7c, 0x7f80];
    const at = index < 3 ? 0x7f84 + index * 12 : 0x7f2c + (index - 3) * 12;
    return [0x7fa8 + index * 4, at, at + 4, at + 8];
  },
};
const format64: Format = {
  revision: RELOCATION | FORMAT_64,
  revisionAt: 0x7efc,
  baseAt: 0x7f00,
  haltAt: 0x7ec9,
  wide: true,
  registers: [
    ...[...general, 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'].map(
      (name, i) => [name, 0x7ff8 - 8 * i] as const,
    ),
    ['rip', 0x7f78],
    ['dr6', 0x7f68],
    ['dr7', 0x7f60],
    ['cr0', 0x7f58],
    ['cr3', 0x7f50],
    ['cr4', 0x7f48],
    ['efer', 0x7ed0],
  ],
  rflagsAt: 0x7f70,
  tables: [
    ['gdtr', 0x7e68, 0x7e64],
    ['idtr', 0x7e88, 0x7e84],
  ],
  segment(index) {
    const at = index === LDTR ? 0x7e70 : index === TR ? 0x7e90 : 0x7e00 + index * 16;
    return [at, at + 2, at + 4, at + 8];
  },
};
const formatOf = (p: Processor): Format => (p.features.has('lm') ? format64 : format32);

/** The save-state area, by offsets from SMBASE + 8000H. */
class Area {
  private readonly p: Processor;
  private readonly base: number;

  constructor(p: Processor, smbase: number) {
    this.p = p;
    this.base = smbase + AREA;
  }
  private at(offset: number): number {
    const { memory } = this.p;
    return memory.inSmm(memory.gated((this.base + offset) >>> 0));
  }
  read8(offset: number): number {
    return this.p.memory.read8(this.at(offset));
  }
  write8(offset: number, value: number): void {
    this.p.memory.write8(this.at(offset), value);
  }
  read16(offset: number): number {
    return this.p.memory.read16(this.at(offset));
  }
  write16(offset: number, value: number): void {
    this.p.memory.write16(this.at(offset), value);
  }
  read32(offset: number): number {
    return this.p.memory.read32(this.at(offset));
  }
  write32(offset: number, value: number): void {
    this.p.memory.write32(this.at(offset), value);
  }
  /** An address: 32 or 64 bits. */
  readWide(offset: number, wide: boolean): bigint {
    const low = BigInt(this.read32(offset));
    return wide ? low | (BigInt(this.read32(offset + 4)) << 32n) : low;
  }
  writeWide(offset: number, wide: boolean, value: bigint): void {
    this.write32(offset, Number(value & 0xffff_ffffn));
    if (wide) this.write32(offset + 4, Number(BigInt.asUintN(64, value) >> 32n));
  }
}

const rightsOf = (s: SegmentRegister): number => s.access & 0xf0ff;

/** SMI: saves the state and enters the mode at SMBASE + 8000H. The caller has seen that it is not in it already. */
export function enterSystemManagement(p: Processor): void {
  const { state } = p;
  const { u32 } = state;
  const smbase = state.get32('smbase');
  const format = formatOf(p);
  const area = new Area(p, smbase);
  for (const [field, offset] of format.registers) area.writeWide(offset, format.wide, state.get64(field));
  area.write32(format.rflagsAt, p.rflags);
  for (const [table, base, limit] of format.tables) {
    area.writeWide(base, format.wide, state.get64(`${table}Base`));
    area.write32(limit, state.get32(`${table}Limit`));
  }
  for (const [index, s] of p.segments.entries()) {
    const [selector, rights, limit, base] = format.segment(index);
    if (format.wide) {
      area.write16(selector, s.selector);
      area.write16(rights, rightsOf(s));
    } else {
      area.write32(selector, s.selector);
      area.write32(rights, rightsOf(s));
    }
    area.write32(limit, s.limit);
    area.writeWide(base, format.wide, state.get64(`${s.name}Base`));
  }
  area.write8(format.haltAt, u32[HALTED]!);
  area.write32(format.revisionAt, format.revision);
  area.write32(format.baseAt, smbase);

  u32[SMM] = ACTIVE | (u32[NMI_BLOCKED] !== 0 ? NMI_WAS_BLOCKED : 0) | (u32[PENDING]! << PENDING_SHIFT);
  u32[PENDING] = 0;
  u32[NMI_BLOCKED] = 1;
  u32[HALTED] = 0;
  u32[SHADOW] = 0;
  state.set64('cr0', BigInt((p.cr0 & ~(CR0_PE | CR0_EM | CR0_TS | CR0_PG)) >>> 0));
  state.set64('cr4', 0n);
  state.set64('efer', 0n);
  state.set64('dr7', 0x400n);
  state.set64('rip', 0x8000n);
  p.setRflags(2);
  for (const s of p.segments.slice(0, 6)) {
    s.selector = 0;
    s.base = 0;
    s.limit = 0xffff_ffff;
    s.access = ACCESS_REAL;
  }
  p.cs.selector = (smbase >>> 4) & 0xffff;
  p.cs.base = smbase;
  p.setCpl(0);
  replaced(p);
}

function replaced(p: Processor): void {
  refreshRanges(p);
  p.mmu.reconfigure();
  debugChanged(p);
  p.engine.contextChanged();
}

const canonical = (p: Processor, address: bigint): bigint => BigInt.asUintN(64, BigInt.asIntN(p.baseBits, address));
/** What a register makes of a saved value: bits that it does not have are lost. */
function possible(p: Processor, field: string, value: bigint): bigint {
  const low = Number(value & 0xffff_ffffn);
  if (field === 'dr6') return BigInt(dr6Of(low));
  if (field === 'dr7') return BigInt(dr7Of(low));
  if (field === 'cr0') return (value & ~0xffff_ffffn) | BigInt((low & CR0_KNOWN) >>> 0);
  if (field === 'cr3') return BigInt.asUintN(physicalAddressBits, value);
  return field === 'rip' ? canonical(p, value) : value;
}

/** `rsm`: back to what was interrupted; a state that cannot be is a shutdown. */
export function rsm(p: Processor): void {
  const { state } = p;
  const { u32 } = state;
  if ((u32[SMM]! & ACTIVE) === 0) throw undefinedOpcode();
  const format = formatOf(p);
  const area = new Area(p, state.get32('smbase'));
  const values = new Map(
    format.registers.map(([field, offset]) => [field, possible(p, field, area.readWide(offset, format.wide))]),
  );
  if (!controlsAgree(p, values.get('cr0')!, values.get('cr4')!, values.get('efer') ?? 0n)) {
    u32[SHUTDOWN] = 1;
    return;
  }
  const cr0 = Number(values.get('cr0')!);
  const paging = (cr0 & CR0_PG) !== 0;
  const entered = u32[SMM]!;
  u32[SMM] = 0;
  p.mmu.takeSpace();
  for (const [field, value] of values) state.set64(field, value);
  for (const [table, base, limit] of format.tables) {
    state.set64(`${table}Base`, canonical(p, area.readWide(base, format.wide)));
    state.set32(`${table}Limit`, area.read16(limit));
  }
  for (const [index, s] of p.segments.entries()) {
    const [selector, rights, limit, base] = format.segment(index);
    s.selector = area.read16(selector);
    s.access = area.read16(rights) & 0xf0ff;
    if ((s.access & 0x80) !== 0) s.access |= ACCESS_USABLE;
    s.limit = area.read32(limit);
    state.set64(`${s.name}Base`, canonical(p, area.readWide(base, format.wide)));
  }
  if (paging && (p.cr4 & CR4_PAE) !== 0 && (p.efer & EFER_LMA) === 0) {
    const pointers = readPointers(p, u32[offsetOf('cr3') >> 2]!);
    if (pointers === null) {
      u32[SHUTDOWN] = 1;
      return;
    }
    setPointers(p, pointers);
  }
  u32[NMI_BLOCKED] = (entered & NMI_WAS_BLOCKED) !== 0 ? 1 : 0;
  u32[PENDING] = entered >>> PENDING_SHIFT;
  u32[HALTED] = area.read8(format.haltAt) & 1;
  state.set32('smbase', area.read32(format.baseAt));
  if (!p.code64) state.set64('rip', state.get64('rip') & 0xffff_ffffn);
  else p.cs.access &= ~ACCESS_DB;
  // Virtual-8086 mode is there only in legacy protected mode.
  const flags = area.read32(format.rflagsAt);
  p.setRflags((cr0 & CR0_PE) !== 0 && !p.longMode ? flags : flags & ~RFLAGS_VM);
  p.setCpl(p.virtual8086 ? 3 : (cr0 & CR0_PE) === 0 ? 0 : p.ss.dpl);
  replaced(p);
}
