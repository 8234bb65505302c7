/**
 * Short runs: what 50 ms of native work take here from the start of the process to the end of the guest's work, the first
 * time and with the translation cache of an earlier run.
 *
 *   npm run build
 *   node bench/cold.ts [--guests a,b] [--variants i386-sse2,x86_64] [--rounds 3] [--millis 50] [--json FILE]
 *
 * The scale of each guest is set so that its native build (gcc -O2) takes about that long. A round runs the native build,
 * then jit86 with an empty cache, then with what that run has left, each in a process of its own; ratios are taken within
 * a round, and the figure is the median over rounds. Each ratio is read twice: `all` from the start of the process, `guest`
 * from the guest's first instruction on. On a machine that does other things the columns `cpu` say more: the processor
 * time of the guest's thread over the one of the native build. With two idle processors that is what passes.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { geometricMean } from '../runtime/cli/bench-result.ts';
import { UsageError } from '../runtime/cli/options.ts';
import { begin, counted, picked } from './command-line.ts';
import { buildNative, builtDirectory, elfName } from './guests/build.ts';
import { type Guest, type GuestVariant, guestVariants, workloads } from './guests/catalogue.ts';
import { median } from './peers/summary.ts';

const execute = promisify(execFile);
const cli = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));

/** The most that a run may take, in times native. */
const targets = { cold: 16, warm: 5, startMillis: 150 } as const;

interface Short {
  /** To the guest's first instruction, and from there to its end. */
  readonly startMillis: number;
  readonly guestMillis: number;
  /** Processor time of the guest's thread in both. */
  readonly startThreadMillis: number;
  readonly guestThreadMillis: number;
  readonly regions: number;
  readonly regionsFromCache: number;
}

interface Round {
  readonly nativeMillis: number;
  readonly nativeThreadMillis: number;
  readonly cold: Short;
  readonly warm: Short;
}

interface Row {
  readonly guest: string;
  readonly variant: GuestVariant;
  readonly scale: number;
  readonly rounds: readonly Round[];
}

/** What a ratio is of: wall time or the thread's processor time, from the process's start or the guest's first instruction. */
type Reading = 'all' | 'guest' | 'all cpu' | 'guest cpu';
const readings: readonly (readonly [Reading, string])[] = [
  ['all', "from the process's start"],
  ['guest', "from the guest's first instruction"],
  ['all cpu', "processor time from the process's start"],
  ['guest cpu', "processor time from the guest's first instruction"],
];
const millisOf = (short: Short, reading: Reading): number => {
  switch (reading) {
    case 'all':
      return short.startMillis + short.guestMillis;
    case 'guest':
      return short.guestMillis;
    case 'all cpu':
      return short.startThreadMillis + short.guestThreadMillis;
    case 'guest cpu':
      return short.guestThreadMillis;
    default:
      return reading satisfies never;
  }
};
const ratioOf = (rounds: readonly Round[], run: 'cold' | 'warm', reading: Reading): number =>
  median(
    rounds.map((r) => millisOf(r[run], reading) / (reading.endsWith('cpu') ? r.nativeThreadMillis : r.nativeMillis)),
  )!;

/** Wall time and processor time of the native build's work. */
async function native(executable: string, scale: number): Promise<{ millis: number; threadMillis: number }> {
  const { stdout } = await execute(executable, [String(scale)]);
  const match = / nanos=(\d+) cpu=(\d+) checksum=0x[0-9a-f]+ ok\n/.exec(stdout);
  if (match === null) throw new Error(`${executable} says ${stdout}`);
  return { millis: Number(match[1]) / 1e6, threadMillis: Number(match[2]) / 1e6 };
}

async function short(guest: Guest, variant: GuestVariant, scale: number, cache: string): Promise<Short> {
  const elf = join(builtDirectory, elfName(guest, variant));
  const args = [cli, 'run', elf, '--json', '--memory', '128M', '--cache', cache, '--append', `scale=${scale}`];
  // The exit port's code 0 ends the process with status 1.
  const { stdout } = await execute(process.execPath, args).catch((error) => error);
  const result = JSON.parse(stdout);
  if (result.status !== 1) throw new Error(`${elf}: ${stdout}`);
  const { startSeconds, seconds, startThreadSeconds, guestThreadSeconds, regions, regionsFromCache } = result;
  return {
    startMillis: startSeconds * 1000,
    guestMillis: seconds * 1000,
    startThreadMillis: startThreadSeconds * 1000,
    guestThreadMillis: guestThreadSeconds * 1000,
    regions,
    regionsFromCache,
  };
}

