/** Devices in other threads and processes in snapshots, restores and migrations: rows 14 and 19 of the VM API. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SnapshotError } from '../../runtime/errors.ts';
import { DeviceServer, type DeviceServerOptions } from '../../runtime/remote/device-server.ts';
import { physicalDma } from '../../runtime/remote/dma.ts';
import { RemoteDevice } from '../../runtime/remote/remote-device.ts';
import { type Transport, transportPair } from '../../runtime/remote/transport.ts';
import type { ByteDuplex } from '../../runtime/snapshot/migration.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { otherProcess, type Place, sameThread, webSocket, webStreams, workerThread } from './remote-places.ts';
import { REGION_BYTES, reg, testDeviceOptions } from './remote-test-device.ts';
import { guest, hashOf, origin, type TestEngine } from './vm-harness.ts';

const DEVICE = 0xd000_0000;
const at = (register: number) => dword(DEVICE + register);
/** Adds 3 to the device's sum and adds up what it has come to. */
const adding = new Assembler(BigInt(origin))
  .label('top')
  .put(0xc7, 0x05, at(reg.sum), dword(3)) // mov dword [sum], 3
  .put(0xa1, at(reg.sum), 0x01, 0xc3) // mov eax, [sum]; add ebx, eax
  .put(0x41, 0xeb, to('top', 1)) // inc ecx; jmp top
  .finish();

async function machine(engine: TestEngine, transport: Transport): Promise<{ vm: Vm; device: RemoteDevice }> {
  const vm = guest(engine, adding, { clock: 'virtual' });
  const device = await RemoteDevice.connect(transport, { name: 'adder', memory: physicalDma(vm.physical) });
  vm.remote.attach({ space: 'memory', address: DEVICE, length: REGION_BYTES }, device);
  return { vm, device };
}
/** Goes on for so many rounds of the guest. */
async function rounds(vm: Vm, count: number): Promise<void> {
  const vcpu = vm.vcpu(0);
  const end = vcpu.fields.get32('rcx') + count;
  while (vcpu.fields.get32('rcx') < end) {
    const exit = vcpu.enter(1);
    if (exit.kind !== 'budget') await vm.remote.finish(exit);
  }
}
const found = (vm: Vm) => [vm.vcpu(0).fields.get32('rax'), vm.vcpu(0).fields.get32('rbx')];

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
  test(`rows 14 and 19: a device's state goes along in snapshots: ${name}`, async (t) => {
    const [place, other] = [await open(), await open()];
    t.after(() => Promise.all([place.close(), other.close()]));
    const first = await machine('interpreter', await place.connect());
    const { vm, device } = first;
    await rounds(vm, 20);
    const bytes = await vm.save();
    assert.deepEqual(found(vm), [60, 630]);
    await rounds(vm, 10);
    const [after, hash] = [found(vm), hashOf(vm)];
    // Back, in the same VM; and in another one, with another device.
    await vm.load(bytes);
    await rounds(vm, 10);
    assert.deepEqual(found(vm), after);
    assert.equal(hashOf(vm), hash);
    const second = await machine('interpreter', await other.connect());
    await rounds(second.vm, 7);
    await second.vm.load(bytes);
    await rounds(second.vm, 10);
    assert.equal(hashOf(second.vm), hash);
    // At once, where this thread may wait; else it is said.
    if (device.blocks) {
      const now = second.vm.snapshot();
      await rounds(second.vm, 5);
      second.vm.restore(now);
      await rounds(second.vm, 5);
      await rounds(vm, 5);
      assert.equal(hashOf(second.vm), hashOf(vm));
    } else {
      const before = hashOf(vm);
      const isSaid = (error: unknown) => error instanceof SnapshotError && error.code === 'remote-state';
      assert.throws(() => vm.snapshot(), isSaid);
      assert.throws(() => vm.restore(bytes), isSaid);
      assert.equal(hashOf(vm), before);
    }
    device.close();
    second.device.close();
  });

