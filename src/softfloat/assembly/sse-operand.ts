/*
 * The classes of single and double precision operands and the SSE rules for NaNs, DAZ and results (SDM volume 1, 4.8.3.5,
 * 10.2.3 and 11.5.2). T is the type of the bit pattern: u32 for singles, u64 for doubles.
 */
import { BEFORE, DENORMAL, INVALID, raised, setRaised } from './result';
import { exponentBias, fractionBits, infinity, roundPack, signBit } from './round-pack';

const TOP: u64 = 1 << 63;
const DAZ: u32 = 0x40;
const FTZ: u32 = 0x8000;
const MASK_UNDERFLOW: u32 = 0x800;

/** The pattern without its sign. */
export function magnitude<T>(a: T): T {
  return a & ~signBit<T>();
}

/** A quiet or signalling NaN. */
export function isNan<T>(a: T): bool {
  return magnitude<T>(a) > infinity<T>();
}

/** The bit that tells quiet NaNs from signalling ones. */
export function quietBit<T>(): T {
  return (<T>1) << (<T>(fractionBits<T>() - 1));
}

/** A NaN that raises the invalid operation exception when it is used. */
export function isSignalling<T>(a: T): bool {
  return isNan<T>(a) && (a & quietBit<T>()) === 0;
}

/** Plus or minus infinity. */
export function isInfinite<T>(a: T): bool {
  return magnitude<T>(a) === infinity<T>();
}

/** A non-zero number below the smallest normal one. */
export function isDenormal<T>(a: T): bool {
  return magnitude<T>(a) - 1 < ((<T>1) << (<T>fractionBits<T>())) - 1;
}

/** The default NaN, with `raised` = INVALID. */
export function invalid<T>(): T {
  setRaised(INVALID);
  return signBit<T>() | infinity<T>() | quietBit<T>();
}

/** A zero of a's sign if a is a denormal and MXCSR says that denormals are zeros, else a. */
export function flushInput<T>(a: T, mxcsr: u32): T {
  return (mxcsr & DAZ) !== 0 && isDenormal<T>(a) ? a & signBit<T>() : a;
}

/** DE if a (after `flushInput`) is a denormal. */
export function denormalFlag<T>(a: T): u32 {
  return isDenormal<T>(a) ? DENORMAL : 0;
}

/** The exceptions in flags that MXCSR does not mask. */
export function unmasked(flags: u32, mxcsr: u32): u32 {
  return flags & ~(mxcsr >> 7) & 63;
}

/** The result of an operation on two operands of which one is a NaN: the first one, quiet. */
export function nanResult<T>(a: T, b: T): T {
  setRaised(isSignalling<T>(a) || isSignalling<T>(b) ? INVALID : 0);
  return (isNan<T>(a) ? a : b) | quietBit<T>();
}

/** The unbiased exponent of a finite non-zero number, normalised. */
export function exponentOf<T>(a: T): i32 {
  const field = <i32>(magnitude<T>(a) >> <T>fractionBits<T>());
  if (field !== 0) return field - exponentBias<T>();
  return 1 - exponentBias<T>() - (<i32>clz(<u64>magnitude<T>(a)) - <i32>(63 - fractionBits<T>()));
}

/** The significand of a finite non-zero number with its leading bit at the top. */
export function significandOf<T>(a: T): u64 {
  const field = <i32>(magnitude<T>(a) >> <T>fractionBits<T>());
  if (field !== 0) return ((<u64>a) << (63 - fractionBits<T>())) | TOP;
  const m = <u64>magnitude<T>(a);
  return m << clz(m);
}

/** Whether a is negative. */
export function isNegative<T>(a: T): bool {
  return a >= signBit<T>();
}

/** Rounds as MXCSR says and adds the exceptions `before` that the operands had. */
export function roundResult<T>(negative: bool, exponent: i32, significand: u64, mxcsr: u32, before: u32): T {
  if (unmasked(before & BEFORE, mxcsr) !== 0) {
    setRaised(before);
    return 0;
  }
  const flush = (mxcsr & (FTZ | MASK_UNDERFLOW)) === (FTZ | MASK_UNDERFLOW);
  const result = roundPack<T>(negative, exponent, significand, (mxcsr >> 13) & 3, ~(mxcsr >> 7), flush);
  setRaised((raised & 63) | before);
  return result;
}

/** The result of an exact sum of zero: +0, or -0 when rounding down. */
export function zeroSum<T>(mxcsr: u32): T {
  return (mxcsr & 0x6000) === 0x2000 ? signBit<T>() : 0;
}

/** Whether a normal result of native arithmetic can be taken: to nearest. */
export function isNearest(mxcsr: u32): bool {
  return (mxcsr & 0x6000) === 0;
}

/** Whether a's exponent is so far from both ends that one operation cannot leave the range. */
export function isMiddling<T>(a: T): bool {
  if (sizeof<T>() === 4) return <u32>((<u32>a >> 23) & 0xff) - 0x42 < 0x7c;
  return <u32>((<u64>a >> 52) & 0x7ff) - 0x202 < 0x3fc;
}
