/**
 * A request to translate as it goes to the compiler's thread: one buffer that changes hands, where many objects would have
 * to be copied.
 *
 *   words   of 64 bits: number of the request, context, instruction pointer, state of the inexact flag, 1 = only with pages
 *           of its own, number of pages, of indirect jumps, of instructions apart, of ends; how many instructions are enough;
 *           for each page its linear address and what there is of it (1 bytes, 2 marks); for each jump its instruction
 *           pointer, number of targets, targets; the instructions apart; the ends
 *   bytes   of each page, as far as they are there: 4096 of code, 512 of marks
 */

import type { SentPage } from './code-snapshot.ts';
import type { InexactFlag } from './mxcsr.ts';
import type { RegionBounds } from './region.ts';

export interface TranslateRequest {
  readonly id: number;
  /** Number of a context that the compiler was told of. */
  readonly context: number;
  readonly rip: bigint;
  /** For regions with SSE floating point. */
  readonly inexact: InexactFlag;
  /** Without pages that came with earlier requests. */
  readonly afresh: boolean;
  readonly pages: readonly SentPage[];
  /** Targets of indirect jumps. */
  readonly seen: ReadonlyMap<bigint, readonly bigint[]>;
  /** Instructions whose accesses are looked up one by one. */
  readonly apart: ReadonlySet<bigint>;
  readonly bounds: RegionBounds;
}

const inexactFlags: readonly InexactFlag[] = ['clear', 'set', 'either'];
const headWords = 10;
const BYTES = 1;
const MARKS = 2;
const pageBytes = 4096;
const markBytes = 512;

export function packRequest(request: TranslateRequest): ArrayBuffer {
  const { id, context, rip, inexact, afresh, pages, seen, apart, bounds } = request;
  const words = [BigInt(id), BigInt(context), rip, BigInt(inexactFlags.indexOf(inexact)), afresh ? 1n : 0n];
  words.push(BigInt(pages.length), BigInt(seen.size), BigInt(apart.size));
  words.push(BigInt(bounds.ends.size), BigInt(bounds.instructions));
  let size = 0;
  for (const { linear, bytes, executed } of pages) {
    words.push(linear, BigInt((bytes === null ? 0 : BYTES) | (executed === null ? 0 : MARKS)));
    size += (bytes === null ? 0 : pageBytes) + (executed === null ? 0 : markBytes);
  }
  for (const [site, targets] of seen) words.push(site, BigInt(targets.length), ...targets);
  words.push(...apart, ...bounds.ends);
  const buffer = new ArrayBuffer(words.length * 8 + size);
  new BigInt64Array(buffer, 0, words.length).set(words);
  const all = new Uint8Array(buffer);
  let at = words.length * 8;
  for (const { bytes, executed } of pages) {
    for (const part of [bytes, executed]) {
      if (part === null) continue;
      all.set(part, at);
      at += part.length;
    }
  }
  return buffer;
}

export function unpackRequest(buffer: ArrayBuffer): TranslateRequest {
  const words = new BigInt64Array(buffer, 0, buffer.byteLength >> 3);
  const [id, context, rip, inexact, afresh, pageCount, jumpCount, apartCount, endCount, enough] = words;
  let at = headWords;
  const listed: { readonly linear: bigint; readonly parts: number }[] = [];
  for (let i = 0; i < Number(pageCount); i++, at += 2)
    listed.push({ linear: words[at]!, parts: Number(words[at + 1]!) });
  const seen = new Map<bigint, readonly bigint[]>();
  for (let i = 0; i < Number(jumpCount); i++) {
    const count = Number(words[at + 1]!);
    seen.set(words[at]!, [...words.subarray(at + 2, at + 2 + count)]);
    at += 2 + count;
  }
  const apart = new Set(words.subarray(at, (at += Number(apartCount))));
  const ends = new Set(words.subarray(at, (at += Number(endCount))));
  let byte = at * 8;
  const part = (isThere: boolean, length: number): Uint8Array | null => {
    if (!isThere) return null;
    byte += length;
    return new Uint8Array(buffer, byte - length, length);
  };
  const pages = listed.map(({ linear, parts }) => {
    const bytes = part((parts & BYTES) !== 0, pageBytes);
    return { linear, bytes, executed: part((parts & MARKS) !== 0, markBytes) };
  });
  return {
    id: Number(id),
    context: Number(context),
    rip: rip!,
    inexact: inexactFlags[Number(inexact)]!,
    afresh: afresh !== 0n,
    pages,
    seen,
    apart,
    bounds: { ends, instructions: Number(enough) },
  };
}
