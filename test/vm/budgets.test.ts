/** Basic blocks, deadlines and kicks: rows 3 and 4 of the VM API, and `vm.run()`. */
import assert from 'node:assert/strict';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { giveIdt } from '../engines/system-code.ts';
import { guest, hashOf, origin, type TestEngine, testEngines } from './vm-harness.ts';

const asm = () => new Assembler(BigInt(origin));
const HLT = 0xf4;

/** Loops within loops with calls, a string instruction, and code that is long without a branch. */
const branching = asm()
  .put(0xb9, dword(2000)) // mov ecx, 2000
  .label('outer')
  .put(0xbb, dword(3)) // mov ebx, 3
  .label('inner')
  .put(0x01, 0xd8, 0x4b, 0x75, to('inner', 1)) // add eax, ebx; dec ebx; jnz inner
  .put(0xe8, to('routine', 4)) // call
  .put(...new Array<number>(70).fill(0x40)) // inc eax, seventy times
  .put(0xa8, 1, 0x74, to('even', 1), 0x42) // test al, 1; jz even; inc edx
  .label('even')
  .put(0x49, 0x0f, 0x85, to('outer', 4), HLT) // dec ecx; jnz outer; hlt
  .label('routine')
  .put(0x51, 0xb9, dword(5), 0xbf, dword(0x8000), 0xf3, 0xaa, 0x59, 0xc3) // push ecx; rep stosb of five; pop ecx; ret
  .finish();

testEngines('row 3: a run of N basic blocks ends after N branches', (engine) => {
  const vm = guest(engine, branching);
  const vcpu = vm.vcpu(0);
  const after = (blocks: number) => {
    assert.deepEqual({ ...vcpu.enter({ maxBlocks: blocks }) }, { kind: 'budget', cpu: 0, limit: 'blocks' });
    return Number(vcpu.fields.get64('rip')) - origin;
  };
  assert.equal(after(0), 0);
  assert.equal(after(1), 10, 'the first JNZ, taken');
  assert.equal(after(1), 10);
  assert.equal(after(1), 15, 'not taken: a block ends all the same');
  assert.equal(after(1), branching.length - 15, 'the call');
  assert.equal(after(1), 20, 'back');
});

/** Where a guest stands after so many blocks, and its hash. */
function standing(engine: TestEngine, blocks: readonly number[]): string[] {
  const vm = guest(engine, branching);
  // Hot code is translated by then.
  assert.equal(vm.vcpu(0).enter({ maxInstructions: 100_000 }).kind, 'budget');
  return blocks.map((maxBlocks) => {
    vm.vcpu(0).enter({ maxBlocks });
    return `${vm.vcpu(0).fields.get64('rip')} ${hashOf(vm)}`;
  });
}

testEngines('row 3: any N leads to the same state in every engine', (engine) => {
  const blocks = [1, 2, 3, 5, 8, 13, 100, 1, 7, 333];
  assert.deepEqual(standing(engine, blocks), standing('interpreter', blocks));
});

testEngines('row 3: instructions and blocks together: the first limit ends the run', (engine) => {
  const vm = guest(engine, branching);
  const vcpu = vm.vcpu(0);
  assert.deepEqual(
    { ...vcpu.enter({ maxInstructions: 4, maxBlocks: 9 }) },
    { kind: 'budget', cpu: 0, limit: 'instructions' },
  );
  assert.equal(vcpu.left, 0);
  assert.deepEqual(
    { ...vcpu.enter({ maxInstructions: 90, maxBlocks: 1 }) },
    { kind: 'budget', cpu: 0, limit: 'blocks' },
  );
  assert.equal(vcpu.left, 89);
});

testEngines('row 3: a fault that is delivered ends a block', (engine) => {
  const code = asm().put(0x90, 0x0f, 0x0b, HLT).label('handler').put(0x90, 0x90, HLT); // nop; ud2
  const vm = guest(engine, code.finish());
  const { fields } = vm.vcpu(0);
  giveIdt(vm, { 6: code.addressOf('handler') });
  assert.equal(vm.vcpu(0).enter({ maxBlocks: 1 }).kind, 'budget');
  assert.equal(fields.get64('rip'), code.addressOf('handler'));
});

