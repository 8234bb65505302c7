/**
 * SSE and SSE2 floating point and its AVX forms: arithmetic, compares, conversions, approximations. Each micro-op `sse.*` gives the exact
 * result and the exceptions; what stands here is which lanes it takes and where they go. SDM volume 2.
 */
import type { Builder } from '../ir/builder.ts';
import type { MicroOp } from '../ir/micro-ops.ts';
import type { Insn, Operand } from '../ir/operand.ts';
import type { Value } from '../ir/types.ts';
import {
  defineVector,
  defineVex,
  destination,
  f32Lane,
  f64Lane,
  i32Lane,
  i64Lane,
  immediateByte,
  ones,
  readF32,
  readF64,
  readHalfVector,
  readVector,
  setDestination,
  shuffleLanes,
  simd,
  splat32,
  type V128,
  zero,
} from './vector.ts';
import { defineBoth, definePacked, defineScalar, eachHalf, readHalves, setHalves, vexForm } from './vex.ts';

/** The four kinds of operand: packed and scalar, single and double. */
interface Kind {
  readonly suffix: 'PS' | 'PD' | 'SS' | 'SD';
  readonly prefix: 'NP' | '66' | 'F3' | 'F2';
  readonly feature: 'sse' | 'sse2';
  readonly shape: 'f32x4' | 'f64x2' | 'f32' | 'f64';
}
const kinds: readonly Kind[] = [
  { suffix: 'PS', prefix: 'NP', feature: 'sse', shape: 'f32x4' },
  { suffix: 'PD', prefix: '66', feature: 'sse2', shape: 'f64x2' },
  { suffix: 'SS', prefix: 'F3', feature: 'sse', shape: 'f32' },
  { suffix: 'SD', prefix: 'F2', feature: 'sse2', shape: 'f64' },
];

const readAs = (b: Builder, kind: Kind, o: Operand): Value =>
  kind.shape === 'f64' ? readF64(b, o) : kind.shape === 'f32' ? readF32(b, o) : readVector(b, o);
/** The low lane of a vector, or all of it. */
const lanesOf = (b: Builder, kind: Kind, v: V128): Value =>
  kind.shape === 'f64' ? f64Lane(b, v) : kind.shape === 'f32' ? f32Lane(b, v) : v;
/** A vector with its low lane replaced, or the new one. */
const withLanes = (b: Builder, { shape }: Kind, v: V128, made: Value): V128 =>
  shape === 'f64' || shape === 'f32'
    ? simd(b, `${shape === 'f64' ? 'f64x2' : 'f32x4'}.replace_lane`, [v, made], 0)
    : (made as V128);

/** An instruction of one kind of operand: `combine` makes its result from the first and the second source. */
function compute(
  name: string,
  kind: Kind,
  opcode: string,
  sources: 1 | 2,
  combine: (b: Builder, first: V128, second: Value, x: Insn) => V128,
): void {
  const { feature, prefix, suffix } = kind;
  const [code, more = ''] = opcode.split(',');
  const size = suffix.toLowerCase();
  const form = `${prefix} 0F ${code} V${size},W${size}${more === '' ? '' : `,${more}`}`;
  if (suffix === 'PS' || suffix === 'PD')
    definePacked(`${name}${suffix}`, form, { feature, wide: 'avx', sources, float: true }, combine);
  else defineScalar(`${name}${suffix}`, form, feature, (b, o) => readAs(b, kind, o), combine);
}

for (const kind of kinds) {
  for (const [name, opcode] of [
    ['ADD', '58'],
    ['MUL', '59'],
    ['SUB', '5C'],
    ['MIN', '5D'],
    ['DIV', '5E'],
    ['MAX', '5F'],
  ] as const) {
    const op = `sse.${kind.shape}.${name.toLowerCase()}` as MicroOp;
    compute(name, kind, opcode, 2, (b, first, second) =>
      withLanes(b, kind, first, b.emit(op, [lanesOf(b, kind, first), second])),
    );
  }
  compute('SQRT', kind, '51', 1, (b, first, second) =>
    withLanes(b, kind, first, b.emit(`sse.${kind.shape}.sqrt`, [second])),
  );
  compute('CMP', kind, 'C2,Ib', 2, (b, first, second, x) => {
    const predicate = immediateByte(x) & (x.vex ? 31 : 7);
    return compareLanes(b, kind, first, lanesOf(b, kind, first), second, predicate);
  });
}

/**
 * CMPPS and its relatives: lanes of ones where the predicate holds. The micro-op has those of CMPPS and their opposites in
 * what they signal; the others are made of them. SDM volume 2, table 3-1 (comparison predicate for CMPPD and VCMPPD).
 */
