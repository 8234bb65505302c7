import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LoaderError } from '../../runtime/errors.ts';
import { loadGuest } from '../../runtime/loaders/load.ts';
import { type BootModule, findMultibootHeader } from '../../runtime/loaders/multiboot.ts';
import { elf, multibootHeader, randomNumbers } from './images.ts';

const ramSize = 0x40_0000;
const ram = (size = ramSize) => ({ bytes: new Uint8Array(size) });
const bytesOf = (text: string) => new TextEncoder().encode(text);

function boot(file: Uint8Array, memory = ram(), commandLine = '', modules: BootModule[] = []) {
  const { format, state } = loadGuest(file, memory, { name: 'kernel.elf', commandLine, modules });
  const view = new DataView(memory.bytes.buffer);
  const info = state.gpr[3]!;
  const field = (offset: number) => view.getUint32(info + offset, true);
  const text = (address: number) =>
    new TextDecoder().decode(memory.bytes.subarray(address, memory.bytes.indexOf(0, address)));
  return { format, state, view, field, text };
}

const kernel = (bits: 32 | 64 = 32, flags = 3) =>
  elf({
    bits,
    entry: 0x10_000c,
    segments: [
      { virtual: 0x10_0000, physical: 0x10_0000, data: [...multibootHeader(flags), 0xf4], memorySize: 0x1234 },
    ],
  });

/** A kludge image: 16 bytes of something, the header, 32 bytes of code. */
function kludge(addresses: readonly number[], flags = 0x1_0000): Uint8Array {
  return Uint8Array.from([...Array(16).fill(0xee), ...multibootHeader(flags, addresses), ...Array(32).fill(0x90)]);
}

function refused(file: Uint8Array, code: string, message: RegExp, modules: BootModule[] = []): void {
  assert.throws(
    () => boot(file, ram(), '', modules),
    (error) => {
      assert.ok(error instanceof LoaderError, String(error));
      assert.equal(error.code, code, error.message);
      assert.match(error.message, message);
      return true;
    },
  );
}

test('a multiboot ELF is entered in flat 32-bit mode with the magic in EAX and the information in EBX', () => {
  for (const bits of [32, 64] as const) {
    const { format, state } = boot(kernel(bits));
    assert.equal(format, 'multiboot');
    assert.equal(state.mode, 'protected');
    assert.equal(state.rip, 0x10_000c);
    assert.equal(state.gpr[0], 0x2bad_b002);
    assert.ok(state.gpr[3]! > 0 && state.gpr[3]! < 0xa_0000);
    assert.equal(state.pageTables, null);
    assert.equal(state.a20, true);
  }
});

test('the information holds memory sizes, command line, loader name and a memory map that covers the RAM', () => {
  const { field, text, view } = boot(kernel(), ram(), 'console=ttyS0 quiet');
  assert.equal(field(0), 0b10_0100_0101);
  assert.equal(field(4), 636, 'KiB below 640 KiB');
  assert.equal(field(8), 3072, 'KiB above 1 MiB');
  assert.equal(text(field(16)), 'kernel.elf console=ttyS0 quiet');
  assert.equal(text(field(64)), 'jit86');
  const map: number[][] = [];
  for (let at = field(48); at < field(48) + field(44); at += view.getUint32(at, true) + 4) {
    map.push([4, 8, 12, 16, 20].map((offset) => view.getUint32(at + offset, true)));
  }
  assert.deepEqual(map, [
    [0, 0, 0x9_f000, 0, 1],
    [0x9_f000, 0, 0x6_1000, 0, 2],
    [0x10_0000, 0, 0x30_0000, 0, 1],
  ]);
});

test('without arguments the command line is the name alone', () => {
  const { field, text } = boot(kernel());
  assert.equal(text(field(16)), 'kernel.elf');
});

test('modules follow the kernel at page boundaries, each with its string', () => {
  const memory = ram();
  const modules = [
    { bytes: bytesOf('first module'), string: 'a.img one two' },
    { bytes: new Uint8Array(0), string: 'empty' },
    { bytes: new Uint8Array(0x1001).fill(7), string: 'c.img' },
  ];
  const { field, text, view } = boot(kernel(), memory, '', modules);
  assert.equal(field(0) & 8, 8);
  assert.equal(field(20), 3);
  modules.forEach((module, index) => {
    const at = field(24) + index * 16;
    const [start, end, string] = [0, 4, 8].map((offset) => view.getUint32(at + offset, true)) as [
      number,
      number,
      number,
    ];
    assert.equal(start % 0x1000, 0);
    assert.ok(start >= 0x10_1234, 'behind the kernel and its bss');
    assert.deepEqual(memory.bytes.slice(start, end), module.bytes);
    assert.equal(text(string), module.string);
  });
});

test('a module that does not fit the RAM is refused by name', () => {
  refused(kernel(), 'outside-ram', /module 1 \(big\) at 0x103000-/, [
    { bytes: new Uint8Array(10), string: 'small' },
    { bytes: new Uint8Array(ramSize), string: 'big' },
  ]);
});

test('modules for a guest that is no multiboot kernel are refused', () => {
  const plain = elf({
    bits: 32,
    entry: 0x10_0000,
    segments: [{ virtual: 0x10_0000, physical: 0x10_0000, data: [0xf4] }],
  });
  refused(plain, 'unknown-format', /no multiboot header/, [{ bytes: new Uint8Array(1), string: 'm' }]);
});

