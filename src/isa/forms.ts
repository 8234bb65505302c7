/**
 * Reads form strings (grammar: define.ts) into typed forms. Everything that depends on the operand size or the vector
 * length alone is worked out here once, as small arrays, so that the decoder only looks up.
 *
 * SDM volume 2, chapter 2 and appendix A.
 */
import type { ImmediateOperand, NumberedOperand, Operand, RegisterOperand } from '../ir/operand.ts';
import type { Width } from '../ir/types.ts';
import type { Definition } from './define.ts';

/** Where the bytes of an operand come from. */
export type OperandSource =
  | 'rm' // ModRM.rm: register or memory
  | 'reg' // ModRM.reg
  | 'vvvv' // VEX.vvvv
  | 'opcode' // low three bits of the opcode
  | 'immediate'
  | 'immediate-register' // bits 7:4 of an immediate byte
  | 'relative' // gives Insn.target and no operand
  | 'far'
  | 'moffs'
  | 'string-source'
  | 'string-destination'
  | 'st' // ModRM.rm of a fixed ModRM byte
  | 'fixed';

/** The kinds of register an operand may name. */
export type RegisterFile = 'general' | 'xmm' | 'mmx' | 'st' | 'segment' | 'control' | 'debug';

/**
 * Index into per-size arrays: operand size 16, 32, 64 with a 128-bit vector length = 0, 1, 2, with a 256-bit one = 3, 4, 5.
 */
export type SizeSlot = number;
export const sizeSlot = (operandSize: 16 | 32 | 64, vectorLength: 128 | 256): SizeSlot =>
  (operandSize >> 5) + (vectorLength === 256 ? 3 : 0);

export interface OperandSpec {
  /** As written in the form. */
  readonly text: string;
  readonly source: OperandSource;
  readonly file: RegisterFile | null;
  /** Bits by size slot. Of an immediate: of its value after extension. */
  readonly widths: readonly number[];
  /** 48 or 80 bits by mode (SGDT and its like): `widths` then says 48. */
  readonly tablePointer: boolean;
  /** Bytes in the instruction by size slot: immediates, relative and far operands. A moffs operand has the address size. */
  readonly bytes: readonly number[];
  readonly signed: boolean;
  /** Registers by size slot, then number: ready-made operands. */
  readonly registers: readonly (readonly Operand[])[];
  /** The one operand that a fixed specification means, by size slot. */
  readonly fixed: readonly Operand[];
}

export type MandatoryPrefix = 'any' | 'none' | 'NFx' | '66' | 'F3' | 'F2';

export interface VexConditions {
  /** null = either. */
  readonly length: 0 | 1 | null;
  /** null = either; `size` = either, and it is the operand size. */
  readonly w: 0 | 1 | 'size' | null;
}

export interface Form {
  readonly definition: Definition;
  readonly text: string;
  /** 0 = one byte, 1 = 0F, 2 = 0F 38, 3 = 0F 3A. */
  readonly map: 0 | 1 | 2 | 3;
  /** First opcode byte that matches in the map, and how many: 1, 8 (`+r`) or 16 (`+cc`). */
  readonly opcode: number;
  readonly opcodes: 1 | 8 | 16;
  /** All opcode bytes before the last as a number, shifted left by one byte; a fixed ModRM byte counts as an opcode byte. */
  readonly opcodePrefix: number;
  readonly prefix: MandatoryPrefix;
  readonly vex: VexConditions | null;
  /** REX.W that a `w0` or `w1` form asks for. */
  readonly w: 0 | 1 | null;
  /** Has a ModRM byte. */
  readonly modrm: boolean;
  /** Fixed ModRM byte, and how many from it on (1 or 8), or null. */
  readonly fixedModrm: number | null;
  readonly fixedModrms: 1 | 8;
  /** ModRM.reg, or null. */
  readonly extension: number | null;
  /** `register` = only mod 3, `memory` = only others, `ignored` = rm is a register whatever mod says (MOV CR, MOV DR). */
  readonly mod: 'any' | 'register' | 'memory' | 'ignored';
  readonly operands: readonly OperandSpec[];
  /** Insn.width by size slot. */
  readonly widths: readonly Width[];
  /** Bytes after ModRM, SIB and displacement by size slot, without a moffs address. */
  readonly immediateBytes: readonly number[];
  readonly moffs: boolean;
  /** The memory operand's index is a vector register: of the vector's length, or 128 bits of it. */
  readonly vsib: 'length' | 'xmm' | null;
  readonly usesVvvv: boolean;
  /** Modes in which it exists. */
  readonly in64: boolean;
  readonly outside64: boolean;
  /** Default operand size in 64-bit mode: 32, `default64` (66 = 16), `always64`. */
  readonly operandSize64: 'default32' | 'default64' | 'always64';
  readonly lock: boolean;
  readonly repeats: boolean;
  /** #UD in real and virtual-8086 mode: whoever knows the mode (not the decoder) checks it. */
  readonly protectedOnly: boolean;
  /** Which of several matching forms wins: the greatest. */
  readonly specificity: number;
}

