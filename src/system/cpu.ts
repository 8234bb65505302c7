/** A virtual CPU's architecture: its state and everything that long instructions and events do with it. No engine inside. */
import type { PhysicalMemory } from '../mmu/physical-memory.ts';
import type { CpuState } from '../state/cpu-state.ts';
import { layout, offsetOf, segmentNames } from '../state/layout.ts';
import { DB, NMI, NO_ERROR_CODE } from '../state/vectors.ts';
import { debugChanged } from './debug.ts';
import { type HelperName, runHelper } from './helpers.ts';
import { deliver, deliverException, type EventKind } from './interrupts.ts';
import { CR0_CD, CR0_ET, CR0_NW, Processor, RFLAGS_IF, type Surroundings } from './processor.ts';
import { ACCESS_REAL, ACCESS_USABLE } from './segment-register.ts';
import { refreshRanges } from './segments.ts';
import { enterSystemManagement } from './system-management.ts';

const FAULT_VECTOR = offsetOf('faultVector') >> 2;
const FAULT_CODE = offsetOf('faultErrorCode') >> 2;
/** In the field `pendingException`. */
const PENDING_HAS_CODE = 1 << 11;

export class Cpu {
  readonly processor: Processor;

  /** The CPU is reset. */
  constructor(state: CpuState, memory: PhysicalMemory, around: Surroundings) {
    this.processor = new Processor(state, memory, around);
    this.reset();
  }

  /** Power-on state: real mode, F000:FFF0 with CS base FFFF0000H. SDM volume 3, table 10-1. */
  reset(): void {
    const p = this.processor;
    const { state } = p;
    for (const field of layout.values()) {
      // The generator of random numbers is not the guest's.
      if (field.set === null || field.name === 'randomState') continue;
      const bytes = field.type === 'u32' ? 4 : field.type === 'u64' ? 8 : 16;
      state.u8.fill(0, field.offset, field.offset + bytes);
    }
    for (const name of segmentNames) {
      state.set32(`${name}Limit`, 0xffff);
      state.set32(`${name}Access`, ACCESS_REAL);
    }
    state.set32('ldtrAccess', ACCESS_USABLE | 0x82);
    state.set32('trAccess', ACCESS_USABLE | 0x8b);
    p.cs.selector = 0xf000;
    p.cs.base = 0xffff_0000;
    state.set64('rip', 0xfff0n);
    state.set64('rdx', BigInt(p.model.signature));
    state.set32('gdtrLimit', 0xffff);
    state.set32('idtrLimit', 0xffff);
    state.set64('cr0', BigInt((CR0_CD | CR0_NW | CR0_ET) >>> 0));
    state.set64('dr6', 0xffff_0ff0n);
    state.set64('dr7', 0x400n);
    state.set64('xcr0', 1n);
    state.set32('fcw', 0x40);
    state.set32('ftw', 0xff);
    state.set32('mxcsr', 0x1f80);
    state.set64('pat', 0x0007_0406_0007_0406n);
    state.set64('apicBase', 0xfee0_0000n | (p.apic === null ? 0n : 0x800n) | (p.index === 0 ? 0x100n : 0n));
    state.set64('miscEnable', 1n);
    state.set32('smbase', 0x3_0000);
    // Application processors sleep until they are started.
    state.set32('waitsForStartUp', p.apic !== null && p.index !== 0 ? 1 : 0);
    p.apic?.baseChanged(state.get64('apicBase'));
    p.apic?.reset();
    p.setRflags(2);
    this.stateReplaced();
  }

  /** After the fields were written from outside (a loader, the API, a snapshot): everything derived from them is made anew. */
  stateReplaced(): void {
    const p = this.processor;
    refreshRanges(p);
    p.mmu.setApicPage(p.apic?.page ?? -1);
    p.mmu.reconfigure();
    debugChanged(p);
    p.engine.contextChanged();
  }

