/**
 * Measures one guest: once interpreted, once translated, each on a fresh machine.
 *
 * A bundled guest is told to repeat its work and to mark each call on the debug console ("S000" before the first,
 * "E000" after it). The clock is read at the marks, so start-up is not measured, and of the translated calls the
 * fastest counts: by then the hot code is compiled. A guest without marks is measured from its start to its end.
 */
import { monotonicNanos } from '../hosts/node.ts';
import type {
  Engine,
  Machine,
  MachineFactory,
  MachineOptions,
  MachineStatistics,
  RunEnd,
} from '../machines/machine.ts';
import type { BenchResult, EngineFigures } from './bench-result.ts';
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
  /** Calls of the translated run. */
  readonly repeat: number;
  /** Seconds after which a run is given up. */
  readonly timeout: number;
  /** Told what is about to happen: `sieve i386-x87 interpreted`. */
  readonly progress: (text: string) => void;
}

interface Mark {
  readonly nanos: number;
  readonly instructions: number;
}

/** Reads the marks off the debug console: a letter and three digits each; the reading is taken at the last digit. */
class MarkReader {
  readonly starts: Mark[] = [];
  readonly ends: Mark[] = [];
  machine: Machine | undefined;
  #word = '';

  readonly take = (byte: number): void => {
    const character = String.fromCharCode(byte);
    this.#word = character === 'S' || character === 'E' ? character : this.#word + character;
    if (!/^[SE]\d{3}$/.test(this.#word)) return;
    const mark = { nanos: monotonicNanos(), instructions: this.machine!.instructions() };
    (this.#word.startsWith('S') ? this.starts : this.ends).push(mark);
    this.#word = '';
  };

  /** The calls whose beginning and end were marked. */
  calls(): { instructions: number; seconds: number }[] {
    return this.ends.map((end, index) => ({
      instructions: end.instructions - this.starts[index]!.instructions,
      seconds: (end.nanos - this.starts[index]!.nanos) / 1e9,
    }));
  }
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
      return null;
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

async function measure(guest: BenchGuest, engine: Engine, repeat: number, options: BenchOptions): Promise<Measurement> {
  const marks = new MarkReader();
  const output: number[] = [];
  const machine = await options.createMachine({
    ...options.machine,
    engine,
    serial: (byte) => void output.push(byte),
    debugcon: marks.take,
  });
  marks.machine = machine;
  try {
    const commandLine = [guest.marked ? `marks=1 repeat=${repeat}` : '', guest.append].filter(Boolean).join(' ');
    startGuest(machine, guest.path, readNamedFile(guest.path), { name: guest.name, commandLine, modules: [] });
    const started = monotonicNanos();
    const end = await machine.run({ signal: AbortSignal.timeout(options.timeout * 1000) });
    const seconds = (monotonicNanos() - started) / 1e9;
    const text = new TextDecoder().decode(Uint8Array.from(output));
    const failure = failureOf(end, text);
    const calls = marks.calls();
    if (calls.length === 0) calls.push({ instructions: machine.instructions(), seconds });
    const fastest = calls.reduce((best, call) => (call.seconds < best.seconds ? call : best));
    return {
      figures: failure === null ? { ...fastest, firstSeconds: calls[0]!.seconds } : null,
      statistics: machine.statistics(),
      failure,
    };
  } finally {
    await machine.close();
  }
}

/** Measures a guest in both engines. A guest that fails is a result too; an error of the host throws. */
export async function measureGuest(guest: BenchGuest, options: BenchOptions): Promise<BenchResult> {
  const { name, kind, variant } = guest;
  options.progress(`${name} ${variant} interpreted`);
  const interpreted = await measure(guest, 'interpreter', 1, options);
  options.progress(`${name} ${variant} translated`);
  const translated = await measure(guest, 'auto', options.repeat, options);
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
    regions: translated.statistics.regions,
    codeBytes: translated.statistics.codeBytes,
    compileMillis: translated.statistics.compileMillis,
    failure: failures.length === 0 ? null : failures.join('; '),
  };
}
