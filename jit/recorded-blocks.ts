/**
 * Blocks as the compiler's thread has recorded them before: four of five blocks of a region stand in earlier ones, or were
 * recorded for this one at another length. A block is what its bytes are, so it is good for the same bytes at the same
 * instruction pointer in the same context.
 */
import type { Context } from '../src/execute/context.ts';
import { type Block, type BlockFailure, type CodeSource, linearOf, recordBlock } from '../src/execute/frontend.ts';
import { sameBytes } from './hash.ts';

/** `recordBlock`, or what remembers what it has answered. */
export type RecordBlock = typeof recordBlock;

interface Recorded {
  readonly maximum: number | undefined;
  /** Its bytes, and those of the instruction after it. */
  readonly bytes: Uint8Array;
  readonly block: Block;
}

/** Blocks that are kept, some 3 KiB each. */
const maximumBlocks = 6000;
const longestInstruction = 15;

export class RecordedBlocks {
  private readonly contexts = new Map<Context, Map<bigint, Recorded[]>>();
  private count = 0;

  readonly record: RecordBlock = (
    source: CodeSource,
    context: Context,
    rip: bigint,
    maximum?: number,
  ): Block | BlockFailure => {
    const linear = linearOf(context, rip);
    const page = source.page(linear);
    if (page === null) return { fetchFault: linear };
    const offset = Number(linear & 0xfffn);
    const known = this.contexts.get(context)?.get(rip);
    const found = known?.find((one) => one.maximum === maximum && isAt(page, offset, one.bytes));
    if (found !== undefined) return found.block;
    const block = recordBlock(source, context, rip, maximum);
    // What goes on in the next page depends on that.
    if ('fetchFault' in block || offset + block.length > page.length) return block;
    const bytes = page.slice(offset, offset + block.length + longestInstruction);
    this.put(context, rip, { maximum, bytes, block });
    return block;
  };

  private put(context: Context, rip: bigint, recorded: Recorded): void {
    if (this.count++ >= maximumBlocks) {
      this.contexts.clear();
      this.count = 1;
    }
    let blocks = this.contexts.get(context);
    if (blocks === undefined) this.contexts.set(context, (blocks = new Map()));
    const there = blocks.get(rip);
    if (there === undefined) blocks.set(rip, [recorded]);
    else there.push(recorded);
  }
}

const isAt = (page: Uint8Array, offset: number, bytes: Uint8Array): boolean =>
  sameBytes(page.subarray(offset, offset + bytes.length), bytes);
