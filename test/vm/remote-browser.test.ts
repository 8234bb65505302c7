/**
 * Remote devices in a page: its main thread may not wait, so accesses of a device on a worker leave the guest and are
 * finished by `vm.run()`; a worker of the page waits for another. The package's modules are loaded there as they are.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { serve } from '../../web/serve.ts';
import { browserPath } from '../browser-page.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { origin } from './vm-harness.ts';

const skip = browserPath === undefined && 'no Chromium on this machine';
const dist = fileURLToPath(new URL('../../dist', import.meta.url));
const DEVICE = 0xd000_0000;
const SUM = 0x9000;

/** Sets a counter to 100, reads it five times, notes the sum. */
const guest = new Assembler(BigInt(origin))
  .put(0xc7, 0x05, dword(DEVICE + 4), dword(100)) // mov dword [counter], 100
  .put(0x31, 0xdb, 0xb9, dword(5)) // xor ebx, ebx; mov ecx, 5
  .label('top')
  .put(0x03, 0x1d, dword(DEVICE), 0x49, 0x75, to('top', 1)) // add ebx, [next]; dec ecx; jnz top
  .put(0x89, 0x1d, dword(SUM), 0xfa, 0xf4) // mov [sum], ebx; cli; hlt
  .finish();

/** Runs in the page. */
async function inPage([code, address, device, sum]: [number[], number, number, number]) {
  const load = (path: string) => import(path);
  const { Vm } = await load('/runtime/index.js');
  const { browserHost } = await load('/runtime/hosts/browser.js');
  const { loadFlatBinary } = await load('/runtime/loaders/flat-binary.js');
  const remote = await load('/runtime/remote/index.js');
  const modules = `const remote = await import('${location.origin}/runtime/remote/index.js');`;
  const workerOf = (source: string) =>
    new Worker(URL.createObjectURL(new Blob([modules + source], { type: 'text/javascript' })), { type: 'module' });
  const ready = (worker: Worker) =>
    new Promise<unknown>((done) => worker.addEventListener('message', (e) => done(e.data)));
  // A counter: reading gives the next number, writing sets it.
  const serving = `
    let count = 0;
    const device = { name: 'counter', read: () => ++count, write: (offset, size, value) => { count = value; } };
    const server = new remote.DeviceServer({ regions: () => [{ device, size: 8 }] });
    onmessage = ({ data }) => server.accept(data.memory ? remote.ringTransport(data) : remote.messagePortTransport(data.port));
    postMessage('ready');`;
  const results: Record<string, unknown> = { mayBlock: remote.threadMayBlock(), isolated: crossOriginIsolated };
  for (const way of ['ring', 'port']) {
    const server = workerOf(serving);
    await ready(server);
    let transport: unknown;
    if (way === 'ring') {
      const { here, there } = remote.createRing();
      server.postMessage(there, [there.port]);
      transport = remote.ringTransport(here);
    } else {
      const { port1, port2 } = new MessageChannel();
      server.postMessage({ port: port2 }, [port2]);
      transport = remote.messagePortTransport(port1);
    }
    const far = await remote.RemoteDevice.connect(transport);
    const vm = await Vm.create({ memory: 4 << 20, cpus: 1 }, browserHost(new URL('/web/', location.href)));
    vm.start(0, loadFlatBinary(Uint8Array.from(code), { bytes: vm.ram }, { address, mode: 'protected' }));
    vm.remote.attach({ space: 'memory', address: device, length: 8 }, far);
    for await (const exit of vm.run({ signal: AbortSignal.timeout(60_000) })) if (exit.kind === 'halt') break;
    results[way] = new DataView(vm.ram.buffer, vm.ram.byteOffset).getUint32(sum, true);
    results[`${way} blocks`] = far.blocks;
    far.close();
    await vm.close();
    server.terminate();
  }
  // One worker waits for another, within one turn of its event loop.
  const server = workerOf(serving);
  await ready(server);
  const { here, there } = remote.createRing();
  server.postMessage(there, [there.port]);
  const client = workerOf(`
    onmessage = async ({ data }) => {
      const device = await remote.RemoteDevice.connect(remote.ringTransport(data));
      device.write(4, 4, 41);
      postMessage([device.blocks, device.read(0, 4)]);
    };
    postMessage('ready');`);
  await ready(client);
  const answer = new Promise<unknown>((done) => client.addEventListener('message', (e) => done(e.data)));
  client.postMessage(here, [here.port]);
  results.worker = await answer;
  client.terminate();
  server.terminate();
  return results;
}

test('row 14: a page uses devices on workers, waiting where it may and not where it may not', { skip }, async () => {
  const server = await serve({ folder: dist, port: 0, isolated: true });
  try {
    const browser = await chromium.launch({ executablePath: browserPath!, args: ['--no-sandbox'] });
    try {
      const page = await browser.newPage();
      await page.goto(`${server.url}web/index.html`);
      const parts: [number[], number, number, number] = [[...guest], origin, DEVICE, SUM];
      assert.deepEqual(await page.evaluate(inPage, parts), {
        mayBlock: false,
        isolated: true,
        ring: 515,
        'ring blocks': false,
        port: 515,
        'port blocks': false,
        worker: [true, 42],
      });
    } finally {
      await browser.close();
    }
  } finally {
    server.close();
  }
});
