/** Random choices that are the same in every run. */

/** A whole number from 0 to below the argument. */
export type Random = (below: number) => number;

/** A small generator of repeatable random numbers (xorshift32). */
export function randomNumbers(seed: number): Random {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}
