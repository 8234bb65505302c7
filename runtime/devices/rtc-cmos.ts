/**
 * The real-time clock and CMOS memory (MC146818) behind ports 70H (index) and 71H (data), with its periodic, alarm and
 * update-ended interrupts. The time of day is the clock's time added to a start that the machine gives.
 */
import type { Alarm, Clock } from './clock.ts';
import { type AccessSize, type Device, readBytewise, writeBytewise } from './device.ts';
import type { IrqLine } from './irq-line.ts';
import { byte, date, list, orNone, timeOrNever, upTo } from './state-limits.ts';

const SECONDS = 0;
const SECONDS_ALARM = 1;
const MINUTES = 2;
const MINUTES_ALARM = 3;
const HOURS = 4;
const HOURS_ALARM = 5;
const WEEKDAY = 6;
const DAY = 7;
const MONTH = 8;
const YEAR = 9;
const A = 10;
const B = 11;
const C = 12;
const D = 13;
const CENTURY = 0x32;

const SET = 0x80;
const PERIODIC = 0x40;
const ALARM = 0x20;
const UPDATE = 0x10;
const BINARY = 0x04;
const HOURS_24 = 0x02;
const UPDATE_IN_PROGRESS = 0x80;
const REQUEST = 0x80;
const second = 1e9;
/** The update flag is up for so long before each second. */
const updateNanos = 244_000;

/** The clock and its CMOS memory: two ports, index and data, by custom at 70H. */
export class RtcCmos implements Device {
  readonly name = 'rtc';
  state = {
    index: 0,
    memory: Array.from({ length: 128 }, () => 0),
    /** Milliseconds since 1970 at the clock's zero. */
    epoch: 0,
    /** The time registers while SET holds them still, in milliseconds since 1970; NaN = they run. */
    held: Number.NaN,
    /** When the next periodic interrupt and the next second's end come, in nanoseconds; Infinity = nobody waits for them. */
    periodicAt: Number.POSITIVE_INFINITY,
    secondAt: Number.POSITIVE_INFINITY,
  };
  readonly limits = {
    index: upTo(0x7f),
    memory: list(byte, 128),
    epoch: date,
    held: orNone(date),
    periodicAt: timeOrNever,
    secondAt: timeOrNever,
  };
  readonly #clock: Clock;
  readonly #irq: IrqLine;
  readonly #periodic: Alarm;
  readonly #secondly: Alarm;

