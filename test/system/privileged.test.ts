/**
 * Guests that ask the processor thousands of questions about its privileged architecture and print the answers
 * (test/system/guests), in both engines, against the answers that are known to be right.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

const here = (name: string) => fileURLToPath(new URL(`guests/${name}`, import.meta.url));
const cli = fileURLToPath(new URL('../../dist/runtime/cli/main.js', import.meta.url));

for (const bits of [32, 64]) {
  const guest = `privileged${bits}`;
  const expected = gunzipSync(readFileSync(here(`${guest}.txt.gz`)))
    .toString()
    .split('\n');
  for (const engine of ['interpreter', 'jit']) {
    test(`segments, gates, rings, flags and paging of a ${bits}-bit kernel are answered right by the ${engine}`, () => {
      const options = ['--engine', engine, '--debugcon', 'stdio', '--serial', 'none', '--timeout', '120'];
      const { status, stdout } = spawnSync(process.execPath, [cli, 'run', here(`${guest}.elf`), ...options], {
        encoding: 'utf8',
        maxBuffer: 1 << 26,
      });
      assert.equal(status, 1, 'the guest wrote 0 to the exit port');
      const printed = stdout.split('\n');
      assert.ok(expected.length > 1000);
      const wrong = expected.flatMap((line, i) => (line === printed[i] ? [] : [`${printed[i]}, expected: ${line}`]));
      assert.deepEqual(wrong.slice(0, 20), []);
      assert.equal(printed.length, expected.length);
    });
  }
}
