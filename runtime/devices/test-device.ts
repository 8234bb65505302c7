/**
 * The devices that test programs of processors are written for, after QEMU's pc-testdev: a register that keeps what it is
 * given, a window of memory that is a device's, and lines to the interrupt controllers. KVM's unit tests drive them.
 *
 *   ports 0E0-0E3    the register, at any width          ports 0E4-0E7    a page to be flushed: there is nothing to do
 *   ports 2000 + n   line n is high if not zero          FF000000         64 KiB
 */
import { type AccessSize, type Device, readBytewise, writeBytewise } from './device.ts';
import type { IrqLine } from './irq-line.ts';
import { list, type StateLimits } from './state-limits.ts';

/** Bytes that keep what they are given; what lies behind them takes writes, and reads as zero. */
export class TestMemory implements Device {
  readonly name: string;
  state: { bytes: Uint8Array };

  constructor(name: string, length: number) {
    this.name = name;
    this.state = { bytes: new Uint8Array(length) };
  }
  read(offset: number, size: AccessSize): number {
    return readBytewise(offset, size, (at) => this.state.bytes[at] ?? 0);
  }
  write(offset: number, size: AccessSize, value: number): void {
    writeBytewise(offset, size, value, (at, byte) => {
      if (at < this.state.bytes.length) this.state.bytes[at] = byte;
    });
  }
}

/** One port for each line. Lines cannot be read. */
export class TestLines implements Device {
  readonly name = 'test-lines';
  state: { levels: boolean[] };
  readonly limits: StateLimits;
  readonly #lines: readonly IrqLine[];

  constructor(lines: readonly IrqLine[]) {
    this.#lines = lines;
    this.state = { levels: lines.map(() => false) };
    this.limits = { levels: list('boolean', lines.length) };
  }
  read(): number {
    return 0;
  }
  write(offset: number, _size: AccessSize, value: number): void {
    this.state.levels[offset] = value !== 0;
    this.#lines[offset]?.set(value !== 0);
  }
  restored(): void {
    for (const [i, line] of this.#lines.entries()) line.set(this.state.levels[i] === true);
  }
}
