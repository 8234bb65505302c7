/**
 * SSSE3, SSE4.1 and SSE4.2 on xmm registers where it is more than two operands and a result (packed-more.ts): alignment,
 * blends, widening, tests, single lanes. SDM volume 2.
 */
import type { Insn, MemoryOperand } from '../ir/operand.ts';
import type { Value } from '../ir/types.ts';
import {
  alignRight,
  blendByMask,
  blendLanes,
  extendLanes,
  extensions,
  insertSingle,
  sumsOfDistances,
  testFlags,
} from './packed-more.ts';
import {
  defineVector,
  destination,
  i32Lane,
  immediateByte,
  readLow32,
  readLow64,
  readVector,
  setDestination,
  simd,
  zero,
} from './vector.ts';

defineVector('PALIGNR', ['66 0F 3A 0F Vx,Wx,Ib'], 'ssse3', (b, x) => {
  const source = readVector(b, x.src);
  setDestination(b, x, alignRight(b, destination(b, x), source, immediateByte(x)));
});

for (const [name, opcode, size] of [
  ['PBLENDW', '0E', 2],
  ['BLENDPS', '0C', 4],
  ['BLENDPD', '0D', 8],
] as const) {
  defineVector(name, [`66 0F 3A ${opcode} Vx,Wx,Ib`], 'sse4.1', (b, x) => {
    const source = readVector(b, x.src);
    setDestination(b, x, blendLanes(b, destination(b, x), source, size, immediateByte(x)));
  });
}
for (const [name, opcode, size] of [
  ['PBLENDVB', '10', 1],
  ['BLENDVPS', '14', 4],
  ['BLENDVPD', '15', 8],
] as const) {
  defineVector(name, [`66 0F 38 ${opcode} Vx,Wx,XMM0`], 'sse4.1', (b, x) => {
    const source = readVector(b, x.src);
    setDestination(b, x, blendByMask(b, destination(b, x), source, b.vector(0), size));
  });
}

defineVector('MPSADBW', ['66 0F 3A 42 Vx,Wx,Ib'], 'sse4.1', (b, x) => {
  const source = readVector(b, x.src);
  setDestination(b, x, sumsOfDistances(b, destination(b, x), source, immediateByte(x)));
});

for (const [letters, opcode, from, to] of extensions) {
  const size = { 2: 'q', 4: 'd', 8: 'w' }[to / from]!;
  for (const [kind, more] of [
    ['PMOVSX', 0],
    ['PMOVZX', 0x10],
  ] as const) {
    const hex = (opcode + more).toString(16).toUpperCase();
    defineVector(`${kind}${letters}`, [`66 0F 38 ${hex} Vx,W${size}`], 'sse4.1', (b, x) => {
      let source = zero(b);
      if (x.src.kind !== 'memory') source = readVector(b, x.src);
      else if (size === 'q') source = simd(b, 'i64x2.replace_lane', [source, readLow64(b, x.src)], 0);
      else source = simd(b, 'i32x4.replace_lane', [source, b.read(x.src)], 0);
      setDestination(b, x, extendLanes(b, source, from, to, more === 0));
    });
  }
}

defineVector('PTEST', ['66 0F 38 17 Vx,Wx'], 'sse4.1', (b, x) => {
  const source = readVector(b, x.src);
  b.setFlags('bits', 32, testFlags(b, destination(b, x), source));
});
defineVector('MOVNTDQA', ['66 0F 38 2A Vx,Mx'], 'sse4.1', (b, x) => setDestination(b, x, readVector(b, x.src)));

// --- single lanes
const lane = (x: Insn, mask: number): number => immediateByte(x) & mask;

defineVector('INSERTPS', ['66 0F 3A 21 Vx,Wss,Ib'], 'sse4.1', (b, x) => {
  const n = immediateByte(x);
  const value = x.src.kind === 'memory' ? readLow32(b, x.src) : i32Lane(b, readVector(b, x.src), n >> 6);
  setDestination(b, x, insertSingle(b, destination(b, x), value, n));
});
defineVector('PINSRB', ['66 0F 3A 20 Vx,Rd,Ib', '66 0F 3A 20 Vx,Mb,Ib'], 'sse4.1', (b, x) => {
  const value = b.read(x.src);
  setDestination(b, x, simd(b, 'i8x16.replace_lane', [destination(b, x), value], lane(x, 15)));
});
defineVector('PINSRD', ['66 0F 3A 22 Vx,Ed,Ib', '66 0F 3A 22 Vx,Eq,Ib w1'], 'sse4.1', (b, x) => {
  const value = b.read(x.src);
  const wide = b.typeOf(value) === 'i64';
  const vector = destination(b, x);
  setDestination(
    b,
    x,
    wide
      ? simd(b, 'i64x2.replace_lane', [vector, value], lane(x, 1))
      : simd(b, 'i32x4.replace_lane', [vector, value], lane(x, 3)),
  );
});
defineVector('PEXTRB', ['66 0F 3A 14 Rd,Vx,Ib', '66 0F 3A 14 Mb,Vx,Ib'], 'sse4.1', (b, x) =>
  b.write(x.dst, b.emit<'i32'>('i8x16.extract_lane_u', [readVector(b, x.src)], lane(x, 15))),
);
defineVector('PEXTRW', ['66 0F 3A 15 Rd,Vx,Ib', '66 0F 3A 15 Mw,Vx,Ib'], 'sse4.1', (b, x) =>
  b.write(x.dst, b.emit<'i32'>('i16x8.extract_lane_u', [readVector(b, x.src)], lane(x, 7))),
);
for (const name of ['PEXTRD', 'EXTRACTPS'] as const) {
  const opcode = name === 'PEXTRD' ? '16' : '17';
  defineVector(name, [`66 0F 3A ${opcode} Ed,Vx,Ib`], 'sse4.1', (b, x) =>
    b.write(x.dst, i32Lane(b, readVector(b, x.src), lane(x, 3))),
  );
}
defineVector('PEXTRD', ['66 0F 3A 16 Eq,Vx,Ib w1'], 'sse4.1', (b, x) => {
  const value: Value<'i64'> = b.emit('i64x2.extract_lane', [readVector(b, x.src)], lane(x, 1));
  b.write(x.dst as MemoryOperand, value);
});
