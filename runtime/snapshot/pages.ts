/** A VM's RAM in snapshots: runs of pages of the backing store, those of zeros left out. */
import { SnapshotError } from '../errors.ts';
import type { Chunk } from './chunks.ts';

export const pageBytes = 4096;
/** Pages of one run: a chunk of 1 MiB. */
const mostRun = 256;

/** Some pages, which lie one after the other in the backing store. */
export interface PageRun {
  /** Number of the first page in the backing store. */
  readonly first: number;
  readonly bytes: Uint8Array;
}

/** Whether a page holds nothing but zeros. */
export function isZero(words: BigUint64Array, page: number): boolean {
  const end = (page + 1) * (pageBytes / 8);
  for (let at = page * (pageBytes / 8); at < end; at++) if (words[at] !== 0n) return false;
  return true;
}

/** The runs of chosen pages (ascending). @param zeros pages of zeros are left out, or kept as the news they are in a diff */
export function* pageRuns(ram: Uint8Array, pages: Iterable<number>, zeros: 'leave-out' | 'keep'): Generator<PageRun> {
  const words = new BigUint64Array(ram.buffer, ram.byteOffset, ram.length / 8);
  let first = 0;
  let count = 0;
  const run = (): PageRun => ({ first, bytes: ram.subarray(first * pageBytes, (first + count) * pageBytes) });
  for (const page of pages) {
    if (zeros === 'leave-out' && isZero(words, page)) continue;
    if (count > 0 && (page !== first + count || count === mostRun)) {
      yield run();
      count = 0;
    }
    if (count === 0) first = page;
    count++;
  }
  if (count > 0) yield run();
}

export function encodeRun({ first, bytes }: PageRun): Chunk {
  const payload = new Uint8Array(8 + bytes.length);
  const view = new DataView(payload.buffer);
  view.setUint32(0, first, true);
  view.setUint32(4, bytes.length / pageBytes, true);
  payload.set(bytes, 8);
  return { type: 'PAGE', payload };
}

/** @throws SnapshotError `bad-chunk` naming what does not fit a RAM of so many bytes */
export function decodeRun(payload: Uint8Array, ramBytes: number): PageRun {
  if (payload.length < 8) throw new SnapshotError('bad-chunk', `pages: ${payload.length} bytes are no run`);
  const view = new DataView(payload.buffer, payload.byteOffset);
  const first = view.getUint32(0, true);
  const count = view.getUint32(4, true);
  if (payload.length !== 8 + count * pageBytes)
    throw new SnapshotError('bad-chunk', `pages: ${count} of them in ${payload.length} bytes`);
  if ((first + count) * pageBytes > ramBytes)
    throw new SnapshotError(
      'bad-chunk',
      `pages ${first}-${first + count - 1} lie outside of the RAM of ${ramBytes} bytes`,
    );
  return { first, bytes: payload.subarray(8) };
}

export function* allPages(ram: Uint8Array): Generator<number> {
  for (let page = 0; page < ram.length / pageBytes; page++) yield page;
}