  /**
   * INIT: as RESET, but the FPU, SSE, MTRRs, the time-stamp counter and most MSRs stay as they are. SDM volume 3, table
   * 10-1.
   */
  init(): void {
    const { state } = this.processor;
    const kept: [string, bigint][] = [];
    for (const { name, type, set } of layout.values()) {
      const waits = name === 'pendingSmi' || name === 'pendingStartUp' || name === 'pendingExternal';
      if (set === 'x87' || set === 'sse' || set === 'msr' || set === 'xcr' || waits) {
        if (type === 'u32') kept.push([name, BigInt(state.get32(name))]);
        else if (type === 'u64') kept.push([name, state.get64(name)]);
      }
    }
    const wide = [...layout.values()].filter(({ type }) => type === 'f80' || type === 'v128');
    const bytes = wide.map(({ offset }) => state.u8.slice(offset, offset + 16));
    const cacheBits = state.get64('cr0') & 0x6000_0000n;
    this.reset();
    for (const [i, { offset }] of wide.entries()) state.u8.set(bytes[i]!, offset);
    for (const [name, value] of kept) {
      if (layout.get(name)!.type === 'u32') state.set32(name, Number(value));
      else state.set64(name, value);
    }
    state.set64('cr0', 0x10n | cacheBits);
    this.processor.apic?.reset();
    this.stateReplaced();
  }
  /** A start-up message: real mode at a page below 1 MiB. */
  startUp(vector: number): void {
    const p = this.processor;
    p.cs.selector = vector << 8;
    p.cs.base = vector << 12;
    p.rip = 0;
    this.stateReplaced();
  }

  /**
   * Runs a helper by name: `rip` is at its instruction, `next` after it. Guest faults are delivered; afterwards `rip`,
   * `halted` and `shutdown` say how to go on.
   */
  runHelper(name: HelperName, next: number): void {
    runHelper(this.processor, name, next);
  }

  /** Delivers an event. For `exception` and `external` the frame holds the current `rip`. */
  deliver(vector: number, kind: EventKind, errorCode: number = NO_ERROR_CODE): void {
    deliver(this.processor, vector, kind, errorCode, this.processor.rip);
  }

  /** Delivers the fault in the fields faultVector, faultErrorCode and faultAddress to the instruction at `rip`. */
  deliverFault(): void {
    const { processor: p } = this;
    deliverException(p, p.state.u32[FAULT_VECTOR]!, p.state.u32[FAULT_CODE]!);
  }

  /** Delivers the exception that the embedder has put into the field `pendingException`. CR2 is what it says. */
  deliverPending(): void {
    const { processor: p } = this;
    const { state } = p;
    const information = state.get32('pendingException');
    state.set32('pendingException', 0);
    state.set64('faultAddress', state.get64('cr2'));
    deliverException(
      p,
      information & 0xff,
      (information & PENDING_HAS_CODE) !== 0 ? state.get32('pendingErrorCode') : NO_ERROR_CODE,
    );
    state.set32('pendingErrorCode', 0);
  }
  /** Delivers the debug traps that the instruction before has raised (the field `pendingDebug`). */
  deliverDebugTraps(): void {
    const { processor: p } = this;
    p.debugCause = p.state.get32('pendingDebug');
    deliver(p, DB, 'exception', NO_ERROR_CODE, p.rip);
  }
  /** Stops before the instruction at `rip`: an instruction breakpoint. */
  deliverBreakpoint(bits: number): void {
    const { processor: p } = this;
    p.debugCause = bits;
    deliver(p, DB, 'exception', NO_ERROR_CODE, p.rip);
  }

  /** May a maskable interrupt be delivered before the next instruction? */
  get interruptible(): boolean {
    const { processor: p } = this;
    return (p.rflagsRest & RFLAGS_IF) !== 0 && p.interruptShadow === 0;
  }
  deliverInterrupt(vector: number): void {
    this.deliver(vector, 'external');
  }
  /** SMI: enters system-management mode, unless the processor is in it. */
  deliverSmi(): boolean {
    if (this.processor.state.get32('smm') !== 0) return false;
    enterSystemManagement(this.processor);
    return true;
  }
  get takesNmi(): boolean {
    const { processor: p } = this;
    return p.state.get32('nmiBlocked') === 0 && p.interruptShadow === 0;
  }
  /**
   * Delivers an NMI unless one is being handled or the shadow of MOV SS, or of STI, is over the next instruction: the manual
   * leaves the latter to the processor, and systems rely on nothing coming between STI and HLT.
   */
  deliverNmi(): boolean {
    const { processor: p } = this;
    if (!this.takesNmi) return false;
    p.state.set32('nmiBlocked', 1);
    this.deliver(NMI, 'external');
    return true;
  }
}
