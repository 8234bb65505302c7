/** What programs next to the processors know goes along with snapshots. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { countingVm } from './snapshot-programs-machine.ts';
import { guest, hashOf, testEngines } from './vm-harness.ts';

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
