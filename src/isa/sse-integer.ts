/**
 * SSE2 packed integer arithmetic, compares, logic and shifts on xmm registers. SDM volume 2.
 */
import type { Builder } from '../ir/builder.ts';
import type { SimdOp } from '../ir/simd-ops.ts';
import type { Value } from '../ir/types.ts';
import {
  defineVector,
  destination,
  i64Lane,
  immediateByte,
  readVector,
  setDestination,
  shuffle,
  shuffleLanes,
  simd,
  splat64,
  type V128,
  zero,
} from './vector.ts';

type Combine = (b: Builder, a: V128, c: V128) => V128;

/** An instruction of the form destination = combine(destination, source). */
function packed(name: string, opcode: string, combine: Combine): void {
  defineVector(name, [`66 0F ${opcode} Vx,Wx`], 'sse2', (b, x) => {
    const source = readVector(b, x.src);
    setDestination(b, x, combine(b, destination(b, x), source));
  });
}

/** Instructions that WebAssembly has under another name, operands in the same order. */
const direct: readonly (readonly [name: string, opcode: string, op: SimdOp])[] = [
  ['PADDB', 'FC', 'i8x16.add'],
  ['PADDW', 'FD', 'i16x8.add'],
  ['PADDD', 'FE', 'i32x4.add'],
  ['PADDQ', 'D4', 'i64x2.add'],
  ['PSUBB', 'F8', 'i8x16.sub'],
  ['PSUBW', 'F9', 'i16x8.sub'],
  ['PSUBD', 'FA', 'i32x4.sub'],
  ['PSUBQ', 'FB', 'i64x2.sub'],
  ['PADDSB', 'EC', 'i8x16.add_sat_s'],
  ['PADDSW', 'ED', 'i16x8.add_sat_s'],
  ['PADDUSB', 'DC', 'i8x16.add_sat_u'],
  ['PADDUSW', 'DD', 'i16x8.add_sat_u'],
  ['PSUBSB', 'E8', 'i8x16.sub_sat_s'],
  ['PSUBSW', 'E9', 'i16x8.sub_sat_s'],
  ['PSUBUSB', 'D8', 'i8x16.sub_sat_u'],
  ['PSUBUSW', 'D9', 'i16x8.sub_sat_u'],
  ['PCMPEQB', '74', 'i8x16.eq'],
  ['PCMPEQW', '75', 'i16x8.eq'],
  ['PCMPEQD', '76', 'i32x4.eq'],
  ['PCMPGTB', '64', 'i8x16.gt_s'],
  ['PCMPGTW', '65', 'i16x8.gt_s'],
  ['PCMPGTD', '66', 'i32x4.gt_s'],
  ['PMINUB', 'DA', 'i8x16.min_u'],
  ['PMAXUB', 'DE', 'i8x16.max_u'],
  ['PMINSW', 'EA', 'i16x8.min_s'],
  ['PMAXSW', 'EE', 'i16x8.max_s'],
  ['PAVGB', 'E0', 'i8x16.avgr_u'],
  ['PAVGW', 'E3', 'i16x8.avgr_u'],
  ['PMULLW', 'D5', 'i16x8.mul'],
  ['PMADDWD', 'F5', 'i32x4.dot_i16x8_s'],
  ['PACKSSWB', '63', 'i8x16.narrow_i16x8_s'],
  ['PACKUSWB', '67', 'i8x16.narrow_i16x8_u'],
  ['PACKSSDW', '6B', 'i16x8.narrow_i32x4_s'],
  ['PAND', 'DB', 'v128.and'],
  ['POR', 'EB', 'v128.or'],
  ['PXOR', 'EF', 'v128.xor'],
];
for (const [name, opcode, op] of direct) packed(name, opcode, (b, a, c) => simd(b, op, [a, c]));

packed('PANDN', 'DF', (b, a, c) => simd(b, 'v128.andnot', [c, a]));

for (const [name, opcode, signed] of [
  ['PMULHW', 'E5', 's'],
  ['PMULHUW', 'E4', 'u'],
] as const) {
  packed(name, opcode, (b, a, c) => {
    const low = simd(b, `i32x4.extmul_low_i16x8_${signed}`, [a, c]);
    const high = simd(b, `i32x4.extmul_high_i16x8_${signed}`, [a, c]);
    return shuffleLanes(b, low, high, 2, [1, 3, 5, 7, 9, 11, 13, 15]);
  });
}
packed('PMULUDQ', 'F4', (b, a, c) => {
  const even = (v: V128) => shuffleLanes(b, v, v, 4, [0, 2, 0, 2]);
  return simd(b, 'i64x2.extmul_low_i32x4_u', [even(a), even(c)]);
});
packed('PSADBW', 'F6', (b, a, c) => {
  const difference = simd(b, 'v128.or', [simd(b, 'i8x16.sub_sat_u', [a, c]), simd(b, 'i8x16.sub_sat_u', [c, a])]);
  const quads = simd(b, 'i32x4.extadd_pairwise_i16x8_u', [simd(b, 'i16x8.extadd_pairwise_i8x16_u', [difference])]);
  const odd = simd(b, 'i64x2.shr_u', [quads, b.i32(32)]);
  return simd(b, 'i64x2.add', [simd(b, 'v128.and', [quads, splat64(b, 0xffff_ffffn)]), odd]);
});

