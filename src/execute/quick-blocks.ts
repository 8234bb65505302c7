/**
 * Blocks in haste. Most of a guest's code runs only a few times: such a block is put together from the records of its
 * instructions one by one, as they or others of their pattern were encoded before (patterns.ts; templates.ts for those
 * that have none), and not optimised. It does the same to the guest as the optimised one, which takes its place when it
 * has been entered often (engine.ts).
 */
import { Builder } from '../ir/builder.ts';
import { type Decode, type Decoded, type DecodedInstruction, decoderWithout } from '../isa/decode.ts';
import type { BlockEnds } from './block-ends.ts';
import type { Context } from './context.ts';
import { blockHeaderBytes, type EncodedBlock, encodeBlock, type HelperIndex } from './encode.ts';
import { immediatePlaces } from './encode-fusions.ts';
import { maximumInstructions, recordInstruction } from './frontend.ts';
import type { KnownPatterns } from './known-patterns.ts';
import type { InstructionEncoder } from './pattern-learner.ts';
import { shape } from './pattern-table.ts';
import { goesOn, noPattern, notHere, Patterns } from './patterns.ts';
import { classOf, twoTo32, twoTo47 } from './places.ts';
import { kindOf } from './records.ts';
import { type PlacedField, type Template, Templates } from './templates.ts';

const headerWords = blockHeaderBytes >> 2;
const jumpKind = kindOf('jump', ['constant']);
const jumpWords = jumpKind.bytes >> 2;

const signed = (bytes: Uint8Array, at: number, count: number): number =>
  count === 1
    ? (bytes[at]! << 24) >> 24
    : bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);

export class QuickBlocks implements EncodedBlock, InstructionEncoder {
  readonly words = new Int32Array(1 << 14);
  readonly marks = new Int32Array(maximumInstructions);
  length = 0;
  instructions = 0;
  /** Bytes of code of the block that was made last. */
  codeBytes = 0;
  /** Its last instruction is a string instruction that repeats. */
  repeats = false;

  private readonly helper: HelperIndex;
  private readonly ends: BlockEnds;
  readonly templates = new Templates<Template>();
  /** By what contexts must have in common to share them. */
  private readonly patternsOf = new Map<string, Patterns>();
  private patterns: Patterns | null = null;
  private knownPatterns: KnownPatterns | null = null;
  /** Told of instructions that patterns are learned from, by a list of what is common. */
  onLearn: ((context: Context, ip: number, code: Uint8Array) => void) | null = null;
  /** Contexts by what records depend on; contexts that differ only in CS have the same. */
  private readonly modes = new Map<string, number>();
  private readonly modeOf = new WeakMap<Context, number>();
  private context: Context | null = null;
  private mode = 0;
  private decode!: Decode;

  constructor(helper: HelperIndex, ends: BlockEnds) {
    this.helper = helper;
    this.ends = ends;
  }

