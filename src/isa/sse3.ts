/**
 * SSE3, and SSE4.1's rounding and dot products: floating point across lanes. What they compute are functions of v128
 * values, for the VEX forms, too. SDM volume 2.
 */
import type { Builder } from '../ir/builder.ts';
import type { MicroOp } from '../ir/micro-ops.ts';
import type { Insn } from '../ir/operand.ts';
import type { Value } from '../ir/types.ts';
import { blendLanes, pairs } from './packed-more.ts';
import {
  defineVector,
  defineVex,
  destination,
  immediateByte,
  readF32,
  readF64,
  readLow64,
  readVector,
  setDestination,
  shuffleLanes,
  simd,
  type V128,
  zero,
} from './vector.ts';
import {
  defineBoth,
  definePacked,
  defineScalar,
  defineWide,
  eachHalf,
  type Halves,
  readHalves,
  setHalves,
  vexForm,
} from './vex.ts';

/** The packed formats, with the size of a lane in bytes. */
export interface PackedFloat {
  readonly suffix: 'PS' | 'PD';
  readonly shape: 'f32x4' | 'f64x2';
  readonly size: 4 | 8;
}
const PS: PackedFloat = { suffix: 'PS', shape: 'f32x4', size: 4 };
const PD: PackedFloat = { suffix: 'PD', shape: 'f64x2', size: 8 };

const exact = (b: Builder, { shape }: PackedFloat, name: string, args: readonly V128[]): V128 =>
  b.emit<'v128'>(`sse.${shape}.${name}` as MicroOp, args);

/** ADDSUBPS: differences in the even lanes, sums in the odd ones. A difference is a sum with the other sign, NaNs excepted. */
export function addSubtract(b: Builder, f: PackedFloat, a: V128, c: V128): V128 {
  const signs = Array.from({ length: 16 }, (_, i) => (i % (2 * f.size) === f.size - 1 ? 0x80 : 0));
  const number = simd(b, `${f.shape}.eq`, [c, c]);
  const turned = simd(b, 'v128.and', [number, b.emit<'v128'>('v128.const', [], signs)]);
  return exact(b, f, 'add', [a, simd(b, 'v128.xor', [c, turned])]);
}
/** HADDPS, HSUBPS: neighbours, those of the first operand below. */
export const horizontal = (b: Builder, f: PackedFloat, name: 'add' | 'sub', a: V128, c: V128): V128 =>
  exact(b, f, name, pairs(b, a, c, f.size));

/**
 * DPPS, DPPD: products of the lanes that bits 4-7 of the immediate choose, their sum to those that bits 0-3 choose. Each
 * step raises its own exceptions, in both halves at once.
 */
export function dotProduct(b: Builder, f: PackedFloat, a: Halves, c: Halves, immediate: number): Halves {
  const chosen = (v: V128) => blendLanes(b, zero(b), v, f.size, (immediate >> 4) & (f.size === 4 ? 15 : 3));
  const sums = (halves: Halves, first: readonly number[], second: readonly number[]): Halves =>
    eachHalf(b, halves.length, true, (i) => {
      const v = halves[i]!;
      return exact(b, f, 'add', [shuffleLanes(b, v, v, f.size, first), shuffleLanes(b, v, v, f.size, second)]);
    });
  const factors = [a.map(chosen), c.map(chosen)] as const;
  let sum = eachHalf(b, a.length, true, (i) => exact(b, f, 'mul', [factors[0][i]!, factors[1][i]!]));
  if (f.size === 4) {
    // 0 + 1 and 2 + 3, each twice; then the two.
    sum = sums(sum, [0, 2, 0, 2], [1, 3, 1, 3]);
    sum = sums(sum, [0, 0, 0, 0], [1, 1, 1, 1]);
  } else sum = sums(sum, [0, 0], [1, 1]);
  return sum.map((v) => blendLanes(b, zero(b), v, f.size, immediate & 15));
}

const BY_MXCSR = 4;
/** The immediate of ROUNDPS as the micro-ops take it. */
export const rounding = (immediate: number): number => immediate & ((immediate & BY_MXCSR) !== 0 ? 12 : 11);

