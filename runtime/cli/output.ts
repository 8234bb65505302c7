/** What every command of the command line knows of the process: where it writes, and the status for a bug. */
import type { MachineFactory } from '../machines/machine.ts';

/** Exit status for a bug of the emulator itself (EX_SOFTWARE of sysexits.h). */
export const internalErrorStatus = 70;

/** Where a command writes; tests put their own here. */
export interface Output {
  readonly out: (text: string) => void;
  readonly error: (text: string) => void;
  /** Makes the machines. */
  readonly createMachine: MachineFactory;
}
