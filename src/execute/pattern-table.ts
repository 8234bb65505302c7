/**
 * Where patterns stand (patterns.ts): numbers only, so that a build can write them into a file, and a machine that is just
 * beginning can take them as they are.
 */
import type { Pattern } from './pattern-learner.ts';
import { kindAt } from './records.ts';

/** Words of an entry: what it is found by, and what there is. */
export const entryWords = 8;
/** Words of an entry. Several with the same key, for other modes, are linked by `next`: number of an entry + 1, 0 = none. */
export const entry = { a: 0, b: 1, c: 2, mode: 3, next: 4, first: 5, shape: 6, open: 7 } as const;
/** The entry's word `shape`; the records' number of words stands in its low bits. */
export const shape = {
  count: 0xfff,
  lengthShift: 12,
  relativeAtShift: 16,
  relativeBytesShift: 20,
  ends: 1 << 23,
  repeats: 1 << 24,
  serves: 1 << 25,
} as const;
/**
 * The entry's word `open`: registers that the pattern uses by itself, as bits, and how many places of registers, of numbers
 * and of sums with the instruction pointer follow the records; the latter two have two words each.
 */
export const open = { own: 0xffff, placesShift: 16, numbersShift: 22, fieldsShift: 27, most: 31 } as const;
/** First word of a number: index of the word, and whether it is the immediate, or the upper half of one of eight bytes. */
export const numberWord = { index: 0xffff, immediate: 1 << 16, high: 1 << 17 } as const;
/** First word of a sum: index of the (low) word, and the properties of a PlacedField (templates.ts). */
export const fieldWord = { index: 0xffff, wide: 1 << 16, relative: 1 << 17, kindShift: 18 } as const;

/** So many entries, then all are forgotten. */
const capacity = 1 << 16;

/** The arrays of a table, as they stand in a file. */
export interface TableArrays {
  readonly slots: Int32Array;
  readonly entries: Int32Array;
  readonly data: Int32Array;
}

export class PatternTable {
  /** By hash: number of an entry + 1, or 0. Always a power of two, at most half full. */
  slots = new Int32Array(1 << 11);
  entries = new Int32Array(entryWords << 10);
  /** Records, and behind those of each entry what is open in them. */
  data = new Int32Array(1 << 13);
  private count = 0;
  private used = 0;

  static hash(a: number, b: number, c: number): number {
    const hash = Math.imul(a ^ Math.imul(c, 0x85ebca6b), 0x9e3779b1) ^ Math.imul(b, 0x27d4eb2f);
    return hash ^ (hash >>> 15) ^ (hash >>> 7);
  }

  /** Entries that there are. */
  get size(): number {
    return this.count;
  }

  /** Index in `entries` of the first one with a key, or -1. */
  find(a: number, b: number, c: number): number {
    const { slots, entries } = this;
    const mask = slots.length - 1;
    for (let slot = PatternTable.hash(a, b, c) & mask; ; slot = (slot + 1) & mask) {
      const at = (slots[slot]! - 1) * entryWords;
      if (at < 0) return -1;
      if (entries[at] === a && entries[at + 1] === b && entries[at + 2] === c) return at;
    }
  }

  /** Adds what was learned for a key; null = its instructions have no pattern. Gives its index in `entries`. */
  add(a: number, b: number, c: number, mode: number, pattern: Pattern | null): number {
    if ((this.count + 1) * 2 > this.slots.length) this.growSlots();
    const at = this.count * entryWords;
    if (at === this.entries.length) this.entries = grown(this.entries, at * 2);
    const packed = pattern === null ? null : pack(pattern);
    const size = packed === null ? 0 : packed.words.length;
    if (this.used + size > this.data.length)
      this.data = grown(this.data, Math.max(this.data.length * 2, this.used + size));
    const { entries } = this;
    const first = this.find(a, b, c);
    entries.set([a, b, c, mode, 0, this.used, packed?.shape ?? 0, packed?.open ?? 0], at);
    if (packed !== null) this.data.set(packed.words, this.used);
    this.used += size;
    this.count++;
    if (first < 0) this.enter(this.count);
    else {
      let last = first;
      while (entries[last + entry.next] !== 0) last = (entries[last + entry.next]! - 1) * entryWords;
      entries[last + entry.next] = this.count;
    }
    return at;
  }