async function round(guest: Guest, variant: GuestVariant, scale: number, natives: string): Promise<Round> {
  const cache = await mkdtemp(join(tmpdir(), 'jit86-cold-'));
  try {
    const { millis, threadMillis } = await native(join(natives, variant, guest.name), scale);
    const cold = await short(guest, variant, scale, cache);
    const warm = await short(guest, variant, scale, cache);
    return { nativeMillis: millis, nativeThreadMillis: threadMillis, cold, warm };
  } finally {
    await rm(cache, { recursive: true });
  }
}

const column = (value: string | number, width: number): string => String(value).padStart(width);

function line({ guest, variant, scale, rounds }: Row): string {
  const of = (pick: (round: Round) => number) => median(rounds.map(pick))!;
  const half = (run: 'cold' | 'warm') => [
    column(of((r) => r[run].startMillis).toFixed(0), 7),
    column(of((r) => millisOf(r[run], 'all')).toFixed(0), 6),
    ...readings.map(([reading]) => column(`${ratioOf(rounds, run, reading).toFixed(1)}x`, 7)),
  ];
  return [
    `${guest} ${variant}`.padEnd(27),
    column(scale, 3),
    column(of((r) => r.nativeMillis).toFixed(0), 7),
    ...half('cold'),
    column(of((r) => r.cold.regions).toFixed(0), 5),
    ...half('warm'),
    column(of((r) => r.warm.regionsFromCache).toFixed(0), 6),
  ].join('');
}

async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      guests: { type: 'string' },
      variants: { type: 'string', default: 'i386-sse2,x86_64' },
      rounds: { type: 'string', default: '3' },
      millis: { type: 'string', default: '50' },
      json: { type: 'string' },
    },
  });
  const guests = picked('guests', values.guests, workloads, ({ name }) => name);
  const variants = picked('variants', values.variants, guestVariants, (variant) => variant);
  const count = counted('rounds', values.rounds);
  const millis = counted('millis', values.millis);
  await readFile(cli).catch(() => {
    throw new UsageError(`${cli} is not there: npm run build makes it`);
  });
  const natives = await mkdtemp(join(tmpdir(), 'jit86-native-'));
  const rows: Row[] = [];
  try {
    await buildNative(natives, variants, guests);
    const of = '  start  total    all  guest    cpu    cpu';
    console.log(
      `${' '.repeat(37)}${' first run '.padStart(27, '-').padEnd(46, '-')} ${' with the cache '.padStart(28, '-').padEnd(47, '-')}`,
    );
    console.log(`${'guest'.padEnd(25)}scale native${of} made${of} taken`);
    for (const variant of variants) {
      for (const guest of guests) {
        const executable = join(natives, variant, guest.name);
        const once = Math.min((await native(executable, 1)).threadMillis, (await native(executable, 1)).threadMillis);
        const scale = Math.max(1, Math.round(millis / once));
        const rounds: Round[] = [];
        for (let i = 0; i < count; i++) rounds.push(await round(guest, variant, scale, natives));
        const row = { guest: guest.name, variant, scale, rounds };
        rows.push(row);
        console.log(line(row));
      }
    }
  } finally {
    await rm(natives, { recursive: true });
  }
  const judge = (what: string, value: number, target: number, unit: string) =>
    console.log(`${what}: ${value.toFixed(1)}${unit}, target ${target}${unit}: ${value <= target ? 'met' : 'missed'}`);
  for (const [run, what, target] of [
    ['cold', 'first run', targets.cold],
    ['warm', 'with the cache', targets.warm],
  ] as const) {
    for (const [reading, from] of readings) {
      const ratios = rows.map(({ rounds }) => ratioOf(rounds, run, reading));
      judge(`${what}, ${from}, geometric mean`, geometricMean(ratios)!, target, 'x');
      judge(`${what}, ${from}, worst`, Math.max(...ratios), target, 'x');
    }
  }
  const starts = rows.flatMap(({ rounds }) => rounds.flatMap(({ cold, warm }) => [cold.startMillis, warm.startMillis]));
  judge('start of the process to the first instruction, median', median(starts)!, targets.startMillis, ' ms');
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(rows, null, 2)}\n`);
  return 0;
}

if (import.meta.main) await begin('cold', main);
