/** CPUID: reports exactly what the processor's model has of what exists (cpu-models.ts). SDM volume 2, CPUID. */
import { physicalAddressBits } from '../mmu/walk.ts';
import {
  type Bits,
  extended1Ecx,
  extended1Edx,
  extended7Edx,
  leaf1Ecx,
  leaf1Edx,
  leaf7Ebx,
  leaf7Ecx,
  leaf7Edx,
  leaf7Subleaf2Edx,
  leafDEax,
} from './cpuid-features.ts';
import { CR4_OSXSAVE, CR4_PKE, type Processor } from './processor.ts';
import { tscRatio } from './tsc-scale.ts';
import { areaBytes, componentBytes, components, supported } from './xsave.ts';

/** EAX, EBX, ECX, EDX. */
export type Leaf = readonly [number, number, number, number];

const zero: Leaf = [0, 0, 0, 0];
const VENDOR = 'GenuineIntel';
const HYPERVISOR = 'jit86jit86  ';
/** The signature and features of KVM's interface: old and new clock registers, no delays at ports, one clock for all. */
const KVM = 'KVMKVMKVM\0\0\0';
const KVM_FEATURES = (1 << 0) | (1 << 1) | (1 << 3) | (1 << 24);
const MAXIMUM_EXTENDED = 0x8000_0008;

const text = (s: string, at: number): number => {
  let word = 0;
  for (let i = 3; i >= 0; i--) word = (word << 8) | (at + i < s.length ? s.charCodeAt(at + i) : 0);
  return word >>> 0;
};

/** What CPUID's answers depend on: a processor, or what is to become one. */
export type CpuidSource = Pick<
  Processor,
  'model' | 'features' | 'cpus' | 'index' | 'cr4' | 'code64' | 'baseBits' | 'paravirt'
> & {
  /** null: there is no local APIC. */
  readonly apic: object | null;
  readonly tsc: { readonly hertz: number };
  readonly state: { get64(field: 'xcr0' | 'apicBase'): bigint };
};

/** The words of sets of features, which do not change. */
const words = new WeakMap<ReadonlySet<string>, Map<Bits, number>>();

function word({ features }: CpuidSource, bits: Bits): number {
  let known = words.get(features);
  if (known === undefined) words.set(features, (known = new Map()));
  let made = known.get(bits);
  if (made === undefined) {
    made = 0;
    for (const [feature, bit] of bits) if (features.has(feature)) made |= 1 << bit;
    known.set(bits, (made >>>= 0));
  }
  return made;
}
const OSPKE = 1 << 4;
const OSXSAVE = 1 << 27;
/** Of IA32_APIC_BASE: an APIC that is disabled there is not announced. */
const APIC_BASE_ENABLE = 1n << 11n;
const APIC = 1 << 9;
const X2APIC = 1 << 21;
const TSC_DEADLINE = 1 << 24;
const HTT = 1 << 28;
const CLFLUSH_LINE = 8;

/** Deterministic cache parameters: 32 KiB L1 data and code, 256 KiB L2, 8 MiB L3, lines of 64 bytes. */
function caches(p: CpuidSource, subleaf: number): Leaf {
  const make = (type: number, level: number, ways: number, sets: number, sharing: number): Leaf => [
    (type | (level << 5) | (1 << 8) | ((sharing - 1) << 14) | ((p.cpus - 1) << 26)) >>> 0,
    (63 | ((ways - 1) << 22)) >>> 0,
    sets - 1,
    0,
  ];
  switch (subleaf) {
    case 0:
      return make(1, 1, 8, 64, 1);
    case 1:
      return make(2, 1, 8, 64, 1);
    case 2:
      return make(3, 2, 8, 512, 1);
    case 3:
      return make(3, 3, 16, 8192, p.cpus);
    default:
      return zero;
  }
}

/** Extended topology: one thread per core, all cores in one package. */
function topology(p: CpuidSource, subleaf: number): Leaf {
  const coreBits = Math.ceil(Math.log2(p.cpus));
  if (subleaf === 0) return [0, 1, 0x100, p.index];
  if (subleaf === 1) return [coreBits, p.cpus, 0x201, p.index];
  return [0, 0, subleaf & 0xff, p.index];
}

/** The time-stamp counter's rate as a ratio of the crystal's clock, which is the local APIC timer's. */
function timeLeaf(p: CpuidSource): Leaf {
  const { numerator, denominator } = tscRatio(p.tsc.hertz);
  return [denominator, numerator, 1e9, 0];
}

/** State components that XSAVE manages. */
function extendedState(p: CpuidSource, subleaf: number): Leaf {
  if (!p.features.has('xsave')) return zero;
  const all = supported(p);
  const xcr0 = Number(p.state.get64('xcr0') & 0xffff_ffffn);
  if (subleaf === 0) return [all, areaBytes(xcr0), areaBytes(all), 0];
  if (subleaf === 1) return [word(p, leafDEax), componentBytes(xcr0), 0, 0];
  const component = components.find(({ bit }) => bit === 1 << subleaf && (all & bit) !== 0);
  return component === undefined ? zero : [component.bytes, component.offset, 0, 0];
}

