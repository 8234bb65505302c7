import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Debugcon } from '../../runtime/devices/debugcon.ts';
import { ExitPort } from '../../runtime/devices/exit-port.ts';
import { irqLine } from '../../runtime/devices/irq-line.ts';
import { PostPort } from '../../runtime/devices/post-port.ts';

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
