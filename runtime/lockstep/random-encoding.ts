/**
 * Random instructions of a form: any registers, operand sizes, prefixes and immediates, and memory operands that mostly lead
 * into the guest's data, with the moves before them that put their pointers there.
 */

import type { Form } from '../../src/isa/forms.ts';
import { acceptsModrm, sizeSlot } from '../../src/isa/forms.ts';
import type { Random } from './random-numbers.ts';

export type Size = 16 | 32 | 64;

/** An instruction, and a place in it that holds the distance from its end to an address. */
export interface Encoding {
  /** Moves that prepare its registers. */
  readonly before: readonly (readonly number[])[];
  readonly bytes: readonly number[];
  readonly relative: { readonly at: number; readonly to: bigint } | null;
}

const little = (value: bigint, bytes: number): number[] =>
  Array.from({ length: bytes }, (_, i) => Number((BigInt.asUintN(64, value) >> BigInt(8 * i)) & 0xffn));

/** `mov register, value`, the register's low `width` bits. */
export function moveImmediate(mode: Size, register: number, width: Size, value: bigint): number[] {
  const rex = mode === 64 ? (width === 64 ? 8 : 0) | (register >> 3) : 0;
  const prefixes = width === 16 ? (mode === 16 ? [] : [0x66]) : width === 32 && mode === 16 ? [0x66] : [];
  return [...prefixes, ...(rex === 0 ? [] : [0x40 | rex]), 0xb8 + (register & 7), ...little(value, width / 8)];
}

const mapBytes = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];
const RSP = 4;

function immediate(random: Random, bytes: number): number[] {
  const made = Array.from({ length: bytes }, () => random(256));
  switch (random(5)) {
    case 0:
      return made.map((_, i) => (i === 0 ? random(40) : 0));
    case 1:
      return made.map((_, i) => (i === 0 ? 256 - 1 - random(16) : 0xff));
    case 2:
      return made.map((_, i) => (i === bytes - 1 ? 0x80 : 0));
    default:
      return made;
  }
}

export class Encoder {
  private readonly mode: Size;
  private readonly random: Random;
  private readonly anyAddress: () => bigint;
  private aligned = false;

  /** `address` gives a random address for an access. */
  constructor(mode: Size, random: Random, address: () => bigint) {
    this.mode = mode;
    this.random = random;
    this.anyAddress = address;
  }
  private address(): bigint {
    const address = this.anyAddress();
    return this.aligned ? address & ~15n : address;
  }

  private chance(percent: number): boolean {
    return this.random(100) < percent;
  }
  private register(): number {
    const n = this.random(this.mode === 64 && this.chance(40) ? 16 : 8);
    return n === RSP && !this.chance(4) ? 0 : n;
  }

  encode(form: Form): Encoding {
    const { mode, random } = this;
    const before: number[][] = [];
    this.aligned = form.operands.some((o) => o.file === 'xmm') && this.chance(90);
    const vex = form.vex !== null;
    const strings = form.operands.some((o) => o.source === 'string-source' || o.source === 'string-destination');
    const natural: Size = mode;
    const fitsNarrow = mode === 64 ? this.fits(32) : mode === 32 ? this.fits(16) : true;
    const otherAddress = this.chance(fitsNarrow ? 15 : 1);
    const addressWidth: Size = !otherAddress ? natural : mode === 64 ? 32 : mode === 32 ? 16 : 32;
    const takesSize = form.prefix === 'any' || form.prefix === 'NFx';
    const shrink = takesSize && !vex && this.chance(25);
    let w = mode === 64 && this.chance(40) ? 1 : 0;
    if (form.w !== null) w = form.w;
    if (vex && typeof form.vex!.w === 'number') w = form.vex!.w;
    if (mode !== 64 && !vex) w = 0;
    const operandSize: Size =
      mode !== 64
        ? (mode === 16) !== shrink
          ? 16
          : 32
        : form.operandSize64 === 'always64' || w === 1
          ? 64
          : shrink
            ? 16
            : form.operandSize64 === 'default64'
              ? 64
              : 32;

    const prefixes: number[] = [];
    if (otherAddress) prefixes.push(0x67);
    if (shrink) prefixes.push(0x66);
    if (this.chance(3)) prefixes.push([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65][random(6)]!);
    if (form.prefix === '66' && !vex) prefixes.push(0x66);
    if ((form.prefix === 'F3' || form.prefix === 'F2') && !vex) prefixes.push(form.prefix === 'F3' ? 0xf3 : 0xf2);
    if (strings) {
      if (form.repeats && this.chance(60)) prefixes.push(this.chance(50) ? 0xf3 : 0xf2);
      for (const register of [6, 7]) before.push(this.move(register, addressWidth, this.address()));
      if (this.chance(80)) before.push(this.move(1, addressWidth, BigInt(random(12))));
    }
    let [r, x, b] = [0, 0, 0];
    let modrm: number[] = [];
    let relative: { at: number; to: bigint } | null = null;
    if (form.fixedModrm !== null) modrm = [form.fixedModrm + random(form.fixedModrms)];
    else if (form.modrm) {
      const segment = form.operands.some((o) => o.file === 'segment');
      const reg = form.extension ?? (segment ? [0, 3, 4, 5][random(4)]! : this.register());
      const memory = form.mod === 'memory' || (form.mod === 'any' && this.chance(45));
      r = reg >> 3;
      if (memory) {
        const made = this.memory(reg & 7, addressWidth, before);
        ({ x, b } = made);
        modrm = made.bytes;
        relative = made.relative;
        if (form.lock && this.chance(20)) prefixes.unshift(0xf0);
        // A bit number reaches far beyond its operand.
        if (/^BT/.test(form.definition.name) && form.extension === null && this.chance(90))
          before.push(this.move(reg, operandSize, BigInt(random(200) - 50)));
      } else {
        const rm = this.register();
        b = rm >> 3;
        modrm = [0xc0 | ((reg & 7) << 3) | (rm & 7)];
      }
      if (!acceptsModrm(form, modrm[0]!)) throw new Error(`encoding: ${form.text} does not accept ModRM ${modrm[0]}`);
    }
    if (form.definition.name === 'MASKMOVDQU') before.push(this.move(7, addressWidth, this.address()));
    if (form.definition.name === 'XLAT' || form.definition.name === 'XLATB')
      before.push(this.move(3, addressWidth, this.address()));
    let opcode = form.opcode;
    if (form.opcodes === 8) {
      const n = this.register();
      opcode += n & 7;
      b = n >> 3;
    } else if (form.opcodes === 16) opcode += random(16);
    const length = vex ? (form.vex!.length ?? random(2)) : 0;
    const tail =
      form.moffs && this.chance(97)
        ? little(this.address(), addressWidth / 8)
        : [
            ...immediate(random, form.immediateBytes[sizeSlot(operandSize, length === 1 ? 256 : 128)]!),
            ...(form.moffs ? immediate(random, addressWidth / 8) : []),
          ];
    let head: number[];
    if (vex) {
      const pp = ['none', '66', 'F3', 'F2'].indexOf(form.prefix);
      const vvvv = form.usesVvvv ? this.register() & (mode === 64 ? 15 : 7) : 0;
      const rxb = mode === 64 ? ((r ^ 1) << 7) | ((x ^ 1) << 6) | ((b ^ 1) << 5) : 0xe0;
      head = [...prefixes, 0xc4, rxb | form.map, (w << 7) | ((~vvvv & 15) << 3) | (length << 2) | pp, opcode];
    } else {
      const rex = mode === 64 ? (w << 3) | (r << 2) | (x << 1) | b : 0;
      const plain = mode === 64 && rex === 0 && this.chance(5) ? [0x40] : [];
      head = [...prefixes, ...(rex === 0 ? plain : [0x40 | rex]), ...mapBytes[form.map]!, opcode];
    }
    if (relative !== null) relative = { at: head.length + relative.at, to: relative.to };
    return { before, bytes: [...head, ...modrm, ...tail], relative };
  }

