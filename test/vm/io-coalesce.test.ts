/** Writes that nobody waits for: queued, kept in order, delivered before anything else reaches a device. */
import assert from 'node:assert/strict';
import type { AccessSize, Device } from '../../runtime/devices/device.ts';
import { EventCounter } from '../../runtime/io/event-counter.ts';
import type { WriteBatch } from '../../runtime/io/posted-writes.ts';
import { dword, to } from '../engines/assembler.ts';
import { code, IoGuest } from './io-guest.ts';
import { hashOf, testEngines } from './vm-harness.ts';

const BASE = 0xf000_0000;
const store = (offset: number) => [0x89, 0x0d, ...dword(BASE + offset)]; // mov [BASE+offset], ecx
const load = (offset: number) => [0xa1, ...dword(BASE + offset)]; // mov eax, [BASE+offset]
const registers = { space: 'memory', address: BASE, length: 0x100 } as const;

/** A register storm: for ecx from `count` down, four registers are written; each 50th time a status is read. */
function storm(count: number) {
  return code()
    .put(0xb9, dword(count))
    .label('again')
    .put(store(0x10), store(0x14), store(0x18), store(0x1c))
    .put(0x89, 0xc8, 0x31, 0xd2, 0xbb, dword(50), 0xf7, 0xf3) // mov eax, ecx; xor edx, edx; mov ebx, 50; div ebx
    .put(0x85, 0xd2, 0x75, to('no read', 1)) // test edx, edx; jnz
    .put(load(0x80))
    .label('no read')
    .put(0x49, 0x0f, 0x85, to('again'), 0xf4); // dec ecx; jnz; hlt
}

/** A device that remembers all of its accesses. */
function recorder(name: string): Device & { readonly log: string[] } {
  const log: string[] = [];
  return {
    name,
    log,
    read: (offset: number, size: AccessSize) => log.push(`r${size} ${offset.toString(16)}`),
    write: (offset, size, value) => void log.push(`w${size} ${offset.toString(16)}=${value}`),
  };
}

testEngines('row 13: a register storm has a tenth of the exits, and its order is kept', (engine) => {
  const log = (guest: IoGuest, lines: string[]) =>
    guest.run((exit) => {
      if (exit.kind !== 'mmio') return assert.fail();
      lines.push(`${exit.write ? 'w' : 'r'} ${(exit.physical - BASE).toString(16)}${exit.write ? `=${exit.low}` : ''}`);
    });
  const [plain, coalesced]: string[][] = [[], []];
  const before = log(new IoGuest(engine, storm(500)), plain!);
  const guest = new IoGuest(engine, storm(500));
  let batches = 0;
  const receive = (writes: WriteBatch) => {
    batches++;
    assert.equal(writes.space, 'memory');
    for (let i = 0; i < writes.length; i++) {
      assert.equal(writes.size(i), 4);
      coalesced!.push(`w ${(writes.address(i) - BASE).toString(16)}=${writes.value(i)}`);
    }
    assert.throws(() => writes.value(writes.length), RangeError);
  };
  guest.io.coalesce({ ...registers, length: 0x40 }, receive);
  const after = log(guest, coalesced!);
  assert.deepEqual(coalesced, plain, 'what the embedder sees, in order');
  assert.deepEqual([before, after], [{ mmio: 2010 }, { mmio: 10 }]);
  assert.ok(batches <= 11, `${batches} batches`);
});

testEngines('row 13: a device in the machine gets its writes in order, before it is read', (engine) => {
  const [one, two] = [recorder('one'), recorder('two')];
  const plain = new IoGuest(engine, storm(100));
  plain.io.attach(registers, one);
  assert.deepEqual(plain.run(), {});
  const guest = new IoGuest(engine, storm(100));
  guest.io.attach(registers, two);
  guest.io.coalesce({ ...registers, address: BASE + 0x10, length: 16 });
  assert.deepEqual(guest.run(), {});
  assert.deepEqual(two.log, one.log);
  assert.equal(guest.io.drains, 3, 'before two reads, and when the guest was left');
});

testEngines('row 13: the queue is bounded, and what another device, port or doorbell gets comes after it', (engine) => {
  const storms = code().put(0xb9, dword(3000)).label('again').put(store(0x10), 0x49, 0x75, to('again', 1));
  const out = [0xb0, 0x55, 0xe6, 0x80]; // mov al, 55h; out 80h, al
  const guest = new IoGuest(engine, storms.put(store(0x10), out, store(0x10), store(0x90), store(0x10)).put(0xf4));
  const device = recorder('device');
  const sizes: number[] = [];
  guest.io.coalesce({ ...registers, length: 0x20 }, (writes) => void sizes.push(writes.length));
  guest.io.attach({ space: 'port', address: 0x80, length: 1 }, { ...device, write: () => void sizes.push(-1) });
  const doorbell = new EventCounter();
  doorbell.onAdd(() => sizes.push(-2));
  guest.io.event({ space: 'memory', address: BASE + 0x90, length: 4 }, doorbell);
  assert.deepEqual(guest.run(), {});
  assert.deepEqual(sizes, [1024, 1024, 953, -1, 1, -2, 1]);
});

testEngines('row 13: ranges with receivers of their own share one order', (engine) => {
  const guest = new IoGuest(
    engine,
    code().put(
      0xb9,
      dword(1),
      store(0x10),
      store(0x14),
      store(0x40),
      store(0x18),
      0x41,
      store(0x44),
      store(0x10),
      0xf4,
    ),
  );
  const log: string[] = [];
  const receiver = (name: string) => (writes: WriteBatch) => {
    for (let i = 0; i < writes.length; i++) log.push(`${name} ${writes.address(i) - BASE}=${writes.value(i)}`);
  };
  guest.io.coalesce({ ...registers, length: 0x20 }, receiver('low'));
  guest.io.coalesce({ ...registers, address: BASE + 0x40, length: 0x20 }, receiver('high'));
  assert.deepEqual(guest.run(), {});
  assert.deepEqual(log, ['low 16=1', 'low 20=1', 'high 64=1', 'low 24=1', 'high 68=2', 'low 16=2']);
});

testEngines('row 13: a receiver that throws loses its batch alone; a refused range changes nothing', (engine) => {
  const guest = new IoGuest(engine, code().put(0xb9, dword(5), store(0x10), store(0x40), 0xf4));
  const got: number[] = [];
  let throws = true;
  guest.io.coalesce({ ...registers, length: 0x20 }, () => {
    if (throws) throw new Error('not now');
  });
  guest.io.coalesce({ ...registers, address: BASE + 0x40, length: 0x20 }, (writes) => void got.push(writes.value(0)));
  const hash = hashOf(guest.vm);
  assert.throws(() => guest.io.coalesce({ ...registers, address: BASE + 0x1f, length: 1 }, () => {}), {
    code: 'region-overlap',
    message: /0xf000001f-0xf000001f \(memory\) overlaps coalesced range at 0xf0000000-0xf000001f \(memory\)/,
  });
  assert.throws(() => guest.io.coalesce({ ...registers, address: BASE + 0x80 }), { code: 'bad-option' });
  assert.throws(() => guest.io.coalesce({ ...registers, length: 0 }, () => {}), { code: 'bad-region' });
  assert.equal(hashOf(guest.vm), hash);
  assert.throws(() => guest.run(), /not now/);
  throws = false;
  guest.io.drain();
  assert.deepEqual(got, [5]);
  assert.deepEqual(guest.run(), {}, 'the VM goes on: it halts');
});
