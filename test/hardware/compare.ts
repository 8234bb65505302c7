/**
 * Holds what an engine made of a vector against what the CPU made of it. What the architecture leaves undefined is not
 * compared: masked flags, x87 registers that are empty afterwards, the upper half of ESP in mode 16; results whose precision is
 * implementation-defined are compared with a tolerance.
 */
import type { Outcome, Vector } from './vectors.ts';

/** The state an engine ended in, in the shape of a recorded outcome. */
export type ActualState = Outcome;

const NAMES = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'];
const gprName = (i: number): string => NAMES[i] ?? `r${i}`;
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
/** CF PF AF ZF SF DF OF */
const FLAGS = 0xcd5;

/** What differs between `actual` and the recorded outcome, one line each; empty when the vector passes. */
export function compare(vector: Vector, actual: ActualState): string[] {
  const found: string[] = [];
  const differ = (what: string, got: string | number | bigint, expected: string | number | bigint): void => {
    const text = (x: string | number | bigint): string => (typeof x === 'string' ? x : `0x${x.toString(16)}`);
    found.push(`${what}: got ${text(got)}, expected ${text(expected)}`);
  };
  const expected = vector.out;
  compareException(vector, actual, differ);
  const ripBits = vector.mode === 64 ? 64 : 32;
  const rip = BigInt.asUintN(ripBits, expected.rip);
  if (BigInt.asUintN(ripBits, actual.rip) !== rip) differ('rip', actual.rip, rip);
  const registers = vector.mode === 64 ? 16 : 8;
  for (let i = 0; i < registers; i++) {
    const bits = vector.mode === 64 ? 64 : vector.mode === 16 && i === 4 ? 16 : 32;
    const [got, want] = [BigInt.asUintN(bits, actual.gpr[i]!), BigInt.asUintN(bits, expected.gpr[i]!)];
    if (got !== want) differ(gprName(i), got, want);
  }
  const wrongFlags = (actual.flags ^ expected.flags) & FLAGS & ~vector.undefinedFlags;
  if (wrongFlags) differ(`flags (${flagNames(wrongFlags)})`, actual.flags & FLAGS, expected.flags);
  compareBytes('memory at window', actual.window, expected.window, differ);
  if (vector.fp === 'x87') compareX87(vector, actual, differ);
  if (vector.fp === 'sse' || vector.fp === 'avx' || vector.cls === 'mmx') compareSse(vector, actual, differ);
  return found;
}

type Differ = (what: string, got: string | number | bigint, expected: string | number | bigint) => void;

function compareException(vector: Vector, actual: ActualState, differ: Differ): void {
  const expected = vector.out.exception;
  const got = actual.exception;
  if (got?.vector !== expected?.vector) differ('exception', got?.vector ?? 'none', expected?.vector ?? 'none');
  else if (got && expected) {
    const pushesCode = expected.vector >= 10 && expected.vector <= 14;
    if (pushesCode && got.errorCode !== expected.errorCode) differ('error code', got.errorCode, expected.errorCode);
    if (expected.vector === 14 && got.cr2 !== expected.cr2) differ('cr2', got.cr2, expected.cr2);
  }
}

function flagNames(mask: number): string {
  const names: [number, string][] = [
    [1, 'CF'],
    [4, 'PF'],
    [0x10, 'AF'],
    [0x40, 'ZF'],
    [0x80, 'SF'],
    [0x400, 'DF'],
    [0x800, 'OF'],
  ];
  return names.flatMap(([bit, name]) => (mask & bit ? [name] : [])).join(' ');
}

/** One line for the run of bytes from the first difference to the last. */
function compareBytes(what: string, actual: Uint8Array, expected: Uint8Array, differ: Differ): void {
  let first = -1;
  let last = 0;
  for (let i = 0; i < expected.length; i++) {
    if (actual[i] !== expected[i]) {
      if (first < 0) first = i;
      last = i + 1;
    }
  }
  if (first >= 0) differ(`${what}+${first}`, hex(actual.subarray(first, last)), hex(expected.subarray(first, last)));
}

function compareX87(vector: Vector, actual: ActualState, differ: Differ): void {
  const expected = vector.out;
  if (actual.fcw !== expected.fcw) differ('fcw', actual.fcw, expected.fcw);
  if ((actual.fsw ^ expected.fsw) & ~vector.fswUndefined) differ('fsw', actual.fsw, expected.fsw);
  if (actual.ftw !== expected.ftw) differ('ftw (abridged)', actual.ftw, expected.ftw);
  const top = (expected.fsw >> 11) & 7;
  for (let i = 0; i < 8; i++) {
    if (!((expected.ftw >> ((top + i) & 7)) & 1)) continue;
    const got = actual.st.subarray(10 * i, 10 * i + 10);
    const want = expected.st.subarray(10 * i, 10 * i + 10);
    if (sameBytes(got, want) || (vector.approximate && nearExtended(got, want))) continue;
    differ(`st${i}`, hex(got.toReversed()), hex(want.toReversed()));
  }
}

function compareSse(vector: Vector, actual: ActualState, differ: Differ): void {
  const expected = vector.out;
  if ((actual.mxcsr ^ expected.mxcsr) & 0xffff) differ('mxcsr', actual.mxcsr, expected.mxcsr);
  const registers = vector.mode === 64 ? 16 : 8;
  for (let i = 0; i < registers; i++) {
    const got = actual.xmm.subarray(16 * i, 16 * i + 16);
    const want = expected.xmm.subarray(16 * i, 16 * i + 16);
    if (!sameBytes(got, want) && !(vector.approximate && nearSingles(got, want))) {
      differ(`xmm${i}`, hex(got.toReversed()), hex(want.toReversed()));
    }
    if (vector.fp !== 'avx') continue;
    const gotHigh = actual.ymmHigh.subarray(16 * i, 16 * i + 16);
    const wantHigh = expected.ymmHigh.subarray(16 * i, 16 * i + 16);
    if (!sameBytes(gotHigh, wantHigh) && !(vector.approximate && nearSingles(gotHigh, wantHigh)))
      differ(`ymm${i} (upper half)`, hex(gotHigh.toReversed()), hex(wantHigh.toReversed()));
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < b.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Singles within 1.5 x 2^-11 of each other, as the reciprocal estimates are within 1.5 x 2^-12 of the truth. */
function nearSingles(a: Uint8Array, b: Uint8Array): boolean {
  const [x, y] = [new DataView(a.buffer, a.byteOffset), new DataView(b.buffer, b.byteOffset)];
  for (let i = 0; i < 16; i += 4) {
    const [p, q] = [x.getUint32(i, true), y.getUint32(i, true)];
    if (p !== q && (p >>> 31 !== q >>> 31 || Math.abs(p - q) >= 0x1800)) return false;
  }
  return true;
}

/** Double extended numbers of equal sign two units in the last place apart at most: each is within one of the truth. */
function nearExtended(a: Uint8Array, b: Uint8Array): boolean {
  const [x, y] = [new DataView(a.buffer, a.byteOffset), new DataView(b.buffer, b.byteOffset)];
  const [signX, signY] = [x.getUint16(8, true), y.getUint16(8, true)];
  if ((signX ^ signY) & 0x8000) return false;
  const ordinal = (view: DataView, exponent: number): bigint =>
    (BigInt(exponent & 0x7fff) << 63n) + BigInt.asUintN(63, view.getBigUint64(0, true));
  const distance = ordinal(x, signX) - ordinal(y, signY);
  return distance <= 2n && distance >= -2n;
}
