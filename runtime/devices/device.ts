/**
 * What a device is to the machine: a few registers behind offsets. It knows neither where it is mapped nor the
 * processor; it speaks through `IrqLine`, takes time from `Clock`, and hands bytes to callbacks.
 */

import type { StateLimits } from './state-limits.ts';

/** The width of one access to a device register, in bytes. */
export type AccessSize = 1 | 2 | 4;
/** With that of an access of memory of which processors make one, and a device that does not know it gets two. */
export type WideSize = AccessSize | 8;

/** What a snapshot keeps something of: a device, or a machine's own part that is at no address. */
export interface Stateful {
  /** Stands in error messages and listings: `serial`, `debugcon`. */
  readonly name: string;
  /** Everything that a snapshot must keep, as one plain object; a device without it has no state. */
  state?: object;
  /** What its fields can be: other state is refused. */
  readonly limits?: StateLimits;
  /** Another state was put in the place of `state`, field by field: alarms and lines follow it from now on. */
  restored?(): void;
  /** The state of a device that is in another thread or process; several parts of one device have the same. */
  readonly elsewhere?: StateElsewhere;
}

/** State that has to be fetched. */
export interface StateElsewhere {
  readonly name: string;
  /**
   * What was fetched, or what is fetched now where this thread may wait.
   * @throws SnapshotError `remote-state` if it may not, or the device has no state that can be had
   */
  take(): Uint8Array;
  /** Puts it back now, unless it was sent. @throws SnapshotError `remote-state`, `bad-device-state` */
  put(bytes: Uint8Array): void;
  /** Fetches it, for the next {@link take}. @throws SnapshotError (as a rejection) */
  obtain(): Promise<Uint8Array>;
  /** Puts it back; the next {@link put} does nothing. @throws SnapshotError (as a rejection) */
  send(bytes: Uint8Array): Promise<void>;
  /** What was fetched is old, and what was sent is over. */
  forget(): void;
}

/** A device: registers behind offsets. Put it on the bus with `vm.io.attach()`. */
export interface Device extends Stateful {
  /**
   * @param offset distance from the start of the region that was accessed
   * @returns the value, unsigned, of `size` bytes
   */
  read(offset: number, size: AccessSize): number;
  /** @param value unsigned, of `size` bytes */
  write(offset: number, size: AccessSize, value: number): void;
  /**
   * A load of eight bytes, as a 64-bit MOV or MOVQ makes one, and MOVDQU two. A device without it gets two of four bytes, the low
   * half first.
   * @returns unsigned
   */
  read64?(offset: number): bigint;
  /** The writing half of {@link read64}. */
  write64?(offset: number, value: bigint): void;
}

/** Eight bytes of a device that knows such accesses, or does not. Unsigned. */
export function readWide(device: Device, offset: number): bigint {
  if (device.read64 !== undefined) return BigInt.asUintN(64, device.read64(offset));
  const low = BigInt(device.read(offset, 4) >>> 0);
  return (BigInt(device.read(offset + 4, 4) >>> 0) << 32n) | low;
}
/** The writing half of {@link readWide}. */
export function writeWide(device: Device, offset: number, value: bigint): void {
  if (device.write64 !== undefined) return device.write64(offset, value);
  device.write(offset, 4, Number(value & 0xffff_ffffn));
  device.write(offset + 4, 4, Number(value >> 32n));
}

/** What a bus answers where nothing drives the data lines: all ones. */
export function allOnes(size: AccessSize): number {
  return size === 4 ? 0xffff_ffff : 2 ** (size * 8) - 1;
}

/** Answers an access of any size from a device whose registers are one byte wide, lowest offset first. */
export function readBytewise(offset: number, size: AccessSize, readByte: (offset: number) => number): number {
  let value = 0;
  for (let index = 0; index < size; index++) value += readByte(offset + index) * 2 ** (index * 8);
  return value;
}

/** The writing half of {@link readBytewise}. */
export function writeBytewise(
  offset: number,
  size: AccessSize,
  value: number,
  writeByte: (offset: number, value: number) => void,
): void {
  for (let index = 0; index < size; index++) writeByte(offset + index, (value >>> (index * 8)) & 0xff);
}
