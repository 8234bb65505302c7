/**
 * A static server for the page, on this machine only.
 *
 *   node web/serve.ts [--port N] [--no-isolation]
 *
 * Cross-origin isolation (the two headers COOP and COEP) is what lets a page share memory with its workers; the page
 * must work without it too, so it can be left off.
 */
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.map': 'application/json',
  '.wasm': 'application/wasm',
};

const isolationHeaders = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

export interface ServeOptions {
  readonly folder: string;
  readonly isolated: boolean;
  /** 0: any free port. */
  readonly port: number;
}

/** Serves a folder until `close` is called; `url` ends in a slash. */
export async function serve({ folder, isolated, port }: ServeOptions): Promise<{ url: string; close: () => void }> {
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname);
    // A path is normalised against the root before it is joined, so it cannot climb out of the folder.
    const file = join(folder, normalize(path.endsWith('/') ? `${path}index.html` : path));
    try {
      const body = await readFile(file);
      response.writeHead(200, {
        'Content-Type': types[extname(file)] ?? 'application/octet-stream',
        'Cache-Control': 'no-cache',
        ...(isolated ? isolationHeaders : {}),
      });
      response.end(body);
    } catch {
      response.writeHead(404, { 'Content-Type': 'text/plain' }).end(`${path}: no such file\n`);
    }
  });
  await new Promise<void>((done, fail) => {
    server.once('error', fail);
    server.listen(port, '127.0.0.1', done);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { port: { type: 'string', default: '8086' }, 'no-isolation': { type: 'boolean', default: false } },
  });
  const folder = fileURLToPath(new URL('../dist/web', import.meta.url));
  const { url } = await serve({ folder, isolated: !values['no-isolation'], port: Number(values.port) });
  process.stdout.write(`${url}\n`);
}
