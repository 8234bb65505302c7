/**
 * SSE and SSE2 floating point: arithmetic, compares, conversions, approximations. Each micro-op `sse.*` gives the exact
 * result and the exceptions; what stands here is which lanes it takes and where they go. SDM volume 2.
 */
import type { Builder } from '../ir/builder.ts';
import type { MicroOp } from '../ir/micro-ops.ts';
import type { Insn, Operand } from '../ir/operand.ts';
import type { Value } from '../ir/types.ts';
import {
  defineVector,
  destination,
  f32Lane,
  f64Lane,
  immediateByte,
  readF32,
  readF64,
  readHalfVector,
  readVector,
  setDestination,
  setLowF32,
  setLowF64,
  simd,
  splat32,
  type V128,
  zero,
} from './vector.ts';

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
const destinationAs = (b: Builder, kind: Kind, x: Insn): Value =>
  kind.shape === 'f64'
    ? f64Lane(b, destination(b, x))
    : kind.shape === 'f32'
      ? f32Lane(b, destination(b, x))
      : destination(b, x);
function writeAs(b: Builder, kind: Kind, x: Insn, value: Value): void {
  if (kind.shape === 'f64') setLowF64(b, x, value as Value<'f64'>);
  else if (kind.shape === 'f32') setLowF32(b, x, value as Value<'f32'>);
  else setDestination(b, x, value as V128);
}

for (const kind of kinds) {
  const form = (opcode: string, more = ''): string[] => [
    `${kind.prefix} 0F ${opcode} V${kind.suffix.toLowerCase()},W${kind.suffix.toLowerCase()}${more}`,
  ];
  for (const [name, opcode] of [
    ['ADD', '58'],
    ['MUL', '59'],
    ['SUB', '5C'],
    ['MIN', '5D'],
    ['DIV', '5E'],
    ['MAX', '5F'],
  ] as const) {
    const op = `sse.${kind.shape}.${name.toLowerCase()}` as MicroOp;
    defineVector(`${name}${kind.suffix}`, form(opcode), kind.feature, (b, x) => {
      const source = readAs(b, kind, x.src);
      writeAs(b, kind, x, b.emit(op, [destinationAs(b, kind, x), source]));
    });
  }
  defineVector(`SQRT${kind.suffix}`, form('51'), kind.feature, (b, x) => {
    writeAs(b, kind, x, b.emit(`sse.${kind.shape}.sqrt`, [readAs(b, kind, x.src)]));
  });
  defineVector(`CMP${kind.suffix}`, form('C2', ',Ib'), kind.feature, (b, x) => {
    const source = readAs(b, kind, x.src);
    const holds = b.emit(`sse.${kind.shape}.cmp`, [destinationAs(b, kind, x), source], immediateByte(x) & 7);
    if (kind.shape === 'f64') {
      const mask = b.sub(b.i64(0), b.extendU(holds as Value<'i32'>));
      setDestination(b, x, simd(b, 'i64x2.replace_lane', [destination(b, x), mask], 0));
    } else if (kind.shape === 'f32') {
      const mask = b.sub(b.i32(0), holds as Value<'i32'>);
      setDestination(b, x, simd(b, 'i32x4.replace_lane', [destination(b, x), mask], 0));
    } else setDestination(b, x, holds as V128);
  });
}

for (const [name, opcode, quiet] of [
  ['UCOMIS', '2E', 1],
  ['COMIS', '2F', 0],
] as const) {
  defineVector(`${name}S`, [`NP 0F ${opcode} Vss,Wss`], 'sse', (b, x) => {
    const source = readF32(b, x.src);
    b.setFlags('bits', 32, b.emit('sse.f32.compare', [f32Lane(b, destination(b, x)), source], quiet));
  });
  defineVector(`${name}D`, [`66 0F ${opcode} Vsd,Wsd`], 'sse2', (b, x) => {
    const source = readF64(b, x.src);
    b.setFlags('bits', 32, b.emit('sse.f64.compare', [f64Lane(b, destination(b, x)), source], quiet));
  });
}

