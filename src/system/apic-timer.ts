/**
 * The local APIC's timer: one-shot, periodic, TSC deadline. It counts the core crystal's clock, which is that of the
 * machine: nanoseconds divided by the divide configuration. SDM volume 3, section 11.5.4.
 */

/** Time as the APIC sees it: runtime/devices/clock.ts is one of these. */
export interface ApicClock {
  /** Nanoseconds; never goes back. */
  now(): number;
  alarm(ring: () => void): { set(deadline: number): void; cancel(): void };
}

/** LVT timer mode, bits 17-18. */
export const TIMER_ONE_SHOT = 0;
export const TIMER_PERIODIC = 1;
export const TIMER_TSC_DEADLINE = 2;

/** The timer's state; its mode is the LVT entry's. */
export interface ApicTimerKept {
  initial: number;
  divide: number;
  /** 1: counting down. */
  running: number;
  /** Nanoseconds since the countdown began. */
  elapsed: number;
  /** IA32_TSC_DEADLINE. */
  deadline: bigint;
}

export class ApicTimer {
  private readonly clock: ApicClock;
  private readonly alarm: { set(deadline: number): void; cancel(): void };
  private readonly expired: () => void;
  /** Nanoseconds at which the time-stamp counter shows a value. */
  private readonly timeOfTsc: (tsc: bigint) => number;
  private mode = TIMER_ONE_SHOT;
  private initial = 0;
  private configuration = 0;
  /** When the present countdown began. */
  private start = 0;
  private running = false;
  private tscDeadline = 0n;

  constructor(clock: ApicClock, timeOfTsc: (tsc: bigint) => number, expired: () => void) {
    this.clock = clock;
    this.timeOfTsc = timeOfTsc;
    this.expired = expired;
    this.alarm = clock.alarm(() => this.ring());
  }

  keep(): ApicTimerKept {
    return {
      initial: this.initial,
      divide: this.configuration,
      running: this.running ? 1 : 0,
      elapsed: this.running ? Math.round(this.clock.now() - this.start) : 0,
      deadline: this.tscDeadline,
    };
  }
  /** Takes back what {@link keep} gave: the countdown goes on from where it was, whatever the clock shows now. */
  replace(mode: number, kept: ApicTimerKept): void {
    this.mode = mode;
    this.initial = kept.initial;
    this.configuration = kept.divide;
    this.running = kept.running !== 0;
    this.start = this.running ? this.clock.now() - kept.elapsed : 0;
    this.tscDeadline = kept.deadline;
    if (mode === TIMER_TSC_DEADLINE) this.deadlineMoved();
    else this.schedule();
  }

  reset(): void {
    this.mode = TIMER_ONE_SHOT;
    this.initial = 0;
    this.configuration = 0;
    this.disarm();
  }
  private disarm(): void {
    this.running = false;
    this.tscDeadline = 0n;
    this.alarm.cancel();
  }

  /** The LVT entry's mode; a change to or from TSC deadline stops the timer. */
  setMode(mode: number): void {
    if (mode === this.mode) return;
    const deadlineChanged = (mode === TIMER_TSC_DEADLINE) !== (this.mode === TIMER_TSC_DEADLINE);
    this.mode = mode;
    if (deadlineChanged) {
      this.disarm();
      this.initial = 0;
    } else this.schedule();
  }

  /** Nanoseconds of one count. */
  private get tick(): number {
    const bits = (this.configuration & 3) | ((this.configuration >> 1) & 4);
    return bits === 7 ? 1 : 2 << bits;
  }
  get divideConfiguration(): number {
    return this.configuration;
  }
  /** The count goes on from where it is, at the new rate. */
  set divideConfiguration(value: number) {
    const left = this.currentCount;
    this.configuration = value & 0xb;
    if (!this.running) return;
    this.start = this.clock.now() - (this.initial - left) * this.tick;
    this.schedule();
  }

  get initialCount(): number {
    return this.initial;
  }
  set initialCount(value: number) {
    if (this.mode === TIMER_TSC_DEADLINE) return;
    this.initial = value >>> 0;
    this.start = this.clock.now();
    this.running = this.initial !== 0;
    this.schedule();
  }
  get currentCount(): number {
    if (!this.running) return 0;
    const elapsed = Math.floor((this.clock.now() - this.start) / this.tick);
    if (this.mode === TIMER_PERIODIC) return this.initial - (elapsed % this.initial);
    return Math.max(0, this.initial - elapsed);
  }
  private schedule(): void {
    if (this.running) this.alarm.set(this.start + this.initial * this.tick);
    else this.alarm.cancel();
  }

  /** IA32_TSC_DEADLINE; 0 = disarmed, and whatever is written in another mode is lost. */
  get deadline(): bigint {
    return this.tscDeadline;
  }
  set deadline(value: bigint) {
    if (this.mode !== TIMER_TSC_DEADLINE) return;
    this.tscDeadline = value;
    this.deadlineMoved();
  }
  /** The deadline, or the time-stamp counter under it, has changed. */
  deadlineMoved(): void {
    if (this.mode !== TIMER_TSC_DEADLINE) return;
    if (this.tscDeadline === 0n) this.alarm.cancel();
    else this.alarm.set(this.timeOfTsc(this.tscDeadline));
  }

  private ring(): void {
    if (this.mode === TIMER_TSC_DEADLINE) this.tscDeadline = 0n;
    else if (this.mode === TIMER_PERIODIC) {
      this.start += this.initial * this.tick;
      this.schedule();
    } else this.running = false;
    this.expired();
  }
}
