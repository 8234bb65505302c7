/** Structured control flow: whatever way is taken through the graph, the structure takes the same. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { emitStructured, type FlowGraph } from '../../jit/structure.ts';

/** Code as the emitter is told of it. */
type Code =
  | { readonly kind: 'block' | 'loop'; readonly label: string; readonly body: Code[] }
  | { readonly kind: 'br'; readonly label: string }
  | { readonly kind: 'node'; readonly n: number; readonly ways: ReadonlyMap<number, Code[]> }
  | { readonly kind: 'dispatch'; readonly labels: readonly string[] }
  | { readonly kind: 'target'; readonly n: number };

function structure(graph: FlowGraph): Code[] {
  let list: Code[] = [];
  const collect = (body: () => void): Code[] => {
    const outer = list;
    const inner: Code[] = [];
    list = inner;
    body();
    list = outer;
    return inner;
  };
  emitStructured(graph, {
    block: (label, body) => list.push({ kind: 'block', label, body: collect(body) }),
    loop: (label, body) => list.push({ kind: 'loop', label, body: collect(body) }),
    br: (label) => list.push({ kind: 'br', label }),
    node: (n, go) =>
      list.push({ kind: 'node', n, ways: new Map(graph.successors[n]!.map((to) => [to, collect(() => go(to))])) }),
    dispatch: (labels) => list.push({ kind: 'dispatch', labels }),
    setTarget: (n) => list.push({ kind: 'target', n }),
    backEdge: () => {},
  });
  return list;
}

/** Runs the code; `choose` gives each node's successor, or -1 at the end. Returns null when it has ended, else a label. */
function run(code: readonly Code[], choose: (n: number) => number, state = { target: 0 }): string | null {
  for (const c of code) {
    let to: string | null | undefined;
    if (c.kind === 'br') to = c.label;
    else if (c.kind === 'dispatch') to = c.labels[state.target]!;
    else if (c.kind === 'target') state.target = c.n;
    else if (c.kind === 'node') {
      const way = choose(c.n);
      to = way < 0 ? null : run(c.ways.get(way)!, choose, state);
    } else {
      do to = runBody(c.body, choose, state);
      while (c.kind === 'loop' && to === c.label);
      if (to === c.label) to = undefined;
    }
    if (to !== undefined) return to;
  }
  throw new Error('ran past the end');
}
function runBody(body: readonly Code[], choose: (n: number) => number, state: { target: number }): string | null {
  return run(body, choose, state);
}

function walk(graph: FlowGraph, random: () => number): void {
  const seen: number[] = [];
  const expected: number[] = [];
  let steps = 0;
  let next = 0;
  const end = run(structure(graph), (n) => {
    seen.push(n);
    expected.push(next);
    const list = graph.successors[n]!;
    next = steps++ > 60 || list.length === 0 ? -1 : list[Math.floor(random() * list.length)]!;
    return next;
  });
  assert.equal(end, null);
  assert.deepEqual(seen, expected);
}

const withPredecessors = (successors: readonly (readonly number[])[]): FlowGraph => {
  const predecessors: number[][] = successors.map(() => []);
  successors.forEach((list, n) => list.forEach((s) => predecessors[s]!.push(n)));
  return { successors, predecessors };
};

function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A graph in reverse postorder, all of it reachable. */
function randomGraph(random: () => number): FlowGraph {
  const size = 2 + Math.floor(random() * 9);
  const edges: number[][] = Array.from({ length: size }, () =>
    Array.from({ length: Math.floor(random() * 3) }, () => Math.floor(random() * size)),
  );
  const order: number[] = [];
  const visit = (n: number, seen: Set<number>): void => {
    if (seen.has(n)) return;
    seen.add(n);
    for (const s of edges[n]!) visit(s, seen);
    order.push(n);
  };
  visit(0, new Set());
  order.reverse();
  const place = new Map(order.map((n, i) => [n, i]));
  return withPredecessors(order.map((n) => edges[n]!.map((s) => place.get(s)!)));
}

test('loops that share their head are one in the other, and what follows them stands behind them', () => {
  // 0 -> 0 (inner), 0 -> 1 -> 0 (outer), 1 -> 2
  const code = structure(withPredecessors([[0, 1], [0, 2], []]));
  const outline = (list: readonly Code[]): string =>
    list
      .map((c) =>
        c.kind === 'block' || c.kind === 'loop' ? `${c.kind}(${outline(c.body)})` : c.kind === 'node' ? `${c.n}` : '',
      )
      .join(' ');
  assert.equal(outline(code), 'block(loop(block(loop(0)) 1)) 2');
});

test('random graphs are walked as they are', () => {
  for (let seed = 1; seed <= 2000; seed++) {
    const random = generator(seed);
    const graph = randomGraph(random);
    for (let i = 0; i < 4; i++) walk(graph, random);
  }
});
