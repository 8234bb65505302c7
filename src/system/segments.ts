/** Loading of segment registers in every mode. SDM volume 2, MOV, POP, LDS; volume 3, sections 3.4, 6.6, 6.7 and 21. */
import { GP, NP, SS_FAULT } from '../state/vectors.ts';
import { type Descriptor, fetchDescriptor, isNull, markAccessed } from './descriptors.ts';
import { GuestFault, generalProtection, undefinedOpcode } from './fault.ts';
import type { Processor } from './processor.ts';
import {
  ACCESS_REAL,
  ACCESS_USABLE,
  ACCESS_VIRTUAL,
  CS,
  DS,
  ES,
  FS,
  GS,
  type SegmentRegister,
  SS,
} from './segment-register.ts';
import { Stack } from './stack.ts';

/** A null selector: the register cannot be used. */
export function loadNull(p: Processor, s: SegmentRegister, selector: number): void {
  s.selector = selector;
  s.base = 0;
  s.limit = 0;
  s.access = 0;
  s.setRanges(p.protectedMode);
}

/** Takes over a descriptor. */
export function loadDescriptor(p: Processor, s: SegmentRegister, selector: number, d: Descriptor): void {
  s.selector = selector;
  s.base = d.base;
  s.limit = d.limit;
  s.access = d.access | 1;
  s.setRanges(p.protectedMode);
}

/** Real and virtual-8086 mode: the base follows the selector. Real mode leaves limit and access rights alone. */
export function loadReal(p: Processor, s: SegmentRegister, selector: number): void {
  s.selector = selector;
  s.base = selector * 16;
  if (p.virtual8086) {
    s.limit = 0xffff;
    s.access = ACCESS_VIRTUAL;
  }
  s.setRanges(p.protectedMode);
}

/** Back in real mode: what a null selector had made unusable counts as a real-mode segment again. */
export function reviveSegments(p: Processor): void {
  for (const s of p.segments.slice(0, 6)) {
    if (s.usable) continue;
    s.limit = 0xffff;
    s.access = ACCESS_REAL;
  }
}

/**
 * Checks a selector for DS, ES, FS or GS (null comes back as null), accessed flag set.
 * @param vector #GP, or #TS in a task switch
 */
export function checkDataSegment(p: Processor, selector: number, cpl: number, vector: number = GP): Descriptor | null {
  if (isNull(selector)) return null;
  const d = fetchDescriptor(p, selector, vector);
  if (d.isSystem || !d.isReadable) throw p.selectorFault(vector, selector);
  if (!d.isConforming && (d.rpl > d.dpl || cpl > d.dpl)) throw p.selectorFault(vector, selector);
  if (!d.isPresent) throw p.selectorFault(NP, selector);
  markAccessed(p, d);
  return d;
}

/**
 * Checks a selector for SS at privilege level `cpl`.
 * @param vector #GP, or #TS where a TSS gave the selector
 */
export function checkStackSegment(p: Processor, selector: number, cpl: number, vector: number = GP): Descriptor {
  if (isNull(selector)) throw p.zeroFault(vector);
  const d = fetchDescriptor(p, selector, vector);
  if (d.rpl !== cpl || d.isSystem || !d.isWritableData || d.dpl !== cpl) throw p.selectorFault(vector, selector);
  if (!d.isPresent) throw p.selectorFault(SS_FAULT, selector);
  markAccessed(p, d);
  return d;
}

/** May 64-bit mode have a null SS at this level? */
export const nullStackAllowed = (p: Processor, selector: number, cpl: number): boolean =>
  p.code64 && isNull(selector) && cpl !== 3 && (selector & 3) === cpl;

/** #GP(0), or #SS(0) for the stack, unless bytes at an offset lie in the segment; in 64-bit code they do. */
export function checkRange(p: Processor, segment: number, offset: number, bytes: number, write: boolean): void {
  if (p.code64) return;
  const s = p.segments[segment]!;
  const low = write ? s.writeLow : s.readLow;
  const high = write ? s.writeHigh : s.readHigh;
  if (offset < low || offset + bytes - 1 > high)
    throw segment === SS ? new GuestFault(SS_FAULT, 0) : generalProtection();
}

