/**
 * Instructions on cache lines: MOVDIRI and MOVDIR64B store, the flushes access a byte, SERIALIZE does nothing; each faults
 * as its access does, before anything has changed.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codeStart, Guest, type GuestKind } from '../../runtime/lockstep/guest.ts';
import { IMAGE } from '../../runtime/lockstep/machine-image.ts';
import { vmModules } from './modules.ts';

const kind: GuestKind = { mode: '64', cpl: 0, paging: '4-level', code: 0x34500000n, data: 0x34567000n };
const ways = ['never', 'first'] as const;
const HLT = 0xf4;

interface Registers {
  readonly [name: string]: bigint;
}
/** Runs code; the vector of the exception that it ends in, or null, and the data pages. */
function run(translate: 'never' | 'first', code: readonly number[], registers: Registers) {
  const guest = new Guest(kind, translate, vmModules());
  guest.reset();
  const { fields: state } = guest.vcpu;
  guest.write('code', 0, Uint8Array.from([...code, HLT]));
  guest.write(
    'data',
    0,
    Uint8Array.from({ length: 0x400 }, (_, i) => (i * 7 + 1) & 255),
  );
  state.set64('rip', codeStart(kind));
  state.set64('rsp', kind.data + 0x3800n);
  for (const [name, value] of Object.entries(registers)) state.set64(name, value);
  assert.ok(guest.run(100), 'it ends');
  const rip = Number(state.get64('rip'));
  const vector = rip > IMAGE.handlers && rip <= IMAGE.handlers + 4096 ? (rip - 1 - IMAGE.handlers) / 16 : null;
  const at = guest.physical('data', 0);
  return { vector, data: guest.vm.ram.slice(at, at + 0x400), cr2: state.get64('cr2') };
}
const pattern = (i: number): number => (i * 7 + 1) & 255;
const NOWHERE = 0x7000_0000n;

for (const way of ways) {
  test(`MOVDIR64B copies a line, translated ${way}`, () => {
    const moved = run(way, [0x66, 0x0f, 0x38, 0xf8, 0x07], { rax: kind.data + 0x200n, rdi: kind.data + 0x31n });
    assert.equal(moved.vector, null);
    assert.deepEqual(
      [...moved.data.subarray(0x200, 0x240)],
      Array.from({ length: 64 }, (_, i) => pattern(0x31 + i)),
    );
    assert.equal(moved.data[0x1ff], pattern(0x1ff));
    assert.equal(moved.data[0x240], pattern(0x240));
    // Source and destination overlap: all is read first.
    const over = run(way, [0x66, 0x0f, 0x38, 0xf8, 0x07], { rax: kind.data + 0x200n, rdi: kind.data + 0x1f0n });
    assert.deepEqual(
      [...over.data.subarray(0x200, 0x240)],
      Array.from({ length: 64 }, (_, i) => pattern(0x1f0 + i)),
    );
    // The destination must be aligned; with 67 it has 32 bits.
    assert.equal(run(way, [0x66, 0x0f, 0x38, 0xf8, 0x07], { rax: kind.data + 0x210n, rdi: kind.data }).vector, 13);
    const narrow = run(way, [0x67, 0x66, 0x0f, 0x38, 0xf8, 0x07], {
      rax: 0x5_0000_0000n + kind.data + 0x200n,
      rdi: kind.data,
    });
    assert.equal(narrow.vector, null);
    assert.equal(narrow.data[0x23f], pattern(0x3f));
    const absent = run(way, [0x66, 0x0f, 0x38, 0xf8, 0x07], { rax: kind.data + 0x200n, rdi: NOWHERE });
    assert.deepEqual([absent.vector, absent.cr2], [14, NOWHERE]);
    assert.equal(absent.data[0x200], pattern(0x200));
    const nowhere = run(way, [0x66, 0x0f, 0x38, 0xf8, 0x07], { rax: NOWHERE, rdi: kind.data });
    assert.deepEqual([nowhere.vector, nowhere.cr2], [14, NOWHERE]);
  });

  test(`MOVDIRI stores a register, translated ${way}`, () => {
    const wide = run(way, [0x48, 0x0f, 0x38, 0xf9, 0x07], { rax: 0x1122_3344_5566_7788n, rdi: kind.data + 3n });
    assert.deepEqual([...wide.data.subarray(2, 12)], [15, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, pattern(11)]);
    const narrow = run(way, [0x0f, 0x38, 0xf9, 0x07], { rax: 0x1122_3344_5566_7788n, rdi: kind.data + 3n });
    assert.deepEqual([...narrow.data.subarray(2, 8)], [15, 0x88, 0x77, 0x66, 0x55, pattern(7)]);
    assert.equal(run(way, [0x0f, 0x38, 0xf9, 0xc7], {}).vector, 6, 'no register form');
  });

  test(`flushes access a byte, SERIALIZE nothing, translated ${way}`, () => {
    for (const [name, ...code] of [
      ['CLFLUSH', 0x0f, 0xae, 0x3f],
      ['CLFLUSHOPT', 0x66, 0x0f, 0xae, 0x3f],
      ['CLWB', 0x66, 0x0f, 0xae, 0x37],
    ] as const) {
      assert.equal(run(way, code, { rdi: kind.data + 0x3ffn }).vector, null, name);
      assert.equal(run(way, code, { rdi: NOWHERE + 5n }).cr2, NOWHERE + 5n, name);
      assert.equal(run(way, code, { rdi: 1n << 62n }).vector, 13, name);
    }
    assert.equal(run(way, [0x0f, 0x01, 0xe8], {}).vector, null);
    assert.equal(run(way, [0xf0, 0x0f, 0x01, 0xe8], {}).vector, 6, 'LOCK');
  });
}
