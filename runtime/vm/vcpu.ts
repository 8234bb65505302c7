/**
 * One virtual CPU: the architecture (src/system), its engine (src/execute) and the reasons why it comes back. A vCPU is
 * entered on one thread at a time.
 */
import { CodeMemory } from '../../src/execute/code-memory.ts';
import type { Contexts } from '../../src/execute/context.ts';
import { Engine } from '../../src/execute/engine.ts';
import type { Processor } from '../../src/execute/processor.ts';
import type { Mmu } from '../../src/mmu/mmu.ts';
import type { PhysicalMemory } from '../../src/mmu/physical-memory.ts';
import { CpuState } from '../../src/state/cpu-state.ts';
import { offsetOf } from '../../src/state/layout.ts';
import type { ApicBus } from '../../src/system/apic-bus.ts';
import type { ApicClock } from '../../src/system/apic-timer.ts';
import { Cpu } from '../../src/system/cpu.ts';
import type { CpuModel } from '../../src/system/cpu-models.ts';
import { DR6_BS } from '../../src/system/debug.ts';
import type { Ports, RandomNumbers, TimeStampCounter } from '../../src/system/engine.ts';
import type { HelperName } from '../../src/system/helpers.ts';
import { type ApicListener, LocalApic } from '../../src/system/local-apic.ts';
import { ConfigurationError } from '../errors.ts';
import type { Exit } from './exits.ts';

const word = (name: string) => offsetOf(name) >> 2;
const RFLAGS = word('rflagsRest');
const SHADOW = word('interruptShadow');
const HALTED = word('halted');
const SHUTDOWN = word('shutdown');
const NMI_BLOCKED = word('nmiBlocked');
const ATTENTION = word('attention');
const PENDING = word('pendingDebug');
const SMM = word('smm');
const TF = 0x100;
const RF = 1 << 16;
const IF = 0x200;
const MOV_SS_SHADOW = 2;
/** IA32_APIC_BASE: this is the bootstrap processor. */
const BSP = 0x100n;

/** What the local APICs of a machine work with. */
export interface ApicMachine {
  /** Nanoseconds; the time-stamp counter must follow from it. */
  readonly clock: ApicClock;
  /** The vector of the external controller (8259), which takes the interrupt as acknowledged. */
  readonly acknowledgeExternal: () => number;
}

export interface VcpuParts {
  readonly memory: WebAssembly.Memory;
  readonly base: number;
  readonly codeBase: number;
  readonly codeBytes: number;
  readonly physical: PhysicalMemory;
  readonly contexts: Contexts;
  readonly core: WebAssembly.Module;
  readonly arithmetic: WebAssembly.Exports;
  readonly ports: Ports;
  readonly tsc: TimeStampCounter;
  readonly random: RandomNumbers;
  readonly model: CpuModel;
  readonly index: number;
  readonly cpus: number;
  /** null: the processor has no local APIC. */
  readonly apic: (ApicMachine & { readonly bus: ApicBus }) | null;
  /** Told of each entry. */
  readonly entered: () => void;
}

export class Vcpu implements Processor, ApicListener {
  readonly fields: CpuState;
  /** Translated regions' functions; each vCPU installs its own. */
  readonly table = new WebAssembly.Table({ element: 'anyfunc', initial: 4096 });
  readonly cpu: Cpu;
  readonly engine: Engine;
  readonly code: CodeMemory;
  readonly mmu: Mmu;
  readonly memory: PhysicalMemory;
  private entered = false;
  private readonly onEntered: () => void;
  private stopWanted = false;
  readonly apic: LocalApic | null;
  /** Events that wait to be taken; a start-up vector of -1 is none. */
  private readonly events = { nmi: false, smi: false, init: false, startUp: -1 };
  /** After INIT: nothing is executed until a start-up message comes. */
  private waitsForStartUp = false;
  /** Instructions that the last `enter` did not execute. */
  left = 0;
  private readonly exits = {
    halt: { kind: 'halt', interruptible: false } as Extract<Exit, { kind: 'halt' }>,
    shutdown: { kind: 'shutdown', rip: 0, vector: 0 } as Extract<Exit, { kind: 'shutdown' }>,
    budget: { kind: 'budget', limit: 'instructions' } as Extract<Exit, { kind: 'budget' }>,
    kicked: { kind: 'kicked' } as Extract<Exit, { kind: 'kicked' }>,
  };

