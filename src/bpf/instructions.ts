/**
 * The instructions of RFC 9669, "BPF Instruction Set Architecture", as data: the numbers of its tables, and one shape for
 * each kind of instruction. Encodings are read by decode.ts and written by assemble.ts, both from these tables.
 */

/** Bytes of a basic instruction; a 64-bit constant takes two. */
export const slotBytes = 8;

/** Register that holds the frame's upper end and cannot be written. */
export const framePointer = 10;
export const registerCount = 11;

/** Section 3: instruction classes, the low three bits of the opcode. */
export const classes = { ld: 0, ldx: 1, st: 2, stx: 3, alu: 4, jmp: 5, jmp32: 6, alu64: 7 } as const;

/** Section 4.1, table 5: arithmetic by the code in the opcode's high four bits; the sign of "offset" tells division's two kinds. */
export const aluOperations = {
  add: { code: 0x0, symbol: '+=' },
  sub: { code: 0x1, symbol: '-=' },
  mul: { code: 0x2, symbol: '*=' },
  div: { code: 0x3, symbol: '/=' },
  sdiv: { code: 0x3, symbol: 's/=' },
  or: { code: 0x4, symbol: '|=' },
  and: { code: 0x5, symbol: '&=' },
  lsh: { code: 0x6, symbol: '<<=' },
  rsh: { code: 0x7, symbol: '>>=' },
  mod: { code: 0x9, symbol: '%=' },
  smod: { code: 0x9, symbol: 's%=' },
  xor: { code: 0xa, symbol: '^=' },
  mov: { code: 0xb, symbol: '=' },
  arsh: { code: 0xc, symbol: 's>>=' },
} as const;
export type AluOperation = keyof typeof aluOperations;
export const negateCode = 0x8;
export const swapCode = 0xd;

/** Section 4.3, table 8: conditions of branches. */
export const conditions = {
  eq: { code: 0x1, symbol: '==' },
  gt: { code: 0x2, symbol: '>' },
  ge: { code: 0x3, symbol: '>=' },
  set: { code: 0x4, symbol: '&' },
  ne: { code: 0x5, symbol: '!=' },
  sgt: { code: 0x6, symbol: 's>' },
  sge: { code: 0x7, symbol: 's>=' },
  lt: { code: 0xa, symbol: '<' },
  le: { code: 0xb, symbol: '<=' },
  slt: { code: 0xc, symbol: 's<' },
  sle: { code: 0xd, symbol: 's<=' },
} as const;
export type Condition = keyof typeof conditions;
export const jumpCodes = { always: 0x0, call: 0x8, exit: 0x9 } as const;

/** Section 5: sizes of memory accesses by bytes, and modes. */
export const sizeCodes = { 4: 0, 2: 1, 1: 2, 8: 3 } as const;
export type AccessSize = keyof typeof sizeCodes;
export const modes = { imm: 0, abs: 1, ind: 2, mem: 3, memsx: 4, atomic: 6 } as const;

/** Section 5.3, tables 11 and 12: atomic operations by their code in the immediate. */
export const atomicOperations = {
  add: { code: 0x00, symbol: '+=' },
  or: { code: 0x40, symbol: '|=' },
  and: { code: 0x50, symbol: '&=' },
  xor: { code: 0xa0, symbol: '^=' },
  exchange: { code: 0xe0, symbol: '' },
  'compare-exchange': { code: 0xf0, symbol: '' },
} as const;
export type AtomicOperation = keyof typeof atomicOperations;
export const fetchBit = 1;

/** Section 5.4, table 13: what a 64-bit constant is, in the source field. */
export const constantKinds = {
  number: 0,
  mapByFd: 1,
  valueByFd: 2,
  variable: 3,
  code: 4,
  mapByIndex: 5,
  valueByIndex: 6,
};

/** Section 4.3.1: kinds of calls, in the source field. */
export const callKinds = { helper: 0, local: 1, byBtf: 2 } as const;

export type Width = 32 | 64;

