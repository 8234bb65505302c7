import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PicPair } from '../../runtime/devices/pic-8259.ts';

/** A pair as PCs set it up: vectors 20H and 28H, everything unmasked. */
function pair() {
  const levels: boolean[] = [];
  const pic = new PicPair({ set: (high) => void levels.push(high) });
  for (const [chip, base, wiring] of [
    [pic.first, 0x20, 4],
    [pic.second, 0x28, 2],
  ] as const) {
    chip.write(0, 1, 0x11);
    chip.write(1, 1, base);
    chip.write(1, 1, wiring);
    chip.write(1, 1, 1);
    chip.write(1, 1, 0);
  }
  return { pic, raised: () => levels.at(-1) === true };
}

test('a request is acknowledged with its vector, and comes again only with another edge', () => {
  const { pic, raised } = pair();
  pic.set(4, true);
  assert.equal(raised(), true);
  assert.equal(pic.acknowledge(), 0x24);
  assert.equal(raised(), false);
  pic.first.write(0, 1, 0x20);
  assert.equal(raised(), false);
  pic.set(4, false);
  pic.set(4, true);
  assert.equal(raised(), true);
});

test('a lower priority waits for the end of a higher one; a higher one interrupts', () => {
  const { pic, raised } = pair();
  pic.set(3, true);
  assert.equal(pic.acknowledge(), 0x23);
  pic.set(5, true);
  assert.equal(raised(), false);
  pic.set(1, true);
  assert.equal(raised(), true);
  assert.equal(pic.acknowledge(), 0x21);
  pic.first.write(0, 1, 0x20);
  pic.first.write(0, 1, 0x20);
  assert.equal(pic.acknowledge(), 0x25);
});

test('the second controller speaks through input 2 of the first, and both want an end', () => {
  const { pic, raised } = pair();
  pic.set(8, true);
  assert.equal(pic.acknowledge(), 0x28);
  pic.first.write(0, 1, 0x0b);
  pic.second.write(0, 1, 0x0b);
  assert.equal(pic.first.read(0, 1), 4);
  assert.equal(pic.second.read(0, 1), 1);
  pic.second.write(0, 1, 0x20);
  pic.first.write(0, 1, 0x62); // specific
  assert.equal(pic.first.read(0, 1), 0);
  assert.equal(raised(), false);
  pic.set(3, true);
  pic.set(15, true);
  assert.equal(pic.acknowledge(), 0x2f, 'inputs 8-15 come before 3');
});

test('masked inputs wait; IRR shows them', () => {
  const { pic, raised } = pair();
  pic.first.write(1, 1, 0x10);
  pic.set(4, true);
  assert.equal(raised(), false);
  assert.equal(pic.first.read(0, 1), 0x10);
  assert.equal(pic.first.read(1, 1), 0x10);
  pic.first.write(1, 1, 0);
  assert.equal(raised(), true);
});

test('an edge that is gone leaves the spurious interrupt, which is not in service', () => {
  const { pic } = pair();
  pic.set(4, true);
  pic.set(4, false);
  assert.equal(pic.acknowledge(), 0x27);
  pic.first.write(0, 1, 0x0b);
  assert.equal(pic.first.read(0, 1), 0);
});

test('a level-triggered input comes again while it is up', () => {
  const { pic, raised } = pair();
  pic.triggers.write(0, 2, 0x0a20);
  assert.equal(pic.triggers.read(0, 2), 0x0a20);
  pic.set(9, true);
  assert.equal(pic.acknowledge(), 0x29);
  pic.second.write(0, 1, 0x20);
  pic.first.write(0, 1, 0x20);
  assert.equal(raised(), true);
  pic.set(9, false);
  assert.equal(raised(), false);
  pic.triggers.write(0, 1, 0xff);
  assert.equal(pic.triggers.read(0, 1), 0xf8, 'timer, keyboard and cascade have no level');
});

test('rotation gives the served input the lowest priority; automatic end needs no command', () => {
  const { pic, raised } = pair();
  pic.set(0, true);
  assert.equal(pic.acknowledge(), 0x20);
  pic.first.write(0, 1, 0xa0);
  pic.set(0, false);
  pic.set(0, true);
  pic.set(1, true);
  assert.equal(pic.acknowledge(), 0x21);
  assert.equal(raised(), false);
  pic.first.write(0, 1, 0x61);
  assert.equal(pic.acknowledge(), 0x20);
  const other = pair();
  other.pic.first.write(0, 1, 0x11);
  for (const byte of [0x20, 4, 3, 0]) other.pic.first.write(1, 1, byte);
  other.pic.set(4, true);
  assert.equal(other.pic.acknowledge(), 0x24);
  other.pic.set(5, true);
  assert.equal(other.raised(), true);
});

test('polling takes an interrupt without INTA; the special mask mode lets lower ones through', () => {
  const { pic, raised } = pair();
  pic.set(6, true);
  pic.first.write(0, 1, 0x0c);
  assert.equal(pic.first.read(0, 1), 0x86);
  pic.first.write(0, 1, 0x0c);
  assert.equal(pic.first.read(0, 1), 0);
  pic.first.write(0, 1, 0x66);
  pic.set(1, true);
  assert.equal(pic.acknowledge(), 0x21);
  pic.set(7, true);
  assert.equal(raised(), false);
  pic.first.write(1, 1, 0x02);
  pic.first.write(0, 1, 0x68);
  assert.equal(raised(), true);
});

test('a pulse holds its input until the acknowledge, and says what became of it', () => {
  const { pic, raised } = pair();
  assert.equal(pic.pulse(4), 'sent');
  assert.equal(pic.pulse(4), 'merged');
  assert.equal(raised(), true);
  assert.equal(pic.acknowledge(), 0x24);
  assert.equal(pic.pulse(4), 'sent', 'while the first is in service');
  assert.equal(raised(), false);
  pic.first.write(0, 1, 0x20);
  assert.equal(pic.acknowledge(), 0x24);
  pic.first.write(0, 1, 0x20);
  assert.equal(raised(), false);
  pic.first.write(1, 1, 0x10);
  assert.equal(pic.pulse(4), 'ignored', 'masked, but kept');
  pic.first.write(1, 1, 0);
  assert.equal(pic.acknowledge(), 0x24);
  pic.first.write(0, 1, 0x20);
  assert.equal(pic.pulse(12), 'sent');
  assert.equal(pic.acknowledge(), 0x2c);
});

test('ends of interrupts are told by input: named or not, automatic, of either controller', () => {
  const ended: number[] = [];
  const pic = new PicPair({ set() {} }, (irq) => void ended.push(irq));
  for (const [chip, base, last] of [
    [pic.first, 0x20, 1],
    [pic.second, 0x28, 3],
  ] as const)
    for (const [offset, value] of [
      [0, 0x11],
      [1, base],
      [1, 4],
      [1, last],
      [1, 0],
    ] as const)
      chip.write(offset, 1, value);
  pic.set(3, true);
  pic.acknowledge();
  pic.first.write(0, 1, 0x64); // end of 4, which is not in service
  assert.deepEqual(ended, []);
  pic.first.write(0, 1, 0x63);
  assert.deepEqual(ended, [3]);
  pic.first.write(0, 1, 0x20);
  assert.deepEqual(ended, [3]);
  pic.set(9, true); // the second one ends by itself
  assert.equal(pic.acknowledge(), 0x29);
  assert.deepEqual(ended, [3, 9]);
  pic.first.write(0, 1, 0x20);
  assert.deepEqual(ended, [3, 9, 2]);
});
