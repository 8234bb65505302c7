/**
 * The 8254 interval timer: three counters of 16 bits at 1.193182 MHz. Counter 0 drives interrupt 0, counter 2 the speaker;
 * its gate and output are at port 61H. Nothing is counted: what a counter shows follows from the clock. Intel 8254 data
 * sheet.
 */
import type { Alarm, Clock } from './clock.ts';
import { type AccessSize, type Device, readBytewise, writeBytewise } from './device.ts';
import { type IrqLine, unconnectedLine } from './irq-line.ts';
import { type FieldLimit, orNone, time, timeOrNever, upTo } from './state-limits.ts';

/** Counts in a second. */
export const pitHertz = 1_193_182;
const nanosPerSecond = 1e9;

class Counter {
  state = {
    mode: 0,
    bcd: false,
    /** 1 = low byte only, 2 = high byte only, 3 = low, then high. */
    access: 3,
    /** 1 to 65536 counts; 0 = none was written yet. */
    reload: 0,
    /** A count that was written and waits for the end of what is being counted, or for a trigger; 0 = none. */
    next: 0,
    /** Counts from the start at which it is taken. */
    change: 0,
    /** Mode 3: counting began with the low half of a square. */
    lowFirst: false,
    /** When counting began, in nanoseconds; NaN = it has not. */
    start: Number.NaN,
    /** Counts from then on that are no longer of interest: a new count was taken. Below zero: it had been held before. */
    skipped: 0,
    gate: true,
    /** Counts left when the gate went low; NaN = it runs. */
    held: Number.NaN,
    writeLow: -1,
    readHigh: false,
    latched: -1,
    latchedStatus: -1,
    /** The interrupt line. */
    line: false,
    /** When that rises next, in nanoseconds; Infinity = not by itself. */
    deadline: Number.POSITIVE_INFINITY,
  };
  readonly #clock: Clock;
  readonly #irq: IrqLine;
  readonly #alarm: Alarm | null;

  constructor(clock: Clock, irq: IrqLine | null) {
    this.#clock = clock;
    this.#irq = irq ?? unconnectedLine;
    this.#alarm = irq === null ? null : clock.alarm(() => this.#ring());
  }

