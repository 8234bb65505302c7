/** Typed access to one vCPU's block in the VM's linear memory. See layout.ts for the fields. */
import { cpuBytes, offsetOf } from './layout.ts';

const FLAG_A = offsetOf('flagA') >> 2;
const FLAG_KIND = offsetOf('flagKind') >> 2;

export class CpuState {
  /** Byte offset of the block in the memory. */
  readonly base: number;
  readonly buffer: ArrayBufferLike;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly u64: BigUint64Array;
  readonly view: DataView;

  constructor(buffer: ArrayBufferLike, base: number) {
    this.base = base;
    this.buffer = buffer;
    this.u8 = new Uint8Array(buffer, base, cpuBytes);
    this.u16 = new Uint16Array(buffer, base, cpuBytes / 2);
    this.u32 = new Uint32Array(buffer, base, cpuBytes / 4);
    this.i32 = new Int32Array(buffer, base, cpuBytes / 4);
    this.u64 = new BigUint64Array(buffer, base, cpuBytes / 8);
    this.view = new DataView(buffer, base, cpuBytes);
  }
  /** By field name: for code that is not hot. Hot code keeps `offsetOf(name) >> 2` in a constant and uses the views. */
  get32(field: string): number {
    return this.u32[offsetOf(field) >> 2]!;
  }
  set32(field: string, value: number): void {
    this.u32[offsetOf(field) >> 2] = value;
  }
  get64(field: string): bigint {
    return this.u64[offsetOf(field) >> 3]!;
  }
  set64(field: string, value: bigint): void {
    this.u64[offsetOf(field) >> 3] = value;
  }
  /** The arithmetic flags, at their RFLAGS places. */
  setFlags(word: number): void {
    const { u32 } = this;
    u32[FLAG_A] = word;
    u32[FLAG_A + 1] = 0;
    u32[FLAG_KIND] = 0;
  }
}
