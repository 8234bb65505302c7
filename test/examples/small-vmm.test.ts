/** The example runs: the same guest by itself. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { helloImage, runSmallVmm } from './small-vmm.ts';

test('the VMM of 60 lines runs a guest to its end', async () => {
  let text = '';
  assert.equal(await runSmallVmm(helloImage, (byte) => (text += String.fromCharCode(byte))), 'halted');
  assert.equal(text, 'Hello from the guest\n');
});

test('the VMM of 60 lines says how a guest ended that crashed', async () => {
  // lidt of an empty table; int3
  const crash = Uint8Array.from([0x0f, 0x01, 0x1e, 0x00, 0x7d, 0xcc]);
  assert.equal(await runSmallVmm(crash, () => {}), 'triple fault at 0x7c05');
});
