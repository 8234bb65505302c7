/**
 * SMRAM: where a processor in system-management mode sees other memory than in any other mode, its code, its data and its
 * page of saved state are its own, in both engines, although addresses and modes of execution are the same.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Guest } from '../../runtime/lockstep/guest.ts';
import { LogReader } from '../../src/mmu/dirty-logs.ts';
import type { AddressSpace } from '../../src/mmu/physical-memory.ts';
import { dword } from './assembler.ts';
import { vmModules } from './modules.ts';

/** Three pages: code, data, and the saved state; and the host's memory behind them for each space. */
const CODE = 0x70000;
const SMBASE = CODE - 0x8000;
const DATA = CODE + 0x1000;
const SAVED = CODE + 0x7000;
const SMRAM = 0x40000;
/** Beside both: what the two add up. */
const SUMS = 0x1000;

/** In 16-bit code with 32-bit addresses and operands: adds the page's own number to a sum. */
const addOwn = (sum: number): number[] => [
  ...[0x67, 0x66, 0xa1, ...dword(DATA)], // mov eax, [DATA]
  ...[0x67, 0x66, 0x01, 0x05, ...dword(sum)], // add [sum], eax
];
/** Both begin with the same bytes at the same place; the numbers that they add differ, and then what follows. */
const shared = addOwn(SUMS);
const outside = [...shared, 0xeb, -(shared.length + 2) & 0xff]; // jmp to the start
const inside = [
  ...shared,
  ...[0x67, 0x66, 0xff, 0x05, ...dword(DATA + 4)], // inc dword [DATA+4]: the page's own counter
  ...[0x67, 0x66, 0x81, 0x3d, ...dword(DATA + 4), ...dword(700)], // cmp dword [DATA+4], 700
  ...[0x72, 0], // jb to the start
  ...[0x67, 0x66, 0xc7, 0x05, ...dword(DATA + 4), ...dword(0)], // mov dword [DATA+4], 0
  ...[0x0f, 0xaa], // rsm
];
inside[inside.length - 15] = -(inside.length - 14) & 0xff;

function prepared(way: 'never' | 'first') {
  const guest = new Guest({ mode: 'real', cpl: 0, paging: '32-bit', code: 0x50000n, data: 0x60000n }, way, vmModules());
  const { vm, vcpu } = guest;
  const { physical } = vm;
  const host = vm.ram.byteOffset;
  // SMRAM's memory is in no place of the normal map; pages beside the three are the same for all.
  physical.replace([
    { kind: 'ram', start: 0, length: SMRAM, hostOffset: host },
    { kind: 'ram', start: SMRAM + 0x8000, length: 0x38000, hostOffset: host + SMRAM + 0x8000 },
  ]);
  const smram = [CODE, DATA, SAVED].map((start, i) => ({
    kind: 'ram' as const,
    start,
    length: 4096,
    hostOffset: host + SMRAM + i * 4096,
  }));
  physical.replace(smram, 'smm');
  vm.ram.set(outside, CODE);
  vm.ram.set(inside, SMRAM);
  vm.ram.set(dword(3), DATA);
  vm.ram.set(dword(1_000_000), SMRAM + 4096);
  const { fields: state } = vcpu;
  state.set32('smbase', SMBASE);
  for (const name of ['cs', 'ds', 'es', 'ss', 'fs', 'gs']) {
    state.set64(`${name}Base`, name === 'cs' ? BigInt(SMBASE) : 0n);
    state.set32(`${name}Selector`, name === 'cs' ? SMBASE >> 4 : 0);
    state.set32(`${name}Limit`, 0xffff_ffff);
    state.set32(`${name}Access`, 0x10093);
  }
  state.set64('rip', 0x8000n);
  state.set64('cr4', 0n); // as an SMI leaves it
  vcpu.cpu.stateReplaced();
  const view = new DataView(vm.ram.buffer, vm.ram.byteOffset, vm.ram.byteLength);
  return { guest, vm, vcpu, view, smram };
}

