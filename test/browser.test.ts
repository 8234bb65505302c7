import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright-core';
import { catalogue } from '../bench/guests/catalogue.ts';
import type { MachineStatistics, RunEnd } from '../runtime/machines/machine.ts';
import { browserPath, withPage } from './browser-page.ts';

const path = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url));
const skip = browserPath === undefined && 'no Chromium on this machine';

for (const isolated of [true, false]) {
  const how = isolated ? 'with' : 'without';
  test(`the page opens ${how} cross-origin isolation, says so, and offers every bundled guest`, { skip }, async () => {
    await withPage('', { isolated }, async (page, errors) => {
      assert.equal(await page.evaluate('crossOriginIsolated'), isolated);
      assert.match(
        (await page.textContent('#isolation'))!,
        isolated ? /^It is cross-origin/ : /^It is not cross-origin/,
      );
      assert.equal(
        await page.locator('#guest option').count(),
        catalogue.reduce((sum, { variants }) => sum + variants.length, 0),
      );
      assert.deepEqual(errors, []);
    });
  });
}

test('the page names a guest that it does not have', { skip }, async () => {
  await withPage('?guest=sieve/vax', { isolated: true }, async (page) => {
    await page.waitForFunction('document.body.dataset.state === "failed"', undefined, { timeout: 10_000 });
    assert.match((await page.textContent('#figures'))!, /no bundled guest sieve\/vax/);
  });
});

interface PageResult {
  readonly end: RunEnd;
  readonly statistics: MachineStatistics;
  readonly isolated: boolean;
}

/** Waits until the page's run is over. */
async function resultOf(page: Page): Promise<PageResult> {
  await page.waitForFunction('/^(done|failed)$/.test(document.body.dataset.state)', undefined, { timeout: 120_000 });
  assert.equal(await page.evaluate('document.body.dataset.state'), 'done', (await page.textContent('#figures'))!);
  return JSON.parse(await page.evaluate('document.body.dataset.result'));
}

/** The serial port's output in Node. */
function outputInNode(guest: string): string {
  const { stdout } = spawnSync(
    process.execPath,
    [path('dist/cli/main.js'), 'run', path(`bench/guests/built/${guest}.elf`), '--debugcon', 'none', '--no-cache'],
    { encoding: 'utf8', timeout: 120_000 },
  );
  return stdout;
}

for (const isolated of [true, false]) {
  const how = isolated ? 'with' : 'without';
  test(`guests do in the page what they do in Node, ${how} cross-origin isolation`, { skip }, async () => {
    for (const [name, variant] of [
      ['hello', 'i386-x87'],
      ['mandelbrot', 'i386-sse2'],
      ['sha256', 'x86_64'],
    ]) {
      const expected = outputInNode(`${variant}/${name}`);
      await withPage(`?guest=${name}/${variant}`, { isolated }, async (page, errors) => {
        const result = await resultOf(page);
        assert.deepEqual(result.end, { reason: 'exit', status: 1 });
        assert.equal(result.isolated, isolated);
        assert.equal(await page.textContent('#console'), expected);
        assert.deepEqual(errors, []);
      });
    }
  });
}

test('the second run in a page finds the translations of the first in its database', { skip }, async () => {
  await withPage('?guest=sha256/x86_64', { isolated: true }, async (page, errors) => {
    const first = await resultOf(page);
    assert.ok(first.statistics.regions > 0);
    assert.equal(first.statistics.regionsFromCache, 0);
    await page.reload();
    const second = await resultOf(page);
    assert.ok(second.statistics.regionsFromCache > 0);
    assert.ok(second.statistics.interpreted < first.statistics.interpreted);
    assert.deepEqual(second.end, first.end);
    assert.deepEqual(errors, []);
  });
});
