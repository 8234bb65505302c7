/**
 * A region: the control-flow graph that is reached from one hot entry by following jumps, branches and the returns of
 * calls, but not calls themselves, as far as the guest has been there before. It becomes one WebAssembly function.
 */
import type { Context } from '../src/execute/context.ts';
import { type CodeSource, linearOf, recordBlock as recordAnew } from '../src/execute/frontend.ts';
import { ARITHMETIC_FLAGS, conditionFlags, flagCode } from '../src/ir/flags.ts';
import { codeMayFault, type Node } from '../src/ir/micro-ops.ts';
import { type FlagProducer, forward, withoutDeadFlags } from '../src/ir/optimise.ts';
import { BlockFacts, factsOf, noFacts, type PlaceKey, placeKey, type Unit } from './block-facts.ts';
import { withDirectPort } from './port-block.ts';
import type { RecordBlock } from './recorded-blocks.ts';
import { type FlowGraph, isReducible } from './structure.ts';

/** How a block ends. Instruction pointers are numbers: signed in 64-bit mode. */
export type Terminator =
  | { readonly kind: 'jump'; readonly target: bigint }
  | { readonly kind: 'branch'; readonly taken: bigint; readonly next: bigint }
  /**
   * Calls the target (its value is the last node's operand) and goes on at the return address. A call of the region's own
   * entry (`inside`) is a jump: the function calls itself.
   */
  | { readonly kind: 'call'; readonly target: bigint | null; readonly returnAddress: bigint; readonly inside: boolean }
  /** Goes to the return address in the last node's operand; in a region that calls itself by way of its dispatch. */
  | { readonly kind: 'return'; inside: boolean }
  /** Goes to one of the addresses that calls inside return to, or leaves. A block of its own, without instructions. */
  | { readonly kind: 'dispatch'; readonly targets: readonly bigint[] }
  /** Goes to the instruction pointer in the last node's operand: one of the targets seen so far, or out of the region. */
  | { readonly kind: 'indirect'; readonly site: bigint; readonly targets: readonly bigint[] }
  /** Chooses between the two copies of a loop, and goes round the fast one once more (jit/fast-loops.ts): no instructions. */
  | { readonly kind: 'choose' | 'again' }
  /** The last instruction is the interpreter's: a helper, a certain exception. */
  | { readonly kind: 'leave' };

export interface RegionBlock {
  readonly rip: bigint;
  /** The same as a key. */
  readonly place: PlaceKey;
  readonly instructions: number;
  readonly length: number;
  readonly terminator: Terminator;
  /** Of the nodes as they were recorded. */
  readonly facts: BlockFacts;
  nodes: readonly Node[];
  successors: RegionBlock[];
  predecessors: RegionBlock[];
  /** Place in reverse postorder. */
  order: number;
  /** Flags that were set before the block are looked at from it on: after an entry or a call they must be plain bits. */
  needsFlagBits: boolean;
}

export interface Region {
  readonly entry: RegionBlock;
  /** In reverse postorder. */
  readonly blocks: readonly RegionBlock[];
  readonly context: Context;
  readonly instructions: number;
  /**
   * Instructions that are made in a way of their own: accesses that are looked up one by one (jit/access-groups.ts), IN and OUT
   * that programs answer (jit/port-block.ts).
   */
  readonly apart: ReadonlySet<bigint>;
}

const maximumBlocks = 200;

/** How far a region goes. */
export interface RegionBounds {
  /** Instruction pointers where it is not to go on: there are regions there already. */
  readonly ends: ReadonlySet<bigint>;
  /** When it has so many instructions, it takes in no more blocks. */
  readonly instructions: number;
}
export const unbounded: RegionBounds = { ends: new Set(), instructions: 800 };

/** Targets of indirect jumps that have been seen, by the jump's instruction pointer. */
export type IndirectTargets = ReadonlyMap<bigint, readonly bigint[]>;

