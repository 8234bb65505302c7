/** What an engine is made from. */
import type { CodeMemory } from './code-memory.ts';
import type { Contexts } from './context.ts';
import type { KnownPatterns } from './known-patterns.ts';
import type { Processor } from './processor.ts';

/** The exports of the core module. */
export interface CoreExports {
  enter(cpu: number, block: number): number;
  flagsWord(cpu: number): number;
}

export interface EngineParts {
  readonly processor: Processor;
  readonly memory: WebAssembly.Memory;
  readonly table: WebAssembly.Table;
  readonly coreModule: WebAssembly.Module;
  /** Exports of the arithmetic library. */
  readonly arithmetic: WebAssembly.Exports;
  /** Patterns of instructions that come with the build. */
  readonly patterns: KnownPatterns | null;
  readonly contexts: Contexts;
  readonly code: CodeMemory;
  /** A port access of a region's own; request and answer as in src/system/direct-port.ts. */
  readonly directPort: (request: number) => number;
  /** Looks for the program that answers a region's access to memory (src/system/direct-memory.ts). */
  readonly findProgram: (request: number) => boolean;
}
