/**
 * Learns patterns of instructions (patterns.ts): records an instruction with registers and numbers that mean nothing
 * special, and again with others, to see where in its records they stand. If the records differ in anything else, the
 * pattern serves nobody.
 */
import type { Decode } from '../isa/decode.ts';
import { offsetOf } from '../state/layout.ts';
import type { Context } from './context.ts';
import { blockHeaderBytes, type EncodedBlock } from './encode.ts';
import { immediatePlaces } from './encode-fusions.ts';
import { InstructionLayout } from './instruction-layout.ts';
import { classOf } from './places.ts';
import { kindAt } from './records.ts';
import type { Template, Templates } from './templates.ts';

const headerWords = blockHeaderBytes >> 2;
const registerNames = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'];
for (let i = 8; i < 16; i++) registerNames.push(`r${i}`);
/** Offsets of the general registers, by number. */
export const registers = registerNames.map((name) => offsetOf(name));

/** What encodes single instructions. */
export interface InstructionEncoder {
  /** Where `template` puts records. */
  readonly templates: Templates<Template>;
  /** Encodes the instruction in `bytes`; null if its records hold in one place only, or it is none. */
  template(context: Context, ip: number, bytes: Uint8Array, length: number): Template | null;
  /** Encodes it for comparison: its records follow the header. Null if it is none. */
  records(context: Context, ip: number, bytes: Uint8Array, length: number): EncodedBlock | null;
}

/** A number in a pattern's records: the displacement or the immediate, and something added to it. */
export interface PlacedNumber {
  readonly word: number;
  readonly part: 'displacement' | 'immediate' | 'high';
  readonly addend: number;
}
/** What instructions that differ only in registers, displacement and immediate have in common. */
export interface Pattern {
  /** One of them, as it was recorded; its records are those of the pattern. */
  readonly template: Template;
  readonly words: Int32Array;
  /** Index of half words that name a register, and which of the instruction's: index * 4 + number of the register. */
  readonly places: readonly number[];
  readonly numbers: readonly PlacedNumber[];
  /** Registers that it uses by itself, as bits. */
  readonly own: number;
}

/** Registers that stand for the first, second and third of an instruction: those of AL to BH, and others. */
const standIns = {
  byte: [
    [3, 2, 1],
    [2, 1, 3],
  ],
  any: [
    [6, 7, 3],
    [7, 3, 6],
  ],
} as const;
/**
 * Numbers that stand for displacements and immediates of a byte and of four, in the first instruction and in the second.
 * Of the addresses one is aligned, and one is not: where that matters an instruction has no pattern.
 */
const displacements8 = [0x35, 0xb4] as const;
const displacements = [0x12345000, 0x21654327] as const;
const immediates8 = [0x56, 0x2b] as const;
const immediates = [0x16345674, 0x2b65432a] as const;
/** Upper halves of those of eight bytes. */
const highs = [0x5a3c_1235, 0x9182_7364] as const;
/**
 * Stand for what counts from the instruction's place: the first that leads to the same kind of place as the instruction's
 * own does, if it has four bytes.
 */
const relatives = [0x1230, 0x7f00_1230, -0x7f00_1230] as const;
const SIGN = 0x8000_0000;

const signed8 = (bytes: Uint8Array, at: number): number => (bytes[at]! << 24) >> 24;
export const signed32 = (bytes: Uint8Array, at: number): number =>
  bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
const signedOf = (bytes: Uint8Array, at: number, count: number): number =>
  count === 1 ? signed8(bytes, at) : signed32(bytes, at);
function write32(bytes: Uint8Array, at: number, value: number): void {
  for (let i = 0; i < 4; i++) bytes[at + i] = value >>> (8 * i);
}

/** A context that notices when something is asked of it that not all with the same code and stack have in common. */
interface Observed {
  readonly context: Context;
  isPeculiar: boolean;
}
function observe(context: Context): Observed {
  const copy = { ...context };
  const observed: Observed = { context: copy, isPeculiar: false };
  for (const name of Object.keys(context) as (keyof Context)[]) {
    if (name === 'codeSize' || name === 'stackSize' || name === 'flat') continue;
    const get = (): unknown => {
      observed.isPeculiar = true;
      return context[name];
    };
    Object.defineProperty(copy, name, { get });
  }
  return observed;
}

export class PatternLearner {
  readonly layout: InstructionLayout;
  /** What the pattern that was learned last depends on is not the same in all contexts with the same code and stack. */
  isPeculiar = false;
  private readonly encoder: InstructionEncoder;
  private readonly observed = new WeakMap<Context, Observed>();
  /** The instruction as the pattern has it, and the second one. */
  private readonly first = new Uint8Array(16);
  private readonly second = new Uint8Array(16);
  /** Registers of the instruction, each once, of the pattern, and of the second one. */
  private count = 0;
  private readonly actual = new Int32Array(3);
  private readonly firstOnes = new Int32Array(3);
  private readonly secondOnes = new Int32Array(3);
  private readonly isByte = new Uint8Array(3);
  private displacement = 0;
  private immediate = 0;

