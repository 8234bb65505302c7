/** What the core module and the engine offer to translated regions. */
import type { CpuState } from '../state/cpu-state.ts';
import { offsetOf } from '../state/layout.ts';
import type { CoreExports, EngineParts } from './engine-parts.ts';
import type { JumpCache } from './jump-cache.ts';

const ATTENTION = offsetOf('attention') >> 2;

/**
 * The core's functions and those of a region's accesses that programs answer: `directPort(request)`, a port access, and
 * `findProgram(request)`, for accesses to memory.
 */
export function coreExports(
  core: WebAssembly.Exports,
  { u32 }: CpuState,
  jumps: JumpCache,
  { directPort: ask, findProgram: find }: Pick<EngineParts, 'directPort' | 'findProgram'>,
): CoreExports {
  const directPort = (request: number): number => {
    const { changes } = jumps;
    const answer = ask(request);
    // Whoever the program has told may have written code or replaced the memory map: the region must not go on then.
    if (jumps.changes !== changes) u32[ATTENTION] = 1;
    return answer;
  };
  const findProgram = (request: number): number => (find(request) ? 1 : 0);
  return { ...core, directPort, findProgram } as unknown as CoreExports;
}
