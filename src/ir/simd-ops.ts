/**
 * The micro-ops on v128 values: WebAssembly's vector operations under their own names. All are pure.
 *
 * The table drives builder and lowering: an operation lowers to the WebAssembly instruction of its name, with its lane or
 * its shuffle pattern as an immediate where `simdImmediates` says so. WebAssembly core specification, "Vector Instructions".
 */
import { type MicroOpSpec, spec } from './micro-op-spec.ts';

/** Rows `shape.name` for each shape and name: `'vv>v'` as in micro-ops.ts. */
function rows<const S extends string, const N extends string>(
  shapes: readonly S[],
  signature: string,
  list: readonly N[],
): Record<`${S}.${N}`, MicroOpSpec> {
  const row = spec('pure', signature);
  return Object.fromEntries(shapes.flatMap((s) => list.map((n) => [`${s}.${n}`, row]))) as Record<
    `${S}.${N}`,
    MicroOpSpec
  >;
}

const integerShapes = ['i8x16', 'i16x8', 'i32x4', 'i64x2'] as const;
const narrowShapes = ['i8x16', 'i16x8', 'i32x4'] as const;
const byteWordShapes = ['i8x16', 'i16x8'] as const;
const floatShapes = ['f32x4', 'f64x2'] as const;

export const simdOps = {
  // Bits.
  ...rows(['v128'], 'vv>v', ['and', 'or', 'xor', 'andnot']), // andnot: first & ~second
  ...rows(['v128'], 'v>v', ['not']),
  ...rows(['v128'], 'vvv>v', ['bitselect']), // bits of the first where the third has ones, else of the second
  ...rows(['v128'], 'v>i', ['any_true']),
  // Lanes: [lane].
  ...rows(byteWordShapes, 'v>i', ['extract_lane_s', 'extract_lane_u']),
  ...rows(['i32x4'], 'v>i', ['extract_lane']),
  ...rows(['i64x2'], 'v>l', ['extract_lane']),
  ...rows(['f32x4'], 'v>f', ['extract_lane']),
  ...rows(['f64x2'], 'v>d', ['extract_lane']),
  ...rows(narrowShapes, 'vi>v', ['replace_lane']),
  ...rows(['i64x2'], 'vl>v', ['replace_lane']),
  ...rows(['f32x4'], 'vf>v', ['replace_lane']),
  ...rows(['f64x2'], 'vd>v', ['replace_lane']),
  // [16 byte indices: 0-15 of the first, 16-31 of the second]
  ...rows(['i8x16'], 'vv>v', ['shuffle', 'swizzle']),
  ...rows(narrowShapes, 'i>v', ['splat']),
  ...rows(['i64x2'], 'l>v', ['splat']),
  ...rows(['f32x4'], 'f>v', ['splat']),
  ...rows(['f64x2'], 'd>v', ['splat']),
  // Integers. Shift counts are taken modulo the lane's width.
  ...rows(integerShapes, 'vv>v', ['add', 'sub', 'eq', 'ne', 'lt_s', 'gt_s', 'le_s', 'ge_s']),
  ...rows(integerShapes, 'v>v', ['abs', 'neg']),
  ...rows(integerShapes, 'v>i', ['all_true', 'bitmask']),
  ...rows(integerShapes, 'vi>v', ['shl', 'shr_s', 'shr_u']),
  ...rows(narrowShapes, 'vv>v', ['lt_u', 'gt_u', 'le_u', 'ge_u', 'min_s', 'min_u', 'max_s', 'max_u']),
  ...rows(byteWordShapes, 'vv>v', ['add_sat_s', 'add_sat_u', 'sub_sat_s', 'sub_sat_u', 'avgr_u']),
  ...rows(['i16x8', 'i32x4', 'i64x2'], 'vv>v', ['mul']),
  ...rows(['i8x16'], 'v>v', ['popcnt']),
  ...rows(['i8x16'], 'vv>v', ['narrow_i16x8_s', 'narrow_i16x8_u']),
  ...rows(['i16x8'], 'vv>v', [
    'narrow_i32x4_s',
    'narrow_i32x4_u',
    'extmul_low_i8x16_s',
    'extmul_high_i8x16_s',
    'extmul_low_i8x16_u',
    'extmul_high_i8x16_u',
    'q15mulr_sat_s',
  ]),
  ...rows(['i16x8'], 'v>v', [
    'extend_low_i8x16_s',
    'extend_high_i8x16_s',
    'extend_low_i8x16_u',
    'extend_high_i8x16_u',
    'extadd_pairwise_i8x16_s',
    'extadd_pairwise_i8x16_u',
  ]),
  ...rows(['i32x4'], 'vv>v', [
    'dot_i16x8_s',
    'extmul_low_i16x8_s',
    'extmul_high_i16x8_s',
    'extmul_low_i16x8_u',
    'extmul_high_i16x8_u',
  ]),
  ...rows(['i32x4'], 'v>v', [
    'extend_low_i16x8_s',
    'extend_high_i16x8_s',
    'extend_low_i16x8_u',
    'extend_high_i16x8_u',
    'extadd_pairwise_i16x8_s',
    'extadd_pairwise_i16x8_u',
    'trunc_sat_f32x4_s',
    'trunc_sat_f64x2_s_zero',
  ]),
  ...rows(['i64x2'], 'vv>v', [
    'extmul_low_i32x4_s',
    'extmul_high_i32x4_s',
    'extmul_low_i32x4_u',
    'extmul_high_i32x4_u',
  ]),
  ...rows(['i64x2'], 'v>v', ['extend_low_i32x4_s', 'extend_high_i32x4_s', 'extend_low_i32x4_u', 'extend_high_i32x4_u']),
  // Floating point, to nearest and without flags: what guests see of it is in sse-ops.ts.
  ...rows(floatShapes, 'vv>v', ['add', 'sub', 'mul', 'div', 'pmin', 'pmax', 'eq', 'ne', 'lt', 'gt', 'le', 'ge']),
  ...rows(floatShapes, 'v>v', ['abs', 'neg', 'sqrt', 'nearest', 'floor', 'ceil', 'trunc']),
  ...rows(['f32x4'], 'v>v', ['convert_i32x4_s', 'demote_f64x2_zero']),
  ...rows(['f64x2'], 'v>v', ['convert_low_i32x4_s', 'promote_low_f32x4']),
} as const;

export type SimdOp = keyof typeof simdOps;

/** Where the immediate of an operation stands among the operands of the assembler's function. */
export function simdImmediate(op: SimdOp): 'none' | 'lane' | 'pattern' {
  if (op === 'i8x16.shuffle') return 'pattern';
  return op.includes('_lane') ? 'lane' : 'none';
}
/** Names that binaryen spells otherwise: `add_sat_s` is `add_saturate_s` there. */
export const binaryenName = (name: string): string => name.replace(/^(add|sub)_sat_/, '$1_saturate_');
