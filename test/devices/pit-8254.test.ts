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

/** Writes a count without a control word. */
function count(pit: Pit8254, channel: number, value: number): void {
  pit.write(channel, 1, value & 0xff);
  pit.write(channel, 1, value >> 8);
}
function shown(pit: Pit8254, channel: number): number {
  pit.write(3, 1, channel << 6);
  return pit.read(channel, 1) | (pit.read(channel, 1) << 8);
}
const NULL_COUNT = 0x40;
function status(pit: Pit8254, channel: number): number {
  pit.write(3, 1, 0xe0 | (2 << channel));
  return pit.read(channel, 1);
}

test('mode 2 takes a new count at the end of the period, and shows until then that it has not', () => {
  const { clock, pit, edges, at, program } = timer();
  program(0, 2, 1000);
  edges.length = 0;
  clock.advanceTo(at(1300));
  assert.equal(status(pit, 0) & NULL_COUNT, 0);
  count(pit, 0, 400);
  assert.equal(status(pit, 0) & NULL_COUNT, NULL_COUNT);
  assert.equal(shown(pit, 0), 700, 'the period goes on');
  clock.advanceTo(at(1700));
  count(pit, 0, 300); // the last one counts
  clock.advanceTo(at(2010));
  assert.equal(status(pit, 0) & NULL_COUNT, 0);
  assert.equal(shown(pit, 0), 290);
  clock.advanceTo(at(3000));
  assert.deepEqual(edges, [1000, 2000, 2300, 2600, 2900].map(at));
});

test('mode 3 takes a new count at the end of half a square', () => {
  const { clock, pit, edges, at, program } = timer();
  program(0, 3, 1000);
  edges.length = 0;
  clock.advanceTo(at(200));
  count(pit, 0, 600); // in the high half, which ends at 500; low until 800, then squares of 600
  clock.advanceTo(at(499));
  assert.equal(status(pit, 0), 0x80 | NULL_COUNT | 0x30 | 6);
  clock.advanceTo(at(501));
  assert.equal(status(pit, 0), 0x30 | 6);
  assert.equal(shown(pit, 0), 598);
  clock.advanceTo(at(1150));
  count(pit, 0, 100); // in the low half that ends at 1400
  clock.advanceTo(at(1420));
  assert.equal(shown(pit, 0), 60);
  clock.advanceTo(at(1650));
  assert.deepEqual(edges, [800, 1400, 1500, 1600].map(at));
});

test('an odd square is high for one count longer', () => {
  const { clock, pit, edges, at, program } = timer();
  program(0, 3, 7);
  edges.length = 0;
  const seen: [number, number][] = [];
  for (let n = 0; n < 14; n++) {
    clock.advanceTo(at(n));
    seen.push([status(pit, 0) >> 7, shown(pit, 0)]);
  }
  const period = [...[6, 4, 2, 0].map((c) => [1, c]), ...[6, 4, 2].map((c) => [0, c])];
  assert.deepEqual(seen, [...period, ...period]);
  assert.deepEqual(edges, [at(7)]);
});

test('a trigger loads a new count at once; one-shots take it at the next trigger', () => {
  const { clock, pit, at, program } = timer();
  pit.speakerGate = true;
  program(2, 2, 1000);
  clock.advanceTo(at(100));
  count(pit, 2, 50);
  clock.advanceTo(at(200));
  pit.speakerGate = false;
  assert.equal(pit.speakerOutput, true);
  pit.speakerGate = true;
  clock.advanceTo(clock.now() + at(10));
  assert.equal(shown(pit, 2), 40);
  program(2, 1, 500);
  assert.equal(status(pit, 2) & NULL_COUNT, NULL_COUNT);
  assert.equal(pit.speakerOutput, true, 'it waits for a trigger');
  let from = 0;
  const trigger = () => {
    pit.speakerGate = false;
    pit.speakerGate = true;
    from = clock.now();
  };
  trigger();
  clock.advanceTo(from + at(100));
  count(pit, 2, 50);
  assert.equal(shown(pit, 2), 400);
  clock.advanceTo(from + at(499));
  assert.equal(pit.speakerOutput, false);
  clock.advanceTo(from + at(500));
  assert.equal(pit.speakerOutput, true);
  trigger();
  clock.advanceTo(from + at(49));
  assert.equal(pit.speakerOutput, false);
  clock.advanceTo(from + at(50));
  assert.equal(pit.speakerOutput, true);
});
