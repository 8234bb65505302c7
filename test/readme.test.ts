/** What the README shows to an embedder is run as it stands. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Blocks of code, in their order, and what each prints. */
const printed = ["Hello from a guest built for x86_64.\n{ reason: 'exit', status: 1 }\n", '!pio\nhalt\ntrue\n'];
const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
const blocks = [...readme.matchAll(/```js\n([\s\S]*?)```/g)].map(([, code]) => code!);

test("every example of the README's is known here", () => assert.equal(blocks.length, printed.length));

for (const [i, code] of blocks.entries())
  test(`example ${i + 1} of the README does what it says`, async () => {
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', code], {
      cwd: root, // inside the package, `jit86` is the package itself
      timeout: 60_000,
    });
    assert.equal(stdout, printed[i]);
  });
