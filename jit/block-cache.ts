/**
 * The interpreter's blocks that outlive a run, in one file: what a guest executes a few times, its start above all, is
 * then neither decoded nor encoded again. A block is found by execution context and instruction pointer, and taken only if
 * the guest's memory holds the very code bytes that it was made from.
 *
 *   file    "jit86ib" format, u32 length of the rest; 16 bytes hash of all that follows; then in words of 32 bits
 *           u32 bytes of a text, and the text, padded: the identity of what wrote it and the names of the helpers by
 *           their numbers, one to a line; then the blocks
 *   block   context, instruction pointer (low, high), bytes of code, instructions, words of records, kind (1 put together
 *           in haste, 2 a single instruction to be stepped, 4 one that repeats); a mark for each instruction (src/execute/encode.ts), the records, the code, padded
 *
 * All numbers are little endian, and so must be the host's: blocks are copied as they stand.
 */
import type { BlockKind, KnownBlock, KnownBlocks } from '../src/execute/block-maker.ts';
import type { EncodedBlock } from '../src/execute/encode.ts';
import { hashBytes, sameBytes } from './hash.ts';

const magic = new TextEncoder().encode('jit86ib\x01');
const hashAt = 12;
const textAt = hashAt + 16;
const headWords = 7;
const QUICK = 1;
const SINGLE = 2;
const REPEATS = 4;
const twoTo32 = 2 ** 32;
/** Bytes of blocks that a file may have, and that a run keeps besides. */
const mostBytes = 4 * 2 ** 20;

/** A block as it stands in a file. */
class Stored implements KnownBlock {
  private readonly file: Int32Array;
  private readonly at: number;

  constructor(file: Int32Array, at: number) {
    this.file = file;
    this.at = at;
  }
  get context(): number {
    return this.file[this.at]!;
  }
  get key(): number {
    return this.file[this.at + 2]! * twoTo32 + (this.file[this.at + 1]! >>> 0);
  }
  get instructions(): number {
    return this.file[this.at + 4]!;
  }
  get length(): number {
    return this.file[this.at + 5]!;
  }
  private is(kind: number): boolean {
    return (this.file[this.at + 6]! & kind) !== 0;
  }
  get quick(): boolean {
    return this.is(QUICK);
  }
  get single(): boolean {
    return this.is(SINGLE);
  }
  get repeats(): boolean {
    return this.is(REPEATS);
  }
  get marks(): Int32Array {
    return this.file.subarray(this.at + headWords);
  }
  get words(): Int32Array {
    return this.file.subarray(this.at + headWords + this.instructions);
  }
  get code(): Uint8Array {
    const at = this.at + headWords + this.instructions + this.length;
    return new Uint8Array(this.file.buffer, this.file.byteOffset + at * 4, this.file[this.at + 3]!);
  }
  /** All of it. */
  get all(): Int32Array {
    const words = headWords + this.instructions + this.length + ((this.file[this.at + 3]! + 3) >> 2);
    return this.file.subarray(this.at, this.at + words);
  }
}

const placeOf = (context: number, single: boolean): number => context * 2 + (single ? 1 : 0);

function stored(
  context: number,
  key: number,
  { words, length, instructions, marks }: EncodedBlock,
  code: Uint8Array,
  { quick, single, repeats }: BlockKind,
): Stored {
  const kind = (quick ? QUICK : 0) | (single ? SINGLE : 0) | (repeats ? REPEATS : 0);
  const file = new Int32Array(headWords + instructions + length + ((code.length + 3) >> 2));
  file.set([context, key, Math.floor(key / twoTo32), code.length, instructions, length, kind]);
  file.set(marks.subarray(0, instructions), headWords);
  file.set(words.subarray(0, length), headWords + instructions);
  new Uint8Array(file.buffer).set(code, (headWords + instructions + length) * 4);
  return new Stored(file, 0);
}

export class BlockCache implements KnownBlocks {
  private readonly identity: string;
  /** By context with the kind's SINGLE, and instruction pointer. */
  private readonly blocks = new Map<number, Map<number, Stored>>();
  private bytes = 0;
  /** Something was added since the file was read. */
  changed = false;
  helperNames: readonly string[] = [];

  /** @param identity names the build and whatever else blocks depend on: other files are foreign */
  constructor(identity: string) {
    this.identity = identity;
  }

  /** Takes the blocks of a file. One that is damaged or foreign is left alone. */
  read(file: Uint8Array): void {
    if (file.length < textAt + 4 || file.length % 4 !== 0 || !sameBytes(file.subarray(0, magic.length), magic)) return;
    if (!sameBytes(hashBytes(file.subarray(textAt)), file.subarray(hashAt, textAt))) return;
    const aligned = file.byteOffset % 4 === 0 ? file : file.slice();
    const words = new Int32Array(aligned.buffer, aligned.byteOffset, aligned.length >> 2);
    const textLength = words[textAt >> 2]!;
    const [identity, ...names] = new TextDecoder()
      .decode(file.subarray(textAt + 4, textAt + 4 + textLength))
      .split('\n');
    if (identity !== this.identity) return;
    this.helperNames = names;
    for (let at = (textAt + 4 + textLength + 3) >> 2; at < words.length; ) {
      const block = new Stored(words, at);
      this.put(block);
      at += block.all.length;
    }
  }

  find(context: number, key: number, single: boolean): KnownBlock | null {
    return this.blocks.get(placeOf(context, single))?.get(key) ?? null;
  }
  add(context: number, key: number, encoded: EncodedBlock, code: Uint8Array, kind: BlockKind): void {
    if (this.bytes > mostBytes) return;
    this.put(stored(context, key, encoded, code, kind));
    this.changed = true;
  }
  private put(block: Stored): void {
    const { key } = block;
    const place = placeOf(block.context, block.single);
    let places = this.blocks.get(place);
    if (places === undefined) this.blocks.set(place, (places = new Map()));
    const old = places.get(key);
    if (old !== undefined) this.bytes -= old.all.byteLength;
    places.set(key, block);
    this.bytes += block.all.byteLength;
  }

  /** @param helperNames the helpers that blocks call, by their numbers */
  write(helperNames: readonly string[]): Uint8Array {
    const text = new TextEncoder().encode([this.identity, ...helperNames].join('\n'));
    const first = (textAt + 4 + text.length + 3) >> 2;
    const all = [...this.blocks.values()].flatMap((places) => [...places.values()].map((block) => block.all));
    const words = new Int32Array(all.reduce((sum, block) => sum + block.length, first));
    const file = new Uint8Array(words.buffer);
    file.set(magic);
    words[2] = file.length - hashAt;
    words[textAt >> 2] = text.length;
    file.set(text, textAt + 4);
    let at = first;
    for (const block of all) {
      words.set(block, at);
      at += block.length;
    }
    file.set(hashBytes(file.subarray(textAt)), hashAt);
    return file;
  }
}
