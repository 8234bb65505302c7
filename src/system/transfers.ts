/** Far JMP, CALL and RET: code segments, call gates, rings. SDM volume 2 (JMP, CALL, RET), volume 3, section 6.8. */
import { lowOf } from '../mmu/linear.ts';
import { GP, NP } from '../state/vectors.ts';
import {
  CALL_GATE,
  CALL_GATE16,
  type Descriptor,
  fetchDescriptor,
  isNull,
  markAccessed,
  TASK_GATE,
  TSS_AVAILABLE,
  TSS16_AVAILABLE,
  widen,
} from './descriptors.ts';
import { generalProtection } from './fault.ts';
import { innerStack, innerStackPointer64 } from './inner-stack.ts';
import type { Processor } from './processor.ts';
import { checkStackSegment, dropInnerSegments, loadCode, loadReal, loadStack } from './segments.ts';
import { Stack } from './stack.ts';
import { switchTask, taskGateTarget } from './task-switch.ts';

type Kind = 'jump' | 'call';
type ItemBytes = 2 | 4 | 8;

/** Faults unless an offset lies in a code segment that is about to be loaded. */
export function checkCodeOffset(p: Processor, d: Descriptor, offset: number): void {
  if (p.longMode && d.isLong) {
    if (!p.isCanonical(offset)) throw p.zeroFault(GP);
  } else if (offset > d.limit) throw p.zeroFault(GP);
}

/** An offset as the code segment takes it: outside 64-bit code only 32 bits. */
const codeOffset = (p: Processor, d: Descriptor, offset: number): number =>
  p.longMode && d.isLong ? offset : lowOf(offset);

/** Faults unless the descriptor is a present code segment that a transfer without a gate may reach. */
function checkDirectCode(p: Processor, d: Descriptor, checkRpl: boolean): void {
  const { cpl } = p;
  if (d.isConforming) {
    if (d.dpl > cpl) throw p.selectorFault(GP, d.selector);
  } else if ((checkRpl && d.rpl > cpl) || d.dpl !== cpl) throw p.selectorFault(GP, d.selector);
  if (p.longMode && d.isLong && d.isBig) throw p.selectorFault(GP, d.selector);
  if (!d.isPresent) throw p.selectorFault(NP, d.selector);
}

/** Pushes the return address of a call; the frame is probed, the stack pointer not yet moved. */
function pushReturn(p: Processor, stack: Stack, bytes: ItemBytes): void {
  stack.push(bytes, p.cs.selector);
  stack.pushAddress(bytes, p.next);
}

function transferReal(p: Processor, kind: Kind, selector: number, offset: number, bytes: ItemBytes): void {
  if (offset > p.cs.limit) throw generalProtection();
  if (kind === 'call') {
    const stack = Stack.current(p);
    pushReturn(p, stack, bytes);
    stack.probe();
    stack.write();
    p.setStackPointer(stack.pointer, stack.width);
  }
  loadReal(p, p.cs, selector);
  p.rip = offset;
  p.engine.contextChanged();
}

function transfer(p: Processor, kind: Kind): void {
  const selector = p.argument(0) & 0xffff;
  const bytes = p.argument(2) as ItemBytes;
  const offset = bytes === 2 ? p.argument(1) & 0xffff : bytes === 4 ? p.argument(1) : p.argumentAddress(1);
  if (p.realAddressing) {
    transferReal(p, kind, selector, offset, bytes);
    return;
  }
  if (isNull(selector)) throw generalProtection();
  const d = fetchDescriptor(p, selector);
  if (!d.isSystem) {
    if (!d.isCode) throw p.selectorFault(GP, selector);
    checkDirectCode(p, d, true);
    const target = codeOffset(p, d, offset);
    checkCodeOffset(p, d, target);
    markAccessed(p, d);
    const { cpl } = p;
    if (kind === 'call') {
      const stack = Stack.current(p);
      pushReturn(p, stack, bytes);
      stack.probe();
      stack.write();
      p.setStackPointer(stack.pointer, stack.width);
    }
    loadCode(p, selector, d, cpl);
    p.rip = target;
    return;
  }
  const { type } = d;
  const isTask = type === TASK_GATE || type === TSS_AVAILABLE || type === TSS16_AVAILABLE;
  const known = p.longMode ? type === CALL_GATE : type === CALL_GATE || type === CALL_GATE16 || isTask;
  if (!known || d.dpl < p.cpl || d.rpl > d.dpl) throw p.selectorFault(GP, selector);
  if (!d.isPresent) throw p.selectorFault(NP, selector);
  if (isTask) {
    const target = type === TASK_GATE ? taskGateTarget(p, d.gateSelector) : d;
    switchTask(p, target, kind, p.next);
    return;
  }
  throughCallGate(p, kind, d);
}

