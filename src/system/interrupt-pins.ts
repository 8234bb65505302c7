/**
 * What brings interrupts to a processor, with or without a local APIC: the pins LINT0 and LINT1, which without one are
 * INTR and NMI, and the acknowledge cycle with the external controller. SDM volume 3, sections 6.3 and 11.1.
 */

export interface PinsKept {
  /** Levels of LINT0 (bit 0) and LINT1 (bit 1). */
  readonly levels: number;
  /** The acknowledge cycle: 0 = none, 1 = the answer is on its way, 100H and the vector = answered. */
  readonly acknowledge: number;
}
const ANSWERED = 0x100;

/** The processor's half of the interrupt acknowledge cycle with the external controller (8259). */
class ExternalAcknowledge {
  /** Asks the controller; -1 = the answer comes later. */
  private readonly ask: () => number;
  /** An answer is on its way. */
  awaited = false;
  /** The answer, not yet delivered; -1 = none. */
  vector = -1;

  constructor(ask: () => number) {
    this.ask = ask;
  }
  /** The vector, from then on the processor's; -1 = not yet. */
  take(): number {
    if (this.vector < 0) {
      this.awaited = true;
      const answer = this.ask();
      // The answer may also have come by `answer` while we asked.
      if (answer >= 0) this.answer(answer);
      if (this.vector < 0) return -1;
    }
    const { vector } = this;
    this.vector = -1;
    return vector;
  }
  /** The answer; -1 = there will be none. What was not asked for is nobody's. */
  answer(vector: number): void {
    if (!this.awaited) return;
    this.awaited = false;
    this.vector = vector;
  }
  reset(): void {
    this.awaited = false;
    this.vector = -1;
  }
  /** As in {@link PinsKept}. */
  get kept(): number {
    return this.vector >= 0 ? ANSWERED | this.vector : this.awaited ? 1 : 0;
  }
  set kept(value: number) {
    this.awaited = value === 1;
    this.vector = value >= ANSWERED ? value & 0xff : -1;
  }
}

/** What happens to the processor by its pins. */
export interface PinListener {
  /** A maskable interrupt may have become deliverable. */
  interruptRequested(): void;
  nmi(): void;
}

export interface PinParts {
  /** The vector of the external controller (8259), which takes the interrupt as acknowledged; -1 = it comes later. */
  readonly acknowledgeExternal: () => number;
  readonly listener: PinListener;
}

/** What a processor asks between instructions: a local APIC, or the bare pins. */
export abstract class InterruptSource {
  /** A maskable interrupt is there for a processor that takes one. */
  requesting = false;
  protected readonly external: ExternalAcknowledge;
  /** Levels of LINT0 and LINT1. */
  protected readonly high = [false, false];
  protected readonly listener: PinListener;

  constructor({ acknowledgeExternal, listener }: PinParts) {
    this.external = new ExternalAcknowledge(acknowledgeExternal);
    this.listener = listener;
  }
  /** The vector that is to be delivered now; -1 = none after all, or it comes later from another thread. */
  abstract acknowledge(): number;
  /** Says by {@link request} whether there is an interrupt now. */
  protected abstract update(): void;
  /** A pin is driven high, from low or again. */
  protected abstract driven(pin: 0 | 1, rising: boolean): void;

  protected request(wanted: boolean): void {
    const before = this.requesting;
    this.requesting = wanted;
    if (wanted && !before) this.listener.interruptRequested();
  }
  /** The level of LINT0 (INTR) or LINT1 (NMI). */
  setPin(pin: 0 | 1, high: boolean): void {
    const rising = high && !this.high[pin];
    this.high[pin] = high;
    if (high) this.driven(pin, rising);
    this.update();
  }
  /** The vector for an acknowledge that could not be answered at once; -1 = there is none after all. */
  externalVector(vector: number): void {
    this.external.answer(vector);
    this.update();
  }
  /** What it keeps of its pins, for those who save and restore state. */
  get kept(): PinsKept {
    return { levels: (this.high[0] ? 1 : 0) | (this.high[1] ? 2 : 0), acknowledge: this.external.kept };
  }
  /** Takes back what `kept` gave; nothing follows from it but what is requested now. */
  replacePins({ levels, acknowledge }: PinsKept): void {
    this.high[0] = (levels & 1) !== 0;
    this.high[1] = (levels & 2) !== 0;
    this.external.kept = acknowledge;
    this.update();
  }
}

/** A processor without a local APIC, or whose APIC is hidden: LINT0 takes ExtINT, LINT1 takes NMI. */
export class BarePins extends InterruptSource {
  protected update(): void {
    this.request(this.external.vector >= 0 || (this.high[0]! && !this.external.awaited));
  }
  acknowledge(): number {
    if (!this.requesting) return -1;
    const vector = this.external.take();
    this.update();
    return vector;
  }
  protected driven(pin: 0 | 1, rising: boolean): void {
    if (pin === 1 && rising) this.listener.nmi();
  }
}
