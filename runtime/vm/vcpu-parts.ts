/** What a vCPU is made from. */
import type { Contexts } from '../../src/execute/context.ts';
import type { KnownPatterns } from '../../src/execute/known-patterns.ts';
import type { PhysicalMemory } from '../../src/mmu/physical-memory.ts';
import type { ApicBus } from '../../src/system/apic-bus.ts';
import type { ApicClock } from '../../src/system/apic-timer.ts';
import type { CpuModel } from '../../src/system/cpu-models.ts';
import type { Ports, RandomNumbers, TimeStampCounter } from '../../src/system/engine.ts';
import type { InterruptSource } from '../../src/system/interrupt-pins.ts';
import type { Surroundings } from '../../src/system/processor.ts';
import type { VmTime } from './vm-time.ts';

/** What the local APICs of a machine work with. */
export interface ApicMachine {
  /** Nanoseconds; the time-stamp counter must follow from it. */
  readonly clock: ApicClock;
  /** The vector of the external controller (8259), which takes the interrupt as acknowledged: for machines without one on
   *  the APIC bus (`vm.irq`). */
  readonly acknowledgeExternal?: () => number;
}

/** What a vCPU asks of the machine's interrupt routing. */
export interface VcpuInterrupts {
  /** The vector of the external controller; -1 = the processor is told later. */
  acknowledge(processor: InterruptSource): number;
  /** Whether `poll` is worth a call. */
  readonly polls: boolean;
  /** Looks at what other threads have signalled. */
  poll(): void;
}

export interface VcpuParts {
  readonly memory: WebAssembly.Memory;
  readonly base: number;
  readonly codeBase: number;
  readonly codeBytes: number;
  readonly physical: PhysicalMemory;
  readonly contexts: Contexts;
  readonly core: WebAssembly.Module;
  readonly arithmetic: WebAssembly.Exports;
  /** Patterns of instructions that come with the build. */
  readonly patterns: KnownPatterns | null;
  readonly ports: Ports;
  readonly tsc: TimeStampCounter;
  /** Keeps time for entries, and is the counter unless that is the embedder's own. */
  readonly time: VmTime;
  readonly random: RandomNumbers;
  readonly model: CpuModel;
  /** What is the guest's of MSRs, hypercalls, and KVM's interface. */
  readonly policy: Pick<Surroundings, 'msrs' | 'hypercalls' | 'paravirt'>;
  readonly index: number;
  readonly cpus: number;
  /** null: the processor has no local APIC. */
  readonly apic: { readonly clock: ApicClock; readonly bus: ApicBus } | null;
  readonly interrupts: VcpuInterrupts;
  /** Told of each entry. */
  readonly entered: () => void;
  /** Told of each return. */
  readonly left: () => void;
}
