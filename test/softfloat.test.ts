/*
 * The floating point library against a real CPU: recorded answers of an AMD Zen 4 for operands that a seed gives.
 *
 * The exact operations have no exceptions: where AMD and Intel could differ (the steps of FPREM) both do the same.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { buildSoftfloat } from '../src/softfloat/build.ts';
import {
  answerOf,
  exactOperations,
  flagByte,
  hasValue,
  loadSoftfloat,
  requestsFor,
  type Softfloat,
  valueByte,
} from './softfloat/operations.ts';
import { readRecording, recordedCount, recordedSeed } from './softfloat/recording.ts';

let directory: string;
let softfloat: Softfloat;

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'softfloat-'));
  await buildSoftfloat(join(directory, 'softfloat.wasm'));
  softfloat = loadSoftfloat(join(directory, 'softfloat.wasm'));
});

after(() => rmSync(directory, { recursive: true }));

const recording = readRecording();

for (const operation of exactOperations) {
  test(`${operation.name} answers as the CPU did, value and flags`, () => {
    const { flags, values } = recording.get(operation.name)!;
    const wrong: string[] = [];
    let index = 0;
    for (const request of requestsFor(operation, recordedCount, recordedSeed)) {
      const answer = answerOf(softfloat, request);
      const byte = hasValue(request, answer.flags) ? valueByte(answer) : 0;
      if (flagByte(answer.flags) !== flags[index] || byte !== values[index]) {
        const operands = request.operands.map(({ m, se }) => `${se.toString(16)}:${m.toString(16)}`).join(' ');
        wrong.push(`${index}: ${operands} control ${request.control.toString(16)} argument ${request.argument}`);
      }
      index++;
    }
    assert.equal(index, recordedCount);
    assert.deepEqual(wrong.slice(0, 10), [], `${wrong.length} of ${index} differ`);
  });
}
