/**
 * Delivery of interrupts and exceptions: real mode's vector table, the IDT's interrupt, trap and task gates, rings,
 * virtual-8086 mode, IA-32e mode with its interrupt stacks; double fault and shutdown. SDM volume 3, chapter 7.
 */
import { addressOf, highOf, lowOf, moved } from '../mmu/linear.ts';
import { offsetOf } from '../state/layout.ts';
import { DB, DF, GP, NO_ERROR_CODE, NP, PF_FAULT, TS } from '../state/vectors.ts';
import { DR6_BD, enterDebugException, leaveDebugging } from './debug.ts';
import {
  Descriptor,
  fetchDescriptor,
  INTERRUPT_GATE,
  INTERRUPT_GATE16,
  isNull,
  markAccessed,
  TASK_GATE,
  TRAP_GATE,
  TRAP_GATE16,
} from './descriptors.ts';
import { GuestFault } from './fault.ts';
import { innerStack, innerStackPointer64 } from './inner-stack.ts';
import { type Processor, RFLAGS_AC, RFLAGS_IF, RFLAGS_NT, RFLAGS_RF, RFLAGS_TF, RFLAGS_VM } from './processor.ts';
import { DS, ES, FS, GS } from './segment-register.ts';
import { loadCode, loadNull, loadReal, loadStack } from './segments.ts';
import { Stack } from './stack.ts';
import { switchTask, taskGateTarget } from './task-switch.ts';
import { checkCodeOffset } from './transfers.ts';

/**
 * - `external`: INTR, NMI. `exception`: raised by the processor.
 * - `software`: INT n, INT3, INTO: the gate's DPL counts. `ICEBP`: INT1, which ignores it.
 */
export type EventKind = 'external' | 'exception' | 'software' | 'ICEBP';

const CR2 = offsetOf('cr2') >> 2;
const FAULT_ADDRESS = offsetOf('faultAddress') >> 2;
const PENDING = offsetOf('pendingDebug') >> 2;
const HALTED = offsetOf('halted') >> 2;
const SHADOW = offsetOf('interruptShadow') >> 2;
const SHUTDOWN = offsetOf('shutdown') >> 2;

/** Error code for a fault on the way through vector `vector` of the IDT. */
const gateFault = (p: Processor, fault: number, vector: number): GuestFault =>
  new GuestFault(fault, vector * 8 + 2 + p.linear.external);

/**
 * One attempt to deliver an event; throws the GuestFault that stops it, then nothing has changed (but for a task switch
 * that had passed its commit point).
 * @param returnTo instruction pointer for the frame
 */
function attempt(p: Processor, vector: number, kind: EventKind, errorCode: number, returnTo: number): void {
  p.linear.external = kind === 'software' ? 0 : 1;
  try {
    if (!p.protectedMode) deliverReal(p, vector, returnTo);
    else if (p.longMode) deliverLong(p, vector, kind, errorCode, returnTo);
    else deliverProtected(p, vector, kind, errorCode, returnTo);
  } finally {
    p.linear.external = 0;
  }
  p.state.u32[HALTED] = 0;
  p.state.u32[SHADOW] = 0;
  p.deliveries++;
}

/**
 * The flags that the frame shows: a fault sets RF, so that an instruction breakpoint does not hit again. Of debug exceptions
 * only general detect is one, since the handler of a breakpoint sets RF itself if it wants to go on. Between the elements
 * of a repeated string instruction RF is set. SDM volume 3, section 19.3.1.1.
 */
function frameFlags(p: Processor, vector: number, kind: EventKind): number {
  const isFault = kind === 'exception' && vector !== DF && (vector !== DB || p.resumesAfterDebug);
  return isFault || (p.repeats && kind !== 'software' && kind !== 'ICEBP') ? p.rflags | RFLAGS_RF : p.rflags;
}

function deliverReal(p: Processor, vector: number, returnTo: number): void {
  if (vector * 4 + 3 > p.idtrLimit) throw gateFault(p, GP, vector);
  const entry = p.linear.system32((p.idtrBase + vector * 4) >>> 0);
  const stack = Stack.current(p);
  stack.push(2, p.rflags);
  stack.push(2, p.cs.selector);
  stack.pushAddress(2, returnTo);
  stack.probe();
  stack.write();
  p.setStackPointer(stack.pointer, stack.width);
  p.setRflagsRest(p.rflagsRest & ~(RFLAGS_IF | RFLAGS_TF | RFLAGS_AC | RFLAGS_RF));
  loadReal(p, p.cs, entry >>> 16);
  p.rip = entry & 0xffff;
  p.engine.contextChanged();
}

