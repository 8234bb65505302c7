/**
 * Guests that raise every exception, go through every gate and task and step through everything, and compare vector, error
 * code, CR2, frame and DR6 with the manual themselves (test/guests): here they say that nothing differs, in both engines.
 * `node test/guests/compare.ts` runs them in other emulators.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const guest = (name: string) => fileURLToPath(new URL(`../guests/${name}.elf`, import.meta.url));
const cli = fileURLToPath(new URL('../../dist/runtime/cli/main.js', import.meta.url));

for (const [name, cases, machine = 'bare'] of [
  ['exceptions32', 0x9e],
  ['exceptions64', 0x70],
  ['tasks32', 0x85],
  ['gates32', 0xaa],
  ['gates64', 0x93],
  ['faults32', 0x77],
  ['debug32', 0x3d, 'pc'],
  ['priorities32', 0x46, 'pc'],
  ['modes32', 0x61, 'pc'],
  ['messages32', 8, 'pc'],
  ['protection64', 0x41],
] as readonly (readonly [string, number, string?])[])
  for (const engine of ['interpreter', 'jit'])
    test(`${name}: ${cases} cases end as the manual says, in the ${engine}`, () => {
      const options = [
        '--engine',
        engine,
        '--no-cache',
        '--machine',
        machine,
        ...(machine === 'pc' ? ['--cpus', '2'] : []),
        '--memory',
        '16M',
        '--debugcon',
        'stdio',
        '--serial',
        'none',
        '--timeout',
        '120',
      ];
      const { status, stdout, stderr } = spawnSync(process.execPath, [cli, 'run', guest(name), ...options], {
        encoding: 'utf8',
      });
      assert.equal(stdout, `${cases.toString(16)} cases, 0 differences\n`, stderr);
      assert.equal(status, 1, 'the guest wrote 0 to the exit port');
    });

test('a third exception shuts the processor down', () => {
  const options = ['--no-cache', '--memory', '16M', '--debugcon', 'stdio', '--serial', 'none', '--timeout', '120'];
  for (const engine of ['interpreter', 'jit']) {
    const { status, stderr } = spawnSync(
      process.execPath,
      [cli, 'run', guest('faults32'), '--engine', engine, '--append', 'triple=1', ...options],
      { encoding: 'utf8' },
    );
    assert.equal(status, 134, stderr);
  }
});
