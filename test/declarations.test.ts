/** What an embedder's TypeScript sees of the package: declarations that are whole, and a word on each exported name. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
interface Entry {
  readonly types: string;
  readonly node?: Entry;
}
const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  exports: Record<string, Entry | string>;
};
const entries = Object.entries(exports).flatMap(([name, entry]) =>
  typeof entry === 'string' ? [] : [{ name, entry }],
);

/** A VMM from types alone: exits are told apart by their kinds, and none is left out. */
const embedder = `
import { EventCounter, type Exit, unexpectedExit, Vm } from 'jit86';
import { nodeHost } from 'jit86/node';

function handle(exit: Exit): boolean {
  switch (exit.kind) {
    case 'pio':
      exit.value = exit.port & 0xff;
      return true;
    case 'mmio':
      exit.low = exit.physical >>> 0;
      return true;
    case 'msr':
      exit.fault = true;
      return true;
    case 'halt':
      return exit.interruptible;
    case 'hypercall':
    case 'shutdown':
    case 'budget':
    case 'kicked':
    case 'debug':
    case 'interrupt-window':
    case 'internal-error':
      return false;
    default:
      return unexpectedExit(exit);
  }
}
export async function run(): Promise<bigint> {
  await using vm = await Vm.create({ memory: 2 ** 20, cpus: 1 }, nodeHost);
  using doorbell = vm.io.event({ space: 'memory', address: 0xf000_0000, length: 4 }, new EventCounter());
  while (handle(vm.vcpu(0).enter({ maxInstructions: 1000 })));
  doorbell.detach();
  const { state } = vm.vcpu(0);
  return state.get(state.idOf('rax'));
}
`;

test("the package's declarations hold together, in an embedder's project with strict checks", async () => {
  const folder = mkdtempSync(join(tmpdir(), 'jit86-embedder-'));
  try {
    mkdirSync(join(folder, 'node_modules'));
    symlinkSync(root, join(folder, 'node_modules/jit86'));
    for (const name of ['@types', 'undici-types'])
      symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name));
    const all = entries.map(({ name }, i) => `export * as part${i} from 'jit86${name.slice(1)}';`);
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    writeFileSync(join(folder, 'all.ts'), all.join('\n'));
    writeFileSync(join(folder, 'embedder.ts'), embedder);
    const options = '--noEmit --strict --target es2024 --module nodenext --types node --preserveSymlinks';
    const args = [...options.split(' '), '--lib', 'es2024,esnext.disposable,dom', 'all.ts', 'embedder.ts'];
    const compiler = join(root, 'node_modules/typescript/bin/tsc');
    const { stdout } = await promisify(execFile)(process.execPath, [compiler, ...args], { cwd: folder }).catch(
      (error: { stdout: string }) => error,
    );
    assert.equal(stdout, '');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** Declarations by file, and which of their exported names are public. */
function publicNames(): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  const follow = (file: string, names: ReadonlySet<string>): void => {
    const known = found.get(file) ?? new Set();
    if ([...names].every((name) => known.has(name))) return;
    found.set(file, new Set([...known, ...names]));
    const text = readFileSync(file, 'utf8');
    for (const [, list, named, from] of text.matchAll(/^export (?:type )?(\*|\{([^}]*)\}) from '([^']+)'/gm)) {
      const target = join(dirname(file), from!.replace(/\.[tj]s$/, '.d.ts'));
      const passed = (named ?? '').split(',').map(
        (part) =>
          part
            .trim()
            .replace(/^type /, '')
            .split(' as ')[0]!,
      );
      if (list === '*') follow(target, names);
      else follow(target, new Set(passed.filter((name) => names.has('*') || names.has(name))));
    }
  };
  for (const { entry } of entries)
    for (const { types } of [entry, ...(entry.node === undefined ? [] : [entry.node])])
      follow(join(root, types), new Set(['*']));
  return found;
}

test('every name that the package exports is explained', () => {
  const bare: string[] = [];
  let seen = 0;
  for (const [file, names] of publicNames()) {
    const lines = readFileSync(file, 'utf8').split('\n');
    for (const [i, line] of lines.entries()) {
      const name = /^export (?:declare )?(?:abstract )?(?:class|interface|type|const|function) (\w+)/.exec(line)?.[1];
      if (name === undefined || !(names.has('*') || names.has(name))) continue;
      seen++;
      const before = lines[i - 1] ?? '';
      const isOverload = before.startsWith(`export declare function ${name}`);
      if (!before.trimEnd().endsWith('*/') && !isOverload) bare.push(`${relative(root, file)}: ${name}`);
    }
  }
  assert.ok(seen > 200, `${seen} names`);
  assert.deepEqual(bare, []);
});
