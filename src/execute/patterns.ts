/**
 * Instructions that differ only in their registers, their displacement or their immediate have records that differ only
 * there: a pattern holds the records of one of them, and where these things stand in them. What a guest executes are a few
 * thousand patterns (quick-blocks.ts); those that most guests have come with the build (known-patterns.ts).
 *
 * A pattern is one of instructions whose registers are equal where its own are, and serves none with a register that it
 * uses by itself (CL of a shift). Numbers that recording may make something else of (a displacement of 0; immediates that
 * are 0, -1 or a mask of low bits) are not left open. So an instruction has the very records that it would have if it were
 * encoded by itself.
 *
 * This is done for every instruction of every block, most often while the host's code is cold: the instruction's key, three
 * words, is made in one pass over its bytes, and records are put where they are wanted.
 */
import type { Decode } from '../isa/decode.ts';
import type { Context } from './context.ts';
import { fact, type InstructionLayout, immediateMask, noOpcode, unknown } from './instruction-layout.ts';
import type { KnownTable } from './known-patterns.ts';
import { type InstructionEncoder, PatternLearner, registers, signed32 } from './pattern-learner.ts';
import { entry, entryWords, fieldWord, numberWord, open, PatternTable, shape } from './pattern-table.ts';
import { classOf } from './places.ts';

/**
 * Where patterns hold: in every context with the same code and stack, at every kind of place (places.ts) or at one; in one
 * mode (quick-blocks.ts), at every kind of place or at one. At one means: where such an instruction leads to such a kind of
 * place, which are four bits. The last one is below the others.
 */
const everyMode = 1 << 28;
const everyContext = everyMode + 16;
const everyPlace = 1 << 29;

/** Instead of a pattern: the instruction has to be encoded by itself. */
export const noPattern = -1;
/** The block cannot be made here. */
export const notHere = -2;
/** The instruction goes on in the next page. */
export const goesOn = -3;

const RSP = 4;
const RBP = 5;
/** Bits of a key that stand for the prefix LOCK and for segments. */
const lock = 4;
const segments = 24 | (7 << 27);
/** By prefix: the bit or number that stands for it in a key, and the bits that exclude it. */
const prefixes = new Int32Array(256);
const excludes = new Int32Array(256);
for (const [prefix, bits, without] of [
  [0x66, 1, 3],
  [0xf3, 2, 3],
  [0xf2, 3, 3],
  [0xf0, lock, lock],
  [0x64, 8, segments],
  [0x65, 16, segments],
  [0x26, 1 << 27, segments],
  [0x2e, 2 << 27, segments],
  [0x36, 3 << 27, segments],
  [0x3e, 4 << 27, segments],
] as const) {
  prefixes[prefix] = bits;
  excludes[prefix] = without;
}

/** How the registers of two and of three places are equal, in a key, and which registers there are. */
const isPair = 1;
const firstIsThird = 2;
const areSame = 3;
const lastAreSame = 4;

export class Patterns {
  /** Its word {@link shape}: of the pattern that was used last. */
  shape = 0;
  /** The pattern that was learned last depends on the kind of place, and on nothing else. */
  learnedByPlace = false;
  readonly table = new PatternTable();
  readonly layout: InstructionLayout;
  private readonly learner: PatternLearner;
  private readonly long: boolean;

  constructor(encoder: InstructionEncoder, decode: Decode, long: boolean) {
    this.learner = new PatternLearner(encoder, decode, long);
    this.layout = this.learner.layout;
    this.long = long;
  }

  /** Takes what is known, before anything was learned. @param numbers of the helpers that it knows by name */
  use(known: KnownTable, numbers: readonly number[]): void {
    const { table, layout } = this;
    table.use(known);
    for (let i = 0; i < known.calls.length; i += 2) table.data[known.calls[i]!] = numbers[known.calls[i + 1]!]!;
    for (let i = 0; i < known.modrms.length; i += 2) layout.modrms[known.modrms[i]!] = known.modrms[i + 1]!;
    for (let i = 0; i < known.facts.length; i += 2) layout.facts[known.facts[i]!] = known.facts[i + 1]!;
  }
  /** What {@link use} takes. */
  known(kind: string): KnownTable {
    const { table, layout } = this;
    return {
      kind,
      ...table.arrays,
      modrms: pairs(layout.modrms),
      facts: pairs(layout.facts),
      calls: Int32Array.from(table.helperNumbers().flatMap((at) => [at, table.data[at]!])),
    };
  }