export class FormError extends Error {
  constructor(text: string, what: string) {
    super(`form '${text}': ${what}`);
    this.name = 'FormError';
  }
}

const slots = [0, 1, 2, 3, 4, 5] as const;
const operandSizes = [16, 32, 64, 16, 32, 64] as const;
const perSlot = <T>(value: (operandSize: 16 | 32 | 64, vectorLength: 128 | 256) => T): T[] =>
  slots.map((s) => value(operandSizes[s], s < 3 ? 128 : 256));
const same = <T>(value: T): T[] => slots.map(() => value);

/** Operand widths by size code. */
const sizeCodes: Record<string, readonly number[]> = {
  '': same(0),
  b: same(8),
  w: same(16),
  d: same(32),
  q: same(64),
  t: same(80),
  dq: same(128),
  ss: same(32),
  sd: same(64),
  v: perSlot((o) => o),
  z: perSlot((o) => Math.min(o, 32)),
  y: perSlot((o) => Math.max(o, 32)),
  p: perSlot((o) => o + 16),
  a: perSlot((o) => 2 * o),
  x: perSlot((_, l) => l),
  ps: perSlot((_, l) => l),
  pd: perSlot((_, l) => l),
  s: same(48),
};

function generalRegisters(width: Width, legacyBytes: boolean): RegisterOperand[] {
  return Array.from({ length: 16 }, (_, n) => {
    const high = legacyBytes && n >= 4 && n < 8;
    return { kind: 'register', index: high ? n - 4 : n, width, high };
  });
}
/** AL..BH without REX, and AL..DIL, R8B.. with. */
const bytesWithRex = generalRegisters(8, false);
/** The byte registers that a register number means without a REX prefix. */
export const legacyByteRegisters: readonly RegisterOperand[] = generalRegisters(8, true);
const general: Record<number, readonly RegisterOperand[]> = {
  8: bytesWithRex,
  16: generalRegisters(16, false),
  32: generalRegisters(32, false),
  64: generalRegisters(64, false),
};

const numberedCache = new Map<string, readonly NumberedOperand[]>();
function numbered(kind: NumberedOperand['kind'], width: number): readonly NumberedOperand[] {
  const key = `${kind}${width}`;
  let made = numberedCache.get(key);
  if (made === undefined) {
    made = Array.from({ length: 16 }, (_, n) => ({ kind, index: kind === 'mmx' || kind === 'st' ? n & 7 : n, width }));
    numberedCache.set(key, made);
  }
  return made;
}

const registerLetters: Record<string, readonly [OperandSource, RegisterFile | null]> = {
  E: ['rm', 'general'],
  R: ['rm', 'general'],
  M: ['rm', null],
  G: ['reg', 'general'],
  B: ['vvvv', 'general'],
  Z: ['opcode', 'general'],
  S: ['reg', 'segment'],
  C: ['reg', 'control'],
  D: ['reg', 'debug'],
  V: ['reg', 'xmm'],
  W: ['rm', 'xmm'],
  U: ['rm', 'xmm'],
  H: ['vvvv', 'xmm'],
  L: ['immediate-register', 'xmm'],
  P: ['reg', 'mmx'],
  Q: ['rm', 'mmx'],
  N: ['rm', 'mmx'],
  O: ['moffs', null],
  X: ['string-source', null],
  Y: ['string-destination', null],
};

