/**
 * Makes a recorded block smaller: registers are forwarded from their last write, conditions are fused with the operation
 * that set the flags, flags that nobody can see are dropped. The result is a new list of micro-ops with the same effect
 * at every point where a fault or a leave can show the state.
 */
import { Builder, type ExecutionContext } from './builder.ts';
import { condition, type FlagSource, flagWord } from './flag-formulas.ts';
import { ARITHMETIC_FLAGS, conditionFlags, type FlagKind, flagCode } from './flags.ts';
import { mayFault, microOps, type Node } from './micro-ops.ts';
import type { Value, Width } from './types.ts';
import { isX87 } from './x87-ops.ts';

/** What is known of the flags at a point: a source, and bits that later replaced some of them. */
interface FlagState {
  /** The operations that may have set them: the field `flagKind` says which, if there are several. Null = anything. */
  source: readonly FlagSource[] | null;
  /** Flags in `mask` stand in `word`; null = none replaced. */
  merged: { mask: number; word: Value<'i32'> } | null;
}

/** What the optimiser is told of the block's surroundings. */
export interface Surroundings {
  /** Arithmetic flags that someone may see after the block. */
  readonly liveOut: number;
}

export function optimise(
  nodes: readonly Node[],
  context: ExecutionContext,
  around: Surroundings = { liveOut: ARITHMETIC_FLAGS },
): Node[] {
  return withoutDeadFlags(forward(nodes, context), around.liveOut, true);
}

/** Kind and width of the operation that set the flags, where a block is entered. */
export interface FlagProducer {
  readonly kind: FlagKind;
  readonly width: Width;
}

/**
 * Copies the nodes through a new builder, forwarding registers and fusing conditions. `producers`: what may have set the
 * flags that stand in the lazy flag fields when the block begins, null = anything.
 */
export function forward(
  nodes: readonly Node[],
  context: ExecutionContext,
  producers: readonly FlagProducer[] | null = null,
): readonly Node[] {
  const b = new Builder(context);
  const map: number[] = [];
  let registers = new Map<string, number>();
  let flags: FlagState = { source: producers === null ? null : incoming(b, producers), merged: null };
  const outer: { registers: Map<string, number>; flags: FlagState }[] = [];

  for (let i = 0; i < nodes.length; i++) {
    const node = nodes[i]!;
    const args = node.args.map((a) => map[a]!);
    const [first] = node.imm;
    switch (node.op) {
      case 'reg.get':
      case 'xmm.get':
      case 'ymm.get': {
        const key = `${node.op[0]}${first}`;
        let value = registers.get(key);
        if (value === undefined) {
          value = b.emit(node.op, [], first!);
          registers.set(key, value);
        }
        map[i] = value;
        break;
      }
      case 'reg.set':
      case 'xmm.set':
      case 'ymm.set':
        // VEX-encoded instructions clear upper halves that mostly are clear already.
        if (node.op === 'ymm.set' && registers.get(`y${first}`) === args[0]) break;
        b.emit(node.op, args, first!);
        registers.set(`${node.op[0]}${first}`, args[0]!);
        break;
      case 'flags.set': {
        const [kind, width] = node.imm as [FlagKind, Width];
        flags = {
          source: [
            { kind, width, a: args[0] as Value<'i64'>, b: args[1] as Value<'i64'>, carry: args[2] as Value<'i32'> },
          ],
          merged: null,
        };
        b.emit(node.op, args, kind, width);
        break;
      }
      case 'flags.merge': {
        const mask = first as number;
        const word = args[0] as Value<'i32'>;
        if (flags.source !== null) {
          const rest = ARITHMETIC_FLAGS & ~mask;
          const all = b.or(known(b, flags, rest)!, b.and(word, b.i32(mask)));
          const source: FlagSource = { kind: 'bits', width: 32, a: b.extendU(all), b: b.i64(0), carry: b.i32(0) };
          flags = { source: [source], merged: { mask, word } };
          b.emit('flags.set', [source.a, source.b, source.carry], 'bits', 32);
        } else {
          const before = flags.merged;
          const merged =
            before === null
              ? { mask, word }
              : {
                  mask: before.mask | mask,
                  word: b.or(b.and(before.word, b.i32(before.mask & ~mask)), b.and(word, b.i32(mask))),
                };
          flags = { source: null, merged };
          b.emit('flags.merge', [merged.word], merged.mask);
        }
        break;
      }
      case 'flags.get': {
        const mask = first as number;
        map[i] = known(b, flags, mask) ?? b.emit('flags.get', [], mask);
        break;
      }
      case 'flags.test':
        map[i] = knownCondition(b, flags, first as number) ?? b.emit('flags.test', [], first as number);
        break;
      case 'when':
        outer.push({ registers: new Map(registers), flags });
        b.emit('when', args);
        b.enterScope();
        break;
      case 'end': {
        b.leaveScope();
        b.emit('end');
        const before = outer.pop()!;
        // What the body changed is unknown after it: it may not have run.
        for (const [key, value] of before.registers) if (registers.get(key) !== value) before.registers.delete(key);
        registers = before.registers;
        flags = flags === before.flags ? flags : { source: null, merged: null };
        break;
      }
      case 'mmx.get':
      case 'mmx.set': {
        const key = `m${first}`;
        if (node.op === 'mmx.set') {
          b.emit(node.op, args, first!);
          registers.set(key, args[0]!);
          break;
        }
        const value = registers.get(key) ?? b.emit(node.op, [], first!);
        registers.set(key, value);
        map[i] = value;
        break;
      }
      case 'mmx.ready':
      case 'mmx.enter':
        // Once is enough until an x87 instruction or EMMS comes: no other changes status and tags.
        if (registers.has(node.op)) break;
        registers.set(node.op, 0);
        b.emit(node.op);
        break;
      case 'mmx.empty':
        registers.delete('mmx.enter');
        b.emit(node.op);
        break;
      default:
        if (isX87(node.op)) for (const key of registers.keys()) if (key[0] === 'm') registers.delete(key);
        map[i] = b.emit(node.op, args, ...node.imm);
    }
  }
  return withoutUnused(b.nodes);
}

