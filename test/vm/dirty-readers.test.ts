/** Several who collect dirty pages at once, each by himself: rows 7 and 19 of the VM API. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ByteDuplex } from '../../runtime/snapshot/migration.ts';
import type { DirtyLog } from '../../runtime/vm/dirty-log.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { counting } from './counting-guest.ts';
import { emptyVm, guest, hashOf, testEngines } from './vm-harness.ts';

const into = new Uint32Array(4096);
const collected = (log: DirtyLog): number[] => [...into.subarray(0, log.collect({ into }).count)];
const run = (vm: Vm, instructions: number) =>
  assert.equal(vm.vcpu(0).enter({ maxInstructions: instructions }).kind, 'budget');

function connection(): [ByteDuplex, ByteDuplex] {
  const forth = new TransformStream<Uint8Array, Uint8Array>();
  const back = new TransformStream<Uint8Array, Uint8Array>();
  return [
    { readable: back.readable, writable: forth.writable },
    { readable: forth.readable, writable: back.writable },
  ];
}

testEngines('row 7: each log sees every page that was written since it was collected itself', (engine) => {
  const vm = guest(engine, counting);
  using second = vm.openDirtyLog();
  const third = vm.openDirtyLog();
  const logs = [vm.dirty, second, third];
  const seen = logs.map(() => new Set<number>());
  const all = new Set<number>();
  for (const log of logs) log.start();
  const copy = vm.ram.slice();
  for (let round = 1; round <= 60; round++) {
    run(vm, 137);
    if (round % 7 === 0) vm.memory.write(0x30_0000 + round * 4096, Uint8Array.of(round));
    for (let page = 0; page < vm.ram.length / 4096; page++) {
      const [from, to] = [page * 4096, page * 4096 + 4096];
      if (Buffer.compare(vm.ram.subarray(from, to), copy.subarray(from, to)) !== 0) all.add(page);
    }
    // The first is collected in each round, the others now and then, the second in pieces.
    for (const page of collected(vm.dirty)) seen[0]!.add(page);
    if (round % 3 === 0)
      for (const page of into.subarray(0, second.collect({ into, maxPages: 5 }).count)) seen[1]!.add(page);
    if (round % 11 === 0) for (const page of collected(third)) seen[2]!.add(page);
  }
  for (const [i, log] of logs.entries()) for (const page of collected(log)) seen[i]!.add(page);
  const sorted = (pages: Set<number>) => [...pages].sort((a, b) => a - b);
  assert.ok(all.size > 60);
  for (const pages of seen) assert.deepEqual(sorted(pages), sorted(all));
  // One that is closed takes nothing from the others.
  third.close();
  vm.dirty.stop();
  run(vm, 500);
  assert.ok(second.count() > 0);
  assert.deepEqual([vm.dirty.count(), third.count()], [0, 0]);
});

testEngines('row 7: pages that a map takes away are told to each log', (engine) => {
  const vm = guest(engine, counting);
  const other = vm.openDirtyLog();
  vm.dirty.start();
  other.start();
  vm.memory.write(0x20_0000, Uint8Array.of(1));
  const regions = vm.memory.regions();
  const removed = vm.memory.replace([{ kind: 'ram', start: 0, length: 0x20_0000, backing: 0 }]);
  assert.deepEqual([...removed.pages], [0x200]);
  assert.deepEqual(other.takeRemoved(), removed);
  assert.equal(other.takeRemoved().count, 0);
  assert.equal(vm.dirty.takeRemoved().count, 0, 'these were returned');
  vm.memory.replace(regions);
});

testEngines('row 19: diffs leave the embedder his pages, and he leaves them theirs', (engine) => {
  const vm = guest(engine, counting);
  vm.dirty.start();
  run(vm, 5000);
  const copy = guest(engine, [0xeb, 0xfe]);
  const before = vm.dirty.count();
  copy.restore(vm.snapshot({ kind: 'base' }));
  assert.equal(vm.dirty.count(), before);
  for (let round = 0; round < 4; round++) {
    run(vm, 300);
    if (round % 2 === 0) assert.ok(collected(vm.dirty).length > 10);
    copy.restore(vm.snapshot({ kind: 'diff' }));
    assert.equal(hashOf(copy), hashOf(vm));
    if (round % 2 === 1) assert.ok(collected(vm.dirty).length > 10);
  }
  vm.dirty.stop();
  run(vm, 300);
  copy.restore(vm.snapshot({ kind: 'diff' }));
  assert.equal(hashOf(copy), hashOf(vm));
});

test('row 19: a diff has what was written, wherever maps have shown it meanwhile', () => {
  const vm = emptyVm('interpreter');
  const copy = emptyVm('interpreter');
  const ram = (start: number, length: number, backing: number) => ({ kind: 'ram', start, length, backing }) as const;
  copy.restore(vm.snapshot({ kind: 'base' }));
  // Written where the next map shows it no more, and the one after that elsewhere.
  vm.memory.write(0x10_0000, Uint8Array.of(1, 2, 3));
  vm.memory.replace([ram(0, 0x10_0000, 0)]);
  vm.memory.replace([ram(0, 0x10_0000, 0), ram(0x80_0000, 0x30_0000, 0x10_0000)]);
  copy.restore(vm.snapshot({ kind: 'diff' }));
  assert.deepEqual([...copy.memory.read(0x80_0000, 3)], [1, 2, 3]);
  // Provided after the base by a region that is new.
  const fill = (page: number, bytes: Uint8Array) => void bytes.fill(page & 0xff);
  vm.memory.replace([ram(0, 0x10_0000, 0), { kind: 'lazy', start: 0x80_0000, length: 8192, backing: 0x30_0000, fill }]);
  copy.restore(vm.snapshot({ kind: 'diff' }));
  assert.deepEqual([...copy.memory.read(0x80_0ffe, 4)], [0, 0, 1, 1]);
  assert.deepEqual(copy.ram, vm.ram);
});

testEngines('row 19: a diff is put on what it was made to, and on nothing else', (engine) => {
  const vm = guest(engine, counting);
  run(vm, 1000);
  const base = vm.snapshot({ kind: 'base' });
  for (const lazily of [false, true]) {
    const copy = guest(engine, [0xeb, 0xfe]);
    copy.restore(base, { lazily });
    run(vm, 300);
    const diff = vm.snapshot({ kind: 'diff' });
    run(copy, 300);
    const before = hashOf(copy);
    assert.throws(() => copy.restore(diff), { code: 'different-base' }, 'it has gone on by itself');
    assert.equal(hashOf(copy), before);
    copy.restore(base, { lazily });
    copy.restore(diff);
    assert.equal(hashOf(copy), hashOf(vm));
    // It goes on, and makes diffs to what it was given.
    run(copy, 300);
    const next = copy.snapshot({ kind: 'diff' });
    assert.ok(next.length < 40 * 4096, `${next.length} bytes`);
    vm.restore(next);
    assert.equal(hashOf(vm), hashOf(copy));
    vm.restore(base);
    // A whole snapshot is nobody's base.
    copy.restore(vm.snapshot());
    assert.throws(() => copy.snapshot({ kind: 'diff' }), { code: 'different-base' });
  }
});

testEngines('row 19: a display, a backup and a migration at once lose nothing', async (engine) => {
  const vm = guest(engine, counting);
  const target = emptyVm(engine);
  run(vm, 2000);
  const backup = guest(engine, [0xeb, 0xfe]);
  backup.restore(vm.snapshot({ kind: 'base' }));
  vm.dirty.start();
  const shown = vm.ram.slice();
  const refresh = () => {
    for (const page of collected(vm.dirty)) shown.set(vm.ram.subarray(page * 4096, page * 4096 + 4096), page * 4096);
  };
  const [here, there] = connection();
  const stop = new AbortController();
  const guestRun = (async () => {
    for await (const exit of vm.run({ signal: stop.signal })) throw new Error(exit.kind);
  })();
  const display = setInterval(refresh, 1);
  const save = setInterval(() => {
    backup.restore(vm.snapshot({ kind: 'diff' }));
  }, 3);
  const [report] = await Promise.all([vm.migrate(here, { maxDowntimeMs: 2 }), target.receive(there)]);
  clearInterval(display);
  clearInterval(save);
  stop.abort();
  await guestRun;
  assert.ok(report.rounds >= 1);
  refresh();
  assert.deepEqual(shown, vm.ram);
  backup.restore(vm.snapshot({ kind: 'diff' }));
  for (const other of [target, backup]) assert.equal(hashOf(other), hashOf(vm));
});
