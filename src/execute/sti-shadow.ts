/**
 * The shadow that STI casts over one instruction, while a run goes on past it: generated code notes in the field
 * `shadowBudget` what was left of the budget after STI, and when the run ends the shadow is there if nothing was executed
 * since. SDM volume 2, STI.
 */
import type { CpuState } from '../state/cpu-state.ts';
import { offsetOf } from '../state/layout.ts';

const SHADOW = offsetOf('interruptShadow') >> 2;
const BUDGET = offsetOf('budget') >> 2;
const AFTER = offsetOf('shadowBudget') >> 2;
const STI_SHADOW = 1;
/** The instruction that is executed by itself has the budget 1: after it 0 is left. */
const afterOne = 0;

export class StiShadow {
  private readonly u32: Uint32Array;
  private readonly i32: Int32Array;

  constructor({ u32, i32 }: CpuState) {
    this.u32 = u32;
    this.i32 = i32;
  }
  /** A slice begins, or a helper is done that may have been STI: a shadow that is there covers what is executed next. */
  begins(): void {
    this.i32[AFTER] = this.i32[BUDGET]!;
  }
  /** The run looks at its events, or ends. */
  settle(): void {
    if (this.u32[SHADOW] === STI_SHADOW && this.i32[AFTER] !== this.i32[BUDGET]) this.u32[SHADOW] = 0;
  }
  /** An instruction is about to be executed by itself. The answer is for {@link afterStep}. */
  beforeStep(): number {
    const after = this.i32[AFTER]!;
    this.i32[AFTER] = -1;
    return after;
  }
  /** @param before answer of {@link beforeStep} @param left what the budget is, after the instruction */
  afterStep(before: number, left: number): void {
    this.i32[AFTER] = this.i32[AFTER] === afterOne ? left : before;
  }
}
