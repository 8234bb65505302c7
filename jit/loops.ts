/** The natural loops of a region's graph, and which block dominates which. */
import type { RegionBlock } from './region.ts';
import { dominators } from './structure.ts';

export interface Loop {
  readonly head: RegionBlock;
  /** Its blocks, the head among them. */
  readonly body: ReadonlySet<RegionBlock>;
  /** Blocks of the body that go back to the head. */
  readonly latches: readonly RegionBlock[];
}

export interface Loops {
  /** One loop for each back edge: an inner and an outer loop may begin at the same block. */
  readonly all: readonly Loop[];
  /** The smallest loop around each block, by order; null = none. */
  readonly innermost: readonly (Loop | null)[];
  dominates(a: RegionBlock, b: RegionBlock): boolean;
}

export function findLoops(blocks: readonly RegionBlock[]): Loops {
  const idom = dominators({
    successors: blocks.map((b) => b.successors.map((s) => s.order)),
    predecessors: blocks.map((b) => b.predecessors.map((p) => p.order)),
  });
  const dominates = (a: RegionBlock, b: RegionBlock): boolean => {
    let n = b.order;
    while (n > a.order) n = idom[n]!;
    return n === a.order;
  };
  const all: Loop[] = [];
  for (const latch of blocks) {
    for (const head of latch.successors) {
      if (head.order > latch.order || !dominates(head, latch)) continue;
      const body = new Set([head]);
      const work = [latch];
      for (let b = work.pop(); b !== undefined; b = work.pop()) {
        if (body.has(b)) continue;
        body.add(b);
        work.push(...b.predecessors);
      }
      all.push({ head, body, latches: [latch] });
    }
  }
  const innermost: (Loop | null)[] = blocks.map(() => null);
  for (const loop of all) {
    for (const { order } of loop.body) {
      const before = innermost[order]!;
      if (before === null || loop.body.size < before.body.size) innermost[order] = loop;
    }
  }
  return { all, innermost, dominates };
}

/**
 * Loops around no other loop, by head. Of several ways back to one head it cannot be told which belong to an outer loop that
 * begins at the same block: the first candidate has the shortest way back alone, the next one more, and so on.
 */
export function simpleLoops({ all, innermost }: Loops): Loop[][] {
  const heads = [...new Set(all.map((l) => l.head))];
  return heads.map((head) => {
    const here = all.filter((l) => l.head === head).sort((a, b) => a.body.size - b.body.size);
    const candidates = here.map((_, i) => {
      const parts = here.slice(0, i + 1);
      return { head, body: new Set(parts.flatMap((l) => [...l.body])), latches: parts.flatMap((l) => l.latches) };
    });
    return candidates.filter(({ body }) => [...body].every((b) => innermost[b.order]!.head === head));
  });
}