function compareLanes(b: Builder, kind: Kind, first: V128, a: Value, c: Value, predicate: number): V128 {
  /** Only the low lane of a scalar one is flipped. */
  const not = (v: V128): V128 => {
    const flipped = simd(b, 'v128.not', [v]);
    if (kind.shape === 'f64') return simd(b, 'i64x2.replace_lane', [first, i64Lane(b, flipped)], 0);
    return kind.shape === 'f32' ? simd(b, 'i32x4.replace_lane', [first, i32Lane(b, flipped)], 0) : flipped;
  };
  const test = (n: number, x = a, y = c): V128 => {
    if (n > 19) return not(test(n - 4, x, y));
    const holds = b.emit(`sse.${kind.shape}.cmp`, [x, y], n);
    if (kind.shape === 'f64') {
      const mask = b.sub(b.i64(0), b.extendU(holds as Value<'i32'>));
      return simd(b, 'i64x2.replace_lane', [first, mask], 0);
    }
    if (kind.shape !== 'f32') return holds as V128;
    return simd(b, 'i32x4.replace_lane', [first, b.sub(b.i32(0), holds as Value<'i32'>)], 0);
  };
  const constant = (bits: number): V128 => {
    if (kind.shape === 'f64') return simd(b, 'i64x2.replace_lane', [first, b.i64(bits)], 0);
    return kind.shape === 'f32'
      ? simd(b, 'i32x4.replace_lane', [first, b.i32(bits)], 0)
      : bits === 0
        ? zero(b)
        : ones(b);
  };
  const signals = predicate & 16;
  switch (predicate & 15) {
    case 8: // EQ_UQ: equal or unordered
    case 12: {
      // NEQ_OQ: neither
      const yes = test(signals);
      const either = simd(b, 'v128.or', [yes, test(signals | 3)]);
      return (predicate & 15) === 8 ? either : not(either);
    }
    case 9: // NGE, NGT, GE, GT: NLE, NLT, LE, LT the other way round
    case 10:
    case 13:
    case 14:
      return test(signals | (15 - (predicate & 15)), c, a);
    case 11: // FALSE and TRUE look at their operands, too
    case 15:
      test(signals | 3);
      return constant((predicate & 15) === 11 ? 0 : -1);
    default:
      return test(predicate);
  }
}

for (const [name, opcode, quiet] of [
  ['UCOMIS', '2E', 1],
  ['COMIS', '2F', 0],
] as const) {
  defineBoth(`${name}S`, [`NP 0F ${opcode} Vss,Wss`], 'sse', { length: 'LIG' }, (b, x) => {
    const source = readF32(b, x.src);
    b.setFlags('bits', 32, b.emit('sse.f32.compare', [f32Lane(b, destination(b, x)), source], quiet));
  });
  defineBoth(`${name}D`, [`66 0F ${opcode} Vsd,Wsd`], 'sse2', { length: 'LIG' }, (b, x) => {
    const source = readF64(b, x.src);
    b.setFlags('bits', 32, b.emit('sse.f64.compare', [f64Lane(b, destination(b, x)), source], quiet));
  });
}

// Conversions between the two formats.
defineScalar('CVTSS2SD', 'F3 0F 5A Vsd,Wss', 'sse2', readF32, (b, first, x) =>
  simd(b, 'f64x2.replace_lane', [first, b.emit('sse.f64.promote', [x])], 0),
);
defineScalar('CVTSD2SS', 'F2 0F 5A Vss,Wsd', 'sse2', readF64, (b, first, x) =>
  simd(b, 'f32x4.replace_lane', [first, b.emit('sse.f32.demote', [x])], 0),
);

/** To twice the width: the 256-bit form takes all lanes of a 128-bit operand. */
function widened(name: string, form: string, float: boolean, widen: (b: Builder, low: V128) => V128): void {
  defineBoth(name, [form], 'sse2', { length: 'L0' }, (b, x) =>
    setDestination(b, x, widen(b, readHalfVector(b, x.src))),
  );
  const operands = form.slice(form.lastIndexOf(' ') + 1).replace('Wq', 'Wdq');
  defineVex(`V${name}`, [vexForm(form, { length: 'L1', operands })], 'avx', (b, x) => {
    const source = readVector(b, x.src, false);
    const high = shuffleLanes(b, source, source, 8, [1, 0]);
    setHalves(
      b,
      x.dst,
      eachHalf(b, 2, float, (i) => widen(b, i === 0 ? source : high)),
    );
  });
}
widened('CVTPS2PD', 'NP 0F 5A Vpd,Wq', true, (b, v) => b.emit('sse.f64x2.promote', [v]));
widened('CVTDQ2PD', 'F3 0F E6 Vpd,Wq', false, (b, v) => simd(b, 'f64x2.convert_low_i32x4_s', [v]));

/** To half the width: the lanes of a 128-bit operand become the lower half of the result, those of a 256-bit one all of it. */
function narrowed(name: string, form: string, narrow: (b: Builder, v: V128) => V128): void {
  defineVector(name, [form], 'sse2', (b, x) => setDestination(b, x, narrow(b, readVector(b, x.src))));
  defineVex(`V${name}`, [vexForm(form, { operands: 'Vdq,Wx' })], 'avx', (b, x) => {
    const halves = readHalves(b, x.src);
    const [low, high] = eachHalf(b, halves.length, true, (i) => narrow(b, halves[i]!));
    setDestination(b, x, high === undefined ? low! : shuffleLanes(b, low!, high, 8, [0, 2]));
  });
}
narrowed('CVTPD2PS', '66 0F 5A Vps,Wpd', (b, v) => b.emit('sse.f32x4.demote', [v]));
narrowed('CVTPD2DQ', 'F2 0F E6 Vx,Wpd', (b, v) => b.emit('sse.i32x4.from_f64x2', [v], 0));
narrowed('CVTTPD2DQ', '66 0F E6 Vx,Wpd', (b, v) => b.emit('sse.i32x4.from_f64x2', [v], 1));

