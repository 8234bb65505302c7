/**
 * The XSAVE area and the instructions that write and read it: state components 0 (x87), 1 (SSE), 2 (the upper halves of
 * the ymm registers) and 9 (PKRU), standard and compacted; XGETBV and XSETBV. SDM volume 1, chapter 13.
 *
 *   0 legacy area, as FXSAVE's (fxsave.ts)   512 header: XSTATE_BV, XCOMP_BV, 48 bytes of zeros   576 the others
 */
import { lowOf, moved } from '../mmu/linear.ts';
import type { CpuState } from '../state/cpu-state.ts';
import { offsetOf } from '../state/layout.ts';
import { NM } from '../state/vectors.ts';
import { GuestFault, generalProtection, undefinedOpcode } from './fault.ts';
import { FXSAVE_BYTES, restoreArea, saveArea } from './fxsave.ts';
import { CR0_TS, CR4_OSXSAVE, type Processor } from './processor.ts';
import { checkRange } from './segments.ts';

const X87 = 1;
const SSE = 2;
const AVX = 4;
const PKRU = 0x200;
const HEADER = FXSAVE_BYTES;
const HEADER_BYTES = 64;
const EXTENDED = HEADER + HEADER_BYTES;

/** A component behind the header. */
export interface Component {
  readonly bit: number;
  readonly bytes: number;
  /** Where it stands in the standard format; in the compacted one each follows the one before. */
  readonly offset: number;
  readonly feature: string;
}
export const components: readonly Component[] = [
  { bit: AVX, bytes: 256, offset: EXTENDED, feature: 'avx' },
  { bit: PKRU, bytes: 8, offset: EXTENDED + 256, feature: 'pku' },
];
const COMPACTED = 1n << 63n;
const MXCSR_RESET = 0x1f80;
const MXCSR_MASK = 0xffff;
/** Parts of the legacy area by component; MXCSR and its mask are a part of their own. */
const legacy: readonly (readonly [component: number, from: number, to: number])[] = [
  [X87, 0, 24],
  [X87, 32, 160],
  [SSE, 160, 416],
];
const MXCSR_AT = 24;
const pointers = ['fip', 'fdp'] as const;
const selectors = ['fcs', 'fds'] as const;
const high = Array.from({ length: 16 }, (_, i) => offsetOf(`ymmHigh${i}`));
const XMM = offsetOf('xmm0');
const FPR = offsetOf('fpr0');

/** The components that XCR0 may enable. */
export const supported = (p: Pick<Processor, 'features'>): number =>
  components.reduce((all, { bit, feature }) => (p.features.has(feature) ? all | bit : all), X87 | SSE);
/** Bytes of an area with components, in the standard format. */
export const areaBytes = (mask: number): number =>
  components.reduce((most, { bit, bytes, offset }) => ((mask & bit) !== 0 ? offset + bytes : most), EXTENDED);
/** The same in the compacted format. */
export const componentBytes = (mask: number): number =>
  components.reduce((sum, { bit, bytes }) => ((mask & bit) !== 0 ? sum + bytes : sum), EXTENDED);
/** Where a component stands, and how many bytes of it a mode saves. */
function placeOf(p: Processor, { bit, bytes, offset }: Component, layout: number | null): readonly [number, number] {
  const at = layout === null ? offset : componentBytes(layout & (bit - 1));
  return [at, bit === AVX ? 16 * vectors(p) : bytes];
}

const enabled = (p: Processor): number => Number(p.state.get64('xcr0') & 0xffff_ffffn);
const vectors = (p: Processor): 8 | 16 => (p.code64 ? 16 : 8);
const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);
/** The same of a part of the state, all of it words. */
function isClear({ u32 }: CpuState, offset: number, bytes: number): boolean {
  for (let i = offset >> 2; i < (offset + bytes) >> 2; i++) if (u32[i] !== 0) return false;
  return true;
}

/** Components that are not in their initial configuration. */
function inUse({ state }: Processor): number {
  const untouched =
    state.get32('fcw') === 0x37f &&
    state.get32('fsw') === 0 &&
    state.get32('ftw') === 0 &&
    state.get32('fop') === 0 &&
    [...pointers].every((name) => state.get64(name) === 0n) &&
    [...selectors].every((name) => state.get32(name) === 0) &&
    isClear(state, FPR, 128);
  return (
    (untouched ? 0 : X87) |
    (isClear(state, XMM, 256) ? 0 : SSE) |
    (isClear(state, high[0]!, 256) ? 0 : AVX) |
    (state.get32('pkru') === 0 ? 0 : PKRU)
  );
}

