/**
 * A segment register with its hidden part, in the vCPU's block, and the ranges of offsets that the engines check. SDM
 * volume 3, section 3.4.
 */
import { addressOf, highOf, lowOf } from '../mmu/linear.ts';
import type { CpuState } from '../state/cpu-state.ts';
import { offsetOf, type SegmentName } from '../state/layout.ts';

export const ES = 0;
export const CS = 1;
export const SS = 2;
export const DS = 3;
export const FS = 4;
export const GS = 5;
export const LDTR = 6;
export const TR = 7;

/** Bits of the access field: descriptor bits 8-15 and 20-23, see the layout. */
export const ACCESS_ACCESSED = 1;
export const ACCESS_WRITABLE = 2;
export const ACCESS_READABLE = 2;
export const ACCESS_DOWN = 4;
export const ACCESS_CONFORMING = 4;
export const ACCESS_CODE = 8;
export const ACCESS_S = 0x10;
export const ACCESS_PRESENT = 0x80;
export const ACCESS_L = 0x2000;
export const ACCESS_DB = 0x4000;
export const ACCESS_G = 0x8000;
export const ACCESS_USABLE = 0x1_0000;
/** Present, writable, accessed data segment of DPL 0: what real mode works with. */
export const ACCESS_REAL = ACCESS_USABLE | 0x93;
/** The same at DPL 3: virtual-8086 mode. */
export const ACCESS_VIRTUAL = ACCESS_USABLE | 0xf3;

export class SegmentRegister {
  readonly name: SegmentName;
  private readonly u32: Uint32Array;
  private readonly i32: Int32Array;
  private readonly baseAt: number;
  private readonly selectorAt: number;
  private readonly limitAt: number;
  private readonly accessAt: number;
  private readonly rangesAt: number;

  constructor(state: CpuState, name: SegmentName) {
    this.name = name;
    this.u32 = state.u32;
    this.i32 = state.i32;
    this.baseAt = offsetOf(`${name}Base`) >> 2;
    this.selectorAt = offsetOf(`${name}Selector`) >> 2;
    this.limitAt = offsetOf(`${name}Limit`) >> 2;
    this.accessAt = offsetOf(`${name}Access`) >> 2;
    this.rangesAt = offsetOf(`${name}ReadLow`) >> 2;
  }

  get selector(): number {
    return this.u32[this.selectorAt]!;
  }
  set selector(value: number) {
    this.u32[this.selectorAt] = value;
  }
  /** Linear address: exact, since bases are canonical. */
  get base(): number {
    return addressOf(this.u32[this.baseAt]!, this.i32[this.baseAt + 1]!);
  }
  set base(value: number) {
    this.u32[this.baseAt] = lowOf(value);
    this.i32[this.baseAt + 1] = highOf(value);
  }
  get baseLow(): number {
    return this.u32[this.baseAt]!;
  }
  get baseHigh(): number {
    return this.i32[this.baseAt + 1]!;
  }
  /** In bytes. */
  get limit(): number {
    return this.u32[this.limitAt]!;
  }
  set limit(value: number) {
    this.u32[this.limitAt] = value;
  }
  get access(): number {
    return this.u32[this.accessAt]!;
  }
  set access(value: number) {
    this.u32[this.accessAt] = value;
  }
  get usable(): boolean {
    return (this.access & ACCESS_USABLE) !== 0;
  }
  get dpl(): number {
    return (this.access >> 5) & 3;
  }
  get isCode(): boolean {
    return (this.access & (ACCESS_S | ACCESS_CODE)) === (ACCESS_S | ACCESS_CODE);
  }
  /** CS: D; SS: B. */
  get db(): boolean {
    return (this.access & ACCESS_DB) !== 0;
  }
  /** First and last offset that may be read; the range is empty if the first lies above the last. */
  get readLow(): number {
    return this.u32[this.rangesAt]!;
  }
  get readHigh(): number {
    return this.u32[this.rangesAt + 1]!;
  }
  get writeLow(): number {
    return this.u32[this.rangesAt + 2]!;
  }
  get writeHigh(): number {
    return this.u32[this.rangesAt + 3]!;
  }

  /** Works out the ranges anew. Real mode ignores the type: every segment may be read and written within its limit. */
  setRanges(protectedMode: boolean): void {
    const access = this.access;
    let low = 0;
    let high = this.limit;
    let readable = (access & ACCESS_USABLE) !== 0;
    let writable = readable;
    if (protectedMode && readable) {
      if ((access & ACCESS_CODE) !== 0) {
        readable = (access & ACCESS_READABLE) !== 0;
        writable = false;
      } else {
        writable = (access & ACCESS_WRITABLE) !== 0;
        if ((access & ACCESS_DOWN) !== 0) {
          low = high + 1;
          high = (access & ACCESS_DB) !== 0 ? 0xffff_ffff : 0xffff;
          if (low > high) readable = writable = false;
        }
      }
    }
    const { u32, rangesAt } = this;
    u32[rangesAt] = readable ? low : 1;
    u32[rangesAt + 1] = readable ? high : 0;
    u32[rangesAt + 2] = writable ? low : 1;
    u32[rangesAt + 3] = writable ? high : 0;
  }
}
