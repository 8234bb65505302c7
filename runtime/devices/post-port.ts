/**
 * Port 0x80: firmware writes its progress there (the two digits of a POST card), and Linux writes it to wait a
 * microsecond. The last code is kept, and read back.
 */
import { type AccessSize, type Device, readBytewise, writeBytewise } from './device.ts';
import { byte } from './state-limits.ts';

/** The POST port: keeps the last byte that a guest has written; by custom at 80H. */
export class PostPort implements Device {
  readonly name = 'post-port';
  readonly limits = { code: byte };
  state = { code: 0 };

  read(offset: number, size: AccessSize): number {
    return readBytewise(offset, size, (at) => (at === 0 ? this.state.code : 0xff));
  }

  write(offset: number, size: AccessSize, value: number): void {
    writeBytewise(offset, size, value, (at, byte) => {
      if (at === 0) this.state.code = byte;
    });
  }
}
