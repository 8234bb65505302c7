/** The clock, power management and the board's own ports. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AcpiPower, acpiTimerHertz } from '../../runtime/devices/acpi-power.ts';
import { VirtualClock } from '../../runtime/devices/clock.ts';
import { RtcCmos } from '../../runtime/devices/rtc-cmos.ts';
import { ResetControl, ResetLine, SpeakerPort, SystemControlPort } from '../../runtime/devices/system-control.ts';

const second = 1e9;

function rtc() {
  const clock = new VirtualClock();
  const levels: boolean[] = [];
  const device = new RtcCmos(clock, { set: (high) => void levels.push(high) }, Date.UTC(2026, 1, 28, 23, 59, 58));
  const read = (index: number) => {
    device.write(0, 1, index);
    return device.read(1, 1);
  };
  const write = (index: number, value: number) => {
    device.write(0, 1, index);
    device.write(1, 1, value);
  };
  const time = () => [0x32, 9, 8, 7, 6, 4, 2, 0].map((index) => read(index).toString(16)).join(' ');
  return { clock, levels, device, read, write, time };
}

test('the clock shows date and time in BCD, and runs over the end of a month', () => {
  const { clock, time } = rtc();
  assert.equal(time(), '20 26 2 28 7 23 59 58');
  clock.advanceTo(2 * second);
  assert.equal(time(), '20 26 3 1 1 0 0 0');
});

test('binary and 12-hour forms', () => {
  const { write, time } = rtc();
  write(11, 0x06);
  assert.equal(time(), '14 1a 2 1c 7 17 3b 3a');
  write(11, 0x00);
  assert.equal(time(), '20 26 2 28 7 91 59 58');
});

test('SET holds the time still while it is written', () => {
  const { clock, write, time } = rtc();
  write(11, 0x82);
  for (const [index, value] of [
    [0x32, 0x20],
    [9, 0x30],
    [8, 0x12],
    [7, 0x24],
    [4, 0x18],
    [2, 0x30],
    [0, 0],
  ] as const)
    write(index, value);
  clock.advanceTo(5 * second);
  assert.equal(time(), '20 30 12 24 3 18 30 0');
  write(11, 0x02);
  clock.advanceTo(8 * second);
  assert.equal(time(), '20 30 12 24 3 18 30 3');
});

test('the update flag is up shortly before each second', () => {
  const { clock, read } = rtc();
  clock.advanceTo(0.5 * second);
  assert.equal(read(10) & 0x80, 0);
  clock.advanceTo(second - 100_000);
  assert.equal(read(10) & 0x80, 0x80);
  clock.advanceTo(second);
  assert.equal(read(10) & 0x80, 0);
});

test('periodic, update and alarm interrupts; reading C ends them', () => {
  const { clock, levels, read, write } = rtc();
  write(11, 0x42);
  clock.advanceTo(976_562);
  assert.deepEqual(levels, []);
  clock.advanceTo(976_563);
  assert.deepEqual(levels, [true]);
  assert.equal(read(12), 0xc0);
  assert.deepEqual(levels, [true, false]);
  assert.equal(read(12), 0);
  write(11, 0x12);
  levels.length = 0;
  clock.advanceTo(second);
  assert.equal(read(12) & 0x90, 0x90);
  write(11, 0x22);
  write(1, 0x01);
  write(3, 0xff);
  write(5, 0xff);
  levels.length = 0;
  clock.advanceTo(2.5 * second);
  assert.deepEqual(levels, []);
  clock.advanceTo(3 * second); // 00:00:01
  assert.deepEqual(levels, [true]);
  assert.equal(read(12) & 0xa0, 0xa0);
});

test('CMOS memory keeps what is written; D says that the battery is good', () => {
  const { read, write, device } = rtc();
  write(0x55, 0xa7);
  device.preset(0x34, 0x1c0);
  assert.deepEqual([read(0x55), read(0x34), read(13)], [0xa7, 0xc0, 0x80]);
});

function power() {
  const clock = new VirtualClock();
  const levels: boolean[] = [];
  let offs = 0;
  const device = new AcpiPower(clock, { set: (high) => void levels.push(high) }, () => offs++);
  return { clock, device, levels, offs: () => offs };
}

test('S5 with SLP_EN switches off; another sleep type does not; SCI_EN is always set', () => {
  const { device, offs } = power();
  assert.equal(device.read(4, 2), 1);
  device.write(4, 2, (1 << 10) | (1 << 13));
  assert.equal(offs(), 0);
  device.write(4, 2, 5 << 10);
  assert.equal(offs(), 0);
  device.write(4, 2, (5 << 10) | (1 << 13));
  assert.equal(offs(), 1);
  assert.equal(device.read(4, 2), (5 << 10) | 1);
});

test('the power management timer runs at 3.579545 MHz in 24 bits and interrupts when bit 23 changes', () => {
  const { clock, device, levels } = power();
  clock.advanceTo(second);
  assert.equal(device.read(8, 4), acpiTimerHertz);
  device.write(2, 2, 1);
  clock.advanceTo(Math.ceil((2 ** 23 * 1e9) / acpiTimerHertz));
  assert.equal(levels.at(-1), true);
  assert.equal(device.read(0, 2), 1);
  device.write(0, 2, 1);
  assert.equal(levels.at(-1), false);
  clock.advanceTo(10 * second);
  assert.equal(device.read(8, 4), (acpiTimerHertz * 10) & 0xff_ffff);
});

test('port 61H: gate and output of counter 2, refresh toggles', () => {
  const clock = new VirtualClock();
  const timer = { speakerGate: false, speakerOutput: true };
  const port = new SpeakerPort(clock, timer);
  port.write(0, 1, 0xff);
  assert.equal(timer.speakerGate, true);
  assert.equal(port.read(), 0x23);
  clock.advanceTo(16_000);
  assert.equal(port.read(), 0x33);
});

test('the three ways to reset, and A20', () => {
  let resets = 0;
  const reset = () => resets++;
  const gates: boolean[] = [];
  const control = new SystemControlPort((open) => void gates.push(open), reset);
  control.write(0, 1, 0);
  control.write(0, 1, 3);
  control.write(0, 1, 3);
  assert.deepEqual(gates, [false, true, true]);
  assert.equal(resets, 1);
  const line = new ResetLine(reset);
  line.write(0, 1, 0xff);
  assert.equal(resets, 1);
  line.write(0, 1, 0xfe);
  assert.equal(resets, 2);
  assert.equal(line.read(), 0xff);
  const cf9 = new ResetControl(reset);
  cf9.write(0, 1, 2);
  cf9.write(0, 1, 6);
  assert.equal(resets, 3);
});
