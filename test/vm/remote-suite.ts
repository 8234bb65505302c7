/**
 * What a device must do wherever it is: one suite for the device in the machine's own thread, in a worker, and in another
 * process.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { AccessSize } from '../../runtime/devices/device.ts';
import type { IrqLine } from '../../runtime/devices/irq-line.ts';
import type { Dma, GuestDma } from '../../runtime/remote/dma.ts';
import { rangeOf } from '../../runtime/remote/dma.ts';
import { RemoteDevice } from '../../runtime/remote/remote-device.ts';
import type { Place } from './remote-places.ts';
import { ID, pattern, reg, SECOND_BYTES, TestDevice } from './remote-test-device.ts';

/** Time for a machine that does much else. */
export const patience = 60_000;
const RAM = 0x10000;
/** A range that the device may only read. */
const ROM = 0x20000;
const ROM_BYTES = 0x1000;

/** Guest memory, and what of it was written. */
export class TestMemory implements GuestDma {
  readonly bytes = new Uint8Array(ROM + ROM_BYTES);
  readonly written: [number, number][] = [];
  #ranges = [
    { start: 0, length: RAM, writable: true },
    { start: ROM, length: ROM_BYTES, writable: false },
  ];
  #changed: () => void = () => {};

  ranges = () => this.#ranges;
  read(physical: number, into: Uint8Array): void {
    into.set(this.bytes.subarray(physical, physical + into.length));
  }
  write(physical: number, from: Uint8Array): void {
    this.bytes.set(from, physical);
    this.written.push([physical, from.length]);
  }
  watch(changed: () => void): () => void {
    this.#changed = changed;
    return () => {
      this.#changed = () => {};
    };
  }
  /** Another map: the RAM has so many bytes. */
  resize(length: number): void {
    this.#ranges = [{ start: 0, length, writable: true }, this.#ranges[1]!];
    this.#changed();
  }
}

/** What the suite asks of a device. */
export interface LocalSubject {
  read(offset: number, size: AccessSize): number | Promise<number>;
  write(offset: number, size: AccessSize, value: number): void | Promise<void>;
  reset(): Promise<void>;
  /** Levels as they were told, in order: the line, `+` or `-`. */
  readonly edges: string[];
  readonly memory: TestMemory;
  close(): Promise<void>;
}

/** What it asks of one that is elsewhere. */
export interface Subject extends LocalSubject {
  /** The device is left and found again. */
  readonly reconnect: () => Promise<void>;
  /** Region 1. */
  readonly second: Pick<LocalSubject, 'read' | 'write'>;
}

function listeners(edges: string[]): IrqLine[] {
  const levels = [false, false];
  return levels.map((_, line) => ({
    set(high) {
      if (high !== levels[line]) edges.push(`${line}${high ? '+' : '-'}`);
      levels[line] = high;
    },
  }));
}

/** The device itself, without a message. */
export async function direct(): Promise<LocalSubject> {
  const edges: string[] = [];
  const memory = new TestMemory();
  const reach = (physical: number, length: number, write: boolean) => {
    const range = rangeOf(memory.ranges(), physical, length);
    if (range === undefined || (write && !range.writable)) throw new Error('no such memory');
  };
  const dma: Dma = {
    async read(physical, length) {
      reach(physical, length, false);
      return memory.bytes.slice(physical, physical + length);
    },
    async write(physical, bytes) {
      reach(physical, bytes.length, true);
      memory.write(physical, bytes);
    },
  };
  const device = new TestDevice(listeners(edges), dma);
  return {
    edges,
    memory,
    read: (offset, size) => device.read(offset, size),
    write: (offset, size, value) => device.write(offset, size, value),
    reset: async () => device.reset(),
    close: async () => {},
  };
}

/** The device at a place. */
export async function remote(place: Place): Promise<Subject> {
  const edges: string[] = [];
  const memory = new TestMemory();
  const device = await RemoteDevice.connect(await place.connect(), {
    name: 'suite',
    lines: listeners(edges),
    memory,
    timeoutMillis: patience,
  });
  return {
    edges,
    memory,
    read: (offset, size) => device.startRead(offset, size),
    write: (offset, size, value) => device.startWrite(offset, size, value),
    reset: () => device.reset(),
    reconnect: async () => device.reconnect(await place.connect()),
    get second() {
      const region = device.region(1);
      return {
        read: (offset: number, size: AccessSize) => region.startRead(offset, size),
        write: (offset: number, size: AccessSize, value: number) => region.startWrite(offset, size, value),
      };
    },
    async close() {
      device.close();
      await place.close();
    },
  };
}

