/**
 * What the translator and the compiler's thread say to each other. A request carries the code bytes that the translator
 * thinks are needed; the compiler may answer that it needs more pages, and is asked again with them.
 */
import type { Context } from '../src/execute/context.ts';
import type { CodeRangeOfRip, SentPage } from './code-snapshot.ts';
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
  | {
      readonly kind: 'translate';
      readonly id: number;
      readonly context: Context;
      readonly rip: bigint;
      readonly mode: TranslationMode;
      readonly pages: readonly SentPage[];
      readonly seen: ReadonlyMap<bigint, readonly bigint[]>;
      /** Instructions whose accesses are looked up one by one. */
      readonly apart: ReadonlySet<bigint>;
      /** For regions with SSE floating point. */
      readonly inexact: InexactFlag;
    };

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
}