/** An operand that is a register, or the immediate if `source` is `immediateSource`. */
export interface Operand {
  readonly source: number;
  /** Sign-extended from 32 bits. */
  readonly immediate: number;
}
export const immediateSource = -1;

/** A decoded instruction. Targets are numbers of instructions in units of 64 bits from the program's start. */
export type BpfInstruction =
  | ({
      readonly kind: 'alu';
      readonly width: Width;
      readonly operation: AluOperation;
      readonly register: number;
    } & Operand)
  | { readonly kind: 'negate'; readonly width: Width; readonly register: number }
  | {
      readonly kind: 'extend';
      readonly width: Width;
      readonly bits: 8 | 16 | 32;
      readonly register: number;
      readonly source: number;
    }
  | {
      readonly kind: 'swap';
      /** To little endian, to big endian, or the other way round. */
      readonly order: 'le' | 'be' | 'swap';
      readonly bits: 16 | 32 | 64;
      readonly register: number;
    }
  | { readonly kind: 'constant'; readonly register: number; readonly value: bigint }
  | { readonly kind: 'map'; readonly register: number; readonly map: number; readonly byFd: boolean }
  | {
      readonly kind: 'map-value';
      readonly register: number;
      readonly map: number;
      readonly offset: number;
      readonly byFd: boolean;
    }
  | {
      readonly kind: 'load';
      readonly size: AccessSize;
      readonly signed: boolean;
      readonly register: number;
      readonly base: number;
      readonly offset: number;
    }
  | ({ readonly kind: 'store'; readonly size: AccessSize; readonly base: number; readonly offset: number } & Operand)
  | {
      readonly kind: 'atomic';
      readonly size: 4 | 8;
      readonly operation: AtomicOperation;
      readonly fetch: boolean;
      readonly base: number;
      readonly offset: number;
      readonly source: number;
    }
  | ({
      readonly kind: 'branch';
      readonly width: Width;
      readonly condition: Condition;
      readonly register: number;
      readonly target: number;
    } & Operand)
  /** `long`: the distance stands in the immediate. */
  | { readonly kind: 'goto'; readonly target: number; readonly long: boolean }
  | { readonly kind: 'call'; readonly helper: number }
  | { readonly kind: 'call-local'; readonly target: number }
  | { readonly kind: 'exit' };

/** By instruction number; null is the second half of a 64-bit constant. */
export type BpfCodeList = readonly (BpfInstruction | null)[];

/** Registers that an instruction reads; a call's and an exit's depend on what is called. */
export function registersRead(instruction: BpfInstruction): readonly number[] {
  const i = instruction;
  switch (i.kind) {
    case 'alu': {
      const own = i.operation === 'mov' ? [] : [i.register];
      return i.source === immediateSource ? own : [...own, i.source];
    }
    case 'negate':
    case 'swap':
      return [i.register];
    case 'extend':
      return [i.source];
    case 'constant':
    case 'map':
    case 'map-value':
    case 'goto':
    case 'call':
    case 'call-local':
    case 'exit':
      return [];
    case 'load':
      return [i.base];
    case 'store':
      return i.source === immediateSource ? [i.base] : [i.base, i.source];
    case 'atomic':
      return i.operation === 'compare-exchange' ? [i.base, i.source, 0] : [i.base, i.source];
    case 'branch':
      return i.source === immediateSource ? [i.register] : [i.register, i.source];
    default:
      return i satisfies never;
  }
}

/** The register that an instruction sets, or -1; calls set r0 and spoil r1 to r5. */
export function registerWritten(instruction: BpfInstruction): number {
  const i = instruction;
  switch (i.kind) {
    case 'alu':
    case 'negate':
    case 'extend':
    case 'swap':
    case 'constant':
    case 'map':
    case 'map-value':
    case 'load':
      return i.register;
    case 'atomic':
      return i.operation === 'compare-exchange' ? 0 : i.fetch ? i.source : -1;
    case 'call':
    case 'call-local':
      return 0;
    case 'store':
    case 'branch':
    case 'goto':
    case 'exit':
      return -1;
    default:
      return i satisfies never;
  }
}
