/** The files of the command line's bundle with V8's code of them: what a process finds is used, and only what belongs to it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { EOL, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { codeFile, keptSource, loadScript } from '../../runtime/hosts/node-kept-code.ts';

const folder = mkdtempSync(join(tmpdir(), 'jit86-kept-code-'));
after(() => rmSync(folder, { recursive: true }));

const module =
  'var twice=(x)=>2*x,url=moduleUrl,later=await Promise.resolve(5),node=(await import("node:os")).EOL;export{later,node,twice as double,url};\n// licence\n';

/** What a process finds that has not seen the file before: V8 remembers what it has compiled. */
function isKnownElsewhere(path: string): boolean {
  const loader = new URL('../../runtime/hosts/node-kept-code.ts', import.meta.url).href;
  const script = `const { loadScript } = await import(${JSON.stringify(loader)});
    const { exports, isKnown } = loadScript(${JSON.stringify(path)});
    await exports;
    console.log(isKnown);
    process.exit();`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  assert.match(stdout, /^(true|false)\n$/, stderr);
  return stdout === 'true\n';
}

function written(name: string, text = module): string {
  const path = join(folder, name);
  writeFileSync(path, keptSource(text, 'name-of-it'));
  return path;
}

test('a file hands out what its module exported, and knows where it is', async () => {
  const path = written('exports.js');
  const { exports, isKnown } = loadScript(path);
  const { double, later, node, url } = (await exports) as {
    double: (x: number) => number;
    later: number;
    node: string;
    url: string;
  };
  assert.equal(double(21), 42);
  assert.equal(later, 5);
  assert.equal(node, EOL);
  assert.equal(url, pathToFileURL(path).href);
  assert.equal(isKnown, false);
});

test('code is taken by the file that it was made of, and by no other', async () => {
  const path = written('code.js');
  const first = loadScript(path);
  await first.exports;
  writeFileSync(codeFile(path), first.code());
  assert.equal(loadScript(path).isKnown, true);
  // As long as the other, so that V8 sees no difference.
  writeFileSync(path, keptSource(module.replace('2*x', '3*x'), 'another-one'));
  const other = loadScript(path);
  assert.equal(other.isKnown, false);
  assert.equal(((await other.exports) as { double: (x: number) => number }).double(2), 6);
});

test('damaged code is left alone', () => {
  const path = written('damaged.js');
  const code = Uint8Array.from(loadScript(path).code());
  const zeros = Uint8Array.from(code).fill(0, 32, 64);
  for (const damaged of [code.subarray(0, 40), code.subarray(0, 10), new Uint8Array(), code.subarray(0, -8), zeros]) {
    writeFileSync(codeFile(path), damaged);
    assert.equal(isKnownElsewhere(path), false);
  }
  writeFileSync(codeFile(path), code);
  assert.equal(isKnownElsewhere(path), true);
});

test('a process leaves the code of its V8, where it may', async () => {
  const path = written('left.js');
  writeFileSync(codeFile(path), 'of another V8');
  loadScript(path).keep();
  assert.equal(isKnownElsewhere(path), true);
  const nowhere = loadScript(path);
  await nowhere.exports;
  rmSync(codeFile(path));
  renameSync(folder, `${folder}-moved`);
  nowhere.keep();
  renameSync(`${folder}-moved`, folder);
  assert.equal(existsSync(codeFile(path)), false);
});

test('a module of another shape is no such file', () => {
  assert.throws(() => keptSource('console.log(1);', 'name'), /shape/);
  assert.throws(() => keptSource('var a="é";export{a};', 'name'), /shape/);
});

test("the build has V8's code of the command line and of the compiler's thread", () => {
  for (const name of ['commands', 'compiler-code']) {
    const path = fileURLToPath(new URL(`../../dist/cli/${name}.js`, import.meta.url));
    assert.equal(isKnownElsewhere(path), true);
    assert.ok(readFileSync(codeFile(path)).length > 500_000, 'of the functions that a run calls, too');
  }
});
