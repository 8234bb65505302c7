/**
 * What the packed integer instructions compute, as functions of v128 values: the forms on xmm, mmx and ymm registers are
 * made from this table. On ymm registers each half is one value. SDM volume 2.
 */
import type { Builder } from '../ir/builder.ts';
import type { SimdOp } from '../ir/simd-ops.ts';
import type { Value } from '../ir/types.ts';
import type { Feature } from './define.ts';
import { shuffle, shuffleLanes, simd, splat64, type V128, zero } from './vector.ts';

/** The result of two operands; an instruction that takes one has it second. */
export type Combine = (b: Builder, a: V128, c: V128) => V128;

/** An instruction of the form destination = combine(first operand, second operand). */
export interface PackedOperation {
  readonly name: string;
  /** Opcode with its map, behind the prefix. */
  readonly opcode: string;
  /** The feature that the form on xmm registers comes with. */
  readonly feature: Feature;
  /** The same for the form on mmx registers; null = there is none. */
  readonly mmx: Feature | null;
  readonly combine: Combine;
  /** The first operand does not count: VEX.vvvv is unused. */
  readonly unary: boolean;
}

const list: PackedOperation[] = [];
/** Every operation of the table. */
export const packedOperations: readonly PackedOperation[] = list;

type MoreFeatures = { readonly feature?: Feature; readonly mmx?: Feature | null };
export function packed(
  name: string,
  opcode: string,
  combine: Combine,
  { feature = 'sse2', mmx = 'mmx' }: MoreFeatures = {},
): void {
  list.push({ name, opcode, feature, mmx, combine, unary: false });
}
export function packedUnary(
  name: string,
  opcode: string,
  compute: (b: Builder, v: V128) => V128,
  { feature = 'sse2', mmx = null }: MoreFeatures = {},
): void {
  list.push({ name, opcode, feature, mmx, combine: (b, _, c) => compute(b, c), unary: true });
}
/** WebAssembly's operation of that name, operands in the same order. */
export const directly =
  (op: SimdOp): Combine =>
  (b, a, c) =>
    simd(b, op, [a, c]);

for (const [name, opcode, op, mmx] of [
  ['PADDB', 'FC', 'i8x16.add', 'mmx'],
  ['PADDW', 'FD', 'i16x8.add', 'mmx'],
  ['PADDD', 'FE', 'i32x4.add', 'mmx'],
  ['PADDQ', 'D4', 'i64x2.add', 'sse2'],
  ['PSUBB', 'F8', 'i8x16.sub', 'mmx'],
  ['PSUBW', 'F9', 'i16x8.sub', 'mmx'],
  ['PSUBD', 'FA', 'i32x4.sub', 'mmx'],
  ['PSUBQ', 'FB', 'i64x2.sub', 'sse2'],
  ['PADDSB', 'EC', 'i8x16.add_sat_s', 'mmx'],
  ['PADDSW', 'ED', 'i16x8.add_sat_s', 'mmx'],
  ['PADDUSB', 'DC', 'i8x16.add_sat_u', 'mmx'],
  ['PADDUSW', 'DD', 'i16x8.add_sat_u', 'mmx'],
  ['PSUBSB', 'E8', 'i8x16.sub_sat_s', 'mmx'],
  ['PSUBSW', 'E9', 'i16x8.sub_sat_s', 'mmx'],
  ['PSUBUSB', 'D8', 'i8x16.sub_sat_u', 'mmx'],
  ['PSUBUSW', 'D9', 'i16x8.sub_sat_u', 'mmx'],
  ['PCMPEQB', '74', 'i8x16.eq', 'mmx'],
  ['PCMPEQW', '75', 'i16x8.eq', 'mmx'],
  ['PCMPEQD', '76', 'i32x4.eq', 'mmx'],
  ['PCMPGTB', '64', 'i8x16.gt_s', 'mmx'],
  ['PCMPGTW', '65', 'i16x8.gt_s', 'mmx'],
  ['PCMPGTD', '66', 'i32x4.gt_s', 'mmx'],
  ['PMINUB', 'DA', 'i8x16.min_u', 'sse'],
  ['PMAXUB', 'DE', 'i8x16.max_u', 'sse'],
  ['PMINSW', 'EA', 'i16x8.min_s', 'sse'],
  ['PMAXSW', 'EE', 'i16x8.max_s', 'sse'],
  ['PAVGB', 'E0', 'i8x16.avgr_u', 'sse'],
  ['PAVGW', 'E3', 'i16x8.avgr_u', 'sse'],
  ['PMULLW', 'D5', 'i16x8.mul', 'mmx'],
  ['PMADDWD', 'F5', 'i32x4.dot_i16x8_s', 'mmx'],
  ['PACKSSWB', '63', 'i8x16.narrow_i16x8_s', 'mmx'],
  ['PACKUSWB', '67', 'i8x16.narrow_i16x8_u', 'mmx'],
  ['PACKSSDW', '6B', 'i16x8.narrow_i32x4_s', 'mmx'],
  ['PAND', 'DB', 'v128.and', 'mmx'],
  ['POR', 'EB', 'v128.or', 'mmx'],
  ['PXOR', 'EF', 'v128.xor', 'mmx'],
] as const)
  packed(name, `0F ${opcode}`, directly(op), { mmx });