/** MOVDDUP's source: on ymm registers the even quadwords, which is not this. */
export const duplicateLow = (b: Builder, low: Value<'i64'>): V128 => b.emit('i64x2.splat', [low]);
/** MOVSLDUP (0) and MOVSHDUP (1). */
export const duplicateSingles = (b: Builder, v: V128, odd: 0 | 1): V128 =>
  shuffleLanes(b, v, v, 4, [odd, odd, 2 + odd, 2 + odd]);

type FloatCombine = (b: Builder, f: PackedFloat, a: V128, c: V128) => V128;
/** The operations on two vectors, with their opcodes; F2 before those on singles, 66 before those on doubles. */
export const crossLanes: readonly (readonly [name: string, opcode: string, combine: FloatCombine])[] = [
  ['ADDSUB', 'D0', addSubtract],
  ['HADD', '7C', (b, f, a, c) => horizontal(b, f, 'add', a, c)],
  ['HSUB', '7D', (b, f, a, c) => horizontal(b, f, 'sub', a, c)],
];

for (const [f, prefix] of [
  [PS, 'F2'],
  [PD, '66'],
] as const) {
  const family = { feature: 'sse3', wide: 'avx', float: true } as const;
  for (const [name, opcode, combine] of crossLanes)
    definePacked(`${name}${f.suffix}`, `${prefix} 0F ${opcode} Vx,Wx`, family, (b, a, c) => combine(b, f, a, c));
}
const moves = { feature: 'sse3', wide: 'avx', sources: 1 } as const;
definePacked('MOVSLDUP', 'F3 0F 12 Vx,Wx', moves, (b, v) => duplicateSingles(b, v, 0));
definePacked('MOVSHDUP', 'F3 0F 16 Vx,Wx', moves, (b, v) => duplicateSingles(b, v, 1));
defineBoth('MOVDDUP', ['F2 0F 12 Vx,Wq'], 'sse3', { length: 'L0' }, (b, x) =>
  setDestination(b, x, duplicateLow(b, readLow64(b, x.src))),
);
defineWide('VMOVDDUP', 'F2 0F 12 Vx,Wx', { ...moves, narrow: false }, (b, v) => shuffleLanes(b, v, v, 8, [0, 0]));
defineVector('LDDQU', ['F2 0F F0 Vx,M'], 'sse3', (b, x) => setDestination(b, x, readVector(b, x.src, false)));
defineWide('VLDDQU', 'F2 0F F0 Vx,Mx', moves, (_, v) => v);

// --- SSE4.1
const how = (x: Insn): number => rounding(immediateByte(x));
const rounds = { feature: 'sse4.1', wide: 'avx', sources: 1, float: true } as const;
definePacked('ROUNDPS', '66 0F 3A 08 Vps,Wps,Ib', rounds, (b, v, _, x) => b.emit('sse.f32x4.round', [v], how(x)));
definePacked('ROUNDPD', '66 0F 3A 09 Vpd,Wpd,Ib', rounds, (b, v, _, x) => b.emit('sse.f64x2.round', [v], how(x)));
defineScalar('ROUNDSS', '66 0F 3A 0A Vss,Wss,Ib', 'sse4.1', readF32, (b, first, v, x) =>
  simd(b, 'f32x4.replace_lane', [first, b.emit('sse.f32.round', [v], how(x))], 0),
);
defineScalar('ROUNDSD', '66 0F 3A 0B Vsd,Wsd,Ib', 'sse4.1', readF64, (b, first, v, x) =>
  simd(b, 'f64x2.replace_lane', [first, b.emit('sse.f64.round', [v], how(x))], 0),
);
for (const [f, opcode, length] of [
  [PS, '40', undefined],
  [PD, '41', 'L0'],
] as const) {
  const form = `66 0F 3A ${opcode} Vx,Wx,Ib`;
  defineVector(`DP${f.suffix}`, [form], 'sse4.1', (b, x) => {
    const source = readVector(b, x.src);
    const [made] = dotProduct(b, f, [destination(b, x)], [source], immediateByte(x));
    setDestination(b, x, made!);
  });
  const vex = { operands: 'Vx,Hx,Wx,Ib', ...(length === undefined ? {} : { length }) };
  defineVex(`VDP${f.suffix}`, [vexForm(form, vex)], 'avx', (b, x) => {
    const second = readHalves(b, x.operands[2]!);
    setHalves(b, x.dst, dotProduct(b, f, readHalves(b, x.src), second, immediateByte(x)));
  });
}
