/** Peers that die, are silent, or send what nobody may send: the guest sees a device error, and the VM lives. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type RemoteCode, RemoteError } from '../../runtime/errors.ts';
import { DeviceServer } from '../../runtime/remote/device-server.ts';
import * as wire from '../../runtime/remote/messages.ts';
import { RemoteDevice } from '../../runtime/remote/remote-device.ts';
import { createRing, ringTransport } from '../../runtime/remote/ring-transport.ts';
import { type Transport, transportPair } from '../../runtime/remote/transport.ts';
import { countOf, DeviceGuest, machineWith, resultsOf, runToEnd } from './remote-guest.ts';
import { otherProcess, type Place, webSocket, workerThread } from './remote-places.ts';
import { TestMemory, until } from './remote-suite.ts';
import { ID, reg, testDeviceOptions } from './remote-test-device.ts';
import { hashOf, loadCode, type TestEngine } from './vm-harness.ts';

// --- peers that die

const mortal: Readonly<Record<string, () => Promise<Place>>> = {
  'other process': () => otherProcess(true),
  'other process, not waiting': () => otherProcess(false),
  'worker, shared memory': () => workerThread(true),
  'worker, messages alone': () => workerThread(false),
  WebSocket: webSocket,
};

for (const [name, open] of Object.entries(mortal))
  for (const engine of ['interpreter', 'translation'] as const)
    test(`row 14: the peer is killed while the guest uses it: ${name} (${engine})`, async () => {
      const errors: RemoteError[] = [];
      const poller = new DeviceGuest();
      const code = poller.poller();
      let place = await open();
      try {
        const { vm, device } = await machineWith(engine, code, await place.connect(), {
          onError: (error) => errors.push(error),
          timeoutMillis: 3000,
        });
        for (let round = 1; round <= 2; round++) {
          const before = countOf(vm, 0);
          // While the guest polls; a slow machine is given the time for some polls.
          const killed = (async () => {
            await until(() => countOf(vm, 0) > before + 20, 'the guest polls');
            await place.kill();
          })();
          await runToEnd(vm);
          await killed;
          assert.deepEqual(resultsOf(vm, 3), [0xffff_ffff, 0xffff_ffff, 0xff], 'all ones');
          assert.equal(errors.length, round, 'told once');
          assert.ok(errors[round - 1] instanceof RemoteError);
          assert.match(errors[round - 1]!.code, /^peer-(?:closed|timeout)$/);
          assert.equal(device.error, errors[round - 1]);
          // The machine goes on with another peer.
          await place.close();
          place = await open();
          await device.reconnect(await place.connect());
          assert.equal(device.error, null);
          assert.equal(await device.startRead(reg.id, 4), ID);
          loadCode(vm, code);
        }
        device.close();
      } finally {
        await place.close();
      }
    });

// --- peers that send garbage

/** What a peer has received, and its ways to answer and to end. */
type Script = (message: wire.Message, send: (bytes: Uint8Array) => void, close: () => void) => 'served' | 'taken';

/** A server that behaves until the script takes a message from it. */
function scripted(script: Script): Transport {
  const [here, middle] = transportPair();
  const [onward, there] = transportPair();
  const server = new DeviceServer(testDeviceOptions());
  server.accept(there);
  onward.open({ received: (bytes) => middle.send(bytes), closed: () => middle.close() });
  middle.open({
    received(bytes) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const message: wire.Message = {
        id: view.getUint16(0, true),
        command: view.getUint16(2, true),
        reply: (view.getUint32(8, true) & 15) === wire.TYPE_REPLY,
        noReply: (view.getUint32(8, true) & wire.FLAG_NO_REPLY) !== 0,
        error: null,
        payload: bytes.slice(16),
      };
      if (
        script(
          message,
          (answer) => middle.send(answer),
          () => middle.close(),
        ) === 'taken'
      )
        return;
      onward.send(bytes);
      onward.wait!(0);
    },
    closed: () => onward.close(),
  });
  return {
    open: (listener) => here.open(listener),
    send: (bytes) => here.send(bytes),
    close: () => here.close(),
    wait: (millis) => {
      if (here.wait!(0)) return true;
      // A peer that is silent is waited for.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Math.min(millis, 5));
      return here.wait!(0);
    },
  };
}

