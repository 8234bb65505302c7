/** From Node to a page and back: row 19 of the VM API. The package's modules are loaded there as they are. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { serve } from '../../web/serve.ts';
import { browserPath } from '../browser-page.ts';
import { counting } from './counting-guest.ts';
import { emptyVm, guest, hashOf } from './vm-harness.ts';

const skip = browserPath === undefined && 'no Chromium on this machine';
const dist = fileURLToPath(new URL('../../dist', import.meta.url));

/** Runs in the page: restores, runs for so many instructions, saves. */
async function there([snapshot, instructions]: [number[], number]): Promise<number[]> {
  const load = (path: string) => import(path);
  const { Vm } = await load('/runtime/index.js');
  const { browserHost } = await load('/runtime/hosts/browser.js');
  const vm = await Vm.create(
    { memory: 4 << 20, cpus: 1, clock: 'virtual' },
    browserHost(new URL('/web/', location.href)),
  );
  vm.restore(Uint8Array.from(snapshot));
  const exit = vm.vcpu(0).enter({ maxInstructions: instructions });
  if (exit.kind !== 'budget') throw new Error(`the guest ended with ${exit.kind}`);
  const saved = [...vm.snapshot()];
  await vm.close();
  return saved;
}

test('row 19: a VM moves from Node to a page and back', { skip }, async () => {
  const vm = guest('hot', counting, { clock: 'virtual' });
  vm.vcpu(0).enter({ maxInstructions: 123_456 });
  const server = await serve({ folder: dist, port: 0, isolated: true });
  try {
    const browser = await chromium.launch({ executablePath: browserPath!, args: ['--no-sandbox'] });
    try {
      const page = await browser.newPage();
      await page.goto(`${server.url}web/index.html`);
      const saved = await page.evaluate(there, [[...vm.snapshot()], 200_000] as [number[], number]);
      const back = emptyVm('hot', { clock: 'virtual' });
      back.restore(Uint8Array.from(saved));
      vm.vcpu(0).enter({ maxInstructions: 200_000 });
      assert.equal(hashOf(back), hashOf(vm));
      back.vcpu(0).enter({ maxInstructions: 50_000 });
      vm.vcpu(0).enter({ maxInstructions: 50_000 });
      assert.equal(hashOf(back), hashOf(vm));
    } finally {
      await browser.close();
    }
  } finally {
    server.close();
  }
});
