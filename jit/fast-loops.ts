/**
 * Loops that run without looking their memory up: where the accesses of a loop move by a fixed step in each iteration, it
 * is known beforehand how many iterations stay on the pages they begin on. Such a loop stands twice in its region, as it is
 * and without look-ups, under one head:
 *
 *     choose: pages found, and enough iterations left on them?  ->  fast head, else head
 *     head ... -> choose                                            (the loop as it is)
 *     fast head ... -> again                                        (no look-ups)
 *     again: still on the pages, and budget left?               ->  fast head, else choose
 *
 * The instruction budget counts the iterations: `choose` sets the limit below which it must not fall.
 */

import { memoryAccesses, type Node, nodeOf, x87Codes } from '../src/ir/micro-ops.ts';
import { noFacts } from './block-facts.ts';
import { type LoopFlags, loopFlags } from './loop-flags.ts';
import { findLoops, type Loop, type Loops, simpleLoops } from './loops.ts';
import { inReversePostorder, type Region, type RegionBlock } from './region.ts';

const maximumBlocks = 12;
const maximumInstructions = 150;
/** Bytes from the first to the last byte of a stream, and from one iteration to the next. */
const maximumSpan = 256;
const maximumStep = 256;
const maximumStreams = 6;
const largestConstant = 2 ** 33;

/** A register in an address. */
export interface Part {
  readonly register: number;
  /** It is shifted left by this. */
  readonly shift: number;
  /** The loop does not change it. */
  readonly fixed: boolean;
}

/** Accesses that move together. */
export interface Stream {
  readonly parts: readonly Part[];
  /** Bytes from one iteration to the next. */
  readonly step: number;
  /** First byte, and the one after the last, relative to the address made of the registers at the head. */
  low: number;
  high: number;
  /** The least constant of its members. */
  least: number;
  write: boolean;
  /** This address, relative to the same, is a multiple of 16; null = any. */
  aligned: number | null;
}

/** An access of a fast loop. Its host address is made of: */
export type Member = { readonly stream: Stream } & (
  | /** what the region has of the stream, and the linear address; */ { readonly kind: 'whole' }
  | /** what the region has of the stream, and a constant; */ { readonly kind: 'fixed'; readonly constant: number }
  /** besides these, the moving one of two registers: then the node that makes the address has no other users. */
  | { readonly kind: 'index'; readonly constant: number; readonly value: number; readonly shift: number }
);

export interface FastLoop {
  readonly streams: readonly Stream[];
  /** Instructions on the shortest way round. */
  readonly shortest: number;
  readonly fast: RegionBlock;
  readonly slow: RegionBlock;
  readonly choose: RegionBlock;
  readonly again: RegionBlock;
  /** The flags at the head of the fast copy, which then is not entered but from the slow one; null = as anywhere. */
  readonly flags: LoopFlags | null;
  readonly slowBlocks: readonly RegionBlock[];
  /** By block of the fast copy, and node: accesses, and the addresses of those of the kind `index`. */
  readonly members: ReadonlyMap<RegionBlock, ReadonlyMap<number, Member>>;
}

/** What a loop does to a register: nothing (null), adds `step` in `block`, or anything. */
type Change = { readonly block: RegionBlock; readonly step: number } | 'any' | null;

/** A value as a register, as it comes into the block, plus a constant. `register` -1: it is a constant; null: something else. */
function behind(
  nodes: readonly Node[],
  v: number,
  narrow: boolean,
): { register: number; by: number; get: number } | null {
  let by = 0;
  for (let i = 0; i < 12; i++) {
    const { op, args, imm } = nodes[v]!;
    const second = args.length > 1 ? nodes[args[1]!]! : null;
    if (op === 'reg.get') return { register: imm[0] as number, by, get: v };
    if (op === 'i64.const') return { register: -1, by: by + Number(imm[0]), get: v };
    if (op === 'address.base' && imm[1] === (narrow ? 32 : 64)) by += imm[0] as number;
    else if (op === 'i64.extend_u' || op === 'i32.wrap') {
      if (!narrow) return null; // wraps at 32 bits
    } else if (second?.op.endsWith('.const') && (narrow ? /^i(32|64)\.(add|sub)$/ : /^i64\.(add|sub)$/).test(op)) {
      by += (op.endsWith('add') ? 1 : -1) * Number(second.imm[0]);
    } else return null;
    if (Math.abs(by) > largestConstant) return null;
    v = args[0]!;
  }
  return null;
}