/** Loads CS, and CPL with it. */
export function loadCode(p: Processor, selector: number, d: Descriptor, cpl: number): void {
  loadDescriptor(p, p.cs, (selector & 0xfffc) | cpl, d);
  if (p.cpl !== cpl) p.setCpl(cpl);
  p.engine.contextChanged();
}

/** Loads SS with what was checked; null in 64-bit mode. */
export function loadStack(p: Processor, selector: number, d: Descriptor | null): void {
  if (d === null) loadNull(p, p.ss, selector);
  else loadDescriptor(p, p.ss, selector, d);
  p.engine.contextChanged();
}

/** Checks first, then loads: a data or stack segment register by its encoding. */
export function loadSegment(p: Processor, index: number, selector: number): void {
  prepareSegment(p, index, selector)();
}

/** The two halves of {@link loadSegment}: everything that can fault now, the change when the result is called. */
export function prepareSegment(p: Processor, index: number, selector: number): () => void {
  const s = p.segments[index]!;
  if (index === CS) throw undefinedOpcode();
  if (p.realAddressing) {
    return () => {
      loadReal(p, s, selector);
      p.engine.contextChanged();
    };
  }
  if (index === SS) {
    if (nullStackAllowed(p, selector, p.cpl)) return () => loadStack(p, selector, null);
    if (isNull(selector)) throw generalProtection();
    const d = checkStackSegment(p, selector, p.cpl);
    return () => loadStack(p, selector, d);
  }
  const d = checkDataSegment(p, selector, p.cpl);
  return () => {
    if (d === null) loadNull(p, s, selector);
    else loadDescriptor(p, s, selector, d);
    if (!p.code64) p.engine.contextChanged();
  };
}

/**
 * After a return to an outer level: data segments that it may not use become null, and whatever null selector is there
 * becomes zero. In IA-32e mode FS and GS keep their bases, which 64-bit code uses all the same.
 */
export function dropInnerSegments(p: Processor): void {
  let dropped = false;
  for (const index of dataSegments) {
    const s = p.segments[index]!;
    const usable = (s.access & ACCESS_USABLE) !== 0;
    const conforming = s.isCode && (s.access & 4) !== 0;
    if (!isNull(s.selector) && !(usable && !conforming && s.dpl < p.cpl)) continue;
    if (!usable) {
      s.selector = 0;
      continue;
    }
    const { base } = s;
    loadNull(p, s, 0);
    if (p.longMode && (index === FS || index === GS)) s.base = base;
    dropped = true;
  }
  if (dropped && !p.code64) p.engine.contextChanged();
}
const dataSegments = [ES, DS, FS, GS] as const;

/** After CR0.PE or EFLAGS.VM changed: the ranges of all segments. */
export function refreshRanges(p: Processor): void {
  for (const s of p.segments) s.setRanges(p.protectedMode);
}

/** `mov-to-segment` (index, selector, 1 = interrupts wait for an instruction): MOV Sreg and POP Sreg. */
export function moveToSegment(p: Processor): void {
  const index = p.argument(0);
  loadSegment(p, index, p.argument(1) & 0xffff);
  if (index === SS) p.interruptShadow = 2;
  p.advance();
}

/** `pop-segment` (index, bytes). */
export function popSegment(p: Processor): void {
  const index = p.argument(0);
  const stack = Stack.current(p);
  const selector = stack.pop(p.argument(1) as 2 | 4 | 8) & 0xffff;
  loadSegment(p, index, selector);
  p.setStackPointer(stack.pointer, stack.width);
  if (index === SS) p.interruptShadow = 2;
  p.advance();
}

/** `load-far-pointer` (segment index, selector, general register | width << 8, offset): LDS, LES, LSS, LFS, LGS. */
export function loadFarPointer(p: Processor): void {
  const index = p.argument(0);
  loadSegment(p, index, p.argument(1) & 0xffff);
  const target = p.argument(2);
  p.setGpr(target & 15, (target >> 8) as 16 | 32 | 64, p.argument(3), p.argumentHigh(3));
  p.advance();
}
