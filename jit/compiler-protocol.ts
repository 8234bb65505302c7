/**
 * What the translator and the compiler's thread say to each other. A request carries the code bytes that the translator
 * thinks are needed; the compiler may answer that it needs more pages, and is asked again with them.
 */
import type { Context } from '../src/execute/context.ts';
import type { CodeRangeOfRip } from './code-snapshot.ts';
import type { InexactFlag } from './mxcsr.ts';

/** How translations are to be made, the same for all of a machine. */
export interface TranslationMode {
  /** The VM's memory is shared with other threads. */
  readonly shared: boolean;
  /** Exact 80-bit arithmetic, or plain doubles. */
  readonly x87: 'exact' | 'fast';
  /** Address of the vCPU's block, where there is one vCPU: translations are then made for it alone. */
  readonly cpu?: number;
}

/** An indirect jump by its instruction pointer, and targets that it was seen to have. */
export interface IndirectJump {
  readonly site: bigint;
  readonly targets: readonly bigint[];
}

export type CompilerRequest =
  /** Makes the compiler load what it is made of. */
  | { readonly kind: 'load' }
  /** Comes before the first request that names the context. */
  | { readonly kind: 'context'; readonly context: Context }
  /** What is asked for: see translate-request.ts. */
  | { readonly kind: 'translate'; readonly mode: TranslationMode; readonly request: ArrayBuffer }
  /** Pages that came with earlier requests are not what they were. */
  | { readonly kind: 'forget' };

/** A page that the compiler has kept since a request. */
export interface UsedPage {
  readonly linear: bigint;
  readonly request: number;
}

export type CompilerReply =
  /** What the compiler is made of is loaded. */
  | { readonly kind: 'ready' }
  | {
      readonly kind: 'made';
      readonly id: number;
      readonly module: WebAssembly.Module;
      readonly bytes: Uint8Array;
      readonly ranges: readonly CodeRangeOfRip[];
      readonly instructions: number;
      readonly indirect: readonly IndirectJump[];
      readonly inexact: InexactFlag;
      /** Pages of earlier requests that it was made from, too. */
      readonly kept: readonly UsedPage[];
      readonly millis: number;
    }
  /** There is nothing to translate at this instruction pointer. */
  | { readonly kind: 'nothing'; readonly id: number }
  /** The region goes on in these pages. */
  | { readonly kind: 'pages'; readonly id: number; readonly linear: readonly bigint[] }
  /** A bug of the compiler; the interpreter goes on. */
  | { readonly kind: 'failed'; readonly id: number; readonly message: string };

/** One end of the way between the two threads. */
export interface CompilerPort {
  post(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  onMessage(listener: (message: unknown) => void): void;
  /**
   * The next message, which the listener is not told of then; undefined: there is none now. Where it is missing, messages
   * come when the thread's event loop has its turn.
   */
  receive?(): unknown;
}
