/** What the tests of src/mmu and src/system share: a vCPU block and RAM in one small memory. */

import { Mmu } from '../../src/mmu/mmu.ts';
import { PhysicalMemory } from '../../src/mmu/physical-memory.ts';
import { CpuState } from '../../src/state/cpu-state.ts';
import { cpuBytes } from '../../src/state/layout.ts';

export const ramBytes = 4 << 20;

export class MmioRecorder {
  readonly log: string[] = [];
  value = 0x44332211;
  read(address: number, bytes: number): number {
    this.log.push(`r${bytes} ${address.toString(16)}`);
    return bytes === 4 ? this.value : this.value & (bytes === 2 ? 0xffff : 0xff);
  }
  write(address: number, bytes: number, value: number): void {
    this.log.push(`w${bytes} ${address.toString(16)}=${value.toString(16)}`);
  }
}

/** RAM at 0, 1 MiB of RAM at 4 GiB (the last one of the four), the rest MMIO. */
export function memoryAndMmu() {
  const buffer = new ArrayBuffer(cpuBytes + ramBytes);
  const state = new CpuState(buffer, 0);
  const mmio = new MmioRecorder();
  const memory = new PhysicalMemory(buffer, mmio);
  const low = ramBytes - (1 << 20);
  memory.replace([
    { kind: 'ram', start: 0, length: low, hostOffset: cpuBytes },
    { kind: 'ram', start: 2 ** 32, length: 1 << 20, hostOffset: cpuBytes + low },
  ]);
  const mmu = new Mmu(state, memory);
  return { buffer, state, mmio, memory, mmu };
}
