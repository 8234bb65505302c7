/**
 * What SSSE3, SSE4.1 and SSE4.2 add to the table of packed integer operations (packed.ts), and their operations that take
 * an immediate. SDM volume 2.
 */
import type { Builder } from '../ir/builder.ts';
import type { SimdOp } from '../ir/simd-ops.ts';
import type { Value } from '../ir/types.ts';
import { byteDistance, directly, multiplyEven, packed, packedUnary } from './packed.ts';
import { shuffle, shuffleLanes, simd, splat32, type V128, zero } from './vector.ts';

const ssse3 = { feature: 'ssse3', mmx: 'ssse3' } as const;
const sse41 = { feature: 'sse4.1', mmx: null } as const;

const bytes = (b: Builder, make: (i: number) => number): V128 =>
  b.emit(
    'v128.const',
    [],
    Array.from({ length: 16 }, (_, i) => make(i)),
  );

// --- SSSE3
/** Bytes of `a` by the low four bits of the indices, zero where an index has its top bit set. */
export const shuffleBytes = (b: Builder, a: V128, indices: V128): V128 =>
  simd(b, 'i8x16.swizzle', [a, simd(b, 'v128.and', [indices, bytes(b, () => 0x8f)])]);
packed('PSHUFB', '0F 38 00', shuffleBytes, { feature: 'ssse3', mmx: null });

/** Even and odd lanes of both operands, those of the first below. */
export function pairs(b: Builder, a: V128, c: V128, size: number): readonly [even: V128, odd: V128] {
  const count = 16 / size;
  const lanes = (from: number) => Array.from({ length: count }, (_, i) => 2 * i + from);
  return [shuffleLanes(b, a, c, size, lanes(0)), shuffleLanes(b, a, c, size, lanes(1))];
}
for (const [name, opcode, op, size] of [
  ['PHADDW', '01', 'i16x8.add', 2],
  ['PHADDD', '02', 'i32x4.add', 4],
  ['PHADDSW', '03', 'i16x8.add_sat_s', 2],
  ['PHSUBW', '05', 'i16x8.sub', 2],
  ['PHSUBD', '06', 'i32x4.sub', 4],
  ['PHSUBSW', '07', 'i16x8.sub_sat_s', 2],
] as const)
  packed(name, `0F 38 ${opcode}`, (b, a, c) => simd(b, op, pairs(b, a, c, size)), ssse3);

/** Unsigned bytes times signed ones, sums of neighbours saturated. */
packed(
  'PMADDUBSW',
  '0F 38 04',
  (b, a, c) => {
    const eight = b.i32(8);
    const even = [
      simd(b, 'v128.and', [a, bytes(b, (i) => (i & 1 ? 0 : 0xff))]),
      simd(b, 'i16x8.shr_s', [simd(b, 'i16x8.shl', [c, eight]), eight]),
    ];
    const odd = [simd(b, 'i16x8.shr_u', [a, eight]), simd(b, 'i16x8.shr_s', [c, eight])];
    return simd(b, 'i16x8.add_sat_s', [simd(b, 'i16x8.mul', even), simd(b, 'i16x8.mul', odd)]);
  },
  ssse3,
);

for (const [name, opcode, shape] of [
  ['PSIGNB', '08', 'i8x16'],
  ['PSIGNW', '09', 'i16x8'],
  ['PSIGND', '0A', 'i32x4'],
] as const)
  packed(
    name,
    `0F 38 ${opcode}`,
    (b, a, c) => {
      const negative = simd(b, `${shape}.lt_s`, [c, zero(b)]);
      const turned = simd(b, `${shape}.sub`, [simd(b, 'v128.xor', [a, negative]), negative]);
      return simd(b, 'v128.and', [turned, simd(b, `${shape}.ne`, [c, zero(b)])]);
    },
    ssse3,
  );

