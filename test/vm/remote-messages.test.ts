/** The messages, byte for byte as the vfio-user specification has them, and what is made of damaged ones. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RemoteError } from '../../runtime/errors.ts';
import { DeviceServer } from '../../runtime/remote/device-server.ts';
import { MessageReader } from '../../runtime/remote/message-reader.ts';
import * as wire from '../../runtime/remote/messages.ts';
import { RemoteDevice } from '../../runtime/remote/remote-device.ts';
import { type Transport, transportPair } from '../../runtime/remote/transport.ts';
import { randomNumbers } from '../isa/random.ts';
import { TestMemory } from './remote-suite.ts';
import { reg, testDeviceOptions } from './remote-test-device.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const unhex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'));
const { Command } = wire;

/** What both sides say of a session, by side. */
async function recorded(act: (device: RemoteDevice) => void | Promise<void>) {
  const [here, there] = transportPair();
  const sent: string[] = [];
  const answered: string[] = [];
  const listening = (transport: Transport, log: string[]): Transport => ({
    wait: (millis) => transport.wait!(millis),
    open: (listener) => transport.open(listener),
    close: () => transport.close(),
    send(bytes) {
      log.push(hex(bytes));
      transport.send(bytes);
    },
  });
  new DeviceServer(testDeviceOptions()).accept(listening(there, answered));
  const memory = new TestMemory();
  const device = await RemoteDevice.connect(listening(here, sent), { memory });
  const greeting = { sent: sent.splice(0), answered: answered.splice(0) };
  await act(device);
  device.close();
  return { sent, answered, greeting };
}

test('row 14: the first messages are those of the specification', async () => {
  const { greeting } = await recorded(() => {});
  const [version, info, region, , irq, map, second, unmask] = greeting.sent;
  // Message 1, VERSION (1), flags and error 0; version 0.1; JSON with a NUL behind it.
  assert.match(version!, /^01000100.{8}0000000000000000000001007b22.*7d7d00$/);
  const json = JSON.parse(Buffer.from(version!.slice(40, -2), 'hex').toString());
  assert.equal(json.capabilities.max_data_xfer_size, 1 << 20);
  assert.equal(json.capabilities.write_multiple, true);
  assert.equal(json.capabilities.max_msg_fds, 0);
  assert.equal(info, '0200 0400 20000000 00000000 00000000 10000000 00000000 00000000 00000000'.replaceAll(' ', ''));
  assert.equal(
    region,
    '0300 0500 30000000 00000000 00000000 20000000 00000000 00000000 00000000 0000000000000000 0000000000000000'.replaceAll(
      ' ',
      '',
    ),
  );
  assert.equal(irq, '0500 0700 20000000 00000000 00000000 10000000 00000000 00000000 00000000'.replaceAll(' ', ''));
  // DMA_MAP of the RAM to read and write (flags 3), of the ROM to read: argsz, flags, offset, address, size.
  assert.equal(
    map,
    '0600 0200 30000000 00000000 00000000 20000000 03000000 0000000000000000 0000000000000000 0000010000000000'.replaceAll(
      ' ',
      '',
    ),
  );
  assert.equal(
    second!.slice(32),
    '20000000 01000000 0000000000000000 0000020000000000 0010000000000000'.replaceAll(' ', ''),
  );
  // DEVICE_SET_IRQS: argsz 20, DATA_NONE and ACTION_UNMASK, index 0, start 0, count 2.
  assert.equal(unmask!.slice(32), '14000000 11000000 00000000 00000000 02000000'.replaceAll(' ', ''));
  // The reply to DEVICE_GET_INFO: reset is there; two regions, one kind of interrupt.
  assert.equal(
    greeting.answered[1],
    '0200 0400 20000000 01000000 00000000 10000000 01000000 02000000 01000000'.replaceAll(' ', ''),
  );
  // Region 0 can be read and written and has 4096 bytes.
  assert.equal(
    greeting.answered[2]!.slice(32),
    '20000000 03000000 00000000 00000000 0010000000000000 0000000000000000'.replaceAll(' ', ''),
  );
});

test('row 14: reads, posted writes and interrupts are those of the specification', async () => {
  const { sent, answered } = await recorded((device) => {
    device.write(reg.scratch, 2, 0xbeef);
    device.read(reg.scratch, 4);
    device.write(reg.lines, 4, 1);
    device.read(reg.lines, 1);
  });
  const bodies = (list: string[]) =>
    list.map((message) => message.slice(4).replace(/^(.{4})(.{8})(.{8})(.{8})/, '$1 $2 $3 $4 '));
  assert.deepEqual(bodies(sent), [
    // REGION_WRITE (10), 34 bytes, No_reply; offset 4, region 0, count 2, data
    '0a00 22000000 10000000 00000000 04000000000000000000000002000000efbe',
    '0900 20000000 00000000 00000000 04000000000000000000000004000000',
    '0a00 24000000 10000000 00000000 2c00000000000000000000000400000001000000',
    '0900 20000000 00000000 00000000 2c000000000000000000000001000000',
  ]);
  assert.deepEqual(bodies(answered), [
    '0900 24000000 01000000 00000000 04000000000000000000000004000000efbe0000',
    // DEVICE_SET_IRQS (8), No_reply: argsz 21, DATA_BOOL and ACTION_TRIGGER, index 0, start 0, count 1: high
    '0800 25000000 10000000 00000000 150000002200000000000000000000000100000001',
    '0900 21000000 01000000 00000000 2c00000000000000000000000100000001',
  ]);
});

