/**
 * Scores engines on hardware vectors and lists the misses:
 *
 *     node test/engines/score-vectors.ts [interpreter] [translation] [cold] [class...] [--every N] [--fresh N [--seed S] [--rare]]
 *
 * The vectors are the recorded ones, or with `--fresh` at least N that this machine's CPU makes now from other seeds,
 * with `--rare` such that faults, unmasked exceptions and unusual control words are frequent.
 */
import { freshVectors } from '../hardware/fresh.ts';
import { RARE } from '../hardware/initial-state.ts';
import { oracleUnavailable, RECORDED, withOracle } from '../hardware/oracle.ts';
import { scoreTable } from '../hardware/score-table.ts';
import { VectorRunner } from './vector-runner.ts';
import { knownMisses, type Selected, scoreEngines } from './vector-scores.ts';

function refuse(text: string): never {
  process.stderr.write(`score-vectors: ${text}\n`);
  process.exit(2);
}

const args = process.argv.slice(2);
/** Takes the number that follows a flag out of the arguments. */
function numberOf(flag: string): number | undefined {
  const at = args.indexOf(flag);
  if (at < 0) return undefined;
  const [, text] = args.splice(at, 2);
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) refuse(`${flag} ${text}: not a number above 0`);
  return value;
}
const every = numberOf('--every') ?? 1;
const fresh = numberOf('--fresh');
const rareAt = args.indexOf('--rare');
if (rareAt >= 0) args.splice(rareAt, 1);
const drawn = numberOf('--seed') ?? Math.floor(Math.random() * 2 ** 30) + 1;
if (drawn >= RARE) refuse(`--seed ${drawn}: not below 2^31`);
const seed = drawn + (rareAt >= 0 ? RARE : 0);
const kinds = ['interpreter', 'translation', 'cold'] as const;
const wanted = kinds.filter((kind) => args.includes(kind));
const engines = wanted.length > 0 ? wanted : kinds;
const classes = args.filter((arg) => !(kinds as readonly string[]).includes(arg));
const unknown = classes.find((cls) => !RECORDED.classes.includes(cls));
if (unknown !== undefined) refuse(`unknown class ${unknown}`);

function score(files?: Selected['files']): void {
  const runner = new VectorRunner();
  const scores = scoreEngines(runner, engines, { every, classes, ...(files === undefined ? {} : { files }) });
  for (const one of scores) if (one.misses.length > 0) process.stdout.write(`${one.engine}\n${one.report()}\n\n`);
  process.stdout.write(`runs that passed through a translation: ${runner.translated}\n`);
  process.stdout.write(`${fresh === undefined ? 'the recorded vectors' : `fresh vectors from seed ${seed} on`}\n\n`);
  process.stdout.write(`${scoreTable(scores, knownMisses)}\n`);
}

if (fresh === undefined) score();
else {
  const reason = oracleUnavailable();
  if (reason !== undefined) refuse(reason);
  withOracle((run) => {
    const all = classes.length > 0 ? classes : RECORDED.classes;
    const tell = (text: string) => process.stderr.write(`${text}\n`);
    score(freshVectors(run, { seed, vectors: fresh, classes: all }, tell));
  });
}
