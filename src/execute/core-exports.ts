/** What the core module and the engine offer to translated regions. */
import type { CpuState } from '../state/cpu-state.ts';
import { offsetOf } from '../state/layout.ts';
import type { CoreExports } from './engine-parts.ts';
import type { JumpCache } from './jump-cache.ts';

const ATTENTION = offsetOf('attention') >> 2;

/**
 * The core's functions and `directPort(write)`, a port access that a region makes by itself.
 * @param ask answers with one of src/system/direct-port.ts
 */
export function coreExports(
  core: WebAssembly.Exports,
  { u32 }: CpuState,
  jumps: JumpCache,
  ask: (write: boolean) => number,
): CoreExports {
  const directPort = (write: number): number => {
    const { changes } = jumps;
    const answer = ask(write !== 0);
    // Whoever the program has told may have written code or replaced the memory map: the region must not go on then.
    if (jumps.changes !== changes) u32[ATTENTION] = 1;
    return answer;
  };
  return { ...core, directPort } as unknown as CoreExports;
}
