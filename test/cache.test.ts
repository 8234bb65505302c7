/**
 * The translation cache: the second run of a guest translates nothing, and no file that is not exactly what an equal
 * translator has written has any effect.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { hashBytes, toHex } from '../jit/hash.ts';
import type { MachineCode } from '../jit/machine-code.ts';
import { type CachedRegion, TranslationCache } from '../jit/translation-cache.ts';
import { machineCodeFile, nodeMachineCode, readMachineCodeFile } from '../runtime/hosts/node-machine-code.ts';
import { folderStore } from '../runtime/hosts/node-store.ts';

const folder = mkdtempSync(join(tmpdir(), 'jit86-cache-'));
after(() => rmSync(folder, { recursive: true }));

const path = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url));

interface Run {
  readonly status: number;
  readonly output: string;
  readonly instructions: number;
  readonly regions: number;
  readonly regionsFromCache: number;
  readonly compileMillis: number;
}

function run(guest: string, ...args: string[]): Run {
  const file = path(`bench/guests/built/${guest}.elf`);
  const { stdout, stderr } = spawnSync(process.execPath, [path('dist/cli/main.js'), 'run', file, '--json', ...args], {
    encoding: 'utf8',
    timeout: 120_000,
  });
  assert.notEqual(stdout, '', stderr);
  return { ...JSON.parse(stdout), output: stderr };
}

test('the second run takes every translation from the cache, for each guest its own', () => {
  for (const guest of ['x86_64/hello', 'i386-x87/hello', 'i386-sse2/collatz']) {
    const cache = join(folder, 'second-run');
    const first = run(guest, '--engine', 'jit', '--cache', cache);
    assert.equal(first.status, 1, first.output);
    assert.ok(first.regions > 0);
    assert.equal(first.regionsFromCache, 0);
    assert.ok(first.compileMillis > 0);
    const second = run(guest, '--engine', 'jit', '--cache', cache);
    assert.equal(second.output, first.output);
    assert.equal(second.instructions, first.instructions);
    assert.ok(second.regionsFromCache > 0);
    assert.equal(second.regionsFromCache, second.regions);
    assert.equal(second.compileMillis, 0);
  }
  assert.equal(readdirSync(join(folder, 'second-run')).length, 2 * 3, 'translations and blocks');
});

test('translations made on another thread are kept too', () => {
  const cache = join(folder, 'background');
  const first = run('x86_64/sha256', '--cache', cache);
  assert.ok(first.regions > 0 && first.regionsFromCache === 0);
  const second = run('x86_64/sha256', '--cache', cache);
  assert.ok(second.regionsFromCache > 0);
  assert.equal(second.output, first.output);
});

test('without a cache nothing is kept', () => {
  const cache = join(folder, 'none');
  const args = ['--engine', 'jit', '--no-cache'];
  assert.equal(run('x86_64/hello', ...args).regionsFromCache, 0);
  assert.throws(() => readdirSync(cache));
});

test('a damaged, truncated or foreign cache file changes nothing but the time, and is replaced', () => {
  const cache = join(folder, 'damaged');
  const args = ['--engine', 'jit', '--cache', cache];
  const good = run('x86_64/hello', ...args);
  const name = readdirSync(cache).find((each) => !each.includes('blocks'));
  const file = join(cache, name!);
  const bytes = readFileSync(file);
  const damage: Record<string, Uint8Array> = {
    'no bytes': new Uint8Array(0),
    'another format': Buffer.concat([Buffer.from('jit86tc\x01'), bytes.subarray(8)]),
    'another build': Buffer.concat([bytes.subarray(0, 10), Buffer.from([bytes[10]! ^ 1]), bytes.subarray(11)]),
    'a file that is cut': bytes.subarray(0, bytes.length * 0.6),
    'a flipped byte in every 300': bytes.map((byte, i) => (i > 120 && i % 300 === 0 ? byte ^ 0x20 : byte)),
    'something else': new TextEncoder().encode('no cache at all'.repeat(100)),
  };
  for (const [what, content] of Object.entries(damage)) {
    writeFileSync(file, content);
    const { status, output, instructions, regionsFromCache } = run('x86_64/hello', ...args);
    assert.deepEqual([status, output, instructions], [good.status, good.output, good.instructions], what);
    assert.ok(regionsFromCache < good.regions, what);
    const again = run('x86_64/hello', ...args);
    assert.deepEqual([again.regionsFromCache, again.compileMillis], [again.regions, 0], `after ${what}`);
  }
});

const module = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);

const region = (rip: bigint, ...code: number[]): CachedRegion => ({
  context: 7,
  rip,
  instructions: 3,
  parts: [{ page: rip & ~0xfffn, offset: Number(rip & 0xfffn), code: Uint8Array.from(code) }],
  indirect: [{ site: rip + 2n, targets: [0x1000n, -5n] }],
  apart: [rip + 1n],
  inexact: 'set',
  wasm: module,
});

function cacheOf(...regions: CachedRegion[]): TranslationCache {
  const cache = new TranslationCache('this build');
  for (const each of regions) cache.add(each);
  return cache;
}

test('a cache file gives back what went into it', () => {
  const made = [region(0x1ffcn, 1, 2, 3, 4), region(-0x8000_0000n, 9)];
  const read = new TranslationCache('this build');
  read.read(cacheOf(...made).write(1e6));
  assert.equal(read.size, 2);
  for (const each of made) {
    const found = read.candidates(7, each.rip);
    assert.deepEqual(
      found,
      [each].map((r) => ({ ...r, wasm: found[0]!.wasm, parts: found[0]!.parts })),
    );
    assert.deepEqual([...found[0]!.parts[0]!.code], [...each.parts[0]!.code]);
    assert.deepEqual([...found[0]!.wasm], [...module]);
  }
  assert.deepEqual(read.candidates(8, 0x1ffcn), []);
  assert.deepEqual(read.candidates(7, 0x1ffdn), []);
  assert.equal(read.changed, false);
});

test('of a file in which any one bit is wrong nothing is taken but whole entries that are right', () => {
  const made = [region(0x1000n, 1, 2, 3), region(0x2000n, 4, 5)];
  const file = cacheOf(...made).write(1e6);
  for (let bit = 0; bit < file.length * 8; bit++) {
    const damaged = file.slice();
    damaged[bit >> 3]! ^= 1 << (bit & 7);
    const cache = new TranslationCache('this build');
    cache.read(damaged);
    const found = [0x1000n, 0x2000n].flatMap((rip) => cache.candidates(7, rip));
    assert.ok(found.length < 2, `bit ${bit}`);
    for (const each of found) {
      const original = made.find(({ rip }) => rip === each.rip)!;
      assert.deepEqual([...each.parts[0]!.code, ...each.wasm], [...original.parts[0]!.code, ...module]);
      assert.deepEqual([each.indirect, each.apart, each.inexact], [original.indirect, original.apart, 'set']);
    }
  }
  for (let length = 0; length < file.length; length++) {
    const cache = new TranslationCache('this build');
    cache.read(file.subarray(0, length));
    assert.ok([0x1000n, 0x2000n].flatMap((rip) => cache.candidates(7, rip)).length < 2);
  }
  const foreign = new TranslationCache('that build');
  foreign.read(file);
  assert.equal(foreign.size, 0);
});

test('a file keeps to its bound: what this run has used stays, the newest first', () => {
  const old = cacheOf(region(0x1000n, 1), region(0x2000n, 2), region(0x3000n, 3)).write(1e6);
  const entry = (old.length - 20) / 3;
  const cache = new TranslationCache('this build');
  cache.read(old);
  assert.notEqual(cache.moduleOf(cache.candidates(7, 0x1000n)[0]!), null);
  cache.add(region(0x4000n, 4));
  const bounded = cache.write(20 + entry * 2);
  assert.ok(bounded.length <= 20 + entry * 2);
  const read = new TranslationCache('this build');
  read.read(bounded);
  const kept = [0x1000n, 0x2000n, 0x3000n, 0x4000n].filter((rip) => read.candidates(7, rip).length > 0);
  assert.deepEqual(kept, [0x1000n, 0x4000n]);
});

test('what a run keeps has a bound: the oldest goes', () => {
  const entry = (cacheOf(region(0x1000n, 1)).write(1e6).length - 20) | 0;
  const cache = new TranslationCache('this build', entry * 3);
  for (let rip = 0x1000n; rip < 0x9000n; rip += 0x1000n) cache.add(region(rip, 1));
  assert.equal(cache.size, 3);
  const kept = [0x1000n, 0x5000n, 0x6000n, 0x7000n, 0x8000n].filter((rip) => cache.candidates(7, rip).length > 0);
  assert.deepEqual(kept, [0x6000n, 0x7000n, 0x8000n]);
});

test('a translation of the same code for the same flag replaces the one before; other code keeps its own', () => {
  const cache = cacheOf(
    region(0x1000n, 1, 2),
    { ...region(0x1000n, 1, 2), instructions: 4 },
    { ...region(0x1000n, 1, 2), inexact: 'clear' },
    region(0x1000n, 8, 9),
  );
  const read = new TranslationCache('this build');
  read.read(cache.write(1e6));
  assert.deepEqual(
    read.candidates(7, 0x1000n).map(({ instructions, inexact, parts }) => [instructions, inexact, parts[0]!.code[0]]),
    [
      [3, 'set', 8],
      [3, 'clear', 1],
      [4, 'set', 1],
    ],
  );
});

test('a module that the host refuses is no translation', () => {
  const cache = cacheOf({ ...region(0x1000n, 1), wasm: Uint8Array.of(1, 2, 3) });
  assert.equal(cache.moduleOf(cache.candidates(7, 0x1000n)[0]!), null);
});

/** A module with a function that V8's optimising compiler is asked for at once. */
const answer = Uint8Array.of(
  ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // header
  ...[1, 5, 1, 0x60, 0, 1, 0x7f], // type: () -> i32
  ...[3, 2, 1, 0], // function
  ...[7, 10, 1, 6, 0x61, 0x6e, 0x73, 0x77, 0x65, 0x72, 0, 0], // export "answer"
  ...[10, 6, 1, 4, 0, 0x41, 42, 0x0b], // i32.const 42
);

