/**
 * How an access that is no RAM is cut into those that devices see, as a processor does: eight bytes are one, sixteen are two of
 * eight; what lies in one of two pages comes in aligned parts.
 */
import type { DirectAccess } from './direct-access.ts';

export type AccessBytes = 1 | 2 | 4;

/** What answers at physical addresses that are not RAM. Values are unsigned. */
export interface MmioHandler {
  read(address: number, bytes: AccessBytes): number;
  write(address: number, bytes: AccessBytes, value: number): void;
  /** Eight bytes: the low half, the other one in `high`. Left out: they are two accesses of four, the low half first. */
  read64?(address: number): number;
  readonly high?: number;
  write64?(address: number, low: number, high: number): void;
  /** The program that gets such an access, if generated code may ask it. */
  directAt?(address: number, bytes: AccessBytes, write: boolean): DirectAccess | null;
  /** It was asked, and has passed the access on, which is made once more. */
  passedOn?(address: number, bytes: AccessBytes, write: boolean): void;
}

/** Nobody is there: reads give all ones. */
export const openBus: MmioHandler = {
  read: (_address, bytes) => (bytes === 4 ? 0xffff_ffff : bytes === 2 ? 0xffff : 0xff),
  write: () => {},
};

/** @param whole bytes of the access that this is a part of */
function partOf(address: number, left: number, whole: number): AccessBytes | 8 {
  if (left >= 8 && (whole === 8 || whole === 16 || (address & 7) === 0)) return 8;
  if ((address & 3) === 0 && left >= 4) return 4;
  if ((address & 1) === 0 && left >= 2) return 2;
  return 1;
}

/** A load of any number of bytes, into an array. */
export function readParts(mmio: MmioHandler, address: number, bytes: number, into: Uint8Array, at: number): void {
  for (let done = 0; done < bytes; ) {
    const part = partOf(address + done, bytes - done, bytes);
    if (part < 8) put(mmio.read(address + done, part as AccessBytes), part, into, at + done);
    else if (mmio.read64 === undefined) {
      put(mmio.read(address + done, 4), 4, into, at + done);
      put(mmio.read(address + done + 4, 4), 4, into, at + done + 4);
    } else {
      put(mmio.read64(address + done), 4, into, at + done);
      put(mmio.high ?? 0, 4, into, at + done + 4);
    }
    done += part;
  }
}
/** A store of any number of bytes of an array. */
export function writeParts(mmio: MmioHandler, address: number, bytes: number, from: Uint8Array, at: number): void {
  for (let done = 0; done < bytes; ) {
    const part = partOf(address + done, bytes - done, bytes);
    if (part < 8) mmio.write(address + done, part as AccessBytes, taken(part, from, at + done));
    else {
      const low = taken(4, from, at + done);
      const high = taken(4, from, at + done + 4);
      if (mmio.write64 !== undefined) mmio.write64(address + done, low, high);
      else {
        mmio.write(address + done, 4, low);
        mmio.write(address + done + 4, 4, high);
      }
    }
    done += part;
  }
}

function put(value: number, bytes: number, into: Uint8Array, at: number): void {
  for (let i = 0; i < bytes; i++) into[at + i] = value >>> (i * 8);
}
function taken(bytes: number, from: Uint8Array, at: number): number {
  let value = 0;
  for (let i = bytes - 1; i >= 0; i--) value = value * 256 + from[at + i]!;
  return value;
}
