/**
 * Where the lazy flags of a region are while nobody looks at them: an operation that sets them says what they are made
 * of, and only who leaves makes them. Operands that still stand in registers then are taken from there, the others are
 * kept in the flags' locals. So a loop carries neither the operands nor what would have to be computed for them.
 */
import { type FlagKind, flagCode } from '../src/ir/flags.ts';
import { codeMayFault, type Node, nodeOf } from '../src/ir/micro-ops.ts';
import type { Width } from '../src/ir/types.ts';
import { isX87 } from '../src/ir/x87-ops.ts';
import type { Emitter, Expr } from './emitter.ts';
import { callsOut, innerTargets, type Region, type RegionBlock } from './region.ts';
import type { RegionFrame } from './region-frame.ts';

/** An operand made of registers as they are at the end of its instruction, and later. */
type Recipe =
  | { readonly op: 'register'; readonly register: number }
  | { readonly op: string; readonly args: readonly Recipe[]; readonly constant: bigint };

/** An operation that sets all flags, whose flags nobody looks at within the region. */
interface Producer {
  /** Not 0: that are flags that stand in their locals. */
  readonly id: number;
  readonly code: number;
  /** Null: it is in the flags' local. */
  readonly a: Recipe | null;
  readonly b: Recipe | null;
  readonly carry: Recipe | null;
}

/** More possible producers than this are not told apart where a region leaves. */
const maximumProducers = 4;
const maximumDepth = 4;
/** Operations that are as cheap as a move. */
const cheap = /^i(32|64)\.(add|sub|and|or|xor|wrap|extend_u|extend_s|shl|shr_u|shr_s)$/;

const looks = ({ op, imm }: Node): boolean =>
  /^flags\.(get|test|merge)$/.test(op) || (/^state\.get/.test(op) && String(imm[0]).startsWith('flag'));
