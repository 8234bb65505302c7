/*
 * What a real CPU answered, in compressed files: for each exact operation the flags of all its requests and then a byte of each
 * value, and for each transcendental one the flags and the low bytes of both results, which show differences of a few units of
 * the last place. The operands are not in it, since they come from a seed. `node test/softfloat/recording.ts` records it anew
 * on this machine's CPU (x86-64 with FMA; needs gcc).
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import { compileHardware, runOnHardware } from './compare.ts';
import {
  type Answer,
  exactOperations,
  flagByte,
  hasValue,
  type Operation,
  type Request,
  requestsFor,
  transcendentalOperations,
  valueByte,
} from './operations.ts';

/** The seed of the recorded operands. */
export const recordedSeed = 20260;
/** How many requests there are for each exact operation. */
export const recordedCount = 20000;

const exactFile = fileURLToPath(new URL('exact.bin.br', import.meta.url));
const transcendentalFile = fileURLToPath(new URL('transcendental.bin.br', import.meta.url));

/** One operation's answers, by requests. */
export interface Recorded {
  readonly flags: Uint8Array;
  readonly values: Uint8Array;
  /** The second results; empty for exact operations, whose value bytes depend on all of a value. */
  readonly secondValues: Uint8Array;
}

function unpack(
  recording: Map<string, Recorded>,
  file: string,
  operations: readonly Operation[],
  columns: number,
): void {
  const bytes = brotliDecompressSync(readFileSync(file));
  operations.forEach((operation, index) => {
    const column = (n: number): Uint8Array => {
      const start = (index * columns + n) * recordedCount;
      return n < columns ? bytes.subarray(start, start + recordedCount) : new Uint8Array();
    };
    recording.set(operation.name, { flags: column(0), values: column(1), secondValues: column(2) });
  });
}

/** The recorded answers by the operations' names. */
export function readRecording(): Map<string, Recorded> {
  const recording = new Map<string, Recorded>();
  unpack(recording, exactFile, exactOperations, 2);
  unpack(recording, transcendentalFile, transcendentalOperations, 3);
  return recording;
}

/** The low byte of a number on the line of all 80-bit numbers, where neighbours differ by one. */
export function placeByte(m: bigint, se: number): number {
  // An exponent step is 2^63 places, so that only the significand shows in the low bits.
  const place = Number(m & 0xffn);
  return (se & 0x8000 ? 256 - place : place) & 0xff;
}

function record(): void {
  const directory = compileHardware();
  const answers = (operation: Operation, each: (request: Request, answer: Answer, index: number) => void): void => {
    const requests = [...requestsFor(operation, recordedCount, recordedSeed)];
    runOnHardware(join(directory, 'hardware'), requests).forEach((answer, i) => {
      each(requests[i]!, answer, i);
    });
  };
  const write = (file: string, bytes: Uint8Array): void => {
    writeFileSync(file, brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_LGWIN]: 24 } }));
  };
  const exact = new Uint8Array(exactOperations.length * 2 * recordedCount);
  exactOperations.forEach((operation, index) => {
    const start = index * 2 * recordedCount;
    answers(operation, (request, answer, i) => {
      exact[start + i] = flagByte(answer.flags);
      exact[start + recordedCount + i] = hasValue(request, answer.flags) ? valueByte(answer) : 0;
    });
  });
  write(exactFile, exact);
  const transcendental = new Uint8Array(transcendentalOperations.length * 3 * recordedCount);
  transcendentalOperations.forEach((operation, index) => {
    const start = index * 3 * recordedCount;
    answers(operation, (request, answer, i) => {
      const value = hasValue(request, answer.flags);
      transcendental[start + i] = flagByte(answer.flags);
      transcendental[start + recordedCount + i] = value ? placeByte(answer.m, answer.se) : 0;
      transcendental[start + 2 * recordedCount + i] = value ? placeByte(answer.m2, answer.se2) : 0;
    });
  });
  write(transcendentalFile, transcendental);
  rmSync(directory, { recursive: true });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) record();
