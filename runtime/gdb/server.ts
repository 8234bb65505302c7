/**
 * A gdb server on a connection of any kind: takes gdb's packets, runs the target between them, and answers.
 *
 * The target is stopped while gdb looks at it and runs while gdb waits. The guest is left as if nobody had debugged it when
 * the session ends, whichever way.
 */
import { Vm } from '../vm/vm.ts';
import { bytesOf, encodePacket, type PacketEvent, PacketReader } from './packets.ts';
import type { GdbArchitecture } from './registers.ts';
import { type Action, GdbSession } from './session.ts';
import { type ExitHandler, type GdbTarget, vmTarget } from './target.ts';

/** Both directions of a connection, as Web Streams of bytes. */
export interface GdbDuplex {
  /** What gdb sends. */
  readonly readable: ReadableStream<Uint8Array>;
  /** What it is answered. */
  readonly writable: WritableStream<Uint8Array>;
}

/** How a session serves gdb. */
export interface GdbServerOptions {
  /** What gdb is told; left out, what the first vCPU is now: in real, protected or IA-32e mode. */
  readonly architecture?: GdbArchitecture;
  /** Of a VM: what is done about exits that are not gdb's. */
  readonly onExit?: ExitHandler;
}

/** How a session ended. */
export type GdbEnd =
  /** `detach`, or the connection has gone: the guest can go on. */
  | 'detached'
  | 'disconnected'
  /** `kill`: the guest is to end. */
  | 'killed';

/** Milliseconds between two turns of the host while ranges are stepped through. */
const turnMillis = 10;
/** Packets that may wait while the guest runs; gdb sends none then. */
const mostWaiting = 16;

/** One session of gdb on a connection. */
export class GdbServer implements AsyncDisposable {
  /**
   * Settles when the session is over and the guest at rest. Rejects if running the guest has failed, with the error that the
   * target threw.
   */
  readonly closed: Promise<GdbEnd>;
  private readonly target: GdbTarget;
  private readonly session: GdbSession;
  private readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  private readonly writer: WritableStreamDefaultWriter<Uint8Array>;
  private readonly packets = new PacketReader();
  private acknowledges = true;
  private lastReply: Uint8Array | null = null;
  private end: GdbEnd | null = null;
  /** Stops the run that is under way. */
  private running: AbortController | null = null;
  private run: Promise<void> = Promise.resolve();
  private failure: { readonly error: unknown } | null = null;
  private waiting: string[] = [];

  /** Begins at once. The guest must be at rest, and nobody else may run it until `closed` settles. */
  constructor(target: Vm | GdbTarget, { readable, writable }: GdbDuplex, options: GdbServerOptions = {}) {
    this.target = target instanceof Vm ? vmTarget(target, options.onExit) : target;
    this.session = new GdbSession(this.target, options.architecture);
    this.reader = readable.getReader();
    this.writer = writable.getWriter();
    this.closed = this.serve();
  }

  /** Ends the session, as if the connection had gone. */
  close(): void {
    this.end ??= 'disconnected';
    void this.reader.cancel().catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.closed.catch(() => {});
  }

  private async serve(): Promise<GdbEnd> {
    try {
      while (this.end === null) {
        const { done, value } = await this.reader.read().catch(() => ({ done: true, value: undefined }));
        if (done || value === undefined) break;
        for (const event of this.packets.feed(value)) {
          this.take(event);
          if (this.end !== null) break;
        }
      }
    } finally {
      this.running?.abort();
      await this.run;
      this.session.disarm();
    }
    await this.reader.cancel().catch(() => {});
    await this.writer.close().catch(() => {});
    if (this.failure !== null) throw this.failure.error;
    return this.end ?? 'disconnected';
  }

  private take(event: PacketEvent): void {
    switch (event.kind) {
      case 'packet':
        if (this.acknowledges) this.send(bytesOf('+'));
        if (this.running === null) this.answer(event.data);
        else if (this.waiting.length < mostWaiting) this.waiting.push(event.data);
        break;
      case 'damaged':
        if (this.acknowledges) this.send(bytesOf('-'));
        break;
      case 'nak':
        if (this.acknowledges && this.lastReply !== null) this.send(this.lastReply);
        break;
      case 'interrupt':
        this.running?.abort();
        break;
      case 'ack':
        break;
    }
  }

  private answer(data: string): void {
    const answer = this.session.handle(data);
    switch (answer.kind) {
      case 'reply':
        this.reply(answer.data);
        break;
      case 'no-acks':
        this.reply('OK');
        this.acknowledges = false;
        break;
      case 'resume':
        this.run = this.resume(answer.actions);
        break;
      case 'detach':
      case 'kill':
        if (answer.data !== null) this.reply(answer.data);
        this.end = answer.kind === 'kill' ? 'killed' : 'detached';
        break;
    }
  }
  private async resume(actions: readonly Action[]): Promise<void> {
    const running = new AbortController();
    this.running = running;
    try {
      this.session.arm(actions);
      let stop = await this.target.run(running.signal);
      for (let turn = performance.now(); this.session.goesOn(stop, actions) && !running.signal.aborted; ) {
        // A run of one step gives the host no turn, and the byte 3 must be seen.
        if (performance.now() > turn + turnMillis) {
          await new Promise((done) => setTimeout(done, 0));
          turn = performance.now();
        } else stop = await this.target.run(running.signal);
      }
      if (running.signal.aborted && stop.kind === 'debug' && stop.exit.reason === 'single-step')
        stop = { kind: 'aborted' };
      this.running = null;
      if (this.end === null) this.reply(this.session.stopped(stop));
    } catch (error) {
      this.running = null;
      this.failure = { error };
      this.close();
      return;
    }
    const { waiting } = this;
    this.waiting = [];
    for (const data of waiting) if (this.end === null && this.running === null) this.answer(data);
    if (this.end !== null) void this.reader.cancel().catch(() => {});
  }

  private reply(data: string): void {
    this.lastReply = encodePacket(data);
    this.send(this.lastReply);
  }
  private send(bytes: Uint8Array): void {
    // A connection that has gone is noticed by the reader.
    void this.writer.write(bytes).catch(() => {});
  }
}
