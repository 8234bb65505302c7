/**
 * A counter of events that threads share: what Linux's eventfd is to KVM's ioeventfd and irqfd. It lives in a
 * `SharedArrayBuffer` where the host has one, so that adding to it wakes waiters on any thread; send `buffer` there and
 * make another `EventCounter` of it.
 */
import { ConfigurationError } from '../errors.ts';

/** How an event counter begins. */
export interface EventCounterOptions {
  /** Taking gives 1 and leaves the rest, instead of giving all. */
  readonly semaphore?: boolean;
  /** Events that are there from the start; 0 if left out. */
  readonly initial?: number;
  /** Of another counter: this is the same one. Its first four bytes are the count. */
  readonly buffer?: ArrayBufferLike;
}

const most = 0xffff_ffff;
const COUNT = 0;

/**
 * A count of events that threads share, as Linux's eventfd: doorbells add to it, interrupts are made of it, and a
 * thread may wait for it.
 */
export class EventCounter {
  /** Its memory: shared where the host allows it. Another thread makes the same counter of it. */
  readonly buffer: ArrayBufferLike;
  /** Taking gives 1 and leaves the rest. */
  readonly semaphore: boolean;
  readonly #words: Int32Array<ArrayBufferLike>;
  readonly #shared: boolean;
  /** Who is told on this thread, at once. */
  readonly #listeners = new Set<() => void>();

  /** @throws ConfigurationError `bad-option` naming the value */
  constructor({ semaphore = false, initial = 0, buffer }: EventCounterOptions = {}) {
    if (!Number.isInteger(initial) || initial < 0 || initial > most)
      throw new ConfigurationError('bad-option', `an event counter cannot begin at ${initial}`);
    const isShared = typeof SharedArrayBuffer === 'function';
    if (buffer !== undefined && (typeof buffer.byteLength !== 'number' || buffer.byteLength < 4))
      throw new ConfigurationError('bad-option', `an event counter needs 4 bytes, not ${buffer.byteLength}`);
    this.buffer = buffer ?? (isShared ? new SharedArrayBuffer(4) : new ArrayBuffer(4));
    this.semaphore = semaphore;
    this.#words = new Int32Array(this.buffer, 0, 1);
    this.#shared = isShared && this.buffer instanceof SharedArrayBuffer;
    if (initial > 0) this.add(initial);
  }

  /** Events that nobody has taken yet. */
  get value(): number {
    return Atomics.load(this.#words, COUNT) >>> 0;
  }

  /**
   * Adds events and wakes who waits. The count stays at 2^32 - 1 when it gets there.
   * @throws ConfigurationError `bad-option` if `events` is not a whole number from 1 to 2^32 - 1
   */
  add(events = 1): void {
    if (!Number.isInteger(events) || events < 1 || events > most)
      throw new ConfigurationError('bad-option', `an event counter cannot add ${events}`);
    const words = this.#words;
    for (;;) {
      const before = Atomics.load(words, COUNT);
      const sum = Math.min((before >>> 0) + events, most);
      if (Atomics.compareExchange(words, COUNT, before, sum | 0) === before) break;
    }
    if (this.#shared) Atomics.notify(words, COUNT);
    if (this.#listeners.size > 0) for (const listener of [...this.#listeners]) listener();
  }

  /** Takes all events, or one of a semaphore's. @returns how many; 0 = there are none */
  take(): number {
    const words = this.#words;
    if (!this.semaphore) return Atomics.exchange(words, COUNT, 0) >>> 0;
    for (;;) {
      const before = Atomics.load(words, COUNT);
      if (before === 0) return 0;
      if (Atomics.compareExchange(words, COUNT, before, (before - 1) | 0) === before) return 1;
    }
  }

  /**
   * Blocks this thread until there are events, and takes them.
   * @param timeoutMillis how long at most; @returns 0 if there were none
   * @throws ConfigurationError `unsupported-host` without shared memory
   */
  wait(timeoutMillis = Number.POSITIVE_INFINITY): number {
    const end = timeoutMillis === Number.POSITIVE_INFINITY ? timeoutMillis : performance.now() + timeoutMillis;
    for (;;) {
      const taken = this.take();
      if (taken > 0) return taken;
      const left = end === Number.POSITIVE_INFINITY ? end : end - performance.now();
      if (left <= 0) return 0;
      if (!this.#shared)
        throw new ConfigurationError('unsupported-host', 'to block on an event counter takes shared memory');
      Atomics.wait(this.#words, COUNT, 0, left);
    }
  }

  /**
   * Resolves with the next events, which it takes, without blocking the thread.
   * @throws the signal's reason once it is aborted
   */
  async next({ signal }: { readonly signal?: AbortSignal } = {}): Promise<number> {
    for (;;) {
      signal?.throwIfAborted();
      const taken = this.take();
      if (taken > 0) return taken;
      await this.#change(signal);
    }
  }
  /** The events as they come, until the signal is aborted, which ends the loop quietly. */
  async *events({ signal }: { readonly signal?: AbortSignal } = {}): AsyncGenerator<number, void, undefined> {
    for (;;) {
      try {
        yield await this.next(signal === undefined ? {} : { signal });
      } catch (error) {
        if (signal?.aborted !== true) throw error;
        return;
      }
    }
  }

  /** Calls back on this thread, within `add`, whenever this object adds events. @returns what ends that */
  onAdd(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Settles when somebody has added, or the signal is aborted. */
  #change(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        remove();
        signal?.removeEventListener('abort', done);
        resolve();
      };
      const remove = this.onAdd(done);
      signal?.addEventListener('abort', done);
      // Other threads: `waitAsync` is not everywhere yet, and without it only this thread's events are seen.
      if (!this.#shared || typeof Atomics.waitAsync !== 'function') return;
      const waiting = Atomics.waitAsync(this.#words, COUNT, 0);
      if (waiting.async) void waiting.value.then(done);
      else done();
    });
  }
}
