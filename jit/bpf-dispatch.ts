/**
 * Control flow of functions that are too long for structure.ts, which nests as deeply as there are places where paths meet:
 * a loop that finds the next block by its number, in two steps, so that nothing is nested deeper than the square root.
 */
import type { Emitter } from './emitter.ts';

/** Functions of more blocks than this go this way. */
export const structuredBlocks = 600;
/** WebAssembly engines take seconds for longer functions, and V8 ends the process when it needs too much memory for one. */
export const maximumBlocks = 4000;

/**
 * @param next local that holds the number of the next block
 * @param node emits a block's code; it calls `go` in each place where control passes to another
 */
export function emitByNumber(
  e: Emitter,
  count: number,
  next: number,
  node: (n: number, go: (to: number) => void) => void,
): void {
  const bits = Math.ceil(Math.log2(count) / 2);
  const groupSize = 1 << bits;
  const groups = Math.ceil(count / groupSize);
  const go = (to: number): void => {
    e.set(next, e.i32(to));
    e.br('again');
  };
  /** Labels around a branch to one of them; behind each the code that it is for. */
  const choose = (labels: readonly string[], index: number, place: (at: number) => void): void => {
    const nest = (at: number): void => {
      if (at < 0) return e.switch(labels.slice(0, -1), labels.at(-1)!, chosen(index));
      e.block(labels[at]!, () => nest(at - 1));
      place(at);
    };
    // The last one's code stands outside of all labels but its own.
    nest(labels.length - 1);
  };
  const chosen = (level: number) => {
    const number = e.get(next, 'i32');
    return level === 0 ? e.op('i32.shr_u', number, e.i32(bits)) : e.op('i32.and', number, e.i32(groupSize - 1));
  };
  e.set(next, e.i32(0));
  e.loop('again', () => {
    const outer = Array.from({ length: groups }, (_, g) => `g${g}`);
    choose(outer, 0, (g) => {
      const first = g * groupSize;
      const inner = Array.from({ length: Math.min(groupSize, count - first) }, (_, n) => `b${first + n}`);
      choose(inner, 1, (n) => node(first + n, go));
    });
  });
}
