/**
 * The PC of `pc.ts` around a `Vm`, and its time.
 *
 * One thread runs the processors in turns (`turns.ts`). Time is virtual unless the host's is
 * asked for: an instruction is a nanosecond, an access to a port 750 more, and when every processor halts time goes on to
 * the next alarm. A turn ends exactly at the next alarm, so that a run is a function of its inputs, whatever executes it.
 */

import { VirtualClock } from '../devices/clock.ts';
import { upTo } from '../devices/state-limits.ts';
import { ConfigurationError } from '../errors.ts';
import type { Host } from '../hosts/host.ts';
import { IoMap } from '../io/io-map.ts';
import type { InitialState } from '../loaders/initial-state.ts';
import type { RestoreOptions } from '../snapshot/snapshot.ts';
import type { MachineTranslation } from '../translation.ts';
import type { VmModules } from '../vm/options.ts';
import { longestTurn, turnLength } from '../vm/turns.ts';
import type { Vcpu } from '../vm/vcpu.ts';
import { Vm } from '../vm/vm.ts';
import { VmTime } from '../vm/vm-time.ts';
import { writeAcpiTables } from './acpi-tables.ts';
import { listBlocks } from './block-listing.ts';
import type { BlockListing, Machine, MachineOptions, MachineStatistics, RunEnd, RunLimits } from './machine.ts';
import { type MachineParts, prepareMachine } from './machine-parts.ts';
import { machineStatistics } from './machine-statistics.ts';
import { attachPcDevices, type PcDevices, pcLayout } from './pc.ts';
import { enterFirmwareState } from './pc-firmware.ts';
import { endOfRun } from './run-end.ts';

/** What devices end a run with. */
const isEnd = (end: RunEnd): boolean =>
  end.reason === 'exit' ? Number.isInteger(end.status) : end.reason === 'power-off' || end.reason === 'reset';

/** Milliseconds between two looks at the host's event loop, and for translations that are awaited. */
const hostMillis = 10;
const shortHostMillis = 3;
const firstSlice = 100_000;
const longestSlice = 20_000_000;
/**
 * Virtual time that an access to a port takes, as on a real PC, whose bus for old devices needs six clocks of 8 MHz or so for
 * one: what polls a port until a time has passed does so some thousands of times, not millions.
 */
const portNanos = 750;
/** RAM must end below the I/O APIC. */
const mostMemory = 0xfec0_0000;

export class PcMachine implements Machine {
  readonly vm: Vm;
  private readonly devices: PcDevices;
  private readonly options: MachineOptions;
  private readonly host: Host;
  private readonly modules: VmModules;
  private readonly translation: MachineTranslation | null;
  private readonly time: VmTime;
  /** What a snapshot keeps besides processors and devices. */
  private readonly state = {
    retired: 0,
    /** The processor that is being run, and what is left of its turn. */
    current: 0,
    turn: longestTurn,
    /** What the guest has asked for and `run` has not said yet. */
    end: null as RunEnd | null,
  };
  /** Of the processor that is being run. */
  private budget = 0;
  private active: Vcpu | null = null;
  private slice = firstSlice;
  private lastHostTurn = 0;
  private lastLook = 0;
  private loaded = false;
  private wake: (() => void) | null = null;

