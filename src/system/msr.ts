/** Model-specific registers: RDMSR and WRMSR. SDM volume 4. A register that is not in the table is #GP(0). */
import { addressOfBig } from '../mmu/linear.ts';
import { physicalAddressBits } from '../mmu/walk.ts';
import { writeEfer } from './efer.ts';
import { generalProtection } from './fault.ts';
import { setSystemTime, setWallClock } from './kvm-clock.ts';
import type { Processor } from './processor.ts';
import { setTimeStamp, setTimeStampAdjust, timeStamp } from './time.ts';

interface Msr {
  readonly read: (p: Processor) => bigint;
  /** Throws #GP(0) for a value that the register does not take; absent = read-only. */
  readonly write?: (p: Processor, value: bigint) => void;
}

const canonical = (p: Processor, value: bigint): boolean => p.isCanonicalBase(addressOfBig(BigInt.asIntN(64, value)));
const physicalMask = (1n << BigInt(physicalAddressBits)) - 1n;

/** What fields of the layout take, by their names. */
const takes = new Map<string, (p: Processor, value: bigint) => boolean>();
const checked = (name: string, fits: (p: Processor, value: bigint) => boolean): Msr => {
  takes.set(name, fits);
  return {
    read: (p) => p.state.get64(name),
    write: (p, value) => {
      if (!fits(p, value)) throw generalProtection();
      p.state.set64(name, value);
    },
  };
};
/** A field of the layout; `allowed` = the bits that may be set. */
const field = (name: string, allowed = 0xffff_ffff_ffff_ffffn): Msr =>
  checked(name, (_p, value) => (value & ~allowed) === 0n);
/** A field that holds a linear address. */
const address = (name: string): Msr => checked(name, canonical);
const constant = (value: bigint): Msr => ({ read: () => value });
/** Can be written, reads as a constant: hardware switches that mean nothing here. */
const ignored = (value = 0n): Msr => ({ read: () => value, write: () => {} });

const onlyZero = (_p: Processor, value: bigint): void => {
  if (value !== 0n) throw generalProtection();
};

/** IA32_SPEC_CTRL: IBRS, STIBP and BHI_DIS_S, which have nothing to restrict here. */
const speculationControl = checked(
  'specCtrl',
  (p, value) => (value & ~(p.features.has('bhi-ctrl') ? 0x403n : 3n)) === 0n,
);
/** IA32_PRED_CMD: the barrier of indirect branches, which has nothing to forget here. */
const predictorCommand: Msr = {
  read: () => {
    throw generalProtection();
  },
  write: (p, value) => onlyZero(p, value & ~1n),
};

const patTypes = [0n, 1n, 4n, 5n, 6n, 7n];
const mtrrTypes = [0n, 1n, 4n, 5n, 6n];
const allBytes = (value: bigint, types: readonly bigint[]): boolean => {
  for (let i = 0n; i < 64n; i += 8n) if (!types.includes((value >> i) & 0xffn)) return false;
  return true;
};
const typed = (name: string, types: readonly bigint[]): Msr => checked(name, (_p, value) => allBytes(value, types));

const APIC_BASE_ENABLE = 1n << 11n;
const APIC_BASE_X2APIC = 1n << 10n;
const APIC_BASE_MODE = APIC_BASE_ENABLE | APIC_BASE_X2APIC;
const APIC_BASE_BSP = 1n << 8n;

/** Can IA32_APIC_BASE have this value? x2APIC mode needs an enabled APIC. */
export function isApicBase(p: Processor, value: bigint): boolean {
  const x2apic = p.features.has('x2apic') ? APIC_BASE_X2APIC : 0n;
  const allowed = (physicalMask & ~0xfffn) | APIC_BASE_ENABLE | APIC_BASE_BSP | x2apic;
  if ((value & ~allowed) !== 0n) return false;
  return (value & APIC_BASE_X2APIC) === 0n || (value & APIC_BASE_ENABLE) !== 0n;
}