testEngines('row 4: a deadline ends a run, in virtual time exactly', (engine) => {
  const vm = guest(engine, [0x40, 0xeb, 0xfd], { clock: 'virtual' }); // inc eax; jmp
  const vcpu = vm.vcpu(0);
  const enter = (deadline: number) => {
    vcpu.enter({ deadline, maxInstructions: 100 });
    return 100 - vcpu.left;
  };
  assert.equal(enter(10), 10);
  assert.equal(enter(10), 0);
  assert.equal(enter(1000), 100);
  const host = guest(engine, [0xeb, 0xfe]);
  const begun = performance.now();
  assert.deepEqual(
    { ...host.vcpu(0).enter({ deadline: host.time.now() + 20e6 }) },
    { kind: 'budget', cpu: 0, limit: 'deadline' },
  );
  assert.ok(performance.now() - begun >= 15);
});

testEngines('row 4: jmp $ is aborted soon, and goes on where it was', async (engine) => {
  const vm = guest(engine, [0x40, 0xeb, 0xfd]); // inc eax; jmp
  const stopped = new AbortController();
  let asked = 0;
  setTimeout(() => {
    asked = performance.now();
    stopped.abort();
  }, 60);
  for await (const exit of vm.run({ signal: stopped.signal })) assert.fail(`an exit ${exit.kind}`);
  const took = performance.now() - asked;
  assert.ok(asked > 0 && took < 1000, `it took ${took} ms`);
  const { fields } = vm.vcpu(0);
  const [count, rip] = [fields.get32('rax'), fields.get64('rip')];
  assert.ok(count > 1000);
  vm.vcpu(0).enter({ maxInstructions: 1000 });
  assert.equal(fields.get32('rax'), (count + 500) >>> 0);
  assert.equal(fields.get64('rip'), rip);
});

testEngines('row 4: a device kicks: the vCPU comes back after that instruction', (engine) => {
  const code = asm().label('top').put(0x40, 0xe6, 0x10, 0x43, 0xeb, to('top', 1)).finish(); // inc eax; out 10h, al; inc ebx; jmp
  const vm = guest(engine, code, {
    ports: { read: () => 0, write: (_port, _size, value) => value === 50 && vm.vcpu(0).kick() },
  });
  const vcpu = vm.vcpu(0);
  assert.equal(vcpu.enter().kind, 'kicked');
  assert.deepEqual([vcpu.fields.get32('rax'), vcpu.fields.get32('rbx')], [50, 49]);
  assert.equal(vcpu.enter().kind, 'kicked', 'al comes to fifty again');
  assert.deepEqual([vcpu.fields.get32('rax'), vcpu.fields.get32('rbx')], [306, 305]);
});

testEngines('vm.run gives each exit once, waits through halts, and ends with its loop', async (engine) => {
  const code = asm()
    .put(0xe4, 0x20, 0xe6, 0x21, 0xfb, HLT, 0xe6, 0x22, 0xfa, HLT) // in al, 20h; out 21h, al; sti; hlt; out 22h, al; cli; hlt
    .label('handler')
    .put(0x40, 0xcf);
  const vm = guest(engine, code.finish());
  const vcpu = vm.vcpu(0);
  giveIdt(vm, { 64: code.addressOf('handler') });
  const log: string[] = [];
  for await (const exit of vm.run()) {
    if (exit.kind === 'pio' && !exit.write) exit.value = 7;
    log.push(exit.kind === 'pio' ? `${exit.write ? 'out' : 'in'} ${exit.port.toString(16)} ${exit.value}` : exit.kind);
    if (exit.kind === 'halt' && !exit.interruptible) break;
    if (exit.kind === 'halt') setTimeout(() => vcpu.interrupt(0x40), 5);
    if (exit.kind === 'pio' && exit.port === 0x21) await assert.rejects(vm.run().next(), { code: 'already-entered' });
  }
  assert.deepEqual(log, ['in 20 7', 'out 21 7', 'halt', 'out 22 8', 'halt']);
});
