/**
 * A virtual machine: one WebAssembly memory that holds the vCPUs' state, the interpreter's blocks and guest RAM, and the
 * vCPUs on it.
 */

import { Translator, type TranslatorParts } from '../../jit/translator.ts';
import { Contexts } from '../../src/execute/context.ts';
import { definitions } from '../../src/isa/define.ts';
import { type MmioHandler, PhysicalMemory } from '../../src/mmu/physical-memory.ts';
import { cpuBytes } from '../../src/state/layout.ts';
import { ApicBus } from '../../src/system/apic-bus.ts';
import { type CpuModelName, cpuModel } from '../../src/system/cpu-models.ts';
import type { Ports, RandomNumbers, TimeStampCounter } from '../../src/system/engine.ts';
import { ConfigurationError } from '../errors.ts';
import type { EdgeResult } from '../interrupts/controller-connection.ts';
import type { Routes } from '../interrupts/routes.ts';
import { VmInterrupts } from '../interrupts/vm-interrupts.ts';
import type { InitialState } from '../loaders/initial-state.ts';
import type { EmbedderAccesses } from './embedder-accesses.ts';
import { enterInitialState } from './initial-entry.ts';
import { cpuBase } from './places.ts';
import { type ApicMachine, Vcpu, type VcpuClock } from './vcpu.ts';
import '../../src/isa/all.ts';

const pageBytes = 65536;
const codeBytes = 0x2000000;
const translatedBytes = 256 << 20;

/** The modules that the build made. */
export interface VmModules {
  readonly core: WebAssembly.Module;
  readonly arithmetic: WebAssembly.Module;
}

export interface VmOptions {
  /** Bytes of guest RAM from guest-physical address 0, a multiple of 4096. */
  readonly memory: number;
  readonly cpus: number;
  /** What kind of processor; `max` if left out. */
  readonly model?: CpuModelName;
  readonly modules: VmModules;
  /** The I/O ports; without them each access is an exit `pio`. */
  readonly ports?: Ports;
  /** The time-stamp counter; without one it follows the clock. */
  readonly tsc?: TimeStampCounter;
  /** Time; the host's if nothing is said. */
  readonly clock?: VcpuClock;
  /**
   * What RDRAND and RDSEED give: the host's random numbers (the default), a function that gives 64 bits, or a generator
   * that begins at a seed and is part of each vCPU's state, so that a run can be had again.
   */
  readonly random?: 'host' | (() => bigint) | { readonly seed: number };
  /** What answers where there is no memory; without it each access is an exit `mmio`. */
  readonly mmio?: MmioHandler;
  /** Gives each vCPU a local APIC. */
  readonly apic?: ApicMachine;
  /**
   * `hidden`: no local APIC in CPUID, MSRs and memory; LINT0 takes ExtINT and LINT1 takes NMI. `visible`, which needs `apic`
   * for its clock, is the default where that is given.
   */
  readonly lapic?: 'visible' | 'hidden';
  /** x87 arithmetic with 80 bits (the default), or inexact with plain doubles. A translation's mode must agree. */
  readonly x87?: 'exact' | 'fast';
  /** How hot code is translated; false: it is only interpreted. */
  readonly translate: false | VmTranslation;
}

/** Who translates, and what is known from earlier runs. */
export interface VmTranslation extends Pick<TranslatorParts, 'way' | 'cache' | 'mode'> {
  /** Bytes of the host's memory for translated code: beyond, all of it is dropped (256 MiB, some 5,000 regions). */
  readonly maximumBytes?: number;
}

/** Nanoseconds of the host since the VM was made. */
function hostClock(): VcpuClock {
  const origin = performance.now();
  return { now: () => (performance.now() - origin) * 1e6, instructionNanos: null };
}

function randomNumbers(source: NonNullable<VmOptions['random']>): RandomNumbers {
  if (typeof source === 'object') return null;
  if (typeof source === 'function') return source;
  const word = new BigUint64Array(1);
  return () => crypto.getRandomValues(word)[0]!;
}

export class Vm {
  /** The one WebAssembly memory of the VM: vCPUs, blocks, guest RAM. */
  readonly linear: WebAssembly.Memory;
  /** Guest RAM. */
  readonly ram: Uint8Array;
  readonly physical: PhysicalMemory;
  readonly contexts: Contexts;
  /** What translated regions call. */
  readonly arithmetic: WebAssembly.Exports;
  readonly vcpus: readonly Vcpu[];
  readonly translators: readonly Translator[];
  /** What joins the local APICs. */
  readonly apicBus = new ApicBus();
  /** Interrupts as GSIs, and the controllers on the APIC bus. */
  readonly irq: VmInterrupts;
  /** The vCPU that was entered last: whose accesses reach devices. */
  private running = 0;

