/**
 * Makes V8's code of the bundle of the command line, all of it that a run needs and no more: runs guests and then leaves
 * the code in the bundle's folder. A process of its own, at build time: `compile.ts FOLDER GUEST...`, where the guests
 * end by themselves.
 *
 * The compiler is loaded in this thread, so that V8's code of it is taken at the same moment; and what V8 has made of
 * binaryen, with it.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import type { serveCompiler } from '../../jit/compiler.ts';
import type { HostWorker } from '../hosts/host.ts';
import { codeFile, loadScript } from '../hosts/node-kept-code.ts';
import { tryModule } from '../hosts/node-late-module.ts';
import type { perform } from './commands.ts';

type Commands = { readonly perform: typeof perform; readonly nodeHost: NonNullable<Parameters<typeof perform>[1]> };
type Compiler = { readonly serveCompiler: typeof serveCompiler };

const [folder, ...guests] = process.argv.slice(2) as [string, ...string[]];

// V8 drops code that was not called for a while, and with it all that stands in it.
setFlagsFromString('--no-flush-bytecode');

const keepBinaryen = tryModule(join(folder, 'binaryen.wasm'));
const paths = ['commands.js', 'compiler-code.js'].map((name) => join(folder, name));
const scripts = paths.map((path) => ({ path, script: loadScript(path) }));
const [commands, compiler] = await Promise.all(scripts.map(({ script }) => script.exports));
const { perform: run, nodeHost } = commands as unknown as Commands;
const { serveCompiler: serve } = compiler as unknown as Compiler;

/** The compiler as a thread that has its turns between the machine's. */
function startCompiler(): HostWorker {
  let toCompiler = (_: unknown): void => {};
  let toMachine = (_: unknown): void => {};
  serve({ post: (message) => setImmediate(toMachine, message), onMessage: (listener) => void (toCompiler = listener) });
  return {
    post: (message) => void setImmediate(toCompiler, message),
    onMessage: (listener) => void (toMachine = listener),
    onError: () => {},
    terminate: async () => {},
  };
}

const cache = mkdtempSync(join(tmpdir(), 'jit86-build-'));
const quiet = ['--serial', 'none', '--debugcon', 'none'];
try {
  const host = { ...nodeHost, startCompiler };
  for (const guest of guests) {
    // The second time the translations are found, as most runs will.
    for (let i = 0; i < 2; i++) await run(['run', guest, ...quiet, '--cache', cache], host);
  }
  await run(['run', guests[0]!, ...quiet, '--machine', 'pc', '--no-cache'], host);
} finally {
  rmSync(cache, { recursive: true, force: true });
}
setFlagsFromString('--flush-bytecode'); // code that other flags were set for is foreign
keepBinaryen();
for (const { path, script } of scripts) writeFileSync(codeFile(path), script.code());
process.exit();
