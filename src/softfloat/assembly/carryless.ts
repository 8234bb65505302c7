/*
 * Polynomials over GF(2): PCLMULQDQ and CRC32 (SDM volume 2).
 */

/**
 * Product of two polynomials of 32 bits. Every fourth bit of a factor at a time: the sums of an integer product, of at most
 * eight ones, then do not reach the next bit that counts.
 */
function multiply32(a: u64, b: u64): u64 {
  const a0 = a & 0x11111111;
  const a1 = a & 0x22222222;
  const a2 = a & 0x44444444;
  const a3 = a & 0x88888888;
  const b0 = b & 0x11111111;
  const b1 = b & 0x22222222;
  const b2 = b & 0x44444444;
  const b3 = b & 0x88888888;
  const r0 = (a0 * b0) ^ (a1 * b3) ^ (a2 * b2) ^ (a3 * b1);
  const r1 = (a0 * b1) ^ (a1 * b0) ^ (a2 * b3) ^ (a3 * b2);
  const r2 = (a0 * b2) ^ (a1 * b1) ^ (a2 * b0) ^ (a3 * b3);
  const r3 = (a0 * b3) ^ (a1 * b2) ^ (a2 * b1) ^ (a3 * b0);
  return (r0 & 0x1111111111111111) | (r1 & 0x2222222222222222) | (r2 & 0x4444444444444444) | (r3 & 0x8888888888888888);
}

/** PCLMULQDQ: the product of two polynomials of 64 bits. */
export function carrylessProduct(a: u64, b: u64): v128 {
  const low = multiply32(a & 0xffffffff, b & 0xffffffff);
  const high = multiply32(a >> 32, b >> 32);
  const middle = multiply32((a ^ (a >> 32)) & 0xffffffff, (b ^ (b >> 32)) & 0xffffffff) ^ low ^ high;
  return i64x2.replace_lane(i64x2.splat(low ^ (middle << 32)), 1, high ^ (middle >> 32));
}

/** Castagnoli's polynomial, reflected. */
const POLYNOMIAL: u32 = 0x82f63b78;
/** Table k: the remainder of a byte with k more bytes of zeros behind it. */
const REMAINDERS: usize = memory.data(8 * 1024);

function makeRemainders(): void {
  for (let i: u32 = 0; i < 256; i++) {
    let crc = i;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >> 1) ^ POLYNOMIAL : crc >> 1;
    store<u32>(REMAINDERS + i * 4, crc);
  }
  for (let i: u32 = 0; i < 7 * 256; i++) {
    const before = load<u32>(REMAINDERS + i * 4);
    store<u32>(REMAINDERS + 1024 + i * 4, (before >> 8) ^ load<u32>(REMAINDERS + (before & 0xff) * 4));
  }
}
makeRemainders();

function remainder(table: u32, byte: u32): u32 {
  return load<u32>(REMAINDERS + table * 1024 + (byte & 0xff) * 4);
}

/** CRC32 of the low `bytes` (1, 2, 4 or 8) bytes of `data`. */
export function crc32c(crc: u32, data: u64, bytes: u32): u32 {
  if (bytes === 8) {
    const low = crc ^ <u32>data;
    const high = <u32>(data >> 32);
    return (
      remainder(7, low) ^
      remainder(6, low >> 8) ^
      remainder(5, low >> 16) ^
      remainder(4, low >> 24) ^
      remainder(3, high) ^
      remainder(2, high >> 8) ^
      remainder(1, high >> 16) ^
      remainder(0, high >> 24)
    );
  }
  crc ^= bytes === 4 ? <u32>data : <u32>data & ((1 << (bytes * 8)) - 1);
  for (let i: u32 = 0; i < bytes; i++) crc = (crc >> 8) ^ remainder(0, crc);
  return crc;
}
