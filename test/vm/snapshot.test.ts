/** Snapshots and forks: row 19 of the VM API. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Device } from '../../runtime/devices/device.ts';
import { SnapshotError } from '../../runtime/errors.ts';
import { type Chunk, doneChunk, encodeChunk, readChunks, snapshotHeader } from '../../runtime/snapshot/chunks.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { dword } from '../engines/assembler.ts';
import { counting } from './counting-guest.ts';
import { emptyVm, guest, hashOf, origin, type TestEngine, testEngines } from './vm-harness.ts';

const run = (vm: Vm, instructions: number) =>
  assert.equal(vm.vcpu(0).enter({ maxInstructions: instructions }).kind, 'budget');
const count = (vm: Vm) => vm.vcpu(0).fields.get32('rax');

testEngines('row 19: a snapshot goes on in another VM as the first one does', (engine) => {
  const first = guest(engine, counting);
  run(first, 50_001);
  const bytes = first.snapshot();
  assert.ok(bytes.length < 80 * 4096, `${bytes.length} bytes: pages of zeros are left out`);
  for (const lazily of [false, true]) {
    const second = guest(engine, [0xeb, 0xfe]);
    second.ram.fill(0xa5, 0x20_0000);
    second.restore(bytes, { lazily });
    assert.equal(count(second), count(first));
    run(second, 30_011);
    const third = guest('interpreter', counting);
    run(third, 80_012);
    for (const page of [0x20_0000, 0x3f_f000]) assert.equal(second.memory.read(page, 1)[0], 0);
    second.snapshot(); // every lazy page is there now
    assert.equal(hashOf(second), hashOf(third));
  }
  run(first, 30_011);
});

testEngines('row 19: a diff holds what was written since, and nothing else', (engine) => {
  const vm = guest(engine, counting);
  run(vm, 10_000);
  const copy = guest(engine, [0xeb, 0xfe]);
  copy.restore(vm.snapshot({ kind: 'base' }));
  for (let round = 0; round < 5; round++) {
    run(vm, 200); // some twenty pages
    vm.memory.write(0x30_0000, Uint8Array.of(round)); // as a device does
    const diff = vm.snapshot({ kind: 'diff' });
    assert.ok(diff.length < 30 * 4096, `${diff.length} bytes`);
    copy.restore(diff);
    assert.equal(hashOf(copy), hashOf(vm));
  }
  const next = vm.snapshot({ kind: 'diff' });
  assert.ok(next.length < 16384, 'nothing was written');
  run(vm, 200);
  const later = vm.snapshot({ kind: 'diff' });
  const before = hashOf(copy);
  assert.throws(() => copy.restore(later), { code: 'different-base' });
  assert.equal(hashOf(copy), before);
  copy.restore(next);
  copy.restore(later);
  assert.equal(hashOf(copy), hashOf(vm));
  assert.throws(() => guest(engine, counting).snapshot({ kind: 'diff' }), { code: 'different-base' });
});

testEngines('row 19: parent and forks go on by themselves, whoever writes first', (engine) => {
  const vm = guest(engine, counting);
  run(vm, 20_000);
  const at = hashOf(vm);
  const [eager, late] = [vm.fork(), vm.fork()];
  run(eager, 5_000); // before its parent
  run(vm, 40_000);
  run(eager, 35_000);
  const grandchild = late.fork();
  run(grandchild, 40_000);
  eager.snapshot(); // asks for all pages
  assert.equal(hashOf(eager), hashOf(vm));
  late.snapshot();
  assert.equal(hashOf(late), at, 'what its parent has written since is not seen');
  run(late, 40_000);
  assert.equal(hashOf(late), hashOf(vm));
  grandchild.snapshot();
  assert.equal(hashOf(grandchild), hashOf(vm));
  assert.notEqual(hashOf(vm), at);
});

testEngines('row 19: code that was translated before a restore is the old one', (engine) => {
  const vm = guest(engine, [0x40, 0xeb, 0xfd]); // inc eax; jmp
  run(vm, 100_000);
  const other = guest(engine, [0x43, 0xeb, 0xfd]); // inc ebx; jmp
  run(other, 100_000);
  for (const lazily of [false, true]) {
    vm.restore(other.snapshot(), { lazily });
    const [a, b] = [vm.vcpu(0).fields.get32('rax'), vm.vcpu(0).fields.get32('rbx')];
    run(vm, 2000);
    assert.deepEqual([vm.vcpu(0).fields.get32('rax'), vm.vcpu(0).fields.get32('rbx')], [a, b + 1000]);
    vm.restore(guest(engine, [0x40, 0xeb, 0xfd]).snapshot());
    run(vm, 100_000);
  }
});

/** A register that counts its reads. */
class Counter implements Device {
  readonly name = 'counter';
  state = { reads: 0, list: [1, 2], bytes: Uint8Array.of(1, 2, 3), at: Number.NaN };
  read(): number {
    return ++this.state.reads;
  }
  write(): void {}
}

