/**
 * The local APIC of one processor: xAPIC (a page of registers) and x2APIC (MSRs), priorities, local vector table, inter-
 * processor interrupts. SDM volume 3, chapter 11.
 *
 * It knows no engine: what it has for its processor it says through `ApicListener`, and other APICs are reached through
 * `IpiSender` (apic-bus.ts).
 */
import {
  APR,
  type ApicKept,
  CURRENT_COUNT,
  DFR,
  DIVIDE,
  delivery,
  EOI,
  ESR,
  ICR_HIGH,
  ICR_LOW,
  ICR_MASK,
  ID,
  INITIAL_COUNT,
  IRR,
  ISR,
  LDR,
  LVT_ERROR,
  LVT_LINT0,
  LVT_TIMER,
  lvtMasks,
  PPR,
  REMOTE_IRR,
  SELF_IPI,
  SVR,
  TMR,
  TPR,
  VERSION,
  VERSION_VALUE,
} from './apic-map.ts';
import { type ApicClock, ApicTimer } from './apic-timer.ts';
import type { LocalApic as ApicForInstructions } from './engine.ts';
import { InterruptSource, type PinListener, type PinParts } from './interrupt-pins.ts';
import { VectorSet } from './vector-set.ts';

/** What happens to the processor. */
export interface ApicListener extends PinListener {
  smi(): void;
  init(): void;
  startUp(vector: number): void;
}

/** Takes what a processor writes to its ICR. */
export interface IpiSender {
  /** @param destination as the ICR holds it: 8 bits (xAPIC) or 32 (x2APIC) */
  send(source: LocalApic, command: number, destination: number): void;
  /** An end of interrupt for a level-triggered vector. */
  endOfInterrupt(vector: number): void;
  /** A processor has taken an interrupt: there is room for the next one of its vector. */
  taken(): void;
}

export interface ApicParts extends PinParts {
  /** The initial APIC id. */
  readonly id: number;
  readonly clock: ApicClock;
  readonly sender: IpiSender;
  readonly listener: ApicListener;
  /** Nanoseconds at which this processor's time-stamp counter shows a value. */
  readonly timeOfTsc: (tsc: bigint) => number;
  /** The vCPU's fields `taskPriority` and `priorityPaths`. */
  readonly priority?: Uint32Array;
}

const MASKED = 1 << 16;
const LEVEL = 1 << 15;
const ACTIVE_LOW = 1 << 13;
const SVR_ENABLED = 1 << 8;
const SVR_NO_BROADCAST = 1 << 12;
const ERROR_SEND_VECTOR = 1 << 5;
const ERROR_RECEIVE_VECTOR = 1 << 6;
const ERROR_REGISTER = 1 << 7;
const TSC_DEADLINE_MSR = 0x6e0;

/** Generated code reads CR8, or also writes it. */
const READ_PATH = 1;
const BOTH_PATHS = 3;

const BASE_ENABLE = 1n << 11n;
const BASE_X2APIC = 1n << 10n;

/** What became of a message: taken up, merged with one of its vector that waits already, or nobody's. */
export const outcome = { accepted: 1, merged: 0, ignored: -1 } as const;

export class LocalApic extends InterruptSource implements ApicForInstructions {
  readonly id: number;
  readonly timer: ApicTimer;
  private readonly parts: ApicParts;
  private readonly irr = new VectorSet();
  private readonly isr = new VectorSet();
  private readonly tmr = new VectorSet();
  private readonly lvt = new Int32Array(6);
  private enabled = true;
  private x2 = false;
  private base = 0xfee0_0000;
  /** The task priority, and who does CR8 (state/layout.ts, `taskPriority`, `priorityPaths`): generated code sees both. */
  private readonly priority: Uint32Array;
  private ldr = 0;
  private dfr = 0xffff_ffff;
  private svr = 0xff;
  private esr = 0;
  private errors = 0;
  /** An I/O APIC has passed on the external controller's request. */
  private externalLatched = false;
  private icrLow = 0;
  private icrHigh = 0;

