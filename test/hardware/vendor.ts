/**
 * Where the CPU that recorded the vectors differs from what the Intel SDM documents. Such a vector is kept and marked: its
 * outcome becomes the documented one and `vendor` names the cause. README.md lists what was looked for and not found.
 */
import type { Vector } from './vectors.ts';

interface Rule {
  readonly vendor: string;
  readonly cause: string;
  applies(vector: Vector): boolean;
  /** The outcome that the SDM documents. */
  documented(vector: Vector): Vector['out'];
}

const LOCK = 0xf0;

const RULES: readonly Rule[] = [
  {
    vendor: 'AuthenticAMD',
    cause:
      'AMD decodes LOCK MOV CR0 as MOV CR8 (AltMovCr8), so the privilege check raises #GP; Intel raises #UD for LOCK',
    applies: ({ name, bytes, out }) => name === 'movcr' && bytes.includes(LOCK) && out.exception?.vector === 13,
    documented: ({ in: before, ip }) => ({
      ...before,
      rip: ip,
      exception: { vector: 6, errorCode: 0, cr2: 0n },
    }),
  },
];

/** Marks a vector whose recorded outcome is one maker's own, and gives it the documented outcome. */
export function applyVendor(vendor: string, vector: Vector): Vector {
  if (vector.out.exception === undefined) return vector;
  const rule = RULES.find((one) => one.vendor === vendor && one.applies(vector));
  return rule ? { ...vector, out: rule.documented(vector), vendor: rule.cause } : vector;
}
