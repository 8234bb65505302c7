/**
 * The rules of the house: which part may import which, where hosts may be named, how long a file may be. Type-only
 * imports count: what a file must know of is what matters, not what is left of it at run time.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { importsOf } from '../build.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

interface Source {
  readonly path: string;
  readonly text: string;
  /** Relative imports as paths from the root; packages as they are named. */
  readonly imports: readonly string[];
}

function source(path: string, text: string): Source {
  const imports = importsOf(text).map((name) =>
    name.startsWith('.') ? relative(root, resolve(root, dirname(path), name)) : name,
  );
  return { path, text, imports };
}

const sources = globSync('{src,jit,runtime,bench,web}/**/*.ts', { cwd: root })
  .filter((path) => !path.startsWith('src/softfloat/assembly/') && !path.includes('node_modules'))
  .sort()
  .map((path) => source(path, readFileSync(join(root, path), 'utf8')));

/**
 * What each part may import besides itself. A part that is not listed does not belong to the house. One import more is
 * allowed: the bench command knows the table of the bundled guests.
 */
const below: Readonly<Record<string, readonly string[]>> = {
  'src/state': [],
  'src/mmu': ['src/state'],
  'src/ir': ['src/state'],
  'src/isa': ['src/state', 'src/ir'],
  'src/system': ['src/state', 'src/mmu', 'src/ir'],
  'src/execute': ['src/state', 'src/mmu', 'src/ir', 'src/isa', 'src/system'],
  'src/softfloat': [],
  'src/bpf': [],
  jit: ['src/bpf', 'src/state', 'src/mmu', 'src/ir', 'src/isa', 'src/system', 'src/execute'],
  runtime: ['src/bpf', 'src/state', 'src/mmu', 'src/ir', 'src/isa', 'src/system', 'src/execute', 'jit'],
};

function partOf(path: string): string | undefined {
  const [top, second] = path.split('/');
  return top === 'src' ? `src/${second}` : top;
}

function layerViolations(files: readonly Source[]): string[] {
  const found: string[] = [];
  for (const { path, imports } of files) {
    const part = partOf(path)!;
    if (part === 'bench' || part === 'web') continue; // they stand on top of everything
    const allowed = below[part];
    if (allowed === undefined) {
      found.push(`${path}: ${part} is no part of the house`);
      continue;
    }
    for (const name of imports) {
      if (!name.endsWith('.ts')) continue; // packages have their own rule
      const target = partOf(name)!;
      const bundledGuests = path === 'runtime/cli/bench.ts' && name === 'bench/guests/catalogue.ts';
      if (target !== part && !allowed.includes(target) && !bundledGuests) found.push(`${path} imports ${name}`);
    }
  }
  return found;
}

function deviceViolations(files: readonly Source[]): string[] {
  const known = ['device', 'irq-line', 'clock', 'state-limits'].map((name) => `runtime/devices/${name}.ts`);
  return files
    .filter(({ path }) => path.startsWith('runtime/devices/') && path !== 'runtime/devices/index.ts')
    .flatMap(({ path, imports }) =>
      imports.filter((name) => !known.includes(name)).map((name) => `${path} imports ${name}`),
    );
}

/** Packages by the only files that may import them. */
const packageOwners: Readonly<Record<string, RegExp>> = {
  binaryen: /^jit\/emitter\.ts$/,
  assemblyscript: /^src\/softfloat\/build\.ts$/,
  'assemblyscript/asc': /^src\/softfloat\/build\.ts$/,
  esbuild: /^(?:web|runtime\/cli)\/build\.ts$|^jit\/build-binaryen\.ts$/,
  'playwright-core': /^$/,
  v86: /^bench\/(?:peers|kernels)/,
};

function packageViolations(files: readonly Source[]): string[] {
  return files.flatMap(({ path, imports }) =>
    imports
      .filter((name) => !name.startsWith('node:') && !/\.ts$/.test(name) && !packageOwners[name]?.test(path))
      .map((name) => `${path} imports ${name}`),
  );
}

/** Where `node:` and the names that only one kind of host has may stand; scripts that build are run by Node alone. */
const hostFiles = /^(?:runtime\/hosts|runtime\/cli|bench|web)\/|(?:^|\/)build(?:-[a-z]+)?\.ts$/;

const hostGlobals =
  /(?<![.\w$'"-])(process|Buffer|__dirname|require|window|document|navigator|localStorage|indexedDB|fetch|XMLHttpRequest|HTMLElement|requestAnimationFrame|postMessage|importScripts|Worker|self)\b(?=\s*[.([;])/;

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/\/\/.*$/gm, '');
}

function hostViolations(files: readonly Source[]): string[] {
  return files
    .filter(({ path }) => !hostFiles.test(path))
    .flatMap(({ path, text, imports }) => {
      const found = imports.filter((name) => name.startsWith('node:')).map((name) => `${path} imports ${name}`);
      const global = hostGlobals.exec(withoutComments(text));
      if (global) found.push(`${path} names the host's ${global[1]}`);
      return found;
    });
}

