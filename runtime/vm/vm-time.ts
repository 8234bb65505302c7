/**
 * The time of a VM: its clock, the time-stamp counter that follows from it, and how entries of vCPUs move it.
 *
 * Virtual time is the number of instructions executed, one nanosecond each, by whichever vCPU; alarms ring between two
 * instructions, exactly. Host time goes by itself; alarms ring where a slice of the guest ends.
 */

import { timeSources } from '../../src/execute/budget-time.ts';
import type { Engine } from '../../src/execute/engine.ts';
import type { CpuState } from '../../src/state/cpu-state.ts';
import type { TimeStampCounter } from '../../src/system/engine.ts';
import { fastestTsc, nanosOfTsc, slowestTsc, tscOfNanos } from '../../src/system/tsc-scale.ts';
import { mustBeObject, shown } from '../arguments.ts';
import { HostClock, VirtualClock } from '../devices/clock.ts';
import { ConfigurationError } from '../errors.ts';

/** Names of {@link ClockKind}. */
export const clockKinds = ['virtual', 'host'] as const;
/** `virtual`: time is the number of instructions executed, so a run is a function of its inputs. `host`: the host's time. */
export type ClockKind = (typeof clockKinds)[number];

/** Names of {@link TimePolicy}. */
export const timePolicies = ['continue', 'catch-up'] as const;
/** After a restore: guest time goes on where it stood (`continue`), or the host's time since then has passed (`catch-up`). */
export type TimePolicy = (typeof timePolicies)[number];

/** How the time of a VM goes. */
export interface VmTimeOptions {
  /** `host` if nothing is said. */
  readonly clock?: ClockKind;
  /** The time-stamp counter's rate as the guest sees it, a whole number of hertz from 1 MHz to 2^32 - 1; 1 GHz if left out. */
  readonly tscHertz?: number;
  /**
   * Milliseconds since 1970 when the VM's time is zero: what wall clocks show. If left out: the host's date with the host's
   * clock, the first of January 2026 with virtual time.
   */
  readonly epoch?: number;
  /** Nanoseconds of the host that never go back; `performance.now` if left out. */
  readonly monotonicNanos?: () => number;
}

/** A VM's time as it is saved: plain data. */
export interface SavedTime {
  /** Nanoseconds of the VM's clock. */
  readonly nanos: number;
  /** The counter showed `referenceTsc` at `referenceNanos`, and has had this rate since then. */
  readonly tscHertz: number;
  readonly referenceNanos: number;
  readonly referenceTsc: bigint;
  readonly epoch: number;
  /** The host's date, in milliseconds since 1970, when it was saved. */
  readonly savedAt: number;
}

/** What time needs of a vCPU. */
export interface TimedVcpu {
  readonly engine: Engine;
  readonly fields: CpuState;
  /** The time-stamp counter has been moved or has another rate. */
  timeMoved(): void;
  /** Time is another. What the guest was told of it is in its memory, as it was saved, and holds again. */
  timeRestored(): void;
  /** It would execute something if it were entered. */
  readonly runnable: boolean;
  /** The entry has an end in time, not only in instructions. */
  readonly endsByTime: boolean;
  /** What is being run is to end after the present instruction: an alarm rings sooner than it seemed. */
  shorten(): void;
}

/** The date at which virtual time begins. */
const virtualEpoch = Date.UTC(2026, 0, 1);
/** How long a wait lasts while others have something to do. */
const pauseNanos = 1000;
/** Instructions between two looks at the host's clock. */
const hostSlice = 500_000;
/** The same for those that are to end at a time. */
const deadlineSlice = 50_000;
/** Time goes no further: 36 years, of which a number counts steps of 256 ns. */
const longestTime = 2 ** 60;
/** No budget is longer: instruction counts and nanoseconds stay exact as numbers. */
const longestBudget = 2 ** 51;

function checkedHertz(hertz: number): number {
  if (!Number.isInteger(hertz) || hertz < slowestTsc || hertz > fastestTsc)
    throw new ConfigurationError(
      'bad-option',
      `tscHertz of ${shown(hertz)}: a whole number from ${slowestTsc} to ${fastestTsc} is wanted`,
    );
  return hertz;
}

/** The time of a VM: `vm.time`. */
export class VmTime implements TimeStampCounter {
  /** Who moves it. */
  readonly kind: ClockKind;
  /** For devices and alarms. */
  readonly clock: VirtualClock | HostClock;
  private rate: number;
  private wallEpoch: number;
  private referenceNanos = 0;
  private referenceTsc = 0n;
  private readonly vcpus: TimedVcpu[] = [];
  /** The vCPU that is entered, and the instructions that it was given. */
  private active: TimedVcpu | null = null;
  private budget = 0;

