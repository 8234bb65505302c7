/** A kernel's state is a function of the number of instructions, whatever executes them. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { missing } from '../../bench/kernels/catalogue.ts';
import { workloads } from '../../bench/kernels/workload.ts';
import { boot, named } from './boot.ts';

test('a kernel is in one state after the same number of instructions, interpreted or translated', {
  skip: missing(named('cloud-amd64')) ?? false,
}, async () => {
  const states: string[] = [];
  for (const engine of ['interpreter', 'auto'] as const) {
    const { machine, text } = await boot(named('cloud-amd64'), workloads.short, { engine, cpus: 2 });
    const end = await machine.run({ maxInstructions: 200_000_000 });
    assert.equal(end.reason, 'instructions');
    assert.equal(machine.instructions(), 200_000_000);
    states.push(createHash('sha256').update(machine.ram.bytes).digest('hex') + text());
    await machine.close();
  }
  assert.equal(states[0], states[1]);
});