test('machine code is kept with the module that it belongs to, and taken if both are whole', () => {
  const taken: string[] = [];
  const engine = (kept: number): MachineCode => ({
    of: () => new Uint8Array(kept).fill(kept),
    module: (code, wasm) => {
      taken.push(`${code.length} of ${code[0]} for ${wasm.length}`);
      return new WebAssembly.Module(answer);
    },
  });
  const cache = new TranslationCache('this build', undefined, engine(5));
  const made = { ...region(0x1000n, 1, 2, 3), wasm: answer };
  const main = () => {};
  const module = new WebAssembly.Module(answer);
  cache.add(made);
  cache.executes(made, module, main);
  cache.add({ ...made, rip: 0x2000n }); // not executed: nothing is known of it
  cache.takeMachineCode();
  const file = cache.write(1e6);
  const use = (bytes: Uint8Array, host: MachineCode | null) => {
    const read = new TranslationCache('this build', undefined, host);
    read.read(bytes);
    const found = [0x1000n, 0x2000n].flatMap((rip) => read.candidates(7, rip));
    for (const each of found) read.executes(each, read.moduleOf(each)!.module, main);
    read.takeMachineCode();
    return { found: found.length, changed: read.changed };
  };
  assert.deepEqual(use(file, engine(5)), { found: 2, changed: true });
  assert.deepEqual(taken.splice(0), [`5 of 5 for ${answer.length}`]);
  assert.deepEqual(use(file, null), { found: 2, changed: false });
  assert.deepEqual(taken, []);
  // Whatever byte is wrong, machine code comes with its own module or not at all.
  for (let at = 0; at < file.length; at++) {
    const damaged = file.slice();
    damaged[at]! ^= 1;
    const { found } = use(damaged, engine(5));
    assert.ok(taken.length === 0 || found > 0);
    for (const each of taken.splice(0)) assert.equal(each, `5 of 5 for ${answer.length}`);
  }
  // Too little room for both: the module is what counts.
  const small = cache.write(file.length - 1);
  assert.deepEqual(use(small, engine(5)), { found: 2, changed: true });
  assert.deepEqual(taken, []);
});

