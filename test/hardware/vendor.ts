/**
 * Where makers differ in the recorded vectors. Such a vector is kept and marked: `vendor` names the cause, and the outcome is
 * the one that the Intel SDM documents, or the recorded one where it documents none. README.md says how they were found.
 */
import { decode, MAXIMUM_LENGTH } from '../../src/isa/decode.ts';
import type { Vector } from './vectors.ts';

interface Rule {
  /** the recording CPU's, as CPUID leaf 0 has it */
  readonly vendor: string;
  readonly cause: string;
  applies(vector: Vector): boolean;
  /** The outcome that the SDM documents, or the recorded one. */
  documented(vector: Vector): Vector['out'];
}

const UD = 6;
const GP = 13;
const MF = 16;
const XM = 19;
const ERROR_SUMMARY = 0x80;
const TOP = 0x3800;
const LOCK = 0xf0;
const ADDRESS_SIZE = 0x67;
const REPNE = 0xf2;
const REP = 0xf3;
const INVALID = 1;
const PE_UE = 0x30;
const UE = 0x10;
const UNDERFLOW_MASK = 0x800;

/** Low bits of the offset of the memory operand; 0 = there is none. */
function misalignment({ bytes, mode, ip, in: { gpr } }: Vector): number {
  const code = new Uint8Array(MAXIMUM_LENGTH);
  code.set(bytes);
  const decoded = decode(code, 0, bytes.length, ip, mode);
  const memory = decoded.failure === null ? decoded.insn.operands.find((o) => o.kind === 'memory') : undefined;
  if (memory === undefined) return 0;
  const register = (i: number) => (i < 0 ? 0 : Number(gpr[i]! & 15n));
  return (register(memory.base) + (register(memory.index) << memory.scale) + Number(memory.displacement & 15n)) & 15;
}

/** Whether the ModRM byte behind 0F and the opcode names memory. */
function memoryOf(bytes: Uint8Array): boolean {
  return bytes[bytes.indexOf(0x0f) + 2]! < 0xc0;
}
/** Whether the instruction compares ST0 with an ST(i), and both are there. */
function comparesRegisters({ bytes, in: { fsw, ftw } }: Vector): boolean {
  const top = (fsw & TOP) >> 11;
  const used = (i: number): boolean => ((ftw >> ((top + i) & 7)) & 1) !== 0;
  return used(0) && used(bytes.at(-1)! & 7);
}
/** The x87 state once an MMX instruction has run: ST(i) is register i, and all are in use. */
function inMmxUse({ fsw, st }: Vector['in']): Pick<Vector['in'], 'fsw' | 'ftw' | 'st'> {
  const top = (fsw & TOP) >> 11;
  const turned = new Uint8Array(80);
  for (let i = 0; i < 8; i++) turned.set(st.subarray(10 * i, 10 * i + 10), 10 * ((i + top) & 7));
  return { fsw: fsw & ~TOP, ftw: 0xff, st: turned };
}

const RULES: readonly Rule[] = [
  {
    vendor: 'AuthenticAMD',
    cause:
      'AMD decodes LOCK MOV CR0 as MOV CR8 (AltMovCr8), so the privilege check raises #GP; Intel raises #UD for LOCK',
    applies: ({ name, bytes, out }) => name === 'movcr' && bytes.includes(LOCK) && out.exception?.vector === 13,
    documented: ({ in: before, ip }) => ({ ...before, rip: ip, exception: { vector: 6, errorCode: 0, cr2: 0n } }),
  },
  {
    vendor: 'AuthenticAMD',
    cause:
      'REP with a 32-bit address size and ECX = 0: Intel CPUs clear the upper half of RCX, and of RSI and RDI for MOVS and STOS; ' +
      'the SDM does not say so, and AMD leaves them alone as expected here',
    applies: ({ cls, mode, bytes, in: before }) =>
      cls === 'string' &&
      mode === 64 &&
      bytes.includes(ADDRESS_SIZE) &&
      (bytes.includes(REPNE) || bytes.includes(REP)) &&
      BigInt.asUintN(32, before.gpr[1]!) === 0n,
    documented: ({ out }) => out,
  },
  {
    vendor: 'AuthenticAMD',
    cause:
      'unmasked underflow of a result that is exact but for its exponent: AMD sets UE alone, as IEEE 754 has it; ' +
      'a model of Intel CPUs sets PE as well, and the SDM leaves it open',
    applies: ({ fp, out }) =>
      fp === 'sse' && out.exception?.vector === 19 && (out.mxcsr & (UNDERFLOW_MASK | PE_UE)) === UE,
    documented: ({ out }) => out,
  },
  {
    vendor: 'AuthenticAMD',
    cause: 'AMD does not ask for alignment of the memory operands of the SHA extensions; Intel raises #GP',
    applies: (vector) =>
      vector.name.startsWith('sha') && vector.out.exception?.vector !== UD && misalignment(vector) !== 0,
    documented: ({ in: before, ip }) => ({ ...before, rip: ip, exception: { vector: GP, errorCode: 0, cr2: 0n } }),
  },
  {
    vendor: 'AuthenticAMD',
    cause: 'CVTPI2PS from memory is no MMX instruction on AMD; on Intel it is: pending exceptions, TOP and tags',
    applies: ({ name, bytes, out }) =>
      name === 'cvtpi2ps' && memoryOf(bytes) && out.exception?.vector !== UD && out.exception?.vector !== MF,
    documented: ({ in: before, ip, out }) => {
      if ((before.fsw & ERROR_SUMMARY) !== 0)
        return { ...before, rip: ip, exception: { vector: MF, errorCode: 0, cr2: 0n } };
      return out.exception === undefined ? { ...out, ...inMmxUse(before) } : out;
    },
  },
  {
    vendor: 'AuthenticAMD',
    cause: 'AMD has begun with MMX (TOP, tags) before a conversion raises #XM; on Intel a fault changes nothing',
    applies: ({ cls, out }) => cls === 'mmx' && out.exception?.vector === XM,
    documented: ({ in: { fsw, ftw, st }, out }) => ({ ...out, fsw, ftw, st }),
  },
  {
    vendor: 'AuthenticAMD',
    cause:
      'FCOMI and its like of a NaN with the invalid operation unmasked: AMD sets ZF, PF and CF; the SDM has them set only if it is masked',
    applies: (vector) =>
      /^fu?comip?$/.test(vector.name) &&
      (vector.in.fcw & INVALID) === 0 &&
      (vector.in.fsw & ERROR_SUMMARY) === 0 &&
      vector.out.exception === undefined &&
      (vector.out.fsw & INVALID) !== 0 &&
      comparesRegisters(vector),
    documented: ({ in: { flags }, out }) => ({ ...out, flags }),
  },
];

/** Marks a vector in which makers differ, and gives it the documented outcome if there is one. */
export function applyVendor(vendor: string, vector: Vector): Vector {
  const rule = RULES.find((one) => one.vendor === vendor && one.applies(vector));
  return rule ? { ...vector, out: rule.documented(vector), vendor: rule.cause } : vector;
}