  constructor(parts: VcpuParts) {
    this.fields = new CpuState(parts.memory.buffer, parts.base);
    this.memory = parts.physical;
    this.code = new CodeMemory(parts.memory.buffer, parts.codeBase, parts.codeBytes, parts.physical);
    const { apic } = parts;
    this.onEntered = parts.entered;
    this.apic =
      apic === null
        ? null
        : new LocalApic({
            id: parts.index,
            clock: apic.clock,
            sender: apic.bus,
            listener: this,
            acknowledgeExternal: apic.acknowledgeExternal,
            timeOfTsc: (tsc) =>
              Math.ceil((Number(BigInt.asUintN(64, tsc - this.fields.get64('tscOffset'))) * 1e9) / parts.tsc.hertz),
          });
    if (this.apic !== null) apic?.bus.apics.push(this.apic);
    this.waitsForStartUp = this.apic !== null && parts.index !== 0;
    // The architecture and the engine know each other; the architecture speaks only once the engine is there.
    let engine: Engine | null = null;
    this.cpu = new Cpu(this.fields, parts.physical, {
      engine: {
        flags: () => (engine === null ? 0 : engine.flags()),
        setFlags: (flags) => engine?.setFlags(flags),
        contextChanged: () => engine?.contextChanged(),
        setBreakpoints: (list) => engine?.setBreakpoints(list),
      },
      ports: parts.ports,
      tsc: parts.tsc,
      random: parts.random,
      apic: this.apic,
      model: parts.model,
      index: parts.index,
      cpus: parts.cpus,
    });
    this.mmu = this.cpu.processor.mmu;
    engine = new Engine({
      processor: this,
      memory: parts.memory,
      table: this.table,
      coreModule: parts.core,
      arithmetic: parts.arithmetic,
      contexts: parts.contexts,
      code: this.code,
    });
    this.engine = engine;
    this.code.onDrop = (block) => this.engine.blockDropped(block);
    this.cpu.stateReplaced();
  }

  // --- what the engine asks
  runHelper(name: string, nextRip: bigint): boolean {
    this.cpu.runHelper(name as HelperName, nextRip);
    return this.wantsLook();
  }
  deliverFault(): boolean {
    this.cpu.deliverFault();
    return this.wantsLook();
  }
  deliverBreakpoint(bits: number): boolean {
    this.cpu.deliverBreakpoint(bits);
    return this.wantsLook();
  }
  private wantsLook(): boolean {
    const { u32 } = this.fields;
    const { events } = this;
    return (
      u32[ATTENTION] !== 0 ||
      // What IRET or RSM has let through.
      (events.nmi && u32[NMI_BLOCKED] === 0) ||
      ((events.smi || events.init) && u32[SMM] === 0) ||
      (this.apic?.requesting === true && (u32[RFLAGS]! & IF) !== 0) ||
      u32[HALTED] !== 0 ||
      u32[SHUTDOWN] !== 0 ||
      this.stopWanted ||
      u32[SHADOW] !== 0 ||
      u32[PENDING] !== 0 ||
      (u32[RFLAGS]! & (TF | RF)) !== 0
    );
  }

  /** Asks a running vCPU to come back after the current instruction: `kicked`. Called from a device. */
  kick(): void {
    this.stopWanted = true;
    this.fields.u32[ATTENTION] = 1;
  }

  // --- what the local APIC has for the processor
  interruptRequested(): void {
    this.fields.u32[ATTENTION] = 1;
  }
  nmi(): void {
    this.events.nmi = true;
    this.fields.u32[ATTENTION] = 1;
  }
  smi(): void {
    this.events.smi = true;
    this.fields.u32[ATTENTION] = 1;
  }
  init(): void {
    this.events.init = true;
    this.fields.u32[ATTENTION] = 1;
  }
  startUp(vector: number): void {
    if (!this.waitsForStartUp && !this.events.init) return;
    this.events.startUp = vector;
    this.fields.u32[ATTENTION] = 1;
  }

  /** Whether entering would execute anything: the processor neither waits nor halts, or an event ends that. */
  get runnable(): boolean {
    const { u32 } = this.fields;
    const { events } = this;
    if (events.init || events.startUp >= 0) return true;
    if (this.waitsForStartUp) return false;
    if (u32[PENDING] !== 0 || (events.smi && u32[SMM] === 0)) return true;
    if (u32[HALTED] === 0) return true;
    return (events.nmi && u32[NMI_BLOCKED] === 0) || (this.apic?.requesting === true && this.cpu.interruptible);
  }

  /** A maskable interrupt would end the halt. */
  get interruptible(): boolean {
    return !this.waitsForStartUp && this.cpu.interruptible;
  }

