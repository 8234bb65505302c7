/**
 * Where the parts of an instruction stand in its bytes (registers' numbers, displacement, immediate, what counts from its
 * place), found without decoding it: what the decoder says of one instruction holds for all with the same opcode, prefixes
 * and ModRM.reg. Of some it is not known: those with VEX, with an address size other than the code's, and the like.
 *
 * SDM volume 2, chapter 2.
 */
import type { Decode, DecodedInstruction } from '../isa/decode.ts';
import type { Form } from '../isa/forms.ts';

const RSP = 4;
const RBP = 5;
/** Facts of instructions with the same opcode, prefixes, ModRM.reg and kind of operand, as bits; `immediateBytes` below them. */
export const fact = {
  known: 1 << 4,
  /** The immediate is one operand, a number of four bytes, of one or of eight. */
  openImmediate: 1 << 5,
  /** The immediate's bytes count from the next instruction on. */
  relative: 1 << 6,
  /** The immediate is an address. */
  moffs: 1 << 13,
  /** ModRM.reg, ModRM.rm, the opcode's low bits name a general register, of eight bits if `byte` is set, too. */
  reg: 1 << 7,
  regByte: 1 << 8,
  rm: 1 << 9,
  rmByte: 1 << 10,
  opcode: 1 << 11,
  opcodeByte: 1 << 12,
} as const;
export const immediateMask = 15;
/** Instead of facts: there is nothing to know of such instructions. */
export const unknown = -1;

/** Prefixes that name a segment. */
const isSegment = new Uint8Array(256);
for (const byte of [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65]) isSegment[byte] = 1;
/** Prefixes but REX, and bytes that begin with VEX: none of them is an opcode here. */
export const noOpcode = new Uint8Array(256);
for (const byte of [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0xc4, 0xc5]) noOpcode[byte] = 1;

/** A place in an instruction that names a general register: three bits of a byte. */
export interface RegisterField {
  /** The whole number; its fourth bit is this bit of the REX prefix. */
  number: number;
  rexBit: number;
  at: number;
  shift: number;
  /** The number means one of AL to BH. */
  byte: boolean;
}

/** What takes four bytes of immediate in another form takes those of this one as a number, too, and not as a count. */
const takesAnyImmediate = ({ definition }: Form): boolean => definition.forms.some((text) => /\bI(z|bs)\b/.test(text));

const mostFields = 3;

export class InstructionLayout {
  length = 0;
  /** Registers but those that ModRM and SIB treat as special (RSP, RBP, R12, R13), and AH to BH. */
  readonly fields: readonly RegisterField[] = Array.from({ length: mostFields }, () => ({
    number: 0,
    rexBit: 0,
    at: 0,
    shift: 0,
    byte: false,
  }));
  fieldCount = 0;
  /** Where a REX prefix stands, if there is one. */
  rexAt = 0;
  /** Of a displacement that does not count from the instruction's place; 0 bytes = none. */
  displacementAt = 0;
  displacementBytes = 0;
  /** No register is added to it. */
  isAbsolute = false;
  /** Of an immediate that is a number of four bytes, of one or of eight; 0 = none. */
  immediateAt = 0;
  immediateBytes = 0;
  /** As in Insn. */
  relativeAt = 0;
  relativeBytes = 0;

  readonly long: boolean;
  private readonly decode: Decode;
  /** By prefixes and opcode: 1 = has no ModRM byte, 2 = has one, 0 = not known yet. */
  readonly modrms = new Uint8Array(1 << 13);
  /** By these, ModRM.mod = 3 and ModRM.reg: {@link fact}, 0 = not known yet. */
  readonly facts = new Int16Array(1 << 17);

  constructor(decode: Decode, long: boolean) {
    this.decode = decode;
    this.long = long;
  }

