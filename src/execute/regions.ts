/** What the engine asks the translator, and what the translator gets from it. */
import type { InterpreterBlock } from './code-memory.ts';
import type { Context } from './context.ts';
import type { FoundRegion } from './jump-cache.ts';

/** Translated regions, as the engine sees them. */
export interface Regions {
  /** A block has become hot: translate from here on. The answer is after how many more entries it is to be asked again. */
  hot(block: InterpreterBlock, context: Context): number;
  /** Regions have left an instruction to the interpreter, about so many times: this is one of them. */
  retried(context: Context, key: number, times?: number): void;
  /** A region does not take the state that it was entered with. */
  refused(context: Context, key: number): void;
  /**
   * Where regions went through indirect jumps: entries of the profile (src/state/layout.ts, `profileEntry`). False if
   * nothing comes of it.
   */
  profile(entries: BigInt64Array): boolean;
  /** A region that starts here and is valid under the current mapping, or null. */
  find(context: Context, key: number): FoundRegion | null;
  /**
   * Where `find` finds none: after how many entries of the block here it is to be asked again, since there are regions that
   * start here (a page of theirs was not accessed yet); 0 = there are none.
   */
  mayFind(context: Context, key: number): number;
  /** All are dropped, and what was learnt of the guest is forgotten. */
  forget(): void;
}