/** WebAssembly's saturates -1 x -1, this one gives -1. */
packed(
  'PMULHRSW',
  '0F 38 0B',
  (b, a, c) => {
    const least = bytes(b, (i) => (i & 1 ? 0x80 : 0));
    const both = simd(b, 'v128.and', [simd(b, 'i16x8.eq', [a, least]), simd(b, 'i16x8.eq', [c, least])]);
    return simd(b, 'v128.xor', [simd(b, 'i16x8.q15mulr_sat_s', [a, c]), both]);
  },
  ssse3,
);
for (const [name, opcode, op] of [
  ['PABSB', '1C', 'i8x16.abs'],
  ['PABSW', '1D', 'i16x8.abs'],
  ['PABSD', '1E', 'i32x4.abs'],
] as const)
  packedUnary(name, `0F 38 ${opcode}`, (b, v) => simd(b, op, [v]), ssse3);

/** PALIGNR: sixteen bytes of `high:low` from byte `by` on. */
export function alignRight(b: Builder, high: V128, low: V128, by: number): V128 {
  if (by >= 32) return zero(b);
  const [first, second, from] = by < 16 ? [low, high, by] : [high, zero(b), by - 16];
  return shuffle(
    b,
    first,
    second,
    Array.from({ length: 16 }, (_, i) => i + from),
  );
}

// --- SSE4.1, SSE4.2
for (const [name, opcode, op] of [
  ['PCMPEQQ', '29', 'i64x2.eq'],
  ['PACKUSDW', '2B', 'i16x8.narrow_i32x4_u'],
  ['PMINSB', '38', 'i8x16.min_s'],
  ['PMINSD', '39', 'i32x4.min_s'],
  ['PMINUW', '3A', 'i16x8.min_u'],
  ['PMINUD', '3B', 'i32x4.min_u'],
  ['PMAXSB', '3C', 'i8x16.max_s'],
  ['PMAXSD', '3D', 'i32x4.max_s'],
  ['PMAXUW', '3E', 'i16x8.max_u'],
  ['PMAXUD', '3F', 'i32x4.max_u'],
  ['PMULLD', '40', 'i32x4.mul'],
] as const)
  packed(name, `0F 38 ${opcode}`, directly(op), sse41);
packed('PMULDQ', '0F 38 28', multiplyEven('s'), sse41);
packed('PCMPGTQ', '0F 38 37', directly('i64x2.gt_s'), { feature: 'sse4.2', mmx: null });

/** The least word and its index, of equal ones the first: index and word are one number each. */
packedUnary(
  'PHMINPOSUW',
  '0F 38 41',
  (b, v) => {
    const numbered = (half: 'low' | 'high'): V128 => {
      const words = simd(b, 'i32x4.shl', [simd(b, `i32x4.extend_${half}_i16x8_u`, [v]), b.i32(16)]);
      return simd(b, 'v128.or', [words, bytes(b, (i) => (i & 3 ? 0 : i / 4 + (half === 'low' ? 0 : 4)))]);
    };
    let least = simd(b, 'i32x4.min_u', [numbered('low'), numbered('high')]);
    for (const lanes of [
      [2, 3, 0, 1],
      [1, 0, 3, 2],
    ])
      least = simd(b, 'i32x4.min_u', [least, shuffleLanes(b, least, least, 4, lanes)]);
    return shuffle(b, least, zero(b), [2, 3, 0, ...new Array<number>(13).fill(16)]);
  },
  { ...sse41 },
);

/** PMOVSX and PMOVZX: opcodes of the signed form, lane sizes in bytes before and after. The unsigned opcode is 16 more. */
export const extensions: readonly (readonly [name: string, opcode: number, from: number, to: number])[] = [
  ['BW', 0x20, 1, 2],
  ['BD', 0x21, 1, 4],
  ['BQ', 0x22, 1, 8],
  ['WD', 0x23, 2, 4],
  ['WQ', 0x24, 2, 8],
  ['DQ', 0x25, 4, 8],
];
const names: Record<number, string> = { 1: 'i8x16', 2: 'i16x8', 4: 'i32x4', 8: 'i64x2' };
/** The low lanes made wider; `half` = the high ones (where the result is 256 bits wide, of the low 128 / ratio * 2). */
export function extendLanes(b: Builder, v: V128, from: number, to: number, signed: boolean, half = 0): V128 {
  let made = v;
  // The lanes wanted go to the bottom, then each step doubles their width.
  if (half === 1) {
    const used = (16 * from) / to;
    made = shuffle(
      b,
      v,
      v,
      Array.from({ length: 16 }, (_, i) => (i + used) & 15),
    );
  }
  for (let size = from; size < to; size *= 2)
    made = simd(b, `${names[2 * size]}.extend_low_${names[size]}_${signed ? 's' : 'u'}` as SimdOp, [made]);
  return made;
}

