/**
 * `node test/engines/fuzz-bytes.ts [--sequences N] [--seconds N] [--seed N] [--mode M]`: random byte sequences in every
 * mode, for as long as wanted; tells on the standard error stream how far it is. A short run is `bytes.test.ts`.
 */
import { parseArgs } from 'node:util';
import { type GuestMode, guestModes } from '../../runtime/lockstep/guest.ts';
import { randomNumbers } from '../isa/random.ts';
import { fuzzBytes } from './byte-fuzzer.ts';

const { values } = parseArgs({
  options: {
    sequences: { type: 'string', default: '10000000' },
    seconds: { type: 'string', default: 'Infinity' },
    seed: { type: 'string', default: '1' },
    mode: { type: 'string' },
  },
});
let told = 0;
const began = performance.now();
const { sequences, instructions, failures } = fuzzBytes(randomNumbers(Number(values.seed)), {
  sequences: Number(values.sequences),
  seconds: Number(values.seconds),
  modes: values.mode === undefined ? guestModes : [values.mode as GuestMode],
  failures: 5,
  secondsPerSequence: 10,
  progress(sequences) {
    if (sequences < told + told / 10 + 10_000) return;
    told = sequences;
    process.stderr.write(`${sequences} sequences\n`);
  },
});
for (const text of failures) process.stdout.write(`${text}\n\n`);
const seconds = (performance.now() - began) / 1000;
process.stdout.write(
  `seed ${values.seed}: ${sequences} sequences, ${instructions} instructions in ${seconds.toFixed(0)} s, ${failures.length} failures\n`,
);
process.exitCode = failures.length > 0 ? 1 : 0;