// From integers. A double holds every 32-bit one exactly.
defineScalar(
  'CVTSI2SS',
  'F3 0F 2A Vss,Ey',
  'sse',
  (b, o) => b.read(o),
  (b, first, n) => {
    const made = b.emit(b.typeOf(n) === 'i64' ? 'sse.f32.from_i64' : 'sse.f32.from_i32', [n]);
    return simd(b, 'f32x4.replace_lane', [first, made], 0);
  },
  { w: 'size' },
);
defineScalar(
  'CVTSI2SD',
  'F2 0F 2A Vsd,Ey',
  'sse2',
  (b, o) => b.read(o),
  (b, first, n) => {
    const made = b.emit(b.typeOf(n) === 'i64' ? 'sse.f64.from_i64' : 'f64.convert_i32_s', [n]);
    return simd(b, 'f64x2.replace_lane', [first, made], 0);
  },
  { w: 'size' },
);
const inPlace = { feature: 'sse2', wide: 'avx', sources: 1, float: true } as const;
definePacked('CVTDQ2PS', 'NP 0F 5B Vps,Wx', inPlace, (b, v) => b.emit('sse.f32x4.from_i32x4', [v]));
definePacked('CVTPS2DQ', '66 0F 5B Vx,Wps', inPlace, (b, v) => b.emit('sse.i32x4.from_f32x4', [v], 0));
definePacked('CVTTPS2DQ', 'F3 0F 5B Vx,Wps', inPlace, (b, v) => b.emit('sse.i32x4.from_f32x4', [v], 1));

// To integers, as MXCSR rounds or truncated.
for (const [name, opcode, truncate] of [
  ['CVT', '2D', 0],
  ['CVTT', '2C', 1],
] as const) {
  const anyLength = { length: 'LIG', w: 'size' } as const;
  defineBoth(`${name}SS2SI`, [`F3 0F ${opcode} Gy,Wss`], 'sse', anyLength, (b, x) => {
    b.write(x.dst, b.emit(x.width === 64 ? 'sse.i64.from_f32' : 'sse.i32.from_f32', [readF32(b, x.src)], truncate));
  });
  defineBoth(`${name}SD2SI`, [`F2 0F ${opcode} Gy,Wsd`], 'sse2', anyLength, (b, x) => {
    b.write(x.dst, b.emit(x.width === 64 ? 'sse.i64.from_f64' : 'sse.i32.from_f64', [readF64(b, x.src)], truncate));
  });
}

// RCPPS and RSQRTPS: no exceptions, no rounding mode; denormal operands count as zeros, tiny results become zeros.
const SIGN = 0x8000_0000;
const EXPONENT = 0x7f80_0000;
const QUIET = 0x0040_0000;
const choose = (b: Builder, mask: V128, yes: V128, no: V128): V128 => simd(b, 'v128.bitselect', [yes, no, mask]);
function flushed(b: Builder, v: V128): V128 {
  const exponent = simd(b, 'v128.and', [v, splat32(b, EXPONENT)]);
  return choose(b, simd(b, 'i32x4.eq', [exponent, zero(b)]), simd(b, 'v128.and', [v, splat32(b, SIGN)]), v);
}
/** NaNs pass, made quiet. */
function orNan(b: Builder, operand: V128, result: V128): V128 {
  return choose(b, simd(b, 'f32x4.eq', [operand, operand]), result, simd(b, 'v128.or', [operand, splat32(b, QUIET)]));
}
const one = (b: Builder): V128 => splat32(b, 0x3f80_0000);
const reciprocal = (b: Builder, v: V128): V128 =>
  orNan(b, v, flushed(b, simd(b, 'f32x4.div', [one(b), flushed(b, v)])));
function reciprocalRoot(b: Builder, v: V128): V128 {
  const operand = flushed(b, v);
  const negative = simd(b, 'f32x4.lt', [operand, zero(b)]);
  const root = simd(b, 'f32x4.div', [one(b), simd(b, 'f32x4.sqrt', [operand])]);
  return orNan(b, v, choose(b, negative, splat32(b, 0xffc0_0000), root));
}
for (const [name, opcode, estimate] of [
  ['RCP', '53', reciprocal],
  ['RSQRT', '52', reciprocalRoot],
] as const) {
  definePacked(`${name}PS`, `NP 0F ${opcode} Vps,Wps`, { feature: 'sse', wide: 'avx', sources: 1 }, (b, v) =>
    estimate(b, v),
  );
  defineScalar(`${name}SS`, `F3 0F ${opcode} Vss,Wss`, 'sse', readF32, (b, first, x) =>
    simd(b, 'f32x4.replace_lane', [first, f32Lane(b, estimate(b, simd(b, 'f32x4.splat', [x])))], 0),
  );
}