/** Where the block stands that all returns of a region go through: no instruction pointer. */
export const dispatchPlace = 1n << 64n;

/** Its last instruction changes what SMAP forbids: what the region, and those that have called it, know of pages is over. */
function changesAccess(nodes: readonly Node[]): boolean {
  for (let i = nodes.length - 1; i >= 0 && nodes[i]!.op !== 'insn'; i--)
    if (nodes[i]!.op === 'smap.access') return true;
  return false;
}
function terminatorOf(nodes: readonly Node[], seen: IndirectTargets, entry: bigint): Terminator {
  const last = nodes.at(-1)!;
  if (changesAccess(nodes)) return { kind: 'leave' };
  switch (last.op) {
    case 'branch':
      return { kind: 'branch', taken: last.imm[0] as bigint, next: last.imm[1] as bigint };
    case 'jump': {
      const target = nodes[last.args[0]!]!;
      const known = target.op === 'i64.const' ? (target.imm[0] as bigint) : null;
      if (last.imm[0] === 'call')
        return { kind: 'call', target: known, returnAddress: last.imm[1] as bigint, inside: known === entry };
      if (last.imm[0] === 'return') return { kind: 'return', inside: false };
      if (known !== null) return { kind: 'jump', target: known };
      const site = nodes.findLast((n) => n.op === 'insn')!.imm[0] as bigint;
      return { kind: 'indirect', site, targets: seen.get(site) ?? [] };
    }
    default:
      return { kind: 'leave' };
  }
}
function successorsOf(block: RegionBlock): bigint[] {
  const { inner } = block.facts;
  const last = lastSuccessors(block.terminator);
  return [...last, ...inner]; // a target twice is two edges
}
function lastSuccessors(t: Terminator): bigint[] {
  switch (t.kind) {
    case 'jump':
      return [t.target];
    case 'branch':
      return t.taken === t.next ? [t.next] : [t.taken, t.next];
    case 'call':
      return [t.inside ? t.target! : t.returnAddress];
    case 'return':
      return t.inside ? [dispatchPlace] : [];
    case 'dispatch':
    case 'indirect':
      return [...t.targets];
    default:
      return [];
  }
}

const hasPort = ({ nodes }: RegionBlock): boolean => nodes.some(({ op }) => op === 'call');

const noTargets: IndirectTargets = new Map();
const nothingApart: ReadonlySet<bigint> = new Set();

/**
 * Forms the region at `rip`, or null if its first instruction is the interpreter's.
 */
export function formRegion(
  source: CodeSource,
  context: Context,
  rip: bigint,
  seen: IndirectTargets = noTargets,
  apart: ReadonlySet<bigint> = nothingApart,
  recordBlock: RecordBlock = recordAnew,
  bounds = unbounded,
): Region | null {
  const shape = (at: bigint, ends: ReadonlySet<bigint>): RegionBlock[] => {
    const blocks = discover(source, context, at, seen, apart, { ...bounds, ends }, recordBlock);
    for (const block of blocks.values()) {
      for (const to of successorsOf(block)) {
        const successor = blocks.get(placeKey(to));
        if (successor !== undefined) block.successors.push(successor);
      }
    }
    const first = blocks.get(placeKey(at));
    return first === undefined ? [] : inReversePostorder(first);
  };
  let ordered = shape(rip, bounds.ends);
  const [first] = ordered;
  if (first === undefined) return null;
  // A region that begins with IN or OUT would leave there for itself.
  if (first.instructions === 1 && (first.terminator.kind === 'leave' || hasPort(first))) return null;
  if (!isReducible(graphOf(ordered))) ordered = reducible(ordered, bounds.ends, shape);
  const entry = ordered[0]!;
  fuseFlags(ordered, context);
  return { entry, blocks: ordered, context, apart, instructions: ordered.reduce((n, b) => n + b.instructions, 0) };
}

