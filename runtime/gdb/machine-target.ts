/** A machine (`createMachine`, `createPcMachine`) as gdb's target: run by its own `run`, with its devices and its time. */
import type { Machine, RunEnd, RunLimits } from '../machines/machine.ts';
import type { GdbTarget, TargetStop } from './target.ts';

/** A machine that gdb may debug. */
export interface MachineTarget extends GdbTarget {
  /** How the guest has ended; null: it could go on. */
  readonly end: RunEnd | null;
}

/** What gdb is told of a reset, which ends a machine's run, and of a limit: a status that no guest's exit port gives. */
const resetStatus = 2;
const limitStatus = 124;

/** @param limits of each run; the signal is gdb's */
export function machineTarget(machine: Machine, limits: Omit<RunLimits, 'signal'> = {}): MachineTarget {
  let last: RunEnd | null = null;
  const stopOf = (end: RunEnd): TargetStop => {
    switch (end.reason) {
      case 'debug':
        return { kind: 'debug', exit: end.exit };
      case 'aborted':
        return { kind: 'aborted' };
      case 'exit':
        return { kind: 'exited', status: end.status & 0xff };
      case 'power-off':
        return { kind: 'exited', status: 0 };
      case 'reset':
        return { kind: 'exited', status: resetStatus };
      case 'instructions':
        return { kind: 'exited', status: limitStatus };
      case 'halt':
        return { kind: 'halted', cpu: 0 };
      case 'shutdown':
      case 'internal-error':
        return {
          kind: end.reason,
          cpu: Math.max(
            machine.vcpus.findIndex(({ fields }) => fields.get32('shutdown') !== 0),
            0,
          ),
        };
      default:
        return end satisfies never;
    }
  };
  return {
    vcpus: machine.vcpus,
    get end() {
      return last?.reason === 'debug' || last?.reason === 'aborted' ? null : last;
    },
    async run(signal) {
      last = await machine.run({ ...limits, signal });
      return stopOf(last);
    },
  };
}
