import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** Starts the built command in a process whose Node says that it is of this version. */
function start(version: string, ...args: string[]) {
  const pretend = `Object.defineProperty(process.versions, 'node', { value: '${version}' })`;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', `data:text/javascript,${encodeURIComponent(pretend)}`, main, ...args],
    { encoding: 'utf8', timeout: 30_000 },
  );
  return { status, stdout, stderr };
}

test('a Node older than 24 is told so in one line, and the status is 2', () => {
  for (const version of ['12.22.0', '20.20.2', '23.11.1']) {
    assert.deepEqual(start(version, '--version'), {
      status: 2,
      stdout: '',
      stderr: `jit86 needs Node 24 or newer; this is Node ${version}\n`,
    });
  }
});

test('Node 24 and later run the command', () => {
  for (const version of ['24.0.0', '26.1.0']) {
    const { status, stdout } = start(version, '--version');
    assert.equal(status, 0);
    assert.match(stdout, /^jit86 \d/);
  }
});

test('a wrong command line ends the process with status 2', () => {
  const { status, stderr } = start('24.0.0', 'run', '/no/such/guest');
  assert.equal(status, 2);
  assert.equal(stderr, 'jit86: /no/such/guest: no such file\n');
});