/**
 * x87 registers are in locals of a region (region-x87.ts), mmx registers in memory, and they are the same ones: a region
 * has instructions of one of the two units.
 */
class OneUnit {
  private unit: Unit | null = null;

  /** How many instructions of a block come before the first of the other unit. */
  before({ unit, beforeUnit, beforeOther }: BlockFacts): number {
    this.unit ??= unit;
    return unit === null || unit === this.unit ? beforeOther : beforeUnit;
  }
}

/** The blocks as a graph by their order. */
export const graphOf = (blocks: readonly RegionBlock[]): FlowGraph => ({
  successors: blocks.map((b) => b.successors.map((s) => s.order)),
  predecessors: blocks.map((b) => b.predecessors.map((p) => p.order)),
});

/** Heads of loops that are tried as the end of a region. */
const maximumEnds = 12;

/**
 * A region that is entered in the middle of a loop may hold other loops with two entries. Such a region ends where an
 * outer loop begins: the region that begins there has all of the loop, and is entered from then on.
 */
function reducible(
  blocks: RegionBlock[],
  ends: ReadonlySet<bigint>,
  shape: (rip: bigint, ends: ReadonlySet<bigint>) => RegionBlock[],
): RegionBlock[] {
  const { rip } = blocks[0]!;
  const heads = new Set<bigint>();
  for (const block of blocks)
    for (const s of block.successors) if (s.rip <= block.rip && s.rip !== rip && s.instructions > 0) heads.add(s.rip);
  let second: RegionBlock[] | null = null;
  for (const head of [...heads].sort((a, b) => (a < b ? -1 : 1)).slice(0, maximumEnds)) {
    const part = shape(rip, new Set([...ends, head]));
    if (!isReducible(graphOf(part))) continue;
    if (isReducible(graphOf(shape(head, unbounded.ends)))) return part;
    second ??= part;
  }
  return second ?? blocks;
}

function discover(
  source: CodeSource,
  context: Context,
  entry: bigint,
  seen: IndirectTargets,
  apart: ReadonlySet<bigint>,
  bounds: RegionBounds,
  recordBlock: RecordBlock,
): Map<PlaceKey, RegionBlock> {
  const blocks = new Map<PlaceKey, RegionBlock>();
  /** Instruction -> the block that holds it, to split a block that is jumped into. */
  const owner = new Map<PlaceKey, RegionBlock>();
  const ownerOf = (at: PlaceKey): RegionBlock | undefined => {
    const block = owner.get(at);
    return block !== undefined && blocks.get(block.place) === block ? block : undefined; // not replaced by a shorter one
  };
  const work = [entry];
  // What was never executed is left out: most of it never will be, and a page that the guest does not get to may be absent.
  const isWanted = (rip: bigint): boolean => source.executed?.(linearOf(context, rip)) !== false;
  let instructions = 0;
  const unit = new OneUnit();
  const stops = new Set(Array.from(bounds.ends, placeKey));
  const record = (rip: bigint, place: PlaceKey, maximum?: number): RegionBlock | null => {
    let made = recordBlock(source, context, rip, maximum);
    if ('fetchFault' in made) return null;
    const count = unit.before(factsOf(made));
    if (count < made.instructions) {
      if (count === 0) return null;
      made = recordBlock(source, context, rip, count);
      if ('fetchFault' in made) return null;
    }
    const { nodes } = withDirectPort(made, apart);
    const facts = nodes === made.nodes ? factsOf(made) : new BlockFacts(nodes);
    const terminator = terminatorOf(nodes, seen, entry);
    const block: RegionBlock = {
      rip,
      place,
      instructions: made.instructions,
      length: made.length,
      terminator,
      facts,
      nodes,
      successors: [],
      predecessors: [],
      order: -1,
      needsFlagBits: false,
    };
    blocks.set(place, block);
    for (const at of facts.places) {
      const other = ownerOf(at);
      if (other === undefined || other.place === place) owner.set(at, block);
    }
    instructions += made.instructions;
    return block;
  };
  for (let next = 0; next < work.length; next++) {
    const rip = work[next]!;
    const place = placeKey(rip);
    if (blocks.has(place) || (rip !== entry && stops.has(place))) continue;
    if (blocks.size >= maximumBlocks || instructions >= bounds.instructions) break;
    const holder = ownerOf(place);
    if (holder !== undefined) {
      // Jumped into the middle: the first part becomes a block of its own that falls through.
      instructions -= holder.instructions;
      record(holder.rip, holder.place, holder.facts.places.indexOf(place));
    }
    // A block must not run into one that is there already.
    const made = record(rip, place);
    if (made === null) continue;
    const { places } = made.facts;
    for (let count = 1; count < places.length; count++) {
      const at = places[count]!;
      if (!stops.has(at) && !blocks.has(at)) continue;
      instructions -= made.instructions;
      record(rip, place, count);
      break;
    }
    const ready = blocks.get(place)!;
    // A repetition's jump to itself has been executed with it.
    for (const to of lastSuccessors(ready.terminator)) if (isWanted(to)) work.push(to);
    work.push(...ready.facts.inner);
    if (ready.terminator.kind === 'call' && isWanted(ready.terminator.returnAddress))
      work.push(ready.terminator.returnAddress);
  }
  addDispatch(blocks);
  return blocks;
}

