/**
 * The events that wait for a vCPU to take them, as fields of its block: so they are part of its state, and registers of the
 * VM API. SDM volume 3, section 7.9 (priority among simultaneous events).
 */
import type { CpuState } from '../../src/state/cpu-state.ts';
import { offsetOf } from '../../src/state/layout.ts';

const word = (name: string) => offsetOf(name) >> 2;
const NMI = word('pendingNmi');
const SMI = word('pendingSmi');
const INIT = word('pendingInit');
const START_UP = word('pendingStartUp');
const EXTERNAL = word('pendingExternal');
const EXCEPTION = word('pendingException');
/** With a vector: there is one. */
const PRESENT = 0x100;

export class PendingEvents {
  private readonly u32: Uint32Array;

  constructor(fields: CpuState) {
    this.u32 = fields.u32;
  }
  get nmi(): boolean {
    return this.u32[NMI] !== 0;
  }
  set nmi(waits: boolean) {
    this.u32[NMI] = waits ? 1 : 0;
  }
  get smi(): boolean {
    return this.u32[SMI] !== 0;
  }
  set smi(waits: boolean) {
    this.u32[SMI] = waits ? 1 : 0;
  }
  get init(): boolean {
    return this.u32[INIT] !== 0;
  }
  set init(waits: boolean) {
    this.u32[INIT] = waits ? 1 : 0;
  }
  /** The vector of a start-up message, -1 = none. */
  get startUp(): number {
    return this.vector(START_UP);
  }
  set startUp(vector: number) {
    this.u32[START_UP] = vector < 0 ? 0 : PRESENT | vector;
  }
  /** The vector of an external interrupt that the embedder has given, -1 = none. */
  get external(): number {
    return this.vector(EXTERNAL);
  }
  set external(vector: number) {
    this.u32[EXTERNAL] = vector < 0 ? 0 : PRESENT | vector;
  }
  /** An exception that the embedder wants delivered. */
  get exception(): boolean {
    return this.u32[EXCEPTION] !== 0;
  }
  private vector(at: number): number {
    const value = this.u32[at]!;
    return value === 0 ? -1 : value & 0xff;
  }
}
