/** The compiler's thread: answers the requests of `background-compiler.ts`, one after the other. */
import type { CodeSource } from '../src/execute/frontend.ts';
import type { CompilerPort, CompilerReply, CompilerRequest } from './compiler-protocol.ts';
import { formRegion } from './region.ts';
import { assemble } from './translate.ts';
import '../src/isa/all.ts';

type TranslateRequest = Extract<CompilerRequest, { kind: 'translate' }>;

/** The pages of a request as the region former sees them; the ones that it misses are noted. */
class SentPages implements CodeSource {
  readonly missing = new Set<bigint>();
  private readonly pages: ReadonlyMap<bigint, Uint8Array | null>;

  constructor(request: TranslateRequest) {
    this.pages = new Map(request.pages.map(({ linear, bytes }) => [linear, bytes]));
  }
  page(linear: bigint): Uint8Array | null {
    const page = linear & ~0xfffn;
    const bytes = this.pages.get(page);
    if (bytes === undefined) this.missing.add(page);
    return bytes ?? null;
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
