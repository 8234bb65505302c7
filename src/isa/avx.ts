/**
 * What AVX and AVX2 have and SSE has not: broadcasts, permutations, inserts and extracts of halves, shifts by a count for
 * each lane, VZEROUPPER and VZEROALL. SDM volume 2.
 */
import type { Builder } from '../ir/builder.ts';
import type { MicroOp } from '../ir/micro-ops.ts';
import type { MemoryOperand } from '../ir/operand.ts';
import type { SimdOp } from '../ir/simd-ops.ts';
import type { Int } from '../ir/types.ts';
import {
  defineVex,
  i32Lane,
  i64Lane,
  immediateByte,
  readLow32,
  readLow64,
  readVector,
  setDestination,
  shuffleLanes,
  simd,
  splat32,
  type V128,
  writeVector,
  zero,
} from './vector.ts';
import { type Halves, readHalves, setHalves } from './vex.ts';

defineVex('VZEROUPPER', ['VEX.NP.0F.L0.WIG 77'], 'avx', (b, x) => {
  for (let i = 0; i < (x.mode === 64 ? 16 : 8); i++) b.setVectorHigh(i, zero(b));
});
defineVex('VZEROALL', ['VEX.NP.0F.L1.WIG 77'], 'avx', (b, x) => {
  for (let i = 0; i < (x.mode === 64 ? 16 : 8); i++) {
    b.setVector(i, zero(b));
    b.setVectorHigh(i, zero(b));
  }
});

// --- broadcasts: from memory, and with AVX2 from a register
const twice = (v: V128, wide: boolean): Halves => (wide ? [v, v] : [v]);
/** The low lane of `size` bytes in all lanes of a vector. */
function spread(b: Builder, v: V128, size: number): V128 {
  return shuffleLanes(b, v, v, size, new Array<number>(16 / size).fill(0));
}
const narrow = { 1: 8, 2: 16 } as const;
const scalar = (b: Builder, o: MemoryOperand, size: 1 | 2 | 4 | 8): V128 => {
  if (size === 8) return simd(b, 'i64x2.splat', [readLow64(b, o)]);
  if (size === 4) return simd(b, 'i32x4.splat', [readLow32(b, o)]);
  return simd(b, size === 1 ? 'i8x16.splat' : 'i16x8.splat', [b.read({ ...o, width: narrow[size] })]);
};
for (const [name, length, opcode, memory, register, size, feature] of [
  ['VBROADCASTSS', '', '18', 'Md', 'Uss', 4, 'avx'],
  ['VBROADCASTSD', '.L1', '19', 'Mq', 'Usd', 8, 'avx'],
  ['VPBROADCASTB', '', '78', 'Mb', 'Udq', 1, 'avx2'],
  ['VPBROADCASTW', '', '79', 'Mw', 'Udq', 2, 'avx2'],
  ['VPBROADCASTD', '', '58', 'Md', 'Udq', 4, 'avx2'],
  ['VPBROADCASTQ', '', '59', 'Mq', 'Udq', 8, 'avx2'],
] as const) {
  const form = (source: string) => [`VEX.66.0F38.W0${length} ${opcode} Vx,${source}`];
  defineVex(name, form(memory), feature, (b, x) => {
    setHalves(b, x.dst, twice(scalar(b, x.src as MemoryOperand, size), x.vectorLength === 256));
  });
  defineVex(name, form(register), 'avx2', (b, x) => {
    setHalves(b, x.dst, twice(spread(b, readVector(b, x.src), size), x.vectorLength === 256));
  });
}
for (const [name, opcode, feature] of [
  ['VBROADCASTF128', '1A', 'avx'],
  ['VBROADCASTI128', '5A', 'avx2'],
] as const)
  defineVex(name, [`VEX.66.0F38.W0.L1 ${opcode} Vx,Mdq`], feature, (b, x) =>
    setHalves(b, x.dst, twice(readVector(b, x.src, false), true)),
  );

