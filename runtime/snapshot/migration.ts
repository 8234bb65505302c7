/**
 * A running VM moves to another host: over any duplex byte stream, in the chunks of a snapshot.
 *
 * While the guest goes on, rounds copy memory: all of it first, then what the dirty logs say was written meanwhile, until
 * the rest is small enough for the downtime that is allowed. Then the guest stands still, the rest and the state of
 * everything else follow, the target says that it has all of it (`REDY`), the source lets go of it (`GOGO`), and the target
 * goes on (`GONE`). If anything fails before the source has let go, the guest goes on at the source as if nothing had been.
 *
 *   source  META  PAGE*  (rNDE  PAGE*)*  rNDE  MACH VCPU* MAPS  DONE      GOGO
 *   target                                                        REDY         GONE      or FAIL with a reason, at any time
 */
import { mustBeObject, shown } from '../arguments.ts';
import { SnapshotError } from '../errors.ts';
import { type Chunk, ChunkReader, doneChunk, encodeChunk, snapshotHeader } from './chunks.ts';
import { fillLazyPages, MemoryLog } from './memory-image.ts';
import { allPages, decodeRun, encodeRun, pageBytes, pageRuns } from './pages.ts';
import { decodeSnapshot, putSnapshot, type SavedVm, stateChunks, tryState, withRemote } from './snapshot.ts';

/** Two directions of bytes: a socket, a pipe, a pair of streams. */
export interface ByteDuplex {
  /** What the other side sends. */
  readonly readable: ReadableStream<Uint8Array>;
  /** What it gets. */
  readonly writable: WritableStream<Uint8Array>;
}

/** How a VM is moved. */
export interface MigrationOptions {
  /** How long the guest may stand still, in milliseconds; 300 if nothing is said. */
  readonly maxDowntimeMs?: number;
  /** Rounds of copying at most before the guest is stopped whatever is left; 30. */
  readonly maxRounds?: number;
  /** Gives up: the guest goes on here. */
  readonly signal?: AbortSignal;
}

/** How the move went. */
export interface MigrationReport {
  readonly rounds: number;
  /** Pages sent, some of them more than once. */
  readonly pages: number;
  /** Bytes that the stream has carried from here. */
  readonly bytes: number;
  /** For how long the guest stood still, in milliseconds, as the source saw it. */
  readonly downtimeMs: number;
}

/** The VM, as far as moving is concerned. */
export interface MovableVm extends SavedVm {
  /** Lets no vCPU be entered; resolves when none is. */
  hold(why: string): Promise<void>;
  /** Milliseconds that its guest has run for: of no account when the speed of the stream is judged. */
  readonly guestMillis: number;
  /** Ends {@link hold}. */
  release(): void;
}

/** Bytes sent between two turns of the host: so the guest goes on meanwhile. */
const turnBytes = 1 << 20;
const mostTries = 20;

/** What was written to a stream that is somebody else's must not be mistaken for a snapshot. */
const text = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

class Sender {
  private readonly writer: WritableStreamDefaultWriter<Uint8Array>;
  chunks = 0;
  bytes = 0;
  /** Rejects when sending has become pointless: nobody may be there to take what is being sent. */
  stopped: Promise<unknown> = new Promise(() => {});

  constructor(writable: WritableStream<Uint8Array>) {
    this.writer = writable.getWriter();
  }
  async raw(bytes: Uint8Array): Promise<void> {
    this.bytes += bytes.length;
    await Promise.race([this.writer.write(bytes), this.stopped]);
  }
  async send(chunk: Chunk): Promise<void> {
    this.chunks++;
    await this.raw(encodeChunk(chunk));
  }
  done(): Promise<void> {
    return this.raw(encodeChunk(doneChunk(this.chunks)));
  }
  release(): void {
    this.writer.releaseLock();
  }
}

/** What came with the end of one migration and belongs to the next one over the same stream. */
const early = new WeakMap<ReadableStream<Uint8Array>, Uint8Array>();

/** Chunks as they come. */
class Receiver {
  private readonly readable: ReadableStream<Uint8Array>;
  private readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  private chunks: ChunkReader;