for (const way of ['never', 'first'] as const)
  test(`the same place holds other code and data in system-management mode, translated ${way}`, () => {
    const { guest, vcpu, view } = prepared(way);
    const contexts = new Set<number>();
    for (let round = 1; round <= 6; round++) {
      const before = view.getUint32(SUMS, true);
      guest.run(10_001 + round);
      assert.equal(vcpu.fields.get32('smm'), 0);
      contexts.add(vcpu.fields.get32('context'));
      const normal = view.getUint32(SUMS, true) - before;
      assert.equal(normal % 3, 0);
      assert.ok(normal > 9_000);
      const rip = vcpu.fields.get64('rip');
      vcpu.smi();
      guest.run(1);
      assert.equal(vcpu.fields.get32('smm') & 1, 1);
      contexts.add(vcpu.fields.get32('context'));
      const step = view.getUint32(SUMS, true);
      while (vcpu.fields.get32('smm') !== 0) guest.run(37);
      const added = view.getUint32(SUMS, true) - step;
      assert.equal(Math.floor(added / 1_000_000), 700, 'SMRAM has its own number, 700 times');
      assert.ok(rip >= 0x8000n && rip < 0x8000n + BigInt(outside.length));
      // The processor's state went to SMRAM.
      assert.equal(view.getUint32(SMRAM + 2 * 4096 + 0xefc, true) & 0xffff, 0x64);
      assert.equal(view.getUint32(SAVED + 0xefc, true), 0);
      assert.equal(view.getUint32(DATA + 4, true), 0, "the others' page has no such counter");
      view.setUint32(SUMS, 0, true);
    }
    assert.equal(contexts.size, 1, 'the mode of execution is the same, so that only the memory tells the two apart');
    if (way === 'first') assert.ok(vcpu.engine.translated > 50_000);
  });

test('what is written in one space changes neither code nor the dirty log of the other', () => {
  const { guest, vm, vcpu, view } = prepared('first');
  const { physical } = vm;
  guest.run(1000);
  vcpu.smi();
  guest.run(100);
  const page = CODE / 4096;
  const behind = Math.floor(physical.inSmm(CODE) / 4096);
  assert.notEqual(behind, page);
  const log = new LogReader(physical.logs);
  for (const space of ['normal', 'smm'] as const) log.start(space, { from: page + 1, to: page + 2 });
  const logged = (space: AddressSpace): boolean =>
    log.collect(space, page + 1, page + 2, new Uint32Array(1), 1, false) === 1;
  guest.run(100);
  assert.deepEqual([logged('normal'), logged('smm')], [false, true]);
  while (vcpu.fields.get32('smm') !== 0) guest.run(50);
  // A device overwrites the normal page: 3 becomes 5 only there.
  physical.writeBytes(DATA, Uint8Array.from(dword(5)));
  assert.deepEqual([logged('normal'), logged('smm')], [true, true]);
  while (vcpu.fields.get64('rip') !== 0x8000n) guest.run(1);
  const before = view.getUint32(SUMS, true);
  guest.run(3 * 1000);
  assert.equal((view.getUint32(SUMS, true) - before) % 5, 0);
  assert.equal(view.getUint32(SMRAM + 4096, true), 1_000_000);
});

test('SMRAM that is opened to everybody is one memory, and closed again it is two', () => {
  const { guest, vm, vcpu, view, smram } = prepared('first');
  const { physical } = vm;
  const closed = physical.regions;
  guest.run(3000);
  vcpu.smi();
  guest.run(3000);
  while (vcpu.fields.get32('smm') !== 0) guest.run(50);
  // Open: the normal map shows SMRAM's pages at their place.
  const normal = closed.flatMap((r) => [
    ...(r.start < CODE && r.start + r.length > CODE
      ? [
          { ...r, length: CODE - r.start },
          {
            ...r,
            start: SAVED + 4096,
            length: 0x80000 - SAVED - 4096,
            hostOffset: r.hostOffset + SAVED + 4096 - r.start,
          },
        ]
      : [r]),
  ]);
  physical.replace([...normal.filter((r) => r.length > 0), ...smram]);
  assert.equal(physical.inSmm(CODE), CODE, 'there is nothing apart');
  assert.equal(physical.read32(DATA), 1_000_000);
  // The handler is written anew through the open door: it adds twice.
  physical.writeBytes(CODE, Uint8Array.from([...shared, ...addOwn(SUMS), 0x0f, 0xaa]));
  physical.replace(closed);
  assert.equal(physical.read32(DATA), 3);
  const before = view.getUint32(SUMS, true);
  vcpu.smi();
  guest.run(5);
  assert.equal(vcpu.fields.get32('smm'), 0);
  assert.equal(view.getUint32(SUMS, true) - before, 2_000_000);
  guest.run(3000);
  assert.equal((view.getUint32(SUMS, true) - before - 2_000_000) % 3, 0);
});

test('a map of SMRAM that cannot be changes nothing', () => {
  const { vm, smram } = prepared('never');
  const { physical } = vm;
  assert.throws(() => physical.replace([...smram, { ...smram[1]!, length: 8192 }], 'smm'), /overlaps ram 0x71000/);
  assert.deepEqual(physical.smmRegions, smram);
});