// --- halves
for (const [suffix, feature, permute, insert, extract] of [
  ['F128', 'avx', '06', '18', '19'],
  ['I128', 'avx2', '46', '38', '39'],
] as const) {
  defineVex(`VPERM2${suffix}`, [`VEX.66.0F3A.W0.L1 ${permute} Vx,Hx,Wx,Ib`], feature, (b, x) => {
    const n = immediateByte(x);
    const second = readHalves(b, x.operands[2]!);
    const all = [...readHalves(b, x.src), ...second];
    const chosen = (field: number): V128 => ((field & 8) !== 0 ? zero(b) : all[field & 3]!);
    setHalves(b, x.dst, [chosen(n), chosen(n >> 4)]);
  });
  defineVex(`VINSERT${suffix}`, [`VEX.66.0F3A.W0.L1 ${insert} Vx,Hx,Wdq,Ib`], feature, (b, x) => {
    const inserted = readVector(b, x.operands[2]!, false);
    const [low, high] = readHalves(b, x.src);
    setHalves(b, x.dst, (immediateByte(x) & 1) === 0 ? [inserted, high!] : [low!, inserted]);
  });
  defineVex(`VEXTRACT${suffix}`, [`VEX.66.0F3A.W0.L1 ${extract} Wdq,Vx,Ib`], feature, (b, x) => {
    const half = readHalves(b, x.src)[immediateByte(x) & 1]!;
    if (x.dst.kind === 'memory') writeVector(b, x.dst, half, false);
    else setDestination(b, x, half);
  });
}

// --- permutations by an immediate
const field = (n: number, i: number): number => (n >> (2 * i)) & 3;
defineVex('VPERMILPS', ['VEX.66.0F3A.W0 04 Vx,Wx,Ib'], 'avx', (b, x) => {
  const lanes = [0, 1, 2, 3].map((i) => field(immediateByte(x), i));
  setHalves(
    b,
    x.dst,
    readHalves(b, x.src).map((v) => shuffleLanes(b, v, v, 4, lanes)),
  );
});
defineVex('VPERMILPD', ['VEX.66.0F3A.W0 05 Vx,Wx,Ib'], 'avx', (b, x) => {
  const n = immediateByte(x);
  setHalves(
    b,
    x.dst,
    readHalves(b, x.src).map((v, i) => shuffleLanes(b, v, v, 8, [(n >> (2 * i)) & 1, (n >> (2 * i + 1)) & 1])),
  );
});
for (const [name, opcode] of [
  ['VPERMQ', '00'],
  ['VPERMPD', '01'],
] as const)
  defineVex(name, [`VEX.66.0F3A.W1.L1 ${opcode} Vx,Wx,Ib`], 'avx2', (b, x) => {
    const n = immediateByte(x);
    const [low, high] = readHalves(b, x.src);
    setHalves(
      b,
      x.dst,
      [0, 2].map((i) => shuffleLanes(b, low!, high!, 8, [field(n, i), field(n, i + 1)])),
    );
  });
defineVex('VPBLENDD', ['VEX.66.0F3A.W0 02 Vx,Hx,Wx,Ib'], 'avx2', (b, x) => {
  const second = readHalves(b, x.operands[2]!);
  const first = readHalves(b, x.src);
  const lanes = (half: number) => [0, 1, 2, 3].map((i) => i + 4 * ((immediateByte(x) >> (4 * half + i)) & 1));
  setHalves(
    b,
    x.dst,
    second.map((v, i) => shuffleLanes(b, first[i]!, v, 4, lanes(i))),
  );
});

