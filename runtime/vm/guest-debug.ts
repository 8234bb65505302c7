/**
 * Guest debugging by the embedder (KVM_SET_GUEST_DEBUG): single steps, any number of breakpoints and watchpoints on linear
 * addresses, and INT3. The guest's own debug registers, TF and RF go on working meanwhile, and the guest notices nothing:
 * no flag is borrowed from it. Code that is stepped or watched leaves translation and comes back to it afterwards.
 */

import type { Engine } from '../../src/execute/engine.ts';
import { addressOfBig } from '../../src/mmu/linear.ts';
import type { EmbedderWatch, WatchList } from '../../src/mmu/watch.ts';
import type { Cpu } from '../../src/system/cpu.ts';
import { mustBeList, mustBeObject } from '../arguments.ts';
import { ConfigurationError } from '../errors.ts';
import type { DebugExit } from './exits.ts';

/** Which accesses a watchpoint is met by. */
export type WatchpointKind = 'read' | 'write' | 'access';

/** A range of linear addresses whose accesses are wanted. */
export interface Watchpoint {
  /** Linear address, as in {@link GuestDebugOptions.breakpoints}. */
  readonly address: number | bigint;
  /** Bytes, 1 or more. */
  readonly length: number;
  /** `access` is either. A read-modify-write is both. */
  readonly kind: WatchpointKind;
}

/** What `vcpu.debug.set()` takes; what is left out is off. */
export interface GuestDebugOptions {
  /**
   * Each `enter` comes back after one instruction, `single-step`: one element of a repeated string instruction, or the
   * delivery of an exception or interrupt, which leaves rip at the handler.
   */
  readonly singleStep?: boolean;
  /** While single-stepping, interrupts, NMIs and SMIs wait (KVM_GUESTDBG_BLOCKIRQ), unless the processor halts. */
  readonly blockInterrupts?: boolean;
  /**
   * Linear addresses of instructions before which `enter` comes back, `hardware-breakpoint`. The next `enter` goes on over
   * it. A number is a whole one; addresses beyond 2^53 are bigints, signed or unsigned.
   */
  readonly breakpoints?: readonly (number | bigint)[];
  /** `enter` comes back after the instruction that has made such an access, `watchpoint`. */
  readonly watchpoints?: readonly Watchpoint[];
  /**
   * INT3 is the embedder's: `enter` comes back before it, `software-breakpoint`, again and again until the embedder moves
   * rip, replaces the instruction, or hands it to the guest by {@link GuestDebug.deliverInt3}.
   */
  readonly softwareBreakpoints?: boolean;
}

/** Bits of DR6 that are always set. */
const DR6_FIXED = 0xffff_0ff0;
const DR6_BS = 0x4000;
const twoTo64 = 1n << 64n;

/** @throws ConfigurationError `bad-option` naming the value */
function linearAddress(value: number | bigint, what: string): bigint {
  const whole = typeof value === 'bigint' || Number.isSafeInteger(value) ? BigInt(value) : null;
  if (whole === null || whole >= twoTo64 || whole < -(twoTo64 >> 1n))
    throw new ConfigurationError('bad-option', `${what} ${value}: no linear address`);
  return BigInt.asUintN(64, whole);
}

function embedderWatch({ address, length, kind }: Watchpoint): EmbedderWatch {
  const start = addressOfBig(BigInt.asIntN(64, linearAddress(address, 'watchpoint at')));
  if (!Number.isSafeInteger(length) || length < 1 || length > 2 ** 31)
    throw new ConfigurationError('bad-option', `watchpoint of ${length} bytes: not 1 to 2^31`);
  if (kind !== 'read' && kind !== 'write' && kind !== 'access')
    throw new ConfigurationError('bad-option', `watchpoint of kind ${kind}: not read, write or access`);
  return { start, length, reads: kind !== 'write', writes: kind !== 'read' };
}

/** One vCPU's. */
export class GuestDebug {
  /** One instruction at a time. */
  singleStep = false;
  /** An instruction was executed since the entry, or an event delivered. */
  stepped = false;
  /** The vCPU executes nothing, as if it waited: the others of its machine run alone. */
  paused = false;
  private blockInterrupts = false;
  private softwareBreakpoints = false;
  private addresses: readonly bigint[] = [];
  /** The instruction at rip is an INT3 that the embedder has not been told of. */
  private metInt3 = false;
  /** Where an INT3 is the guest's, once. */
  private guestsInt3 = -1n;
  private ripAtExit = -1n;
  private readonly engine: Engine;
  private readonly watches: WatchList;
  private readonly cpu: Cpu;
  private readonly exit: DebugExit;

