/**
 * Makes the bundle of the command line, `dist/cli/`: few files, so that a process starts quickly. Run at build time, on
 * what tsc has emitted.
 */
import { mkdirSync, rmSync } from 'node:fs';
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
