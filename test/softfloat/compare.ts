/*
 * `node test/softfloat/compare.ts [count [seed [operation...]]]`: compares the library with this machine's CPU, in full, and
 * prints the first differences of each operation. Needs gcc and an x86-64 CPU with FMA.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSoftfloat } from '../../src/softfloat/build.ts';
import {
  type Answer,
  answerOf,
  decodeAnswer,
  encodeRequest,
  exactOperations,
  hasValue,
  loadSoftfloat,
  type Operation,
  type Request,
  requestsFor,
} from './operations.ts';

/** Runs requests on this machine's CPU. */
export function runOnHardware(executable: string, requests: readonly Request[]): Answer[] {
  const names = [...new Set(requests.map((request) => request.operation.name))];
  const input = new DataView(new ArrayBuffer(requests.length * 40));
  requests.forEach((request, i) => {
    encodeRequest(input, i * 40, names.indexOf(request.operation.name), request);
  });
  const output = execFileSync(executable, names, {
    input: new Uint8Array(input.buffer),
    maxBuffer: requests.length * 32 + 4096,
    timeout: 60_000,
  });
  const view = new DataView(output.buffer, output.byteOffset, output.length);
  return requests.map((_, i) => decodeAnswer(view, i * 32));
}

/** Compiles the program that executes requests; the caller removes the directory it returns. */
export function compileHardware(): string {
  const directory = mkdtempSync(join(tmpdir(), 'softfloat-'));
  const source = fileURLToPath(new URL('hardware.c', import.meta.url));
  execFileSync('gcc', ['-O1', '-Wall', '-Wextra', '-o', join(directory, 'hardware'), source]);
  return directory;
}

function hex(value: bigint | number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}

function show(request: Request, answer: Answer): string {
  const value = hasValue(request, answer.flags)
    ? `${hex(answer.se, 4)}:${hex(answer.m, 16)} ${hex(answer.se2, 4)}:${hex(answer.m2, 16)} cc ${hex(answer.condition, 4)}`
    : 'no value';
  return `${value} flags ${hex(answer.flags, 3)}`;
}

function main(): void {
  const [count = '20000', seed = '1', ...names] = process.argv.slice(2);
  const directory = compileHardware();
  return void buildSoftfloat(join(directory, 'softfloat.wasm'))
    .then(() => {
      const softfloat = loadSoftfloat(join(directory, 'softfloat.wasm'));
      const chosen = exactOperations.filter(
        (operation: Operation) => names.length === 0 || names.includes(operation.name),
      );
      for (const operation of chosen) {
        const requests = [...requestsFor(operation, Number(count), Number(seed))];
        const hardware = runOnHardware(join(directory, 'hardware'), requests);
        let different = 0;
        requests.forEach((request, i) => {
          const want = hardware[i]!;
          const got = answerOf(softfloat, request);
          if (show(request, got) === show(request, want)) return;
          if (different++ >= 12) return;
          const operands = request.operands.map((operand) => `${hex(operand.se, 4)}:${hex(operand.m, 16)}`).join(' ');
          console.log(
            `  ${operation.name} ${operands} control ${hex(request.control, 4)} argument ${request.argument}`,
          );
          console.log(`    library  ${show(request, got)}\n    hardware ${show(request, want)}`);
        });
        console.log(`${operation.name}: ${different} of ${requests.length} differ`);
      }
    })
    .finally(() => rmSync(directory, { recursive: true }));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
