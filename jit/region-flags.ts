/**
 * Where the lazy flags of a region are while nobody looks at them: an operation that sets them says what they are made
 * of, and only who leaves makes them. Operands that still stand in registers then are taken from there, the others are
 * kept in the flags' locals. So a loop carries neither the operands nor what would have to be computed for them.
 */

import { type FlagKind, flagCode } from '../src/ir/flags.ts';
import { codeMayFault, type MicroOp, type Node, nodeOf, opList, x87Codes } from '../src/ir/micro-ops.ts';
import type { Type, Width } from '../src/ir/types.ts';
import type { Emitter, Expr } from './emitter.ts';
import { callsOut, type Region, type RegionBlock } from './region.ts';
import type { FlagValues, RegionFrame } from './region-frame.ts';

/** What a block's emission lends: the value for one use, and for several. */
interface BlockValues {
  value(v: number): Expr;
  shared(v: number, type: Type): () => Expr;
}

/** An operand made of registers as they are at the end of its instruction, and later. */
type Recipe =
  | { readonly op: 'register'; readonly register: number }
  | { readonly op: string; readonly args: readonly Recipe[]; readonly constant: bigint };

/** Equal recipes, equal texts. */
function textOf(recipe: Recipe | null): string {
  if (recipe === null) return '';
  if ('register' in recipe) return `r${recipe.register}`;
  const { op, args, constant } = recipe;
  return args.length === 0 ? `${op} ${constant}` : `${op}(${args.map(textOf)})`;
}

/** An operation that sets all flags, whose flags nobody looks at within the region. */
interface Producer {
  /** Not 0: that are flags that stand in their locals. */
  readonly id: number;
  readonly code: number;
  /** Null: it is in the flags' local; of the carry, which is in that of the kind, with the code. */
  readonly a: Recipe | null;
  readonly b: Recipe | null;
  readonly carry: Recipe | null;
}

/** More possible producers than this are not told apart where a region leaves. */
const maximumProducers = 4;
const maximumDepth = 4;
/** Operations that are as cheap as a move, by their numbers. */
const cheap = opList.map((op) => /^i(32|64)\.(add|sub|and|or|xor|wrap|extend_u|extend_s|shl|shr_u|shr_s)$/.test(op));

/** What a node means for flags that somebody has set, by its micro-op. */
const NOTHING = 0,
  LOOKS = 1,
  READS_FIELD = 2,
  REPLACES = 3,
  SETS_REGISTER = 4,
  FAULTS = 5,
  WHEN = 6,
  END = 7;
const meanings: Partial<Record<MicroOp, number>> = {
  'flags.get': LOOKS,
  'flags.test': LOOKS,
  'flags.merge': LOOKS,
  'state.get32': READS_FIELD,
  'state.get64': READS_FIELD,
  'flags.set': REPLACES,
  'reg.set': SETS_REGISTER,
  when: WHEN,
  end: END,
};
const meaningOf = Uint8Array.from(opList, (op, code) => meanings[op] ?? (codeMayFault(code) ? FAULTS : NOTHING));

/** What becomes of flags in a block, or in a part of it up to its end. */
interface Passage {
  readonly end: 'looked' | 'replaced' | 'passed';
  /** Someone may leave with them. */
  readonly leaves: boolean;
  /** Registers that change before the last place where someone may; and up to the end. */
  readonly changed: number;
  readonly changedAtEnd: number;
}

