/** SSE4.2's string comparisons (PCMPESTRI to PCMPISTRM) and CRC32. SDM volume 2, section 4.1. */
import type { Builder } from '../ir/builder.ts';
import type { Insn } from '../ir/operand.ts';
import type { Int, Value } from '../ir/types.ts';
import { define } from './define.ts';
import { immediateByte, readVector, shuffle, simd, type V128, zero } from './vector.ts';
import { defineBoth } from './vex.ts';

const RAX = 0;
const RCX = 1;
const RDX = 2;
const WORDS = 1;
/** Bit 6 of the immediate: the last index, and not the first; lanes of ones, and not bits. */
const LAST = 0x40;
const LANES = 0x40;

/** Elements before the first that is zero. */
function implicitLength(b: Builder, v: V128, words: boolean): Value<'i32'> {
  const shape = words ? 'i16x8' : 'i8x16';
  const zeros = b.emit<'i32'>(`${shape}.bitmask`, [simd(b, `${shape}.eq`, [v, zero(b)])]);
  return b.ctz(b.or(zeros, b.i32(words ? 1 << 8 : 1 << 16)));
}
/** The magnitude of a register, at most the number of elements. */
function explicitLength(b: Builder, register: number, wide: boolean, count: number): Value<'i32'> {
  const n = b.register(register, wide ? 64 : 32);
  const nothing = wide ? b.i64(0) : b.i32(0);
  const most = wide ? b.i64(count) : b.i32(count);
  const size = b.select(b.ltS(n, nothing), b.sub(nothing, n), n);
  const length = b.select(b.gtU(size, most), most, size);
  return wide ? b.wrap(length as Value<'i64'>) : (length as Value<'i32'>);
}

/** The comparison of two strings: its mask of results, and the flags. */
export interface StringComparison {
  readonly mask: Value<'i32'>;
  readonly flags: Value<'i32'>;
}
/** `wide`: lengths are in RAX and RDX; null = they end at zeros. */
export function compareStrings(
  b: Builder,
  a: V128,
  c: V128,
  immediate: number,
  explicit: { readonly wide: boolean } | null,
): StringComparison {
  const words = (immediate & WORDS) !== 0;
  const count = words ? 8 : 16;
  const [lengthA, lengthC] =
    explicit === null
      ? [implicitLength(b, a, words), implicitLength(b, c, words)]
      : [explicitLength(b, RAX, explicit.wide, count), explicitLength(b, RDX, explicit.wide, count)];
  const lengths = b.or(lengthA, b.shl(lengthC, b.i32(8)));
  const mask = b.emit<'i32'>('strings.compare', [a, c, b.or(lengths, b.i32(immediate << 16))]);
  const short = (length: Value<'i32'>, bit: number) => b.shl(b.ltU(length, b.i32(count)), b.i32(bit));
  const some = b.ne(mask, b.i32(0));
  const overflow = b.shl(b.and(mask, b.i32(1)), b.i32(11));
  const flags = b.or(b.or(some, short(lengthC, 6)), b.or(short(lengthA, 7), overflow));
  return { mask, flags };
}
/** What PCMPESTRI leaves in ECX. */
export function indexOf(b: Builder, mask: Value<'i32'>, immediate: number): Int {
  const count = (immediate & WORDS) !== 0 ? 8 : 16;
  if ((immediate & LAST) === 0) return b.ctz(b.or(mask, b.i32(1 << count)));
  return b.select(b.eqz(mask), b.i32(count), b.sub(b.i32(31), b.clz(mask)));
}
/** What PCMPESTRM leaves in XMM0. */
export function maskVector(b: Builder, mask: Value<'i32'>, immediate: number): V128 {
  if ((immediate & LANES) === 0) return simd(b, 'i32x4.replace_lane', [zero(b), mask], 0);
  const words = (immediate & WORDS) !== 0;
  const bits = b.emit<'v128'>(
    'v128.const',
    [],
    Array.from({ length: 16 }, (_, i) => (words ? (i & 1 ? 0 : 1 << (i >> 1)) : 1 << (i & 7))),
  );
  let spread: V128 = b.emit('i16x8.splat', [mask]);
  if (!words) spread = shuffle(b, spread, spread, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
  return simd(b, words ? 'i16x8.eq' : 'i8x16.eq', [simd(b, 'v128.and', [spread, bits]), bits]);
}

for (const [name, opcode, isExplicit, isMask] of [
  ['PCMPESTRM', '60', true, true],
  ['PCMPESTRI', '61', true, false],
  ['PCMPISTRM', '62', false, true],
  ['PCMPISTRI', '63', false, false],
] as const) {
  const record = (b: Builder, x: Insn) => {
    const immediate = immediateByte(x);
    const source = readVector(b, x.src, false);
    const explicit = isExplicit ? { wide: x.rexW } : null;
    const { mask, flags } = compareStrings(b, readVector(b, x.dst), source, immediate, explicit);
    if (isMask) {
      b.setVector(0, maskVector(b, mask, immediate));
      if (x.vex) b.setVectorHigh(0, zero(b));
    } else b.setRegister(RCX, 32, indexOf(b, mask, immediate));
    b.setFlags('bits', 32, flags);
  };
  defineBoth(name, [`66 0F 3A ${opcode} Vx,Wx,Ib`], 'sse4.2', { length: 'L0' }, record);
}

define(
  'CRC32',
  ['F2 0F 38 F0 Gy,Eb', 'F2 0F 38 F1 Gy,Ev'],
  (b, x) => {
    const { width } = x.src as { width: 8 | 16 | 32 | 64 };
    const data = b.toI64(b.read(x.src), width);
    const { index } = x.dst as { index: number };
    const crc = b.register(index, 32);
    b.setRegister(index, 32, b.emit<'i32'>('crc32c.update', [crc, data, b.i32(width / 8)]));
  },
  'sse4.2',
);