  constructor(readable: ReadableStream<Uint8Array>) {
    this.readable = readable;
    this.reader = readable.getReader();
    this.chunks = new ChunkReader();
    this.chunks.push(early.get(readable) ?? new Uint8Array(0));
    early.delete(readable);
  }
  /** What follows the end of a snapshot is another one. */
  next(): void {
    const rest = this.chunks.rest();
    this.chunks = new ChunkReader();
    this.chunks.push(rest);
  }
  /** @throws SnapshotError `migration-failed` at the end of the stream */
  async chunk(): Promise<Chunk> {
    for (;;) {
      const chunk = this.chunks.next();
      if (chunk !== null) return chunk;
      const { done, value } = await this.reader.read();
      if (done) throw new SnapshotError('migration-failed', 'the connection has ended');
      if (!(value instanceof Uint8Array))
        throw new SnapshotError('bad-chunk', 'the stream holds something else than bytes');
      this.chunks.push(value);
    }
  }
  cancel(): void {
    this.reader.cancel().catch(() => {});
  }
  release(): void {
    this.reader.releaseLock();
    early.set(this.readable, this.chunks.rest());
  }
}

function mustBeDuplex(duplex: ByteDuplex): void {
  mustBeObject('connection', duplex);
  if (!(duplex.readable instanceof ReadableStream) || !(duplex.writable instanceof WritableStream))
    throw new SnapshotError('migration-failed', 'a connection has a readable and a writable stream');
}

const failed = (error: unknown): SnapshotError =>
  error instanceof SnapshotError
    ? error
    : new SnapshotError('migration-failed', error instanceof Error ? error.message : String(error));

/** One control message: a small snapshot of one chunk. */
function say(sender: Sender, type: string, payload = new Uint8Array(0)): Promise<void> {
  const parts = [snapshotHeader(), encodeChunk({ type, payload }), encodeChunk(doneChunk(1))];
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return sender.raw(bytes);
}
async function hear(receiver: Receiver, type: string): Promise<void> {
  receiver.next();
  const chunk = await receiver.chunk();
  if (chunk.type === 'FAIL')
    throw new SnapshotError(
      'migration-failed',
      `the target says: ${new TextDecoder().decode(chunk.payload).slice(0, 500)}`,
    );
  if (chunk.type !== type) throw new SnapshotError('bad-chunk', `${chunk.type} came where ${type} should`);
  await receiver.chunk();
}

/**
 * Moves a VM whose guest runs to the VM at the other end of the stream ({@link receiveVm}). Then this one can be entered no
 * more.
 * @throws SnapshotError naming what failed: the guest goes on here. `migration-uncertain`: the connection broke just when the
 *   target was told to go on, and this VM stays as it is until the embedder calls `release()`
 */
export async function migrateVm(
  vm: MovableVm,
  duplex: ByteDuplex,
  options: MigrationOptions = {},
): Promise<MigrationReport> {
  mustBeObject('options', options);
  const { maxDowntimeMs = 300, maxRounds = 30, signal } = options;
  for (const [name, value] of Object.entries({ maxDowntimeMs, maxRounds }))
    if (typeof value !== 'number' || !(value >= 0))
      throw new SnapshotError('migration-failed', `${name} of ${shown(value)}`);
  mustBeDuplex(duplex);
  const sender = new Sender(duplex.writable);
  const receiver = new Receiver(duplex.readable);
  const refusal = hear(receiver, 'REDY');
  let refused: SnapshotError | null = null;
  refusal.catch((error) => (refused = failed(error)));
  const aborted = new Promise<never>((_resolve, reject) => {
    signal?.addEventListener(
      'abort',
      () => reject(new SnapshotError('migration-failed', 'the migration was aborted')),
      {
        once: true,
      },
    );
  });
  aborted.catch(() => {});
  sender.stopped = Promise.race([refusal.then(() => new Promise(() => {})), aborted]);
  sender.stopped.catch(() => {});
  let pages = 0;
  let log: MemoryLog | null = null;
  let isHeld = false;
  let letGo = false;
  const check = () => {
    if (refused !== null) throw refused;
    if (signal?.aborted === true) throw new SnapshotError('migration-failed', 'the migration was aborted');
  };
  const sendPages = async (list: Iterable<number>, zeros: 'leave-out' | 'keep') => {
    let turn = sender.bytes;
    for (const run of pageRuns(vm.ram, list, zeros)) {
      check();
      pages += run.bytes.length / pageBytes;
      await sender.send(encodeRun(run));
      if (sender.bytes - turn < turnBytes || isHeld) continue;
      turn = sender.bytes;
      await new Promise((resolve) => setTimeout(resolve)); // the guest's turn
    }
  };
  try {
    check();
    fillLazyPages(vm);
    log = new MemoryLog(vm);
    await sender.raw(snapshotHeader());
    await sender.send({ type: 'META', payload: text({ id: 'moved', base: null, tracked: false }) });
    let rounds = 0;
    const started = performance.now() - vm.guestMillis;
    await sendPages(allPages(vm.ram), 'leave-out');
    let left: number[] = [];
    for (;;) {
      rounds++;
      await sender.send({ type: 'rNDE', payload: new Uint8Array(0) });
      await new Promise((resolve) => setTimeout(resolve));
      check();
      const perMs = Math.max(sender.bytes / Math.max(performance.now() - vm.guestMillis - started, 0.1), 1);
      left = log.take();
      if ((left.length * pageBytes) / perMs <= maxDowntimeMs || rounds >= maxRounds) break;
      await sendPages(left, 'keep');
    }
    // What is left goes while nothing changes any more.
    const stopped = await stop(vm);
    isHeld = true;
    fillLazyPages(vm); // of maps that came meanwhile
    const rest = new Set([...left, ...log.take()]);
    await sendPages(
      [...rest].sort((a, b) => a - b),
      'keep',
    );
    for (const chunk of stopped.state) await sender.send(chunk);
    await sender.done();
    await Promise.race([refusal, aborted]);
    check();
    letGo = true;
    sender.stopped = new Promise(() => {});
    await say(sender, 'GOGO');
    await hear(receiver, 'GONE');
    const downtimeMs = performance.now() - stopped.at;
    return { rounds, pages, bytes: sender.bytes, downtimeMs };
  } catch (error) {
    if (letGo)
      throw new SnapshotError('migration-uncertain', `the target was told to go on, then: ${failed(error).message}`);
    if (isHeld) vm.release();
    throw failed(error);
  } finally {
    log?.close();
    for (const device of vm.elsewhere) device.forget();
    sender.release();
    receiver.release();
  }
}

