/**
 * Which values a processor's registers can have at all, alone and together: for those who load state from outside (the VM
 * API, a snapshot). What no sequence of instructions and events leads to is refused; what is unusual is not. SDM volume 3,
 * sections 2.5 and 27.3.1 (checks on guest state), volume 4.
 */
import { addressOfBig } from '../mmu/linear.ts';
import { physicalAddressBits } from '../mmu/walk.ts';
import { segmentNames } from '../state/layout.ts';
import { CR0_KNOWN, controlsAgree, cr4Known, dr6Of, dr7Of } from './control.ts';
import { eferKnown } from './efer.ts';
import { isApicBase, msrFieldTakes } from './msr.ts';
import { isPointer } from './page-pointers.ts';
import {
  CR0_PE,
  EFER_LMA,
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
import { ACCESS_DB, ACCESS_L } from './segment-register.ts';
import { isXcr0 } from './xsave.ts';

/** A register by its name, and why it cannot be so. */
export type Refusal = readonly [name: string, reason: string];

/** null, or why a register cannot have a value. */
type Rule = (p: Processor, value: bigint) => string | null;

const RFLAGS_KNOWN =
  RFLAGS_ARITHMETIC |
  2 |
  RFLAGS_TF |
  RFLAGS_IF |
  RFLAGS_DF |
  RFLAGS_IOPL |
  RFLAGS_NT |
  RFLAGS_RF |
  RFLAGS_VM |
  RFLAGS_AC |
  RFLAGS_VIF |
  RFLAGS_VIP |
  RFLAGS_ID;
const SEGMENT_ACCESS = 0x1_f0ffn;
/** What debug traps can wait: breakpoints, single step, task switch. */
const TRAPS = 0xe00f & ~0x2000;
/** Exceptions that push an error code. */
const withCode = [8, 10, 11, 12, 13, 14, 17, 21];
const LONGEST = 15n;

const bits =
  (allowed: bigint): Rule =>
  (_p, value) =>
    (value & ~allowed) === 0n ? null : `reserved bits ${hex(value & ~allowed)}`;
const upTo =
  (most: bigint): Rule =>
  (_p, value) =>
    value <= most ? null : `more than ${most}`;
const canonical: Rule = (p, value) => (isCanonical(p, value) ? null : 'not canonical');
const hex = (value: bigint): string => `0x${value.toString(16)}`;
const isCanonical = (p: Processor, value: bigint): boolean => p.isCanonicalBase(addressOfBig(BigInt.asIntN(64, value)));

const startsVector: Rule = (_p, value) =>
  value === 0n || (value >= 0x100n && value <= 0x1ffn) ? null : 'neither 0 nor 100H and a vector';

const pointer: Rule = (_p, value) =>
  isPointer(Number(value & 0xffff_ffffn), Number(value >> 32n)) ? null : 'a present entry with reserved bits';

function exception(_p: Processor, value: bigint): string | null {
  if (value === 0n) return null;
  const information = Number(value);
  const vector = information & 0xff;
  if ((information & ~0xfff) >>> 0 !== 0x8000_0000 || ((information >> 8) & 7) !== 3)
    return 'neither 0 nor a valid hardware exception';
  if (vector > 31 || vector === 2) return `vector ${vector} is no exception`;
  return withCode.includes(vector) === ((information & 0x800) !== 0) ? null : `error code of vector ${vector}`;
}

function systemManagement(_p: Processor, value: bigint): string | null {
  const state = Number(value);
  if ((state & ~(3 | (TRAPS << 8))) !== 0) return 'reserved bits';
  return state === 0 || (state & 1) !== 0 ? null : 'not in the mode, but something was interrupted by it';
}

const rules = new Map<string, Rule>([
  ['rflags', (_p, v) => ((v & 2n) === 0n ? 'bit 1 is always set' : bits(BigInt(RFLAGS_KNOWN))(_p, v))],
  ['cr0', bits(BigInt(CR0_KNOWN >>> 0))],
  ['cr3', bits((1n << BigInt(physicalAddressBits)) - 1n)],
  ['cr4', (p, v) => bits(BigInt(cr4Known(p) >>> 0))(p, v)],
  ['cr8', upTo(15n)],
  ['efer', (p, v) => bits(BigInt(eferKnown(p)))(p, v)],
  ['xcr0', (p, v) => (v >> 32n === 0n && isXcr0(p, Number(v)) ? null : 'not a set of components')],
  ['pdpte0', pointer],
  ['pdpte1', pointer],
  ['pdpte2', pointer],
  ['pdpte3', pointer],
  ['dr6', (_p, v) => (v === BigInt(dr6Of(Number(v & 0xffff_ffffn))) ? null : 'reserved bits')],
  ['dr7', (_p, v) => (v === BigInt(dr7Of(Number(v & 0xffff_ffffn))) ? null : 'reserved bits')],
  ['apicBase', (p, v) => (isApicBase(p, v) ? null : 'reserved bits, or x2APIC mode without an enabled APIC')],
  ['fcw', bits(0xffffn)],
  ['fsw', bits(0xffffn)],
  ['ftw', bits(0xffn)],
  ['fop', bits(0x7ffn)],
  ['fcs', bits(0xffffn)],
  ['fds', bits(0xffffn)],
  ['mxcsr', bits(0xffffn)],
  ['gdtrBase', canonical],
  ['idtrBase', canonical],
  ['gdtrLimit', bits(0xffffn)],
  ['idtrLimit', bits(0xffffn)],
  ['shutdown', upTo(1n)],
  ['cpl', upTo(3n)],
  ['interruptShadow', upTo(2n)],
  ['halted', upTo(1n)],
  ['pendingException', exception],
  ['nmiBlocked', upTo(1n)],
  ['smm', systemManagement],
  ['pendingDebug', bits(BigInt(TRAPS))],
  ['pendingNmi', upTo(1n)],
  ['pendingSmi', upTo(1n)],
  ['pendingInit', upTo(1n)],
  ['pendingStartUp', startsVector],
  ['pendingExternal', startsVector],
  ['insideRepeat', upTo(1n)],
  ['shutdownVector', upTo(255n)],
  ['interruptPins', upTo(3n)],
  ['a20', upTo(1n)],
  ['externalAcknowledge', (p, v) => (v === 1n ? null : startsVector(p, v))],
  ['waitsForStartUp', (p, v) => (v > 1n || (v === 1n && p.apic === null) ? 'nobody could start it' : null)],
]);
for (const name of segmentNames) {
  rules.set(`${name}Base`, canonical);
  rules.set(`${name}Selector`, bits(0xffffn));
  rules.set(`${name}Access`, bits(SEGMENT_ACCESS));
}

/** Why the registers cannot be as they would be. */
function disagreement(
  p: Processor,
  changed: (...names: string[]) => boolean,
  of: (name: string) => bigint,
): Refusal | null {
  if (changed('cr0', 'cr4', 'efer') && !controlsAgree(p, of('cr0'), of('cr4'), of('efer')))
    return ['cr0', `does not go with CR4 ${hex(of('cr4'))} and EFER ${hex(of('efer'))}`];
  const protectedMode = (of('cr0') & BigInt(CR0_PE)) !== 0n;
  const long = (of('efer') & BigInt(EFER_LMA)) !== 0n;
  const access = Number(of('csAccess'));
  const code64 = long && (access & ACCESS_L) !== 0;
  if (changed('cr0', 'efer', 'rflags', 'cpl', 'csAccess')) {
    const virtual = (of('rflags') & BigInt(RFLAGS_VM)) !== 0n;
    if (virtual && (!protectedMode || long)) return ['rflags', 'virtual-8086 mode is of legacy protected mode'];
    const cpl = of('cpl');
    if ((virtual && cpl !== 3n) || (!protectedMode && cpl !== 0n))
      return ['cpl', `not in ${virtual ? 'virtual-8086' : 'real'} mode`];
    if (code64 && (access & ACCESS_DB) !== 0) return ['csAccess', 'L and D are both set in IA-32e mode'];
  }
  if (changed('shutdownVector') && of('shutdownVector') !== 0n && of('shutdown') === 0n)
    return ['shutdownVector', 'the processor is not shut down'];
  if (changed('rip', 'efer', 'csAccess')) {
    // The instruction pointer may have come to the end of what it can address, and faults there.
    const rip = of('rip');
    const before = rip < LONGEST ? 0n : rip - LONGEST;
    if (code64 ? !isCanonical(p, rip) && !isCanonical(p, before) : before >> 32n !== 0n)
      return ['rip', code64 ? 'not canonical' : 'more than 32 bits outside 64-bit mode'];
  }
  return null;
}

/**
 * Why new values cannot be had; null = they can.
 * @param changes registers that get another value, by name
 * @param present what a register has now
 */
export function stateRefusal(
  p: Processor,
  changes: ReadonlyMap<string, bigint>,
  present: (name: string) => bigint,
): Refusal | null {
  for (const [name, value] of changes) {
    const reason = rules.get(name)?.(p, value) ?? null;
    if (reason !== null) return [name, reason];
    if (!msrFieldTakes(p, name, value)) return [name, 'reserved bits or a value that the register does not take'];
  }
  return disagreement(
    p,
    (...names) => names.some((name) => changes.has(name)),
    (name) => changes.get(name) ?? present(name),
  );
}
