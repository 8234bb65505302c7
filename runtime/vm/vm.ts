/**
 * A virtual machine: one WebAssembly memory that holds the vCPUs' state, the interpreter's blocks and guest RAM, and the
 * vCPUs on it.
 */

import { agreement, agreementOf } from '../../jit/core-agreement.ts';
import { Translator } from '../../jit/translator.ts';
import { Contexts } from '../../src/execute/context.ts';
import { PhysicalMemory } from '../../src/mmu/physical-memory.ts';
import { cpuBytes } from '../../src/state/layout.ts';
import { ApicBus } from '../../src/system/apic-bus.ts';
import type { RandomNumbers, TimeStampCounter } from '../../src/system/engine.ts';
import { MsrTable } from '../../src/system/msr-table.ts';
import { nanosOfTsc } from '../../src/system/tsc-scale.ts';
import { mustBeObject, shown } from '../arguments.ts';
import type { StateElsewhere, Stateful } from '../devices/device.ts';
import { ConfigurationError, SnapshotError } from '../errors.ts';
import type { Host } from '../hosts/host.ts';
import type { EdgeResult } from '../interrupts/controller-connection.ts';
import type { Routes } from '../interrupts/routes.ts';
import { VmInterrupts } from '../interrupts/vm-interrupts.ts';
import { IoMap } from '../io/io-map.ts';
import {
  type AttachedProgram,
  attachProgram,
  type ProgramOptions,
  type ProgramParts,
  type ProgramRange,
} from '../io/program.ts';
import { knownPatterns } from '../known-patterns.ts';
import type { InitialState } from '../loaders/initial-state.ts';
import { RemoteRegions } from '../remote/remote-regions.ts';
import { inherit } from '../snapshot/fork.ts';
import type { MachineKind } from '../snapshot/machine-state.ts';
import {
  type ByteDuplex,
  type MigrationOptions,
  type MigrationReport,
  migrateVm,
  receiveVm,
} from '../snapshot/migration.ts';
import {
  loadSnapshot,
  type RestoreOptions,
  restoreSnapshot,
  type SnapshotBase,
  type SnapshotOptions,
  saveSnapshot,
  takeSnapshot,
} from '../snapshot/snapshot.ts';
import { MachineTranslation } from '../translation.ts';
import { chooseCpu } from './cpu-choice.ts';
import { DirtyLog } from './dirty-log.ts';
import type { EmbedderAccesses } from './embedder-accesses.ts';
import type { Exit } from './exits.ts';
import { GuestMemory } from './guest-memory.ts';
import { enterInitialState } from './initial-entry.ts';
import { MsrPolicy } from './msr-policy.ts';
import type { VmCreation, VmOptions } from './options.ts';
import { OutsideMemory } from './outside-memory.ts';
import { cpuBase } from './places.ts';
import { Runner, type RunOptions } from './runner.ts';
import { Vcpu } from './vcpu.ts';
import { VmTime } from './vm-time.ts';

const pageBytes = 65536;
const usualCodeBytes = 0x2000000;
const translatedBytes = 256 << 20;

export interface ForkOptions {
  /**
   * Called for each program of the parent: event counters, lines and other parts of the embedder that the child's uses in
   * the place of the parent's, as many of each; null: the child does without the program. Left out, programs that use
   * nothing of the kind go along, and others are refused.
   */
  readonly programs?: (program: AttachedProgram) => ProgramParts | null;
}

/** Local APIC ids of 8 bits, less the broadcast. */
const mostCpus = 64;

function randomNumbers(source: NonNullable<VmOptions['random']>): RandomNumbers {
  if (typeof source === 'object') return null;
  if (typeof source === 'function') return source;
  const word = new BigUint64Array(1);
  return () => crypto.getRandomValues(word)[0]!;
}

const counterOf = ({ read, hertz }: NonNullable<VmOptions['tsc']>): TimeStampCounter => ({
  read,
  hertz,
  nanosAt: (tsc) => nanosOfTsc(tsc, hertz),
});

/**
 * A machine without devices: memory, processors, time, and who answers what leaves them. It is used on one thread,
 * the one that made it.
 */
