/** Objects that are damaged, foreign or ask for what is not there: a `LoaderError` with a code, never anything else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LoaderError } from '../../runtime/errors.ts';
import { loadBpfObject } from '../../runtime/loaders/bpf-object.ts';
import { assemble } from '../../src/bpf/assemble.ts';
import { cHeader } from '../../src/bpf/c-header.ts';
import { deviceEnvironment } from '../../src/bpf/device-program.ts';
import { BpfError } from '../../src/bpf/errors.ts';
import { verify } from '../../src/bpf/verifier.ts';
import { compile, withoutClang } from './clang.ts';
import { Random } from './random.ts';

const skip = withoutClang;
const environment = deviceEnvironment({ stateBytes: 32 });

interface Part {
  readonly name: string;
  readonly type: number;
  readonly flags?: number;
  readonly bytes: Uint8Array;
  readonly link?: number;
  readonly info?: number;
  readonly size?: number;
}

/** An ELF object of these sections, the first of which gets number 1; the names of sections come last. */
function elfOf(parts: readonly Part[]): Uint8Array {
  const names = ['', ...parts.map(({ name }) => name), '.shstrtab'];
  const strings = new TextEncoder().encode(`${names.join('\0')}\0`);
  const all: Part[] = [...parts, { name: '.shstrtab', type: 3, bytes: strings }];
  const size = 64 + all.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const file = new Uint8Array(size + 64 * (all.length + 1));
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 1, true);
  view.setUint16(18, 247, true);
  view.setUint32(40, size, true);
  view.setUint16(58, 64, true);
  view.setUint16(60, all.length + 1, true);
  view.setUint16(62, all.length, true);
  let [at, name] = [64, 1];
  all.forEach((part, index) => {
    const header = size + 64 * (index + 1);
    view.setUint32(header, name, true);
    view.setUint32(header + 4, part.type, true);
    view.setUint32(header + 8, part.flags ?? 0, true);
    view.setUint32(header + 24, at, true);
    view.setUint32(header + 32, part.size ?? part.bytes.length, true);
    view.setUint32(header + 40, part.link ?? 0, true);
    view.setUint32(header + 44, part.info ?? 0, true);
    file.set(part.bytes, at);
    at += part.bytes.length;
    name += part.name.length + 1;
  });
  return file;
}

interface SymbolRow {
  readonly name: string;
  readonly type: number;
  readonly section: number;
  readonly value?: number;
  readonly size?: number;
  readonly local?: boolean;
}
/** The table of symbols and its names; `link` is the number that the names get. */
function symbolsOf(rows: readonly SymbolRow[], link: number): [Part, Part] {
  const names = new TextEncoder().encode(`\0${rows.map(({ name }) => name).join('\0')}\0`);
  const bytes = new Uint8Array(24 * (rows.length + 1));
  const view = new DataView(bytes.buffer);
  let name = 1;
  rows.forEach((row, index) => {
    const at = 24 * (index + 1);
    view.setUint32(at, name, true);
    bytes[at + 4] = row.type | (row.local === true ? 0 : 16);
    view.setUint16(at + 6, row.section, true);
    view.setUint32(at + 8, row.value ?? 0, true);
    view.setUint32(at + 16, row.size ?? 0, true);
    name += row.name.length + 1;
  });
  return [
    { name: '.symtab', type: 2, bytes, link },
    { name: '.strtab', type: 3, bytes: names },
  ];
}
function relocation(...rows: readonly (readonly [offset: number, type: number, symbol: number])[]): Uint8Array {
  const bytes = new Uint8Array(16 * rows.length);
  const view = new DataView(bytes.buffer);
  rows.forEach(([offset, type, symbol], index) => {
    view.setUint32(index * 16, offset, true);
    view.setUint32(index * 16 + 8, type, true);
    view.setUint32(index * 16 + 12, symbol, true);
  });
  return bytes;
}

/** Section 1 is the code, 2 and 3 the symbols, what follows begins with 4. */
function object(text: string, rows: readonly SymbolRow[], ...more: readonly Part[]): Uint8Array {
  return elfOf([{ name: 'device/x', type: 1, flags: 6, bytes: assemble(text) }, ...symbolsOf(rows, 3), ...more]);
}
const main = (text: string): SymbolRow => ({ name: 'main', type: 2, section: 1, size: assemble(text).length });

function refused(file: Uint8Array, code: string, reason: RegExp): void {
  assert.throws(
    () => loadBpfObject(file),
    (error) => {
      assert.ok(error instanceof LoaderError, String(error));
      assert.equal(error.code, code, error.message);
      assert.match(error.message, reason);
      return true;
    },
  );
}

