/** Comparison of memory, for all hosts. */

const wordsOf = (bytes: Uint8Array): Uint32Array => new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);

/** Offset of the first byte from `from` on that differs, or -1; both start at multiples of four and have the same length. */
export function firstDifference(a: Uint8Array, b: Uint8Array, from = 0): number {
  const [x, y] = [wordsOf(a), wordsOf(b)];
  for (let i = from >> 2; i < x.length; i++) {
    if (x[i] === y[i]) continue;
    for (let at = i * 4; at < i * 4 + 4; at++) if (at >= from && a[at] !== b[at]) return at;
  }
  return -1;
}
