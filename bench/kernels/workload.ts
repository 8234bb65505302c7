/**
 * The work that a booted kernel does, as a script of busybox, and what it must print, which the host computes for itself.
 * Before the first and after each of its phases the script prints a line with a mark, by which others take the time.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { busyboxPath, type Kernel } from './catalogue.ts';
import { busyboxRoot } from './initramfs.ts';

/** How much of each. */
export interface Workload {
  readonly name: 'whole' | 'reduced' | 'short';
  /** Bytes to hash, in blocks of 64 KiB. */
  readonly hashed: number;
  /** Bytes of text to pack and unpack. */
  readonly packed: number;
  readonly loops: number;
  readonly lines: number;
  readonly forks: number;
}

const mebibyte = 2 ** 20;
export const workloads = {
  whole: { name: 'whole', hashed: 8 * mebibyte, packed: 4 * mebibyte, loops: 300_000, lines: 200_000, forks: 300 },
  reduced: { name: 'reduced', hashed: mebibyte, packed: mebibyte / 2, loops: 40_000, lines: 25_000, forks: 40 },
  short: { name: 'short', hashed: mebibyte / 4, packed: mebibyte / 8, loops: 10_000, lines: 5000, forks: 10 },
} as const satisfies Record<string, Workload>;

/** In order; each is the name of the mark at its end. */
export const phases = ['userland', 'sha256', 'gzip', 'gunzip', 'awk', 'sort', 'fork'] as const;
export type Phase = (typeof phases)[number];
const markSign = '@';
export const mark = (phase: Phase): string => `${markSign}${phase}`;

const commands =
  'sh mount cat uname poweroff sha256sum dd gzip gunzip awk sort seq head cmp md5sum grep true echo'.split(' ');
export const commandLine = 'console=ttyS0 nokaslr quiet';

function script(work: Workload): string {
  return `#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
echo "machine $(uname -m) processors $(grep -c ^processor /proc/cpuinfo)"
echo ${mark('userland')}
dd if=/dev/zero bs=64k count=${work.hashed >> 16} 2>/dev/null | sha256sum
echo ${mark('sha256')}
seq 1 ${work.packed >> 2} | head -c ${work.packed} > /tmp/text
gzip -9 < /tmp/text > /tmp/packed
echo ${mark('gzip')}
gunzip < /tmp/packed | md5sum
gunzip < /tmp/packed | cmp - /tmp/text && echo "packed and unpacked"
echo ${mark('gunzip')}
awk 'BEGIN { for (i = 0; i < ${work.loops}; i++) s += i * i % 7; print "sum", s }'
echo ${mark('awk')}
seq 1 ${work.lines} | sort -r | md5sum
echo ${mark('sort')}
i=0; while [ $i -lt ${work.forks} ]; do /bin/busybox true || echo failed; i=$((i + 1)); done
echo "forked $i"
echo ${mark('fork')}
poweroff -f
`;
}

/** The initial RAM disk with the script. */
export function initramfs(kernel: Kernel, work: Workload): Uint8Array {
  return busyboxRoot(readFileSync(busyboxPath(kernel)), commands, script(work));
}

function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${i + 1}\n`);
}

/** The lines that the script prints. */
export function expectedLines(kernel: Kernel, cpus: number, work: Workload): string[] {
  const hash = (name: string, data: string | Uint8Array) => `${createHash(name).update(data).digest('hex')}  -`;
  let sum = 0;
  for (let i = 0; i < work.loops; i++) sum += (i * i) % 7;
  return [
    `machine ${kernel.machine} processors ${cpus}`,
    hash('sha256', new Uint8Array(work.hashed)),
    hash(
      'md5',
      numbers(work.packed >> 2)
        .join('')
        .slice(0, work.packed),
    ),
    'packed and unpacked',
    `sum ${sum}`,
    hash('md5', numbers(work.lines).sort().reverse().join('')),
    `forked ${work.forks}`,
    ...phases.map(mark),
  ];
}

/** What is wrong with what was printed; null if nothing is. */
export function complaint(output: string, kernel: Kernel, cpus: number, work: Workload): string | null {
  const trouble = /(?:Oops|BUG:|Kernel panic|WARNING:|Segmentation fault|^failed).*/m.exec(output);
  if (trouble !== null) return trouble[0].trim();
  const lines = new Set(output.split(/\r?\n/).map((line) => line.trim()));
  const absent = expectedLines(kernel, cpus, work).find((line) => !lines.has(line));
  return absent === undefined ? null : `it did not print "${absent}"`;
}