packed('PANDN', '0F DF', (b, a, c) => simd(b, 'v128.andnot', [c, a]));

for (const [name, opcode, signed, mmx] of [
  ['PMULHW', 'E5', 's', 'mmx'],
  ['PMULHUW', 'E4', 'u', 'sse'],
] as const) {
  packed(
    name,
    `0F ${opcode}`,
    (b, a, c) => {
      const low = simd(b, `i32x4.extmul_low_i16x8_${signed}`, [a, c]);
      const high = simd(b, `i32x4.extmul_high_i16x8_${signed}`, [a, c]);
      return shuffleLanes(b, low, high, 2, [1, 3, 5, 7, 9, 11, 13, 15]);
    },
    { mmx },
  );
}

/** Products of the even 32-bit lanes. */
export const multiplyEven =
  (signed: 's' | 'u'): Combine =>
  (b, a, c) => {
    const even = (v: V128) => shuffleLanes(b, v, v, 4, [0, 2, 0, 2]);
    return simd(b, `i64x2.extmul_low_i32x4_${signed}`, [even(a), even(c)]);
  };
packed('PMULUDQ', '0F F4', multiplyEven('u'), { mmx: 'sse2' });

/** Bytes of |a - c|, unsigned. */
export const byteDistance: Combine = (b, a, c) =>
  simd(b, 'v128.or', [simd(b, 'i8x16.sub_sat_u', [a, c]), simd(b, 'i8x16.sub_sat_u', [c, a])]);
packed(
  'PSADBW',
  '0F F6',
  (b, a, c) => {
    const words = simd(b, 'i16x8.extadd_pairwise_i8x16_u', [byteDistance(b, a, c)]);
    const quads = simd(b, 'i32x4.extadd_pairwise_i16x8_u', [words]);
    const odd = simd(b, 'i64x2.shr_u', [quads, b.i32(32)]);
    return simd(b, 'i64x2.add', [simd(b, 'v128.and', [quads, splat64(b, 0xffff_ffffn)]), odd]);
  },
  { mmx: 'sse' },
);

/** The low (half 0) or the high halves of both operands, lanes of `size` bytes taken in turn. */
export const interleave =
  (size: number, half: 0 | 1): Combine =>
  (b, a, c) => {
    const lanes = 16 / size;
    const pattern = Array.from({ length: lanes }, (_, i) => (i >> 1) + (half * lanes) / 2 + (i & 1) * lanes);
    return shuffleLanes(b, a, c, size, pattern);
  };
for (const [name, opcode, size, half] of [
  ['PUNPCKLBW', '60', 1, 0],
  ['PUNPCKLWD', '61', 2, 0],
  ['PUNPCKLDQ', '62', 4, 0],
  ['PUNPCKLQDQ', '6C', 8, 0],
  ['PUNPCKHBW', '68', 1, 1],
  ['PUNPCKHWD', '69', 2, 1],
  ['PUNPCKHDQ', '6A', 4, 1],
  ['PUNPCKHQDQ', '6D', 8, 1],
] as const)
  packed(name, `0F ${opcode}`, interleave(size, half), { mmx: size === 8 ? null : 'mmx' });

