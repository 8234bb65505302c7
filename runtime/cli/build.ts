/**
 * Makes the bundle of the command line, `dist/cli/`: few files, so that a process starts quickly. Run at build time, on
 * what tsc has emitted.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { binaryenBeside } from '../../jit/build-binaryen.ts';

const sources = fileURLToPath(new URL('..', import.meta.url));

/**
 * Node's own modules by `getBuiltinModule`: an `import` of one makes Node load all that the module only loads on demand,
 * streams with `node:fs`, which costs every thread some 10 ms.
 */
const builtinsOnDemand: Plugin = {
  name: 'builtins',
  setup(context) {
    context.onResolve({ filter: /^node:/ }, ({ path, kind }) =>
      kind === 'import-statement' ? { path, namespace: 'builtin' } : null,
    );
    context.onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)});`,
    }));
  },
};

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
    plugins: [builtinsOnDemand, binaryenBeside(folder, 'node')],
  });
}

/**
 * Has V8's code of the bundle kept in its folder, as it is after a guest: what a run needs, and no more. Without it the
 * first run would do the same.
 *
 * @param guest a file to run, which ends by itself
 */
export function compileCli(folder: string, guest: string): void {
  const compiled = join(folder, 'compiled');
  const cache = mkdtempSync(join(tmpdir(), 'jit86-build-'));
  rmSync(compiled, { recursive: true, force: true });
  try {
    const args = [join(folder, 'main.js'), 'run', guest, '--serial', 'none', '--cache', cache];
    spawnSync(process.execPath, args); // makes the translations
    mkdirSync(compiled);
    spawnSync(process.execPath, args); // finds them, as most runs will
  } finally {
    rmSync(cache, { recursive: true });
  }
}