const { Command } = wire;
const reply = (message: wire.Message, payload: Uint8Array, changes: { id?: number; command?: number } = {}) =>
  wire.encodeMessage(changes.id ?? message.id, changes.command ?? message.command, wire.TYPE_REPLY, payload);
/** A message whose header is patched. */
function patched(bytes: Uint8Array, at: number, value: number): Uint8Array {
  const copy = bytes.slice();
  new DataView(copy.buffer).setUint32(at, value, true);
  return copy;
}
const value = Uint8Array.of(1, 2, 3, 4);
const good = (message: wire.Message) => reply(message, wire.encodeRegionAccess(0, 0, 4, value));

/** What a peer sends instead of the answer to a read, and the error that it is. */
const garbage: Readonly<Record<string, readonly [RemoteCode, (message: wire.Message) => Uint8Array | 'close' | null]>> =
  {
    'a reply to another id': ['unexpected-reply', (m) => reply(m, m.payload, { id: m.id ^ 0x55 })],
    'a reply to another command': ['unexpected-reply', (m) => reply(m, m.payload, { command: Command.DMA_MAP })],
    'a size below the header': ['bad-message', (m) => patched(good(m), 4, 15)],
    'a size beyond every limit': ['oversized-message', (m) => patched(good(m), 4, 0xffff_fff0)],
    'a size beyond what was agreed': ['oversized-message', (m) => patched(good(m), 4, 0x20_0000)],
    'a type that is none': ['bad-message', (m) => patched(good(m), 8, 2)],
    'reserved flags': ['bad-message', (m) => patched(good(m), 8, 0x8000_0001)],
    'a reply that wants none': ['bad-message', (m) => patched(good(m), 8, 0x11)],
    'a command of no number': ['bad-message', (m) => reply(m, m.payload, { command: 99 })],
    text: ['bad-message', () => new TextEncoder().encode('HTTP/1.1 400 Bad Request\r\n\r\n')],
    'a reply without data': ['bad-message', (m) => reply(m, wire.encodeRegionAccess(0, 0, 4))],
    'too little data': ['bad-message', (m) => reply(m, wire.encodeRegionAccess(0, 0, 2, value.subarray(0, 2)))],
    'too much data': ['bad-message', (m) => reply(m, wire.encodeRegionAccess(0, 0, 4, new Uint8Array(5)))],
    'half a structure': ['bad-message', (m) => reply(m, new Uint8Array(7))],
    "a command that is the machine's": ['bad-message', (m) => wire.encodeMessage(1, Command.REGION_READ, 0, m.payload)],
    'interrupts without their levels': [
      'bad-message',
      () => {
        const flags = wire.IRQ_SET_DATA_BOOL | wire.IRQ_SET_ACTION_TRIGGER;
        const set = { flags, index: 0, start: 0, count: 9, data: value };
        return wire.encodeMessage(1, Command.DEVICE_SET_IRQS, wire.FLAG_NO_REPLY, wire.encodeIrqSet(set));
      },
    ],
    'a DMA write of another length': [
      'bad-message',
      () => wire.encodeMessage(1, Command.DMA_WRITE, 0, wire.encodeDmaAccess(0, 5, value)),
    ],
    'half a message, and the end': ['peer-closed', () => 'close'],
    nothing: ['peer-timeout', () => null],
  };

