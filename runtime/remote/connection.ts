/**
 * One connection: requests and their replies, commands of the peer and their answers, over any transport. Both sides are
 * made of it. Whatever the peer sends that no peer may send ends the connection with one typed error, which everybody who
 * waits gets, and which is told once.
 */
import { RemoteError } from '../errors.ts';
import { MessageReader } from './message-reader.ts';
import { commandName, encodeMessage, FLAG_ERROR, FLAG_NO_REPLY, type Message, TYPE_REPLY } from './messages.ts';
import type { Transport } from './transport.ts';

export interface ConnectionOptions {
  /** The largest message that is accepted. */
  readonly maxMessageBytes: number;
  /** How long a request may take before the peer is taken for dead. */
  readonly timeoutMillis: number;
  /**
   * A command of the peer. Returns the payload of the reply, or an error number for it; what it throws as `RemoteError` ends
   * the connection.
   */
  command(message: Message): Uint8Array | number;
  /** The connection is over, for another reason than `close`. */
  failed(error: RemoteError): void;
}

/** A request under way. */
interface Pending {
  readonly command: number;
  outcome: Message | RemoteError | null;
  settled: ((outcome: Message | RemoteError) => void) | null;
}

const nothing = new Uint8Array(0);

export class Connection {
  readonly #transport: Transport;
  readonly #options: ConnectionOptions;
  readonly #reader: MessageReader;
  readonly #pending = new Map<number, Pending>();
  #lastId = 0;
  #error: RemoteError | null = null;

  constructor(transport: Transport, options: ConnectionOptions) {
    this.#transport = transport;
    this.#options = options;
    this.#reader = new MessageReader(options.maxMessageBytes);
  }

  /** Begins to receive. What has come already is handled before this returns. */
  open(): void {
    this.#transport.open({
      received: (bytes) => this.#received(bytes),
      closed: (reason) => this.fail(new RemoteError('peer-closed', `the peer is gone: ${reason}`)),
    });
  }

  /** Why the connection is over; null: it is not. */
  get error(): RemoteError | null {
    return this.#error;
  }
  /** Whether {@link requestBlocking} can be used. */
  get blocks(): boolean {
    return this.#transport.wait !== null;
  }

  /** Sends a command that nobody answers. */
  post(command: number, payload: Uint8Array): void {
    if (this.#error !== null) return;
    this.#transport.send(encodeMessage(this.#nextId(), command, FLAG_NO_REPLY, payload));
  }

  /**
   * Sends a command and gives the payload of its reply.
   * @throws RemoteError (as a rejection) `peer-refused` if the peer answers with an error; any other ends the connection
   */
  async request(command: number, payload: Uint8Array = nothing): Promise<Uint8Array> {
    const pending = this.#send(command, payload);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const outcome =
      pending.outcome ??
      (await new Promise<Message | RemoteError>((settled) => {
        pending.settled = settled;
        timer = setTimeout(() => this.#late(command), this.#options.timeoutMillis);
      }));
    clearTimeout(timer);
    return payloadOf(outcome);
  }

  /**
   * The same on a thread that blocks until the reply is there. Commands that the peer sends meanwhile are carried out.
   * @throws RemoteError as {@link request}; `would-block` where the transport cannot
   */
  requestBlocking(command: number, payload: Uint8Array = nothing): Uint8Array {
    const { wait } = this.#transport;
    if (wait === null) throw new RemoteError('would-block', 'this thread may not wait for a device');
    const pending = this.#send(command, payload);
    if (pending.outcome === null) {
      const deadline = performance.now() + this.#options.timeoutMillis;
      for (let left = this.#options.timeoutMillis; pending.outcome === null; left = deadline - performance.now()) {
        if (left > 0) wait(left);
        else this.#late(command);
      }
    }
    return payloadOf(pending.outcome as Message | RemoteError);
  }

  /** Receives what has come, without waiting. */
  poll(): void {
    this.#transport.wait?.(0);
  }

  /** Ends the connection; requests under way fail. */
  close(): void {
    this.#end(new RemoteError('peer-closed', 'the connection was closed on this side'));
  }

  /** Ends the connection because of an error, and tells it. Only the first time counts. */
  fail(error: RemoteError): void {
    if (this.#end(error)) this.#options.failed(error);
  }

  #end(error: RemoteError): boolean {
    if (this.#error !== null) return false;
    this.#error = error;
    this.#transport.close();
    for (const pending of this.#pending.values()) settle(pending, error);
    this.#pending.clear();
    return true;
  }

  #late(command: number): void {
    const text = `${commandName(command)}: no answer within ${this.#options.timeoutMillis} ms`;
    this.fail(new RemoteError('peer-timeout', text));
  }

  #nextId(): number {
    do this.#lastId = (this.#lastId + 1) & 0xffff;
    while (this.#pending.has(this.#lastId));
    return this.#lastId;
  }

  #send(command: number, payload: Uint8Array): Pending {
    if (this.#error !== null) return { command, outcome: this.#error, settled: null };
    if (this.#pending.size >= 0x8000) this.fail(new RemoteError('overrun', 'too many requests without an answer'));
    const pending: Pending = { command, outcome: this.#error, settled: null };
    if (pending.outcome !== null) return pending;
    const id = this.#nextId();
    this.#pending.set(id, pending);
    this.#transport.send(encodeMessage(id, command, 0, payload));
    return pending;
  }

  #received(bytes: Uint8Array): void {
    if (this.#error !== null) return;
    this.#reader.push(bytes);
    try {
      while (this.#error === null) {
        const message = this.#reader.next();
        if (message === null) return;
        if (message.reply) this.#replied(message);
        else this.#commanded(message);
      }
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error;
      this.fail(error);
    }
  }

  #replied(message: Message): void {
    const pending = this.#pending.get(message.id);
    if (pending === undefined || pending.command !== message.command)
      throw new RemoteError(
        'unexpected-reply',
        `${commandName(message.command)}: a reply with id ${message.id}, which answers nothing`,
      );
    this.#pending.delete(message.id);
    settle(pending, message);
  }

  #commanded(message: Message): void {
    const answer = this.#options.command(message);
    if (message.noReply || this.#error !== null) return;
    const { id, command } = message;
    this.#transport.send(
      typeof answer === 'number'
        ? encodeMessage(id, command, TYPE_REPLY | FLAG_ERROR, nothing, answer)
        : encodeMessage(id, command, TYPE_REPLY, answer),
    );
  }
}

function settle(pending: Pending, outcome: Message | RemoteError): void {
  pending.outcome = outcome;
  pending.settled?.(outcome);
}

function payloadOf(outcome: Message | RemoteError): Uint8Array {
  if (outcome instanceof RemoteError) throw outcome;
  if (outcome.error === null) return outcome.payload;
  throw new RemoteError(
    'peer-refused',
    `${commandName(outcome.command)}: the peer answered with error ${outcome.error}`,
    outcome.error,
  );
}