export const leafKey = (leaf: number, subleaf: number): number => leaf * 0x100 + subleaf;

/** The answer to CPUID with EAX = leaf, ECX = subleaf. */
export function cpuidLeaf(p: CpuidSource, leaf: number, subleaf: number): Leaf {
  const made = modelLeaf(p, leaf, subleaf);
  const replaced = subleaf < 0x100 ? p.model.replaced.get(leafKey(leaf, subleaf)) : undefined;
  if (replaced === undefined) return made;
  return [replaced[0] ?? made[0], replaced[1] ?? made[1], replaced[2] ?? made[2], replaced[3] ?? made[3]];
}

function modelLeaf(p: CpuidSource, leaf: number, subleaf: number): Leaf {
  const { model } = p;
  const known =
    leaf < 0x4000_0000
      ? leaf <= model.maximumLeaf
      : leaf < 0x8000_0000
        ? p.features.has('hypervisor')
        : model.brand !== null;
  // Beyond the last leaf: as the last basic one.
  if (!known) leaf = model.maximumLeaf;
  switch (leaf) {
    case 0:
      return [model.maximumLeaf, text(VENDOR, 0), text(VENDOR, 8), text(VENDOR, 4)];
    case 1: {
      const enabled = (p.state.get64('apicBase') & APIC_BASE_ENABLE) !== 0n;
      const apic = p.apic !== null && p.features.has('msr') && enabled ? APIC : 0;
      const x2apic = p.apic !== null && p.features.has('x2apic') ? X2APIC : 0;
      const deadline = p.apic !== null && p.features.has('tsc-deadline') ? TSC_DEADLINE : 0;
      return [
        model.signature,
        ((p.index << 24) | (p.cpus << 16) | (p.features.has('clflush') ? CLFLUSH_LINE << 8 : 0)) >>> 0,
        (word(p, leaf1Ecx) | x2apic | deadline | ((p.cr4 & CR4_OSXSAVE) !== 0 ? OSXSAVE : 0)) >>> 0,
        (word(p, leaf1Edx) | apic | (p.cpus > 1 ? HTT : 0)) >>> 0,
      ];
    }
    case 2:
      // See leaf 4; or, where there is none, 16 KiB of each first-level cache and 256 KiB in the second level.
      return model.maximumLeaf >= 4 ? [0x00ff_ff01, 0, 0, 0] : [0x0302_0101, 0, 0, 0x0c04_0882];
    case 4:
      return caches(p, subleaf);
    case 7:
      if (subleaf === 2) return [0, 0, 0, word(p, leaf7Subleaf2Edx)];
      if (subleaf !== 0) return zero;
      return [
        word(p, leaf7Subleaf2Edx) === 0 ? 0 : 2, // the last subleaf
        word(p, leaf7Ebx),
        (word(p, leaf7Ecx) | ((p.cr4 & CR4_PKE) !== 0 ? OSPKE : 0)) >>> 0,
        word(p, leaf7Edx),
      ];
    case 0xb:
      return topology(p, subleaf);
    case 0xd:
      return extendedState(p, subleaf);
    case 0x15:
      return timeLeaf(p);
    case 0x16: {
      const megahertz = Math.min(0xffff, Math.round(p.tsc.hertz / 1e6));
      return [megahertz, megahertz, 100, 0];
    }
    case 0x4000_0000:
      return p.paravirt === null
        ? [0x4000_0000, text(HYPERVISOR, 0), text(HYPERVISOR, 4), text(HYPERVISOR, 8)]
        : [0x4000_0001, text(KVM, 0), text(KVM, 4), text(KVM, 8)];
    case 0x4000_0001:
      return p.paravirt === null ? zero : [KVM_FEATURES, 0, 0, 0];
    case 0x8000_0000:
      return [MAXIMUM_EXTENDED, 0, 0, 0];
    case 0x8000_0001: {
      // Intel shows SYSCALL in 64-bit mode only.
      const edx = word(p, extended1Edx);
      return [0, 0, word(p, extended1Ecx), p.code64 ? edx : (edx & ~(1 << 11)) >>> 0];
    }
    case 0x8000_0002:
    case 0x8000_0003:
    case 0x8000_0004: {
      const at = (leaf - 0x8000_0002) * 16;
      const brand = model.brand ?? '';
      return [text(brand, at), text(brand, at + 4), text(brand, at + 8), text(brand, at + 12)];
    }
    case 0x8000_0006:
      return [0, 0, 0x0100_6040, 0]; // L2: 256 KiB, 8 ways, 64-byte lines
    case 0x8000_0007:
      return [0, 0, 0, word(p, extended7Edx)];
    case 0x8000_0008:
      return [physicalAddressBits | ((p.features.has('lm') ? p.baseBits : 32) << 8), 0, 0, 0];
    default:
      return zero;
  }
}

/** `cpuid`. */
export function cpuid(p: Processor): void {
  const answer = cpuidLeaf(p, p.gpr32(0), p.gpr32(1));
  p.setGpr(0, 64, answer[0]);
  p.setGpr(3, 64, answer[1]);
  p.setGpr(1, 64, answer[2]);
  p.setGpr(2, 64, answer[3]);
  p.advance();
}