// Conversions between the two formats.
defineVector('CVTSS2SD', ['F3 0F 5A Vsd,Wss'], 'sse2', (b, x) =>
  setLowF64(b, x, b.emit('sse.f64.promote', [readF32(b, x.src)])),
);
defineVector('CVTSD2SS', ['F2 0F 5A Vss,Wsd'], 'sse2', (b, x) =>
  setLowF32(b, x, b.emit('sse.f32.demote', [readF64(b, x.src)])),
);
defineVector('CVTPS2PD', ['NP 0F 5A Vpd,Wq'], 'sse2', (b, x) =>
  setDestination(b, x, b.emit('sse.f64x2.promote', [readHalfVector(b, x.src)])),
);
defineVector('CVTPD2PS', ['66 0F 5A Vps,Wpd'], 'sse2', (b, x) =>
  setDestination(b, x, b.emit('sse.f32x4.demote', [readVector(b, x.src)])),
);

// From integers. A double holds every 32-bit one exactly.
defineVector('CVTSI2SS', ['F3 0F 2A Vss,Ey'], 'sse', (b, x) => {
  const n = b.read(x.src);
  setLowF32(b, x, b.emit(b.typeOf(n) === 'i64' ? 'sse.f32.from_i64' : 'sse.f32.from_i32', [n]));
});
defineVector('CVTSI2SD', ['F2 0F 2A Vsd,Ey'], 'sse2', (b, x) => {
  const n = b.read(x.src);
  setLowF64(b, x, b.emit(b.typeOf(n) === 'i64' ? 'sse.f64.from_i64' : 'f64.convert_i32_s', [n]));
});
defineVector('CVTDQ2PS', ['NP 0F 5B Vps,Wx'], 'sse2', (b, x) =>
  setDestination(b, x, b.emit('sse.f32x4.from_i32x4', [readVector(b, x.src)])),
);
defineVector('CVTDQ2PD', ['F3 0F E6 Vpd,Wq'], 'sse2', (b, x) =>
  setDestination(b, x, simd(b, 'f64x2.convert_low_i32x4_s', [readHalfVector(b, x.src)])),
);

// To integers, as MXCSR rounds or truncated.
for (const [name, opcode, truncate] of [
  ['CVT', '2D', 0],
  ['CVTT', '2C', 1],
] as const) {
  defineVector(`${name}SS2SI`, [`F3 0F ${opcode} Gy,Wss`], 'sse', (b, x) => {
    b.write(x.dst, b.emit(x.width === 64 ? 'sse.i64.from_f32' : 'sse.i32.from_f32', [readF32(b, x.src)], truncate));
  });
  defineVector(`${name}SD2SI`, [`F2 0F ${opcode} Gy,Wsd`], 'sse2', (b, x) => {
    b.write(x.dst, b.emit(x.width === 64 ? 'sse.i64.from_f64' : 'sse.i32.from_f64', [readF64(b, x.src)], truncate));
  });
}
for (const [name, form, op, truncate] of [
  ['CVTPS2DQ', '66 0F 5B Vx,Wps', 'sse.i32x4.from_f32x4', 0],
  ['CVTTPS2DQ', 'F3 0F 5B Vx,Wps', 'sse.i32x4.from_f32x4', 1],
  ['CVTPD2DQ', 'F2 0F E6 Vx,Wpd', 'sse.i32x4.from_f64x2', 0],
  ['CVTTPD2DQ', '66 0F E6 Vx,Wpd', 'sse.i32x4.from_f64x2', 1],
] as const) {
  defineVector(name, [form], 'sse2', (b, x) => setDestination(b, x, b.emit(op, [readVector(b, x.src)], truncate)));
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
for (const [name, opcode, compute] of [
  ['RCP', '53', reciprocal],
  ['RSQRT', '52', reciprocalRoot],
] as const) {
  defineVector(`${name}PS`, [`NP 0F ${opcode} Vps,Wps`], 'sse', (b, x) =>
    setDestination(b, x, compute(b, readVector(b, x.src))),
  );
  defineVector(`${name}SS`, [`F3 0F ${opcode} Vss,Wss`], 'sse', (b, x) =>
    setLowF32(b, x, f32Lane(b, compute(b, simd(b, 'f32x4.splat', [readF32(b, x.src)])))),
  );
}