function passage({ nodes }: RegionBlock, from: number): Passage {
  let leaves = false;
  let [atLeave, changed, depth] = [0, 0, 0];
  for (let i = from; i < nodes.length; i++) {
    const { code, imm } = nodes[i]!;
    switch (meaningOf[code]) {
      case WHEN:
        depth++;
        break;
      case END:
        depth--;
        break;
      case READS_FIELD:
        if (!String(imm[0]).startsWith('flag')) break;
        return { end: 'looked', leaves, changed: atLeave, changedAtEnd: changed };
      case LOOKS:
        return { end: 'looked', leaves, changed: atLeave, changedAtEnd: changed };
      case REPLACES:
        if (depth === 0) return { end: 'replaced', leaves, changed: atLeave, changedAtEnd: changed };
        break;
      case SETS_REGISTER:
        changed |= 1 << (imm[0] as number);
        break;
      case FAULTS:
        leaves = true;
        atLeave = changed;
        break;
      default:
    }
  }
  return { end: 'passed', leaves, changed: atLeave, changedAtEnd: changed };
}
/** Nothing of a block's end happens in its middle, and it has an end of its own. */
const isPlain = ({ terminator, facts }: RegionBlock): boolean =>
  terminator.kind !== 'choose' && terminator.kind !== 'again' && facts.inner.length === 0;

interface Candidate {
  readonly block: RegionBlock;
  readonly index: number;
  /** Registers that change before the last place where someone may leave with these flags. */
  changed: number;
}

/** Flags that stand in their locals: those of the entry and of calls, and those that an operation sets at once. */
const atEntry = Symbol('entry');
const atOnce = Symbol('at once');
type Other = typeof atEntry | typeof atOnce;

export class RegionFlags {
  private readonly e: Emitter;
  private readonly frame: RegionFrame;
  /** Which of several producers it was. */
  private readonly id: number;
  private readonly plain = new Set<RegionBlock>();
  /** By the nodes that stand for the operations, with the operands that are not made of registers. */
  private readonly byNode = new Map<Node, Producer>();
  private readonly mixed = new Set<Producer>();
  /** Those with which control may leave. */
  private readonly left = new Set<Producer>();
  private readonly incoming = new Map<RegionBlock, ReadonlySet<Producer | null>>();

  /** `special`: blocks that handle their flags themselves. */
  constructor(e: Emitter, region: Region, frame: RegionFrame, special: (block: RegionBlock) => boolean) {
    this.e = e;
    this.frame = frame;
    this.id = e.local('i32');
    const { blocks } = region;
    if (blocks.some((b) => b.nodes.some(({ code }) => x87Codes[code]!))) return;
    for (const block of blocks) if (isPlain(block) && !special(block)) this.plain.add(block);
    this.choose(blocks);
  }

