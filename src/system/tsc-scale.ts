/**
 * The rate of the time-stamp counter, exactly: a counter of `hertz` shows floor(nanoseconds * hertz / 10^9), computed with
 * integers here and in generated code (jit/time-stamp.ts) alike.
 */

const second = 1_000_000_000n;

/** CPUID 15H and 16H hold the rate in 32 bits; kernels take slower ones for broken. */
export const slowestTsc = 1_000_000;
export const fastestTsc = 0xffff_ffff;

/** What the counter shows after so many nanoseconds. */
export const tscOfNanos = (nanos: number, hertz: number): bigint => (BigInt(nanos) * BigInt(hertz)) / second;

/** The first nanosecond at which it shows at least this. */
export const nanosOfTsc = (tsc: bigint, hertz: number): number => {
  const rate = BigInt(hertz);
  return Number((tsc * second + rate - 1n) / rate);
};

/** The rate as a fraction of the crystal's 1 GHz, in lowest terms: CPUID 15H. */
export function tscRatio(hertz: number): { readonly numerator: number; readonly denominator: number } {
  let [a, b] = [hertz, Number(second)];
  while (b !== 0) [a, b] = [b, a % b];
  return { numerator: hertz / a, denominator: Number(second) / a };
}

/** How kvmclock turns a counter's difference into nanoseconds: ((difference << shift) * multiplier) >> 32. */
export interface NanosScale {
  /** Between 2^31 and 2^32 - 1. */
  readonly multiplier: number;
  /** Negative: to the right. */
  readonly shift: number;
}
export function nanosScale(hertz: number): NanosScale {
  const rate = BigInt(hertz);
  for (let shift = -32; ; shift++) {
    // multiplier = 10^9 * 2^32 / (hertz * 2^shift), rounded down: time never runs ahead of the counter's.
    const power = 32 - shift;
    const multiplier = (second << BigInt(power)) / rate;
    if (multiplier < 1n << 32n) return { multiplier: Number(multiplier), shift };
  }
}
