/**
 * The APIC bus protocol: what interrupt controllers (8259 pair, I/O APIC) and the local APICs say to each other, and the
 * duplex channels that carry it. SDM volume 3, sections 11.1 and 11.8; KVM's split irqchip draws the same line.
 *
 * A controller lives behind a channel and knows nothing else of the machine. In the same thread the two ends of
 * `channelPair` call each other at once, so a message has had its effect when `post` returns; `portChannel` carries the
 * same messages through a `MessagePort` to a controller in another thread, where answers come later.
 */
import { InterruptError } from '../errors.ts';

/** A controller to the local APICs. */
export type ControllerMessage =
  /** An interrupt; fields as a redirection entry of an I/O APIC holds them. `pulsed`: a `pulse` has caused it. */
  | {
      readonly kind: 'deliver';
      readonly destination: number;
      readonly logical: boolean;
      readonly mode: number;
      readonly vector: number;
      readonly level: boolean;
      readonly pulsed: boolean;
    }
  /** The output of an 8259: INTR, which goes to LINT0. */
  | { readonly kind: 'intr'; readonly high: boolean }
  /** The answer to an ExtINT acknowledge: the vector, and its input is in service now. */
  | { readonly kind: 'acknowledged'; readonly vector: number }
  /** The interrupt of an input was ended (of an I/O APIC: a level-triggered one); the input is looked at again next. */
  | { readonly kind: 'ended'; readonly pin: number }
  /** What became of a pulse, after what it has caused: `merged` if it found the last one still waiting. */
  | { readonly kind: 'pulsed'; readonly result: 'sent' | 'merged' | 'ignored' };

/** The machine to a controller. */
export type MachineMessage =
  /** The level of an input. */
  | { readonly kind: 'line'; readonly pin: number; readonly high: boolean }
  /** One edge at an input that is low; each is answered by `pulsed`. */
  | { readonly kind: 'pulse'; readonly pin: number }
  /** Whether an input falls by itself when its interrupt ends, before it is looked at again: what raised it is asked first. */
  | { readonly kind: 'resample'; readonly pin: number; readonly on: boolean }
  /** A local APIC has ended a level-triggered interrupt; goes to every controller. */
  | { readonly kind: 'eoi'; readonly vector: number }
  /** ExtINT acknowledge: the processor takes the interrupt and asks for its vector. */
  | { readonly kind: 'acknowledge' };

/** One end of a duplex connection. */
export interface Channel<Out, In> {
  /** Whether what comes must be checked: another thread may say anything. */
  readonly foreign: boolean;
  /** Sends a message to the other end; what is sent keeps its order. */
  post(message: Out): void;
  /** Who gets what the other end posts; set once. */
  receive(listener: (message: In) => void): void;
  /** Hangs up: nothing comes or goes any more. */
  close(): void;
}

/** The machine's end of a channel to a controller. */
export type MachineEnd = Channel<MachineMessage, ControllerMessage>;
/** A controller's end. */
export type ControllerEnd = Channel<ControllerMessage, MachineMessage>;

class PairEnd<Out, In> implements Channel<Out, In> {
  readonly foreign = false;
  peer: PairEnd<In, Out> | null = null;
  private listener: ((message: In) => void) | null = null;

  post(message: Out): void {
    this.peer?.listener?.(message);
  }
  receive(listener: (message: In) => void): void {
    this.listener = listener;
  }
  close(): void {
    if (this.peer !== null) this.peer.peer = null;
    this.peer = null;
  }
}

/** Two ends in one thread: what one posts the other has handled when `post` returns. */
export function channelPair(): readonly [machine: MachineEnd, controller: ControllerEnd] {
  const machine = new PairEnd<MachineMessage, ControllerMessage>();
  const controller = new PairEnd<ControllerMessage, MachineMessage>();
  machine.peer = controller;
  controller.peer = machine;
  return [machine, controller];
}

/** What is used of a `MessagePort`, of a page or of Node. */
export interface PortLike {
  readonly postMessage: (message: unknown) => void;
  onmessage: ((event: MessageEvent) => unknown) | null;
  close(): void;
}

const isPin = (value: unknown) => Number.isInteger(value) && (value as number) >= 0 && (value as number) < 0x1_0000;
const isByte = (value: unknown) => Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0xff;
const isBoolean = (value: unknown) => typeof value === 'boolean';

/** The fields of each message, and what they must be: another thread may say anything. */
const controllerFields: Readonly<
  Record<ControllerMessage['kind'], Readonly<Record<string, (value: unknown) => boolean>>>
> = {
  deliver: {
    destination: isByte,
    logical: isBoolean,
    mode: (value) => isByte(value) && (value as number) < 8,
    vector: isByte,
    level: isBoolean,
    pulsed: isBoolean,
  },
  intr: { high: isBoolean },
  acknowledged: { vector: isByte },
  ended: { pin: isPin },
  pulsed: { result: (value) => value === 'sent' || value === 'merged' || value === 'ignored' },
};
const machineFields: Readonly<Record<MachineMessage['kind'], Readonly<Record<string, (value: unknown) => boolean>>>> = {
  line: { pin: isPin, high: isBoolean },
  pulse: { pin: isPin },
  resample: { pin: isPin, on: isBoolean },
  eoi: { vector: isByte },
  acknowledge: {},
};

function checked<Message>(
  message: unknown,
  table: Readonly<Record<string, Readonly<Record<string, (value: unknown) => boolean>>>>,
): Message {
  const given = (typeof message === 'object' && message !== null ? message : {}) as Record<string, unknown>;
  const fields = typeof given.kind === 'string' && Object.hasOwn(table, given.kind) ? table[given.kind] : undefined;
  if (fields === undefined)
    throw new InterruptError('bad-message', `no message of the APIC bus: kind ${String(given.kind)}`);
  for (const [name, fits] of Object.entries(fields)) {
    if (!fits(given[name]))
      throw new InterruptError('bad-message', `message ${given.kind}: ${name} is ${String(given[name])}`);
  }
  return message as Message;
}

/** @throws InterruptError `bad-message` naming the field */
export const checkControllerMessage = (message: unknown) => checked<ControllerMessage>(message, controllerFields);
/** @throws InterruptError `bad-message` naming the field */
export const checkMachineMessage = (message: unknown) => checked<MachineMessage>(message, machineFields);

function portChannel<Out, In>(port: PortLike): Channel<Out, In> {
  return {
    foreign: true,
    post: (message) => port.postMessage(message),
    receive(listener) {
      port.onmessage = (event) => listener(event.data as In);
    },
    close() {
      port.onmessage = null;
      port.close();
    },
  };
}

/** The machine's end of a `MessagePort`; whoever connects it checks what comes. */
export const machinePort = (port: PortLike): MachineEnd => portChannel(port);
/** The controller's end of a `MessagePort`. */
export const controllerPort = (port: PortLike): ControllerEnd => portChannel(port);