export class Vm {
  /** The one WebAssembly memory of the VM: vCPUs, blocks, guest RAM. */
  readonly linear: WebAssembly.Memory;
  /** Guest RAM. */
  readonly ram: Uint8Array;
  /** The same memory as devices and loaders of this package use it; embedders use {@link memory}. */
  readonly physical: PhysicalMemory;
  /** Guest-physical memory: its map, and accesses to it. */
  readonly memory: GuestMemory;
  /** Which of its pages were written. One log of several; see {@link openDirtyLog}. */
  readonly dirty: DirtyLog;
  /** The modes of execution that have been met; translations are kept by them. */
  readonly contexts: Contexts;
  /** What translated regions call. */
  readonly arithmetic: WebAssembly.Exports;
  /** By number; {@link vcpu} checks it. */
  readonly vcpus: readonly Vcpu[];
  /** One for each vCPU; none where nothing is translated. */
  readonly translators: readonly Translator[];
  /** Devices, programs, doorbells: what answers accesses without an exit. Nobody there: an exit `pio` or `mmio`. */
  readonly io: IoMap;
  /** Devices in other threads and processes. */
  readonly remote: RemoteRegions;
  /** What snapshots keep besides devices: a machine's own state, for machines that are put together around a VM. */
  readonly kept: Stateful[] = [];
  /** The snapshot that a diff would be to; null: there is none. */
  base: SnapshotBase | null = null;
  /** What joins the local APICs. */
  readonly apicBus = new ApicBus();
  /** Interrupts as GSIs, and the controllers on the APIC bus. */
  readonly irq: VmInterrupts;
  /** Which MSRs are the guest's. */
  readonly msr: MsrPolicy;
  /** The machine's time: what deadlines are of. */
  readonly time: VmTime;
  /** The vCPU that was entered last: whose accesses reach devices. */
  private running = 0;
  private attached: readonly AttachedProgram[] = [];

  /** Null: hot code is not translated, or on this thread, without a cache. */
  private readonly translation: MachineTranslation | null;
  private readonly runner: Runner;
  private readonly options: VmOptions;
  private readonly host: Pick<Host, 'nextTurn'> | null;

  /**
   * Makes a VM on a host: `nodeHost` of `jit86/node` or `browserHost` of `jit86/browser`. Close it when it is done with.
   * @throws ConfigurationError naming the value that cannot be had
   */
  static async create(options: VmCreation, host: Host): Promise<Vm> {
    const { engine = 'auto', x87 = 'exact', cache = null, model, ...others } = options;
    const { lacks } = chooseCpu(options).model;
    const [translation, core, arithmetic, patterns] = await Promise.all([
      MachineTranslation.start({ engine, x87, cache, cpus: options.cpus, lacks, ...(model && { cpu: model }) }, host),
      host.readModule('core.wasm'),
      host.readModule('softfloat.wasm'),
      knownPatterns(host),
    ]);
    try {
      const modules = { core, arithmetic, patterns };
      const translate = translation?.forVm ?? false;
      return new Vm({ ...others, x87, ...(model && { model }), modules, translate }, translation, host);
    } catch (error) {
      await translation?.close(); // no thread stays behind
      throw error;
    }
  }

