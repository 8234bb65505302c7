/**
 * The I/O APIC (82093AA, version 20H with an EOI register): 24 inputs, a redirection entry for each, and messages to the
 * local APICs. Two windows of 32 bits: the index at 00H, the register at 10H.
 *
 *   redirection entry: 7-0 vector, 10-8 delivery mode, 11 logical, 12 delivery status (idle), 13 active low,
 *   14 remote IRR, 15 level, 16 masked, 63-56 destination
 */
import type { AccessSize, Device } from './device.ts';
import { byte, list, upTo } from './state-limits.ts';

/** Inputs of an I/O APIC. */
export const ioApicPins = 24;
const VERSION = 0x20 | ((ioApicPins - 1) << 16);
const INDEX = 0x00;
const WINDOW = 0x10;
const EOI = 0x40;
const ACTIVE_LOW = 1 << 13;
const REMOTE_IRR = 1 << 14;
const LEVEL = 1 << 15;
const MASKED = 1 << 16;
const READ_ONLY = REMOTE_IRR | (1 << 12);

/** What an input sends when it fires. */
export interface IoApicMessage {
  /** An APIC id, or with `logical` a set of them: 8 bits, FFH for all. */
  readonly destination: number;
  readonly logical: boolean;
  /** Delivery mode, as the entry holds it; 7 = the vector is the external controller's. */
  readonly mode: number;
  readonly vector: number;
  /** It is level-triggered. */
  readonly level: boolean;
}

/** An I/O APIC: two windows of registers in 4096 bytes, by custom at FEC00000H. */
export class IoApic implements Device {
  readonly name = 'io-apic';
  state = {
    id: 0,
    index: 0,
    low: Array.from({ length: ioApicPins }, () => MASKED),
    high: Array.from({ length: ioApicPins }, () => 0),
    /** The inputs as the entries' polarity sees them, bit by pin; pins that are low are 0. */
    pins: 0,
  };
  readonly limits = {
    id: upTo(0xf),
    index: byte,
    low: list(upTo(0x1_ffff), ioApicPins),
    high: list(upTo(0xff00_0000, -(2 ** 31)), ioApicPins), // as words with a sign
    pins: upTo(2 ** ioApicPins - 1),
  };
  readonly #send: (message: IoApicMessage) => void;
  readonly #ended: (pin: number) => void;

  /** @param ended told when the level-triggered interrupt of an input was ended, before the input is looked at again */
  constructor(send: (message: IoApicMessage) => void, ended: (pin: number) => void = () => {}) {
    this.#send = send;
    this.#ended = ended;
  }

  /** The level of an input; true = asserted, whatever the wire's polarity is. */
  set(pin: number, asserted: boolean): void {
    const { state } = this;
    const bit = 1 << pin;
    const rising = asserted && (state.pins & bit) === 0;
    state.pins = asserted ? state.pins | bit : state.pins & ~bit;
    if (asserted) this.#service(pin, rising);
  }

  /** One edge at an input: `merged` while it is up anyway or its last level-triggered interrupt has not ended. */
  pulse(pin: number): 'sent' | 'merged' | 'ignored' {
    const low = this.state.low[pin]!;
    if ((low & MASKED) !== 0) return 'ignored';
    if ((this.state.pins & (1 << pin)) !== 0 || ((low & LEVEL) !== 0 && (low & REMOTE_IRR) !== 0)) return 'merged';
    this.set(pin, true);
    this.set(pin, false);
    return 'sent';
  }

  #service(pin: number, rising: boolean): void {
    const { state } = this;
    const low = state.low[pin]!;
    if ((low & MASKED) !== 0) return;
    const level = (low & LEVEL) !== 0;
    if (level) {
      if ((low & REMOTE_IRR) !== 0) return;
      state.low[pin] = low | REMOTE_IRR;
    } else if (!rising) return;
    this.#send({
      destination: state.high[pin]! >>> 24,
      logical: (low & (1 << 11)) !== 0,
      mode: (low >> 8) & 7,
      vector: low & 0xff,
      level,
    });
  }

  /** A local APIC has ended a level-triggered interrupt. */
  endOfInterrupt(vector: number): void {
    const { state } = this;
    for (let pin = 0; pin < ioApicPins; pin++) {
      const low = state.low[pin]!;
      if ((low & REMOTE_IRR) === 0 || (low & 0xff) !== vector) continue;
      state.low[pin] = low & ~REMOTE_IRR;
      this.#ended(pin);
      if ((state.pins & (1 << pin)) !== 0) this.#service(pin, false);
    }
  }

  read(offset: number, size: AccessSize): number {
    const { state } = this;
    const word = (offset & ~3) === INDEX ? state.index : (offset & ~3) === WINDOW ? this.#register() : 0;
    const shifted = (word >>> ((offset & 3) * 8)) >>> 0;
    return size === 4 ? shifted : shifted & (size === 2 ? 0xffff : 0xff);
  }
  write(offset: number, _size: AccessSize, value: number): void {
    if (offset === INDEX) this.state.index = value & 0xff;
    else if (offset === WINDOW) this.#writeRegister(value);
    else if (offset === EOI) this.endOfInterrupt(value & 0xff);
  }

  #register(): number {
    const { state } = this;
    const { index } = state;
    if (index === 0 || index === 2) return state.id << 24;
    if (index === 1) return VERSION;
    const pin = (index - 0x10) >> 1;
    if (index < 0x10 || pin >= ioApicPins) return 0;
    return ((index & 1) === 0 ? state.low[pin]! : state.high[pin]!) >>> 0;
  }
  #writeRegister(value: number): void {
    const { state } = this;
    const { index } = state;
    if (index === 0) state.id = (value >>> 24) & 15;
    const pin = (index - 0x10) >> 1;
    if (index < 0x10 || pin >= ioApicPins) return;
    if ((index & 1) !== 0) {
      state.high[pin] = value & 0xff00_0000;
      return;
    }
    // An entry that becomes edge-triggered waits for nobody's end of interrupt.
    const kept = (value & LEVEL) !== 0 ? state.low[pin]! & READ_ONLY : 0;
    state.low[pin] = (value & 0x1_afff) | kept;
    if ((value & LEVEL) !== 0 && (state.pins & (1 << pin)) !== 0) this.#service(pin, false);
  }
  /** Whether an entry takes its input as active low: for machines that have wires of both kinds. */
  activeLow(pin: number): boolean {
    return (this.state.low[pin]! & ACTIVE_LOW) !== 0;
  }
}
