/** A VM with an I/O map for tests of it: what nobody claims becomes an exit, and the guest is a few instructions. */
import { translate } from '../../jit/translate.ts';
import { IoMap } from '../../runtime/io/io-map.ts';
import { loadGuest } from '../../runtime/loaders/load.ts';
import type { Exit } from '../../runtime/vm/exits.ts';
import { cpuBase } from '../../runtime/vm/places.ts';
import { Vm } from '../../runtime/vm/vm.ts';
import type { Assembler } from '../engines/assembler.ts';
import { vmModules } from '../engines/modules.ts';

export const engines = ['interpreter', 'translation'] as const;
export type EngineName = (typeof engines)[number];
export const CODE = 0x1_0000;

export class IoGuest {
  readonly vm: Vm;
  readonly io: IoMap;
  /** Instructions that were executed in earlier entries. */
  private retired = 0;
  private budget = 0;

  /** @param code in 32-bit protected mode, at {@link CODE} */
  constructor(engine: EngineName, code: Assembler, kind: 'first' | 'hot' = 'first') {
    const accesses = () => this.vm.vcpu(0).accesses;
    this.io = new IoMap({
      read: (space, address, size) =>
        space === 'port' ? accesses().readPort(address, size) : accesses().readMemory(address, size),
      write: (space, address, size, value) =>
        space === 'port' ? accesses().writePort(address, size, value) : accesses().writeMemory(address, size, value),
    });
    this.vm = new Vm({
      memory: 0x80000,
      cpus: 1,
      modules: vmModules(),
      ports: this.io.ports,
      mmio: this.io.memory,
      random: { seed: 1 },
      tsc: { read: () => BigInt(this.now()), hertz: 1e9 },
      translate:
        engine === 'interpreter'
          ? false
          : { way: { kind, translate }, cache: null, mode: { shared: false, x87: 'exact', cpu: cpuBase } },
    });
    const options = {
      name: 'guest',
      commandLine: '',
      modules: [],
      flat: { address: CODE, mode: 'protected' },
    } as const;
    this.vm.start(0, loadGuest(code.finish(), { bytes: this.vm.ram }, options).state);
  }

  /** Instructions executed, exact within a device's access: the guest's time in nanoseconds. */
  now(): number {
    return this.retired + (this.budget > 0 ? this.budget - this.vm.vcpu(0).engine.left : 0);
  }

  /** Runs to the HLT; other exits go to `answer`. @returns the kinds of exits on the way, counted */
  run(answer: (exit: Exit) => void = () => {}): Record<string, number> {
    const vcpu = this.vm.vcpu(0);
    const counts: Record<string, number> = {};
    for (;;) {
      this.budget = 1_000_000_000;
      const exit = vcpu.enter(this.budget);
      this.retired += this.budget - vcpu.left;
      this.budget = 0;
      this.io.drain();
      if (exit.kind === 'halt') return counts;
      counts[exit.kind] = (counts[exit.kind] ?? 0) + 1;
      if (exit.kind !== 'pio' && exit.kind !== 'mmio') throw new Error(`the guest ended with ${exit.kind}`);
      answer(exit);
    }
  }
  /** A word of guest RAM. */
  word(address: number): number {
    return this.vm.physical.read32(address);
  }
}
