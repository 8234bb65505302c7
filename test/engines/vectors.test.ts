/**
 * The recorded hardware vectors in every engine: the interpreter runs them all; a translation, and an all-cold one, run a
 * sample, or all with JIT86_ALL_VECTORS=1 in the environment (three minutes). Each runs on a whole vCPU at CPL 3 and ends
 * through the guest's IDT, so exception, error code, CR2 and the pushed frame are the guest's own view. Where the CPU that
 * recorded them is at hand, some that it makes now run as well.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { freshVectors } from '../hardware/fresh.ts';
import { RARE } from '../hardware/initial-state.ts';
import { oracleUnavailable, RECORDED, withOracle } from '../hardware/oracle.ts';
import type { Score } from '../hardware/score.ts';
import { scoreTable } from '../hardware/score-table.ts';
import { openVectors, type VectorFile, vectorFiles } from '../hardware/vectors.ts';
import { VectorRunner } from './vector-runner.ts';
import { knownMisses, scoreEngines } from './vector-scores.ts';

const all = process.env.JIT86_ALL_VECTORS === '1';
/** Of each instruction form, every n-th vector is translated. */
const sample = all ? 1 : 10;

function judge(t: TestContext, score: Score): void {
  for (const line of score.table().split('\n')) t.diagnostic(line);
  const unknown = score.misses.filter(({ cls, name }) => knownMisses[`${cls} ${name}`] === undefined);
  assert.equal(unknown.length, 0, `${unknown.map(({ cls, name }) => `${cls} ${name}`).join(', ')}\n${score.report()}`);
}

test('the interpreter does what the CPU did in every recorded vector', (t) => {
  const [score] = scoreEngines(new VectorRunner(), ['interpreter'], { every: 1, classes: [] });
  assert.ok(score!.run > 200_000, `${score!.run} vectors`);
  judge(t, score!);
});

test('a translation does what the CPU did, with warm look-aside tables and with empty ones one instruction at a time', (t) => {
  const runner = new VectorRunner();
  const scores = scoreEngines(runner, ['translation', 'cold'], { every: sample, classes: [] });
  t.diagnostic(`every ${sample}. vector; ${runner.translated} runs passed through a translation`);
  for (const score of scores) judge(t, score);
  // Those that fault or meet an unusual MXCSR are left to the interpreter, and of the cold ones those that access memory.
  assert.ok(runner.translated > scores[0]!.run, `only ${runner.translated} runs passed through a translation`);
});

test('fresh vectors of every class, ordinary and rare ones, made by the CPU now, pass in every engine', (t) => {
  const reason = oracleUnavailable();
  if (reason !== undefined) return t.skip(reason);
  withOracle((run) => {
    const { cpu } = openVectors(vectorFiles().get('bcd')!);
    const here = openVectors(run('bcd', 1)).cpu;
    if (here.vendor !== cpu.vendor || here.family !== cpu.family)
      return t.skip(`recorded by another CPU than ${here.name}`);
    const seeds = new Set<number>();
    const classes = new Set<string>();
    function* made(): Iterable<VectorFile> {
      for (const seed of [RECORDED.seed, RECORDED.seed + RARE]) {
        for (const file of freshVectors(run, { seed, vectors: 10_000, classes: RECORDED.classes })) {
          seeds.add(file.seed);
          for (const { cls } of file.forms) classes.add(cls);
          yield file;
        }
      }
    }
    const scores = scoreEngines(new VectorRunner(), ['interpreter', 'translation', 'cold'], {
      every: 6,
      classes: [],
      files: made(),
    });
    assert.deepEqual([...classes].sort(), [...RECORDED.classes].sort());
    assert.ok(!seeds.has(RECORDED.seed));
    for (const score of scores) {
      assert.ok(score.run > 5000, `${score.run} vectors in ${score.engine}`);
      judge(t, score);
    }
    assert.match(scoreTable(scores, knownMisses), /^misses: none$[\s\S]*^total +all +(\d+) +\1\/\1 /m);
  });
});
