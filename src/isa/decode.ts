/**
 * The decoder: bytes -> a decoded instruction with the definition that records it, or why there is none.
 *
 * It knows the code segment's size and nothing else of the machine: what depends on CPL, CPUID or protected mode is the
 * business of whoever records (`form.protectedOnly`, `definition.feature`). SDM volume 2, chapter 2.
 */
import { Insn, type MemoryOperand, type Operand } from '../ir/operand.ts';
import { texts } from './all.ts';
import { DecodeTable, slotOf } from './decode-table.ts';
import type { Definition } from './define.ts';
import { type Form, type FormText, legacyByteRegisters, type OperandSpec, sizeSlot, VEX_ROW } from './forms.ts';

export interface DecodedInstruction {
  readonly failure: null;
  readonly insn: Insn;
  readonly definition: Definition;
  readonly form: Form;
}
/**
 * - `undefined`: #UD; `length` = bytes looked at.
 * - `too-long`: more than 15 bytes: #GP(0).
 * - `truncated`: needs more bytes than there are.
 */
export interface DecodeFailure {
  readonly failure: 'undefined' | 'too-long' | 'truncated';
  readonly length: number;
}
export type Decoded = DecodedInstruction | DecodeFailure;

/**
 * Decodes the instruction at `bytes[offset]`, of which `available` bytes from there on may be looked at. `rip` is its
 * instruction pointer.
 */
export type Decode = (bytes: Uint8Array, offset: number, available: number, rip: bigint, mode: 16 | 32 | 64) => Decoded;

export const MAXIMUM_LENGTH = 15;

const tooLong: DecodeFailure = { failure: 'too-long', length: MAXIMUM_LENGTH };
const undefinedAfter: readonly DecodeFailure[] = Array.from({ length: 16 }, (_, length) => ({
  failure: 'undefined',
  length,
}));

const smallNumbers = Array.from({ length: 1024 }, (_, i) => BigInt(i - 512));
/** BigInt(n), without making one for the small numbers that most displacements and immediates are. */
const big = (n: number): bigint => (n >= -512 && n < 512 ? smallNumbers[n + 512]! : BigInt(n));

const PREFIX = {
  none: 0,
  operandSize: 1,
  addressSize: 2,
  lock: 3,
  repne: 4,
  rep: 5,
  segment: 6,
  ignored: 7,
  rex: 8,
} as const;
function prefixTable(long: boolean): Uint8Array {
  const table = new Uint8Array(256);
  table[0x66] = PREFIX.operandSize;
  table[0x67] = PREFIX.addressSize;
  table[0xf0] = PREFIX.lock;
  table[0xf2] = PREFIX.repne;
  table[0xf3] = PREFIX.rep;
  for (const byte of [0x26, 0x2e, 0x36, 0x3e]) table[byte] = long ? PREFIX.ignored : PREFIX.segment;
  table[0x64] = table[0x65] = PREFIX.segment;
  if (long) table.fill(PREFIX.rex, 0x40, 0x50);
  return table;
}
const longPrefixes = prefixTable(true);
const shortPrefixes = prefixTable(false);
const overrideOf = (byte: number): number => (byte >= 0x64 ? byte - 0x60 : (byte - 0x26) >> 3);

const SS = 2,
  DS = 3,
  ES = 0,
  RSP = 4,
  RBP = 5,
  RSI = 6,
  RDI = 7;
/** 16-bit addressing: base and index by ModRM.rm. */
const base16 = [3, 3, RBP, RBP, RSI, RDI, RBP, 3];
const index16 = [RSI, RDI, RSI, RDI, -1, -1, -1, -1];

const absent = undefined as unknown as Operand;

function signed32(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}
const signed8 = (bytes: Uint8Array, at: number): number => (bytes[at]! << 24) >> 24;
const signed16 = (bytes: Uint8Array, at: number): number => ((bytes[at]! | (bytes[at + 1]! << 8)) << 16) >> 16;
const unsigned64 = (bytes: Uint8Array, at: number): bigint =>
  (BigInt(signed32(bytes, at + 4) >>> 0) << 32n) | BigInt(signed32(bytes, at) >>> 0);

function immediate(bytes: Uint8Array, at: number, length: number, signed: boolean): bigint {
  switch (length) {
    case 1:
      return big(signed ? signed8(bytes, at) : bytes[at]!);
    case 2:
      return big(signed ? signed16(bytes, at) : signed16(bytes, at) & 0xffff);
    case 4:
      return big(signed ? signed32(bytes, at) : signed32(bytes, at) >>> 0);
    default:
      return BigInt.asIntN(64, unsigned64(bytes, at));
  }
}

