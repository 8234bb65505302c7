/** Reads little-endian numbers and names of a file's part; what lies outside of it is a `LoaderError`. */
import { LoaderError } from '../errors.ts';

export class ByteReader {
  readonly length: number;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly what: string;

  /** @param what the part's name, for messages */
  constructor(bytes: Uint8Array, what: string) {
    this.bytes = bytes;
    this.length = bytes.length;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.what = what;
  }
  u8(at: number): number {
    return this.view.getUint8(this.checked(at, 1));
  }
  u16(at: number): number {
    return this.view.getUint16(this.checked(at, 2), true);
  }
  u32(at: number): number {
    return this.view.getUint32(this.checked(at, 4), true);
  }
  i32(at: number): number {
    return this.view.getInt32(this.checked(at, 4), true);
  }
  /** A number of 64 bits that is a place or a size in a file. */
  u64(at: number): number {
    const value = this.view.getBigUint64(this.checked(at, 8), true);
    if (value > 0xffff_ffffn) throw new LoaderError('truncated', `${this.what} names ${value}, beyond any file's end`);
    return Number(value);
  }
  slice(at: number, length: number): Uint8Array {
    this.checked(at, length);
    return this.bytes.subarray(at, at + length);
  }
  /** Up to the next zero byte. */
  text(at: number): string {
    this.checked(at, 1);
    const end = this.bytes.indexOf(0, at);
    if (end < 0) throw new LoaderError('truncated', `a name in ${this.what} has no end`);
    return String.fromCharCode(...this.bytes.subarray(at, Math.min(end, at + 256)));
  }
  private checked(at: number, length: number): number {
    if (!(at >= 0) || at + length > this.length)
      throw new LoaderError('truncated', `${this.what} has ${this.length} bytes, but ${at + length} are needed`);
    return at;
  }
}
