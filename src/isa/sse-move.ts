/**
 * SSE and SSE2 moves: MOVAPS to MASKMOVDQU, between vector registers, general registers and memory. SDM volume 2.
 */
import type { Builder } from '../ir/builder.ts';
import type { Insn, MemoryOperand } from '../ir/operand.ts';
import type { Value } from '../ir/types.ts';
import {
  defineVector,
  destination,
  f32Lane,
  f64Lane,
  i64Lane,
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
  writeVector,
  zero,
} from './vector.ts';

const isMemory = (x: Insn): boolean => x.dst.kind === 'memory';

for (const [name, forms, feature] of [
  ['MOVAPS', ['NP 0F 28 Vps,Wps', 'NP 0F 29 Wps,Vps'], 'sse'],
  ['MOVAPD', ['66 0F 28 Vpd,Wpd', '66 0F 29 Wpd,Vpd'], 'sse2'],
  ['MOVDQA', ['66 0F 6F Vx,Wx', '66 0F 7F Wx,Vx'], 'sse2'],
  ['MOVNTPS', ['NP 0F 2B Mps,Vps'], 'sse'],
  ['MOVNTPD', ['66 0F 2B Mpd,Vpd'], 'sse2'],
  ['MOVNTDQ', ['66 0F E7 Mx,Vx'], 'sse2'],
] as const)
  defineVector(name, forms, feature, (b, x) => writeVector(b, x.dst, readVector(b, x.src)));

for (const [name, forms, feature] of [
  ['MOVUPS', ['NP 0F 10 Vps,Wps', 'NP 0F 11 Wps,Vps'], 'sse'],
  ['MOVUPD', ['66 0F 10 Vpd,Wpd', '66 0F 11 Wpd,Vpd'], 'sse2'],
  ['MOVDQU', ['F3 0F 6F Vx,Wx', 'F3 0F 7F Wx,Vx'], 'sse2'],
] as const)
  defineVector(name, forms, feature, (b, x) => writeVector(b, x.dst, readVector(b, x.src, false), false));

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

defineVector('MOVD', ['66 0F 6E Vx,Ey', '66 0F 7E Ey,Vx'], 'sse2', (b, x) => {
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
defineVector('MOVQ', ['F3 0F 7E Vq,Wq', '66 0F D6 Wq,Vq'], 'sse2', (b, x) => {
  if (isMemory(x)) store64(b, x.dst as MemoryOperand, readLow64(b, x.src));
  else setDestination(b, x, simd(b, 'i64x2.replace_lane', [zero(b), readLow64(b, x.src)], 0));
});

const low = (b: Builder, x: Insn, value: Value<'i64'>): void =>
  setDestination(b, x, simd(b, 'i64x2.replace_lane', [destination(b, x), value], 0));
const high = (b: Builder, x: Insn, value: Value<'i64'>): void =>
  setDestination(b, x, simd(b, 'i64x2.replace_lane', [destination(b, x), value], 1));
for (const [suffix, prefix, feature] of [
  ['PS', 'NP', 'sse'],
  ['PD', '66', 'sse2'],
] as const) {
  defineVector(`MOVL${suffix}`, [`${prefix} 0F 12 Vq,Mq`], feature, (b, x) => low(b, x, readLow64(b, x.src)));
  defineVector(`MOVL${suffix}`, [`${prefix} 0F 13 Mq,Vq`], feature, (b, x) =>
    store64(b, x.dst as MemoryOperand, readLow64(b, x.src)),
  );
  defineVector(`MOVH${suffix}`, [`${prefix} 0F 16 Vq,Mq`], feature, (b, x) => high(b, x, readLow64(b, x.src)));
  defineVector(`MOVH${suffix}`, [`${prefix} 0F 17 Mq,Vq`], feature, (b, x) =>
    store64(b, x.dst as MemoryOperand, i64Lane(b, readVector(b, x.src), 1)),
  );
}
defineVector('MOVHLPS', ['NP 0F 12 Vq,Uq'], 'sse', (b, x) =>
  setDestination(b, x, shuffleLanes(b, destination(b, x), readVector(b, x.src), 8, [3, 1])),
);
defineVector('MOVLHPS', ['NP 0F 16 Vq,Uq'], 'sse', (b, x) =>
  setDestination(b, x, shuffleLanes(b, destination(b, x), readVector(b, x.src), 8, [0, 2])),
);

defineVector('MOVMSKPS', ['NP 0F 50 Gd,Ups'], 'sse', (b, x) =>
  b.write(x.dst, b.emit('i32x4.bitmask', [readVector(b, x.src)])),
);
defineVector('MOVMSKPD', ['66 0F 50 Gd,Upd'], 'sse2', (b, x) =>
  b.write(x.dst, b.emit('i64x2.bitmask', [readVector(b, x.src)])),
);
defineVector('PMOVMSKB', ['66 0F D7 Gd,Ux'], 'sse2', (b, x) =>
  b.write(x.dst, b.emit('i8x16.bitmask', [readVector(b, x.src)])),
);

/** Stores the bytes whose mask byte has its top bit set, at DS:rDI; only those can fault, and all of them before the first store. */
defineVector('MASKMOVDQU', ['66 0F F7 Vx,Ux'], 'sse2', (b, x) => {
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
defineVector('PINSRW', ['66 0F C4 Vx,Ew,Ib'], 'sse2', (b, x) => {
  const word = b.read(x.src);
  const lane = Number((x.operands[2] as { value: bigint }).value & 7n);
  setDestination(b, x, simd(b, 'i16x8.replace_lane', [destination(b, x), word], lane));
});
defineVector('PEXTRW', ['66 0F C5 Gd,Ux,Ib'], 'sse2', (b, x) => {
  const lane = Number((x.operands[2] as { value: bigint }).value & 7n);
  b.write(x.dst, b.emit('i16x8.extract_lane_u', [readVector(b, x.src)], lane));
});
