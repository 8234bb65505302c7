import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Debugcon } from '../../runtime/devices/debugcon.ts';
import { ExitPort } from '../../runtime/devices/exit-port.ts';
import { FirmwareConfiguration } from '../../runtime/devices/firmware-configuration.ts';
import { irqLine } from '../../runtime/devices/irq-line.ts';
import { PostPort } from '../../runtime/devices/post-port.ts';
import { TestLines, TestMemory } from '../../runtime/devices/test-device.ts';

test('the debug console answers 0xE9 and passes bytes on', () => {
  const sent: number[] = [];
  const device = new Debugcon((byte) => sent.push(byte));
  assert.equal(device.read(0, 1), 0xe9);
  device.write(0, 1, 0x41);
  device.write(0, 2, 0x4342);
  assert.deepEqual(sent, [0x41, 0x42, 0x43]);
});

test('the exit port asks for status code*2+1, of which 8 bits are kept, at any width', () => {
  const asked: number[] = [];
  const device = new ExitPort((status) => asked.push(status));
  device.write(0, 1, 0);
  device.write(0, 1, 0x10);
  device.write(0, 2, 0x100);
  device.write(0, 4, 0xffff_ffff);
  assert.deepEqual(asked, [1, 0x21, 1, 0xff]);
  assert.equal(device.read(0, 4), 0xffff_ffff);
});

test('port 0x80 keeps the last code', () => {
  const device = new PostPort();
  device.write(0, 1, 0x12);
  device.write(0, 1, 0x34);
  assert.equal(device.read(0, 1), 0x34);
  assert.deepEqual(device.state, { code: 0x34 });
});

test('an interrupt line tells changes only', () => {
  const changes: boolean[] = [];
  const line = irqLine((high) => changes.push(high));
  for (const level of [false, true, true, false, false, true]) line.set(level);
  assert.deepEqual(changes, [true, false, true]);
});

test('the firmware configuration gives items byte by byte, from the beginning of the one selected, and zeros behind', () => {
  const device = new FirmwareConfiguration({ memory: 0x1_2345_6789, cpus: 0x103 });
  const read = (item: number, bytes: number) => {
    device.write(0, 2, item);
    return Array.from({ length: bytes }, () => device.read(1, 1));
  };
  assert.deepEqual(read(0, 6), [...Buffer.from('QEMU'), 0, 0]);
  assert.deepEqual(read(1, 4), [1, 0, 0, 0]);
  assert.deepEqual(read(3, 9), [0x89, 0x67, 0x45, 0x23, 1, 0, 0, 0, 0]);
  assert.deepEqual(read(5, 3), [3, 1, 0]);
  assert.deepEqual(read(0x400f, 2), [3, 1], 'the bit for writing names the same item');
  assert.deepEqual(read(0x8000, 2), [0, 0], 'an item of the architecture');
  assert.deepEqual(read(0x1234, 2), [0, 0], 'an item that there is not');
  device.write(0, 2, 0);
  device.write(1, 1, 0xff);
  device.write(0, 1, 5);
  assert.equal(device.read(0, 2), 0x51 << 8, 'half a selector selects nothing; the selector itself cannot be read');
});

test("the test device's memory keeps what it is given at any width, and nothing behind its end", () => {
  const device = new TestMemory('test-register', 4);
  device.write(0, 4, 0x4433_2211);
  device.write(1, 2, 0xbbaa);
  assert.equal(device.read(0, 4), 0x44bb_aa11);
  assert.equal(device.read(3, 1), 0x44);
  device.write(4, 4, 0xffff_ffff);
  assert.equal(device.read(4, 4), 0);
  assert.equal(device.state.bytes.length, 4);
});

test("the test device's lines are what their ports were last told, after a restored state too", () => {
  const levels = [false, false, false];
  const device = new TestLines(levels.map((_, i) => ({ set: (high) => void (levels[i] = high) })));
  device.write(1, 1, 1);
  device.write(2, 1, 0x80);
  assert.deepEqual(levels, [false, true, true]);
  device.write(2, 1, 0);
  device.write(7, 1, 1);
  assert.deepEqual(levels, [false, true, false]);
  device.state = { levels: [true, false, false] };
  device.restored();
  assert.deepEqual(levels, [true, false, false]);
});
