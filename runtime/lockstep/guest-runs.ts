/** Guests on the machines that `guest-diff.ts` compares: the bare one and the PC, on this thread alone. */

import type { Translate } from '../../jit/translate.ts';
import { openBus } from '../../src/mmu/physical-memory.ts';
import type { Host } from '../hosts/host.ts';
import { IoMap } from '../io/io-map.ts';
import type { InitialState } from '../loaders/initial-state.ts';
import { attachBareDevices } from '../machines/bare.ts';
import type { MachineOptions } from '../machines/machine.ts';
import { createPcMachine, type PcMachine } from '../machines/pc-machine.ts';
import { MachineTranslation } from '../translation.ts';
import type { VmModules } from '../vm/options.ts';
import { cpuBase } from '../vm/places.ts';
import { Vm } from '../vm/vm.ts';
import type { Side } from './differences.ts';
import type { GuestRun } from './guest-diff.ts';

export interface GuestRunOptions {
  /** Bytes of RAM. */
  readonly memory: number;
  readonly modules: VmModules;
  /** Puts the guest into RAM. */
  readonly load: (ram: Uint8Array) => InitialState;
  /** Translate at the first execution, or when code is hot. */
  readonly when: 'first' | 'hot';
  readonly translate: Translate;
  readonly x87: 'exact' | 'fast';
}

/** On the bare machine, with instructions as nanoseconds. */
export class BareRun implements GuestRun {
  readonly side: Side;
  said = '';
  retired = 0;
  end: string | null = null;

  constructor(options: GuestRunOptions, how: 'interpreted' | 'translated') {
    const { memory, modules, load, when: kind, translate, x87 } = options;
    const io = new IoMap();
    const vm = new Vm({
      mmio: openBus,
      memory,
      cpus: 1,
      modules,
      ports: io.ports,
      clock: 'virtual',
      x87,
      random: { seed: 0 },
      translate:
        how === 'interpreted'
          ? false
          : { way: { kind, translate }, cache: null, mode: { shared: false, x87, cpu: cpuBase } },
    });
    this.side = { vcpu: vm.vcpu(0), ram: vm.ram };
    attachBareDevices(io, {
      serial: (byte) => void (this.said += String.fromCharCode(byte)),
      debugcon: (byte) => void (this.said += String.fromCharCode(byte)),
      exit: (status) => {
        this.end = `exit ${status}`;
        this.side.vcpu.kick();
      },
    });
    vm.start(0, load(vm.ram));
  }
  async runTo(instructions: number): Promise<void> {
    const { vcpu } = this.side;
    while (this.end === null && this.retired < instructions) {
      const budget = instructions - this.retired;
      const exit = vcpu.enter(budget);
      this.retired += budget - vcpu.left;
      if (exit.kind === 'halt' || exit.kind === 'shutdown') this.end ??= exit.kind;
    }
  }
}

/** On the PC, with its virtual clock. */
export class PcRun implements GuestRun {
  said = '';
  end: string | null = null;
  readonly side: Side;
  private readonly machine: PcMachine;

  private constructor(machine: PcMachine) {
    this.machine = machine;
    this.side = { vcpu: machine.vm.vcpu(0), ram: machine.vm.ram };
  }
  static async start(options: GuestRunOptions, how: 'interpreted' | 'translated', host: Host): Promise<PcRun> {
    const { memory, modules, load, when, x87 } = options;
    const hear = (byte: number) => void (run.said += String.fromCharCode(byte));
    const machineOptions: MachineOptions = {
      memory,
      cpus: 1,
      engine: 'jit',
      x87,
      cache: null,
      clock: 'virtual',
      serial: hear,
      debugcon: hear,
    };
    const mode = { shared: false, x87, cpu: cpuBase };
    const translation = how === 'interpreted' ? null : MachineTranslation.onThisThread(when, options.translate, mode);
    const machine = await createPcMachine(machineOptions, host, { ...modules, translation });
    const run = new PcRun(machine);
    machine.start(load(machine.vm.ram));
    return run;
  }
  get retired(): number {
    return this.machine.instructions();
  }
  async runTo(instructions: number): Promise<void> {
    if (this.end !== null || this.retired >= instructions) return;
    const end = await this.machine.run({ maxInstructions: instructions });
    if (end.reason !== 'instructions') this.end = end.reason;
  }
}