  /**
   * Puts the block at `ip` together, from the code at `bytes[at]`, of which `available` bytes are in its page. False if
   * this is not the place for it: frontend.ts has to record it.
   */
  make(
    context: Context,
    ip: number,
    bytes: Uint8Array,
    at: number,
    available: number,
    maximum = maximumInstructions,
  ): boolean {
    if (context !== this.context) this.enterContext(context);
    this.templates.trim();
    const { patterns, templates, words, marks } = this;
    patterns?.trim();
    const long = context.codeSize === 64;
    const kind = classOf(ip, long);
    if (kind < 0) return false;
    const mode = this.mode * 4 + kind;
    const limit = context.flat ? twoTo47 : context.csLimit;
    let to = headerWords;
    let here = ip;
    let offset = 0;
    let count = 0;
    let ended = false;
    while (count < maximum && offset < available) {
      let length = 0;
      const records =
        patterns === null
          ? noPattern
          : patterns.put(context, here, bytes, at + offset, available - offset, mode, words, to);
      if (records === notHere || (records === goesOn && count === 0)) return false;
      if (records === goesOn) break; // a block of its own
      marks[count++] = (to * 4) | (offset << 16);
      if (records !== noPattern) {
        const pattern = patterns!.shape;
        length = (pattern >> shape.lengthShift) & 15;
        to += records;
        this.repeats = (pattern & shape.repeats) !== 0;
        ended = (pattern & shape.ends) !== 0;
      } else {
        let template = templates.find(bytes, at + offset, available - offset, mode);
        if (template === null) {
          template = this.learn(context, here, bytes, at + offset, available - offset, mode);
          if (template === null) {
            if (--count === 0) return false;
            break; // it goes on in the next page: a block of its own
          }
        }
        const { first } = template;
        const from = templates.words;
        for (let i = 0; i < template.count; i++) words[to + i] = from[first + i]!;
        if (template.fields !== null && !this.place(template, to, here, long, bytes, at + offset)) return false;
        length = template.length;
        to += template.count;
        this.repeats = template.repeats;
        ended = template.ends;
      }
      if (here + length - 1 > limit || to + jumpWords > words.length) return false;
      offset += length;
      const isLast = ended || this.ends.has(here);
      here += length;
      if (!long && here >= twoTo32) return false;
      if (isLast) break;
    }
    if (!ended) {
      words[to] = jumpKind.id;
      words[to + 1] = 0;
      this.writeWide(to + 2, here);
      to += jumpWords;
    }
    words[0] = count;
    words[1] = 0;
    this.length = to;
    this.instructions = count;
    this.codeBytes = offset;
    return true;
  }

  private enterContext(context: Context): void {
    let mode = this.modeOf.get(context);
    if (mode === undefined) {
      const { id: _id, stable: _stable, csBase: _base, csLimit: _limit, ...rest } = context;
      const key = JSON.stringify(rest);
      mode = this.modes.get(key);
      if (mode === undefined) this.modes.set(key, (mode = this.modes.size));
      this.modeOf.set(context, mode);
    }
    this.mode = mode;
    this.context = context;
    this.decode = decoderWithout(context.lacks);
    // In other code an instruction may be beyond the segment's limit, and be another one for it.
    this.patterns = context.flat && context.codeSize !== 16 ? this.patternsFor(context) : null;
  }
  private patternsFor({ codeSize, stackSize, lacks }: Context): Patterns {
    const key = `${codeSize} ${stackSize} ${lacks.join()}`;
    let patterns = this.patternsOf.get(key);
    if (patterns === undefined) {
      this.patternsOf.set(key, (patterns = new Patterns(this, this.decode, codeSize === 64)));
      const known = this.knownPatterns?.tables.find(({ kind }) => kind === key);
      if (known !== undefined) patterns.use(known, this.knownPatterns!.helperNames.map(this.helper));
    }
    return patterns;
  }

  /** Patterns that are known from the beginning. Nothing was made so far. */
  use(known: KnownPatterns): void {
    if (this.modes.size > 0) throw new Error('quick blocks: known patterns come too late');
    for (const mode of known.modes) this.modes.set(mode, this.modes.size);
    this.knownPatterns = known;
  }
  /** All that were learned. @param helperNames by the helpers' numbers */
  known(helperNames: readonly string[]): KnownPatterns {
    const tables = Array.from(this.patternsOf, ([kind, patterns]) => patterns.known(kind));
    return { modes: [...this.modes.keys()], helperNames, tables };
  }
  /** A pattern was learned since it was asked last that depends on the kind of place, and on nothing else. */
  takeLearnedByPlace(): boolean {
    const { patterns } = this;
    const was = patterns?.learnedByPlace === true;
    if (was) patterns.learnedByPlace = false;
    return was;
  }

  private writeWide(at: number, value: number): void {
    const high = Math.floor(value / twoTo32);
    this.words[at] = value - high * twoTo32;
    this.words[at + 1] = high;
  }

  /** Fills in what depends on the instruction's place. */
  private place(
    { fields, relativeAt, relativeBytes }: Template,
    to: number,
    ip: number,
    long: boolean,
    bytes: Uint8Array,
    at: number,
  ): boolean {
    const relative = relativeBytes === 0 ? 0 : signed(bytes, at + relativeAt, relativeBytes);
    for (const field of fields!) {
      let value = ip + field.addend + (field.relative ? relative : 0);
      if (!long) value = value >>> 0;
      if (classOf(value, long) !== field.kind) return false;
      if (field.wide) this.writeWide(to + field.word, value);
      else this.words[to + field.word] = value;
    }
    return true;
  }

