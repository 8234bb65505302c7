/**
 * How many instructions one of several processors executes before the next one has its turn.
 *
 * Lengths vary. A loop that gives up a lock for an instruction or two and takes it again would otherwise, if its length
 * divides that of the turns, be stopped at the same instruction each time, and nobody else would ever find the lock free.
 */

/** A spin lock's owner must not wait long. */
export const longestTurn = 20_000;

/** @param seed whatever differs from turn to turn, and is the same in every run */
export function turnLength(seed: number): number {
  return longestTurn - (Math.imul(seed, 0x9e37_79b1) >>> 24);
}
