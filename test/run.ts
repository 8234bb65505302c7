/**
 * `npm test`: brings `dist/` up to date, then runs the test files given (all of `test/` without arguments) with node's
 * test runner, one process each.
 *
 * The last line printed is always `N passed, N failed` or `N passed, N failed, N skipped`, counted from the runner's
 * events; the exit status is 1 if anything failed or nothing ran. A build that fails is one failure.
 */

import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';
import { build } from '../build.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const named = process.argv.slice(2);
const files =
  named.length > 0
    ? named.map((file) => resolve(file))
    : globSync('test/**/*.test.ts', { cwd: root })
        .sort()
        .map((file) => resolve(root, file));

let passed = 0;
let failed = 0;
let skipped = 0;

try {
  await build();
} catch (error) {
  process.stdout.write(`build: ${error instanceof Error ? error.message : String(error)}\n`);
  failed++;
}

const stream = run({ files, concurrency: Math.min(2, availableParallelism()), timeout: 1_500_000 });
stream.on('test:pass', ({ skip, todo, details }) => {
  if (details.type === 'suite') return;
  if (skip !== undefined || todo !== undefined) skipped++;
  else passed++;
});
stream.on('test:fail', ({ todo, details }) => {
  // A suite that fails because of its tests is not a failure of its own; one whose body throws is.
  if (details.type === 'suite' && details.error?.cause !== undefined && /subtests? failed/.test(details.error.message))
    return;
  if (todo !== undefined) skipped++;
  else failed++;
});

const report = stream.compose(new spec());
report.pipe(process.stdout, { end: false });
report.on('end', () => {
  if (passed === 0 && failed === 0) process.stdout.write('no test ran\n');
  process.stdout.write(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
});