/** In a region that calls itself, returns go through one block that knows where such calls return to. */
function addDispatch(blocks: Map<PlaceKey, RegionBlock>): void {
  const targets = new Set<bigint>();
  for (const { terminator: t } of blocks.values())
    if (t.kind === 'call' && t.inside && blocks.has(placeKey(t.returnAddress))) targets.add(t.returnAddress);
  if (targets.size === 0) return;
  for (const { terminator } of blocks.values()) if (terminator.kind === 'return') terminator.inside = true;
  blocks.set(dispatchPlace, {
    rip: dispatchPlace,
    place: dispatchPlace,
    instructions: 0,
    length: 0,
    terminator: { kind: 'dispatch', targets: [...targets] },
    facts: noFacts,
    nodes: [],
    successors: [],
    predecessors: [],
    order: -1,
    needsFlagBits: false,
  });
}

/** The block ends in a call that is a WebAssembly call: nothing of the region's locals outlives it. */
export const callsOut = ({ terminator }: RegionBlock): boolean => terminator.kind === 'call' && !terminator.inside;

/** The blocks that are reached, with their places in the order and their predecessors. */
export function inReversePostorder(entry: RegionBlock): RegionBlock[] {
  const order: RegionBlock[] = [];
  const seen = new Set<RegionBlock>();
  const stack: { block: RegionBlock; next: number }[] = [{ block: entry, next: 0 }];
  seen.add(entry);
  while (stack.length > 0) {
    const top = stack.at(-1)!;
    // The last successor first: the taken branch of a loop stays near its head.
    const successor = top.block.successors[top.block.successors.length - 1 - top.next++];
    if (successor === undefined) {
      order.push(top.block);
      stack.pop();
    } else if (!seen.has(successor)) {
      seen.add(successor);
      stack.push({ block: successor, next: 0 });
    }
  }
  order.reverse();
  order.forEach((block, i) => {
    block.order = i;
    block.predecessors = [];
  });
  for (const block of order) for (const s of block.successors) s.predecessors.push(block);
  return order;
}

/** What a block does to the lazy flags, as far as the conditions of later blocks care. */
interface FlagEffect {
  /** What was there before is gone. */
  readonly replaces: boolean;
  readonly producers: readonly FlagProducer[];
}
const bits: FlagProducer = { kind: 'bits', width: 32 };
/** More possible producers than this are not told apart. */
const maximumProducers = 4;

