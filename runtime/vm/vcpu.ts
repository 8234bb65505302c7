/**
 * One virtual CPU: the architecture (src/system), its engine (src/execute) and the reasons why it comes back. A vCPU is
 * entered on one thread at a time.
 */

import { CodeMemory } from '../../src/execute/code-memory.ts';
import { Engine } from '../../src/execute/engine.ts';
import { InternalError } from '../../src/execute/internal-error.ts';
import type { Processor } from '../../src/execute/processor.ts';
import { AccessLog } from '../../src/mmu/access-log.ts';
import type { Mmu } from '../../src/mmu/mmu.ts';
import type { PhysicalMemory } from '../../src/mmu/physical-memory.ts';
import { CpuState } from '../../src/state/cpu-state.ts';
import { offsetOf } from '../../src/state/layout.ts';
import { Cpu } from '../../src/system/cpu.ts';
import { DR6_BS } from '../../src/system/debug.ts';
import { DirectPrograms } from '../../src/system/direct-programs.ts';
import type { HelperName } from '../../src/system/helpers.ts';
import { BarePins, type InterruptSource } from '../../src/system/interrupt-pins.ts';
import { type ApicListener, LocalApic } from '../../src/system/local-apic.ts';
import { portDirectly } from '../../src/system/port-io.ts';
import { timeMoved, timeStamp } from '../../src/system/time.ts';
import { shown } from '../arguments.ts';
import { ConfigurationError } from '../errors.ts';
import { finishIn } from './answered-in.ts';
import { EmbedderAccesses } from './embedder-accesses.ts';
import { engineLink } from './engine-link.ts';
import { type EntryLimits, entryLimits } from './entry-limits.ts';
import type { EnterOptions, Exit } from './exits.ts';
import { GuestDebug } from './guest-debug.ts';
import { OwnExits } from './own-exits.ts';
import { PendingEvents } from './pending-events.ts';
import { VcpuState } from './registers.ts';
import type { VcpuInterrupts, VcpuParts } from './vcpu-parts.ts';
import type { TimedVcpu, VmTime } from './vm-time.ts';

const word = (name: string) => offsetOf(name) >> 2;
const RIP = word('rip');
const RFLAGS = word('rflagsRest');
const SHADOW = word('interruptShadow');
const INTERRUPTS_WAIT = word('interruptsWait');
const HALTED = word('halted');
const SHUTDOWN = word('shutdown');
const NMI_BLOCKED = word('nmiBlocked');
const ATTENTION = word('attention');
const PENDING = word('pendingDebug');
const SMM = word('smm');
const PRIORITY = word('taskPriority');
const WAITS_FOR_START_UP = word('waitsForStartUp');
const TF = 0x100;
const RF = 1 << 16;
const IF = 0x200;
const MOV_SS_SHADOW = 2;
/** IA32_APIC_BASE: this is the bootstrap processor. */
const BSP = 0x100n;

/** Instructions between two looks at what other threads have signalled. */
const pollSlice = 20_000;

/**
 * One virtual processor: `vm.vcpu(i)`. Embedders use {@link enter}, {@link kick}, {@link state}, {@link debug} and
 * what raises interrupts.
 */