  constructor(encoder: InstructionEncoder, decode: Decode, long: boolean) {
    this.encoder = encoder;
    this.layout = new InstructionLayout(decode, long);
  }

  /** The pattern of the instruction at `at`, recorded for a place; null = it has none that serves. */
  learn(context: Context, ip: number, bytes: Uint8Array, at: number, available: number): Pattern | null {
    this.isPeculiar = true;
    if (!this.layout.find(bytes, at, available)) return null;
    this.normalise(ip, bytes, at);
    let observed = this.observed.get(context);
    if (observed === undefined) this.observed.set(context, (observed = observe(context)));
    observed.isPeculiar = false;
    const pattern = this.compared(observed.context, ip);
    this.isPeculiar = observed.isPeculiar;
    return pattern;
  }

  /** Writes the instruction as the pattern has it. */
  private normalise(ip: number, bytes: Uint8Array, at: number): void {
    const { layout, first, second, actual, isByte } = this;
    const { length, fields, fieldCount, rexAt, displacementAt, isAbsolute } = layout;
    this.displacement = this.openDisplacement(bytes, at);
    this.immediate = this.openImmediate(bytes, at);
    const { displacementBytes, immediateAt } = layout;
    for (let i = 0; i < length; i++) first[i] = second[i] = bytes[at + i]!;
    if (layout.relativeBytes === 4) this.lead(ip);
    this.count = 0;
    for (let i = 0; i < fieldCount; i++) {
      const { number, byte } = fields[i]!;
      const index = this.indexOf(number);
      if (index === this.count) {
        actual[this.count++] = number;
        isByte[index] = 0;
      }
      if (byte) isByte[index] = 1;
    }
    if (this.count !== 0) this.chooseStandIns();
    for (let i = 0; i < fieldCount; i++) {
      const { number, rexBit, at: place, shift } = fields[i]!;
      const index = this.indexOf(number);
      first[place] = (first[place]! & ~(7 << shift)) | (this.firstOnes[index]! << shift);
      second[place] = (second[place]! & ~(7 << shift)) | (this.secondOnes[index]! << shift);
      // R8 to R15 are registers like others, but the prefix stays.
      if (rexBit !== 0) {
        first[rexAt]! &= ~rexBit;
        second[rexAt]! &= ~rexBit;
      }
    }
    if (displacementBytes === 1) {
      first[displacementAt] = displacements8[0];
      second[displacementAt] = displacements8[1];
    } else if (displacementBytes === 4) {
      const sign = isAbsolute && this.displacement < 0 ? SIGN : 0;
      write32(first, displacementAt, displacements[0] | sign);
      write32(second, displacementAt, displacements[1] | (isAbsolute ? sign : SIGN));
    }
    if (immediateAt !== 0) {
      const sign = this.immediate & SIGN;
      if (layout.immediateBytes === 1) {
        first[immediateAt] = immediates8[0] | (sign >>> 24);
        second[immediateAt] = immediates8[1] | (sign >>> 24);
      } else {
        const isWide = layout.immediateBytes === 8;
        write32(first, immediateAt, immediates[0] | (isWide ? 0 : sign));
        write32(second, immediateAt, immediates[1] | (isWide ? 0 : sign));
        if (isWide) write32(first, immediateAt + 4, highs[0]);
        if (isWide) write32(second, immediateAt + 4, highs[1]);
      }
    }
  }
  private lead(ip: number): void {
    const { first, second, layout } = this;
    const { long, length, relativeAt } = layout;
    const kindOf = (relative: number): number => {
      const target = ip + length + relative;
      return classOf(long ? target : target >>> 0, long);
    };
    const own = signed32(first, relativeAt);
    const relative = relatives.find((n) => kindOf(n) === kindOf(own)) ?? own;
    write32(first, relativeAt, relative);
    write32(second, relativeAt, relative);
  }
  /** The displacement; 0, which means something special, is not left open. */
  private openDisplacement(bytes: Uint8Array, at: number): number {
    const { layout } = this;
    const { displacementAt, displacementBytes } = layout;
    if (displacementBytes === 0) return 0;
    const n = signedOf(bytes, at + displacementAt, displacementBytes);
    if (n === 0) layout.displacementBytes = 0;
    return n;
  }
  /** The same for the immediate: 0, -1 and masks of low bits are special. */
  private openImmediate(bytes: Uint8Array, at: number): number {
    const { layout } = this;
    if (layout.immediateAt === 0) return 0;
    const n = signedOf(bytes, at + layout.immediateAt, layout.immediateBytes);
    if (layout.immediateBytes === 8) return n;
    if (n === -1 || (n >= 0 && (n & (n + 1)) === 0)) layout.immediateAt = 0;
    return n;
  }
  private indexOf(register: number): number {
    for (let i = 0; i < this.count; i++) if (this.actual[i] === register) return i;
    return this.count;
  }
  private chooseStandIns(): void {
    let [bytes, others] = [0, 0];
    for (let i = 0; i < this.count; i++) {
      const isByte = this.isByte[i] === 1;
      const from = isByte ? standIns.byte : standIns.any;
      const n = isByte ? bytes++ : others++;
      this.firstOnes[i] = from[0][n]!;
      this.secondOnes[i] = from[1][n]!;
    }
  }

