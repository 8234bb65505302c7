/** The I/O map: who answers an access, in which order, and what is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AccessSize, Device } from '../../runtime/devices/device.ts';
import { ConfigurationError } from '../../runtime/errors.ts';
import { EventCounter } from '../../runtime/io/event-counter.ts';
import { IoMap } from '../../runtime/io/io-map.ts';
import { PASSED } from '../../runtime/io/io-parts.ts';
import type { IoSpaceName } from '../../runtime/io/io-range.ts';

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

/** One space of a map, with devices at places in it. */
function bus(name: IoSpaceName) {
  const io = new IoMap();
  const space = io.space(name);
  return {
    io,
    attach: (address: number, length: number, device: Device) => io.attach({ space: name, address, length }, device),
    detach: (device: Device) => io.detach(device),
    claims: (address: number) => io.claims(name, address),
    read: (address: number, size: AccessSize) => space.read(address, size),
    write: (address: number, size: AccessSize, value: number) => space.write(address, size, value),
  };
}
const ports = () => bus('port');
const memory = () => bus('memory');

test('a port access reaches its device with the offset in its own region', () => {
  const at = ports();
  const device = bytes('dev', 8);
  at.attach(0x3f8, 8, device);
  at.write(0x3fb, 1, 0x80);
  assert.equal(at.read(0x3fb, 1), 0x80);
  at.write(0x3fc, 4, 0xdead_beef);
  assert.equal(at.read(0x3fc, 4), 0xdead_beef);
  assert.deepEqual(device.log, ['w1@3', 'r1@3', 'w4@4', 'r4@4']);
});

test('unclaimed ports read all ones at every width and swallow writes', () => {
  const at = ports();
  assert.equal(at.read(0x1234, 1), 0xff);
  assert.equal(at.read(0x1234, 2), 0xffff);
  assert.equal(at.read(0xffff, 4), 0xffff_ffff);
  at.write(0xffff, 4, 1);
  assert.equal(at.claims(0x1234), false);
});

test('a port access across the end of a region is made of bytes', () => {
  const at = ports();
  const left = bytes('left', 2);
  const right = bytes('right', 2);
  at.attach(0x10, 2, left);
  at.attach(0x12, 2, right);
  at.write(0x11, 2, 0xbbaa);
  assert.deepEqual([...left.memory, ...right.memory], [0, 0xaa, 0xbb, 0]);
  assert.equal(at.read(0x11, 4), 0xff00_bbaa);
  const top = bytes('top', 1);
  at.attach(0xffff, 1, top);
  top.memory[0] = 0x77;
  assert.equal(at.read(0xffff, 2), 0xff77);
});

test('overlapping ports are refused, with both devices named, and nothing changes', () => {
  const at = ports();
  const first = bytes('first', 8);
  at.attach(0x100, 8, first);
  assert.throws(
    () => at.attach(0x104, 8, bytes('second', 8)),
    (error) => {
      assert.ok(error instanceof ConfigurationError);
      assert.equal(error.code, 'region-overlap');
      assert.match(error.message, /second at 0x104-0x10b \(ports\) overlaps first at 0x100-0x107 \(ports\)/);
      return true;
    },
  );
  assert.equal(at.claims(0x108), false);
  at.attach(0x108, 8, bytes('third', 8));
});

test('a region must fit the 64 Ki ports', () => {
  const at = ports();
  for (const [base, length] of [
    [-1, 1],
    [0xffff, 2],
    [0, 0],
    [0.5, 1],
    [Number.NaN, 1],
  ] as const) {
    assert.throws(() => at.attach(base, length, bytes('odd', 1)), { code: 'bad-region' });
  }
});

test('a detached device leaves all its ports, which another may take', () => {
  const at = ports();
  const first = bytes('first', 8);
  at.attach(0x100, 4, first);
  at.attach(0x200, 4, first);
  at.detach(first);
  assert.equal(at.read(0x100, 1), 0xff);
  const second = bytes('second', 8);
  at.attach(0x200, 8, second);
  at.write(0x207, 1, 9);
  assert.equal(second.memory[7], 9);
});

