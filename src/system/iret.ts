/** IRET in every mode. SDM volume 2, IRET; volume 3, sections 7.12, 7.14.3 and 21.2. */

import { lowOf } from '../mmu/linear.ts';
import { offsetOf } from '../state/layout.ts';
import { markAccessed } from './descriptors.ts';
import { generalProtection } from './fault.ts';
import { withVirtualInterrupts } from './flags-register.ts';
import {
  CR4_VME,
  type Processor,
  RFLAGS_AC,
  RFLAGS_ARITHMETIC,
  RFLAGS_DF,
  RFLAGS_ID,
  RFLAGS_IF,
  RFLAGS_IOPL,
  RFLAGS_NT,
  RFLAGS_RF,
  RFLAGS_TF,
  RFLAGS_VIF,
  RFLAGS_VIP,
  RFLAGS_VM,
} from './processor.ts';
import { CS, DS, ES, FS, GS, SS } from './segment-register.ts';
import { dropInnerSegments, loadCode, loadReal, loadStack } from './segments.ts';
import { Stack } from './stack.ts';
import { returnFromTask } from './task-switch.ts';
import { checkCodeOffset, checkReturnCode, checkReturnStack } from './transfers.ts';

const NMI_BLOCKED = offsetOf('nmiBlocked') >> 2;

type ItemBytes = 2 | 4 | 8;
const ALWAYS = RFLAGS_ARITHMETIC | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;

/** The flags that an IRET at privilege level `cpl` with this IOPL may change. */
function changeable(bytes: ItemBytes, cpl: number, iopl: number): number {
  let mask = ALWAYS;
  if (bytes !== 2) mask |= RFLAGS_RF | RFLAGS_AC | RFLAGS_ID;
  if (cpl <= iopl) mask |= RFLAGS_IF;
  if (cpl === 0) mask |= RFLAGS_IOPL | (bytes === 2 ? 0 : RFLAGS_VIF | RFLAGS_VIP);
  return mask;
}

/** `iret` (bytes of the operand size). */
export function iret(p: Processor): void {
  p.state.u32[NMI_BLOCKED] = 0;
  const bytes = p.argument(0) as ItemBytes;
  if (p.realAddressing) {
    iretReal(p, bytes);
    return;
  }
  if ((p.rflagsRest & RFLAGS_NT) !== 0) {
    if (p.longMode) throw generalProtection();
    returnFromTask(p);
    return;
  }
  const stack = Stack.current(p);
  const ip = stack.popItem(bytes);
  const selector = stack.pop(bytes) & 0xffff;
  const flags = stack.pop(bytes);
  if (bytes === 4 && (flags & RFLAGS_VM) !== 0 && p.cpl === 0 && !p.longMode) {
    iretVirtual(p, stack, ip, selector, flags);
    return;
  }

  const code = checkReturnCode(p, selector);
  const toLong = p.longMode && code.isLong;
  const target = toLong ? ip : lowOf(ip);
  const cpl = selector & 3;
  const mask = changeable(bytes, p.cpl, p.iopl);
  if (cpl === p.cpl && !p.code64) {
    checkCodeOffset(p, code, target);
    markAccessed(p, code);
    p.setStackPointer(stack.pointer, stack.width);
    changeFlags(p, flags, mask);
    loadCode(p, selector, code, cpl);
    p.rip = target;
    return;
  }
  const pointerLow = stack.pop(bytes);
  const pointerHigh = bytes === 8 ? p.linear.high : 0;
  const stackSelector = stack.pop(bytes) & 0xffff;
  const ss = checkReturnStack(p, stackSelector, cpl, toLong);
  checkCodeOffset(p, code, target);
  markAccessed(p, code);
  const outward = cpl !== p.cpl;
  changeFlags(p, flags, mask);
  loadCode(p, selector, code, cpl);
  loadStack(p, stackSelector, ss);
  if (p.stackWidth === 64) p.setGpr(4, 64, pointerLow, pointerHigh);
  else p.setStackPointer(pointerLow, p.stackWidth);
  if (outward) dropInnerSegments(p);
  p.rip = target;
}

function changeFlags(p: Processor, flags: number, mask: number): void {
  p.setRflags((p.rflags & ~mask) | (flags & mask));
}

function iretReal(p: Processor, bytes: ItemBytes): void {
  const virtual = p.virtual8086;
  const monitored = virtual && p.iopl < 3;
  if (monitored && (bytes !== 2 || (p.cr4 & CR4_VME) === 0)) throw generalProtection();
  const stack = Stack.current(p);
  const ip = stack.popItem(bytes);
  const selector = stack.pop(bytes) & 0xffff;
  const flags = stack.pop(bytes);
  if (monitored) {
    const wakes = (flags & RFLAGS_IF) !== 0 && (p.rflagsRest & RFLAGS_VIP) !== 0;
    if (wakes || (flags & RFLAGS_TF) !== 0) throw generalProtection();
  }
  if (ip > p.cs.limit) throw generalProtection();
  p.setStackPointer(stack.pointer, stack.width);
  let mask = monitored ? ALWAYS : ALWAYS | RFLAGS_IF;
  if (bytes !== 2) mask |= RFLAGS_RF | RFLAGS_AC | RFLAGS_ID;
  if (!virtual) mask |= RFLAGS_IOPL;
  changeFlags(p, flags, mask);
  if (monitored) p.setRflagsRest(withVirtualInterrupts(p.rflagsRest, flags));
  loadReal(p, p.cs, selector);
  p.rip = ip;
  p.engine.contextChanged();
}

/** From ring 0 into virtual-8086 mode. */
function iretVirtual(p: Processor, stack: Stack, ip: number, selector: number, flags: number): void {
  const pointer = stack.pop(4);
  const selectors = [SS, ES, DS, FS, GS].map((index) => [index, stack.pop(4) & 0xffff] as const);
  p.setCpl(3);
  p.setRflags(flags);
  loadReal(p, p.segments[CS]!, selector);
  for (const [index, value] of selectors) loadReal(p, p.segments[index]!, value);
  p.setStackPointer(pointer, 32);
  p.rip = ip & 0xffff;
  p.engine.contextChanged();
}