/** Nothing of a block's end happens in its middle, and it has an end of its own. */
const isPlain = ({ terminator, nodes }: RegionBlock): boolean =>
  terminator.kind !== 'choose' && terminator.kind !== 'again' && innerTargets(nodes).length === 0;

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
  private readonly incoming = new Map<RegionBlock, ReadonlySet<Producer | null>>();

  /** `special`: blocks that handle their flags themselves. */
  constructor(e: Emitter, region: Region, frame: RegionFrame, special: (block: RegionBlock) => boolean) {
    this.e = e;
    this.frame = frame;
    this.id = e.local('i32');
    const { blocks } = region;
    if (blocks.some((b) => b.nodes.some((n) => isX87(n.op)))) return;
    for (const block of blocks) if (isPlain(block) && !special(block)) this.plain.add(block);
    this.choose(blocks);
  }

  /** On the way from one block to the other the flags are made, unless both can do without. */
  pass(from: RegionBlock, to: RegionBlock): void {
    const plain = this.plain.has(from);
    if (plain && this.plain.has(to)) return;
    if (plain || to.terminator.kind !== 'again') this.frame.pendingFlags?.();
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
  set(node: Node, value: (v: number) => Expr): boolean {
    const producer = this.byNode.get(node);
    if (producer === undefined) return false;
    const { e, frame } = this;
    const { a, b, carry, id } = producer;
    let next = 0;
    const kept = (recipe: Recipe | null, type: 'i32' | 'i64') =>
      recipe === null ? e.share(value(node.args[next++]!), type) : null;
    const [first, second, third] = [kept(a, 'i64'), kept(b, 'i64'), kept(carry, 'i32')];
    if (first !== null) e.set(frame.flagA, first());
    if (second !== null) e.set(frame.flagB, second());
    if (third !== null) e.set(frame.flagCarry, third());
    e.set(this.id, e.i32(id));
    this.pending([producer]);
    return true;
  }
  /** The flags of one of these producers are made where someone leaves; null = they are in the locals. */
  private pending(producers: readonly (Producer | null)[]): void {
    const { e, frame } = this;
    const made = producers.filter((p) => p !== null);
    const one = made.length === 1 && producers.length === 1 && this.isAlone(made[0]!);
    frame.pendingFlags =
      made.length === 0
        ? null
        : () => {
            if (one) return this.make(made[0]!);
            for (const p of made) e.if(e.op('i32.eq', e.get(this.id, 'i32'), e.i32(p.id)), () => this.make(p));
          };
  }
  /** No condition after it sets flags, too: then which it was must be looked at. */
  private isAlone(producer: Producer): boolean {
    return !this.mixed.has(producer);
  }
  private make({ a, b, carry, code }: Producer): void {
    const { e, frame } = this;
    if (a !== null) e.set(frame.flagA, this.expression(a));
    if (b !== null) e.set(frame.flagB, this.expression(b));
    if (carry !== null) e.set(frame.flagCarry, this.expression(carry));
    e.set(frame.flagCode, e.i32(code));
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
      block.nodes.forEach((node, index) => {
        if (node.op === 'when') depth++;
        else if (node.op === 'end') depth--;
        else if (node.op === 'flags.set' && depth === 0) candidates.push({ block, index, changed: 0 });
      });
    }
    candidates = candidates.filter((c) => this.follow(c));
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
  private follow(candidate: Candidate): boolean {
    const seen = new Map<RegionBlock, number>();
    const work = [{ block: candidate.block, from: candidate.index + 1, changed: 0 }];
    for (let at = work.pop(); at !== undefined; at = work.pop()) {
      const end = this.followThrough(at.block, at.from, at.changed, candidate);
      if (end === 'looked') return false;
      if (end === 'replaced' || callsOut(at.block)) continue;
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
  /** The registers that are changed at the block's end, or why the flags do not come there. */
  private followThrough(
    { nodes }: RegionBlock,
    from: number,
    before: number,
    candidate: Candidate,
  ): number | 'looked' | 'replaced' {
    let changed = before;
    let depth = 0;
    for (let i = from; i < nodes.length; i++) {
      const { op, code, imm } = nodes[i]!;
      if (op === 'when') depth++;
      else if (op === 'end') depth--;
      else if (looks(nodes[i]!)) return 'looked';
      else if (op === 'flags.set' && depth === 0) return 'replaced';
      else if (op === 'reg.set') changed |= 1 << (imm[0] as number);
      else if (codeMayFault(code)) candidate.changed |= changed;
    }
    candidate.changed |= changed;
    return changed;
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
    for (let changed = true; changed; ) {
      changed = false;
      for (const block of blocks) {
        const made = callsOut(block) || !this.plain.has(block);
        const out: ReadonlySet<Candidate | Other> = made
          ? new Set<Other>([callsOut(block) ? atEntry : atOnce])
          : outOf(block, into.get(block)!, taken.get(block));
        for (const s of block.successors) {
          const set = into.get(s)!;
          const size = set.size;
          if (this.plain.has(s)) for (const one of out) set.add(one);
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
    candidates.forEach((candidate, i) => {
      const { block, index, changed } = candidate;
      const { args, imm } = block.nodes[index]!;
      const content = contentAt(block.nodes, index);
      const recipe = (v: number) => derive(block.nodes, content, ~changed, v, maximumDepth);
      const recipes = args.map(recipe);
      const [a, b, carry] = recipes as [Recipe | null, Recipe | null, Recipe | null];
      const remaining = args.filter((_, k) => recipes[k] === null);
      const node = nodeOf('flags.set', remaining, imm);
      const code = flagCode(imm[0] as FlagKind, imm[1] as Width);
      const producer: Producer = { id: i + 1, code, a, b, carry };
      made.set(candidate, producer);
      this.byNode.set(node, producer);
      block.nodes = block.nodes.with(index, node);
    });
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

/** What may have set the flags at a block's end. */
function outOf(
  { nodes }: RegionBlock,
  into: ReadonlySet<Candidate | Other>,
  taken: ReadonlyMap<number, Candidate> | undefined,
): ReadonlySet<Candidate | Other> {
  let out = into;
  let depth = 0;
  nodes.forEach(({ op }, i) => {
    if (op === 'when') depth++;
    else if (op === 'end') depth--;
    else if (op === 'flags.set' || op === 'flags.merge')
      out = depth === 0 ? new Set([taken?.get(i) ?? atOnce]) : new Set([...out, atOnce]);
  });
  return out;
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
  const { op, args, imm } = nodes[v]!;
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
  if (depth === 0 || !cheap.test(op)) return null;
  const operands = args.map((a) => derive(nodes, content, allowed, a, depth - 1));
  return operands.some((o) => o === null) ? null : of(op, ...(operands as Recipe[]));
}
