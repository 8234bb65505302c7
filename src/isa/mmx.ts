/**
 * MMX, and what SSE to SSSE3 add on mmx registers. An operand is a 64-bit integer; the operations are those on xmm
 * registers (packed.ts) on vectors with the operand in both halves. SDM volume 1, chapter 9; volume 2.
 */
import type { Builder } from '../ir/builder.ts';
import type { Insn, MemoryOperand, NumberedOperand, Operand } from '../ir/operand.ts';
import type { Value } from '../ir/types.ts';
import { define, type Feature, NM, UD } from './define.ts';
import { packedOperations, packedShifts, shiftBy } from './packed.ts';
import './packed-more.ts';
import {
  defineVector,
  i64Lane,
  immediateByte,
  readLow64,
  readVector,
  setDestination,
  shuffle,
  shuffleLanes,
  simd,
  splat64,
  store64,
  type V128,
  zero,
} from './vector.ts';

type Quad = Value<'i64'>;
type Record = (b: Builder, x: Insn) => void;

/** An MMX instruction: CR0 and pending exceptions first; afterwards the x87 unit is in MMX use. */
function defineMmx(name: string, forms: readonly string[], feature: Feature, record: Record): void {
  define(
    name,
    forms,
    (b, x) => {
      if (b.context.mmx === 'undefined') return b.raise(UD);
      if (b.context.mmx === 'device-not-available') return b.raise(NM);
      b.emit('mmx.ready');
      record(b, x);
      b.emit('mmx.enter');
    },
    feature,
  );
}
/** The same for one that works on xmm registers, too, and is available as those are. */
function defineMixed(name: string, forms: readonly string[], feature: Feature, record: Record): void {
  defineVector(name, forms, feature, (b, x) => {
    b.emit('mmx.ready');
    record(b, x);
    b.emit('mmx.enter');
  });
}

const numberOf = (o: Operand): number => (o as NumberedOperand).index;
const readQuad = (b: Builder, o: Operand): Quad =>
  o.kind === 'memory' ? (b.read(o) as Quad) : b.emit('mmx.get', [], numberOf(o));
const destination = (b: Builder, x: Insn): Quad => b.emit('mmx.get', [], numberOf(x.dst));
const setQuad = (b: Builder, x: Insn, value: Quad): void => {
  b.emit('mmx.set', [value], numberOf(x.dst));
};
const twice = (b: Builder, v: Quad): V128 => b.emit('i64x2.splat', [v]);
const joined = (b: Builder, low: Quad, high: Quad): V128 => simd(b, 'i64x2.replace_lane', [twice(b, low), high], 1);

/** What is simpler on integers. */
const onIntegers: Readonly<{ [name: string]: (b: Builder, a: Quad, c: Quad) => Quad }> = {
  PAND: (b, a, c) => b.and(a, c),
  PANDN: (b, a, c) => b.and(b.xor(a, b.i64(-1)), c),
  POR: (b, a, c) => b.or(a, c),
  PXOR: (b, a, c) => b.xor(a, c),
  PADDQ: (b, a, c) => b.add(a, c),
  PSUBQ: (b, a, c) => b.sub(a, c),
};
for (const { name, opcode, mmx, combine, unary } of packedOperations) {
  if (mmx === null) continue;
  // Of the low halves in turn, 32 bits are enough.
  const source = name.startsWith('PUNPCKL') ? 'Qd' : 'Qq';
  // Each half of the result comes from one operand.
  const joins = /^(?:PACK|PHADD|PHSUB)/.test(name);
  const lane = name.startsWith('PUNPCKH') ? 1 : 0;
  const direct = onIntegers[name];
  defineMmx(name, [`NP ${opcode} Pq,${source}`], mmx, (b, x) => {
    let c = x.src.kind === 'memory' && source === 'Qd' ? b.toI64(b.read(x.src), 32) : readQuad(b, x.src);
    const a = unary ? c : destination(b, x);
    if (direct !== undefined) c = direct(b, a, c);
    else {
      const first = joins ? joined(b, a, c) : twice(b, a);
      c = i64Lane(b, combine(b, first, joins ? first : twice(b, c)), lane);
    }
    setQuad(b, x, c);
  });
}

for (const [name, shift, width, opcode, group] of packedShifts) {
  const shifted = (b: Builder, x: Insn, count: Quad) =>
    setQuad(b, x, i64Lane(b, shiftBy(b, twice(b, destination(b, x)), shift, width, count)));
  defineMmx(name, [`NP 0F ${opcode} Pq,Qq`], 'mmx', (b, x) => shifted(b, x, readQuad(b, x.src)));
  defineMmx(name, [`NP 0F ${group}! Nq,Ib`], 'mmx', (b, x) => shifted(b, x, b.i64(immediateByte(x))));
}

defineMmx('PSHUFW', ['NP 0F 70 Pq,Qq,Ib'], 'sse', (b, x) => {
  const source = twice(b, readQuad(b, x.src));
  const n = immediateByte(x);
  const words = [0, 2, 4, 6].map((by) => (n >> by) & 3);
  setQuad(b, x, i64Lane(b, shuffleLanes(b, source, source, 2, [...words, ...words])));
});
defineMmx('PSHUFB', ['NP 0F 38 00 Pq,Qq'], 'ssse3', (b, x) => {
  const indices = simd(b, 'v128.and', [twice(b, readQuad(b, x.src)), splat64(b, 0x8787_8787_8787_8787n)]);
  setQuad(b, x, i64Lane(b, simd(b, 'i8x16.swizzle', [twice(b, destination(b, x)), indices])));
});
defineMmx('PALIGNR', ['NP 0F 3A 0F Pq,Qq,Ib'], 'ssse3', (b, x) => {
  const both = joined(b, readQuad(b, x.src), destination(b, x));
  const by = immediateByte(x);
  const pattern = Array.from({ length: 16 }, (_, i) => Math.min(i + by, 16));
  setQuad(b, x, i64Lane(b, shuffle(b, both, zero(b), pattern)));
});