  constructor(parts: ApicParts) {
    super(parts);
    this.parts = parts;
    this.priority = parts.priority ?? new Uint32Array(2);
    this.id = parts.id;
    this.timer = new ApicTimer(parts.clock, parts.timeOfTsc, () => this.local(LVT_TIMER));
    this.reset();
  }

  /** State after power-on, RESET or INIT; base address and enabling are IA32_APIC_BASE's. */
  reset(): void {
    for (const set of [this.irr, this.isr, this.tmr]) set.words.fill(0);
    this.lvt.fill(MASKED);
    this.timer.reset();
    this.tpr = 0;
    this.dfr = 0xffff_ffff;
    this.svr = 0xff;
    this.esr = 0;
    this.errors = 0;
    this.icrLow = 0;
    this.icrHigh = 0;
    this.externalLatched = false;
    this.external.reset();
    this.ldr = this.x2 ? this.x2LogicalId() : 0;
    this.update();
  }

  /** Everything that it keeps, as apic-registers.ts lists it. */
  keep(): ApicKept {
    const { tpr, ldr, dfr, svr, esr, errors, icrLow, icrHigh, externalLatched } = this;
    return {
      ...{ tpr, ldr, dfr, svr, esr, errors, icrLow, icrHigh },
      externalLatched: externalLatched ? 1 : 0,
      isr: this.isr.words.slice(),
      tmr: this.tmr.words.slice(),
      irr: this.irr.words.slice(),
      lvt: Uint32Array.from(this.lvt),
      timer: this.timer.keep(),
    };
  }
  /** Takes back what {@link keep} gave, with IA32_APIC_BASE; nothing follows from it but what is requested now. */
  replace(kept: ApicKept, base: bigint): void {
    this.base = Number(base & 0xf_ffff_ffff_f000n);
    this.enabled = (base & BASE_ENABLE) !== 0n;
    this.x2 = this.enabled && (base & BASE_X2APIC) !== 0n;
    this.isr.words.set(kept.isr);
    this.tmr.words.set(kept.tmr);
    this.irr.words.set(kept.irr);
    this.lvt.set(kept.lvt);
    this.tpr = kept.tpr;
    this.ldr = kept.ldr;
    this.dfr = kept.dfr;
    this.svr = kept.svr;
    this.esr = kept.esr;
    this.errors = kept.errors;
    this.icrLow = kept.icrLow;
    this.icrHigh = kept.icrHigh;
    this.externalLatched = kept.externalLatched !== 0;
    this.timer.replace((kept.lvt[0]! >> 17) & 3, kept.timer);
    this.update();
  }

  timeMoved(): void {
    this.timer.deadlineMoved();
  }

  /** IA32_APIC_BASE was written; the MSR has checked the transition. */
  baseChanged(base: bigint): void {
    const enabled = (base & BASE_ENABLE) !== 0n;
    const x2 = enabled && (base & BASE_X2APIC) !== 0n;
    this.base = Number(base & 0xf_ffff_ffff_f000n);
    const changed = enabled !== this.enabled || x2 !== this.x2;
    const lost = !enabled && this.enabled;
    this.enabled = enabled;
    this.x2 = x2;
    if (lost) this.reset();
    else if (changed && x2) this.ldr = this.x2LogicalId();
    this.update();
  }
  private x2LogicalId(): number {
    return (((this.id >>> 4) << 16) | (1 << (this.id & 15))) >>> 0;
  }

  /** Whether the page of registers lies over this physical address. */
  claims(physical: number): boolean {
    return physical >= this.base && physical < this.base + 4096 && this.enabled && !this.x2;
  }
  get page(): number {
    return this.enabled && !this.x2 ? this.base / 4096 : -1;
  }
  /** Takes messages from the bus. */
  get isEnabled(): boolean {
    return this.enabled;
  }