  /** Encodes an instruction that was not seen before, or that has no template; null if it goes on in the next page. */
  private learn(
    context: Context,
    ip: number,
    bytes: Uint8Array,
    at: number,
    available: number,
    mode: number,
  ): Template | null {
    const { templates } = this;
    const decoded = this.decode(bytes, at, available, BigInt(ip), context.codeSize);
    if (decoded.failure === 'truncated') return null;
    if (decoded.failure !== null) return this.encode(context, decoded, ip, null, 0);
    const { length, relativeAt } = decoded.insn;
    if (!context.flat && ip + length - 1 > context.csLimit) return this.encode(context, decoded, ip, null, 0);
    const keyBytes = relativeAt === 0 ? length : relativeAt;
    const known = templates.lookUp(bytes, at, available, mode, keyBytes);
    if (known !== null) {
      templates.announce(bytes, at, available, keyBytes);
      return known;
    }
    const template = this.encode(context, decoded, ip, bytes, at);
    const isPlaced = decoded.insn.isPlaced || relativeAt !== 0;
    if (isPlaced && template.fields === null) return template;
    templates.add(template, bytes, at, mode, keyBytes);
    templates.announce(bytes, at, available, keyBytes);
    return template;
  }

  /** Encodes an instruction; with its bytes given, finds out what depends on its place. */
  private encode(context: Context, decoded: Decoded, ip: number, bytes: Uint8Array | null, at: number): Template {
    const { templates } = this;
    const ends = this.encodeAlone(context, decoded, ip);
    const count = this.encodedWords;
    const first = templates.put(this.encoded!.words, headerWords, headerWords + count);
    if (bytes === null || decoded.failure !== null) {
      const { length } = decoded.failure === null ? decoded.insn : decoded;
      return { length, first, count, fields: null, relativeAt: 0, relativeBytes: 0, tail: null, ends, repeats: false };
    }
    const { insn } = decoded;
    const { length, relativeAt, relativeBytes } = insn;
    const repeats = insn.repeat !== 'none';
    const isPlaced = insn.isPlaced || relativeAt !== 0;
    const behind = relativeAt + relativeBytes;
    return {
      length,
      first,
      count,
      fields: isPlaced ? this.findFields(context, decoded, ip, bytes, at, first, count) : null,
      relativeAt,
      relativeBytes,
      tail: relativeAt === 0 || behind === length ? null : bytes.slice(at + behind, at + length),
      ends,
      repeats,
    };
  }

  template(context: Context, ip: number, bytes: Uint8Array, length: number): Template | null {
    this.onLearn?.(this.context!, ip, bytes.subarray(0, length));
    const decoded = this.decode(bytes, 0, length, BigInt(ip), context.codeSize);
    if (decoded.failure !== null) return null;
    const template = this.encode(context, decoded, ip, bytes, 0);
    return (decoded.insn.isPlaced || template.relativeAt !== 0) && template.fields === null ? null : template;
  }
  records(context: Context, ip: number, bytes: Uint8Array, length: number): EncodedBlock | null {
    const decoded = this.decode(bytes, 0, length, BigInt(ip), context.codeSize);
    if (decoded.failure !== null || decoded.insn.length !== length) return null;
    this.encodeAlone(context, decoded, ip);
    return this.encoded;
  }

  private encoded: EncodedBlock | null = null;
  private encodedWords = 0;
  private encodeAlone(context: Context, decoded: Decoded, ip: number): boolean {
    const b = new Builder(context);
    recordInstruction(b, context, decoded, BigInt(ip), 0);
    this.encoded = encodeBlock(b.nodes, this.helper);
    this.encodedWords = this.encoded.length - headerWords;
    return b.ended;
  }