function deliverProtected(p: Processor, vector: number, kind: EventKind, errorCode: number, returnTo: number): void {
  if (vector * 8 + 7 > p.idtrLimit) throw gateFault(p, GP, vector);
  const address = (p.idtrBase + vector * 8) >>> 0;
  p.linear.load(address, 8, true);
  const gate = new Descriptor(0, address, p.linear.low, p.linear.high);
  const { type } = gate;
  const isGate16 = type === INTERRUPT_GATE16 || type === TRAP_GATE16;
  const isGate32 = type === INTERRUPT_GATE || type === TRAP_GATE;
  if (!gate.isSystem || !(isGate16 || isGate32 || type === TASK_GATE)) throw gateFault(p, GP, vector);
  if (kind === 'software' && gate.dpl < p.cpl) throw gateFault(p, GP, vector);
  if (!gate.isPresent) throw gateFault(p, NP, vector);
  if (type === TASK_GATE) {
    deliverToTask(p, gate, frameFlags(p, vector, kind), errorCode, returnTo);
    return;
  }
  const bytes = isGate16 ? 2 : 4;
  const selector = gate.gateSelector;
  if (isNull(selector)) throw p.zeroFault(GP);
  const code = fetchDescriptor(p, selector);
  const { cpl, virtual8086 } = p;
  if (!code.isCode || code.dpl > cpl) throw p.selectorFault(GP, selector);
  if (!code.isPresent) throw p.selectorFault(NP, selector);
  const offset = isGate16 ? gate.gateOffset16 : gate.gateOffset;
  const flags = frameFlags(p, vector, kind);
  const inner = !code.isConforming && code.dpl < cpl;
  if (virtual8086 && (!inner || code.dpl !== 0)) throw p.selectorFault(GP, selector);
  const found = inner ? innerStack(p, code.dpl) : null;
  const stack = found === null ? Stack.current(p) : found.stack;
  checkCodeOffset(p, code, offset);
  if (inner) {
    if (virtual8086) for (const index of [GS, FS, DS, ES]) stack.push(bytes, p.segments[index]!.selector);
    stack.push(bytes, p.ss.selector);
    stack.push(bytes, p.rspLow);
  }
  stack.push(bytes, flags);
  stack.push(bytes, p.cs.selector);
  stack.pushAddress(bytes, returnTo);
  if (errorCode !== NO_ERROR_CODE) stack.push(bytes, errorCode);
  markAccessed(p, code);
  stack.probe();
  stack.write();

  clearFlags(p, type === INTERRUPT_GATE || type === INTERRUPT_GATE16);
  loadCode(p, selector, code, inner ? code.dpl : cpl);
  if (found !== null) loadStack(p, found.selector, found.descriptor);
  p.setStackPointer(stack.pointer, stack.width);
  if (virtual8086) for (const index of [GS, FS, DS, ES]) loadNull(p, p.segments[index]!, 0);
  p.rip = offset;
}

function clearFlags(p: Processor, interruptGate: boolean): void {
  const cleared = RFLAGS_TF | RFLAGS_NT | RFLAGS_VM | RFLAGS_RF | (interruptGate ? RFLAGS_IF : 0);
  p.setRflagsRest(p.rflagsRest & ~cleared);
}

function deliverToTask(p: Processor, gate: Descriptor, flags: number, errorCode: number, returnTo: number): void {
  const target = taskGateTarget(p, gate.gateSelector);
  switchTask(p, target, 'interrupt', returnTo, flags);
  if (errorCode === NO_ERROR_CODE) return;
  const stack = Stack.current(p);
  stack.push((target.type & 8) === 0 ? 2 : 4, errorCode);
  stack.probe();
  stack.write();
  p.setStackPointer(stack.pointer, stack.width);
}

