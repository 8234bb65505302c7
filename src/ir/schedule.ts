/**
 * The order in which a reader emits a block's micro-ops: effects in program order, each pure micro-op directly before
 * the first that needs it, what nobody needs not at all. Reads of registers are not copied: they stand for the register
 * itself as long as it is unchanged, and a `save` step tells the reader when it must take a copy.
 */
import { codeOf, effects, type Node, opList, PURE, READ } from './micro-ops.ts';

/** A step: the number of the node to emit * 2; + 1 for a save, of the register read to copy now. */
export type Step = number;

export interface Schedule {
  readonly steps: readonly Step[];
  /** How often each value is used by scheduled nodes. */
  readonly uses: Uint16Array;
}

/** Registers that reads stand for: general ones, xmm, upper halves, by number. */
const registers = 48;
const isRead = Uint8Array.from(opList, (op) => (op === 'reg.get' || op === 'xmm.get' || op === 'ymm.get' ? 1 : 0));
const files = Int8Array.from(opList, (op) => {
  if (op === 'reg.get' || op === 'reg.set') return 0;
  if (op === 'xmm.get' || op === 'xmm.set') return 16;
  return op === 'ymm.get' || op === 'ymm.set' ? 32 : -1;
});
const WHEN = codeOf('when');
const END = codeOf('end');
const SET = codeOf('reg.set');
const FLAGS = codeOf('flags.set');

/** A register read that stands for the register: its number, or -1. */
export const aliasOf = (node: Node): number =>
  isRead[node.code] === 1 ? files[node.code]! + (node.imm[0] as number) : -1;
/** The register that a node overwrites: its number, or -1. */
export const writtenBy = ({ code, imm }: Node): number =>
  files[code]! >= 0 && isRead[code] === 0 ? files[code]! + (imm[0] as number) : -1;

/** @param flagsFirst a register's set comes after that of the flags, where nothing else is between: no operand is copied */
export function schedule(nodes: readonly Node[], flagsFirst = false): Schedule {
  return new Scheduler(nodes).run(flagsFirst);
}

/** What the schedule being made knows of nodes: uses to come, whether it is emitted, whether it is copied. */
let remaining = new Uint16Array(1 << 8);
let emitted = new Uint8Array(1 << 8);
let saved = new Uint8Array(1 << 8);
/** By register: the last read of it that stands for it, + 1; before it, by node, the others. */
const active = new Int32Array(registers);
let earlier = new Int32Array(1 << 8);

class Scheduler {
  private readonly nodes: readonly Node[];
  private readonly uses: Uint16Array;
  private readonly steps: Step[] = [];

  constructor(nodes: readonly Node[]) {
    const count = nodes.length;
    this.nodes = nodes;
    this.uses = countUses(nodes);
    if (count > remaining.length) {
      remaining = new Uint16Array(count * 2);
      emitted = new Uint8Array(count * 2);
      saved = new Uint8Array(count * 2);
      earlier = new Int32Array(count * 2);
    }
    remaining.set(this.uses);
    emitted.fill(0, 0, count);
    saved.fill(0, 0, count);
    active.fill(0);
  }

  run(flagsFirst: boolean): Schedule {
    const { nodes, uses } = this;
    let done = -1;
    for (let i = 0; i < nodes.length; i++) {
      const node = nodes[i]!;
      const effect = effects[node.code];
      if (effect === PURE || i === done) continue;
      const alias = aliasOf(node);
      if (alias >= 0) {
        if (uses[i]! > 0) {
          earlier[i] = active[alias]!;
          active[alias] = i + 1;
        }
        continue;
      }
      if (effect === READ && uses[i] === 0) continue;
      if (flagsFirst && node.code === SET) {
        let next = i + 1;
        while (next < nodes.length && effects[nodes[next]!.code] === PURE) next++;
        if (next < nodes.length && nodes[next]!.code === FLAGS) this.effect((done = next));
      }
      this.effect(i);
    }
    return { steps: this.steps, uses };
  }

  private effect(i: number): void {
    const node = this.nodes[i]!;
    const { args } = node;
    for (let k = 0; k < args.length; k++) this.demand(args[k]!);
    if (node.code === WHEN) this.enterBody(i);
    for (let k = 0; k < args.length; k++) remaining[args[k]!]!--;
    const written = writtenBy(node);
    if (written >= 0) this.save(written);
    this.steps.push(i * 2);
  }

  private demand(v: number): void {
    const node = this.nodes[v]!;
    if (effects[node.code] !== PURE || emitted[v] === 1) return;
    emitted[v] = 1;
    const { args } = node;
    for (let k = 0; k < args.length; k++) this.demand(args[k]!);
    for (let k = 0; k < args.length; k++) remaining[args[k]!]!--;
    this.steps.push(v * 2);
  }
  /** Copies of a register's reads that are still needed, in their order. */
  private save(register: number): void {
    this.saveUpTo(active[register]! - 1);
    active[register] = 0;
  }
  private saveUpTo(v: number): void {
    if (v < 0) return;
    this.saveUpTo(earlier[v]! - 1);
    if (remaining[v]! > 0 && saved[v] === 0) {
      saved[v] = 1;
      this.steps.push(v * 2 + 1);
    }
  }
  /** What both the body and what follows it need must be there before it. */
  private enterBody(when: number): void {
    const { nodes } = this;
    const end = bodyEnd(nodes, when);
    const inside = reachable(nodes, when + 1, end);
    const after = reachable(nodes, end, nodes.length);
    for (const v of inside) if (v < when && after.has(v)) this.demand(v);
    for (let k = when + 1; k < end; k++) {
      const written = writtenBy(nodes[k]!);
      if (written >= 0) this.save(written);
    }
  }
}

function countUses(nodes: readonly Node[]): Uint16Array {
  const uses = new Uint16Array(nodes.length);
  for (let i = nodes.length - 1; i >= 0; i--) {
    const { code, args } = nodes[i]!;
    const effect = effects[code];
    if ((effect === PURE || effect === READ) && uses[i] === 0) continue;
    for (let k = 0; k < args.length; k++) uses[args[k]!]!++;
  }
  return uses;
}

function bodyEnd(nodes: readonly Node[], when: number): number {
  let depth = 0;
  for (let i = when; i < nodes.length; i++) {
    const { code } = nodes[i]!;
    if (code === WHEN) depth++;
    else if (code === END && --depth === 0) return i;
  }
  throw new Error('schedule: a when without its end');
}

/** Pure values, not yet emitted, that the effects in [from, to) need. */
function reachable(nodes: readonly Node[], from: number, to: number): Set<number> {
  const found = new Set<number>();
  const visit = (v: number): void => {
    const { code, args } = nodes[v]!;
    if (effects[code] !== PURE || emitted[v] === 1 || found.has(v)) return;
    found.add(v);
    for (let k = 0; k < args.length; k++) visit(args[k]!);
  };
  for (let i = from; i < to; i++) {
    const { code, args } = nodes[i]!;
    if (effects[code] !== PURE) for (let k = 0; k < args.length; k++) visit(args[k]!);
  }
  return found;
}