  /** @throws ConfigurationError `bad-option` naming the value */
  constructor({ clock = 'host', tscHertz = 1e9, epoch, monotonicNanos }: VmTimeOptions = {}) {
    if (!clockKinds.includes(clock))
      throw new ConfigurationError('bad-option', `clock '${String(clock)}': one of ${clockKinds.join(', ')} is wanted`);
    this.kind = clock;
    this.rate = checkedHertz(tscHertz);
    this.wallEpoch = epoch ?? (clock === 'host' ? Date.now() : virtualEpoch);
    if (!Number.isFinite(this.wallEpoch))
      throw new ConfigurationError('bad-option', `epoch of ${epoch}: milliseconds since 1970 are wanted`);
    this.clock =
      clock === 'virtual'
        ? new VirtualClock(() => this.executed())
        : new HostClock(monotonicNanos ?? (() => performance.now() * 1e6));
    this.clock.onEarlier = () => {
      const { active, clock: alarms } = this;
      if (active !== null && alarms.nextDeadline() < alarms.now() + active.engine.left) active.shorten();
    };
  }

  /** Nanoseconds since the VM began. */
  now(): number {
    return this.clock.now();
  }
  /** Milliseconds since 1970 when the VM's time was zero. */
  get epoch(): number {
    return this.wallEpoch;
  }
  private executed(): number {
    return this.active === null ? 0 : this.budget - this.active.engine.left;
  }

  // --- the time-stamp counter
  read(): bigint {
    return this.referenceTsc + tscOfNanos(this.nanosSinceReference(), this.rate);
  }
  nanosSinceReference(): number {
    return Math.floor(this.clock.now()) - this.referenceNanos;
  }
  /** Rate of the time-stamp counter. */
  get hertz(): number {
    return this.rate;
  }
  /** A moment, and what the counter showed then: time at its present rate counts from there. */
  get reference(): { readonly nanos: number; readonly tsc: bigint } {
    return { nanos: this.referenceNanos, tsc: this.referenceTsc };
  }
  /** The first nanosecond at which the counter shows a value. */
  nanosAt(tsc: bigint): number {
    const since = tsc - this.referenceTsc;
    return since <= 0n ? 0 : this.referenceNanos + nanosOfTsc(since, this.rate);
  }
  /**
   * Another rate from now on; the counter goes on from what it shows.
   * @throws ConfigurationError `bad-option`
   */
  setTscHertz(hertz: number): void {
    const rate = checkedHertz(hertz);
    const tsc = this.read();
    this.referenceNanos = Math.floor(this.clock.now());
    this.referenceTsc = tsc;
    this.rate = rate;
    this.changed();
  }

  // --- vCPUs
  /**
   * A vCPU of the VM whose time this is.
   * @param counts its time-stamp counter is this one
   */
  attach(vcpu: TimedVcpu, counts: boolean): void {
    this.vcpus.push(vcpu);
    const { embedder, host, instructions } = timeSources;
    vcpu.fields.set32('timeSource', !counts ? embedder : this.kind === 'host' ? host : instructions);
    this.tell(vcpu);
  }
  private tell({ fields, engine }: TimedVcpu): void {
    fields.set64('tscHertz', BigInt(this.rate));
    fields.set64('tscBase', this.referenceTsc);
    if (this.active?.engine === engine) engine.beside.setEnd(this.end());
  }
  private changed(): void {
    for (const vcpu of this.vcpus) {
      this.tell(vcpu);
      vcpu.timeMoved();
    }
  }
  /** Nanoseconds since the reference when the entry's budget will be used up; host time follows no budget. */
  private end(): number {
    const { active, budget, clock } = this;
    if (clock instanceof HostClock) return 0;
    return Math.floor(clock.now()) - this.referenceNanos + (active === null ? budget : active.engine.left);
  }

  /**
   * A vCPU is entered for at most `wanted` instructions.
   * @returns how many it may execute until an alarm rings or the host's clock is looked at
   */
  begin(vcpu: TimedVcpu, wanted: number): number {
    const { clock } = this;
    let budget = Math.min(wanted, longestBudget);
    if (clock instanceof VirtualClock) {
      clock.advanceTo(clock.now());
      budget = Math.min(budget, Math.ceil(clock.nextDeadline() - clock.now()));
    } else {
      clock.runDue();
      budget = Math.min(budget, hostSlice);
    }
    this.budget = budget;
    const end = this.end();
    this.active = vcpu;
    vcpu.engine.beside.begin(budget, end);
    return budget;
  }
  /** The entry is over, and has executed so many. */
  ended(instructions: number): void {
    const { clock } = this;
    this.active = null;
    if (clock instanceof VirtualClock) clock.advanceTo(clock.now() + instructions);
  }
  /** A vCPU waits from here on, or its entry has come to its end in time: what is due rings now. */
  look(): void {
    if (this.clock instanceof HostClock) this.clock.runDue();
  }

