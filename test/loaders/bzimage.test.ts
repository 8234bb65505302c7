import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LoaderError } from '../../runtime/errors.ts';
import { isBzImage } from '../../runtime/loaders/bzimage.ts';
import { loadGuest } from '../../runtime/loaders/load.ts';
import { acpiTablesBase, writeAcpiTables } from '../../runtime/machines/acpi-tables.ts';
import { bzImage } from './images.ts';

const ramSize = 0x800_0000;
function boot(file: Uint8Array, commandLine = 'console=ttyS0', modules: Uint8Array[] = [], size = ramSize) {
  const bytes = new Uint8Array(size);
  const { format, state } = loadGuest(
    file,
    { bytes },
    { name: 'vmlinuz', commandLine, modules: modules.map((module) => ({ bytes: module, string: 'initrd' })) },
  );
  const view = new DataView(bytes.buffer);
  const zeroPage = state.gpr[6]!;
  const field = (offset: number) => view.getUint32(zeroPage + offset, true);
  return { format, state, bytes, view, zeroPage, field };
}

function refused(file: Uint8Array, code: string, message: RegExp, commandLine = '', size = ramSize): void {
  assert.throws(
    () => boot(file, commandLine, [], size),
    (error) => error instanceof LoaderError && error.code === code && message.test(error.message),
  );
}

test('a 32-bit kernel is entered at 1 MiB in protected mode with the parameters in ESI', () => {
  const { format, state, bytes, view, field } = boot(bzImage());
  assert.equal(format, 'bzimage');
  assert.equal(state.mode, 'protected');
  assert.equal(state.rip, 0x10_0000);
  assert.deepEqual([state.codeSelector, state.dataSelector, state.pageTables], [0x10, 0x18, null]);
  assert.deepEqual([...bytes.subarray(0x10_0000, 0x10_0002)], [0x5a, 0x5a]);
  assert.equal(field(0x202), 0x5372_6448);
  assert.equal(field(0x210) & 0xff, 0xff);
  const text = new TextDecoder().decode(bytes.subarray(field(0x228), field(0x228) + 14));
  assert.equal(text, 'console=ttyS0\0');
  assert.equal(view.getUint32(state.gdt!.base + 0x14, true), 0x00cf_9b00);
});

test('a kernel with a 64-bit entry is entered there, in long mode over an identity map', () => {
  const { state, view } = boot(bzImage({ entry64: true }));
  assert.equal(state.mode, 'long');
  assert.equal(state.rip, 0x10_0200);
  const tables = state.pageTables!;
  const pointers = view.getUint32(tables, true) & ~0xfff;
  const directory = view.getUint32(pointers + 3 * 8, true) & ~0xfff;
  assert.equal(view.getUint32(directory + 511 * 8, true), 0xffe0_0083);
  assert.equal(view.getUint32(state.gdt!.base + 0x14, true), 0x00af_9b00);
  assert.equal(boot(bzImage({ entry64: true, version: 0x20b })).state.mode, 'protected', 'the flag is newer');
});

test('the memory map has a hole below 1 MiB', () => {
  const { view, zeroPage, field } = boot(bzImage());
  assert.equal(field(0x1e8) & 0xff, 3);
  const entries = [0, 1, 2].map((i) => [0, 8, 16].map((at) => view.getUint32(zeroPage + 0x2d0 + i * 20 + at, true)));
  assert.deepEqual(entries, [
    [0, 0x9_f000, 1],
    [0x9_f000, 0x6_1000, 2],
    [0x10_0000, ramSize - 0x10_0000, 1],
  ]);
});

test('initrds lie one behind the other at the top, below what the kernel allows', () => {
  const parts = [Uint8Array.of(1, 2, 3), Uint8Array.of(4, 5)];
  const { bytes, field } = boot(bzImage(), '', parts);
  assert.deepEqual([field(0x218), field(0x21c)], [ramSize - 0x1000, 8]);
  assert.deepEqual([...bytes.subarray(ramSize - 0x1000, ramSize - 0xff8)], [1, 2, 3, 0, 4, 5, 0, 0]);
  assert.equal(boot(bzImage({ ramdiskMaximum: 0x3ff_ffff }), '', parts).field(0x218), 0x3ff_f000);
});

test('what cannot be booted is refused by name', () => {
  refused(bzImage({ version: 0x205 }), 'unsupported-boot-protocol', /boot protocol is 2\.05; 2\.06 is needed/);
  refused(bzImage({ high: false }), 'unsupported-boot-protocol', /zImage/);
  refused(bzImage().subarray(0, 5 * 512), 'truncated', /begins at 0xa00/);
  refused(bzImage(), 'bad-boot-header', /3000 bytes; the kernel takes 2047/, 'x'.repeat(3000));
  refused(bzImage(), 'outside-ram', /up to 0x1100000/, '', 0x100_0000);
  assert.equal(isBzImage(new Uint8Array(600)), false);
});

test('the ACPI tables add up and lead from one to the next', () => {
  const ram = new Uint8Array(0x10_0000);
  writeAcpiTables(ram, {
    cpus: 3,
    localApic: 0xfee0_0000,
    ioApic: 0xfec0_0000,
    powerPort: 0x600,
    powerIrq: 9,
    resetPort: 0xcf9,
    resetValue: 6,
  });
  const view = new DataView(ram.buffer);
  const name = (at: number, length = 4) => new TextDecoder().decode(ram.subarray(at, at + length));
  const adds = (at: number, length: number) =>
    assert.equal(ram.subarray(at, at + length).reduce((sum, byte) => sum + byte, 0) & 0xff, 0, name(at));
  assert.equal(name(acpiTablesBase, 8), 'RSD PTR ');
  adds(acpiTablesBase, 20);
  adds(acpiTablesBase, 36);
  const seen: string[] = [];
  const table = (at: number) => {
    adds(at, view.getUint32(at + 4, true));
    seen.push(name(at));
    return at;
  };
  const root = table(view.getUint32(acpiTablesBase + 24, true));
  for (let entry = root + 36; entry < root + view.getUint32(root + 4, true); entry += 8) {
    const at = table(view.getUint32(entry, true));
    if (name(at) === 'FACP') {
      table(view.getUint32(at + 40, true));
      assert.equal(name(view.getUint32(at + 36, true)), 'FACS');
      assert.equal(view.getUint32(at + 64, true), 0x604);
    } else {
      const types: number[] = [];
      for (let part = at + 44; part < at + view.getUint32(at + 4, true); part += ram[part + 1]!) types.push(ram[part]!);
      assert.deepEqual(types, [0, 0, 0, 1, 2, 2, 4]);
    }
  }
  assert.deepEqual(seen, ['XSDT', 'FACP', 'DSDT', 'APIC']);
});
