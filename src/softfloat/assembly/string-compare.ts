/*
 * The comparisons of PCMPESTRI and its like, up to the mask of results. SDM volume 2, section 4.1.
 */

const WORDS: u32 = 1;
const SIGNED: u32 = 2;

function element(v: v128, i: u32, words: bool): v128 {
  return words ? i8x16.swizzle(v, i16x8.splat(<i16>(0x0100 + 0x0202 * i))) : i8x16.swizzle(v, i8x16.splat(<i8>i));
}
function equal(a: v128, b: v128, words: bool): u32 {
  return words ? i16x8.bitmask(i16x8.eq(a, b)) : i8x16.bitmask(i8x16.eq(a, b));
}
function notAbove(a: v128, b: v128, kind: u32): u32 {
  if ((kind & WORDS) !== 0) {
    return i16x8.bitmask((kind & SIGNED) !== 0 ? i16x8.le_s(a, b) : i16x8.le_u(a, b));
  }
  return i8x16.bitmask((kind & SIGNED) !== 0 ? i8x16.le_s(a, b) : i8x16.le_u(a, b));
}

/**
 * IntRes2. `control`: lengths of the first and of the second operand, at most what they have room for, in bits 0-7 and
 * 8-15, the instruction's immediate byte from bit 16 on.
 */
export function compareStrings(a: v128, b: v128, control: u32): u32 {
  const lengthA = control & 0xff;
  const lengthB = (control >> 8) & 0xff;
  const kind = control >> 16;
  const words = (kind & WORDS) !== 0;
  const count: u32 = words ? 8 : 16;
  const all: u32 = (1 << count) - 1;
  const validA: u32 = (1 << lengthA) - 1;
  const validB: u32 = (1 << lengthB) - 1;
  let result: u32 = 0;
  switch ((kind >> 2) & 3) {
    case 0: // equal any
      for (let i: u32 = 0; i < lengthA; i++) result |= equal(element(a, i, words), b, words);
      result &= validB;
      break;
    case 1: // ranges
      for (let i: u32 = 0; i + 1 < lengthA; i += 2) {
        result |= notAbove(element(a, i, words), b, kind) & notAbove(b, element(a, i + 1, words), kind);
      }
      result &= validB;
      break;
    case 2: // equal each: two that are not there are equal
      result = (equal(a, b, words) & validA & validB) | (~(validA | validB) & all);
      break;
    default: // equal ordered
      result = all;
      for (let i: u32 = 0; i < lengthA; i++) {
        const beyond = all & ~(all >> i);
        result &= ((equal(element(a, i, words), b, words) & validB) >> i) | beyond;
      }
  }
  switch ((kind >> 4) & 3) {
    case 1:
      return ~result & all;
    case 3:
      return result ^ validB;
    default:
      return result;
  }
}
