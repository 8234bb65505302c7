/**
 * CPU models: what a processor calls itself, how far its CPUID goes and which features it may have. A processor has what its
 * model names and what exists here: the definitions of src/isa say which instructions do, `systemFeatures` what this folder
 * and src/mmu implement. SDM volume 2, CPUID; the x86-64 psABI for the levels v2 and v3.
 */

/** Features of the system architecture; those of instructions stand with their definitions. */
export const systemFeatures = [
  'vme',
  'de',
  'pse',
  'pae',
  'mce',
  'mca',
  'mtrr',
  'pat',
  'pge',
  'pse36',
  'lm',
  'nx',
  'gbpages',
  'pcid',
  'smep',
  'umip',
  'tsc-adjust',
  'invariant-tsc',
  'arch-capabilities',
  'spec-ctrl',
  'stibp',
  'bhi-ctrl',
  'hypervisor',
  'la57',
] as const;
/** What only `max-la57` has: a system that finds it walks one level more of page tables, whether it needs them or not. */
const fiveLevels = 'la57';

/** Names of {@link CpuModelName}, from the oldest processor on. */
export const cpuModelNames = ['486', 'pentium3', 'core2', 'x86-64-v2', 'x86-64-v3', 'max', 'max-la57'] as const;
/** Which processor: how it calls itself and what it has. */
export type CpuModelName = (typeof cpuModelNames)[number];

/** By leaf and subleaf (`leafKey` of cpuid.ts): what a policy has put in the place of some registers' values. */
export type ReplacedLeaves = ReadonlyMap<number, readonly (number | undefined)[]>;

interface Description {
  /** Family, model and stepping, as CPUID 1 shows them in EAX. */
  readonly signature: number;
  /** Null: CPUID has no extended leaves. */
  readonly brand: string | null;
  readonly maximumLeaf: number;
  /** A list; everything that exists; or all of that but 5-level paging. */
  readonly features: 'all' | 'all-but-la57' | readonly string[];
}

export interface CpuModel extends Omit<Description, 'features'> {
  readonly name: CpuModelName;
  readonly features: ReadonlySet<string>;
  /** Features of instructions that exist here but not in this processor. */
  readonly lacks: readonly string[];
  /** What a policy shows in the place of the model's numbers and texts (cpuid-policy.ts). */
  readonly replaced: ReplacedLeaves;
}

const i486 = ['base', 'fpu'];
const pentium3 = [
  ...i486,
  'de',
  'pse',
  'tsc',
  'msr',
  'pae',
  'mce',
  'cx8',
  'sep',
  'mtrr',
  'pge',
  'mca',
  'cmov',
  'pat',
  'pse36',
  'mmx',
  'fxsr',
  'sse',
  'nopl',
  'vme',
];
const core2 = [
  ...pentium3,
  'clflush',
  'sse2',
  'sse3',
  'ssse3',
  'cx16',
  'lm',
  'nx',
  'syscall',
  'lahf64',
  'x2apic',
  'hypervisor',
];
const v2 = [
  ...core2,
  'sse4.1',
  'sse4.2',
  'popcnt',
  'pcid',
  'gbpages',
  'rdtscp',
  'tsc-adjust',
  'tsc-deadline',
  'invariant-tsc',
  'arch-capabilities',
  'spec-ctrl',
  'stibp',
  'bhi-ctrl',
  'fsgsbase',
  'smep',
];
const v3 = [
  ...v2,
  'avx',
  'avx2',
  'bmi1',
  'bmi2',
  'f16c',
  'fma',
  'lzcnt',
  'movbe',
  'xsave',
  'xsaveopt',
  'invpcid',
  'smap',
  'prefetchw',
  'adx',
];

const descriptions: Readonly<Record<CpuModelName, Description>> = {
  '486': { signature: 0x480, brand: null, maximumLeaf: 1, features: i486 },
  pentium3: { signature: 0x686, brand: null, maximumLeaf: 2, features: pentium3 },
  core2: { signature: 0x6fb, brand: 'jit86 core2', maximumLeaf: 0xb, features: core2 },
  'x86-64-v2': { signature: 0x3_06a9, brand: 'jit86 x86-64-v2', maximumLeaf: 0xd, features: v2 },
  'x86-64-v3': { signature: 0x3_06a9, brand: 'jit86 x86-64-v3', maximumLeaf: 0x16, features: v3 },
  max: { signature: 0x3_06a9, brand: 'jit86 virtual processor', maximumLeaf: 0x16, features: 'all-but-la57' },
  'max-la57': { signature: 0x3_06a9, brand: 'jit86 virtual processor', maximumLeaf: 0x16, features: 'all' },
};

/**
 * A processor of a model.
 * @param instructions the features whose instructions have definitions
 */
export function cpuModel(name: CpuModelName, instructions: Iterable<string>): CpuModel {
  const description = descriptions[name];
  const existing = new Set(instructions);
  const everything = [...systemFeatures, ...existing];
  const { features } = description;
  const chosen = everything.filter((f) =>
    typeof features === 'string' ? features === 'all' || f !== fiveLevels : features.includes(f),
  );
  const has = new Set(chosen);
  const lacks = [...existing].filter((f) => !has.has(f)).sort();
  return { ...description, name, features: has, lacks, replaced: new Map() };
}