const registerNames = ['AX', 'CX', 'DX', 'BX', 'SP', 'BP', 'SI', 'DI'];
const lowBytes = ['AL', 'CL', 'DL', 'BL'];
const highBytes = ['AH', 'CH', 'DH', 'BH'];
const segments = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'];

const none: Pick<OperandSpec, 'file' | 'widths' | 'tablePointer' | 'bytes' | 'signed' | 'registers' | 'fixed'> = {
  file: null,
  widths: same(0),
  tablePointer: false,
  bytes: same(0),
  signed: false,
  registers: [],
  fixed: [],
};

function fixedOperand(text: string): OperandSpec | null {
  const one = (operand: Operand & { width: number }): OperandSpec => ({
    ...none,
    text,
    source: 'fixed',
    widths: same(operand.width),
    fixed: same(operand),
  });
  if (text === '1') return one({ kind: 'immediate', value: 1n, width: 8 } satisfies ImmediateOperand);
  if (text === 'ST0') return one(numbered('st', 80)[0]!);
  if (text === 'XMM0') return one(numbered('xmm', 128)[0]!);
  if (text === 'STi')
    return { ...none, text, source: 'st', file: 'st', widths: same(80), registers: same(numbered('st', 80)) };
  if (segments.includes(text)) return one(numbered('segment', 16)[segments.indexOf(text)]!);
  if (lowBytes.includes(text)) return one(bytesWithRex[lowBytes.indexOf(text)]!);
  if (highBytes.includes(text)) return one(legacyByteRegisters[4 + highBytes.indexOf(text)]!);
  if (registerNames.includes(text)) return one(general[16]![registerNames.indexOf(text)]!);
  const index = registerNames.indexOf(text.slice(1));
  if (index < 0 || (text[0] !== 'e' && text[0] !== 'r')) return null;
  const widths = text[0] === 'r' ? sizeCodes.v! : sizeCodes.z!;
  return { ...none, text, source: 'fixed', widths, fixed: slots.map((s) => general[widths[s]!]![index]!) };
}

function immediateOperand(form: string, text: string): OperandSpec {
  const make = (widths: readonly number[], bytes: readonly number[], signed: boolean): OperandSpec => ({
    ...none,
    text,
    source: 'immediate',
    widths,
    bytes,
    signed,
  });
  const size = sizeCodes.v!;
  switch (text.slice(1)) {
    case 'b':
      return make(same(8), same(1), false);
    case 'bs':
      return make(size, same(1), true);
    case 'w':
      return make(same(16), same(2), false);
    case 'd':
      return make(same(32), same(4), false);
    case 'z':
      return make(
        size,
        perSlot((o) => (o === 16 ? 2 : 4)),
        true,
      );
    case 'v':
      return make(
        size,
        perSlot((o) => o / 8),
        true,
      );
    default:
      throw new FormError(form, `immediate '${text}' has no known size`);
  }
}

const specs = new Map<string, OperandSpec>();

/** The specification of an operand; forms share it. */
function operandSpec(form: string, text: string): OperandSpec {
  let made = specs.get(text);
  if (made === undefined) {
    made = parseOperand(form, text);
    specs.set(text, made);
  }
  return made;
}

function parseOperand(form: string, text: string): OperandSpec {
  const fixed = fixedOperand(text);
  if (fixed !== null) return fixed;
  const letter = text[0] ?? '';
  const code = text.slice(1);
  if (letter === 'I') return immediateOperand(form, text);
  if (letter === 'J') {
    const bytes = code === 'b' ? same(1) : code === 'z' ? perSlot((o) => (o === 16 ? 2 : 4)) : null;
    if (bytes === null) throw new FormError(form, `relative operand '${text}' is neither Jb nor Jz`);
    return { ...none, text, source: 'relative', widths: sizeCodes.v!, bytes, signed: true };
  }
  if (letter === 'A') {
    if (code !== 'p') throw new FormError(form, `far operand '${text}' is not Ap`);
    return { ...none, text, source: 'far', widths: sizeCodes.z!, bytes: perSlot((o) => (o === 16 ? 4 : 6)) };
  }
  const known = registerLetters[letter];
  const widths = sizeCodes[code];
  if (known === undefined || widths === undefined) throw new FormError(form, `operand '${text}' is unknown`);
  const [source, file] = known;
  let registers: readonly (readonly Operand[])[] = [];
  if (file === 'general') {
    if (widths.some((w) => general[w] === undefined))
      throw new FormError(form, `no general register has the size of '${text}'`);
    registers = widths.map((w) => general[w]!);
  } else if (file !== null) registers = widths.map((w) => numbered(file, w));
  const bytes = source === 'immediate-register' ? same(1) : none.bytes;
  return { ...none, text, source, file, widths, tablePointer: code === 's', bytes, registers };
}