// --- permutations by a vector
/** Byte indices that choose the 32-bit lane which the low two bits of each lane name. */
const lanePattern = (b: Builder, control: V128): V128 => {
  const lane = simd(b, 'v128.and', [control, splat32(b, 3)]);
  return simd(b, 'i32x4.add', [simd(b, 'i32x4.mul', [lane, splat32(b, 0x0404_0404)]), splat32(b, 0x0302_0100)]);
};
/** Lanes of ones where bit `bit` is set. */
const ofBit = (b: Builder, v: V128, bit: number, shape: 'i32x4' | 'i64x2'): V128 => {
  const bits = shape === 'i32x4' ? 32 : 64;
  return simd(b, `${shape}.shr_s`, [simd(b, `${shape}.shl`, [v, b.i32(bits - 1 - bit)]), b.i32(bits - 1)]);
};
defineVex('VPERMILPS', ['VEX.66.0F38.W0 0C Vx,Hx,Wx'], 'avx', (b, x) => {
  const control = readHalves(b, x.operands[2]!);
  const source = readHalves(b, x.src);
  setHalves(
    b,
    x.dst,
    control.map((c, i) => simd(b, 'i8x16.swizzle', [source[i]!, lanePattern(b, c)])),
  );
});
defineVex('VPERMILPD', ['VEX.66.0F38.W0 0D Vx,Hx,Wx'], 'avx', (b, x) => {
  const control = readHalves(b, x.operands[2]!);
  const source = readHalves(b, x.src);
  setHalves(
    b,
    x.dst,
    control.map((c, i) => {
      const [low, high] = [0, 1].map((lane) => shuffleLanes(b, source[i]!, source[i]!, 8, [lane, lane]));
      return simd(b, 'v128.bitselect', [high!, low!, ofBit(b, c, 1, 'i64x2')]);
    }),
  );
});
for (const [name, opcode] of [
  ['VPERMD', '36'],
  ['VPERMPS', '16'],
] as const)
  defineVex(name, [`VEX.66.0F38.W0.L1 ${opcode} Vx,Hx,Wx`], 'avx2', (b, x) => {
    const [low, high] = readHalves(b, x.operands[2]!);
    setHalves(
      b,
      x.dst,
      readHalves(b, x.src).map((control) => {
        const pattern = lanePattern(b, control);
        const [fromLow, fromHigh] = [low!, high!].map((v) => simd(b, 'i8x16.swizzle', [v, pattern]));
        return simd(b, 'v128.bitselect', [fromHigh!, fromLow!, ofBit(b, control, 2, 'i32x4')]);
      }),
    );
  });

// --- shifts with a count for each lane; counts from the width on give zeros, or copies of the sign
const shifts = { 32: ['i32x4', i32Lane], 64: ['i64x2', i64Lane] } as const;
function shiftLanes(b: Builder, v: V128, counts: V128, width: 32 | 64, op: 'shl' | 'shr_u' | 'shr_s'): V128 {
  const [shape, lane] = shifts[width];
  let made = v;
  for (let i = 0; i < 128 / width; i++) {
    const value: Int = lane(b, v, i);
    const count: Int = lane(b, counts, i);
    const most = b.constant(width, width - 1);
    const inside = b.leU(count, most);
    const by = op === 'shr_s' ? b.select(inside, count, most) : count;
    const shifted = b.emit(`i${width}.${op}` as MicroOp, [value, by]) as Int;
    const result = op === 'shr_s' ? shifted : b.select(inside, shifted, b.constant(width, 0));
    made = simd(b, `${shape}.replace_lane` as SimdOp, [made, result], i);
  }
  return made;
}
for (const [name, opcode, w, width, op] of [
  ['VPSRLVD', '45', 'W0', 32, 'shr_u'],
  ['VPSRLVQ', '45', 'W1', 64, 'shr_u'],
  ['VPSRAVD', '46', 'W0', 32, 'shr_s'],
  ['VPSLLVD', '47', 'W0', 32, 'shl'],
  ['VPSLLVQ', '47', 'W1', 64, 'shl'],
] as const)
  defineVex(name, [`VEX.66.0F38.${w} ${opcode} Vx,Hx,Wx`], 'avx2', (b, x) => {
    const counts = readHalves(b, x.operands[2]!);
    const values = readHalves(b, x.src);
    setHalves(
      b,
      x.dst,
      counts.map((c, i) => shiftLanes(b, values[i]!, c, width, op)),
    );
  });
