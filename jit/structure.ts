/**
 * Structured control flow from a reducible graph in reverse postorder, by the dominator tree (Ramsey, "Beyond Relooper",
 * ICFP 2022); an irreducible graph becomes a loop around a br_table.
 */

/** A graph of n nodes in reverse postorder, node 0 the entry. */
export interface FlowGraph {
  readonly successors: readonly (readonly number[])[];
  readonly predecessors: readonly (readonly number[])[];
}

/** What the structure is made of: the emitter's control, and the blocks' own code. */
export interface FlowEmitter {
  block(label: string, body: () => void): void;
  loop(label: string, body: () => void): void;
  br(label: string): void;
  /** Emits node n's code; its end calls `go` in each place where control passes to a successor. */
  node(n: number, go: (to: number) => void): void;
  /** Emits a dispatch over all nodes by `setTarget`'s last value. */
  dispatch(labels: readonly string[]): void;
  setTarget(n: number): void;
  /** Emits what is done on an edge that goes back. */
  backEdge(to: number): void;
}

export function dominators({ predecessors }: FlowGraph): number[] {
  const idom: number[] = predecessors.map(() => -1);
  idom[0] = 0;
  const meet = (a: number, b: number): number => {
    while (a !== b) {
      while (a > b) a = idom[a]!;
      while (b > a) b = idom[b]!;
    }
    return a;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (let n = 1; n < predecessors.length; n++) {
      let found = -1;
      for (const p of predecessors[n]!) if (idom[p]! >= 0) found = found < 0 ? p : meet(p, found);
      if (idom[n] !== found) {
        idom[n] = found;
        changed = true;
      }
    }
  }
  return idom;
}

export function emitStructured(graph: FlowGraph, e: FlowEmitter): void {
  const idom = dominators(graph);
  const dominates = (a: number, b: number): boolean => {
    while (b > a) b = idom[b]!;
    return a === b;
  };
  const irreducible = graph.successors.some((list, n) => list.some((s) => s <= n && !dominates(s, n)));
  if (irreducible) return emitDispatched(graph, e);

  const children: number[][] = idom.map(() => []);
  for (let n = 1; n < idom.length; n++) children[idom[n]!]!.push(n);
  const forwardIn = (n: number) => graph.predecessors[n]!.filter((p) => p < n).length;
  const isMerge = (n: number) => forwardIn(n) > 1;
  const isLoop = (n: number) => graph.predecessors[n]!.some((p) => p >= n);

  const go =
    (from: number) =>
    (to: number): void => {
      if (to <= from) {
        e.backEdge(to);
        e.br(`l${to}`);
      } else if (isMerge(to)) e.br(`m${to}`);
      else tree(to);
    };
  const tree = (n: number): void => {
    const merges = children[n]!.filter(isMerge);
    if (isLoop(n)) e.loop(`l${n}`, () => within(n, merges));
    else within(n, merges);
  };
  /** `merges` ascending: the outermost block is the one whose code comes last. */
  const within = (n: number, merges: readonly number[]): void => {
    const last = merges.at(-1);
    if (last === undefined) return e.node(n, go(n));
    e.block(`m${last}`, () => within(n, merges.slice(0, -1)));
    tree(last);
  };
  tree(0);
}

function emitDispatched(graph: FlowGraph, e: FlowEmitter): void {
  const labels = graph.successors.map((_, n) => `d${n}`);
  const nest = (n: number): void => {
    if (n < 0) return e.dispatch(labels);
    e.block(labels[n]!, () => nest(n - 1));
    e.node(n, (to) => {
      if (to <= n) e.backEdge(to);
      e.setTarget(to);
      e.br('dispatch');
    });
  };
  e.setTarget(0);
  e.loop('dispatch', () => nest(labels.length - 1));
}
