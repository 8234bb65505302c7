/** Where CPUID shows features: by leaf, subleaf and register. SDM volume 2, CPUID. */

/** Features and the bits that show them. */
export type Bits = readonly (readonly [feature: string, bit: number])[];

export const leaf1Edx: Bits = [
  ['fpu', 0],
  ['vme', 1],
  ['de', 2],
  ['pse', 3],
  ['tsc', 4],
  ['msr', 5],
  ['pae', 6],
  ['mce', 7],
  ['cx8', 8],
  ['sep', 11],
  ['mtrr', 12],
  ['pge', 13],
  ['mca', 14],
  ['cmov', 15],
  ['pat', 16],
  ['pse36', 17],
  ['clflush', 19],
  ['mmx', 23],
  ['fxsr', 24],
  ['sse', 25],
  ['sse2', 26],
];
export const leaf1Ecx: Bits = [
  ['sse3', 0],
  ['pclmulqdq', 1],
  ['ssse3', 9],
  ['cx16', 13],
  ['pcid', 17],
  ['sse4.1', 19],
  ['fma', 12],
  ['sse4.2', 20],
  ['movbe', 22],
  ['popcnt', 23],
  ['aes', 25],
  ['rdrand', 30],
  ['xsave', 26],
  ['avx', 28],
  ['f16c', 29],
  ['hypervisor', 31],
];
export const leaf7Ebx: Bits = [
  ['fsgsbase', 0],
  ['tsc-adjust', 1],
  ['bmi1', 3],
  ['avx2', 5],
  ['smep', 7],
  ['bmi2', 8],
  ['invpcid', 10],
  ['rdseed', 18],
  ['adx', 19],
  ['smap', 20],
  ['clflushopt', 23],
  ['clwb', 24],
  ['sha', 29],
];
export const leaf7Ecx: Bits = [
  ['umip', 2],
  ['pku', 3],
  ['waitpkg', 5],
  ['la57', 16],
  ['rdpid', 22],
  ['movdiri', 27],
  ['movdir64b', 28],
];
export const leaf7Edx: Bits = [
  ['serialize', 14],
  ['spec-ctrl', 26],
  ['stibp', 27],
  ['arch-capabilities', 29],
];
export const leaf7Subleaf2Edx: Bits = [['bhi-ctrl', 4]];
export const extended1Edx: Bits = [
  ['syscall', 11],
  ['nx', 20],
  ['gbpages', 26],
  ['rdtscp', 27],
  ['lm', 29],
];
export const extended1Ecx: Bits = [
  ['lahf64', 0],
  ['lzcnt', 5],
  ['prefetchw', 8],
];
export const extended7Edx: Bits = [['invariant-tsc', 8]];

export const leafDEax: Bits = [
  ['xsaveopt', 0],
  ['xsavec', 1],
  ['xsave', 2],
  ['xsaves', 3],
];

/** A word of feature bits. */
export interface FeatureWord {
  readonly leaf: number;
  readonly subleaf: number;
  /** 0-3: EAX, EBX, ECX, EDX. */
  readonly register: number;
  readonly bits: Bits;
  /** Bits that follow the machine or a control register; nobody sets them in a policy. */
  readonly others: Bits;
}
export const featureWords: readonly FeatureWord[] = [
  {
    leaf: 1,
    subleaf: 0,
    register: 3,
    bits: leaf1Edx,
    others: [
      ['apic', 9],
      ['htt', 28],
    ],
  },
  {
    leaf: 1,
    subleaf: 0,
    register: 2,
    bits: [...leaf1Ecx, ['x2apic', 21], ['tsc-deadline', 24]],
    others: [['osxsave', 27]],
  },
  { leaf: 7, subleaf: 0, register: 1, bits: leaf7Ebx, others: [] },
  { leaf: 7, subleaf: 0, register: 2, bits: leaf7Ecx, others: [['ospke', 4]] },
  { leaf: 7, subleaf: 0, register: 3, bits: leaf7Edx, others: [] },
  { leaf: 7, subleaf: 2, register: 3, bits: leaf7Subleaf2Edx, others: [] },
  { leaf: 0xd, subleaf: 1, register: 0, bits: leafDEax, others: [] },
  { leaf: 0x8000_0001, subleaf: 0, register: 2, bits: extended1Ecx, others: [] },
  { leaf: 0x8000_0001, subleaf: 0, register: 3, bits: extended1Edx, others: [] },
  { leaf: 0x8000_0007, subleaf: 0, register: 3, bits: extended7Edx, others: [] },
];
