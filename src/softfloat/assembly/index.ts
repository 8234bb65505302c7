/*
 * The exports of softfloat.wasm: the exact floating point arithmetic of x87 and SSE for generated code, and the integer
 * arithmetic that WebAssembly lacks. Operands and results are bit patterns; what does not fit a return value stands in the
 * globals of result.ts.
 */

export {
  aesDecrypt,
  aesDecryptLast,
  aesEncrypt,
  aesEncryptLast,
  aesInverseMixColumns,
  aesKeygenAssist,
} from './aes';
export { f80Patan } from './arctangent';
export { carrylessProduct, crc32c } from './carryless';
export { f80F2xm1, f80Yl2x, f80Yl2xp1 } from './exponential';
export { f32Add, f32Div, f32Mul, f32Sqrt, f32Sub } from './f32';
export { f64Add, f64Div, f64Mul, f64Sqrt, f64Sub } from './f64';
export { f80Add, f80Div, f80Mul, f80Sqrt, f80Sub } from './f80-arithmetic';
export {
  f80FromBcd,
  f80FromF32,
  f80FromF64,
  f80FromI64,
  f80ToBcd,
  f80ToF32,
  f80ToF64,
  f80ToI16,
  f80ToI32,
  f80ToI64,
} from './f80-convert';
export { f80Compare, f80Examine, f80Extract, f80Rem, f80RoundToInt, f80Scale } from './f80-steps';
export { f16ToF32, f32ToF16 } from './half';
export { div128, mulHighS, mulHighU, pdep, pext, rem128 } from './integer';
export { condition, raised, result2M, result2Se, resultSe } from './result';
export { sha1Message2, sha1Rounds, sha256Message1, sha256Message2, sha256Rounds } from './sha';
export {
  f32Compare,
  f32CompareWith,
  f32Max,
  f32Min,
  f64Compare,
  f64CompareWith,
  f64Max,
  f64Min,
} from './sse-compare';
export {
  f32RoundToInt,
  f32ToF64,
  f32ToI32,
  f32ToI64,
  f64RoundToInt,
  f64ToF32,
  f64ToI32,
  f64ToI64,
  i32ToF32,
  i32ToF64,
  i64ToF32,
  i64ToF64,
} from './sse-convert';
export { f32Fma, f64Fma } from './sse-fma';
export { compareStrings } from './string-compare';
export { f80Cos, f80Ptan, f80Sin, f80SinCos } from './trigonometric';
