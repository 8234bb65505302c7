/** The functions that the core module has for x87 micro-ops, and what of softfloat.wasm each calls. */
import type { Type } from '../src/ir/types.ts';

/** Condition codes at their places in the status word. */
export const C2 = 0x400;
export const CODES = 0x4700;

/** Significands rounded down, exponents, and whether rounding to nearest goes up: 1, log2 10, log2 e, pi, log10 2, ln 2, 0. */
export const constants = [
  { significand: 0x8000000000000000n, exponent: 0x3fff, inexact: false, up: false },
  { significand: 0xd49a784bcd1b8afen, exponent: 0x4000, inexact: true, up: false },
  { significand: 0xb8aa3b295c17f0bbn, exponent: 0x3fff, inexact: true, up: true },
  { significand: 0xc90fdaa22168c234n, exponent: 0x4000, inexact: true, up: true },
  { significand: 0x9a209a84fbcff798n, exponent: 0x3ffd, inexact: true, up: true },
  { significand: 0xb17217f7d1cf79abn, exponent: 0x3ffe, inexact: true, up: true },
  { significand: 0n, exponent: 0, inexact: false, up: false },
] as const;

/** Signature of each function after the vCPU: immediate or operand types, and the result. */
export interface X87Function {
  readonly parameters: readonly Type[];
  readonly result: Type | null;
}
const none: X87Function = { parameters: [], result: null };
const one: X87Function = { parameters: ['i32'], result: null };

/** Arithmetic on two operands: micro-op, function of the library, condition codes that it defines, an argument before the control word. */
export const binaries = [
  ['add', 'f80Add', 0, null],
  ['sub', 'f80Sub', 0, null],
  ['mul', 'f80Mul', 0, null],
  ['div', 'f80Div', 0, null],
  ['scale', 'f80Scale', 0, null],
  ['remainder', 'f80Rem', CODES, 0],
  ['remainder1', 'f80Rem', CODES, 1],
  ['yl2x', 'f80Yl2x', 0, null],
  ['yl2xp1', 'f80Yl2xp1', 0, null],
  ['patan', 'f80Patan', 0, null],
] as const;
export const unaries = [
  ['sqrt', 'f80Sqrt', 0],
  ['round', 'f80RoundToInt', 0],
  ['f2xm1', 'f80F2xm1', 0],
  ['sin', 'f80Sin', C2],
  ['cos', 'f80Cos', C2],
] as const;
export const pairs = [
  ['xtract', 'f80Extract', 0],
  ['tan', 'f80Ptan', C2],
  ['sincos', 'f80SinCos', C2],
] as const;
export const results = [
  ['f32', 'f80ToF32', 'i32', 0xffc00000n],
  ['f64', 'f80ToF64', 'i64', 0xfff8n << 48n],
  ['i16', 'f80ToI16', 'i32', 0x8000n],
  ['i32', 'f80ToI32', 'i32', 0x80000000n],
  ['i64', 'f80ToI64', 'i64', 1n << 63n],
  ['f80', null, 'i64', 3n << 62n],
  ['bcd', 'f80ToBcd', 'i64', 3n << 62n],
] as const;
export const isInteger = (name: string): boolean => /^i\d/.test(name);

/** Functions of softfloat.wasm that these call. */
export const softfloat: Readonly<Record<string, { parameters: Type[]; result: Type }>> = {
  ...Object.fromEntries(
    binaries.map(([, f, , extra]) => [
      f,
      { parameters: ['i64', 'i32', 'i64', 'i32', ...(extra === null ? [] : ['i32']), 'i32'], result: 'i64' },
    ]),
  ),
  ...Object.fromEntries(
    [...unaries, ...pairs].map(([, f]) => [f, { parameters: ['i64', 'i32', 'i32'], result: 'i64' }]),
  ),
  ...Object.fromEntries(
    results.flatMap(([name, f, result]) =>
      f === null ? [] : [[f, { parameters: ['i64', 'i32', 'i32', ...(isInteger(name) ? ['i32'] : [])], result }]],
    ),
  ),
  f80FromF32: { parameters: ['i32'], result: 'i64' },
  f80FromF64: { parameters: ['i64'], result: 'i64' },
  f80FromI64: { parameters: ['i64'], result: 'i64' },
  f80FromBcd: { parameters: ['i64', 'i32'], result: 'i64' },
  f80Compare: { parameters: ['i64', 'i32', 'i64', 'i32', 'i32'], result: 'i32' },
  f80Examine: { parameters: ['i64', 'i32'], result: 'i32' },
};

/** The functions by micro-op name without its prefix. */
export const x87Functions: Readonly<Record<string, X87Function>> = {
  'operand.f32': one,
  'operand.f64': { parameters: ['i64'], result: null },
  'operand.i64': { parameters: ['i64'], result: null },
  'operand.f80': { parameters: ['i64', 'i32'], result: null },
  'operand.bcd': { parameters: ['i64', 'i32'], result: null },
  'operand.constant': one,
  push: none,
  load: one,
  ...Object.fromEntries([...binaries, ...unaries].map(([name]) => [name, one])),
  abs: one,
  chs: one,
  ...Object.fromEntries(pairs.map(([name]) => [name, none])),
  compare: one,
  'compare.flags': { parameters: ['i32'], result: 'i32' },
  examine: none,
  ...Object.fromEntries(
    results.map(([name, , result]) => [`result.${name}`, { parameters: isInteger(name) ? ['i32'] : [], result }]),
  ),
  commit: one,
  store: one,
  exchange: one,
  move: { parameters: ['i32', 'i32'], result: null }, // place, condition
  free: one,
  rotate: one,
  pop: none,
  init: none,
  clear: none,
  control: one,
};
export const functionName = (name: string): string => `x87.${name}`;