class LoopShape {
  readonly loop: Loop;
  private readonly loops: Loops;
  private readonly narrow: boolean;
  /** Bits of addresses. */
  private readonly width: 32 | 64;
  private readonly changes = new Map<number, Change>();
  readonly streams: Stream[] = [];
  readonly members = new Map<RegionBlock, Map<number, Member>>();
  /** Nodes that test what `choose` has tested. */
  private readonly dropped = new Map<RegionBlock, Set<number>>();

  constructor(loop: Loop, loops: Loops, narrow: boolean) {
    this.loop = loop;
    this.loops = loops;
    this.narrow = narrow;
    this.width = narrow ? 32 : 64;
    for (const block of loop.body) this.noteChanges(block);
    // What happens in every iteration makes streams; what may happen joins them.
    const always = [...loop.body].filter((b) => this.isAlways(b));
    for (const block of always) this.accesses(block, true);
    for (const block of loop.body) if (!always.includes(block)) this.accesses(block, false);
  }

  private isAlways(block: RegionBlock): boolean {
    return this.loop.latches.every((latch) => this.loops.dominates(block, latch));
  }
  private noteChanges(block: RegionBlock): void {
    const { nodes } = block;
    const set = new Set<number>();
    const unclear = new Set<number>();
    let depth = 0;
    nodes.forEach(({ op, args, imm }) => {
      if (op === 'when') depth++;
      else if (op === 'end') depth--;
      else if (op === 'reg.get' && set.has(imm[0] as number)) unclear.add(imm[0] as number);
      if (op !== 'reg.set') return;
      const register = imm[0] as number;
      set.add(register);
      const from = behind(nodes, args[0]!, this.narrow);
      const fits = from !== null && from.register === register && depth === 0 && this.isAlways(block);
      const before = this.changes.get(register) ?? null;
      const again = before !== null && (before === 'any' || before.block !== block);
      this.changes.set(register, fits && !again ? { block, step: from.by } : 'any');
    });
    for (const register of unclear) this.changes.set(register, 'any');
  }

