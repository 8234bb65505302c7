/**
 * The bundled guests on the emulator: each checks its own result, and says so by its exit status. Hot code is
 * translated on this thread, where every run is the same, and for some as a user has it, on another while the guest runs.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { catalogue, type Guest, type GuestVariant, guestVariants } from '../../bench/guests/catalogue.ts';
import { translate } from '../../jit/translate.ts';
import { nodeHost } from '../../runtime/hosts/node.ts';
import { createMachine, type Engine, loadGuest, type MachineStatistics, type X87Mode } from '../../runtime/index.ts';
import { BareRun } from '../../runtime/lockstep/guest-runs.ts';
import { vmModules } from './modules.ts';

/** What the guest said, its exit status, and the machine's figures. */
async function runGuest(
  { name }: Guest,
  variant: GuestVariant,
  engine: Engine,
  x87: X87Mode = 'exact',
): Promise<{ said: string; status: number | null; statistics: MachineStatistics }> {
  const output: number[] = [];
  const machine = await createMachine(
    {
      memory: 128 * 2 ** 20,
      cpus: 1,
      engine,
      x87,
      cache: null,
      serial: (byte) => void output.push(byte),
      debugcon() {},
    },
    nodeHost,
  );
  try {
    const file = readFileSync(new URL(`../../bench/guests/built/${variant}/${name}.elf`, import.meta.url));
    machine.start(loadGuest(file, machine.ram, { name, commandLine: '', modules: [] }).state);
    const end = await machine.run({ signal: AbortSignal.timeout(300_000) });
    const said = `${name} ${variant} ${engine}: ${end.reason} ${String.fromCharCode(...output).trim()}`;
    return { said, status: end.reason === 'exit' ? end.status : null, statistics: machine.statistics() };
  } finally {
    await machine.close();
  }
}

const computing = catalogue.filter(({ checksum }) => checksum !== null);

/** Translated on this thread when it is hot: the same in every run. */
async function runHot({ name }: Guest, variant: GuestVariant): Promise<BareRun> {
  const file = readFileSync(new URL(`../../bench/guests/built/${variant}/${name}.elf`, import.meta.url));
  const load = (bytes: Uint8Array) => loadGuest(file, { bytes }, { name, commandLine: '', modules: [] }).state;
  const run = new BareRun(
    { memory: 128 * 2 ** 20, modules: vmModules(), load, when: 'hot', translate, x87: 'exact' },
    'translated',
  );
  await run.runTo(2e10);
  return run;
}

for (const variant of guestVariants) {
  // Without floating point there is little that tells an i386-x87 build from an i386-sse2 one.
  const guests = computing.filter(({ kind }) => variant !== 'i386-x87' || kind === 'double');
  test(`every guest for ${variant} computes its checksum with its hot code translated`, async () => {
    for (const guest of guests) {
      const { end, said, retired, side } = await runHot(guest, variant);
      const text = `${guest.name} ${variant}: ${end} ${said.trim()}`;
      assert.equal(end, 'exit 1', text);
      assert.match(text, / ok$/);
      const share = side.vcpu.engine.translated / retired;
      assert.ok(share > 0.8, `${text}: ${(100 * share).toFixed(1)} % of ${retired} instructions translated`);
    }
  });
}

test('guests of every variant compute their checksums while another thread translates', async () => {
  let regions = 0;
  const some = [
    ['sieve', 'i386-sse2'],
    ['quicksort', 'x86_64'],
    ['n-body', 'i386-x87'],
    ['matrix-double', 'x86_64'],
    ['regex', 'i386-sse2'],
  ] as const;
  for (const [name, variant] of some) {
    const guest = computing.find((each) => each.name === name)!;
    const { said, status, statistics } = await runGuest(guest, variant, 'auto');
    assert.equal(status, 1, said);
    assert.match(said, / ok$/);
    regions += statistics.regions;
  }
  // A short guest on a busy machine may end before its first translation is there.
  assert.ok(regions > 0);
});

const few = computing.filter(({ name }) => ['collatz', 'strings', 'mandelbrot'].includes(name));

test('guests of each kind compute the same interpreted, and translated before their first instruction', async () => {
  for (const guest of few) {
    const variant = guest.name === 'collatz' ? 'i386-sse2' : 'x86_64';
    const interpreted = await runGuest(guest, variant, 'interpreter');
    assert.equal(interpreted.status, 1, interpreted.said);
    assert.equal(interpreted.statistics.regions, 0);
    const translated = await runGuest(guest, variant, 'jit');
    assert.equal(translated.status, 1, translated.said);
    assert.equal(translated.statistics.instructions, interpreted.statistics.instructions);
    assert.ok(translated.statistics.interpreted < translated.statistics.instructions / 10, translated.said);
  }
});

test('plain doubles in place of 80 bits are enough for the Mandelbrot set', async () => {
  const mandelbrot = computing.find(({ name }) => name === 'mandelbrot')!;
  const { said, status } = await runGuest(mandelbrot, 'i386-x87', 'auto', 'fast');
  assert.equal(status, 1, said);
});
