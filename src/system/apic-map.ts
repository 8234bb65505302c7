/**
 * The registers of a local APIC: where they are, which of their bits can be written, and what is kept of them. SDM volume 3, tables 11-1 and 11-6.
 */

import type { ApicTimerKept } from './apic-timer.ts';

/** Delivery modes, as in the ICR, the LVT and I/O APIC entries. */
export const delivery = { fixed: 0, lowest: 1, smi: 2, nmi: 4, init: 5, startUp: 6, external: 7 } as const;

// By offset in the page / 16, which is also the number of the x2APIC's MSR less 800H.
export const ID = 0x02;
export const VERSION = 0x03;
export const TPR = 0x08;
export const APR = 0x09;
export const PPR = 0x0a;
export const EOI = 0x0b;
export const LDR = 0x0d;
export const DFR = 0x0e;
export const SVR = 0x0f;
export const ISR = 0x10;
export const TMR = 0x18;
export const IRR = 0x20;
export const ESR = 0x28;
export const ICR_LOW = 0x30;
export const ICR_HIGH = 0x31;
export const LVT_TIMER = 0x32;
export const LVT_LINT0 = 0x35;
export const LVT_ERROR = 0x37;
export const INITIAL_COUNT = 0x38;
export const CURRENT_COUNT = 0x39;
export const DIVIDE = 0x3e;
export const SELF_IPI = 0x3f;

/** Version 14H, six LVT entries, EOI broadcasts can be suppressed. */
export const VERSION_VALUE = 0x0105_0014;
/** Bits of timer, thermal, performance, LINT0, LINT1 and error entries that can be written. */
export const lvtMasks = [0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff] as const;
export const ICR_MASK = 0x000c_cfff;
/** In the LVT entries of pins: a level-triggered interrupt is not over yet. */
export const REMOTE_IRR = 1 << 14;

/** The state of a local APIC, as unsigned words; what IA32_APIC_BASE says is not in it. */
export interface ApicKept {
  tpr: number;
  ldr: number;
  dfr: number;
  svr: number;
  esr: number;
  /** Errors that the next write to the ESR shows. */
  errors: number;
  icrLow: number;
  icrHigh: number;
  /** An I/O APIC has passed on the external controller's request. */
  externalLatched: number;
  readonly isr: Uint32Array;
  readonly tmr: Uint32Array;
  readonly irr: Uint32Array;
  readonly lvt: Uint32Array;
  readonly timer: ApicTimerKept;
}
