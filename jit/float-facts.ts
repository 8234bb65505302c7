/**
 * What a region knows of floating point values, so that it need not look twice: that a number is no denormal (CLEAN), that
 * it is no NaN (ORDERED). The result of an operation that did not leave has both, and so has an operand that it looked at.
 *
 * Facts flow forward through registers over the whole region. Registers that are sure to be operands before they are
 * written are tested where the region or a loop is entered, if the facts do not come in by themselves: a loop then tests
 * what it loads and computes, not what it carries. The facts on operands go into the nodes, as a last immediate
 * (`sseKnown`).
 */
import { type Node, nodeOf } from '../src/ir/micro-ops.ts';
import { isQuietPredicate, sseImmediates } from '../src/ir/sse-ops.ts';
import type { Shape } from './float-class.ts';
import type { Region, RegionBlock } from './region.ts';

export const CLEAN = 1;
export const ORDERED = 2;
const BOTH = CLEAN | ORDERED;

/**
 * The facts on a value: two bits for a scalar (or the integer of its bits); for a vector two for each of its two doubles,
 * then two for each of its four singles.
 */
type Facts = number;
const ALL_DOUBLES = 0b1111;
const ALL_SINGLES = 0b1111_1111 << 4;
const doubleAt = (lane: number): number => 2 * lane;
const singleAt = (lane: number): number => 4 + 2 * lane;

/** A register that must hold numbers with certain facts. */
export interface Demand {
  readonly register: number;
  readonly shape: Shape;
  readonly facts: number;
}

/** An operand in the nodes of sse operations. */
interface Operand {
  readonly shape: Shape;
  /** Facts that the operation can use, and those that hold once it has not left. */
  readonly wanted: number;
  readonly learned: number;
}

/** What an operation has to do with its operands' facts, and the facts of its result. */
function roles(op: string, imm: readonly unknown[]): { operands: Operand[]; result: Facts } | null {
  const [family, shapeName, name] = op.split('.') as [string, string, string];
  if (family !== 'sse') return null;
  const shape = shapeName as Shape;
  const all = shape === 'f64x2' ? ALL_DOUBLES : shape === 'f32x4' ? ALL_SINGLES : BOTH;
  const operand = (wanted: number, learned: number): Operand => ({ shape, wanted, learned });
  switch (name) {
    case 'add':
    case 'sub':
    case 'mul':
      return { operands: [operand(CLEAN, BOTH), operand(CLEAN, BOTH)], result: all };
    case 'div':
      return { operands: [operand(CLEAN, BOTH), operand(CLEAN, BOTH)], result: all };
    case 'fma':
      return { operands: [operand(CLEAN, BOTH), operand(CLEAN, BOTH), operand(CLEAN, BOTH)], result: all };
    case 'sqrt':
      return { operands: [operand(CLEAN, BOTH)], result: all };
    case 'min':
    case 'max':
      return { operands: [operand(BOTH, BOTH), operand(BOTH, BOTH)], result: all };
    case 'cmp':
    case 'compare': {
      const quiet = name === 'compare' ? imm[0] === 1 : isQuietPredicate(imm[0] as number);
      const learned = quiet ? CLEAN : BOTH;
      return { operands: [operand(BOTH, learned), operand(BOTH, learned)], result: 0 };
    }
    case 'promote':
      return {
        operands: [{ shape: 'f32', wanted: shape === 'f64' ? BOTH : 0, learned: shape === 'f64' ? BOTH : 0 }],
        result: all,
      };
    case 'demote':
      return { operands: [], result: all };
    default:
      return { operands: [], result: name.startsWith('from_i') ? all : 0 };
  }
}

/** Facts on a bit pattern. */
function ofPattern(bits: bigint, double: boolean): number {
  const fraction = double ? 52n : 23n;
  const top = double ? 0x7ffn : 0xffn;
  const exponent = (bits >> fraction) & top;
  const rest = bits & ((1n << fraction) - 1n);
  return (exponent === 0n && rest !== 0n ? 0 : CLEAN) | (exponent === top && rest !== 0n ? 0 : ORDERED);
}
function ofVector(bytes: readonly number[]): Facts {
  const at = (i: number, n: number): bigint =>
    bytes.slice(i, i + n).reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  let facts = 0;
  for (let i = 0; i < 2; i++) facts |= ofPattern(at(8 * i, 8), true) << doubleAt(i);
  for (let i = 0; i < 4; i++) facts |= ofPattern(at(4 * i, 4), false) << singleAt(i);
  return facts;
}
const scratch = new DataView(new ArrayBuffer(8));

