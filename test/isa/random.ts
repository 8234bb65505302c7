/** Random choices that are the same in every run. */

export { randomNumbers } from '../../runtime/lockstep/random-numbers.ts';

/** At most `count` of a list, evenly spread by a hash of the place. */
export function spread<T>(list: readonly T[], count: number): T[] {
  if (list.length <= count) return [...list];
  return list.filter((_, i) => (Math.imul(i, 0x9e3779b1) >>> 0) / 2 ** 32 < count / list.length);
}
