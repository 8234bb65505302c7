/*
 * The steps of AES (FIPS 197) as the AESENC family takes them: a state of sixteen bytes, column by column. SDM volume 2.
 *
 * The substitution needs the inverse in GF(2^8). It is found in GF(16)[y] / (y^2 + y + n), where it takes a few products
 * of nibbles, and those are sums of logarithms: tables of sixteen bytes, which a byte swizzle looks up in all lanes at once.
 * The tables are made when the module starts.
 */

const ENTER: usize = memory.data(32); // to the tower field, of the low and of the high nibble
const ENTER_INVERSE: usize = memory.data(32); // the same behind the inverse of the affine map
const LEAVE: usize = memory.data(32); // back
const LEAVE_AFFINE: usize = memory.data(32); // the same before the affine map
const LOG: usize = memory.data(16);
const NEGATIVE_LOG: usize = memory.data(16);
const EXP: usize = memory.data(16);
const SQUARE: usize = memory.data(16); // n times the square

/** The logarithm of zero: any sum with it is out of a swizzle's range, so that the product is zero. */
const NONE: u8 = 0x40;

function times16(a: u32, b: u32): u32 {
  let product: u32 = 0;
  for (let i = 0; i < 4; i++) if ((b >> i) & 1) product ^= a << i;
  for (let i = 6; i >= 4; i--) if ((product >> i) & 1) product ^= 0x13 << (i - 4);
  return product;
}
/** Product in the tower field: high and low nibble are the factors of y and 1. */
function timesTower(a: u32, b: u32, n: u32): u32 {
  const high = times16(a >> 4, b >> 4);
  const low = times16(a & 15, b & 15);
  const mixed = times16(a >> 4, b & 15) ^ times16(a & 15, b >> 4);
  return ((high ^ mixed) << 4) | (low ^ times16(high, n));
}
function affine(x: u32): u32 {
  const wide = x | (x << 8);
  return (wide ^ (wide >> 4) ^ (wide >> 5) ^ (wide >> 6) ^ (wide >> 7)) & 0xff;
}

function makeTables(): void {
  let power: u32 = 1;
  store<u8>(LOG, NONE);
  store<u8>(NEGATIVE_LOG, NONE);
  for (let i = 0; i < 15; i++) {
    store<u8>(EXP + i, <u8>power);
    store<u8>(LOG + power, <u8>i);
    store<u8>(NEGATIVE_LOG + power, <u8>((15 - i) % 15));
    power = times16(power, 2);
  }
  // y^2 + y + n has no root in GF(16).
  let n: u32 = 1;
  for (; n < 16; n++) {
    let root = false;
    for (let x: u32 = 0; x < 16; x++) if ((times16(x, x) ^ x) === n) root = true;
    if (!root) break;
  }
  for (let x: u32 = 0; x < 16; x++) store<u8>(SQUARE + x, <u8>times16(n, times16(x, x)));
  // The tower's element that behaves like AES's x: a root of x^8 + x^4 + x^3 + x + 1.
  let image: u32 = 2;
  for (; image < 256; image++) {
    const x2 = timesTower(image, image, n);
    const x4 = timesTower(x2, x2, n);
    if ((timesTower(x4, x4, n) ^ x4 ^ timesTower(x2, image, n) ^ image ^ 1) === 0) break;
  }
  for (let v: u32 = 0; v < 256; v++) {
    let tower: u32 = 0;
    let p: u32 = 1;
    for (let i = 0; i < 8; i++) {
      if ((v >> i) & 1) tower ^= p;
      p = timesTower(p, image, n);
    }
    // Linear: what a nibble gives alone is enough.
    if (v < 16) store<u8>(ENTER + v, <u8>tower);
    if ((v & 15) === 0) store<u8>(ENTER + 16 + (v >> 4), <u8>tower);
    const behind = affine(v);
    if (tower < 16) {
      store<u8>(LEAVE + tower, <u8>v);
      store<u8>(LEAVE_AFFINE + tower, <u8>(behind ^ 0x63));
    }
    if ((tower & 15) === 0) {
      store<u8>(LEAVE + 16 + (tower >> 4), <u8>v);
      store<u8>(LEAVE_AFFINE + 16 + (tower >> 4), <u8>behind);
    }
    // affine(v) = w: the inverse map takes w, and w ^ 63, to v.
    const w = behind ^ 0x63;
    if (w < 16) store<u8>(ENTER_INVERSE + w, <u8>tower);
    if ((w & 15) === 0) store<u8>(ENTER_INVERSE + 16 + (w >> 4), <u8>tower);
  }
  // Both halves of the inverse affine map have its constant: once is enough.
  const constant = load<u8>(ENTER_INVERSE);
  for (let i = 0; i < 16; i++) store<u8>(ENTER_INVERSE + 16 + i, load<u8>(ENTER_INVERSE + 16 + i) ^ constant);
}
makeTables();

