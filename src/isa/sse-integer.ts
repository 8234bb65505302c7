/**
 * The packed integer instructions on xmm registers, from SSE2 to SSE4.2, and the logic and shuffles of floating point
 * lanes, with their AVX and AVX2 forms. What they compute stands in packed.ts and packed-more.ts. SDM volume 2.
 */
import type { Builder } from '../ir/builder.ts';
import {
  floatBits,
  immediateShuffles,
  packedOperations,
  packedShifts,
  shiftBy,
  shiftBytes,
  shuffleFloats,
} from './packed.ts';
import './packed-more.ts';
import {
  defineVector,
  defineVex,
  destination,
  i64Lane,
  immediateByte,
  readVector,
  setDestination,
  type V128,
} from './vector.ts';
import { definePacked, readHalves, setHalves, vexForm } from './vex.ts';

for (const { name, opcode, feature, combine, unary } of packedOperations) {
  // Only VPHMINPOSUW has no 256-bit form: its result is one lane.
  const wide = name === 'PHMINPOSUW' ? null : 'avx2';
  definePacked(name, `66 ${opcode} Vx,Wx`, { feature, wide, sources: unary ? 1 : 2 }, combine);
}

const lengths = [
  ['L0', 'avx'],
  ['L1', 'avx2'],
] as const;
/** A shift by an immediate: the VEX form's destination is VEX.vvvv. */
function byImmediate(name: string, group: string, shifted: (b: Builder, v: V128, n: number) => V128): void {
  const form = `66 0F ${group}! Ux,Ib`;
  defineVector(name, [form], 'sse2', (b, x) => setDestination(b, x, shifted(b, destination(b, x), immediateByte(x))));
  for (const [length, feature] of lengths) {
    defineVex(`V${name}`, [vexForm(form, { length, operands: 'Hx,Ux,Ib' })], feature, (b, x) => {
      setHalves(
        b,
        x.dst,
        readHalves(b, x.src).map((v) => shifted(b, v, immediateByte(x))),
      );
    });
  }
}

for (const [name, shift, width, opcode, group] of packedShifts) {
  defineVector(name, [`66 0F ${opcode} Vx,Wx`], 'sse2', (b, x) => {
    const count = i64Lane(b, readVector(b, x.src));
    setDestination(b, x, shiftBy(b, destination(b, x), shift, width, count));
  });
  for (const [length, feature] of lengths) {
    defineVex(`V${name}`, [`VEX.66.0F.WIG.${length} ${opcode} Vx,Hx,Wdq`], feature, (b, x) => {
      const count = i64Lane(b, readVector(b, x.operands[2]!, false));
      setHalves(
        b,
        x.dst,
        readHalves(b, x.src).map((v) => shiftBy(b, v, shift, width, count)),
      );
    });
  }
  byImmediate(name, group, (b, v, n) => shiftBy(b, v, shift, width, b.i64(n)));
}
for (const [name, extension, sign] of [
  ['PSRLDQ', 3, 1],
  ['PSLLDQ', 7, -1],
] as const)
  byImmediate(name, `73 /${extension}`, (b, v, n) => shiftBytes(b, v, sign * n));

for (const [name, prefix, compute] of immediateShuffles) {
  const family = { feature: 'sse2', wide: 'avx2', sources: 1 } as const;
  definePacked(name, `${prefix} 0F 70 Vx,Wx,Ib`, family, (b, v, _, x) => compute(b, v, immediateByte(x)));
}

for (const [suffix, prefix, feature, size] of [
  ['PS', 'NP', 'sse', 4],
  ['PD', '66', 'sse2', 8],
] as const) {
  const family = { feature, wide: 'avx' } as const;
  for (const [name, opcode, combine] of floatBits(size))
    definePacked(`${name}${suffix}`, `${prefix} 0F ${opcode} Vx,Wx`, family, combine);
  // Each half of SHUFPD takes its own two bits.
  definePacked(`SHUF${suffix}`, `${prefix} 0F C6 Vx,Wx,Ib`, family, (b, a, c, x, half) =>
    shuffleFloats(b, a, c, size, immediateByte(x) >> (size === 4 ? 0 : 2 * half)),
  );
}