export class Vcpu implements Processor, ApicListener, TimedVcpu {
  /** Its state as the engines keep it; embedders use {@link state}. */
  readonly fields: CpuState;
  /** Translated regions' functions; each vCPU installs its own. */
  readonly table = new WebAssembly.Table({ element: 'anyfunc', initial: 4096 });
  /** What translated code asks there besides. */
  readonly programs: DirectPrograms;
  /** What the architecture does in plain TypeScript. */
  readonly cpu: Cpu;
  /** Who executes it. */
  readonly engine: Engine;
  /** Its interpreter's blocks. */
  readonly code: CodeMemory;
  /** Its address translation. */
  readonly mmu: Mmu;
  /** The VM's memory. */
  readonly memory: PhysicalMemory;
  /** Its number in the VM, which is its initial APIC id. */
  readonly index: number;
  private registers: VcpuState | null = null;
  private entered = false;
  /** Where the instruction is that was given up for an exit. */
  readonly givenUpAt = { low: 0, high: 0, changes: 0 };
  private readonly onEntered: () => void;
  private readonly onLeft: () => void;
  private stopWanted = false;
  private readonly time: VmTime;
  /** The entry's instructions beyond the next alarm. */
  private later = 0;
  private shortened: false | 'for an alarm' | 'for good' = false;
  /** Null: it has none, or none that can be seen. */
  readonly apic: LocalApic | null;
  /** What maskable interrupts come from: the local APIC or, without one, the bare pins. */
  readonly pins: InterruptSource;
  private readonly interrupts: VcpuInterrupts;
  /** Answers for an interrupt at LINT0 that the embedder has raised itself. */
  private acknowledgeLint0: (() => number) | null = null;
  /** Events that wait to be taken. */
  private readonly events: PendingEvents;
  /** Instructions that the last `enter` did not execute. */
  left = 0;
  /** What the present instruction has accessed outside of RAM, and whether it was given up. */
  readonly log: AccessLog;
  /** What the embedder answers in the place of a device. */
  readonly accesses: EmbedderAccesses;
  /** Single steps, breakpoints and watchpoints of the embedder's. */
  readonly debug: GuestDebug;
  private blocks = 0;
  private limits: EntryLimits = entryLimits(Number.POSITIVE_INFINITY);
  private readonly exits: OwnExits;

  constructor(parts: VcpuParts) {
    this.fields = new CpuState(parts.memory.buffer, parts.base);
    this.events = new PendingEvents(this.fields);
    this.programs = new DirectPrograms(this.fields, this.table);
    this.memory = parts.physical;
    const cpu = parts.index;
    this.index = cpu;
    this.log = new AccessLog();
    this.accesses = new EmbedderAccesses(cpu, this.log, () => this.stopSoon());
    this.exits = new OwnExits(cpu, this.fields);
    this.code = new CodeMemory(parts.memory.buffer, parts.codeBase, parts.codeBytes, parts.physical);
    const { apic } = parts;
    this.onEntered = parts.entered;
    this.onLeft = parts.left;
    this.interrupts = parts.interrupts;
    const acknowledgeExternal = () => this.acknowledgeLint0?.() ?? parts.interrupts.acknowledge(this.pins);
    this.time = parts.time;
    this.apic =
      apic === null
        ? null
        : new LocalApic({
            id: parts.index,
            clock: apic.clock,
            sender: apic.bus,
            listener: this,
            acknowledgeExternal,
            priority: this.fields.u32.subarray(PRIORITY, PRIORITY + 2),
            timeOfTsc: (tsc) => parts.tsc.nanosAt(BigInt.asUintN(64, tsc - this.fields.get64('tscOffset'))),
          });
    if (this.apic !== null) apic?.bus.apics.push(this.apic);
    this.pins = this.apic ?? new BarePins({ acknowledgeExternal, listener: this });
    // The architecture and the engine know each other; the architecture speaks only once the engine is there.
    let engine: Engine | null = null;
    this.cpu = new Cpu(this.fields, parts.physical, {
      engine: engineLink(() => engine, this.fields, this.programs),
      ports: parts.ports,
      tsc: parts.tsc,
      random: parts.random,
      apic: this.apic,
      model: parts.model,
      index: parts.index,
      cpus: parts.cpus,
      ...parts.policy,
      embedder: this.accesses,
      accesses: this.log,
    });
    this.mmu = this.cpu.processor.mmu;
    engine = new Engine({
      processor: this,
      memory: parts.memory,
      table: this.table,
      coreModule: parts.core,
      arithmetic: parts.arithmetic,
      patterns: parts.patterns,
      contexts: parts.contexts,
      code: this.code,
      directPort: (request) => portDirectly(this.cpu.processor, request),
      findProgram: (request) => this.programs.memory.find(request),
    });
    this.engine = engine;
    this.programs.attach(this.mmu);
    this.debug = new GuestDebug(cpu, engine, this.cpu);
    this.code.onDrop = (block) => this.engine.blockDropped(block);
    this.cpu.stateReplaced();
    this.time.attach(this, parts.tsc === parts.time);
  }