test('row 14: several writes in one message, wide accesses and odd commands are answered', async () => {
  const [here, there] = transportPair();
  new DeviceServer(testDeviceOptions()).accept(there);
  const reader = new MessageReader(1 << 20);
  here.open({ received: (bytes) => reader.push(bytes), closed: (reason) => assert.fail(reason) });
  const ask = (command: number, payload: Uint8Array): wire.Message => {
    here.send(wire.encodeMessage(9, command, 0, payload));
    here.wait!(0);
    const answer = reader.next();
    assert.ok(answer?.reply);
    assert.deepEqual([answer.id, answer.command], [9, command]);
    return answer;
  };
  const capabilities = { maxDataXferSize: 64, pageSizes: 4096, maxDmaMaps: 4, writeMultiple: true, irqMessages: false };
  const version = wire.decodeVersion(
    ask(Command.VERSION, wire.encodeVersion({ major: 0, minor: 7, capabilities })).payload,
  );
  assert.deepEqual([version.major, version.minor, version.capabilities.irqMessages], [0, 1, false]);
  const bytes = (...values: number[]) => Uint8Array.from(values);
  const multi = wire.encodeWriteMulti([
    { offset: reg.scratch, region: 0, count: 4, data: bytes(1, 2, 3, 4) },
    { offset: reg.scratch + 4, region: 0, count: 3, data: bytes(5, 6, 7) },
    { offset: 0, region: 1, count: 8, data: bytes(8, 9, 10, 11, 12, 13, 14, 15) },
  ]);
  assert.equal(multi.length, 8 + 3 * 24);
  assert.equal(hex(ask(Command.REGION_WRITE_MULTI, multi).payload), '0300000000000000');
  const wide = ask(Command.REGION_READ, wire.encodeRegionAccess(reg.scratch - 1, 0, 10));
  assert.equal(hex(wide.payload.subarray(16)), '3801020304050607 0000'.replace(' ', ''));
  assert.equal(hex(ask(Command.REGION_READ, wire.encodeRegionAccess(1, 1, 7)).payload.subarray(16)), '090a0b0c0d0e0f');
  const error = (command: number, payload: Uint8Array) => ask(command, payload).error;
  const { Errno } = wire;
  assert.equal(error(Command.REGION_READ, wire.encodeRegionAccess(0xffd, 0, 4)), Errno.EINVAL);
  assert.equal(error(Command.REGION_READ, wire.encodeRegionAccess(2 ** 60, 0, 4)), Errno.EINVAL);
  assert.equal(error(Command.REGION_READ, wire.encodeRegionAccess(0, 2, 4)), Errno.EINVAL);
  assert.equal(error(Command.REGION_READ, wire.encodeRegionAccess(0, 0, 0xffff_ffff)), Errno.EINVAL);
  assert.equal(
    error(Command.DEVICE_GET_REGION_INFO, wire.encodeRegionInfo({ flags: 0, index: 2, size: 0 })),
    Errno.EINVAL,
  );
  assert.equal(error(Command.DEVICE_GET_IRQ_INFO, wire.encodeIrqInfo({ flags: 0, index: 1, count: 0 })), Errno.EINVAL);
  assert.equal(error(Command.DEVICE_GET_REGION_IO_FDS, new Uint8Array(16)), Errno.EOPNOTSUPP);
  assert.equal(error(Command.DEVICE_FEATURE, new Uint8Array(8)), Errno.EOPNOTSUPP);
  const map = { flags: 3, address: 0x1000, size: 0x2000 };
  assert.equal(error(Command.DMA_MAP, wire.encodeDmaMap(map)), null);
  assert.equal(error(Command.DMA_MAP, wire.encodeDmaMap({ ...map, address: 0x2000 })), Errno.EEXIST);
  assert.equal(error(Command.DMA_MAP, wire.encodeDmaMap({ ...map, address: 0x8000, size: 0 })), Errno.EINVAL);
  assert.equal(error(Command.DMA_UNMAP, wire.encodeDmaUnmap(0x1000, 0x1000)), Errno.ENOENT);
  assert.equal(
    hex(ask(Command.DMA_UNMAP, wire.encodeDmaUnmap(0x1000, 0x2000)).payload),
    hex(wire.encodeDmaUnmap(0x1000, 0x2000)),
  );
  const none = new Uint8Array(0);
  const irqs = (flags: number, start: number, count: number) =>
    wire.encodeIrqSet({ flags, index: 0, start, count, data: none });
  assert.equal(
    error(Command.DEVICE_SET_IRQS, irqs(wire.IRQ_SET_DATA_NONE | wire.IRQ_SET_ACTION_MASK, 0, 3)),
    Errno.EINVAL,
  );
  assert.equal(error(Command.DEVICE_SET_IRQS, irqs(4 | wire.IRQ_SET_ACTION_TRIGGER, 0, 1)), Errno.EOPNOTSUPP);
  assert.equal(error(Command.DEVICE_SET_IRQS, irqs(wire.IRQ_SET_DATA_NONE, 0, 1)), Errno.EINVAL);
  assert.equal(error(Command.DEVICE_RESET, none), null);
});