test('rows 14 and 19: a VM moves with its device', async (t) => {
  const [place, other] = [await webStreams(), await webStreams()];
  t.after(() => Promise.all([place.close(), other.close()]));
  const source = await machine('hot', await place.connect());
  const target = await machine('hot', await other.connect());
  await rounds(source.vm, 15);
  const forth = new TransformStream<Uint8Array, Uint8Array>();
  const back = new TransformStream<Uint8Array, Uint8Array>();
  const here: ByteDuplex = { readable: back.readable, writable: forth.writable };
  const there: ByteDuplex = { readable: forth.readable, writable: back.writable };
  await Promise.all([source.vm.migrate(here), target.vm.receive(there)]);
  await rounds(target.vm, 5);
  assert.deepEqual(found(target.vm), [60, 630]);
  source.device.close();
  target.device.close();
});

async function served(options: DeviceServerOptions): Promise<{ vm: Vm; device: RemoteDevice }> {
  const [here, there] = transportPair();
  new DeviceServer(options).accept(there);
  return machine('interpreter', here);
}

test('rows 14 and 19: a device without state is refused, and everything goes on', async () => {
  const { vm } = await served({
    regions: () => [{ device: { name: 'plain', read: () => 9, write() {} }, size: 4096 }],
  });
  await rounds(vm, 3);
  await assert.rejects(vm.save(), { code: 'remote-state', message: /adder/ });
  assert.deepEqual(found(vm), [9, 27]);
  await rounds(vm, 3);
  assert.deepEqual(found(vm), [9, 54]);
});

test('rows 14 and 19: a state that the device does not take changes nothing', async () => {
  let value = 0;
  const errors: Error[] = [];
  const device = { name: 'odd', read: () => value, write: () => void value++ };
  const { vm } = await served({
    regions: () => [{ device, size: 4096 }],
    onError: (error) => void errors.push(error),
    state: {
      save: () => Uint8Array.of(value),
      load(bytes) {
        if (bytes[0]! % 2 === 1) throw new Error('it takes even ones only');
        value = bytes[0]!;
      },
    },
  });
  await rounds(vm, 2);
  const even = await vm.save();
  await rounds(vm, 1);
  const odd = await vm.save();
  await rounds(vm, 1);
  const before = hashOf(vm);
  await assert.rejects(vm.load(odd), { code: 'bad-device-state' });
  assert.equal(errors.length, 1);
  assert.deepEqual([hashOf(vm), value], [before, 4]);
  // The device takes it, and the rest is refused: it has its own again.
  const other = await served({ regions: () => [{ device: { name: 'none', read: () => 0, write() {} }, size: 4096 }] });
  await assert.rejects(other.vm.load(even), { code: 'remote-state' });
  const damaged = even.slice();
  damaged[damaged.length - 30]! ^= 1;
  await assert.rejects(vm.load(damaged), SnapshotError);
  assert.deepEqual([hashOf(vm), value], [before, 4]);
  await vm.load(even);
  assert.equal(value, 2);
});

test('rows 14 and 19: a device is saved when its transfers are done, and a peer that is gone is told', async () => {
  const options = testDeviceOptions();
  const { vm, device } = await served(options);
  vm.memory.write(0x3000, Uint8Array.of(1, 2, 3, 4));
  for (const [register, value] of [
    [reg.dmaAddress, 0x3000],
    [reg.dmaLength, 4],
    [reg.dmaCommand, 1],
  ] as const)
    device.write(register, 4, value);
  const bytes = await vm.save();
  assert.equal(await device.startRead(reg.dmaResult, 4), 10);
  device.write(reg.dmaCommand, 4, 2);
  await vm.load(bytes);
  assert.equal(await device.startRead(reg.dmaStatus, 4), 1);
  assert.equal(await device.startRead(reg.dmaResult, 4), 10);
  device.close();
  await assert.rejects(vm.save(), { code: 'remote-state' });
});
