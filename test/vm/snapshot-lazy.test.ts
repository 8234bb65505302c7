/** Memory that comes when it is touched, from a snapshot or a parent, and what is damaged of it: row 19 of the VM API. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SnapshotError } from '../../runtime/errors.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { counting } from './counting-guest.ts';
import { emptyVm, guest, hashOf, type TestEngine, testEngines } from './vm-harness.ts';

const run = (vm: Vm, instructions: number) =>
  assert.equal(vm.vcpu(0).enter({ maxInstructions: instructions }).kind, 'budget');
const registers = (vm: Vm) => vm.vcpu(0).state.get();
/** Has every page provided. */
const whole = (vm: Vm) => {
  vm.snapshot();
  return hashOf(vm);
};
const isDamage = (error: unknown) => error instanceof SnapshotError && error.code === 'bad-checksum';

/** Where the chunks of a snapshot begin, and what they are. */
function chunksOf(bytes: Uint8Array): { type: string; at: number; length: number }[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const found: { type: string; at: number; length: number }[] = [];
  for (let at = 16; at < bytes.length; ) {
    const length = view.getUint32(at + 4, true);
    found.push({ type: String.fromCharCode(...bytes.subarray(at, at + 4)), at, length });
    at += 16 + ((length + 7) & ~7);
  }
  return found;
}
function counted(engine: TestEngine): Vm {
  const vm = guest(engine, counting);
  run(vm, 20_000);
  return vm;
}

testEngines('row 19: a damaged page stops the guest before its first use, with an error and nothing else', (engine) => {
  const vm = counted(engine);
  const good = vm.snapshot();
  const bytes = good.slice();
  const pages = chunksOf(bytes).filter(({ type }) => type === 'PAGE');
  assert.ok(pages.length >= 2);
  const { at, length } = pages.at(-1)!; // what the guest writes; its code is in the first
  bytes[at + 16 + length - 3]! ^= 0x20;
  const copy = emptyVm(engine);
  copy.restore(bytes, { lazily: true });
  for (let i = 0; i < 3; i++) {
    assert.throws(() => copy.vcpu(0).enter(100), isDamage);
    assert.equal(copy.vcpu(0).fields.get32('rax'), vm.vcpu(0).fields.get32('rax'));
  }
  // Not one instruction that needs the page has had an effect: those before it have.
  const alone = emptyVm(engine);
  alone.restore(good);
  let steps = 0;
  while (String(registers(alone)) !== String(registers(copy)) && steps < 10) {
    run(alone, 1);
    steps++;
  }
  assert.ok(steps < 10, 'it stands where a guest comes by');
  assert.throws(() => copy.memory.read(0x10_0000, 4), isDamage);
  assert.throws(() => copy.snapshot(), isDamage);
  assert.throws(() => copy.snapshot({ kind: 'base' }), isDamage);
  // Nothing is lost: a snapshot that is whole can be put into it.
  copy.restore(good, { lazily: true });
  run(copy, 5000);
  run(vm, 5000);
  assert.equal(whole(copy), hashOf(vm));
});

test('row 19: run() ends with the error as well', async () => {
  const vm = counted('hot');
  const bytes = vm.snapshot();
  const { at } = chunksOf(bytes).findLast(({ type }) => type === 'PAGE')!;
  bytes[at + 100]! ^= 1;
  const copy = emptyVm('hot');
  copy.restore(bytes, { lazily: true });
  await assert.rejects(async () => {
    for await (const exit of copy.run()) assert.fail(exit.kind);
  }, isDamage);
});

test('row 19: where a lazy snapshot says wrongly where its pages lie, it is refused at once', () => {
  const vm = counted('interpreter');
  const bytes = vm.snapshot();
  const target = counted('interpreter');
  const before = hashOf(target);
  for (const { type, at } of chunksOf(bytes)) {
    // Name, length; where the run lies. The hash is looked at later.
    const places = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23];
    for (const place of type === 'PAGE' || type === 'rUNS' ? places : places.slice(0, 8))
      for (let bit = 0; bit < 8; bit++) {
        bytes[at + place]! ^= 1 << bit;
        assert.throws(
          () => target.restore(bytes, { lazily: true }),
          (error) => error instanceof SnapshotError,
          `${type}, byte ${place}, bit ${bit}`,
        );
        bytes[at + place]! ^= 1 << bit;
      }
  }
  assert.equal(hashOf(target), before);
  target.restore(bytes, { lazily: true });
  assert.equal(whole(target), hashOf(vm));
});

