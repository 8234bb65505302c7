/** INT n, INT3, INTO, INT1. SDM volume 2, INT; volume 3, sections 21.2 and 21.3. */
import { BP, DB, NO_ERROR_CODE, OF_TRAP } from '../state/vectors.ts';
import { exitRequest } from './exit-request.ts';
import { generalProtection } from './fault.ts';
import { deliver } from './interrupts.ts';
import { CR4_VME, type Processor, RFLAGS_IF, RFLAGS_IOPL, RFLAGS_NT, RFLAGS_TF, RFLAGS_VIF } from './processor.ts';
import { loadReal } from './segments.ts';
import { Stack } from './stack.ts';

const OF = 0x800;

const REDIRECTION_BYTES = 32;
const MAP_BASE = 102;

/** Does CR4.VME's bitmap in the TSS leave this vector of a virtual-8086 program to the program itself? */
function isRedirected(p: Processor, vector: number): boolean {
  if ((p.cr4 & CR4_VME) === 0) return false;
  const { tr, linear } = p;
  if ((tr.access & 8) === 0 || tr.limit < MAP_BASE + 1) throw generalProtection();
  const at = linear.system16(p.systemLinear(tr.base, MAP_BASE)) - REDIRECTION_BYTES + (vector >> 3);
  if (at < 0 || at > tr.limit) throw generalProtection();
  return ((linear.system8(p.systemLinear(tr.base, at)) >> (vector & 7)) & 1) === 0;
}

/** An interrupt of a virtual-8086 program through its own vector table, at linear address 0. */
function deliverVirtual(p: Processor, vector: number): void {
  const entry = p.linear.load(vector * 4, 4, false);
  const trusted = p.iopl === 3;
  const flags = p.rflags;
  const shown = trusted ? flags : (withInterruptFlag(flags, (flags & RFLAGS_VIF) !== 0) | RFLAGS_IOPL) & 0xffff;
  const stack = Stack.current(p);
  stack.push(2, shown);
  stack.push(2, p.cs.selector);
  stack.pushAddress(2, p.next);
  stack.probe();
  stack.write();
  p.setStackPointer(stack.pointer, stack.width);
  p.setRflagsRest(p.rflagsRest & ~(RFLAGS_TF | RFLAGS_NT | (trusted ? RFLAGS_IF : RFLAGS_VIF)));
  loadReal(p, p.cs, entry >>> 16);
  p.rip = entry & 0xffff;
  p.engine.contextChanged();
  p.deliveries++;
}
const withInterruptFlag = (flags: number, on: boolean): number => (on ? flags | RFLAGS_IF : flags & ~RFLAGS_IF);

/** `int` (vector). */
export function int(p: Processor): void {
  const vector = p.argument(0) & 0xff;
  if (p.virtual8086) {
    if (isRedirected(p, vector)) {
      deliverVirtual(p, vector);
      return;
    }
    if (p.iopl < 3) throw generalProtection();
  }
  deliver(p, vector, 'software', NO_ERROR_CODE, p.next);
}
/** `int3`. */
export function int3(p: Processor): void {
  if (p.embedderTakesInt3()) throw exitRequest;
  deliver(p, BP, 'software', NO_ERROR_CODE, p.next);
}
/** `into`. */
export function into(p: Processor): void {
  if ((p.engine.flags() & OF) === 0) p.advance();
  else deliver(p, OF_TRAP, 'software', NO_ERROR_CODE, p.next);
}
/** `int1`. */
export function int1(p: Processor): void {
  deliver(p, DB, 'ICEBP', NO_ERROR_CODE, p.next);
}
