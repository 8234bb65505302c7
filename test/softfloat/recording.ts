/*
 * What a real CPU answered, in a compressed file: for each exact operation the flags of all its requests and then a byte of each
 * value. The operands are not in it, since they come from a seed. `node test/softfloat/recording.ts` records it anew
 * on this machine's CPU (x86-64 with FMA; needs gcc).
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import { compileHardware, runOnHardware } from './compare.ts';
import { exactOperations, flagByte, hasValue, requestsFor, valueByte } from './operations.ts';

/** The seed of the recorded operands. */
export const recordedSeed = 20260;
/** How many requests there are for each exact operation. */
export const recordedCount = 20000;

const file = fileURLToPath(new URL('exact.bin.br', import.meta.url));

/** Flags and value bytes of one operation's answers. */
export interface Recorded {
  readonly flags: Uint8Array;
  readonly values: Uint8Array;
}

/** The recorded answers by the operations' names. */
export function readRecording(): Map<string, Recorded> {
  const bytes = brotliDecompressSync(readFileSync(file));
  const recording = new Map<string, Recorded>();
  exactOperations.forEach((operation, index) => {
    const start = index * 2 * recordedCount;
    recording.set(operation.name, {
      flags: bytes.subarray(start, start + recordedCount),
      values: bytes.subarray(start + recordedCount, start + 2 * recordedCount),
    });
  });
  return recording;
}

function record(): void {
  const directory = compileHardware();
  const bytes = new Uint8Array(exactOperations.length * 2 * recordedCount);
  exactOperations.forEach((operation, index) => {
    const requests = [...requestsFor(operation, recordedCount, recordedSeed)];
    const start = index * 2 * recordedCount;
    runOnHardware(join(directory, 'hardware'), requests).forEach((answer, i) => {
      bytes[start + i] = flagByte(answer.flags);
      bytes[start + recordedCount + i] = hasValue(requests[i]!, answer.flags) ? valueByte(answer) : 0;
    });
  });
  rmSync(directory, { recursive: true });
  writeFileSync(file, brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_LGWIN]: 24 } }));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) record();
