/** The machine's view of one interrupt controller behind a channel of the APIC bus: its inputs and its INTR. */
import type { InterruptSource } from '../../src/system/interrupt-pins.ts';
import { InterruptError } from '../errors.ts';
import { type ControllerMessage, checkControllerMessage, type MachineEnd } from './apic-bus-channel.ts';

/** What became of an edge. `merged`: an earlier one still waits, so this one would be lost in it. */
export type EdgeResult = 'sent' | 'merged' | 'ignored';

/** Who handles what a controller says. */
export interface ConnectionListener {
  deliver(message: Extract<ControllerMessage, { kind: 'deliver' }>): EdgeResult;
  intrChanged(): void;
  acknowledged(): void;
  ended(connection: ControllerConnection, pin: number): void;
  /** The other end has said what no controller says, and is not listened to any more. */
  failed(connection: ControllerConnection, error: InterruptError): void;
}

export class ControllerConnection {
  readonly name: string;
  readonly pins: number;
  /** Its output, INTR. */
  intr = false;
  /** For each input the number of interrupts that are routed to it and up. */
  readonly #up: Uint16Array;
  /** For each input whether it falls by itself at the end of its interrupt. */
  readonly #resampled: Uint8Array;
  readonly #channel: MachineEnd;
  readonly #listener: ConnectionListener;
  /** Processors that wait for a vector, in the order in which they asked. */
  readonly #askers: InterruptSource[] = [];
  /** Edges whose fate is not known yet, in the order in which they were sent. */
  readonly #pulses: { result: EdgeResult | null; readonly done: (result: EdgeResult) => void }[] = [];
  #open = true;

  constructor(name: string, pins: number, channel: MachineEnd, listener: ConnectionListener) {
    this.name = name;
    this.pins = pins;
    this.#up = new Uint16Array(pins);
    this.#resampled = new Uint8Array(pins);
    this.#channel = channel;
    this.#listener = listener;
    channel.receive((message) => this.#receive(message));
  }

  #receive(given: ControllerMessage): void {
    if (!this.#open) return;
    let message: ControllerMessage;
    try {
      message = this.#channel.foreign ? checkControllerMessage(given) : given;
    } catch (error) {
      if (!(error instanceof InterruptError)) throw error;
      this.close();
      this.#listener.failed(this, error);
      return;
    }
    switch (message.kind) {
      case 'deliver': {
        const result = this.#listener.deliver(message);
        const pulse = this.#pulses[0];
        if (message.pulsed && pulse !== undefined) pulse.result = result;
        return;
      }
      case 'intr':
        this.intr = message.high;
        return this.#listener.intrChanged();
      case 'acknowledged':
        this.#askers.shift()?.externalVector(message.vector);
        return this.#listener.acknowledged();
      case 'ended':
        this.#listener.ended(this, message.pin);
        // Somebody else holds the input that has fallen.
        if (this.#resampled[message.pin] === 1 && this.#up[message.pin]! > 0)
          this.#post({ kind: 'line', pin: message.pin, high: true });
        return;
      case 'pulsed': {
        const pulse = this.#pulses.shift();
        return pulse?.done(message.result === 'sent' ? (pulse.result ?? 'sent') : message.result);
      }
      default:
        return message satisfies never;
    }
  }

  /** One more of the interrupts that share an input is up, or one less. */
  shift(pin: number, high: boolean): void {
    this.place(pin, this.#up[pin]! + (high ? 1 : -1));
  }
  /** So many of the interrupts that share an input are up. */
  place(pin: number, up: number): void {
    const before = this.#up[pin]! > 0;
    this.#up[pin] = up;
    if (up > 0 !== before) this.#post({ kind: 'line', pin, high: up > 0 });
  }
  /** Whether the input falls by itself when its interrupt ends. */
  resample(pin: number, on: boolean): void {
    if ((this.#resampled[pin] === 1) === on) return;
    this.#resampled[pin] = on ? 1 : 0;
    this.#post({ kind: 'resample', pin, on });
  }
  /** As `place`, where the controller knows it already: its state was restored. */
  note(pin: number, up: number): void {
    this.#up[pin] = up;
  }
  /** One edge. @param done told at once what became of it, or later by a controller of another thread */
  pulse(pin: number, done: (result: EdgeResult) => void): void {
    if (!this.#open) return done('ignored');
    this.#pulses.push({ result: null, done });
    this.#post({ kind: 'pulse', pin });
  }
  endOfInterrupt(vector: number): void {
    this.#post({ kind: 'eoi', vector });
  }
  /** The processor takes the controller's interrupt; it is told the vector at once or later. */
  acknowledge(asker: InterruptSource): void {
    this.#askers.push(asker);
    this.#post({ kind: 'acknowledge' });
  }

  #post(message: Parameters<MachineEnd['post']>[0]): void {
    if (this.#open) this.#channel.post(message);
  }
  /** Hangs up: INTR falls, and who waits for a vector gets none. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#channel.close();
    for (const asker of this.#askers.splice(0)) asker.externalVector(-1);
    for (const { done } of this.#pulses.splice(0)) done('ignored');
    if (!this.intr) return;
    this.intr = false;
    this.#listener.intrChanged();
  }
}
