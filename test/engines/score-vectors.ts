/** `node test/engines/score-vectors.ts [interpreter|translation|cold] [class...] [--every N]`: scores an engine on recorded vectors and lists the misses. */
import { Score } from '../hardware/score.ts';
import { readVectors, vectorFiles } from '../hardware/vectors.ts';
import { VectorRunner } from './vector-runner.ts';

const args = process.argv.slice(2);
const everyAt = args.indexOf('--every');
const every = everyAt < 0 ? 1 : Number(args.splice(everyAt, 2)[1]);
const engines = ['interpreter', 'translation', 'cold'] as const;
const engine = engines.find((e) => args.includes(e)) ?? 'interpreter';
if (args.includes(engine)) args.splice(args.indexOf(engine), 1);
const score = new Score(engine);
const runner = new VectorRunner();
for (const [cls, url] of vectorFiles()) {
  if (args.length > 0 && !args.includes(cls)) continue;
  for (const vector of readVectors(url, { every })) {
    try {
      score.add(
        vector,
        engine === 'interpreter' ? runner.interpret(vector) : runner.translate(vector, engine === 'cold'),
      );
    } catch (error) {
      score.count(vector, [`host error: ${(error as Error).message}`]);
    }
  }
}
process.stdout.write(`${score.table()}\n\n${score.report()}\n`);
process.stdout.write(`translated: ${runner.translated}\n`);
