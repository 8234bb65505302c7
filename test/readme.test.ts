/** What the README shows to an embedder is run as it stands. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));

test("the README's example runs a guest to its end", async () => {
  const [, code] = /```js\n([\s\S]*?)```/.exec(readFileSync(new URL('../README.md', import.meta.url), 'utf8'))!;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', code!], {
    cwd: root, // inside the package, `jit86` is the package itself
    timeout: 60_000,
  });
  assert.equal(stdout, "Hello from a guest built for x86_64.\n{ reason: 'exit', status: 1 }\n");
});
