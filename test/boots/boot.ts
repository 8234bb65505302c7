/**
 * Boots Debian's kernels, which do the work of `bench/kernels/workload.ts` and switch the machine off. `.ci/kernels` fetches
 * them; without them the tests skip themselves and say so.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type Kernel, kernelPath, kernels, missing } from '../../bench/kernels/catalogue.ts';
import { commandLine, complaint, initramfs, type Workload } from '../../bench/kernels/workload.ts';
import { nodeHost } from '../../runtime/hosts/node.ts';
import { loadGuest } from '../../runtime/loaders/load.ts';
import type { CpuModelName, Engine, Machine } from '../../runtime/machines/machine.ts';
import { createPcMachine } from '../../runtime/machines/pc-machine.ts';
import { stateHash } from '../../runtime/state-hash.ts';

/** On what machine. */
export interface How {
  readonly engine: Engine;
  readonly cpus: number;
  readonly cpu?: CpuModelName;
}

/** A machine without a guest. */
export async function emptyMachine(how: How) {
  const output: number[] = [];
  const machine: Machine = await createPcMachine(
    {
      ...how,
      memory: 256 << 20,
      x87: 'exact',
      cache: null,
      serial: (byte) => void output.push(byte),
      debugcon: () => {},
    },
    nodeHost,
  );
  return { machine, text: () => Buffer.from(output).toString('latin1') };
}

/** A machine with a kernel in it that has not begun to run. */
export async function boot(kernel: Kernel, work: Workload, how: How) {
  const { machine, text } = await emptyMachine(how);
  const { state, format } = loadGuest(readFileSync(kernelPath(kernel)), machine.ram, {
    name: kernel.name,
    commandLine,
    modules: [{ bytes: initramfs(kernel, work), string: 'initrd' }],
  });
  assert.equal(format, 'bzimage');
  machine.start(state);
  return { machine, text };
}

/** Where a machine stands: its processors and memory as hashes, and how far it has come. */
export function ending(machine: Machine) {
  const { bytes } = machine.ram;
  return { hashes: machine.vcpus.map((vcpu) => stateHash(vcpu, bytes)), instructions: machine.instructions() };
}

/** A boot that is a test. */
export interface BootCase extends How {
  readonly kernel: Kernel['name'];
  readonly work: Workload;
}

export const named = (name: Kernel['name']): Kernel => kernels.find((kernel) => kernel.name === name)!;

/** A test for each. */
export function testBoots(boots: readonly BootCase[]): void {
  for (const { kernel: name, work, ...how } of boots) {
    const kernel = named(name);
    const { engine, cpus, cpu = 'max' } = how;
    const skip = missing(kernel) ?? false;
    test(`${name} on ${cpus} processors ${cpu}, ${engine}: the ${work.name} workload, then power off`, {
      skip,
    }, async (t) => {
      const { machine, text } = await boot(kernel, work, how);
      try {
        const end = await machine.run({ signal: AbortSignal.timeout(1_200_000) });
        assert.deepEqual(end, { reason: 'power-off' }, text().slice(-2000));
        assert.equal(complaint(text(), kernel, cpus, work), null, text());
        const { instructions, interpreted } = machine.statistics();
        t.diagnostic(
          `${Math.round(instructions / 1e6)} M instructions, ${Math.round(interpreted / 1e6)} M interpreted`,
        );
      } finally {
        await machine.close();
      }
    });
  }
}
