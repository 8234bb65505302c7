/** The device of the remote suite: one class, run in the machine's thread, in a worker, and in another process. */
import type { AccessSize, Device } from '../../runtime/devices/device.ts';
import { readBytewise, writeBytewise } from '../../runtime/devices/device.ts';
import type { IrqLine } from '../../runtime/devices/irq-line.ts';
import type { ServedRegion } from '../../runtime/remote/device-server.ts';
import type { Dma } from '../../runtime/remote/dma.ts';

/** Registers of region 0; 32 bits each, but for the scratch bytes. */
export const reg = {
  /** "jit8". */
  id: 0x00,
  /** Eight bytes, of any width. */
  scratch: 0x04,
  /** A write adds; reading gives the sum. */
  sum: 0x0c,
  /** Number of writes so far, this register's own reads left out. */
  writes: 0x10,
  /** Reading clears it. */
  once: 0x14,
  dmaAddress: 0x18,
  dmaLength: 0x1c,
  /**
   * 1: add up the bytes of guest memory; 2: fill guest memory with the pattern; 3: write the sum register's 32 bits there.
   * Line 0 rises when it is done.
   */
  dmaCommand: 0x20,
  /** 0: idle or busy, 1: done, 2: failed. A write lowers line 0. */
  dmaStatus: 0x24,
  dmaResult: 0x28,
  /** Write: levels of lines 0 and 1 in bits 0 and 1; bit 7: an edge on line 1; bit 6: edges until the next write. */
  lines: 0x2c,
  /** Reading throws, as a broken device does. */
  broken: 0x30,
  /** Size of the last write to this register, in bits 8-15, and the offset within it in bits 0-7. */
  width: 0x34,
} as const;
export const ID = 0x3874_696a;
export const REGION_BYTES = 0x1000;
export const SECOND_BYTES = 0x100;
export const LINES = 2;
/** The byte at an address that command 2 leaves. */
export const pattern = (address: number): number => (address * 7 + 3) & 0xff;

/** Region 0; region 1 is {@link SECOND_BYTES} of plain memory. */
export class TestDevice implements Device {
  readonly name = 'test-device';
  readonly #lines: readonly IrqLine[];
  readonly #dma: Dma;
  readonly state = {
    scratch: new Uint8Array(8),
    sum: 0,
    writes: 0,
    once: 0,
    address: 0,
    length: 0,
    status: 0,
    result: 0,
    levels: 0,
    width: 0,
  };
  #floods = false;

  constructor(lines: readonly IrqLine[], dma: Dma) {
    this.#lines = lines;
    this.#dma = dma;
  }

  restored(): void {
    this.#setLevels(this.state.levels);
  }
  reset(): void {
    this.state.scratch.fill(0);
    Object.assign(this.state, { sum: 0, writes: 0, once: 0, status: 0, result: 0, width: 0 });
    this.#setLevels(0);
  }

  read(offset: number, size: AccessSize): number {
    if (offset >= reg.scratch && offset + size <= reg.scratch + 8)
      return readBytewise(offset, size, (at) => this.state.scratch[at - reg.scratch]!);
    const whole = this.#register(offset & ~3);
    return Number((BigInt(whole) >> BigInt(8 * (offset & 3))) & ((1n << BigInt(8 * size)) - 1n));
  }

  #register(offset: number): number {
    switch (offset) {
      case reg.id:
        return ID;
      case reg.sum:
        return this.state.sum;
      case reg.writes:
        return this.state.writes;
      case reg.once: {
        const value = this.state.once;
        this.state.once = 0;
        return value;
      }
      case reg.dmaStatus:
        return this.state.status;
      case reg.dmaResult:
        return this.state.result;
      case reg.lines:
        return this.state.levels;
      case reg.width:
        return this.state.width;
      case reg.broken:
        throw new Error('this register is broken');
      default:
        return 0;
    }
  }

  write(offset: number, size: AccessSize, value: number): void {
    this.state.writes++;
    if (offset >= reg.scratch && offset + size <= reg.scratch + 8) {
      writeBytewise(offset, size, value, (at, byte) => {
        this.state.scratch[at - reg.scratch] = byte;
      });
      return;
    }
    switch (offset & ~3) {
      case reg.sum:
        this.state.sum = (this.state.sum + value) >>> 0;
        break;
      case reg.once:
        this.state.once = value;
        break;
      case reg.dmaAddress:
        this.state.address = value;
        break;
      case reg.dmaLength:
        this.state.length = value;
        break;
      case reg.dmaCommand:
        this.state.status = 0;
        void this.#transfer(value);
        break;
      case reg.dmaStatus:
        this.state.status = 0;
        this.#setLevels(this.state.levels & ~1);
        break;
      case reg.lines:
        this.#setLevels(value & 3);
        this.#floods = (value & 0x40) !== 0;
        if (this.#floods) this.#flood();
        if ((value & 0x80) !== 0) {
          this.#lines[1]!.set(true);
          this.#lines[1]!.set(false);
        }
        break;
      case reg.width:
        this.state.width = (size << 8) | (offset & 3);
        break;
    }
  }

  #flood(): void {
    if (!this.#floods) return;
    for (let i = 0; i < 1000; i++) this.#lines[1]!.set((i & 1) === 0);
    setTimeout(() => this.#flood());
  }

  #setLevels(levels: number): void {
    this.state.levels = levels;
    this.#lines[0]!.set((levels & 1) !== 0);
    this.#lines[1]!.set((levels & 2) !== 0);
  }

  async #transfer(command: number): Promise<void> {
    const address = this.state.address;
    const length = this.state.length;
    try {
      if (length > 1 << 20) throw new Error('no transfer is as long');
      if (command === 1) {
        const bytes = await this.#dma.read(address, length);
        this.state.result = bytes.reduce((sum, byte) => (sum + byte) >>> 0, 0);
      } else {
        const word = (_: unknown, i: number) => this.state.sum >>> (8 * i);
        const bytes =
          command === 3
            ? Uint8Array.from({ length: 4 }, word)
            : Uint8Array.from({ length }, (_, i) => pattern(address + i));
        await this.#dma.write(address, bytes);
      }
      this.state.status = 1;
    } catch {
      this.state.status = 2;
    }
    this.#setLevels(this.state.levels | 1);
  }
}

/** Plain memory. */
class Bytes implements Device {
  readonly name = 'test-bytes';
  readonly state = { bytes: new Uint8Array(SECOND_BYTES) };
  read(offset: number, size: AccessSize): number {
    return readBytewise(offset, size, (at) => this.state.bytes[at]!);
  }
  write(offset: number, size: AccessSize, value: number): void {
    writeBytewise(offset, size, value, (at, byte) => {
      this.state.bytes[at] = byte;
    });
  }
}

/** What a server of it is made with. */
export function testDeviceOptions() {
  let device: TestDevice | null = null;
  return {
    lines: LINES,
    regions({ lines, dma }: { readonly lines: readonly IrqLine[]; readonly dma: Dma }): ServedRegion[] {
      device = new TestDevice(lines, dma);
      return [
        { device, size: REGION_BYTES },
        { device: new Bytes(), size: SECOND_BYTES },
      ];
    },
    reset: () => device?.reset(),
  };
}
