/**
 * `jit86 bench [GUEST...]`: runs guests interpreted and translated, and reports the speed of each.
 *
 * A GUEST is the name of a bundled one (`sieve`), of one build of it (`sieve/x86_64`), or a file.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { catalogue } from '../../bench/guests/catalogue.ts';
import { packageUrl } from '../hosts/node.ts';
import { type BenchGuest, type BenchOptions, measureGuest } from './bench-measure.ts';
import { benchPage } from './bench-page.ts';
import { type BenchResult, summarize } from './bench-result.ts';
import { benchTable } from './bench-table.ts';
import { machineOptions, readMachineOptions } from './machine-options.ts';
import { type CommandSpec, commandHelp, parseCommand, UsageError } from './options.ts';
import type { Output } from './output.ts';

const spec: CommandSpec = {
  name: 'bench',
  operands: '[GUEST...]',
  minOperands: 0,
  maxOperands: Number.POSITIVE_INFINITY,
  summary: `Runs guests interpreted and translated and prints their speed: all bundled ones, or those named. A GUEST is a
bundled guest (sieve), one build of it (sieve/x86_64), or a file. Translations are made anew, unless --cache names a
folder that has them. The exit status is 1 if a guest failed.`,
  options: {
    demo: { help: 'a short selection: three guests, each as 32-bit and as 64-bit code' },
    repeat: { value: 'N', help: 'calls of each translated guest at most, of which the fastest counts (12)' },
    'no-native': { help: 'leave the same sources compiled for this machine out' },
    timeout: { value: 'SECONDS', help: 'give a run up after this time (120)' },
    append: { value: 'STRING', help: 'more for the command lines of the guests' },
    json: { help: 'print the results as JSON' },
    html: { value: 'FILE', help: 'write the results as a page with charts' },
    ...machineOptions,
    help: { help: 'print this' },
  },
};

const demoGuests = ['sha256', 'fibonacci', 'n-body'] as const;
const demoVariants = ['i386-sse2', 'x86_64'] as const;

/** Every build of every bundled guest that computes something. */
function bundledGuests(append: string): BenchGuest[] {
  return catalogue
    .filter(({ checksum }) => checksum !== null)
    .flatMap(({ name, kind, variants }) =>
      variants.map((variant) => ({
        name,
        kind,
        variant,
        path: fileURLToPath(packageUrl(`bench/guests/built/${variant}/${name}.elf`)),
        marked: true,
        append,
      })),
    );
}

/** Finds what an operand names: bundled guests first, then a file. */
function guestsNamed(operand: string, bundled: readonly BenchGuest[], append: string): BenchGuest[] {
  const found = bundled.filter(({ name, variant }) => operand === name || operand === `${name}/${variant}`);
  if (found.length > 0) return found;
  if (!existsSync(operand)) throw new UsageError(`${operand}: neither a bundled guest nor a file`);
  return [{ name: basename(operand), kind: 'other', variant: 'file', path: operand, marked: false, append }];
}

function selectGuests(operands: readonly string[], demo: boolean, append: string): BenchGuest[] {
  const bundled = bundledGuests(append);
  if (demo) {
    if (operands.length > 0) throw new UsageError(`--demo chooses the guests itself, so ${operands[0]} has no place`);
    return bundled.filter(
      ({ name, variant }) => demoGuests.some((demo) => demo === name) && demoVariants.some((demo) => demo === variant),
    );
  }
  // What has no floating point is nearly the same in both i386 builds: one of them is enough.
  const usual = bundled.filter(({ variant, kind }) => variant !== 'i386-x87' || kind === 'double');
  return operands.length === 0 ? usual : operands.flatMap((operand) => guestsNamed(operand, bundled, append));
}

/**
 * Measures bundled guests' sources compiled by this machine's gcc. What builds them is no part of the installed package: it
 * lies in the repository.
 */
async function nativeYardstick(): Promise<BenchOptions['native']> {
  const script = packageUrl('bench/yardstick.ts');
  if (!existsSync(script)) return async () => null;
  interface Yardstick {
    Natives: {
      prepare(): Promise<{
        calls(guest: string, variant: string, count: number): Promise<{ seconds: number }[] | null>;
      }>;
    };
  }
  const natives = await ((await import(script.href)) as Yardstick).Natives.prepare();
  return async (guest, variant) => {
    const calls = await natives.calls(guest, variant, 5);
    return calls === null ? null : Math.min(...calls.map(({ seconds }) => seconds));
  };
}

/** One line on the terminal that is written over again and again; nothing where nobody watches. */
function progressLine(total: number): { show: (text: string) => void; next: () => void; clear: () => void } {
  if (!process.stderr.isTTY) return { show() {}, next() {}, clear() {} };
  let done = 0;
  const clear = () => process.stderr.write('\r\x1b[K');
  return {
    show(text) {
      clear();
      process.stderr.write(`[${done + 1}/${total}] ${text}`.slice(0, Math.max(20, (process.stderr.columns ?? 80) - 1)));
    },
    next: () => void done++,
    clear: () => void clear(),
  };
}

/** The command. */
export async function bench(args: readonly string[], output: Output): Promise<number> {
  const parsed = parseCommand(spec, args);
  if (parsed.flag('help')) {
    output.out(commandHelp(spec));
    return 0;
  }
  const guests = selectGuests(parsed.operands, parsed.flag('demo'), parsed.text('append') ?? '');
  const page = parsed.text('html');
  if (page !== undefined) writePage(page, ''); // a wrong name is to be known now, not after minutes
  const progress = progressLine(guests.length);
  const options: BenchOptions = {
    createMachine: output.createMachine,
    // What an earlier run has translated would not show what translating costs.
    machine: { ...readMachineOptions(parsed), ...(parsed.text('cache') === undefined ? { cache: null } : {}) },
    repeat: parsed.integer('repeat', 1, 999) ?? 12,
    native: parsed.flag('no-native') ? async () => null : await nativeYardstick(),
    timeout: parsed.seconds('timeout') ?? 120,
    progress: progress.show,
  };
  const results: BenchResult[] = [];
  for (const guest of guests) {
    results.push(await measureGuest(guest, options));
    progress.next();
  }
  progress.clear();
  if (parsed.flag('json')) output.out(`${JSON.stringify({ results, summary: summarize(results) }, null, 2)}\n`);
  else output.out(benchTable(results));
  if (page !== undefined) writePage(page, benchPage(results, hostLine()));
  return results.some(({ failure }) => failure !== null) ? 1 : 0;
}

function writePage(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    throw new UsageError(`--html ${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** What the figures were taken on. */
function hostLine(): string {
  return `Node ${process.versions.node}, V8 ${process.versions.v8}, ${process.platform} ${process.arch}`;
}