/**
 * Insn.width: the operand size where an operand follows it, else the size of the first general operand that has one of
 * its own (the port register DX and immediates do not count), else the operand size.
 */
function formWidths(operands: readonly OperandSpec[]): Width[] {
  const follows = operands.find(
    (o) =>
      o.widths[0] !== o.widths[2] &&
      o.source !== 'relative' &&
      o.source !== 'immediate' &&
      o.file !== 'xmm' &&
      o.file !== 'control' &&
      o.file !== 'debug' &&
      !/^M[pas]$/.test(o.text),
  );
  if (follows !== undefined) return follows.widths as Width[];
  if (operands.some((o) => o.widths[0] !== o.widths[2])) return sizeCodes.v as Width[];
  const own = operands.find(
    (o) =>
      general[o.widths[0]!] !== undefined &&
      (o.file === 'general' ||
        o.text[0] === 'M' ||
        /^[OXY]/.test(o.text) ||
        (o.source === 'fixed' && o.fixed[0]!.kind === 'register' && o.text !== 'DX')),
  );
  return (own?.widths ?? sizeCodes.v!) as Width[];
}

const options = ['x64', 'i64', 'd64', 'f64', 'lock', 'rep', 'real', 'protected', 'osz', 'w0', 'w1', 'vsib', 'vsibx'];

