/*
 * Half precision: VCVTPH2PS and VCVTPS2PH (SDM volume 2; volume 1, 14.4). DAZ is heeded where singles come in, FTZ nowhere;
 * denormal halves raise nothing.
 */
import { BEFORE, INVALID, raised, setRaised } from './result';
import { exponentBias, fractionBits, infinity, roundPack, signBit } from './round-pack';
import {
  denormalFlag,
  exponentOf,
  flushInput,
  isInfinite,
  isNan,
  isNegative,
  isSignalling,
  magnitude,
  quietBit,
  significandOf,
  unmasked,
} from './sse-operand';

/** VCVTPH2PS of one half, in the low 16 bits. */
export function f16ToF32(half: u32): u32 {
  const sign = (half & 0x8000) << 16;
  const size = half & 0x7fff;
  setRaised(0);
  if (size > 0x7c00) {
    setRaised((size & 0x200) === 0 ? INVALID : 0);
    return sign | infinity<u32>() | quietBit<u32>() | (size << 13);
  }
  if (size === 0x7c00) return sign | infinity<u32>();
  if (size === 0) return sign;
  if (size >= 0x400) return sign | ((size << 13) + ((127 - 15) << 23));
  const shift = clz(size) - 21; // until bit 10 is set
  return sign | (((size << (shift + 13)) & 0x7fffff) + ((<u32>(127 - 14 - shift)) << 23));
}

/** VCVTPS2PH of one single with its immediate: bits 1:0 the mode, bit 2 take MXCSR's. */
export function f32ToF16(a: u32, mxcsr: u32, immediate: u32): u32 {
  const sign = isNegative<u32>(a) ? <u32>signBit<u16>() : 0;
  if (isNan<u32>(a)) {
    setRaised(isSignalling<u32>(a) ? INVALID : 0);
    return sign | infinity<u16>() | quietBit<u16>() | ((a >> (fractionBits<u32>() - fractionBits<u16>())) & 0x1ff);
  }
  a = flushInput<u32>(a, mxcsr);
  setRaised(0);
  if (isInfinite<u32>(a)) return sign | infinity<u16>();
  if (magnitude<u32>(a) === 0) return sign;
  const before = denormalFlag<u32>(a);
  if (unmasked(before & BEFORE, mxcsr) !== 0) {
    setRaised(before);
    return 0;
  }
  const mode = (immediate & 4) !== 0 ? (mxcsr >> 13) & 3 : immediate & 3;
  // A denormal single is far below the halves: any exponent below them all does.
  const exponent = max(exponentOf<u32>(a), -2 * exponentBias<u16>() - 2 * <i32>fractionBits<u16>());
  const made = roundPack<u16>(sign !== 0, exponent, significandOf<u32>(a), mode, ~(mxcsr >> 7), false);
  setRaised((raised & 63) | before);
  return made;
}
