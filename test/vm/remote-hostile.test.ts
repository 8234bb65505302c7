/** Peers that hang, flood, or never listen: across real sockets and threads, with bounded time and memory. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { RemoteError } from '../../runtime/errors.ts';
import { connectBlockingSocket, connectSocket, listenSocket } from '../../runtime/hosts/node-socket.ts';
import { DeviceServer } from '../../runtime/remote/device-server.ts';
import * as wire from '../../runtime/remote/messages.ts';
import { RemoteDevice } from '../../runtime/remote/remote-device.ts';
import { createRing, ringTransport } from '../../runtime/remote/ring-transport.ts';
import { DeviceGuest, machineWith, resultsOf, runToEnd } from './remote-guest.ts';
import { otherProcess, workerThread } from './remote-places.ts';
import { TestMemory, until } from './remote-suite.ts';
import { ID, reg, testDeviceOptions } from './remote-test-device.ts';

function socketPath(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'jit86-hostile-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, 'device');
}

for (const engine of ['interpreter', 'translation'] as const)
  test(`row 14: a process that is stopped is taken for dead when its time is over (${engine})`, async (t) => {
    const place = await otherProcess(true);
    t.after(() => place.close());
    const errors: RemoteError[] = [];
    const driver = new DeviceGuest();
    const { vm, device } = await machineWith(engine, driver.poller(), await place.connect(), {
      timeoutMillis: 500,
      onError: (error) => errors.push(error),
    });
    place.signal('SIGSTOP');
    await runToEnd(vm);
    assert.deepEqual(
      errors.map((error) => error.code),
      ['peer-timeout'],
    );
    assert.deepEqual(resultsOf(vm, 3), [0xffff_ffff, 0xffff_ffff, 0xff]);
    place.signal('SIGCONT');
    await device.reconnect(await place.connect());
    assert.equal(device.read(reg.id, 4), ID);
    device.close();
  });

test('row 14: nobody at the socket, or nobody who listens, is an error when connecting', async (t) => {
  const path = socketPath(t);
  for (const connect of [connectSocket, connectBlockingSocket])
    await assert.rejects(connect(path), (error) => error instanceof RemoteError && error.code === 'connect-failed');
  await assert.rejects(
    listenSocket('/nowhere/at/all', () => {}),
    { code: 'connect-failed' },
  );
  const sockets: Socket[] = [];
  const silent = createServer((socket) => sockets.push(socket.on('error', () => {})));
  await new Promise<void>((resolve) => void silent.listen(path, resolve));
  for (const connect of [connectSocket, connectBlockingSocket])
    await assert.rejects(RemoteDevice.connect(await connect(path), { timeoutMillis: 100 }), { code: 'peer-timeout' });
  for (const socket of sockets) socket.destroy();
  silent.close();
});

test('row 14: a server at a socket outlives clients that send garbage', async (t) => {
  const path = socketPath(t);
  const errors: Error[] = [];
  const server = new DeviceServer({ ...testDeviceOptions(), onError: (error) => errors.push(error) });
  const listening = await listenSocket(path, (transport) => void server.accept(transport));
  let seed = 1;
  const random = () => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) >>> 16;
  for (let client = 0; client < 30; client++) {
    const socket = await new Promise<Socket>((resolve) => {
      const made = createConnection(path, () => resolve(made));
    });
    socket.on('error', () => {});
    const ended = new Promise<void>((resolve) => void socket.on('close', () => resolve()));
    socket.resume();
    const bytes = Uint8Array.from({ length: 20 + (random() % 200) }, () => random());
    // Every third begins well.
    if (client % 3 === 0) bytes.set([1, 0, 1, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    socket.end(bytes);
    await ended;
    await until(() => !server.connected, 'the server notices');
  }
  assert.equal(errors.length, 30);
  for (const error of errors) assert.ok(error instanceof RemoteError);
  const device = await RemoteDevice.connect(await connectSocket(path));
  assert.equal(await device.startRead(reg.id, 4), ID);
  device.close();
  await listening.close();
});

test('row 14: a device that floods the machine with interrupts leaves it its event loop and gets its accesses', async (t) => {
  const place = await workerThread(true);
  t.after(() => place.close());
  let edges = 0;
  const device = await RemoteDevice.connect(await place.connect(), {
    lines: [{ set() {} }, { set: () => edges++ }],
    timeoutMillis: 60_000,
  });
  device.write(reg.lines, 4, 0x40);
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  await until(() => edges > 20_000 && turns > 20, 'the flood, and turns beside it');
  for (let i = 0; i < 50; i++) assert.equal(device.read(reg.id, 4), ID);
  device.write(reg.lines, 4, 0);
  assert.equal(device.read(reg.lines, 4), 0);
  device.poll();
  const before = edges;
  await new Promise((resolve) => setTimeout(resolve, 20));
  device.poll();
  assert.equal(edges, before, 'it has ended');
  clearInterval(timer);
  device.close();
});

test('row 14: a device that asks and never listens is hung up on before memory is full', async () => {
  const { here, there } = createRing(4096);
  const errors: RemoteError[] = [];
  const server = new DeviceServer(testDeviceOptions());
  const peer = ringTransport(there);
  server.accept(peer);
  const device = await RemoteDevice.connect(ringTransport(here), {
    memory: new TestMemory(),
    onError: (error) => errors.push(error),
  });
  // From here on the other end of the ring is written to by hand, and never read.
  const control = new Int32Array(here.memory);
  const ring = new Uint8Array(here.memory, 64, 4096);
  const request = wire.encodeMessage(1, wire.Command.DMA_READ, 0, wire.encodeDmaAccess(0, 0x1_0000));
  for (let i = 0; i < 3000 && device.error === null; i++) {
    const head = control[4]!;
    for (const [k, byte] of request.entries()) ring[(head + k) & 4095] = byte;
    Atomics.store(control, 4, (head + request.length) | 0);
    device.poll();
  }
  assert.deepEqual(
    errors.map((error) => error.code),
    ['peer-closed'],
  );
  assert.match(errors[0]!.message, /does not take what it is sent/);
  server.close();
});
