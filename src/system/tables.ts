/** Descriptor-table registers, and the instructions that ask about descriptors. SDM volume 2: LGDT … VERW. */
import { GP, NP } from '../state/vectors.ts';
import {
  CALL_GATE,
  CALL_GATE16,
  type Descriptor,
  fetchDescriptor,
  isNull,
  LDT,
  markBusy,
  readDescriptor,
  TASK_GATE,
  TSS_AVAILABLE,
  TSS_BUSY,
  TSS16_AVAILABLE,
  TSS16_BUSY,
  widen,
} from './descriptors.ts';
import { generalProtection } from './fault.ts';
import type { Processor } from './processor.ts';
import { loadDescriptor, loadNull } from './segments.ts';

const ZF = 0x40;

function loadTable(p: Processor, name: 'gdtr' | 'idtr'): void {
  p.requireCpl0();
  if (p.code64 && !p.isCanonicalBase(p.argumentAddress(0))) throw generalProtection();
  p.state.set64(`${name}Base`, p.argument64(0));
  p.state.set32(`${name}Limit`, p.argument(1) & 0xffff);
  p.advance();
}
/** `lgdt` (base, limit). */
export const lgdt = (p: Processor): void => loadTable(p, 'gdtr');
/** `lidt` (base, limit). */
export const lidt = (p: Processor): void => loadTable(p, 'idtr');

/** `lldt` (selector). */
export function lldt(p: Processor): void {
  p.requireProtectedMode();
  p.requireCpl0();
  const selector = p.argument(0) & 0xffff;
  if (isNull(selector)) loadNull(p, p.ldtr, selector);
  else {
    const d = systemDescriptor(p, selector, (type) => type === LDT);
    loadSystem(p, p.ldtr, d);
  }
  p.advance();
}

/** `ltr` (selector). */
export function ltr(p: Processor): void {
  p.requireProtectedMode();
  p.requireCpl0();
  const selector = p.argument(0) & 0xffff;
  if (isNull(selector)) throw generalProtection();
  const d = systemDescriptor(
    p,
    selector,
    (type) => type === TSS_AVAILABLE || (type === TSS16_AVAILABLE && !p.longMode),
  );
  markBusy(p, d.address, true);
  loadSystem(p, p.tr, d);
  p.tr.access |= 2;
  p.advance();
}

function systemDescriptor(p: Processor, selector: number, fits: (type: number) => boolean): Descriptor {
  if ((selector & 4) !== 0) throw p.selectorFault(GP, selector);
  const narrow = fetchDescriptor(p, selector);
  if (!narrow.isSystem || !fits(narrow.type)) throw p.selectorFault(GP, selector);
  if (!narrow.isPresent) throw p.selectorFault(NP, selector);
  const d = widen(p, narrow);
  if (d === null || !p.isCanonicalBase(d.base)) throw p.selectorFault(GP, selector);
  return d;
}

function loadSystem(p: Processor, s: Processor['ldtr'], d: Descriptor): void {
  const { access } = d;
  loadDescriptor(p, s, d.selector, d);
  s.access = access;
}

function answer(p: Processor, yes: boolean): void {
  const flags = p.engine.flags();
  p.engine.setFlags(yes ? flags | ZF : flags & ~ZF);
  p.advance();
}

/** A descriptor that the current program may know of, or null. */
function visible(p: Processor, selector: number): Descriptor | null {
  p.requireProtectedMode();
  if (isNull(selector)) return null;
  const d = readDescriptor(p, selector);
  if (d === null) return null;
  if (!d.isConforming && (d.dpl < p.cpl || d.dpl < d.rpl)) return null;
  return d;
}

const larTypes = [TSS16_AVAILABLE, LDT, TSS16_BUSY, CALL_GATE16, TASK_GATE, TSS_AVAILABLE, TSS_BUSY, CALL_GATE];
const lslTypes = [TSS16_AVAILABLE, LDT, TSS16_BUSY, TSS_AVAILABLE, TSS_BUSY];
const longTypes = [LDT, TSS_AVAILABLE, TSS_BUSY, CALL_GATE];

function ofType(p: Processor, d: Descriptor | null, types: readonly number[]): Descriptor | null {
  if (d === null || !d.isSystem) return d;
  if (!types.includes(d.type) || (p.longMode && !longTypes.includes(d.type))) return null;
  return widen(p, d);
}

function ask(p: Processor, types: readonly number[], value: (d: Descriptor, width: number) => number): void {
  const d = ofType(p, visible(p, p.argument(0) & 0xffff), types);
  const target = p.argument(1);
  const width = (target >> 8) as 16 | 32 | 64;
  if (d !== null) p.setGpr(target & 15, width, value(d, width));
  answer(p, d !== null);
}

/** `lar` (selector, general register | width << 8). */
export const lar = (p: Processor): void =>
  ask(p, larTypes, (d, width) => d.high & (width === 16 ? 0xff00 : 0x00f0_ff00));
/** `lsl` (selector, general register | width << 8). */
export const lsl = (p: Processor): void => ask(p, lslTypes, (d) => d.limit);

/** `verr` (selector). */
export function verr(p: Processor): void {
  const d = visible(p, p.argument(0) & 0xffff);
  answer(p, d?.isReadable === true);
}
/** `verw` (selector). */
export function verw(p: Processor): void {
  const d = visible(p, p.argument(0) & 0xffff);
  answer(p, d?.isWritableData === true);
}
