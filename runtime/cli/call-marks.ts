/**
 * The marks that a bundled guest puts on the debug console around each call of its work when it is told `marks=1`: "S000"
 * before the first call and "E000" after it, "S001" before the second. A guest goes on only while its checksums are right,
 * so a call whose successor has begun was a good one.
 */

/** A call whose beginning and end were marked. */
export interface MarkedCall<Reading> {
  readonly start: Reading;
  readonly end: Reading;
}

/** Takes the debug console's bytes, and a reading (of clocks, of counters) at the last byte of each mark. */
export class CallMarks<Reading> {
  /** The calls that have ended. */
  readonly calls: MarkedCall<Reading>[] = [];
  /** The reading at the beginning of the call that runs, null between calls. */
  running: Reading | null = null;
  readonly #read: () => Reading;
  readonly #onStart: (call: number) => void;
  #word = '';

  /** @param onStart told of each call that begins, by its number; the ones before it were good */
  constructor(read: () => Reading, onStart: (call: number) => void = () => {}) {
    this.#read = read;
    this.#onStart = onStart;
  }

  readonly take = (byte: number): void => {
    const character = String.fromCharCode(byte);
    this.#word = character === 'S' || character === 'E' ? character : this.#word + character;
    if (!/^[SE]\d{3}$/.test(this.#word)) return;
    const isStart = this.#word.startsWith('S');
    this.#word = '';
    const reading = this.#read();
    if (isStart) {
      this.running = reading;
      this.#onStart(this.calls.length);
    } else if (this.running !== null) {
      this.calls.push({ start: this.running, end: reading });
      this.running = null;
    }
  };
}