/** Facts on the registers: index by register. */
type Registers = Int32Array;

/** How far facts are sought behind a value. */
const maximumDepth = 8;

class BlockFacts {
  private readonly nodes: readonly Node[];
  private learned = new Map<number, Facts>();
  private depth = 0;
  /** Register -> the node whose value it holds, or -1: then `masks` says what is known. */
  private readonly holder = new Int32Array(16).fill(-1);
  private readonly masks: Registers;
  /** Facts at the block's end, and at its ways out from the middle. */
  readonly out: Registers;
  readonly inner: Registers = new Int32Array(16).fill(-1);
  /** The nodes with what is known of their operands. */
  readonly marked: Node[];

  constructor(block: RegionBlock, entry: Registers) {
    this.nodes = block.nodes;
    this.marked = [...block.nodes];
    this.masks = entry.slice();
    this.run();
    // Behind a call the callee's registers come back.
    this.out = Int32Array.from({ length: 16 }, (_, r) => (block.terminator.kind === 'call' ? 0 : this.known(r)));
  }

  private known(register: number): Facts {
    return this.holder[register]! < 0 ? this.masks[register]! : this.facts(this.holder[register]!);
  }

  private run(): void {
    const outer: { learned: Map<number, Facts>; registers: Registers; holder: Int32Array }[] = [];
    this.nodes.forEach((node, i) => {
      const { op, args, imm } = node;
      switch (op) {
        case 'xmm.get': {
          const register = imm[0] as number;
          this.learned.set(i, this.known(register));
          this.holder[register] = i;
          return;
        }
        case 'xmm.set':
          this.holder[imm[0] as number] = args[0]!;
          return;
        case 'when':
          outer.push({
            learned: new Map(this.learned),
            registers: Int32Array.from({ length: 16 }, (_, r) => this.known(r)),
            holder: this.holder.slice(),
          });
          return;
        case 'end': {
          const before = outer.pop()!;
          for (let r = 0; r < 16; r++) {
            const after = this.known(r);
            if (this.holder[r] === before.holder[r]) continue;
            this.masks[r] = before.registers[r]! & after;
            this.holder[r] = -1;
          }
          this.learned = before.learned;
          return;
        }
        case 'branch':
        case 'jump':
          if (i < this.nodes.length - 1) for (let r = 0; r < 16; r++) this.inner[r]! &= this.known(r);
          return;
        default:
          return this.operation(i, node);
      }
    });
  }

  private operation(i: number, { op, args, imm }: Node): void {
    const role = roles(op, imm);
    if (role === null) return;
    let word = 0;
    role.operands.forEach(({ shape, wanted }, k) => {
      word |= (this.onOperand(args[k]!, shape) & wanted) << (2 * k);
    });
    role.operands.forEach(({ shape, learned }, k) =>
      this.learn(
        args[k]!,
        shape === 'f64x2'
          ? ALL_DOUBLES & (learned * 0b0101)
          : shape === 'f32x4'
            ? ALL_SINGLES & ((learned * 0b0101_0101) << 4)
            : learned,
      ),
    );
    this.learned.set(i, role.result);
    const own = imm.slice(0, sseImmediates(op).length > 0 ? 1 : 0);
    this.marked[i] = nodeOf(op, args, word === 0 ? own : [...own, word]);
  }

  /** What holds for all lanes of an operand. */
  private onOperand(v: number, shape: Shape): number {
    const facts = this.facts(v);
    if (shape === 'f64x2') return facts & (facts >> 2) & BOTH;
    if (shape === 'f32x4') return (facts >> 4) & (facts >> 6) & (facts >> 8) & (facts >> 10) & BOTH;
    return facts & BOTH;
  }

  private learn(v: number, facts: Facts): void {
    this.learned.set(v, this.facts(v) | facts);
    const { op, args, imm } = this.nodes[v]!;
    switch (op) {
      case 'f64.reinterpret':
      case 'i64.reinterpret':
      case 'f32.reinterpret':
      case 'i32.reinterpret':
        return this.learn(args[0]!, facts);
      case 'f64x2.extract_lane':
      case 'i64x2.extract_lane':
        return this.learn(args[0]!, facts << doubleAt(imm[0] as number));
      case 'f32x4.extract_lane':
      case 'i32x4.extract_lane':
        return this.learn(args[0]!, facts << singleAt(imm[0] as number));
      default:
    }
  }

