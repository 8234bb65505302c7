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

/** What an instruction is made from: all that its bytes and its place say. */
export type InsnParts = Omit<Insn, 'next' | 'target' | 'hasTarget'> & {
  /** The distance to a branch's target, and to how many bits the target is cut; 0 = no target. */
  readonly distance: bigint;
  readonly targetBits: number;
};

/** BigInt(length) */
const lengths = Array.from({ length: 16 }, (_, i) => BigInt(i));

/** A decoded instruction, which notices when someone asks where it stands. */
export class Insn {
  /** The place was asked for, or is part of an operand: what was recorded holds for this place only. */
  isPlaced: boolean;
  private readonly place: bigint;
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
  readonly repeat: Repeat;
  readonly lock: boolean;
  /** Segment that string and XLAT sources use: DS or the override. */
  readonly segment: number;
  /** 16, 32 or 64: the code segment's. */
  readonly mode: 16 | 32 | 64;
  readonly rexW: boolean;
  readonly vex: boolean;
  /** By VEX.L. */
  readonly vectorLength: 128 | 256;
  /** The opcode bytes as matched (last byte with its low bits), for forms that share one definition. */
  readonly opcode: number;
  /** The ModRM byte, C0 hex where there is none. */
  readonly modrm: number;
  /**
   * The bytes that count from the next instruction on, a branch's or a RIP-relative displacement: their offset in the
   * instruction (0 = none) and how many they are.
   */
  readonly relativeAt: number;
  readonly relativeBytes: number;
  private readonly distance: bigint;
  private readonly targetBits: number;

  constructor(of: InsnParts) {
    this.isPlaced = of.isPlaced;
    this.place = of.rip;
    this.length = of.length;
    this.width = of.width;
    this.addressWidth = of.addressWidth;
    this.operands = of.operands;
    this.dst = of.dst;
    this.src = of.src;
    this.cc = of.cc;
    this.repeat = of.repeat;
    this.lock = of.lock;
    this.segment = of.segment;
    this.mode = of.mode;
    this.rexW = of.rexW;
    this.vex = of.vex;
    this.vectorLength = of.vectorLength;
    this.opcode = of.opcode;
    this.modrm = of.modrm;
    this.relativeAt = of.relativeAt;
    this.relativeBytes = of.relativeBytes;
    this.distance = of.distance;
    this.targetBits = of.targetBits;
  }
  /** Instruction pointer (not linear) of this instruction. */
  get rip(): bigint {
    this.isPlaced = true;
    return this.place;
  }
  /** That of the next. */
  get next(): bigint {
    this.isPlaced = true;
    return BigInt.asUintN(this.mode === 64 ? 64 : 32, this.place + lengths[this.length]!);
  }
  /** It is a branch to a place that its bytes tell. */
  get hasTarget(): boolean {
    return this.targetBits !== 0;
  }
  /** Target of a relative branch, cut to the operand size. */
  get target(): bigint {
    return this.targetBits === 0 ? 0n : BigInt.asUintN(this.targetBits, this.next + this.distance);
  }
}
