/**
 * The debug console of Bochs and QEMU, by convention at port 0xE9: each byte written goes to the host, and a read
 * answers 0xE9, by which a guest knows that it is there.
 */
import { type AccessSize, type Device, readBytewise, writeBytewise } from './device.ts';

/** The debug console: one port, by convention E9H. */
export class Debugcon implements Device {
  readonly name = 'debugcon';
  readonly #sink: (byte: number) => void;

  /** @param sink takes each byte that the guest writes */
  constructor(sink: (byte: number) => void) {
    this.#sink = sink;
  }

  read(offset: number, size: AccessSize): number {
    return readBytewise(offset, size, () => 0xe9);
  }

  write(offset: number, size: AccessSize, value: number): void {
    writeBytewise(offset, size, value, (_, byte) => this.#sink(byte));
  }
}