test('the address fields load any file: from load_addr, with bss, to the entry', () => {
  const memory = ram();
  memory.bytes.fill(0xcc);
  const file = kludge([0x10_0010, 0x10_0000, 0, 0x10_1000, 0x10_0030]);
  const { state } = boot(file, memory);
  assert.equal(state.rip, 0x10_0030);
  assert.deepEqual(memory.bytes.slice(0x10_0000, 0x10_0000 + file.length), file);
  assert.equal(memory.bytes[0x10_0000 + file.length], 0);
  assert.equal(memory.bytes[0x10_0fff], 0);
  assert.equal(memory.bytes[0x10_1000], 0xcc);
});

test('load_addr may skip the beginning of the file, and load_end_addr its end', () => {
  const memory = ram();
  const { state } = boot(kludge([0x10_0000, 0x10_0000, 0x10_0024, 0, 0x10_0020]), memory);
  assert.equal(state.rip, 0x10_0020);
  assert.equal(new DataView(memory.bytes.buffer).getUint32(0x10_0000, true), 0x1bad_b002);
  assert.equal(memory.bytes[0x10_0023], 0x90);
  assert.equal(memory.bytes[0x10_0024], 0);
});

test('the address fields win over the ELF that carries them', () => {
  const data = [...multibootHeader(0x1_0000, [0x20_0000, 0x20_0000, 0, 0, 0x20_0020]), 0xf4];
  const file = elf({ bits: 32, entry: 0x10_0000, segments: [{ virtual: 0x10_0000, physical: 0x10_0000, data }] });
  assert.equal(boot(file).state.rip, 0x20_0020);
});

test('address fields that contradict each other or the file are refused', () => {
  refused(kludge([0x10_0000, 0x10_0010, 0, 0, 0x10_0010]), 'bad-multiboot-header', /load_addr 0x100010 lies above/);
  refused(kludge([0x10_0020, 0x10_0000, 0, 0, 0x10_0000]), 'bad-multiboot-header', /16 bytes before the file/);
  refused(kludge([0x10_0010, 0x10_0000, 0xf_0000, 0, 0x10_0000]), 'bad-multiboot-header', /load_end_addr 0xf0000/);
  refused(kludge([0x10_0010, 0x10_0000, 0x10_1000, 0, 0x10_0000]), 'truncated', /4096 bytes/);
  refused(kludge([0x10_0010, 0x10_0000, 0, 0x10_0010, 0x10_0000]), 'bad-multiboot-header', /bss_end_addr 0x100010/);
  refused(kludge([0x10_0010, 0x10_0000, 0, 0xffff_ffff, 0x10_0000]), 'outside-ram', /0x100000-0xffffffff/);
  refused(kludge([0x10_0010, 0x10_0000, 0, 0, 0x20_0000]), 'entry-outside', /0x200000/);
  refused(kludge([0x10_0010, 0x10_0000, 0, 0, 0x10_0000]).subarray(0, 40), 'truncated', /header at 0x10 is cut short/);
});

test('a header is found at the last place of the first 8 KiB and not behind it, nor unaligned, nor with a bad checksum', () => {
  const header = multibootHeader(0);
  const at = (offset: number, bytes = header) => {
    const file = new Uint8Array(9000);
    file.set(bytes, offset);
    return findMultibootHeader(file)?.offset;
  };
  assert.equal(at(0), 0);
  assert.equal(at(8192 - 12), 8192 - 12);
  assert.equal(at(8192 - 8), undefined);
  assert.equal(at(2), undefined);
  assert.equal(at(0, [...header.slice(0, 8), 1, 2, 3, 4]), undefined);
});

test('unknown flags that a loader must understand are refused; a wish for a video mode is not', () => {
  refused(kernel(32, 0x48), 'unsupported-multiboot-flags', /0x48/);
  assert.equal(boot(kernel(32, 0x7)).format, 'multiboot');
  assert.equal(boot(kernel(32, 0x80_0003)).format, 'multiboot');
});

test('a header in a file that is no ELF needs its address fields', () => {
  refused(Uint8Array.from([...multibootHeader(3), ...Array(600).fill(0x90)]), 'bad-multiboot-header', /no ELF/);
});

test('every truncation and 20,000 damaged headers load or are refused with a typed error', () => {
  const random = randomNumbers(0x9e37_79b9);
  const bytes = new Uint8Array(0x20_0000);
  const images = [kernel(), kernel(64), kludge([0x10_0010, 0x10_0000, 0, 0x10_1000, 0x10_0030])];
  let loaded = 0;
  const attempt = (file: Uint8Array) => {
    try {
      loadGuest(file, { bytes }, { name: 'k', commandLine: '', modules: [] });
      loaded++;
    } catch (error) {
      if (!(error instanceof LoaderError)) throw error;
    }
  };
  for (const image of images) for (let length = 0; length < image.length; length++) attempt(image.subarray(0, length));
  for (let round = 0; round < 20_000; round++) {
    const file = images[round % images.length]!.slice();
    // Address fields only, half of the time: a change elsewhere mostly breaks the checksum.
    const [from, to] = round % images.length === 2 && round & 1 ? [28, 48] : [0, file.length];
    for (let change = random() % 3; change >= 0; change--) file[from + (random() % (to - from))] = random();
    attempt(file);
  }
  assert.ok(loaded > 100, `${loaded} of the files were harmless`);
});
