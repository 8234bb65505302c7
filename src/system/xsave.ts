/**
 * The XSAVE area and the instructions that write and read it: state components 0 (x87), 1 (SSE), 2 (the upper halves of
 * the ymm registers) and 9 (PKRU), standard and compacted; XGETBV and XSETBV. SDM volume 1, chapter 13.
 *
 *   0 legacy area, as FXSAVE's (fxsave.ts)   512 header: XSTATE_BV, XCOMP_BV, 48 bytes of zeros   576 the others
 */
import { lowOf, moved } from '../mmu/linear.ts';
import { offsetOf } from '../state/layout.ts';
import { NM } from '../state/vectors.ts';
import { GuestFault, generalProtection, undefinedOpcode } from './fault.ts';
import {
  FCS,
  FCW,
  FCW_INITIAL,
  FDP,
  FDS,
  FIP,
  FOP,
  FPR,
  FSW,
  FTW,
  FXSAVE_BYTES,
  MXCSR,
  MXCSR_AT,
  MXCSR_MASK,
  restoreX87,
  saveX87,
  VECTORS_AT,
  XMM,
} from './fxsave.ts';
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
/** Bit 63 of XCOMP_BV, in its high half. */
const COMPACTED = 0x8000_0000;
const MXCSR_RESET = 0x1f80;

const word = (name: string) => offsetOf(name) >> 2;
const XCR0 = word('xcr0');
const PKRU_AT = word('pkru');
/** Upper halves of the ymm registers, one behind the other. */
const HIGH = offsetOf('ymmHigh0');
if (offsetOf('ymmHigh15') !== HIGH + 15 * 16) throw new Error('xsave: the registers do not stand in their order');

/** The components that XCR0 may enable. */
export const supported = (p: Pick<Processor, 'features'>): number =>
  components.reduce((all, { bit, feature }) => (p.features.has(feature) ? all | bit : all), X87 | SSE);
/** Bytes of an area with components, in the standard format. */
export const areaBytes = (mask: number): number =>
  components.reduce((most, { bit, bytes, offset }) => ((mask & bit) !== 0 ? offset + bytes : most), EXTENDED);
/** The same in the compacted format. */
export function componentBytes(mask: number): number {
  let sum = EXTENDED;
  for (const { bit, bytes } of components) if ((mask & bit) !== 0) sum += bytes;
  return sum;
}
/** Where a component stands in the standard format, or in the compacted one with such components. */
const placeOf = ({ bit, offset }: Component, layout: number | null): number =>
  layout === null ? offset : componentBytes(layout & (bit - 1));
/** How many bytes of a component a mode saves. */
const savedBytes = (p: Processor, { bit, bytes }: Component): number => (bit === AVX ? 16 * vectors(p) : bytes);

const enabled = (p: Processor): number => p.state.u32[XCR0]!;
const vectors = (p: Processor): 8 | 16 => (p.code64 ? 16 : 8);
/** Are bytes at an offset zero? All of them are words. */
function isClear(u32: Uint32Array, offset: number, bytes: number): boolean {
  for (let i = offset >> 2; i < (offset + bytes) >> 2; i++) if (u32[i] !== 0) return false;
  return true;
}

