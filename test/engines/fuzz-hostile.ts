/** `node test/engines/fuzz-hostile.ts [--seconds N] [--seed N] [--mode M]`: hostile guests, for as long as wanted. */

import { type GuestMode, guestModes } from '../../runtime/lockstep/guest.ts';
import { fuzzHostile } from '../../runtime/lockstep/hostile-fuzzer.ts';
import { randomNumbers } from '../isa/random.ts';
import { vmModules } from './modules.ts';

const option = (name: string, otherwise: string): string => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : process.argv[at + 1]!;
};
const seed = Number(option('seed', String(Date.now() % 1e9)));
const mode = option('mode', '');
const { programs, instructions, translated, failures, differences } = fuzzHostile(randomNumbers(seed), {
  seconds: Number(option('seconds', '60')),
  programs: Number.POSITIVE_INFINITY,
  secondsPerProgram: 20,
  modules: vmModules(),
  modes: mode === '' ? guestModes : [mode as GuestMode],
});
for (const text of [...failures, ...differences]) process.stdout.write(`${text}\n\n`);
process.stdout.write(
  `seed ${seed}: ${programs} programs, ${instructions} instructions, ${translated} in translations, ${failures.length} failures, ${differences.length} differences\n`,
);
process.exitCode = failures.length + differences.length > 0 ? 1 : 0;