  // --- time
  timeRestored(): void {
    this.apic?.timeMoved();
  }
  hostNanos(): number {
    return this.time.nanosSinceReference();
  }
  timeStamp(): bigint {
    return timeStamp(this.cpu.processor);
  }
  timeMoved(): void {
    timeMoved(this.cpu.processor);
  }
  get endsByTime(): boolean {
    return this.limits.deadline !== Number.POSITIVE_INFINITY;
  }
  /** Ends the present run after the current instruction: to go on at once, or as if its budget were over. */
  shorten(why: 'for an alarm' | 'for good' = 'for an alarm'): void {
    this.shortened = why;
    this.fields.u32[ATTENTION] = 1;
  }
  /** Instructions that the present entry has not executed yet; exact in a device's callback. */
  get remaining(): number {
    return this.later + this.engine.left;
  }
  /** From alarm to alarm. */
  private runTimed(maxInstructions: number, early: boolean): Exit {
    const { time } = this;
    let total = maxInstructions;
    for (;;) {
      this.shortened = false;
      const budget = time.begin(this, total);
      this.left = budget;
      this.later = total - budget;
      const more = this.later > 0;
      let exit: Exit;
      try {
        // Where a slice of host time ends is nobody's business.
        exit = this.run(more ? time.kind === 'host' : early);
      } finally {
        const done = budget - this.left;
        total -= done;
        this.left = total;
        time.ended(done);
      }
      if (exit.kind !== 'budget' || exit.limit !== 'instructions' || total <= 0) return exit;
      const shortened = this.shortened as false | 'for an alarm' | 'for good';
      if (shortened === 'for good' || (!more && shortened === false)) return exit; // it was to end early
    }
  }

  /** Registers, events and the local APIC, by the numbers of the VM API. */
  get state(): VcpuState {
    this.registers ??= new VcpuState(this);
    return this.registers;
  }
  /** After INIT: nothing is executed until a start-up message comes. */
  private get waitsForStartUp(): boolean {
    return this.fields.u32[WAITS_FOR_START_UP] !== 0;
  }
  private set waitsForStartUp(waits: boolean) {
    this.fields.u32[WAITS_FOR_START_UP] = waits ? 1 : 0;
  }

  // --- what the engine asks
  runHelper(name: string, nextRip: number): boolean {
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
    const waits = this.noteWaiting();
    return (
      u32[ATTENTION] !== 0 ||
      // What IRET or RSM has let through.
      (events.nmi && u32[NMI_BLOCKED] === 0) ||
      ((events.smi || events.init) && u32[SMM] === 0) ||
      (waits && (u32[RFLAGS]! & IF) !== 0) ||
      u32[HALTED] !== 0 ||
      u32[SHUTDOWN] !== 0 ||
      this.stopWanted ||
      u32[SHADOW] === MOV_SS_SHADOW || // what STI leaves, the engine looks after
      u32[PENDING] !== 0 ||
      this.mmu.watches.met ||
      (u32[RFLAGS]! & (TF | RF)) !== 0
    );
  }

  /** Tells generated code whether anything waits for RFLAGS.IF. What comes later takes the vCPU out of it. */
  private noteWaiting(): boolean {
    const waits = this.limits.interruptWindow || this.interruptWaits;
    this.fields.u32[INTERRUPTS_WAIT] = waits ? 1 : 0;
    return waits;
  }

  /** Told when something has come that may end a halt. */
  onEvent: () => void = () => {};
  private notice(): void {
    this.fields.u32[ATTENTION] = 1;
    this.fields.u32[INTERRUPTS_WAIT] = 1;
    this.onEvent();
  }
  /** Why it cannot be entered; null: it can. */
  heldFor: string | null = null;
  /** It runs: {@link enter} has not come back. */
  get isEntered(): boolean {
    return this.entered;
  }
  /** The exit of a vCPU that waits. */
  get haltExit(): Exit {
    return this.exits.halt((this.fields.u32[RFLAGS]! & IF) !== 0);
  }

  /** Asks a running vCPU to come back after the current instruction: `kicked`. Called from a device. */
  kick(): void {
    this.stopWanted = true;
    this.fields.u32[ATTENTION] = 1;
  }

  private stopSoon(): void {
    this.fields.u32[ATTENTION] = 1;
  }

