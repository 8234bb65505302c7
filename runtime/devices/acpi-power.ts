/**
 * The fixed hardware of ACPI that a PC needs to be switched off: event and control registers of power management, and the
 * timer of 3.579545 MHz that kernels check other timers against. ACPI specification, section 4.8.
 *
 *   0-1 status, 2-3 enable (PM1a_EVT); 4-5 control (PM1a_CNT); 8-11 timer (PM_TMR)
 */
import type { Alarm, Clock } from './clock.ts';
import { type AccessSize, type Device, readBytewise, writeBytewise } from './device.ts';
import type { IrqLine } from './irq-line.ts';
import { timeOrNever, upTo } from './state-limits.ts';

/** Counts of the timer in a second. */
export const acpiTimerHertz = 3_579_545;
/** The value of SLP_TYP that the tables give for S5, soft off. */
export const sleepTypeOff = 5;

const TIMER_STATUS = 1;
const TIMER_ENABLE = 1;
const SCI_ENABLE = 1;
const SLEEP_ENABLE = 1 << 13;
/** Bit 23 of the timer sets its status when it changes. */
const halfPeriod = 2 ** 23;

/** ACPI's fixed hardware: events, control and the power-management timer, at 12 ports. */
export class AcpiPower implements Device {
  readonly name = 'acpi-power';
  state = {
    status: 0,
    enable: 0,
    control: SCI_ENABLE,
    seenHalves: 0,
    /** When the timer's bit 23 changes next, if that is to interrupt, in nanoseconds; else Infinity. */
    deadline: Number.POSITIVE_INFINITY,
  };
  readonly limits = {
    status: upTo(0xffff),
    enable: upTo(0xffff),
    control: upTo(0xffff),
    seenHalves: upTo(2 ** 32),
    deadline: timeOrNever,
  };
  readonly #clock: Clock;
  readonly #irq: IrqLine;
  readonly #powerOff: () => void;
  readonly #alarm: Alarm;

  constructor(clock: Clock, irq: IrqLine, powerOff: () => void) {
    this.#clock = clock;
    this.#irq = irq;
    this.#powerOff = powerOff;
    this.#alarm = clock.alarm(() => this.#update());
  }

  restored(): void {
    const { status, enable, deadline } = this.state;
    this.#irq.set((status & enable) !== 0);
    this.#alarm.set(deadline);
  }

  #counts(): number {
    return Math.floor((this.#clock.now() * acpiTimerHertz) / 1e9);
  }
  #update(): void {
    const { state } = this;
    const halves = Math.floor(this.#counts() / halfPeriod);
    if (halves !== state.seenHalves) state.status |= TIMER_STATUS;
    state.seenHalves = halves;
    this.#irq.set((state.status & state.enable) !== 0);
    const wanted = (state.enable & TIMER_ENABLE) !== 0;
    state.deadline = wanted ? Math.ceil(((halves + 1) * halfPeriod * 1e9) / acpiTimerHertz) : Number.POSITIVE_INFINITY;
    this.#alarm.set(state.deadline);
  }

  read(offset: number, size: AccessSize): number {
    this.#update();
    const { status, enable, control } = this.state;
    const words = [status | (enable << 16), control, this.#counts() & 0xff_ffff];
    return readBytewise(offset, size, (at) => (words[at >> 2]! >>> ((at & 3) * 8)) & 0xff);
  }

  write(offset: number, size: AccessSize, value: number): void {
    const { state } = this;
    this.#update();
    writeBytewise(offset, size, value, (at, byte) => {
      const shift = (at & 1) * 8;
      if (at < 2) state.status &= ~(byte << shift);
      else if (at < 4) state.enable = (state.enable & ~(0xff << shift)) | (byte << shift);
      else if (at < 6) state.control = (state.control & ~(0xff << shift)) | (byte << shift) | SCI_ENABLE;
    });
    this.#update();
    if ((state.control & SLEEP_ENABLE) === 0) return;
    const type = (state.control >> 10) & 7;
    state.control &= ~SLEEP_ENABLE; // it reads as zero
    if (type === sleepTypeOff) this.#powerOff();
  }
}
