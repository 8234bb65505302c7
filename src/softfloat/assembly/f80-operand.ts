/*
 * The classes of 80-bit operands and the x87's rules for NaNs and unsupported encodings (SDM volume 1, 4.8.3, 8.2.2 and
 * table 4-7). An operand is its significand m and se, the sign in bit 15 over the biased exponent.
 */
import { INVALID, pack, setRaised } from './result';

const TOP: u64 = 1 << 63;
const QUIET: u64 = 1 << 62;

/** Neither zero, denormal, infinite, NaN nor unsupported. */
export function isNormal80(m: u64, se: u32): bool {
  return <bool>(<u32>(m >> 63) & u32(((se + 1) & 0x7fff) > 1));
}

/** A set exponent whose significand lacks its integer bit: unnormal, pseudo-NaN or pseudo-infinity. */
export function isUnsupported80(m: u64, se: u32): bool {
  return (se & 0x7fff) !== 0 && m >> 63 === 0;
}

/** A quiet or signalling NaN. */
export function isNan80(m: u64, se: u32): bool {
  return (se & 0x7fff) === 0x7fff && m > TOP;
}

/** A NaN that raises the invalid operation exception when it is used. */
export function isSignalling80(m: u64, se: u32): bool {
  return isNan80(m, se) && (m & QUIET) === 0;
}

/** Plus or minus infinity. */
export function isInfinite80(m: u64, se: u32): bool {
  return (se & 0x7fff) === 0x7fff && m === TOP;
}

/** A number that is neither zero nor infinite: normal, denormal or pseudo-denormal. */
export function isOrdinary80(m: u64, se: u32): bool {
  const exponent = se & 0x7fff;
  return exponent === 0 ? m !== 0 : exponent !== 0x7fff && m >> 63 !== 0;
}

/** A denormal or pseudo-denormal. */
export function isDenormal80(m: u64, se: u32): bool {
  return (se & 0x7fff) === 0 && m !== 0;
}

/** The biased exponent that a finite non-zero operand has with its significand normalised. */
export function exponent80(m: u64, se: u32): i32 {
  const exponent = <i32>(se & 0x7fff);
  return exponent !== 0 ? exponent : 1 - <i32>clz(m);
}

/** The result of an invalid operation: the real indefinite QNaN. */
export function invalid80(): u64 {
  setRaised(INVALID);
  return pack(0xffff, TOP | QUIET);
}

/** Whether an operand is a NaN or unsupported, so that the result is one of `nanResult80`. */
export function isStrange80(m: u64, se: u32): bool {
  return isNan80(m, se) || isUnsupported80(m, se);
}

/** The result of an operation on one operand that is a NaN or unsupported. */
export function nanResultOfOne80(m: u64, se: u32): u64 {
  if (isUnsupported80(m, se)) return invalid80();
  setRaised((m & QUIET) === 0 ? INVALID : 0);
  return pack(se, m | QUIET);
}

/** The result of an operation on two operands one of which at least is a NaN or unsupported. */
export function nanResult80(am: u64, ase: u32, bm: u64, bse: u32): u64 {
  if (isUnsupported80(am, ase) || isUnsupported80(bm, bse)) return invalid80();
  if (!isNan80(bm, bse)) return nanResultOfOne80(am, ase);
  if (!isNan80(am, ase)) return nanResultOfOne80(bm, bse);
  const aSignals = (am & QUIET) === 0;
  const bSignals = (bm & QUIET) === 0;
  setRaised(aSignals || bSignals ? INVALID : 0);
  // A quiet NaN goes before a signalling one, the larger significand before the smaller, plus before minus.
  let first = am > bm || (am === bm && ase < bse);
  if (aSignals !== bSignals) first = bSignals;
  return first ? pack(ase, am | QUIET) : pack(bse, bm | QUIET);
}
