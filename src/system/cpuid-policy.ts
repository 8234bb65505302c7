/**
 * Changes of a model's CPUID. Features can be taken away, and then are not there: their instructions raise #UD, their bits of
 * control registers and their MSRs #GP. Numbers and texts can be others. Nothing can be added: CPUID never shows what does not
 * exist.
 */
import type { CpuModel } from './cpu-models.ts';
import { type CpuidSource, cpuidLeaf, type Leaf, leafKey } from './cpuid.ts';
import { type FeatureWord, featureWords } from './cpuid-features.ts';

/** What CPUID answers. */
export interface CpuidRegisters {
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** What a guest is to see otherwise than the model has it. */
export interface CpuidPolicy {
  /** Features to take away, by the names of `cpuidFeatureNames`. */
  readonly remove?: readonly string[];
  /**
   * Asked once for each leaf and subleaf, when the VM is made, with what the guest would see (all features shown, vCPU 0);
   * gives what it is to see. Registers that follow the machine's state cannot be changed.
   */
  readonly override?: (leaf: number, subleaf: number, registers: CpuidRegisters) => CpuidRegisters;
}

/** A policy that cannot be had, in one sentence. */
export interface CpuidRefusal {
  readonly refusal: string;
}

/** What features need: who takes one away takes away what needs it, too. */
const needs: Readonly<Record<string, readonly string[]>> = {
  fxsr: ['fpu'],
  mmx: ['fpu'],
  sse: ['fxsr', 'mmx'],
  sse2: ['sse'],
  sse3: ['sse2'],
  ssse3: ['sse3'],
  'sse4.1': ['ssse3'],
  'sse4.2': ['sse4.1'],
  aes: ['sse2'],
  pclmulqdq: ['sse2'],
  sha: ['sse2'],
  xsaveopt: ['xsave'],
  xsavec: ['xsave'],
  xsaves: ['xsavec'],
  avx: ['xsave', 'sse4.2'],
  avx2: ['avx'],
  fma: ['avx'],
  f16c: ['avx'],
  rdtscp: ['tsc'],
  'tsc-adjust': ['tsc', 'msr'],
  'tsc-deadline': ['tsc', 'msr'],
  'invariant-tsc': ['tsc'],
  x2apic: ['msr'],
  sep: ['msr'],
  mtrr: ['msr'],
  mca: ['msr', 'mce'],
  'arch-capabilities': ['msr'],
  'spec-ctrl': ['msr'],
  stibp: ['spec-ctrl'],
  'bhi-ctrl': ['spec-ctrl'],
  lm: ['msr', 'pae', 'cx8', 'fxsr', 'sse2', 'tsc', 'cmov'],
  syscall: ['msr'],
  cx16: ['lm', 'cx8'],
  lahf64: ['lm'],
  gbpages: ['lm'],
  pcid: ['lm'],
  fsgsbase: ['lm'],
  la57: ['lm'],
  pku: ['lm'],
  pae: ['cx8'],
  nx: ['pae', 'msr'],
};
/** Everything else stands on these; they have no bits, or no model without them was ever built. */
const fixed: ReadonlySet<string> = new Set(['base', 'fpu', 'nopl']);

/** The features that have bits in CPUID. */
export const cpuidFeatureNames: readonly string[] = featureWords.flatMap(({ bits }) => bits.map(([name]) => name));

const registerNames = ['EAX', 'EBX', 'ECX', 'EDX'] as const;
const hex = (n: number): string => `${(n >>> 0).toString(16).toUpperCase()}H`;
const placeOf = (leaf: number, subleaf: number, register: number): string =>
  `CPUID ${hex(leaf)}${subleaf === 0 ? '' : `.${subleaf}`} ${registerNames[register]}`;
const wordAt = (leaf: number, subleaf: number, register: number): FeatureWord | undefined =>
  featureWords.find((w) => w.leaf === leaf && w.subleaf === subleaf && w.register === register);

/** The leaves and subleaves that a model has. */
function* leavesOf(source: CpuidSource): Generator<readonly [leaf: number, subleaf: number]> {
  const { maximumLeaf, brand } = source.model;
  for (let leaf = 0; leaf <= maximumLeaf; leaf++) {
    const last = leaf === 4 ? 3 : leaf === 7 ? 2 : leaf === 0xb ? 1 : leaf === 0xd ? 9 : 0;
    for (let subleaf = 0; subleaf <= last; subleaf++) yield [leaf, subleaf];
  }
  if (source.features.has('hypervisor')) yield* [[0x4000_0000, 0] as const, [0x4000_0001, 0] as const];
  if (brand !== null) for (let leaf = 0x8000_0000; leaf <= 0x8000_0008; leaf++) yield [leaf, 0];
}

/** Registers that follow the machine or the vCPU, and what says what they hold. */
function ownerOf(leaf: number, subleaf: number, register: number, kvm: boolean): string | null {
  switch (leaf) {
    case 0:
    case 0x8000_0000:
      return register === 0 ? 'the model' : null;
    case 1:
      return register === 1 ? 'the vCPU' : null;
    case 7:
      return register === 0 ? 'the model' : null;
    case 0xb:
      return 'the number of vCPUs';
    case 0xd:
      return subleaf === 1 && register === 0 ? null : 'XCR0 and the features';
    case 0x15:
    case 0x16:
      return 'tscHertz';
    case 0x4000_0000:
    case 0x4000_0001:
      return kvm ? 'paravirt' : leaf === 0x4000_0001 || register === 0 ? 'the model' : null;
    case 0x8000_0008:
      return 'the model';
    default:
      return null;
  }
}

const isWord = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 32;

/** What an override takes away and puts in other places, or why it cannot be. */
function overridden(
  source: CpuidSource,
  override: NonNullable<CpuidPolicy['override']>,
): { removed: string[]; replaced: Map<number, (number | undefined)[]> } | CpuidRefusal {
  const removed: string[] = [];
  const replaced = new Map<number, (number | undefined)[]>();
  for (const [leaf, subleaf] of leavesOf(source)) {
    const now: Leaf = cpuidLeaf(source, leaf, subleaf);
    const [eax, ebx, ecx, edx] = now;
    const wanted = override(leaf, subleaf, { eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 });
    const values = [wanted?.eax, wanted?.ebx, wanted?.ecx, wanted?.edx];
    for (const [register, value] of values.entries()) {
      const place = placeOf(leaf, subleaf, register);
      if (!isWord(value)) return { refusal: `${place} of ${String(value)}: no number of 32 bits` };
      const old = now[register]! >>> 0;
      if (value >>> 0 === old) continue;
      const word = wordAt(leaf, subleaf, register);
      if (word === undefined) {
        const owner = ownerOf(leaf, subleaf, register, source.paravirt !== null);
        if (owner !== null) return { refusal: `${place} follows ${owner}: it cannot be ${hex(value)}` };
        const key = leafKey(leaf, subleaf);
        const row = replaced.get(key) ?? [undefined, undefined, undefined, undefined];
        row[register] = value >>> 0;
        replaced.set(key, row);
        continue;
      }
      for (let bit = 0; bit < 32; bit++) {
        if ((((value ^ old) >>> bit) & 1) === 0) continue;
        const other = word.others.find(([, at]) => at === bit);
        if (other !== undefined) return { refusal: `${place} bit ${bit} (${other[0]}) follows the machine` };
        const feature = word.bits.find(([, at]) => at === bit)?.[0];
        if (((value >>> bit) & 1) !== 0) {
          const what =
            feature === undefined ? 'nothing that is implemented' : `${feature}, which the processor does not have`;
          return { refusal: `${place} bit ${bit} is ${what}: it cannot be shown` };
        }
        removed.push(feature!);
      }
    }
  }
  return { removed, replaced };
}

/**
 * The model as a policy leaves it.
 * @param source the processor that it is for, with the model as it is
 */
export function withPolicy(source: CpuidSource, policy: CpuidPolicy): CpuModel | CpuidRefusal {
  const { model } = source;
  const removed = new Set<string>();
  for (const name of policy.remove ?? []) {
    if (fixed.has(name)) return { refusal: `the feature ${name} cannot be taken away` };
    if (!cpuidFeatureNames.includes(name)) return { refusal: `there is no feature '${String(name)}'` };
    removed.add(name);
  }
  let replaced = new Map<number, (number | undefined)[]>();
  if (policy.override !== undefined) {
    const found = overridden(source, policy.override);
    if ('refusal' in found) return found;
    for (const name of found.removed) {
      if (fixed.has(name)) return { refusal: `the feature ${name} cannot be taken away` };
      removed.add(name);
    }
    replaced = found.replaced;
  }
  const features = new Set([...model.features].filter((name) => !removed.has(name)));
  for (const name of features)
    for (const needed of needs[name] ?? [])
      if (removed.has(needed) && model.features.has(needed))
        return { refusal: `the feature ${needed} cannot be taken away alone: ${name} needs it` };
  const lacks = [...new Set([...model.lacks, ...[...removed].filter((name) => model.features.has(name))])].sort();
  const signature = replaced.get(leafKey(1, 0))?.[0] ?? model.signature;
  return { ...model, features, lacks, replaced, signature };
}
