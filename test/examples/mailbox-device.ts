/**
 * A device of one's own: a mailbox that sums up numbers in guest memory by itself (DMA) and raises an interrupt when it is
 * done.
 *
 *   offset 0, write   address of the numbers      offset 8, write   starts; 0 takes the interrupt back
 *   offset 4, write   how many                    offset 8, read    the sum
 */
import type { Device, IrqLine } from '../../runtime/devices/index.ts';
import type { Vm } from '../../runtime/index.ts';

export class Mailbox implements Device {
  readonly name = 'mailbox';
  /** All that a snapshot must keep. */
  readonly state = { address: 0, count: 0, sum: 0, done: false };
  readonly #vm: Vm;
  readonly #line: IrqLine;

  constructor(vm: Vm, line: IrqLine) {
    this.#vm = vm;
    this.#line = line;
  }

  read(offset: number): number {
    return offset === 8 ? this.state.sum : 0;
  }

  write(offset: number, _size: number, value: number): void {
    const { state } = this;
    if (offset === 0) state.address = value;
    else if (offset === 4) state.count = value;
    else if (offset === 8) {
      if (value !== 0) this.#sum();
      state.done = value !== 0;
      this.#line.set(state.done);
    }
  }

  #sum(): void {
    const { address, count } = this.state;
    const bytes = this.#vm.memory.read(address, count * 4);
    const numbers = new DataView(bytes.buffer, bytes.byteOffset);
    this.state.sum = 0;
    for (let i = 0; i < count; i++) this.state.sum = (this.state.sum + numbers.getUint32(i * 4, true)) >>> 0;
  }

  /** The line follows the state that was put here. */
  restored(): void {
    this.#line.set(this.state.done);
  }
}