  /** Of `left` instructions, those that will be left when a time has come, if instructions take time. */
  leftAt(deadline: number, left: number): number {
    return this.kind === 'host' ? 0 : left - Math.max(0, Math.ceil(deadline - this.now()));
  }
  /** Of `left` instructions, those that can be executed before a time, or before the next look at the clock. */
  until(deadline: number, left: number, leftAtDeadline: number): number {
    if (this.kind === 'virtual') return Math.min(left, left - leftAtDeadline);
    return this.now() >= deadline ? 0 : Math.min(left, deadlineSlice);
  }

  /**
   * What the vCPU that is entered does takes so many nanoseconds more than its instructions do: virtual time goes on by as
   * much, and alarms on the way ring after the present instruction. Host time knows by itself.
   */
  pass(nanos: number): void {
    const { active, clock } = this;
    if (!(clock instanceof VirtualClock)) return;
    clock.pass(nanos);
    if (active === null) return;
    active.engine.beside.setEnd(this.end());
    if (active.endsByTime || clock.nextDeadline() < clock.now() + active.engine.left) active.shorten();
  }

  /**
   * The vCPU that is entered waits for the counter. Virtual time goes on to that or to the next alarm, which may end the wait,
   * if nobody else could use the time; else it is a short pause, after which the others may have their turn. Who waits on the
   * host's time looks again and again, between the turns of others.
   */
  wait(until: bigint): void {
    const { clock, active } = this;
    if (active === null) return;
    const others = this.hasOthers(active);
    if (clock instanceof VirtualClock) {
      let nanos = Math.ceil(Math.min(this.nanosAt(until), clock.nextDeadline()) - clock.now());
      if (others) nanos = Math.min(nanos, pauseNanos);
      if (nanos > 0) this.pass(nanos);
    }
    if (others) this.onPause();
  }
  /** The vCPU that is entered spins: others have their turn. */
  pause(): void {
    if (this.active !== null && this.hasOthers(this.active)) this.onPause();
  }
  private hasOthers(active: TimedVcpu): boolean {
    return this.vcpus.some((vcpu) => vcpu !== active && vcpu.runnable);
  }
  /** Told when the vCPU that is entered waits for something and others do not. */
  onPause: () => void = () => {};

  /** Every vCPU waits: virtual time goes on to the next alarm. @returns nanoseconds that the host is to wait for it */
  idle(): number {
    const { clock } = this;
    const deadline = clock.nextDeadline();
    if (clock instanceof HostClock) {
      clock.runDue();
      return Math.max(0, clock.nextDeadline() - clock.now());
    }
    if (deadline === Number.POSITIVE_INFINITY) return deadline;
    clock.advanceTo(Math.max(deadline, clock.now()));
    return 0;
  }

  // --- saved and restored
  save(): SavedTime {
    return {
      nanos: this.clock.now(),
      tscHertz: this.rate,
      referenceNanos: this.referenceNanos,
      referenceTsc: this.referenceTsc,
      epoch: this.wallEpoch,
      savedAt: Date.now(),
    };
  }
  /**
   * Goes on from a saved time. Alarms are the devices'; what is overdue by then rings at the next entry.
   * @throws ConfigurationError `bad-option`, with nothing changed; `already-entered` while a vCPU runs
   */
  restore(saved: SavedTime, policy: TimePolicy = 'continue'): void {
    mustBeObject('a saved time', saved);
    if (!timePolicies.includes(policy))
      throw new ConfigurationError('bad-option', `time policy '${String(policy)}': one of ${timePolicies.join(', ')}`);
    if (this.active !== null) throw new ConfigurationError('already-entered', 'time is restored while a vCPU runs');
    const rate = checkedHertz(saved.tscHertz);
    for (const name of ['nanos', 'referenceNanos', 'epoch', 'savedAt'] as const)
      if (!(saved[name] >= 0 && saved[name] <= longestTime))
        throw new ConfigurationError('bad-option', `a saved time with ${name} of ${shown(saved[name])}`);
    if (typeof saved.referenceTsc !== 'bigint')
      throw new ConfigurationError('bad-option', `a saved time with referenceTsc of ${String(saved.referenceTsc)}`);
    const passed = policy === 'catch-up' ? Math.max(0, Date.now() - saved.savedAt) * 1e6 : 0;
    this.clock.moveTo(Math.min(saved.nanos + passed, longestTime));
    this.rate = rate;
    this.referenceNanos = saved.referenceNanos;
    this.referenceTsc = BigInt.asUintN(64, saved.referenceTsc);
    this.wallEpoch = saved.epoch;
    for (const vcpu of this.vcpus) {
      this.tell(vcpu);
      vcpu.timeRestored();
    }
  }
}
