/**
 * Makes a vCPU's interpreter blocks from the code that it is about to execute: in haste at first (quick-blocks.ts), and
 * again, optimised, when one has been entered often and is not translated.
 */

import { highOf, lowOf } from '../mmu/linear.ts';
import { BlockEnds } from './block-ends.ts';
import type { CodeMemory, InterpreterBlock } from './code-memory.ts';
import type { CodePages } from './code-pages.ts';
import type { Context } from './context.ts';
import { type EncodedBlock, encodeBlock } from './encode.ts';
import { type Block, type BlockFailure, interpreterBlock, linearOf } from './frontend.ts';
import { InternalError } from './internal-error.ts';
import type { KnownPatterns } from './known-patterns.ts';
import { hotThreshold } from './leave.ts';
import type { Processor } from './processor.ts';
import { QuickBlocks } from './quick-blocks.ts';

/** The page that follows the one of a linear address. */
function pageAfter(context: Context, linear: bigint): bigint {
  const next = (linear & ~0xfffn) + 4096n;
  return context.codeSize === 64 ? BigInt.asIntN(64, next) : BigInt.asUintN(32, next);
}

/** As in InterpreterBlock. */
export type BlockKind = Pick<InterpreterBlock, 'quick' | 'single' | 'repeats'>;
/** A block that an earlier run has made. */
export interface KnownBlock extends EncodedBlock, BlockKind {
  /** The bytes that it was made from. */
  readonly code: Uint8Array;
}
/** Blocks of earlier runs, and for later ones. */
export interface KnownBlocks {
  /** The helpers that they call, by their numbers. */
  readonly helperNames: readonly string[];
  find(context: number, key: number, single: boolean): KnownBlock | null;
  /** Keeps a copy of a block, instead of one that was made there before. */
  add(context: number, key: number, encoded: EncodedBlock, code: Uint8Array, kind: BlockKind): void;
}

export class BlockMaker {
  /** Helpers that blocks call, by their numbers in records. */
  readonly helperNames: string[] = [];
  /**
   * Entries until a block that was made in haste is made again; 0 = nothing is made in haste. An optimised block has a
   * seventh less records, which some ten thousand entries of it take to save what the optimisation costs. So it is not
   * time before the block is hot, and only where it is not translated then.
   */
  patience = hotThreshold;
  /** Instructions that blocks end with. */
  readonly ends = new BlockEnds();
  private known: KnownBlocks | null = null;
  private readonly helperIndex = new Map<string, number>();
  private readonly helperNumber = (name: string): number => this.numberOf(name);
  private readonly quick = new QuickBlocks(this.helperNumber, this.ends);
  private readonly processor: Processor;
  private readonly code: CodeMemory;
  private readonly pages: CodePages;

  constructor(processor: Processor, code: CodeMemory, pages: CodePages, patterns: KnownPatterns | null) {
    if (patterns !== null) this.quick.use(patterns);
    this.processor = processor;
    this.code = code;
    this.pages = pages;
  }

  /** Told of instructions that patterns are learned from (quick-blocks.ts). */
  set onLearn(told: QuickBlocks['onLearn']) {
    this.quick.onLearn = told;
  }

  /** From now on what earlier runs have made is taken, and what is made is kept. Nothing was made so far. */
  use(known: KnownBlocks): void {
    if (this.helperNames.length > 0) throw new Error('block maker: known blocks come too late');
    for (const name of known.helperNames) this.numberOf(name);
    this.known = known;
  }

  /**
   * Makes the block at an instruction pointer (`key` is `rip` as a number, and `rip` is signed). Null = the fetch faulted:
   * the fault is in the fault fields.
   */
  make(context: Context, key: number, rip: bigint, single: boolean): InterpreterBlock | null {
    const known = context.stable ? this.fromKnown(context, key, rip, single) : null;
    if (known !== null) return known;
    const quick = this.patience === 0 ? null : this.inHaste(context, key, rip, single);
    if (quick !== null) return quick;
    const made = this.endedAtDevices(context, interpreterBlock(this.pages, context, rip, single ? 1 : undefined));
    if ('fetchFault' in made) return null;
    const linear = linearOf(context, rip);
    const physical = this.pages.fetchAddress(linear);
    const crosses = Number(linear & 0xfffn) + made.length > 4096;
    const next = pageAfter(context, linear);
    const second = crosses ? this.pages.fetchAddress(next) : -1;
    const encoded = encodeBlock(made.nodes, this.helperNumber);
    const block = this.code.add(encoded, {
      physical,
      second,
      length: made.length,
      context: context.id,
      rip,
      key,
      single,
      quick: false,
      repeats: single && made.repeats,
    });
    this.keep(context, block, encoded);
    return block;
  }

