/** Doorbells: writes that count and do nothing else, from ports and from memory. */
import assert from 'node:assert/strict';
import { EventCounter } from '../../runtime/io/event-counter.ts';
import { dword, to } from '../engines/assembler.ts';
import { code, IoGuest } from './io-guest.ts';
import { hashOf, testEngines } from './vm-harness.ts';

const DOORBELL = 0xf000_0050;

/** mov ecx, count; the body; dec ecx; jnz */
const loop = (count: number, ...body: number[]) =>
  code().put(0xb9, dword(count)).label('again').put(body, 0x49, 0x0f, 0x85, to('again')).put(0xf4);
const movWord = (value: number) => [0x66, 0xc7, 0x05, ...dword(DOORBELL), value & 0xff, value >> 8];
const movDword = (value: number) => [0xc7, 0x05, ...dword(DOORBELL), ...dword(value)];

testEngines('row 12: 1,000 doorbells in memory cause no exit and count 1,000', (engine) => {
  const guest = new IoGuest(engine, loop(1000, ...movDword(7)));
  const counter = new EventCounter();
  guest.io.event({ space: 'memory', address: DOORBELL, length: 4 }, counter);
  assert.deepEqual(guest.run(), {});
  assert.equal(counter.take(), 1000);
});

testEngines('row 12: 1,000 doorbells at a port cause no exit and count 1,000', (engine) => {
  const guest = new IoGuest(engine, loop(1000, 0x66, 0xba, 0x50, 0x00, 0xee)); // mov dx, 50h; out dx, al
  const counter = new EventCounter();
  using doorbell = guest.io.event({ space: 'port', address: 0x50, length: 0 }, counter);
  assert.ok(doorbell);
  assert.deepEqual(guest.run(), {});
  assert.equal(counter.take(), 1000);
});

testEngines('row 12: a doorbell with a value takes that value and width alone', (engine) => {
  const guest = new IoGuest(engine, loop(100, ...movWord(1), ...movWord(2), ...movDword(1), ...movWord(0x101)));
  const [one, two, wide] = [new EventCounter(), new EventCounter(), new EventCounter()];
  guest.io.event({ space: 'memory', address: DOORBELL, length: 2, match: 1 }, one);
  guest.io.event({ space: 'memory', address: DOORBELL, length: 2, match: 2n }, two);
  const place = guest.io.event({ space: 'memory', address: DOORBELL, length: 4 }, wide);
  const values: number[] = [];
  const counts = guest.run((exit) => {
    if (exit.kind === 'mmio') values.push(exit.low);
  });
  assert.deepEqual(counts, { mmio: 100 });
  assert.ok(values.every((value) => value === 0x101));
  assert.deepEqual([one.take(), two.take(), wide.take()], [100, 100, 100]);
  place.detach();
  guest.io.memory.write(DOORBELL, 4, 1);
  guest.io.memory.write(DOORBELL, 2, 1);
  assert.deepEqual(
    [one.take(), two.take(), wide.take()],
    [1, 0, 0],
    'without its doorbell the wide write counts no more',
  );
});

testEngines('row 12: reads of a doorbell go on to whoever is beneath', (engine) => {
  const guest = new IoGuest(engine, loop(10, 0xa1, ...dword(DOORBELL), ...movDword(3)));
  const counter = new EventCounter();
  guest.io.event({ space: 'memory', address: DOORBELL, length: 4 }, counter);
  assert.deepEqual(guest.run(), { mmio: 10 });
  assert.equal(counter.take(), 10);
  const other = new IoGuest(engine, loop(10, 0xa1, ...dword(DOORBELL), ...movDword(3)));
  let reads = 0;
  const read = () => ++reads;
  other.io.event({ space: 'memory', address: DOORBELL, length: 4 }, counter);
  other.io.attach(
    { space: 'memory', address: DOORBELL, length: 4 },
    { name: 'device', read, write: () => assert.fail() },
  );
  assert.deepEqual(other.run(), {});
  assert.deepEqual([reads, counter.take()], [10, 10]);
});

testEngines('row 12: a doorbell that cannot be changes nothing, and the VM goes on', (engine) => {
  const guest = new IoGuest(engine, loop(10, ...movDword(3)));
  const counter = new EventCounter();
  guest.io.event({ space: 'memory', address: DOORBELL, length: 4 }, counter);
  const before = hashOf(guest.vm);
  const bad = { space: 'memory', address: DOORBELL, length: 4, match: 3 } as const;
  assert.throws(() => guest.io.event(bad, counter), { code: 'region-overlap' });
  assert.throws(() => guest.io.event({ ...bad, length: 3 }, counter), { code: 'bad-region' });
  assert.throws(() => guest.io.event({ ...bad, address: -4 }, counter), { code: 'bad-region' });
  assert.equal(hashOf(guest.vm), before);
  assert.deepEqual(guest.run(), {});
  assert.equal(counter.take(), 10);
});
