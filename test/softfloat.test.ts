/*
 * The floating point library against a real CPU: recorded answers of an AMD Zen 4 for operands that a seed gives.
 *
 * The exact operations have no exceptions: where AMD and Intel could differ (the steps of FPREM) both do the same.
 * The transcendental ones are compared within one unit of the last place, and without C1, which tells how that unit has
 * been rounded; and all of them with true values, C1 included.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { buildSoftfloat } from '../src/softfloat/build.ts';
import { constantsSource } from '../src/softfloat/build-constants.ts';
import type { Operand } from './softfloat/operands.ts';
import {
  answerOf,
  exactOperations,
  flagByte,
  hasValue,
  loadSoftfloat,
  type Request,
  requestsFor,
  type Softfloat,
  transcendentalOperations,
  valueByte,
} from './softfloat/operations.ts';
import { placeByte, readRecording, recordedCount, recordedSeed } from './softfloat/recording.ts';
import {
  angle,
  cosineOfOperand,
  errorOf,
  powerOfTwoMinusOne,
  sineOfOperand,
  type True,
  tangentOfOperand,
  yLog2,
  yLog2OfOnePlus,
} from './softfloat/reference.ts';

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

function describe(request: Request): string {
  const operands = request.operands.map(({ m, se }) => `${se.toString(16)}:${m.toString(16)}`).join(' ');
  return `${request.operation.name} ${operands} control ${request.control.toString(16)}`;
}

/** Whether two bytes of places on the number line are at most one apart. */
function areNeighbours(a: number, b: number): boolean {
  return ((a - b + 1) & 0xff) <= 2;
}

for (const operation of transcendentalOperations) {
  test(`${operation.name} is within a unit of the last place of what the CPU answered, with its exceptions`, () => {
    const { flags, values, secondValues } = recording.get(operation.name)!;
    const wrong: string[] = [];
    let index = 0;
    for (const request of requestsFor(operation, recordedCount, recordedSeed)) {
      const answer = answerOf(softfloat, request);
      const value = hasValue(request, answer.flags);
      const first = value ? placeByte(answer.m, answer.se) : 0;
      const second = value ? placeByte(answer.m2, answer.se2) : 0;
      const same = ((flagByte(answer.flags) ^ flags[index]!) & 63) === 0;
      if (!same || !areNeighbours(first, values[index]!) || !areNeighbours(second, secondValues[index]!)) {
        wrong.push(`${index}: ${describe(request)}`);
      }
      index++;
    }
    assert.deepEqual(wrong.slice(0, 10), [], `${wrong.length} of ${index} differ`);
  });
}

const truths: Readonly<Record<string, (...operands: Operand[]) => True>> = {
  f80F2xm1: powerOfTwoMinusOne,
  f80Yl2x: yLog2,
  f80Yl2xp1: yLog2OfOnePlus,
  f80Ptan: tangentOfOperand,
  f80Patan: angle,
  f80Sin: sineOfOperand,
  f80Cos: cosineOfOperand,
  f80SinCos: sineOfOperand,
};

/** Finite, not zero, and a true number. */
function isOrdinary({ m, se }: Operand): boolean {
  const exponent = se & 0x7fff;
  return exponent === 0 ? m !== 0n : exponent !== 0x7fff && m >> 63n !== 0n;
}

/** Whether the manual defines the operation for these operands. */
function isDefined(name: string, [a]: readonly Operand[]): boolean {
  const exponent = a!.se & 0x7fff;
  if (name === 'f80F2xm1') return exponent < 0x3fff;
  if (name === 'f80Yl2x') return (a!.se & 0x8000) === 0;
  if (name === 'f80Yl2xp1') return exponent < 0x3ffd;
  return name === 'f80Patan' || exponent < 16383 + 63;
}

for (const operation of transcendentalOperations) {
  test(`${operation.name} is within 0.51 units of the true value to nearest, within 1.01 else, and C1 says on which side`, () => {
    const wrong: string[] = [];
    let compared = 0;
    for (const request of requestsFor(operation, 4000, 4711)) {
      if (!request.operands.every(isOrdinary) || !isDefined(operation.name, request.operands)) continue;
      const masked = { ...request, control: request.control | 0x3f };
      const answer = answerOf(softfloat, masked);
      // Denormal and infinite results have no full last place; the CPU's answers judge them.
      if ((answer.flags & 0x18) !== 0) continue;
      const results: Operand[] = [answer];
      if (operation.name === 'f80SinCos') results.push({ m: answer.m2, se: answer.se2 });
      results.forEach((result, index) => {
        const truth =
          index === 1 ? cosineOfOperand(request.operands[0]!) : truths[operation.name]!(...request.operands);
        if (truth.units === 0n) {
          if (result.m !== 0n) wrong.push(`${describe(masked)}: not zero`);
          return;
        }
        const error = errorOf(result, truth);
        const limit = (request.control & 0xc00) === 0 ? 510 : 1010;
        const sameSign = result.se >> 15 === (truth.units < 0n ? 1 : 0);
        // Too close to say on which side: an exact result, or one that is nearly so.
        const clear = Math.abs(error) > 10 && Math.abs(error) < 990 && index === 0;
        const side = !clear || error > 0 === ((answer.flags & 0x200) !== 0);
        if (!sameSign || !side || Math.abs(error) > limit) wrong.push(`${describe(masked)}: off by ${error / 1000}`);
        compared++;
      });
    }
    assert.ok(compared > 2000, `${compared} compared`);
    assert.deepEqual(wrong.slice(0, 10), [], `${wrong.length} of ${compared} differ`);
  });
}

test('the committed constants are those that build-constants makes', () => {
  const committed = readFileSync(new URL('../src/softfloat/assembly/constants.ts', import.meta.url), 'utf8');
  assert.equal(committed, constantsSource());
});