  /**
   * Which parts of the records change with the instruction's place, and how: found by encoding it for another one, with
   * other bytes in its relative part. Null if they are not plain sums.
   */
  private findFields(
    context: Context,
    decoded: DecodedInstruction,
    ip: number,
    bytes: Uint8Array,
    at: number,
    first: number,
    count: number,
  ): PlacedField[] | null {
    const { length, relativeAt, relativeBytes, width, addressWidth, hasTarget } = decoded.insn;
    const long = context.codeSize === 64;
    // Where a place is cut to 16 bits, or compared with a limit, it is no plain sum.
    if (!context.flat || context.codeSize === 16 || addressWidth !== context.codeSize) return null;
    if (width === 16 && (relativeBytes === 0 || hasTarget)) return null;
    if (relativeBytes !== 0 && relativeBytes !== 1 && relativeBytes !== 4) return null;
    const kind = classOf(ip, long);
    const far = kind < 2 ? 0x12345678 : 0x1234_5678_9abc;
    const other = classOf(ip + far, long) === kind ? ip + far : ip - far;
    if (other < -twoTo47 || classOf(other, long) !== kind) return null;
    const copy = new Uint8Array(length);
    copy.set(bytes.subarray(at, at + length));
    const relative = relativeBytes === 0 ? 0 : signed(bytes, at + relativeAt, relativeBytes);
    const fields = (): PlacedField[] | null => {
      const step = relativeBytes === 0 ? 0 : signed(copy, relativeAt, relativeBytes) - relative;
      const again = this.decode(copy, 0, length, BigInt(other), context.codeSize);
      if (again.failure !== null || again.insn.length !== length) return null;
      this.encodeAlone(context, again, other);
      if (this.encodedWords !== count) return null;
      return this.compare(first, count, immediatePlaces(this.encoded!.words, headerWords, this.encoded!.length), {
        ip,
        other,
        relative,
        step,
        long,
      });
    };
    if (relativeBytes === 0) return fields();
    if (hasTarget) {
      copy[relativeAt]! ^= 0x5a;
      return fields();
    }
    // An operand in memory: whether it is aligned may decide what is recorded. So it is once, and once not.
    const view = new DataView(copy.buffer);
    const offset = (((other + length) % 64) + 64) % 64;
    view.setInt32(relativeAt, ((relative ^ 0x3c00) & ~63) - offset, true);
    const aligned = fields();
    view.setInt32(relativeAt, view.getInt32(relativeAt, true) + 31, true);
    const unaligned = aligned === null ? null : fields();
    return JSON.stringify(aligned) === JSON.stringify(unaligned) ? aligned : null;
  }

  /** The fields by which the records at `first` and those encoded last differ. */
  private compare(
    first: number,
    count: number,
    immediates: readonly number[],
    at: { ip: number; other: number; relative: number; step: number; long: boolean },
  ): PlacedField[] | null {
    const mine = this.templates.words;
    const { words } = this.encoded!;
    const fields: PlacedField[] = [];
    const seen = new Uint8Array(count);
    for (const place of immediates) {
      const wide = (place & 1) !== 0;
      const word = (place >> 1) - headerWords;
      const [low, low2] = [mine[first + word]!, words[headerWords + word]!];
      const [high, high2] = wide ? [mine[first + word + 1]!, words[headerWords + word + 1]!] : [low >> 31, low2 >> 31];
      seen[word] = 1;
      if (wide) seen[word + 1] = 1;
      if (low === low2 && high === high2) continue;
      if (!at.long && wide && (high | high2) !== 0) return null;
      const one = at.long ? high * twoTo32 + (low >>> 0) : low >>> 0;
      const two = at.long ? high2 * twoTo32 + (low2 >>> 0) : low2 >>> 0;
      const moved = at.other - at.ip;
      const difference = at.long ? two - one : (two - one) | 0;
      const relative = difference === (at.long ? moved + at.step : (moved + at.step) | 0);
      if (!relative && difference !== (at.long ? moved : moved | 0)) return null;
      // In a segment with a base, where it leads to is not where it stands.
      const kind = classOf(one, at.long);
      if (kind < 0 || classOf(two, at.long) !== kind) return null;
      fields.push({ word, wide, addend: one - at.ip - (relative ? at.relative : 0), relative, kind });
    }
    for (let i = 0; i < count; i++) if (seen[i] === 0 && mine[first + i] !== words[headerWords + i]) return null;
    return fields;
  }
}
