/**
 * The order in which a reader emits a block's micro-ops: effects in program order, each pure micro-op directly before
 * the first that needs it, what nobody needs not at all. Reads of registers are not copied: they stand for the register
 * itself as long as it is unchanged, and a `save` step tells the reader when it must take a copy.
 */
import { microOps, type Node } from './micro-ops.ts';

export interface Step {
  /** Index of the node to emit; for a save, of the register read to copy now. */
  readonly node: number;
  readonly save: boolean;
}

export interface Schedule {
  readonly steps: readonly Step[];
  /** How often each value is used by scheduled nodes. */
  readonly uses: Uint16Array;
}

/** A register read that stands for the register: its key, or null. */
export function aliasKey(node: Node): string | null {
  switch (node.op) {
    case 'reg.get':
      return `r${node.imm[0]}`;
    case 'xmm.get':
      return `x${node.imm[0]}`;
    case 'ymm.get':
      return `y${node.imm[0]}`;
    default:
      return null;
  }
}
/** The register that a node overwrites: its key, or null. */
export function writtenKey(node: Node): string | null {
  switch (node.op) {
    case 'reg.set':
      return `r${node.imm[0]}`;
    case 'xmm.set':
      return `x${node.imm[0]}`;
    case 'ymm.set':
      return `y${node.imm[0]}`;
    default:
      return null;
  }
}

export function schedule(nodes: readonly Node[]): Schedule {
  const isPure = nodes.map((n) => microOps[n.op].effect === 'pure');
  const isAlias = nodes.map((n) => aliasKey(n) !== null);
  const uses = countUses(nodes, isPure, isAlias);
  const remaining = Uint16Array.from(uses);
  const emitted = new Uint8Array(nodes.length);
  const saved = new Uint8Array(nodes.length);
  const steps: Step[] = [];
  const active = new Map<string, number[]>();

  const consume = (node: Node) => {
    for (const a of node.args) remaining[a]!--;
  };
  const demand = (v: number): void => {
    if (!isPure[v] || emitted[v]) return;
    emitted[v] = 1;
    for (const a of nodes[v]!.args) demand(a);
    consume(nodes[v]!);
    steps.push({ node: v, save: false });
  };
  const save = (key: string) => {
    for (const v of active.get(key) ?? []) {
      if (remaining[v]! > 0 && !saved[v]) {
        saved[v] = 1;
        steps.push({ node: v, save: true });
      }
    }
    active.delete(key);
  };

  for (let i = 0; i < nodes.length; i++) {
    const node = nodes[i]!;
    if (isPure[i]) continue;
    const alias = aliasKey(node);
    if (alias !== null) {
      if (uses[i]! > 0) {
        const list = active.get(alias);
        if (list === undefined) active.set(alias, [i]);
        else list.push(i);
      }
      continue;
    }
    if (microOps[node.op].effect === 'read' && uses[i] === 0) continue;
    for (const a of node.args) demand(a);
    if (node.op === 'when') {
      const end = bodyEnd(nodes, i);
      const inside = reachable(nodes, isPure, emitted, i + 1, end);
      const after = reachable(nodes, isPure, emitted, end, nodes.length);
      for (const v of inside) if (v < i && after.has(v)) demand(v);
      for (let k = i + 1; k < end; k++) {
        const written = writtenKey(nodes[k]!);
        if (written !== null) save(written);
      }
    }
    consume(node);
    const written = writtenKey(node);
    if (written !== null) save(written);
    steps.push({ node: i, save: false });
  }
  return { steps, uses };
}

function countUses(nodes: readonly Node[], isPure: readonly boolean[], isAlias: readonly boolean[]): Uint16Array {
  const uses = new Uint16Array(nodes.length);
  for (let i = nodes.length - 1; i >= 0; i--) {
    const { effect } = microOps[nodes[i]!.op];
    const wanted = isPure[i] || isAlias[i] || effect === 'read' ? uses[i]! > 0 : true;
    if (wanted) for (const a of nodes[i]!.args) uses[a]!++;
  }
  return uses;
}

function bodyEnd(nodes: readonly Node[], when: number): number {
  let depth = 0;
  for (let i = when; i < nodes.length; i++) {
    if (nodes[i]!.op === 'when') depth++;
    else if (nodes[i]!.op === 'end' && --depth === 0) return i;
  }
  throw new Error('schedule: a when without its end');
}

/** Pure values, not yet emitted, that the effects in [from, to) need. */
function reachable(
  nodes: readonly Node[],
  isPure: readonly boolean[],
  emitted: Uint8Array,
  from: number,
  to: number,
): Set<number> {
  const found = new Set<number>();
  const visit = (v: number): void => {
    if (!isPure[v] || emitted[v] || found.has(v)) return;
    found.add(v);
    for (const a of nodes[v]!.args) visit(a);
  };
  for (let i = from; i < to; i++) if (!isPure[i]) for (const a of nodes[i]!.args) visit(a);
  return found;
}
