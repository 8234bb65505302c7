/** One boot in one emulator, as a process of its own: the times at which the guest's marks arrive. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Kernel } from './catalogue.ts';
import { commandLine, complaint, mark, type Phase, phases, type Workload } from './workload.ts';

/** An emulator. */
export interface Emulator {
  readonly name: string;
  readonly description: string;
  /** Why it cannot run a kernel with so many processors; null if it can. */
  cannot(kernel: Kernel, cpus: number): string | null;
  command(boot: BootFiles): readonly string[];
  /** It boots twice, and the second time counts. */
  readonly twice?: boolean;
  /** It does not end by itself when the guest has switched the machine off. */
  readonly stays?: boolean;
}
export interface BootFiles {
  readonly kernel: Kernel;
  readonly image: string;
  readonly initrd: string;
  readonly commandLine: string;
  readonly memory: number;
  readonly cpus: number;
}

/** Seconds since the process began. */
export interface Reading {
  readonly wall: number;
  /** Of all threads; null where the host does not tell. */
  readonly processor: number | null;
}
export interface BootResult {
  readonly marks: Partial<Record<Phase, Reading>>;
  readonly failure: string | null;
}

/** A boot that was made, or could not be. */
export interface Boot extends BootResult {
  readonly kernel: Kernel['name'];
  readonly cpus: number;
  readonly workload: Workload['name'];
  readonly emulator: string;
  readonly round: number;
}

const ticksPerSecond = 100;
/** The guest has said its last word. */
const lastWord = /reboot: (?:Power down|System halted)/;

/** Processor time of a process with all its threads, as Linux counts it. */
function processorSeconds(pid: number): number | null {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  } catch {
    return null;
  }
}

/** Boots, waits for the end, and looks at what was printed. */
export async function boot(
  emulator: Emulator,
  files: Omit<BootFiles, 'commandLine'>,
  work: Workload,
  timeout: number,
): Promise<BootResult> {
  const [program, ...args] = emulator.command({ ...files, commandLine });
  const began = performance.now();
  const child = spawn(program!, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const marks: Partial<Record<Phase, Reading>> = {};
  let output = '';
  let errors = '';
  let seen = 0;
  let ended = false;
  child.stdout.on('data', (bytes: Buffer) => {
    output += bytes.toString('latin1');
    const reading = { wall: (performance.now() - began) / 1000, processor: processorSeconds(child.pid ?? 0) };
    for (let phase: Phase | undefined; (phase = phases[seen]) !== undefined; seen++) {
      if (!output.includes(`${mark(phase)}\r\n`)) break;
      marks[phase] = reading;
    }
    if (seen < phases.length || !lastWord.test(output)) return;
    ended = true;
    if (emulator.stays === true) child.kill('SIGKILL');
  });
  child.stderr.on('data', (bytes: Buffer) => (errors += bytes.toString('latin1')));
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
  }, timeout * 1000);
  const status = await new Promise<number | string>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) => resolve(code ?? signal ?? ''));
  });
  clearTimeout(timer);
  const failure = late
    ? `given up after ${timeout} s, at ${phases[seen] ?? 'the end'}`
    : (complaint(output, files.kernel, files.cpus, work) ??
      (ended && (status === 0 || emulator.stays === true) ? null : `status ${status} ${errors.trim().slice(-200)}`));
  return { marks, failure };
}
