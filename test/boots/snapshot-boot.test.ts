/** A boot that is saved in the middle goes on in another process as if nothing had been. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { missing } from '../../bench/kernels/catalogue.ts';
import { complaint, workloads } from '../../bench/kernels/workload.ts';
import { boot, ending, named } from './boot.ts';

const kernel = named('cloud-amd64');
const cpus = 2;
const savedAfter = 200_000_000;

test('rows 18, 19: a boot of Linux, saved in the middle, ends in another process in the same state', {
  skip: missing(kernel) ?? false,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'boot-'));
  const { machine, text } = await boot(kernel, workloads.short, { engine: 'auto', cpus });
  try {
    assert.deepEqual(await machine.run({ maxInstructions: savedAfter }), { reason: 'instructions' });
    const before = text();
    const snapshot = machine.snapshot();
    const file = join(folder, 'snapshot');
    writeFileSync(file, snapshot);
    t.diagnostic(`${Math.round(snapshot.length / 2 ** 20)} MiB for 256 MiB of RAM`);

    const script = new URL('restored-boot.ts', import.meta.url).pathname;
    const printed = execFileSync(process.execPath, [script, file, 'auto', `${cpus}`], {
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
    });
    const { end, text: after, ...restored } = JSON.parse(printed);
    assert.deepEqual(end, { reason: 'power-off' }, `${before}${after}`);
    assert.equal(complaint(before + after, kernel, cpus, workloads.short), null, before + after);

    assert.deepEqual(await machine.run({}), end);
    assert.equal(text(), before + after);
    assert.deepEqual(restored, ending(machine));
    t.diagnostic(`${Math.round(restored.instructions / 1e6)} M instructions`);
  } finally {
    await machine.close();
    rmSync(folder, { recursive: true });
  }
});
