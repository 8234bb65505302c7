/** Descriptors of GDT, LDT and IDT: reading them and what their fields mean. SDM volume 3, sections 3.4.5, 3.5 and 7.11. */
import { addressOf, moved } from '../mmu/linear.ts';
import { GP } from '../state/vectors.ts';
import type { Processor } from './processor.ts';
import {
  ACCESS_CODE,
  ACCESS_CONFORMING,
  ACCESS_DB,
  ACCESS_L,
  ACCESS_USABLE,
  ACCESS_WRITABLE,
} from './segment-register.ts';

/** Types of system descriptors. */
export const TSS16_AVAILABLE = 1;
export const LDT = 2;
export const TSS16_BUSY = 3;
export const CALL_GATE16 = 4;
export const TASK_GATE = 5;
export const INTERRUPT_GATE16 = 6;
export const TRAP_GATE16 = 7;
export const TSS_AVAILABLE = 9;
export const TSS_BUSY = 11;
export const CALL_GATE = 12;
export const INTERRUPT_GATE = 14;
export const TRAP_GATE = 15;

export class Descriptor {
  readonly selector: number;
  /** Linear address in its table. */
  readonly address: number;
  readonly low: number;
  readonly high: number;
  /** Bits 63-32 of a 16-byte descriptor's base or offset. */
  readonly upper: number;

  constructor(selector: number, address: number, low: number, high: number, upper = 0) {
    this.selector = selector;
    this.address = address;
    this.low = low;
    this.high = high;
    this.upper = upper;
  }
  get rpl(): number {
    return this.selector & 3;
  }
  /** The four type bits. */
  get type(): number {
    return (this.high >>> 8) & 15;
  }
  /** A system descriptor: gate, TSS, LDT. */
  get isSystem(): boolean {
    return (this.high & 0x1000) === 0;
  }
  get dpl(): number {
    return (this.high >>> 13) & 3;
  }
  get isPresent(): boolean {
    return (this.high & 0x8000) !== 0;
  }
  get isCode(): boolean {
    return (this.high & 0x1800) === 0x1800;
  }
  get isWritableData(): boolean {
    return (this.high & 0x1a00) === 0x1200;
  }
  get isReadable(): boolean {
    return !this.isSystem && ((this.type & ACCESS_CODE) === 0 || (this.type & 2) !== 0);
  }
  get isWritable(): boolean {
    return (this.type & ACCESS_WRITABLE) !== 0;
  }
  /** Conforming code. */
  get isConforming(): boolean {
    return this.isCode && (this.type & ACCESS_CONFORMING) !== 0;
  }
  get isLong(): boolean {
    return (this.access & ACCESS_L) !== 0;
  }
  get isBig(): boolean {
    return (this.access & ACCESS_DB) !== 0;
  }
  /** As the access field of a segment register holds it. */
  get access(): number {
    return ((this.high >>> 8) & 0xf0ff) | ACCESS_USABLE;
  }
  get base(): number {
    const low = ((this.low >>> 16) | ((this.high & 0xff) << 16) | (this.high & 0xff00_0000)) >>> 0;
    return addressOf(low, this.upper | 0);
  }
  /** In bytes. */
  get limit(): number {
    const limit = (this.low & 0xffff) | (this.high & 0xf_0000);
    return (this.high & 0x80_0000) === 0 ? limit : ((limit << 12) | 0xfff) >>> 0;
  }

  // Gates
  get gateSelector(): number {
    return this.low >>> 16;
  }
  get gateOffset16(): number {
    return this.low & 0xffff;
  }
  get gateOffset(): number {
    return ((this.low & 0xffff) | (this.high & 0xffff_0000)) >>> 0;
  }
  get gateOffset64(): number {
    return addressOf(this.gateOffset, this.upper | 0);
  }
  /** Parameters that a call gate copies. */
  get gateParameters(): number {
    return this.high & 31;
  }
  get interruptStack(): number {
    return this.high & 7;
  }
}

export const isNull = (selector: number): boolean => (selector & 0xfffc) === 0;

/** The linear address of a descriptor of `bytes`, or null if the selector leads outside its table. */
function descriptorAddress(p: Processor, selector: number, bytes: number): number | null {
  const offset = selector & 0xfff8;
  if ((selector & 4) === 0) return offset + bytes - 1 > p.gdtrLimit ? null : p.systemLinear(p.gdtrBase, offset);
  const { ldtr } = p;
  if (!ldtr.usable || offset + bytes - 1 > ldtr.limit) return null;
  return p.systemLinear(ldtr.base, offset);
}

/** Reads a descriptor; null if the selector leads outside its table. The null selector is the caller's affair. */
export function readDescriptor(p: Processor, selector: number): Descriptor | null {
  const address = descriptorAddress(p, selector, 8);
  if (address === null) return null;
  const { linear } = p;
  linear.load(address, 8, true);
  return new Descriptor(selector, address, linear.low, linear.high);
}

/** The same, with a fault (#GP if not said otherwise) naming the selector in place of null. */
export function fetchDescriptor(p: Processor, selector: number, vector: number = GP): Descriptor {
  const descriptor = readDescriptor(p, selector);
  if (descriptor === null) throw p.selectorFault(vector, selector);
  return descriptor;
}

/** The whole of a system descriptor, which has 16 bytes in IA-32e mode; outside it the descriptor itself. */
export function widen(p: Processor, d: Descriptor): Descriptor | null {
  if (!p.longMode) return d;
  const address = descriptorAddress(p, d.selector, 16);
  if (address === null) return null;
  const last = p.linear.system32(moved(address, 12));
  if ((last & 0x1f00) !== 0) return null; // the type field of the upper half must be zero
  return new Descriptor(d.selector, address, d.low, d.high, p.linear.system32(moved(address, 8)));
}

/** Sets the accessed flag of a code or data descriptor in its table. May fault: before any change of state. */
export function markAccessed(p: Processor, d: Descriptor): void {
  if ((d.high & 0x100) === 0) p.linear.store(moved(d.address, 5), 1, ((d.high >>> 8) & 0xff) | 1, 0, true);
}

/** Sets or clears the busy flag of a TSS descriptor in its table. */
export function markBusy(p: Processor, address: number, busy: boolean): void {
  const at = moved(address, 5);
  const old = p.linear.system8(at);
  p.linear.store(at, 1, busy ? old | 2 : old & ~2, 0, true);
}
