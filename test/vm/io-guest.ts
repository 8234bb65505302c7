/** A VM for tests of its I/O map: a guest of some instructions, and time that is the count of instructions. */
import { VirtualClock } from '../../runtime/devices/clock.ts';
import type { Exit } from '../../runtime/vm/exits.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { Assembler } from '../engines/assembler.ts';
import { guest, origin, type TestEngine } from './vm-harness.ts';

export const code = (): Assembler => new Assembler(BigInt(origin));

export class IoGuest {
  readonly vm: Vm;
  /** An instruction is a nanosecond. */
  readonly clock: VirtualClock;
  private retired = 0;
  private budget = 0;

  /** @param program in 32-bit protected mode, up to its HLT */
  constructor(engine: TestEngine, program: Assembler) {
    this.clock = new VirtualClock(() => (this.budget === 0 ? 0 : this.budget - this.vm.vcpu(0).engine.left));
    this.vm = guest(engine, program.finish(), {
      clock: { now: () => this.clock.now(), instructionNanos: 1 },
      random: { seed: 1 },
    });
  }
  get io() {
    return this.vm.io;
  }

  /** Runs to the HLT; other exits go to `answer`. @returns the kinds of exits on the way, counted */
  run(answer: (exit: Exit) => void = () => {}): Record<string, number> {
    const vcpu = this.vm.vcpu(0);
    const counts: Record<string, number> = {};
    for (;;) {
      this.budget = 1_000_000_000;
      const exit = vcpu.enter(this.budget);
      const done = this.budget - vcpu.left;
      this.retired += done;
      this.budget = 0;
      this.clock.advanceTo(this.retired);
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
