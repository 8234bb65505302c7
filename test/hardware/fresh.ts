/**
 * Fresh hardware vectors: what the CPU of this machine makes of random instructions that no file holds. They are recorded
 * class by class, each class is read and forgotten before the next one is recorded, so any number of them fits in memory.
 */
import { RECORDED, type RunOracle } from './oracle.ts';
import { openVectors, type VectorFile } from './vectors.ts';

/** What one round over all classes is about, until a round has shown it. */
const ROUND = 361_660;

export interface Wanted {
  /** The first round's seed; each further round has the next one. The stored vectors' seed is left out. */
  readonly seed: number;
  /** How many vectors at least. */
  readonly vectors: number;
  readonly classes: readonly string[];
}

/** Records rounds of the classes wanted until there are enough, and yields a file for each class and round. */
export function* freshVectors(
  run: RunOracle,
  { seed, vectors, classes }: Wanted,
  progress: (text: string) => void = () => {},
): Iterable<VectorFile> {
  let made = 0;
  let round = ROUND;
  while (made < vectors) {
    if (seed === RECORDED.seed) seed++;
    const share = Math.min(1, (vectors - made) / round);
    const before = made;
    for (const cls of classes) {
      const perForm = Math.ceil((RECORDED.other[cls] ?? RECORDED.perForm) * share);
      const file = openVectors(run(cls, perForm, seed));
      progress(`${made} vectors done; seed ${seed}, class ${cls}`);
      for (const { count } of file.sections) made += count;
      yield file;
    }
    if (made === before) throw new Error(`the oracle makes no vectors of ${classes.join(', ')}`);
    round = (made - before) / share;
    seed++;
  }
}
