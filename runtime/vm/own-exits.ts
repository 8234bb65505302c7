/** The exits that a vCPU makes itself, each one object that is used again; those of accesses are in embedder-accesses.ts. */
import type { CpuState } from '../../src/state/cpu-state.ts';
import type {
  BudgetExit,
  HaltExit,
  InternalErrorExit,
  InterruptWindowExit,
  KickedExit,
  ShutdownExit,
} from './exits.ts';

/** The instruction pointer as exits have it: signed in 64-bit mode. */
const ripOf = (fields: CpuState): number => Number(BigInt.asIntN(64, fields.get64('rip')));

export class OwnExits {
  readonly kicked: KickedExit;
  readonly window: InterruptWindowExit;
  private readonly halts: HaltExit;
  private readonly shutdowns: ShutdownExit;
  private readonly budgets: BudgetExit;
  private readonly errors: InternalErrorExit;
  private readonly fields: CpuState;

  constructor(cpu: number, fields: CpuState) {
    this.fields = fields;
    this.kicked = { kind: 'kicked', cpu };
    this.window = { kind: 'interrupt-window', cpu };
    this.halts = { kind: 'halt', cpu, interruptible: false };
    this.shutdowns = { kind: 'shutdown', cpu, rip: 0, vector: 0 };
    this.budgets = { kind: 'budget', cpu, limit: 'instructions' };
    this.errors = { kind: 'internal-error', cpu, rip: 0, message: '' };
  }
  halt(interruptible: boolean): HaltExit {
    this.halts.interruptible = interruptible;
    return this.halts;
  }
  shutdown(): ShutdownExit {
    this.shutdowns.rip = ripOf(this.fields);
    this.shutdowns.vector = this.fields.get32('faultVector');
    return this.shutdowns;
  }
  budget(limit: BudgetExit['limit']): BudgetExit {
    this.budgets.limit = limit;
    return this.budgets;
  }
  internalError(message: string): InternalErrorExit {
    this.errors.rip = ripOf(this.fields);
    this.errors.message = message;
    return this.errors;
  }
}
