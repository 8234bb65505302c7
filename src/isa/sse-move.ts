/**
 * SSE and SSE2 moves: MOVAPS to MASKMOVDQU, between vector registers, general registers and memory, and
 * their AVX forms. SDM volume 2.
 */
import type { Builder } from '../ir/builder.ts';
import type { Insn, MemoryOperand, Operand } from '../ir/operand.ts';
import type { Int, Value } from '../ir/types.ts';
import type { Feature } from './define.ts';
import {
  defineVector,
  defineVex,
  destination,
  f32Lane,
  f64Lane,
  i64Lane,
  immediateByte,
  operandIndex,
  readLow32,
  readLow64,
  readVector,
  setDestination,
  setLowF32,
  setLowF64,
  shuffleLanes,
  simd,
  store32,
  store64,
  type V128,
  writeVector,
  zero,
} from './vector.ts';
import { defineBoth, defineScalar, readHalves, setHalves, storeHalves, vexForm } from './vex.ts';

const isMemory = (x: Insn): boolean => x.dst.kind === 'memory';

/** Moves of whole registers: the SSE forms and the VEX forms of both lengths. */
function moves(name: string, forms: readonly string[], feature: Feature, aligned: boolean): void {
  defineVector(name, forms, feature, (b, x) => writeVector(b, x.dst, readVector(b, x.src, aligned), aligned));
  defineVex(
    `V${name}`,
    forms.map((form) => vexForm(form)),
    'avx',
    (b, x) => {
      const value = readHalves(b, x.src, aligned);
      if (x.dst.kind === 'memory') storeHalves(b, x.dst, value, aligned);
      else setHalves(b, x.dst, value);
    },
  );
}
for (const [name, forms, feature] of [
  ['MOVAPS', ['NP 0F 28 Vps,Wps', 'NP 0F 29 Wps,Vps'], 'sse'],
  ['MOVAPD', ['66 0F 28 Vpd,Wpd', '66 0F 29 Wpd,Vpd'], 'sse2'],
  ['MOVDQA', ['66 0F 6F Vx,Wx', '66 0F 7F Wx,Vx'], 'sse2'],
  ['MOVNTPS', ['NP 0F 2B Mps,Vps'], 'sse'],
  ['MOVNTPD', ['66 0F 2B Mpd,Vpd'], 'sse2'],
  ['MOVNTDQ', ['66 0F E7 Mx,Vx'], 'sse2'],
] as const)
  moves(name, forms, feature, true);

for (const [name, forms, feature] of [
  ['MOVUPS', ['NP 0F 10 Vps,Wps', 'NP 0F 11 Wps,Vps'], 'sse'],
  ['MOVUPD', ['66 0F 10 Vpd,Wpd', '66 0F 11 Wpd,Vpd'], 'sse2'],
  ['MOVDQU', ['F3 0F 6F Vx,Wx', 'F3 0F 7F Wx,Vx'], 'sse2'],
] as const)
  moves(name, forms, feature, false);

// Between registers the upper part of the destination stays; a load clears it.
defineVector('MOVSS', ['F3 0F 10 Vss,Wss', 'F3 0F 11 Wss,Vss'], 'sse', (b, x) => {
  if (isMemory(x)) store32(b, x.dst as MemoryOperand, readLow32(b, x.src));
  else if (x.src.kind === 'memory')
    setDestination(b, x, simd(b, 'i32x4.replace_lane', [zero(b), readLow32(b, x.src)], 0));
  else setLowF32(b, x, f32Lane(b, readVector(b, x.src)));
});
defineVector('MOVSD', ['F2 0F 10 Vsd,Wsd', 'F2 0F 11 Wsd,Vsd'], 'sse2', (b, x) => {
  if (isMemory(x)) store64(b, x.dst as MemoryOperand, readLow64(b, x.src));
  else if (x.src.kind === 'memory')
    setDestination(b, x, simd(b, 'i64x2.replace_lane', [zero(b), readLow64(b, x.src)], 0));
  else setLowF64(b, x, f64Lane(b, readVector(b, x.src)));
});

// The VEX forms: a load or a store of one lane, or a register with its low lane from another one.
for (const [name, prefix, size, memory, read, write] of [
  ['VMOVSS', 'F3', 'ss', 'Md', readLow32, 'i32x4.replace_lane'],
  ['VMOVSD', 'F2', 'sd', 'Mq', readLow64, 'i64x2.replace_lane'],
] as const) {
  const form = (operands: string): string => `VEX.${prefix}.0F.LIG.WIG ${operands}`;
  const forms = [
    `10 V${size},${memory}`,
    `10 V${size},Hdq,U${size}`,
    `11 ${memory},V${size}`,
    `11 U${size},Hdq,V${size}`,
  ];
  defineVex(name, forms.map(form), 'avx', (b, x) => {
    const value = read(b, x.operands.at(-1)!);
    if (x.dst.kind === 'memory') {
      if (b.typeOf(value) === 'i64') store64(b, x.dst, value as Value<'i64'>);
      else store32(b, x.dst, value as Value<'i32'>);
      return;
    }
    const rest = x.operands.length === 3 ? b.vector(operandIndex(x.src)) : zero(b);
    setDestination(b, x, simd(b, write, [rest, value], 0));
  });
}