  /** On the way from one block to the other the flags are made, unless both can do without. */
  pass(from: RegionBlock, to: RegionBlock): void {
    const plain = this.plain.has(from);
    if (plain && this.plain.has(to)) return;
    if (plain || to.terminator.kind !== 'again') this.frame.pendingFlags?.make();
    if (plain) this.e.set(this.id, this.e.i32(0));
  }
  /** A block begins: what its flags are then. */
  begin(block: RegionBlock): void {
    if (this.plain.has(block)) this.pending([...(this.incoming.get(block) ?? [null])]);
  }
  /** The flags stand in their locals from here on. */
  inLocals(): void {
    this.e.set(this.id, this.e.i32(0));
    this.frame.pendingFlags = null;
  }
  /** Sets the flags if they are to be made later; false: set them at once. */
  set(node: Node, values: BlockValues): boolean {
    const producer = this.byNode.get(node);
    if (producer === undefined) return false;
    const { e, frame } = this;
    const { a, b, carry, id } = producer;
    const { args } = node;
    let next = 0;
    const kept = (recipe: Recipe | null, type: 'i32' | 'i64') => {
      if (recipe !== null) return null;
      const v = args[next++]!;
      return args.length === 1 ? () => values.value(v) : values.shared(v, type);
    };
    const [first, second, third] = [kept(a, 'i64'), kept(b, 'i64'), kept(carry, 'i32')];
    if (first !== null) e.set(frame.flagA, first());
    if (second !== null) e.set(frame.flagB, second());
    if (third !== null) e.set(frame.flagKind, frame.kind(producer.code, third(), false));
    e.set(this.id, e.i32(id));
    this.pending([producer]);
    return true;
  }
  /** The flags of one of these producers are made where someone leaves; null = they are in the locals. */
  private pending(producers: readonly (Producer | null)[]): void {
    const { frame } = this;
    const made = producers.filter((p) => p !== null);
    const one = made.length === 1 && producers.length === 1 && this.isAlone(made[0]!) ? made[0]! : null;
    const leave = () => {
      for (const p of made) this.left.add(p);
    };
    if (made.length === 0) frame.pendingFlags = null;
    else if (one !== null) frame.pendingFlags = { make: () => this.make(one), values: () => this.values(one), leave };
    else frame.pendingFlags = { make: () => this.makeOneOf(made), leave };
  }
  private makeOneOf(producers: Iterable<Producer>): void {
    const { e } = this;
    for (const p of producers) e.if(e.op('i32.eq', e.get(this.id, 'i32'), e.i32(p.id)), () => this.make(p));
  }
  /** Where all ways out meet: makes the flags of those with which some of them leave. */
  makeLeft(): void {
    this.makeOneOf(this.left);
  }
  /** No condition after it sets flags, too: then which it was must be looked at. */
  private isAlone(producer: Producer): boolean {
    return !this.mixed.has(producer);
  }
  private make({ a, b, carry, code }: Producer): void {
    const { e, frame } = this;
    if (a !== null) e.set(frame.flagA, this.expression(a));
    if (b !== null) e.set(frame.flagB, this.expression(b));
    if (carry !== null) e.set(frame.flagKind, this.kind(code, carry));
  }
  private values({ a, b, carry, code }: Producer): FlagValues {
    const { frame } = this;
    return {
      kind: carry === null ? frame.i32(frame.flagKind) : this.kind(code, carry),
      a: a === null ? frame.i64(frame.flagA) : this.expression(a),
      b: b === null ? frame.i64(frame.flagB) : this.expression(b),
    };
  }
  private kind(code: number, carry: Recipe): Expr {
    if (!('register' in carry) && carry.op === 'i32.const') return this.frame.kind(code, Number(carry.constant), true);
    return this.frame.kind(code, this.expression(carry), false);
  }
  private expression(recipe: Recipe): Expr {
    const { e, frame } = this;
    if ('register' in recipe) return frame.i64(frame.register('r', recipe.register).local);
    const { op, args, constant } = recipe;
    if (op === 'i64.const') return e.i64(constant);
    if (op === 'i32.const') return e.i32(Number(constant));
    return e.op(op, ...args.map((one) => this.expression(one)));
  }

  // --- the choice
  private choose(blocks: readonly RegionBlock[]): void {
    let candidates: Candidate[] = [];
    for (const block of this.plain) {
      let depth = 0;
      const { nodes } = block;
      for (let index = 0; index < nodes.length; index++) {
        const meaning = meaningOf[nodes[index]!.code];
        if (meaning === WHEN) depth++;
        else if (meaning === END) depth--;
        else if (meaning === REPLACES && depth === 0) candidates.push({ block, index, changed: 0 });
      }
    }
    const through = new Map<RegionBlock, Passage>();
    candidates = candidates.filter((c) => this.follow(c, through));
    // Where too many meet, they are not taken.
    for (;;) {
      const reaching = this.reaching(blocks, candidates);
      const crowds = [...reaching.values()].filter(
        (set) => set.size > maximumProducers || (set.has(atOnce) && set.size > 1),
      );
      const dropped = candidates.filter((c) => crowds.some((set) => set.has(c)));
      if (dropped.length === 0) return this.take(candidates, reaching);
      candidates = candidates.filter((c) => !dropped.includes(c));
    }
  }