  // --- priorities
  private get tpr(): number {
    return this.priority[0]!;
  }
  private set tpr(value: number) {
    this.priority[0] = value;
  }
  get taskPriority(): number {
    return this.tpr >> 4;
  }
  set taskPriority(value: number) {
    this.tpr = (value & 15) << 4;
    this.update();
  }
  /** Bits 7-0 of the processor priority. */
  get processorPriority(): number {
    const inService = this.isr.highest();
    return this.tpr >> 4 >= inService >> 4 ? this.tpr : inService & 0xf0;
  }
  private get softwareEnabled(): boolean {
    return this.enabled && (this.svr & SVR_ENABLED) !== 0;
  }
  /** The external controller's request reaches the processor: through LINT0 as ExtINT, or past a disabled APIC. */
  private get externalPending(): boolean {
    if (this.external.vector >= 0) return true;
    if (this.external.awaited) return false;
    if (this.externalLatched) return true;
    if (!this.high[0]) return false;
    if (!this.enabled) return true;
    const entry = this.lvt[LVT_LINT0 - LVT_TIMER]!;
    return (entry & MASKED) === 0 && ((entry >> 8) & 7) === delivery.external;
  }
  protected update(): void {
    const vector = this.irr.highest();
    // Where no vector waits, a priority holds none back.
    this.priority[1] = vector < 0 ? BOTH_PATHS : READ_PATH;
    this.request(
      this.externalPending || (vector >= 0 && this.softwareEnabled && vector >> 4 > this.processorPriority >> 4),
    );
  }

  /** The vector that the processor is to deliver now, from then on in service; -1 = none after all. */
  acknowledge(): number {
    if (this.externalPending) {
      this.externalLatched = false;
      const vector = this.external.take();
      this.update();
      if (vector >= 0) this.parts.sender.taken();
      return vector;
    }
    const vector = this.irr.highest();
    if (!this.requesting || vector < 0) return -1;
    this.irr.put(vector, false);
    this.isr.put(vector, true);
    this.update();
    this.parts.sender.taken();
    return vector;
  }

  // --- what arrives
  /**
   * A message from the bus or the local vector table, in one of the delivery modes.
   * @returns one of `outcome`
   */
  accept(mode: number, vector: number, level: boolean): number {
    switch (mode) {
      case delivery.smi:
        this.parts.listener.smi();
        return outcome.accepted;
      case delivery.nmi:
        this.parts.listener.nmi();
        return outcome.accepted;
      case delivery.init:
        this.parts.listener.init();
        return outcome.accepted;
      case delivery.startUp:
        this.parts.listener.startUp(vector);
        return outcome.accepted;
      case delivery.fixed:
      case delivery.lowest:
        return this.acceptFixed(vector, level);
      case delivery.external: {
        const merged = this.externalLatched;
        this.externalLatched = true;
        this.update();
        return merged ? outcome.merged : outcome.accepted;
      }
      default:
        return outcome.ignored;
    }
  }
  private acceptFixed(vector: number, level: boolean): number {
    if (!this.softwareEnabled) return outcome.ignored;
    if (vector < 16) {
      this.raiseError(ERROR_RECEIVE_VECTOR);
      return outcome.ignored;
    }
    const merged = this.irr.has(vector);
    this.irr.put(vector, true);
    this.tmr.put(vector, level);
    this.update();
    return merged ? outcome.merged : outcome.accepted;
  }
  /** An event of the local vector table. */
  private local(register: number): void {
    const entry = this.lvt[register - LVT_TIMER]!;
    if ((entry & MASKED) !== 0 || !this.enabled) return;
    const mode = register === LVT_TIMER || register === LVT_ERROR ? delivery.fixed : (entry >> 8) & 7;
    this.accept(mode, entry & 0xff, false);
  }
  private raiseError(bit: number): void {
    this.errors |= bit;
    this.local(LVT_ERROR);
  }
  protected driven(pin: 0 | 1, rising: boolean): void {
    const index = LVT_LINT0 - LVT_TIMER + pin;
    const entry = this.lvt[index]!;
    if (!this.enabled) {
      if (pin === 1 && rising) this.parts.listener.nmi();
      return;
    }
    const mode = (entry >> 8) & 7;
    if ((entry & MASKED) !== 0 || mode === delivery.external) return;
    if (mode === delivery.fixed && (entry & LEVEL) !== 0) {
      if ((entry & REMOTE_IRR) !== 0) return;
      this.lvt[index] = entry | REMOTE_IRR;
      this.accept(mode, entry & 0xff, true);
    } else if (rising) this.accept(mode, entry & 0xff, false);
  }

