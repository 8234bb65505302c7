/**
 * The helpers by the names that definitions use (`b.call('iret', x, …)`), and the one place where a guest's fault in one of
 * them becomes an exception. Arguments lie in the fields argument0-3; each function says what it takes.
 */
import { offsetOf } from '../state/layout.ts';
import {
  clts,
  hlt,
  invlpg,
  invpcid,
  lmsw,
  movFromCr8,
  movFromDr,
  movToCr,
  movToDr,
  wbinvd,
  wrpkru,
} from './control.ts';
import { cpuid } from './cpuid.ts';
import { GuestFault } from './fault.ts';
import { cli, popf, sti } from './flags-register.ts';
import { fxrstor, fxsave } from './fx-state.ts';
import { vmcall } from './hypercall.ts';
import { deliverException } from './interrupts.ts';
import { iret } from './iret.ts';
import { rdmsr, wrmsr } from './msr.ts';
import { ins, outs, portIn, portOut } from './port-io.ts';
import type { Processor } from './processor.ts';
import { random } from './random.ts';
import { loadFarPointer, moveToSegment, popSegment } from './segments.ts';
import { int, int1, int3, into } from './software-interrupts.ts';
import { syscall, sysenter, sysexit, sysret } from './syscall.ts';
import { rsm } from './system-management.ts';
import { lar, lgdt, lidt, lldt, lsl, ltr, verr, verw } from './tables.ts';
import { farCall, farJump, farReturn } from './transfers.ts';
import { pause, tpause, umwait } from './waiting.ts';
import { fldenv, fnsave, fnstenv, frstor } from './x87-environment.ts';
import { xgetbv, xrstor, xrstors, xsave, xsavec, xsaveopt, xsaves, xsetbv } from './xsave.ts';

/** Does one instruction; throws GuestFault. Leaves `rip` where the guest goes on. */
export type Helper = (p: Processor) => void;

export const helpers = {
  'mov-to-segment': moveToSegment,
  'pop-segment': popSegment,
  'load-far-pointer': loadFarPointer,
  'far-jump': farJump,
  'far-call': farCall,
  'far-return': farReturn,
  iret,
  int,
  int1,
  int3,
  into,
  popf,
  cli,
  sti,
  hlt,
  clts,
  lmsw,
  invlpg,
  invpcid,
  rsm,
  wrpkru,
  wbinvd,
  'mov-to-cr': movToCr,
  'mov-from-cr8': movFromCr8,
  'mov-to-dr': movToDr,
  'mov-from-dr': movFromDr,
  lgdt,
  lidt,
  lldt,
  ltr,
  lar,
  lsl,
  verr,
  verw,
  rdmsr,
  wrmsr,
  cpuid,
  random,
  pause,
  tpause,
  umwait,
  vmcall,
  syscall,
  sysret,
  sysenter,
  sysexit,
  in: portIn,
  out: portOut,
  ins,
  outs,
  fxsave,
  fxrstor,
  xsave,
  xsaveopt,
  xsavec,
  xsaves,
  xrstor,
  xrstors,
  xgetbv,
  xsetbv,
  fldenv,
  fnstenv,
  frstor,
  fnsave,
} as const satisfies Record<string, Helper>;

export type HelperName = keyof typeof helpers;
export const helperNames = Object.keys(helpers) as readonly HelperName[];

const SHADOW = offsetOf('interruptShadow') >> 2;

/**
 * Runs a helper. The guest's faults are delivered here and never escape; an error of another kind is a bug in the host.
 * @param next instruction pointer after the instruction (the field `rip` is still at it)
 */
export function runHelper(p: Processor, name: HelperName, next: number): void {
  p.next = next;
  p.state.u32[SHADOW] = 0; // a shadow covers one instruction: this one
  try {
    helpers[name](p);
  } catch (thrown) {
    if (!(thrown instanceof GuestFault)) throw thrown;
    deliverException(p, thrown.vector, thrown.errorCode);
  }
}