/** Parses one form string of a definition. */
export function parseForm(definition: Definition, text: string): Form {
  const wrong = (what: string) => new FormError(text, what);
  const words = text.split(' ').filter((w) => w !== '');
  let prefix: MandatoryPrefix = 'any';
  let vex: VexConditions | null = null;
  let map: Form['map'] = 0;

  const first = words[0] ?? '';
  if (first === 'VEX' || first.startsWith('VEX.')) {
    words.shift();
    prefix = 'none';
    let length: VexConditions['length'] = null;
    let w: VexConditions['w'] = 'size';
    for (const part of first.split('.').slice(1)) {
      if (part === 'NP') prefix = 'none';
      else if (part === '66' || part === 'F3' || part === 'F2') prefix = part;
      else if (part === '0F') map = 1;
      else if (part === '0F38') map = 2;
      else if (part === '0F3A') map = 3;
      else if (part === 'L0' || part === 'LZ' || part === '128') length = 0;
      else if (part === 'L1' || part === '256') length = 1;
      else if (part === 'LIG') length = null;
      else if (part === 'W0') w = 0;
      else if (part === 'W1') w = 1;
      else if (part === 'WIG') w = null;
      else throw wrong(`'${part}' is no VEX condition`);
    }
    if (map === 0) throw wrong('VEX without an opcode map');
    vex = { length, w };
  } else if (first === 'NP' || first === 'NFx') {
    words.shift();
    prefix = first === 'NP' ? 'none' : 'NFx';
  } else if ((first === '66' || first === 'F3' || first === 'F2') && /^[0-9A-Fa-f]{2}/.test(words[1] ?? '')) {
    words.shift();
    prefix = first;
  }

  let opcodePrefix = 0;
  const byte = (word: string | undefined): number => {
    if (word === undefined || !/^[0-9A-Fa-f]{2}$/.test(word)) throw wrong(`'${word ?? ''}' is no opcode byte`);
    return Number.parseInt(word, 16);
  };
  if (vex === null && words[0] === '0F') {
    opcodePrefix = 0x0f;
    map = 1;
    words.shift();
    const second = /^(?:38|3A)$/.exec(words[0] ?? '')?.[0];
    if (second !== undefined) {
      map = second === '38' ? 2 : 3;
      opcodePrefix = (opcodePrefix << 8) | byte(words.shift());
    }
  } else if (vex !== null) opcodePrefix = [0, 0x0f, 0x0f38, 0x0f3a][map]!;

  let opcodes: Form['opcodes'] = 1;
  const opcodeWord = words.shift() ?? '';
  const [opcodeByte, range] = opcodeWord.split('+');
  const opcode = byte(opcodeByte);
  if (range === 'r') opcodes = 8;
  else if (range === 'cc') opcodes = 16;
  else if (range !== undefined) throw wrong(`'+${range}' is neither +r nor +cc`);
  if (opcode % opcodes !== 0) throw wrong(`opcode ${opcodeByte} does not begin a range of ${opcodes}`);

  let fixedModrm: number | null = null;
  let fixedModrms: Form['fixedModrms'] = 1;
  if (/^[0-9A-F]{2}(\+r)?$/.test(words[0] ?? '')) {
    const [modrmByte, plus] = words.shift()!.split('+');
    fixedModrm = byte(modrmByte);
    if (plus !== undefined) fixedModrms = 8;
    if (fixedModrm % fixedModrms !== 0) throw wrong(`ModRM ${modrmByte} does not begin a range of 8`);
    if (fixedModrm < 0xc0) throw wrong(`a fixed ModRM byte is at least C0`);
    opcodePrefix = (opcodePrefix << 8) | opcode;
  }

  let extension: number | null = null;
  let mod: Form['mod'] = 'any';
  const slash = /^\/([0-7])?([!@]?)$/.exec(words[0] ?? '');
  if (slash !== null) {
    words.shift();
    if (slash[1] !== undefined) extension = Number(slash[1]);
    if (slash[2] === '!') mod = 'register';
    else if (slash[2] === '@') mod = 'memory';
    if (fixedModrm !== null) throw wrong('a fixed ModRM byte and /n');
  }

  const given = new Set<string>();
  let operandWord: string | null = null;
  for (const word of words) {
    if (options.includes(word)) given.add(word);
    else if (operandWord === null && given.size === 0) operandWord = word;
    else throw wrong(`'${word}' is no option`);
  }
  const operands = operandWord === null ? [] : operandWord.split(',').map((o) => operandSpec(text, o));

  for (const o of operands) {
    const only = o.text === 'ST0' || o.text === 'STi' || o.source === 'fixed' ? '' : o.text[0]!;
    const needs: Form['mod'] =
      only === 'M' ? 'memory' : only === 'R' || only === 'U' || only === 'N' ? 'register' : 'any';
    if (needs === 'any') continue;
    if (mod !== 'any' && mod !== needs) throw wrong(`'${o.text}' contradicts mod`);
    mod = needs;
  }
  if (operands.some((o) => o.file === 'control' || o.file === 'debug')) mod = 'ignored';
  const fromModrm = operands.some((o) => o.source === 'rm' || o.source === 'reg');
  if (fromModrm && fixedModrm !== null) throw wrong('operands in a fixed ModRM byte');
  if (operands.some((o) => o.source === 'st') && fixedModrms !== 8) throw wrong('STi needs +r in the ModRM byte');
  if (operands.some((o) => o.source === 'opcode') !== (range === 'r')) throw wrong('Z and +r go together');
  if (operands.some((o) => o.source === 'reg') && extension !== null)
    throw wrong('ModRM.reg is an operand and an extension');
  if (operands.filter((o) => o.source === 'rm').length > 1) throw wrong('two operands in ModRM.rm');
  const usesVvvv = operands.some((o) => o.source === 'vvvv');
  if (usesVvvv && vex === null) throw wrong('VEX.vvvv without VEX');
  if (given.has('x64') && given.has('i64')) throw wrong('x64 and i64: it exists nowhere');
  if (given.has('d64') && given.has('f64')) throw wrong('d64 and f64 contradict each other');
  if (given.has('w0') && given.has('w1')) throw wrong('w0 and w1 contradict each other');

  const w = given.has('w0') ? 0 : given.has('w1') ? 1 : null;
  const bit = (condition: boolean, n: number) => (condition ? 1 << n : 0);
  return {
    definition,
    text,
    map,
    opcode,
    opcodes,
    opcodePrefix: opcodePrefix << 8,
    prefix,
    vex,
    w,
    modrm: fromModrm || fixedModrm !== null || extension !== null || slash !== null,
    fixedModrm,
    fixedModrms,
    extension,
    mod,
    operands,
    widths: formWidths(operands),
    immediateBytes: slots.map((s) => operands.reduce((n, o) => n + o.bytes[s]!, 0)),
    moffs: operands.some((o) => o.source === 'moffs'),
    vsib: given.has('vsib') ? 'length' : given.has('vsibx') ? 'xmm' : null,
    usesVvvv,
    in64: !given.has('i64'),
    outside64: !given.has('x64') && w !== 1,
    operandSize64: given.has('f64') ? 'always64' : given.has('d64') ? 'default64' : 'default32',
    lock: given.has('lock'),
    repeats: given.has('rep'),
    protectedOnly: given.has('protected') || vex !== null,
    specificity:
      bit(prefix !== 'any' && vex === null, 7) |
      bit(w !== null || (vex !== null && typeof vex.w === 'number'), 6) |
      bit(fixedModrm !== null && fixedModrms === 1, 5) |
      bit(fixedModrm !== null, 4) |
      bit(extension !== null, 3) |
      bit(mod === 'register' || mod === 'memory', 2) |
      bit(opcodes === 1, 1) |
      bit(given.has('x64') || given.has('i64'), 0),
  };
}

