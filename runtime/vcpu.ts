/**
 * One virtual CPU: the architecture (src/system), its engine (src/execute) and the reasons why it comes back. A vCPU is
 * entered on one thread at a time.
 */
import { CodeMemory } from '../src/execute/code-memory.ts';
import type { Contexts } from '../src/execute/context.ts';
import { Engine } from '../src/execute/engine.ts';
import type { Processor } from '../src/execute/processor.ts';
import type { Mmu } from '../src/mmu/mmu.ts';
import type { PhysicalMemory } from '../src/mmu/physical-memory.ts';
import { CpuState } from '../src/state/cpu-state.ts';
import { offsetOf } from '../src/state/layout.ts';
import { Cpu } from '../src/system/cpu.ts';
import type { Ports, TimeStampCounter } from '../src/system/engine.ts';
import type { HelperName } from '../src/system/helpers.ts';
import { ConfigurationError } from './errors.ts';
import type { Exit } from './exits.ts';

const word = (name: string) => offsetOf(name) >> 2;
const RFLAGS = word('rflagsRest');
const SHADOW = word('interruptShadow');
const HALTED = word('halted');
const SHUTDOWN = word('shutdown');
const ATTENTION = word('attention');
const TF = 0x100;
const MOV_SS_SHADOW = 2;

export interface VcpuParts {
  readonly memory: WebAssembly.Memory;
  readonly table: WebAssembly.Table;
  readonly base: number;
  readonly codeBase: number;
  readonly codeBytes: number;
  readonly physical: PhysicalMemory;
  readonly contexts: Contexts;
  readonly core: WebAssembly.Module;
  readonly arithmetic: WebAssembly.Exports;
  readonly ports: Ports;
  readonly tsc: TimeStampCounter;
  readonly features: ReadonlySet<string>;
  readonly index: number;
  readonly cpus: number;
}

export class Vcpu implements Processor {
  readonly state: CpuState;
  readonly cpu: Cpu;
  readonly engine: Engine;
  readonly code: CodeMemory;
  readonly mmu: Mmu;
  readonly memory: PhysicalMemory;
  private entered = false;
  private stopWanted = false;
  private readonly exits = {
    halt: { kind: 'halt', interruptible: false } as Extract<Exit, { kind: 'halt' }>,
    shutdown: { kind: 'shutdown', rip: 0, vector: 0 } as Extract<Exit, { kind: 'shutdown' }>,
    budget: { kind: 'budget', limit: 'instructions' } as Extract<Exit, { kind: 'budget' }>,
    kicked: { kind: 'kicked' } as Extract<Exit, { kind: 'kicked' }>,
  };

  constructor(parts: VcpuParts) {
    this.state = new CpuState(parts.memory.buffer, parts.base);
    this.memory = parts.physical;
    this.code = new CodeMemory(parts.memory.buffer, parts.codeBase, parts.codeBytes, parts.physical);
    // The architecture and the engine know each other; the architecture speaks only once the engine is there.
    let engine: Engine | null = null;
    this.cpu = new Cpu(this.state, parts.physical, {
      engine: {
        flags: () => (engine === null ? 0 : engine.flags()),
        setFlags: (flags) => engine?.setFlags(flags),
        contextChanged: () => engine?.contextChanged(),
      },
      ports: parts.ports,
      tsc: parts.tsc,
      apic: null,
      features: parts.features,
      index: parts.index,
      cpus: parts.cpus,
    });
    this.mmu = this.cpu.processor.mmu;
    engine = new Engine({
      processor: this,
      memory: parts.memory,
      table: parts.table,
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
  private wantsLook(): boolean {
    const { u32 } = this.state;
    return (
      u32[HALTED] !== 0 || u32[SHUTDOWN] !== 0 || this.stopWanted || u32[SHADOW] !== 0 || (u32[RFLAGS]! & TF) !== 0
    );
  }

  /** Asks a running vCPU to come back after the current instruction: `kicked`. Called from a device. */
  kick(): void {
    this.stopWanted = true;
    this.state.u32[ATTENTION] = 1;
  }

  /**
   * Runs the guest until something wants the embedder.
   * @param maxInstructions return after exactly so many (a fault that is delivered counts as one)
   * @throws ConfigurationError `already-entered` if it is running already
   */
  enter(maxInstructions = Number.POSITIVE_INFINITY): Exit {
    if (this.entered) throw new ConfigurationError('already-entered', 'the vCPU is entered already');
    this.entered = true;
    try {
      return this.run(maxInstructions);
    } finally {
      this.entered = false;
    }
  }

  private run(budget: number): Exit {
    const { u32 } = this.state;
    let left = budget;
    for (;;) {
      if (u32[SHUTDOWN] !== 0) {
        this.exits.shutdown.rip = Number(BigInt.asIntN(64, this.state.get64('rip')));
        this.exits.shutdown.vector = this.state.get32('faultVector');
        return this.exits.shutdown;
      }
      if (this.stopWanted) {
        this.stopWanted = false;
        u32[ATTENTION] = 0;
        return this.exits.kicked;
      }
      if (u32[HALTED] !== 0) {
        this.exits.halt.interruptible = (u32[RFLAGS]! & 0x200) !== 0;
        return this.exits.halt;
      }
      if (left <= 0) return this.exits.budget;
      const shadow = u32[SHADOW]!;
      const stepping = (u32[RFLAGS]! & TF) !== 0;
      if (shadow !== 0 || stepping) {
        const { deliveries } = this.cpu.processor;
        this.engine.step();
        left--;
        // No trap after an instruction that ended in an event (its frame holds TF), nor after MOV SS.
        const trap =
          stepping &&
          this.cpu.processor.deliveries === deliveries &&
          (u32[SHADOW] !== MOV_SS_SHADOW || shadow === MOV_SS_SHADOW);
        if (u32[SHADOW] === shadow) u32[SHADOW] = 0; // it covers one instruction
        if (trap && u32[SHUTDOWN] === 0) this.cpu.deliverSingleStep();
        continue;
      }
      left = this.engine.run(left).left;
    }
  }
}
