/**
 * Linear addresses as single numbers, exact for the 57 bits of 5-level paging although a double holds integers of 53.
 *
 * A near address (-2^53 to 2^53 - 1: all that 4-level paging and 32-bit modes have) is itself, so that the common case costs
 * one comparison. A far one, up to 2^57 either way, is cut into a multiple of 16 and the rest r, and stands as that multiple
 * times 16^r: the exponent holds what the mantissa has no room for. Other 64-bit values are canonical in no mode and are
 * infinite. Equal addresses are equal numbers; sums are made by {@link moved}.
 */
const twoTo32 = 2 ** 32;
const near = 2 ** 53;
const far = 2 ** 57;
/** High halves of near and of far addresses lie within these. */
const nearHigh = 2 ** 21;
const farHigh = 2 ** 25;
/** A high half that is canonical in no mode. */
const outside = 2 ** 30;

/** Number of the linear page that an address lies in, by its halves: exact for every address. @param high signed */
export const pageNumber = (low: number, high: number): number => high * 2 ** 20 + (low >>> 12);

/** @param high signed */
export function addressOf(low: number, high: number): number {
  if (high >= -nearHigh && high < nearHigh) return high * twoTo32 + (low >>> 0);
  if (high < -farHigh || high >= farHigh) return high < 0 ? -Infinity : Infinity;
  const rest = low & 15;
  return (high * twoTo32 + ((low - rest) >>> 0)) * 16 ** rest;
}

/** Bits 31-0, unsigned. */
export function lowOf(address: number): number {
  return address >= -near && address < near ? address >>> 0 : farHalf(address, false);
}

/** Bits 63-32, signed. */
export function highOf(address: number): number {
  return address >= -near && address < near ? Math.floor(address / twoTo32) : farHalf(address, true);
}

function farHalf(address: number, upper: boolean): number {
  if (!Number.isFinite(address)) return upper ? (address < 0 ? -outside : outside) : 0;
  let rest = 0;
  let multiple = address;
  while (multiple >= far || multiple < -far) {
    multiple /= 16;
    rest++;
  }
  const high = Math.floor(multiple / twoTo32);
  return upper ? high : multiple - high * twoTo32 + rest;
}

/** The address `by` bytes (a 32-bit number, signed or not) further on; what leaves 64 bits begins at the other end. */
export function moved(address: number, by: number): number {
  const sum = address + by;
  if (address >= -near && address < near && sum > -near && sum < near) return sum; // -2^53 may be rounded
  if (!Number.isFinite(address)) return address;
  return sumOf(lowOf(address), highOf(address), by, by < 0 ? -1 : 0);
}

/** The sum of two 64-bit values given as halves; `low` halves may be signed or not. */
export function sumOf(low: number, high: number, otherLow: number, otherHigh: number): number {
  const sum = (low >>> 0) + (otherLow >>> 0);
  return addressOf(sum, (high + otherHigh + (sum >= twoTo32 ? 1 : 0)) | 0);
}

/** @param value a signed 64-bit number */
export function addressOfBig(value: bigint): number {
  const whole = Number(value);
  if (whole > -near && whole < near) return whole;
  return addressOf(Number(BigInt.asUintN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
}
/** The inverse of {@link addressOfBig} for near and far addresses. */
export function bigOf(address: number): bigint {
  if (address >= -near && address < near) return BigInt(address);
  return (BigInt(highOf(address)) << 32n) | BigInt(lowOf(address));
}

/** How many bits a linear address has in 64-bit mode: the others repeat the last. */
export type LinearBits = 48 | 57;

/** Does an address fit so many bits? */
export function fitsLinear(address: number, bits: LinearBits): boolean {
  const top = highOf(address) >> (bits - 33);
  return top === 0 || top === -1;
}