for (const [name, opcode, size, half] of [
  ['PUNPCKLBW', '60', 1, 0],
  ['PUNPCKLWD', '61', 2, 0],
  ['PUNPCKLDQ', '62', 4, 0],
  ['PUNPCKLQDQ', '6C', 8, 0],
  ['PUNPCKHBW', '68', 1, 1],
  ['PUNPCKHWD', '69', 2, 1],
  ['PUNPCKHDQ', '6A', 4, 1],
  ['PUNPCKHQDQ', '6D', 8, 1],
] as const) {
  const lanes = 16 / size;
  const pattern = Array.from({ length: lanes }, (_, i) => (i >> 1) + (half * lanes) / 2 + (i & 1) * lanes);
  packed(name, opcode, (b, a, c) => shuffleLanes(b, a, c, size, pattern));
}

// Shifts: a count of the lane's width or more gives zeros (or copies of the sign); the whole 64-bit count counts.
type Shift = 'shl' | 'shr_u' | 'shr_s';
const shapes = { 16: 'i16x8', 32: 'i32x4', 64: 'i64x2' } as const;
type LaneWidth = keyof typeof shapes;

function shiftBy(b: Builder, v: V128, shift: Shift, width: LaneWidth, count: Value<'i64'>): V128 {
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

for (const [name, shift, width, opcode, group] of [
  ['PSRLW', 'shr_u', 16, 'D1', '71 /2'],
  ['PSRLD', 'shr_u', 32, 'D2', '72 /2'],
  ['PSRLQ', 'shr_u', 64, 'D3', '73 /2'],
  ['PSRAW', 'shr_s', 16, 'E1', '71 /4'],
  ['PSRAD', 'shr_s', 32, 'E2', '72 /4'],
  ['PSLLW', 'shl', 16, 'F1', '71 /6'],
  ['PSLLD', 'shl', 32, 'F2', '72 /6'],
  ['PSLLQ', 'shl', 64, 'F3', '73 /6'],
] as const) {
  defineVector(name, [`66 0F ${opcode} Vx,Wx`], 'sse2', (b, x) => {
    const count = i64Lane(b, readVector(b, x.src));
    setDestination(b, x, shiftBy(b, destination(b, x), shift, width, count));
  });
  defineVector(name, [`66 0F ${group}! Ux,Ib`], 'sse2', (b, x) => {
    setDestination(b, x, shiftBy(b, destination(b, x), shift, width, b.i64(immediateByte(x))));
  });
}

/** Byte `i` of the result is byte `i + by` of the operand, or zero outside it. */
function shiftBytes(b: Builder, v: V128, by: number): V128 {
  return shuffle(
    b,
    v,
    zero(b),
    Array.from({ length: 16 }, (_, i) => (i + by >= 0 && i + by < 16 ? i + by : 16)),
  );
}
for (const [name, extension, sign] of [
  ['PSRLDQ', 3, 1],
  ['PSLLDQ', 7, -1],
] as const) {
  defineVector(name, [`66 0F 73 /${extension}! Ux,Ib`], 'sse2', (b, x) => {
    const by = Math.min(immediateByte(x), 16);
    setDestination(b, x, by === 16 ? zero(b) : shiftBytes(b, destination(b, x), sign * by));
  });
}

// Shuffles of one operand by an immediate.
const field = (immediate: number, i: number): number => (immediate >> (i * 2)) & 3;
function shuffled(name: string, prefix: string, lanes: (immediate: number) => number[], size: number): void {
  defineVector(name, [`${prefix} 0F 70 Vx,Wx,Ib`], 'sse2', (b, x) => {
    const source = readVector(b, x.src);
    setDestination(b, x, shuffleLanes(b, source, source, size, lanes(immediateByte(x))));
  });
}
shuffled('PSHUFD', '66', (n) => [0, 1, 2, 3].map((i) => field(n, i)), 4);
shuffled('PSHUFHW', 'F3', (n) => [0, 1, 2, 3, ...[0, 1, 2, 3].map((i) => 4 + field(n, i))], 2);
shuffled('PSHUFLW', 'F2', (n) => [...[0, 1, 2, 3].map((i) => field(n, i)), 4, 5, 6, 7], 2);

// The logic and the shuffles that are written for floating point lanes act on bits alone.
for (const [suffix, prefix, feature, size] of [
  ['PS', 'NP', 'sse', 4],
  ['PD', '66', 'sse2', 8],
] as const) {
  const both = (name: string, opcode: string, combine: Combine): void => {
    defineVector(`${name}${suffix}`, [`${prefix} 0F ${opcode} Vx,Wx`], feature, (b, x) => {
      const source = readVector(b, x.src);
      setDestination(b, x, combine(b, destination(b, x), source));
    });
  };
  both('AND', '54', (b, a, c) => simd(b, 'v128.and', [a, c]));
  both('ANDN', '55', (b, a, c) => simd(b, 'v128.andnot', [c, a]));
  both('OR', '56', (b, a, c) => simd(b, 'v128.or', [a, c]));
  both('XOR', '57', (b, a, c) => simd(b, 'v128.xor', [a, c]));
  both('UNPCKL', '14', (b, a, c) => shuffleLanes(b, a, c, size, size === 4 ? [0, 4, 1, 5] : [0, 2]));
  both('UNPCKH', '15', (b, a, c) => shuffleLanes(b, a, c, size, size === 4 ? [2, 6, 3, 7] : [1, 3]));
  defineVector(`SHUF${suffix}`, [`${prefix} 0F C6 Vx,Wx,Ib`], feature, (b, x) => {
    const source = readVector(b, x.src);
    const n = immediateByte(x);
    const lanes =
      size === 4 ? [field(n, 0), field(n, 1), 4 + field(n, 2), 4 + field(n, 3)] : [n & 1, 2 + ((n >> 1) & 1)];
    setDestination(b, x, shuffleLanes(b, destination(b, x), source, size, lanes));
  });
}
