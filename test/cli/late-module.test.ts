/** Binaryen's module: what V8 has optimised in a trial is there in a later process, and another module's is not taken. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const folder = mkdtempSync(join(tmpdir(), 'jit86-late-module-'));
after(() => rmSync(folder, { recursive: true }));

const urlOf = (name: string) => JSON.stringify(new URL(`../../runtime/hosts/${name}.ts`, import.meta.url).href);

function inProcess(script: string): string {
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  assert.equal(stderr, '');
  return stdout;
}

/** A function `main` that adds a number to its parameter, and sixteen bytes that name the module. */
const adder = (number: number, name: number) =>
  Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...[1, 6, 1, 0x60, 1, 0x7f, 1, 0x7f, 3, 2, 1, 0, 7, 8, 1, 4, 0x6d, 0x61, 0x69, 0x6e, 0, 0],
    ...[10, 9, 1, 7, 0, 0x20, 0, 0x41, number, 0x6a, 11],
    ...[0, 21, 4, 0x68, 0x61, 0x73, 0x68, ...new Array(16).fill(name)],
  ]);

const trial = (path: string) =>
  inProcess(`import { readLateModule, tryModule } from ${urlOf('node-late-module')};
    const end = tryModule(${JSON.stringify(path)});
    const { main } = new WebAssembly.Instance(readLateModule(${JSON.stringify(path)})).exports;
    for (let i = 0; i < 100_000; i++) main(i);
    end();`);

/** What `main` makes of 1, and whether V8 has optimised it before its first call. */
const later = (path: string) =>
  inProcess(`import { readLateModule } from ${urlOf('node-late-module')};
    import { nodeMachineCode } from ${urlOf('node-machine-code')};
    const module = readLateModule(${JSON.stringify(path)});
    const { main } = new WebAssembly.Instance(module).exports;
    const isOptimised = nodeMachineCode.of(module, main) !== null;
    console.log(main(1), isOptimised);`);

test('a module is optimised from its first call on, if a trial has called it', () => {
  const path = join(folder, 'some.wasm');
  writeFileSync(path, adder(5, 1));
  assert.equal(later(path), '6 false\n');
  trial(path);
  const hasCode = existsSync(path.replace('.wasm', '.code'));
  assert.equal(hasCode, process.versions.v8.startsWith('13.6.'), 'for the versions of V8 that it was tried with');
  assert.equal(later(path), `6 ${hasCode}\n`);
  writeFileSync(path, adder(6, 2));
  assert.equal(later(path), '7 false\n', "another module's code");
  writeFileSync(path.replace('.wasm', '.code'), new Uint8Array(16).fill(2));
  assert.equal(later(path), '7 false\n', 'no code');
});

test("the build has what the compiler's thread calls of binaryen, and V8 takes it back", () => {
  const path = fileURLToPath(new URL('../../dist/cli/binaryen.wasm', import.meta.url));
  const code = path.replace('.wasm', '.code');
  assert.equal(existsSync(code), process.versions.v8.startsWith('13.6.'));
  const taken = `import { readFileSync } from 'node:fs';
    import { nodeMachineCode } from ${urlOf('node-machine-code')};
    const [wasm, code] = [${JSON.stringify(path)}, ${JSON.stringify(code)}].map((path) => readFileSync(path));
    console.log(nodeMachineCode.module(code.subarray(16), wasm) !== null);`;
  if (existsSync(code)) assert.equal(inProcess(taken), 'true\n');
});
