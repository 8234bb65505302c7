/**
 * Makes the page: `dist/web/` with one script, the WebAssembly modules and the bundled guests, all by relative names, so
 * that any static server will do.
 */
import { cpSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { binaryenBeside } from '../jit/build-binaryen.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Copies that the page fetches beside its script: from where, relative to the root, and by which name. */
const copies = [
  ['web/index.html', 'index.html'],
  ['dist/core.wasm', 'core.wasm'],
  ['dist/softfloat.wasm', 'softfloat.wasm'],
  ['dist/translator-identity', 'translator-identity'],
  ['dist/patterns.bin', 'patterns.bin'],
  ['bench/guests/built', 'guests'],
] as const;

/** Writes the page into a folder, which is emptied first. */
export async function buildWeb(folder: string): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  await build({
    entryPoints: { main: join(root, 'web/main.ts'), compiler: join(root, 'runtime/hosts/browser-compiler.ts') },
    outdir: folder,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2024',
    minify: true,
    sourcemap: true,
    logLevel: 'warning',
    // binaryen's script asks for Node's modules only where there are some.
    external: ['node:*'],
    plugins: [binaryenBeside(folder)],
  });
  for (const [from, to] of copies) {
    const source = join(root, from);
    if (existsSync(source)) cpSync(source, join(folder, to), { recursive: true });
  }
}