  /** Looks at the instruction at `at`, of which `available` bytes may be read. False if its layout is not known. */
  find(bytes: Uint8Array, at: number, available: number): boolean {
    const { long } = this;
    const end = at + Math.min(available, 15);
    let p = at;
    let prefix = 0;
    let rex = 0;
    let opcode = 0;
    for (;;) {
      if (p >= end) return false;
      opcode = bytes[p++]!;
      if (opcode === 0x66 || opcode === 0xf2 || opcode === 0xf3) {
        if (prefix !== 0) return false;
        prefix = opcode === 0x66 ? 1 : opcode === 0xf3 ? 2 : 3;
      } else if (opcode !== 0xf0 && !isSegment[opcode]) break;
    }
    if (long && (opcode & 0xf0) === 0x40) {
      if (p >= end) return false;
      rex = opcode;
      this.rexAt = p - 1 - at;
      opcode = bytes[p++]!;
      if ((opcode & 0xf0) === 0x40) return false;
    }
    if (noOpcode[opcode] === 1) return false;
    let map = 0;
    if (opcode === 0x0f) {
      if (p >= end) return false;
      map = 1;
      opcode = bytes[p++]!;
      if (opcode === 0x38 || opcode === 0x3a) return false;
    }
    const opcodeAt = p - 1;
    const slot = (((prefix * 2 + ((rex >> 3) & 1)) * 2 + (rex & 1)) * 2 + map) * 256 + opcode;
    if (this.modrms[slot] === 0 && !this.learnModrm(slot, bytes, at, available)) return false;
    const hasModrm = this.modrms[slot] === 2;
    if (hasModrm && p >= end) return false;
    const modrm = hasModrm ? bytes[p++]! : 0;
    const place = slot * 16 + (modrm >= 0xc0 ? 8 : 0) + ((modrm >> 3) & 7);
    let facts = this.facts[place]!;
    if (facts === 0) facts = this.facts[place] = this.learn(bytes, at, available, opcodeAt + 1 - at);
    if (facts === unknown || facts === 0) return false;

    this.fieldCount = 0;
    this.displacementBytes = 0;
    this.relativeAt = 0;
    this.relativeBytes = 0;
    this.isAbsolute = false;
    if ((facts & fact.opcode) !== 0)
      this.add(opcode & 7, rex & 1, opcodeAt - at, 0, rex === 0 && (facts & fact.opcodeByte) !== 0);
    if (hasModrm) {
      const modrmAt = p - 1 - at;
      const rm = modrm & 7;
      if ((facts & fact.reg) !== 0)
        this.add((modrm >> 3) & 7, rex & 4, modrmAt, 3, rex === 0 && (facts & fact.regByte) !== 0);
      if (modrm >= 0xc0) {
        if ((facts & fact.rm) !== 0) this.add(rm, rex & 1, modrmAt, 0, rex === 0 && (facts & fact.rmByte) !== 0);
      } else {
        const mod = modrm >> 6;
        this.displacementBytes = mod === 2 ? 4 : mod;
        if (rm === RSP) {
          if (p >= end) return false;
          const sib = bytes[p++]!;
          const index = ((sib >> 3) & 7) | ((rex & 2) << 2);
          if (index !== RSP) this.add(index & 7, rex & 2, p - 1 - at, 3, false);
          if (mod === 0 && (sib & 7) === RBP) {
            this.displacementBytes = 4;
            this.isAbsolute = index === RSP;
          } else this.add(sib & 7, rex & 1, p - 1 - at, 0, false);
        } else if (mod === 0 && rm === RBP) {
          this.displacementBytes = 4;
          if (long) {
            this.relativeAt = p - at;
            this.relativeBytes = 4;
          } else this.isAbsolute = true;
        } else this.add(rm, rex & 1, modrmAt, 0, false);
        this.displacementAt = p - at;
        p += this.displacementBytes;
        if (this.relativeAt !== 0) this.displacementBytes = 0;
      }
    }
    if ((facts & fact.moffs) !== 0) {
      this.displacementAt = p - at;
      this.displacementBytes = 4;
      this.isAbsolute = true;
    }
    this.immediateAt = (facts & fact.openImmediate) === 0 ? 0 : p - at;
    this.immediateBytes = facts & immediateMask;
    if ((facts & fact.relative) !== 0) {
      this.relativeAt = p - at;
      this.relativeBytes = this.immediateBytes;
    }
    p += this.immediateBytes;
    this.length = p - at;
    return p <= end;
  }