const exit = 'r0 = 0\nexit';
const constant = 'r1 = 0 ll\nr0 = 0\nexit';

test('an object made by hand loads; what is wrong in its header is named', () => {
  const good = object(exit, [main(exit)]);
  const { programs } = loadBpfObject(good);
  assert.deepEqual(programs[0]!.bytes, assemble(exit));
  assert.deepEqual([programs[0]!.name, programs[0]!.section], ['main', 'device/x']);
  const changed = (at: number, ...bytes: number[]) => {
    const copy = good.slice();
    copy.set(bytes, at);
    return copy;
  };
  refused(new Uint8Array(0), 'unknown-format', /no ELF/);
  refused(new TextEncoder().encode('#!/bin/sh'), 'unknown-format', /no ELF/);
  refused(changed(4, 1), 'foreign-class', /64 bits/);
  refused(changed(5, 2), 'big-endian', /bpfel/);
  refused(changed(18, 62, 0), 'foreign-machine', /machine 62/);
  refused(changed(16, 2, 0), 'bad-header', /type 2/);
  refused(changed(58, 40, 0), 'bad-header', /40 bytes instead of 64/);
  refused(changed(62, 99, 0), 'bad-header', /section 99/);
  refused(changed(40, 0xff, 0xff, 0xff, 0x7f), 'truncated', /needed/);
  refused(changed(44, 1), 'truncated', /beyond any file/);
});

test('symbols, functions and relocations that cannot be', () => {
  const target = (symbol: SymbolRow, type: number, text = constant) =>
    object(text, [main(text), symbol], { name: '.rel', type: 9, bytes: relocation([0, type, 2]), link: 2, info: 1 });
  refused(elfOf([{ name: 'code', type: 1, flags: 4, bytes: assemble(exit) }]), 'bad-section', /no symbols/);
  refused(object(exit, []), 'no-programs', /no global function/);
  refused(object(exit, [{ ...main(exit), local: true }]), 'no-programs', /no global function/);
  refused(object(exit, [{ ...main(exit), size: 400 }]), 'bad-symbol', /400 bytes at 0/);
  refused(object(exit, [{ ...main(exit), value: 4 }]), 'bad-symbol', /at 4/);
  refused(object(exit, [{ ...main(exit), section: 2 }]), 'bad-symbol', /not in a section of code/);
  refused(target({ name: 'missing', type: 0, section: 0 }, 1), 'bad-symbol', /missing is used, but/);
  refused(target({ name: 'missing', type: 0, section: 0 }, 10, 'call -1\nexit'), 'bad-symbol', /missing is called/);
  refused(target({ name: 'f', type: 2, section: 1, size: 8, value: 8 }, 1), 'bad-relocation', /neither a map nor data/);
  refused(target({ name: 'x', type: 1, section: 1 }, 10), 'bad-relocation', /type 10 for a constant/);
  refused(target({ name: 'x', type: 1, section: 1 }, 1, 'call -1\nexit'), 'bad-relocation', /type 1 for a call/);
  refused(target({ name: 'x', type: 1, section: 1 }, 1, exit), 'bad-relocation', /neither a call nor a constant/);
  refused(
    target({ name: 'x', type: 1, section: 1, value: 8 }, 10, 'call -1\nexit'),
    'bad-relocation',
    /no function begins/,
  );
  refused(object('call pc+5\nexit', [main('call pc+5\nexit')]), 'bad-relocation', /no function begins/);
  const rows = [main(constant)];
  refused(
    object(constant, rows, { name: '.rel', type: 9, bytes: relocation([0, 1, 9]), link: 2, info: 1 }),
    'bad-relocation',
    /symbol 9/,
  );
  refused(
    object(constant, rows, { name: '.rel', type: 9, bytes: new Uint8Array(15), link: 2, info: 1 }),
    'bad-relocation',
    /damaged/,
  );
  refused(
    object(constant, rows, { name: '.rela', type: 4, bytes: new Uint8Array(24), link: 2, info: 1 }),
    'bad-relocation',
    /does not use/,
  );
  const data = (value: number) =>
    object(
      constant,
      [main(constant), { name: 'd', type: 1, section: 4, value }],
      { name: '.data', type: 1, bytes: new Uint8Array(8) },
      { name: '.rel', type: 9, bytes: relocation([0, 1, 2]), link: 2, info: 1 },
    );
  assert.equal(loadBpfObject(data(4)).maps[0]!.name, '.data');
  refused(data(8), 'bad-relocation', /offset 8 lies outside of .data, 8 bytes/);
  const pointers = object(
    exit,
    [main(exit)],
    { name: '.data', type: 1, bytes: new Uint8Array(8) },
    { name: '.rel', type: 9, bytes: relocation([0, 2, 1]), link: 2, info: 4 },
  );
  refused(pointers, 'bad-relocation', /section .data holds addresses/);
});

