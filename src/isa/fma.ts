/**
 * FMA: products with an addend, rounded once; and F16C: singles to and from halves. SDM volume 1, sections 14.4 and 14.5.
 */
import type { Builder } from '../ir/builder.ts';
import type { Operand } from '../ir/operand.ts';
import type { Value } from '../ir/types.ts';
import {
  defineVex,
  f32Lane,
  f64Lane,
  i64Lane,
  immediateByte,
  isStack,
  operandIndex,
  readF32,
  readF64,
  readHalfVector,
  readVector,
  setDestination,
  shuffleLanes,
  simd,
  type V128,
} from './vector.ts';
import { eachHalf, readHalves, setHalves } from './vex.ts';

/** By the digits of the name: which operands are the first factor, the second and the addend. */
const orders = [
  ['132', 0, 2, 1],
  ['213', 1, 0, 2],
  ['231', 1, 2, 0],
] as const;
/** By the low digit of the packed opcode: what the micro-op negates; scalar ones stand behind theirs, but for those that alternate. */
const kinds = [
  ['VFMADDSUB', 6, 1],
  ['VFMSUBADD', 7, 2],
  ['VFMADD', 8, 0],
  ['VFMSUB', 10, 3],
  ['VFNMADD', 12, 4],
  ['VFNMSUB', 14, 7],
] as const;
for (const [name, opcode, signs] of kinds) {
  orders.forEach(([digits, ...order], row) => {
    const code = ((9 + row) * 16 + opcode).toString(16).toUpperCase();
    for (const [suffix, w, shape] of [
      ['PS', 'W0', 'f32x4'],
      ['PD', 'W1', 'f64x2'],
    ] as const)
      defineVex(`${name}${digits}${suffix}`, [`VEX.66.0F38.${w} ${code} Vx,Hx,Wx`], 'fma', (b, x) => {
        const third = readHalves(b, x.operands[2]!);
        const all = [readHalves(b, x.dst), readHalves(b, x.src), third];
        const made = eachHalf(b, third.length, true, (i) =>
          b.emit(
            `sse.${shape}.fma`,
            order.map((n) => all[n]![i]!),
            signs,
          ),
        );
        setHalves(b, x.dst, made);
      });
    if (opcode < 8) return;
    const scalarCode = ((9 + row) * 16 + opcode + 1).toString(16).toUpperCase();
    for (const [suffix, w, shape, lane, read] of [
      ['SS', 'W0', 'f32', f32Lane, readF32],
      ['SD', 'W1', 'f64', f64Lane, readF64],
    ] as const) {
      const size = suffix.toLowerCase();
      const form = `VEX.66.0F38.${w}.LIG ${scalarCode} V${size},H${size},W${size}`;
      defineVex(`${name}${digits}${suffix}`, [form], 'fma', (b, x) => {
        const third: Value = read(b, x.operands[2]!);
        const destination = vector(b, x.dst);
        const all: Value[] = [lane(b, destination), lane(b, vector(b, x.src)), third];
        const made = b.emit(
          `sse.${shape}.fma`,
          order.map((n) => all[n]!),
          signs,
        );
        setDestination(
          b,
          x,
          simd(b, shape === 'f32' ? 'f32x4.replace_lane' : 'f64x2.replace_lane', [destination, made], 0),
        );
      });
    }
  });
}
function vector(b: Builder, o: Operand): V128 {
  return b.vector(operandIndex(o));
}

const widen = (b: Builder, v: V128): V128 => b.emit('sse.f32x4.from_f16x4', [v]);
defineVex('VCVTPH2PS', ['VEX.66.0F38.W0.L0 13 Vx,Wq'], 'f16c', (b, x) =>
  setDestination(b, x, widen(b, readHalfVector(b, x.src))),
);
defineVex('VCVTPH2PS', ['VEX.66.0F38.W0.L1 13 Vx,Wdq'], 'f16c', (b, x) => {
  const source = readVector(b, x.src, false);
  const high = shuffleLanes(b, source, source, 8, [1, 0]);
  setHalves(
    b,
    x.dst,
    eachHalf(b, 2, true, (i) => widen(b, i === 0 ? source : high)),
  );
});
for (const [length, size, bytes] of [
  ['L0', 'Wq', 8],
  ['L1', 'Wdq', 16],
] as const)
  defineVex('VCVTPS2PH', [`VEX.66.0F3A.W0.${length} 1D ${size},Vx,Ib`], 'f16c', (b, x) => {
    const n = immediateByte(x);
    const source = readHalves(b, x.src);
    const o = x.dst;
    const address = o.kind === 'memory' ? b.address(o, bytes, true) : null;
    if (o.kind === 'memory') b.probeWrite(address!, bytes, isStack(o));
    const made = eachHalf(b, source.length, true, (i) =>
      b.emit('sse.f16x4.from_f32x4', [source[i]!], (n & 4) !== 0 ? 4 : n & 3),
    );
    const [low, high] = made;
    const all = high === undefined ? low! : shuffleLanes(b, low!, high, 8, [0, 2]);
    if (o.kind !== 'memory') setDestination(b, x, all);
    else if (bytes === 16) b.storeVector(address!, all, isStack(o));
    else b.store(address!, 64, i64Lane(b, all), isStack(o));
  });