  private endOfInterrupt(): void {
    const vector = this.isr.highest();
    if (vector < 0) return;
    this.isr.put(vector, false);
    if (this.tmr.has(vector)) {
      for (const pin of [0, 1] as const) {
        const index = LVT_LINT0 - LVT_TIMER + pin;
        if ((this.lvt[index]! & REMOTE_IRR) === 0 || (this.lvt[index]! & 0xff) !== vector) continue;
        this.lvt[index]! &= ~REMOTE_IRR;
        if (this.high[pin]) this.driven(pin, false);
      }
      if ((this.svr & SVR_NO_BROADCAST) === 0) this.parts.sender.endOfInterrupt(vector);
    }
    this.update();
  }

  /** Whether a message for this destination is for this APIC. */
  matches(destination: number, logical: boolean): boolean {
    if (!this.enabled) return false;
    if (destination === 0xffff_ffff || (!this.x2 && destination === 0xff)) return true;
    if (!logical) return destination === this.id;
    if (this.x2) {
      return destination >>> 16 === this.ldr >>> 16 && (destination & this.ldr & 0xffff) !== 0;
    }
    if (destination > 0xff) return false;
    const mine = this.ldr >>> 24;
    if (this.dfr >>> 28 === 15) return (mine & destination & 0xff) !== 0;
    return mine >> 4 === destination >> 4 && (mine & destination & 15) !== 0;
  }
  /** 8-bit destinations, of I/O APICs and messages, name every APIC by FFH. */
  matchesShort(destination: number, logical: boolean): boolean {
    return this.matches(destination === 0xff ? 0xffff_ffff : destination, logical);
  }

  // --- registers
  private readRegister(register: number): number | null {
    if (register >= ISR && register < ISR + 8) return this.isr.words[register - ISR]!;
    if (register >= TMR && register < TMR + 8) return this.tmr.words[register - TMR]!;
    if (register >= IRR && register < IRR + 8) return this.irr.words[register - IRR]!;
    if (register >= LVT_TIMER && register <= LVT_ERROR) return this.lvt[register - LVT_TIMER]! >>> 0;
    switch (register) {
      case ID:
        return this.x2 ? this.id : (this.id << 24) >>> 0;
      case VERSION:
        return VERSION_VALUE;
      case TPR:
        return this.tpr;
      case APR:
        return this.x2 ? null : 0;
      case PPR:
        return this.processorPriority;
      case LDR:
        return this.ldr;
      case DFR:
        return this.x2 ? null : this.dfr;
      case SVR:
        return this.svr;
      case ESR:
        return this.esr;
      case ICR_LOW:
        return this.icrLow;
      case ICR_HIGH:
        return this.x2 ? null : this.icrHigh;
      case INITIAL_COUNT:
        return this.timer.initialCount;
      case CURRENT_COUNT:
        return this.timer.currentCount;
      case DIVIDE:
        return this.timer.divideConfiguration;
      default:
        return null;
    }
  }

