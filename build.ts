/**
 * `npm run build`: makes everything that `dist/` holds.
 *
 *   dist/{src,jit,runtime}/…   JavaScript and declarations, emitted by tsc
 *   dist/translator-identity   names the translator's sources: the cache of another build is foreign
 *   dist/patterns.bin          what common instructions look like as records, by `runtime/hosts/build-patterns.ts`
 *   dist/softfloat.wasm        the exact x87 arithmetic, by `src/softfloat/build.ts`
 *   dist/core.wasm             the interpreter's loop, by `jit/build-core.ts`
 *   dist/{core,softfloat}.code what this Node makes of the two, by `runtime/hosts/build-machine-code.ts`
 *   dist/cli/…                 the command line in few files, by `runtime/cli/build.ts`
 *   dist/cli/….code            V8's code of these files, and of what a trial calls of binaryen
 *   dist/web/…                 the page, by `web/build.ts`
 *
 * A step runs only when one of its inputs has changed since it last succeeded: `dist/.stamps.json` keeps a hash of the
 * inputs of each. A step's inputs are files, hashed by content, so a checkout of the same tree builds nothing.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = dirname(fileURLToPath(import.meta.url));
const dist = join(root, 'dist');
const stampFile = join(dist, '.stamps.json');

/** One thing to make, what it is made from, and how. */
interface Step {
  readonly name: string;
  /** Files whose content decides whether the step must run; those that do not exist count as absent. */
  readonly inputs: () => readonly string[];
  /** The file that must exist afterwards. */
  readonly output: string;
  /** The script that makes it: a step whose script does not exist is left out. */
  readonly script: string;
  /** What else decides it. */
  readonly also?: string;
  // biome-ignore lint/suspicious/noExplicitAny: each step knows what its script exports
  readonly make: (script: Record<string, (...args: any[]) => Promise<void> | void>) => Promise<void> | void;
}

