/** The registers of a device elsewhere by their widths: what an access of one carries in a message, and what there is without. */
import { type AccessSize, allOnes, type WideSize } from '../devices/device.ts';
import { RemoteError } from '../errors.ts';
import { decodeRegionAccess } from './messages.ts';

/** Little endian. */
export function bytesOf(size: WideSize, value: number, high = 0): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) bytes[i] = i < 4 ? value >>> (8 * i) : high >>> (8 * i - 32);
  return bytes;
}
export const wideBytes = (value: bigint): Uint8Array =>
  bytesOf(8, Number(value & 0xffff_ffffn), Number((value >> 32n) & 0xffff_ffffn));

/** How a register of some width is read. */
export interface Width<T> {
  readonly size: WideSize;
  /** What there is instead of an answer. */
  readonly ones: T;
  from(bytes: Uint8Array): T;
}
const numberFrom = (bytes: Uint8Array): number => bytes.reduceRight((value, byte) => value * 256 + byte, 0);
const widths: Readonly<Record<AccessSize, Width<number>>> = {
  1: { size: 1, ones: allOnes(1), from: numberFrom },
  2: { size: 2, ones: allOnes(2), from: numberFrom },
  4: { size: 4, ones: allOnes(4), from: numberFrom },
};
export const narrow = (size: AccessSize): Width<number> => widths[size];
export const wide: Width<bigint> = {
  size: 8,
  ones: 2n ** 64n - 1n,
  from: (bytes) => (BigInt(numberFrom(bytes.subarray(4))) << 32n) | BigInt(numberFrom(bytes.subarray(0, 4))),
};

/** What an answer to REGION_READ carries. @throws RemoteError `bad-message` if that is not what was asked for */
export function dataOf(payload: Uint8Array, size: WideSize): Uint8Array {
  const { count, data } = decodeRegionAccess(payload, true);
  if (count !== size) throw new RemoteError('bad-message', `REGION_READ: ${count} bytes for ${size}`);
  return data;
}
