/**
 * CPUID as registers of the VM API: one of 16 bytes for each leaf and subleaf (EAX lowest, then EBX, ECX, EDX), read-only.
 * What follows from other registers (OSXSAVE, the size of XSAVE's area) is as if those had the values of RESET.
 */
import { cpuidLeaf, type Leaf } from '../../src/system/cpuid.ts';
import type { Processor } from '../../src/system/processor.ts';

const OSXSAVE = 1 << 27;
const OSPKE = 1 << 4;
const SYSCALL = 1 << 11;
/** Leaves with subleaves, and how many. */
const subleaves: Readonly<Record<number, number>> = { 4: 4, 7: 1, 11: 2, 13: 10 };

/** Without what registers decide. */
function steady(p: Processor, leaf: number, subleaf: number, [a, b, c, d]: Leaf): Leaf {
  if (leaf === 1) return [a, b, c & ~OSXSAVE, d];
  if (leaf === 7) return [a, b, c & ~OSPKE, d];
  if (leaf === 0xd && subleaf < 2) return [a, 0, c, d];
  if (leaf === 0x8000_0001) return [a, b, c, p.features.has('syscall') ? d | SYSCALL : d];
  return [a, b, c, d];
}

/** All leaves of a processor: numbers are leaf * 16 + subleaf, from 4000H on the hypervisor's, from 8000H the extended ones. */
export function* cpuidRegisters(p: Processor): Iterable<{ number: number; name: string; read: () => bigint }> {
  for (const first of [0, 0x4000_0000, 0x8000_0000]) {
    if (first === 0x4000_0000 && !p.features.has('hypervisor')) continue;
    if (first === 0x8000_0000 && p.model.brand === null) continue;
    const last = cpuidLeaf(p, first, 0)[0];
    for (let leaf = first; leaf <= last; leaf++) {
      for (let subleaf = 0; subleaf < (subleaves[leaf] ?? 1); subleaf++) {
        const read = (): bigint => {
          const [a, b, c, d] = steady(p, leaf, subleaf, cpuidLeaf(p, leaf, subleaf));
          const word = (n: number, shift: bigint) => BigInt(n >>> 0) << shift;
          return word(a, 0n) | word(b, 32n) | word(c, 64n) | word(d, 96n);
        };
        const number = (first >>> 16) | ((leaf - first) * 16 + subleaf);
        yield { number, name: `cpuid.${leaf.toString(16)}.${subleaf}`, read };
      }
    }
  }
}