  private facts(v: number): Facts {
    if (this.depth === maximumDepth) return 0;
    this.depth++;
    const facts = (this.learned.get(v) ?? 0) | this.derived(v);
    this.depth--;
    return facts;
  }
  private derived(v: number): Facts {
    const { op, args, imm } = this.nodes[v]!;
    switch (op) {
      case 'v128.const':
        return ofVector(imm[0] as readonly number[]);
      case 'i64.const':
        return ofPattern(BigInt.asUintN(64, imm[0] as bigint), true);
      case 'i32.const':
        return ofPattern(BigInt.asUintN(32, BigInt(imm[0] as number)), false);
      case 'f64.const':
        scratch.setFloat64(0, imm[0] as number);
        return ofPattern(scratch.getBigUint64(0), true);
      case 'f64.convert_i32_s':
        return BOTH;
      case 'f64x2.convert_low_i32x4_s':
        return ALL_DOUBLES;
      case 'f64.reinterpret':
      case 'i64.reinterpret':
      case 'f32.reinterpret':
      case 'i32.reinterpret':
        return this.facts(args[0]!);
      case 'f64x2.extract_lane':
      case 'i64x2.extract_lane':
        return (this.facts(args[0]!) >> doubleAt(imm[0] as number)) & BOTH;
      case 'f32x4.extract_lane':
      case 'i32x4.extract_lane':
        return (this.facts(args[0]!) >> singleAt(imm[0] as number)) & BOTH;
      case 'f64x2.replace_lane':
      case 'i64x2.replace_lane': {
        const lane = imm[0] as number;
        const gone = (BOTH << doubleAt(lane)) | (0b1111 << singleAt(2 * lane));
        return (this.facts(args[0]!) & ~gone) | ((this.facts(args[1]!) & BOTH) << doubleAt(lane));
      }
      case 'f32x4.replace_lane':
      case 'i32x4.replace_lane': {
        const lane = imm[0] as number;
        const gone = (BOTH << doubleAt(lane >> 1)) | (BOTH << singleAt(lane));
        return (this.facts(args[0]!) & ~gone) | ((this.facts(args[1]!) & BOTH) << singleAt(lane));
      }
      case 'f64x2.splat':
      case 'i64x2.splat':
        return (this.facts(args[0]!) & BOTH) * 0b0101;
      case 'f32x4.splat':
      case 'i32x4.splat':
        return ((this.facts(args[0]!) & BOTH) * 0b0101_0101) << 4;
      case 'i8x16.shuffle':
        return this.shuffled(args as [number, number], imm[0] as readonly number[]);
      default:
        return 0;
    }
  }
  private shuffled(args: readonly [number, number], pattern: readonly number[]): Facts {
    const from = [this.facts(args[0]), this.facts(args[1])];
    let facts = 0;
    for (const [size, count, at] of [
      [8, 2, doubleAt],
      [4, 4, singleAt],
    ] as const) {
      for (let lane = 0; lane < count; lane++) {
        const first = pattern[lane * size]!;
        if (first % size !== 0 || pattern.slice(lane * size, lane * size + size).some((n, i) => n !== first + i))
          continue;
        facts |= ((from[first >> 4]! >> at((first & 15) / size)) & BOTH) << at(lane);
      }
    }
    return facts;
  }
}

/** The facts that operations of a block want of registers as they come in; `written` gets the registers that the block sets. */
function wantedAtStart(block: RegionBlock, written: Set<number>): Registers {
  const wanted = new Int32Array(16);
  const incoming = new Map<number, number>();
  const want = (v: number, facts: Facts): void => {
    const { op, args, imm } = block.nodes[v]!;
    if (op === 'xmm.get') {
      const register = incoming.get(v);
      if (register !== undefined) wanted[register]! |= facts;
    } else if (op === 'f64x2.extract_lane') want(args[0]!, facts << doubleAt(imm[0] as number));
    else if (op === 'f32x4.extract_lane') want(args[0]!, facts << singleAt(imm[0] as number));
  };
  block.nodes.forEach((node, i) => {
    const { op, args, imm } = node;
    if (op === 'xmm.get' && !written.has(imm[0] as number)) incoming.set(i, imm[0] as number);
    else if (op === 'xmm.set') written.add(imm[0] as number);
    const role = roles(op, imm);
    role?.operands.forEach(({ shape, wanted: use, learned }, k) => {
      const facts = use & learned; // what a quiet comparison allows is not worth a test
      want(args[k]!, shape === 'f64x2' ? facts * 0b0101 : shape === 'f32x4' ? (facts * 0b0101_0101) << 4 : facts);
    });
  });
  return wanted;
}