  /**
   * From modules that are there already; {@link Vm.create} is the usual way.
   * @throws ConfigurationError naming the value that cannot be had
   */
  constructor(
    options: VmOptions,
    translation: MachineTranslation | null = null,
    host: Pick<Host, 'nextTurn'> | null = null,
  ) {
    this.translation = translation;
    this.options = options;
    this.host = host;
    this.io =
      options.io ??
      new IoMap({
        read: (space, address, size) =>
          space === 'port' ? this.accesses.readPort(address, size) : this.accesses.readMemory(address, size),
        write: (space, address, size, value) =>
          space === 'port'
            ? this.accesses.writePort(address, size, value)
            : this.accesses.writeMemory(address, size, value, 0),
        read64: (_space, address) => this.accesses.readMemory(address, 8),
        high: 0xffff_ffff,
        write64: (_space, address, low, high) => this.accesses.writeMemory(address, 8, low, high),
      });
    this.remote = new RemoteRegions(this.io);
    const { memory: ramBytes, cpus, modules, codeMemory: codeBytes = usualCodeBytes } = options;
    if (!Number.isInteger(ramBytes) || ramBytes <= 0 || ramBytes % 4096 !== 0)
      throw new ConfigurationError('bad-memory-size', `memory of ${ramBytes} bytes: not a positive multiple of 4096`);
    if (!Number.isInteger(cpus) || cpus < 1 || cpus > mostCpus)
      throw new ConfigurationError('bad-cpu-count', `${cpus} vCPUs: not 1 to ${mostCpus}`);
    if (!Number.isInteger(codeBytes) || codeBytes < 1 << 20 || codeBytes > usualCodeBytes || codeBytes % 4096 !== 0)
      throw new ConfigurationError('bad-option', `codeMemory of ${shown(codeBytes)} bytes: not 1 to 32 MiB in pages`);
    const codeBase = cpuBase + cpus * cpuBytes;
    const ramBase = codeBase + cpus * codeBytes;
    const pages = Math.ceil((ramBase + ramBytes) / pageBytes);
    if (pages > 65536)
      throw new ConfigurationError('bad-memory-size', `memory of ${ramBytes} bytes: more than this host can map`);
    const agreed = agreementOf(modules.core);
    if (agreed !== agreement())
      throw new ConfigurationError(
        'foreign-core',
        `core.wasm is of another build (${agreed ?? 'one without a mark'}; this code wants ${agreement()}): npm run build`,
      );
    this.linear = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.ram = new Uint8Array(this.linear.buffer, ramBase, ramBytes);
    this.physical = new PhysicalMemory(this.linear.buffer);
    this.physical.add({ kind: 'ram', start: 0, length: ramBytes, hostOffset: ramBase });
    this.dirty = this.openDirtyLog();
    this.memory = new GuestMemory(this.physical, this.ram, this.dirty);
    const arithmetic = new WebAssembly.Instance(modules.arithmetic).exports;
    this.arithmetic = arithmetic;
    const { tsc: counter } = options;
    const { model, lapic, hypercalls, kvm } = chooseCpu(options);
    this.time = options.time ?? new VmTime(options);
    const apic = lapic === 'visible' ? { clock: options.apic?.clock ?? this.time.clock } : undefined;
    this.irq = new VmInterrupts(this.apicBus, options.apic?.acknowledgeExternal);
    const policy = { msrs: new MsrTable(), hypercalls, paravirt: kvm ? this.time : null };
    this.physical.onMessage = (address, message) => void this.msi(address, message);
    this.msr = new MsrPolicy(policy.msrs);
    this.contexts = new Contexts(model.lacks, model.features.has('la57') ? 57 : 48);
    this.vcpus = Array.from(
      { length: cpus },
      (_, index) =>
        new Vcpu({
          memory: this.linear,
          base: cpuBase + index * cpuBytes,
          codeBase: codeBase + index * codeBytes,
          codeBytes,
          physical: this.physical,
          contexts: this.contexts,
          core: modules.core,
          arithmetic,
          patterns: modules.patterns ?? null,
          ports: options.ports ?? this.io.ports,
          tsc: counter === undefined ? this.time : counterOf(counter),
          time: this.time,
          random: randomNumbers(options.random ?? 'host'),
          model,
          policy,
          index,
          cpus,
          apic: apic === undefined ? null : { clock: apic.clock, bus: this.apicBus },
          interrupts: this.irq,
          entered: () => {
            this.running = index;
            this.io.log = this.vcpus[index]!.log;
          },
          left: () => this.io.drain(),
        }),
    );
    // Without local APICs INTR goes to the first processor alone.
    this.irq.setProcessors(this.vcpus.filter((vcpu, i) => i === 0 || vcpu.apic !== null).map(({ pins }) => pins));
    if (typeof options.random === 'object') {
      const { seed } = options.random;
      for (const [index, { fields: state }] of this.vcpus.entries())
        state.set64('randomState', BigInt.asUintN(64, (BigInt(seed) << 8n) + BigInt(index)));
    }
    if (options.x87 === 'fast') for (const { fields: state } of this.vcpus) state.set32('x87Fast', 1);
    const { translate } = options;
    this.translators = translate
      ? this.vcpus.map((vcpu) => {
          const { linear: memory } = this;
          const { engine, code, table } = vcpu;
          const translator = new Translator({
            maximumBytes: translatedBytes,
            ...translate,
            engine,
            code,
            memory,
            table,
            arithmetic,
          });
          engine.regions = translator;
          return translator;
        })
      : [];
    this.runner = new Runner(this.vcpus, {
      nextTurn: host === null ? () => new Promise((resolve) => setTimeout(resolve)) : () => host.nextTurn(),
      prepare: async () => translation?.load(this.vcpus[0]!),
      nextAlarm: () => this.time.clock.nextDeadline(),
      toNextAlarm: () => this.time.idle(),
      translating: () => translation?.pending === true,
      takeTranslations: () => translation?.poll() === true,
      finish: (exit) => this.remote.finish(exit),
      poll: () => this.remote.poll(),
      onWait: (listener) => {
        this.remote.onWait = listener;
      },
      onPause: (listener) => {
        this.time.onPause = listener;
      },
    });
    const noting = (field: string) => (any: boolean) => {
      for (const { fields, programs } of this.vcpus) {
        fields.set32(field, any ? 1 : 0);
        programs.forget();
      }
    };
    if (this.vcpus.length > 1) for (const { fields } of this.vcpus) fields.set32('hasTurns', 1);
    this.io.ports.programsChanged = noting('directPorts');
    this.io.memory.programsChanged = noting('directMemory');
    this.physical.mmio = new OutsideMemory(
      options.mmio ?? this.io.memory,
      this.linear,
      () => this.vcpus[this.running]!,
    );
    this.physical.onCodeWrite = (physical, bytes) => {
      for (const vcpu of this.vcpus) vcpu.code.written(physical, bytes);
    };
  }