  /** Forgets everything if it has become too much. */
  trim(): void {
    if (this.count < capacity) return;
    this.count = 0;
    this.used = 0;
    this.slots.fill(0);
  }

  /** What there is, for a file. */
  get arrays(): TableArrays {
    const { slots, entries, data, count, used } = this;
    return { slots, entries: entries.subarray(0, count * entryWords), data: data.subarray(0, used) };
  }
  /** Takes the copy of a table, in the place of what there is. */
  use({ slots, entries, data }: TableArrays): void {
    this.slots = slots.slice();
    this.entries = grown(entries, entries.length + (entryWords << 10));
    this.data = grown(data, data.length + (1 << 13));
    this.count = entries.length / entryWords;
    this.used = data.length;
  }

  /** Which words of `data` are numbers of helpers. */
  helperNumbers(): number[] {
    const { data, entries } = this;
    const found: number[] = [];
    for (let n = 0; n < this.count; n++) {
      const first = entries[n * entryWords + entry.first]!;
      const end = first + (entries[n * entryWords + entry.shape]! & shape.count);
      for (let at = first; at < end; ) {
        const { parts, bytes } = kindAt(data[at]! & 0xffff);
        for (const { kind, immediates } of parts)
          if (kind.op === 'call' || kind.op === 'call.if') found.push(at + (immediates[0]! >> 2));
        at += bytes >> 2;
      }
    }
    return found;
  }

  private enter(number: number): void {
    const { slots, entries } = this;
    const at = (number - 1) * entryWords;
    const mask = slots.length - 1;
    let slot = PatternTable.hash(entries[at]!, entries[at + 1]!, entries[at + 2]!) & mask;
    while (slots[slot] !== 0) slot = (slot + 1) & mask;
    slots[slot] = number;
  }
  private growSlots(): void {
    const before = this.slots;
    this.slots = new Int32Array(before.length * 2);
    for (const number of before) if (number !== 0) this.enter(number);
  }
}

function grown(words: Int32Array, length: number): Int32Array<ArrayBuffer> {
  const more = new Int32Array(length);
  more.set(words);
  return more;
}

/** A pattern as numbers; null if it has more of something than there is room for. */
function pack(pattern: Pattern): { shape: number; open: number; words: readonly number[] } | null {
  const { template, words, places, numbers, own } = pattern;
  const { fields, length, relativeAt, relativeBytes, ends, repeats } = template;
  const sums = fields ?? [];
  const { most } = open;
  if (words.length > shape.count || places.length > most || numbers.length > most || sums.length > most >> 1)
    return null;
  if (sums.some(({ addend }) => addend !== (addend | 0))) return null;
  return {
    shape:
      words.length |
      (length << shape.lengthShift) |
      (relativeAt << shape.relativeAtShift) |
      (relativeBytes << shape.relativeBytesShift) |
      (ends ? shape.ends : 0) |
      (repeats ? shape.repeats : 0) |
      shape.serves,
    open:
      own |
      (places.length << open.placesShift) |
      (numbers.length << open.numbersShift) |
      (sums.length << open.fieldsShift),
    words: [
      ...words,
      ...places,
      ...numbers.flatMap(({ word, part, addend }) => [
        word | (part === 'displacement' ? 0 : part === 'immediate' ? numberWord.immediate : numberWord.high),
        addend,
      ]),
      ...sums.flatMap(({ word, wide, relative, kind, addend }) => [
        word | (wide ? fieldWord.wide : 0) | (relative ? fieldWord.relative : 0) | (kind << fieldWord.kindShift),
        addend,
      ]),
    ],
  };
}