/** What every instruction of the family checks first. */
function available(p: Processor): void {
  if ((p.cr4 & CR4_OSXSAVE) === 0) throw undefinedOpcode();
  if ((p.cr0 & CR0_TS) !== 0) throw new GuestFault(NM);
}

/** Faults unless bytes of the area lie in the segment that the instruction names. */
function checkLimit(p: Processor, linear: number, bytes: number, write: boolean): void {
  const segment = p.argument(1) >> 1;
  checkRange(p, segment, (lowOf(linear) - lowOf(p.segments[segment]!.base)) >>> 0, bytes, write);
}

/** How an instruction saves. */
interface Saving {
  readonly compacted: boolean;
  /** Components in their initial configuration are not written. */
  readonly init: boolean;
}
/** Arguments: linear address, 1 = 64-bit pointers | segment << 1, EDX:EAX. */
function save(p: Processor, { compacted, init }: Saving): void {
  available(p);
  const linear = p.argumentAddress(0);
  const requested = enabled(p) & p.argument(2);
  const { state, linear: memory } = p;
  if (lowOf(linear) % 64 !== 0) throw generalProtection();
  checkLimit(p, linear, EXTENDED, true);
  memory.probeWrite(linear, EXTENDED, false);
  const layout = compacted ? requested : null;
  let used = inUse(p);
  if (state.get32('mxcsr') !== MXCSR_RESET) used |= SSE;
  const written = init ? requested & used : requested;
  const parts = components
    .filter(({ bit }) => (written & bit) !== 0)
    .map((c) => [c, ...placeOf(p, c, layout)] as const);
  for (const [, at, bytes] of parts) {
    checkLimit(p, moved(linear, at), bytes, true);
    memory.probeWrite(moved(linear, at), bytes, false);
  }
  const area = new Uint8Array(FXSAVE_BYTES);
  saveArea(state, area, { wide: p.code64 && (p.argument(1) & 1) !== 0, vectors: vectors(p) });
  for (const [component, from, to] of legacy) {
    const end = component === SSE ? from + 16 * vectors(p) : to;
    if ((written & component) !== 0) memory.writeBytes(moved(linear, from), area.subarray(from, end));
  }
  if ((compacted ? written & SSE : requested & (SSE | AVX)) !== 0)
    memory.writeBytes(moved(linear, MXCSR_AT), area.subarray(MXCSR_AT, MXCSR_AT + 8));
  for (const [{ bit }, at, bytes] of parts) {
    const image = new Uint8Array(bytes);
    if (bit === PKRU) new DataView(image.buffer).setUint32(0, state.get32('pkru'), true);
    else for (let i = 0; i < vectors(p); i++) image.set(state.u8.subarray(high[i]!, high[i]! + 16), 16 * i);
    memory.writeBytes(moved(linear, at), image);
  }
  const header = new DataView(new ArrayBuffer(16));
  memory.readBytes(moved(linear, HEADER), new Uint8Array(header.buffer));
  const old = compacted ? 0n : header.getBigUint64(0, true) & BigInt.asUintN(64, ~BigInt(requested));
  header.setBigUint64(0, old | BigInt(requested & used), true);
  header.setBigUint64(8, COMPACTED | BigInt(requested), true);
  memory.writeBytes(moved(linear, HEADER), new Uint8Array(header.buffer, 0, compacted ? 16 : 8));
  p.advance();
}

