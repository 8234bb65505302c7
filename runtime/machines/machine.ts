/**
 * A machine as the command line and the page see it. They know nothing else of the emulator, so they are tested with a
 * machine of plain script; `bare-machine.ts` makes the real one.
 */
import type { CpuModelName } from '../../src/system/cpu-models.ts';
import type { CpuidPolicy } from '../../src/system/cpuid-policy.ts';
import type { GuestRam, InitialState } from '../loaders/initial-state.ts';
import type { RestoreOptions } from '../snapshot/snapshot.ts';
import type { DebugExit } from '../vm/exits.ts';
import type { Vcpu } from '../vm/vcpu.ts';
import type { ClockKind } from '../vm/vm-time.ts';

/** Names of {@link Engine}. */
export const engines = ['auto', 'interpreter', 'jit'] as const;
/** `auto` interprets and translates what is hot; `jit` translates at the first execution. */
export type Engine = (typeof engines)[number];

/** Names of {@link X87Mode}. */
export const x87Modes = ['exact', 'fast'] as const;
/** x87 arithmetic with 80 bits, or inexact with plain doubles. */
export type X87Mode = (typeof x87Modes)[number];

export { type CpuModelName, cpuModelNames } from '../../src/system/cpu-models.ts';

/** Names of {@link MachineKind}. */
export const machineKinds = ['bare', 'pc'] as const;
/** `bare`: a processor, RAM and four ports. `pc`: with interrupt controllers, timers, clock and ACPI. */
export type MachineKind = (typeof machineKinds)[number];

export { type ClockKind, clockKinds } from '../vm/vm-time.ts';

/** What a machine is made from. */
export interface MachineOptions {
  /** Which machine; `bare` if nothing is said. */
  readonly machine?: MachineKind;
  /** The PC's time; `virtual` if nothing is said. */
  readonly clock?: ClockKind;
  /** The rate of the PC's time-stamp counter as the guest sees it; 1 GHz if nothing is said. */
  readonly tscHertz?: number;
  /** Bytes of RAM from guest-physical address 0. */
  readonly memory: number;
  /** Processors. */
  readonly cpus: number;
  /** Who executes the guest. */
  readonly engine: Engine;
  /** How exact the x87 is. */
  readonly x87: X87Mode;
  /** Which processor; `max`, the default, has everything that exists but 5-level paging. */
  readonly cpu?: CpuModelName;
  /** A PC's CPUID: features taken away, other numbers and texts. */
  readonly cpuid?: CpuidPolicy;
  /** `kvm`: the PC has KVM's interface, with kvmclock. `none` if nothing is said. */
  readonly paravirt?: 'none' | 'kvm';
  /** Where translations are kept: a folder in Node, the name of a database in a page; null: nowhere. */
  readonly cache: string | null;
  /** A PC's devices for test programs of processors, after QEMU's pc-testdev (`runtime/devices/test-device.ts`). */
  readonly testDevice?: boolean;
  /** Takes each byte sent through the serial port. */
  readonly serial: (byte: number) => void;
  /** Takes each byte written to the debug console. */
  readonly debugcon: (byte: number) => void;
}

/** When a run ends before the guest does. */
export interface RunLimits {
  /** Stop after exactly so many instructions, counted from the start. */
  readonly maxInstructions?: number;
  /** Stop soon after this is aborted; the guest could go on. */
  readonly signal?: AbortSignal;
}

/** How a run ended. */
export type RunEnd =
  /** The guest wrote the exit port. */
  | { readonly reason: 'exit'; readonly status: number }
  /** HLT, and nothing that could wake the processor. */
  | { readonly reason: 'halt'; readonly rip: number }
  /** A triple fault. */
  | { readonly reason: 'shutdown'; readonly rip: number; readonly vector: number }
  /** The guest switched the machine off. */
  | { readonly reason: 'power-off' }
  /** The guest reset the machine. */
  | { readonly reason: 'reset' }
  | { readonly reason: 'instructions' }
  | { readonly reason: 'aborted' }
  /** A vCPU has met what `vcpu.debug` was set to; the guest can go on. */
  | { readonly reason: 'debug'; readonly exit: DebugExit }
  | { readonly reason: 'internal-error'; readonly rip: number; readonly message: string };

/** What the engines have done since the machine was made. */
export interface MachineStatistics {
  /** Guest instructions retired. */
  readonly instructions: number;
  /** How many of them the interpreter executed. */
  readonly interpreted: number;
  /** Regions translated, those taken from the cache included. */
  readonly regions: number;
  /** How many of them an earlier run had made. */
  readonly regionsFromCache: number;
  /** Bytes of WebAssembly in all translations. */
  readonly codeBytes: number;
  /** Time spent on translating, on whatever thread. */
  readonly compileMillis: number;
}

/** An instruction as `jit86 disasm` shows it. */
export interface ListedInstruction {
  /** Its linear address. */
  readonly address: number;
  /** Its encoding. */
  readonly bytes: Uint8Array;
  /** As the disassembler writes it. */
  readonly text: string;
  /** One line per micro-op. */
  readonly microOps: readonly string[];
}

/** A basic block as `jit86 disasm` shows it. */
export interface BlockListing {
  /** The linear address of its first instruction. */
  readonly address: number;
  /** In the order of their addresses. */
  readonly instructions: readonly ListedInstruction[];
  /** The block's translation in WebAssembly's text format. */
  readonly wasm: string;
}

/** A machine that is complete: processors, memory, devices and a clock. */
export interface Machine {
  /** Guest RAM, as loaders take it. */
  readonly ram: GuestRam;
  /** The processors that it runs; while it does not, the embedder may look at their state and debug them. */
  readonly vcpus: readonly Vcpu[];
  /** Puts processor 0 into the state that a loader asks for. */
  start(state: InitialState): void;
  /** Runs until the guest ends or a limit is reached; may be called again after a limit. */
  run(limits: RunLimits): Promise<RunEnd>;
  /** Sends bytes to the guest's serial port. */
  receive(bytes: Uint8Array): void;
  /**
   * The whole machine as bytes: what {@link restore} of another one, made with the same options, goes on from, bit for bit
   * with virtual time. Between two runs only.
   * @throws SnapshotError
   */
  snapshot(): Uint8Array;
  /**
   * Goes on from a snapshot, in the place of `start`.
   * @throws SnapshotError `different-machine` and others naming what is wrong; the machine is as it was
   */
  restore(snapshot: Uint8Array, options?: RestoreOptions): void;
  /** Guest instructions retired so far; exact in a device's callback too. */
  instructions(): number;
  /** Sums over all processors. */
  statistics(): MachineStatistics;
  /** Basic blocks from `address` on, in the state that `start` has set, until they hold `count` instructions. */
  disassemble(address: number, count: number): Promise<readonly BlockListing[]>;
  /** Ends its threads and writes the translation cache. */
  close(): Promise<void>;
}

/** Makes a machine on a host. */
export type MachineFactory = (options: MachineOptions) => Promise<Machine>;
