/** The compiler's thread: answers the requests of `background-compiler.ts`, one after the other. */
import type { Context } from '../src/execute/context.ts';
import type { CodeSource } from '../src/execute/frontend.ts';
import { isMarked, type SentPage } from './code-snapshot.ts';
import type { CompilerPort, CompilerReply, CompilerRequest, TranslationMode } from './compiler-protocol.ts';
import { DryRuns } from './dry-runs.ts';
import { KeptPages } from './kept-pages.ts';
import { RecordedBlocks } from './recorded-blocks.ts';
import { formRegion } from './region.ts';
import { assemble } from './translate.ts';
import { type TranslateRequest, unpackRequest } from './translate-request.ts';
import '../src/isa/all.ts';

/** A kept page says of this many later requests what the guest has not executed in it: by then it may have. */
const marksLast = 32;

/** The pages of a request as the region former sees them, and kept ones; those that it misses are noted. */
class SentPages implements CodeSource {
  readonly missing = new Set<bigint>();
  /** Kept pages that were looked at, with the requests that they came with. */
  readonly used = new Map<bigint, number>();
  private readonly request: TranslateRequest;
  private readonly pages: ReadonlyMap<bigint, SentPage>;
  private readonly kept: KeptPages<SentPage>;

  constructor(request: TranslateRequest, kept: KeptPages<SentPage>) {
    this.request = request;
    this.pages = new Map(request.pages.map((page) => [page.linear, page]));
    this.kept = kept;
  }
  private found(page: bigint): SentPage | undefined {
    const { afresh, context } = this.request;
    const sent = this.pages.get(page);
    if (sent !== undefined || afresh) return sent;
    const kept = this.kept.get(context, page);
    if (kept !== undefined) this.used.set(page, kept.request);
    return kept?.page;
  }
  page(linear: bigint): Uint8Array | null {
    const page = this.found(linear & ~0xfffn);
    if (page === undefined) this.missing.add(linear & ~0xfffn);
    return page?.bytes ?? null;
  }
  executed(linear: bigint): boolean {
    const page = this.found(linear & ~0xfffn);
    if (page !== undefined && (page.executed === null || isMarked(page.executed, linear))) return true;
    const since = this.used.get(linear & ~0xfffn) ?? this.request.id;
    if (page === undefined || this.request.id - since > marksLast) this.missing.add(linear & ~0xfffn);
    return false;
  }
}

/** What the thread remembers from request to request. */
class CompilerState {
  readonly contexts = new Map<number, Context>();
  readonly kept = new KeptPages<SentPage>();
  private readonly dryRuns = new DryRuns();
  private readonly blocks = new RecordedBlocks();

  answer(mode: TranslationMode, request: TranslateRequest): CompilerReply {
    const { id, rip, seen, apart, bounds, inexact } = request;
    const started = performance.now();
    try {
      const context = this.contexts.get(request.context)!;
      for (const page of request.pages) if (page.bytes !== null) this.kept.put(context, page.linear, id, page);
      const source = new SentPages(request, this.kept);
      const region = formRegion(source, context, rip, seen, apart, this.blocks.record, bounds);
      if (source.missing.size > 0) return { kind: 'pages', id, linear: [...source.missing] };
      if (region === null) return { kind: 'nothing', id };
      const made = assemble(region, mode, inexact);
      const module = new WebAssembly.Module(made.bytes as BufferSource);
      this.dryRuns.run(module, mode);
      const kept = Array.from(source.used, ([linear, from]) => ({ linear, request: from }));
      return { kind: 'made', id, module, ...made, kept, millis: performance.now() - started };
    } catch (error) {
      // binaryen throws things that are no errors
      return { kind: 'failed', id, message: error instanceof Error ? (error.stack ?? error.message) : String(error) };
    }
  }
}

/** Serves one machine. */
export function serveCompiler(port: CompilerPort): void {
  const state = new CompilerState();
  port.onMessage((message) => {
    const request = message as CompilerRequest;
    switch (request.kind) {
      case 'load':
        return port.post({ kind: 'ready' } satisfies CompilerReply);
      case 'context':
        return void state.contexts.set(request.context.id, request.context);
      case 'forget':
        return state.kept.clear();
      case 'translate': {
        const reply = state.answer(request.mode, unpackRequest(request.request));
        return port.post(reply, reply.kind === 'made' ? [reply.bytes.buffer as ArrayBuffer] : []);
      }
      default:
        return request satisfies never;
    }
  });
}
