/**
 * Linux on a PC with KVM's interface: it finds kvmclock and, where the time-stamp counter is not said to be invariant, takes its
 * time from it; the run is a function of its instruction count as any other.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { busyboxPath, kernelPath, missing } from '../../bench/kernels/catalogue.ts';
import { busyboxRoot } from '../../bench/kernels/initramfs.ts';
import { nodeHost } from '../../runtime/hosts/node.ts';
import { loadGuest } from '../../runtime/loaders/load.ts';
import type { Engine, MachineOptions } from '../../runtime/machines/machine.ts';
import { createPcMachine } from '../../runtime/machines/pc-machine.ts';
import { named } from './boot.ts';

const kernel = named('cloud-amd64');
const skip = missing(kernel) ?? false;
const script = `#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
echo "clock source $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
echo "processors $(grep -c ^processor /proc/cpuinfo)"
date -u +"date %Y-%m-%d"
sleep 1
echo slept
poweroff -f
`;
const commands = 'sh mount cat grep date sleep poweroff echo'.split(' ');

async function boot(options: Pick<MachineOptions, 'engine' | 'cpus'> & Partial<MachineOptions>) {
  const output: number[] = [];
  const machine = await createPcMachine(
    {
      memory: 128 << 20,
      x87: 'exact',
      cache: null,
      serial: (byte) => void output.push(byte),
      debugcon: () => {},
      ...options,
    },
    nodeHost,
  );
  const image = busyboxRoot(readFileSync(busyboxPath(kernel)), commands, script);
  const { state } = loadGuest(readFileSync(kernelPath(kernel)), machine.ram, {
    name: kernel.name,
    commandLine: 'console=ttyS0 nokaslr',
    modules: [{ bytes: image, string: 'initrd' }],
  });
  machine.start(state);
  return { machine, text: () => Buffer.from(output).toString('latin1') };
}

for (const cpus of [1, 2])
  test(`row 17: Linux picks kvm-clock on ${cpus} vCPUs`, { skip }, async (t) => {
    const { machine, text } = await boot({
      engine: 'auto',
      cpus,
      paravirt: 'kvm',
      cpuid: { remove: ['invariant-tsc'] },
    });
    try {
      const end = await machine.run({ signal: AbortSignal.timeout(300_000) });
      const said = text();
      assert.deepEqual(end, { reason: 'power-off' }, said.slice(-2000));
      assert.match(said, /Hypervisor detected: KVM/);
      assert.match(said, /kvm-clock: Using msrs 4b564d01 and 4b564d00/);
      assert.match(said, /Switched to clocksource kvm-clock/);
      assert.match(said, /clock source kvm-clock/);
      assert.ok(said.includes(`processors ${cpus}`));
      assert.match(said, /date 2026-01-01/);
      assert.match(said, /slept/);
      assert.doesNotMatch(said, /clocksource.*unstable|BUG: |Oops: |rcu.*stall/);
      t.diagnostic(`${Math.round(machine.instructions() / 1e6)} M instructions`);
    } finally {
      await machine.close();
    }
  });

test('row 17: with kvmclock a kernel is in one state after the same number of instructions, interpreted or translated', {
  skip,
}, async () => {
  const states: string[] = [];
  for (const engine of ['interpreter', 'auto'] satisfies Engine[]) {
    const { machine, text } = await boot({ engine, cpus: 2, paravirt: 'kvm' });
    const end = await machine.run({ maxInstructions: 150_000_000 });
    assert.equal(end.reason, 'instructions');
    states.push(createHash('sha256').update(machine.ram.bytes).digest('hex') + text());
    await machine.close();
  }
  assert.equal(states[0], states[1]);
});
