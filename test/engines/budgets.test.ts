/**
 * A guest is a function of its instruction count: after the same number of instructions its registers and memory are the
 * same, whoever executed them and in whatever slices.
 */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { translate } from '../../jit/translate.ts';
import { loadGuest } from '../../runtime/loaders/load.ts';
import { stateHash } from '../../runtime/state-hash.ts';
import { cpuBase } from '../../runtime/vm/places.ts';
import { Vm } from '../../runtime/vm/vm.ts';
import { openBus } from '../../src/mmu/physical-memory.ts';
import { randomNumbers } from '../isa/random.ts';
import { vmModules } from './modules.ts';

type Way = 'never' | 'first' | 'hot';

/** What the bundled guests need (bench/guests/runtime/layout.h). */
const memory = 80 << 20;

function start(file: string, way: Way): Vm {
  const vm = new Vm({
    mmio: openBus,
    memory,
    cpus: 1,
    modules: vmModules(),
    ports: { read: (port) => ((port & 7) === 5 ? 0x60 : 0), write: () => {} }, // a serial port that is always ready
    tsc: { read: () => 0n, hertz: 1e9 },
    translate:
      way === 'never'
        ? false
        : { way: { kind: way, translate }, cache: null, mode: { shared: false, x87: 'exact', cpu: cpuBase } },
  });
  const bytes = readFileSync(new URL(`../../bench/guests/built/${file}.elf`, import.meta.url));
  const { state } = loadGuest(bytes, { bytes: vm.ram }, { name: file, commandLine: '', modules: [] });
  vm.start(0, state);
  return vm;
}

/** Runs in slices until the total; returns the hash and how many instructions were translated. */
function run(vm: Vm, total: number, slice: () => number, early = false): { hash: string; translated: number } {
  const vcpu = vm.vcpu(0);
  for (let done = 0; done < total; ) {
    const size = Math.min(slice(), total - done);
    const isLast = done + size === total;
    const { kind } = vcpu.enter(size, early && !isLast);
    assert.equal(kind, 'budget');
    assert.ok(vcpu.left === 0 || (early && !isLast));
    done += size - vcpu.left;
  }
  return { hash: stateHash(vcpu, vm.ram), translated: vcpu.engine.translated };
}

const cases: readonly (readonly [file: string, total: number])[] = [
  ['i386-sse2/fibonacci', 900_000],
  ['i386-x87/mandelbrot', 700_000],
  ['x86_64/strings', 900_000],
];
for (const [file, total] of cases) {
  test(`${file} is in one state after ${total} instructions, in every engine and slicing`, (t) => {
    const random = randomNumbers(total);
    const whole = () => total;
    const { hash } = run(start(file, 'never'), total, whole);
    const ways: readonly (readonly [string, Way, () => number, early?: boolean])[] = [
      ['interpreted in slices of 7', 'never', () => 7],
      ['translated at once, in one slice', 'first', whole],
      ['translated when hot, in slices of 1,000', 'hot', () => 1000],
      ['translated when hot, in random slices', 'hot', () => 1 + random(random(2) === 0 ? 20 : 30_000)],
      ['translated when hot, in slices that may end early', 'hot', () => 2000 + random(30_000), true],
    ];
    for (const [name, way, slice, early] of ways) {
      const found = run(start(file, way), total, slice, early);
      assert.equal(found.hash, hash, name);
      t.diagnostic(`${name}: ${found.translated} instructions in translations`);
      if (way !== 'never') assert.ok(found.translated > total / 5, `${name}: ${found.translated} were translated`);
    }
  });
}

test('slices of one instruction end in the state of one slice', () => {
  const total = 20_000;
  const { hash } = run(start('x86_64/hello', 'never'), total, () => total);
  for (const way of ['never', 'hot'] as const)
    assert.equal(run(start('x86_64/hello', way), total, () => 1).hash, hash, way);
});

test('the hash tells states apart that differ in one flag, register or byte', () => {
  const vm = start('i386-sse2/hello', 'never');
  const vcpu = vm.vcpu(0);
  const before = stateHash(vcpu, vm.ram);
  assert.equal(stateHash(vcpu, vm.ram), before);
  const hashes = new Set([before]);
  vcpu.engine.setFlags(vcpu.engine.flags() ^ 0x40);
  hashes.add(stateHash(vcpu, vm.ram));
  vcpu.fields.set64('r15', 1n);
  hashes.add(stateHash(vcpu, vm.ram));
  vm.ram[memory - 1]! ^= 0x80;
  hashes.add(stateHash(vcpu, vm.ram));
  vm.ram[0]! ^= 1;
  hashes.add(stateHash(vcpu, vm.ram));
  assert.equal(hashes.size, 5);
});
