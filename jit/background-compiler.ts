/**
 * The translator's end of the compiler's thread: sends code, supplies the pages that the compiler misses, and hands back
 * what it has made. Answers arrive when the thread's event loop has its turn, or when somebody looks for them.
 */

import type { CodePage } from '../src/execute/code-pages.ts';
import type { Context } from '../src/execute/context.ts';
import { linearOf } from '../src/execute/frontend.ts';
import type { CodeSnapshot } from './code-snapshot.ts';
import type { CompilerPort, CompilerReply, CompilerRequest, TranslationMode } from './compiler-protocol.ts';
import { KeptPages } from './kept-pages.ts';
import type { InexactFlag } from './mxcsr.ts';
import type { RegionBounds } from './region.ts';
import { packRequest } from './translate-request.ts';

export type Made = Extract<CompilerReply, { kind: 'made' }>;

/** A region that the compiler is asked for. */
export interface CompilerJob {
  readonly context: Context;
  readonly rip: bigint;
  readonly snapshot: CodeSnapshot;
  /** Targets of indirect jumps. */
  readonly seen: ReadonlyMap<bigint, readonly bigint[]>;
  readonly apart: ReadonlySet<bigint>;
  readonly bounds: RegionBounds;
  readonly inexact: InexactFlag;
  /** There are regions here that do not fit: pages of earlier requests may be the reason. */
  readonly afresh: boolean;
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
  /** Contexts that the compiler knows, and what it has kept of earlier requests. */
  private readonly told = new Map<number, Context>();
  private readonly kept = new KeptPages<CodePage>();
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
  /** Answers that have come are taken by `poll`, without a turn of the event loop. */
  get polls(): boolean {
    return this.port?.receive !== undefined;
  }
  /** Takes what the compiler has answered, where that can be seen. */
  poll(): void {
    if (this.port?.receive === undefined || !this.pending) return;
    for (let reply = this.port.receive(); reply !== undefined; reply = this.port.receive())
      this.answered(reply as CompilerReply);
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

  private send(id: number, job: CompilerJob): void {
    const { context, rip, snapshot, inexact, afresh, bounds } = job;
    // Forked machines share a compiler, and number their contexts for themselves.
    if (this.told.get(context.id) !== context) this.post({ kind: 'context', context });
    this.told.set(context.id, context);
    const pages = snapshot.list();
    for (const { linear } of pages) {
      const page = snapshot.take(linear);
      if (page !== null) this.kept.put(context, linear, id, page);
    }
    // What is known of other pages' instructions would only be copied.
    const isThere = (at: bigint) => {
      const page = linearOf(context, at) & ~0xfffn;
      return snapshot.has(page) || this.kept.get(context.id, page) !== undefined;
    };
    const seen = new Map([...job.seen].filter(([site]) => isThere(site)));
    const apart = new Set([...job.apart].filter(isThere));
    const request = packRequest({ id, context: context.id, rip, inexact, afresh, pages, seen, apart, bounds });
    this.post({ kind: 'translate', mode: this.mode, request }, [request]);
  }
  /** Adds the pages that the compiler had kept to what the region was made from. False if they are others by now. */
  private adopt({ context, snapshot }: CompilerJob, { kept }: Made): boolean {
    for (const { linear, request } of kept) {
      const here = this.kept.get(context.id, linear);
      if (here?.request !== request) return false;
      snapshot.adopt(linear, here.page);
    }
    return true;
  }
  /** What the compiler has kept is not what the guest executes. */
  forgetPages(): void {
    this.kept.clear();
    if (this.port !== null) this.post({ kind: 'forget' });
  }
  private post(request: CompilerRequest, transfer: readonly ArrayBuffer[] = []): void {
    let { port } = this;
    if (port === null) {
      port = this.open();
      port.onMessage((message) => this.answered(message as CompilerReply));
      this.port = port;
    }
    port.post(request, transfer);
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
        return job.done(this.adopt(job, reply) ? reply : undefined);
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
