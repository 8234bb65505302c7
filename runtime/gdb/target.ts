/** What a gdb server debugs: the vCPUs, and whoever runs them. A VM is one by itself; machines bring their own. */
import { type DebugExit, type Exit, unexpectedExit } from '../vm/exits.ts';
import type { Vcpu } from '../vm/vcpu.ts';
import type { Vm } from '../vm/vm.ts';

/** Why a target stopped. */
export type TargetStop =
  | { readonly kind: 'debug'; readonly exit: DebugExit }
  /** The signal was aborted. */
  | { readonly kind: 'aborted' }
  /** Every processor halts, and nothing will wake one. */
  | { readonly kind: 'halted'; readonly cpu: number }
  /** A triple fault. */
  | { readonly kind: 'shutdown'; readonly cpu: number }
  | { readonly kind: 'internal-error'; readonly cpu: number }
  /** The guest has ended, with a status of 0-255. */
  | { readonly kind: 'exited'; readonly status: number };

/** What gdb debugs: processors, and how they are run. */
export interface GdbTarget {
  /** gdb's threads: vCPU i is thread i + 1. */
  readonly vcpus: readonly Vcpu[];
  /**
   * Runs the vCPUs, those that `vcpu.debug.paused` excludes excepted, until one comes back with the exit `debug`, the signal
   * is aborted, or the guest ends. Nothing is executed after that.
   */
  run(signal: AbortSignal): Promise<TargetStop>;
}

/**
 * What an embedder does about the exits of a VM that is debugged: accesses that nobody inside claims, hypercalls and the like,
 * answered as after `vcpu.enter()`. A number ends the guest with that status (0-255). Without a handler what waits for an
 * answer gets all ones.
 */
export type ExitHandler = (exit: Exclude<Exit, DebugExit>) => number | undefined | Promise<number | undefined>;

/** A VM as a target: run by `vm.run()`. */
export function vmTarget(vm: Vm, onExit: ExitHandler = () => undefined): GdbTarget {
  return {
    vcpus: vm.vcpus,
    async run(signal) {
      for await (const exit of vm.run({ signal })) {
        if (exit.kind === 'debug') return { kind: 'debug', exit: { ...exit } };
        const status = await onExit(exit);
        if (status !== undefined) return { kind: 'exited', status };
        switch (exit.kind) {
          case 'halt':
            if (!vm.vcpus.some((vcpu) => vcpu.interruptible)) return { kind: 'halted', cpu: exit.cpu };
            break;
          case 'shutdown':
          case 'internal-error':
            return { kind: exit.kind, cpu: exit.cpu };
          case 'pio':
          case 'mmio':
          case 'msr':
          case 'hypercall':
          case 'budget':
          case 'kicked':
          case 'interrupt-window':
            break;
          default:
            return unexpectedExit(exit);
        }
      }
      return { kind: 'aborted' };
    },
  };
}