  /** @throws ConfigurationError naming the value that cannot be had */
  constructor(options: VmOptions) {
    const { memory: ramBytes, cpus, modules } = options;
    if (!Number.isInteger(ramBytes) || ramBytes <= 0 || ramBytes % 4096 !== 0)
      throw new ConfigurationError('bad-memory-size', `memory of ${ramBytes} bytes: not a positive multiple of 4096`);
    const codeBase = cpuBase + cpus * cpuBytes;
    const ramBase = codeBase + cpus * codeBytes;
    const pages = Math.ceil((ramBase + ramBytes) / pageBytes);
    if (pages > 65536)
      throw new ConfigurationError('bad-memory-size', `memory of ${ramBytes} bytes: more than this host can map`);
    this.linear = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.ram = new Uint8Array(this.linear.buffer, ramBase, ramBytes);
    this.physical = new PhysicalMemory(this.linear.buffer);
    this.physical.add({ kind: 'ram', start: 0, length: ramBytes, hostOffset: ramBase });
    const arithmetic = new WebAssembly.Instance(modules.arithmetic).exports;
    this.arithmetic = arithmetic;
    const features = new Set<string>(definitions.map((d) => d.feature));
    const { lapic = options.apic === undefined ? 'hidden' : 'visible' } = options;
    if ((lapic !== 'visible' && lapic !== 'hidden') || (lapic === 'visible' && options.apic === undefined))
      throw new ConfigurationError('bad-option', `lapic: ${String(lapic)} is not to be had without \`apic\``);
    const apic = lapic === 'visible' ? options.apic : undefined;
    this.irq = new VmInterrupts(this.apicBus, options.apic?.acknowledgeExternal);
    if (apic !== undefined) for (const feature of ['x2apic', 'tsc-deadline']) features.add(feature);
    const model = cpuModel(options.model ?? 'max', features);
    const clock = options.clock ?? hostClock();
    const tsc = options.tsc ?? { read: () => BigInt(Math.floor(clock.now())), hertz: 1e9 };
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
          ports: options.ports ?? this.embedderPorts(),
          tsc,
          clock,
          random: randomNumbers(options.random ?? 'host'),
          model,
          index,
          cpus,
          apic: apic === undefined ? null : { clock: apic.clock, bus: this.apicBus },
          interrupts: this.irq,
          entered: () => {
            this.running = index;
          },
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
    this.physical.mmio = this.mmioOf(options.mmio ?? this.embedderMmio());
    this.physical.onCodeWrite = (physical, bytes) => {
      for (const vcpu of this.vcpus) vcpu.code.written(physical, bytes);
    };
  }

  /** The accesses of the vCPU that is entered. */
  private get accesses(): EmbedderAccesses {
    return this.vcpus[this.running]!.accesses;
  }
  private embedderPorts(): Ports {
    return {
      read: (port, bytes) => this.accesses.readPort(port, bytes),
      write: (port, bytes, value) => this.accesses.writePort(port, bytes, value),
    };
  }
  private embedderMmio(): MmioHandler {
    return {
      read: (address, bytes) => this.accesses.readMemory(address, bytes as 1),
      write: (address, bytes, value) => this.accesses.writeMemory(address, bytes as 1, value),
    };
  }
  /** Each vCPU's APIC lies over the others' and over everything that is no RAM. */
  private mmioOf(outside: MmioHandler): MmioHandler {
    const apicAt = (address: number) => {
      const { apic, engine } = this.vcpus[this.running]!;
      engine.deviceAccess();
      return apic?.claims(address) === true ? apic : null;
    };
    return {
      read: (address, bytes) => apicAt(address)?.read(address % 4096, bytes) ?? outside.read(address, bytes),
      write: (address, bytes, value) => {
        const apic = apicAt(address);
        if (apic === null) outside.write(address, bytes, value);
        else apic.write(address % 4096, bytes, value);
      },
    };
  }

  /** Where each GSI goes. */
  get routes(): Routes {
    return this.irq.routes;
  }
  /** A message-signalled interrupt; see `VmInterrupts.msi`. */
  msi(address: number | bigint, data: number): EdgeResult {
    return this.irq.msi(address, data);
  }

  vcpu(index: number): Vcpu {
    const vcpu = this.vcpus[index];
    if (vcpu === undefined)
      throw new ConfigurationError('bad-option', `vCPU ${index}: the machine has ${this.vcpus.length}`);
    return vcpu;
  }

  /** Puts a vCPU into the state that a loader asks for. */
  start(index: number, state: InitialState): void {
    enterInitialState(this.vcpu(index), this.physical, state);
  }
}