function throughCallGate(p: Processor, kind: Kind, narrow: Descriptor): void {
  const gate = widen(p, narrow);
  if (gate === null) throw p.selectorFault(GP, narrow.selector);
  const long = p.longMode;
  const bytes: ItemBytes = long ? 8 : gate.type === CALL_GATE16 ? 2 : 4;
  const selector = gate.gateSelector;
  if (isNull(selector)) throw p.zeroFault(GP);
  const code = fetchDescriptor(p, selector);
  const { cpl } = p;
  if (!code.isCode || code.dpl > cpl) throw p.selectorFault(GP, selector);
  if (long && (!code.isLong || code.isBig)) throw p.selectorFault(GP, selector);
  if (kind === 'jump' && !code.isConforming && code.dpl !== cpl) throw p.selectorFault(GP, selector);
  if (!code.isPresent) throw p.selectorFault(NP, selector);
  const target = long ? gate.gateOffset64 : bytes === 2 ? gate.gateOffset16 : gate.gateOffset;
  checkCodeOffset(p, code, target);

  if (kind === 'call' && !code.isConforming && code.dpl < cpl) {
    callInner(p, gate, code, target, bytes);
    return;
  }
  markAccessed(p, code);
  if (kind === 'call') {
    const stack = Stack.current(p);
    pushReturn(p, stack, bytes);
    stack.probe();
    stack.write();
    p.setStackPointer(stack.pointer, stack.width);
  }
  loadCode(p, selector, code, cpl);
  p.rip = target;
}

/** A call gate to a more privileged ring: its stack from the TSS, the parameters copied. */
function callInner(p: Processor, gate: Descriptor, code: Descriptor, target: number, bytes: ItemBytes): void {
  const cpl = code.dpl;
  if (bytes === 8) {
    const stack = Stack.wide(p, innerStackPointer64(p, cpl, 0), true);
    stack.push(8, p.ss.selector);
    stack.push(8, p.rspLow, p.rspHigh);
    pushReturn(p, stack, 8);
    markAccessed(p, code);
    stack.probe();
    stack.write();
    loadCode(p, gate.gateSelector, code, cpl);
    loadStack(p, cpl, null);
    p.setStackPointer(stack.pointer, 64);
    p.rip = target;
    return;
  }
  const { stack, selector, descriptor } = innerStack(p, cpl);
  const old = Stack.current(p);
  const parameters: number[] = [];
  for (let i = 0; i < gate.gateParameters; i++) parameters.push(old.pop(bytes));
  stack.push(bytes, p.ss.selector);
  stack.push(bytes, p.rspLow);
  for (const value of parameters.reverse()) stack.push(bytes, value);
  pushReturn(p, stack, bytes);
  markAccessed(p, code);
  stack.probe();
  stack.write();
  loadCode(p, gate.gateSelector, code, cpl);
  loadStack(p, selector, descriptor);
  p.setStackPointer(stack.pointer, stack.width);
  p.rip = target;
}

/** `far-jump` (selector, offset, bytes of the operand size). */
export function farJump(p: Processor): void {
  transfer(p, 'jump');
}

/** `far-call` (selector, offset, bytes of the operand size). */
export function farCall(p: Processor): void {
  transfer(p, 'call');
}

/**
 * A code segment to return to, checked but for its limit.
 * @param selector its RPL is the level that the return goes to
 */
export function checkReturnCode(p: Processor, selector: number): Descriptor {
  if (isNull(selector)) throw generalProtection();
  const d = fetchDescriptor(p, selector);
  if (!d.isCode || d.rpl < p.cpl) throw p.selectorFault(GP, selector);
  if (d.isConforming ? d.dpl > d.rpl : d.dpl !== d.rpl) throw p.selectorFault(GP, selector);
  if (p.longMode && d.isLong && d.isBig) throw p.selectorFault(GP, selector);
  if (!d.isPresent) throw p.selectorFault(NP, selector);
  return d;
}

/** The stack segment of a return to level `cpl`: 64-bit code may get null below level 3. */
export function checkReturnStack(p: Processor, selector: number, cpl: number, toLong: boolean): Descriptor | null {
  if (isNull(selector) && toLong && cpl !== 3 && (selector & 3) === cpl) return null;
  if (isNull(selector)) throw generalProtection();
  return checkStackSegment(p, selector, cpl);
}

/** `far-return` (bytes of the operand size, bytes of parameters to release). */
export function farReturn(p: Processor): void {
  const bytes = p.argument(0) as ItemBytes;
  const release = p.argument(1) & 0xffff;
  const stack = Stack.current(p);
  const offset = stack.popItem(bytes);
  const selector = stack.pop(bytes) & 0xffff;
  if (p.realAddressing) {
    if (offset > p.cs.limit) throw generalProtection();
    stack.skip(release);
    p.setStackPointer(stack.pointer, stack.width);
    loadReal(p, p.cs, selector);
    p.rip = offset;
    p.engine.contextChanged();
    return;
  }
  const code = checkReturnCode(p, selector);
  const target = codeOffset(p, code, offset);
  const cpl = selector & 3;
  stack.skip(release);
  if (cpl === p.cpl) {
    checkCodeOffset(p, code, target);
    markAccessed(p, code);
    p.setStackPointer(stack.pointer, stack.width);
    loadCode(p, selector, code, cpl);
    p.rip = target;
    return;
  }
  const pointerLow = stack.pop(bytes);
  const pointerHigh = bytes === 8 ? p.linear.high : 0;
  const stackSelector = stack.pop(bytes) & 0xffff;
  const ss = checkReturnStack(p, stackSelector, cpl, p.longMode && code.isLong);
  checkCodeOffset(p, code, target);
  markAccessed(p, code);
  loadCode(p, selector, code, cpl);
  loadStack(p, stackSelector, ss);
  const { stackWidth } = p;
  const width = stackWidth === 64 && bytes !== 8 ? 32 : stackWidth;
  // Any 64 bits may be loaded, canonical or not.
  const sum = pointerLow + release;
  if (width === 64) p.setGpr(4, 64, sum, pointerHigh + (sum >= 2 ** 32 ? 1 : 0));
  else p.setStackPointer(sum, width);
  dropInnerSegments(p);
  p.rip = target;
}
