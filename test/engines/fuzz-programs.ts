/**
 * `node test/engines/fuzz-programs.ts [--seconds N] [--seed N] [--mode M]`: random programs in all three ways of running,
 * for as long as wanted; prints what differs, made small. For long runs by hand; a short one is `blocks.test.ts`.
 */
import { randomNumbers } from '../isa/random.ts';
import { type GuestMode, guestModes } from './guest.ts';
import { fuzzPrograms } from './program-fuzzer.ts';

const option = (name: string, otherwise: string): string => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : process.argv[at + 1]!;
};
const seconds = Number(option('seconds', '60'));
const seed = Number(option('seed', String(Date.now() % 1e9)));
const mode = option('mode', '');
const limit = Number(option('differences', '5'));
const result = fuzzPrograms(randomNumbers(seed), {
  seconds,
  programs: Number.POSITIVE_INFINITY,
  modes: mode === '' ? guestModes : [mode as GuestMode],
  differences: limit,
});
for (const report of result.reports) process.stdout.write(`${report}\n\n`);
process.stdout.write(
  `seed ${seed}: ${result.programs} programs, ${result.translated} instructions in translations, ${result.reports.length} differences\n`,
);
process.exitCode = result.reports.length > 0 ? 1 : 0;
