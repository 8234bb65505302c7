/**
 * A transport between two threads that share memory: a ring of bytes for each direction, and a `MessagePort` as the doorbell
 * for a side that is in its event loop. A side that must have an answer now blocks on the ring instead (`Atomics.wait`),
 * which is what makes a register of a device on another thread readable within an instruction.
 *
 * Each side has an event word: whoever has put bytes into its ring, or taken some from a full one, raises it and wakes the
 * side. A side that is about to leave for its event loop arms its doorbell first and then looks once more.
 */
import { ConfigurationError } from '../errors.ts';
import { deafPeer, mostQueued, type Port, type Transport, type TransportListener } from './transport.ts';

/** Words of the control block: for each side, then for each ring. */
const EVENT = 0;
const ARMED = 2;
/** Bytes ever put in and taken out, modulo 2^32; by ring. */
const HEAD = 4;
const TAIL = 6;
/** The ring's writer waits for room. */
const WANTED = 8;
/** This side has closed. */
const CLOSED = 10;
const CONTROL_BYTES = 64;
/** How often a doorbell looks at the ring before other things have their turn. */
const mostTurns = 100;

/** One side's view of the rings; it can be posted to another thread, its port transferred. */
export interface RingEnd<P extends Port = Port> {
  /** Both rings. */
  readonly memory: SharedArrayBuffer;
  /** By which a side that does not wait is woken. */
  readonly port: P;
  /** Which ring it writes. */
  readonly side: 0 | 1;
}

/** Two ends. `there` goes to the other thread: `worker.postMessage(there, [there.port])`. */
export function createRing(bytesEachWay = 1 << 16): {
  readonly here: RingEnd<MessagePort>;
  readonly there: RingEnd<MessagePort>;
} {
  if (!Number.isInteger(Math.log2(bytesEachWay)) || bytesEachWay < 64 || bytesEachWay > 1 << 28)
    throw new ConfigurationError('bad-option', `a ring of ${bytesEachWay} bytes: not a power of two from 64 to 2^28`);
  if (typeof SharedArrayBuffer === 'undefined')
    throw new ConfigurationError('unsupported-host', 'this host shares no memory between threads');
  const memory = new SharedArrayBuffer(CONTROL_BYTES + 2 * bytesEachWay);
  const { port1, port2 } = new MessageChannel();
  return { here: { memory, port: port1, side: 0 }, there: { memory, port: port2, side: 1 } };
}

/** Whether this thread may block: a page's main thread may not. */
export function threadMayBlock(): boolean {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 0);
    return true;
  } catch {
    return false;
  }
}

/** How a side waits for the other. */
export interface RingOptions {
  /**
   * Milliseconds for which this thread, having handled what has come, blocks for more before it goes back to its event loop
   * (0). It saves a peer that asks often the way through the doorbell; timers and promises of this thread wait as long.
   */
  readonly lingerMillis?: number;
  /** Looks at the ring so many times before it blocks (200): some tenths of a microsecond to spare a sleep. */
  readonly spins?: number;
}

/** The transport over one end of {@link createRing}. */
export function ringTransport(end: RingEnd, options: RingOptions = {}): Transport {
  return new RingTransport(end, options);
}

class RingTransport implements Transport {
  readonly wait: ((millis: number) => boolean) | null;
  readonly #port: Port;
  readonly #control: Int32Array;
  readonly #in: Uint8Array;
  readonly #out: Uint8Array;
  readonly #me: 0 | 1;
  readonly #peer: 0 | 1;
  readonly #linger: number;
  readonly #spins: number;
  #listener: TransportListener | null = null;
  #open = true;
  /** What did not fit. */
  #queue: Uint8Array[] = [];
  #queued = 0;

  constructor({ memory, port, side }: RingEnd, { lingerMillis = 0, spins = 200 }: RingOptions) {
    const bytes = (memory.byteLength - CONTROL_BYTES) / 2;
    this.#port = port;
    this.#control = new Int32Array(memory, 0, CONTROL_BYTES / 4);
    this.#me = side;
    this.#peer = side === 0 ? 1 : 0;
    // The ring with a side's number is the one that it reads.
    this.#in = new Uint8Array(memory, CONTROL_BYTES + this.#me * bytes, bytes);
    this.#out = new Uint8Array(memory, CONTROL_BYTES + this.#peer * bytes, bytes);
    const blocks = threadMayBlock();
    this.#linger = blocks ? lingerMillis : 0;
    this.#spins = spins;
    this.wait = blocks ? (millis) => this.#wait(millis) : null;
  }

  open(listener: TransportListener): void {
    this.#listener = listener;
    this.#port.addEventListener('message', () => this.#rung());
    this.#port.addEventListener('close', () => this.#ended('the port was closed'));
    this.#port.start?.();
    this.#rung();
  }