test('what is not optimised yet has no machine code', () => {
  const module = new WebAssembly.Module(answer);
  const { exports } = new WebAssembly.Instance(module);
  assert.equal(nodeMachineCode.of(module, exports.answer!), null);
});

test('long after the last time, machine code is still to be had', () => {
  // V8 has dropped what was not called for so many collections.
  const program = `
    import { nodeMachineCode } from ${JSON.stringify(new URL('../runtime/hosts/node-machine-code.ts', import.meta.url).href)};
    const module = new WebAssembly.Module(Uint8Array.of(${[...answer].join()}));
    const { exports } = new WebAssembly.Instance(module);
    const before = nodeMachineCode.of(module, exports.answer);
    for (let i = 0; i < 20; i++) {
      gc();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    console.log(before, nodeMachineCode.of(module, exports.answer));`;
  const flags = ['--expose-gc', '--stress-flush-code', '--input-type=module-typescript'];
  const { stdout, stderr } = spawnSync(process.execPath, [...flags, '--eval', program], { encoding: 'utf8' });
  assert.equal(stdout, 'null null\n', stderr);
});

test('a module of machine code does what the module did', (t) => {
  const other = answer.map((byte) => (byte === 42 ? 41 : byte));
  const file = machineCodeFile(other);
  if (file === null) return t.skip('not with this V8');
  const place = join(folder, 'answer.code');
  writeFileSync(place, file);
  const again = readMachineCodeFile(pathToFileURL(place), other);
  const { exports } = new WebAssembly.Instance(again!);
  assert.equal((exports.answer as () => number)(), 41);
  writeFileSync(
    place,
    file.map((byte, i) => (i >= 4 && i < 8 ? byte ^ 1 : byte)),
  );
  assert.equal(readMachineCodeFile(pathToFileURL(place), other), null, 'another V8');
  writeFileSync(place, file);
  assert.equal(readMachineCodeFile(pathToFileURL(place), answer), null, 'another module');
  writeFileSync(place, file.subarray(0, 3));
  assert.equal(readMachineCodeFile(pathToFileURL(place), other), null, 'cut');
  assert.equal(readMachineCodeFile(pathToFileURL(join(folder, 'none.code')), other), null);
});

