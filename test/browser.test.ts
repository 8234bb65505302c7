import assert from 'node:assert/strict';
import { test } from 'node:test';
import { catalogue } from '../bench/guests/catalogue.ts';
import { browserPath, withPage } from './browser-page.ts';

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
