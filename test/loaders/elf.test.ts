import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LoaderError } from '../../runtime/errors.ts';
import { loadElf, parseElf } from '../../runtime/loaders/elf.ts';
import { loadGuest } from '../../runtime/loaders/load.ts';
import { elf, randomNumbers } from './images.ts';

const ramSize = 0x40_0000;
const ram = () => ({ bytes: new Uint8Array(ramSize).fill(0xcc) });
const code = [0xf4, 0x90, 0x90];

const small = (bits: 32 | 64) =>
  elf({
    bits,
    entry: 0x10_0001,
    segments: [{ virtual: 0x10_0000, physical: 0x10_0000, data: code, memorySize: 0x20 }],
  });

function refused(file: Uint8Array, code: string, message: RegExp): void {
  const memory = ram();
  assert.throws(
    () => loadElf(file, memory),
    (error) => {
      assert.ok(error instanceof LoaderError, String(error));
      assert.equal(error.code, code, error.message);
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /\n/);
      return true;
    },
  );
  assert.ok(
    memory.bytes.every((byte) => byte === 0xcc),
    'a refused file changes no RAM',
  );
}

/** A copy of the file with some bytes replaced. */
function patched(file: Uint8Array, at: number, ...bytes: number[]): Uint8Array {
  const copy = file.slice();
  copy.set(bytes, at);
  return copy;
}

test('an ELF32 lands at its physical addresses with zeros behind, and is entered in flat protected mode', () => {
  const memory = ram();
  const state = loadElf(small(32), memory);
  assert.deepEqual([...memory.bytes.subarray(0x10_0000, 0x10_0004)], [...code, 0]);
  assert.equal(memory.bytes[0x10_001f], 0);
  assert.equal(memory.bytes[0x10_0020], 0xcc);
  assert.equal(state.mode, 'protected');
  assert.equal(state.rip, 0x10_0001);
  assert.equal(state.pageTables, null);
  assert.equal(state.a20, true);
});

test('an ELF64 is entered in long mode on page tables that map 4 GiB one to one', () => {
  const memory = ram();
  const state = loadElf(small(64), memory);
  assert.equal(state.mode, 'long');
  assert.ok(state.pageTables !== null && state.pageTables < 0x10_0000);
  const view = new DataView(memory.bytes.buffer);
  const translate = (linear: number) => {
    const entry = (table: number, index: number) => view.getBigUint64(table + index * 8, true);
    const base = (value: bigint) => {
      assert.equal(value & 3n, 3n, 'present and writable');
      return Number(value & 0xf_ffff_ffff_f000n);
    };
    const pdpt = base(entry(state.pageTables!, 0));
    const directory = base(entry(pdpt, Math.floor(linear / 2 ** 30)));
    const page = entry(directory, Math.floor(linear / 2 ** 21) % 512);
    assert.equal(page & 0x80n, 0x80n, 'a 2 MiB page');
    return base(page) + (linear % 2 ** 21);
  };
  for (const linear of [0, 0x10_0001, 0x3fff_ffff, 0x4000_0000, 0x8020_0123, 0xffff_ffff]) {
    assert.equal(translate(linear), linear);
  }
});

test('the descriptor table of a flat guest has code and data where the selectors say', () => {
  for (const bits of [32, 64] as const) {
    const memory = ram();
    const state = loadElf(small(bits), memory);
    const view = new DataView(memory.bytes.buffer);
    const descriptor = (selector: number) => view.getBigUint64(state.gdt!.base + selector, true);
    assert.equal(descriptor(state.codeSelector), bits === 64 ? 0x00af_9b00_0000_ffffn : 0x00cf_9b00_0000_ffffn);
    assert.equal(descriptor(state.dataSelector), 0x00cf_9300_0000_ffffn);
    assert.equal(state.gdt!.limit, 0x17);
    assert.ok(state.gpr[4]! > 0x1000 && state.gpr[4]! <= state.gdt!.base, 'the stack lies below the table');
  }
});

test('what the loader builds keeps out of the image, wherever that lies', () => {
  for (const start of [0x8_0000, 0x9_0000, 0x9_e000]) {
    const data = Array.from({ length: 0x1000 }, (_, index) => index & 0xff);
    const memory = ram();
    const file = elf({ bits: 64, entry: start, segments: [{ virtual: start, physical: start, data }] });
    loadElf(file, memory);
    assert.deepEqual([...memory.bytes.subarray(start, start + 0x1000)], data);
  }
});

test('an image that fills the low memory leaves no room for page tables', () => {
  const file = elf({
    bits: 64,
    entry: 0x1000,
    segments: [{ virtual: 0x1000, physical: 0x1000, data: code, memorySize: 0x9_e000 }],
  });
  assert.throws(() => loadElf(file, ram()), { code: 'no-low-memory' });
});

test('a kernel linked high is loaded and entered at its physical address', () => {
  const file = elf({
    bits: 64,
    entry: 0xffff_ffff_8000_0002n,
    segments: [{ virtual: 0xffff_ffff_8000_0000n, physical: 0x20_0000, data: code }],
  });
  assert.equal(loadElf(file, ram()).rip, 0x20_0002);
});

