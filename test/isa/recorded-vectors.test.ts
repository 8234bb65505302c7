/**
 * The user-mode integer instructions against what a real CPU did, by the evaluator alone: if this passes and an engine
 * does not, the engine is wrong and not the definition.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compare } from '../hardware/compare.ts';
import { Score } from '../hardware/score.ts';
import { readVectors, type Vector, vectorFiles } from '../hardware/vectors.ts';
import { runVector } from './vector-run.ts';

const classes = ['alu', 'muldiv', 'shift', 'bit', 'bcd', 'move', 'atomic', 'string', 'stack', 'branch', 'bmi'];
/** A system instruction that stands among them. */
const elsewhere = new Set(['arpl']);

for (const cls of classes) {
  test(`the definitions do what a CPU did: ${cls}`, () => {
    const score = new Score('evaluator');
    for (const vector of readVectors(vectorFiles().get(cls)!, { every: 4 })) {
      if (!elsewhere.has(vector.name)) score.add(vector, runVector(vector));
    }
    assert.ok(score.run > 100);
    assert.equal(score.passed, score.run, score.report(5));
  });
}

test('a wrong outcome is noticed', () => {
  const vectors: readonly Vector[] = [...readVectors(vectorFiles().get('muldiv')!, { every: 50 })];
  const changed = vectors.filter((v) => v.out.exception === undefined && v.in.gpr[0] !== v.out.gpr[0]);
  assert.ok(changed.length > 0);
  for (const vector of changed) assert.notDeepEqual(compare(vector, { ...runVector(vector), gpr: vector.in.gpr }), []);
});