  /** @returns false if there is no such register to write */
  private writeRegister(register: number, value: number): boolean {
    if (register >= LVT_TIMER && register <= LVT_ERROR) {
      this.writeLvt(register, value);
      return true;
    }
    switch (register) {
      case TPR:
        this.tpr = value & 0xff;
        this.update();
        return true;
      case EOI:
        this.endOfInterrupt();
        return true;
      case LDR:
        if (this.x2) return false;
        this.ldr = (value & 0xff00_0000) >>> 0;
        return true;
      case DFR:
        if (this.x2) return false;
        this.dfr = (value | 0x0fff_ffff) >>> 0;
        return true;
      case SVR:
        this.svr = value & 0x11ff;
        if ((value & SVR_ENABLED) === 0) for (let i = 0; i < this.lvt.length; i++) this.lvt[i]! |= MASKED;
        this.update();
        return true;
      case ESR:
        this.esr = this.errors;
        this.errors = 0;
        return true;
      case ICR_LOW:
        this.icrLow = value & ICR_MASK;
        this.command(this.icrLow, this.icrHigh >>> 24);
        return true;
      case ICR_HIGH:
        if (this.x2) return false;
        this.icrHigh = (value & 0xff00_0000) >>> 0;
        return true;
      case INITIAL_COUNT:
        this.timer.initialCount = value;
        return true;
      case DIVIDE:
        this.timer.divideConfiguration = value;
        return true;
      default:
        return false;
    }
  }
  private writeLvt(register: number, value: number): void {
    const index = register - LVT_TIMER;
    const kept = this.lvt[index]! & REMOTE_IRR;
    this.lvt[index] = (value & lvtMasks[index]!) | kept;
    if (!this.softwareEnabled) this.lvt[index]! |= MASKED;
    if (register === LVT_TIMER) this.timer.setMode((value >> 17) & 3);
    const pin = index - (LVT_LINT0 - LVT_TIMER);
    if ((pin === 0 || pin === 1) && this.high[pin] && (value & ACTIVE_LOW) === 0) this.driven(pin, false);
    this.update();
  }
  private command(low: number, destination: number): void {
    const mode = (low >> 8) & 7;
    if (mode === delivery.fixed || mode === delivery.lowest) {
      if ((low & 0xff) < 16) return this.raiseError(ERROR_SEND_VECTOR);
    }
    this.parts.sender.send(this, low, destination);
  }

  // --- the page of registers
  /** A load from the register page. */
  read(offset: number, bytes: number): number {
    const value = this.readRegister(offset >> 4);
    if (value === null) this.raiseError(ERROR_REGISTER);
    const within = offset & 15;
    if (within > 3) return 0;
    const shifted = (value ?? 0) >>> (within * 8);
    return bytes === 4 ? shifted : shifted & (bytes === 2 ? 0xffff : 0xff);
  }
  /** A store to the register page; what is not 32 bits wide at a register's start is lost. */
  write(offset: number, bytes: number, value: number): void {
    if (bytes !== 4 || (offset & 15) !== 0) return;
    if (!this.writeRegister(offset >> 4, value)) this.raiseError(ERROR_REGISTER);
  }

  // --- MSRs
  /** @returns null = #GP */
  readMsr(index: number): bigint | null {
    if (index === TSC_DEADLINE_MSR) return this.timer.deadline;
    if (!this.x2) return null;
    const register = index - 0x800;
    if (register === EOI || register === SELF_IPI) return null;
    const value = this.readRegister(register);
    if (value === null) return null;
    return register === ICR_LOW ? (BigInt(this.icrHigh) << 32n) | BigInt(value) : BigInt(value);
  }
  /** @returns false = #GP */
  writeMsr(index: number, value: bigint): boolean {
    if (index === TSC_DEADLINE_MSR) {
      this.timer.deadline = value;
      return true;
    }
    if (!this.x2) return false;
    const register = index - 0x800;
    const low = Number(value & 0xffff_ffffn);
    const high = Number(value >> 32n);
    if (register === ICR_LOW) {
      if ((low & ~ICR_MASK) !== 0) return false;
      this.icrLow = low;
      this.icrHigh = high;
      this.command(low, high);
      return true;
    }
    if (high !== 0) return false;
    if (register === SELF_IPI) {
      if (low > 0xff) return false;
      if (low < 16) this.raiseError(ERROR_SEND_VECTOR);
      else this.accept(delivery.fixed, low, false);
      return true;
    }
    if ((register === EOI || register === ESR) && low !== 0) return false;
    if (register === TPR && low > 0xff) return false;
    if (register === SVR && (low & ~0x11ff) !== 0) return false;
    if (register === DIVIDE && (low & ~0xb) !== 0) return false;
    if (register >= LVT_TIMER && register <= LVT_ERROR && (low & ~lvtMasks[register - LVT_TIMER]! & ~0x5000) !== 0)
      return false;
    return this.writeRegister(register, low);
  }
}
