import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isEnough } from '../bench/peers/contender.ts';
import { report } from '../bench/peers/report.ts';
import { median, processorTime, type Run, rowsOf, wallTime } from '../bench/peers/summary.ts';
import { CallMarks } from '../runtime/cli/call-marks.ts';

function run(contender: string, round: number, seconds: readonly number[], more: Partial<Run> = {}): Run {
  const calls = seconds.map((each) => ({
    seconds: each,
    cpuSeconds: each / 2,
    instructions: contender === 'native' ? null : 1e6,
  }));
  return { guest: 'sieve', kind: 'memory', variant: 'x86_64', contender, round, calls, failure: null, ...more };
}

test('marks are read off the debug console byte by byte, and what stands between them is passed over', () => {
  let clock = 0;
  const begun: number[] = [];
  const marks = new CallMarks(
    () => ++clock,
    (call) => begun.push(call),
  );
  for (const character of 'xxS000E000 S001E0') marks.take(character.charCodeAt(0));
  assert.deepEqual(marks.calls, [{ start: 1, end: 2 }]);
  assert.equal(marks.running, 3);
  assert.deepEqual(begun, [0, 1]);
});

test('a run goes on until it has made enough calls or taken long enough, but makes the fewest', () => {
  const limits = { calls: 10, fewest: 2, enough: 1, timeout: 60 };
  assert.deepEqual(
    [isEnough(limits, 1, 5), isEnough(limits, 2, 5), isEnough(limits, 9, 0.9), isEnough(limits, 10, 0)],
    [false, true, false, true],
  );
});

test('ratios are taken within a round, and the median of them counts', () => {
  const runs = [
    run('native', 0, [3, 1]),
    run('jit86', 0, [8, 2]),
    run('native', 1, [2]), // this round was disturbed, and so were both
    run('jit86', 1, [6]),
    run('native', 2, [1]),
    run('jit86', 2, [9]),
    run('qemu', 0, [], { failure: 'status 3' }),
  ];
  const rows = rowsOf(runs, wallTime);
  assert.equal(rows.length, 1);
  const { figures } = rows[0]!;
  assert.equal(figures.get('jit86')!.overNative, 3);
  assert.equal(figures.get('jit86')!.firstOverNative, 8);
  assert.equal(figures.get('jit86')!.seconds, 6);
  assert.equal(figures.get('native')!.overNative, 1);
  assert.equal(figures.has('qemu'), false);
  assert.equal(rowsOf(runs, processorTime)[0]!.figures.get('jit86')!.seconds, 3);
  assert.equal(median([4, 1]), 2.5);
  assert.equal(median([]), null);
});

test('the report has a row per guest, means of groups, verdicts, and a line per failure', () => {
  const runs = [
    run('native', 0, [0.02]),
    run('jit86', 0, [0.2]),
    run('interpreter', 0, [0.01]),
    run('native', 0, [0.04], { kind: 'double', variant: 'i386-x87', guest: 'n-body' }),
    run('jit86', 0, [1.2], { kind: 'double', variant: 'i386-x87', guest: 'n-body' }),
    run('v86', 0, [], { kind: 'double', variant: 'i386-x87', guest: 'n-body', failure: 'given up after 120 s' }),
  ];
  const lines = report(rowsOf(runs, wallTime), ['native', 'jit86', 'interpreter', 'v86'], runs).split('\n');
  assert.match(lines[0]!, /^guest +kind +variant +native ms +jit86 +interpr MIPS +v86$/);
  assert.match(lines[1]!, /^sieve +memory +x86_64 +20\.0 +10\.0 +100 +-$/);
  assert.ok(lines.some((line) => /^x86_64 integer +1 guests +10\.0 +100 +-$/.test(line)));
  assert.ok(lines.includes('MISSED  jit86, x86_64 integer, over native: 10.0 (target <= 3)'));
  assert.ok(lines.includes('met     jit86, x87, over native: 30.0 (target <= 40)'));
  assert.ok(lines.includes('met     interpreter, MIPS on x86_64: 100 (target >= 60)'));
  assert.ok(lines.some((line) => line.startsWith('MISSED  slowest without x87, sieve/x86_64')));
  assert.ok(lines.includes('v86, n-body/i386-x87: given up after 120 s'));
});