function flagEffect(block: RegionBlock): FlagEffect {
  if (callsOut(block)) return { replaces: true, producers: [bits] }; // made so after the call, if need be
  let replaces = false;
  let producers: FlagProducer[] = [];
  let depth = 0;
  for (const { op, imm } of block.nodes) {
    if (op === 'when') depth++;
    else if (op === 'end') depth--;
    else if (op === 'flags.set' || op === 'flags.merge') {
      const made = op === 'flags.merge' ? bits : ({ kind: imm[0], width: imm[1] } as FlagProducer);
      if (depth > 0) producers.push(made);
      else {
        replaces = true;
        producers = [made];
      }
    }
  }
  return { replaces, producers };
}

/** A block looks at flags that it has not set itself. */
function looksAtIncoming(nodes: readonly Node[]): boolean {
  let depth = 0;
  for (const { op } of nodes) {
    if (op === 'when') depth++;
    else if (op === 'end') depth--;
    else if (op === 'flags.get' || op === 'flags.test' || op === 'flags.merge') return true;
    else if (op === 'flags.set' && depth === 0) return false;
  }
  return false;
}

const codeOf = (p: FlagProducer) => flagCode(p.kind, p.width);

/** The possible producers of the flags that stand where each block begins; null = too many. */
function incomingProducers(
  blocks: readonly RegionBlock[],
  effects: readonly FlagEffect[],
): (readonly FlagProducer[] | null)[] {
  const incoming: (Map<number, FlagProducer> | null)[] = blocks.map(() => new Map());
  incoming[0]!.set(codeOf(bits), bits); // made so at the entry, if need be
  for (let changed = true; changed; ) {
    changed = false;
    for (const block of blocks) {
      let into = incoming[block.order]!;
      if (into === null) continue;
      const before = into.size;
      for (const p of block.predecessors) {
        const { replaces, producers } = effects[p.order]!;
        const passed = replaces ? new Map<number, FlagProducer>() : incoming[p.order]!;
        if (passed === null) {
          incoming[block.order] = null;
          changed = true;
          break;
        }
        for (const [code, producer] of passed) into.set(code, producer);
        for (const producer of producers) into.set(codeOf(producer), producer);
      }
      if (incoming[block.order] === null) continue;
      if (into.size > maximumProducers) incoming[block.order] = null;
      changed ||= into.size !== before;
      into = incoming[block.order]!;
    }
  }
  return incoming.map((map) => (map === null ? null : [...map.values()]));
}

/** Blocks from which a look at flags can be reached that nobody has set on the way. */
function flagsLookedAt(blocks: readonly RegionBlock[], effects: readonly FlagEffect[]): boolean[] {
  const looked = blocks.map((b) => looksAtIncoming(b.nodes));
  const passes = blocks.map((b, i) => !callsOut(b) && !effects[i]!.replaces);
  for (let changed = true; changed; ) {
    changed = false;
    for (let i = blocks.length - 1; i >= 0; i--) {
      if (looked[i] || !passes[i]) continue;
      if (blocks[i]!.successors.some((s) => looked[s.order])) changed = looked[i] = true;
    }
  }
  return looked;
}

