/*
 * Pseudo-random operands for floating point tests, full of special values: the same seed gives the same sequence
 * everywhere, so that only the results of a recording must be stored.
 */

/** A sequence of 32-bit pseudo-random numbers (a small chaotic generator with a counter). */
export class RandomSource {
  #a: number;
  #b = 0x9e3779b9;
  #c = 0x243f6a88;
  #counter = 1;

  constructor(seed: number) {
    this.#a = seed | 0;
    for (let i = 0; i < 16; i++) this.word();
  }

  /** 32 random bits, unsigned. */
  word(): number {
    const sum = (this.#a + this.#b + this.#counter++) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  /** A number from 0 to limit - 1. */
  below(limit: number): number {
    return Math.floor((this.word() / 0x1_0000_0000) * limit);
  }

  /** 64 random bits. */
  long(): bigint {
    return (BigInt(this.word()) << 32n) | BigInt(this.word());
  }
}

/** A floating point operand: significand (or all bits) and, for 80 bits, sign and exponent. */
export interface Operand {
  readonly m: bigint;
  readonly se: number;
}

/** The kinds of operands a case can ask for. */
export type OperandKind =
  | 'f80'
  | 'unit'
  | 'angle'
  | 'small'
  | 'positive'
  | 'integral'
  | 'f64'
  | 'f32'
  | 'i64'
  | 'i32'
  | 'bcd';

const TOP = 1n << 63n;
const ONES = (1n << 64n) - 1n;

/** 64 bits with many zeros, many ones, or just a few bits more than 24 or 53. */
function significand(random: RandomSource): bigint {
  switch (random.below(9)) {
    case 0:
      return TOP | (1n << BigInt(random.below(64))) | (1n << BigInt(random.below(64)));
    case 1:
      return (ONES << BigInt(random.below(64))) & ONES;
    case 2: {
      const kept = BigInt(64 - [24, 53, 24, 53, 8, 11, 32, 63][random.below(8)]!);
      return ((random.long() >> kept) << kept) | TOP;
    }
    case 3: {
      // at or next to the middle between two numbers of a precision
      const kept = BigInt(64 - [24, 53, 23, 52, 22, 51, 25, 54][random.below(8)]!);
      const middle = ((random.long() >> kept) << kept) | (1n << (kept - 1n)) | TOP;
      return (middle + BigInt(random.below(3) - 1)) & ONES;
    }
    case 4:
      return (
        [TOP, TOP, ONES, TOP | 1n, TOP | (TOP >> 1n), ONES - 1n, ONES << 11n, ONES << 40n][random.below(8)]! & ONES
      );
    default:
      return random.long() | TOP;
  }
}

function exponent80(random: RandomSource, previous: number | undefined): number {
  if (previous !== undefined && random.below(8) < 5) {
    const e = previous & 0x7fff;
    const offset = random.below(140) - 70;
    const near = [e + offset, e + (offset >> 5), 16383 - e + offset, 49150 - e + (offset >> 4), e + 16383 + offset];
    const chosen = [...near, e - 16384 + (offset >> 4)][random.below(6)]!;
    return Math.min(Math.max(chosen, 0), 0x7fff);
  }
  switch (random.below(8)) {
    case 0:
      return [0, 0, 0, 1, 2, 0x7fff, 0x7fff, 0x7ffe][random.below(8)]!;
    case 1:
      return [random.below(0x8000), random.below(0x8000), 0x7ffe - random.below(3), random.below(70)][random.below(4)]!;
    case 2:
      return 16383 + [-1022, -1060, 1023, -126, -140, 127, 63, 31][random.below(8)]! + random.below(9) - 4;
    default:
      return 16383 + random.below(140) - 70;
  }
}

/** An 80-bit operand, special in every eighth case; the exponent often has to do with the previous operand's. */
function f80(random: RandomSource, previous: Operand | undefined): Operand {
  const sign = random.below(2) << 15;
  const special = random.below(64);
  if (special === 0) return { m: 0n, se: sign };
  if (special === 1) return { m: TOP, se: sign | 0x7fff };
  if (special === 2) return { m: 0n, se: sign | 0x3fff };
  if (special === 3) return { m: random.long() >> BigInt(random.below(64)), se: sign };
  const se = sign | exponent80(random, previous?.se);
  const m = significand(random);
  if (random.below(24) === 0) return { m: m & ~TOP, se };
  if ((se & 0x7fff) === 0 && random.below(4) !== 0) return { m: m >> BigInt(1 + random.below(63)), se };
  return { m, se };
}

/** An 80-bit operand with an exponent from `lowest` to `highest` unbiased, every tenth one anything. */
function f80Within(random: RandomSource, lowest: number, highest: number, positive = false): Operand {
  if (random.below(10) === 0) return f80(random, undefined);
  const sign = positive ? 0 : random.below(2) << 15;
  return { m: significand(random), se: sign | (16383 + lowest + random.below(highest - lowest + 1)) };
}

/** A number that is an integer or has few bits after its binary point. */
function integral(random: RandomSource): Operand {
  const operand = f80Within(random, -3, 67);
  const point = 63 - ((operand.se & 0x7fff) - 16383);
  if (point <= 2 || point > 60 || random.below(2) === 0) return operand;
  const lost = BigInt(point - random.below(3));
  return { m: (operand.m >> lost) << lost, se: operand.se };
}

function interchange(random: RandomSource, bits: 32 | 64, previous: bigint | undefined): bigint {
  const fractionBits = bits === 64 ? 52 : 23;
  const maximum = bits === 64 ? 2047 : 255;
  const bias = maximum >> 1;
  const sign = BigInt(random.below(2)) << BigInt(bits - 1);
  let fraction = (significand(random) & (TOP - 1n)) >> BigInt(63 - fractionBits);
  if (random.below(12) === 0) fraction = 0n;
  let exponent: number;
  if (previous !== undefined && random.below(8) < 5) {
    const e = Number(previous >> BigInt(fractionBits)) & maximum;
    const offset = random.below(2 * fractionBits + 10) - fractionBits - 5;
    const near = [e + offset, e + (offset >> 5), bias - e + offset, bias + maximum - e + (offset >> 4)];
    exponent = [...near, e + bias + offset, e - bias + (offset >> 4)][random.below(6)]!;
  } else {
    const choice = random.below(8);
    if (choice === 0) exponent = [0, 0, 0, 1, 2, maximum, maximum, maximum - 1][random.below(8)]!;
    else if (choice === 1) exponent = random.below(maximum + 1);
    else if (choice === 3)
      exponent = random.below(2) === 0 ? maximum - 1 - random.below(3) : random.below(fractionBits + 4);
    else if (choice === 2)
      exponent = bias + [-126, -140, 127, 63, 31, 52, 23, -1][random.below(8)]! + random.below(9) - 4;
    else exponent = bias + random.below(2 * fractionBits + 20) - fractionBits - 10;
  }
  exponent = Math.min(Math.max(exponent, 0), maximum);
  if (exponent === 0 && random.below(4) === 0) fraction >>= BigInt(random.below(fractionBits));
  return sign | (BigInt(exponent) << BigInt(fractionBits)) | fraction;
}

function integer(random: RandomSource, bits: 32 | 64): bigint {
  const value = significand(random) >> BigInt(random.below(64));
  return BigInt.asUintN(bits, random.below(2) === 0 ? value : -value);
}

function bcd(random: RandomSource): Operand {
  let digits = 0n;
  const length = random.below(19);
  for (let i = 0; i < length; i++) digits = (digits << 4n) | BigInt(random.below(10));
  return { m: digits & ONES, se: Number(digits >> 64n) | (random.below(2) << 15) };
}

/** The next operand of a kind; `previous` is the one before it in the same case. */
export function nextOperand(random: RandomSource, kind: OperandKind, previous: Operand | undefined): Operand {
  switch (kind) {
    case 'f80':
      return f80(random, previous);
    case 'unit':
      return f80Within(random, random.below(4) === 0 ? -80 : -8, -1);
    case 'angle':
      return f80Within(random, random.below(4) === 0 ? -80 : -8, random.below(2) === 0 ? 3 : 64);
    case 'small':
      return f80Within(random, random.below(4) === 0 ? -80 : -12, -3);
    case 'positive':
      return f80Within(random, -9, random.below(2) === 0 ? 0 : 70, random.below(8) !== 0);
    case 'integral':
      return integral(random);
    case 'f64':
      return { m: interchange(random, 64, previous?.m), se: 0 };
    case 'f32':
      return { m: interchange(random, 32, previous?.m), se: 0 };
    case 'i64':
      return { m: integer(random, 64), se: 0 };
    case 'i32':
      return { m: integer(random, 32), se: 0 };
    case 'bcd':
      return bcd(random);
  }
}

/** An x87 control word: any rounding and precision control, mostly with every exception masked. */
export function nextControlWord(random: RandomSource): number {
  const precision = [3, 3, 3, 2, 2, 0, 0, 3][random.below(8)]!;
  const masks = random.below(10) < 6 ? 0x3f : random.word() & 0x3f;
  const rounding = random.below(5);
  return 0x40 | masks | (precision << 8) | ((rounding & 3) << 10);
}

/** An MXCSR: any rounding, DAZ and FTZ, mostly with every exception masked. */
export function nextMxcsr(random: RandomSource): number {
  const masks = random.below(10) < 6 ? 0x1f80 : (random.word() & 0x3f) << 7;
  const rounding = random.below(2) === 0 ? 0 : random.below(4);
  const daz = random.below(4) === 0 ? 0x40 : 0;
  const ftz = random.below(4) === 0 ? 0x8000 : 0;
  return masks | (rounding << 13) | daz | ftz;
}
