import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AccessSize, Device } from '../runtime/devices/device.ts';
import { ConfigurationError } from '../runtime/errors.ts';
import { MmioBus, PortBus } from '../runtime/io/bus.ts';

/** A device of plain bytes that remembers how it was accessed. */
function bytes(name: string, length: number): Device & { memory: Uint8Array; log: string[] } {
  const memory = new Uint8Array(length);
  const log: string[] = [];
  return {
    name,
    memory,
    log,
    read(offset: number, size: AccessSize) {
      log.push(`r${size}@${offset}`);
      let value = 0;
      for (let index = 0; index < size; index++) value += memory[offset + index]! * 2 ** (8 * index);
      return value;
    },
    write(offset: number, size: AccessSize, value: number) {
      log.push(`w${size}@${offset}`);
      for (let index = 0; index < size; index++) memory[offset + index] = value >>> (8 * index);
    },
  };
}

test('a port access reaches its device with the offset in its own region', () => {
  const bus = new PortBus();
  const device = bytes('dev', 8);
  bus.attach(0x3f8, 8, device);
  bus.write(0x3fb, 1, 0x80);
  assert.equal(bus.read(0x3fb, 1), 0x80);
  bus.write(0x3fc, 4, 0xdead_beef);
  assert.equal(bus.read(0x3fc, 4), 0xdead_beef);
  assert.deepEqual(device.log, ['w1@3', 'r1@3', 'w4@4', 'r4@4']);
});

test('unclaimed ports read all ones at every width and swallow writes', () => {
  const bus = new PortBus();
  assert.equal(bus.read(0x1234, 1), 0xff);
  assert.equal(bus.read(0x1234, 2), 0xffff);
  assert.equal(bus.read(0xffff, 4), 0xffff_ffff);
  bus.write(0xffff, 4, 1);
  assert.equal(bus.claims(0x1234), false);
});

test('a port access across the end of a region is made of bytes', () => {
  const bus = new PortBus();
  const left = bytes('left', 2);
  const right = bytes('right', 2);
  bus.attach(0x10, 2, left);
  bus.attach(0x12, 2, right);
  bus.write(0x11, 2, 0xbbaa);
  assert.deepEqual([...left.memory, ...right.memory], [0, 0xaa, 0xbb, 0]);
  assert.equal(bus.read(0x11, 4), 0xff00_bbaa);
  const top = bytes('top', 1);
  bus.attach(0xffff, 1, top);
  top.memory[0] = 0x77;
  assert.equal(bus.read(0xffff, 2), 0xff77);
});

test('overlapping ports are refused, with both devices named, and nothing changes', () => {
  const bus = new PortBus();
  const first = bytes('first', 8);
  bus.attach(0x100, 8, first);
  assert.throws(
    () => bus.attach(0x104, 8, bytes('second', 8)),
    (error) => {
      assert.ok(error instanceof ConfigurationError);
      assert.equal(error.code, 'region-overlap');
      assert.match(error.message, /second at 0x104-0x10b overlaps first at 0x100-0x107/);
      return true;
    },
  );
  assert.equal(bus.claims(0x108), false);
  bus.attach(0x108, 8, bytes('third', 8));
});

test('a region must fit the 64 Ki ports', () => {
  const bus = new PortBus();
  for (const [base, length] of [
    [-1, 1],
    [0xffff, 2],
    [0, 0],
    [0.5, 1],
    [Number.NaN, 1],
  ] as const) {
    assert.throws(() => bus.attach(base, length, bytes('odd', 1)), { code: 'bad-region' });
  }
});

test('a detached device leaves all its ports, which another may take', () => {
  const bus = new PortBus();
  const first = bytes('first', 8);
  bus.attach(0x100, 4, first);
  bus.attach(0x200, 4, first);
  bus.detach(first);
  assert.equal(bus.read(0x100, 1), 0xff);
  const second = bytes('second', 8);
  bus.attach(0x200, 8, second);
  bus.write(0x207, 1, 9);
  assert.equal(second.memory[7], 9);
});

test('memory-mapped regions are found whatever the order of attaching', () => {
  const bus = new MmioBus();
  const devices = [5, 1, 4, 2, 3].map((index) => ({ index, device: bytes(`d${index}`, 0x1000) }));
  for (const { index, device } of devices) bus.attach(index * 0x1_0000_0000, 0x1000, device);
  for (const { index, device } of devices) {
    bus.write(index * 0x1_0000_0000 + 0xffc, 4, index);
    assert.equal(device.memory[0xffc], index);
    assert.equal(bus.read(index * 0x1_0000_0000 + 0xffc, 4), index);
    assert.equal(bus.claims(index * 0x1_0000_0000 + 0x1000), false);
  }
  assert.equal(bus.read(0, 4), 0xffff_ffff);
  bus.detach(devices[0]!.device);
  assert.equal(bus.claims(0x5_0000_0000), false);
});

test('overlapping memory regions are refused from below, above and inside', () => {
  const bus = new MmioBus();
  bus.attach(0x1000, 0x1000, bytes('middle', 1));
  for (const [base, length] of [
    [0x0800, 0x801],
    [0x1fff, 1],
    [0x1400, 0x10],
    [0, 0x10000],
    [0x1000, 0x1000],
  ] as const) {
    assert.throws(() => bus.attach(base, length, bytes('other', 1)), /other at .* overlaps middle at 0x1000-0x1fff/);
  }
  bus.attach(0x2000, 0x1000, bytes('above', 1));
  bus.attach(0x0000, 0x1000, bytes('below', 1));
});

test('wide and unaligned memory accesses are made of aligned parts', () => {
  const bus = new MmioBus();
  const device = bytes('dev', 32);
  bus.attach(0x1000, 32, device);
  bus.writeBytes(0x1008, Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]));
  assert.deepEqual(device.log.splice(0), ['w4@8', 'w4@12']);
  const into = new Uint8Array(7);
  bus.readBytes(0x1009, into);
  assert.deepEqual([...into], [2, 3, 4, 5, 6, 7, 8]);
  assert.deepEqual(device.log.splice(0), ['r1@9', 'r2@10', 'r4@12']);
  bus.write(0x101e, 4, 0x4433_2211);
  assert.deepEqual([...device.memory.slice(30)], [0x11, 0x22]);
  assert.equal(bus.read(0x101e, 4), 0xffff_2211);
});