defineBoth('MOVD', ['66 0F 6E Vx,Ey', '66 0F 7E Ey,Vx'], 'sse2', { length: 'L0', w: 'size' }, (b, x) => {
  if (x.src.kind === 'xmm') {
    const wide = x.dst.kind === 'register' || x.dst.kind === 'memory' ? x.dst.width === 64 : false;
    b.write(x.dst, wide ? readLow64(b, x.src) : readLow32(b, x.src));
    return;
  }
  const value = b.read(x.src);
  setDestination(
    b,
    x,
    simd(b, b.typeOf(value) === 'i64' ? 'i64x2.replace_lane' : 'i32x4.replace_lane', [zero(b), value], 0),
  );
});
defineBoth('MOVQ', ['F3 0F 7E Vq,Wq', '66 0F D6 Wq,Vq'], 'sse2', { length: 'L0' }, (b, x) => {
  if (isMemory(x)) store64(b, x.dst as MemoryOperand, readLow64(b, x.src));
  else setDestination(b, x, simd(b, 'i64x2.replace_lane', [zero(b), readLow64(b, x.src)], 0));
});

/** A register with one of its quadwords from memory. */
const lane =
  (at: 0 | 1) =>
  (b: Builder, first: V128, second: Value<'i64'>): V128 =>
    simd(b, 'i64x2.replace_lane', [first, second], at);
const none = { length: 'L0' } as const;
for (const [suffix, prefix, feature] of [
  ['PS', 'NP', 'sse'],
  ['PD', '66', 'sse2'],
] as const) {
  defineScalar(`MOVL${suffix}`, `${prefix} 0F 12 Vq,Mq`, feature, readLow64, lane(0), none);
  defineBoth(`MOVL${suffix}`, [`${prefix} 0F 13 Mq,Vq`], feature, none, (b, x) =>
    store64(b, x.dst as MemoryOperand, readLow64(b, x.src)),
  );
  defineScalar(`MOVH${suffix}`, `${prefix} 0F 16 Vq,Mq`, feature, readLow64, lane(1), none);
  defineBoth(`MOVH${suffix}`, [`${prefix} 0F 17 Mq,Vq`], feature, none, (b, x) =>
    store64(b, x.dst as MemoryOperand, i64Lane(b, readVector(b, x.src), 1)),
  );
}
const register = (b: Builder, o: Operand): V128 => b.vector(operandIndex(o));
defineScalar(
  'MOVHLPS',
  'NP 0F 12 Vq,Uq',
  'sse',
  register,
  (b, first, second) => shuffleLanes(b, first, second, 8, [3, 1]),
  none,
);
defineScalar(
  'MOVLHPS',
  'NP 0F 16 Vq,Uq',
  'sse',
  register,
  (b, first, second) => shuffleLanes(b, first, second, 8, [0, 2]),
  none,
);

// Sign bits to a general register.
for (const [name, form, feature, wide, shape] of [
  ['MOVMSKPS', 'NP 0F 50 Gd,Ups', 'sse', 'avx', 'i32x4'],
  ['MOVMSKPD', '66 0F 50 Gd,Upd', 'sse2', 'avx', 'i64x2'],
  ['PMOVMSKB', '66 0F D7 Gd,Ux', 'sse2', 'avx2', 'i8x16'],
] as const) {
  const bits = (b: Builder, v: V128): Value<'i32'> => b.emit(`${shape}.bitmask`, [v]);
  defineBoth(name, [form], feature, none, (b, x) => b.write(x.dst, bits(b, readVector(b, x.src))));
  const lanes = Number(shape.split('x')[1]);
  defineVex(`V${name}`, [vexForm(form, { length: 'L1' })], wide, (b, x) => {
    const [low, high] = readHalves(b, x.src);
    b.write(x.dst, b.or(bits(b, low!), b.shl(bits(b, high!), b.i32(lanes))));
  });
}

/** Stores the bytes whose mask byte has its top bit set, at DS:rDI; only those can fault, and all of them before the first store. */
defineBoth('MASKMOVDQU', ['66 0F F7 Vx,Ux'], 'sse2', none, (b, x) => {
  const value = readVector(b, x.dst);
  const mask = b.emit<'i32'>('i8x16.bitmask', [readVector(b, x.src)]);
  const pointer: MemoryOperand = {
    kind: 'memory',
    segment: x.segment,
    base: 7,
    index: -1,
    scale: 0,
    displacement: 0n,
    addressWidth: x.addressWidth,
    width: 8,
  };
  const stack = x.segment === 2;
  const selected = (i: number) => b.and(mask, b.i32(1 << i));
  for (let i = 0; i < 16; i++) b.when(selected(i), () => b.probeWrite(b.address(pointer, 1, true, i), 1, stack));
  for (let i = 0; i < 16; i++) {
    b.when(selected(i), () =>
      b.store(b.address(pointer, 1, true, i), 8, b.emit<'i32'>('i8x16.extract_lane_u', [value], i), stack),
    );
  }
});

// Moves of one word between a general register and a lane.
const insertWord = (b: Builder, first: V128, word: Int, x: Insn): V128 =>
  simd(b, 'i16x8.replace_lane', [first, word], immediateByte(x) & 7);
defineVector('PINSRW', ['66 0F C4 Vx,Ew,Ib'], 'sse2', (b, x) => {
  const word = b.read(x.src);
  setDestination(b, x, insertWord(b, destination(b, x), word, x));
});
defineVex('VPINSRW', ['VEX.66.0F.WIG.L0 C4 Vx,Hx,Rd,Ib', 'VEX.66.0F.WIG.L0 C4 Vx,Hx,Mw,Ib'], 'avx', (b, x) => {
  const word = b.read(x.operands[2]!);
  setDestination(b, x, insertWord(b, register(b, x.src), word, x));
});
defineBoth('PEXTRW', ['66 0F C5 Gd,Ux,Ib'], 'sse2', none, (b, x) => {
  b.write(x.dst, b.emit('i16x8.extract_lane_u', [readVector(b, x.src)], immediateByte(x) & 7));
});