  /** Follows flags to where they end. False if someone looks at them. */
  private follow(candidate: Candidate, through: Map<RegionBlock, Passage>): boolean {
    const seen = new Map<RegionBlock, number>();
    const work = [{ block: candidate.block, from: candidate.index + 1, changed: 0 }];
    for (let at = work.pop(); at !== undefined; at = work.pop()) {
      let part = at.from === 0 ? through.get(at.block) : undefined;
      if (part === undefined) {
        part = passage(at.block, at.from);
        if (at.from === 0) through.set(at.block, part);
      }
      if (part.end === 'looked') return false;
      if (part.leaves) candidate.changed |= at.changed | part.changed;
      if (part.end === 'replaced') continue;
      const end = at.changed | part.changedAtEnd;
      candidate.changed |= end;
      if (callsOut(at.block)) continue;
      for (const s of at.block.successors) {
        if (!this.plain.has(s)) continue; // they are made on the way there
        const known = seen.get(s);
        const changed = end | (known ?? 0);
        if (changed === known) continue;
        seen.set(s, changed);
        work.push({ block: s, from: 0, changed });
      }
    }
    return true;
  }

  /** What may have set the flags where each block begins: one of these, or something else. */
  private reaching(
    blocks: readonly RegionBlock[],
    candidates: readonly Candidate[],
  ): Map<RegionBlock, Set<Candidate | Other>> {
    const taken = new Map<RegionBlock, Map<number, Candidate>>();
    for (const c of candidates) {
      const list = taken.get(c.block);
      if (list === undefined) taken.set(c.block, new Map([[c.index, c]]));
      else list.set(c.index, c);
    }
    const into = new Map<RegionBlock, Set<Candidate | Other>>(blocks.map((b) => [b, new Set()]));
    into.get(blocks[0]!)!.add(atEntry);
    const ways = blocks.map((block) => {
      const made = callsOut(block) || !this.plain.has(block);
      const ending: Ending = made
        ? { sets: [callsOut(block) ? atEntry : atOnce], keeps: false }
        : endingOf(block, taken.get(block));
      return {
        from: into.get(block)!,
        ...ending,
        to: block.successors.filter((s) => this.plain.has(s)).map((s) => into.get(s)!),
      };
    });
    for (let changed = true; changed; ) {
      changed = false;
      for (const { from, sets, keeps, to } of ways) {
        for (const set of to) {
          const { size } = set;
          if (keeps && set !== from) for (const one of from) set.add(one);
          for (const one of sets) set.add(one);
          changed ||= set.size !== size;
        }
      }
    }
    return into;
  }

  private take(
    candidates: readonly Candidate[],
    reaching: ReadonlyMap<RegionBlock, ReadonlySet<Candidate | Other>>,
  ): void {
    const made = new Map<Candidate, Producer>();
    const alike = new Map<string, Producer>();
    for (const candidate of candidates) {
      const { block, index, changed } = candidate;
      const { args, imm } = block.nodes[index]!;
      const content = contentAt(block.nodes, index);
      const recipe = (v: number) => derive(block.nodes, content, ~changed, v, maximumDepth);
      const recipes = args.map(recipe);
      const [a, b, carry] = recipes as [Recipe | null, Recipe | null, Recipe | null];
      const remaining = args.filter((_, k) => recipes[k] === null);
      const node = nodeOf('flags.set', remaining, imm);
      const code = flagCode(imm[0] as FlagKind, imm[1] as Width);
      const key = `${code} ${textOf(a)} ${textOf(b)} ${textOf(carry)}`;
      let producer = alike.get(key);
      if (producer === undefined) alike.set(key, (producer = { id: alike.size + 1, code, a, b, carry }));
      made.set(candidate, producer);
      this.byNode.set(node, producer);
      block.nodes = block.nodes.with(index, node);
    }
    for (const [block, set] of reaching) {
      const producers = new Set([...set].map((c) => (typeof c === 'symbol' ? null : made.get(c)!)));
      this.incoming.set(block, producers);
      if (!hasConditionalSet(block.nodes)) continue;
      for (const p of producers) if (p !== null) this.mixed.add(p);
      for (const [c, p] of made) if (c.block === block) this.mixed.add(p);
    }
  }
}

