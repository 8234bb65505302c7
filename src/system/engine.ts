/** What the privileged architecture needs from the outside: the engine that runs instructions, and the machine around the CPU. */
import type { DirectAccess } from '../mmu/direct-access.ts';

/** A linear address, as an unsigned 64-bit number, and its bit in DR6. */
export interface InstructionBreakpoint {
  readonly linear: bigint;
  readonly bit: number;
}

/** The execution engine, as the helpers see it. */
export interface Engine {
  /** The six arithmetic flags as they stand now, at their places in RFLAGS; the other bits are zero. */
  flags(): number;
  /** Replaces the six arithmetic flags by those of an RFLAGS word. */
  setFlags(word: number): void;
  /** Mode, CPL, a code or stack segment, or a control bit that decides about instructions has changed. */
  contextChanged(): void;
  /** Stop before instructions at these linear addresses. */
  setBreakpoints(list: readonly InstructionBreakpoint[]): void;
  /** A program beside the processor has answered the port access at this instruction pointer: translated code may ask it itself. */
  portAnswered(rip: number): void;
  /** Translated code can ask this program by itself for such accesses. */
  portProgram(port: number, bytes: 1 | 2 | 4, write: boolean, access: DirectAccess): void;
  /** That holds no more: accesses are to be looked at. */
  forgetPrograms(): void;
}

/** The I/O ports. Values are unsigned. */
export interface Ports {
  /** The access log may say afterwards that the instruction is given up and will be executed once more. */
  read(port: number, bytes: 1 | 2 | 4): number;
  write(port: number, bytes: 1 | 2 | 4, value: number): void;
  /**
   * Puts a read to a program beside the processor, and to nobody else. One that the program passes on is made again, by
   * `read`, which does not ask the program a second time.
   * @returns what it answered; -1: it has passed the access on; -2: there is none
   */
  readDirect?(port: number, bytes: 1 | 2 | 4): number;
  /** Counts the accesses that programs have answered by way of `read` and `write`. */
  readonly answered?: number;
  /** @returns 0: taken; else as {@link readDirect} */
  writeDirect?(port: number, bytes: 1 | 2 | 4, value: number): number;
  /** The program that gets such an access, if generated code may ask it. */
  directAt?(port: number, bytes: 1 | 2 | 4, write: boolean): DirectAccess | null;
  /** It was asked, and has passed the access on: as if by {@link readDirect} or {@link writeDirect}. */
  passedOn?(port: number, bytes: 1 | 2 | 4, write: boolean): void;
  /** A read for which its instruction was given up is done, without being made again. */
  finished?(): void;
  /** An instruction that ends has made so many accesses: on a bus they take time. */
  took?: ((accesses: number) => void) | undefined;
}

/** The time-stamp counter before IA32_TSC_ADJUST and offsets. */
export interface TimeStampCounter {
  read(): bigint;
  readonly hertz: number;
  /** Nanoseconds of the machine's clock at which it shows a value. */
  nanosAt(tsc: bigint): number;
  /** The program that is run has nothing to do until it shows a value: time may pass until then, or less. */
  wait?(until: bigint): void;
  /** The processor spins, and others may have their turn. */
  pause?(): void;
}

/** What the embedder answers in the place of the processor (runtime/vm/embedder-accesses.ts). Each may throw `exitRequest`. */
export interface Embedder {
  /** RDMSR and WRMSR of registers that the policy hands over; `fault`: #GP(0) instead. */
  readMsr(index: number): { readonly low: number; readonly high: number; readonly fault: boolean };
  writeMsr(index: number, low: number, high: number): { readonly fault: boolean };
  /** VMCALL; `registers` gives the halves of RAX, RBX, RCX, RDX and RSI, the answer is for RAX. */
  hypercall(registers: (index: 0 | 1 | 2 | 3 | 4, half: 0 | 1) => number): {
    readonly low: number;
    readonly high: number;
  };
}

/** What VMCALL and VMMCALL do: #UD, the embedder's, or what KVM answers to calls that it does not know. */
export type Hypercalls = 'fault' | 'exit' | 'kvm';

/** What the processor's KVM interface shows of the machine's time (kvm-clock.ts). */
export interface Paravirt {
  /** A moment in nanoseconds, and what the time-stamp counter showed then, before offsets. */
  readonly reference: { readonly nanos: number; readonly tsc: bigint };
  readonly hertz: number;
  /** Milliseconds since 1970 at nanosecond 0. */
  readonly epoch: number;
}

/** What RDRAND and RDSEED give, 64 bits at a time; null = the generator whose state is the field `randomState`. */
export type RandomNumbers = (() => bigint) | null;

/** The local APIC as far as instructions and MSRs reach it. A CPU without one has null. */
export interface LocalApic {
  /** CR8: bits 7-4 of the task priority. */
  taskPriority: number;
  /** A maskable interrupt is there for a processor that takes one. */
  readonly requesting: boolean;
  /** RESET or INIT; IA32_APIC_BASE stays as it is. */
  reset(): void;
  /** IA32_TIME_STAMP_COUNTER or IA32_TSC_ADJUST was written. */
  timeMoved(): void;
  /** IA32_APIC_BASE was written. */
  baseChanged(base: bigint): void;
  /** Physical page of the registers; -1: they are not in memory. */
  readonly page: number;
  /** x2APIC registers (800H-83FH) and IA32_TSC_DEADLINE (6E0H); null = #GP. */
  readMsr(index: number): bigint | null;
  /** @returns false = #GP */
  writeMsr(index: number, value: bigint): boolean;
}
