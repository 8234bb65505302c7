/**
 * The packed integer instructions on xmm registers, from SSE2 to SSE4.2, and the logic and shuffles of floating point
 * lanes. What they compute stands in packed.ts and packed-more.ts. SDM volume 2.
 */
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
import { defineVector, destination, i64Lane, immediateByte, readVector, setDestination } from './vector.ts';

for (const { name, opcode, feature, combine, unary } of packedOperations) {
  defineVector(name, [`66 ${opcode} Vx,Wx`], feature, (b, x) => {
    const source = readVector(b, x.src);
    setDestination(b, x, combine(b, unary ? source : destination(b, x), source));
  });
}

for (const [name, shift, width, opcode, group] of packedShifts) {
  defineVector(name, [`66 0F ${opcode} Vx,Wx`], 'sse2', (b, x) => {
    const count = i64Lane(b, readVector(b, x.src));
    setDestination(b, x, shiftBy(b, destination(b, x), shift, width, count));
  });
  defineVector(name, [`66 0F ${group}! Ux,Ib`], 'sse2', (b, x) => {
    setDestination(b, x, shiftBy(b, destination(b, x), shift, width, b.i64(immediateByte(x))));
  });
}
for (const [name, extension, sign] of [
  ['PSRLDQ', 3, 1],
  ['PSLLDQ', 7, -1],
] as const) {
  defineVector(name, [`66 0F 73 /${extension}! Ux,Ib`], 'sse2', (b, x) => {
    setDestination(b, x, shiftBytes(b, destination(b, x), sign * immediateByte(x)));
  });
}

for (const [name, prefix, compute] of immediateShuffles) {
  defineVector(name, [`${prefix} 0F 70 Vx,Wx,Ib`], 'sse2', (b, x) => {
    setDestination(b, x, compute(b, readVector(b, x.src), immediateByte(x)));
  });
}

for (const [suffix, prefix, feature, size] of [
  ['PS', 'NP', 'sse', 4],
  ['PD', '66', 'sse2', 8],
] as const) {
  for (const [name, opcode, combine] of floatBits(size)) {
    defineVector(`${name}${suffix}`, [`${prefix} 0F ${opcode} Vx,Wx`], feature, (b, x) => {
      const source = readVector(b, x.src);
      setDestination(b, x, combine(b, destination(b, x), source));
    });
  }
  defineVector(`SHUF${suffix}`, [`${prefix} 0F C6 Vx,Wx,Ib`], feature, (b, x) => {
    const source = readVector(b, x.src);
    setDestination(b, x, shuffleFloats(b, destination(b, x), source, size, immediateByte(x)));
  });
}
