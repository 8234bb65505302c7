/**
 * Measures one guest: once interpreted, once translated, each on a fresh machine, and its sources compiled for this machine.
 *
 * A bundled guest is told to repeat its work and to mark each call on the debug console. The clock is read at the marks, so
 * start-up is not measured, and of the translated calls the fastest counts: by then the hot code is compiled. Of the
 * interpreter, which does not get faster, a part of the first call is enough. A guest without marks is measured from its
 * start to its end.
 */
import { monotonicNanos } from '../hosts/node.ts';
import type { Engine, MachineFactory, MachineOptions, MachineStatistics, RunEnd } from '../machines/machine.ts';
import type { BenchResult, EngineFigures } from './bench-result.ts';
import { CallMarks } from './call-marks.ts';
import { readNamedFile, startGuest } from './guest-file.ts';

/** A guest that is to be measured. */
export interface BenchGuest {
  readonly name: string;
  readonly kind: string;
  readonly variant: string;
  readonly path: string;
  /** Whether it understands `marks` and `repeat` on its command line. */
  readonly marked: boolean;
  /** Follows what the bench itself puts on the command line. */
  readonly append: string;
}

export interface BenchOptions {
  readonly createMachine: MachineFactory;
  readonly machine: Pick<MachineOptions, 'memory' | 'cpus' | 'x87' | 'cache'>;
  /** Calls of the translated run at most: after {@link translatedSeconds} none is begun, once there were two. */
  readonly repeat: number;
  /** Seconds of one call of a bundled guest's sources as a program of this machine; null where there is none. */
  readonly native: (guest: string, variant: string) => Promise<number | null>;
  /** Seconds after which a run is given up. */
  readonly timeout: number;
  /** Told what is about to happen: `sieve i386-x87 interpreted`. */
  readonly progress: (text: string) => void;
}

/** What is read at a mark. */
interface Reading {
  readonly nanos: number;
  readonly instructions: number;
}

interface Measurement {
  readonly figures: EngineFigures | null;
  readonly statistics: MachineStatistics;
  readonly failure: string | null;
}

/** What is wrong with the way a run ended; null for the exit port's code 0 and for a halt. */
function failureOf(end: RunEnd, output: string): string | null {
  const said = output.trim().split('\n').at(-1) ?? '';
  const quoted = said === '' ? '' : ` after "${said}"`;
  switch (end.reason) {
    case 'exit':
      return end.status === 1 ? null : `exit status ${end.status}${quoted}`;
    case 'halt':
    case 'power-off':
      return null;
    case 'reset':
      return `the guest reset the machine${quoted}`;
    case 'debug': // nobody debugs it
    case 'aborted':
      return `given up at the time limit${quoted}`;
    case 'instructions':
      return `stopped by a limit${quoted}`;
    case 'shutdown':
      return `triple fault at 0x${end.rip.toString(16)}, exception ${end.vector}${quoted}`;
    case 'internal-error':
      return `internal error at 0x${end.rip.toString(16)}: ${end.message}`;
    default:
      return end satisfies never;
  }
}

/** The interpreter's share of a marked guest's first call, in seconds. */
const interpretedSeconds = 0.7;
const translatedSeconds = 1;

async function measure(guest: BenchGuest, engine: Engine, repeat: number, options: BenchOptions): Promise<Measurement> {
  const output: number[] = [];
  const read = (): Reading => ({ nanos: monotonicNanos(), instructions: machine.instructions() });
  const enough = new AbortController();
  const later: { timer?: NodeJS.Timeout; start?: Reading } = {};
  const marks = new CallMarks(read, (call) => {
    later.start ??= marks.running!;
    if (call === 0 && engine === 'interpreter')
      later.timer = setTimeout(() => enough.abort(), interpretedSeconds * 1000);
    if (call >= 2 && monotonicNanos() - later.start.nanos > translatedSeconds * 1e9) enough.abort();
  });
  const machine = await options.createMachine({
    ...options.machine,
    engine,
    serial: (byte) => void output.push(byte),
    debugcon: marks.take,
  });
  try {
    const commandLine = [guest.marked ? `marks=1 repeat=${repeat}` : '', guest.append].filter(Boolean).join(' ');
    startGuest(machine, guest.path, readNamedFile(guest.path), { name: guest.name, commandLine, modules: [] });
    const start = read();
    const timeout = AbortSignal.timeout(options.timeout * 1000);
    const end = await machine.run({ signal: AbortSignal.any([timeout, enough.signal]) });
    const last = read();
    const text = new TextDecoder().decode(Uint8Array.from(output));
    const stopped = end.reason === 'aborted' && enough.signal.aborted;
    const failure = stopped ? null : failureOf(end, text);
    const { calls } = marks;
    if (calls.length === 0) calls.push({ start: marks.running ?? start, end: last });
    const figures = calls.map((call) => ({
      instructions: call.end.instructions - call.start.instructions,
      seconds: (call.end.nanos - call.start.nanos) / 1e9,
    }));
    const fastest = figures.reduce((best, call) => (call.seconds < best.seconds ? call : best));
    return {
      figures: failure === null ? { ...fastest, firstSeconds: figures[0]!.seconds } : null,
      statistics: machine.statistics(),
      failure,
    };
  } finally {
    clearTimeout(later.timer);
    await machine.close();
  }
}

/** Measures a guest in both engines. A guest that fails is a result too; an error of the host throws. */
export async function measureGuest(guest: BenchGuest, options: BenchOptions): Promise<BenchResult> {
  const { name, kind, variant } = guest;
  options.progress(`${name} ${variant} interpreted`);
  const interpreted = await measure(guest, 'interpreter', 1, options);
  options.progress(`${name} ${variant} translated`);
  const before = guest.marked ? await options.native(name, variant) : null;
  const translated = await measure(guest, 'auto', options.repeat, options);
  const after = before === null ? null : await options.native(name, variant);
  const failures = [
    interpreted.failure === null ? [] : [`interpreted: ${interpreted.failure}`],
    translated.failure === null ? [] : [`translated: ${translated.failure}`],
  ].flat();
  return {
    guest: name,
    kind,
    variant,
    interpreted: interpreted.figures,
    translated: translated.figures,
    nativeSeconds: before === null || after === null ? null : Math.min(before, after),
    regions: translated.statistics.regions,
    codeBytes: translated.statistics.codeBytes,
    compileMillis: translated.statistics.compileMillis,
    failure: failures.length === 0 ? null : failures.join('; '),
  };
}
