/** Cuts a stream of bytes into messages. What cannot be one is an error as soon as its header is there. */
import { RemoteError } from '../errors.ts';
import {
  commandName,
  FLAG_ERROR,
  FLAG_NO_REPLY,
  HEADER_BYTES,
  type Message,
  TYPE_MASK,
  TYPE_REPLY,
} from './messages.ts';

/** Cuts messages out of a stream of bytes. */
export class MessageReader {
  readonly #maxBytes: number;
  #bytes = new Uint8Array(4096);
  #view = new DataView(this.#bytes.buffer);
  #start = 0;
  #end = 0;

  /** @param maxBytes the largest message that is accepted, header included */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Takes what the transport has received, cut anywhere. */
  push(chunk: Uint8Array): void {
    if (this.#start === this.#end) this.#start = this.#end = 0;
    if (this.#end + chunk.length > this.#bytes.length) {
      const pending = this.#end - this.#start;
      const needed = pending + chunk.length;
      const room = needed > this.#bytes.length ? new Uint8Array(2 ** Math.ceil(Math.log2(needed))) : this.#bytes;
      room.set(this.#bytes.subarray(this.#start, this.#end));
      this.#bytes = room;
      this.#view = new DataView(room.buffer);
      this.#start = 0;
      this.#end = pending;
    }
    this.#bytes.set(chunk, this.#end);
    this.#end += chunk.length;
  }

  /**
   * The next message that is complete, or null. It is taken out before it is returned, so whoever handles it may wait for
   * later ones.
   * @throws RemoteError `bad-message` or `oversized-message`; what follows has no meaning then
   */
  next(): Message | null {
    const pending = this.#end - this.#start;
    if (pending < HEADER_BYTES) return null;
    const view = this.#view;
    const at = this.#start;
    const command = view.getUint16(at + 2, true);
    const size = view.getUint32(at + 4, true);
    const flags = view.getUint32(at + 8, true);
    const type = flags & TYPE_MASK;
    if (commandName(command) === undefined)
      throw new RemoteError('bad-message', `no command has the number ${command}`);
    if (type > TYPE_REPLY || (flags & ~(TYPE_MASK | FLAG_NO_REPLY | FLAG_ERROR)) !== 0)
      throw new RemoteError('bad-message', `${commandName(command)}: flags 0x${flags.toString(16)}`);
    const reply = type === TYPE_REPLY;
    if (reply ? (flags & FLAG_NO_REPLY) !== 0 : (flags & FLAG_ERROR) !== 0)
      throw new RemoteError('bad-message', `${commandName(command)}: flags 0x${flags.toString(16)}`);
    if (size < HEADER_BYTES)
      throw new RemoteError('bad-message', `${commandName(command)}: a message of ${size} bytes`);
    if (size > this.#maxBytes)
      throw new RemoteError(
        'oversized-message',
        `${commandName(command)}: a message of ${size} bytes; at most ${this.#maxBytes} are accepted`,
      );
    if (pending < size) return null;
    this.#start += size;
    return {
      id: view.getUint16(at, true),
      command,
      reply,
      noReply: (flags & FLAG_NO_REPLY) !== 0,
      error: (flags & FLAG_ERROR) !== 0 ? view.getUint32(at + 12, true) : null,
      payload: this.#bytes.slice(at + HEADER_BYTES, at + size),
    };
  }
}
