/**
 * A serial port as a pair of Web Streams: what the guest sends comes out of `readable` in pieces, what is written to
 * `writable` the guest receives. Terminals, sockets and files are joined to it with `pipeTo`.
 */
import type { IrqLine } from '../devices/irq-line.ts';
import { Serial16550 } from '../devices/serial-16550.ts';
import { ConfigurationError } from '../errors.ts';

/** A serial port with its two streams. */
export interface SerialPort {
  /** Attach it with `vm.io.attach()`; a PC has it at port 3F8H, of 8 bytes, with interrupt 4. */
  readonly device: Serial16550;
  /** Ends after `close()`. What nobody reads is kept. */
  readonly readable: ReadableStream<Uint8Array>;
  /** The receiver's queue takes all that is written. */
  readonly writable: WritableStream<Uint8Array>;
  /** Ends `readable`, after what the guest has sent. */
  close(): void;
}

const pieceBytes = 4096;

/** @param irq the port's interrupt */
export function serialPort(irq?: IrqLine): SerialPort {
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  let open = true;
  let piece = new Uint8Array(pieceBytes);
  let used = 0;
  const flush = () => {
    if (used === 0) return;
    if (open) controller.enqueue(piece.subarray(0, used));
    piece = new Uint8Array(pieceBytes);
    used = 0;
  };
  const device = new Serial16550((byte) => {
    if (!open) return;
    // A piece is what the guest sends before the host has a turn, at most.
    if (used === 0) queueMicrotask(flush);
    piece[used++] = byte;
    if (used === pieceBytes) flush();
  }, irq);
  const end = () => {
    if (!open) return;
    flush();
    open = false;
  };
  return {
    device,
    readable: new ReadableStream<Uint8Array>({
      start: (made) => {
        controller = made;
      },
      cancel: () => {
        open = false;
      },
    }),
    writable: new WritableStream<Uint8Array>({
      write(bytes) {
        if (!(bytes instanceof Uint8Array))
          throw new ConfigurationError('bad-option', 'a serial port takes pieces of bytes: Uint8Array');
        device.receive(bytes);
      },
    }),
    close() {
      if (!open) return;
      end();
      controller.close();
    },
  };
}