  /** Forgets everything if it has become too much; only between blocks. */
  trim(): void {
    this.table.trim();
  }

  /**
   * Puts the records of the instruction at `at`, of which `available` bytes may be looked at, into `words` from `to` on.
   * `ip` and `mode` say where it stands (quick-blocks.ts). Gives their number, {@link noPattern}, {@link notHere} or {@link goesOn}.
   */
  put(
    context: Context,
    ip: number,
    bytes: Uint8Array,
    at: number,
    available: number,
    mode: number,
    words: Int32Array,
    to: number,
  ): number {
    const { layout, long } = this;
    const end = at + (available < 15 ? available : 15);
    let p = at;
    let a = 0;
    let rex = 0;
    let opcode = 0;
    for (;;) {
      if (p >= end) return noPattern;
      opcode = bytes[p++]!;
      const prefix = prefixes[opcode]!;
      if (prefix === 0) break;
      if ((a & excludes[opcode]!) !== 0) return noPattern;
      a |= prefix;
    }
    if (long && (opcode & 0xf0) === 0x40) {
      if (p >= end) return noPattern;
      rex = opcode;
      opcode = bytes[p++]!;
      if ((opcode & 0xf0) === 0x40) return noPattern;
    }
    if (noOpcode[opcode] === 1) return noPattern;
    let map = 0;
    if (opcode === 0x0f) {
      if (p >= end) return noPattern;
      map = 1;
      opcode = bytes[p++]!;
      if (opcode === 0x38 || opcode === 0x3a) return noPattern;
    }
    const slot = ((((a & 3) * 2 + ((rex >> 3) & 1)) * 2 + (rex & 1)) * 2 + map) * 256 + opcode;
    let kind = layout.modrms[slot]!;
    if (kind === 0) {
      if (!layout.find(bytes, at, available)) return noPattern;
      kind = layout.modrms[slot]!;
    }
    let modrm = 0;
    if (kind === 2) {
      if (p >= end) return noPattern;
      modrm = bytes[p++]!;
    }
    const place = slot * 16 + (modrm >= 0xc0 ? 8 : 0) + ((modrm >> 3) & 7);
    let facts = layout.facts[place]!;
    if (facts === 0) {
      if (!layout.find(bytes, at, available)) return noPattern;
      facts = layout.facts[place]!;
    }
    if (facts === unknown) return noPattern;

    // Registers that are left open, of up to three places, four bits each; those are 0 in the key.
    let regs = 0;
    let places = 0;
    let sib = 0;
    let displacementBytes = 0;
    let relativeAt = 0;
    let isAbsolute = false;
    let closed = rex;
    const byte = rex === 0;
    if ((facts & fact.opcode) !== 0) {
      const low = opcode & 7;
      if (low !== RSP && low !== RBP && !(byte && low >= 4 && (facts & fact.opcodeByte) !== 0)) {
        regs = low | ((rex & 1) << 3);
        places = 4;
        opcode &= ~7;
        closed &= ~1;
      }
    }
    if (kind === 2) {
      if ((facts & fact.reg) !== 0) {
        const low = (modrm >> 3) & 7;
        if (low !== RSP && low !== RBP && !(byte && low >= 4 && (facts & fact.regByte) !== 0)) {
          regs |= (low | ((rex & 4) << 1)) << places;
          places += 4;
          modrm &= ~0x38;
          closed &= ~4;
        }
      }
      const rm = modrm & 7;
      if (modrm >= 0xc0) {
        if ((facts & fact.rm) !== 0 && rm !== RSP && rm !== RBP && !(byte && rm >= 4 && (facts & fact.rmByte) !== 0)) {
          regs |= (rm | ((rex & 1) << 3)) << places;
          places += 4;
          modrm &= ~7;
          closed &= ~1;
        }
      } else {
        const mod = modrm >> 6;
        displacementBytes = mod === 2 ? 4 : mod;
        if (rm === RSP) {
          if (p >= end) return noPattern;
          sib = bytes[p++]!;
          const index = (sib >> 3) & 7;
          const base = sib & 7;
          const isBare = mod === 0 && base === RBP;
          if (isBare) {
            displacementBytes = 4;
            isAbsolute = index === RSP && (rex & 2) === 0;
          }
          if (index !== RSP && index !== RBP) {
            regs |= (index | ((rex & 2) << 2)) << places;
            places += 4;
            sib &= ~0x38;
            closed &= ~2;
          }
          if (!isBare && base !== RSP && base !== RBP) {
            regs |= (base | ((rex & 1) << 3)) << places;
            places += 4;
            sib &= ~7;
            closed &= ~1;
          }
        } else if (mod === 0 && rm === RBP) {
          if (long) {
            relativeAt = p - at;
            p += 4;
          } else {
            displacementBytes = 4;
            isAbsolute = true;
          }
        } else if (rm !== RBP) {
          regs |= (rm | ((rex & 1) << 3)) << places;
          places += 4;
          modrm &= ~7;
          closed &= ~1;
        }
      }
    }
    const immediateBytes = facts & immediateMask;
    let displacementAt = p;
    p += displacementBytes;
    const immediateAt = p;
    p += immediateBytes;
    // One that must not be locked is undefined, wherever it ends.
    if (p > end) return p - at <= 15 && (a & lock) === 0 ? goesOn : noPattern;
    let b = 0;
    let c = 0;
    let displacement = 0;
    let immediate = 0;
    let immediateHigh = 0;
    if ((facts & fact.moffs) !== 0) {
      displacementAt = immediateAt;
      displacementBytes = 4;
      isAbsolute = true;
    } else if ((facts & fact.relative) !== 0) relativeAt = immediateAt - at;
    else if (immediateBytes !== 0) {
      if (immediateBytes === 1) immediate = (bytes[immediateAt]! << 24) >> 24;
      else if (immediateBytes === 4) immediate = signed32(bytes, immediateAt);
      else if (immediateBytes === 2) immediate = bytes[immediateAt]! | (bytes[immediateAt + 1]! << 8);
      else if (immediateBytes === 8) {
        immediate = signed32(bytes, immediateAt);
        immediateHigh = signed32(bytes, immediateAt + 4);
        if (immediateHigh === immediate >> 31 || (facts & fact.openImmediate) === 0) return noPattern; // 32 bits hold it
        c = 3 << 10;
      } else return noPattern;
      // 0, -1 and masks of low bits are special.
      if (immediateBytes === 8) b = 0;
      else if (
        (facts & fact.openImmediate) === 0 ||
        immediate === -1 ||
        (immediate >= 0 && (immediate & (immediate + 1)) === 0)
      )
        b = immediate;
      else c = immediate < 0 ? 2 << 10 : 1 << 10;
    }
    if (displacementBytes !== 0) {
      displacement = displacementBytes === 1 ? (bytes[displacementAt]! << 24) >> 24 : signed32(bytes, displacementAt);
      if (displacement !== 0) c |= isAbsolute && displacement < 0 ? 2 << 8 : 1 << 8; // 0 is special
    }
    // The same register in two places is one.
    const r0 = regs & 15;
    let used = 0;
    if (places !== 0) {
      used = 1 << r0;
      if (places > 4) {
        const r1 = (regs >> 4) & 15;
        const r2 = regs >> 8;
        used |= 1 << r1;
        if (places > 8) {
          used |= 1 << r2;
          if (r1 === r0) {
            c |= (r2 === r0 ? areSame : isPair) << 12;
            regs = r0 | (r2 << 4);
          } else if (r2 === r0) c |= firstIsThird << 12;
          else if (r2 === r1) c |= lastAreSame << 12;
        } else if (r1 === r0) c |= isPair << 12;
      }
    }
    c |= sib | ((facts & immediateMask) << 15) | ((facts >> 5) << 19);
    a |= ((closed & 15) << 5) | (rex === 0 ? 0 : 1 << 9) | (map << 10) | (opcode << 11) | (modrm << 19);

    let here = ((mode & ~3) << 2) | ((mode & 3) << 2) | (mode & 3);
    let relative = 0;
    if (relativeAt !== 0) {
      const from = at + relativeAt;
      relative =
        (facts & fact.relative) !== 0 && immediateBytes === 1 ? (bytes[from]! << 24) >> 24 : signed32(bytes, from);
      const target = ip + (p - at) + relative;
      const kindThere = classOf(long ? target : target >>> 0, long);
      if (kindThere < 0) return notHere;
      here = (here & ~12) | (kindThere << 2);
    }

    const { table } = this;
    let found = table.find(a, b, c);
    while (found >= 0) {
      const where = table.entries[found + entry.mode]!;
      if (where === everyMode || where === everyContext + (here & 15)) break;
      if (where === here || where === everyPlace + (here >> 4)) break;
      found = (table.entries[found + entry.next]! - 1) * entryWords;
    }
    if (found < 0) found = this.learn(context, ip, bytes, at, available, here, a, b, c);
    const { entries, data } = table;
    const packed = entries[found + entry.shape]!;
    const opens = entries[found + entry.open]!;
    if ((packed & shape.serves) === 0 || (opens & used) !== 0) return noPattern;
    const count = packed & shape.count;
    let from = entries[found + entry.first]!;
    for (let i = 0; i < count; i++) words[to + i] = data[from + i]!;
    from += count;
    for (let n = (opens >> open.placesShift) & 63; n > 0; n--) {
      const half = data[from++]!;
      const offset = registers[(regs >> ((half & 3) * 4)) & 15]!;
      const word = to + (half >> 3);
      const old = words[word]!;
      words[word] = (half & 4) === 0 ? (old & ~0xffff) | offset : (old & 0xffff) | (offset << 16);
    }
    for (let n = (opens >> open.numbersShift) & 31; n > 0; n--) {
      const which = data[from]!;
      const addend = data[from + 1]!;
      from += 2;
      if ((which & numberWord.immediate) !== 0) words[to + (which & numberWord.index)] = immediate + addend;
      else if ((which & numberWord.high) !== 0) words[to + (which & numberWord.index)] = immediateHigh;
      else {
        const sum = displacement + addend;
        // No number becomes 0, or, of an absolute address, one of the other sign.
        if (addend !== 0 && (sum === 0 || (isAbsolute && sum < 0 !== displacement < 0) || sum !== (sum | 0)))
          return noPattern;
        words[to + (which & numberWord.index)] = sum;
      }
    }
    this.shape = packed;
    const sums = opens >>> open.fieldsShift;
    return sums === 0 || this.place(from, sums, ip, relative, words, to) ? count : notHere;
  }

