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
  /** To be called before the first use of the bytes; left out, they are right. @throws SnapshotError `bad-checksum` */
  readonly verify?: () => void;
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
export function decodeRun({ payload, verify }: Chunk, ramBytes: number): PageRun {
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
  return { first, bytes: payload.subarray(8), ...(verify && { verify }) };
}

/** Where all runs of a snapshot lie, so that what is in their chunks can be used before all of them were checked. */
export function encodeDirectory(runs: readonly { readonly first: number; readonly count: number }[]): Chunk {
  const words = new DataView(new ArrayBuffer(runs.length * 8));
  for (const [i, { first, count }] of runs.entries()) {
    words.setUint32(i * 8, first, true);
    words.setUint32(i * 8 + 4, count, true);
  }
  return { type: directoryType, payload: new Uint8Array(words.buffer) };
}
export const directoryType = 'rUNS';

/** @throws SnapshotError `bad-checksum` if the runs are not those of the directory: what they say of themselves is damaged */
export function checkDirectory({ payload }: Chunk, runs: readonly PageRun[]): void {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const isRight =
    payload.length === runs.length * 8 &&
    runs.every(
      ({ first, bytes }, i) =>
        view.getUint32(i * 8, true) === first && view.getUint32(i * 8 + 4, true) * pageBytes === bytes.length,
    );
  if (!isRight)
    throw new SnapshotError('bad-checksum', `the ${runs.length} chunks PAGE are not those of the directory`);
}

/** Pages of the backing store out of runs; of a page that is in several the last one counts. */
export class SavedPages {
  private readonly runs: readonly PageRun[];
  /** By page: more than the index of its run by one; 0 = in none. */
  private readonly places: Uint32Array;
  private readonly verified: Uint8Array;

  constructor(runs: readonly PageRun[], ramBytes: number) {
    this.runs = runs;
    this.places = new Uint32Array(ramBytes / pageBytes);
    this.verified = new Uint8Array(runs.length);
    for (const [i, { first, bytes }] of runs.entries())
      this.places.fill(i + 1, first, first + bytes.length / pageBytes);
  }
  /** @throws SnapshotError `bad-checksum` if one of these pages cannot be put */
  verify(isWanted: (page: number) => boolean): void {
    for (let page = 0; page < this.places.length; page++)
      if (this.places[page] !== 0 && isWanted(page)) this.runOf(this.places[page]!);
  }
  private runOf(place: number): PageRun {
    const run = this.runs[place - 1]!;
    if (this.verified[place - 1] === 0) {
      run.verify?.();
      this.verified[place - 1] = 1;
    }
    return run;
  }
  /**
   * Puts a page where it belongs; those that are in no run are zero.
   * @throws SnapshotError `bad-checksum`, each time that it is asked for
   */
  put(page: number, into: Uint8Array): void {
    const place = this.places[page]!;
    if (place === 0) {
      into.fill(0);
      return;
    }
    const { first, bytes } = this.runOf(place);
    into.set(bytes.subarray((page - first) * pageBytes, (page - first + 1) * pageBytes));
  }
}

export function* allPages(ram: Uint8Array): Generator<number> {
  for (let page = 0; page < ram.length / pageBytes; page++) yield page;
}
