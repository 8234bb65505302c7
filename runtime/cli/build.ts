/**
 * Makes the bundle of the command line, `dist/cli/`: few files, so that a process starts quickly. Run at build time, on
 * what tsc has emitted.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build, type Plugin } from 'esbuild';
import { binaryenBeside } from '../../jit/build-binaryen.ts';
import { keptSource } from '../hosts/node-kept-code.ts';

const sources = fileURLToPath(new URL('..', import.meta.url));

/**
 * Node's own modules by `getBuiltinModule`: an `import` of one makes Node load all that the module only loads on demand,
 * streams with `node:fs`, which costs every thread some 10 ms.
 */
const builtinsOnDemand: Plugin = {
  name: 'builtins',
  setup(context) {
    context.onResolve({ filter: /^(node:.*|module)$/ }, ({ path }) => ({ path, namespace: 'builtin' }));
    context.onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)});`,
    }));
  },
};

/** Modules that small ones load, and what these take of them. */
const kept: Readonly<Record<string, { readonly file: string; readonly names: string }>> = {
  'commands.ts': { file: 'commands.js', names: 'main' },
  'compiler.ts': { file: 'compiler-code.js', names: 'serveCompiler' },
};
const loader = fileURLToPath(new URL('../hosts/node-kept-code.ts', import.meta.url));

/** Has them loaded with V8's code of them. */
const loadedWithCode: Plugin = {
  name: 'kept-code',
  setup(context) {
    context.onResolve({ filter: /[\\/](commands|compiler)\.ts$/ }, ({ kind, path }) =>
      kind === 'dynamic-import' ? { path: basename(path), namespace: 'kept-code' } : null,
    );
    context.onLoad({ filter: /.*/, namespace: 'kept-code' }, ({ path }) => ({
      contents: `import { loadScript } from ${JSON.stringify(loader)};
        const script = loadScript(import.meta.dirname + '/${kept[path]!.file}');
        export const { ${kept[path]!.names} } = await script.exports;
        if (!script.isKnown) process.once('exit', script.keep);`,
      resolveDir: sources,
    }));
  },
};

/** How the bundle gets binaryen's module, which lies beside it. */
const binaryen = `import { readLateModule } from ${JSON.stringify(fileURLToPath(new URL('../hosts/node-late-module.ts', import.meta.url)))};
  import { fileURLToPath } from 'node:url';
  const module = readLateModule(fileURLToPath(new URL('binaryen.wasm', import.meta.url)));
`;

/**
 * Writes the bundle into a folder, which is emptied first: two files for the process and two for the compiler's thread.
 * Cut into what is loaded when, it would be some thirty, and each costs Node a third of a millisecond and more.
 */
export async function buildCli(folder: string): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const options = {
    outdir: folder,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    minifyWhitespace: true, // names stay: errors say theirs
    minifySyntax: true,
    sourcemap: true,
    logLevel: 'warning',
    plugins: [builtinsOnDemand, loadedWithCode, binaryenBeside(folder, binaryen)],
  } as const satisfies BuildOptions;
  await build({
    ...options,
    entryPoints: { main: join(sources, 'cli/main.ts'), compiler: join(sources, 'hosts/node-compiler.ts') },
  });
  const { outputFiles } = await build({
    ...options,
    entryPoints: { commands: join(sources, 'cli/commands.ts'), 'compiler-code': join(sources, '../jit/compiler.ts') },
    define: { 'import.meta.url': 'moduleUrl' },
    sourcemap: 'external',
    write: false,
  });
  for (const { path, text, hash } of outputFiles)
    writeFileSync(path, path.endsWith('.js') ? keptSource(text, Buffer.from(hash).toString('hex')) : text);
}

/**
 * Has V8's code of the bundle kept beside it, by `compile.ts`. A run with another V8 leaves its own there.
 *
 * @param guests files to run, which end by themselves
 */
export function compileCli(folder: string, guests: readonly string[]): void {
  const script = fileURLToPath(new URL('compile.ts', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [script, folder, ...guests], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${script} ended with status ${status}\n${stderr}`);
}
