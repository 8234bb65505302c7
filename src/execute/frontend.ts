/**
 * From guest bytes to a block of micro-ops: decodes instructions from an instruction pointer on and records them, until
 * one of them ends the block, the block is long enough, or the code leaves its page.
 */
import { Builder } from '../ir/builder.ts';
import type { Node } from '../ir/micro-ops.ts';
import { optimise, type Surroundings } from '../ir/optimise.ts';
import { type Decoded, decoderWithout } from '../isa/decode.ts';
import { GP, UD } from '../isa/define.ts';
import type { Context } from './context.ts';

/** Where code bytes come from. */
export interface CodeSource {
  /**
   * The bytes of the page that holds a linear address (unsigned 32-bit, or signed 64-bit in long mode), or null if it
   * cannot be fetched. The answer is valid until the next call with another page.
   */
  page(linear: bigint): Uint8Array | null;
  /** Has the guest executed the code at a linear address so far? Who does not know says nothing. */
  executed?(linear: bigint): boolean;
}

export interface Block {
  readonly nodes: readonly Node[];
  readonly rip: bigint;
  /** Bytes of code, from the block's linear address on. */
  readonly length: number;
  readonly instructions: number;
  /** Its last instruction is a string instruction that repeats: it may leave the instruction pointer where it is. */
  readonly repeats: boolean;
  /** What a reader has found out of the nodes, and keeps with them. */
  found: object | null;
}

/** The longest block, in instructions. */
export const maximumInstructions = 64;

export type BlockFailure = { readonly fetchFault: bigint };

/** Linear address of an instruction pointer. */
export function linearOf(context: Context, rip: bigint): bigint {
  return context.codeSize === 64 ? rip : BigInt.asUintN(32, BigInt(context.csBase) + rip);
}

/**
 * Records the instruction at `ip`, the block's `count`th. True if it was decoded and is valid here; otherwise the fault
 * was recorded.
 */
export function recordInstruction(b: Builder, context: Context, decoded: Decoded, ip: bigint, count: number): boolean {
  const length = decoded.failure === null ? decoded.insn.length : decoded.length;
  b.emit('insn', [], ip, count);
  if (!context.flat && Number(ip) + length - 1 > context.csLimit) {
    b.raise(GP, 0);
  } else if (decoded.failure !== null) {
    if (decoded.failure === 'undefined') b.raise(UD);
    else b.raise(GP, 0);
  } else if (decoded.form.protectedOnly && (!context.protectedMode || context.virtual8086)) {
    b.raise(UD);
  } else {
    decoded.definition.record(b, decoded.insn);
    return true;
  }
  return false;
}

/**
 * Records the block at `rip`. A fetch fault on its first instruction is the answer `{ fetchFault: linear address }`; a
 * later one ends the block before the instruction.
 */
export function recordBlock(
  source: CodeSource,
  context: Context,
  rip: bigint,
  maximum = maximumInstructions,
): Block | BlockFailure {
  const b = new Builder(context);
  const start = linearOf(context, rip);
  const mode = context.codeSize;
  const decode = decoderWithout(context.lacks);
  let ip = rip;
  let linear = start;
  let count = 0;
  let repeats = false;
  let bytes = source.page(start);
  if (bytes === null) return { fetchFault: start };
  const firstPage = start & ~0xfffn;
  while (count < maximum) {
    let offset = Number(linear & 0xfffn);
    if ((linear & ~0xfffn) !== firstPage) break; // the next page is another block
    let decoded = decode(bytes, offset, 4096 - offset, ip, mode);
    let crossing = false;
    if (decoded.failure === 'truncated') {
      // The instruction goes on in the next page: it is a block of its own, so that nobody looks at that page before
      // the instruction is reached. Decoded from a copy of both ends.
      if (count > 0) break;
      const tail = bytes.slice(offset);
      if (!context.flat && Number(ip) + tail.length > context.csLimit) {
        b.emit('insn', [], ip, count++);
        b.raise(GP, 0);
        linear += BigInt(tail.length);
        break;
      }
      const nextPage = mode === 64 ? BigInt.asIntN(64, firstPage + 4096n) : BigInt.asUintN(32, firstPage + 4096n);
      const next = source.page(nextPage);
      if (next === null) return { fetchFault: nextPage };
      const joined = new Uint8Array(tail.length + 16);
      joined.set(tail);
      joined.set(next.subarray(0, 16), tail.length);
      decoded = decode(joined, 0, joined.length, ip, mode);
      bytes = source.page(start)!;
      crossing = true;
      offset = 0;
    }
    const length = decoded.failure === null ? decoded.insn.length : decoded.length;
    const isValid = recordInstruction(b, context, decoded, ip, count++);
    if (isValid && decoded.failure === null) {
      repeats = decoded.insn.repeat !== 'none';
      ip = BigInt.asIntN(64, decoded.insn.next); // as block addresses are, one place has one number
    }
    linear = mode === 64 ? BigInt.asIntN(64, linear + BigInt(length)) : BigInt.asUintN(32, linear + BigInt(length));
    if (b.ended || crossing) break;
  }
  if (!b.ended) b.jump(b.i64(ip));
  const size = Number(BigInt.asUintN(64, linear - start) & 0xffffffffn);
  return { nodes: b.nodes, rip, length: size, instructions: count, repeats, found: null };
}

/** Records and optimises, for the interpreter. */
export function interpreterBlock(
  source: CodeSource,
  context: Context,
  rip: bigint,
  maximum?: number,
  around?: Surroundings,
): Block | BlockFailure {
  const block = recordBlock(source, context, rip, maximum);
  if ('fetchFault' in block) return block;
  return { ...block, nodes: optimise(block.nodes, context, around) };
}
