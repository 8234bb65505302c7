/** Random choices that are the same in every run. */

/** A small generator of repeatable random numbers (xorshift32). */
export function randomNumbers(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** At most `count` of a list, evenly spread by a hash of the place. */
export function spread<T>(list: readonly T[], count: number): T[] {
  if (list.length <= count) return [...list];
  return list.filter((_, i) => (Math.imul(i, 0x9e3779b1) >>> 0) / 2 ** 32 < count / list.length);
}
