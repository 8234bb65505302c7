/**
 * SSSE3, SSE4.1 and SSE4.2 on xmm registers, and their AVX forms, where it is more than two operands and a result (packed-more.ts): alignment,
 * blends, widening, tests, single lanes. SDM volume 2.
 */
import type { Builder } from '../ir/builder.ts';
import type { Insn, MemoryOperand, Operand } from '../ir/operand.ts';
import type { Int, Value } from '../ir/types.ts';
import {
  alignRight,
  blendByMask,
  blendLanes,
  extendLanes,
  extensions,
  insertSingle,
  sumsOfDistances,
  testFlags,
  testSignFlags,
} from './packed-more.ts';
import {
  defineVector,
  defineVex,
  destination,
  i32Lane,
  immediateByte,
  readLow32,
  readLow64,
  readVector,
  setDestination,
  simd,
  type V128,
  zero,
} from './vector.ts';
import { defineBoth, definePacked, defineScalar, readHalves, setHalves, vexForm } from './vex.ts';

definePacked('PALIGNR', '66 0F 3A 0F Vx,Wx,Ib', { feature: 'ssse3', wide: 'avx2' }, (b, a, c, x) =>
  alignRight(b, a, c, immediateByte(x)),
);

for (const [name, opcode, size, wide] of [
  ['PBLENDW', '0E', 2, 'avx2'],
  ['BLENDPS', '0C', 4, 'avx'],
  ['BLENDPD', '0D', 8, 'avx'],
] as const)
  definePacked(name, `66 0F 3A ${opcode} Vx,Wx,Ib`, { feature: 'sse4.1', wide }, (b, a, c, x, half) =>
    // The bits for words serve both halves.
    blendLanes(b, a, c, size, immediateByte(x) >> (size === 2 ? 0 : (half * 16) / size)),
  );
for (const [name, opcode, vexOpcode, size, wide] of [
  ['PBLENDVB', '10', '4C', 1, 'avx2'],
  ['BLENDVPS', '14', '4A', 4, 'avx'],
  ['BLENDVPD', '15', '4B', 8, 'avx'],
] as const) {
  defineVector(name, [`66 0F 38 ${opcode} Vx,Wx,XMM0`], 'sse4.1', (b, x) => {
    const source = readVector(b, x.src);
    setDestination(b, x, blendByMask(b, destination(b, x), source, b.vector(0), size));
  });
  for (const [length, feature] of [
    ['L0', 'avx'],
    ['L1', wide],
  ] as const)
    defineVex(`V${name}`, [`VEX.66.0F3A.W0.${length} ${vexOpcode} Vx,Hx,Wx,Lx`], feature, (b, x) => {
      const second = readHalves(b, x.operands[2]!);
      const first = readHalves(b, x.src);
      const masks = readHalves(b, x.operands[3]!);
      setHalves(
        b,
        x.dst,
        masks.map((mask, i) => blendByMask(b, first[i]!, second[i]!, mask, size)),
      );
    });
}

// The upper half of VMPSADBW has bits 3-5 of the immediate.
definePacked('MPSADBW', '66 0F 3A 42 Vx,Wx,Ib', { feature: 'sse4.1', wide: 'avx2' }, (b, a, c, x, half) =>
  sumsOfDistances(b, a, c, immediateByte(x) >> (3 * half)),
);

for (const [letters, opcode, from, to] of extensions) {
  const size = { 2: 'q', 4: 'd', 8: 'w' }[to / from]!;
  for (const [kind, more] of [
    ['PMOVSX', 0],
    ['PMOVZX', 0x10],
  ] as const) {
    const hex = (opcode + more).toString(16).toUpperCase();
    const form = `66 0F 38 ${hex} Vx,W${size}`;
    defineBoth(`${kind}${letters}`, [form], 'sse4.1', { length: 'L0' }, (b, x) =>
      setDestination(b, x, extendLanes(b, lowLanes(b, x), from, to, more === 0)),
    );
    const twice = { q: 'dq', d: 'q', w: 'd' }[size]!;
    defineVex(`V${kind}${letters}`, [vexForm(form, { length: 'L1', operands: `Vx,W${twice}` })], 'avx2', (b, x) => {
      const source = lowLanes(b, x);
      setHalves(
        b,
        x.dst,
        [0, 1].map((half) => extendLanes(b, source, from, to, more === 0, half)),
      );
    });
  }
}
/** The source in the low lanes: a register, or as many bytes of memory as the form says. */
function lowLanes(b: Builder, { src }: Insn): V128 {
  if (src.kind !== 'memory' || src.width === 128) return readVector(b, src, false);
  if (src.width === 64) return simd(b, 'i64x2.replace_lane', [zero(b), readLow64(b, src)], 0);
  return simd(b, 'i32x4.replace_lane', [zero(b), b.read(src)], 0);
}

