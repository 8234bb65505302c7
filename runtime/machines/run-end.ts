/** Why a vCPU was left, as the end of a machine's run: for machines whose devices are in the process, and take no other exits. */
import { type Exit, unexpectedExit } from '../vm/exits.ts';
import type { RunEnd } from './machine.ts';

/** The end of the run, 'waits' after HLT, or null: the run goes on. */
export function endOfRun(exit: Exit): RunEnd | 'waits' | null {
  switch (exit.kind) {
    case 'budget':
    case 'kicked':
      return null;
    case 'halt':
      return 'waits';
    case 'shutdown':
      return { reason: 'shutdown', rip: exit.rip, vector: exit.vector };
    case 'debug':
      return { reason: 'debug', exit: { ...exit } };
    case 'pio':
    case 'mmio':
    case 'msr':
    case 'hypercall':
    case 'interrupt-window':
    case 'internal-error':
      throw new Error(`the machine asked for no exit ${exit.kind}`);
    default:
      return unexpectedExit(exit);
  }
}