for (const engine of ['interpreter', 'translation'] as const)
  test(`row 14: a peer that sends garbage for an answer (${engine})`, async (t) => {
    for (const [name, [code, answer]] of Object.entries(garbage))
      await t.test(name, async () => {
        const transport = scripted((message, send, close) => {
          if (message.command !== Command.REGION_READ) return 'served';
          const bytes = answer(message);
          if (bytes === 'close') {
            send(good(message).subarray(0, 20));
            close();
          } else if (bytes !== null) send(bytes);
          return 'taken';
        });
        await brokenPeer(engine, transport, code);
      });
  });

/** A guest reads from a peer that breaks: all ones, one typed error, the rest of the machine as it was; then a good peer. */
async function brokenPeer(engine: TestEngine, transport: Transport, code: RemoteCode): Promise<void> {
  const errors: RemoteError[] = [];
  const poller = new DeviceGuest();
  const program = poller.poller();
  const { vm, device } = await machineWith(engine, program, transport, {
    onError: (error) => errors.push(error),
    timeoutMillis: code === 'peer-timeout' ? 200 : 20_000,
  });
  await runToEnd(vm);
  assert.deepEqual(
    errors.map((error) => error.code),
    [code],
  );
  assert.deepEqual(resultsOf(vm, 3), [0xffff_ffff, 0xffff_ffff, 0xff]);
  assert.equal(countOf(vm, 0), 1);
  const broken = hashOf(vm);
  // A machine that has no peer at all does the same.
  device.close();
  loadCode(vm, program);
  new DataView(vm.ram.buffer, vm.ram.byteOffset).setUint32(0x9000, 0, true);
  await runToEnd(vm);
  assert.equal(hashOf(vm), broken);
  const [here, there] = transportPair();
  new DeviceServer(testDeviceOptions()).accept(there);
  await device.reconnect(here);
  assert.equal(device.read(reg.id, 4), ID);
  assert.deepEqual(errors.length, 1);
  device.close();
}

test('row 14: a peer that refuses an access is told of, and goes on', async () => {
  const errors: Error[] = [];
  const [here, there] = transportPair();
  const faults: Error[] = [];
  new DeviceServer({ ...testDeviceOptions(), onError: (error) => faults.push(error) }).accept(there);
  const device = await RemoteDevice.connect(here, { onError: (error) => errors.push(error) });
  assert.equal(device.read(reg.broken, 4), 0xffff_ffff, 'the device has thrown');
  assert.deepEqual(
    errors.map((error) => (error as RemoteError).code),
    ['peer-refused'],
  );
  assert.match(errors[0]!.message, /REGION_READ.*error 5/);
  assert.deepEqual(
    faults.map((error) => error.message),
    ['this register is broken'],
  );
  assert.equal(device.read(reg.id, 4), ID);
  assert.equal(device.error, null);
  assert.equal(device.read(0x1000, 4), 0xffff_ffff, 'beyond the region, nobody is asked');
  assert.equal(device.read(0xffe, 4), 0xffff_ffff);
  assert.equal(errors.length, 1);
  device.close();
  assert.equal(device.read(reg.id, 2), 0xffff);
  device.write(reg.sum, 4, 1);
  await assert.rejects(device.reset(), { code: 'not-connected' });
});

