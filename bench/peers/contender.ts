/**
 * What takes part in the comparison: a way to run a guest's work, and the times of its calls.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Guest, GuestVariant } from '../guests/catalogue.ts';

/** One call of a guest's work. */
export interface Call {
  readonly seconds: number;
  /** Time that the thread of the guest has had a processor: of other processes it sees less. Null where it is not known. */
  readonly cpuSeconds: number | null;
  /** Guest instructions, where they are counted. */
  readonly instructions: number | null;
}

export interface Contender {
  readonly name: string;
  /** What it is, in a line. */
  readonly description: string;
  /** Why it cannot take part on this machine; null if it can. Called once, before anything is measured. */
  prepare(): Promise<string | null>;
  runs(guest: Guest, variant: GuestVariant): boolean;
  /** Calls of the guest's work in one fresh process, in order. @throws with a line of text if the run goes wrong */
  measure(guest: Guest, variant: GuestVariant, limits: CallLimits): Promise<Call[]>;
}

/** How many calls a run makes: at least three, then until it has made enough or taken long enough. */
export interface CallLimits {
  readonly calls: number;
  /** Seconds after which no further call is begun, once there are `fewest`. */
  readonly enough: number;
  readonly fewest: number;
  /** Seconds after which the run is given up. */
  readonly timeout: number;
}

/** Whether a run that has made so many calls should begin no other. */
export function isEnough(limits: CallLimits, calls: number, seconds: number): boolean {
  return calls >= limits.calls || (calls >= limits.fewest && seconds >= limits.enough);
}

/** What is read at the beginning and the end of a call. */
export interface CallClock {
  readonly millis: number;
  readonly cpuMillis: number;
}

/** The clocks of this thread. */
export function readClock(): CallClock {
  const { user, system } = process.threadCpuUsage();
  return { millis: performance.now(), cpuMillis: (user + system) / 1000 };
}

/** The call between two readings. */
export function callBetween(start: CallClock, end: CallClock, instructions: number | null = null): Call {
  return {
    seconds: (end.millis - start.millis) / 1000,
    cpuSeconds: (end.cpuMillis - start.cpuMillis) / 1000,
    instructions,
  };
}

/** How a child process ended. */
export interface ChildEnd {
  readonly status: number | null;
  readonly output: string;
}

/** Runs a program; `onOutput` sees what it prints, when it prints it, and may end it. */
export async function runChild(
  program: string,
  args: readonly string[],
  timeout: number,
  onOutput: (bytes: Buffer, end: () => void, pid: number) => void = () => {},
): Promise<ChildEnd> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
  }, timeout * 1000);
  child.stdout.on('data', (bytes: Buffer) => {
    output += bytes.toString('latin1');
    onOutput(bytes, () => child.kill('SIGKILL'), child.pid ?? 0);
  });
  child.stderr.on('data', (bytes: Buffer) => (output += bytes.toString('latin1')));
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  clearTimeout(timer);
  if (late) throw new Error(`given up after ${timeout} s`);
  return { status, output };
}

/**
 * Runs a script of this directory in a Node of its own, which prints one line of JSON: the calls. Engines that share a
 * process would share its compiler threads and its garbage.
 */
export async function callsOfScript(script: string, args: readonly string[], limits: CallLimits): Promise<Call[]> {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const words = [limits.calls, limits.enough, limits.fewest].map(String);
  const { status, output } = await runChild(process.execPath, [path, ...words, ...args], limits.timeout);
  const line = output.trim().split('\n').at(-1) ?? '';
  if (status !== 0) throw new Error(line === '' ? `status ${status}` : line);
  return JSON.parse(line) as Call[];
}

/** The limits that {@link callsOfScript} has put before a script's own arguments, and those arguments. */
export function scriptArguments(): { limits: CallLimits; args: string[] } {
  const [calls, enough, fewest, ...args] = process.argv.slice(2);
  return {
    limits: { calls: Number(calls), enough: Number(enough), fewest: Number(fewest), timeout: Number.POSITIVE_INFINITY },
    args,
  };
}
