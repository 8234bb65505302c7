/** What the peer behind a remote device asks of the machine: guest memory, and the levels of interrupt lines. */
import type { IrqLine } from '../devices/irq-line.ts';
import { RemoteError } from '../errors.ts';
import { type GuestDma, rangeOf } from './dma.ts';
import * as wire from './messages.ts';
import { mostLines } from './peer-description.ts';

/** Whom the requests reach; see `RemoteDeviceOptions`. */
export interface PeerRequestParts {
  readonly lines?: readonly IrqLine[];
  readonly memory?: GuestDma;
  readonly onError?: (error: RemoteError) => void;
}

const none = new Uint8Array(0);

export class PeerRequests {
  readonly #parts: PeerRequestParts;
  readonly #maxTransfer: number;
  readonly #levels: Uint8Array;

  /** @param maxTransfer largest transfer in one message, in bytes */
  constructor(parts: PeerRequestParts, maxTransfer: number) {
    this.#parts = parts;
    this.#maxTransfer = maxTransfer;
    this.#levels = new Uint8Array(parts.lines?.length ?? 0);
  }

  /** The answer to a request: a payload, or an error's number. @throws RemoteError `bad-message` */
  answer(message: wire.Message): Uint8Array | number {
    const { Command, Errno } = wire;
    const { payload } = message;
    switch (message.command) {
      case Command.DMA_READ: {
        const access = wire.decodeDmaAccess(payload, false);
        const { address, count } = access;
        const memory = this.#memoryFor(access);
        if (memory === null) return Errno.EFAULT;
        const data = new Uint8Array(count);
        return this.#transfer(message, () => {
          memory.read(address, data);
          return wire.encodeDmaAccess(address, count, data);
        });
      }
      case Command.DMA_WRITE: {
        const access = wire.decodeDmaAccess(payload, true);
        const { address, count, data } = access;
        const memory = this.#memoryFor(access, true);
        if (memory === null) return Errno.EFAULT;
        return this.#transfer(message, () => {
          memory.write(address, data);
          return wire.encodeDmaAccess(address, count);
        });
      }
      case Command.DEVICE_SET_IRQS:
        return this.#raise(wire.decodeIrqSet(payload));
      default:
        throw new RemoteError('bad-message', `${wire.commandName(message.command)} is the machine's to send`);
    }
  }

  /** Guest memory may be the embedder's own code (pages that are made when they are wanted): its error is told. */
  #transfer({ command }: wire.Message, act: () => Uint8Array): Uint8Array | number {
    try {
      return act();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#parts.onError?.(new RemoteError('dma-failed', `${wire.commandName(command)}: ${reason}`));
      return wire.Errno.EIO;
    }
  }

  #memoryFor({ address, count }: wire.DmaAccess, write = false): GuestDma | null {
    const { memory } = this.#parts;
    if (memory === undefined || count > this.#maxTransfer) return null;
    // The machine's map of this moment, not what the peer was told.
    const range = rangeOf(memory.ranges(), address, count);
    return range !== undefined && (write ? range.writable : range.readable !== false) ? memory : null;
  }

  #raise({ flags, index, start, count, data }: wire.IrqSet): Uint8Array | number {
    if (index !== 0 || start + count > mostLines || (flags & wire.IRQ_SET_ACTION_TRIGGER) === 0)
      return wire.Errno.EINVAL;
    for (let i = 0; i < count; i++) {
      if (data.length === 0) {
        this.#setLine(start + i, true);
        this.#setLine(start + i, false);
      } else this.#setLine(start + i, data[i] !== 0);
    }
    return none;
  }
  #setLine(line: number, high: boolean): void {
    const target = this.#parts.lines?.[line];
    if (target === undefined) return;
    this.#levels[line] = high ? 1 : 0;
    target.set(high);
  }
  /** The peer is gone: whatever it held up falls. */
  lowerLines(): void {
    for (let line = 0; line < this.#levels.length; line++) if (this.#levels[line] !== 0) this.#setLine(line, false);
  }
}
