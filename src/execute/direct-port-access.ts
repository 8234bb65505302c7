/** Port accesses that a region makes by itself, where a program beside the processor answers. */
import type { CpuState } from '../state/cpu-state.ts';
import { offsetOf } from '../state/layout.ts';
import type { JumpCache } from './jump-cache.ts';

const ATTENTION = offsetOf('attention') >> 2;

/** @param ask answers with one of src/system/direct-port.ts */
export function directPortAccess(
  state: CpuState,
  jumps: JumpCache,
  ask: (write: boolean) => number,
): (write: number) => number {
  return (write) => {
    const { changes } = jumps;
    const answer = ask(write !== 0);
    // Whoever the program has told may have written code or replaced the memory map: the region must not go on then.
    if (jumps.changes !== changes) state.u32[ATTENTION] = 1;
    return answer;
  };
}
