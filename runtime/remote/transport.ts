/**
 * How bytes get from a machine to a device in another thread or process and back: an ordered, reliable stream in both
 * directions, whatever carries it. Messages (messages.ts) are cut out of it by whoever listens.
 */

export interface TransportListener {
  /** Bytes have come, cut anywhere; they are the listener's only until it returns. */
  received(bytes: Uint8Array): void;
  /** Nothing more will come. Called at most once, and not after `close`. */
  closed(reason: string): void;
}

/** One end of a connection that carries bytes. */
export interface Transport {
  /** Says who listens; nothing is received before. */
  open(listener: TransportListener): void;
  /** Sends bytes, which the caller may change afterwards. Never throws: that the peer is gone is told to the listener. */
  send(bytes: Uint8Array): void;
  /** Ends the stream in both directions. Again: nothing. */
  close(): void;
  /**
   * Blocks this thread until something has been received and handed to the listener, or the milliseconds are over (0: only
   * looks), and says whether there was anything. Null where the host or the carrier does not allow it: then things are
   * received in turns of the event loop alone.
   */
  readonly wait: ((millis: number) => boolean) | null;
}

/** Bytes that may wait for a peer to take them; one that asks and does not listen has gone mad. */
export const mostQueued = 1 << 26;
export const deafPeer = 'the peer does not take what it is sent';

/** The part of a `MessagePort` that is needed; pages and Node each have theirs. */
export interface Port {
  readonly postMessage: (message: unknown, transfer: ArrayBuffer[]) => void;
  addEventListener(type: 'message' | 'close' | 'messageerror', listener: (event: { data?: unknown }) => void): void;
  start?(): void;
  close(): void;
}

/** Over a `MessagePort`, without shared memory. Each `send` is a message that holds a `Uint8Array`. */
export function messagePortTransport(port: Port): Transport {
  let listener: TransportListener | null = null;
  let open = true;
  const end = (reason: string) => {
    if (!open) return;
    open = false;
    port.close();
    listener?.closed(reason);
  };
  return {
    wait: null,
    open(who) {
      listener = who;
      port.addEventListener('message', ({ data }) => {
        if (!open) return;
        if (data instanceof Uint8Array) who.received(data);
        else end('the peer sent a message that holds no bytes');
      });
      port.addEventListener('messageerror', () => end('the peer sent a message that cannot be read'));
      port.addEventListener('close', () => end('the port was closed'));
      port.start?.();
    },
    send(bytes) {
      if (!open) return;
      const copy = new Uint8Array(bytes);
      port.postMessage(copy, [copy.buffer]);
    },
    close() {
      open = false;
      port.close();
    },
  };
}

/** The part of a `WebSocket` that is needed. */
export interface Socket {
  binaryType: string;
  readonly readyState: number;
  readonly bufferedAmount: number;
  send(bytes: Uint8Array<ArrayBuffer>): void;
  addEventListener(
    type: 'open' | 'message' | 'close' | 'error',
    listener: (event: { data?: unknown; code?: number }) => void,
  ): void;
  close(): void;
}

/** Over a `WebSocket` that is open or about to be: what is sent before waits. */
export function webSocketTransport(socket: Socket): Transport {
  socket.binaryType = 'arraybuffer';
  const early: Uint8Array<ArrayBuffer>[] = [];
  let listener: TransportListener | null = null;
  let open = true;
  const end = (reason: string) => {
    if (!open) return;
    open = false;
    socket.close();
    listener?.closed(reason);
  };
  return {
    wait: null,
    open(who) {
      listener = who;
      socket.addEventListener('open', () => {
        for (const bytes of early.splice(0)) socket.send(bytes);
      });
      socket.addEventListener('message', ({ data }) => {
        if (!open) return;
        if (data instanceof ArrayBuffer) who.received(new Uint8Array(data));
        else end('the peer sent text');
      });
      socket.addEventListener('error', () => end('the connection failed'));
      socket.addEventListener('close', ({ code }) => end(`the connection was closed with code ${code}`));
    },
    send(bytes) {
      if (!open) return;
      const copy = new Uint8Array(bytes);
      if (socket.readyState === 0) early.push(copy);
      else socket.send(copy);
      if (socket.bufferedAmount > mostQueued) end(deafPeer);
    },
    close() {
      open = false;
      socket.close();
    },
  };
}

