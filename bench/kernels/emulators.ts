/** The emulators that boot kernels, and the command by which each of them does. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { toolVersion } from '../guests/toolchain.ts';
import type { BootFiles, Emulator } from './boot.ts';
import type { Kernel } from './catalogue.ts';

const mebibyte = 2 ** 20;
const script = (path: string) => fileURLToPath(new URL(path, import.meta.url));

const main = script('../../dist/cli/main.js');
/** Node's options, as the command's first line has them after `#!/usr/bin/env -S node`. */
const nodeOptions = (): readonly string[] => readFileSync(main, 'utf8').split('\n', 1)[0]!.split(' ').slice(3);

function jit86(
  name: string,
  description: string,
  engine: 'auto' | 'interpreter',
  more: readonly string[],
  twice = false,
): Emulator {
  return {
    name,
    description,
    twice,
    cannot: () => null,
    command: ({ image, initrd, commandLine, memory, cpus }: BootFiles) => [
      ...[process.execPath, ...nodeOptions(), main, 'run', image, '--initrd', initrd],
      ...['--append', commandLine, '--memory', `${memory / mebibyte}M`, '--cpus', String(cpus)],
      ...['--engine', engine, '--serial', 'stdio', '--debugcon', 'none', ...more],
    ],
  };
}

/** This emulator in three ways; `more`: further words of its command line, `cache`: a folder that may be filled. */
export function ourEmulators(more: readonly string[], cache: string): readonly Emulator[] {
  return [
    jit86('auto', 'this emulator, nothing translated before', 'auto', ['--no-cache', ...more]),
    jit86(
      'cached',
      'this emulator, with the translations of the same boot before',
      'auto',
      ['--cache', cache, ...more],
      true,
    ),
    jit86('interpreter', "this emulator's interpreter", 'interpreter', ['--no-cache', ...more]),
  ];
}

const qemuOf = ({ architecture }: Kernel) => (architecture === 'amd64' ? 'qemu-system-x86_64' : 'qemu-system-i386');
const absent = new Map<string, boolean>();

export const qemu: Emulator = {
  name: 'qemu',
  description: 'QEMU with its translator TCG',
  cannot: (kernel) => (absent.get(qemuOf(kernel)) === true ? `there is no ${qemuOf(kernel)}` : null),
  command: ({ kernel, image, initrd, commandLine, memory, cpus }) => [
    ...[qemuOf(kernel), '-accel', 'tcg', '-cpu', 'max', '-m', String(memory / mebibyte), '-smp', String(cpus)],
    ...['-nodefaults', '-display', 'none', '-no-reboot', '-serial', 'stdio'],
    ...['-kernel', image, '-initrd', initrd, '-append', commandLine],
  ],
};
/** Looks which of QEMU's programs there are. */
export async function findQemu(): Promise<void> {
  for (const program of ['qemu-system-i386', 'qemu-system-x86_64'])
    absent.set(program, (await toolVersion(program)) === null);
}

/** Debian's package seabios, on which its QEMU depends: v86's own package has no BIOS, and loads kernels by one. */
const bios = '/usr/share/seabios/bios.bin';

export const v86: Emulator = {
  name: 'v86',
  description: `v86, with ${bios}`,
  stays: true,
  cannot(kernel, cpus) {
    if (kernel.architecture === 'amd64') return 'it has no 64-bit mode';
    if (cpus > 1) return 'it has one processor';
    return existsSync(bios) ? null : `there is no ${bios}`;
  },
  command: ({ image, initrd, commandLine, memory }) => [
    ...[process.execPath, script('v86-kernel.ts'), bios, image, initrd, commandLine, String(memory)],
  ],
};