/** Arguments as `save`. `compacted`: only that format will do. */
function restore(p: Processor, compactedOnly: boolean): void {
  available(p);
  const linear = p.argumentAddress(0);
  if (lowOf(linear) % 64 !== 0) throw generalProtection();
  const requested = enabled(p) & p.argument(2);
  const { state, linear: memory } = p;
  checkLimit(p, linear, EXTENDED, false);
  memory.probeRead(linear, EXTENDED, false);
  const area = new Uint8Array(EXTENDED);
  memory.readBytes(linear, area);
  const view = new DataView(area.buffer);
  const present = view.getBigUint64(HEADER, true);
  const format = view.getBigUint64(HEADER + 8, true);
  const compacted = (format & COMPACTED) !== 0n;
  const all = BigInt(enabled(p));
  if (compacted) {
    const held = format & ~COMPACTED;
    if (!p.features.has('xsavec')) throw generalProtection();
    if ((held & ~all) !== 0n || (present & ~held) !== 0n) throw generalProtection();
    if (!isZero(area.subarray(HEADER + 16))) throw generalProtection();
  } else if (compactedOnly || (present & ~all) !== 0n || !isZero(area.subarray(HEADER + 8, HEADER + 24)))
    throw generalProtection();
  const loaded = requested & Number(present & all);
  const loadsMxcsr = compacted ? (loaded & SSE) !== 0 : (requested & (SSE | AVX)) !== 0;
  if (loadsMxcsr && (view.getUint32(MXCSR_AT, true) & ~MXCSR_MASK) !== 0) throw generalProtection();
  const layout = compacted ? Number(format & all) : null;
  const images = new Map<number, Uint8Array>();
  for (const component of components) {
    if ((loaded & component.bit) === 0) continue;
    const [at, bytes] = placeOf(p, component, layout);
    const image = new Uint8Array(bytes);
    checkLimit(p, moved(linear, at), bytes, false);
    memory.readBytes(moved(linear, at), image);
    images.set(component.bit, image);
  }
  // Nothing faults from here on. Parts that are not loaded are initial, those that were not asked for stay.
  const wide = p.code64 && (p.argument(1) & 1) !== 0;
  const kept =
    (requested & X87) !== 0 ? null : [...pointers.map((n) => state.get64(n)), ...selectors.map((n) => state.get32(n))];
  const made = new Uint8Array(FXSAVE_BYTES);
  saveArea(state, made, { wide, vectors: vectors(p) });
  const out = new DataView(made.buffer);
  for (const [component, from, to] of legacy) {
    if ((loaded & component) !== 0) made.set(area.subarray(from, to), from);
    else if ((requested & component) !== 0) made.fill(0, from, to);
  }
  if ((requested & ~loaded & X87) !== 0) out.setUint16(0, 0x37f, true);
  if (loadsMxcsr) out.setUint32(MXCSR_AT, view.getUint32(MXCSR_AT, true), true);
  else if (compacted && (requested & SSE) !== 0) out.setUint32(MXCSR_AT, MXCSR_RESET, true);
  restoreArea(state, made, { wide, vectors: vectors(p) });
  if (kept !== null) {
    pointers.forEach((name, i) => {
      state.set64(name, kept[i] as bigint);
    });
    selectors.forEach((name, i) => {
      state.set32(name, kept[2 + i] as number);
    });
  }
  const halves = images.get(AVX);
  for (let i = 0; i < vectors(p) && (requested & AVX) !== 0; i++) {
    if (halves === undefined) state.u8.fill(0, high[i]!, high[i]! + 16);
    else state.u8.set(halves.subarray(16 * i, 16 * i + 16), high[i]!);
  }
  if ((requested & PKRU) !== 0) {
    const image = images.get(PKRU);
    state.set32('pkru', image === undefined ? 0 : new DataView(image.buffer).getUint32(0, true));
    p.mmu.keyRightsChanged();
  }
  p.engine.contextChanged();
  p.advance();
}

/** `xsave` (linear address, 1 = 64-bit pointers | segment << 1, EAX) and the others of the family. */
export const xsave = (p: Processor): void => save(p, { compacted: false, init: false });
export const xsaveopt = (p: Processor): void => save(p, { compacted: false, init: true });
export const xsavec = (p: Processor): void => save(p, { compacted: true, init: true });
/** There are no supervisor components: IA32_XSS is zero. */
export function xsaves(p: Processor): void {
  available(p);
  p.requireCpl0();
  save(p, { compacted: true, init: true });
}
export const xrstor = (p: Processor): void => restore(p, false);
export function xrstors(p: Processor): void {
  available(p);
  p.requireCpl0();
  restore(p, true);
}

const RAX = 0;
const RCX = 1;
const RDX = 2;

/** `xgetbv`: XCR0, or the components in use. */
export function xgetbv(p: Processor): void {
  if ((p.cr4 & CR4_OSXSAVE) === 0) throw undefinedOpcode();
  const index = p.gpr32(RCX);
  if (index > 1) throw generalProtection();
  const xcr0 = p.state.get64('xcr0');
  const value = index === 0 ? xcr0 : xcr0 & BigInt(inUse(p));
  p.setGpr(RAX, 64, Number(value & 0xffff_ffffn));
  p.setGpr(RDX, 64, Number(value >> 32n));
  p.advance();
}

/** Can XCR0 have this value? */
export const isXcr0 = (p: Processor, value: number): boolean =>
  (value & ~supported(p)) === 0 && (value & X87) !== 0 && (value & (SSE | AVX)) !== AVX;

/** `xsetbv`. */
export function xsetbv(p: Processor): void {
  if ((p.cr4 & CR4_OSXSAVE) === 0) throw undefinedOpcode();
  p.requireCpl0();
  const value = p.gpr32(RAX);
  if (p.gpr32(RCX) !== 0 || p.gpr32(RDX) !== 0 || !isXcr0(p, value)) throw generalProtection();
  p.state.set64('xcr0', BigInt(value));
  p.engine.contextChanged();
  p.advance();
}