test('where others can write, no machine code is taken', { skip: process.getuid === undefined }, () => {
  const shared = join(folder, 'shared');
  assert.equal(folderStore(shared).isPrivate, true, 'made when it is first written to');
  mkdirSync(shared);
  chmodSync(shared, 0o777);
  assert.equal(folderStore(shared).isPrivate, false);
  chmodSync(shared, 0o755);
  assert.equal(folderStore(shared).isPrivate, true);
});

test('the hash tells apart what differs in one bit, in length, or in order', () => {
  const base = new Uint8Array(40);
  const seen = new Set([
    toHex(hashBytes(base)),
    toHex(hashBytes(base.subarray(1))),
    toHex(hashBytes(new Uint8Array(0))),
  ]);
  for (let bit = 0; bit < base.length * 8; bit++) {
    const other = base.slice();
    other[bit >> 3]! ^= 1 << (bit & 7);
    seen.add(toHex(hashBytes(other)));
  }
  assert.equal(seen.size, 3 + base.length * 8);
});

test('blobs of a folder are replaced as a whole, and the folder is made when it is needed', async () => {
  const store = folderStore(join(folder, 'deep', 'er'));
  assert.equal(await store.read('a'), undefined);
  await store.write('a', Uint8Array.of(1, 2, 3));
  await store.write('a', Uint8Array.of(4));
  assert.deepEqual([...(await store.read('a'))!], [4]);
  assert.deepEqual(readdirSync(join(folder, 'deep', 'er')), ['a.jit86']);
  writeFileSync(join(folder, 'file'), '');
  await assert.rejects(folderStore(join(folder, 'file')).write('a', Uint8Array.of(1)));
});