const apicBase: Msr = {
  read: (p) => {
    if (p.apic === null) throw generalProtection();
    return p.state.get64('apicBase');
  },
  write: (p, value) => {
    if (p.apic === null) throw generalProtection();
    const old = p.state.get64('apicBase');
    if (!isApicBase(p, value)) throw generalProtection();
    // x2APIC mode is entered only from an enabled APIC, and left only by disabling it.
    const [was, becomes] = [old & APIC_BASE_MODE, value & APIC_BASE_MODE];
    if (was === APIC_BASE_MODE && becomes === APIC_BASE_ENABLE) throw generalProtection();
    if (was === 0n && becomes === APIC_BASE_MODE) throw generalProtection();
    p.state.set64('apicBase', value);
    p.apic.baseChanged(value);
    p.mmu.setApicPage(p.apic.page);
  },
};

/**
 * IA32_ARCH_CAPABILITIES: none of the speculation faults exist in a machine that does not speculate. Bit 1, that IBRS holds
 * for all modes once it is set, spares systems their detours around indirect branches.
 */
const notVulnerable =
  (1n << 0n) |
  (1n << 1n) |
  (1n << 3n) |
  (1n << 4n) |
  (1n << 5n) |
  (1n << 6n) |
  (1n << 8n) |
  (1n << 13n) |
  (1n << 14n) |
  (1n << 15n) |
  (1n << 20n) |
  (1n << 24n) |
  (1n << 26n) |
  (1n << 27n) |
  (1n << 62n);

const table = new Map<number, Msr>([
  [0x10, { read: timeStamp, write: setTimeStamp }],
  [0x17, constant(0n)], // IA32_PLATFORM_ID
  [0x1b, apicBase],
  [0x3a, { read: (p) => p.state.get64('featureControl') | 1n }], // locked, VMX off
  [0x3b, { read: (p) => p.state.get64('tscAdjust'), write: setTimeStampAdjust }],
  [0x48, speculationControl],
  [0x49, predictorCommand],
  [0x79, ignored()], // BIOS_UPDT_TRIG
  [0x8b, field('biosSign')],
  [0xe1, field('umwaitControl', 0xffff_fffdn)],
  [0xfe, constant(0x508n)], // IA32_MTRRCAP: 8 variable ranges, fixed ranges, write combining
  [0x10a, constant(notVulnerable)],
  [0x174, field('sysenterCs', 0xffff_ffffn)],
  [0x175, address('sysenterEsp')],
  [0x176, address('sysenterEip')],
  [0x179, constant(0n)], // IA32_MCG_CAP: no banks
  [0x17a, field('mcgStatus', 7n)],
  [0x1a0, field('miscEnable')],
  [0x1d9, field('debugCtl', 3n)],
  [0x277, typed('pat', patTypes)],
  [0xda0, { read: () => 0n, write: onlyZero }], // IA32_XSS: there are no supervisor components
  [0x2ff, field('mtrrDefType', 0xcffn)],
  [0xc000_0080, { read: (p) => p.state.get64('efer'), write: writeEfer }],
  [0xc000_0081, field('star')],
  [0xc000_0082, address('lstar')],
  [0xc000_0083, address('cstar')],
  [0xc000_0084, field('sfmask', 0xffff_ffffn)],
  [0xc000_0100, address('fsBase')],
  [0xc000_0101, address('gsBase')],
  [0xc000_0102, address('kernelGsBase')],
  [0xc000_0103, field('tscAux', 0xffff_ffffn)],
]);
const fixedRanges = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
for (const [i, index] of fixedRanges.entries()) table.set(index, typed(`mtrrFixed${i}`, mtrrTypes));
for (let i = 0; i < 8; i++) {
  table.set(0x200 + i * 2, field(`mtrrBase${i}`, (physicalMask & ~0xfffn) | 0xffn));
  table.set(0x201 + i * 2, field(`mtrrMask${i}`, (physicalMask & ~0xfffn) | 0x800n));
}

const wallClock: Msr = { read: (p) => p.state.get64('kvmWallClock'), write: setWallClock };
const systemTime: Msr = { read: (p) => p.state.get64('kvmSystemTime'), write: setSystemTime };
/** With KVM's interface: the numbers of KVM_FEATURE_CLOCKSOURCE2, and the older ones. */
const kvmRegisters = new Map<number, Msr>([
  [0x11, wallClock],
  [0x12, systemTime],
  [0x4b56_4d00, wallClock],
  [0x4b56_4d01, systemTime],
]);

