/**
 * Every feature that a CPU model advertises is there, in both engines: the test walks all bits of CPUID and executes an
 * instruction of each. What a model does not advertise raises #UD, or #GP where a register would have to take it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Guest } from '../../runtime/lockstep/guest.ts';
import { type CpuModelName, cpuModelNames } from '../../src/system/cpu-models.ts';
import { cpuidLeaf } from '../../src/system/cpuid.ts';
import { dword } from './assembler.ts';
import { advertised, check, kinds, run } from './cpu-probes.ts';
import { vmModules } from './modules.ts';

for (const model of cpuModelNames)
  test(`all that ${model} advertises works, and nothing else does`, () => {
    assert.ok(check(model, 'never').size > 0);
    check(model, 'first');
  });

test('a later model has all features of an earlier one', () => {
  const of = (model: CpuModelName) => advertised(new Guest(kinds['64'], 'never', vmModules(), model));
  const sets = cpuModelNames.map(of);
  for (let i = 1; i < sets.length; i++)
    for (const bit of sets[i - 1]!) assert.ok(sets[i]!.has(bit), `${cpuModelNames[i]} lacks ${bit}`);
});

test('without LZCNT and TZCNT their prefix is ignored', () => {
  for (const model of ['core2', 'max'] as const) {
    const guest = new Guest(kinds['32'], 'never', vmModules(), model);
    // mov ecx, 10h; lzcnt eax, ecx; xor edx, edx; mov dl, 80h; tzcnt edx, edx
    const code = [0xb9, ...dword(0x10), 0xf3, 0x0f, 0xbd, 0xc1, 0xba, ...dword(0x80), 0xf3, 0x0f, 0xbc, 0xd2];
    assert.equal(run(guest, { mode: '32', code }), null);
    assert.equal(guest.vcpu.fields.get32('rax'), model === 'max' ? 27 : 4);
    assert.equal(guest.vcpu.fields.get32('rdx'), 7);
  }
});

test('who follows leaf 2 to leaf 4 comes to an end there', () => {
  for (const model of cpuModelNames) {
    const { processor } = new Guest(kinds['32'], 'never', vmModules(), model).vcpu.cpu;
    const [highest] = cpuidLeaf(processor, 0, 0);
    if (highest < 2) continue;
    const toLeaf4 = cpuidLeaf(processor, 2, 0).some((word) =>
      [0, 8, 16, 24].some((at) => ((word >>> at) & 255) === 0xff),
    );
    assert.equal(toLeaf4, highest >= 4, model);
    if (toLeaf4) assert.equal(cpuidLeaf(processor, 4, 4)[0] & 31, 0, model);
  }
});