/** Whether demands are tested on the ways from the block's end (RegionFloat.pass). */
const isTested = ({ terminator: { kind } }: RegionBlock): boolean =>
  kind === 'jump' || kind === 'branch' || kind === 'choose' || kind === 'again';

/**
 * The facts that are sure to be wanted of registers where each block begins: whatever way is taken, they are operands
 * before they are written.
 */
function wantedEverywhere(region: Region): Registers[] {
  const { blocks } = region;
  const written = blocks.map(() => new Set<number>());
  const own = blocks.map((b, i) => wantedAtStart(b, written[i]!));
  const wanted = blocks.map(() => new Int32Array(16).fill(-1));
  for (let changed = true; changed; ) {
    changed = false;
    for (let i = blocks.length - 1; i >= 0; i--) {
      const block = blocks[i]!;
      const goesOn = block.successors.length > 0 && isTested(block);
      const ways = block.terminator.kind === 'branch' && block.terminator.taken !== block.terminator.next ? 2 : 1;
      const complete = goesOn && block.successors.length >= ways;
      for (let r = 0; r < 16; r++) {
        let after = complete && !written[i]!.has(r) ? -1 : 0;
        for (const s of block.successors) after &= wanted[s.order]![r]!;
        const now = own[i]![r]! | after;
        if (now === wanted[i]![r]) continue;
        wanted[i]![r] = now;
        changed = true;
      }
    }
  }
  // A loop without a way out would want everything.
  for (const registers of wanted) for (let r = 0; r < 16; r++) registers[r] = registers[r] === -1 ? 0 : registers[r]!;
  return wanted;
}

function demandsOf(masks: Registers): Demand[] {
  const demands: Demand[] = [];
  masks.forEach((mask, register) => {
    const of = (shape: Shape, facts: number): void => {
      if (facts !== 0) demands.push({ register, shape, facts });
    };
    const [low, high] = [mask & BOTH, (mask >> 2) & BOTH];
    if (high !== 0) of('f64x2', low | high);
    else of('f64', low);
    const singles = mask >> 4;
    if (singles >> 2 !== 0) of('f32x4', (singles | (singles >> 2) | (singles >> 4) | (singles >> 6)) & BOTH);
    else of('f32', singles & BOTH);
  });
  return demands;
}

export interface FloatDemands {
  /** What must hold where the region is entered. */
  readonly entry: readonly Demand[];
  /** What must hold, and is not known, where control passes from a block's end to another block. */
  edge(from: RegionBlock, to: RegionBlock): readonly Demand[];
}

/** Writes the facts into the region's nodes; returns what must be tested. Null = there is no floating point in it. */
export function markFacts(region: Region): FloatDemands | null {
  const { blocks } = region;
  if (!blocks.some((b) => b.nodes.some((n) => n.op.startsWith('sse.')))) return null;
  const wanted = wantedEverywhere(region);
  const none = new Int32Array(16);
  const demanded = blocks.map((b) =>
    b === region.entry || b.predecessors.some((p) => p.order >= b.order) ? wanted[b.order]! : none,
  );
  const entry = blocks.map(() => new Int32Array(16).fill(-1));
  entry[region.entry.order] = demanded[region.entry.order]!.slice();
  let facts: BlockFacts[] = [];
  for (let changed = true; changed; ) {
    changed = false;
    facts = blocks.map((block, i) => {
      const made = new BlockFacts(block, entry[i]!);
      for (const s of block.successors) {
        const into = entry[s.order]!;
        for (let r = 0; r < 16; r++) {
          const now = into[r]! & made.inner[r]! & (made.out[r]! | (isTested(block) ? demanded[s.order]![r]! : 0));
          if (now === into[r]) continue;
          into[r] = now;
          changed = true;
        }
      }
      return made;
    });
  }
  blocks.forEach((block, i) => {
    block.nodes = facts[i]!.marked;
  });
  return {
    entry: demandsOf(demanded[region.entry.order]!),
    edge: (from, to) =>
      isTested(from) ? demandsOf(demanded[to.order]!.map((mask, r) => mask & ~facts[from.order]!.out[r]!)) : [],
  };
}
