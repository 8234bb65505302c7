/**
 * Every call of a VM with what it cannot take: a typed error that is none of JavaScript's own, nothing changed, and the VM
 * goes on. What a single call refuses, and why, its own tests say.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Jit86Error } from '../../runtime/errors.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { BpfError } from '../../src/bpf/errors.ts';
import { guest, hashOf } from './vm-harness.ts';

const junk: readonly unknown[] = [
  undefined,
  null,
  Number.NaN,
  -1,
  1.5,
  2 ** 60,
  'text',
  '',
  true,
  {},
  [],
  [null],
  Symbol('nothing'),
  12n,
  () => {},
  new Uint8Array(3),
  { space: 'moon', address: -4, length: 'long' },
  { kind: 'gold', start: 1, length: -1, backing: {} },
];

/** A call with junk in the places of its arguments; those that would be right with nothing at all are left out. */
type Call = readonly [name: string, call: (vm: Vm, a: never, b: never) => unknown];
const calls: readonly Call[] = [
  ['vm.vcpu', (vm, a) => vm.vcpu(a)],
  ['vcpu.enter', (vm, a, b) => vm.vcpu(0).enter({ maxInstructions: a ?? 5, maxBlocks: b ?? 5 })],
  ['vcpu.interrupt', (vm, a) => vm.vcpu(0).interrupt(a)],
  ['vcpu.state.get', (vm, a) => vm.vcpu(0).state.get(a)],
  ['vcpu.state.set', (vm, a) => vm.vcpu(0).state.set(a)],
  ['vcpu.state.set of one', (vm, a, b) => vm.vcpu(0).state.set([[a, b]])],
  ['vcpu.debug.set', (vm, a) => vm.vcpu(0).debug.set(a)],
  ['vcpu.debug.set of breakpoints', (vm, a, b) => vm.vcpu(0).debug.set({ breakpoints: a, watchpoints: b })],
  ['vm.memory.replace', (vm, a, b) => vm.memory.replace(a, b)],
  ['vm.memory.replace of one', (vm, a) => vm.memory.replace([a])],
  ['vm.memory.read', (vm, a, b) => vm.memory.read(a, b)],
  ['vm.memory.write', (vm, a, b) => vm.memory.write(a, b)],
  ['vm.memory.view', (vm, a, b) => vm.memory.view(a, b)],
  ['vm.dirty.start', (vm, a) => vm.dirty.start(a)],
  ['vm.dirty.collect', (vm, a) => vm.dirty.collect(a)],
  ['vm.dirty.collect into', (vm, a, b) => vm.dirty.collect({ start: a, into: b })],
  ['vm.io.attach', (vm, a, b) => vm.io.attach(a, b)],
  ['vm.io.event', (vm, a, b) => vm.io.event(a, b)],
  ['vm.io.coalesce', (vm, a, b) => vm.io.coalesce(a, b)],
  ['vm.program', (vm, a, b) => vm.program(a, b)],
  ['vm.program at a port', (vm, a) => vm.program({ space: 'port', address: 1, length: 1, access: 'read' }, a)],
  ['vm.routes.replace', (vm, a) => vm.routes.replace(a)],
  ['vm.routes.replace of one', (vm, a) => vm.routes.replace([a])],
  ['vm.irq.set', (vm, a, b) => vm.irq.set(a, b)],
  ['vm.irq.event', (vm, a, b) => vm.irq.event(a, b)],
  ['vm.msi', (vm, a, b) => vm.msi(a, b)],
  ['vm.msr.filter', (vm, a) => vm.msr.filter(a)],
  ['vm.msr.filter of one', (vm, a) => vm.msr.filter([a])],
  ['vm.time.setTscHertz', (vm, a) => vm.time.setTscHertz(a)],
  ['vm.time.restore', (vm, a, b) => vm.time.restore(a, b)],
  ['vm.snapshot', (vm, a) => vm.snapshot({ kind: a })],
  ['vm.restore', (vm, a, b) => vm.restore(a, b)],
  ['vm.load', (vm, a, b) => vm.load(a, b)],
  ['vm.save', (vm, a) => vm.save({ kind: a })],
  ['vm.fork', (vm, a, b) => vm.fork(a, b)],
  ['vm.migrate', (vm, a, b) => vm.migrate(a, b)],
  ['vm.receive', (vm, a) => vm.receive(a)],
];

const isTyped = (error: unknown) => error instanceof Jit86Error || error instanceof BpfError;
const show = (value: unknown) => (typeof value === 'object' ? JSON.stringify(value) : String(value));

for (const [name, call] of calls)
  test(`${name} refuses what it cannot take, and nothing has changed`, async () => {
    const vm = guest('hot', [0x40, 0xeb, 0xfd], { memory: 64 << 10 }); // inc eax; jmp
    vm.vcpu(0).enter({ maxInstructions: 1000 });
    const map = vm.memory.regions();
    let refused = 0;
    for (const [i, a] of junk.entries())
      for (const b of call.length > 2 ? junk : [junk[i]]) {
        const what = `${name}(${show(a)}${call.length > 2 ? `, ${show(b)}` : ''})`;
        const state = hashOf(vm);
        try {
          const given = call(vm, a as never, b as never);
          await given;
          // It was something after all: then it may have done what it says.
          (given as Partial<Disposable> | undefined)?.[Symbol.dispose]?.();
        } catch (error) {
          assert.ok(isTyped(error), `${what}: ${error instanceof Error ? error.stack : String(error)}`);
          assert.equal(hashOf(vm), state, what);
          refused++;
        }
      }
    assert.ok(refused > 3, `${refused} were refused`);
    vm.vcpu(0).debug.clear();
    vm.memory.replace(map);
    const exit = vm.vcpu(0).enter({ maxInstructions: 10 });
    assert.equal(exit.kind, 'budget', `${name}: the VM goes on`);
  });
