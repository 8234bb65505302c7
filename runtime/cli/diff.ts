/**
 * `jit86 diff GUEST` and `jit86 diff --random`: interpreter against translation in lock step. The exit status is 0 if they
 * agree and 1 if not.
 */
import { basename } from 'node:path';
import { Jit86Error } from '../errors.ts';
import { nodeHost } from '../hosts/node.ts';
import { guestFormat, loadGuest } from '../loaders/load.ts';
import { type GuestMode, guestModes } from '../lockstep/guest.ts';
import { machineKinds } from '../machines/machine.ts';
import type { VmModules } from '../vm/options.ts';
import { readModule, readNamedFile } from './guest-file.ts';
import { imageOptions, machineOptions, readFlatOptions } from './machine-options.ts';
import { type CommandSpec, commandHelp, type ParsedArguments, parseCommand, UsageError } from './options.ts';
import type { Output } from './output.ts';

const spec: CommandSpec = {
  name: 'diff',
  operands: '[GUEST]',
  minOperands: 0,
  maxOperands: 1,
  summary: `Runs a guest, or random programs, interpreted and translated, compares everything that the guest can see, and
names the first instruction that differs. The exit status is 1 if there is one. Time is the count of instructions.`,
  options: {
    random: { help: 'random programs with faults, branches, page-table edits and self-modification' },
    hostile: { help: 'random bytes and privileged instructions, with registers that lead anywhere' },
    seconds: { value: 'SECONDS', help: 'how long random programs are made (60)' },
    programs: { value: 'N', help: 'how many random programs' },
    seed: { value: 'N', help: 'where the random numbers begin (1)' },
    guests: { value: guestModes.join('|'), help: 'the mode of random programs (all)' },
    interval: { value: 'N', help: "instructions between two comparisons of a guest's state (1000000)" },
    'max-instructions': { value: 'N', help: 'stop a guest after N instructions' },
    machine: { value: 'bare|pc', help: 'what the guest runs on, with virtual time (pc for Linux, else bare)' },
    progress: { help: 'tell on the standard error stream how far it is' },
    hot: { help: 'translate what is hot, and not at the first execution' },
    ...imageOptions,
    memory: machineOptions.memory,
    x87: machineOptions.x87,
  },
};
const randomOnly = ['seconds', 'programs', 'seed', 'guests'];
const guestOnly = ['interval', 'max-instructions', 'memory', 'x87', 'append', 'flat', 'mode', 'machine'];

async function loadModules(): Promise<VmModules> {
  const [core, arithmetic] = await Promise.all(
    ['core.wasm', 'softfloat.wasm'].map((name) => nodeHost.readModule(name)),
  );
  return { core: core!, arithmetic: arithmetic! };
}

/** Whatever the options say that this kind of run does not know. */
function refuse(parsed: ParsedArguments, names: readonly string[], why: string): void {
  for (const name of names) if (parsed.text(name) !== undefined) throw new UsageError(`--${name} is for ${why}`);
}

async function diffRandom(parsed: ParsedArguments, output: Output): Promise<number> {
  refuse(parsed, guestOnly, 'a guest, not for random programs');
  const seed = parsed.integer('seed', 0, 2 ** 31 - 1) ?? 1;
  const programs = parsed.integer('programs', 1);
  const seconds = parsed.seconds('seconds') ?? (programs === undefined ? 60 : Number.POSITIVE_INFINITY);
  const mode = parsed.text('guests') === undefined ? null : parsed.choice<GuestMode>('guests', guestModes, '64');
  const limits = {
    seconds,
    programs: programs ?? Number.POSITIVE_INFINITY,
    modes: mode === null ? guestModes : [mode],
    modules: await loadModules(),
  };
  const { randomNumbers } = await import('../lockstep/random-numbers.ts');
  const random = randomNumbers(seed);
  const { fuzzPrograms } = await import('../lockstep/program-fuzzer.ts');
  const { fuzzHostile } = await import('../lockstep/hostile-fuzzer.ts');
  const result = parsed.flag('hostile')
    ? fuzzHostile(random, { ...limits, secondsPerProgram: 60 })
    : fuzzPrograms(random, { ...limits, differences: 1 });
  for (const report of result.reports) output.out(`${report}\n\n`);
  output.out(
    `seed ${seed}: ${result.programs} programs, ${result.instructions} instructions interpreted, ` +
      `${result.translated} translated, ${result.reports.length === 0 ? 'no difference' : 'a difference'}\n`,
  );
  return result.reports.length === 0 ? 0 : 1;
}

async function diffFile(path: string, parsed: ParsedArguments, output: Output): Promise<number> {
  refuse(parsed, randomOnly, 'random programs, not for a guest');
  const flat = readFlatOptions(parsed);
  const file = readNamedFile(path);
  const linux = flat.flat === undefined && guestFormat(file) === 'bzimage';
  const machine = parsed.choice('machine', machineKinds, linux ? 'pc' : 'bare');
  const memory = parsed.size('memory', 2 ** 20, 128 * 2 ** 20);
  const interval = parsed.integer('interval', 1) ?? 1_000_000;
  const maxInstructions = parsed.integer('max-instructions', 1) ?? Number.POSITIVE_INFINITY;
  const x87 = parsed.choice('x87', ['exact', 'fast'], 'exact');
  const modules = parsed.texts('initrd').map(readModule);
  const load = (bytes: Uint8Array) => {
    try {
      const commandLine = parsed.text('append') ?? '';
      return loadGuest(file, { bytes }, { name: basename(path), commandLine, modules, ...flat }).state;
    } catch (error) {
      if (error instanceof Jit86Error) throw new UsageError(`${path}: ${error.message}`);
      throw error;
    }
  };
  const { diffGuest } = await import('../lockstep/guest-diff.ts');
  const { BareRun, PcRun } = await import('../lockstep/guest-runs.ts');
  const { translate } = await import('../../jit/translate.ts');
  const when = parsed.flag('hot') ? ('hot' as const) : ('first' as const);
  const options = { memory, modules: await loadModules(), load, when, translate, x87 };
  const { instructions, translated, end, difference } = await diffGuest({
    start: async (how) => (machine === 'pc' ? await PcRun.start(options, how, nodeHost) : new BareRun(options, how)),
    interval,
    maxInstructions,
    progress: (done) => {
      if (parsed.flag('progress')) output.error(`${done} instructions\n`);
    },
  });
  if (difference !== null) {
    output.out(`${path}: interpreter and translation differ ${difference.join('\n')}\n`);
    return 1;
  }
  output.out(`${path}: no difference in ${instructions} instructions, ${translated} translated; ${end ?? 'limit'}\n`);
  return 0;
}

/** The command. */
export async function diff(args: readonly string[], output: Output): Promise<number> {
  const parsed = parseCommand(spec, args);
  if (parsed.flag('help')) {
    output.out(commandHelp(spec));
    return 0;
  }
  const [path] = parsed.operands;
  const random = parsed.flag('random') || parsed.flag('hostile');
  if ((path === undefined) !== random) throw new UsageError('jit86 diff needs a GUEST, or --random or --hostile');
  return path === undefined ? await diffRandom(parsed, output) : await diffFile(path, parsed, output);
}
