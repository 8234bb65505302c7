/**
 * How a snapshot is written: a header, then chunks that say what they are, so that a reader finds what it knows and knows
 * what it lacks. Little endian.
 *
 *   header   8 bytes "jit86vm\0", u32 version, u32 zero
 *   chunk    4 letters, u32 bytes of the payload, 8 bytes hash of letters and payload, the payload, zeros up to 8 bytes
 *
 * A chunk whose name begins with a capital letter must be understood; others may be left out by whoever does not know them.
 * The last one is `DONE`, with the number of chunks before it: what was cut off is noticed.
 */
import { hashBytes } from '../../jit/hash.ts';
import { SnapshotError } from '../errors.ts';

export const snapshotVersion = 1;
const magic = [0x6a, 0x69, 0x74, 0x38, 0x36, 0x76, 0x6d, 0] as const; // jit86vm
export const headerBytes = 16;
export const chunkHeaderBytes = 16;
/** The largest payload: bounds what a reader allocates. */
export const mostChunkBytes = 1 << 26;

export interface Chunk {
  /** Four letters. */
  readonly type: string;
  readonly payload: Uint8Array;
  /**
   * Of a chunk that was read without a look at its hash; left out, it was looked at.
   * @throws SnapshotError `bad-checksum`
   */
  readonly verify?: () => void;
}

export function snapshotHeader(): Uint8Array {
  const bytes = new Uint8Array(headerBytes);
  bytes.set(magic);
  new DataView(bytes.buffer).setUint32(8, snapshotVersion, true);
  return bytes;
}

const padded = (length: number): number => (length + 7) & ~7;

/** Of the letters and the payload. */
function checksum(type: string, payload: Uint8Array): readonly [number, number] {
  let letters = 0;
  for (let i = 0; i < 4; i++) letters = (letters << 8) | type.charCodeAt(i);
  const view = new DataView(hashBytes(payload, letters).buffer);
  return [view.getUint32(0, true), view.getUint32(4, true)];
}

export function encodeChunk({ type, payload }: Chunk): Uint8Array {
  const bytes = new Uint8Array(chunkHeaderBytes + padded(payload.length));
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < 4; i++) bytes[i] = type.charCodeAt(i);
  view.setUint32(4, payload.length, true);
  const [low, high] = checksum(type, payload);
  view.setUint32(8, low, true);
  view.setUint32(12, high, true);
  bytes.set(payload, chunkHeaderBytes);
  return bytes;
}

/** The end of a snapshot of so many chunks. */
export function doneChunk(count: number): Chunk {
  const payload = new Uint8Array(4);
  new DataView(payload.buffer).setUint32(0, count, true);
  return { type: 'DONE', payload };
}

/** Takes a snapshot's bytes as they come, in pieces of any size, and gives its chunks. */
export class ChunkReader {
  private parts: Uint8Array[] = [];
  private available = 0;
  private hasHeader = false;
  private chunks = 0;
  private readonly deferred: string | null;
  /** The last chunk has come. */
  done = false;

  /** @param deferred chunks of this name are checked by whoever uses them */
  constructor(deferred: string | null = null) {
    this.deferred = deferred;
  }
  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.parts.push(bytes);
    this.available += bytes.length;
  }
  /** Bytes behind the end of the snapshot: whatever follows it in its stream. */
  rest(): Uint8Array {
    return this.take(this.available);
  }

  /**
   * The next chunk, or null until more bytes have come. Its payload may be a part of what was pushed.
   * @throws SnapshotError `foreign-snapshot`, `unsupported-version`, `bad-chunk`, `bad-checksum`
   */
  next(): Chunk | null {
    if (this.done || !this.header()) return null;
    if (this.available < chunkHeaderBytes) return null;
    const head = this.peek(chunkHeaderBytes);
    const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
    const type = String.fromCharCode(...head.subarray(0, 4));
    const length = view.getUint32(4, true);
    if (!/^[A-Za-z]{4}$/.test(type))
      throw new SnapshotError('bad-chunk', `chunk ${this.chunks}: no name of four letters`);
    if (length > mostChunkBytes) throw new SnapshotError('bad-chunk', `chunk ${type}: ${length} bytes are too many`);
    if (this.available < chunkHeaderBytes + padded(length)) return null;
    this.take(chunkHeaderBytes);
    const payload = this.take(padded(length)).subarray(0, length);
    const [wantedLow, wantedHigh, number] = [view.getUint32(8, true), view.getUint32(12, true), this.chunks];
    const verify = () => {
      const [low, high] = checksum(type, payload);
      if (low !== wantedLow || high !== wantedHigh)
        throw new SnapshotError('bad-checksum', `chunk ${type} (number ${number}) was damaged`);
    };
    if (type !== this.deferred) verify();
    if (type === 'DONE') this.end(payload);
    else this.chunks++;
    return type === this.deferred ? { type, payload, verify } : { type, payload };
  }
  private end(payload: Uint8Array): void {
    const count = payload.length === 4 ? new DataView(payload.buffer, payload.byteOffset).getUint32(0, true) : -1;
    if (count !== this.chunks)
      throw new SnapshotError('bad-chunk', `the snapshot has ${this.chunks} chunks and says ${count}`);
    this.done = true;
  }
  private header(): boolean {
    if (this.hasHeader) return true;
    const known = this.peek(Math.min(this.available, headerBytes));
    for (let i = 0; i < Math.min(known.length, magic.length); i++)
      if (known[i] !== magic[i]) throw new SnapshotError('foreign-snapshot', 'these bytes are no snapshot of a VM');
    if (known.length < headerBytes) return false;
    const version = new DataView(known.buffer, known.byteOffset).getUint32(8, true);
    if (version !== snapshotVersion)
      throw new SnapshotError('unsupported-version', `a snapshot of version ${version}; this reads ${snapshotVersion}`);
    this.take(headerBytes);
    this.hasHeader = true;
    return true;
  }

  /** The first bytes, without a copy where they came together. */
  private peek(length: number): Uint8Array {
    const first = this.parts[0];
    if (first === undefined) return new Uint8Array(0);
    if (first.length < length) {
      const joined = new Uint8Array(Math.max(length, Math.min(this.available, 2 * length)));
      let used = 0;
      while (used < joined.length) {
        const part = this.parts.shift()!;
        const fits = Math.min(part.length, joined.length - used);
        joined.set(part.subarray(0, fits), used);
        used += fits;
        if (fits < part.length) this.parts.unshift(part.subarray(fits));
      }
      this.parts.unshift(joined);
    }
    return this.parts[0]!.subarray(0, length);
  }
  private take(length: number): Uint8Array {
    if (length === 0) return new Uint8Array(0);
    const bytes = this.peek(length);
    const first = this.parts[0]!;
    if (first.length === length) this.parts.shift();
    else this.parts[0] = first.subarray(length);
    this.available -= length;
    return bytes;
  }
}

/**
 * All chunks of a snapshot but the last.
 * @param deferred see {@link ChunkReader}
 * @throws SnapshotError as {@link ChunkReader.next}; `truncated-snapshot` if the end is missing
 */
export function readChunks(bytes: Uint8Array, deferred: string | null = null): Chunk[] {
  const reader = new ChunkReader(deferred);
  reader.push(bytes);
  const chunks: Chunk[] = [];
  for (let chunk = reader.next(); chunk !== null; chunk = reader.next()) chunks.push(chunk);
  if (!reader.done)
    throw new SnapshotError(
      'truncated-snapshot',
      `the snapshot ends after ${chunks.length} chunks and ${bytes.length} bytes`,
    );
  chunks.pop();
  return chunks;
}
