/** AES-NI, PCLMULQDQ and the SHA extensions on xmm registers. SDM volume 2; the library does the rounds (src/ir/library-ops.ts). */
import type { Builder } from '../ir/builder.ts';
import type { LibraryOp } from '../ir/library-ops.ts';
import {
  defineVector,
  destination,
  i64Lane,
  immediateByte,
  readVector,
  setDestination,
  shuffleLanes,
  simd,
  type V128,
  zero,
} from './vector.ts';
import { definePacked } from './vex.ts';

/** The rounds of AES: opcode in map 0F 38 behind 66, operation on state and round key. */
export const aesRounds: readonly (readonly [name: string, opcode: string, op: LibraryOp])[] = [
  ['AESENC', 'DC', 'aes.encrypt'],
  ['AESENCLAST', 'DD', 'aes.encrypt_last'],
  ['AESDEC', 'DE', 'aes.decrypt'],
  ['AESDECLAST', 'DF', 'aes.decrypt_last'],
];
// The VEX forms are part of AVX; 256-bit ones (VAES) do not exist.
const aes = { feature: 'aes', besides: 'aes', wide: null } as const;
for (const [name, opcode, op] of aesRounds)
  definePacked(name, `66 0F 38 ${opcode} Vx,Wx`, aes, (b, state, key) => b.emit(op, [state, key]));
definePacked('AESIMC', '66 0F 38 DB Vx,Wx', { ...aes, sources: 1 }, (b, v) => b.emit('aes.inverse_mix_columns', [v]));
definePacked('AESKEYGENASSIST', '66 0F 3A DF Vx,Wx,Ib', { ...aes, sources: 1 }, (b, v, _, x) =>
  b.emit('aes.keygen_assist', [v, b.i32(immediateByte(x))]),
);

/** PCLMULQDQ: bits 0 and 4 of the immediate choose the quadwords. */
export const carrylessProduct = (b: Builder, a: V128, c: V128, immediate: number): V128 =>
  b.emit('i64.carryless_product', [i64Lane(b, a, immediate & 1), i64Lane(b, c, (immediate >> 4) & 1)]);
definePacked(
  'PCLMULQDQ',
  '66 0F 3A 44 Vx,Wx,Ib',
  { feature: 'pclmulqdq', besides: 'pclmulqdq', wide: null },
  (b, a, c, x) => carrylessProduct(b, a, c, immediateByte(x)),
);

function sha(name: string, opcode: string, combine: (b: Builder, a: V128, c: V128) => V128): void {
  defineVector(name, [`NP 0F 38 ${opcode} Vx,Wx`], 'sha', (b, x) => {
    const source = readVector(b, x.src);
    setDestination(b, x, combine(b, destination(b, x), source));
  });
}
defineVector('SHA1RNDS4', ['NP 0F 3A CC Vx,Wx,Ib'], 'sha', (b, x) => {
  const source = readVector(b, x.src);
  setDestination(b, x, b.emit('sha1.rounds', [destination(b, x), source, b.i32(immediateByte(x) & 3)]));
});
sha('SHA1NEXTE', 'C8', (b, a, c) => {
  const turned = simd(b, 'v128.or', [simd(b, 'i32x4.shl', [a, b.i32(30)]), simd(b, 'i32x4.shr_u', [a, b.i32(2)])]);
  return simd(b, 'i32x4.add', [c, shuffleLanes(b, turned, zero(b), 4, [4, 4, 4, 3])]);
});
sha('SHA1MSG1', 'C9', (b, a, c) => simd(b, 'v128.xor', [a, shuffleLanes(b, a, c, 4, [6, 7, 0, 1])]));
sha('SHA1MSG2', 'CA', (b, a, c) => b.emit('sha1.message2', [a, c]));
sha('SHA256MSG1', 'CC', (b, a, c) => b.emit('sha256.message1', [a, c]));
sha('SHA256MSG2', 'CD', (b, a, c) => b.emit('sha256.message2', [a, c]));
defineVector('SHA256RNDS2', ['NP 0F 38 CB Vx,Wx,XMM0'], 'sha', (b, x) => {
  const source = readVector(b, x.src);
  setDestination(b, x, b.emit('sha256.rounds', [destination(b, x), source, b.vector(0)]));
});
