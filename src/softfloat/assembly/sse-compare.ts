/*
 * MINSD, MAXSD, UCOMISD, COMISD and CMPSD with their single precision and VEX forms (SDM volume 2; the predicates are
 * CMPPD's table 3-1).
 */
import { INVALID, setRaised } from './result';
import { denormalFlag, flushInput, isNan, isNegative, isSignalling, magnitude } from './sse-operand';

/** How a stands to b, as bit numbers of a predicate's mask. */
const UNORDERED: u32 = 0;
const LESS: u32 = 1;
const EQUAL: u32 = 2;
const GREATER: u32 = 3;

/**
 * Four bits for each of the predicates 0 to 15, by the relations for which they hold; 16 to 31 hold for the same ones.
 * From 15 down: TRUE GT GE NEQ_OQ FALSE NGT NGE EQ_UQ ORD NLE NLT NEQ_UQ UNORD LE LT EQ_OQ.
 */
const HOLDS: u64 = 0xf8ca0735_e9db1624;
/** The predicates that raise the invalid operation exception for quiet NaNs. */
const SIGNALS: u32 = 0x99996666;

function relation<T>(a: T, b: T, mxcsr: u32, signals: bool): u32 {
  if (isNan<T>(a) || isNan<T>(b)) {
    setRaised(signals || isSignalling<T>(a) || isSignalling<T>(b) ? INVALID : 0);
    return UNORDERED;
  }
  a = flushInput<T>(a, mxcsr);
  b = flushInput<T>(b, mxcsr);
  setRaised(denormalFlag<T>(a) | denormalFlag<T>(b));
  if (a === b || (magnitude<T>(a) | magnitude<T>(b)) === 0) return EQUAL;
  if (isNegative<T>(a) !== isNegative<T>(b)) return isNegative<T>(a) ? LESS : GREATER;
  return a < b !== isNegative<T>(a) ? LESS : GREATER;
}

/** ZF, PF and CF as UCOMISD and COMISD set them. */
function flags<T>(a: T, b: T, mxcsr: u32, quiet: u32): u32 {
  const found = relation<T>(a, b, mxcsr, quiet === 0);
  return found === UNORDERED ? 0x45 : found === LESS ? 1 : found === EQUAL ? 0x40 : 0;
}

function compareWith<T>(a: T, b: T, mxcsr: u32, predicate: u32): u32 {
  const found = relation<T>(a, b, mxcsr, ((SIGNALS >> (predicate & 31)) & 1) !== 0);
  return <u32>(HOLDS >> (((predicate & 15) << 2) | found)) & 1;
}

/** The first operand if it stands to the second one as wanted, else the second one, even if it is a NaN. */
function choose<T>(a: T, b: T, mxcsr: u32, wanted: u32): T {
  const found = relation<T>(a, b, mxcsr, true);
  if (found === UNORDERED) return flushInput<T>(b, mxcsr);
  return flushInput<T>(found === wanted ? a : b, mxcsr);
}

/** MINSD. */
export function f64Min(a: u64, b: u64, mxcsr: u32): u64 {
  return choose<u64>(a, b, mxcsr, LESS);
}

/** MAXSD. */
export function f64Max(a: u64, b: u64, mxcsr: u32): u64 {
  return choose<u64>(a, b, mxcsr, GREATER);
}

/** MINSS. */
export function f32Min(a: u32, b: u32, mxcsr: u32): u32 {
  return choose<u32>(a, b, mxcsr, LESS);
}

/** MAXSS. */
export function f32Max(a: u32, b: u32, mxcsr: u32): u32 {
  return choose<u32>(a, b, mxcsr, GREATER);
}

/** COMISD (quiet 0) and UCOMISD (quiet 1): ZF 0x40, PF 4, CF 1. */
export function f64Compare(a: u64, b: u64, mxcsr: u32, quiet: u32): u32 {
  return flags<u64>(a, b, mxcsr, quiet);
}

/** COMISS (quiet 0) and UCOMISS (quiet 1): ZF 0x40, PF 4, CF 1. */
export function f32Compare(a: u32, b: u32, mxcsr: u32, quiet: u32): u32 {
  return flags<u32>(a, b, mxcsr, quiet);
}

/** CMPSD with predicate 0 to 31: 1 if it holds. */
export function f64CompareWith(a: u64, b: u64, mxcsr: u32, predicate: u32): u32 {
  return compareWith<u64>(a, b, mxcsr, predicate);
}

/** CMPSS with predicate 0 to 31: 1 if it holds. */
export function f32CompareWith(a: u32, b: u32, mxcsr: u32, predicate: u32): u32 {
  return compareWith<u32>(a, b, mxcsr, predicate);
}
