/**
 * The recorded hardware vectors in every engine: the interpreter runs them all; a translation, and an all-cold one, run a
 * sample, or all with JIT86_ALL_VECTORS=1 in the environment (three minutes). Each runs on a whole vCPU at CPL 3 and ends
 * through the guest's IDT, so exception, error code, CR2 and the pushed frame are the guest's own view. Where the CPU that
 * recorded them is at hand, some that it makes now run as well.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { decode, MAXIMUM_LENGTH } from '../../src/isa/decode.ts';
import { compare } from '../hardware/compare.ts';
import { freshVectors } from '../hardware/fresh.ts';
import { RARE } from '../hardware/initial-state.ts';
import { oracleUnavailable, RECORDED, withOracle } from '../hardware/oracle.ts';
import type { Score } from '../hardware/score.ts';
import { scoreTable } from '../hardware/score-table.ts';
import { openVectors, readVectors, type Vector, type VectorFile, vectorFiles } from '../hardware/vectors.ts';
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

test('a RIP-relative operand that is misaligned says nothing of one that is aligned', () => {
  const endsInDistance = (v: Vector): boolean => {
    const code = new Uint8Array(MAXIMUM_LENGTH);
    code.set(v.bytes);
    const decoded = decode(code, 0, v.bytes.length, v.ip, 64);
    if (decoded.failure !== null) return false;
    const { relativeAt, relativeBytes, length } = decoded.insn;
    return relativeAt !== 0 && relativeAt + relativeBytes === length;
  };
  const aligned = [...readVectors(vectorFiles().get('ssei')!, { modes: [64] })].filter(
    (v) => /^(?:paddb|pxor|movaps)$/.test(v.name) && v.out.exception === undefined && endsInDistance(v),
  );
  assert.ok(aligned.length >= 6, `${aligned.length} vectors`);
  const runner = new VectorRunner();
  for (const vector of aligned) {
    for (let change = 1; change < 32; change++) {
      if ((change & 15) === 0) continue;
      const bytes = Uint8Array.from(vector.bytes);
      bytes[bytes.length - 4]! ^= change; // the low byte of the distance
      const out = { ...vector.in, rip: vector.ip, exception: { vector: 13, errorCode: 0, cr2: 0n } };
      const misaligned = { ...vector, bytes, out };
      // Twice each: the runner takes turns at how the interpreter makes its blocks.
      for (const v of [misaligned, misaligned, vector, vector])
        assert.deepEqual(compare(v, runner.interpret(v)), [], `${v.name} ${v.bytes}, changed by ${change}`);
    }
  }
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
