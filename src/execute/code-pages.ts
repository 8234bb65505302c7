/**
 * The pages that code is fetched from: their bytes as the guest sees them now, and whether they are where they were. Who
 * executes sets accessed flags and faults; who looks ahead leaves no trace in the guest.
 */
import type { Mmu } from '../mmu/mmu.ts';
import type { PhysicalMemory } from '../mmu/physical-memory.ts';
import type { Breakpoints } from './breakpoints.ts';
import type { CodeSource } from './frontend.ts';
import type { CodePlace } from './jump-cache.ts';
import type { Processor } from './processor.ts';

/** A copy of a page of code, and where it lies. */
export interface CodePage {
  readonly physical: number;
  readonly bytes: Uint8Array;
}

export const lowHalf = (linear: bigint): number => Number(BigInt.asUintN(32, linear));
export const highHalf = (linear: bigint): number => Number(BigInt.asIntN(32, linear >> 32n));

export class CodePages implements CodeSource {
  private readonly mmu: Mmu;
  private readonly memory: PhysicalMemory;
  /** Whoever looks ahead finds nothing in their pages. */
  private readonly breakpoints: Breakpoints;
  private devicePage = -1;
  private deviceBytes: Uint8Array | null = null;

  constructor({ mmu, memory }: Pick<Processor, 'mmu' | 'memory'>, breakpoints: Breakpoints) {
    this.breakpoints = breakpoints;
    this.mmu = mmu;
    this.memory = memory;
  }

  /** Physical address of code that the guest is about to execute, or -1 (the fault is in the fault fields). */
  fetchAddress(linear: bigint): number {
    const page = this.mmu.fetchPage(lowHalf(linear), highHalf(linear));
    return page < 0 ? -1 : page + Number(linear & 0xfffn);
  }
  /** The same of the page that follows the one of an address, whose halves these are. @param wide in 64-bit mode */
  fetchAfter(low: number, high: number, wide: boolean): number {
    const next = ((low & ~0xfff) + 4096) | 0;
    return this.mmu.fetchPage(next, next === 0 && wide ? high + 1 : high);
  }
  page(linear: bigint): Uint8Array | null {
    const address = this.fetchAddress(linear); // a fault names the byte, not the page
    if (address < 0) return null;
    const page = address - Number(linear & 0xfffn);
    const { memory } = this;
    const host = memory.hostOf(Math.floor(page / 4096));
    if (host >= 0) return new Uint8Array(memory.buffer, host, 4096);
    // Code in a device: read through the bus, once for each block.
    if (this.devicePage !== page || this.deviceBytes === null) {
      this.deviceBytes = new Uint8Array(4096);
      memory.readBytes(page, this.deviceBytes);
      this.devicePage = page;
    }
    return this.deviceBytes;
  }

  /** Physical address of code that the guest has fetched from before, or -1. */
  physicalOf(linear: bigint): number {
    if (this.isWatched(linear)) return -1;
    const page = this.mmu.peekPage(lowHalf(linear), highHalf(linear));
    return page < 0 ? -1 : page + Number(linear & 0xfffn);
  }
  /** The pages can be fetched from, lead where they did, and were accessed before; they are remembered as fetched from. */
  areMapped(pages: readonly CodePlace[]): boolean {
    for (const { low, high, physical } of pages) {
      if (this.mmu.enterPage(low, high) !== physical) return false;
      if (this.breakpoints.active && this.isWatched((BigInt(high) << 32n) | BigInt(low >>> 0))) return false;
    }
    return true;
  }
  private isWatched(linear: bigint): boolean {
    return this.breakpoints.active && this.breakpoints.inPageOf(BigInt.asUintN(64, linear));
  }

  /** The page of code at a linear address as it is now; null if it cannot be fetched or is no RAM. */
  copy(linear: bigint): CodePage | null {
    const physical = this.physicalOf(linear & ~0xfffn);
    const bytes = physical < 0 ? null : this.bytesAt(physical, 4096);
    return bytes === null ? null : { physical, bytes: bytes.slice() };
  }
  /** The bytes of an instruction and more, as far as they lie in a page that was fetched from before. */
  instructionAt(linear: bigint): Uint8Array {
    const page = this.mmu.peekPage(lowHalf(linear), highHalf(linear));
    const physical = page + Number(linear & 0xfffn);
    const bytes = page < 0 ? null : this.bytesAt(physical, Math.min(15, 4096 - (physical % 4096)));
    return bytes ?? new Uint8Array(0);
  }
  /** The bytes of guest memory within one physical page, or null if that is no RAM. */
  bytesAt(physical: number, length: number): Uint8Array | null {
    const host = this.memory.hostOf(Math.floor(physical / 4096));
    return host < 0 ? null : new Uint8Array(this.memory.buffer, host + (physical % 4096), length);
  }
}
