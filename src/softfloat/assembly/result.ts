/*
 * What a function leaves beside its return value: AssemblyScript functions return one value, so the rest of a
 * result goes into these exported mutable globals. Bit positions: SDM volume 1, 8.1.3 (x87 status word) and 10.2.3 (MXCSR).
 */

/** Invalid operation. */
export const INVALID: u32 = 1;
/** Denormal operand. */
export const DENORMAL: u32 = 2;
/** Zero divide. */
export const ZERO_DIVIDE: u32 = 4;
/** Overflow. */
export const OVERFLOW: u32 = 8;
/** Underflow. */
export const UNDERFLOW: u32 = 16;
/** Inexact result. */
export const PRECISION: u32 = 32;
/** C1 of the x87 status word: the last rounding went away from zero. */
export const ROUNDED_UP: u32 = 0x200;
/** The exceptions that are found before a result is computed. */
export const BEFORE: u32 = INVALID | DENORMAL | ZERO_DIVIDE;

/** Sign and exponent of the 80-bit result whose significand is the return value. */
export let resultSe: u32 = 0;
/** Exceptions (and C1) of the last call; each call sets it afresh. */
export let raised: u32 = 0;
/** Significand of the second result of FXTRACT and FSINCOS. */
export let result2M: u64 = 0;
/** Sign and exponent of that second result. */
export let result2Se: u32 = 0;
/** Condition code bits C0 to C3 where the instruction defines them, at their places in the x87 status word. */
export let condition: u32 = 0;

/** Sets the exceptions of this call. */
export function setRaised(flags: u32): void {
  raised = flags;
}

/** Adds exceptions to those of this call. */
export function addRaised(flags: u32): void {
  raised |= flags;
}

/** Stores sign and exponent, and passes the significand through. */
export function pack(se: u32, m: u64): u64 {
  resultSe = se;
  return m;
}

/** Stores the second 80-bit result. */
export function packSecond(se: u32, m: u64): void {
  result2M = m;
  result2Se = se;
}

/** Sets the condition code bits. */
export function setCondition(bits: u32): void {
  condition = bits;
}
