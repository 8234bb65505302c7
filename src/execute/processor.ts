/** What the engine needs of a vCPU's architecture (src/system): helpers, faults, translation of addresses. */
import type { Mmu } from '../mmu/mmu.ts';
import type { PhysicalMemory } from '../mmu/physical-memory.ts';
import type { CpuState } from '../state/cpu-state.ts';
import type { HostTime } from './budget-time.ts';

export interface Processor extends HostTime {
  readonly fields: CpuState;
  readonly mmu: Mmu;
  readonly memory: PhysicalMemory;
  /**
   * Runs a helper by name with rip at its instruction; guest faults inside are delivered. True = the run loop must look
   * at the vCPU's events (halt, shutdown, interrupt shadow, a stop that was asked for).
   */
  runHelper(name: string, nextRip: number): boolean;
  /** Delivers the fault in faultVector, faultErrorCode and faultAddress; rip is at the faulting instruction. True: as above. */
  deliverFault(): boolean;
  /** Delivers the debug exception of instruction breakpoints at rip, by their bits in DR6. True: as above. */
  deliverBreakpoint(bits: number): boolean;
}
