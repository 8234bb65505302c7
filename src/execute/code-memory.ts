/**
 * The interpreter's blocks: where they stand in the VM's memory, which physical pages they were made from, and what must
 * go when such a page is written. When the memory is full everything is dropped and made again.
 */

import type { PhysicalMemory } from '../mmu/physical-memory.ts';
import { BlockTable, type TableBlock } from './block-table.ts';
import { blockEntriesOffset, blockHeaderBytes, blockNumberOffset, blockPlace, type EncodedBlock } from './encode.ts';
import { InternalError } from './internal-error.ts';
import { kindOf } from './records.ts';

/** The record that may be written over a block's last instruction when its code is overwritten. */
const stopWords = kindOf('stop').bytes >> 2;
/** A header stands in one line of the host's cache: it begins in the first words of one. */
const lineWords = 16;
const lastHeaderStart = lineWords - (blockHeaderBytes >> 2);
/** Most of what stands in a page that is written to so often is never executed again. */
const firstPatience = 8;
/** Blocks at one place that are kept side by side. */
const mostBeside = 4;
const twoTo32 = 1n << 32n;

export interface CodeRange {
  /** Physical address of the first byte, and of the page that the code goes on in (-1 = none). */
  readonly physical: number;
  readonly second: number;
  readonly length: number;
}

export interface InterpreterBlock extends CodeRange, TableBlock<InterpreterBlock> {
  readonly rip: bigint;
  /** Address of its header in the VM's memory. */
  address: number;
  instructions: number;
  /** Index of its marks: a word for each instruction (encode.ts). */
  marks: number;
  /** It was put together in haste (quick-blocks.ts): worth making again when it is entered often. */
  quick: boolean;
  /** It is one string instruction that repeats. */
  readonly repeats: boolean;
  /** False once its code was overwritten or the memory dropped. */
  alive: boolean;
}
/** What is said of a block that is to be made. */
export type BlockOrigin = Omit<InterpreterBlock, 'address' | 'instructions' | 'marks' | 'alive' | 'other' | 'next'>;

/** Anything that was made from code bytes and must be told when they change. */
export interface CodeUser extends CodeRange {
  invalidate(): void;
}

export class CodeMemory {
  private readonly words: Int32Array;
  private readonly base: number;
  private readonly memory: PhysicalMemory;
  /** Bytes of headers and records, from the beginning on, and words of marks, from the end on. */
  private used = 0;
  private marked = 0;
  private readonly blocks = new BlockTable<InterpreterBlock>();
  /** Every block since all were dropped, by the number that stands in its header. */
  private list: InterpreterBlock[] = [];
  /** What was made from a page; there may be blocks among it that are not alive any more. */
  private readonly byPage = new Map<number, CodeRange[]>();
  /** Writes to pages with code, and how many it takes until nothing of their code is kept. */
  private readonly wear = new Map<number, { writes: number; patience: number }>();
  /** Told of every block that goes, and of a drop of all (null). */
  onDrop: (block: InterpreterBlock | null) => void = () => {};

  constructor(buffer: ArrayBufferLike, base: number, size: number, memory: PhysicalMemory) {
    this.words = new Int32Array(buffer, base, size >> 2);
    this.base = base;
    this.memory = memory;
  }

  /** The block that was made at a place last, or preferred; the others follow it. */
  find(context: number, key: number, single: boolean): InterpreterBlock | null {
    return this.blocks.find(context, key, single);
  }
  /** Of the blocks at a place this one is found first from now on. */
  prefer(block: InterpreterBlock): void {
    if (this.blocks.find(block.context, block.key, block.single) === block) return;
    this.blocks.take(block);
    this.blocks.put(block);
  }
  at(address: number): InterpreterBlock | undefined {
    const at = address - this.base;
    const block = at >= 0 && at < this.used ? this.list[this.words[(at + blockNumberOffset) >> 2]!] : undefined;
    return block?.address === address ? block : undefined; // it may be somewhere else by now
  }

  /** Stores an encoded block; earlier ones may be dropped to make room. */
  add(encoded: EncodedBlock, where: BlockOrigin): InterpreterBlock {
    const address = this.write(encoded);
    const block: InterpreterBlock = {
      physical: where.physical,
      second: where.second,
      length: where.length,
      context: where.context,
      rip: where.rip,
      key: where.key,
      single: where.single,
      address,
      instructions: encoded.instructions,
      marks: this.words.length - this.marked,
      quick: where.quick,
      repeats: where.repeats,
      alive: true,
      other: null,
      next: null,
    };
    this.blocks.put(block);
    if (block.other !== null) this.dropBeyond(block.other);
    this.list.push(block);
    this.watch(block);
    return block;
  }

