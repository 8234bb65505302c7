/** Instruction pointers as numbers, signed in 64-bit code: what they look like in records. */
export const twoTo32 = 2 ** 32;
export const twoTo47 = 2 ** 47;
const twoTo31 = 2 ** 31;

/** A number for instruction pointers that look alike in records: whether they are negative, and whether 32 bits hold them. */
export function classOf(ip: number, long: boolean): number {
  if (!long) return ip < twoTo31 ? 0 : 1;
  if (ip >= 0) return ip < twoTo31 ? 0 : ip < twoTo47 ? 2 : -1;
  return ip >= -twoTo31 ? 1 : ip >= -twoTo47 ? 3 : -1;
}
