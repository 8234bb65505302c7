/**
 * Makes the bundle of the command line, `dist/cli/`: few files, so that a process starts quickly. Run at build time, on
 * what tsc has emitted.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { binaryenBeside } from '../../jit/build-binaryen.ts';

const sources = fileURLToPath(new URL('..', import.meta.url));

/** Writes the bundle into a folder, which is emptied first. */
export async function buildCli(folder: string): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  await build({
    entryPoints: { main: join(sources, 'cli/main.ts'), compiler: join(sources, 'hosts/node-compiler.ts') },
    outdir: folder,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    minifyWhitespace: true, // names stay: errors say theirs
    minifySyntax: true,
    sourcemap: true,
    logLevel: 'warning',
    plugins: [binaryenBeside(folder, 'node')],
  });
}
