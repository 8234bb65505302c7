/**
 * The translator's end of the compiler's thread: sends code, supplies the pages that the compiler misses, and hands back
 * what it has made. Answers arrive between runs of the guest, when the thread's event loop has its turn.
 */
import type { Context } from '../src/execute/context.ts';
import { linearOf } from '../src/execute/frontend.ts';
import type { CodeSnapshot, SentPage } from './code-snapshot.ts';
import type { CompilerPort, CompilerReply, CompilerRequest, TranslationMode } from './compiler-protocol.ts';
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
  private isReady = false;
  private readonly whenReady: (() => void)[] = [];
  /** The first bug that the compiler has met. */
  failure: string | null = null;

  /** @param open starts the compiler's thread, when it is first needed */
  constructor(open: () => CompilerPort, mode: TranslationMode) {
    this.open = open;
    this.mode = mode;
  }

  /** Something is awaited: an answer, or that the compiler is ready. */
  get pending(): boolean {
    return this.jobs.size > 0 || this.whenReady.length > 0;
  }
  /** The compiler is ready, or becomes so. */
  get isLoading(): boolean {
    return this.port !== null;
  }
  /** Makes the compiler ready before it is needed. */
  load(): void {
    if (this.port === null) this.post({ kind: 'load' });
  }
  /**
   * True if the compiler can begin at once. If not, it is made ready, and the listener is told then: what is hottest may
   * be something else by that time.
   */
  ready(listener: () => void): boolean {
    if (this.isReady || this.failure !== null) return true;
    this.whenReady.push(listener);
    this.load();
    return false;
  }
  /** The compiler's thread has died: nothing more will come of any request. */
  failed(message: string): void {
    this.failure ??= message;
    this.becomeReady();
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
    // What is known of other pages' instructions would only be copied.
    const sent = new Set(pages.map(({ linear }) => linear));
    const isSent = (at: bigint) => sent.has(linearOf(context, at) & ~0xfffn);
    const known = {
      seen: new Map([...seen].filter(([site]) => isSent(site))),
      apart: new Set([...apart].filter(isSent)),
    };
    this.post({ kind: 'translate', id, context, rip, mode: this.mode, pages, ...known, inexact });
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
  private becomeReady(): void {
    this.isReady = true;
    for (const listener of this.whenReady.splice(0)) listener();
  }
  private answered(reply: CompilerReply): void {
    if (reply.kind === 'ready') return this.becomeReady();
    const job = this.jobs.get(reply.id);
    if (job === undefined) return;
    if (reply.kind === 'pages') {
      // Where the guest is elsewhere by now, the region ends before these pages.
      const there = job.mayGoOn();
      for (const page of reply.linear)
        if (there) job.snapshot.take(page);
        else job.snapshot.leaveOut(page);
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
      default:
        return reply satisfies never;
    }
  }
}