/** Fuses conditions with producers in earlier blocks, then drops the flags that no block can see. */
function fuseFlags(blocks: readonly RegionBlock[], context: Context): void {
  const effects = blocks.map(flagEffect);
  const looked = flagsLookedAt(blocks, effects);
  const incoming = looked.includes(true) ? incomingProducers(blocks, effects) : [];
  for (const block of blocks) {
    block.needsFlagBits = looked[block.order]!;
    const producers = looked[block.order]! ? incoming[block.order]! : null;
    if (producers !== null) block.nodes = forward(block.nodes, context, producers);
    else {
      const { facts } = block;
      block.nodes = facts.forwarded ??= forward(block.nodes, context);
    }
  }
  // Flags live into each block: looked at by a condition, a fault or a leave before they are set.
  const mayBeLeft = placesToLeave(blocks);
  const flows = blocks.map((block) => flagFlow(block, mayBeLeft));
  const liveIn = new Int32Array(blocks.length);
  const liveOut = ({ out, onward }: FlagFlow): number => {
    let live = out;
    for (const s of onward) live |= liveIn[s]!;
    return live;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (let i = blocks.length - 1; i >= 0; i--) {
      const flow = flows[i]!;
      const live = flow.looked | (liveOut(flow) & flow.passed);
      if (live !== liveIn[i]) {
        liveIn[i] = live;
        changed = true;
      }
    }
  }
  for (const block of blocks) {
    const { facts } = block;
    const live = liveOut(flows[block.order]!);
    if (block.nodes !== facts.forwarded) block.nodes = withoutDeadFlags(block.nodes, live);
    else {
      if (facts.undead?.live !== live) facts.undead = { live, nodes: withoutDeadFlags(block.nodes, live) };
      block.nodes = facts.undead!.nodes;
    }
  }
}

/**
 * Which blocks the way to may leave. The way into a loop does where registers of SSE or x87 are not what it was made for.
 * Whoever goes to a block makes sure of what its x87 instructions need of the stack (jit/x87-flow.ts), and where ways meet,
 * that it is as high as on the others.
 */
function placesToLeave(blocks: readonly RegionBlock[]): (to: RegionBlock) => boolean {
  const isHead = (s: RegionBlock) => s.predecessors.some((p) => p.order >= s.order);
  if (blocks.some(({ facts }) => facts.unit !== null))
    return (to) => to.facts.unit !== null || to.predecessors.length > 1 || isHead(to);
  const usesSse = blocks.some(({ nodes }) => nodes.some(({ op }) => op === 'xmm.get' || op === 'xmm.set'));
  return usesSse ? isHead : () => false;
}

/** What a block means for the flags that are live before it. */
interface FlagFlow {
  /** Flags that it looks at itself, and those that are live before it if they are behind it. */
  readonly looked: number;
  readonly passed: number;
  /** Flags live behind it whatever comes; and the blocks whose flags are live, too. */
  readonly out: number;
  readonly onward: readonly number[];
}

function flagFlow(block: RegionBlock, mayBeLeft: (to: RegionBlock) => boolean): FlagFlow {
  const looked = liveBefore(block.nodes, 0);
  const passed = liveBefore(block.nodes, ARITHMETIC_FLAGS);
  const { kind } = block.terminator;
  const isInside = (kind === 'jump' || kind === 'branch') && successorsOf(block).length === block.successors.length;
  if (!isInside) return { looked, passed, out: ARITHMETIC_FLAGS, onward: [] };
  // A back edge may leave when the budget ends.
  let out = 0;
  const onward: number[] = [];
  for (const s of block.successors) {
    if (s.order <= block.order || mayBeLeft(s)) out = ARITHMETIC_FLAGS;
    else onward.push(s.order);
  }
  return { looked, passed, out, onward };
}

function liveBefore(nodes: readonly Node[], out: number): number {
  let live = out;
  let depth = 0;
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i]!;
    if (node.op === 'end') depth++;
    else if (node.op === 'when') depth--;
    else if (node.op === 'flags.set') live = depth > 0 ? live : 0;
    else if (node.op === 'flags.merge') live = depth > 0 ? live : live & ~(node.imm[0] as number);
    else if (node.op === 'flags.get') live |= node.imm[0] as number;
    else if (node.op === 'flags.test') live |= conditionFlags(node.imm[0] as number);
    else if (
      node.op === 'call' ||
      ((node.op === 'jump' || node.op === 'branch') && depth > 0) ||
      codeMayFault(node.code)
    )
      live = ARITHMETIC_FLAGS;
    else if ((node.op === 'state.get64' || node.op === 'state.get32') && String(node.imm[0]).startsWith('flag'))
      live = ARITHMETIC_FLAGS;
  }
  return live;
}
