/**
 * A device with MSI-X, as a PCI function has it but without PCI: a table of vectors in its registers, pending bits, and a
 * doorbell for each vector. Each vector is a GSI; the table is the routing table.
 *
 *   00 + 16 n   message address, address above, data, control (bit 0: masked) of vector n
 *   80          pending bits, read only
 *   84          doorbell: raises the interrupt of the vector that is written
 */
import type { AccessSize, Device } from '../../runtime/devices/device.ts';
import type { Route } from '../../runtime/interrupts/routes.ts';
import type { Vm } from '../../runtime/vm/vm.ts';

export const msixVectors = 8;
const MASKED = 1;

export class MsixDevice implements Device {
  readonly name = 'msi-x';
  readonly state = {
    table: Array.from({ length: msixVectors * 4 }, (_, i): number => (i % 4 === 3 ? MASKED : 0)),
    pending: 0,
  };
  /** How often the routing table was replaced. */
  replacements = 0;
  readonly #vm: Vm;
  readonly #firstGsi: number;
  /** Routes of others. */
  readonly #others: readonly Route[];

  constructor(vm: Vm, firstGsi: number, others: readonly Route[] = []) {
    this.#vm = vm;
    this.#firstGsi = firstGsi;
    this.#others = others;
  }

  read(offset: number, _size: AccessSize): number {
    return offset < 0x80 ? this.state.table[offset >> 2]! : offset === 0x80 ? this.state.pending : 0;
  }
  write(offset: number, _size: AccessSize, value: number): void {
    if (offset < 0x80) {
      this.state.table[offset >> 2] = value;
      this.#route();
    } else if (offset === 0x84) this.ring(value % msixVectors);
  }
  /** An interrupt of the device: a message, or a pending bit while the vector is masked. */
  ring(vector: number): void {
    if ((this.state.table[vector * 4 + 3]! & MASKED) !== 0) this.state.pending |= 1 << vector;
    else {
      this.#vm.irq.set(this.#firstGsi + vector, true);
      this.#vm.irq.set(this.#firstGsi + vector, false);
    }
  }
  #route(): void {
    const { table } = this.state;
    const routes: Route[] = [...this.#others];
    for (let vector = 0; vector < msixVectors; vector++) {
      const [address, above, data, control] = table.slice(vector * 4, vector * 4 + 4);
      if ((control! & MASKED) !== 0) continue;
      routes.push({ gsi: this.#firstGsi + vector, address: address! + above! * 2 ** 32, data: data! });
    }
    this.#vm.routes.replace(routes);
    this.replacements++;
    for (let vector = 0; vector < msixVectors; vector++) {
      if ((this.state.pending & (1 << vector)) === 0 || (table[vector * 4 + 3]! & MASKED) !== 0) continue;
      this.state.pending &= ~(1 << vector);
      this.ring(vector);
    }
  }
}