const isApicRegister = (index: number): boolean => (index >= 0x800 && index < 0x840) || index === 0x6e0;

/** Can the MSR that is this field of the layout have a value? True for fields that are no MSR. */
export const msrFieldTakes = (p: Processor, name: string, value: bigint): boolean =>
  takes.get(name)?.(p, value) ?? true;

/** The features that registers come with. */
const owners: readonly (readonly [first: number, last: number, feature: string])[] = [
  [0x3b, 0x3b, 'tsc-adjust'],
  [0x48, 0x49, 'spec-ctrl'],
  [0xe1, 0xe1, 'waitpkg'],
  [0xfe, 0xfe, 'mtrr'],
  [0x10a, 0x10a, 'arch-capabilities'],
  [0x174, 0x176, 'sep'],
  [0x179, 0x17a, 'mca'],
  [0x200, 0x26f, 'mtrr'],
  [0x277, 0x277, 'pat'],
  [0x2ff, 0x2ff, 'mtrr'],
  [0xc000_0080, 0xc000_0080, 'nx'],
  [0xc000_0081, 0xc000_0084, 'syscall'],
  [0xc000_0100, 0xc000_0102, 'lm'],
  [0xc000_0103, 0xc000_0103, 'rdtscp'],
];
function find(p: Processor, index: number): Msr | undefined {
  for (const [first, last, feature] of owners)
    if (index >= first && index <= last && !p.features.has(feature)) return undefined;
  return table.get(index) ?? (p.paravirt === null ? undefined : kvmRegisters.get(index));
}
const isKnown = (p: Processor, index: number): boolean => isApicRegister(index) || find(p, index) !== undefined;

/** The embedder answers for this access; the processor if false. */
function isHandedOver(p: Processor, index: number, write: boolean): boolean {
  const action = p.msrs.action(index, write);
  if (action === 'fault') throw generalProtection();
  if (action === 'allow' && (p.msrs.unknown !== 'exit' || isKnown(p, index))) return false;
  return p.embedder !== null;
}
const isIgnored = (p: Processor, index: number): boolean => p.msrs.unknown === 'ignore' && !isKnown(p, index);

/** @throws GuestFault #GP(0) */
export function readMsr(p: Processor, index: number): bigint {
  if (isApicRegister(index)) {
    const value = p.apic?.readMsr(index) ?? null;
    if (value === null) throw generalProtection();
    return value;
  }
  const msr = find(p, index);
  if (msr === undefined) throw generalProtection();
  return msr.read(p);
}

/** @throws GuestFault #GP(0) */
export function writeMsr(p: Processor, index: number, value: bigint): void {
  if (isApicRegister(index)) {
    if (p.apic?.writeMsr(index, value) !== true) throw generalProtection();
    return;
  }
  const write = find(p, index)?.write;
  if (write === undefined) throw generalProtection();
  write(p, value);
}

const RAX = 0;
const RCX = 1;
const RDX = 2;

/** `rdmsr`. */
export function rdmsr(p: Processor): void {
  p.requireCpl0();
  const index = p.gpr32(RCX);
  if (isHandedOver(p, index, false)) {
    const { low, high, fault } = p.embedder!.readMsr(index);
    if (fault) throw generalProtection();
    p.setGpr(RAX, 64, low);
    p.setGpr(RDX, 64, high);
  } else {
    const value = isIgnored(p, index) ? 0n : readMsr(p, index);
    p.setGpr(RAX, 64, Number(value & 0xffff_ffffn));
    p.setGpr(RDX, 64, Number(value >> 32n));
  }
  p.advance();
}

/** `wrmsr`. */
export function wrmsr(p: Processor): void {
  p.requireCpl0();
  const index = p.gpr32(RCX);
  const [low, high] = [p.gpr32(RAX), p.gpr32(RDX)];
  if (isHandedOver(p, index, true)) {
    if (p.embedder!.writeMsr(index, low, high).fault) throw generalProtection();
  } else if (!isIgnored(p, index)) writeMsr(p, index, (BigInt(high) << 32n) | BigInt(low));
  p.advance();
}