  private add(low: number, rexBit: number, at: number, shift: number, byte: boolean): void {
    if (low === RSP || low === RBP || (byte && low >= 4)) return;
    const field = this.fields[this.fieldCount++]!;
    field.number = rexBit === 0 ? low : low + 8;
    field.rexBit = rexBit;
    field.at = at;
    field.shift = shift;
    field.byte = byte;
  }

  private decoded(bytes: Uint8Array, at: number, available: number): DecodedInstruction | null {
    const decoded = this.decode(bytes, at, available, 0n, this.long ? 64 : 32);
    return decoded.failure === null ? decoded : null;
  }
  private learnModrm(slot: number, bytes: Uint8Array, at: number, available: number): boolean {
    const decoded = this.decoded(bytes, at, available);
    if (decoded !== null) this.modrms[slot] = decoded.form.modrm ? 2 : 1;
    return decoded !== null;
  }
  /** The facts of the instruction at `at` and those that differ from it in ModRM.rm only; 0 = it cannot be decoded. */
  private learn(bytes: Uint8Array, at: number, available: number, behindOpcode: number): number {
    const decoded = this.decoded(bytes, at, available);
    if (decoded === null) return 0;
    const { form, insn } = decoded;
    const { addressWidth, width, length, operands } = insn;
    const isOrdinary =
      form.vex === null &&
      form.fixedModrm === null &&
      form.mod !== 'ignored' &&
      !(form.moffs && this.long) &&
      form.vsib === null;
    if (!isOrdinary || addressWidth !== (this.long ? 64 : 32)) return unknown;
    if (form.modrm && insn.modrm >= 0xc0 && !this.isSame(decoded, bytes, at, behindOpcode)) return unknown;
    const behind = form.operands.filter(({ source }) =>
      /^(immediate|immediate-register|relative|far|moffs)$/.test(source),
    );
    if (behind.length > 1 || behind.some(({ source }) => source === 'far' || source === 'immediate-register'))
      return unknown;
    const bytesBehind = length - (form.modrm ? this.endOfAddress(bytes, at, behindOpcode) : behindOpcode);
    let facts: number = fact.known | bytesBehind;
    if (behind.length === 0 ? bytesBehind !== 0 : bytesBehind === 0) return unknown;
    if (behind[0]?.source === 'relative') facts |= fact.relative;
    else if (form.moffs) facts |= fact.moffs;
    else if (bytesBehind === 4 || bytesBehind === 8 || (bytesBehind === 1 && takesAnyImmediate(form)))
      facts |= fact.openImmediate;
    for (const [i, { source, file }] of form.operands.entries()) {
      const operand = operands[i]!;
      if (file !== 'general' || operand.kind !== 'register') continue;
      const byte = operand.width === 8;
      if (source === 'reg') facts |= fact.reg | (byte ? fact.regByte : 0);
      else if (source === 'rm') facts |= fact.rm | (byte ? fact.rmByte : 0);
      else if (source === 'opcode') facts |= fact.opcode | (byte ? fact.opcodeByte : 0);
    }
    return width === 16 && (facts & fact.relative) !== 0 ? unknown : facts;
  }
  /** Whatever ModRM.rm is, the form is the same: some of registers have a ModRM byte of their own. */
  private isSame({ form }: DecodedInstruction, bytes: Uint8Array, at: number, modrmAt: number): boolean {
    const copy = new Uint8Array(15);
    copy.set(bytes.subarray(at, at + modrmAt + 1));
    for (let rm = 0; rm < 8; rm++) {
      copy[modrmAt] = (copy[modrmAt]! & 0xf8) | rm;
      if (this.decoded(copy, 0, 15)?.form !== form) return false;
    }
    return true;
  }
  /** Where ModRM, SIB and displacement end. */
  private endOfAddress(bytes: Uint8Array, at: number, modrmAt: number): number {
    const modrm = bytes[at + modrmAt]!;
    if (modrm >= 0xc0) return modrmAt + 1;
    const mod = modrm >> 6;
    const hasSib = (modrm & 7) === RSP;
    const isBare = mod === 0 && (hasSib ? (bytes[at + modrmAt + 1]! & 7) === RBP : (modrm & 7) === RBP);
    return modrmAt + (hasSib ? 2 : 1) + (isBare || mod === 2 ? 4 : mod);
  }
}
