/**
 * Record and replay: with virtual time a run is a function of what comes from outside. Two things do: answers to accesses,
 * and interrupts, each at a count of instructions. Written down, they lead another VM to the same state, in any engine.
 */
import type { Vm } from '../../runtime/index.ts';

/** What came from outside, in order. */
export type Input =
  | { readonly kind: 'answer'; readonly value: number }
  | { readonly kind: 'interrupt'; readonly at: number; readonly vector: number };

/** The world outside: what a read gives, and when an interrupt comes. */
export interface World {
  read(port: number): number;
  /** The vector of an interrupt that comes now, or null. */
  interrupt(): number | null;
}

/** Runs a VM for so many instructions, in steps between which the world may interrupt, and writes down what it said. */
export function record(vm: Vm, instructions: number, world: World): Input[] {
  const vcpu = vm.vcpu(0);
  const inputs: Input[] = [];
  const end = vm.time.now() + instructions;
  while (vm.time.now() < end) {
    const exit = vcpu.enter({ deadline: Math.min(end, vm.time.now() + 50) });
    if (exit.kind === 'pio' && !exit.write) {
      exit.value = world.read(exit.port);
      inputs.push({ kind: 'answer', value: exit.value });
      continue; // the access is finished before anything else comes
    }
    const vector = world.interrupt();
    if (vector === null || vcpu.interruptPending) continue;
    vcpu.interrupt(vector);
    inputs.push({ kind: 'interrupt', at: vm.time.now(), vector });
  }
  return inputs;
}

/** Runs a VM that stands where the recorded one began, with the same inputs at the same instructions. */
export function replay(vm: Vm, instructions: number, inputs: readonly Input[]): void {
  const vcpu = vm.vcpu(0);
  const end = vm.time.now() + instructions;
  let next = 0;
  while (vm.time.now() < end) {
    const input = inputs[next];
    const exit = vcpu.enter({ deadline: input?.kind === 'interrupt' ? input.at : end });
    if (exit.kind === 'pio' && !exit.write) {
      if (input?.kind !== 'answer') throw new Error(`a read of port ${exit.port} that was not recorded`);
      exit.value = input.value;
      next++;
    } else if (input?.kind === 'interrupt' && vm.time.now() === input.at) {
      vcpu.interrupt(input.vector);
      next++;
    }
  }
}
