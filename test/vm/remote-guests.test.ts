/** A driver in a guest uses the device, wherever it is: the same results in interpreter and translation. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { physicalDma } from '../../runtime/remote/dma.ts';
import { RemoteDevice } from '../../runtime/remote/remote-device.ts';
import { PAGE_LOG } from '../../src/mmu/physical-memory.ts';
import {
  BUFFER,
  BUFFER_BYTES,
  countOf,
  DEVICE,
  DeviceGuest,
  machineWith,
  resultsOf,
  runToEnd,
} from './remote-guest.ts';
import { otherProcess, type Place, sameThread, webSocket, webStreams, workerThread } from './remote-places.ts';
import { until } from './remote-suite.ts';
import { pattern, reg } from './remote-test-device.ts';
import { emptyVm, engines } from './vm-harness.ts';

const places: Readonly<Record<string, () => Promise<Place>>> = {
  'messages in one thread': sameThread,
  'Web Streams': webStreams,
  WebSocket: webSocket,
  'worker, shared memory': () => workerThread(true),
  'worker, messages alone': () => workerThread(false),
  'other process': () => otherProcess(true),
  'other process, not waiting': () => otherProcess(false),
};

for (const [name, open] of Object.entries(places))
  test(`row 14: a guest's driver of a device: ${name}`, async (t) => {
    const place = await open();
    t.after(() => place.close());
    for (const engine of engines)
      await t.test(engine, async () => {
        const driver = new DeviceGuest();
        const code = driver.driver();
        const { vm, device } = await machineWith(engine, code, await place.connect());
        await device.reset();
        driver.setVectors(vm);
        const pages = Array.from({ length: 5 }, (_, i) => BUFFER / 4096 - 1 + i);
        for (const page of pages) vm.physical.protect(page, PAGE_LOG);
        await runToEnd(vm);
        const buffer = Uint8Array.from({ length: BUFFER_BYTES }, (_, i) => pattern(BUFFER + i));
        const expected = [...driver.expected];
        expected[driver.bufferResults] = new DataView(buffer.buffer).getUint32(BUFFER_BYTES - 4, true);
        expected[driver.bufferResults + 1] = buffer.reduce((sum, byte) => sum + byte, 0);
        assert.deepEqual(resultsOf(vm, expected.length), expected);
        assert.deepEqual(vm.ram.slice(BUFFER, BUFFER + BUFFER_BYTES), buffer);
        assert.deepEqual([countOf(vm, 0), countOf(vm, 1)], [3, 10]);
        // The device's writes are in the dirty log, and no page more.
        const dirty = pages.filter((page) => (vm.physical.flagsOf(page) & PAGE_LOG) === 0);
        assert.deepEqual(dirty, pages.slice(1));
        device.close();
      });
  });

for (const engine of engines)
  test(`row 14: an embedder that enters a vCPU itself finishes accesses that cannot be waited for (${engine})`, async (t) => {
    const place = await webStreams();
    t.after(() => place.close());
    const driver = new DeviceGuest();
    const { vm, device } = await machineWith(engine, driver.poller(), await place.connect());
    const vcpu = vm.vcpu(0);
    let finished = 0;
    for (let exit = vcpu.enter(); exit.kind !== 'halt'; exit = vcpu.enter()) {
      const answer = vm.remote.finish(exit);
      assert.ok(answer !== null, exit.kind);
      await answer;
      if (++finished === 50) device.close();
    }
    // Three reads without a peer.
    assert.equal(finished, 53);
    assert.equal(countOf(vm, 0), 51);
    assert.deepEqual(resultsOf(vm, 3), [0xffff_ffff, 0xffff_ffff, 0xff]);
  });

test('row 14: writes that wait go together, in order, and before the next access', async (t) => {
  const place = await workerThread(true);
  t.after(() => place.close());
  for (const engine of engines) {
    const driver = new DeviceGuest();
    const { vm, device } = await machineWith(engine, driver.driver(), await place.connect());
    await device.reset();
    driver.setVectors(vm);
    const queued = vm.remote.coalesce({ space: 'memory', address: DEVICE, length: 0x24 });
    const { drains } = vm.io;
    await runToEnd(vm);
    assert.ok(vm.io.drains > drains);
    assert.deepEqual(resultsOf(vm, driver.bufferResults), driver.expected.slice(0, driver.bufferResults));
    assert.deepEqual([countOf(vm, 0), countOf(vm, 1)], [3, 10]);
    queued.detach();
    const nowhere = { space: 'memory', address: DEVICE + 0xfff, length: 2 } as const;
    assert.throws(() => vm.remote.coalesce(nowhere), { code: 'bad-region' });
    device.close();
  }
});

test('row 14: a device reaches the memory that the machine has: lazy pages are made, neighbours are one, ROM is read', async () => {
  const vm = emptyVm('interpreter');
  const place = await sameThread();
  const errors: string[] = [];
  const device = await RemoteDevice.connect(await place.connect(), {
    memory: physicalDma(vm.physical),
    onError: (error) => errors.push(error.code),
  });
  const fill = (page: number, bytes: Uint8Array) => {
    if (page === 0x13) throw new Error('this page cannot be made');
    bytes.fill(page);
  };
  vm.memory.replace([
    { kind: 'ram', start: 0, length: 0x10000, backing: 0 },
    { kind: 'lazy', start: 0x10000, length: 0x10000, backing: 0x10000, fill },
    { kind: 'rom', start: 0x40000, length: 0x1000, backing: 0x20000 },
  ]);
  const transfer = async (command: number, address: number, length: number) => {
    for (const [register, value] of [
      [reg.dmaStatus, 0],
      [reg.dmaAddress, address],
      [reg.dmaLength, length],
      [reg.dmaCommand, command],
    ] as const)
      device.write(register, 4, value);
    await until(() => device.read(reg.dmaStatus, 4) !== 0, 'the transfer');
    return device.read(reg.dmaStatus, 4);
  };
  assert.equal(await transfer(1, 0xf000, 0x3000), 1);
  assert.equal(device.read(reg.dmaResult, 4), 4096 * (0x10 + 0x11));
  assert.equal(await transfer(2, 0x11ff0, 0x20), 1);
  assert.deepEqual([...vm.ram.slice(0x11fee, 0x11ff1)], [0x11, 0x11, pattern(0x11ff0)]);
  assert.equal(vm.ram[0x12fff], 0x12, 'the rest of a page is made before it is written in part');
  assert.equal(await transfer(1, 0x40000, 0x1000), 1);
  assert.equal(await transfer(2, 0x40000, 1), 2);
  assert.equal(await transfer(1, 0x1ffff, 2), 2);
  assert.deepEqual(errors, []);
  assert.equal(await transfer(1, 0x13000, 8), 2);
  assert.deepEqual(errors, ['dma-failed']);
  assert.equal(device.error, null);
  device.close();
});
