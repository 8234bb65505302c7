/**
 * Runs built guests under QEMU's TCG: the second opinion on the guests themselves.
 *
 *   node bench/guests/qemu.ts [NAME...]   every variant of the guests named, or of all; status 1 where one fails
 *
 * The options are the ones that any machine for these guests needs: 128 MiB, a serial port, and isa-debug-exit at 0xF4,
 * by which a guest's exit code 0 becomes QEMU's status 1.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { builtDirectory, elfName } from './build.ts';
import { catalogue, type Guest, type GuestVariant } from './catalogue.ts';
import { toolVersion } from './toolchain.ts';

/** How a guest ended under QEMU. */
export interface QemuRun {
  /** Whether the guest left with exit code 0. */
  readonly passed: boolean;
  /** QEMU's own status: twice the guest's exit code plus one; 0 after a triple fault; null when it was killed. */
  readonly status: number | null;
  /** What the guest wrote to its serial port, and QEMU to its standard error. */
  readonly output: string;
  /** From QEMU's start to its end. */
  readonly milliseconds: number;
}

/** The QEMU that runs a variant. */
export function qemuFor(variant: GuestVariant): string {
  return variant === 'x86_64' ? 'qemu-system-x86_64' : 'qemu-system-i386';
}

/** Whether both are installed. */
export async function hasQemu(): Promise<boolean> {
  const versions = await Promise.all([toolVersion('qemu-system-i386'), toolVersion('qemu-system-x86_64')]);
  return !versions.includes(null);
}

/** Runs a guest of `built/` with a command line, and kills it after `timeout` milliseconds. */
export async function runInQemu(
  guest: Guest,
  variant: GuestVariant,
  commandLine: string,
  timeout = 120_000,
): Promise<QemuRun> {
  const args = [
    ...['-accel', 'tcg', '-cpu', 'max', '-m', '128', '-nodefaults', '-display', 'none', '-serial', 'stdio'],
    ...['-device', 'isa-debug-exit,iobase=0xf4,iosize=4', '-no-reboot'],
    ...['-kernel', join(builtDirectory, elfName(guest, variant)), '-append', commandLine],
  ];
  const begin = performance.now();
  const child = spawn(qemuFor(variant), args, { stdio: ['ignore', 'pipe', 'pipe'], timeout });
  let output = '';
  child.stdout.on('data', (bytes: Buffer) => (output += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => (output += bytes.toString()));
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  return { passed: status === 1, status, output, milliseconds: performance.now() - begin };
}

async function main(names: readonly string[]): Promise<number> {
  const unknown = names.find((name) => !catalogue.some((guest) => guest.name === name));
  if (unknown !== undefined) {
    console.error(`there is no guest "${unknown}"`);
    return 2;
  }
  let failed = 0;
  for (const guest of catalogue) {
    if (names.length > 0 && !names.includes(guest.name)) continue;
    for (const variant of guest.variants) {
      const run = await runInQemu(guest, variant, 'scale=1');
      if (!run.passed) failed++;
      const verdict = run.passed ? 'ok' : `FAILED (status ${run.status})`;
      console.log(`${verdict} ${variant} ${run.milliseconds.toFixed(0)} ms: ${run.output.trim()}`);
    }
  }
  console.log(`${failed} failed`);
  return failed > 0 ? 1 : 0;
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