  /**
   * Gives the processor one external interrupt, as KVM_INTERRUPT does: it is delivered when RFLAGS.IF and shadows allow it.
   * @throws ConfigurationError `bad-vector`, or `interrupt-pending` while an earlier one waits
   */
  interrupt(vector: number): void {
    if (!Number.isInteger(vector) || vector < 0 || vector > 255)
      throw new ConfigurationError('bad-vector', `interrupt vector ${shown(vector)}: not 0-255`);
    const { events } = this;
    if (events.external >= 0)
      throw new ConfigurationError('interrupt-pending', `interrupt ${vector}: ${events.external} waits to be taken`);
    events.external = vector;
    this.notice();
  }

  /**
   * The level of LINT0, for machines that have no interrupt controller on `vm.irq`: an ExtINT while the local APIC is hidden
   * or disabled, otherwise what its entry of the local vector table says.
   * @param acknowledge gives the vector when the processor takes an ExtINT; stays in force until another one is given
   */
  lint0(high: boolean, acknowledge?: () => number): void {
    if (acknowledge !== undefined) this.acknowledgeLint0 = acknowledge;
    this.pins.setPin(0, high);
  }
  /** The level of LINT1: an NMI at its rise while the local APIC is hidden or disabled. */
  lint1(high: boolean): void {
    this.pins.setPin(1, high);
  }

  /** An interrupt of {@link interrupt} waits to be taken. */
  get interruptPending(): boolean {
    return this.events.external >= 0;
  }

  // --- what the local APIC has for the processor
  interruptRequested(): void {
    this.notice();
  }
  /** A non-maskable interrupt: taken as soon as none is in service. */
  nmi(): void {
    this.events.nmi = true;
    this.notice();
  }
  /** A system-management interrupt: taken as soon as the processor is not in system-management mode. */
  smi(): void {
    this.events.smi = true;
    this.notice();
  }
  /** INIT: the processor is reset, and all but the first one wait for {@link startUp}. */
  init(): void {
    this.events.init = true;
    this.notice();
  }
  /** A start-up message: a processor that waits for one begins in real mode at `vector` * 4096. */
  startUp(vector: number): void {
    if (!this.waitsForStartUp && !this.events.init) return;
    this.events.startUp = vector;
    this.notice();
  }

  /** Whether entering would execute anything: the processor neither waits nor halts, or an event ends that. */
  get runnable(): boolean {
    const { u32 } = this.fields;
    const { events } = this;
    if (this.debug.paused) return false;
    if (events.init || events.startUp >= 0) return true;
    if (this.waitsForStartUp) return false;
    if (u32[PENDING] !== 0 || events.exception || (events.smi && u32[SMM] === 0)) return true;
    if (u32[HALTED] === 0) return true;
    if (events.nmi && u32[NMI_BLOCKED] === 0) return true;
    return this.interruptWaits && this.cpu.interruptible;
  }
  /** A maskable interrupt is there. */
  private get interruptWaits(): boolean {
    return this.events.external >= 0 || this.pins.requesting;
  }

  /** A maskable interrupt would end the halt. */
  get interruptible(): boolean {
    return !this.waitsForStartUp && this.cpu.interruptible;
  }

