/**
 * The ports of a PC's board that belong to no chip: 61H (speaker, counter 2), 92H (A20 gate, fast reset), the two lines of
 * the keyboard controller that software still pulls at 64H (reset, A20), and the reset control register at CF9H.
 */
import type { Clock } from './clock.ts';
import type { AccessSize, Device } from './device.ts';
import { upTo } from './state-limits.ts';

/** What port 61H shows of the interval timer. */
export interface SpeakerTimer {
  speakerGate: boolean;
  readonly speakerOutput: boolean;
}

/** Port 61H: bit 0 gate of counter 2, bit 1 speaker, bit 4 memory refresh (toggles each 15 us), bit 5 output of counter 2. */
export class SpeakerPort implements Device {
  readonly name = 'speaker';
  state = { latch: 0 };
  readonly limits = { latch: upTo(3) };
  readonly #clock: Clock;
  readonly #timer: SpeakerTimer;

  /** @param timer whose counter 2 it gates */
  constructor(clock: Clock, timer: SpeakerTimer) {
    this.#clock = clock;
    this.#timer = timer;
  }
  read(): number {
    const refresh = Math.floor(this.#clock.now() / 15_085) & 1;
    return this.state.latch | (refresh << 4) | (this.#timer.speakerOutput ? 0x20 : 0);
  }
  write(_offset: number, _size: AccessSize, value: number): void {
    this.state.latch = value & 3;
    this.#timer.speakerGate = (value & 1) !== 0;
  }
}

/** Port 92H: bit 0 resets the processor when it becomes 1, bit 1 opens A20. */
export class SystemControlPort implements Device {
  readonly name = 'system-control';
  state = { value: 2 };
  readonly limits = { value: upTo(3) };
  readonly #setA20: (open: boolean) => void;
  readonly #reset: () => void;

  /** @param setA20 opens or closes address line 20; @param reset of the processor */
  constructor(setA20: (open: boolean) => void, reset: () => void) {
    this.#setA20 = setA20;
    this.#reset = reset;
  }
  read(): number {
    return this.state.value;
  }
  write(_offset: number, _size: AccessSize, value: number): void {
    const rising = (value & ~this.state.value & 1) !== 0;
    this.state.value = value & 3;
    this.#setA20((value & 2) !== 0);
    if (rising) this.#reset();
  }
}

/**
 * The command port of the keyboard controller, 64H, without a keyboard behind it: it reads as nothing there, and commands
 * F0H-FFH pulse output lines, of which line 0 is the processor's reset.
 */
export class ResetLine implements Device {
  readonly name = 'keyboard-controller';
  readonly #reset: () => void;

  /** @param reset of the processor */
  constructor(reset: () => void) {
    this.#reset = reset;
  }
  read(): number {
    return 0xff;
  }
  write(_offset: number, _size: AccessSize, value: number): void {
    if ((value & 0xf0) === 0xf0 && (value & 1) === 0) this.#reset();
  }
}

/** CF9H: a 1 written to bit 2 resets, of the processor alone or (bit 1) of the whole machine. */
export class ResetControl implements Device {
  readonly name = 'reset-control';
  state = { value: 0 };
  readonly limits = { value: upTo(6) };
  readonly #reset: () => void;

  /** @param reset of the machine */
  constructor(reset: () => void) {
    this.#reset = reset;
  }
  read(): number {
    return this.state.value;
  }
  write(_offset: number, _size: AccessSize, value: number): void {
    const rising = (value & ~this.state.value & 4) !== 0;
    this.state.value = value & 6;
    if (rising) this.#reset();
  }
}
