/**
 * What a machine tells its guest about itself at ports 510H and 511H, after QEMU's fw_cfg: a 16-bit write to the first
 * selects an item and goes back to its beginning, each byte read from the second is the next of it, and behind its end
 * there are zeros. Firmware and test programs ask it for the number of processors. There is no DMA and there are no files,
 * which the items `id` and `directory` say.
 */
import { type AccessSize, type Device, readBytewise } from './device.ts';
import { upTo } from './state-limits.ts';

/** Numbers of items. */
const item = { signature: 0, id: 1, memory: 3, cpus: 5, mostCpus: 15, directory: 0x19 } as const;

/** Of a selector, but for the bit that announces writing. */
const selectorBits = 0xbfff;

function littleEndian(value: number, bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => Math.floor(value / 2 ** (8 * i)) % 256);
}

/** The firmware configuration: two ports, by custom at 510H. */
export class FirmwareConfiguration implements Device {
  readonly name = 'firmware-configuration';
  readonly limits = { selected: upTo(0xffff), position: upTo(2 ** 53) };
  state = { selected: 0, position: 0 };
  readonly #items: ReadonlyMap<number, Uint8Array>;

  /** @param machine bytes of memory, and how many processors it has */
  constructor(machine: { readonly memory: number; readonly cpus: number }) {
    this.#items = new Map([
      [item.signature, new TextEncoder().encode('QEMU')],
      [item.id, littleEndian(1, 4)],
      [item.memory, littleEndian(machine.memory, 8)],
      [item.cpus, littleEndian(machine.cpus, 2)],
      [item.mostCpus, littleEndian(machine.cpus, 2)],
      [item.directory, new Uint8Array(4)],
    ]);
  }

  /** The selector cannot be read: a read of the first port alone answers zero. */
  read(offset: number, size: AccessSize): number {
    return readBytewise(offset, size, (at) => (at === 1 ? this.#next() : 0));
  }
  #next(): number {
    return this.#items.get(this.state.selected)?.[this.state.position++] ?? 0;
  }

  /** Items cannot be written, nor is half of a selector one. */
  write(offset: number, size: AccessSize, value: number): void {
    if (offset !== 0 || size !== 2) return;
    this.state.selected = value & selectorBits;
    this.state.position = 0;
  }
}
