/**
 * A 128-bit hash of bytes, for telling damaged or different data from what is expected. It is quick and it is the same on
 * every host; it does not withstand an adversary.
 */

const multipliers = [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f] as const;

/** Sixteen bytes. */
export function hashBytes(bytes: Uint8Array, seed = 0): Uint8Array {
  const lanes = multipliers.map((m) => (m ^ seed) | 0);
  let [a, b, c, d] = lanes as [number, number, number, number];
  const whole = bytes.length & ~15;
  const words = wordsOf(bytes, whole);
  for (let at = 0; at < words.length; at += 4) {
    a = mix(a, words[at]!);
    b = mix(b, words[at + 1]!);
    c = mix(c, words[at + 2]!);
    d = mix(d, words[at + 3]!);
  }
  for (let at = whole; at < bytes.length; at++) a = mix(a, bytes[at]! + 1);
  a = mix(a, bytes.length);
  const out = new DataView(new ArrayBuffer(16));
  // Every lane ends up in every word.
  for (let round = 0; round < 4; round++) {
    [a, b, c, d] = [finish(a + d), finish(b ^ Math.imul(a, multipliers[0])), finish(c + b), finish(d ^ c)];
    out.setInt32(round * 4, a ^ d, true);
  }
  return new Uint8Array(out.buffer);
}

const isLittleEndian = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
/** The first bytes as little-endian words, which cold code reads quicker than a DataView. */
function wordsOf(bytes: Uint8Array, length: number): Int32Array {
  if (isLittleEndian) {
    const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice(0, length);
    return new Int32Array(aligned.buffer, aligned.byteOffset, length >> 2);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, length);
  return Int32Array.from({ length: length >> 2 }, (_, i) => view.getInt32(i * 4, true));
}

function mix(lane: number, word: number): number {
  lane = (lane + Math.imul(word, multipliers[1])) | 0;
  return Math.imul((lane << 13) | (lane >>> 19), multipliers[0]);
}

function finish(word: number): number {
  word = Math.imul(word ^ (word >>> 15), multipliers[1]);
  word = Math.imul(word ^ (word >>> 13), multipliers[2]);
  return word ^ (word >>> 16);
}

export const toHex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** Two pieces of memory hold the same. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
