/** ELFs that are entered by the note of Xen's direct boot ABI. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LoaderError } from '../../runtime/errors.ts';
import { guestFormat, loadGuest } from '../../runtime/loaders/load.ts';
import { findPvhEntry } from '../../runtime/loaders/pvh.ts';
import { elf, randomNumbers } from './images.ts';

const ram = (size = 0x40_0000) => ({ bytes: new Uint8Array(size) });
const words = (...values: number[]) => values.flatMap((value) => [0, 8, 16, 24].map((by) => (value >>> by) & 0xff));
const note = (name: string, type: number, value: number[]) => [
  ...words(name.length, value.length, type),
  ...Buffer.from(name.padEnd((name.length + 3) & ~3, '\0')),
  ...value,
];
const entry = 0x10_0010;
const kernel = (bits: 32 | 64, notes: number[] = note('Xen\0', 18, words(entry, 0).slice(0, bits / 8))) =>
  elf({
    bits,
    entry: 0x10_0000,
    segments: [
      { virtual: 0x10_0000, physical: 0x10_0000, data: Array<number>(32).fill(0xf4), memorySize: 0x2000 },
      { type: 4, virtual: 0, physical: 0, data: notes },
    ],
  });

test('the note names where an ELF is entered in flat 32-bit mode, and EBX points to what the guest is told', () => {
  for (const bits of [32, 64] as const) {
    const memory = ram();
    const modules = [
      { bytes: Uint8Array.of(1, 2, 3), string: 'first' },
      { bytes: new Uint8Array(0x1001).fill(7), string: 'second one' },
    ];
    const options = { name: 'kernel', commandLine: 'console=ttyS0 quiet', modules };
    const { format, state } = loadGuest(kernel(bits), memory, options);
    assert.deepEqual([format, state.mode, state.rip, state.pageTables], ['pvh', 'protected', entry, null]);
    const view = new DataView(memory.bytes.buffer);
    const start = state.gpr[3]!;
    const field = (offset: number) => view.getUint32(start + offset, true);
    const wide = (address: number) => Number(view.getBigUint64(address, true));
    const text = (at: number) => new TextDecoder().decode(memory.bytes.subarray(at, memory.bytes.indexOf(0, at)));
    assert.deepEqual([field(0), field(4), field(8), field(12)], [0x336e_c578, 1, 0, 2]);
    assert.equal(text(wide(start + 24)), 'console=ttyS0 quiet');
    const list = wide(start + 16);
    for (const [i, { bytes, string }] of modules.entries()) {
      const at = wide(list + i * 32);
      assert.equal(at % 0x1000, 0);
      assert.equal(wide(list + i * 32 + 8), bytes.length);
      assert.deepEqual(memory.bytes.slice(at, at + bytes.length), bytes);
      assert.equal(text(wide(list + i * 32 + 16)), string);
    }
    const map = Array.from({ length: field(48) }, (_, i) => {
      const at = wide(start + 40) + i * 24;
      return [wide(at), wide(at + 8), view.getUint32(at + 16, true)];
    });
    assert.deepEqual(map, [
      [0, 0x9_f000, 1],
      [0x9_f000, 0x6_1000, 2],
      [0x10_0000, 0x30_0000, 1],
    ]);
  }
});

test('the note is found behind others; another vendor’s, another type and what is cut short are none', () => {
  const [xen, gnu] = [note('Xen\0', 18, words(entry)), note('GNU\0', 18, words(1, 2, 3))];
  assert.equal(findPvhEntry(kernel(64, [...gnu, ...note('Xen\0', 6, words(5)), ...xen])), entry);
  assert.equal(findPvhEntry(kernel(64, gnu)), undefined);
  assert.equal(findPvhEntry(kernel(64, xen.slice(0, -1))), undefined);
  assert.equal(guestFormat(kernel(64, gnu)), 'elf');
  assert.equal(guestFormat(kernel(64)), 'pvh');
});

test('an entry outside of every segment is refused, and whatever the bytes are, nothing but a LoaderError comes', () => {
  const options = { name: 'kernel', commandLine: '', modules: [] };
  const outside = kernel(64, note('Xen\0', 18, words(0x20_0000)));
  assert.throws(() => loadGuest(outside, ram(), options), { code: 'entry-outside' });
  const random = randomNumbers(11);
  for (let round = 0; round < 3000; round++) {
    const file = kernel(round & 1 ? 32 : 64);
    for (let i = 0; i < 3; i++) file[4 + (random() % (file.length - 4))] = random();
    try {
      loadGuest(file.subarray(0, random() % 4 === 0 ? random() % file.length : file.length), ram(0x20_0000), options);
    } catch (error) {
      assert.ok(error instanceof LoaderError, String(error));
    }
  }
});