  /** Takes the events that can be taken now, in the order of SDM volume 3, table 7-2. */
  private takeEvents(): void {
    const { events, cpu, apic } = this;
    const { u32 } = this.fields;
    if (events.smi && !this.waitsForStartUp && cpu.deliverSmi()) events.smi = false;
    // In system-management mode INIT waits.
    if (events.init && u32[SMM] === 0) {
      events.init = false;
      events.nmi = false;
      cpu.init();
      this.waitsForStartUp = this.fields.get64('apicBase') & BSP ? false : apic !== null;
    }
    if (events.startUp >= 0) {
      if (this.waitsForStartUp) cpu.startUp(events.startUp);
      this.waitsForStartUp = false;
      events.startUp = -1;
    }
    if (this.waitsForStartUp) return;
    if (!this.letRepeat()) return;
    const { processor } = cpu;
    processor.repeats = this.engine.repeating || processor.stoppedInside;
    processor.stoppedInside = false;
    // Traps of the last instruction; MOV SS holds them back for one.
    if (u32[PENDING] !== 0 && u32[SHADOW] !== MOV_SS_SHADOW) cpu.deliverDebugTraps();
    if (u32[SHUTDOWN] === 0 && events.nmi && cpu.deliverNmi()) events.nmi = false;
    if (u32[SHUTDOWN] === 0 && apic?.requesting === true && cpu.interruptible) {
      const vector = apic.acknowledge();
      if (vector >= 0) cpu.deliverInterrupt(vector);
    }
    processor.repeats = false;
  }
  /**
   * An interrupt that arrives at a repeated string instruction lets it do one more element: then it is known that the
   * interrupt splits it, which the RF in the frame shows. False: what this led to is to be looked at first.
   */
  private letRepeat(): boolean {
    const { cpu, engine, apic, events } = this;
    const { u32 } = this.fields;
    const waits = (events.nmi && cpu.takesNmi) || (apic?.requesting === true && cpu.interruptible);
    if (!waits || u32[HALTED] !== 0 || u32[PENDING] !== 0 || (u32[RFLAGS]! & TF) !== 0) return true;
    // Whatever has been executed before, and however: where an interrupt comes must not depend on how runs are cut up.
    if (!engine.atRepetition) return true;
    if (this.left <= 0) return false;
    this.left--;
    engine.step(this.left);
    return u32[PENDING] === 0 && u32[SHUTDOWN] === 0;
  }

  /**
   * Runs the guest until something wants the embedder.
   * @param maxInstructions return after exactly so many (a fault that is delivered counts as one)
   * @param early may return up to a thousand instructions sooner, where that spares the stepping of single ones; `left`
   *   says how many were not executed
   * @throws ConfigurationError `already-entered` if it is running already
   */
  enter(maxInstructions = Number.POSITIVE_INFINITY, early = false): Exit {
    if (this.entered) throw new ConfigurationError('already-entered', 'the vCPU is entered already');
    this.entered = true;
    this.onEntered();
    this.left = maxInstructions;
    try {
      return this.run(early);
    } finally {
      this.entered = false;
    }
  }

  private run(early: boolean): Exit {
    const { u32 } = this.fields;
    for (;;) {
      if (u32[SHUTDOWN] !== 0) {
        this.exits.shutdown.rip = Number(BigInt.asIntN(64, this.fields.get64('rip')));
        this.exits.shutdown.vector = this.fields.get32('faultVector');
        return this.exits.shutdown;
      }
      if (this.stopWanted) {
        this.stopWanted = false;
        u32[ATTENTION] = 0;
        return this.exits.kicked;
      }
      u32[ATTENTION] = 0;
      this.takeEvents();
      if (u32[SHUTDOWN] !== 0) continue; // the event could not be delivered
      if (u32[HALTED] !== 0 || this.waitsForStartUp) {
        this.exits.halt.interruptible = (u32[RFLAGS]! & 0x200) !== 0;
        return this.exits.halt;
      }
      if (this.left <= 0) return this.exits.budget;
      const shadow = u32[SHADOW]!;
      const stepping = (u32[RFLAGS]! & TF) !== 0;
      if (shadow !== 0 || (u32[RFLAGS]! & (TF | RF)) !== 0) {
        const { processor } = this.cpu;
        const { deliveries } = processor;
        const branchesOnly = (this.fields.get32('debugCtl') & 2) !== 0;
        processor.stepSettled = false;
        this.left--;
        this.engine.step(this.left, branchesOnly);
        // No trap after an instruction that ended in an event (its frame holds TF), nor after MOV SS.
        const trap =
          stepping &&
          processor.deliveries === deliveries &&
          !processor.stepSettled &&
          (!branchesOnly || this.engine.branched) &&
          (u32[SHADOW] !== MOV_SS_SHADOW || shadow === MOV_SS_SHADOW);
        if (u32[SHADOW] === shadow) u32[SHADOW] = 0; // it covers one instruction
        if (trap && u32[SHUTDOWN] === 0) u32[PENDING] = u32[PENDING]! | DR6_BS;
        continue;
      }
      const { end, left } = this.engine.run(this.left, early);
      this.left = left;
      if (early && end === 'budget') return this.exits.budget;
    }
  }
}
