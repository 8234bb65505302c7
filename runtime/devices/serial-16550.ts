/**
 * A 16550A serial port: eight byte-wide registers (PC16550D data sheet, section 8), both FIFOs, loopback, interrupts.
 *
 *   offset  DLAB=0 read   DLAB=0 write   DLAB=1
 *   0       RBR data      THR data       DLL divisor, low
 *   1       IER           IER            DLM divisor, high
 *   2       IIR           FCR
 *   3       LCR           LCR            bit 7 of LCR is DLAB
 *   4       MCR           MCR
 *   5       LSR           -
 *   6       MSR           -
 *   7       SCR           SCR
 *
 * The line takes no time: a byte written is sent at once, so THRE and TEMT are always set, and a byte that the host
 * queues arrives as soon as the receiver has room, so nothing is overrun but by loopback. A receiver with fewer bytes
 * than its trigger level reports the character timeout at once, since by then the line is idle. The divisor and the
 * word length are kept for the guest to read and have no effect.
 */
import { type AccessSize, type Device, readBytewise, writeBytewise } from './device.ts';
import { type IrqLine, unconnectedLine } from './irq-line.ts';
import { byte, list, upTo } from './state-limits.ts';

const interruptEnable = { received: 0x01, transmitEmpty: 0x02, lineStatus: 0x04, modemStatus: 0x08 } as const;
const interruptId = {
  modemStatus: 0x0,
  none: 0x1,
  transmitEmpty: 0x2,
  received: 0x4,
  lineStatus: 0x6,
  timeout: 0xc,
} as const;
const fifoControl = { enable: 0x01, resetReceiver: 0x02 } as const;
const lineControl = { sendBreak: 0x40, divisorAccess: 0x80 } as const;
const modemControl = { out2: 0x08, loopback: 0x10 } as const;
const lineStatus = { dataReady: 0x01, overrun: 0x02, breakReceived: 0x10, transmitEmpty: 0x60, errors: 0x1e } as const;
const triggerLevels = [1, 4, 8, 14] as const;
const fifoDepth = 16;
/** Outside loopback a peer is there and ready: DCD, DSR and CTS high. */
const peerReady = 0xb0;

/** A UART: eight ports, by custom from 3F8H on with interrupt 4. */
export class Serial16550 implements Device {
  readonly name = 'serial';
  state = {
    ier: 0,
    fcr: 0,
    lcr: 0,
    mcr: 0,
    scratch: 0,
    divisor: 1,
    /** LSR's error bits, which a read of LSR clears. */
    lineErrors: 0,
    /** MSR's delta bits, which a read of MSR clears. */
    modemDeltas: 0,
    /** The transmitter became empty and IIR has not said so yet. */
    transmitPending: false,
    /** What the guest can read now. */
    received: [] as number[],
    /** What the host has sent and the receiver has no room for. */
    queued: [] as number[],
  };
  readonly limits = {
    ier: upTo(0xf),
    fcr: byte,
    lcr: byte,
    mcr: upTo(0x1f),
    scratch: byte,
    divisor: upTo(0xffff),
    lineErrors: upTo(lineStatus.errors),
    modemDeltas: upTo(0xf),
    transmitPending: 'boolean' as const,
    received: list(byte, 'any'),
    queued: list(byte, 'any'),
  };
  readonly #sink: (byte: number) => void;
  readonly #irq: IrqLine;

  /** @param sink takes each byte that the guest sends */
  constructor(sink: (byte: number) => void, irq: IrqLine = unconnectedLine) {
    this.#sink = sink;
    this.#irq = irq;
  }

  restored(): void {
    this.#drive();
  }

  /** Sends bytes to the guest; they wait in order until it reads them. */
  receive(bytes: Iterable<number>): void {
    for (const byte of bytes) this.state.queued.push(byte & 0xff);
    this.#fill();
    this.#drive();
  }

  read(offset: number, size: AccessSize): number {
    return readBytewise(offset, size, (at) => this.#readRegister(at));
  }

  write(offset: number, size: AccessSize, value: number): void {
    writeBytewise(offset, size, value, (at, byte) => this.#writeRegister(at, byte));
  }

  #readRegister(offset: number): number {
    const { state } = this;
    switch (offset) {
      case 0:
        return this.#divisorAccess ? state.divisor & 0xff : this.#takeByte();
      case 1:
        return this.#divisorAccess ? state.divisor >>> 8 : state.ier;
      case 2:
        return this.#readInterruptId();
      case 3:
        return state.lcr;
      case 4:
        return state.mcr;
      case 5: {
        const ready = state.received.length > 0 ? lineStatus.dataReady : 0;
        const status = lineStatus.transmitEmpty | state.lineErrors | ready;
        state.lineErrors = 0;
        this.#drive();
        return status;
      }
      case 6: {
        const status = this.#modemLevels | state.modemDeltas;
        state.modemDeltas = 0;
        this.#drive();
        return status;
      }
      case 7:
        return state.scratch;
      default:
        return 0xff;
    }
  }

  #writeRegister(offset: number, byte: number): void {
    const { state } = this;
    switch (offset) {
      case 0:
        if (this.#divisorAccess) state.divisor = (state.divisor & 0xff00) | byte;
        else this.#send(byte);
        break;
      case 1:
        if (this.#divisorAccess) {
          state.divisor = (byte << 8) | (state.divisor & 0xff);
        } else {
          // Enabling the interrupt while the transmitter is empty raises it.
          if (byte & ~state.ier & interruptEnable.transmitEmpty) state.transmitPending = true;
          state.ier = byte & 0x0f;
        }
        break;
      case 2:
        this.#writeFifoControl(byte);
        break;
      case 3:
        if (byte & ~state.lcr & lineControl.sendBreak && this.#loopback) {
          state.lineErrors |= lineStatus.breakReceived;
          this.#arrive(0);
        }
        state.lcr = byte;
        break;
      case 4: {
        const before = this.#modemLevels;
        state.mcr = byte & 0x1f;
        this.#noteModemChange(before, this.#modemLevels);
        this.#fill();
        break;
      }
      case 7:
        state.scratch = byte;
        break;
    }
    this.#drive();
  }

  get #divisorAccess(): boolean {
    return (this.state.lcr & lineControl.divisorAccess) !== 0;
  }