  /** Writes registers and numbers over those of the pattern. */
  private fill(
    words: Int32Array,
    places: readonly number[],
    numbers: readonly PlacedNumber[],
    actual: Int32Array,
    displacement: number,
    immediate: number,
  ): void {
    for (let i = 0; i < places.length; i++) {
      const half = places[i]! >> 2;
      const offset = registers[actual[places[i]! & 3]!]!;
      const at = half >> 1;
      words[at] = (half & 1) === 0 ? (words[at]! & ~0xffff) | offset : (words[at]! & 0xffff) | (offset << 16);
    }
    for (let i = 0; i < numbers.length; i++) {
      const { word, part, addend } = numbers[i]!;
      words[word] = part === 'high' ? highs[1] : (part === 'immediate' ? immediate : displacement) + addend;
    }
  }

  /** Records the pattern's instruction and the second one, and finds what they differ in; null = there is more than that. */
  private compared(context: Context, ip: number): Pattern | null {
    const { encoder, layout, count } = this;
    const template = encoder.template(context, ip, this.first, layout.length);
    if (template === null || template.length !== layout.length) return null;
    const words = encoder.templates.words.slice(template.first, template.first + template.count);
    if (count === 0 && layout.displacementBytes === 0 && layout.immediateAt === 0)
      return { template, words, places: [], numbers: [], own: 0 };
    const second = encoder.records(context, ip, this.second, layout.length);
    if (second === null || second.length - headerWords !== template.count) return null;
    const places: number[] = [];
    let own = 0;
    for (let at = 0; at < template.count; ) {
      const { parts, bytes } = kindAt(words[at]! & 0xffff);
      for (const { destination, operands } of parts) {
        for (const offset of [destination, ...operands]) {
          if (offset < 0) continue;
          const half = at * 2 + (offset >> 1);
          const place = (words[half >> 1]! >>> ((half & 1) * 16)) & 0xffff;
          const register = registers.indexOf(place);
          const index = register < 0 ? -1 : this.firstOnes.subarray(0, count).indexOf(register);
          if (index >= 0) places.push(half * 4 + index);
          else if (register >= 0) own |= 1 << register;
        }
      }
      at += bytes >> 2;
    }
    const numbers: PlacedNumber[] = [];
    for (const place of immediatePlaces(words, 0, words.length)) {
      const word = place >> 1;
      const [one, two] = [words[word]!, second.words[headerWords + word]!];
      if (one === two) continue;
      const displaced = this.difference(layout.displacementAt, layout.displacementBytes, one, two);
      const addend =
        displaced ??
        this.difference(layout.immediateAt, layout.immediateAt === 0 ? 0 : layout.immediateBytes, one, two);
      if (addend === null || (displaced === null && addend !== 0 && layout.immediateBytes !== 1)) return null;
      numbers.push({ word, part: displaced === null ? 'immediate' : 'displacement', addend });
      if (displaced === null && layout.immediateBytes === 8) numbers.push({ word: word + 1, part: 'high', addend: 0 });
    }
    // A register that the pattern uses by itself may be one of those that stand for others: then it says nothing of these.
    for (let i = 0; i < count; i++)
      if (((own >> this.firstOnes[i]!) & 1) !== 0 || ((own >> this.secondOnes[i]!) & 1) !== 0) return null;
    const copy = words.slice();
    const [displacement, immediate] = [layout.displacementAt, layout.immediateAt];
    this.fill(
      copy,
      places,
      numbers,
      this.secondOnes,
      signedOf(this.second, displacement, layout.displacementBytes),
      signedOf(this.second, immediate, layout.immediateBytes),
    );
    for (let i = 0; i < copy.length; i++) if (copy[i] !== second.words[headerWords + i]) return null;
    return { template, words, places, numbers, own };
  }
  /** What has to be added to the number at `at` to have `one` and `two`; null = they differ in something else. */
  private difference(at: number, bytes: number, one: number, two: number): number | null {
    if (bytes === 0) return null;
    const addend = (one - signedOf(this.first, at, bytes)) | 0;
    return ((two - signedOf(this.second, at, bytes)) | 0) === addend ? addend : null;
  }
}
