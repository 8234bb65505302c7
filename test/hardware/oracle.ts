/**
 * Builds and runs the hardware oracle (`oracle/*.c`), where there is a CPU to ask: Linux on x86-64 with gcc.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { arch, platform, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The seed and the classes of the recorded vectors. */
export const RECORDED = {
  seed: 860_386,
  perForm: 20,
  /** Other numbers of them: for many forms, and for few. */
  other: { avx: 10, avx2: 10, fma: 15, f16c: 400 } as Readonly<Record<string, number>>,
  classes: (
    'alu muldiv shift bit bcd move atomic string stack branch fault x87 x87t sse ssea ssei bmi mmx sse3 sse4 crypto ' +
    'avx avx2 fma f16c'
  ).split(' '),
} as const;

const FLAGS =
  '-O2 -std=gnu11 -Wall -Wextra -Werror -Wno-missing-field-initializers -Wno-parentheses -Wno-misleading-indentation ' +
  '-fno-stack-protector -static -no-pie -mno-avx -fcf-protection=none';

/** Why the oracle cannot run here, or undefined. */
export function oracleUnavailable(): string | undefined {
  if (platform() !== 'linux' || arch() !== 'x64') return `needs Linux on x86-64, this is ${platform()} on ${arch()}`;
  if (spawnSync('gcc', ['--version']).status !== 0) return 'gcc is not installed';
  if (!/\bavx2\b.*\bbmi2\b|\bbmi2\b.*\bavx2\b/.test(readFileSync('/proc/cpuinfo', 'latin1')))
    return 'this CPU has no AVX2';
  return undefined;
}

/** Runs the oracle for one class, with the stored vectors' seed unless told, and returns the vectors it wrote. */
export type RunOracle = (cls: string, perForm: number, seed?: number) => Uint8Array;

/** Calls `use` with a function that runs the freshly built oracle. */
export function withOracle<T>(use: (run: RunOracle) => T): T {
  const directory = mkdtempSync(join(tmpdir(), 'jit86-oracle-'));
  try {
    const sources = fileURLToPath(new URL('oracle/', import.meta.url));
    const files = readdirSync(sources).filter((name) => name.endsWith('.c'));
    const program = join(directory, 'oracle');
    const output = join(directory, 'vectors.bin');
    execFileSync('gcc', [...FLAGS.split(' '), '-o', program, ...files.map((name) => join(sources, name))]);
    return use((cls, perForm, seed = RECORDED.seed) => {
      const args = ['-s', String(seed), '-n', String(perForm), '-c', cls, '-o', output];
      execFileSync(program, args, { timeout: 120_000, stdio: ['ignore', 'ignore', 'pipe'] });
      return readFileSync(output);
    });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