/** Turns of the event loop until something holds. */
export async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + patience;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** One transfer of the device's own; its status. */
async function transfer(subject: LocalSubject, command: number, address: number, length: number): Promise<number> {
  await subject.write(reg.dmaStatus, 4, 0);
  await subject.write(reg.dmaAddress, 4, address);
  await subject.write(reg.dmaLength, 4, length);
  await subject.write(reg.dmaCommand, 4, command);
  let status = 0;
  await until(async () => (status = await subject.read(reg.dmaStatus, 4)) !== 0, 'the transfer');
  return status;
}

/** Declares the tests. */
export function remoteSuite(name: string, open: () => Promise<Subject>): void {
  commonSuite(name, open);
  remoteOnly(name, open);
}

/** What the device itself does, too. */
export function commonSuite(name: string, open: () => Promise<LocalSubject>): void {
  const titled = (title: string) => `row 14: ${name}: ${title}`;
  let subject: LocalSubject;
  before(async () => {
    subject = await open();
  });
  after(async () => {
    await subject.close();
  });

  test(titled('registers read as they were written, in every width'), async () => {
    assert.equal(await subject.read(reg.id, 4), ID);
    assert.equal(await subject.read(reg.id + 1, 1), (ID >>> 8) & 0xff);
    assert.equal(await subject.read(reg.id + 2, 2), ID >>> 16);
    await subject.write(reg.scratch, 4, 0x89ab_cdef);
    await subject.write(reg.scratch + 4, 2, 0x1234);
    await subject.write(reg.scratch + 6, 1, 0x56);
    await subject.write(reg.scratch + 7, 1, 0xff);
    assert.equal(await subject.read(reg.scratch, 4), 0x89ab_cdef);
    assert.equal(await subject.read(reg.scratch + 4, 4), 0xff56_1234);
    assert.equal(await subject.read(reg.scratch + 3, 2), 0x3489);
    assert.equal(await subject.read(reg.scratch + 7, 1), 0xff);
    for (const [offset, size] of [
      [0, 4],
      [2, 2],
      [3, 1],
    ] as const) {
      await subject.write(reg.width + offset, size, 0);
      assert.equal(await subject.read(reg.width, 4), (size << 8) | offset);
    }
  });

  test(titled('a register that reading changes is read once for each read'), async () => {
    await subject.write(reg.once, 4, 0xdead_beef);
    assert.equal(await subject.read(reg.once, 4), 0xdead_beef);
    assert.equal(await subject.read(reg.once, 4), 0);
  });

  test(titled('a read sees all writes before it, however many'), async () => {
    await subject.reset();
    let sum = 0;
    let writes = 0;
    for (const burst of [1, 2, 10, 700, 3000]) {
      for (let i = 0; i < burst; i++) {
        await subject.write(reg.sum, 4, i);
        sum = (sum + i) >>> 0;
        writes++;
      }
      assert.equal(await subject.read(reg.sum, 4), sum, `after ${burst}`);
      assert.equal(await subject.read(reg.writes, 4), writes);
    }
  });

  test(titled('reads that are under way together answer in order'), async () => {
    await subject.reset();
    const reads: (number | Promise<number>)[] = [];
    for (let i = 1; i <= 50; i++) {
      await subject.write(reg.sum, 4, i);
      reads.push(subject.read(reg.sum, 4));
    }
    const values = await Promise.all(reads);
    assert.deepEqual(
      values,
      Array.from({ length: 50 }, (_, i) => ((i + 1) * (i + 2)) / 2),
    );
  });

  test(titled('levels and edges of interrupt lines arrive, all of them and in order'), async () => {
    await subject.reset();
    subject.edges.length = 0;
    const told = (...wanted: string[]) =>
      until(() => subject.edges.length >= wanted.length, `${wanted}`).then(() => wanted);
    await subject.write(reg.lines, 4, 1);
    assert.deepEqual(await told('0+'), subject.edges);
    await subject.write(reg.lines, 4, 1); // no change
    await subject.write(reg.lines, 4, 3);
    assert.deepEqual(await told('0+', '1+'), subject.edges);
    await subject.write(reg.lines, 4, 0);
    assert.deepEqual(await told('0+', '1+', '0-', '1-'), subject.edges);
    subject.edges.length = 0;
    for (let i = 0; i < 20; i++) await subject.write(reg.lines, 4, 0x80);
    const pulses = Array.from({ length: 20 }, () => ['1+', '1-']).flat();
    assert.deepEqual(await told(...pulses), subject.edges);
    // A read brings what was raised before its answer.
    await subject.write(reg.lines, 4, 1);
    assert.equal(await subject.read(reg.lines, 4), 1);
    assert.equal(subject.edges.at(-1), '0+');
    await subject.write(reg.lines, 4, 0);
    assert.equal(await subject.read(reg.lines, 4), 0);
    assert.equal(subject.edges.at(-1), '0-');
  });

  test(titled('the device reads guest memory and writes it, and the writes are logged'), async () => {
    const { memory } = subject;
    for (let i = 0; i < memory.bytes.length; i++) memory.bytes[i] = (i * 13) & 0xff;
    for (const [address, length] of [
      [0, 1],
      [0xfff, 2],
      [0x1234, 0x2345],
      [ROM, ROM_BYTES],
      [0, RAM],
    ] as const) {
      assert.equal(await transfer(subject, 1, address, length), 1);
      const sum = memory.bytes.subarray(address, address + length).reduce((a, b) => (a + b) >>> 0, 0);
      assert.equal(await subject.read(reg.dmaResult, 4), sum);
    }
    memory.written.length = 0;
    subject.edges.length = 0;
    assert.equal(await transfer(subject, 2, 0x2ffe, 0x1004), 1);
    const wanted = Uint8Array.from({ length: 0x1004 }, (_, i) => pattern(0x2ffe + i));
    assert.deepEqual(memory.bytes.slice(0x2ffe, 0x2ffe + 0x1004), wanted);
    assert.deepEqual(memory.written, [[0x2ffe, 0x1004]]);
    await until(() => subject.edges.includes('0+'), 'the interrupt that says so');
  });

  test(titled('memory that the guest has not, or may not be written, cannot be reached'), async () => {
    const { memory } = subject;
    const before = memory.bytes.slice();
    memory.written.length = 0;
    for (const [command, address, length] of [
      [1, RAM, 1],
      [1, RAM - 1, 2],
      [2, RAM - 1, 2],
      [1, 0xffff_fff0, 0x10],
      [2, ROM, 4],
      [2, ROM - 4, 8],
    ] as const)
      assert.equal(await transfer(subject, command, address, length), 2, `${command} at ${address.toString(16)}`);
    assert.deepEqual(memory.bytes, before);
    assert.deepEqual(memory.written, []);
    // The map changes, and the device's reach with it.
    memory.resize(0x8000);
    assert.equal(await transfer(subject, 2, 0x8000, 1), 2);
    memory.resize(RAM);
    assert.equal(await transfer(subject, 2, 0x8000, 1), 1);
    assert.deepEqual(memory.written, [[0x8000, 1]]);
  });

  test(titled('reset makes the device what it was at first'), async () => {
    await subject.write(reg.scratch, 4, 0x1111_2222);
    await subject.write(reg.lines, 4, 3);
    await subject.reset();
    assert.equal(await subject.read(reg.scratch, 4), 0);
    assert.equal(await subject.read(reg.lines, 4), 0);
    assert.equal(subject.edges.at(-1), '1-');
  });
}

