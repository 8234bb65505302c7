/**
 * Makes a vCPU's interpreter blocks from the code that it is about to execute: in haste at first (quick-blocks.ts), and
 * again, optimised, when one has been entered often.
 */
import { BlockEnds } from './block-ends.ts';
import type { CodeMemory, InterpreterBlock } from './code-memory.ts';
import type { Context } from './context.ts';
import { encodeBlock } from './encode.ts';
import { type Block, type BlockFailure, type CodeSource, interpreterBlock, linearOf } from './frontend.ts';
import { hotThreshold } from './leave.ts';
import type { Processor } from './processor.ts';
import { QuickBlocks } from './quick-blocks.ts';

/** What the optimisation of a block costs is saved by so many entries of it. */
const usualPatience = 200;

/** The page that follows the one of a linear address. */
export function pageAfter(context: Context, linear: bigint): bigint {
  const next = (linear & ~0xfffn) + 4096n;
  return context.codeSize === 64 ? BigInt.asIntN(64, next) : BigInt.asUintN(32, next);
}

export class BlockMaker implements CodeSource {
  /** Helpers that blocks call, by their numbers in records. */
  readonly helperNames: string[] = [];
  /** Entries until a block that was made in haste is made again; 0 = nothing is made in haste. */
  patience = usualPatience;
  /** Instructions that blocks end with. */
  readonly ends = new BlockEnds();
  private readonly helperIndex = new Map<string, number>();
  private readonly helperNumber = (name: string): number => this.numberOf(name);
  private readonly quick = new QuickBlocks(this.helperNumber, this.ends);
  private readonly processor: Processor;
  private readonly code: CodeMemory;
  /** Bytes of a page in a device. */
  private currentPage = -1;
  private currentBytes: Uint8Array | null = null;

  constructor(processor: Processor, code: CodeMemory) {
    this.processor = processor;
    this.code = code;
  }

  /**
   * Makes the block at an instruction pointer (`key` is `rip` as a number, and `rip` is signed). Null = the fetch faulted:
   * the fault is in the fault fields.
   */
  make(context: Context, key: number, rip: bigint, single: boolean): InterpreterBlock | null {
    const quick = this.patience === 0 ? null : this.inHaste(context, key, rip, single);
    if (quick !== null) return quick;
    const made = this.endedAtDevices(context, interpreterBlock(this, context, rip, single ? 1 : undefined));
    if ('fetchFault' in made) return null;
    const linear = linearOf(context, rip);
    const physical = this.fetchAddress(linear);
    const crosses = Number(linear & 0xfffn) + made.length > 4096;
    const second = crosses ? this.fetchAddress(pageAfter(context, linear)) : -1;
    return this.code.add(encodeBlock(made.nodes, this.helperNumber), {
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
  }

  private inHaste(context: Context, key: number, rip: bigint, single: boolean): InterpreterBlock | null {
    const { quick } = this;
    const { memory } = this.processor;
    const physical = this.fetchAddress(linearOf(context, rip));
    const host = physical < 0 ? -1 : memory.hostOf(Math.floor(physical / 4096));
    if (host < 0) return null;
    const offset = physical % 4096;
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
    this.code.setEntries(block, hotThreshold - this.patience);
    return block;
  }

  /** Optimises a block that was put together in haste; it may get another address, or have to go. */
  makeAgain(block: InterpreterBlock, context: Context): void {
    const bytes = this.memoryAt(block.physical - (block.physical % 4096), 4096);
    block.quick = false;
    if (bytes !== null) {
      const made = interpreterBlock({ page: () => bytes }, context, block.rip, block.instructions);
      if ('fetchFault' in made) throw new Error('block maker: a block cannot be fetched any more');
      this.code.replace(block, encodeBlock(made.nodes, this.helperNumber));
    }
    if (block.alive) this.code.setEntries(block, Math.min(this.patience, hotThreshold - 1));
  }

  /** The block up to the first instruction that is known to access a device. */
  private endedAtDevices(context: Context, made: Block | BlockFailure): Block | BlockFailure {
    if ('fetchFault' in made) return made;
    const length = this.ends.lengthOf(made);
    return length === made.instructions ? made : interpreterBlock(this, context, made.rip, length);
  }

  /** Physical address of code that the guest is about to execute, or -1 (the fault is in the fault fields). */
  fetchAddress(linear: bigint): number {
    const { mmu } = this.processor;
    const page = mmu.fetchPage(Number(BigInt.asUintN(32, linear)), Number(BigInt.asIntN(32, linear >> 32n)));
    return page < 0 ? -1 : page + Number(linear & 0xfffn);
  }
  /** The bytes of guest memory within one physical page, or null if that is no RAM. */
  memoryAt(physical: number, length: number): Uint8Array | null {
    const { memory } = this.processor;
    const host = memory.hostOf(Math.floor(physical / 4096));
    return host < 0 ? null : new Uint8Array(memory.buffer, host + (physical % 4096), length);
  }
  page(linear: bigint): Uint8Array | null {
    const address = this.fetchAddress(linear); // a fault names the byte, not the page
    if (address < 0) return null;
    const page = address - Number(linear & 0xfffn);
    const inMemory = this.memoryAt(page, 4096);
    if (inMemory !== null) return inMemory;
    // Code in a device: read through the bus, once for each block.
    if (this.currentPage !== page || this.currentBytes === null) {
      this.currentBytes = new Uint8Array(4096);
      this.processor.memory.readBytes(page, this.currentBytes);
      this.currentPage = page;
    }
    return this.currentBytes;
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