/** A `when` sets flags. */
function hasConditionalSet(nodes: readonly Node[]): boolean {
  let depth = 0;
  for (const { op } of nodes) {
    if (op === 'when') depth++;
    else if (op === 'end') depth--;
    else if (depth > 0 && (op === 'flags.set' || op === 'flags.merge')) return true;
  }
  return false;
}

/** What may have set the flags at a block's end: these; and what had set them before. */
interface Ending {
  readonly sets: readonly (Candidate | Other)[];
  readonly keeps: boolean;
}

function endingOf({ nodes }: RegionBlock, taken: ReadonlyMap<number, Candidate> | undefined): Ending {
  let sets: (Candidate | Other)[] = [];
  let keeps = true;
  let depth = 0;
  for (let i = 0; i < nodes.length; i++) {
    const { op } = nodes[i]!;
    if (op === 'when') depth++;
    else if (op === 'end') depth--;
    else if (op === 'flags.set' || op === 'flags.merge') {
      if (depth === 0) [sets, keeps] = [[taken?.get(i) ?? atOnce], false];
      else sets.push(atOnce);
    }
  }
  return { sets, keeps };
}

/** The value that each register holds before node `end`. */
function contentAt(nodes: readonly Node[], end: number): Map<number, number> {
  const content = new Map<number, number>();
  let depth = 0;
  for (let i = 0; i < end; i++) {
    const { op, args, imm } = nodes[i]!;
    const register = imm[0] as number;
    if (op === 'when') depth++;
    else if (op === 'end') depth--;
    else if (op === 'reg.get' && depth === 0 && !content.has(register)) content.set(register, i);
    else if (op === 'reg.set' && depth === 0) content.set(register, args[0]!);
    else if (op === 'reg.set') content.set(register, -1); // perhaps
  }
  return content;
}

/** A value made of registers in `allowed`, or null. */
function derive(
  nodes: readonly Node[],
  content: ReadonlyMap<number, number>,
  allowed: number,
  v: number,
  depth: number,
): Recipe | null {
  const { op, code, args, imm } = nodes[v]!;
  const constant = (bits: 32 | 64, value: bigint): Recipe => ({ op: `i${bits}.const`, args: [], constant: value });
  const of = (name: string, ...operands: Recipe[]): Recipe => ({ op: name, args: operands, constant: 0n });
  if (op === 'i64.const') return constant(64, imm[0] as bigint);
  if (op === 'i32.const') return constant(32, BigInt(imm[0] as number));
  for (const [register, made] of content) {
    if (made < 0 || (allowed & (1 << register)) === 0) continue;
    const whole: Recipe = { op: 'register', register };
    if (made === v) return whole;
    const node = nodes[made]!;
    const narrow = node.op === 'i64.extend_u';
    if (narrow && node.args[0] === v) return of('i32.wrap', whole);
    // The register is the value and a constant: the other way round.
    const sum = narrow ? nodes[node.args[0]!]! : node;
    const bits = narrow ? 32 : 64;
    if ((sum.op !== `i${bits}.add` && sum.op !== `i${bits}.sub`) || sum.args[0] !== v) continue;
    const by = nodes[sum.args[1]!]!;
    if (by.op !== `i${bits}.const`) continue;
    const now = narrow ? of('i32.wrap', whole) : whole;
    return of(
      sum.op.endsWith('add') ? `i${bits}.sub` : `i${bits}.add`,
      now,
      constant(bits, BigInt(by.imm[0] as number | bigint)),
    );
  }
  if (depth === 0 || !cheap[code]!) return null;
  const operands = args.map((a) => derive(nodes, content, allowed, a, depth - 1));
  return operands.some((o) => o === null) ? null : of(op, ...(operands as Recipe[]));
}
