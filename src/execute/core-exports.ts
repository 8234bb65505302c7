/** What the core module and the engine offer to translated regions. */
import type { CpuState } from '../state/cpu-state.ts';
import { offsetOf } from '../state/layout.ts';
import type { CoreExports } from './engine-parts.ts';
import type { JumpCache } from './jump-cache.ts';

const ATTENTION = offsetOf('attention') >> 2;

/**
 * The core's functions and `directPort(request)`, a port access that a region makes by itself.
 * @param ask takes a request and answers as src/system/direct-port.ts says
 */
export function coreExports(
  core: WebAssembly.Exports,
  { u32 }: CpuState,
  jumps: JumpCache,
  ask: (request: number) => number,
): CoreExports {
  const directPort = (request: number): number => {
    const { changes } = jumps;
    const answer = ask(request);
    // Whoever the program has told may have written code or replaced the memory map: the region must not go on then.
    if (jumps.changes !== changes) u32[ATTENTION] = 1;
    return answer;
  };
  return { ...core, directPort } as unknown as CoreExports;
}