/** The relative modules that a TypeScript source names, as it names them; type-only imports and `import()` included. */
export function importsOf(source: string): string[] {
  const code = source.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
  const found: string[] = [];
  const statement =
    /(?:^|[;\n])\s*(?:import|export)\b(?:[^'"`;]*?\bfrom)?\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/g;
  for (const match of code.matchAll(statement)) found.push((match[1] ?? match[2])!);
  return found;
}

/** `entry` and every file of this repository that it reaches through relative imports. */
export function moduleClosure(entry: string): string[] {
  const seen = new Set<string>();
  const queue = [resolve(root, entry)];
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (seen.has(file) || !existsSync(file)) continue;
    seen.add(file);
    for (const name of importsOf(readFileSync(file, 'utf8'))) {
      if (name.startsWith('.')) queue.push(resolve(dirname(file), name));
    }
  }
  return [...seen].map((file) => relative(root, file)).sort();
}

function hashFiles(files: readonly string[]): string {
  const hash = createHash('sha256');
  for (const file of [...files].sort()) {
    const path = join(root, file);
    hash
      .update(`${file}\0`)
      .update(existsSync(path) ? readFileSync(path) : 'absent')
      .update('\0');
  }
  return hash.digest('hex');
}

/** A hash of everything that a translation depends on: the sources of the translator and the packages that it uses. */
export function translatorIdentity(): string {
  return hashFiles(['package-lock.json', ...files('{src,jit}/**/*.ts')]);
}

function files(...patterns: string[]): string[] {
  return globSync(patterns, { cwd: root }).filter((file) => /\.[a-z]+$/.test(file));
}

function run(command: string, args: readonly string[]): Promise<void> {
  return new Promise((done, fail) => {
    const child = spawn(command, args, { cwd: root, stdio: 'inherit' });
    child.on('error', fail);
    child.on('exit', (status) =>
      status === 0 ? done() : fail(new Error(`${relative(root, args[0] ?? command)} ended with status ${status}`)),
    );
  });
}

/** The guests that the command line is tried with. */
const trainers = ['x86_64/hello', 'x86_64/regex', 'i386-sse2/huffman', 'i386-x87/n-body'].map(
  (name) => `bench/guests/built/${name}.elf`,
);
const tools = ['package-lock.json', 'build.ts'];

const typescript: Step = {
  name: 'typescript',
  inputs: () => [
    ...tools,
    'tsconfig.json',
    'tsconfig.build.json',
    ...files('{src,jit,runtime}/**/*.ts'),
    'bench/guests/catalogue.ts',
  ],
  output: 'dist/runtime/errors.js',
  script: 'tsconfig.build.json',
  make: () => {
    for (const folder of ['src', 'jit', 'runtime']) rmSync(join(dist, folder), { recursive: true, force: true });
    return run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json']);
  },
};

const identity: Step = {
  name: 'identity',
  inputs: () => ['build.ts', 'package-lock.json', ...files('{src,jit}/**/*.ts')],
  output: 'dist/translator-identity',
  script: 'package.json',
  make: () => writeFileSync(join(dist, 'translator-identity'), translatorIdentity()),
};

const instructionList = 'src/execute/common-instructions.txt';
const patterns: Step = {
  name: 'patterns',
  inputs: () => ['build.ts', 'package-lock.json', ...files('{src,jit}/**/*.ts'), instructionList],
  output: 'dist/patterns.bin',
  script: 'runtime/hosts/build-patterns.ts',
  make: (script) =>
    script.buildPatterns!(join(root, instructionList), join(dist, 'patterns.bin'), translatorIdentity()),
};

const softfloat: Step = {
  name: 'softfloat',
  inputs: () => [...tools, ...files('src/softfloat/**/*')],
  output: 'dist/softfloat.wasm',
  script: 'src/softfloat/build.ts',
  make: (script) => script.buildSoftfloat!(join(dist, 'softfloat.wasm')),
};

const core: Step = {
  name: 'core',
  inputs: () => [...tools, 'dist/softfloat.wasm', ...moduleClosure('jit/build-core.ts')],
  output: 'dist/core.wasm',
  script: 'jit/build-core.ts',
  make: (script) => script.buildCore!(join(dist, 'core.wasm')),
};

const machineCode: Step = {
  name: 'machine code',
  inputs: () => [
    ...tools,
    'dist/softfloat.wasm',
    'dist/core.wasm',
    'runtime/hosts/build-machine-code.ts',
    'runtime/hosts/node-machine-code.ts',
  ],
  also: `${process.versions.v8} ${cpus()[0]?.model}`,
  output: 'dist/core.code',
  script: 'runtime/hosts/build-machine-code.ts',
  make: (script) => script.buildMachineCode!([join(dist, 'core.wasm'), join(dist, 'softfloat.wasm')]),
};

const cli: Step = {
  name: 'cli',
  inputs: () => [...tools, ...files('{src,jit,runtime}/**/*.ts'), 'bench/guests/catalogue.ts'],
  output: 'dist/cli/main.js',
  script: 'runtime/cli/build.ts',
  make: (script) => script.buildCli!(join(dist, 'cli')),
};

const compiled: Step = {
  name: 'compiled',
  inputs: () => [
    ...tools,
    ...files('dist/cli/*.js'),
    'runtime/cli/compile.ts',
    'runtime/hosts/node-kept-code.ts',
    ...trainers,
  ],
  also: `${process.versions.v8} ${cpus()[0]?.model}`,
  output: 'dist/cli/commands.code',
  script: 'runtime/cli/build.ts',
  make: (script) =>
    script.compileCli!(
      join(dist, 'cli'),
      trainers.map((guest) => join(root, guest)),
    ),
};

const web: Step = {
  name: 'web',
  inputs: () => [
    ...tools,
    'dist/softfloat.wasm',
    'dist/core.wasm',
    'dist/translator-identity',
    'dist/patterns.bin',
    ...files('web/**/*', '{src,jit,runtime}/**/*.ts', 'bench/guests/catalogue.ts', 'bench/guests/built/**/*'),
  ],
  output: 'dist/web/index.html',
  script: 'web/build.ts',
  make: (script) => script.buildWeb!(join(dist, 'web')),
};

function readStamps(): Record<string, string> {
  try {
    return JSON.parse(readFileSync(stampFile, 'utf8'));
  } catch {
    return {}; // no build yet, or one that was cut short: everything is made again
  }
}

/** Runs the steps in `chain` one after the other, each only if it has to. */
async function runChain(chain: readonly Step[], stamps: Record<string, string>): Promise<void> {
  for (const step of chain) {
    const script = join(root, step.script);
    if (!existsSync(script)) continue;
    const stamp = hashFiles(step.inputs()) + (step.also ?? '');
    const output = join(root, step.output);
    if (stamps[step.name] === stamp && existsSync(output)) continue;
    const start = performance.now();
    delete stamps[step.name];
    await step.make(step.script.endsWith('.ts') ? await import(pathToFileURL(script).href) : {});
    if (!existsSync(output)) throw new Error(`step ${step.name} did not write ${step.output}`);
    stamps[step.name] = stamp;
    writeFileSync(`${stampFile}.new`, JSON.stringify(stamps, null, 2));
    renameSync(`${stampFile}.new`, stampFile);
    process.stderr.write(`built ${step.output} in ${((performance.now() - start) / 1000).toFixed(1)} s\n`);
  }
}

/** Brings `dist/` up to date. */
export async function build(): Promise<void> {
  mkdirSync(dist, { recursive: true });
  const stamps = readStamps();
  // tsc is another process, so it shares the time with the wasm steps; the page needs what both make.
  const parts = await Promise.allSettled([
    runChain([identity, typescript], stamps),
    runChain([softfloat, core, machineCode, patterns], stamps),
  ]);
  for (const part of parts) if (part.status === 'rejected') throw part.reason;
  await runChain([cli, compiled, web], stamps);
}

if (import.meta.main) {
  try {
    await build();
  } catch (error) {
    process.stderr.write(`build: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
