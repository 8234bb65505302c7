/**
 * Debian's kernels start, run a script of busybox on the serial console and switch the machine off. `.ci/kernels` fetches
 * them; without them the tests skip themselves and say so.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { nodeHost } from '../../runtime/hosts/node.ts';
import { loadGuest } from '../../runtime/loaders/load.ts';
import type { Engine, Machine } from '../../runtime/machines/machine.ts';
import { createPcMachine } from '../../runtime/machines/pc-machine.ts';
import { busyboxRoot } from './initramfs.ts';

const folder = new URL(process.env.JIT86_KERNELS ?? '../../.cache/kernels/', import.meta.url);
const file = (name: string) => new URL(name, folder);

const commands = 'sh mount cat uname poweroff sha256sum dd gzip gunzip awk sort seq cmp md5sum grep true'.split(' ');
const script = `#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
echo "machine $(uname -m) processors $(grep -c ^processor /proc/cpuinfo)"
dd if=/dev/zero bs=64k count=8 2>/dev/null | sha256sum
seq 1 20000 > /tmp/numbers
gzip -9 < /tmp/numbers | gunzip | cmp - /tmp/numbers && echo "packed and unpacked"
sort -r /tmp/numbers | md5sum
awk 'BEGIN { for (i = 0; i < 20000; i++) s += i; print "sum", s }'
i=0; while [ $i -lt 30 ]; do /bin/busybox true || echo failed; i=$((i + 1)); done
echo "forked $i"
poweroff -f
`;

/** What the script prints, from what the host computes for the same. */
function expected(architecture: string, cpus: number): string[] {
  const hash = (name: string, data: string | Uint8Array) => createHash(name).update(data).digest('hex');
  const numbers = Array.from({ length: 20_000 }, (_, i) => `${i + 1}\n`);
  return [
    `machine ${architecture} processors ${cpus}`,
    `${hash('sha256', new Uint8Array(512 << 10))}  -`,
    'packed and unpacked',
    `${hash('md5', [...numbers].sort().reverse().join(''))}  -`,
    'sum 199990000',
    'forked 30',
  ];
}

async function boot(kernel: string, busybox: string, engine: Engine, cpus: number) {
  const output: number[] = [];
  const machine: Machine = await createPcMachine(
    {
      memory: 256 << 20,
      cpus,
      engine,
      x87: 'exact',
      cache: null,
      serial: (byte) => void output.push(byte),
      debugcon: () => {},
    },
    nodeHost,
  );
  const { state, format } = loadGuest(readFileSync(file(kernel)), machine.ram, {
    name: kernel,
    commandLine: 'console=ttyS0 nokaslr quiet',
    modules: [{ bytes: busyboxRoot(readFileSync(file(busybox)), commands, script), string: 'initrd' }],
  });
  assert.equal(format, 'bzimage');
  machine.start(state);
  return { machine, text: () => Buffer.from(output).toString('latin1') };
}

function missing(...names: string[]): string | false {
  const absent = names.find((name) => !existsSync(file(name)));
  return absent === undefined
    ? false
    : `no ${absent}: .ci/kernels .cache/kernels fetches it where Debian can be reached`;
}

const kernels = [
  { kernel: 'vmlinuz-cloud-amd64', busybox: 'busybox-amd64', architecture: 'x86_64', cpus: 2 },
  { kernel: 'vmlinuz-amd64', busybox: 'busybox-amd64', architecture: 'x86_64', cpus: 1 },
  { kernel: 'vmlinuz-686', busybox: 'busybox-i386', architecture: 'i686', cpus: 1 },
  { kernel: 'vmlinuz-686-pae', busybox: 'busybox-i386', architecture: 'i686', cpus: 2 },
] as const;

for (const { kernel, busybox, architecture, cpus } of kernels) {
  const skip = missing(kernel, busybox);
  test(`${kernel} on ${cpus} processors works and switches the machine off`, { skip }, async (t) => {
    const { machine, text } = await boot(kernel, busybox, 'auto', cpus);
    try {
      const end = await machine.run({ signal: AbortSignal.timeout(1_200_000) });
      assert.deepEqual(end, { reason: 'power-off' }, text().slice(-2000));
      const lines = text().split('\r\n');
      for (const line of expected(architecture, cpus)) assert.ok(lines.includes(line), `${line} in:\n${text()}`);
      assert.doesNotMatch(text(), /Oops|BUG:|Kernel panic|WARNING:/);
      const { instructions, interpreted } = machine.statistics();
      t.diagnostic(`${Math.round(instructions / 1e6)} M instructions, ${Math.round(interpreted / 1e6)} M interpreted`);
    } finally {
      await machine.close();
    }
  });
}

test('a kernel is in one state after the same number of instructions, interpreted or translated', {
  skip: missing('vmlinuz-cloud-amd64', 'busybox-amd64'),
}, async () => {
  const states: string[] = [];
  for (const engine of ['interpreter', 'auto'] as const) {
    const { machine, text } = await boot('vmlinuz-cloud-amd64', 'busybox-amd64', engine, 2);
    const end = await machine.run({ maxInstructions: 200_000_000 });
    assert.equal(end.reason, 'instructions');
    assert.equal(machine.instructions(), 200_000_000);
    states.push(createHash('sha256').update(machine.ram.bytes).digest('hex') + text());
    await machine.close();
  }
  assert.equal(states[0], states[1]);
});