function lookUp(table: usize, indices: v128): v128 {
  return i8x16.swizzle(v128.load(table), indices);
}
function lookUpNibbles(table: usize, low: v128, high: v128): v128 {
  return v128.xor(lookUp(table, low), lookUp(table + 16, high));
}
function highNibbles(v: v128): v128 {
  return lowNibbles(i16x8.shr_u(v, 4)); // lanes of bytes have no shift on most hosts
}
function lowNibbles(v: v128): v128 {
  return v128.and(v, i8x16.splat(15));
}
/** The product of two numbers by their logarithms. */
function product(a: v128, b: v128): v128 {
  const sum = i8x16.add(a, b);
  return lookUp(EXP, i8x16.min_u(sum, i8x16.sub(sum, i8x16.splat(15))));
}

/** Inverses of all bytes, between two maps. */
function substitute(v: v128, enter: usize, leave: usize): v128 {
  const t = lookUpNibbles(enter, lowNibbles(v), highNibbles(v));
  const high = highNibbles(t);
  const sum = v128.xor(lowNibbles(t), high);
  const logHigh = lookUp(LOG, high);
  const logSum = lookUp(LOG, sum);
  const norm = v128.xor(lookUp(SQUARE, high), product(lookUp(LOG, lowNibbles(t)), logSum));
  const logInverse = lookUp(NEGATIVE_LOG, norm);
  return lookUpNibbles(leave, product(logSum, logInverse), product(logHigh, logInverse));
}
function subBytes(v: v128): v128 {
  return substitute(v, ENTER, LEAVE_AFFINE);
}
function inverseSubBytes(v: v128): v128 {
  return substitute(v, ENTER_INVERSE, LEAVE);
}

function twice(v: v128): v128 {
  return v128.xor(i8x16.add(v, v), v128.and(i8x16.lt_s(v, i8x16.splat(0)), i8x16.splat(0x1b)));
}
function mixColumns(v: v128): v128 {
  const next = v128.shuffle<i8>(v, v, 1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12);
  const sum = v128.xor(v, next);
  const rest = v128.shuffle<i8>(sum, sum, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
  return v128.xor(v128.xor(twice(sum), next), rest);
}
/** AESIMC. */
export function aesInverseMixColumns(v: v128): v128 {
  const opposite = v128.shuffle<i8>(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
  return mixColumns(v128.xor(v, twice(twice(v128.xor(v, opposite)))));
}
function shiftRows(v: v128): v128 {
  return v128.shuffle<i8>(v, v, 0, 5, 10, 15, 4, 9, 14, 3, 8, 13, 2, 7, 12, 1, 6, 11);
}
function inverseShiftRows(v: v128): v128 {
  return v128.shuffle<i8>(v, v, 0, 13, 10, 7, 4, 1, 14, 11, 8, 5, 2, 15, 12, 9, 6, 3);
}

/** AESENC. */
export function aesEncrypt(state: v128, key: v128): v128 {
  return v128.xor(mixColumns(subBytes(shiftRows(state))), key);
}
/** AESENCLAST. */
export function aesEncryptLast(state: v128, key: v128): v128 {
  return v128.xor(subBytes(shiftRows(state)), key);
}
/** AESDEC. */
export function aesDecrypt(state: v128, key: v128): v128 {
  return v128.xor(aesInverseMixColumns(inverseSubBytes(inverseShiftRows(state))), key);
}
/** AESDECLAST. */
export function aesDecryptLast(state: v128, key: v128): v128 {
  return v128.xor(inverseSubBytes(inverseShiftRows(state)), key);
}
/** AESKEYGENASSIST. */
export function aesKeygenAssist(v: v128, constant: u32): v128 {
  const s = subBytes(v);
  const turned = v128.shuffle<i8>(s, s, 4, 5, 6, 7, 5, 6, 7, 4, 12, 13, 14, 15, 13, 14, 15, 12);
  const round = i32x4.replace_lane(i32x4.replace_lane(i32x4.splat(0), 1, constant), 3, constant);
  return v128.xor(turned, round);
}