  private accesses(block: RegionBlock, always: boolean): void {
    let depth = 0;
    block.nodes.forEach(({ op, code, args }, v) => {
      if (op === 'when') depth++;
      else if (op === 'end') depth--;
      const access = memoryAccesses[code]!;
      if (access !== null && depth === 0) this.access(block, v, args[0]!, access.bytes, access.kind !== 'load', always);
    });
  }
  private access(block: RegionBlock, v: number, at: number, bytes: number, write: boolean, always: boolean): void {
    const { nodes } = block;
    let constant = 0;
    let values: { value: number; shift: number }[] = [{ value: at, shift: 0 }];
    for (let i = 0; i < 4; i++) {
      const { op, args, imm } = nodes[values[0]!.value]!;
      const wraps = op === 'i64.extend_u' && this.narrow ? nodes[args[0]!]! : null;
      if (op === 'address.base' && imm[1] === this.width) {
        constant += imm[0] as number;
        values = [{ value: args[0]!, shift: 0 }];
      } else if (op === 'address.index' && imm[2] === this.width) {
        constant += imm[1] as number;
        values = [
          { value: args[0]!, shift: 0 },
          { value: args[1]!, shift: imm[0] as number },
        ];
        break;
      } else if (wraps?.op === 'i32.wrap') values = [{ value: wraps.args[0]!, shift: 0 }];
      else break;
    }
    const parts: Part[] = [];
    const moving: { value: number; shift: number }[] = [];
    let step = 0;
    // The address is: registers at the head + `offset`; or fixed registers + moving values + `constant`.
    let offset = constant;
    for (const { value, shift } of values) {
      const from = behind(nodes, value, this.narrow);
      if (from === null) return;
      offset += from.by * 2 ** shift;
      const change = from.register < 0 ? null : (this.changes.get(from.register) ?? null);
      if (change === 'any') return;
      if (from.register >= 0) parts.push({ register: from.register, shift, fixed: change === null });
      if (change === null) {
        constant += from.by * 2 ** shift;
        continue;
      }
      moving.push({ value, shift });
      step += change.step * 2 ** shift;
      if (change.block !== block && this.loops.dominates(change.block, block)) offset += change.step * 2 ** shift;
    }
    if (parts.length === 0 || Math.abs(step) > maximumStep || Math.abs(offset) > largestConstant) return;
    const earlier = this.members.get(block)?.get(at); // an access at the same address
    const stream = earlier?.stream ?? this.streamFor(parts, step, offset, offset + bytes, always);
    if (stream === null) return;
    stream.high = Math.max(stream.high, offset + bytes);
    stream.write ||= write;
    let here = this.members.get(block);
    if (here === undefined) this.members.set(block, (here = new Map()));
    if (bytes === 16) this.alignmentTest(block, at, stream, offset);
    const [index] = moving;
    let member: Member = { stream, kind: 'whole' };
    if (index === undefined) member = { stream, kind: 'fixed', constant };
    else if (moving.length < values.length && nodes[at]!.op === 'address.index' && this.isOnlyAddress(block, at)) {
      // Of the node's own operands: those of a node behind it may stand in registers that have changed since.
      member = { stream, kind: 'index', constant, ...index };
      here.set(at, member);
    }
    if (member.kind !== 'whole') stream.least = Math.min(stream.least, constant);
    here.set(v, member);
  }
  /** Drops the test that the address is a multiple of 16, if one test at the head does for all iterations. */
  private alignmentTest(block: RegionBlock, at: number, stream: Stream, offset: number): void {
    const { nodes } = block;
    const fits = stream.aligned === null || (offset - stream.aligned) % 16 === 0;
    if (!fits || stream.step % 16 !== 0) return;
    const users = (v: number) => nodes.flatMap(({ args }, i) => (args.includes(v) ? [i] : []));
    const isOp = (v: number | undefined, op: string, constant: bigint) => {
      const node = nodes[v ?? -1];
      return node?.op === op && nodes[node.args[1]!]!.imm[0] === constant;
    };
    for (const low of users(at)) {
      if (!isOp(low, 'i64.and', 15n)) continue;
      const [test, ...others] = users(low);
      if (others.length > 0 || !isOp(test, 'i64.ne', 0n)) continue;
      const raises = users(test!);
      if (raises.some((i) => nodes[i]!.op !== 'raise.if')) continue;
      stream.aligned = offset;
      const dropped = this.dropped.get(block) ?? new Set();
      this.dropped.set(block, dropped);
      for (const i of [low, test!, ...raises]) dropped.add(i);
    }
  }
  private isOnlyAddress(block: RegionBlock, at: number): boolean {
    const dropped = this.dropped.get(block);
    let depth = 0;
    return block.nodes.every(({ op, args }, i) => {
      if (op === 'when') depth++;
      else if (op === 'end') depth--;
      if (!args.includes(at) || dropped?.has(i)) return true;
      return depth === 0 && args.lastIndexOf(at) === 0 && /^(load|modify|store)\./.test(op);
    });
  }
  /** The block's nodes in the fast copy. */
  nodesOf(block: RegionBlock): readonly Node[] {
    const dropped = this.dropped.get(block);
    const nothing = nodeOf('i64.const', [], [0n]);
    return dropped === undefined ? block.nodes : block.nodes.map((node, i) => (dropped.has(i) ? nothing : node));
  }
  private streamFor(parts: readonly Part[], step: number, low: number, high: number, always: boolean): Stream | null {
    const key = (list: readonly Part[]) => list.map((p) => `${p.register}<<${p.shift}`).join();
    for (const stream of this.streams) {
      if (key(stream.parts) !== key(parts)) continue;
      const [least, most] = [Math.min(stream.low, low), Math.max(stream.high, high)];
      if (most - least > maximumSpan) continue;
      stream.low = least;
      stream.high = most;
      return stream;
    }
    if (!always || this.streams.length === maximumStreams) return null;
    const made: Stream = { parts, step, low, high, least: Number.POSITIVE_INFINITY, write: false, aligned: null };
    this.streams.push(made);
    return made;
  }

