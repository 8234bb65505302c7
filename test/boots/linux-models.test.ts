/**
 * Kernels on processors of older models. `486` is not among them: Debian's kernel for i386 is built for processors with CMOV,
 * which that model does not have. It halts before it can say anything.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { missing } from '../../bench/kernels/catalogue.ts';
import { complaint, workloads } from '../../bench/kernels/workload.ts';
import { PcMachine } from '../../runtime/machines/pc-machine.ts';
import { type BootCase, boot, named, testBoots } from './boot.ts';

const boots: readonly BootCase[] = [
  { kernel: '686', work: workloads.short, engine: 'auto', cpus: 1, cpu: 'pentium3' },
  { kernel: 'cloud-amd64', work: workloads.short, engine: 'auto', cpus: 1, cpu: 'core2' },
  { kernel: 'cloud-amd64', work: workloads.short, engine: 'auto', cpus: 1, cpu: 'x86-64-v2' },
  { kernel: 'cloud-amd64', work: workloads.short, engine: 'auto', cpus: 1, cpu: 'x86-64-v3' },
];

testBoots(boots);

const kernel = named('cloud-amd64');
test('cloud-amd64 on max-la57 uses 5-level paging', { skip: missing(kernel) ?? false }, async () => {
  const work = workloads.short;
  const { machine, text } = await boot(kernel, work, { engine: 'auto', cpus: 1, cpu: 'max-la57' });
  try {
    assert.ok(machine instanceof PcMachine);
    const end = await machine.run({ signal: AbortSignal.timeout(1_200_000) });
    assert.deepEqual(end, { reason: 'power-off' }, text().slice(-2000));
    assert.equal(complaint(text(), kernel, 1, work), null, text());
    const { fields: state } = machine.vm.vcpu(0);
    assert.equal((state.get32('cr4') >> 12) & 1, 1, 'CR4.LA57');
    assert.ok(BigInt.asIntN(64, state.get64('gsBase')) < -(1n << 47n), 'its data lie where 48 bits do not lead');
  } finally {
    await machine.close();
  }
});
