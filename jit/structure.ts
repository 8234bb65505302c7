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

/** Every loop is entered at its head only. */
export function isReducible(graph: FlowGraph, idom = dominators(graph)): boolean {
  const dominates = (a: number, b: number): boolean => {
    while (b > a) b = idom[b]!;
    return a === b;
  };
  return graph.successors.every((list, n) => list.every((s) => s > n || dominates(s, n)));
}

export function emitStructured(graph: FlowGraph, e: FlowEmitter): void {
  const idom = dominators(graph);
  if (!isReducible(graph, idom)) return emitDispatched(graph, e);

  const children: number[][] = idom.map(() => []);
  for (let n = 1; n < idom.length; n++) children[idom[n]!]!.push(n);
  const forwardIn = (n: number) => graph.predecessors[n]!.filter((p) => p < n).length;
  const loops = nestedLoops(graph);
  const left = leftLoops(idom, loops);
  const isLabelled = (n: number) => left[n]! >= 0 || forwardIn(n) > 1;
  /** What is left for after each loop. */
  const after: number[][] = loops.map(() => []);
  left.forEach((loop, n) => {
    if (loop >= 0) after[loop]!.push(n);
  });

  const go =
    (from: number) =>
    (to: number): void => {
      if (to <= from) {
        e.backEdge(to);
        // The innermost loop of that head that the edge is part of.
        e.br(`l${loops.findLastIndex(({ head, body }) => head === to && body.has(from))}`);
      } else if (isLabelled(to)) e.br(`m${to}`);
      else tree(to);
    };
  const tree = (n: number): void => {
    const merges = children[n]!.filter((child) => left[child]! < 0 && isLabelled(child));
    const levels = [...loops.keys()].filter((i) => loops[i]!.head === n);
    const nest = (level: number): void => {
      const loop = levels[level];
      if (loop === undefined) return within(merges, () => e.node(n, go(n)));
      within(after[loop]!, () => e.loop(`l${loop}`, () => nest(level + 1)));
    };
    nest(0);
  };
  /** `merges` ascending: the outermost block is the one whose code comes last. */
  const within = (merges: readonly number[], inner: () => void): void => {
    const last = merges.at(-1);
    if (last === undefined) return inner();
    e.block(`m${last}`, () => within(merges.slice(0, -1), inner));
    tree(last);
  };
  tree(0);
}

interface Loop {
  readonly head: number;
  readonly body: ReadonlySet<number>;
}

/**
 * The loops, outer before inner. Edges back to one head are the loops of one nest if the body of one is part of the other's:
 * a region that was entered in an inner loop has the outer one's head there, too.
 */
function nestedLoops({ predecessors }: FlowGraph): Loop[] {
  return predecessors.flatMap((list, head) => {
    const bodies = list
      .filter((p) => p >= head)
      .map((p) => bodyOf(predecessors, head, p))
      .sort((a, b) => a.size - b.size);
    const levels: Set<number>[] = [];
    for (const body of bodies) {
      const inner = levels.at(-1);
      if (inner === undefined || (body.size > inner.size && [...inner].every((n) => body.has(n)))) levels.push(body);
      else for (const n of body) inner.add(n);
    }
    return levels.reverse().map((body) => ({ head, body }));
  });
}

/** What reaches the head by the edge back from `last`. */
function bodyOf(predecessors: FlowGraph['predecessors'], head: number, last: number): Set<number> {
  const body = new Set([head]);
  const work = [last];
  for (let n = work.pop(); n !== undefined; n = work.pop()) {
    if (body.has(n)) continue;
    body.add(n);
    work.push(...predecessors[n]!);
  }
  return body;
}

/**
 * For nodes that are reached out of loops: the outermost loop that they are not part of, else -1. They stand behind that
 * loop: inside, what they assign would be carried around it by the WebAssembly engine.
 */
function leftLoops(idom: readonly number[], loops: readonly Loop[]): number[] {
  return idom.map((dominator, n) =>
    n === 0 ? -1 : loops.findIndex(({ body }) => body.has(dominator) && !body.has(n)),
  );
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