/** Holds the VM where it can be saved. */
async function stop(vm: MovableVm): Promise<{ at: number; state: Chunk[] }> {
  for (let tries = 1; ; tries++) {
    await vm.hold('the VM is being moved');
    const at = performance.now();
    try {
      for (const device of vm.elsewhere) await device.obtain();
      return { at, state: [...stateChunks(vm)] };
    } catch (error) {
      for (const device of vm.elsewhere) device.forget();
      vm.release();
      if (!(error instanceof SnapshotError) || error.code !== 'access-pending' || tries === mostTries) throw error;
      await new Promise((resolve) => setTimeout(resolve)); // in the middle of an instruction
    }
  }
}

/**
 * Takes a VM that comes over the stream into this one, which was put together in the same way. When it resolves, the guest
 * may go on here.
 * @throws SnapshotError, StateError, ConfigurationError naming what is wrong; this VM is as it was
 */
export async function receiveVm(
  vm: MovableVm,
  duplex: ByteDuplex,
  { signal }: { signal?: AbortSignal } = {},
): Promise<void> {
  mustBeDuplex(duplex);
  const sender = new Sender(duplex.writable);
  const receiver = new Receiver(duplex.readable);
  await vm.hold('the VM is being received');
  const abort = () => receiver.cancel();
  signal?.addEventListener('abort', abort);
  try {
    const chunks: Chunk[] = [];
    const pages = new Map<number, Uint8Array>();
    for (let chunk = await receiver.chunk(); chunk.type !== 'DONE'; chunk = await receiver.chunk()) {
      if (signal?.aborted === true) throw new SnapshotError('migration-failed', 'the migration was aborted');
      // Of a page that comes several times the last one counts.
      if (chunk.type === 'PAGE') keepPages(pages, chunk, vm.ram.length);
      else chunks.push(chunk);
    }
    const snapshot = decodeSnapshot(chunks, vm.ram.length);
    const runs = [...pages].map(([first, bytes]) => ({ first, bytes }));
    await withRemote(vm, snapshot.machine, async () => {
      tryState(vm, snapshot);
      await say(sender, 'REDY');
      await hear(receiver, 'GOGO');
      putSnapshot(vm, { ...snapshot, runs }, {});
    });
    await say(sender, 'GONE');
  } catch (error) {
    // Whether anybody hears it is another question.
    say(sender, 'FAIL', new TextEncoder().encode(error instanceof Error ? error.message : String(error))).catch(
      () => {},
    );
    throw error instanceof TypeError ? failed(error) : error;
  } finally {
    signal?.removeEventListener('abort', abort);
    vm.release();
    sender.release();
    receiver.release();
  }
}

function keepPages(pages: Map<number, Uint8Array>, chunk: Chunk, ramBytes: number): void {
  const { first, bytes } = decodeRun(chunk, ramBytes);
  for (let at = 0; at < bytes.length; at += pageBytes)
    pages.set(first + at / pageBytes, bytes.slice(at, at + pageBytes));
}