/** What takes a device elsewhere. */
function remoteOnly(name: string, open: () => Promise<Subject>): void {
  const titled = (title: string) => `row 14: ${name}: ${title}`;
  let subject: Subject;
  before(async () => {
    subject = await open();
  });
  after(async () => {
    await subject.close();
  });

  test(titled('a second region is a device of its own'), async () => {
    const { second } = subject;
    await second.write(0, 4, 0x0102_0304);
    await second.write(SECOND_BYTES - 2, 2, 0xa55a);
    assert.equal(await second.read(0, 4), 0x0102_0304);
    assert.equal(await second.read(SECOND_BYTES - 2, 2), 0xa55a);
    assert.equal(await second.read(SECOND_BYTES - 2, 4), 0xffff_ffff, 'beyond its end');
    assert.equal(await subject.read(reg.id, 4), ID);
  });

  test(titled('a machine that comes back finds the device as it was, and hears of lines that are high'), async () => {
    const { reconnect, edges } = subject;
    await subject.write(reg.scratch, 4, 0x600d_cafe);
    await subject.write(reg.lines, 4, 2);
    assert.equal(await subject.read(reg.lines, 4), 2);
    for (let round = 0; round < 3; round++) {
      edges.length = 0;
      await reconnect();
      await until(() => edges.length >= 2, 'line 1 falls and rises');
      assert.deepEqual(edges, ['1-', '1+']);
      assert.equal(await subject.read(reg.scratch, 4), 0x600d_cafe);
    }
    assert.equal(await transfer(subject, 2, 0x40, 4), 1, 'memory is mapped again');
    await subject.reset();
  });
}