/** The opcode maps of the legacy forms are rows 0-3, the VEX maps 0F, 0F 38 and 0F 3A rows 5-7. */
export const VEX_ROW = 4;
const rowOf = (vex: boolean, map: number): number => (vex ? VEX_ROW : 0) + map;
const glance =
  /^(?:VEX(?:\.(?!0F)\w+)*\.(0F(?:38|3A)?)\S* |(?:NP|NFx|66|F3|F2) (?=[0-9A-F]{2}))?(?:0F )?(?:(38|3A) )?([0-9A-F]{2})(\+r|\+cc)?/;

/** A form that is parsed when it is first needed. What it is needed for, its opcode, is seen at a glance. */
export class FormText {
  readonly definition: Definition;
  readonly text: string;
  /** Which opcodes it is for, as in `Form`; row and opcode are -1 where the text is no form at all. */
  readonly row: number;
  readonly opcode: number;
  readonly opcodes: 1 | 8 | 16;
  private parsed: Form | null = null;

  constructor(definition: Definition, text: string) {
    this.definition = definition;
    this.text = text;
    const [all = '', vexMap, map, opcode = '', range] = glance.exec(text) ?? [];
    const mapName = vexMap?.slice(2) ?? map ?? '';
    const inMap0F = vexMap !== undefined || /(?:^| )0F /.test(all);
    this.row = rowOf(vexMap !== undefined, mapName === '38' ? 2 : mapName === '3A' ? 3 : inMap0F ? 1 : 0);
    this.opcode = opcode === '' ? -1 : Number.parseInt(opcode, 16);
    this.opcodes = range === '+r' ? 8 : range === '+cc' ? 16 : 1;
  }
  /** @throws FormError for a wrong form string */
  get form(): Form {
    if (this.parsed !== null) return this.parsed;
    const form = parseForm(this.definition, this.text);
    if (rowOf(form.vex !== null, form.map) !== this.row || form.opcode !== this.opcode || form.opcodes !== this.opcodes)
      throw new FormError(this.text, `taken for opcode ${this.opcode} of row ${this.row} at a glance`);
    return (this.parsed = form);
  }
}

export function formTexts(definitions: readonly Definition[]): FormText[] {
  return definitions.flatMap((d) => d.forms.map((text) => new FormText(d, text)));
}

/** Whether a form accepts a ModRM byte. */
export function acceptsModrm(form: Form, modrm: number): boolean {
  if (form.fixedModrm !== null) return modrm >= form.fixedModrm && modrm < form.fixedModrm + form.fixedModrms;
  if (form.extension !== null && ((modrm >> 3) & 7) !== form.extension) return false;
  if (form.mod === 'register') return modrm >= 0xc0;
  if (form.mod === 'memory') return modrm < 0xc0;
  return true;
}