  /** The accesses of the vCPU that is entered. */
  private get accesses(): EmbedderAccesses {
    return this.vcpus[this.running]!.accesses;
  }

  /** Where each GSI goes. */
  get routes(): Routes {
    return this.irq.routes;
  }
  /** A message-signalled interrupt; see `VmInterrupts.msi`. */
  msi(address: number | bigint, data: number): EdgeResult {
    return this.irq.msi(address, data);
  }

  /**
   * Puts a program (BPF, or a WebAssembly module) next to the processors: it answers accesses to a range without an exit, or
   * passes them on. See `attachProgram` in runtime/io/program.ts for what it may be and what is refused.
   */
  async program(range: ProgramRange, code: Uint8Array, options: ProgramOptions = {}): Promise<AttachedProgram> {
    const program = await attachProgram(this.io, range, code, options, () => this.time.now());
    this.attached = [...this.programs, program];
    return program;
  }
  /** The programs that are attached; what they know is part of snapshots. */
  get programs(): readonly AttachedProgram[] {
    return this.attached.filter(({ isAttached }) => isAttached);
  }

  /**
   * Another dirty log, off, for somebody else who collects: neither takes pages from the other. Close it when it is done
   * with.
   */
  openDirtyLog(): DirtyLog {
    return new DirtyLog(this.physical, this.ram.byteOffset);
  }

  /** @throws ConfigurationError `bad-option` if there is none of this number */
  vcpu(index: number): Vcpu {
    const vcpu = this.vcpus[index];
    if (vcpu === undefined)
      throw new ConfigurationError('bad-option', `vCPU ${shown(index)}: the machine has ${this.vcpus.length}`);
    return vcpu;
  }

  /** Puts a vCPU into the state that a loader asks for. */
  start(index: number, state: InitialState): void {
    enterInitialState(this.vcpu(index), this.physical, state);
  }

  /**
   * Runs the vCPUs in turns until the embedder has seen enough: each exit that it must look at, once. A thin shell over
   * `vcpu.enter()`: it lets the host's events have their turn and waits while every vCPU halts.
   */
  run(options: RunOptions = {}): AsyncGenerator<Exit, void, void> {
    return this.runner.run(options);
  }

  /** What another VM must be like to take this one's state. */
  get kind(): MachineKind {
    const { model = 'max', x87 = 'exact', memory, cpus } = this.options;
    return { memory, cpus, model, x87, lapic: this.vcpus[0]!.apic === null ? 'hidden' : 'visible' };
  }
  /** The devices on `vm.io`, each once, and what is kept besides. */
  get devices(): readonly Stateful[] {
    return [...this.io.devices, ...this.kept];
  }

  /** The states of devices in other threads and processes, each once. */
  get elsewhere(): readonly StateElsewhere[] {
    const attached = this.devices.flatMap(({ elsewhere }) => (elsewhere === undefined ? [] : [elsewhere]));
    return [...new Set([...attached, ...this.remote.elsewhere])];
  }