function deliverLong(p: Processor, vector: number, kind: EventKind, errorCode: number, returnTo: number): void {
  if (vector * 16 + 15 > p.idtrLimit) throw gateFault(p, GP, vector);
  const address = moved(p.idtrBase, vector * 16);
  const { linear } = p;
  linear.load(address, 8, true);
  const { low, high } = linear;
  const gate = new Descriptor(0, address, low, high, linear.system32(moved(address, 8)));
  const { type } = gate;
  if (!gate.isSystem || (type !== INTERRUPT_GATE && type !== TRAP_GATE)) throw gateFault(p, GP, vector);
  const { cpl } = p;
  if (kind === 'software' && gate.dpl < cpl) throw gateFault(p, GP, vector);
  if (!gate.isPresent) throw gateFault(p, NP, vector);
  const selector = gate.gateSelector;
  if (isNull(selector)) throw p.zeroFault(GP);
  const code = fetchDescriptor(p, selector);
  if (!code.isCode || code.dpl > cpl || !code.isLong || code.isBig) throw p.selectorFault(GP, selector);
  if (!code.isPresent) throw p.selectorFault(NP, selector);
  const offset = gate.gateOffset64;
  checkCodeOffset(p, code, offset);
  const inner = !code.isConforming && code.dpl < cpl;
  const newCpl = inner ? code.dpl : cpl;
  const ist = gate.interruptStack;
  const top = inner || ist !== 0 ? innerStackPointer64(p, newCpl, ist) : p.rsp;
  const stack = Stack.wide(p, addressOf(lowOf(top) & ~15, highOf(top)), newCpl !== 3);
  stack.push(8, p.ss.selector);
  stack.push(8, p.rspLow, p.rspHigh);
  stack.push(8, frameFlags(p, vector, kind));
  stack.push(8, p.cs.selector);
  stack.pushAddress(8, returnTo);
  if (errorCode !== NO_ERROR_CODE) stack.push(8, errorCode);
  markAccessed(p, code);
  stack.probe();
  stack.write();

  clearFlags(p, type === INTERRUPT_GATE);
  loadCode(p, selector, code, newCpl);
  if (inner) loadStack(p, newCpl, null);
  p.setStackPointer(stack.pointer, 64);
  p.rip = offset;
}

const isContributory = (vector: number): boolean => vector === 0 || (vector >= TS && vector <= GP);

/**
 * Delivers an event, with whatever goes wrong on the way: a second exception, a double fault, shutdown (field `shutdown`).
 * @param errorCode NO_ERROR_CODE = none
 * @param returnTo instruction pointer for the frame; an exception that comes in between returns to the current one
 */
export function deliver(p: Processor, vector: number, kind: EventKind, errorCode: number, returnTo: number): void {
  let first: number | null = null;
  if (kind === 'exception') {
    first = vector;
    p.state.u32[PENDING] = 0; // what an instruction has met that faults after all
    p.mmu.watches.forget();
    if (vector === PF_FAULT) notePageFault(p);
    p.resumesAfterDebug = (p.debugCause & DR6_BD) !== 0;
    if (vector === DB) enterDebugException(p, p.debugCause);
    p.debugCause = 0;
  } else if (kind === 'ICEBP') {
    // What a load of SS has met before it comes with this debug exception, and is not one of its own in the handler.
    const met = p.state.u32[PENDING]!;
    p.state.u32[PENDING] = 0;
    if (met !== 0) enterDebugException(p, met);
    else leaveDebugging(p);
  }
  for (;;) {
    let fault: GuestFault;
    try {
      attempt(p, vector, kind, errorCode, returnTo);
      return;
    } catch (thrown) {
      if (!(thrown instanceof GuestFault)) throw thrown;
      fault = thrown;
    }
    if (fault.vector === PF_FAULT) notePageFault(p);
    if (first === DF) {
      p.state.u32[SHUTDOWN] = 1;
      return;
    }
    const doubles =
      first !== null &&
      ((isContributory(first) && isContributory(fault.vector)) ||
        (first === PF_FAULT && (isContributory(fault.vector) || fault.vector === PF_FAULT)));
    vector = doubles ? DF : fault.vector;
    errorCode = doubles ? 0 : fault.errorCode;
    kind = 'exception';
    first = vector;
    returnTo = p.rip;
  }
}

/** CR2 of a page fault that is about to be delivered. */
function notePageFault(p: Processor): void {
  const { u32 } = p.state;
  u32[CR2] = u32[FAULT_ADDRESS]!;
  u32[CR2 + 1] = u32[FAULT_ADDRESS + 1]!;
}

/** An exception of the instruction at `rip`. */
export function deliverException(p: Processor, vector: number, errorCode: number = NO_ERROR_CODE): void {
  deliver(p, vector, 'exception', errorCode, p.rip);
}