test('memory-mapped regions are found whatever the order of attaching', () => {
  const at = memory();
  const devices = [5, 1, 4, 2, 3].map((index) => ({ index, device: bytes(`d${index}`, 0x1000) }));
  for (const { index, device } of devices) at.attach(index * 0x1_0000_0000, 0x1000, device);
  for (const { index, device } of devices) {
    at.write(index * 0x1_0000_0000 + 0xffc, 4, index);
    assert.equal(device.memory[0xffc], index);
    assert.equal(at.read(index * 0x1_0000_0000 + 0xffc, 4), index);
    assert.equal(at.claims(index * 0x1_0000_0000 + 0x1000), false);
  }
  assert.equal(at.read(0, 4), 0xffff_ffff);
  at.detach(devices[0]!.device);
  assert.equal(at.claims(0x5_0000_0000), false);
});

test('overlapping memory regions are refused from below, above and inside', () => {
  const at = memory();
  at.attach(0x1000, 0x1000, bytes('middle', 1));
  for (const [base, length] of [
    [0x0800, 0x801],
    [0x1fff, 1],
    [0x1400, 0x10],
    [0, 0x10000],
    [0x1000, 0x1000],
  ] as const) {
    assert.throws(
      () => at.attach(base, length, bytes('other', 1)),
      /other at .* overlaps middle at 0x1000-0x1fff \(memory\)/,
    );
  }
  at.attach(0x2000, 0x1000, bytes('above', 1));
  at.attach(0x0000, 0x1000, bytes('below', 1));
});

test('a memory access across the end of a region is made of bytes', () => {
  const at = memory();
  const device = bytes('dev', 32);
  at.attach(0x1000, 32, device);
  at.write(0x101e, 4, 0x4433_2211);
  assert.deepEqual([...device.memory.slice(30)], [0x11, 0x22]);
  assert.equal(at.read(0x101e, 4), 0xffff_2211);
  assert.equal(at.read(0x0ffe, 4), 0x0000_ffff);
});

test('what nobody claims goes on whole, and only the rest of what is shared goes on in bytes', () => {
  const log: string[] = [];
  const io = new IoMap({
    read(space, address, size) {
      log.push(`${space} r${size} ${address.toString(16)}`);
      return 0x77 * (size === 1 ? 1 : 0);
    },
    write: (space, address, size, value) =>
      void log.push(`${space} w${size} ${address.toString(16)}=${value.toString(16)}`),
  });
  io.attach({ space: 'port', address: 0x100, length: 2 }, bytes('dev', 2));
  io.ports.read(0xffff, 4);
  io.ports.write(0xfe, 2, 0xabcd);
  io.memory.write(0x100, 4, 0xdead_beef);
  assert.deepEqual(log.splice(0), ['port r4 ffff', 'port w2 fe=abcd', 'memory w4 100=deadbeef']);
  assert.equal(io.ports.read(0xff, 2), 0x0077);
  io.ports.write(0x101, 4, 0x4433_2211);
  assert.deepEqual(log, ['port r1 ff', 'port w1 102=22', 'port w1 103=33', 'port w1 104=44']);
});

