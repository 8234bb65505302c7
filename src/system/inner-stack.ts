/** The stacks that the TSS holds for inner rings. SDM volume 3, sections 6.8.5.1, 7.12.1 and 7.14.5. */
import { moved } from '../mmu/linear.ts';
import { TS } from '../state/vectors.ts';
import { type Descriptor, isNull, TSS16_BUSY } from './descriptors.ts';
import type { Processor } from './processor.ts';
import { checkStackSegment } from './segments.ts';
import { Stack } from './stack.ts';

export interface InnerStack {
  readonly stack: Stack;
  readonly selector: number;
  /** null = the null selector of IA-32e mode. */
  readonly descriptor: Descriptor | null;
}

/** Outside IA-32e mode: SS:ESP of privilege level `cpl`, checked. */
export function innerStack(p: Processor, cpl: number): InnerStack {
  const { tr } = p;
  const is16Bit = (tr.access & 15) === TSS16_BUSY || (tr.access & 15) === 1;
  const offset = is16Bit ? cpl * 4 + 2 : cpl * 8 + 4;
  if (!tr.usable || offset + (is16Bit ? 3 : 5) > tr.limit) throw p.selectorFault(TS, tr.selector);
  const at = p.systemLinear(tr.base, offset);
  const pointer = is16Bit ? p.linear.system16(at) : p.linear.system32(at);
  const selector = p.linear.system16(p.systemLinear(tr.base, offset + (is16Bit ? 2 : 4)));
  if (isNull(selector)) throw p.zeroFault(TS);
  const descriptor = checkStackSegment(p, selector, cpl, TS);
  return { stack: Stack.inner(p, descriptor, pointer, cpl), selector, descriptor };
}

/** In IA-32e mode: RSPn, or with `ist` 1-7 an interrupt stack, as a number. */
export function innerStackPointer64(p: Processor, cpl: number, ist: number): number {
  const { tr } = p;
  const offset = ist !== 0 ? 28 + ist * 8 : 4 + cpl * 8;
  if (!tr.usable || offset + 7 > tr.limit) throw p.selectorFault(TS, tr.selector);
  return p.linear.systemAddress(moved(tr.base, offset));
}
