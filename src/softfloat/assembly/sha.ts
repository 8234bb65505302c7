/*
 * The SHA extensions: rounds and message schedules of SHA-1 and SHA-256 (FIPS 180-4). SDM volume 2, SHA1RNDS4 to
 * SHA256MSG2. Word 0 of a vector is its lowest lane.
 */

function words(w0: u32, w1: u32, w2: u32, w3: u32): v128 {
  let v = i32x4.splat(w0);
  v = i32x4.replace_lane(v, 1, w1);
  v = i32x4.replace_lane(v, 2, w2);
  return i32x4.replace_lane(v, 3, w3);
}

/** SHA1RNDS4; `kind` 0-3: function and constant of rounds 0-19, 20-39, 40-59, 60-79. */
export function sha1Rounds(state: v128, message: v128, kind: u32): v128 {
  let a: u32 = i32x4.extract_lane(state, 3);
  let b: u32 = i32x4.extract_lane(state, 2);
  let c: u32 = i32x4.extract_lane(state, 1);
  let d: u32 = i32x4.extract_lane(state, 0);
  let e: u32 = 0; // the first word of the message has it already
  const constant: u32 = kind === 0 ? 0x5a827999 : kind === 1 ? 0x6ed9eba1 : kind === 2 ? 0x8f1bbcdc : 0xca62c1d6;
  for (let i = 0; i < 4; i++) {
    const word: u32 = i32x4.extract_lane(message, 3);
    message = v128.shuffle<i32>(message, message, 0, 0, 1, 2);
    let f: u32;
    if (kind === 0) f = (b & c) ^ (~b & d);
    else if (kind === 2) f = (b & c) ^ (b & d) ^ (c & d);
    else f = b ^ c ^ d;
    const next = f + rotl<u32>(a, 5) + word + e + constant;
    e = d;
    d = c;
    c = rotl<u32>(b, 30);
    b = a;
    a = next;
  }
  return words(d, c, b, a);
}

/** SHA1MSG2. */
export function sha1Message2(first: v128, second: v128): v128 {
  const w16 = rotl<u32>(i32x4.extract_lane(first, 3) ^ i32x4.extract_lane(second, 2), 1);
  const w17 = rotl<u32>(i32x4.extract_lane(first, 2) ^ i32x4.extract_lane(second, 1), 1);
  const w18 = rotl<u32>(i32x4.extract_lane(first, 1) ^ i32x4.extract_lane(second, 0), 1);
  const w19 = rotl<u32>(i32x4.extract_lane(first, 0) ^ w16, 1);
  return words(w19, w18, w17, w16);
}

/** SHA256RNDS2: `low` has C D G H, `high` A B E F, `keyed` the two words with their constants added. */
export function sha256Rounds(low: v128, high: v128, keyed: v128): v128 {
  let a: u32 = i32x4.extract_lane(high, 3);
  let b: u32 = i32x4.extract_lane(high, 2);
  let c: u32 = i32x4.extract_lane(low, 3);
  let d: u32 = i32x4.extract_lane(low, 2);
  let e: u32 = i32x4.extract_lane(high, 1);
  let f: u32 = i32x4.extract_lane(high, 0);
  let g: u32 = i32x4.extract_lane(low, 1);
  let h: u32 = i32x4.extract_lane(low, 0);
  for (let i = 0; i < 2; i++) {
    const word: u32 = i === 0 ? i32x4.extract_lane(keyed, 0) : i32x4.extract_lane(keyed, 1);
    const sum1 = rotr<u32>(e, 6) ^ rotr<u32>(e, 11) ^ rotr<u32>(e, 25);
    const first = ((e & f) ^ (~e & g)) + sum1 + word + h;
    const sum0 = rotr<u32>(a, 2) ^ rotr<u32>(a, 13) ^ rotr<u32>(a, 22);
    const second = ((a & b) ^ (a & c) ^ (b & c)) + sum0;
    h = g;
    g = f;
    f = e;
    e = first + d;
    d = c;
    c = b;
    b = a;
    a = first + second;
  }
  return words(f, e, b, a);
}

function sigma1(x: u32): u32 {
  return rotr<u32>(x, 17) ^ rotr<u32>(x, 19) ^ (x >> 10);
}

/** SHA256MSG1. */
export function sha256Message1(first: v128, second: v128): v128 {
  const next = v128.shuffle<i32>(first, second, 1, 2, 3, 4);
  const turned = (v: v128, by: i32): v128 => v128.or(i32x4.shr_u(v, by), i32x4.shl(v, 32 - by));
  const sigma0 = v128.xor(v128.xor(turned(next, 7), turned(next, 18)), i32x4.shr_u(next, 3));
  return i32x4.add(first, sigma0);
}

/** SHA256MSG2. */
export function sha256Message2(first: v128, second: v128): v128 {
  const w16: u32 = i32x4.extract_lane(first, 0) + sigma1(i32x4.extract_lane(second, 2));
  const w17: u32 = i32x4.extract_lane(first, 1) + sigma1(i32x4.extract_lane(second, 3));
  const w18: u32 = i32x4.extract_lane(first, 2) + sigma1(w16);
  const w19: u32 = i32x4.extract_lane(first, 3) + sigma1(w17);
  return words(w16, w17, w18, w19);
}