test('row 14: a peer that agrees on nothing is not connected to', async () => {
  const version = (text: string, major = 0) => {
    const bytes = new Uint8Array(4 + text.length + 1);
    bytes[0] = major;
    bytes.set(new TextEncoder().encode(text), 4);
    return bytes;
  };
  const answers: readonly [RemoteCode, Uint8Array][] = [
    ['unsupported-version', version('{}', 1)],
    ['bad-message', version('{')],
    ['bad-message', version('[]')],
    ['bad-message', version('{"capabilities":7}')],
    ['bad-message', version('{"capabilities":{"max_data_xfer_size":"many"}}')],
    ['bad-message', version('{"capabilities":{"irq_messages":1}}')],
    ['bad-message', version('{}').subarray(0, 6)],
    ['bad-message', Uint8Array.of(0)],
  ];
  for (const [code, payload] of answers) {
    const transport = scripted((message, send) => {
      send(reply(message, payload));
      return 'taken';
    });
    await assert.rejects(RemoteDevice.connect(transport), (error) => {
      assert.ok(error instanceof RemoteError);
      assert.equal(error.code, code, new TextDecoder().decode(payload));
      return true;
    });
  }
  const endless = scripted((message, send) => {
    if (message.command !== Command.DEVICE_GET_INFO) return 'served';
    send(reply(message, wire.encodeDeviceInfo({ flags: 0, regions: 1e9, irqs: 1 })));
    return 'taken';
  });
  await assert.rejects(RemoteDevice.connect(endless), { code: 'bad-message' });
  const silent = scripted(() => 'taken');
  await assert.rejects(RemoteDevice.connect(silent, { timeoutMillis: 50 }), { code: 'peer-timeout' });
  await assert.rejects(RemoteDevice.connect(silent, { timeoutMillis: -1 }), { code: 'bad-option' });
  await assert.rejects(RemoteDevice.connect(silent, { maxTransferBytes: 12 }), { code: 'bad-option' });
  assert.throws(() => createRing(1000), { code: 'bad-option' });
});

test('row 14: an interrupt line of a dead peer is low', async () => {
  const levels: boolean[] = [];
  const [here, there] = transportPair();
  const server = new DeviceServer(testDeviceOptions());
  server.accept(there);
  const device = await RemoteDevice.connect(here, { lines: [{ set: (high) => levels.push(high) }] });
  device.write(reg.lines, 4, 1);
  assert.equal(device.read(reg.lines, 4), 1);
  server.close();
  device.poll();
  assert.equal(device.error?.code, 'peer-closed');
  assert.deepEqual(levels, [true, false]);
  // Masked lines say nothing, and their level when they are unmasked.
  const [again, other] = transportPair();
  server.accept(other);
  await device.reconnect(again);
  assert.deepEqual(levels, [true, false, true]);
  await device.maskLine(0, true);
  device.write(reg.lines, 4, 0);
  device.write(reg.lines, 4, 1);
  assert.equal(device.read(reg.lines, 4), 1);
  assert.equal(levels.length, 3);
  await device.maskLine(0, false);
  assert.deepEqual(levels, [true, false, true, true]);
  device.close();
});

test('row 14: a machine that may not wait is told so, and slowed down when its writes are not taken', async () => {
  const errors: RemoteError[] = [];
  const [here, there] = transportPair();
  new DeviceServer(testDeviceOptions()).accept(there);
  const device = await RemoteDevice.connect({ ...bound(here), wait: null }, { onError: (e) => errors.push(e) });
  assert.equal(device.blocks, false);
  assert.equal(device.read(reg.id, 4), 0xffff_ffff);
  assert.deepEqual(
    errors.map((error) => error.code),
    ['would-block'],
  );
  assert.equal(await device.startRead(reg.id, 4), ID);
  let waits: void | Promise<void>;
  let written = 0;
  do {
    waits = device.startWrite(reg.sum, 4, 1);
    written++;
  } while (waits === undefined && written < 10_000);
  assert.ok(device.lags);
  await waits;
  assert.equal(device.lags, false);
  assert.equal(await device.startRead(reg.sum, 4), written);
  // Whoever does not wait at all ends with an error before memory does.
  for (let i = 0; i < 100_000 && device.error === null; i++) device.write(reg.sum, 4, 1);
  assert.equal(device.error?.code, 'overrun');
  assert.deepEqual(
    errors.map((error) => error.code),
    ['would-block', 'overrun'],
  );
});

const bound = (transport: Transport) => ({
  open: transport.open.bind(transport),
  send: transport.send.bind(transport),
  close: transport.close.bind(transport),
});

