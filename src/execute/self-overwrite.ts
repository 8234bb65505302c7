/**
 * The running block when one of its stores has overwritten code of the block itself: it ends after the instruction that
 * stores, by a record that is written over the next one. The block is dropped and not run again.
 */
import type { CpuState } from '../state/cpu-state.ts';
import type { CodeMemory, InterpreterBlock } from './code-memory.ts';
import { InternalError } from './internal-error.ts';
import { kindOf } from './records.ts';

export class SelfOverwrite {
  /** Record of the store that is being made. */
  record = 0;
  /** The instruction before which the block ends; one without records looks like the next. */
  private before = 0;
  private readonly code: CodeMemory;
  private readonly view: DataView;

  constructor(code: CodeMemory, state: CpuState) {
    this.code = code;
    this.view = new DataView(state.buffer);
  }
  /** The block has been overwritten. */
  stop(block: InterpreterBlock): void {
    const index = this.code.instructionAt(block, this.record) + 1;
    if (index >= block.instructions) return;
    const kind = kindOf('stop');
    this.before = index;
    const at = this.code.startOf(block, index);
    this.view.setUint16(at, kind.id, true);
    this.view.setBigUint64(at + kind.immediateOffset, this.code.ripOf(block, index), true);
  }
  /** How many instructions of the block are not executed. */
  restOf(block: InterpreterBlock | undefined): number {
    if (block === undefined) throw new InternalError('engine: stopped in a block that is not there');
    return block.instructions - this.before;
  }
}