/** The first import cycle, as the files on it. */
function cycle(files: readonly Source[]): string[] {
  const graph = new Map(files.map(({ path, imports }) => [path, imports]));
  const done = new Set<string>();
  const walk = (path: string, trail: readonly string[]): string[] => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path];
    if (done.has(path)) return [];
    for (const name of graph.get(path) ?? []) {
      const found = walk(name, [...trail, path]);
      if (found.length > 0) return found;
    }
    done.add(path);
    return [];
  };
  for (const { path } of files) {
    const found = walk(path, []);
    if (found.length > 0) return found;
  }
  return [];
}

function longFiles(files: readonly Source[]): string[] {
  return files
    .filter(({ path }) => /^(?:src|jit|runtime)\//.test(path))
    .map(({ path, text }) => ({ path, lines: text.split('\n').length - 1 }))
    .filter(({ lines }) => lines > 600)
    .map(({ path, lines }) => `${path} has ${lines} lines`);
}

test('imports run one way: state <- {mmu, ir} <- {isa, system} <- execute <- jit <- runtime', () => {
  assert.deepEqual(layerViolations(sources), []);
});

test('a device imports only device, irq-line, clock and state-limits', () => {
  assert.deepEqual(deviceViolations(sources), []);
});

test('binaryen is imported by the emitter alone, and every other package by its owner', () => {
  assert.deepEqual(packageViolations(sources), []);
});

test('hosts are named only in runtime/hosts, runtime/cli, bench, web and build scripts', () => {
  assert.deepEqual(hostViolations(sources), []);
});

test('no import goes in a circle', () => {
  assert.deepEqual(cycle(sources), []);
});

test('no file of the product is longer than 600 lines', () => {
  assert.deepEqual(longFiles(sources), []);
});

test('every relative import names an existing file with its .ts ending', () => {
  const existing = new Set(globSync('**/*.ts', { cwd: root, exclude: ['node_modules', 'dist'] }));
  const broken = sources.flatMap(({ path, imports }) =>
    imports
      .filter((name) => /^(?:src|jit|runtime|bench|web|test|\.\.)\//.test(name) && !existing.has(name))
      .map((name) => `${path} imports ${name}`),
  );
  assert.deepEqual(broken, []);
});

test('the rules see what they are meant to see', () => {
  const at = (path: string, text: string) => [source(path, text)];
  assert.deepEqual(layerViolations(at('src/isa/a.ts', "import type { B } from '../mmu/b.ts';")), [
    'src/isa/a.ts imports src/mmu/b.ts',
  ]);
  assert.deepEqual(layerViolations(at('src/state/a.ts', "export * from '../ir/b.ts';")), [
    'src/state/a.ts imports src/ir/b.ts',
  ]);
  assert.deepEqual(layerViolations(at('jit/a.ts', "const b = await import('../runtime/b.ts');")), [
    'jit/a.ts imports runtime/b.ts',
  ]);
  assert.deepEqual(layerViolations(at('runtime/a.ts', "import {\n  b,\n} from '../src/softfloat/b.ts';")), [
    'runtime/a.ts imports src/softfloat/b.ts',
  ]);
  assert.deepEqual(layerViolations(at('src/utils/a.ts', '')), ['src/utils/a.ts: src/utils is no part of the house']);
  assert.deepEqual(layerViolations(at('src/execute/a.ts', "import { b } from '../isa/b.ts';")), []);
  assert.deepEqual(deviceViolations(at('runtime/devices/a.ts', "import { b } from '../io/bus.ts';")), [
    'runtime/devices/a.ts imports runtime/io/bus.ts',
  ]);
  assert.deepEqual(packageViolations(at('jit/a.ts', "import binaryen from 'binaryen';")), [
    'jit/a.ts imports binaryen',
  ]);
  assert.deepEqual(packageViolations(at('jit/emitter.ts', "import binaryen from 'binaryen';")), []);
  assert.deepEqual(hostViolations(at('jit/a.ts', "import { readFileSync } from 'node:fs';")), [
    'jit/a.ts imports node:fs',
  ]);
  assert.deepEqual(hostViolations(at('runtime/a.ts', 'const x = document.title;')), [
    "runtime/a.ts names the host's document",
  ]);
  assert.deepEqual(
    hostViolations(at('runtime/a.ts', '// the document.\nconst x = exit.self.y; /* process.exit() */')),
    [],
  );
  assert.deepEqual(
    cycle([...at('jit/a.ts', "import './b.ts';"), ...at('jit/b.ts', "import type { A } from './a.ts';")]),
    ['jit/a.ts', 'jit/b.ts', 'jit/a.ts'],
  );
  assert.deepEqual(longFiles(at('src/ir/a.ts', '\n'.repeat(601))), ['src/ir/a.ts has 601 lines']);
});