/** Over any pair of Web Streams of bytes: a pipe, a `WebTransport` stream, a decompressor. */
export function streamTransport(duplex: {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
}): Transport {
  const writer = duplex.writable.getWriter();
  const reader = duplex.readable.getReader();
  let listener: TransportListener | null = null;
  let open = true;
  let queued = 0;
  const end = (reason: string) => {
    if (!open) return;
    open = false;
    reader.cancel().catch(() => {});
    writer.abort().catch(() => {});
    listener?.closed(reason);
  };
  const text = (error: unknown) => (error instanceof Error ? error.message : String(error));
  async function receive(who: TransportListener): Promise<void> {
    for (;;) {
      let result: ReadableStreamReadResult<Uint8Array>;
      try {
        result = await reader.read();
      } catch (error) {
        return end(`the stream failed: ${text(error)}`);
      }
      if (result.done) return end('the stream has ended');
      if (!open) return;
      if (!(result.value instanceof Uint8Array)) return end('the stream holds something else than bytes');
      who.received(result.value);
    }
  }
  return {
    wait: null,
    open(who) {
      listener = who;
      void receive(who);
    },
    send(bytes) {
      if (!open) return;
      const { length } = bytes;
      queued += length;
      writer.write(bytes.slice()).then(
        () => {
          queued -= length;
        },
        (error: unknown) => end(`the stream failed: ${text(error)}`),
      );
      if (queued > mostQueued) end(deafPeer);
    },
    close() {
      if (!open) return;
      open = false;
      reader.cancel().catch(() => {});
      writer.close().catch(() => {});
    },
  };
}

class LocalEnd implements Transport {
  readonly wait = (_millis: number): boolean => this.#turn();
  peer: LocalEnd | null = null;
  #inbox: Uint8Array[] = [];
  #listener: TransportListener | null = null;
  #open = true;
  #peerGone = false;
  #turnAsked = false;

  open(listener: TransportListener): void {
    this.#listener = listener;
    this.#ask();
  }
  send(bytes: Uint8Array): void {
    const { peer } = this;
    if (!this.#open || peer === null) return;
    peer.#inbox.push(bytes.slice());
    peer.#ask();
  }
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    const { peer } = this;
    if (peer === null) return;
    peer.#peerGone = true;
    peer.#ask();
  }
  /** Receives in a later microtask, unless somebody waits before. */
  #ask(): void {
    if (this.#turnAsked) return;
    this.#turnAsked = true;
    queueMicrotask(() => {
      this.#turnAsked = false;
      this.#deliver();
    });
  }
  /** The peer is on this thread: while this side waits, it gets its turn. */
  #turn(): boolean {
    const { peer } = this;
    if (peer !== null) peer.#deliver();
    return this.#deliver();
  }
  #deliver(): boolean {
    const listener = this.#listener;
    if (listener === null) return false;
    let any = false;
    for (let bytes = this.#inbox.shift(); bytes !== undefined && this.#open; bytes = this.#inbox.shift()) {
      any = true;
      listener.received(bytes);
    }
    if (this.#peerGone && this.#open) {
      this.#open = false;
      any = true;
      listener.closed('the peer has closed');
    }
    return any;
  }
}

/** Two ends on one thread. Waiting on one lets the other have its turn, so it never blocks. */
export function transportPair(): readonly [Transport, Transport] {
  const here = new LocalEnd();
  const there = new LocalEnd();
  here.peer = there;
  there.peer = here;
  return [here, there];
}