test('row 14: messages are cut out of bytes that come in any pieces', () => {
  const messages = [0, 1, 5000, 3, 70_000].map((length, i) =>
    wire.encodeMessage(i, Command.DMA_WRITE, 0, new Uint8Array(length).fill(i)),
  );
  const all = Buffer.concat(messages);
  for (const piece of [1, 7, 16, 1000, all.length]) {
    const reader = new MessageReader(1 << 20);
    const got: wire.Message[] = [];
    for (let at = 0; at < all.length; at += piece) {
      reader.push(all.subarray(at, at + piece));
      for (let next = reader.next(); next !== null; next = reader.next()) got.push(next);
    }
    assert.deepEqual(
      got.map(({ id, command, payload }) => hex(wire.encodeMessage(id, command, 0, payload))),
      messages.map(hex),
    );
    assert.equal(reader.next(), null);
  }
  assert.throws(() => {
    const reader = new MessageReader(100);
    reader.push(unhex('0000 0c00 65000000 00000000 00000000'));
    reader.next();
  }, /101 bytes; at most 100/);
});

test('row 14: damaged streams in both directions end in a typed error or in nothing at all', async () => {
  const { sent, greeting, answered } = await recorded(async (device) => {
    device.write(reg.sum, 4, 5);
    device.read(reg.sum, 4);
    device.write(reg.dmaAddress, 4, 0x100);
    device.write(reg.dmaLength, 4, 64);
    device.write(reg.dmaCommand, 4, 2);
    for (let i = 0; i < 20; i++) await null;
    device.read(reg.dmaStatus, 4);
    await device.reset();
  });
  const fromMachine = [...greeting.sent, ...sent].map(unhex);
  const fromDevice = [...greeting.answered, ...answered].map(unhex);
  assert.ok(fromDevice.some((bytes) => bytes[2] === Command.DMA_WRITE));
  const next = randomNumbers(0x5eed);
  /** The stream with some bits, sizes and ends changed. */
  const damage = (messages: readonly Uint8Array[]): Uint8Array[] => {
    const copy = messages.map((bytes) => bytes.slice());
    for (let i = next(4) + 1; i > 0; i--) {
      const bytes = copy[next(copy.length)]!;
      switch (next(5)) {
        case 0:
          bytes[next(bytes.length)] = next(256);
          break;
        case 1:
          bytes[next(Math.min(bytes.length, 32))]! ^= 1 << next(8);
          break;
        case 2:
          copy.splice(next(copy.length), 1, bytes.subarray(0, next(bytes.length)));
          break;
        case 3:
          copy.splice(next(copy.length), 0, bytes);
          break;
        default:
          copy.splice(
            next(copy.length),
            0,
            Uint8Array.from({ length: next(40) + 1 }, () => next(256)),
          );
      }
    }
    return copy;
  };
  const codes = new Map<string, number>();
  const count = (name: string) => codes.set(name, (codes.get(name) ?? 0) + 1);
  for (let run = 0; run < 2000; run++) {
    const [here, there] = transportPair();
    const server = new DeviceServer({
      ...testDeviceOptions(),
      onError(error) {
        if (error instanceof RemoteError) count(error.code);
        else assert.equal(error.message, 'this register is broken');
      },
    });
    server.accept(there);
    here.open({ received() {}, closed() {} });
    for (const bytes of damage(fromMachine)) here.send(bytes);
    here.wait!(0);
    if (server.connected) count('alive');
    server.close();
  }
  for (let run = 0; run < 2000; run++) {
    const [here, there] = transportPair();
    const memory = new TestMemory();
    const stream = damage(fromDevice);
    // Each request gets what was recorded, up to the next reply.
    there.open({
      received(bytes) {
        if ((bytes[8]! & wire.FLAG_NO_REPLY) !== 0) return;
        for (let reply = false; !reply && stream.length > 0; ) {
          const answer = stream.shift()!;
          reply = (answer[8]! & 15) === wire.TYPE_REPLY;
          there.send(answer);
        }
      },
      closed() {},
    });
    const device = await RemoteDevice.connect(here, { memory, timeoutMillis: 1 }).catch((error: unknown) => error);
    if (device instanceof RemoteDevice) {
      device.read(reg.sum, 4);
      count(device.error?.code ?? 'alive');
      device.close();
    } else if (device instanceof RemoteError) count(device.code);
    else throw device;
    for (const [address, length] of memory.written) assert.ok(address + length <= 0x1_0000);
  }
  for (const code of ['alive', 'bad-message', 'oversized-message', 'unexpected-reply'])
    assert.ok((codes.get(code) ?? 0) > 0, `${code} among ${JSON.stringify([...codes])}`);
});
