/**
 * Short runs: what 50 ms of native work take here from the start of the process to the end of the guest's work, the first
 * time and with the translation cache of an earlier run.
 *
 *   npm run build
 *   node bench/cold.ts [--guests a,b] [--variants i386-sse2,x86_64] [--rounds 3] [--millis 50] [--json FILE]
 *
 * The scale of each guest is set so that its native build (gcc -O2) takes about that long. A round runs the native build,
 * then jit86 with an empty cache, then with what that run has left, each in a process of its own; ratios are taken within
 * a round, and the figure is the median over rounds. The process's start is timed apart, up to the guest's first
 * instruction. On a machine that does other things the columns `cpu` say more: the processor time of the guest's thread
 * over the one of the native build. With two idle processors that is what passes.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { buildNative, builtDirectory, elfName } from './guests/build.ts';
import { type Guest, type GuestVariant, guestVariants, workloads } from './guests/catalogue.ts';

const execute = promisify(execFile);
const cli = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));

/** The most that a run may take, in times native. */
const targets = { cold: 16, warm: 5, startMillis: 150 } as const;

interface Short {
  /** To the guest's first instruction, and from there to its end. */
  readonly startMillis: number;
  readonly guestMillis: number;
  /** Processor time of the guest's thread, over both. */
  readonly threadMillis: number;
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

const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};
const geometricMean = (values: readonly number[]): number =>
  Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
const total = ({ startMillis, guestMillis }: Short): number => startMillis + guestMillis;

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
    threadMillis: (startThreadSeconds + guestThreadSeconds) * 1000,
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
  const of = (pick: (round: Round) => number) => median(rounds.map(pick));
  return [
    `${guest} ${variant}`.padEnd(24),
    column(scale, 5),
    column(of((r) => r.nativeMillis).toFixed(0), 8),
    column(of((r) => r.cold.startMillis).toFixed(0), 7),
    column(of((r) => total(r.cold)).toFixed(0), 7),
    column(`${coldRatio(rounds).toFixed(1)}x`, 7),
    column(`${threadRatio(rounds, 'cold').toFixed(1)}x`, 7),
    column(of((r) => r.cold.regions).toFixed(0), 5),
    column(of((r) => r.warm.startMillis).toFixed(0), 8),
    column(of((r) => total(r.warm)).toFixed(0), 7),
    column(`${warmRatio(rounds).toFixed(1)}x`, 7),
    column(`${threadRatio(rounds, 'warm').toFixed(1)}x`, 7),
    column(of((r) => r.warm.regionsFromCache).toFixed(0), 5),
  ].join('');
}
const coldRatio = (rounds: readonly Round[]) => median(rounds.map((r) => total(r.cold) / r.nativeMillis));
const warmRatio = (rounds: readonly Round[]) => median(rounds.map((r) => total(r.warm) / r.nativeMillis));
const threadRatio = (rounds: readonly Round[], run: 'cold' | 'warm') =>
  median(rounds.map((r) => r[run].threadMillis / r.nativeThreadMillis));

async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      guests: { type: 'string', default: workloads.map(({ name }) => name).join() },
      variants: { type: 'string', default: 'i386-sse2,x86_64' },
      rounds: { type: 'string', default: '3' },
      millis: { type: 'string', default: '50' },
      json: { type: 'string' },
    },
  });
  const guests = values.guests.split(',').map((name) => {
    const found = workloads.find((guest) => guest.name === name);
    if (found === undefined) throw new Error(`--guests ${name}: no such workload`);
    return found;
  });
  const variants = values.variants.split(',').map((name) => {
    const found = guestVariants.find((variant) => variant === name);
    if (found === undefined) throw new Error(`--variants ${name}: not one of ${guestVariants.join(', ')}`);
    return found;
  });
  await readFile(cli).catch(() => {
    throw new Error(`${cli} is not there: npm run build makes it`);
  });
  const natives = await mkdtemp(join(tmpdir(), 'jit86-native-'));
  const rows: Row[] = [];
  try {
    await buildNative(natives, variants, guests);
    console.log(
      '                                     ----------- first run -----------  -------- with the cache --------',
    );
    console.log(
      'guest                   scale  native  start  total  ratio    cpu made   start  total  ratio    cpu taken',
    );
    for (const variant of variants) {
      for (const guest of guests) {
        const executable = join(natives, variant, guest.name);
        const once = Math.min((await native(executable, 1)).threadMillis, (await native(executable, 1)).threadMillis);
        const scale = Math.max(1, Math.round(Number(values.millis) / once));
        const rounds: Round[] = [];
        for (let i = 0; i < Number(values.rounds); i++) rounds.push(await round(guest, variant, scale, natives));
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
  const both = (what: string, of: (rounds: readonly Round[]) => number, target: number) => {
    const ratios = rows.map(({ rounds }) => of(rounds));
    judge(`${what}, geometric mean`, geometricMean(ratios), target, 'x');
    judge(`${what}, worst`, Math.max(...ratios), target, 'x');
  };
  both('first run', coldRatio, targets.cold);
  both('first run, processor time', (rounds) => threadRatio(rounds, 'cold'), targets.cold);
  both('with the cache', warmRatio, targets.warm);
  both('with the cache, processor time', (rounds) => threadRatio(rounds, 'warm'), targets.warm);
  const starts = rows.flatMap(({ rounds }) => rounds.flatMap(({ cold, warm }) => [cold.startMillis, warm.startMillis]));
  judge('start of the process to the first instruction, median', median(starts), targets.startMillis, ' ms');
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(rows, null, 2)}\n`);
}

if (import.meta.main) {
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`cold: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 2;
  }
}