  /** Takes the events that can be taken now, in the order of SDM volume 3, table 7-2. */
  private takeEvents(): void {
    const { events, cpu } = this;
    const { u32 } = this.fields;
    const held = this.debug.holdsInterrupts;
    if (events.smi && !held && !this.waitsForStartUp && cpu.deliverSmi()) events.smi = false;
    // In system-management mode INIT waits.
    if (events.init && u32[SMM] === 0) {
      events.init = false;
      events.nmi = false;
      cpu.init();
      this.waitsForStartUp = this.fields.get64('apicBase') & BSP ? false : this.apic !== null;
    }
    if (events.startUp >= 0) {
      if (this.waitsForStartUp) cpu.startUp(events.startUp);
      this.waitsForStartUp = false;
      events.startUp = -1;
    }
    if (this.waitsForStartUp) return;
    if (events.exception) cpu.deliverPending();
    if (u32[SHUTDOWN] !== 0 || (!held && !this.letRepeat())) return;
    const { processor } = cpu;
    processor.repeats = this.engine.repeating || processor.stoppedInside;
    processor.stoppedInside = false;
    // Traps of the last instruction; MOV SS holds them back for one.
    if (u32[PENDING] !== 0 && u32[SHADOW] !== MOV_SS_SHADOW) cpu.deliverDebugTraps();
    if (!held) this.takeInterrupts();
    processor.repeats = false;
  }
  private takeInterrupts(): void {
    const { events, cpu, pins } = this;
    const { u32 } = this.fields;
    if (u32[SHUTDOWN] === 0 && events.nmi && cpu.deliverNmi()) events.nmi = false;
    if (u32[SHUTDOWN] === 0 && events.external >= 0 && cpu.interruptible) {
      const vector = events.external;
      events.external = -1;
      cpu.deliverInterrupt(vector);
    }
    if (u32[SHUTDOWN] === 0 && pins.requesting && cpu.interruptible) {
      const vector = pins.acknowledge();
      if (vector >= 0) cpu.deliverInterrupt(vector);
    }
  }
  /**
   * An interrupt that arrives at a repeated string instruction lets it do one more element: then it is known that the
   * interrupt splits it, which the RF in the frame shows. False: what this led to is to be looked at first.
   */
  private letRepeat(): boolean {
    const { cpu, engine, events } = this;
    const { u32 } = this.fields;
    const waits = (events.nmi && cpu.takesNmi) || (this.interruptWaits && cpu.interruptible);
    if (!waits || u32[HALTED] !== 0 || u32[PENDING] !== 0 || (u32[RFLAGS]! & TF) !== 0) return true;
    // Whatever has been executed before, and however: where an interrupt comes must not depend on how runs are cut up.
    if (!engine.atRepetition) return true;
    if (this.left <= 0 || engine.breakpoints.stopsHere) return false;
    this.left--;
    engine.step(this.left);
    if (this.log.givenUp) this.left++;
    else this.debug.stepped = true;
    return this.accesses.exit === null && u32[PENDING] === 0 && u32[SHUTDOWN] === 0 && !this.mmu.watches.met;
  }

  /**
   * Runs the guest until something wants the embedder. An access that it has answered (pio, mmio, msr, hypercall) is
   * finished first, before any event is taken.
   * @param limits what ends the run otherwise; a number is `maxInstructions`. A fault that is delivered counts as one
   * @param early may return up to a thousand instructions sooner, where that spares the stepping of single ones; `left`
   *   says how many were not executed
   * @returns one of the vCPU's exits, which the next `enter` uses again
   * @throws ConfigurationError `already-entered` if it is running already, `held` while the VM is being moved or has been,
   *   `bad-option` for a limit that is none
   */
  enter(limits: EnterOptions | number = Number.POSITIVE_INFINITY, early = false): Exit {
    if (this.heldFor !== null) throw new ConfigurationError('held', `vCPU ${this.index}: ${this.heldFor}`);
    if (this.entered) throw new ConfigurationError('already-entered', `vCPU ${this.index} is entered already`);
    this.limits = entryLimits(limits);
    this.entered = true;
    this.onEntered();
    this.left = this.limits.instructions;
    this.blocks = this.limits.blocks;
    this.debug.entered();
    try {
      const exit = this.runTimed(this.left, early);
      // Whoever goes on at once looks at the clock then.
      if (exit.kind === 'halt' || exit.kind === 'budget') this.time.look();
      return exit;
    } catch (error) {
      if (!(error instanceof InternalError)) throw error;
      return this.exits.internalError(error.message);
    } finally {
      this.debug.exited();
      this.entered = false;
      this.onLeft();
    }
  }

