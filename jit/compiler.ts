/** The compiler's thread: answers the requests of `background-compiler.ts`, one after the other. */
import type { CodeSource } from '../src/execute/frontend.ts';
import { isMarked, type SentPage } from './code-snapshot.ts';
import type { CompilerPort, CompilerReply, CompilerRequest } from './compiler-protocol.ts';
import { formRegion } from './region.ts';
import { assemble } from './translate.ts';
import '../src/isa/all.ts';

type TranslateRequest = Extract<CompilerRequest, { kind: 'translate' }>;

/** The pages of a request as the region former sees them; the ones that it misses are noted. */
class SentPages implements CodeSource {
  readonly missing = new Set<bigint>();
  private readonly pages: ReadonlyMap<bigint, SentPage>;

  constructor(request: TranslateRequest) {
    this.pages = new Map(request.pages.map((page) => [page.linear, page]));
  }
  private sent(linear: bigint): SentPage | undefined {
    const page = this.pages.get(linear & ~0xfffn);
    if (page === undefined) this.missing.add(linear & ~0xfffn);
    return page;
  }
  page(linear: bigint): Uint8Array | null {
    return this.sent(linear)?.bytes ?? null;
  }
  executed(linear: bigint): boolean {
    const page = this.sent(linear);
    return page !== undefined && (page.executed === null || isMarked(page.executed, linear));
  }
}

function answer(request: TranslateRequest): CompilerReply {
  const { id, context, rip, mode, seen, apart, inexact } = request;
  const started = performance.now();
  try {
    const source = new SentPages(request);
    const region = formRegion(source, context, rip, seen, apart);
    if (source.missing.size > 0) return { kind: 'pages', id, linear: [...source.missing] };
    if (region === null) return { kind: 'nothing', id };
    const made = assemble(region, mode, inexact);
    const module = new WebAssembly.Module(made.bytes as BufferSource);
    return { kind: 'made', id, module, ...made, millis: performance.now() - started };
  } catch (error) {
    // binaryen throws things that are no errors
    return { kind: 'failed', id, message: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

/** Serves one machine. */
export function serveCompiler(port: CompilerPort): void {
  port.onMessage((message) => {
    const request = message as CompilerRequest;
    switch (request.kind) {
      case 'load':
        return port.post({ kind: 'ready' } satisfies CompilerReply);
      case 'translate':
        return port.post(answer(request));
      default:
        return request satisfies never;
    }
  });
}