/** A decoder for a list of forms; `decode` is the one for all of them. */
export function createDecoder(forms: () => readonly FormText[]): Decode {
  let longTable: DecodeTable | null = null;
  let shortTable: DecodeTable | null = null;

  return (bytes, offset, available, rip, mode) => {
    const long = mode === 64;
    const table = long
      ? (longTable ??= new DecodeTable(forms(), true))
      : (shortTable ??= new DecodeTable(forms(), false));
    const prefixes = long ? longPrefixes : shortPrefixes;
    const end = offset + (available < MAXIMUM_LENGTH ? available : MAXIMUM_LENGTH);
    const outOfBytes = (): DecodeFailure =>
      available < MAXIMUM_LENGTH ? { failure: 'truncated', length: available } : tooLong;
    let at = offset;

    // Prefixes.
    let operandPrefix = false,
      addressPrefix = false,
      lock = false;
    let repeat = 0;
    let override = -1;
    let rex = 0;
    let opcode: number;
    for (;;) {
      if (at >= end) return outOfBytes();
      opcode = bytes[at++]!;
      const prefix = prefixes[opcode]!;
      if (prefix === PREFIX.none) break;
      if (prefix === PREFIX.rex) {
        rex = opcode;
        continue;
      }
      rex = 0; // only the one directly before the opcode counts
      switch (prefix) {
        case PREFIX.operandSize:
          operandPrefix = true;
          break;
        case PREFIX.addressSize:
          addressPrefix = true;
          break;
        case PREFIX.lock:
          lock = true;
          break;
        case PREFIX.repne:
          repeat = 3;
          break;
        case PREFIX.rep:
          repeat = 2;
          break;
        case PREFIX.segment:
          override = overrideOf(opcode);
          break;
      }
    }

    // Opcode map, VEX.
    let row = 0;
    let rexW = (rex >> 3) & 1,
      rexR = (rex << 1) & 8,
      rexX = (rex << 2) & 8,
      rexB = (rex << 3) & 8;
    let vectorLength: 128 | 256 = 128;
    let vvvv = 0;
    let slot: number;
    const vexByte = opcode === 0xc5 || opcode === 0xc4;
    if (vexByte && !long && at >= end) return outOfBytes();
    if (vexByte && (long || bytes[at]! >= 0xc0)) {
      let pp: number;
      if (opcode === 0xc5) {
        if (at >= end) return outOfBytes();
        const second = bytes[at++]!;
        row = VEX_ROW + 1;
        rexR = (~second >> 4) & 8;
        vvvv = (~second >> 3) & 15;
        if ((second & 4) !== 0) vectorLength = 256;
        pp = second & 3;
      } else {
        if (at + 2 > end) return outOfBytes();
        const second = bytes[at++]!,
          third = bytes[at++]!;
        const map = second & 31;
        if (map < 1 || map > 3) return undefinedAfter[at - offset]!;
        row = VEX_ROW + map;
        rexR = (~second >> 4) & 8;
        rexX = (~second >> 3) & 8;
        rexB = (~second >> 2) & 8;
        rexW = third >> 7;
        vvvv = (~third >> 3) & 15;
        if ((third & 4) !== 0) vectorLength = 256;
        pp = third & 3;
      }
      if (!long) {
        rexR = rexX = rexB = 0; // vvvv keeps its top bit: an unused vvvv is all ones here, too
      }
      if (operandPrefix || repeat !== 0 || lock || rex !== 0) return undefinedAfter[at - offset]!;
      if (at >= end) return outOfBytes();
      opcode = bytes[at++]!;
      slot = slotOf(row, opcode, pp, rexW, vectorLength === 256 ? 1 : 0);
    } else {
      if (opcode === 0x0f) {
        if (at >= end) return outOfBytes();
        opcode = bytes[at++]!;
        row = 1;
        if (opcode === 0x38 || opcode === 0x3a) {
          if (at >= end) return outOfBytes();
          row = opcode === 0x38 ? 2 : 3;
          opcode = bytes[at++]!;
        }
      }
      slot = slotOf(row, opcode, repeat !== 0 ? repeat : operandPrefix ? 1 : 0, rexW, rexB >> 3);
    }

    // Form, ModRM.
    const selection = table.selections[slot] ?? table.select(slot);
    if (selection.kind === 'none') {
      const peeked = vexByte && row === 0 ? 1 : 0; // at the byte that tells LES and LDS from VEX
      return undefinedAfter[at - offset + peeked]!;
    }
    let form: Form;
    let modrm = 0xc0;
    if (selection.kind === 'form') {
      form = selection.form;
      if (form.modrm) {
        if (at >= end) return outOfBytes();
        modrm = bytes[at++]!;
      }
    } else {
      if (at >= end) return outOfBytes();
      modrm = bytes[at++]!;
      const selected = selection.forms[modrm]!;
      if (selected === null) return undefinedAfter[at - offset]!;
      form = selected;
    }
    const isMemory = modrm < 0xc0 && form.mod !== 'ignored';

    // Sizes. A mandatory 66 is no operand size.
    const shrink = operandPrefix && form.prefix !== '66';
    let operandSize: 16 | 32 | 64;
    if (!long) operandSize = (mode === 16) !== shrink ? 16 : 32;
    else if (form.operandSize64 === 'always64' || rexW === 1) operandSize = 64;
    else if (shrink) operandSize = 16;
    else operandSize = form.operandSize64 === 'default64' ? 64 : 32;
    let addressWidth: 16 | 32 | 64;
    if (long) addressWidth = addressPrefix ? 32 : 64;
    else addressWidth = (mode === 16) !== addressPrefix ? 16 : 32;
    const size = sizeSlot(operandSize, vectorLength);

    // The address of a memory operand.
    let base = -1,
      index = -1,
      scale = 0,
      displacement = 0;
    let segment = DS;
    let ripRelative = false;
    if (form.vsib !== null && (addressWidth === 16 || (modrm & 7) !== 4)) return undefinedAfter[at - offset]!;
    if (isMemory) {
      const mod = modrm >> 6,
        rm = modrm & 7;
      let displacementBytes: number;
      if (addressWidth === 16) {
        displacementBytes = mod;
        if (mod === 0 && rm === 6) displacementBytes = 2;
        else {
          base = base16[rm]!;
          index = index16[rm]!;
        }
      } else {
        displacementBytes = mod === 2 ? 4 : mod;
        if (rm === 4) {
          if (at >= end) return outOfBytes();
          const sib = bytes[at++]!;
          scale = sib >> 6;
          index = ((sib >> 3) & 7) | rexX;
          if (index === RSP && form.vsib === null) {
            index = -1;
            scale = 0;
          }
          if ((sib & 7) === 5 && mod === 0) displacementBytes = 4;
          else base = (sib & 7) | rexB;
        } else if (rm === 5 && mod === 0) {
          displacementBytes = 4;
          ripRelative = long;
        } else base = rm | rexB;
      }
      if (base === RSP || base === RBP) segment = SS;
      if (at + displacementBytes > end) return outOfBytes();
      if (displacementBytes === 1) displacement = signed8(bytes, at);
      else if (displacementBytes === 2) displacement = signed16(bytes, at);
      else if (displacementBytes === 4) displacement = signed32(bytes, at);
      at += displacementBytes;
    }
    if (override >= 0) segment = override;

    const addressBytes = form.moffs ? addressWidth >> 3 : 0;
    const length = at - offset + form.immediateBytes[size]! + addressBytes;
    if (length > MAXIMUM_LENGTH) return tooLong;
    if (length > available) return { failure: 'truncated', length: available };
    if (lock && !(form.lock && isMemory)) return undefinedAfter[length]!;
    if (form.vex !== null && !form.usesVvvv && vvvv !== 0) return undefinedAfter[length]!;

    let distance = 0n;
    let targetBits = 0;
    const isPlaced = isMemory && ripRelative;
    let relativeAt = isPlaced ? at - 4 - offset : 0;
    let relativeBytes = isPlaced ? 4 : 0;
    const specs = form.operands;
    const operands: Operand[] = [];
    for (let i = 0; i < specs.length; i++) {
      const spec: OperandSpec = specs[i]!;
      const width = spec.widths[size]!;
      switch (spec.source) {
        case 'rm':
          if (!isMemory) {
            const number = (modrm & 7) | rexB;
            if (width === 8 && rex === 0 && form.vex === null && spec.file === 'general')
              operands.push(legacyByteRegisters[number]!);
            else operands.push(spec.registers[size]![number]!);
          } else {
            let where: bigint;
            if (ripRelative) where = BigInt.asUintN(addressWidth, rip + big(length) + big(displacement));
            else where = big(displacement);
            operands.push({
              kind: 'memory',
              segment,
              base,
              index,
              ...(form.vsib === null ? {} : { vectorIndex: form.vsib === 'xmm' ? 128 : vectorLength }),
              scale,
              displacement: where,
              addressWidth,
              width: spec.tablePointer && long ? 80 : width,
            } satisfies MemoryOperand);
          }
          break;
        case 'reg': {
          const number = (modrm >> 3) & 7;
          if (spec.file === 'segment') {
            if (number > 5) return undefinedAfter[length]!;
            operands.push(spec.registers[size]![number]!);
          } else if (width === 8 && rex === 0 && form.vex === null && spec.file === 'general')
            operands.push(legacyByteRegisters[number]!);
          else if (spec.file === 'debug' && rexR !== 0) return undefinedAfter[length]!;
          else operands.push(spec.registers[size]![number | rexR]!);
          break;
        }
        case 'vvvv':
          operands.push(spec.registers[size]![long ? vvvv : vvvv & 7]!);
          break;
        case 'opcode': {
          const number = (opcode & 7) | rexB;
          operands.push(width === 8 && rex === 0 ? legacyByteRegisters[number]! : spec.registers[size]![number]!);
          break;
        }
        case 'immediate':
          operands.push({
            kind: 'immediate',
            value: immediate(bytes, at, spec.bytes[size]!, spec.signed),
            width: width as 8 | 16 | 32 | 64,
          });
          at += spec.bytes[size]!;
          break;
        case 'immediate-register':
          operands.push(spec.registers[size]![(bytes[at++]! >> 4) & (long ? 15 : 7)]!);
          break;
        case 'relative': {
          const count = spec.bytes[size]!;
          distance = immediate(bytes, at, count, true);
          targetBits = operandSize;
          relativeAt = at - offset;
          relativeBytes = count;
          at += count;
          break;
        }
        case 'far': {
          const count = width >> 3;
          operands.push({
            kind: 'far',
            width: width as 16 | 32,
            offset: immediate(bytes, at, count, false),
            selector: signed16(bytes, at + count) & 0xffff,
          });
          at += count + 2;
          break;
        }
        case 'moffs':
          operands.push({
            kind: 'memory',
            segment,
            base: -1,
            index: -1,
            scale: 0,
            addressWidth,
            width,
            displacement: addressWidth === 64 ? unsigned64(bytes, at) : immediate(bytes, at, addressBytes, false),
          });
          at += addressBytes;
          break;
        case 'string-source':
          operands.push({
            kind: 'memory',
            segment,
            base: RSI,
            index: -1,
            scale: 0,
            displacement: 0n,
            addressWidth,
            width,
          });
          break;
        case 'string-destination':
          operands.push({
            kind: 'memory',
            segment: ES,
            base: RDI,
            index: -1,
            scale: 0,
            displacement: 0n,
            addressWidth,
            width,
          });
          break;
        case 'st':
          operands.push(spec.registers[size]![modrm & 7]!);
          break;
        case 'fixed':
          operands.push(spec.fixed[size]!);
          break;
      }
    }

    const insn = new Insn({
      rip,
      isPlaced,
      relativeAt,
      relativeBytes,
      distance,
      targetBits,
      length,
      width: form.widths[size]!,
      addressWidth,
      operands,
      dst: operands.length > 0 ? operands[0]! : absent,
      src: operands.length > 1 ? operands[1]! : absent,
      cc: form.opcodes === 16 ? opcode & 15 : 0,
      repeat: form.repeats && repeat !== 0 ? (repeat === 2 ? 'rep' : 'repne') : 'none',
      lock,
      segment: override >= 0 ? override : DS,
      mode,
      rexW: long && rexW === 1,
      vex: form.vex !== null,
      vectorLength,
      opcode: form.opcodePrefix | (form.fixedModrm === null ? opcode : modrm),
      modrm,
    });
    return { failure: null, insn, definition: form.definition, form };
  };
}

/** The decoder of every instruction that is defined. */
export const decode: Decode = createDecoder(texts);

const decoders = new Map<string, Decode>([['', decode]]);
/**
 * The decoder of a processor without certain features: their forms are not there, so that a prefix that would select one is
 * ignored (LZCNT is BSR), or the bytes are no instruction.
 */
export function decoderWithout(lacks: readonly string[]): Decode {
  if (lacks.length === 0) return decode;
  const key = lacks.join();
  let made = decoders.get(key);
  if (made === undefined) {
    made = createDecoder(() => texts().filter(({ definition }) => !lacks.includes(definition.feature)));
    decoders.set(key, made);
  }
  return made;
}