function withDevice(engine: TestEngine): { vm: Vm; device: Counter } {
  const vm = guest(engine, [0xe4, 0x10, 0xeb, 0xfc]); // in al, 10h; jmp
  const device = new Counter();
  vm.io.attach({ space: 'port', address: 0x10, length: 1 }, device);
  return { vm, device };
}

testEngines("row 19: devices' state goes along, in snapshots and forks", (engine) => {
  const { vm, device } = withDevice(engine);
  run(vm, 200);
  device.state.list.push(9);
  device.state.bytes[1] = 77;
  const bytes = vm.snapshot();
  const other = withDevice(engine);
  other.vm.restore(bytes);
  assert.deepEqual(other.device.state, { reads: 100, list: [1, 2, 9], bytes: Uint8Array.of(1, 77, 3), at: Number.NaN });
  const forked = new Counter();
  const child = vm.fork((made) => made.io.attach({ space: 'port', address: 0x10, length: 1 }, forked));
  run(child, 2);
  assert.deepEqual([forked.state.reads, device.state.reads], [101, 100]);
  assert.throws(() => vm.fork(), { code: 'different-machine' });
  const before = hashOf(other.vm);
  (other.device.state as Partial<Counter['state']>).at = undefined as never;
  assert.throws(() => other.vm.restore(bytes), { code: 'bad-device-state' });
  assert.equal(hashOf(other.vm), before);
});

test('row 19: an access that the embedder has is asked for again after a restore', () => {
  const vm = guest('interpreter', [0xe4, 0x10, 0xf4]);
  const exit = vm.vcpu(0).enter();
  assert.equal(exit.kind, 'pio');
  const copy = emptyVm('interpreter');
  copy.restore(vm.snapshot());
  const again = copy.vcpu(0).enter();
  assert.equal(again.kind, 'pio');
  assert.equal(copy.vcpu(0).enter().kind, 'halt');
});

test('row 19: nothing is saved in the middle of an instruction', () => {
  const vm = guest('interpreter', [0xbb, ...dword(0xe000_0000), 0xbe, ...dword(0xe100_0000), 0x60 + 0x46, 0xf4]);
  // cmpsd between two places without memory: two reads
  vm.memory.write(origin + 10, Uint8Array.of(0x89, 0xdf, 0xa7, 0xf4)); // mov edi, ebx; cmpsd; hlt
  assert.equal(vm.vcpu(0).enter().kind, 'mmio');
  vm.snapshot();
  assert.equal(vm.vcpu(0).enter().kind, 'mmio');
  assert.throws(() => vm.snapshot(), { code: 'access-pending' });
  assert.equal(vm.vcpu(0).enter().kind, 'halt');
  vm.snapshot();
});

