/**
 * A stack as helpers push frames to it and pop them from it: the current one or one of an inner ring. Pushes are collected,
 * probed together and only then written, so that a frame is written whole or not at all.
 */
import { highOf, lowOf, moved } from '../mmu/linear.ts';
import { SS_FAULT } from '../state/vectors.ts';
import type { Descriptor } from './descriptors.ts';
import { GuestFault } from './fault.ts';
import type { Processor } from './processor.ts';
import { ACCESS_DB, ACCESS_DOWN } from './segment-register.ts';

type ItemBytes = 2 | 4 | 8;

export class Stack {
  readonly width: 16 | 32 | 64;
  /** Moves as items are pushed and popped; the register is the caller's affair. */
  pointer: number;
  private readonly p: Processor;
  private readonly base: number;
  private readonly firstOffset: number;
  private readonly lastOffset: number;
  /** Supervisor accesses, whatever the CPL. */
  private readonly implicit: boolean;
  private readonly selector: number;
  /** Where the lowest item goes in the host's memory, if {@link probe} has found that; -1 = item by item. */
  private host = -1;

  private constructor(
    p: Processor,
    width: 16 | 32 | 64,
    pointer: number,
    base: number,
    first: number,
    last: number,
    implicit: boolean,
    selector: number,
  ) {
    this.p = p;
    this.width = width;
    this.pointer = width === 16 ? pointer & 0xffff : width === 32 ? pointer >>> 0 : pointer;
    this.base = base;
    this.firstOffset = first;
    this.lastOffset = last;
    this.implicit = implicit;
    this.selector = selector;
    p.frame.count = 0;
  }

  /** The stack in use, with the rights of the CPL. */
  static current(p: Processor): Stack {
    const width = p.stackWidth;
    if (width === 64) return new Stack(p, 64, p.rsp, 0, 0, 0, false, 0);
    const { ss } = p;
    return new Stack(p, width, p.rspLow, ss.base, ss.writeLow, ss.writeHigh, false, 0);
  }
  /** A stack that is about to be loaded, at privilege level `cpl`: faults name its selector. */
  static inner(p: Processor, ss: Descriptor, pointer: number, cpl: number): Stack {
    const width = (ss.access & ACCESS_DB) !== 0 ? 32 : 16;
    const down = (ss.access & ACCESS_DOWN) !== 0;
    const first = down ? ss.limit + 1 : 0;
    const last = down ? (width === 32 ? 0xffff_ffff : 0xffff) : ss.limit;
    return new Stack(p, width, pointer, ss.base, first, last, cpl !== 3, ss.selector);
  }
  /** The flat stack of 64-bit mode. */
  static wide(p: Processor, pointer: number, implicit: boolean): Stack {
    return new Stack(p, 64, pointer, 0, 0, 0, implicit, 0);
  }
  private cut(pointer: number): number {
    return this.width === 16 ? pointer & 0xffff : this.width === 32 ? pointer >>> 0 : pointer;
  }
  private linear(offset: number, bytes: number): number {
    if (this.width === 64) return offset;
    if (offset < this.firstOffset || offset + bytes - 1 > this.lastOffset)
      throw new GuestFault(SS_FAULT, (this.selector & 0xfffc) | this.p.linear.external);
    return (this.base + offset) >>> 0;
  }

  push(bytes: ItemBytes, low: number, high = 0): void {
    this.pointer = this.cut(moved(this.pointer, -bytes));
    const linear = this.linear(this.pointer, bytes);
    const { frame } = this.p;
    const i = frame.count++;
    frame.at[i] = linear;
    frame.bytes[i] = bytes;
    frame.low[i] = low;
    frame.high[i] = high;
  }
  /** Pushes an address given as a number. */
  pushAddress(bytes: ItemBytes, address: number): void {
    this.push(bytes, lowOf(address), highOf(address));
  }
  /** Faults if a pushed item cannot be written. */
  probe(): void {
    const { frame, linear, mmu } = this.p;
    const last = frame.count - 1;
    // Mostly the items lie one below the other, in a page that is known.
    const bytes = last < 0 ? 0 : frame.at[0]! + frame.bytes[0]! - frame.at[last]!;
    this.host = bytes > 0 && bytes <= 4096 ? mmu.direct(frame.at[last]!, bytes, true, this.implicit) : -1;
    if (this.host >= 0) return;
    for (let i = 0; i < frame.count; i++) linear.probeWrite(frame.at[i]!, frame.bytes[i]!, this.implicit, true);
  }
  /** Writes what was pushed, after {@link probe}. */
  write(): void {
    const { frame, linear } = this.p;
    if (this.host >= 0) return this.writeDirect(this.host);
    for (let i = 0; i < frame.count; i++) {
      const bytes = frame.bytes[i]! as ItemBytes;
      linear.store(frame.at[i]!, bytes, frame.low[i]!, frame.high[i]!, this.implicit, true);
    }
    frame.count = 0;
  }

  private writeDirect(host: number): void {
    const { frame, memory } = this.p;
    const { view } = memory;
    const lowest = frame.at[frame.count - 1]!;
    for (let i = 0; i < frame.count; i++) {
      const to = host + frame.at[i]! - lowest;
      if (frame.bytes[i] === 2) view.setUint16(to, frame.low[i]!, true);
      else view.setUint32(to, frame.low[i]!, true);
      if (frame.bytes[i] === 8) view.setUint32(to + 4, frame.high[i]!, true);
    }
    frame.count = 0;
  }

  /** Pops an item, zero-extended; of 64-bit items bits 31-0. The whole of them: {@link popAddress}. */
  pop(bytes: ItemBytes): number {
    const value = this.p.linear.load(this.linear(this.pointer, bytes), bytes, this.implicit, true);
    this.skip(bytes);
    return value;
  }
  popAddress(): number {
    const value = this.p.linear.loadAddress(this.linear(this.pointer, 8), this.implicit, true);
    this.skip(8);
    return value;
  }
  /** Pops an address of 8 bytes, or a number of 2 or 4. */
  popItem(bytes: ItemBytes): number {
    return bytes === 8 ? this.popAddress() : this.pop(bytes);
  }
  /** Moves the pointer over `bytes` bytes (parameters). */
  skip(bytes: number): void {
    this.pointer = this.cut(moved(this.pointer, bytes));
  }
}
