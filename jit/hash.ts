/**
 * A 128-bit hash of bytes, for telling damaged or different data from what is expected. It is quick and it is the same on
 * every host; it does not withstand an adversary.
 */

const multipliers = [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f] as const;

/** Sixteen bytes. */
export function hashBytes(bytes: Uint8Array, seed = 0): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const lanes = multipliers.map((m) => (m ^ seed) | 0);
  let [a, b, c, d] = lanes as [number, number, number, number];
  const whole = bytes.length & ~15;
  for (let at = 0; at < whole; at += 16) {
    a = mix(a, view.getInt32(at, true));
    b = mix(b, view.getInt32(at + 4, true));
    c = mix(c, view.getInt32(at + 8, true));
    d = mix(d, view.getInt32(at + 12, true));
  }
  for (let at = whole; at < bytes.length; at++) a = mix(a, view.getUint8(at) + 1);
  a = mix(a, bytes.length);
  const out = new DataView(new ArrayBuffer(16));
  // Every lane ends up in every word.
  for (let round = 0; round < 4; round++) {
    [a, b, c, d] = [finish(a + d), finish(b ^ Math.imul(a, multipliers[0])), finish(c + b), finish(d ^ c)];
    out.setInt32(round * 4, a ^ d, true);
  }
  return new Uint8Array(out.buffer);
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
