/**
 * What brings interrupts to a processor, with or without a local APIC: the pins LINT0 and LINT1, which without one are
 * INTR and NMI. SDM volume 3, sections 6.3 and 11.1.
 */

/** What a processor asks between instructions: a local APIC, or the bare pins. */
export interface InterruptSource {
  /** A maskable interrupt is there for a processor that takes one. */
  readonly requesting: boolean;
  /** The vector that is to be delivered now; -1 = none after all, or it comes later from another thread. */
  acknowledge(): number;
  /** The level of LINT0 (INTR) or LINT1 (NMI). */
  setPin(pin: 0 | 1, high: boolean): void;
  /** The vector for an acknowledge that could not be answered at once; -1 = there is none after all. */
  externalVector(vector: number): void;
  /** What it keeps of its pins, for those who save and restore state. */
  readonly kept: PinsKept;
  /** Takes back what `kept` gave; nothing follows from it but what is requested now. */
  replacePins(kept: PinsKept): void;
}

export interface PinsKept {
  /** Levels of LINT0 (bit 0) and LINT1 (bit 1). */
  readonly levels: number;
  /** The acknowledge cycle: 0 = none, 1 = the answer is on its way, 100H and the vector = answered. */
  readonly acknowledge: number;
}
const ANSWERED = 0x100;
export const levelsOf = ([first, second]: readonly boolean[]): number => (first ? 1 : 0) | (second ? 2 : 0);

/** The processor's half of the interrupt acknowledge cycle with the external controller (8259). */
export class ExternalAcknowledge {
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

export interface PinParts {
  /** The vector of the external controller, which takes the interrupt as acknowledged; -1 = it comes later. */
  readonly acknowledgeExternal: () => number;
  readonly listener: { interruptRequested(): void; nmi(): void };
}

/** A processor without a local APIC, or whose APIC is hidden: LINT0 takes ExtINT, LINT1 takes NMI. */
export class InterruptPins implements InterruptSource {
  private readonly parts: PinParts;
  private readonly external: ExternalAcknowledge;
  private readonly pins = [false, false];
  requesting = false;

  constructor(parts: PinParts) {
    this.parts = parts;
    this.external = new ExternalAcknowledge(parts.acknowledgeExternal);
  }
  private update(): void {
    const before = this.requesting;
    this.requesting = this.external.vector >= 0 || (this.pins[0]! && !this.external.awaited);
    if (this.requesting && !before) this.parts.listener.interruptRequested();
  }
  acknowledge(): number {
    if (!this.requesting) return -1;
    const vector = this.external.take();
    this.update();
    return vector;
  }
  setPin(pin: 0 | 1, high: boolean): void {
    const rising = high && !this.pins[pin];
    this.pins[pin] = high;
    if (pin === 1 && rising) this.parts.listener.nmi();
    this.update();
  }
  externalVector(vector: number): void {
    this.external.answer(vector);
    this.update();
  }
  get kept(): PinsKept {
    return { levels: levelsOf(this.pins), acknowledge: this.external.kept };
  }
  replacePins({ levels, acknowledge }: PinsKept): void {
    this.pins[0] = (levels & 1) !== 0;
    this.pins[1] = (levels & 2) !== 0;
    this.external.kept = acknowledge;
    this.update();
  }
}
