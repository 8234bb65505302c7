import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../runtime/devices/clock.ts';
import { Pit8254, pitHertz } from '../../runtime/devices/pit-8254.ts';

function timer() {
  const clock = new VirtualClock();
  const edges: number[] = [];
  let level = false;
  const pit = new Pit8254(clock, {
    set(high) {
      if (high && !level) edges.push(clock.now());
      level = high;
    },
  });
  const at = (counts: number) => Math.ceil((counts * 1e9) / pitHertz);
  const program = (channel: number, mode: number, reload: number) => {
    pit.write(3, 1, (channel << 6) | 0x30 | (mode << 1));
    pit.write(channel, 1, reload & 0xff);
    pit.write(channel, 1, reload >> 8);
  };
  return { clock, pit, edges, at, program, level: () => level };
}

test('mode 2 interrupts once in each period, and does not drift', () => {
  const { clock, edges, at, program } = timer();
  program(0, 2, 11932);
  edges.length = 0;
  clock.advanceTo(at(11932 * 5));
  assert.deepEqual(
    edges,
    [1, 2, 3, 4, 5].map((n) => at(11932 * n)),
  );
});

test('mode 0 interrupts once when the count is over; a new count lowers the line', () => {
  const { clock, edges, at, program, level } = timer();
  program(0, 0, 1000);
  assert.equal(level(), false);
  clock.advanceTo(at(1000) - 1);
  assert.equal(level(), false);
  clock.advanceTo(at(1000));
  assert.equal(level(), true);
  clock.advanceTo(at(200_000));
  assert.equal(edges.length, 1);
  program(0, 0, 10);
  assert.equal(level(), false);
});

test('a latched count stands still while it is read, low byte first', () => {
  const { clock, pit, at, program } = timer();
  program(0, 2, 0x1234);
  clock.advanceTo(at(0x34));
  pit.write(3, 1, 0x00);
  clock.advanceTo(at(0x100));
  assert.equal(pit.read(0, 1) | (pit.read(0, 1) << 8), 0x1200);
  assert.equal(pit.read(0, 1) | (pit.read(0, 1) << 8), 0x1134);
});

test('the read-back command latches count and status of several counters', () => {
  const { clock, pit, at, program } = timer();
  program(0, 3, 1000);
  clock.advanceTo(at(100));
  pit.write(3, 1, 0xc2);
  assert.equal(pit.read(0, 1), 0x80 | 0x30 | 6, 'output high, both bytes, mode 3');
  assert.equal(pit.read(0, 1) | (pit.read(0, 1) << 8), 800, 'mode 3 counts by two');
  clock.advanceTo(at(600));
  pit.write(3, 1, 0xe2);
  assert.equal(pit.read(0, 1) & 0x80, 0, 'the second half is low');
});

test('one-byte access, BCD, and zero as the longest count', () => {
  const { clock, pit, at, edges } = timer();
  pit.write(3, 1, 0x14); // counter 0, low byte only, mode 2
  pit.write(0, 1, 200);
  edges.length = 0;
  clock.advanceTo(at(200));
  assert.equal(edges.length, 1);
  pit.write(3, 1, 0x35);
  pit.write(0, 1, 0);
  pit.write(0, 1, 0x10); // 1000, decimal
  pit.write(3, 1, 0x00);
  assert.equal(pit.read(0, 1) | (pit.read(0, 1) << 8), 0x1000);
  pit.write(3, 1, 0x34);
  pit.write(0, 1, 0);
  pit.write(0, 1, 0);
  edges.length = 0;
  const from = clock.now();
  clock.advanceTo(from + at(65535));
  assert.equal(edges.length, 0);
  clock.advanceTo(from + at(65536));
  assert.equal(edges.length, 1);
});

test('counter 2 waits for its gate, and shows its end at the output', () => {
  const { clock, pit, at, program } = timer();
  program(2, 0, 1000);
  clock.advanceTo(at(5000));
  assert.equal(pit.speakerOutput, false);
  pit.speakerGate = true;
  clock.advanceTo(at(5400));
  pit.speakerGate = false;
  clock.advanceTo(at(9000));
  assert.equal(pit.speakerOutput, false);
  pit.speakerGate = true;
  clock.advanceTo(at(9500));
  assert.equal(pit.speakerOutput, false);
  clock.advanceTo(at(9610));
  assert.equal(pit.speakerOutput, true);
});