  /** Fills in what depends on the instruction's place. */
  private place(from: number, count: number, ip: number, relative: number, words: Int32Array, to: number): boolean {
    const { long } = this;
    const { data } = this.table;
    for (let n = 0; n < count; n++) {
      const field = data[from + n * 2]!;
      let value = ip + data[from + n * 2 + 1]! + ((field & fieldWord.relative) === 0 ? 0 : relative);
      if (!long) value = value >>> 0;
      if (classOf(value, long) !== field >> fieldWord.kindShift) return false;
      const word = to + (field & fieldWord.index);
      words[word] = value;
      if ((field & fieldWord.wide) !== 0) words[word + 1] = Math.floor(value / 0x1_0000_0000);
    }
    return true;
  }

  private learn(
    context: Context,
    ip: number,
    bytes: Uint8Array,
    at: number,
    available: number,
    here: number,
    a: number,
    b: number,
    c: number,
  ): number {
    const { learner } = this;
    const pattern = learner.learn(context, ip, bytes, at, available);
    const isPlaced = pattern === null || pattern.template.fields !== null;
    let where = isPlaced ? here : everyPlace + (here >> 4);
    if (!learner.isPeculiar) where = isPlaced ? everyContext + (here & 15) : everyMode;
    this.learnedByPlace = isPlaced && !learner.isPeculiar;
    return this.table.add(a, b, c, where, pattern);
  }
}

/** Index and value of what is not 0, by turns. */
function pairs(values: Uint8Array | Int16Array): Int32Array {
  const found: number[] = [];
  for (const [index, value] of values.entries()) if (value !== 0) found.push(index, value);
  return Int32Array.from(found);
}
