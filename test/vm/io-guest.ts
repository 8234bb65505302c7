/** A VM for tests of its I/O map: a guest of some instructions, and time that is the count of instructions. */
import type { VirtualClock } from '../../runtime/devices/clock.ts';
import type { Exit } from '../../runtime/vm/exits.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { Assembler } from '../engines/assembler.ts';
import { type GuestOptions, guest, origin, type TestEngine } from './vm-harness.ts';

export const code = (): Assembler => new Assembler(BigInt(origin));

export class IoGuest {
  readonly vm: Vm;
  /** An instruction is a nanosecond. */
  readonly clock: VirtualClock;

  /** @param program in 32-bit protected mode, up to its HLT */
  constructor(engine: TestEngine, program: Assembler, options: GuestOptions = {}) {
    this.vm = guest(engine, program.finish(), { clock: 'virtual', random: { seed: 1 }, ...options });
    this.clock = this.vm.time.clock as VirtualClock;
  }
  get io() {
    return this.vm.io;
  }

  /** Runs to the HLT; other exits go to `answer`. @returns the kinds of exits on the way, counted */
  run(answer: (exit: Exit) => void = () => {}): Record<string, number> {
    const vcpu = this.vm.vcpu(0);
    const counts: Record<string, number> = {};
    for (;;) {
      const exit = vcpu.enter(1_000_000_000);
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
