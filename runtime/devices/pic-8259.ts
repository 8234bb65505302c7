/**
 * The PC's pair of 8259A interrupt controllers: the second one hangs at input 2 of the first. Their sixteen inputs are
 * edge-triggered unless the edge/level registers (EISA, ports 4D0H and 4D1H) say otherwise. Intel 8259A data sheet.
 */
import { type AccessSize, type Device, readBytewise, writeBytewise } from './device.ts';
import type { IrqLine } from './irq-line.ts';
import { byte, upTo } from './state-limits.ts';

const cascade = 2;

/** One controller: two byte-wide registers. */
class Pic8259 implements Device {
  readonly name: string;
  state = {
    /** Requests (IRR), in service (ISR), masked (IMR); bit n = input n. */
    requests: 0,
    inService: 0,
    mask: 0,
    levels: 0,
    /** Inputs that a pulse holds up until they are acknowledged. */
    held: 0,
    /** Inputs that are level-triggered. */
    levelTriggered: 0,
    vectorBase: 0,
    /** Which initialisation word comes next: 0 = none, 2 to 4. */
    expecting: 0,
    needsFourth: false,
    single: false,
    automaticEnd: false,
    rotateOnAutomaticEnd: false,
    specialMask: false,
    readInService: false,
    polling: false,
    /** The input of lowest priority. */
    lowest: 7,
  };
  readonly limits = {
    ...{
      requests: byte,
      inService: byte,
      mask: byte,
      levels: byte,
      held: byte,
      levelTriggered: byte,
      vectorBase: byte,
    },
    expecting: upTo(4),
    needsFourth: 'boolean' as const,
    single: 'boolean' as const,
    automaticEnd: 'boolean' as const,
    rotateOnAutomaticEnd: 'boolean' as const,
    specialMask: 'boolean' as const,
    readInService: 'boolean' as const,
    polling: 'boolean' as const,
    lowest: upTo(7),
  };
  readonly #levelMask: number;
  readonly #changed: () => void;
  readonly #ended: (input: number) => void;

  constructor(name: string, levelMask: number, changed: () => void, ended: (input: number) => void) {
    this.name = name;
    this.#levelMask = levelMask;
    this.#changed = changed;
    this.#ended = ended;
  }

  setInput(input: number, high: boolean): void {
    const { state } = this;
    const bit = 1 << input;
    const isLevel = (state.levelTriggered & bit) !== 0;
    if (high) {
      if (isLevel || (state.levels & bit) === 0) state.requests |= bit;
      state.levels |= bit;
    } else {
      state.levels &= ~bit;
      // An edge that is gone before it was acknowledged leaves no request: the processor then gets the spurious one.
      state.requests &= ~bit;
    }
    this.#changed();
  }