// --- moves
defineMmx('MOVD', ['NP 0F 6E Pq,Ey', 'NP 0F 7E Ey,Pq'], 'mmx', (b, x) => {
  if (x.dst.kind === 'mmx') setQuad(b, x, b.toI64(b.read(x.src), x.width));
  else b.write(x.dst, b.fromI64(readQuad(b, x.src), x.width));
});
defineMmx('MOVQ', ['NP 0F 6F Pq,Qq', 'NP 0F 7F Qq,Pq'], 'mmx', (b, x) => {
  const value = readQuad(b, x.src);
  if (x.dst.kind === 'memory') store64(b, x.dst, value);
  else setQuad(b, x, value);
});
defineMmx('MOVNTQ', ['NP 0F E7 Mq,Pq'], 'sse', (b, x) => store64(b, x.dst as MemoryOperand, readQuad(b, x.src)));
defineMmx('PINSRW', ['NP 0F C4 Pq,Ew,Ib'], 'sse', (b, x) => {
  const word = b.read(x.src);
  const lane = immediateByte(x) & 3;
  setQuad(b, x, i64Lane(b, simd(b, 'i16x8.replace_lane', [twice(b, destination(b, x)), word], lane)));
});
defineMmx('PEXTRW', ['NP 0F C5 Gd,Nq,Ib'], 'sse', (b, x) =>
  b.write(x.dst, b.emit<'i32'>('i16x8.extract_lane_u', [twice(b, readQuad(b, x.src))], immediateByte(x) & 3)),
);
defineMmx('PMOVMSKB', ['NP 0F D7 Gd,Nq'], 'sse', (b, x) => {
  const mask = b.emit<'i32'>('i8x16.bitmask', [twice(b, readQuad(b, x.src))]);
  b.write(x.dst, b.and(mask, b.i32(0xff)));
});
/** Stores the bytes whose mask byte has its top bit set, at DS:rDI; only those can fault, and all of them before the first store. */
defineMmx('MASKMOVQ', ['NP 0F F7 Pq,Nq'], 'sse', (b, x) => {
  const value = destination(b, x);
  const mask = readQuad(b, x.src);
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
  const selected = (i: number) => b.ne(b.and(mask, b.i64(0x80n << BigInt(8 * i))), b.i64(0));
  for (let i = 0; i < 8; i++) b.when(selected(i), () => b.probeWrite(b.address(pointer, 1, true, i), 1, stack));
  for (let i = 0; i < 8; i++) {
    b.when(selected(i), () => b.store(b.address(pointer, 1, true, i), 8, b.wrap(b.shrU(value, b.i64(8 * i))), stack));
  }
});

define(
  'EMMS',
  ['NP 0F 77'],
  (b) => {
    if (b.context.mmx === 'undefined') return b.raise(UD);
    if (b.context.mmx === 'device-not-available') return b.raise(NM);
    b.emit('mmx.ready');
    b.emit('mmx.empty');
  },
  'mmx',
);

// --- between mmx and xmm registers
defineMixed('MOVDQ2Q', ['F2 0F D6 Pq,Uq'], 'sse2', (b, x) => setQuad(b, x, readLow64(b, x.src)));
defineMixed('MOVQ2DQ', ['F3 0F D6 Vx,Nq'], 'sse2', (b, x) =>
  setDestination(b, x, simd(b, 'i64x2.replace_lane', [zero(b), readQuad(b, x.src)], 0)),
);
/** The xmm register of the first operand with its low half replaced. */
const setLowHalf = (b: Builder, x: Insn, v: V128): void =>
  setDestination(b, x, simd(b, 'i64x2.replace_lane', [b.vector(numberOf(x.dst)), i64Lane(b, v)], 0));
const integers = (b: Builder, value: Quad): V128 => simd(b, 'i64x2.replace_lane', [zero(b), value], 0);

defineMixed('CVTPI2PS', ['NP 0F 2A Vps,Qq'], 'sse', (b, x) =>
  setLowHalf(b, x, b.emit('sse.f32x4.from_i32x4', [integers(b, readQuad(b, x.src))])),
);
// Exact, and from memory it is no MMX instruction.
const doubles = (b: Builder, x: Insn): void =>
  setDestination(b, x, simd(b, 'f64x2.convert_low_i32x4_s', [integers(b, readQuad(b, x.src))]));
defineMixed('CVTPI2PD', ['66 0F 2A Vpd,Nq'], 'sse2', doubles);
defineVector('CVTPI2PD', ['66 0F 2A Vpd,Mq'], 'sse2', doubles);
for (const [name, opcode, truncate] of [
  ['CVTTP', '2C', 1],
  ['CVTP', '2D', 0],
] as const) {
  defineMixed(`${name}S2PI`, [`NP 0F ${opcode} Pq,Wq`], 'sse', (b, x) => {
    const source = simd(b, 'i64x2.replace_lane', [zero(b), readLow64(b, x.src)], 0);
    setQuad(b, x, i64Lane(b, b.emit('sse.i32x4.from_f32x4', [source], truncate)));
  });
  defineMixed(`${name}D2PI`, [`66 0F ${opcode} Pq,Wpd`], 'sse2', (b, x) => {
    setQuad(b, x, i64Lane(b, b.emit('sse.i32x4.from_f64x2', [readVector(b, x.src)], truncate)));
  });
}
