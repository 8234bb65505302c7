/**
 * Makes a recorded block smaller: registers are forwarded from their last write, conditions are fused with the operation
 * that set the flags, flags that nobody can see are dropped. The result is a new list of micro-ops with the same effect
 * at every point where a fault or a leave can show the state.
 */
import { Builder, type ExecutionContext } from './builder.ts';
import { condition, type FlagSource, flagWord } from './flag-formulas.ts';
import { ARITHMETIC_FLAGS, conditionFlags, type FlagKind, flagCode } from './flags.ts';
import { codeMayFault, effects, type Immediate, type Node, nodeOf, PURE, READ, x87Codes } from './micro-ops.ts';
import type { Value, Width } from './types.ts';

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

const none: readonly number[] = [];
/** What stands in registers: general ones, xmm, upper halves, MMX, and that the unit is ready for MMX or has entered it. */
const firstMmx = 48;
const mmxReady = 56;
const mmxEntered = 57;
const registerCount = 58;
function registerOf(op: Node['op'], index: Immediate): number {
  const file = op.charCodeAt(0); // r, x, y, m
  return (index as number) + (file === 114 ? 0 : file === 120 ? 16 : file === 121 ? 32 : firstMmx);
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
  const map = new Int32Array(nodes.length);
  let registers = new Int32Array(registerCount).fill(-1);
  let flags: FlagState = { source: producers === null ? null : incoming(b, producers), merged: null };
  const outer: { registers: Int32Array<ArrayBuffer>; flags: FlagState }[] = [];

  for (let i = 0; i < nodes.length; i++) {
    const node = nodes[i]!;
    const args: number[] = [];
    for (let k = 0; k < node.args.length; k++) args.push(map[node.args[k]!]!);
    const first = node.imm[0];
    switch (node.op) {
      case 'reg.get':
      case 'xmm.get':
      case 'ymm.get':
      case 'mmx.get': {
        const key = registerOf(node.op, first!);
        if (registers[key]! < 0) registers[key] = b.copy(node, none);
        map[i] = registers[key]!;
        break;
      }
      case 'reg.set':
      case 'xmm.set':
      case 'ymm.set':
      case 'mmx.set': {
        const key = registerOf(node.op, first!);
        // VEX-encoded instructions clear upper halves that mostly are clear already.
        if (node.op === 'ymm.set' && registers[key] === args[0]) break;
        b.copy(node, args);
        registers[key] = args[0]!;
        break;
      }
      case 'flags.set': {
        const [kind, width] = node.imm as [FlagKind, Width];
        flags = {
          source: [
            { kind, width, a: args[0] as Value<'i64'>, b: args[1] as Value<'i64'>, carry: args[2] as Value<'i32'> },
          ],
          merged: null,
        };
        b.copy(node, args);
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
        outer.push({ registers: registers.slice(), flags });
        b.emit('when', args);
        b.enterScope();
        break;
      case 'end': {
        b.leaveScope();
        b.emit('end');
        const before = outer.pop()!;
        // What the body changed is unknown after it: it may not have run.
        for (let k = 0; k < registerCount; k++) if (registers[k] !== before.registers[k]) before.registers[k] = -1;
        ({ registers } = before);
        flags = flags === before.flags ? flags : { source: null, merged: null };
        break;
      }
      case 'mmx.ready':
      case 'mmx.enter': {
        // Once is enough until an x87 instruction or EMMS comes: no other changes status and tags.
        const key = node.op === 'mmx.ready' ? mmxReady : mmxEntered;
        if (registers[key] === 0) break;
        registers[key] = 0;
        b.emit(node.op);
        break;
      }
      case 'mmx.empty':
        registers[mmxEntered] = -1;
        b.emit(node.op);
        break;
      default:
        if (x87Codes[node.code]!) registers.fill(-1, firstMmx);
        map[i] = b.copy(node, args);
    }
  }
  return withoutUnused(b.nodes);
}

const nothing = nodeOf('i32.const', [], [0]);

/** Blanks what only computes or reads and that nobody needs. */
function withoutUnused(nodes: readonly Node[]): Node[] {
  const used = new Uint8Array(nodes.length);
  const result = nodes.slice();
  for (let i = nodes.length - 1; i >= 0; i--) {
    const { code, args } = nodes[i]!;
    const effect = effects[code];
    if ((effect === PURE || effect === READ) && used[i] === 0) result[i] = nothing;
    else for (let k = 0; k < args.length; k++) used[args[k]!] = 1;
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
  const result: Node[] = nodes.slice();
  const maybeLast = new Uint8Array(nodes.length);
  if (endsAtStores) {
    let stores = false;
    for (let i = 0; i < nodes.length; i++) {
      const { op } = nodes[i]!;
      if (op === 'insn') {
        if (stores) maybeLast[i] = 1;
        stores = false;
      } else if (op === 'store.32' || op === 'store.64' || op === 'store.8' || op === 'store.16' || op === 'store.128')
        stores = true;
    }
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
        if (maybeLast[i] === 1) live = ARITHMETIC_FLAGS;
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
        if (codeMayFault(node.code)) live = ARITHMETIC_FLAGS;
    }
  }
  return result;
}