  restored(): void {
    this.#irq.set(this.state.line);
    this.#alarm?.set(this.state.deadline);
  }
  #drive(high: boolean): void {
    this.state.line = high;
    this.#irq.set(high);
  }
  #wakeAt(deadline: number): void {
    this.state.deadline = deadline;
    this.#alarm?.set(deadline);
  }

  /** Counts since what is being counted began. */
  #elapsed(): number {
    const { state } = this;
    if (Number.isNaN(state.start)) return 0;
    return Math.floor(((this.#clock.now() - state.start) * pitHertz + 0.5) / nanosPerSecond) - state.skipped;
  }
  #timeOf(counts: number): number {
    return this.state.start + Math.ceil(((counts + this.state.skipped) * nanosPerSecond) / pitHertz);
  }
  get #repeats(): boolean {
    return this.state.mode === 2 || this.state.mode === 3;
  }
  get #counting(): boolean {
    return !Number.isNaN(this.state.start) && Number.isNaN(this.state.held);
  }

  /** Mode 3: which half of the square it is, and at how many counts from the start that began and ends. */
  #half(elapsed: number): { high: boolean; from: number; to: number } {
    const { reload, lowFirst } = this.state;
    const first = lowFirst ? Math.floor(reload / 2) : Math.ceil(reload / 2);
    const period = elapsed - (elapsed % reload);
    return elapsed - period < first
      ? { high: !lowFirst, from: period, to: period + first }
      : { high: lowFirst, from: period + first, to: period + reload };
  }
  /** Takes the count that waits if its time has come. */
  #settle(): void {
    const { state } = this;
    if (state.next === 0 || !this.#repeats || !this.#counting || this.#elapsed() < state.change) return;
    state.lowFirst = state.mode === 3 && this.#half(state.change - 1).high;
    state.skipped += state.change;
    state.reload = state.next;
    state.next = 0;
  }

  /** What the counting element holds. */
  count(): number {
    this.#settle();
    const { state } = this;
    if (state.reload === 0) return 0;
    if (!Number.isNaN(state.held)) return state.held & 0xffff;
    const elapsed = this.#elapsed();
    if (state.mode === 2) return (state.reload - (elapsed % state.reload)) & 0xffff;
    // An odd count is one less, and its high half one count longer.
    if (state.mode === 3) return ((state.reload & ~1) - 2 * (elapsed - this.#half(elapsed).from)) & 0xffff;
    return (state.reload - elapsed) & 0xffff;
  }
  /** The output's level. */
  get output(): boolean {
    this.#settle();
    const { state } = this;
    const { mode, reload } = state;
    if (reload === 0 || !this.#counting) return mode !== 0;
    const elapsed = this.#elapsed();
    switch (mode) {
      case 2:
        return elapsed % reload !== reload - 1;
      case 3:
        return this.#half(elapsed).high;
      case 4:
      case 5:
        return elapsed !== reload;
      default:
        return elapsed >= reload;
    }
  }

  setGate(high: boolean): void {
    const { state } = this;
    if (high === state.gate) return;
    this.#settle();
    state.gate = high;
    const { mode } = state;
    if (!high && mode !== 1 && mode !== 5) {
      if (this.#counting) state.held = this.count();
    } else if (high) {
      if (mode === 1 || mode === 2 || mode === 3 || mode === 5) this.#begin();
      else if (!Number.isNaN(state.held)) {
        state.skipped = state.held - state.reload;
        state.held = Number.NaN;
        state.start = this.#clock.now();
      }
    }
    this.#schedule();
  }

  #begin(): void {
    const { state } = this;
    if (state.next !== 0) state.reload = state.next;
    state.next = 0;
    state.lowFirst = false;
    if (state.reload === 0) return;
    state.start = this.#clock.now();
    state.skipped = 0;
    state.held = state.gate || state.mode === 1 || state.mode === 5 ? Number.NaN : state.reload;
  }
  #load(value: number): void {
    const { state } = this;
    const wanted = state.bcd ? fromBcd(value) || 10_000 : value || 0x1_0000;
    this.#settle();
    state.next = wanted;
    const triggered = state.mode === 1 || state.mode === 5;
    if (state.reload !== 0 && this.#repeats) {
      // What is being counted ends as it would have: a period, of a square wave half of one. Or a trigger comes first.
      const elapsed = this.#elapsed();
      const { reload } = state;
      state.change = state.mode === 3 ? this.#half(elapsed).to : elapsed - (elapsed % reload) + reload;
    } else if (!triggered) this.#begin();
    if (state.mode === 0) this.#drive(false);
    this.#schedule();
  }
  #schedule(): void {
    if (this.#alarm === null) return;
    if (!this.#counting || this.state.reload === 0) return this.#wakeAt(Number.POSITIVE_INFINITY);
    if (!this.#repeats) {
      if (this.#elapsed() < this.state.reload) this.#wakeAt(this.#timeOf(this.state.reload));
      return;
    }
    this.#wakeAt(this.#timeOf(this.#nextRise()));
  }
  /** When a repeating counter's output rises next, in counts from the start. */
  #nextRise(): number {
    this.#settle();
    const { mode, reload, next } = this.state;
    const elapsed = this.#elapsed();
    if (mode === 2) return elapsed - (elapsed % reload) + reload;
    const { high, to } = this.#half(elapsed);
    return high ? to + Math.max(1, Math.floor((next || reload) / 2)) : to;
  }
  /** The output rises: at the end of a count, or of a period. */
  #ring(): void {
    this.state.deadline = Number.POSITIVE_INFINITY;
    if (this.state.mode !== 0) this.#drive(false);
    this.#drive(true);
    if (this.#repeats) this.#schedule();
  }

  control(byte: number): void {
    const { state } = this;
    const access = (byte >> 4) & 3;
    if (access === 0) return this.latchCount();
    const mode = (byte >> 1) & 7;
    state.mode = mode > 5 ? mode - 4 : mode;
    state.bcd = (byte & 1) !== 0;
    state.access = access;
    state.reload = 0;
    state.next = 0;
    state.start = Number.NaN;
    state.held = Number.NaN;
    state.writeLow = -1;
    state.readHigh = false;
    state.latched = -1;
    state.latchedStatus = -1;
    this.#drive(state.mode !== 0);
    this.#schedule();
  }
  #shown(): number {
    const count = this.count();
    return this.state.bcd ? toBcd(count) : count;
  }
  latchCount(): void {
    if (this.state.latched < 0) this.state.latched = this.#shown();
  }
  latchStatus(): void {
    const { state } = this;
    if (state.latchedStatus >= 0) return;
    this.#settle();
    state.latchedStatus =
      (this.output ? 0x80 : 0) |
      (state.reload === 0 || state.next !== 0 ? 0x40 : 0) |
      (state.access << 4) |
      (state.mode << 1) |
      (state.bcd ? 1 : 0);
  }

  read(): number {
    const { state } = this;
    if (state.latchedStatus >= 0) {
      const status = state.latchedStatus;
      state.latchedStatus = -1;
      return status;
    }
    const value = state.latched >= 0 ? state.latched : this.#shown();
    const high = state.access === 2 || (state.access === 3 && state.readHigh);
    if (state.access === 3) state.readHigh = !state.readHigh;
    if (state.access !== 3 || high) state.latched = -1;
    return high ? value >> 8 : value & 0xff;
  }
  write(byte: number): void {
    const { state } = this;
    if (state.access === 1) return this.#load(byte);
    if (state.access === 2) return this.#load(byte << 8);
    if (state.writeLow < 0) {
      state.writeLow = byte;
      if (state.mode === 0) {
        state.start = Number.NaN; // counting stops until the second byte
        this.#schedule();
      }
      return;
    }
    const value = (byte << 8) | state.writeLow;
    state.writeLow = -1;
    this.#load(value);
  }
}

function fromBcd(value: number): number {
  return (value >> 12) * 1000 + ((value >> 8) & 15) * 100 + ((value >> 4) & 15) * 10 + (value & 15);
}
function toBcd(value: number): number {
  const digits = value % 10_000;
  return (
    (Math.floor(digits / 1000) << 12) |
    ((Math.floor(digits / 100) % 10) << 8) |
    ((Math.floor(digits / 10) % 10) << 4) |
    (digits % 10)
  );
}

/** More than there are in 36 years. */
const mostCounts = 2 ** 51;
const limits = {
  mode: upTo(5),
  bcd: 'boolean',
  access: upTo(3, 1),
  reload: upTo(0x1_0000),
  next: upTo(0x1_0000),
  change: upTo(mostCounts),
  lowFirst: 'boolean',
  start: orNone(time),
  skipped: upTo(mostCounts, -mostCounts),
  gate: 'boolean',
  held: orNone(upTo(0x1_0000)),
  writeLow: upTo(0xff, -1),
  readHigh: 'boolean',
  latched: upTo(0xffff, -1),
  latchedStatus: upTo(0xff, -1),
  line: 'boolean',
  deadline: timeOrNever,
} satisfies Record<keyof Counter['state'], FieldLimit>;

/** The interval timer: four ports, by custom from 40H on. */
export class Pit8254 implements Device {
  readonly name = 'pit';
  readonly limits = limits;
  readonly #counters: readonly [Counter, Counter, Counter];

  /** @param irq output of counter 0 */
  constructor(clock: Clock, irq: IrqLine) {
    this.#counters = [new Counter(clock, irq), new Counter(clock, null), new Counter(clock, null)];
    this.#counters[2].setGate(false);
  }
  get state(): object {
    return this.#counters.map((counter) => counter.state);
  }
  restored(): void {
    for (const counter of this.#counters) counter.restored();
  }

  /** Gate and output of counter 2, which port 61H shows. */
  set speakerGate(high: boolean) {
    this.#counters[2].setGate(high);
  }
  /** The output of counter 2. */
  get speakerOutput(): boolean {
    return this.#counters[2].output;
  }

  read(offset: number, size: AccessSize): number {
    return readBytewise(offset, size, (at) => (at === 3 ? 0xff : this.#counters[at as 0 | 1 | 2].read()));
  }
  write(offset: number, size: AccessSize, value: number): void {
    writeBytewise(offset, size, value, (at, byte) => {
      if (at !== 3) return this.#counters[at as 0 | 1 | 2].write(byte);
      const chosen = byte >> 6;
      if (chosen !== 3) return this.#counters[chosen as 0 | 1 | 2].control(byte);
      for (const [index, counter] of this.#counters.entries()) {
        if ((byte & (2 << index)) === 0) continue;
        if ((byte & 0x20) === 0) counter.latchCount();
        if ((byte & 0x10) === 0) counter.latchStatus();
      }
    });
  }
}