test('a program comes before an event, an event before what waits, a remote device before one of the machine', () => {
  const log: string[] = [];
  const io = new IoMap({
    read: () => log.push('unclaimed r') * 0,
    write: (_space, _address, _size, value) => void log.push(`unclaimed w ${value}`),
  });
  const passing = (name: string, takes: (value: number) => boolean) => ({
    name,
    read: () => log.push(`${name} r`) * 0 + PASSED,
    write(_address: number, _size: AccessSize, value: number) {
      log.push(`${name} w ${value}`);
      return takes(value);
    },
  });
  const range = { space: 'memory', address: 0x1000, length: 4 } as const;
  const counter = new EventCounter();
  const program = io.attachProgram(
    range,
    'write',
    passing('program', (value) => value === 1),
  );
  const event = io.event({ ...range, match: 2 }, counter);
  const queue = io.coalesce(range, (writes) => void log.push(`queue ${writes.value(0)}`));
  const remote = io.attachRemote(
    range,
    passing('remote', (value) => value === 4),
  );
  const device = bytes('device', 4);
  const own = io.attach(range, device);
  const all = () => {
    for (const value of [1, 2, 3, 4, 5]) io.memory.write(0x1000, 4, value);
    io.drain();
    return [...log.splice(0), ...device.log.splice(0), counter.take()];
  };
  const asked = (value: number) => `program w ${value}`;
  assert.deepEqual(all(), [asked(1), asked(2), asked(3), asked(4), asked(5), 'queue 3', 1]);
  queue.detach();
  const remotes = [3, 4, 5].flatMap((value) => [asked(value), `remote w ${value}`]);
  assert.deepEqual(all(), [asked(1), asked(2), ...remotes, 'w4@0', 'w4@0', 1]);
  io.memory.read(0x1000, 4);
  assert.deepEqual([...log.splice(0), ...device.log.splice(0)], ['remote r', 'r4@0'], 'the program takes writes alone');
  remote[Symbol.dispose]();
  event.detach();
  event.detach();
  own.detach();
  assert.deepEqual(all(), [asked(1), ...[2, 3, 4, 5].flatMap((v) => [asked(v), `unclaimed w ${v}`]), 0]);
  program.detach();
  assert.deepEqual(all().slice(0, 2), ['unclaimed w 1', 'unclaimed w 2']);
});

test('each layer refuses what overlaps in it, naming both, and what cannot be attached', () => {
  const io = new IoMap();
  const range = { space: 'port', address: 0x100, length: 8 } as const;
  const handler = { name: 'handler', read: () => PASSED, write: () => false };
  io.attachProgram(range, 'read', handler);
  io.attachRemote(range, handler);
  io.coalesce(range, () => {});
  const inside = { space: 'port', address: 0x107, length: 1 } as const;
  const overlap = { code: 'region-overlap', message: /at 0x107-0x107 \(ports\) overlaps .* at 0x100-0x107 \(ports\)/ };
  assert.throws(() => io.attachProgram(inside, 'read', handler), overlap);
  assert.throws(() => io.attachRemote(inside, handler), overlap);
  assert.throws(() => io.coalesce(inside, () => {}), overlap);
  assert.throws(() => io.attachProgram({ ...range, address: 0x200 }, 'execute' as 'read', handler), {
    code: 'bad-option',
  });
  assert.throws(() => io.coalesce({ ...range, address: 0x200 }), { code: 'bad-option', message: /without a receiver/ });
  assert.throws(() => io.attach({ ...range, space: 'disk' as 'port' }, bytes('odd', 1)), { code: 'bad-region' });
  io.attach({ ...range, space: 'memory' }, bytes('elsewhere', 8));
  const counter = new EventCounter();
  io.event({ space: 'port', address: 0x100, length: 2, match: 7 }, counter);
  io.event({ space: 'port', address: 0x100, length: 2, match: 8n }, counter);
  io.event({ space: 'port', address: 0x100, length: 4 }, counter);
  const twice = { code: 'region-overlap' };
  assert.throws(() => io.event({ space: 'port', address: 0x100, length: 2, match: 7 }, counter), twice);
  assert.throws(() => io.event({ space: 'port', address: 0x100, length: 2 }, counter), twice);
  assert.throws(() => io.event({ space: 'port', address: 0x100, length: 0 }, counter), twice);
  for (const [length, match] of [
    [2, 65536],
    [2, -1],
    [1, 0.5],
    [0, 1],
    [4, Number.NaN],
  ] as const)
    assert.throws(() => io.event({ space: 'port', address: 0x300, length, match }, counter), { code: 'bad-option' });
  assert.throws(() => io.event({ space: 'port', address: 0x300, length: 3 }, counter), { code: 'bad-region' });
  assert.throws(() => io.event({ space: 'port', address: 0xffff, length: 2 }, counter), { code: 'bad-region' });
  assert.throws(() => io.event({ space: 'port', address: 0x300, length: 2 }, {} as EventCounter), {
    code: 'bad-option',
  });
});