  get #loopback(): boolean {
    return (this.state.mcr & modemControl.loopback) !== 0;
  }

  get #fifoEnabled(): boolean {
    return (this.state.fcr & fifoControl.enable) !== 0;
  }

  /** MSR bits 4-7 CTS, DSR, RI, DCD: the peer's, or in loopback RTS, DTR, OUT1, OUT2 of MCR. */
  get #modemLevels(): number {
    if (!this.#loopback) return peerReady;
    const { mcr } = this.state;
    return ((mcr & 0x02) << 3) | ((mcr & 0x01) << 5) | ((mcr & 0x04) << 4) | ((mcr & 0x08) << 4);
  }

  #noteModemChange(before: number, after: number): void {
    const changed = (before ^ after) >>> 4;
    const ringEnded = (before & ~after & 0x40) !== 0;
    this.state.modemDeltas |= (changed & 0x0b) | (ringEnded ? 0x04 : 0);
  }

  #writeFifoControl(byte: number): void {
    const { state } = this;
    const toggled = ((byte ^ state.fcr) & fifoControl.enable) !== 0;
    if (toggled || byte & fifoControl.resetReceiver) state.received.length = 0;
    // Without the enable bit the others are not programmed; the reset bits clear themselves.
    state.fcr = byte & fifoControl.enable ? byte & 0xc9 : 0;
    this.#fill();
  }

  #send(byte: number): void {
    this.state.transmitPending = false;
    this.#drive(); // THR is full for a moment: an edge-triggered controller sees the line go down and up
    if (this.#loopback) this.#arrive(byte);
    else this.#sink(byte);
    this.state.transmitPending = true;
  }

  /** A byte reaches the receiver whether or not there is room. */
  #arrive(byte: number): void {
    const { received } = this.state;
    if (received.length >= this.#depth) {
      this.state.lineErrors |= lineStatus.overrun;
      if (this.#fifoEnabled) return; // the FIFO keeps what it has; the single register is overwritten
      received.length = 0;
    }
    received.push(byte);
  }

  get #depth(): number {
    return this.#fifoEnabled ? fifoDepth : 1;
  }

  #takeByte(): number {
    const byte = this.state.received.shift() ?? 0;
    this.#fill();
    this.#drive();
    return byte;
  }

  /** In loopback the receiver is cut off from the peer, whose bytes wait. */
  #fill(): void {
    const { received, queued } = this.state;
    if (this.#loopback || queued.length === 0) return;
    received.push(...queued.splice(0, this.#depth - received.length));
  }

  #readInterruptId(): number {
    const source = this.#pending();
    if (source === interruptId.transmitEmpty) {
      this.state.transmitPending = false;
      this.#drive();
    }
    return source | (this.#fifoEnabled ? 0xc0 : 0);
  }

  /** The enabled source of highest priority, as IIR names it. */
  #pending(): number {
    const { ier, lineErrors, received, fcr, transmitPending, modemDeltas } = this.state;
    if (ier & interruptEnable.lineStatus && lineErrors & lineStatus.errors) return interruptId.lineStatus;
    if (ier & interruptEnable.received && received.length > 0) {
      const trigger = this.#fifoEnabled ? triggerLevels[fcr >>> 6]! : 1;
      return received.length >= trigger ? interruptId.received : interruptId.timeout;
    }
    if (ier & interruptEnable.transmitEmpty && transmitPending) return interruptId.transmitEmpty;
    if (ier & interruptEnable.modemStatus && modemDeltas) return interruptId.modemStatus;
    return interruptId.none;
  }

  /** On a PC the interrupt passes a gate that OUT2 opens; in loopback OUT2 is an input, and the gate stays open. */
  #drive(): void {
    const gate = (this.state.mcr & (modemControl.out2 | modemControl.loopback)) !== 0;
    this.#irq.set(gate && this.#pending() !== interruptId.none);
  }
}