  /** @param epoch milliseconds since 1970 (UTC) at the clock's zero */
  constructor(clock: Clock, irq: IrqLine, epoch: number) {
    this.#clock = clock;
    this.#irq = irq;
    this.state.epoch = epoch;
    const { memory } = this.state;
    memory[A] = 0x26; // oscillator on, 1024 Hz
    memory[B] = HOURS_24;
    memory[D] = 0x80; // the battery is good
    this.#periodic = clock.alarm(() => {
      this.#raise(PERIODIC);
      this.#schedulePeriodic();
    });
    this.#secondly = clock.alarm(() => {
      this.#raise(UPDATE);
      if (this.#alarmMatches()) this.#raise(ALARM);
      this.#scheduleSecond();
    });
  }

  restored(): void {
    const { memory, periodicAt, secondAt } = this.state;
    this.#irq.set((memory[C]! & REQUEST) !== 0);
    this.#periodic.set(periodicAt);
    this.#secondly.set(secondAt);
  }

  /** Presets CMOS memory beyond the clock's registers: what firmware leaves there. */
  preset(index: number, value: number): void {
    this.state.memory[index] = value & 0xff;
  }

  #milliseconds(): number {
    const { held, epoch } = this.state;
    return Number.isNaN(held) ? epoch + Math.floor(this.#clock.now() / 1e6) : held;
  }

  #raise(flag: number): void {
    const { memory } = this.state;
    memory[C]! |= flag;
    if ((memory[B]! & flag) === 0) return;
    memory[C]! |= REQUEST;
    this.#irq.set(true);
  }
  /** Rates 1 and 2 repeat 8 and 9. */
  #periodNanos(): number {
    const rate = this.state.memory[A]! & 15;
    if (rate === 0) return 0;
    const shift = rate <= 2 ? rate + 7 : rate;
    return (2 ** (shift - 1) * second) / 32_768;
  }
  #schedulePeriodic(): void {
    const period = this.#periodNanos();
    const { state } = this;
    const wanted = period !== 0 && (state.memory[B]! & PERIODIC) !== 0;
    // Whole nanoseconds, so that virtual time remains a number of instructions.
    state.periodicAt = wanted
      ? Math.ceil((Math.floor(this.#clock.now() / period) + 1) * period)
      : Number.POSITIVE_INFINITY;
    this.#periodic.set(state.periodicAt);
  }
  #scheduleSecond(): void {
    const { state } = this;
    const wanted = (state.memory[B]! & (UPDATE | ALARM)) !== 0 && Number.isNaN(state.held);
    state.secondAt = wanted ? (Math.floor(this.#clock.now() / second) + 1) * second : Number.POSITIVE_INFINITY;
    this.#secondly.set(state.secondAt);
  }
  #alarmMatches(): boolean {
    const { memory } = this.state;
    const matches = (alarm: number, now: number) =>
      (memory[alarm]! & 0xc0) === 0xc0 || memory[alarm] === this.#time(now);
    return matches(SECONDS_ALARM, SECONDS) && matches(MINUTES_ALARM, MINUTES) && matches(HOURS_ALARM, HOURS);
  }

  #coded(value: number): number {
    return (this.state.memory[B]! & BINARY) !== 0 ? value : (Math.floor(value / 10) << 4) | (value % 10);
  }
  #decoded(value: number): number {
    return (this.state.memory[B]! & BINARY) !== 0 ? value : (value >> 4) * 10 + (value & 15);
  }
  #time(register: number): number {
    const date = new Date(this.#milliseconds());
    switch (register) {
      case SECONDS:
        return this.#coded(date.getUTCSeconds());
      case MINUTES:
        return this.#coded(date.getUTCMinutes());
      case HOURS: {
        const hours = date.getUTCHours();
        if ((this.state.memory[B]! & HOURS_24) !== 0) return this.#coded(hours);
        return this.#coded(hours % 12 || 12) | (hours >= 12 ? 0x80 : 0);
      }
      case WEEKDAY:
        return this.#coded(date.getUTCDay() + 1);
      case DAY:
        return this.#coded(date.getUTCDate());
      case MONTH:
        return this.#coded(date.getUTCMonth() + 1);
      case YEAR:
        return this.#coded(date.getUTCFullYear() % 100);
      default:
        return this.#coded(Math.floor(date.getUTCFullYear() / 100));
    }
  }
  #setTime(register: number, byte: number): void {
    const date = new Date(this.#milliseconds());
    const value = this.#decoded(byte);
    switch (register) {
      case SECONDS:
        date.setUTCSeconds(value);
        break;
      case MINUTES:
        date.setUTCMinutes(value);
        break;
      case HOURS:
        if ((this.state.memory[B]! & HOURS_24) !== 0) date.setUTCHours(value);
        else date.setUTCHours((this.#decoded(byte & 0x7f) % 12) + ((byte & 0x80) !== 0 ? 12 : 0));
        break;
      case DAY:
        date.setUTCDate(value);
        break;
      case MONTH:
        date.setUTCMonth(value - 1);
        break;
      case YEAR:
        date.setUTCFullYear(Math.floor(date.getUTCFullYear() / 100) * 100 + value);
        break;
      case CENTURY:
        date.setUTCFullYear(value * 100 + (date.getUTCFullYear() % 100));
        break;
    }
    const moved = date.getTime();
    if (Number.isNaN(this.state.held)) this.state.epoch += moved - this.#milliseconds();
    else this.state.held = moved;
  }

  read(offset: number, size: AccessSize): number {
    return readBytewise(offset, size, (at) => (at === 0 ? 0xff : this.#readRegister()));
  }
  #readRegister(): number {
    const { memory, index, held } = this.state;
    if (index === A) {
      const updating = Number.isNaN(held) && second - (this.#clock.now() % second) <= updateNanos;
      return memory[A]! | (updating ? UPDATE_IN_PROGRESS : 0);
    }
    if (index === C) {
      const flags = memory[C]!;
      memory[C] = 0;
      this.#irq.set(false);
      return flags;
    }
    const isTime = index <= YEAR && index !== SECONDS_ALARM && index !== MINUTES_ALARM && index !== HOURS_ALARM;
    return isTime || index === CENTURY ? this.#time(index) : memory[index]!;
  }

  write(offset: number, size: AccessSize, value: number): void {
    writeBytewise(offset, size, value, (at, byte) => {
      if (at === 0) this.state.index = byte & 0x7f;
      else this.#writeRegister(byte);
    });
  }
  #writeRegister(byte: number): void {
    const { state } = this;
    const { memory, index } = state;
    switch (index) {
      case A:
        memory[A] = byte & 0x7f;
        return this.#schedulePeriodic();
      case B: {
        const wasHeld = (memory[B]! & SET) !== 0;
        if ((byte & SET) !== 0 && !wasHeld) state.held = this.#milliseconds();
        if ((byte & SET) === 0 && wasHeld) {
          state.epoch = state.held - Math.floor(this.#clock.now() / 1e6);
          state.held = Number.NaN;
        }
        memory[B] = byte;
        this.#schedulePeriodic();
        return this.#scheduleSecond();
      }
      case C:
      case D:
        return;
      case SECONDS_ALARM:
      case MINUTES_ALARM:
      case HOURS_ALARM:
        memory[index] = byte;
        return;
      default:
        if (index <= YEAR || index === CENTURY) this.#setTime(index, byte);
        else memory[index] = byte;
    }
  }
}
