/** Basic blocks of a function of a BPF program, in reverse postorder, as structure.ts wants them. */
import { successors } from '../src/bpf/control-flow.ts';
import type { BpfCodeList } from '../src/bpf/instructions.ts';

export interface BpfBlock {
  /** Numbers of the first and the last instruction. */
  readonly first: number;
  readonly last: number;
  /** Blocks by their place in the list; of a branch what follows it, then its target. */
  readonly successors: readonly number[];
}

/** @param end number of the instruction behind the function's last */
export function blocksOf(code: BpfCodeList, start: number, end: number): BpfBlock[] {
  const leaders = new Set([start]);
  for (let at = start; at < end; at++) {
    const i = code[at]!;
    if (i?.kind !== 'branch' && i?.kind !== 'goto') continue;
    leaders.add(i.target);
    if (i.kind === 'branch') leaders.add(at + 1);
  }
  const lastOf = (first: number): number => {
    for (let at = first; ; ) {
      const i = code[at]!;
      const [next, other] = successors(i, at);
      if (next === undefined || other !== undefined || i.kind === 'goto' || leaders.has(next)) return at;
      at = next;
    }
  };
  const found = new Map<number, { readonly last: number; readonly next: readonly number[] }>();
  const order: number[] = [];
  const work: { readonly first: number; index: number }[] = [];
  const enter = (first: number): void => {
    if (found.has(first)) return;
    const last = lastOf(first);
    found.set(first, { last, next: successors(code[last]!, last) });
    work.push({ first, index: 0 });
  };
  enter(start);
  for (let top = work.at(-1); top !== undefined; top = work.at(-1)) {
    const { next } = found.get(top.first)!;
    if (top.index < next.length) enter(next[top.index++]!);
    else {
      order.push(top.first);
      work.pop();
    }
  }
  order.reverse();
  const places = new Map(order.map((first, place) => [first, place]));
  return order.map((first) => {
    const { last, next } = found.get(first)!;
    return { first, last, successors: next.map((to) => places.get(to)!) };
  });
}