  /** The block of an earlier run, if it was made from the code that is here now. */
  private fromKnown(context: Context, key: number, rip: bigint, single: boolean): InterpreterBlock | null {
    const known = this.known?.find(context.id, key, single) ?? null;
    const linear = linearOf(context, rip);
    const physical = known === null ? -1 : this.pages.fetchAddress(linear);
    if (known === null || physical < 0) return null;
    const { code, instructions, marks, quick, repeats } = known;
    const bytes = (physical % 4096) + code.length > 4096 ? null : this.pages.bytesAt(physical, code.length);
    if (bytes === null) return null;
    for (let i = 0; i < code.length; i++) if (bytes[i] !== code[i]) return null;
    // What is known to access a device by now must be the last instruction.
    for (let i = 0; i < instructions - 1; i++) if (this.ends.has(key + (marks[i]! >>> 16))) return null;
    const block = this.code.add(known, {
      physical,
      second: -1,
      length: code.length,
      context: context.id,
      rip,
      key,
      single,
      quick,
      repeats,
    });
    this.countAnew(block);
    return block;
  }
  private keep(context: Context, block: InterpreterBlock, encoded: EncodedBlock): void {
    if (this.known === null || block.second >= 0 || !context.stable) return;
    const code = this.pages.bytesAt(block.physical, block.length);
    if (code !== null) this.known.add(context.id, block.key, encoded, code, block);
  }

  private inHaste(context: Context, key: number, rip: bigint, single: boolean): InterpreterBlock | null {
    const { quick } = this;
    const { memory, mmu } = this.processor;
    const long = context.codeSize === 64;
    const low = long ? lowOf(key) : (context.csBase + key) >>> 0;
    const page = mmu.fetchPage(low, long ? highOf(key) : 0);
    const host = page < 0 ? -1 : memory.hostOf(Math.floor(page / 4096));
    if (host < 0) return null;
    const offset = low & 0xfff;
    const physical = page + offset;
    if (!quick.make(context, key, memory.u8, host + offset, 4096 - offset, single ? 1 : undefined)) return null;
    const block = this.code.add(quick, {
      physical,
      second: -1,
      length: quick.codeBytes,
      context: context.id,
      rip,
      key,
      single,
      quick: true,
      repeats: single && quick.repeats,
    });
    this.countAnew(block);
    this.keep(context, block, quick);
    return block;
  }
  /** Blocks are made again before they count as hot. */
  get isImpatient(): boolean {
    return this.patience < hotThreshold;
  }
  /** As if the block had just been made. */
  countAnew(block: InterpreterBlock): void {
    this.code.setEntries(block, block.quick ? hotThreshold - this.patience : 0);
  }

  /** Optimises a block that was put together in haste; it may get another address, or have to go. */
  makeAgain(block: InterpreterBlock, context: Context): void {
    const bytes = this.pages.bytesAt(block.physical - (block.physical % 4096), 4096);
    block.quick = false;
    if (bytes !== null) {
      const made = interpreterBlock({ page: () => bytes }, context, block.rip, block.instructions);
      if ('fetchFault' in made) throw new InternalError('block maker: a block cannot be fetched any more');
      const encoded = encodeBlock(made.nodes, this.helperNumber);
      this.code.replace(block, encoded);
      if (block.alive) this.keep(context, block, encoded);
    }
    if (block.alive) this.code.setEntries(block, Math.min(this.patience, hotThreshold - 1));
  }

  /** The block up to the first instruction that is known to access a device. */
  private endedAtDevices(context: Context, made: Block | BlockFailure): Block | BlockFailure {
    if ('fetchFault' in made) return made;
    const length = this.ends.lengthOf(made);
    return length === made.instructions ? made : interpreterBlock(this.pages, context, made.rip, length);
  }

  private numberOf(name: string): number {
    let index = this.helperIndex.get(name);
    if (index === undefined) {
      index = this.helperNames.push(name) - 1;
      this.helperIndex.set(name, index);
    }
    return index;
  }
}
