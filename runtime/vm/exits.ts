/**
 * Why the guest was left: the closed set that `vcpu.enter()` returns, named after KVM's `KVM_EXIT_*`.
 *
 * Take them apart with one `switch` over `kind` that ends in `unexpectedExit(exit)`: a kind that is not handled is then
 * a compile error. A vCPU owns one object per kind and returns the same one each time, so an exit costs no allocation:
 * copy what must outlive the next `enter`.
 *
 * Wherever the guest waits for an answer (`pio`, `mmio` and `msr` reads, `hypercall`) the embedder writes it into the
 * exit, and the next `enter` finishes the instruction with it. Values of 64 bits are two unsigned halves, since most
 * exits are narrow and a `bigint` would be an allocation.
 */

/** What all exits have. */
export interface ExitBase {
  /** Number of the vCPU that was left. */
  readonly cpu: number;
}

/** A port access that no device of the machine claims; IN and OUT, one element of INS and OUTS. */
export interface PioExit extends ExitBase {
  readonly kind: 'pio';
  /** OUT; else IN. */
  write: boolean;
  /** The port, 0-FFFFH. */
  port: number;
  /** Bytes. */
  size: 1 | 2 | 4;
  /** OUT: what the guest wrote. IN: the embedder's answer, all ones until it is set. */
  value: number;
}

/** An access to guest-physical memory that is neither RAM, ROM nor claimed by a device of the machine. */
export interface MmioExit extends ExitBase {
  readonly kind: 'mmio';
  /** A store; else a load. */
  write: boolean;
  /** Guest-physical address; 52 bits fit a number. */
  physical: number;
  /** Bytes. */
  size: 1 | 2 | 4 | 8;
  /** Bits 0-31 of what the guest wrote, or of the embedder's answer. */
  low: number;
  /** Bits 32-63; meaningful when `size` is 8. */
  high: number;
}

/** HLT with nothing to wake the processor yet; entering again goes on after the HLT once an interrupt is pending. */
export interface HaltExit extends ExitBase {
  readonly kind: 'halt';
  /** RFLAGS.IF: with interrupts masked only an NMI, SMI, INIT or reset can end this halt. */
  interruptible: boolean;
}

/** A fault while delivering a double fault: on a PC the chipset resets (SDM 3A 6.15, interrupt 8). */
export interface ShutdownExit extends ExitBase {
  readonly kind: 'shutdown';
  /** Linear address of the instruction that started the chain of faults. */
  rip: number;
  /** The vector that could not be delivered. */
  vector: number;
}

/** A limit of this `enter` was reached, exactly; nothing of the next instruction has happened. */
export interface BudgetExit extends ExitBase {
  readonly kind: 'budget';
  /** Which of them. */
  limit: 'instructions' | 'blocks' | 'deadline';
}

/** Somebody asked for the vCPU with `kick` or an AbortSignal. */
export interface KickedExit extends ExitBase {
  readonly kind: 'kicked';
}

/** A condition of guest debugging that the embedder armed. */
export interface DebugExit extends ExitBase {
  readonly kind: 'debug';
  /** Which condition; see `GuestDebugOptions`. */
  reason: 'single-step' | 'software-breakpoint' | 'hardware-breakpoint' | 'watchpoint';
  /** The next instruction's, signed in 64-bit mode. */
  rip: number;
  /** DR6 as the guest would see it (SDM 3B 17.2.3). Of breakpoints the first four have bits. */
  dr6: number;
  /** `watchpoint`: linear address of the first watched byte that was touched, signed in 64-bit mode. Else 0. */
  address: number;
  /** `watchpoint`: it was written to. */
  write: boolean;
}

/** RDMSR or WRMSR of a register that the policy hands to the embedder. */
export interface MsrExit extends ExitBase {
  readonly kind: 'msr';
  /** WRMSR; else RDMSR. */
  write: boolean;
  /** Number of the register. */
  index: number;
  /** Bits 0-31 of what is written, or of the embedder's answer. */
  low: number;
  /** Bits 32-63. */
  high: number;
  /** Set by the embedder: answer with #GP(0) instead. */
  fault: boolean;
}

/** VMCALL or VMMCALL, arguments as in KVM's hypercall convention (RAX; RBX, RCX, RDX, RSI). */
export interface HypercallExit extends ExitBase {
  readonly kind: 'hypercall';
  /** Which call: RAX. */
  number: number;
  /** Low halves of the four arguments. */
  readonly low: [number, number, number, number];
  /** High halves of the four arguments; zero outside 64-bit mode. */
  readonly high: [number, number, number, number];
  /** The embedder's answer, for RAX. */
  resultLow: number;
  /** Bits 32-63 of the answer. */
  resultHigh: number;
}

/** The guest can take an external interrupt now: asked for with `interruptWindow`. */
export interface InterruptWindowExit extends ExitBase {
  readonly kind: 'interrupt-window';
}

/** The emulator met something that it cannot carry on from; the guest's state is that before the instruction at `rip`. */
export interface InternalErrorExit extends ExitBase {
  readonly kind: 'internal-error';
  /** Where the guest stands. */
  rip: number;
  /** What was met, for people. */
  message: string;
}

/** Everything that `vcpu.enter()` can return. */
export type Exit =
  | PioExit
  | MmioExit
  | HaltExit
  | ShutdownExit
  | BudgetExit
  | KickedExit
  | DebugExit
  | MsrExit
  | HypercallExit
  | InterruptWindowExit
  | InternalErrorExit;

/** The names of the exits. */
export type ExitKind = Exit['kind'];

/** What `vcpu.enter()` takes: every limit optional, all of them exact but the deadline. */
export interface EnterOptions {
  /** Return after at most this many instructions. */
  readonly maxInstructions?: number;
  /**
   * Return after at most this many basic blocks: what ends with a branch, call, return or far transfer, taken or not, with
   * SYSCALL and its like, or with an exception.
   */
  readonly maxBlocks?: number;
  /**
   * Return at this time of the machine's clock, in nanoseconds: exactly where time is virtual, else soon after. One that has
   * passed lets nothing be executed.
   */
  readonly deadline?: number;
  /** Return as soon as the guest can take an external interrupt. */
  readonly interruptWindow?: boolean;
}

/** The end of a `switch` over exits: tsc refuses the call while a kind is left, and at run time an unknown one is loud. */
export function unexpectedExit(exit: never): never {
  throw new Error(`unexpected exit ${JSON.stringify(exit)}`);
}
