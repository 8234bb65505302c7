/**
 * What instructions look like as interpreter records, by their bytes: most of a guest's code is made of instructions that
 * were seen before, but for what patterns.ts leaves open, so a block can be put together from copies, without decoding
 * (quick-blocks.ts).
 *
 * The bytes are a template's key up to the first that counts from the instruction's place (a branch's distance, a
 * RIP-relative displacement): what follows from such bytes is filled in where the template is used.
 */

/** A part of a template's records that depends on where the instruction stands. */
export interface PlacedField {
  /** Index of its (low) word in the template. */
  readonly word: number;
  /** It has 64 bits; otherwise 32, sign-extended. */
  readonly wide: boolean;
  /** Its value less the instruction pointer, and less the bytes that count from there if `relative`. */
  readonly addend: number;
  readonly relative: boolean;
  /** Values that look alike in records (quick-blocks.ts): this one must be of them. */
  readonly kind: number;
}

export interface Template {
  /** Bytes of the instruction. */
  readonly length: number;
  /** Where its records stand in {@link Templates.words}. */
  readonly first: number;
  readonly count: number;
  readonly fields: readonly PlacedField[] | null;
  /** Offset and number of the bytes that count from the instruction's place; none if 0. */
  readonly relativeAt: number;
  readonly relativeBytes: number;
  /** Bytes behind these, which are part of the key, too. */
  readonly tail: Uint8Array | null;
  readonly ends: boolean;
  readonly repeats: boolean;
}

const lengthBits = 15;
const initialSlots = 1 << 13;
/** So many templates, then all are forgotten. */
const capacity = 1 << 16;
const keyWords = 5;
const indexBits = 17;
const indexMask = (1 << indexBits) - 1;

/** The bytes at `at` as a little-endian word, cut to `count` of them (1 to 4; more is 4, less is none). */
function wordOf(bytes: Uint8Array, at: number, count: number): number {
  switch (count) {
    case 1:
      return bytes[at]!;
    case 2:
      return bytes[at]! | (bytes[at + 1]! << 8);
    case 3:
      return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16);
    default:
      if (count <= 0) return 0;
      return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
  }
}

const byStart = (bytes: Uint8Array, at: number): number =>
  Math.imul(bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16), 0x9e3779b1) >>> (32 - lengthBits);

export class Templates<T extends Template> {
  /** The records of all templates. */
  words = new Int32Array(1 << 14);
  private used = 0;
  /** Which key lengths there are for instructions whose first three bytes have this hash: bit n = n bytes. */
  private readonly lengths = new Uint16Array(1 << lengthBits);
  /** Index of a template + 1, or 0; above it, a part of its key's hash. */
  private slots = new Int32Array(initialSlots);
  private keys = new Int32Array((initialSlots / 2) * keyWords);
  private templates: T[] = [];

  /** The template of the instruction at `at`, of which `available` bytes may be looked at; null = none is known. */
  find(bytes: Uint8Array, at: number, available: number, mode: number): T | null {
    if (available < 3) return null;
    let lengths = this.lengths[byStart(bytes, at)]!;
    while (lengths !== 0) {
      const length = 31 - Math.clz32(lengths & -lengths);
      if (length > available) return null;
      lengths &= lengths - 1;
      const found = this.lookUp(bytes, at, available, mode, length);
      if (found !== null) return found;
    }
    return null;
  }

  /** The same for a key of `length` bytes. */
  lookUp(bytes: Uint8Array, at: number, available: number, mode: number, length: number): T | null {
    const { keys, slots } = this;
    const a = wordOf(bytes, at, length);
    const b = wordOf(bytes, at + 4, length - 4);
    const c = wordOf(bytes, at + 8, length - 8);
    const d = wordOf(bytes, at + 12, length - 12);
    const e = mode * 16 + length;
    const mask = slots.length - 1;
    const hash = Templates.hash(a, b, c, d, e);
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = slots[slot]!;
      if (entry === 0) return null;
      if ((entry ^ hash) >>> indexBits !== 0) continue;
      const index = (entry & indexMask) - 1;
      const key = index * keyWords;
      if (keys[key] === a && keys[key + 1] === b && keys[key + 4] === e && keys[key + 2] === c && keys[key + 3] === d) {
        const template = this.templates[index]!;
        if (template.length <= available && (template.tail === null || hasTail(bytes, at, template))) return template;
      }
    }
  }

  /** An instruction that begins like the one at `at` may be found by a key of `length` bytes. */
  announce(bytes: Uint8Array, at: number, available: number, length: number): void {
    if (available >= 3) this.lengths[byStart(bytes, at)]! |= 1 << length;
  }

  /** Puts records behind those of all templates, where they stay if `add` follows, and says where. */
  put(records: Int32Array, from: number, to: number): number {
    const count = to - from;
    if (this.used + count > this.words.length) {
      const more = new Int32Array(Math.max(this.words.length * 2, this.used + count));
      more.set(this.words);
      this.words = more;
    }
    const { words, used } = this;
    for (let i = 0; i < count; i++) words[used + i] = records[from + i]!;
    return used;
  }

  /** Adds a template whose records were put last; `length` = bytes of its key. */
  add(template: T, bytes: Uint8Array, at: number, mode: number, length: number): void {
    this.used = template.first + template.count;
    const index = this.templates.push(template) - 1;
    if (index * 2 >= this.slots.length) this.grow();
    const key = index * keyWords;
    for (let i = 0; i < 4; i++) this.keys[key + i] = wordOf(bytes, at + 4 * i, length - 4 * i);
    this.keys[key + 4] = mode * 16 + length;
    this.enter(index);
  }

  /** Forgets everything if it has become too much; only between blocks, since templates' records move. */
  trim(): void {
    if (this.templates.length < capacity) return;
    this.templates = [];
    this.used = 0;
    this.slots.fill(0);
    this.lengths.fill(0);
  }

  private static hash(a: number, b: number, c: number, d: number, e: number): number {
    let hash =
      Math.imul(a ^ Math.imul(b, 0x85ebca6b), 0x9e3779b1) ^ Math.imul(c ^ Math.imul(d, 0xc2b2ae35), 0x27d4eb2f);
    hash = Math.imul(hash ^ (hash >>> 15) ^ Math.imul(e, 0x165667b1), 0x2c1b3c6d);
    return hash ^ (hash >>> 14);
  }
  private enter(index: number): void {
    const { keys, slots } = this;
    const key = index * keyWords;
    const mask = slots.length - 1;
    const hash = Templates.hash(keys[key]!, keys[key + 1]!, keys[key + 2]!, keys[key + 3]!, keys[key + 4]!);
    let slot = hash & mask;
    while (slots[slot] !== 0) slot = (slot + 1) & mask;
    slots[slot] = (hash & ~indexMask) | (index + 1);
  }
  private grow(): void {
    this.slots = new Int32Array(this.slots.length * 4);
    const keys = new Int32Array((this.slots.length / 2) * keyWords);
    keys.set(this.keys);
    this.keys = keys;
    for (let i = 0; i + 1 < this.templates.length; i++) this.enter(i);
  }
}

function hasTail(bytes: Uint8Array, at: number, { relativeAt, relativeBytes, tail }: Template): boolean {
  const from = at + relativeAt + relativeBytes;
  for (let i = 0; i < tail!.length; i++) if (bytes[from + i] !== tail![i]) return false;
  return true;
}
