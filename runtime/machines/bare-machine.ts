/** The bare machine of `bare.ts` around a `Vm`: what the command line and the page run guests on. */

import { orNull, upTo } from '../devices/state-limits.ts';
import type { Host } from '../hosts/host.ts';
import { IoMap } from '../io/io-map.ts';
import type { InitialState } from '../loaders/initial-state.ts';
import type { RestoreOptions } from '../snapshot/snapshot.ts';
import type { MachineTranslation } from '../translation.ts';
import type { VmModules } from '../vm/options.ts';
import type { Vcpu } from '../vm/vcpu.ts';
import { Vm } from '../vm/vm.ts';
import { attachBareDevices, type BareMachineDevices } from './bare.ts';
import { listBlocks } from './block-listing.ts';
import type { BlockListing, Machine, MachineOptions, MachineStatistics, RunEnd, RunLimits } from './machine.ts';
import { type MachineParts, prepareMachine } from './machine-parts.ts';
import { machineStatistics } from './machine-statistics.ts';
import { endOfRun } from './run-end.ts';

/** Milliseconds between two looks at the event loop, and while a translation is awaited. */
const sliceMillis = 10;
const shortSliceMillis = 3;
const firstSlice = 50_000;
/** Without threads the run is cut at the same instructions each time, whatever the time. */
const fixedSlice = 2_000_000;
const longestSlice = 100_000_000;

class BareMachine implements Machine {
  private readonly vm: Vm;
  private readonly vcpu: Vcpu;
  private readonly devices: BareMachineDevices;
  /** What a snapshot keeps besides the processor and devices. */
  private readonly state = { retired: 0, exitStatus: null as number | null };
  private loaded = false;
  private running = 0;
  private readonly host: Host;
  private readonly translation: MachineTranslation | null;
  private readonly adaptsSlices: boolean;
  private slice: number;

  constructor(options: MachineOptions, host: Host, modules: VmModules, translation: MachineTranslation | null) {
    this.host = host;
    this.translation = translation;
    this.adaptsSlices = options.engine === 'auto';
    this.slice = this.adaptsSlices ? firstSlice : fixedSlice;
    const io = new IoMap();
    this.vm = new Vm({
      memory: options.memory,
      cpus: options.cpus,
      model: options.cpu ?? 'max',
      modules,
      io,
      clock: 'host',
      monotonicNanos: () => host.monotonicNanos(),
      x87: options.x87,
      translate: translation?.forVm ?? false,
    });
    this.vcpu = this.vm.vcpu(0);
    this.vm.kept.push({
      name: 'bare',
      state: this.state,
      limits: { retired: upTo(2 ** 53), exitStatus: orNull(upTo(0xffff_ffff)) },
    });
    this.devices = attachBareDevices(io, {
      serial: options.serial,
      debugcon: options.debugcon,
      exit: (status) => {
        this.state.exitStatus = status;
        this.vcpu.kick();
      },
    });
  }

  get ram() {
    return this.vm.memory.ram;
  }
  get vcpus(): readonly Vcpu[] {
    return [this.vcpu];
  }
  start(state: InitialState): void {
    this.vm.start(0, state);
  }
  snapshot(): Uint8Array {
    return this.vm.snapshot();
  }
  restore(snapshot: Uint8Array, options?: RestoreOptions): void {
    this.vm.restore(snapshot, options);
  }
  receive(bytes: Uint8Array): void {
    this.devices.serial.receive(bytes);
  }
  instructions(): number {
    return this.state.retired + (this.running > 0 ? this.running - this.vcpu.remaining : 0);
  }

  async run({ maxInstructions = Number.POSITIVE_INFINITY, signal }: RunLimits): Promise<RunEnd> {
    const { state } = this;
    if (!this.loaded) await this.translation?.load(this.vcpu);
    this.loaded = true;
    for (;;) {
      if (signal?.aborted === true) return { reason: 'aborted' };
      const left = maxInstructions - state.retired;
      if (left <= 0) return { reason: 'instructions' };
      this.running = Math.min(this.slice, left);
      const started = this.host.monotonicNanos();
      // Where a slice ends is nobody's business, unless the run ends with it.
      const exit = this.vcpu.enter(this.running, this.adaptsSlices && this.running < left);
      const done = this.running - this.vcpu.left;
      state.retired += done;
      this.running = 0;
      this.adaptSlice(done, (this.host.monotonicNanos() - started) / 1e6);
      if (state.exitStatus !== null) return { reason: 'exit', status: state.exitStatus };
      const end = endOfRun(exit);
      if (end === 'waits') return { reason: 'halt', rip: Number(BigInt.asIntN(64, this.vcpu.fields.get64('rip'))) };
      if (end !== null) return end;
      await this.host.nextTurn();
    }
  }

  /** The guest's speed changes by a factor of a hundred: the next slice is cut after the last one. */
  private adaptSlice(done: number, millis: number): void {
    if (!this.adaptsSlices) return;
    const wanted = this.translation?.pending === true ? shortSliceMillis : sliceMillis;
    const fitting = millis > 0 ? (done * wanted) / millis : longestSlice;
    this.slice = Math.ceil(Math.min(Math.max(fitting, this.slice / 8, firstSlice), this.slice * 4, longestSlice));
  }

  statistics(): MachineStatistics {
    return machineStatistics(this.vm, this.state.retired);
  }
  disassemble(address: number, count: number): Promise<readonly BlockListing[]> {
    return listBlocks(this.vcpu, address, count);
  }

  async close(): Promise<void> {
    await this.translation?.close();
  }
}

/** Makes the machine on a host, from what was prepared for it. */
export async function createMachine(options: MachineOptions, host: Host, prepared?: MachineParts): Promise<Machine> {
  const parts = prepared ?? (await prepareMachine(options, host));
  try {
    return new BareMachine(options, host, parts, parts.translation);
  } catch (error) {
    await parts.translation?.close(); // a configuration error: no thread stays behind
    throw error;
  }
}
