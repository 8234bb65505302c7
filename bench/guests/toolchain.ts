/**
 * The compilers and linkers that make guests, and the options that they are given.
 *
 * Options keep builds deterministic: no build id, no debug information, and no path of the machine that built them.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Guest, GuestVariant } from './catalogue.ts';

const execute = promisify(execFile);

/** Where this directory lies; compilers run in it, so that they see relative paths only. */
export const guestsDirectory: string = import.meta.dirname;

/** Runs a tool in {@link guestsDirectory} and returns what it printed; throws with its messages when it fails. */
export async function runTool(tool: string, args: readonly string[]): Promise<string> {
  const { stdout } = await execute(tool, args, { cwd: guestsDirectory, env: { ...process.env, LC_ALL: 'C' } });
  return stdout;
}

/** The first line of a tool's `--version`, or null where there is no such tool. */
export async function toolVersion(tool: string): Promise<string | null> {
  try {
    return (await runTool(tool, ['--version'])).split('\n')[0]!;
  } catch {
    return null;
  }
}

/** Options that choose the machine; the native builds take the same, so that both run the same instructions. */
export const machineOptions: Readonly<Record<GuestVariant, readonly string[]>> = {
  'i386-x87': ['-m32', '-march=i686', '-mfpmath=387', '-mno-sse'],
  'i386-sse2': ['-m32', '-march=pentium4', '-msse2', '-mfpmath=sse'],
  x86_64: ['-m64'],
};

/** Options of every compilation by gcc. */
export const commonOptions: readonly string[] = [
  ...['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-Iruntime'],
  ...['-ffreestanding', '-fno-math-errno', '-fno-pic', '-fno-pie', '-fno-stack-protector'],
  ...['-fno-asynchronous-unwind-tables', '-fno-ident', '-fcf-protection=none'],
];

/** For `runtime/memory.c`, whose memset must not become a call of memset. */
export const memoryOptions: readonly string[] = ['-fno-builtin', '-fno-tree-loop-distribute-patterns'];

/** What the catalogue says of a guest, as macros for its `main`. */
export function identityOptions(guest: Guest, variant: GuestVariant): readonly string[] {
  return [
    `-DGUEST_NAME="${guest.name}"`,
    `-DGUEST_MACHINE="${variant}"`,
    `-DEXPECTED_CHECKSUM=0x${(guest.checksum ?? 0).toString(16)}u`,
  ];
}

/** Runs tasks two at a time, and returns their results in order; once one has failed none is begun, and none is left running. */
export async function runAll<Result>(tasks: readonly (() => Promise<Result>)[]): Promise<Result[]> {
  const results: Result[] = new Array(tasks.length);
  let next = 0;
  const work = async () => {
    try {
      while (next < tasks.length) {
        const index = next++;
        results[index] = await tasks[index]!();
      }
    } catch (error) {
      next = tasks.length;
      throw error;
    }
  };
  for (const outcome of await Promise.allSettled([work(), work()])) {
    if (outcome.status === 'rejected') throw outcome.reason;
  }
  return results;
}

/** Calls `use` with a fresh directory and removes it afterwards. */
export async function withTemporaryDirectory<Result>(use: (directory: string) => Promise<Result>): Promise<Result> {
  const directory = await mkdtemp(join(tmpdir(), 'jit86-guests-'));
  try {
    return await use(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