  /** Instructions on the shortest way from the head to a latch's end. */
  get shortest(): number {
    const { head, body, latches } = this.loop;
    const least = new Map<RegionBlock, number>([[head, head.instructions]]);
    for (const block of [...body].sort((a, b) => a.order - b.order)) {
      const before = least.get(block);
      if (before === undefined) continue;
      for (const s of block.successors) {
        if (!body.has(s) || s === head) continue;
        least.set(s, Math.min(least.get(s) ?? Number.POSITIVE_INFINITY, before + s.instructions));
      }
    }
    return Math.min(...latches.map((l) => least.get(l)!));
  }
}

function isSuitable({ body }: Loop): boolean {
  if (body.size > maximumBlocks) return false;
  let instructions = 0;
  for (const { terminator, facts, nodes, instructions: n } of body) {
    instructions += n;
    if (terminator.kind !== 'jump' && terminator.kind !== 'branch') return false;
    if (facts.inner.length > 0 || nodes.some(({ op, code }) => x87Codes[code]! || op === 'call')) return false;
  }
  return instructions > 0 && instructions <= maximumInstructions;
}

const replaced = (list: readonly RegionBlock[], from: RegionBlock, to: RegionBlock): RegionBlock[] =>
  list.map((b) => (b === from ? to : b));

/** The region with its suitable loops doubled, and these loops. */
export function withFastLoops(region: Region): { readonly region: Region; readonly loops: readonly FastLoop[] } {
  const { context } = region;
  const made: FastLoop[] = [];
  if (!context.flat) return { region, loops: made };
  const narrow = context.codeSize !== 64;
  const loops = findLoops(region.blocks);
  let { entry } = region;
  const all = [...region.blocks];
  for (const candidates of simpleLoops(loops)) {
    const shape = candidates
      .filter(isSuitable)
      .map((loop) => new LoopShape(loop, loops, narrow))
      .find(({ streams, shortest }) => shortest > 0 && streams.some(({ step }) => step !== 0));
    if (shape === undefined) continue;
    const { loop } = shape;
    const { head } = loop;
    const copies = new Map<RegionBlock, RegionBlock>();
    for (const block of loop.body) copies.set(block, { ...block, nodes: shape.nodesOf(block) });
    const between = (kind: 'choose' | 'again'): RegionBlock => ({
      rip: head.rip,
      place: head.place,
      facts: noFacts,
      instructions: 0,
      length: 0,
      terminator: { kind },
      nodes: [],
      successors: [],
      predecessors: [],
      order: -1,
      needsFlagBits: head.needsFlagBits,
    });
    const [choose, again] = [between('choose'), between('again')];
    const fast = copies.get(head)!;
    choose.successors = [fast, head];
    again.successors = [fast, choose];
    for (const [block, copy] of copies)
      copy.successors = block.successors.map((s) =>
        s === head && loop.latches.includes(block) ? again : (copies.get(s) ?? s),
      );
    const flags = loop.body.size === 1 ? loopFlags(head.nodes) : null;
    for (const block of flags === null ? all : [head]) block.successors = replaced(block.successors, head, choose);
    all.push(...copies.values(), choose, again);
    if (entry === head && flags === null) entry = choose;
    const members = new Map([...shape.members].map(([block, list]) => [copies.get(block)!, list]));
    made.push({
      streams: shape.streams,
      shortest: shape.shortest,
      fast,
      slow: head,
      choose,
      again,
      flags,
      members,
      slowBlocks: [...loop.body],
    });
  }
  if (made.length === 0) return { region, loops: made };
  return { region: { ...region, entry, blocks: inReversePostorder(entry) }, loops: made };
}