test('row 14: a machine that sends garbage loses the device, and the next one finds it', async () => {
  const errors: Error[] = [];
  const server = new DeviceServer({ ...testDeviceOptions(), onError: (error) => errors.push(error) });
  const hello = wire.encodeVersion({
    major: 0,
    minor: 9,
    capabilities: { maxDataXferSize: 4096, pageSizes: 4096, maxDmaMaps: 1, writeMultiple: true, irqMessages: true },
  });
  const message = (command: number, payload: Uint8Array) => wire.encodeMessage(7, command, 0, payload);
  const version = message(Command.VERSION, hello);
  const attacks: readonly [RemoteCode, ...Uint8Array[]][] = [
    ['bad-message', message(Command.DEVICE_GET_INFO, new Uint8Array(16))], // before VERSION
    ['bad-message', version, version],
    ['unsupported-version', patched(version, 16, 5)],
    ['bad-message', version, message(Command.DEVICE_GET_INFO, new Uint8Array(3))],
    ['bad-message', version, message(Command.REGION_WRITE, wire.encodeRegionAccess(0, 0, 400, value))],
    ['bad-message', version, message(Command.REGION_READ, wire.encodeRegionAccess(0, 0, 4, value))],
    ['bad-message', version, message(Command.DMA_READ, new Uint8Array(16))],
    ['bad-message', version, message(Command.REGION_WRITE_MULTI, new Uint8Array(32).fill(255))],
    ['unexpected-reply', version, wire.encodeMessage(7, Command.DMA_READ, wire.TYPE_REPLY, new Uint8Array(16))],
    ['oversized-message', patched(version, 4, 1 << 30)],
    ['bad-message', new Uint8Array(64).fill(0xff)],
  ];
  for (const [i, [code, ...bytes]] of attacks.entries()) {
    const [here, there] = transportPair();
    assert.equal(server.accept(there), true);
    assert.equal(server.accept(transportPair()[0]), false, 'one at a time');
    let closed = false;
    here.open({ received() {}, closed: () => (closed = true) });
    for (const part of bytes) here.send(part);
    while (here.wait!(0));
    assert.ok(closed);
    assert.equal(errors.length, i + 1);
    assert.equal((errors[i] as RemoteError).code, code, errors[i]!.message);
    assert.equal(server.connected, false);
  }
  const [here, there] = transportPair();
  server.accept(there);
  const device = await RemoteDevice.connect(here);
  assert.equal(device.read(reg.id, 4), ID);
  device.close();
});

test('row 14: a ring that the other thread spoils ends the connection', async () => {
  const { here, there } = createRing(4096);
  const [errors, closed]: [RemoteError[], string[]] = [[], []];
  new DeviceServer(testDeviceOptions()).accept(ringTransport(there));
  const device = await RemoteDevice.connect(ringTransport(here), { onError: (error) => errors.push(error) });
  new Int32Array(here.memory).fill(0x1234_5678, 4, 6); // the heads of both rings
  device.poll();
  assert.deepEqual([errors.map((error) => error.code), closed], [['peer-closed'], []]);
  assert.match(errors[0]!.message, /spoilt/);
  assert.equal(await device.startRead(reg.id, 4), 0xffff_ffff);
});

test('row 14: rings smaller than a message carry it, in both directions, without blocking anybody', async () => {
  const { here, there } = createRing(64);
  new DeviceServer(testDeviceOptions()).accept(ringTransport(there));
  const memory = new TestMemory();
  const device = await RemoteDevice.connect(ringTransport(here), { memory });
  for (let i = 0; i < 200; i++) device.write(reg.sum, 4, i);
  device.write(reg.dmaAddress, 4, 0x100);
  device.write(reg.dmaLength, 4, 3000);
  device.write(reg.dmaCommand, 4, 2);
  await until(() => memory.written.length > 0, 'the transfer');
  assert.deepEqual(memory.written, [[0x100, 3000]]);
  device.close();
});