  /** @param second of the blocks at a place */
  private dropBeyond(second: InterpreterBlock): void {
    let last = second;
    let count = 2;
    for (; last.other !== null; last = last.other) count++;
    if (count > mostBeside) this.drop(last);
  }

  /**
   * Puts other records in the place of a block's, of the same instructions: it has another address then. Where everything
   * had to be dropped to make room, it is not alive any more.
   */
  replace(block: InterpreterBlock, encoded: EncodedBlock): void {
    const address = this.write(encoded);
    if (!block.alive) return;
    this.endLinks(block);
    this.list.push(block);
    block.address = address;
    block.instructions = encoded.instructions;
    block.marks = this.words.length - this.marked;
    block.quick = false;
  }

  /** Writes records, with room for a `stop` in place of the last instruction's, and the marks, which are seldom read. */
  private write({ words, length, instructions, marks }: EncodedBlock): number {
    const last = (marks[instructions - 1]! & 0xffff) >> 2;
    const size = (Math.max(length, last + stopWords) + 1) & ~1;
    if (size + instructions > this.words.length)
      throw new InternalError(`code memory: a block of ${size * 4} bytes does not fit in ${this.words.length * 4}`);
    let at = this.used >> 2;
    if (at % lineWords > lastHeaderStart) at += lineWords - (at % lineWords);
    if (at + size + this.marked + instructions > this.words.length) {
      this.dropAll();
      at = 0;
    }
    const to = this.words;
    for (let i = 0; i < length; i++) to[at + i] = words[i]!;
    for (let i = blockPlace.rip >> 2; i < blockHeaderBytes >> 2; i++) to[at + i] = 0;
    to[at + (blockNumberOffset >> 2)] = this.list.length;
    this.used = (at + size) * 4;
    this.marked += instructions;
    const marksAt = to.length - this.marked;
    for (let i = 0; i < instructions; i++) to[marksAt + i] = marks[i]!;
    return this.base + at * 4;
  }

  /** Index of the instruction that a record of the block belongs to. */
  instructionAt(block: InterpreterBlock, record: number): number {
    let index = 0;
    while (index + 1 < block.instructions && this.startOf(block, index + 1) <= record) index++;
    return index;
  }
  /** Address of an instruction's first record. */
  startOf(block: InterpreterBlock, index: number): number {
    return block.address + (this.mark(block, index) & 0xffff);
  }
  /** An instruction's instruction pointer, unsigned. */
  ripOf(block: InterpreterBlock, index: number): bigint {
    const rip = block.rip + BigInt(this.mark(block, index) >>> 16);
    const wraps = block.rip >= 0n && block.rip < twoTo32 && rip >= twoTo32; // 32-bit code
    return BigInt.asUintN(64, wraps ? rip - twoTo32 : rip);
  }
  private mark(block: InterpreterBlock, index: number): number {
    return this.words[block.marks + index]!;
  }

  /**
   * From now on blocks that come before this one lead to it: in this epoch of the jump cache, and in later ones as long as
   * the core module finds that it is fetched from the physical page with the number.
   */
  beginLinks(block: InterpreterBlock, low: number, high: number, epoch: number, physicalNumber: number): void {
    const at = (block.address - this.base) >> 2;
    const { words } = this;
    words[at + (blockPlace.rip >> 2)] = low;
    words[at + (blockPlace.rip >> 2) + 1] = high;
    words[at + (blockPlace.context >> 2)] = block.context;
    words[at + (blockPlace.epoch >> 2)] = epoch;
    words[at + (blockPlace.physical >> 2)] = physicalNumber;
  }
  /** Nothing leads to the block any more. */
  endLinks(block: InterpreterBlock): void {
    this.words[(block.address + blockPlace.context - this.base) >> 2] = 0;
  }
  endAllLinks(): void {
    for (const block of this.list) this.endLinks(block);
  }

  /** Sets how often a block has been entered. */
  setEntries(block: InterpreterBlock, entries: number): void {
    this.words[(block.address + blockEntriesOffset - this.base) >> 2] = entries;
  }

  /** How often a block has been entered since it was set, or made. */
  entriesOf(block: InterpreterBlock): number {
    return this.words[(block.address + blockEntriesOffset - this.base) >> 2]!;
  }