  private run(early: boolean): Exit {
    const { u32 } = this.fields;
    const { accesses, log, limits, engine, givenUpAt, debug, interrupts, time } = this;
    const { processor } = this.cpu;
    const { deliveries } = processor;
    const byBlock = limits.blocks !== Number.POSITIVE_INFINITY;
    let resumes = accesses.waiting;
    // The embedder may have set another state.
    resumes &&= u32[RIP] === givenUpAt.low && u32[RIP + 1] === givenUpAt.high;
    if (!resumes) {
      accesses.forget();
      processor.awaitedIn = 0;
    }
    const hasDeadline = limits.deadline !== Number.POSITIVE_INFINITY;
    const leftAtDeadline = hasDeadline ? time.leftAt(limits.deadline, this.left) : 0;
    for (;;) {
      if (log.givenUp && !resumes) {
        givenUpAt.low = u32[RIP]!;
        givenUpAt.high = u32[RIP + 1]!;
        givenUpAt.changes = engine.jumps.changes;
        if (accesses.exit !== null) this.mmu.watches.forget(); // met again when it is executed again
      }
      const { failure } = this.memory.sources;
      if (failure !== null) {
        this.memory.sources.failure = null;
        u32[ATTENTION] = 0;
        throw failure;
      }
      if (accesses.exit !== null) {
        u32[ATTENTION] = 0;
        return accesses.take();
      }
      const met = resumes ? null : debug.take();
      if (met !== null) return met;
      if (u32[SHUTDOWN] !== 0) return this.exits.shutdown();
      if (debug.stepped && debug.singleStep) return debug.step();
      if (this.stopWanted) {
        this.stopWanted = false;
        u32[ATTENTION] = 0;
        return this.exits.kicked;
      }
      u32[ATTENTION] = 0;
      if (interrupts.polls) interrupts.poll();
      if (this.shortened !== false) return this.exits.budget('instructions');
      if (!resumes) {
        if (limits.interruptWindow && this.interruptible) return this.exits.window;
        this.takeEvents();
        if (processor.deliveries !== deliveries) debug.stepped = true;
        if (u32[SHUTDOWN] !== 0 || accesses.exit !== null) continue; // the event could not be delivered
        if (this.mmu.watches.met || (debug.stepped && debug.singleStep)) continue;
        if (u32[HALTED] !== 0 || this.waitsForStartUp) return this.haltExit;
      }
      if (this.left <= 0) return this.exits.budget('instructions');
      if (this.blocks <= 0) return this.exits.budget('blocks');
      let slice = hasDeadline ? time.until(limits.deadline, this.left, leftAtDeadline) : this.left;
      if (interrupts.polls) slice = Math.min(slice, pollSlice);
      if (slice <= 0) return this.exits.budget('deadline');
      if (!resumes && engine.breakpoints.stopsHere) return debug.breakpoint();
      if (resumes && finishIn(this, byBlock)) {
        resumes = false;
        continue;
      }
      if (resumes || debug.singleStep || byBlock || u32[SHADOW] !== 0 || (u32[RFLAGS]! & (TF | RF)) !== 0) {
        if (resumes) accesses.resume();
        this.stepOnce(byBlock, resumes);
        debug.stepped = !log.givenUp;
        if (engine.endedBlock) this.blocks--;
        resumes = false;
        continue;
      }
      const withheld = this.left - slice;
      this.noteWaiting();
      const { end, left } = engine.run(slice, early, withheld);
      this.left = left + withheld;
      if (early && end === 'budget' && withheld === 0) return this.exits.budget('instructions');
    }
  }

  /** One instruction, and the traps that follow it. */
  private stepOnce(forBlocks: boolean, resumes: boolean): void {
    const { u32 } = this.fields;
    const { processor } = this.cpu;
    const shadow = u32[SHADOW]!;
    const stepping = (u32[RFLAGS]! & TF) !== 0;
    const branchesOnly = (this.fields.get32('debugCtl') & 2) !== 0;
    const { deliveries } = processor;
    processor.stepSettled = false;
    // Of a repeated instruction, an element that was answered is all that is executed.
    if (resumes) u32[ATTENTION] = 1;
    this.left--;
    this.engine.step(this.left, branchesOnly, forBlocks);
    if (this.log.givenUp) {
      this.left++;
      u32[SHADOW] = shadow;
      return;
    }
    if (resumes) this.accesses.forget();
    // No trap after an instruction that ended in an event (its frame holds TF), nor after MOV SS.
    const trap =
      stepping &&
      processor.deliveries === deliveries &&
      !processor.stepSettled &&
      (!branchesOnly || this.engine.branched) &&
      (u32[SHADOW] !== MOV_SS_SHADOW || shadow === MOV_SS_SHADOW);
    if (u32[SHADOW] === shadow) u32[SHADOW] = 0; // it covers one instruction
    if (trap && u32[SHUTDOWN] === 0) u32[PENDING] = u32[PENDING]! | DR6_BS;
    if (processor.deliveries !== deliveries) this.engine.endedBlock = true;
  }
}