  constructor(options: MachineOptions, host: Host, modules: VmModules, translation: MachineTranslation | null) {
    if (options.memory > mostMemory) {
      throw new ConfigurationError(
        'bad-memory-size',
        `memory of ${options.memory} bytes: a PC has at most ${mostMemory}`,
      );
    }
    this.options = options;
    this.host = host;
    this.modules = modules;
    this.translation = translation;
    this.time = new VmTime({
      clock: options.clock ?? 'virtual',
      tscHertz: options.tscHertz ?? 1e9,
      monotonicNanos: () => host.monotonicNanos(),
    });
    const { clock, kind, epoch } = this.time;
    const io = new IoMap();
    this.vm = new Vm({
      memory: options.memory,
      cpus: options.cpus,
      model: options.cpu ?? 'max',
      paravirt: options.paravirt ?? 'none',
      ...(options.cpuid && { cpuid: options.cpuid }),
      modules,
      io,
      apic: { clock },
      time: this.time,
      random: kind === 'host' ? 'host' : { seed: 0 },
      x87: options.x87,
      translate: translation?.forVm ?? false,
    });
    const { vm, state } = this;
    vm.kept.push({
      name: 'pc',
      state,
      limits: { retired: upTo(2 ** 53), current: upTo(0xff), turn: upTo(longestTurn, -(2 ** 53)) },
      restored() {
        const { current, end } = state;
        if (vm.vcpus[current] === undefined) throw new Error(`processor ${current}: there is none`);
        if (end !== null && !isEnd(end)) throw new Error(`a run that ends with ${JSON.stringify(end)}`);
      },
    });
    const finish = (end: RunEnd) => {
      state.end ??= end;
      this.active?.kick();
    };
    this.devices = attachPcDevices(io, {
      clock,
      epoch,
      memory: options.memory,
      cpus: options.cpus,
      serial: options.serial,
      debugcon: options.debugcon,
      exit: (status) => finish({ reason: 'exit', status }),
      powerOff: () => finish({ reason: 'power-off' }),
      reset: () => finish({ reason: 'reset' }),
      setA20: (open) => {
        vm.physical.a20 = open;
      },
      interrupts: vm.irq,
      testDevice: options.testDevice ?? false,
    });
    if (kind === 'virtual') io.ports.took = (accesses) => this.time.pass(accesses * portNanos);
    this.time.onPause = () => {
      this.active?.shorten('for good');
      this.state.turn = 0;
    };
    for (const vcpu of vm.vcpus) vcpu.onEvent = () => this.wake?.();
  }

  get ram() {
    return this.vm.memory.ram;
  }
  get vcpus(): readonly Vcpu[] {
    return this.vm.vcpus;
  }
  start(state: InitialState): void {
    writeAcpiTables(this.vm.ram, { ...pcLayout, cpus: this.vm.vcpus.length });
    this.vm.start(0, state);
    enterFirmwareState(this.vm);
  }
  receive(bytes: Uint8Array): void {
    this.devices.serial.receive(bytes);
    this.wake?.();
  }
  snapshot(): Uint8Array {
    return this.vm.snapshot();
  }
  restore(snapshot: Uint8Array, options?: RestoreOptions): void {
    this.vm.restore(snapshot, options);
  }
  /**
   * A machine of its own that goes on from where this one is; what the guest does not touch on either side is not copied.
   * Close both.
   * @param outputs where the bytes of its serial port and debug console go; to this machine's places if left out
   * @throws SnapshotError
   */
  fork(outputs: Partial<Pick<MachineOptions, 'serial' | 'debugcon'>> = {}): PcMachine {
    const translation = this.translation?.share() ?? null;
    try {
      const child = new PcMachine({ ...this.options, ...outputs }, this.host, this.modules, translation);
      child.vm.inheritFrom(this.vm);
      return child;
    } catch (error) {
      void translation?.close(); // this machine uses it still
      throw error;
    }
  }
  /** Instructions of the present entry that are executed. */
  private executed(): number {
    return this.active === null ? 0 : this.budget - this.active.remaining;
  }
  instructions(): number {
    return this.state.retired + this.executed();
  }

  async run({ maxInstructions = Number.POSITIVE_INFINITY, signal }: RunLimits): Promise<RunEnd> {
    const { state } = this;
    if (!this.loaded) await this.translation?.load(this.vm.vcpu(0));
    this.loaded = true;
    this.lastHostTurn = this.lastLook = this.host.monotonicNanos();
    for (;;) {
      if (signal?.aborted === true) return { reason: 'aborted' };
      if (state.end !== null) {
        const { end } = state;
        state.end = null;
        return end;
      }
      const left = maxInstructions - state.retired;
      if (left <= 0) return { reason: 'instructions' };
      const vcpu = this.next();
      if (vcpu === null) {
        const end = await this.idle(signal);
        if (end !== null) return end;
        continue;
      }
      const end = this.enter(vcpu, left);
      if (end !== null) return end;
      await this.hostTurn();
    }
  }