  /** From now on a write to the range's bytes is told to `onCodeWrite`, and the range is found by `overlapping`. */
  watch(range: CodeRange): void {
    this.watchPage(range, Math.floor(range.physical / 4096));
    if (range.second >= 0) this.watchPage(range, Math.floor(range.second / 4096));
  }
  private watchPage(range: CodeRange, page: number): void {
    const ranges = this.byPage.get(page);
    if (ranges !== undefined) {
      ranges.push(range);
      return;
    }
    this.byPage.set(page, [range]);
    this.memory.useCode(page);
  }
  unwatch(range: CodeRange): void {
    for (const page of pagesOf(range)) {
      const ranges = this.byPage.get(page);
      const index = ranges?.lastIndexOf(range) ?? -1;
      if (index < 0) continue;
      ranges!.splice(index, 1);
      if (ranges!.length === 0) this.release(page);
    }
  }
  private release(page: number): void {
    this.byPage.delete(page);
    this.memory.releaseCode(page);
  }

  /** Drops what was made from the bytes that were written. Returns true if anything was. */
  written(physical: number, length: number): boolean {
    const page = Math.floor(physical / 4096);
    const ranges = this.byPage.get(page);
    if (ranges === undefined) return false;
    let hit: CodeRange[] | null = null;
    for (let i = 0; i < ranges.length; i++) if (overlaps(ranges[i]!, physical, length)) (hit ??= []).push(ranges[i]!);
    // With one that goes others may go.
    if (hit !== null) for (const range of hit) if (ranges.includes(range)) this.end(range);
    if (ranges.length > 0) this.wearOut(page, ranges);
    return hit !== null;
  }
  private end(range: CodeRange): void {
    if ('invalidate' in range) (range as CodeUser).invalidate();
    else this.drop(range as InterpreterBlock);
    this.unwatch(range);
  }
  /** Each write to a page with code is slow: one with many has become data, as far as only blocks are known of it. */
  private wearOut(page: number, ranges: readonly CodeRange[]): void {
    let wear = this.wear.get(page);
    if (wear === undefined) this.wear.set(page, (wear = { writes: 0, patience: firstPatience }));
    if (++wear.writes < wear.patience) return;
    wear.writes = 0;
    wear.patience *= 2; // perhaps it holds both
    for (const range of ranges) if ('invalidate' in range) return;
    while (ranges.length > 0) this.end(ranges.at(-1)!);
  }

  /** Which bytes of a page code was entered at in a context, or has translations of: a bit for each. */
  executed(page: number, context: number): Uint8Array {
    const bits = new Uint8Array(512);
    const first = page * 4096;
    for (const range of this.byPage.get(page) ?? []) {
      if ('invalidate' in range) {
        const end = Math.min(range.physical + range.length, first + 4096);
        for (let at = Math.max(range.physical, first); at < end; at++)
          bits[(at - first) >> 3] = bits[(at - first) >> 3]! | (1 << (at & 7));
      } else if (
        (range as InterpreterBlock).context === context &&
        range.physical >= first &&
        range.physical < first + 4096
      )
        bits[(range.physical - first) >> 3] = bits[(range.physical - first) >> 3]! | (1 << (range.physical & 7));
    }
    return bits;
  }

  drop(block: InterpreterBlock): void {
    block.alive = false;
    this.endLinks(block);
    this.blocks.take(block);
    this.onDrop(block);
  }

  dropAll(): void {
    for (const block of this.list) block.alive = false;
    for (const [page, ranges] of this.byPage) {
      const left = ranges.filter((range) => 'invalidate' in range);
      if (left.length === 0) this.release(page);
      else this.byPage.set(page, left);
    }
    this.blocks.clear();
    this.wear.clear();
    this.list = [];
    this.used = 0;
    this.marked = 0;
    this.onDrop(null);
  }
}

function pagesOf(range: CodeRange): number[] {
  const first = Math.floor(range.physical / 4096);
  return range.second < 0 ? [first] : [first, Math.floor(range.second / 4096)];
}

function overlaps(range: CodeRange, physical: number, length: number): boolean {
  const inFirst = range.second < 0 ? range.length : Math.min(range.length, 4096 - (range.physical % 4096));
  if (physical < range.physical + inFirst && range.physical < physical + length) return true;
  if (range.second < 0) return false;
  const inSecond = range.length - inFirst;
  return physical < range.second + inSecond && range.second < physical + length;
}
