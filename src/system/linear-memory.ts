/**
 * Guest memory by linear address as the helpers see it: a fault is thrown. `system…` accesses are the processor's own
 * (descriptor tables, TSS, IDT): supervisor accesses whatever the CPL; the others are made with the rights of the CPL.
 */
import { addressOf, lowOf, moved } from '../mmu/linear.ts';
import type { Mmu } from '../mmu/mmu.ts';
import type { CpuState } from '../state/cpu-state.ts';
import { offsetOf } from '../state/layout.ts';
import { PF_FAULT } from '../state/vectors.ts';
import { exitRequest } from './exit-request.ts';
import { GuestFault } from './fault.ts';

const FAULT_VECTOR = offsetOf('faultVector') >> 2;
const FAULT_CODE = offsetOf('faultErrorCode') >> 2;

export class LinearMemory {
  private readonly u32: Uint32Array;
  private readonly mmu: Mmu;
  /** The EXT bit of error codes while an event is being delivered. */
  external = 0;

  constructor(state: CpuState, mmu: Mmu) {
    this.u32 = state.u32;
    this.mmu = mmu;
  }
  /** After an access: the instruction may have to be given up with it. */
  private made(): void {
    if (this.mmu.accesses.stopped) throw exitRequest;
  }
  /** The fault that the MMU left in the state. */
  private fault(): GuestFault {
    const vector = this.u32[FAULT_VECTOR]!;
    const code = this.u32[FAULT_CODE]!;
    return new GuestFault(vector, vector === PF_FAULT ? code : code | this.external);
  }

  /**
   * Of 8 bytes the low half: both are in {@link low} and {@link high}.
   * @param implicit see the file's head; `stack`: a non-canonical address is #SS
   */
  load(linear: number, bytes: 1 | 2 | 4 | 8, implicit: boolean, stack = false): number {
    if (!this.mmu.load(linear, bytes, implicit, stack)) throw this.fault();
    this.made();
    return this.mmu.low;
  }
  /** 64 bits as an address; what is not canonical stays so. */
  loadAddress(linear: number, implicit: boolean, stack = false): number {
    if (!this.mmu.load(linear, 8, implicit, stack)) throw this.fault();
    this.made();
    return addressOf(this.mmu.low, this.mmu.high | 0);
  }
  store(linear: number, bytes: 1 | 2 | 4 | 8, low: number, high: number, implicit: boolean, stack = false): void {
    if (!this.mmu.store(linear, bytes, low, high, implicit, stack)) throw this.fault();
    this.made();
  }
  /** Faults if a write of `bytes` (at most a page) would. */
  probeWrite(linear: number, bytes: number, implicit: boolean, stack = false): void {
    if (!this.mmu.prepareLinear(linear, bytes, true, implicit, stack)) throw this.fault();
  }
  probeRead(linear: number, bytes: number, implicit: boolean): void {
    if (!this.mmu.prepareLinear(linear, bytes, false, implicit, false)) throw this.fault();
  }

  /** Whole areas (an even number of bytes), with the rights of the CPL. */
  readBytes(linear: number, into: Uint8Array): void {
    for (let i = 0; i < into.length; ) {
      const count = this.beforePageEnd(linear, i, into.length);
      const host = this.mmu.direct(moved(linear, i), count, false);
      if (host >= 0) {
        into.set(this.mmu.memory.u8.subarray(host, host + count), i);
        i += count;
        continue;
      }
      const bytes = into.length - i >= 4 ? 4 : 2;
      const value = this.load(moved(linear, i), bytes, false);
      for (let k = 0; k < bytes; k++) into[i + k] = value >>> (8 * k);
      i += bytes;
    }
  }
  writeBytes(linear: number, from: Uint8Array): void {
    for (let i = 0; i < from.length; ) {
      const count = this.beforePageEnd(linear, i, from.length);
      const host = this.mmu.direct(moved(linear, i), count, true);
      if (host >= 0) {
        this.mmu.memory.u8.set(from.subarray(i, i + count), host);
        i += count;
        continue;
      }
      const bytes = from.length - i >= 4 ? 4 : 2;
      let value = 0;
      for (let k = 0; k < bytes; k++) value |= from[i + k]! << (8 * k);
      this.store(moved(linear, i), bytes, value, 0, false);
      i += bytes;
    }
  }
  /** Bytes of an area from `done` on that lie in one page. */
  private beforePageEnd(linear: number, done: number, length: number): number {
    return Math.min(length - done, 4096 - (lowOf(moved(linear, done)) & 0xfff));
  }

  system8(linear: number): number {
    return this.load(linear, 1, true);
  }
  system16(linear: number): number {
    return this.load(linear, 2, true);
  }
  system32(linear: number): number {
    return this.load(linear, 4, true);
  }
  systemAddress(linear: number): number {
    return this.loadAddress(linear, true);
  }
  /** The halves of the last load, as they were in memory. */
  get low(): number {
    return this.mmu.low;
  }
  get high(): number {
    return this.mmu.high;
  }
}
