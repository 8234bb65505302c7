/**
 * Writes that nobody waits for: they are queued in the order in which the guest made them and delivered together, before
 * anything else reaches a device. KVM calls them coalesced MMIO and PIO.
 */
import type { WideSize } from '../devices/device.ts';
import type { IoSpaceName } from './io-range.ts';

/** Writes of one range, in program order; good only while they are being delivered. */
export interface WriteBatch {
  /** How many writes they are. */
  readonly length: number;
  /** All of them are to this space. */
  readonly space: IoSpaceName;
  /** The port or guest-physical address of a write, by its place in the batch. */
  address(index: number): number;
  /** Bytes of a write. */
  size(index: number): WideSize;
  /** Unsigned; of eight bytes the low half. */
  value(index: number): number;
  /** Bits 32-63 of a write of eight bytes, else 0. */
  high(index: number): number;
}

/** Takes what was queued for a range. */
export type WritesReceiver = (writes: WriteBatch) => void;

/** Whom writes of a space reach that go to its devices. */
interface Space {
  readonly name: IoSpaceName;
  deliver(address: number, size: WideSize, low: number, high: number): void;
}

export class PostedWrites implements WriteBatch {
  readonly capacity: number;
  readonly #addresses: Float64Array;
  readonly #values: Uint32Array;
  readonly #highs: Uint32Array;
  readonly #sizes: Uint8Array;
  readonly #spaces: (Space | null)[];
  readonly #receivers: (WritesReceiver | null)[];
  /** The first that is not delivered yet, and behind the last. */
  #head = 0;
  #count = 0;
  /** The batch that is being delivered. */
  #from = 0;
  #to = 0;
  /** There is something to deliver, and it is not being delivered. */
  waiting = false;
  /** Devices are getting theirs now. */
  draining = false;
  /** How often the queue was emptied. */
  drains = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.#addresses = new Float64Array(capacity);
    this.#values = new Uint32Array(capacity);
    this.#highs = new Uint32Array(capacity);
    this.#sizes = new Uint8Array(capacity);
    this.#spaces = new Array(capacity).fill(null);
    this.#receivers = new Array(capacity).fill(null);
  }

  push(
    space: Space,
    receiver: WritesReceiver | null,
    address: number,
    size: WideSize,
    low: number,
    high: number,
  ): void {
    if (this.#count === this.capacity) this.drain();
    const at = this.#count++;
    this.#addresses[at] = address;
    this.#values[at] = low;
    this.#highs[at] = high;
    this.#sizes[at] = size;
    this.#spaces[at] = space;
    this.#receivers[at] = receiver;
    this.waiting = true;
  }

  /** Delivers what is queued. What a receiver throws goes through; what is behind its writes is kept for the next time. */
  drain(): void {
    if (this.#count === 0 || this.draining) return;
    this.draining = true;
    this.waiting = false;
    this.drains++;
    try {
      while (this.#head < this.#count) this.#deliver();
    } finally {
      this.draining = false;
      if (this.#head === this.#count) {
        this.#head = 0;
        this.#count = 0;
      } else this.#keepRest();
    }
  }
  #deliver(): void {
    const at = this.#head;
    const receiver = this.#receivers[at]!;
    const space = this.#spaces[at]!;
    let end = at + 1;
    if (receiver !== null) {
      while (end < this.#count && this.#receivers[end] === receiver && this.#spaces[end] === space) end++;
      this.#from = at;
      this.#to = end;
      this.#head = end;
      return receiver(this);
    }
    this.#head = end;
    space.deliver(this.#addresses[at]!, this.#sizes[at] as WideSize, this.#values[at]!, this.#highs[at]!);
  }
  #keepRest(): void {
    const { capacity } = this;
    for (const list of [this.#addresses, this.#values, this.#highs, this.#sizes])
      list.copyWithin(0, this.#head, capacity);
    this.#spaces.copyWithin(0, this.#head, capacity);
    this.#receivers.copyWithin(0, this.#head, capacity);
    this.#count -= this.#head;
    this.#head = 0;
    this.waiting = true;
  }

  // --- the batch
  get length(): number {
    return this.#to - this.#from;
  }
  get space(): IoSpaceName {
    return this.#spaces[this.#from]!.name;
  }
  #place(index: number): number {
    if (!(index >= 0 && index < this.length)) throw new RangeError(`write ${index} of ${this.length}`);
    return this.#from + index;
  }
  address(index: number): number {
    return this.#addresses[this.#place(index)]!;
  }
  size(index: number): WideSize {
    return this.#sizes[this.#place(index)] as WideSize;
  }
  value(index: number): number {
    return this.#values[this.#place(index)]!;
  }
  high(index: number): number {
    return this.#highs[this.#place(index)]!;
  }
}
