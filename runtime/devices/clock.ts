/**
 * The one kind of time that devices see: nanoseconds since the machine started, with alarms.
 *
 * Two clocks share the alarms. A `HostClock` follows a monotonic source of the host; a `VirtualClock` stands still until
 * it is told how far the guest has come, so a run is a function of its inputs alone. Nothing here calls back by itself:
 * the machine's loop asks `nextDeadline`, runs the guest up to it and then calls `runDue`.
 *
 * A number counts nanoseconds exactly for 104 days (2^53 ns); later the grain grows to 2 ns, then 4.
 */

/** One thing to happen at one time; setting it again moves it. */
export interface Alarm {
  /** When it rings, in nanoseconds of its clock; Infinity while it is off. */
  readonly deadline: number;
  /** Rings once at `deadline`, or at the next `runDue` if that has passed. */
  set(deadline: number): void;
  /** Turns it off; once it is off, again does nothing. */
  cancel(): void;
}

/** The time that devices see. */
export interface Clock {
  /** Nanoseconds since the machine started; never goes back. */
  now(): number;
  /** A new alarm, off. The callback runs on the machine's loop, between guest instructions. */
  alarm(ring: () => void): Alarm;
}

class ClockAlarm implements Alarm {
  deadline = Number.POSITIVE_INFINITY;
  readonly #clock: AlarmClock;
  readonly ring: () => void;

  constructor(clock: AlarmClock, ring: () => void) {
    this.#clock = clock;
    this.ring = ring;
  }

  set(deadline: number): void {
    if (Number.isNaN(deadline)) throw new Error('an alarm was set to NaN');
    this.deadline = deadline;
    this.#clock.reschedule();
  }

  cancel(): void {
    this.deadline = Number.POSITIVE_INFINITY;
    this.#clock.reschedule();
  }
}

/** What both clocks share: a handful of alarms, scanned when one changes. A machine has about ten. */
abstract class AlarmClock implements Clock {
  readonly #alarms: ClockAlarm[] = [];
  #next = Number.POSITIVE_INFINITY;

  abstract now(): number;

  alarm(ring: () => void): Alarm {
    const alarm = new ClockAlarm(this, ring);
    this.#alarms.push(alarm);
    return alarm;
  }

  protected get alarmCount(): number {
    return this.#alarms.length;
  }

  /** When the earliest alarm rings; Infinity if none is set. */
  nextDeadline(): number {
    return this.#next;
  }

  /** Told when the next deadline has become an earlier one: whoever runs the guest up to the old one must stop. */
  onEarlier: () => void = () => {};

  /** Called by alarms that have changed. */
  reschedule(): void {
    let next = Number.POSITIVE_INFINITY;
    for (const alarm of this.#alarms) if (alarm.deadline < next) next = alarm.deadline;
    const earlier = next < this.#next;
    this.#next = next;
    if (earlier) this.onEarlier();
  }

  /** Takes the earliest alarm that is due at `time` and rings it; among equals, the one made first. */
  protected ringFirst(time: number): boolean {
    if (this.#next > time) return false;
    const due = this.#alarms.find((alarm) => alarm.deadline === this.#next)!;
    due.cancel();
    due.ring();
    return true;
  }
}

/** Time of the host, from a monotonic source in nanoseconds such as `hosts/node`'s `monotonicNanos`. */
export class HostClock extends AlarmClock {
  readonly #source: () => number;
  #origin: number;
  #last = 0;

  /** @param source nanoseconds that never go back, from any origin */
  constructor(source: () => number) {
    super();
    this.#source = source;
    this.#origin = source();
  }

  now(): number {
    this.#last = Math.max(this.#last, this.#source() - this.#origin);
    return this.#last;
  }

  /** Goes on from another time, which may lie in the past: a machine was restored. Nothing rings. */
  moveTo(nanos: number): void {
    this.#origin = this.#source() - nanos;
    this.#last = nanos;
  }

  /** Rings what is due now, in order; at most one ring per alarm, so a device that lags behind cannot hold the loop. */
  runDue(): void {
    if (this.nextDeadline() === Number.POSITIVE_INFINITY) return; // the host need not be asked
    const time = this.now();
    for (let left = this.alarmCount; left > 0 && this.ringFirst(time); left--);
  }
}

/** Time that the machine moves: by executed instructions, and over a HLT to the next alarm. */
export class VirtualClock extends AlarmClock {
  #now = 0;
  readonly #since: () => number;

  /** @param since nanoseconds that the guest has come further since the last `advanceTo`; 0 during it */
  constructor(since: () => number = () => 0) {
    super();
    this.#since = since;
  }

  now(): number {
    return this.#now + this.#since();
  }

  /** Goes on from another time, which may lie in the past: a machine was restored. Nothing rings. */
  moveTo(nanos: number): void {
    this.#now = nanos;
  }

  /** Time goes on by itself, within an instruction: what becomes due rings at the next `advanceTo`, and sees a later time. */
  pass(nanos: number): void {
    this.#now += nanos;
  }

  /**
   * Moves time to `nanos` and rings, in order, every alarm on the way; each sees `now()` at its own deadline.
   *
   * @throws if `nanos` lies in the past: time never goes back.
   */
  advanceTo(nanos: number): void {
    if (!(nanos >= this.#now)) throw new Error(`virtual time cannot go from ${this.#now} to ${nanos}`);
    while (this.nextDeadline() <= nanos) {
      const deadline = this.nextDeadline();
      if (deadline > this.#now) this.#now = deadline;
      this.ringFirst(deadline);
    }
    this.#now = nanos;
  }
}