  /**
   * One edge at an input. The chip wants it held until the acknowledge, so the input stays up until then; `merged` while
   * the last one waits.
   */
  pulse(input: number): 'sent' | 'merged' | 'ignored' {
    const { state } = this;
    const bit = 1 << input;
    const masked = (state.mask & bit) !== 0;
    if (((state.requests | state.levels) & bit) !== 0) return masked ? 'ignored' : 'merged';
    state.held |= bit;
    this.setInput(input, true);
    return masked ? 'ignored' : 'sent';
  }
  #letGo(inputs: number): void {
    const { state } = this;
    const released = state.held & inputs;
    state.held &= ~released;
    state.levels &= ~released;
    state.requests &= ~released;
  }

  /** Inputs from the highest priority on. */
  *#byPriority(): Generator<number> {
    for (let i = 1; i <= 8; i++) yield (this.state.lowest + i) & 7;
  }
  /** The input to be served now, or -1. */
  pending(): number {
    const { state } = this;
    const wanted = state.requests & ~state.mask;
    if (wanted === 0) return -1;
    const serving = state.specialMask ? state.inService & ~state.mask : state.inService;
    for (const input of this.#byPriority()) {
      const bit = 1 << input;
      // The first controller takes requests of the second while one of them is in service only in the nested mode that
      // PCs do not use.
      if ((serving & bit) !== 0) return -1;
      if ((wanted & bit) !== 0) return input;
    }
    return -1;
  }
  /** INTA: the vector, and the input is in service. Without a request: input 7, which then is not in service. */
  acknowledge(): { vector: number; input: number } {
    const { state } = this;
    const input = this.pending();
    if (input < 0) return { vector: state.vectorBase + 7, input: 7 };
    const bit = 1 << input;
    if ((state.levelTriggered & bit) === 0) state.requests &= ~bit;
    this.#letGo(bit);
    if (!state.automaticEnd) state.inService |= bit;
    else {
      if (state.rotateOnAutomaticEnd) state.lowest = input;
      this.#ended(input);
    }
    this.#changed();
    return { vector: state.vectorBase + input, input };
  }

  read(offset: number, size: AccessSize): number {
    return readBytewise(offset, size, (at) => {
      const { state } = this;
      if (state.polling) {
        state.polling = false;
        const found = this.pending();
        if (found < 0) return 0;
        this.acknowledge();
        return 0x80 | found;
      }
      if (at === 1) return state.mask;
      return state.readInService ? state.inService : state.requests;
    });
  }

  write(offset: number, size: AccessSize, value: number): void {
    writeBytewise(offset, size, value, (at, byte) => {
      if (at === 1) this.#writeData(byte);
      else if ((byte & 0x10) !== 0) this.#initialise(byte);
      else if ((byte & 0x08) !== 0) this.#writeMode(byte);
      else this.#writeEnd(byte);
      this.#changed();
    });
  }

  /** ICW1. */
  #initialise(byte: number): void {
    const { state } = this;
    state.expecting = 2;
    state.needsFourth = (byte & 1) !== 0;
    state.single = (byte & 2) !== 0;
    state.mask = 0;
    state.inService = 0;
    this.#letGo(0xff);
    state.requests &= state.levelTriggered; // edges must come anew
    state.lowest = 7;
    state.specialMask = false;
    state.readInService = false;
    state.automaticEnd = false;
    state.rotateOnAutomaticEnd = false;
  }
  /** ICW2-4, OCW1. */
  #writeData(byte: number): void {
    const { state } = this;
    switch (state.expecting) {
      case 2:
        state.vectorBase = byte & 0xf8;
        state.expecting = state.single ? (state.needsFourth ? 4 : 0) : 3;
        break;
      case 3:
        state.expecting = state.needsFourth ? 4 : 0;
        break;
      case 4:
        state.automaticEnd = (byte & 2) !== 0;
        state.expecting = 0;
        break;
      default:
        state.mask = byte;
    }
  }
  /** OCW3. */
  #writeMode(byte: number): void {
    const { state } = this;
    if ((byte & 0x04) !== 0) state.polling = true;
    if ((byte & 0x02) !== 0) state.readInService = (byte & 1) !== 0;
    if ((byte & 0x40) !== 0) state.specialMask = (byte & 0x20) !== 0;
  }
  /** OCW2: R, SL, EOI in bits 7-5. */
  #writeEnd(byte: number): void {
    const { state } = this;
    const named = byte & 7;
    switch (byte >> 5) {
      case 0:
        state.rotateOnAutomaticEnd = false;
        break;
      case 4:
        state.rotateOnAutomaticEnd = true;
        break;
      case 1:
      case 5:
        for (const input of this.#byPriority()) {
          if ((state.inService & (1 << input)) === 0) continue;
          state.inService &= ~(1 << input);
          if (byte >> 5 === 5) state.lowest = input;
          this.#ended(input);
          break;
        }
        break;
      case 3:
        this.#endNamed(named);
        break;
      case 6:
        state.lowest = named;
        break;
      case 7:
        this.#endNamed(named);
        state.lowest = named;
        break;
    }
  }
  #endNamed(input: number): void {
    const { state } = this;
    if ((state.inService & (1 << input)) === 0) return;
    state.inService &= ~(1 << input);
    this.#ended(input);
  }

  setLevelTriggered(inputs: number): void {
    this.state.levelTriggered = inputs & this.#levelMask;
  }
}

/** The two controllers. Attach `first` at 20H, `second` at A0H (two ports each) and `triggers` at 4D0H (two ports). */
export class PicPair {
  /** Inputs 0 to 7. */
  readonly first: Device;
  /** Inputs 8 to 15. */
  readonly second: Device;
  /** The edge/level registers. */
  readonly triggers: Device;
  readonly #first: Pic8259;
  readonly #second: Pic8259;
  readonly #output: IrqLine;
  #settling = false;

  /**
   * @param output the line to the processor: INTR
   * @param ended told of each end of interrupt, by input, before the input is looked at again
   */
  constructor(output: IrqLine, ended: (irq: number) => void = () => {}) {
    this.#output = output;
    // The timer, the keyboard, the cascade, the clock and the coprocessor have no level to trigger by.
    this.#first = new Pic8259('pic', 0xf8, () => this.#settle(), ended);
    this.#second = new Pic8259(
      'pic2',
      0xde,
      () => this.#settle(),
      (input) => ended(input + 8),
    );
    this.first = this.#first;
    this.second = this.#second;
    const chips = [this.#first, this.#second];
    this.triggers = {
      name: 'elcr',
      read: (offset, size) => readBytewise(offset, size, (at) => chips[at]!.state.levelTriggered),
      write: (offset, size, value) =>
        writeBytewise(offset, size, value, (at, byte) => chips[at]!.setLevelTriggered(byte)),
    };
  }

  #settle(): void {
    if (this.#settling) return;
    this.#settling = true;
    this.#first.setInput(cascade, this.#second.pending() >= 0);
    this.#settling = false;
    this.#output.set(this.#first.pending() >= 0);
  }

  /** The level of one of the sixteen inputs; 2 is the cascade and nobody else's. */
  set(irq: number, high: boolean): void {
    if (irq < 8) this.#first.setInput(irq, high);
    else this.#second.setInput(irq - 8, high);
  }

  /** One edge at an input that is low; see `Pic8259.pulse`. */
  pulse(irq: number): 'sent' | 'merged' | 'ignored' {
    return irq < 8 ? this.#first.pulse(irq) : this.#second.pulse(irq - 8);
  }

  /** The processor takes the interrupt: its vector. */
  acknowledge(): number {
    const { vector, input } = this.#first.acknowledge();
    if (input !== cascade) return vector;
    return this.#second.acknowledge().vector;
  }
}