defineVector('PTEST', ['66 0F 38 17 Vx,Wx'], 'sse4.1', (b, x) => {
  const source = readVector(b, x.src);
  b.setFlags('bits', 32, testFlags(b, [destination(b, x)], [source]));
});
defineVex('VPTEST', ['VEX.66.0F38.WIG 17 Vx,Wx'], 'avx', (b, x) => {
  const second = readHalves(b, x.src);
  b.setFlags('bits', 32, testFlags(b, readHalves(b, x.dst), second));
});
for (const [name, opcode, size] of [
  ['VTESTPS', '0E', 4],
  ['VTESTPD', '0F', 8],
] as const)
  defineVex(name, [`VEX.66.0F38.W0 ${opcode} Vx,Wx`], 'avx', (b, x) => {
    const second = readHalves(b, x.src);
    b.setFlags('bits', 32, testSignFlags(b, readHalves(b, x.dst), second, size));
  });
defineVector('MOVNTDQA', ['66 0F 38 2A Vx,Mx'], 'sse4.1', (b, x) => setDestination(b, x, readVector(b, x.src)));
for (const [length, feature] of [
  ['L0', 'avx'],
  ['L1', 'avx2'],
] as const)
  defineVex('VMOVNTDQA', [`VEX.66.0F38.WIG.${length} 2A Vx,Mx`], feature, (b, x) =>
    setHalves(b, x.dst, readHalves(b, x.src, true)),
  );

// --- single lanes
const lane = (x: Insn, mask: number): number => immediateByte(x) & mask;

/** The operand's low 32 bits, from a register the lane that bits 6 and 7 of the immediate choose. */
const single = (b: Builder, o: Operand, x: Insn): Value<'i32'> =>
  o.kind === 'memory' ? readLow32(b, o) : i32Lane(b, readVector(b, o), immediateByte(x) >> 6);
const short = { length: 'L0' } as const;
defineVector('INSERTPS', ['66 0F 3A 21 Vx,Wss,Ib'], 'sse4.1', (b, x) => {
  setDestination(b, x, insertSingle(b, destination(b, x), single(b, x.src, x), immediateByte(x)));
});
defineVex('VINSERTPS', ['VEX.66.0F3A.WIG.L0 21 Vx,Hx,Wss,Ib'], 'avx', (b, x) => {
  const value = single(b, x.operands[2]!, x);
  setDestination(b, x, insertSingle(b, readVector(b, x.src), value, immediateByte(x)));
});
const general = (b: Builder, o: Operand): Int => b.read(o);
for (const source of ['Rd', 'Mb'] as const)
  defineScalar(
    'PINSRB',
    `66 0F 3A 20 Vx,${source},Ib`,
    'sse4.1',
    general,
    (b, first, value, x) => simd(b, 'i8x16.replace_lane', [first, value], lane(x, 15)),
    short,
  );
const insertWide = (b: Builder, first: V128, value: Int, x: Insn): V128 =>
  b.typeOf(value) === 'i64'
    ? simd(b, 'i64x2.replace_lane', [first, value], lane(x, 1))
    : simd(b, 'i32x4.replace_lane', [first, value], lane(x, 3));
defineVector('PINSRD', ['66 0F 3A 22 Vx,Ed,Ib', '66 0F 3A 22 Vx,Eq,Ib w1'], 'sse4.1', (b, x) => {
  const value = b.read(x.src);
  setDestination(b, x, insertWide(b, destination(b, x), value, x));
});
defineVex('VPINSRD', ['VEX.66.0F3A.L0 22 Vx,Hx,Ey,Ib'], 'avx', (b, x) => {
  const value = b.read(x.operands[2]!);
  setDestination(b, x, insertWide(b, readVector(b, x.src), value, x));
});
defineBoth('PEXTRB', ['66 0F 3A 14 Rd,Vx,Ib', '66 0F 3A 14 Mb,Vx,Ib'], 'sse4.1', short, (b, x) =>
  b.write(x.dst, b.emit<'i32'>('i8x16.extract_lane_u', [readVector(b, x.src)], lane(x, 15))),
);
defineBoth('PEXTRW', ['66 0F 3A 15 Rd,Vx,Ib', '66 0F 3A 15 Mw,Vx,Ib'], 'sse4.1', short, (b, x) =>
  b.write(x.dst, b.emit<'i32'>('i16x8.extract_lane_u', [readVector(b, x.src)], lane(x, 7))),
);
const extractSingle = (b: Builder, x: Insn): void => b.write(x.dst, i32Lane(b, readVector(b, x.src), lane(x, 3)));
defineVector('PEXTRD', ['66 0F 3A 16 Ed,Vx,Ib'], 'sse4.1', extractSingle);
defineBoth('EXTRACTPS', ['66 0F 3A 17 Ed,Vx,Ib'], 'sse4.1', short, extractSingle);
const extractDouble = (b: Builder, x: Insn): void => {
  const value: Value<'i64'> = b.emit('i64x2.extract_lane', [readVector(b, x.src)], lane(x, 1));
  b.write(x.dst as MemoryOperand, value);
};
defineVector('PEXTRD', ['66 0F 3A 16 Eq,Vx,Ib w1'], 'sse4.1', extractDouble);
defineVex('VPEXTRD', ['VEX.66.0F3A.L0 16 Ey,Vx,Ib'], 'avx', (b, x) =>
  x.width === 64 ? extractDouble(b, x) : extractSingle(b, x),
);