  constructor(index: number, engine: Engine, cpu: Cpu) {
    this.engine = engine;
    this.cpu = cpu;
    this.watches = cpu.processor.mmu.watches;
    this.exit = { kind: 'debug', cpu: index, reason: 'single-step', rip: 0, dr6: 0, address: 0, write: false };
    cpu.processor.embedderTakesInt3 = () => this.takesInt3();
  }

  /**
   * Replaces everything that was set before.
   * @throws ConfigurationError `bad-option` naming the value; then nothing has changed
   */
  set(options: GuestDebugOptions): void {
    mustBeObject('what debugging wants', options);
    mustBeList('breakpoints', options.breakpoints ?? []);
    mustBeList('watchpoints', options.watchpoints ?? []);
    for (const watch of options.watchpoints ?? []) mustBeObject('watchpoint', watch);
    const addresses = (options.breakpoints ?? []).map((address) => linearAddress(address, 'breakpoint at'));
    const watches = (options.watchpoints ?? []).map(embedderWatch);
    this.singleStep = options.singleStep === true;
    this.blockInterrupts = options.blockInterrupts === true;
    this.softwareBreakpoints = options.softwareBreakpoints === true;
    this.addresses = addresses;
    this.engine.breakpoints.setEmbedders(new Set(addresses));
    this.cpu.processor.mmu.watchForEmbedder(watches);
    this.cpu.processor.engine.forgetPrograms();
    this.watches.forget();
  }
  /** Nothing is debugged any more. */
  clear(): void {
    this.set({});
    this.paused = false;
  }
  /** The INT3 that the vCPU came back with is the guest's: the next `enter` executes it. */
  deliverInt3(): void {
    this.guestsInt3 = this.rip;
  }

  // --- what the vCPU's loop asks
  private get rip(): bigint {
    return this.cpu.processor.state.get64('rip');
  }
  private takesInt3(): boolean {
    if (!this.softwareBreakpoints) return false;
    const passes = this.rip === this.guestsInt3;
    this.guestsInt3 = -1n;
    this.metInt3 = !passes;
    return !passes;
  }
  /** Interrupts wait now. */
  get holdsInterrupts(): boolean {
    return this.singleStep && this.blockInterrupts && this.cpu.processor.state.get32('halted') === 0;
  }
  /** Before the first instruction of an entry. */
  entered(): void {
    this.stepped = false;
    const { breakpoints } = this.engine;
    if (breakpoints.embedderActive && this.rip !== this.ripAtExit) breakpoints.forgetPassed();
    if (this.singleStep) breakpoints.pass();
  }
  /** After the last instruction of an entry. */
  exited(): void {
    if (this.engine.breakpoints.embedderActive) this.ripAtExit = this.rip;
  }
  /** What the instruction before has met. */
  take(): DebugExit | null {
    if (this.metInt3) {
      this.metInt3 = false;
      return this.report('software-breakpoint', DR6_FIXED);
    }
    const { watches } = this;
    if (!watches.met) return null;
    watches.forget();
    const exit = this.report('watchpoint', DR6_FIXED);
    exit.address = watches.address;
    exit.write = watches.wrote;
    return exit;
  }
  /** The single step is done. */
  step(): DebugExit {
    return this.report('single-step', (DR6_FIXED | DR6_BS) >>> 0);
  }
  /** One of the breakpoints is at the next instruction, which the next entry executes. */
  breakpoint(): DebugExit {
    this.engine.breakpoints.pass();
    const number = this.addresses.indexOf(this.engine.linearRip());
    return this.report('hardware-breakpoint', (DR6_FIXED | (number < 4 ? 1 << number : 0)) >>> 0);
  }
  private report(reason: DebugExit['reason'], dr6: number): DebugExit {
    const { exit } = this;
    exit.reason = reason;
    exit.rip = Number(BigInt.asIntN(64, this.rip));
    exit.dr6 = dr6;
    exit.address = 0;
    exit.write = false;
    return exit;
  }
}