test('maps that are not supported', () => {
  const words = (...list: number[]) => new Uint8Array(new Uint32Array(list).buffer);
  const legacy = (...list: number[]) =>
    object(exit, [main(exit), { name: 'm', type: 1, section: 4, size: list.length * 4 }], {
      name: 'maps',
      type: 1,
      bytes: words(...list),
    });
  assert.equal(loadBpfObject(legacy(2, 4, 8, 16, 0)).maps[0]!.maxEntries, 16);
  refused(legacy(1, 4, 8, 16, 0), 'bad-map', /type 1 \(hash\); only arrays/);
  refused(legacy(27, 4, 8, 16, 0), 'bad-map', /type 27; only arrays/);
  refused(legacy(2, 8, 8, 16, 0), 'bad-map', /8 bytes instead of 4/);
  refused(legacy(2, 4, 0, 16, 0), 'bad-map', /16 values of 0 bytes/);
  refused(legacy(2, 4, 0x10000, 0x10000, 0), 'bad-map', /values of 65536/);
  refused(legacy(2, 4, 8), 'bad-map', /12 of 20 bytes/);
  const declared = { name: '.maps', type: 1, bytes: new Uint8Array(32) };
  refused(object(exit, [main(exit)], declared), 'bad-map', /compile with -g/);
  const row = { name: 'm', type: 1, section: 4, size: 32 };
  const btf = (bytes: Uint8Array) => object(exit, [main(exit), row], declared, { name: '.BTF', type: 1, bytes });
  refused(btf(new Uint8Array(24)), 'bad-map', /does not begin as BTF/);
  refused(btf(Uint8Array.of(0x9f, 0xeb)), 'truncated', /section .BTF/);
  const header = words(0x0001eb9f, 24, 0, 12, 12, 1);
  const whole = (info: number) => Uint8Array.from([...header, ...words(0, info, 4), 0]);
  refused(btf(whole(30 << 24)), 'bad-map', /kind 30/);
  refused(btf(whole(2 << 24)), 'bad-map', /map m is not declared/);
});

test('clang: hash maps, maps without types, unknown functions', { skip }, () => {
  const header = cHeader(environment);
  const source = (type: number) => `#include "device.h"
    struct { int (*type)[${type}]; int (*max_entries)[4]; unsigned *key; unsigned *value; } m __attribute__((section(".maps"), used));
    PROGRAM("x") unsigned long long x(struct device_access *a) { unsigned k = 0; return map_lookup_elem(&m, &k) != 0; }\n`;
  loadBpfObject(compile(source(2), header, '-g'));
  refused(compile(source(1), header, '-g'), 'bad-map', /map m is of type 1 \(hash\)/);
  refused(compile(source(2), header), 'bad-map', /compile with -g/);
  const external = 'int f(int);\n__attribute__((section("device/x"))) int x(void *c) { return f(3); }\n';
  refused(compile(external, ''), 'bad-symbol', /f is called, but the object does not define it/);
});

test('damage to an object never leads to anything but a LoaderError or a BpfError', { skip }, () => {
  const file = compile('statistics.c', cHeader(environment), '-g', '-mcpu=v3');
  const attempt = (bytes: Uint8Array): string => {
    try {
      for (const program of loadBpfObject(bytes).programs) verify(program, { ...environment, maxComplexity: 5000 });
      return 'accepted';
    } catch (error) {
      if (error instanceof LoaderError || error instanceof BpfError) return error.code;
      throw error;
    }
  };
  for (let length = 0; length < file.length; length += length < 200 ? 1 : 97)
    assert.notEqual(attempt(file.subarray(0, length)), 'accepted');
  const random = new Random(247);
  const outcomes = new Map<string, number>();
  const end = performance.now() + 4000;
  while (performance.now() < end) {
    const copy = Uint8Array.from(file);
    for (let changes = 1 + random.below(8); changes > 0; changes--) copy[random.below(copy.length)] = random.next();
    const headers = new DataView(copy.buffer).getUint32(40, true);
    if (random.below(2) === 0 && headers < copy.length - 64)
      copy[headers + random.below(copy.length - headers)] = random.next();
    const outcome = attempt(copy);
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  }
  assert.ok(outcomes.size > 5, JSON.stringify([...outcomes]));
});