test('segments that load nothing are passed over', () => {
  const file = elf({
    bits: 32,
    entry: 0x10_0000,
    segments: [
      { type: 0x6474_e551, virtual: 0, physical: 0, data: [], memorySize: 0 },
      { virtual: 0xffff_0000, physical: 0xffff_0000, data: [], memorySize: 0 },
      { virtual: 0x10_0000, physical: 0x10_0000, data: code },
    ],
  });
  assert.equal(parseElf(file, ramSize).segments.length, 1);
});

test('foreign and damaged headers are refused by what is wrong with them', () => {
  const file = small(32);
  refused(patched(file, 0, 0x7e), 'unknown-format', /no ELF/);
  refused(patched(file, 4, 3), 'foreign-class', /class 3/);
  refused(patched(file, 5, 2), 'big-endian', /big-endian/);
  refused(patched(file, 5, 9), 'bad-header', /encoding 9/);
  refused(patched(file, 6, 2), 'bad-header', /version 2/);
  refused(patched(file, 18, 40), 'foreign-machine', /40 \(ARM\)/);
  refused(patched(small(64), 18, 183), 'foreign-machine', /183 \(AArch64\)/);
  refused(patched(file, 18, 62), 'foreign-machine', /32-bit ELF for machine 62 \(x86_64\)/);
  refused(patched(file, 16, 1), 'not-executable', /relocatable/);
  refused(patched(file, 16, 3), 'not-executable', /position-independent/);
  refused(patched(file, 40, 20), 'bad-header', /20 bytes/);
  refused(patched(file, 42, 31), 'bad-header', /31 bytes/);
  refused(patched(file, 44, 0), 'no-segments', /no program headers/);
  refused(patched(file, 44, 0xff, 0xff), 'bad-header', /65535/);
  refused(patched(file, 44, 9), 'truncated', /9 program headers/);
  refused(patched(file, 28, 0xff, 0xff, 0xff, 0xff), 'truncated', /0xffffffff/);
  refused(patched(file, 52, 3), 'needs-interpreter', /interpreter/);
  refused(patched(file, 52, 2), 'not-executable', /dynamically/);
  refused(patched(file, 52, 0), 'no-segments', /loads anything/);
});

test('segments must lie in the file, in the RAM, and beside each other; the entry in one of them', () => {
  const one = { virtual: 0x10_0000, physical: 0x10_0000, data: code };
  const at = (physical: number | bigint, memorySize: number | bigint) =>
    elf({ bits: 64, entry: 0x10_0000, segments: [{ ...one, physical, memorySize }] });
  refused(at(ramSize - 2, 3), 'outside-ram', /0x3ffffe-0x400001/);
  refused(at(0xffff_ffff_ffff_fff0n, 0x20), 'outside-ram', /0xfffffffffffffff0/);
  refused(at(0x10_0000, 0xffff_ffff_ffff_ffffn), 'outside-ram', /outside of the RAM of 0x400000 bytes/);
  refused(at(0x10_0000, 2), 'bad-segment', /3 bytes in the file for 2/);
  refused(elf({ bits: 32, entry: 0x20_0000, segments: [one] }), 'entry-outside', /0x200000/);
  const overlapping = { virtual: 0x10_0002, physical: 0x10_0002, data: code };
  refused(
    elf({ bits: 32, entry: 0x10_0000, segments: [overlapping, one] }),
    'segment-overlap',
    /0x100000-0x100003 and 0x100002-/,
  );
  const file = elf({ bits: 32, entry: 0x10_0000, segments: [one] });
  refused(patched(file, 52 + 4, 0xff), 'truncated', /0xff-0x102 of a file of 0x57 bytes/);
});

test('every truncation of an ELF is refused with a typed error', () => {
  for (const bits of [32, 64] as const) {
    const file = small(bits);
    for (let length = 0; length < file.length; length++) {
      assert.throws(() => loadElf(file.subarray(0, length), ram()), LoaderError, `${bits}-bit, ${length} bytes`);
    }
  }
});

test('20,000 ELFs with damaged headers load or are refused with a typed error, and nothing else happens', () => {
  const random = randomNumbers(0x2545_f491);
  let loaded = 0;
  const bytes = new Uint8Array(0x20_0000);
  for (let round = 0; round < 20_000; round++) {
    const file = small(round & 1 ? 32 : 64).slice();
    for (let change = random() % 4; change >= 0; change--) {
      const at = 4 + (random() % (file.length - 4));
      file[at] = random() % 3 === 0 ? [0, 0xff, 0x7f, 0x80][random() % 4]! : random();
    }
    try {
      loadGuest(file, { bytes }, { name: 'guest', commandLine: '', modules: [] });
      loaded++;
    } catch (error) {
      if (!(error instanceof LoaderError)) throw error;
    }
  }
  assert.ok(loaded > 100 && loaded < 19_000, `${loaded} of the files were harmless`);
});