/** Lanes of `size` bytes: the second operand's where a bit of the immediate is set. PBLENDW, BLENDPS, BLENDPD, VPBLENDD. */
export function blendLanes(b: Builder, a: V128, c: V128, size: number, immediate: number): V128 {
  const count = 16 / size;
  return shuffleLanes(
    b,
    a,
    c,
    size,
    Array.from({ length: count }, (_, i) => ((immediate >> i) & 1 ? i + count : i)),
  );
}
/** The second operand's lanes where the mask's lane has its top bit set. PBLENDVB (1), BLENDVPS (4), BLENDVPD (8). */
export function blendByMask(b: Builder, a: V128, c: V128, mask: V128, size: 1 | 4 | 8): V128 {
  const signs = simd(b, `${names[size]}.lt_s` as SimdOp, [mask, zero(b)]);
  return simd(b, 'v128.bitselect', [c, a, signs]);
}

/** MPSADBW: distances of the four bytes of `c` that the immediate chooses from those at eight places of `a`. */
export function sumsOfDistances(b: Builder, a: V128, c: V128, immediate: number): V128 {
  const start = immediate & 4;
  const block = (immediate & 3) * 4;
  let sum: V128 | null = null;
  for (let k = 0; k < 4; k++) {
    const bytesOf = shuffle(
      b,
      a,
      a,
      Array.from({ length: 16 }, (_, i) => (start + k + (i & 7)) & 15),
    );
    const one = shuffle(b, c, c, new Array<number>(16).fill(block + k));
    const words = simd(b, 'i16x8.extend_low_i8x16_u', [byteDistance(b, bytesOf, one)]);
    sum = sum === null ? words : simd(b, 'i16x8.add', [sum, words]);
  }
  return sum!;
}

const ZF = 0x40;
const CF = 1;
/** The flags of PTEST, at their places; the others are clear. One vector each, or both halves of a ymm register. */
export function testFlags(b: Builder, a: readonly V128[], c: readonly V128[]): Value<'i32'> {
  const none = (parts: readonly V128[]): Value<'i32'> =>
    b.eqz(b.emit<'i32'>('v128.any_true', [parts.reduce((u, v) => simd(b, 'v128.or', [u, v]))]));
  const zf = b.mul(none(c.map((v, i) => simd(b, 'v128.and', [a[i]!, v]))), b.i32(ZF));
  return b.or(zf, b.mul(none(c.map((v, i) => simd(b, 'v128.andnot', [v, a[i]!]))), b.i32(CF)));
}
/** The same for VTESTPS and VTESTPD: the top bits of lanes of 4 or 8 bytes alone. */
export function testSignFlags(b: Builder, a: readonly V128[], c: readonly V128[], size: 4 | 8): Value<'i32'> {
  const sign = size === 4 ? splat32(b, 0x8000_0000) : bytes(b, (i) => ((i & 7) === 7 ? 0x80 : 0));
  return testFlags(
    b,
    a,
    c.map((v) => simd(b, 'v128.and', [v, sign])),
  );
}

/** INSERTPS: a lane of `c` (or the word that came from memory) into a lane of `a`, then zeros. */
export function insertSingle(b: Builder, a: V128, value: Value<'i32'>, immediate: number): V128 {
  const lane = (immediate >> 4) & 3;
  const inserted = simd(b, 'i32x4.replace_lane', [a, value], lane);
  const zeros = immediate & 15;
  if (zeros === 0) return inserted;
  return blendLanes(b, inserted, zero(b), 4, zeros);
}