  private move(register: number, width: Size, value: bigint): number[] {
    return moveImmediate(this.mode, register, width, value);
  }
  private fits(bits: number): boolean {
    return BigInt.asUintN(bits, this.address()) >> 16n === this.address() >> 16n;
  }

  /** ModRM with a memory operand; moves into its registers go to `before`, most of the time. */
  private memory(
    reg: number,
    width: Size,
    before: number[][],
  ): { bytes: number[]; x: number; b: number; relative: { at: number; to: bigint } | null } {
    const { random, mode } = this;
    const to = this.address();
    const prepare = this.chance(95);
    const put = (register: number, value: bigint) => {
      if (prepare) before.push(this.move(register, width, value));
    };
    const byte = random(100) - 50;
    const shape = random(100);
    if (width === 16) {
      if (shape < 10) return { bytes: [(reg << 3) | 6, ...little(to, 2)], x: 0, b: 0, relative: null };
      const rm = [0, 2, 4, 5, 6, 7][random(6)]!;
      const mod = rm === 6 ? 1 : random(3);
      const displacement = mod === 0 ? 0 : byte;
      if (rm === 0 || rm === 2) {
        const index = BigInt(random(20));
        put(rm === 0 ? 6 : 6, index);
        put(rm === 0 ? 3 : 5, to - index - BigInt(displacement));
      } else put([6, 7, 5, 3][rm - 4]!, to - BigInt(displacement));
      return {
        bytes: [(mod << 6) | (reg << 3) | rm, ...little(BigInt(displacement), mod)],
        x: 0,
        b: 0,
        relative: null,
      };
    }
    const signed = BigInt.asIntN(32, to) === to;
    if (shape < 8 && mode === 64) {
      return { bytes: [(reg << 3) | 5, 0, 0, 0, 0], x: 0, b: 0, relative: { at: 1, to } };
    }
    if (shape < 14 && (mode !== 64 || signed)) {
      const absolute = mode === 64 ? [(reg << 3) | 4, 0x25] : [(reg << 3) | 5];
      return { bytes: [...absolute, ...little(to, 4)], x: 0, b: 0, relative: null };
    }
    const base = this.register();
    const wide = this.chance(15);
    const displacement = wide ? random(4000) - 2000 : this.chance(40) ? 0 : byte;
    const mod = wide ? 2 : displacement === 0 && (base & 7) !== 5 ? 0 : 1;
    const tail = little(BigInt(displacement), mod === 2 ? 4 : mod);
    if (shape < 45) {
      const index = this.register();
      const scale = random(4);
      if (index !== base && index !== RSP) {
        const value = BigInt(random(20) - 4);
        put(index, value);
        put(base, to - BigInt(displacement) - (value << BigInt(scale)));
      }
      const sib = (scale << 6) | ((index & 7) << 3) | (base & 7);
      return {
        bytes: [(mod << 6) | (reg << 3) | 4, sib, ...tail],
        x: index >> 3,
        b: base >> 3,
        relative: null,
      };
    }
    if (base !== RSP) put(base, to - BigInt(displacement));
    const sib = (base & 7) === 4 ? [0x24] : [];
    return {
      bytes: [(mod << 6) | (reg << 3) | (base & 7), ...sib, ...tail],
      x: 0,
      b: base >> 3,
      relative: null,
    };
  }
}