test('row 19: a snapshot that is damaged, foreign, cut off or of another machine changes nothing', () => {
  const vm = guest('interpreter', counting);
  run(vm, 1000);
  const bytes = vm.snapshot();
  const target = guest('interpreter', counting);
  run(target, 333);
  const before = hashOf(target);
  const refuses = (made: Uint8Array, code: string) => {
    assert.throws(
      () => target.restore(made),
      (error) => error instanceof SnapshotError && error.code === code,
      code,
    );
    assert.equal(hashOf(target), before);
  };
  refuses(new Uint8Array(0), 'truncated-snapshot');
  refuses(new TextEncoder().encode('hello, this is no snapshot'), 'foreign-snapshot');
  for (const length of [1, 15, 16, 20, 40, 1000, bytes.length - 1, bytes.length - 24])
    refuses(bytes.slice(0, length), 'truncated-snapshot');
  for (const at of [32, 60, 2000, bytes.length - 5000]) {
    const damaged = bytes.slice();
    damaged[at]! ^= 0x10;
    refuses(damaged, 'bad-checksum');
  }
  const version = bytes.slice();
  version[8] = 99;
  refuses(version, 'unsupported-version');
  const chunks = readChunks(bytes);
  const build = (list: readonly Chunk[]) => {
    const parts = [snapshotHeader(), ...list.map(encodeChunk), encodeChunk(doneChunk(list.length))];
    return Uint8Array.from(parts.flatMap((part) => [...part]));
  };
  const without = (type: string) => build(chunks.filter((chunk) => chunk.type !== type));
  for (const type of ['META', 'MACH', 'MAPS', 'VCPU']) refuses(without(type), 'missing-chunk');
  const changed = (type: string, payload: Uint8Array) =>
    build(chunks.map((chunk) => (chunk.type === type ? { type, payload } : chunk)));
  refuses(changed('MACH', new TextEncoder().encode('{"kind":')), 'bad-chunk');
  refuses(changed('MACH', new TextEncoder().encode('{}')), 'bad-chunk');
  refuses(changed('MAPS', new TextEncoder().encode('{"normal":[{"kind":"gold"}],"smm":[]}')), 'bad-chunk');
  refuses(changed('VCPU', new Uint8Array(5)), 'bad-chunk');
  refuses(changed('PAGE', Uint8Array.of(0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0)), 'bad-chunk');
  refuses(build([...chunks, { type: 'WHAT', payload: new Uint8Array(1) }]), 'bad-chunk');
  target.restore(build([...chunks, { type: 'what', payload: new Uint8Array(1) }])); // of no importance
  assert.equal(hashOf(target), hashOf(vm));
  // Registers that make no processor: nothing of the rest is taken.
  const registers = readChunks(bytes)
    .find(({ type }) => type === 'VCPU')!
    .payload.slice();
  registers.fill(0xff, 16, 24);
  const old = hashOf(target);
  registers.set([0xfe, 0xff, 0xff, 0x7f], 8);
  assert.throws(() => target.restore(changed('VCPU', registers)), { name: 'StateError' });
  assert.equal(hashOf(target), old);
  const small = emptyVm('interpreter', { memory: 2 << 20 });
  assert.throws(() => small.restore(bytes), { code: 'different-machine' });
  const older = emptyVm('interpreter', { model: 'pentium3' });
  assert.throws(() => older.restore(bytes), { code: 'different-machine' });
  assert.throws(() => target.restore('bytes' as never), { code: 'foreign-snapshot' });
});

test('row 19: a snapshot goes on in another process', () => {
  const vm = guest('interpreter', counting);
  run(vm, 12_345);
  const folder = mkdtempSync(join(tmpdir(), 'jit86-'));
  try {
    const file = join(folder, 'snapshot');
    writeFileSync(file, vm.snapshot());
    const script = new URL('snapshot-process.ts', import.meta.url).pathname;
    const hash = execFileSync(process.execPath, [script, file, '7000'], { encoding: 'utf8' });
    run(vm, 7000);
    assert.equal(hash.trim(), hashOf(vm));
    vm.restore(new Uint8Array(readFileSync(`${file}.after`)));
    run(vm, 10);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('row 19: a hundred forks of one VM', () => {
  const vm = guest('hot', counting);
  run(vm, 100_000);
  const forks = Array.from({ length: 100 }, () => vm.fork());
  for (const [i, child] of forks.entries()) run(child, 1000 + i * 10);
  for (const [i, child] of forks.entries()) {
    if (i % 33 !== 0) continue;
    const alone = guest('interpreter', counting);
    run(alone, 101_000 + i * 10);
    child.snapshot();
    assert.equal(hashOf(child), hashOf(alone));
  }
});
