/** Random choices that are the same in every run. */

/** A whole number from 0 to below the argument. */
export type Random = (below: number) => number;

/** Puts a seed's 32 bits everywhere, each seed somewhere else. */
function spread(seed: number): number {
  let state = Math.imul(seed ^ (seed >>> 16), 0x85eb_ca6b);
  state = Math.imul(state ^ (state >>> 13), 0xc2b2_ae35);
  return state ^ (state >>> 16);
}

/** A small generator of repeatable random numbers (xorshift32). Seeds that differ in 32 bits give other numbers. */
export function randomNumbers(seed: number): Random {
  let state = spread(seed) || 0x9e37_79b9; // zero would stay zero
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}