const nothing: Node = { op: 'i32.const', args: [], imm: [0] };

/** Blanks what only computes or reads and that nobody needs. */
function withoutUnused(nodes: readonly Node[]): Node[] {
  const used = new Uint8Array(nodes.length);
  const result = [...nodes];
  for (let i = nodes.length - 1; i >= 0; i--) {
    const { op, args } = nodes[i]!;
    const { effect } = microOps[op];
    if ((effect === 'pure' || effect === 'read') && used[i] === 0) result[i] = nothing;
    else for (const a of args) used[a] = 1;
  }
  return result;
}

/** The lazy flag fields as sources. `flagCode` and `flagCarry` are the parts of the field flagKind, as a region holds them. */
function incoming(b: Builder, producers: readonly FlagProducer[]): FlagSource[] {
  const carry = b.state32('flagCarry');
  const [first, second] = [b.state64('flagA'), b.state64('flagB')];
  return producers.map(({ kind, width }) => ({ kind, width, a: first, b: second, carry }));
}

/** A formula over the sources: the field `flagKind` chooses, where there are several. */
function overSources(
  b: Builder,
  sources: readonly FlagSource[],
  formula: (s: FlagSource) => Value<'i32'>,
): Value<'i32'> {
  const [first, ...others] = sources;
  const value = formula(first!);
  if (others.length === 0) return value;
  return b.select(
    b.eq(b.state32('flagCode'), b.i32(flagCode(first!.kind, first!.width))),
    value,
    overSources(b, others, formula),
  );
}

/** The flags in `mask` where the block itself says what they are. */
function known(b: Builder, { source, merged }: FlagState, mask: number): Value<'i32'> | null {
  const inMerged = merged === null ? 0 : merged.mask & mask;
  if (inMerged === mask && merged !== null) return b.and(merged.word, b.i32(mask));
  if (source === null) return null;
  return overSources(b, source, (s) => flagWord(b, s, mask));
}

function knownCondition(b: Builder, state: FlagState, code: number): Value<'i32'> | null {
  const needed = conditionFlags(code);
  const { source, merged } = state;
  if (merged !== null && (merged.mask & needed) === needed) {
    const bits: FlagSource = { kind: 'bits', width: 32, a: b.extendU(merged.word), b: b.i64(0), carry: b.i32(0) };
    return condition(b, bits, code);
  }
  return source === null ? null : overSources(b, source, (s) => condition(b, s, code));
}

/**
 * Drops flag writes that are overwritten before anyone can see them, and pure micro-ops with them (the readers emit a
 * pure micro-op only where it is used). A carry that only `inc` or `dec` hands on is dropped with the flags' users.
 *
 * `endsAtStores`: the block may end behind any instruction that stores, since it may overwrite the block.
 */
export function withoutDeadFlags(nodes: readonly Node[], liveOut: number, endsAtStores = false): Node[] {
  const result: Node[] = [...nodes];
  const maybeLast = new Set<number>();
  if (endsAtStores) {
    let stores = false;
    nodes.forEach(({ op }, i) => {
      if (op === 'insn') {
        if (stores) maybeLast.add(i);
        stores = false;
      } else if (op.startsWith('store.')) stores = true;
    });
  }
  let live = liveOut;
  const afterBody: number[] = [];
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i]!;
    switch (node.op) {
      case 'flags.set':
        if (live === 0) result[i] = nothing;
        else if (afterBody.length === 0) live = 0;
        break;
      case 'flags.merge': {
        const mask = node.imm[0] as number;
        if (live === 0)
          result[i] = nothing; // else it stays: it says of what kind the flags are
        else if (afterBody.length === 0) live &= ~mask;
        break;
      }
      case 'flags.get':
        live |= node.imm[0] as number;
        break;
      case 'flags.test':
        live |= conditionFlags(node.imm[0] as number);
        break;
      case 'insn':
        if (maybeLast.has(i)) live = ARITHMETIC_FLAGS;
        break;
      case 'end':
        afterBody.push(live);
        break;
      case 'when':
        live |= afterBody.pop()!;
        break;
      case 'call':
        live = ARITHMETIC_FLAGS;
        break;
      case 'jump':
      case 'branch':
        // Out of the middle of a block (a repeated string instruction): who knows who looks.
        if (afterBody.length > 0) live = ARITHMETIC_FLAGS;
        break;
      default:
        if (mayFault(node.op)) live = ARITHMETIC_FLAGS;
    }
  }
  return result;
}
