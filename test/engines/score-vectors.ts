/** `node test/engines/score-vectors.ts [interpreter] [translation] [cold] [class...] [--every N]`: scores engines on recorded vectors and lists the misses. */

import { VectorRunner } from './vector-runner.ts';
import { scoreEngines } from './vector-scores.ts';

const args = process.argv.slice(2);
const everyAt = args.indexOf('--every');
const every = everyAt < 0 ? 1 : Number(args.splice(everyAt, 2)[1]);
const engines = ['interpreter', 'translation', 'cold'] as const;
const wanted = engines.filter((e) => args.includes(e));
const classes = args.filter((a) => !(engines as readonly string[]).includes(a));
const runner = new VectorRunner();
const scores = scoreEngines(runner, wanted.length > 0 ? wanted : ['interpreter'], { every, classes });
for (const score of scores) process.stdout.write(`${score.table()}\n\n${score.report()}\n`);
process.stdout.write(`runs that were translated: ${runner.translated}\n`);