test('row 19: whatever bit of a snapshot is damaged, lazily or not, it is said', () => {
  const vm = counted('interpreter');
  const bytes = vm.snapshot();
  const wanted = hashOf(vm);
  const target = emptyVm('interpreter');
  let refused = 0;
  const places = 300;
  for (let i = 0; i < places; i++) {
    const place = (i * 2654435761) % bytes.length;
    const lazily = i % 2 === 0;
    bytes[place]! ^= 1 << (i % 8);
    try {
      target.restore(bytes, { lazily });
      assert.equal(whole(target), wanted, `byte ${place}: it is of no account, or it is an error`);
    } catch (error) {
      assert.ok(error instanceof SnapshotError, `byte ${place}: ${(error as Error).message}`);
      refused++;
    }
    bytes[place]! ^= 1 << (i % 8);
  }
  assert.ok(refused > places * 0.9, `${refused} of ${places}`);
});

testEngines('row 19: a fork and its parent are restored each for itself', (engine) => {
  const vm = counted(engine);
  const early = vm.snapshot();
  run(vm, 10_000);
  const at = hashOf(vm);
  const [restored, untouched, third] = [vm.fork(), vm.fork(), vm.fork()];
  restored.restore(early);
  third.restore(early, { lazily: true });
  run(vm, 30_000); // writes to pages that the children have not taken
  const grandchild = untouched.fork();
  vm.restore(early);
  assert.equal(hashOf(restored), hashOf(vm));
  assert.equal(whole(third), hashOf(vm));
  assert.equal(whole(grandchild), at);
  assert.equal(whole(untouched), at);
});

testEngines('row 19: a fork has its memory wherever its embedder shows it', (engine) => {
  const vm = counted(engine);
  vm.memory.write(0x20_0000, Uint8Array.of(1, 2, 3, 4));
  const kinds = (of: Vm) =>
    of.memory.regions().map(({ kind, start, length, backing }) => [kind, start, length, backing]);
  const child = vm.fork();
  assert.deepEqual(kinds(child), kinds(vm));
  const ram = (start: number, length: number, backing: number) => ({ kind: 'ram', start, length, backing }) as const;
  child.memory.replace([ram(0, 0x20_0000, 0), ram(0x60_0000, 0x1000, 0x20_0000)]);
  vm.memory.write(0x20_0000, Uint8Array.of(9, 9));
  assert.deepEqual([...child.memory.read(0x60_0000, 4)], [1, 2, 3, 4]);
  // Loaders write into pages that are not there yet.
  const other = vm.fork();
  other.memory.ram.writing?.(0x20_0002, 1);
  other.memory.ram.bytes[0x20_0002] = 7;
  assert.deepEqual([...other.memory.read(0x20_0000, 4)], [9, 9, 7, 4]);
});

testEngines('row 19: what a lazy region has not been asked for yet, parent and fork ask for themselves', (engine) => {
  const asked: string[] = [];
  const vm = counted(engine);
  const fill = (page: number, bytes: Uint8Array) => {
    asked.push(`${page.toString(16)} ${bytes.buffer === vm.ram.buffer ? 'parent' : 'child'}`);
    bytes.fill(page);
  };
  vm.memory.replace([
    { kind: 'ram', start: 0, length: 0x20_0000, backing: 0 },
    { kind: 'lazy', start: 0x80_0000, length: 0x4000, backing: 0x20_0000, fill },
  ]);
  vm.memory.write(0x80_0000, Uint8Array.of(0xaa));
  const child = vm.fork();
  vm.memory.write(0x80_0000, Uint8Array.of(0xbb));
  assert.deepEqual([...child.memory.read(0x80_0000, 2)], [0xaa, 0]);
  assert.equal(vm.memory.read(0x80_1000, 1)[0], 1);
  assert.equal(child.memory.read(0x80_1000, 1)[0], 1);
  assert.deepEqual(asked, ['800 parent', '801 parent', '801 child']);
});
