/**
 * The bundled guests on the emulator: each checks its own result, and says so by its exit status. They run as a user runs
 * them, cold, with translations coming from the compiler's thread while the guest runs on.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { catalogue, type Guest, type GuestVariant, guestVariants } from '../../bench/guests/catalogue.ts';
import { nodeHost } from '../../runtime/hosts/node.ts';
import { createMachine, type Engine, loadGuest, type MachineStatistics, type X87Mode } from '../../runtime/index.ts';

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

for (const variant of guestVariants) {
  // Without floating point there is little that tells an i386-x87 build from an i386-sse2 one.
  const guests = computing.filter(({ kind }) => variant !== 'i386-x87' || kind === 'double');
  test(`every guest for ${variant} computes its checksum while its hot code is translated`, async () => {
    let regions = 0;
    for (const guest of guests) {
      const { said, status, statistics } = await runGuest(guest, variant, 'auto');
      assert.equal(status, 1, said);
      assert.match(said, / ok$/);
      regions += statistics.regions;
    }
    // A short guest on a busy machine may end before its first translation is there.
    assert.ok(regions > guests.length, `${regions} regions`);
  });
}

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
