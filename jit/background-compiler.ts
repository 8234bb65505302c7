/**
 * The translator's end of the compiler's thread: sends code, supplies the pages that the compiler misses, and hands back
 * what it has made. Answers arrive between runs of the guest, when the thread's event loop has its turn.
 */
import type { Context } from '../src/execute/context.ts';
import type { CodeSnapshot } from './code-snapshot.ts';
import type { CompilerPort, CompilerReply, CompilerRequest, SentPage, TranslationMode } from './compiler-protocol.ts';
import type { InexactFlag } from './mxcsr.ts';

export type Made = Extract<CompilerReply, { kind: 'made' }>;

/** A region that the compiler is asked for. */
export interface CompilerJob {
  readonly context: Context;
  readonly rip: bigint;
  readonly snapshot: CodeSnapshot;
  /** Targets of indirect jumps. */
  readonly seen: ReadonlyMap<bigint, readonly bigint[]>;
  readonly apart: ReadonlySet<bigint>;
  readonly inexact: InexactFlag;
  /** The code can still be fetched as it was when the job began: more pages may be copied. */
  mayGoOn(): boolean;
  /** Told once: what was made, null if there is nothing to translate, undefined if nothing came of the request. */
  done(made: Made | null | undefined): void;
}

export class BackgroundCompiler {
  private readonly open: () => CompilerPort;
  private port: CompilerPort | null = null;
  private readonly mode: TranslationMode;
  private readonly jobs = new Map<number, CompilerJob>();
  private lastId = 0;
  /** The first bug that the compiler has met. */
  failure: string | null = null;

  /** @param open starts the compiler's thread, when it is first needed */
  constructor(open: () => CompilerPort, mode: TranslationMode) {
    this.open = open;
    this.mode = mode;
  }

  /** Requests that are under way. */
  get pending(): number {
    return this.jobs.size;
  }
  /** Makes the compiler ready before it is needed. */
  load(): void {
    this.post({ kind: 'load' });
  }
  /** The compiler's thread has died: nothing more will come of any request. */
  failed(message: string): void {
    this.failure ??= message;
    const jobs = [...this.jobs.values()];
    this.jobs.clear();
    for (const job of jobs) job.done(null);
  }
  request(job: CompilerJob): void {
    if (this.failure !== null) return job.done(null);
    const id = ++this.lastId;
    this.jobs.set(id, job);
    this.send(id, job);
  }

  private send(id: number, { context, rip, snapshot, seen, apart, inexact }: CompilerJob): void {
    const pages: SentPage[] = snapshot.list();
    this.post({ kind: 'translate', id, context, rip, mode: this.mode, pages, seen, apart, inexact });
  }
  private post(request: CompilerRequest): void {
    let { port } = this;
    if (port === null) {
      port = this.open();
      port.onMessage((message) => this.answered(message as CompilerReply));
      this.port = port;
    }
    port.post(request);
  }
  private answered(reply: CompilerReply): void {
    const job = this.jobs.get(reply.id);
    if (job === undefined) return;
    if (reply.kind === 'pages' && job.mayGoOn()) {
      for (const page of reply.linear) job.snapshot.take(page);
      this.send(reply.id, job);
      return;
    }
    this.jobs.delete(reply.id);
    switch (reply.kind) {
      case 'made':
        return job.done(reply);
      case 'nothing':
        return job.done(null);
      case 'failed':
        this.failure ??= reply.message;
        return job.done(null);
      case 'pages':
        return job.done(undefined);
      default:
        return reply satisfies never;
    }
  }
}
