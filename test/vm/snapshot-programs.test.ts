/** What programs next to the processors know goes along with snapshots, and they themselves with forks. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EventCounter } from '../../runtime/io/event-counter.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { assemble } from '../../src/bpf/assemble.ts';
import { countingVm } from './snapshot-programs-machine.ts';
import { guest, hashOf, type TestEngine, testEngines } from './vm-harness.ts';
import { aModule } from './wasm-module.ts';

const machine = new URL('./snapshot-programs-machine.ts', import.meta.url).pathname;

testEngines("row 18: a program's memory is saved, restored in another process, and counts on", async (engine) => {
  const vm = await countingVm(engine);
  vm.vcpu(0).enter(3 * 400 + 1);
  assert.equal(new DataView(vm.programs[0]!.shared.buffer, vm.programs[0]!.shared.byteOffset).getUint32(0, true), 401);
  const snapshot = vm.snapshot();
  const folder = mkdtempSync(join(tmpdir(), 'jit86-'));
  try {
    const file = join(folder, 'snapshot');
    writeFileSync(file, snapshot);
    const said = execFileSync(process.execPath, [machine, file, '3000'], { encoding: 'utf8', timeout: 120_000 });
    vm.vcpu(0).enter(3000);
    assert.equal(said.trim(), `${hashOf(vm)} ${vm.programs[0]!.shared.join(' ')}`);
    assert.equal(vm.vcpu(0).fields.get32('rax'), 1401);
  } finally {
    rmSync(folder, { recursive: true });
  }
  // Back in the same VM.
  vm.restore(snapshot);
  vm.vcpu(0).enter(3);
  assert.equal(vm.vcpu(0).fields.get32('rax'), 402);
});

testEngines(
  'row 18: a snapshot whose programs are not those of the VM is refused, and changes nothing',
  async (engine) => {
    const vm = await countingVm(engine);
    vm.vcpu(0).enter(100);
    const snapshot = vm.snapshot();
    const without = guest(engine, [0xeb, 0xfe]);
    const larger = await countingVm(engine, 16);
    for (const [other, code] of [
      [without, 'different-machine'],
      [larger, 'bad-device-state'],
    ] as const) {
      const before = hashOf(other);
      assert.throws(() => other.restore(snapshot), { code });
      assert.equal(hashOf(other), before);
    }
    const plain = guest(engine, [0xeb, 0xfe]).snapshot();
    const before = hashOf(vm);
    assert.throws(() => vm.restore(plain), { code: 'different-machine' });
    assert.equal(hashOf(vm), before);
    // A program that is detached is no part of it.
    vm.programs[0]!.detach();
    assert.deepEqual(vm.programs, []);
    vm.restore(plain);
  },
);

const range = { space: 'port', address: 0x60, length: 4, access: 'read' } as const;
/** Adds up what it reads at port 60H; in eax, 60h; add ebx, eax; jmp. */
const adding = [0xe5, 0x60, 0x01, 0xc3, 0xeb, 0xfa];
const [eax, ebx] = (['rax', 'rbx'] as const).map((name) => (vm: Vm) => vm.vcpu(0).fields.get32(name)) as [
  (vm: Vm) => number,
  (vm: Vm) => number,
];

testEngines('row 19: a fork goes on with the programs, each side by itself', async (engine) => {
  const vm = await countingVm(engine);
  vm.vcpu(0).enter(3 * 400 + 1);
  const child = vm.fork();
  assert.deepEqual(child.programs[0]!.shared, vm.programs[0]!.shared);
  vm.vcpu(0).enter(300);
  assert.equal(eax(vm), 501);
  child.vcpu(0).enter(300);
  const grandchild = child.fork();
  for (const one of [vm, child, grandchild]) one.vcpu(0).enter(1500);
  for (const one of [child, grandchild]) one.snapshot(); // asks for all pages
  for (const one of [child, grandchild]) {
    assert.equal(hashOf(one), hashOf(vm));
    assert.equal(eax(one), 1001);
    assert.deepEqual(one.programs[0]!.shared, vm.programs[0]!.shared);
    assert.notEqual(one.programs[0]!.shared.buffer, vm.programs[0]!.shared.buffer);
  }
  // A child's program is as good as its parent's.
  vm.restore(grandchild.snapshot());
  child.programs[0]!.detach();
  assert.equal(child.vcpu(0).enter(10).kind, 'pio');
});

/** Counts in a global of its own, and answers with the count: context in local 0, value at offset 8. */
const globalCounter = aModule({
  globals: 1,
  body: [0x23, 0, 0x41, 1, 0x6a, 0x24, 0, 0x20, 0, 0x23, 0, 0x36, 2, 8, 0x41, 1],
});

testEngines("rows 18 and 19: a module's variables outside of its memory are kept as well", async (engine) => {
  const start = async () => {
    const vm = guest(engine, adding, { clock: 'virtual' });
    await vm.program(range, globalCounter, { name: 'module' });
    return vm;
  };
  const vm = await start();
  vm.vcpu(0).enter(1200);
  assert.equal(eax(vm), 400);
  const child = vm.fork();
  const other = await start();
  other.restore(vm.snapshot());
  for (const one of [vm, child, other]) {
    one.vcpu(0).enter(300);
    assert.equal(eax(one), 500);
    assert.equal(ebx(one), (500 * 501) / 2);
  }
});