  send(bytes: Uint8Array): void {
    if (!this.#open) return;
    const sent = this.#queue.length > 0 ? 0 : this.#put(bytes);
    if (sent > 0) this.#wake();
    if (sent === bytes.length) return;
    this.#queue.push(bytes.slice(sent));
    this.#queued += bytes.length - sent;
    if (this.#queued > mostQueued) this.#ended(deafPeer);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    Atomics.store(this.#control, CLOSED + this.#me, 1);
    this.#wake();
    this.#port.close();
  }

  /** Puts what fits into the peer's ring. */
  #put(bytes: Uint8Array): number {
    const control = this.#control;
    const ring = this.#out;
    const head = control[HEAD + this.#peer]!;
    const room = () => ring.length - ((head - Atomics.load(control, TAIL + this.#peer)) >>> 0);
    if (room() < bytes.length) Atomics.store(control, WANTED + this.#peer, 1);
    const count = Math.max(Math.min(room(), bytes.length), 0);
    if (count === 0) return 0;
    const at = head & (ring.length - 1);
    const first = Math.min(count, ring.length - at);
    ring.set(bytes.subarray(0, first), at);
    if (first < count) ring.set(bytes.subarray(first, count), 0);
    Atomics.store(control, HEAD + this.#peer, (head + count) | 0);
    return count;
  }

  #wake(): void {
    const control = this.#control;
    Atomics.add(control, EVENT + this.#peer, 1);
    if (Atomics.exchange(control, ARMED + this.#peer, 0) !== 0) this.#port.postMessage(0, []);
    Atomics.notify(control, EVENT + this.#peer);
  }

  /** Hands on what has come and sends what waited for room; says whether anything has come. */
  #drain(): boolean {
    if (!this.#open || this.#listener === null) return false;
    const control = this.#control;
    while (this.#queue.length > 0) {
      const bytes = this.#queue[0]!;
      const sent = this.#put(bytes);
      this.#queued -= sent;
      if (sent > 0) this.#wake();
      if (sent < bytes.length) {
        this.#queue[0] = bytes.subarray(sent);
        break;
      }
      this.#queue.shift();
    }
    const ring = this.#in;
    const tail = control[TAIL + this.#me]!;
    const used = (Atomics.load(control, HEAD + this.#me) - tail) >>> 0;
    if (used === 0) {
      if (Atomics.load(control, CLOSED + this.#peer) === 0) return false;
      this.#ended('the peer has closed');
      return true;
    }
    if (used > ring.length) {
      this.#ended('the peer has spoilt the ring');
      return true;
    }
    const bytes = new Uint8Array(used);
    const at = tail & (ring.length - 1);
    const first = Math.min(used, ring.length - at);
    bytes.set(ring.subarray(at, at + first));
    if (first < used) bytes.set(ring.subarray(0, used - first), first);
    Atomics.store(control, TAIL + this.#me, (tail + used) | 0);
    if (Atomics.exchange(control, WANTED + this.#me, 0) !== 0) this.#wake();
    this.#listener.received(bytes);
    return true;
  }

  #ended(reason: string): void {
    if (!this.#open) return;
    // What the peer sent before it went is still in the ring.
    if (reason === 'the port was closed') while (this.#drain()) if (!this.#open) return;
    this.close();
    this.#listener?.closed(reason);
  }

  /** The doorbell: everything that is there, then back to the event loop. A peer that never stops gets its turns there. */
  #rung(): void {
    const control = this.#control;
    let turns = 0;
    do {
      Atomics.store(control, ARMED + this.#me, 0);
      while (this.#drain())
        if (++turns >= mostTurns) {
          setTimeout(() => this.#rung());
          return;
        }
      if (this.#linger > 0) this.#stay();
      Atomics.store(control, ARMED + this.#me, 1);
    } while (this.#drain());
  }

  /** Blocks as long as more keeps coming, but not so long that timers and promises of this thread starve. */
  #stay(): void {
    const latest = performance.now() + 20 * this.#linger;
    for (;;) {
      const now = performance.now();
      if (!this.#open || now >= latest || !this.#block(now + this.#linger)) return;
    }
  }

  #wait(millis: number): boolean {
    const control = this.#control;
    Atomics.store(control, ARMED + this.#me, 0);
    const any = millis > 0 ? this.#block(performance.now() + millis) : this.#drain();
    Atomics.store(control, ARMED + this.#me, 1);
    // What came before the doorbell was armed has rung none.
    return this.#drain() || any;
  }

  /** Until something comes and is handed on, or the time is over. */
  #block(deadline: number): boolean {
    const control = this.#control;
    for (;;) {
      const seen = Atomics.load(control, EVENT + this.#me);
      if (this.#drain()) return true;
      if (!this.#open) return true;
      let spins = this.#spins;
      while (spins > 0 && Atomics.load(control, EVENT + this.#me) === seen) spins--;
      if (spins > 0) continue;
      const left = deadline - performance.now();
      if (left <= 0) return false;
      Atomics.wait(control, EVENT + this.#me, seen, left);
    }
  }
}
