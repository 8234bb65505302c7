/**
 * The interpreter's blocks of an earlier run: they are taken where the guest's code is what they were made from, the guest
 * computes the same, and no file that is not exactly what an equal build has written has any effect.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockCache } from '../../jit/block-cache.ts';
import { loadGuest } from '../../runtime/loaders/load.ts';
import { Vm } from '../../runtime/vm/vm.ts';
import { openBus } from '../../src/mmu/physical-memory.ts';
import { vmModules } from './modules.ts';

const origin = 0x10000;

/** Sums the numbers below a count, calls CPUID (a helper) and repeats a string instruction. */
function guest(step: number): Uint8Array {
  const image = new Uint8Array(0x60);
  image.set([0xb9, 0, 2, 0, 0]); // mov ecx, 0x200
  image.set([0x31, 0xdb], 0x05); // xor ebx, ebx
  image.set([0x83, 0xc3, step], 0x07); // again: add ebx, step
  image.set([0x01, 0xce], 0x0a); // add esi, ecx
  image.set([0x49], 0x0c); // dec ecx
  image.set([0x75, 0x07 - 0x0f], 0x0d); // jnz again
  image.set([0x89, 0xdd], 0x0f); // mov ebp, ebx
  image.set([0x31, 0xc0], 0x11); // xor eax, eax
  image.set([0x0f, 0xa2], 0x13); // cpuid
  image.set([0xbf, 0, 0, 2, 0], 0x15); // mov edi, 0x20000
  image.set([0xb9, 0x40, 0, 0, 0], 0x1a); // mov ecx, 0x40
  image.set([0xf3, 0xab], 0x1f); // rep stosd
  image.set([0xf4], 0x21); // hlt
  return image;
}

class Observed extends BlockCache {
  taken = 0;
  override find(context: number, key: number, single: boolean) {
    const found = super.find(context, key, single);
    if (found !== null) this.taken++;
    return found;
  }
}

function run(image: Uint8Array, cache: BlockCache | null) {
  const vm = new Vm({
    mmio: openBus,
    memory: 0x100000,
    cpus: 1,
    modules: vmModules(),
    ports: { read: () => 0xffffffff, write() {} },
    tsc: { read: () => 0n, hertz: 1e9 },
    translate: false,
  });
  const options = {
    name: 'guest',
    commandLine: '',
    modules: [],
    flat: { address: origin, mode: 'protected' },
  } as const;
  vm.start(0, loadGuest(image, { bytes: vm.ram }, options).state);
  const vcpu = vm.vcpu(0);
  const { maker } = vcpu.engine;
  if (cache !== null) maker.use(cache);
  let left = 0;
  // Odd budgets end within blocks: the rest of them is stepped.
  do left = vcpu.enter(7).kind === 'budget' ? 1 : 0;
  while (left > 0);
  const names = ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rip'] as const;
  return { state: names.map((name) => vcpu.fields.get64(name)), names: maker.helperNames, maker };
}

test('blocks of an earlier run are taken, and do the same', () => {
  const plain = run(guest(3), null);
  const first = new Observed('this build');
  const { state, names } = run(guest(3), first);
  assert.deepEqual(state, plain.state);
  assert.equal(state[6], 3n * 0x200n);
  assert.ok(first.changed);
  const second = new Observed('this build');
  second.read(first.write(names));
  const again = run(guest(3), second);
  assert.deepEqual(again.state, plain.state);
  assert.ok(second.taken > 5);
  assert.equal(second.changed, false, 'nothing had to be made');
});

test('where the code is another one, nothing of an earlier run is taken', () => {
  const first = new Observed('this build');
  const { names } = run(guest(3), first);
  const second = new Observed('this build');
  second.read(first.write(names));
  const { state } = run(guest(5), second);
  assert.equal(state[6], 5n * 0x200n);
  assert.ok(second.changed);
});

test('a damaged, cut or foreign file has no effect', () => {
  const first = new Observed('this build');
  const { names } = run(guest(3), first);
  const file = first.write(names);
  const knows = (bytes: Uint8Array, identity = 'this build') => {
    const cache = new BlockCache(identity);
    cache.read(bytes);
    return cache.helperNames.length > 0;
  };
  assert.ok(knows(file));
  assert.ok(!knows(file, 'that build'));
  for (let at = 0; at < file.length; at++) {
    const damaged = file.slice();
    damaged[at]! ^= 0x10;
    // The length before the hash is for people.
    assert.equal(knows(damaged), at >= 8 && at < 12, `byte ${at}`);
  }
  for (let length = 0; length < file.length; length++) assert.ok(!knows(file.subarray(0, length)), `${length} bytes`);
});

test('helpers keep the numbers by which blocks call them: a processor that has given numbers takes no blocks', () => {
  const cache = new BlockCache('this build');
  const { names, maker } = run(guest(3), cache);
  assert.deepEqual(names, ['cpuid', 'hlt']);
  assert.throws(() => maker.use(cache), /too late/);
  const read = new BlockCache('this build');
  read.read(cache.write(names));
  assert.deepEqual(read.helperNames, names);
});