testEngines('row 19: what a program uses of its embedder the fork has to name', async (engine) => {
  const signalling = assemble(`r6 = r1
r1 = 0
call 257
*(u64 *)(r6 + 8) = 7
r0 = 1
exit`);
  const event = new EventCounter();
  const vm = guest(engine, adding, { clock: 'virtual' });
  await vm.program(range, signalling, { name: 'bell', events: [event] });
  vm.vcpu(0).enter(300);
  assert.equal(event.value, 100);
  const before = hashOf(vm);
  assert.throws(() => vm.fork(), { code: 'host-function', message: /program bell .* 1 events/ });
  for (const events of [undefined, [], [event, event]])
    assert.throws(() => vm.fork(undefined, { programs: () => ({ ...(events && { events }) }) }), {
      code: 'bad-option',
    });
  assert.equal(hashOf(vm), before);
  const own = new EventCounter();
  const child = vm.fork(undefined, {
    programs(program) {
      assert.equal(program, vm.programs[0]);
      return { events: [own] };
    },
  });
  child.vcpu(0).enter(150);
  assert.deepEqual([event.value, own.value], [100, 50]);
  vm.vcpu(0).enter(3);
  assert.deepEqual([event.value, own.value], [101, 50]);
  const without = vm.fork(undefined, { programs: () => null });
  assert.deepEqual(without.programs, []);
  assert.equal(without.vcpu(0).enter(3).kind, 'pio');
});

testEngines(
  'rows 18 and 19: a program that has failed has failed in every copy, and not in one from before',
  async (engine) => {
    // Answers until it has counted to ten, and then turns for ever.
    const body = [
      0x23, 0, 0x41, 1, 0x6a, 0x24, 0, 0x23, 0, 0x41, 10, 0x4a, 0x04, 0x40, 0x03, 0x40, 0x0c, 0, 0x0b, 0x0b, 0x41, 1,
    ];
    const start = async () => {
      const vm = guest(engine, adding, { clock: 'virtual' });
      await vm.program(range, aModule({ globals: 1, body }), { name: 'tired' });
      return vm;
    };
    const vm = await start();
    vm.vcpu(0).enter(9);
    const early = vm.snapshot();
    const count = () => vm.vcpu(0).enter(300).kind;
    assert.equal(count(), 'pio');
    assert.equal(vm.programs[0]!.failure?.code, 'out-of-fuel');
    const late = vm.snapshot();
    const other = await start();
    other.restore(late);
    for (const one of [vm.fork(), other]) {
      assert.equal(one.programs[0]!.failure?.code, 'out-of-fuel');
      assert.equal(one.vcpu(0).enter(300).kind, 'pio');
    }
    vm.restore(early);
    assert.equal(vm.programs[0]!.failure, null);
    assert.equal(vm.vcpu(0).enter(9).kind, 'budget');
    assert.equal(count(), 'pio');
  },
);

testEngines('row 18: the state of one program is not put into another', async (engine) => {
  const vm = await countingVm(engine);
  const snapshot = vm.snapshot();
  const program = vm.programs[0]!;
  program.detach();
  const other = assemble(`*(u64 *)(r1 + 8) = 1
r0 = 1
exit`);
  const options = { shared: 8, name: 'counter' };
  await vm.program(range, other, options);
  const before = hashOf(vm);
  assert.throws(() => vm.restore(snapshot), { code: 'different-machine', message: /counter|program/ });
  assert.equal(hashOf(vm), before);
});

testEngines('rows 18 and 19: a program is not asked twice for an access that the embedder has', async (engine) => {
  const vm = await passingVm(engine);
  vm.vcpu(0).enter(9);
  vm.programs[0]!.shared[4] = 1; // pass it on
  assert.equal(vm.vcpu(0).enter(9).kind, 'pio');
  const other = await passingVm(engine);
  other.restore(vm.snapshot());
  const child = vm.fork();
  for (const one of [vm, other, child]) {
    let exit = one.vcpu(0).enter(2);
    if (exit.kind === 'pio') exit = one.vcpu(0).enter(2); // asked for again in a copy
    assert.equal(exit.kind, 'budget');
    assert.equal(one.programs[0]!.shared[0], 4);
  }
});

/** Counts what it is asked, and passes it on if it is told to. */
async function passingVm(engine: TestEngine): Promise<Vm> {
  const vm = guest(engine, adding, { clock: 'virtual' });
  const program = assemble(`r2 = *(u64 *)(r1 + 24)
r3 = *(u32 *)(r2 + 0)
r3 += 1
*(u32 *)(r2 + 0) = r3
*(u64 *)(r1 + 8) = r3
r4 = *(u32 *)(r2 + 4)
r0 = 1
if r4 == 0 goto +1
r0 = 0
exit`);
  await vm.program(range, program, { shared: 8, name: 'passing' });
  return vm;
}