// --- shifts: a count of the lane's width or more gives zeros (or copies of the sign); the whole 64-bit count counts
export type Shift = 'shl' | 'shr_u' | 'shr_s';
const shapes = { 16: 'i16x8', 32: 'i32x4', 64: 'i64x2' } as const;
export type LaneWidth = keyof typeof shapes;

export function shiftBy(b: Builder, v: V128, shift: Shift, width: LaneWidth, count: Value<'i64'>): V128 {
  const op = `${shapes[width]}.${shift}` as SimdOp;
  const known = b.constantOf(count);
  if (shift === 'shr_s') {
    const most = b.i64(width - 1);
    return simd(b, op, [
      v,
      b.wrap(known !== undefined ? (known >= width ? most : count) : b.select(b.gtU(count, most), most, count)),
    ]);
  }
  if (known !== undefined) return known >= width ? zero(b) : simd(b, op, [v, b.wrap(count)]);
  return b.select(b.gtU(count, b.i64(width - 1)), zero(b), simd(b, op, [v, b.wrap(count)]));
}
/** All shifts: opcode (map 0F) of the form with a count in a register, and of the form with an immediate one. */
export const packedShifts: readonly (readonly [
  name: string,
  shift: Shift,
  width: LaneWidth,
  opcode: string,
  group: string,
])[] = [
  ['PSRLW', 'shr_u', 16, 'D1', '71 /2'],
  ['PSRLD', 'shr_u', 32, 'D2', '72 /2'],
  ['PSRLQ', 'shr_u', 64, 'D3', '73 /2'],
  ['PSRAW', 'shr_s', 16, 'E1', '71 /4'],
  ['PSRAD', 'shr_s', 32, 'E2', '72 /4'],
  ['PSLLW', 'shl', 16, 'F1', '71 /6'],
  ['PSLLD', 'shl', 32, 'F2', '72 /6'],
  ['PSLLQ', 'shl', 64, 'F3', '73 /6'],
];

/** Byte `i` of the result is byte `i + by` of the operand, or zero outside it. */
export function shiftBytes(b: Builder, v: V128, by: number): V128 {
  if (Math.abs(by) >= 16) return zero(b);
  return shuffle(
    b,
    v,
    zero(b),
    Array.from({ length: 16 }, (_, i) => (i + by >= 0 && i + by < 16 ? i + by : 16)),
  );
}

// --- shuffles by an immediate
const field = (immediate: number, i: number): number => (immediate >> (i * 2)) & 3;
/** PSHUFD, PSHUFHW, PSHUFLW with their prefixes. */
export const immediateShuffles: readonly (readonly [
  name: string,
  prefix: string,
  compute: (b: Builder, v: V128, n: number) => V128,
])[] = [
  [
    'PSHUFD',
    '66',
    (b, v, n) =>
      shuffleLanes(
        b,
        v,
        v,
        4,
        [0, 1, 2, 3].map((i) => field(n, i)),
      ),
  ],
  ['PSHUFHW', 'F3', (b, v, n) => shuffleLanes(b, v, v, 2, [0, 1, 2, 3, ...[0, 1, 2, 3].map((i) => 4 + field(n, i))])],
  ['PSHUFLW', 'F2', (b, v, n) => shuffleLanes(b, v, v, 2, [...[0, 1, 2, 3].map((i) => field(n, i)), 4, 5, 6, 7])],
];
/** SHUFPS (lanes of 4 bytes) and SHUFPD (8). */
export function shuffleFloats(b: Builder, a: V128, c: V128, size: 4 | 8, n: number): V128 {
  const lanes = size === 4 ? [field(n, 0), field(n, 1), 4 + field(n, 2), 4 + field(n, 3)] : [n & 1, 2 + ((n >> 1) & 1)];
  return shuffleLanes(b, a, c, size, lanes);
}

/** The logic and the unpacking that are written for floating point lanes of `size` bytes: they act on bits alone. */
export const floatBits = (size: 4 | 8): readonly (readonly [name: string, opcode: string, combine: Combine])[] => [
  ['AND', '54', directly('v128.and')],
  ['ANDN', '55', (b, a, c) => simd(b, 'v128.andnot', [c, a])],
  ['OR', '56', directly('v128.or')],
  ['XOR', '57', directly('v128.xor')],
  ['UNPCKL', '14', interleave(size, 0)],
  ['UNPCKH', '15', interleave(size, 1)],
];