  /**
   * All of the VM as bytes that any host reads: versioned chunks, without pages of zeros. Between two entries only.
   * @throws SnapshotError `access-pending`, `bad-device-state`, `different-base`
   */
  snapshot(options?: SnapshotOptions): Uint8Array {
    return takeSnapshot(this, options);
  }
  /**
   * Puts a snapshot of a VM of the same kind, with the same devices, into this one.
   * @throws SnapshotError, StateError, InterruptError naming what is wrong; the VM is as it was
   */
  restore(snapshot: Uint8Array, options?: RestoreOptions): void {
    restoreSnapshot(this, snapshot, options);
  }
  /**
   * What {@link snapshot} gives, where the VM has devices elsewhere for which this thread may not wait. No vCPU can be entered
   * meanwhile.
   * @throws SnapshotError (as a rejection), `remote-state` if a device's state cannot be had
   */
  async save(options?: SnapshotOptions): Promise<Uint8Array> {
    await this.hold('the VM is being saved');
    return saveSnapshot(this, options).finally(() => this.release());
  }
  /** What {@link restore} does, there. @throws as a rejection what that throws */
  async load(snapshot: Uint8Array, options?: RestoreOptions): Promise<void> {
    await this.hold('the VM is being loaded');
    return loadSnapshot(this, snapshot, options).finally(() => this.release());
  }
  /**
   * A VM of its own that goes on from where this one is. Memory is copied when it is first used on either side. Programs go
   * along with what they know; `child.programs` are in the order of `programs`.
   * @param attach puts together the child's devices, as this VM's were; their state follows
   * @throws SnapshotError as {@link snapshot} and {@link restore}; `host-function` if a program uses something of the
   *   embedder and the options do not say what the child's uses
   */
  fork(attach: (child: Vm) => void = () => {}, options: ForkOptions = {}): Vm {
    if (typeof attach !== 'function')
      throw new ConfigurationError('bad-option', `attach ${shown(attach)}: no function`);
    mustBeObject('options', options);
    const places = this.forkedPrograms(options);
    const { time: _, io: __, ...others } = this.options;
    const { kind, hertz, epoch } = this.time;
    const like = { ...others, clock: kind, tscHertz: hertz, epoch };
    const translation = this.translation?.share() ?? null;
    try {
      const child = new Vm(like, translation, this.host);
      attach(child);
      child.inheritFrom(this, places);
      return child;
    } catch (error) {
      void translation?.close(); // this VM uses it still
      throw error;
    }
  }
  /** Takes another VM's state, which was put together in the same way. @param places what its programs use here */
  inheritFrom(parent: Vm, places: ReadonlyMap<AttachedProgram, ProgramParts> = parent.forkedPrograms()): void {
    for (const [program, parts] of places)
      this.attached = [...this.attached, program.copyTo(this.io, parts, () => this.time.now())];
    inherit(parent, this);
  }
  /** The programs that a fork takes along, and what they use there. */
  private forkedPrograms({ programs }: ForkOptions = {}): Map<AttachedProgram, ProgramParts> {
    const places = new Map<AttachedProgram, ProgramParts>();
    if (programs !== undefined && typeof programs !== 'function')
      throw new ConfigurationError('bad-option', `programs ${shown(programs)}: no function`);
    for (const program of this.programs) {
      const parts = programs === undefined ? {} : programs(program);
      if (parts === null) continue;
      const { foreignParts } = program;
      if (programs === undefined && foreignParts !== '')
        throw new SnapshotError(
          'host-function',
          `program ${program.name} uses its embedder's ${foreignParts}: the fork is to say what the child's uses`,
        );
      places.set(program, parts);
    }
    return places;
  }

  /** Lets no vCPU be entered until {@link release}; resolves when none is. `vm.run()` waits meanwhile. */
  async hold(why: string): Promise<void> {
    for (const vcpu of this.vcpus) vcpu.heldFor ??= why;
    while (this.vcpus.some(({ isEntered }) => isEntered)) {
      for (const vcpu of this.vcpus) if (vcpu.isEntered) vcpu.kick();
      await new Promise((resolve) => setTimeout(resolve));
    }
  }
  /** Milliseconds that {@link run} has spent in the guest. */
  get guestMillis(): number {
    return this.runner.millis;
  }
  /** Ends {@link hold}. */
  release(): void {
    for (const vcpu of this.vcpus) vcpu.heldFor = null;
    this.runner.heldChanged();
  }
  /**
   * Moves this VM, whose guest goes on meanwhile, to the VM that receives it at the other end of a byte stream. Afterwards
   * it cannot be entered any more.
   * @throws SnapshotError naming what failed; the guest goes on here
   */
  migrate(duplex: ByteDuplex, options?: MigrationOptions): Promise<MigrationReport> {
    return migrateVm(this, duplex, options);
  }
  /**
   * Takes the VM that comes over a byte stream into this one, which was put together in the same way.
   * @throws SnapshotError, StateError, ConfigurationError naming what is wrong; this VM is as it was
   */
  receive(duplex: ByteDuplex, options?: { signal?: AbortSignal }): Promise<void> {
    return receiveVm(this, duplex, options);
  }

  /** Ends the VM's threads and writes the translation cache. */
  async close(): Promise<void> {
    this.irq.close();
    await this.translation?.close();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