/** Components that are not in their initial configuration. */
function inUse({ state: { u32 } }: Processor): number {
  const pointers = u32[FIP]! | u32[FIP + 1]! | u32[FDP]! | u32[FDP + 1]! | u32[FCS]! | u32[FDS]!;
  const untouched =
    u32[FCW] === FCW_INITIAL && (u32[FSW]! | u32[FTW]! | u32[FOP]! | pointers) === 0 && isClear(u32, FPR, 128);
  return (
    (untouched ? 0 : X87) |
    (isClear(u32, XMM, 256) ? 0 : SSE) |
    (isClear(u32, HIGH, 256) ? 0 : AVX) |
    (u32[PKRU_AT] === 0 ? 0 : PKRU)
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
  const { u32, u8 } = state;
  if (lowOf(linear) % 64 !== 0) throw generalProtection();
  checkLimit(p, linear, EXTENDED, true);
  memory.probeWrite(linear, EXTENDED, false);
  const layout = compacted ? requested : null;
  let used = inUse(p);
  if (u32[MXCSR] !== MXCSR_RESET) used |= SSE;
  const written = init ? requested & used : requested;
  for (const component of components) {
    if ((written & component.bit) === 0) continue;
    const at = moved(linear, placeOf(component, layout));
    checkLimit(p, at, savedBytes(p, component), true);
    memory.probeWrite(at, savedBytes(p, component), false);
  }
  const end = VECTORS_AT + 16 * vectors(p);
  const area = new Uint8Array(EXTENDED);
  const view = new DataView(area.buffer);
  view.setUint32(MXCSR_AT, u32[MXCSR]!, true);
  view.setUint32(MXCSR_AT + 4, MXCSR_MASK, true);
  if ((written & X87) !== 0) saveX87(state, area, p.code64 && (p.argument(1) & 1) !== 0);
  if ((written & SSE) !== 0) area.set(u8.subarray(XMM, XMM + 16 * vectors(p)), VECTORS_AT);
  const put = (from: number, to: number) => memory.writeBytes(moved(linear, from), area.subarray(from, to));
  const hasMxcsr = (compacted ? written & SSE : requested & (SSE | AVX)) !== 0;
  if ((written & (X87 | SSE)) === (X87 | SSE)) put(0, end);
  else {
    if ((written & X87) !== 0) put(0, MXCSR_AT);
    if ((written & X87) !== 0) put(MXCSR_AT + 8, VECTORS_AT);
    if ((written & SSE) !== 0) put(VECTORS_AT, end);
    if (hasMxcsr) put(MXCSR_AT, MXCSR_AT + 8);
  }
  for (const component of components) {
    if ((written & component.bit) === 0) continue;
    const from = component.bit === PKRU ? PKRU_AT << 2 : HIGH;
    const image = u8.slice(from, from + savedBytes(p, component));
    if (component.bit === PKRU) image.fill(0, 4);
    memory.writeBytes(moved(linear, placeOf(component, layout)), image);
  }
  const header = area.subarray(HEADER, HEADER + 16);
  if (!compacted) memory.readBytes(moved(linear, HEADER), header);
  const kept = compacted ? 0 : view.getUint32(HEADER, true) & ~requested;
  view.setUint32(HEADER, kept | (requested & used), true);
  view.setUint32(HEADER + 8, requested, true);
  view.setUint32(HEADER + 12, COMPACTED, true);
  put(HEADER, HEADER + (compacted ? 16 : 8));
  p.advance();
}

/** Arguments as `save`. `compacted`: only that format will do. */
function restore(p: Processor, compactedOnly: boolean): void {
  available(p);
  const linear = p.argumentAddress(0);
  if (lowOf(linear) % 64 !== 0) throw generalProtection();
  const all = enabled(p);
  const requested = all & p.argument(2);
  const { state, linear: memory } = p;
  const { u32, u8 } = state;
  checkLimit(p, linear, EXTENDED, false);
  memory.probeRead(linear, EXTENDED, false);
  const area = new Uint8Array(EXTENDED);
  memory.readBytes(linear, area);
  const words = new Uint32Array(area.buffer);
  const header = HEADER >> 2;
  const [present, presentHigh] = [words[header]!, words[header + 1]!];
  const [held, format] = [words[header + 2]!, words[header + 3]!];
  const compacted = (format & COMPACTED) !== 0;
  // XCR0 has no bits in its high half.
  if (presentHigh !== 0 || (present & ~all) !== 0) throw generalProtection();
  if (compacted) {
    if (!p.features.has('xsavec')) throw generalProtection();
    if ((format & ~COMPACTED) !== 0 || (held & ~all) !== 0 || (present & ~held) !== 0) throw generalProtection();
    if (!isClear(words, HEADER + 16, HEADER_BYTES - 16)) throw generalProtection();
  } else if (compactedOnly || !isClear(words, HEADER + 8, 16)) throw generalProtection();
  const loaded = requested & present;
  const loadsMxcsr = compacted ? (loaded & SSE) !== 0 : (requested & (SSE | AVX)) !== 0;
  if (loadsMxcsr && (words[MXCSR_AT >> 2]! & ~MXCSR_MASK) !== 0) throw generalProtection();
  const layout = compacted ? held : null;
  let halves: Uint8Array | null = null;
  let rights = 0;
  for (const component of components) {
    if ((loaded & component.bit) === 0) continue;
    const at = moved(linear, placeOf(component, layout));
    const image = new Uint8Array(savedBytes(p, component));
    checkLimit(p, at, image.length, false);
    memory.readBytes(at, image);
    if (component.bit === AVX) halves = image;
    else rights = new DataView(image.buffer).getUint32(0, true);
  }
  // Nothing faults from here on. Parts that are not loaded are initial, those that were not asked for stay.
  const bytes = 16 * vectors(p);
  if ((requested & X87) !== 0) {
    if ((loaded & X87) === 0) {
      area.fill(0, 0, MXCSR_AT).fill(0, MXCSR_AT + 8, VECTORS_AT);
      words[0] = FCW_INITIAL;
    }
    restoreX87(state, area, p.code64 && (p.argument(1) & 1) !== 0);
  }
  if ((loaded & SSE) !== 0) u8.set(area.subarray(VECTORS_AT, VECTORS_AT + bytes), XMM);
  else if ((requested & SSE) !== 0) u8.fill(0, XMM, XMM + bytes);
  if (loadsMxcsr) u32[MXCSR] = words[MXCSR_AT >> 2]!;
  else if (compacted && (requested & SSE) !== 0) u32[MXCSR] = MXCSR_RESET;
  if (halves !== null) u8.set(halves, HIGH);
  else if ((requested & AVX) !== 0) u8.fill(0, HIGH, HIGH + bytes);
  if ((requested & PKRU) !== 0 && u32[PKRU_AT] !== rights) {
    u32[PKRU_AT] = rights;
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
  p.setGpr(RAX, 64, index === 0 ? enabled(p) : enabled(p) & inUse(p));
  p.setGpr(RDX, 64, 0);
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
