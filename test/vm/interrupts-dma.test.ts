/** Messages as devices send them: writes to the processors' addresses. Row 11 of the VM API. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InterruptError, MemoryError } from '../../runtime/errors.ts';
import { DeviceServer } from '../../runtime/remote/device-server.ts';
import type { Dma } from '../../runtime/remote/dma.ts';
import { physicalDma } from '../../runtime/remote/dma.ts';
import { RemoteDevice } from '../../runtime/remote/remote-device.ts';
import { transportPair } from '../../runtime/remote/transport.ts';
import { Assembler, dword } from '../engines/assembler.ts';
import { store } from '../engines/system-code.ts';
import { engines, Guest, handler, hlt, loadIdt, sti } from './interrupts-harness.ts';

const apic = (register: number) => 0xfee0_0000 + register;
const end = store(apic(0xb0), 0);
const word = (value: number) => Uint8Array.from(dword(value));

/** Counts interrupt 50H; enabled and asleep. */
const listener = (before: readonly number[] = []) => {
  const code = new Assembler(0x1000n)
    .put(loadIdt, store(apic(0xf0), 0x1ff), before, sti)
    .label('sleep')
    .put(hlt, 0xeb, 0xfd);
  return { code: code.label('v0').put(handler(0, end)), vectors: { 80: 'v0' } };
};

for (const engine of engines)
  test(`row 11: four bytes that a device writes to FEExxxxxh are a message (${engine})`, async () => {
    const guest = new Guest(engine, listener());
    const { vm } = guest;
    await guest.run(1000);
    vm.memory.write(0xfee0_0000, word(0x50));
    await guest.run(1000);
    assert.equal(guest.runs(0), 1);
    vm.memory.write(0xfeef_f00c, word(0x50)); // logical, any one, all: destination FFH
    await guest.run(1000);
    assert.equal(guest.runs(0), 2);
    vm.memory.write(0xfee0_1000, word(0x50)); // to processor 1, which is not there
    const refused = (
      address: number,
      bytes: Uint8Array,
      type: typeof InterruptError | typeof MemoryError,
      code: string,
    ) =>
      assert.throws(
        () => vm.memory.write(address, bytes),
        (error) => error instanceof type && error.code === code,
      );
    refused(0xfee0_0000, word(0x350), InterruptError, 'bad-msi');
    refused(0xfee0_0000, Uint8Array.of(0x50, 0), MemoryError, 'unbacked');
    refused(0xfee0_0002, word(0x50), MemoryError, 'unbacked');
    refused(0xfef0_0000, word(0x50), MemoryError, 'unbacked');
    await guest.run(1000);
    assert.equal(guest.runs(0), 2);
  });

for (const engine of engines)
  test(`row 11: a processor’s own store there is its APIC’s page, or leaves the guest (${engine})`, async () => {
    // mov dword [FEE01000h], 50h
    const guest = new Guest(engine, listener([0xc7, 0x05, ...dword(0xfee0_1000), ...dword(0x50)]));
    const exit = guest.vm.vcpu(0).enter(1000);
    assert.deepEqual(
      { ...exit },
      { kind: 'mmio', cpu: 0, write: true, physical: 0xfee0_1000, size: 4, low: 0x50, high: 0 },
    );
    guest.vm.msi(0xfee0_0000, 0x50); // an embedder whose chipset makes a message of it
    await guest.run(1000);
    assert.equal(guest.runs(0), 1);
  });

test('row 11: a device elsewhere sends messages by DMA, and reads none there', async () => {
  const guest = new Guest('interpreter', listener());
  const { vm } = guest;
  await guest.run(1000);
  let dma: Dma | null = null;
  const [near, other] = transportPair();
  const device = { name: 'far', read: () => 0, write: () => {} };
  const server = new DeviceServer({
    regions: (parts) => {
      dma = parts.dma;
      return [{ device, size: 16 }];
    },
  });
  server.accept(other);
  const errors: string[] = [];
  const remote = await RemoteDevice.connect(near, {
    memory: physicalDma(vm.physical),
    onError: ({ code }) => errors.push(code),
  });
  await dma!.write(0xfee0_0000, word(0x50));
  await guest.run(1000);
  assert.equal(guest.runs(0), 1);
  await assert.rejects(dma!.read(0xfee0_0000, 4));
  await assert.rejects(dma!.write(0xfee0_0000, word(0x350)));
  assert.deepEqual(errors, ['dma-failed']);
  await dma!.write(0xfee0_0000, word(0x50));
  await guest.run(1000);
  assert.equal(guest.runs(0), 2, 'it goes on');
  remote.close();
  server.close();
});

test('row 11: memory that an embedder has put there is memory', () => {
  const { vm } = new Guest('interpreter', listener());
  vm.memory.replace([...vm.memory.regions(), { kind: 'ram', start: 0xfee0_0000, length: 4096, backing: 0 }]);
  vm.memory.write(0xfee0_0800, word(0x1234_5678));
  assert.equal(vm.physical.read32(0xfee0_0800), 0x1234_5678);
});