  /** The processor whose turn it is; null if all of them wait. */
  private next(): Vcpu | null {
    const { vcpus } = this.vm;
    const { state } = this;
    const now = vcpus[state.current]!;
    if (state.turn > 0 && now.runnable) return now;
    for (let i = 1; i <= vcpus.length; i++) {
      const index = (state.current + i) % vcpus.length;
      if (!vcpus[index]!.runnable) continue;
      state.current = index;
      state.turn = turnLength(state.retired);
      return vcpus[index]!;
    }
    return null;
  }

  /** Runs a processor up to the end of its turn or of the slice. */
  private enter(vcpu: Vcpu, limit: number): RunEnd | null {
    let budget = Math.min(limit, this.slice);
    if (this.vm.vcpus.length > 1) budget = Math.min(budget, this.state.turn);
    this.budget = budget;
    this.active = vcpu;
    try {
      const end = endOfRun(vcpu.enter(budget));
      return end === 'waits' ? null : end;
    } finally {
      const done = budget - vcpu.left;
      this.active = null;
      this.state.retired += done;
      this.state.turn -= done;
    }
  }

  /** Every processor waits: time goes on to the next alarm, or the host brings something. */
  private async idle(signal: AbortSignal | undefined): Promise<RunEnd | null> {
    const { clock } = this.time;
    const deadline = clock.nextDeadline();
    if (clock instanceof VirtualClock && deadline !== Number.POSITIVE_INFINITY) {
      clock.advanceTo(Math.max(deadline, clock.now()));
      await this.hostTurn();
      return null;
    }
    // Nothing will happen by itself. Masked, only the host could end the halt, and it has nothing for that.
    if (deadline === Number.POSITIVE_INFINITY && !this.vm.vcpus.some((vcpu) => vcpu.interruptible)) {
      return { reason: 'halt', rip: Number(BigInt.asIntN(64, this.vm.vcpu(0).fields.get64('rip'))) };
    }
    await this.sleep(deadline - clock.now(), signal);
    if (!(clock instanceof VirtualClock)) clock.runDue();
    return null;
  }
  /** Until so many nanoseconds have passed, input comes, or the run is aborted. */
  private sleep(nanos: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const millis = Math.min(Math.ceil(nanos / 1e6), 1000);
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', done);
        this.wake = null;
        resolve();
      };
      const timer = setTimeout(done, millis);
      signal?.addEventListener('abort', done);
      this.wake = done;
    });
  }

  /** Lets the host's events have their turn from time to time; slices follow the guest's speed. */
  private async hostTurn(): Promise<void> {
    const takes = this.translation?.poll() === true;
    const wanted = this.translation?.pending === true ? shortHostMillis : hostMillis;
    const now = this.host.monotonicNanos();
    const millis = (now - this.lastLook) / 1e6;
    if (millis < wanted / 4) this.slice = Math.min(this.slice * 2, longestSlice);
    if (millis > wanted * 2) this.slice = Math.max(Math.floor(this.slice / 2), firstSlice);
    if (millis < wanted) return;
    this.lastLook = now;
    if (takes && now - this.lastHostTurn < hostMillis * 1e6) return;
    await this.host.nextTurn();
    this.lastHostTurn = this.lastLook = this.host.monotonicNanos();
  }

  statistics(): MachineStatistics {
    return machineStatistics(this.vm, this.state.retired);
  }
  disassemble(address: number, count: number): Promise<readonly BlockListing[]> {
    return listBlocks(this.vm.vcpu(0), address, count);
  }
  async close(): Promise<void> {
    await this.translation?.close();
  }
}

/** Makes the machine on a host, from what was prepared for it. */
export async function createPcMachine(
  options: MachineOptions,
  host: Host,
  prepared?: MachineParts,
): Promise<PcMachine> {
  const parts = prepared ?? (await prepareMachine(options, host));
  try {
    return new PcMachine(options, host, parts, parts.translation);
  } catch (error) {
    await parts.translation?.close(); // a configuration error: no thread stays behind
    throw error;
  }
}
