/** Scores of the engines on hardware vectors: the recorded ones, or others that are made while they run. */

import type { ActualState } from '../hardware/compare.ts';
import { Score } from '../hardware/score.ts';
import type { KnownMisses } from '../hardware/score-table.ts';
import { type Mode, readVectors, type Vector, type VectorFile, vectorFiles } from '../hardware/vectors.ts';
import type { EngineKind, VectorRunner } from './vector-runner.ts';

/** Regions to a module: beyond this a module costs no less for each. */
const batch = 64;

/** Misses that are understood, with their cause. */
export const knownMisses: KnownMisses = {};

export interface Selected {
  /** Only every n-th vector of each form and mode. */
  readonly every: number;
  /** Classes to run; none = all. */
  readonly classes: readonly string[];
  /** Files in place of the recorded ones, whatever the classes; they are read one at a time. */
  readonly files?: Iterable<URL | VectorFile>;
}

function* recordedFiles(classes: readonly string[]): Iterable<URL> {
  for (const [name, url] of vectorFiles()) if (classes.length === 0 || classes.includes(name)) yield url;
}

export function scoreEngines(
  runner: VectorRunner,
  engines: readonly EngineKind[],
  { every, classes, files = recordedFiles(classes) }: Selected,
): Score[] {
  const scores = new Map(engines.map((engine) => [engine, new Score(engine)]));
  const take = (vector: Vector, engine: EngineKind, actual: ActualState | Error) => {
    const score = scores.get(engine)!;
    if (actual instanceof Error) score.count(vector, [`host error: ${actual.stack}`]);
    else score.add(vector, actual);
  };
  const translating = engines.filter((engine) => engine !== 'interpreter');
  const waiting = new Map<Mode, Vector[]>([
    [64, []],
    [32, []],
    [16, []],
  ]);
  for (const file of files) {
    for (const vector of readVectors(file, { every })) {
      if (scores.has('interpreter')) {
        let actual: ActualState | Error;
        try {
          actual = runner.interpret(vector);
        } catch (error) {
          actual = error as Error;
        }
        take(vector, 'interpreter', actual);
      }
      if (translating.length === 0) continue;
      const list = waiting.get(vector.mode)!;
      list.push(vector);
      if (list.length < batch) continue;
      runner.translate(list, translating, take);
      list.length = 0;
    }
    for (const list of waiting.values()) {
      if (translating.length > 0) runner.translate(list, translating, take);
      list.length = 0;
    }
  }
  return [...scores.values()];
}
