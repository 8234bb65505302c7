/**
 * The instructions that an entry has beside the field `budget`, and the time that follows from both: the field `timeEnd` says
 * when the field `budget` will be zero, so that generated code knows the time at any instruction (jit/time-stamp.ts).
 */
import type { CpuState } from '../state/cpu-state.ts';
import { offsetOf } from '../state/layout.ts';

const BUDGET = offsetOf('budget') >> 2;
const TIME_END = offsetOf('timeEnd') >> 2;
const SOURCE = offsetOf('timeSource') >> 2;
const RESULT0 = offsetOf('result0') >> 2;

/** Who knows the time if not the instruction count. */
export interface HostTime {
  /** The time-stamp counter as the guest sees it. */
  timeStamp(): bigint;
  /** Whole nanoseconds in the measure of the field `timeEnd`. */
  hostNanos(): number;
}

/** The values of the field `timeSource`. */
export const timeSources = { embedder: 0, host: 1, instructions: 2 } as const;

export class BudgetTime {
  /** Instructions that are left beside the field `budget`. */
  instructions = 0;
  private end = 0;
  private readonly state: CpuState;

  constructor(state: CpuState) {
    this.state = state;
  }

  set(instructions: number): void {
    this.instructions = instructions;
    const end = this.end - instructions;
    const { u32 } = this.state;
    u32[TIME_END] = end;
    u32[TIME_END + 1] = Math.floor(end / 0x1_0000_0000);
  }
  /** @param end nanoseconds, in the measure of the field `timeEnd`, at which nothing will be left */
  setEnd(end: number): void {
    this.end = end;
    this.set(this.instructions);
  }
  /** An entry begins: what is left is right from here on, also before the first instruction. */
  begin(instructions: number, end: number): void {
    this.state.i32[BUDGET] = 0;
    this.end = end;
    this.set(instructions);
  }
  /** Answers generated code: nanoseconds of the host's clock, or what an embedder's counter shows. */
  ask(host: HostTime): void {
    const { u32, u64 } = this.state;
    if (u32[SOURCE] === timeSources.embedder) u64[RESULT0 >> 1] = host.timeStamp();
    else {
      const nanos = host.hostNanos();
      u32[RESULT0] = nanos;
      u32[RESULT0 + 1] = Math.floor(nanos / 0x1_0000_0000);
    }
  }
}
