/**
 * The guests of the bench: the ones in the repository are what their sources give, and what they compute is right on the
 * real CPU, in wasm, and under QEMU. Whatever tool is missing here, its test is skipped and says so.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import {
  buildNative,
  buildWasm,
  builtDirectory,
  checkGuests,
  elfName,
  nativeVariants,
  whyNoWasm,
} from '../bench/guests/build.ts';
import { catalogue, guestVariants, workloads } from '../bench/guests/catalogue.ts';
import { hasQemu, runInQemu } from '../bench/guests/qemu.ts';
import { guestsDirectory, toolVersion, withTemporaryDirectory } from '../bench/guests/toolchain.ts';

const execute = promisify(execFile);
const noGcc = (await toolVersion('gcc')) === null ? 'there is no gcc' : false;
const noWasm = (await whyNoWasm()) ?? false;
const noQemu = (await hasQemu()) ? false : 'there is no qemu-system-i386 and qemu-system-x86_64';

test('every source has a row in the catalogue, and every guest an ELF of less than 20 KB', async () => {
  const sources = await readdir(join(guestsDirectory, 'workloads'));
  assert.deepEqual(catalogue.map(({ file }) => file).sort(), sources.sort());
  for (const guest of catalogue) {
    for (const variant of guest.variants) {
      const bytes = await readFile(join(builtDirectory, elfName(guest, variant)));
      assert.equal(bytes.toString('latin1', 0, 5), '\x7fELF\x01', elfName(guest, variant));
      assert.ok(bytes.length < 20_000, elfName(guest, variant));
    }
  }
});

test('rebuilding the guests gives the bytes that the repository has', { skip: noGcc }, async (context) => {
  const { differing, recordedTools } = await checkGuests();
  if (recordedTools !== null) return context.skip(`the guests were built by other tools: ${recordedTools}`);
  assert.deepEqual(differing, []);
});

test('every workload computes its checksum natively', { skip: noGcc }, async (context) => {
  const variants = await nativeVariants();
  for (const variant of guestVariants) {
    const skip = variants.includes(variant) ? false : 'gcc cannot build and run it here';
    await context.test(`as ${variant}`, { skip }, async () => {
      await withTemporaryDirectory(async (directory) => {
        for (const executable of await buildNative(directory, [variant])) {
          // At scale 2 a pass finds the memory that the one before left.
          const { stdout } = await execute(executable, ['1', '2'], { timeout: 60_000 });
          assert.equal(stdout.match(/ scale=\d nanos=\d+ cpu=\d+ checksum=0x[0-9a-f]{8} ok\n/g)?.length, 2, stdout);
        }
      });
    });
  }
});

test('every workload in C computes its checksum as wasm', { skip: noWasm }, async () => {
  await withTemporaryDirectory(async (directory) => {
    const modules = await buildWasm(directory);
    assert.equal(modules.length, workloads.filter(({ file }) => file.endsWith('.c')).length);
    for (const guest of workloads.filter(({ file }) => file.endsWith('.c'))) {
      const { instance } = await WebAssembly.instantiate(await readFile(join(directory, `${guest.name}.wasm`)));
      const workload = instance.exports.workload as (scale: number) => number;
      assert.equal(workload(1) >>> 0, guest.checksum, guest.name);
    }
  });
});

test('a greeting and a workload of each variant pass under QEMU', { skip: noQemu }, async () => {
  for (const name of ['hello', 'collatz']) {
    const guest = catalogue.find((each) => each.name === name)!;
    for (const variant of guest.variants) {
      const { passed, output } = await runInQemu(guest, variant, 'scale=1 repeat=2');
      assert.ok(passed, `${name} as ${variant}: ${output}`);
      assert.match(output, name === 'hello' ? /^Hello from a guest built for / : /^collatz scale=1 repeat=2 .* ok/);
    }
  }
});
