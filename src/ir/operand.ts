/** What the bytes of an instruction say, no more: operands and the decoded instruction. */
import type { Width } from './types.ts';

/** Segment registers by encoding. */
export const ES = 0,
  CS = 1,
  SS = 2,
  DS = 3,
  FS = 4,
  GS = 5;
export const RAX = 0,
  RCX = 1,
  RDX = 2,
  RBX = 3,
  RSP = 4,
  RBP = 5,
  RSI = 6,
  RDI = 7;

export interface RegisterOperand {
  readonly kind: 'register';
  readonly index: number;
  readonly width: Width;
  /** AH, CH, DH, BH: bits 8-15 of register `index` (0-3). */
  readonly high: boolean;
}
export interface MemoryOperand {
  readonly kind: 'memory';
  readonly segment: number;
  /** Register, or -1. */
  readonly base: number;
  readonly index: number;
  /** Of gathers: `index` is a vector register, of which so many bits are used. */
  readonly vectorIndex?: 128 | 256;
  /** Shift of the index, 0-3. */
  readonly scale: number;
  /** Displacement, signed; the full address of a moffs operand; the absolute target of a RIP-relative one. */
  readonly displacement: bigint;
  readonly addressWidth: 16 | 32 | 64;
  /** Bits accessed; 0 where the instruction decides (LEA, FXSAVE). */
  readonly width: number;
}
export interface ImmediateOperand {
  readonly kind: 'immediate';
  /** Sign-extended as the instruction does it; see the form. */
  readonly value: bigint;
  readonly width: Width;
}
/** XMM, MMX, x87 stack, segment, control and debug registers: a number within their kind. */
export interface NumberedOperand {
  readonly kind: 'xmm' | 'mmx' | 'st' | 'segment' | 'control' | 'debug';
  readonly index: number;
  /** Bits of it that the instruction uses. */
  readonly width: number;
}
/** A far pointer in the instruction. */
export interface FarOperand {
  readonly kind: 'far';
  readonly selector: number;
  readonly offset: bigint;
  readonly width: 16 | 32;
}
export type Operand = RegisterOperand | MemoryOperand | ImmediateOperand | NumberedOperand | FarOperand;

export type Repeat = 'none' | 'rep' | 'repne';

/** A decoded instruction. */
export interface Insn {
  /** Instruction pointer (not linear) of this instruction and of the next. */
  readonly rip: bigint;
  readonly next: bigint;
  readonly length: number;
  /** Operand width of the form: of `v`, `z`, `y` operands; 8 for `b` forms. */
  readonly width: Width;
  readonly addressWidth: 16 | 32 | 64;
  readonly operands: readonly Operand[];
  /** `operands[0]`, `operands[1]`: destination and source, in Intel order. Reading an absent one is a bug in the form. */
  readonly dst: Operand;
  readonly src: Operand;
  /** Low four bits of the opcode of a `+cc` form. */
  readonly cc: number;
  /** Target of a relative branch, cut to the operand size. */
  readonly target: bigint;
  readonly repeat: Repeat;
  readonly lock: boolean;
  /** Segment that string and XLAT sources use: DS or the override. */
  readonly segment: number;
  /** 16, 32 or 64: the code segment's. */
  readonly mode: 16 | 32 | 64;
  readonly rexW: boolean;
  readonly vex: boolean;
  /** VEX.L: 0 = 128, 1 = 256 bits; VEX.vvvv as a register number. */
  readonly vectorLength: 128 | 256;
  /** The opcode bytes as matched (last byte with its low bits), for forms that share one definition. */
  readonly opcode: number;
  /** The ModRM byte, C0 hex where there is none. */
  readonly modrm: number;
}
