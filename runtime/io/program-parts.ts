/** What device programs of both kinds (BPF and WebAssembly) are prepared with, and what comes of it. */
import type { IrqLine } from '../devices/irq-line.ts';
import type { ProgramError } from '../errors.ts';
import type { EventCounter } from './event-counter.ts';
import type { IoHandler } from './io-parts.ts';

/** What a program is given; all of it checked. */
export interface HelperOffer {
  /** Stands in messages. */
  readonly name: string | undefined;
  /** Which program of an object. */
  readonly program: string | undefined;
  /** Bytes of the shared area. */
  readonly shared: number;
  readonly events: readonly EventCounter[];
  readonly lines: readonly IrqLine[];
  readonly interrupts: readonly (() => void)[];
  /** Nanoseconds. */
  readonly time: () => number;
  /** That is the machine's own time. */
  readonly ownTime: boolean;
  readonly engine: 'translation' | 'interpreter';
  /** Loop turns and calls of one access; WebAssembly. */
  readonly fuel: number;
  /** Pages of 64 KiB that a module may ask for. */
  readonly memoryPages: number;
  /** Told when a program fails while the guest runs. */
  readonly failed: (error: ProgramError) => void;
}

export interface PreparedProgram {
  readonly handler: IoHandler;
  readonly memory: WebAssembly.Memory;
  readonly shared: Uint8Array;
  /** What of its memory is state. */
  readonly areas: readonly { readonly address: number; readonly size: number }[];
  /** A value of a map. */
  map(name: string, index: number): Uint8Array;
  /** What it knows outside of its memory: the variable globals of a module. */
  readonly globals: readonly WebAssembly.Global[];
  /** The program gets accesses, or passes them all on: it has failed. */
  enable(on: boolean): void;
  /** The same program with a memory of its own, as it began, for another VM; the offer has as many of everything. */
  copy(offer: HelperOffer): PreparedProgram;
}
