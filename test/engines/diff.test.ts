/**
 * `jit86 diff`: finds nothing where translations are right, and names the instruction where one is wrong. Wrong ones are
 * made by a translator that sees other code bytes than the interpreter.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type Translate, translate } from '../../jit/translate.ts';
import type { InitialState } from '../../runtime/loaders/initial-state.ts';
import { loadGuest } from '../../runtime/loaders/load.ts';
import { diffGuest } from '../../runtime/lockstep/guest-diff.ts';
import { BareRun } from '../../runtime/lockstep/guest-runs.ts';
import { fuzzPrograms } from '../../runtime/lockstep/program-fuzzer.ts';
import { randomNumbers } from '../isa/random.ts';
import { vmModules } from './modules.ts';

/** A translator that sees the bytes of a page as `change` makes them. */
const misreading =
  (change: (page: Uint8Array) => void): Translate =>
  (source, ...more) =>
    translate(
      {
        page: (linear) => {
          const page = source.page(linear)?.slice() ?? null;
          if (page !== null) change(page);
          return page;
        },
      },
      ...more,
    );

const name = { name: 'guest', commandLine: '', modules: [] };

/** Compares a guest on the bare machine. */
function diffBare(load: (ram: Uint8Array) => InitialState, maxInstructions: number, translator: Translate) {
  const options = { memory: 2 ** 24, modules: vmModules(), when: 'first', x87: 'exact', load } as const;
  return diffGuest({
    start: async (how) => new BareRun({ ...options, translate: translator }, how),
    interval: 100_000,
    maxInstructions,
  });
}

// mov ecx, 50000; loop: add eax, ecx; lea edx, [eax+eax*2]; xor ebx, edx; mov [0x20000], ebx; dec ecx; jnz loop; hlt
const loop = [
  ...[0xb9, 0x50, 0xc3, 0, 0],
  ...[0x01, 0xc8, 0x8d, 0x14, 0x40, 0x31, 0xd3, 0x89, 0x1d, 0, 0, 2, 0, 0x49, 0x75, 0xf0, 0xf4],
];
const loadLoop = (ram: Uint8Array) =>
  loadGuest(Uint8Array.from(loop), { bytes: ram }, { ...name, flat: { address: 0x10000, mode: 'protected' } }).state;
const SCALE = 9;

test('a guest whose translations are right runs to its end without a difference', async () => {
  const result = await diffBare(loadLoop, 1e9, translate);
  assert.deepEqual(result.difference, null);
  assert.equal(result.end, 'halt');
  assert.equal(result.instructions, 1 + 6 * 50_000 + 1);
  assert.ok(result.translated > 290_000);
  const file = readFileSync(new URL('../../bench/guests/built/x86_64/strings.elf', import.meta.url));
  const real = await diffBare((ram) => loadGuest(file, { bytes: ram }, name).state, 300_000, translate);
  assert.deepEqual(real.difference, null);
  assert.ok(real.translated > 200_000);
});

test('a wrong translation is named by its instruction, with what came out of it', async () => {
  const wrong = misreading((page) => {
    if (page[SCALE] === 0x40 && page[0] === 0xb9) page[SCALE] = 0x80; // lea edx, [eax+eax*4]
  });
  const { difference } = await diffBare(loadLoop, 1e9, wrong);
  assert.ok(difference !== null);
  const text = difference.join('\n');
  assert.match(text, /^after \d+ instructions:/);
  assert.match(text, /first differing instruction: 00010007 {2}8d 14 40 .*lea edx, \[eax\+eax\*2\]/);
  assert.match(text, /rdx: got 0x[0-9a-f]+, expected 0x[0-9a-f]+/);
});

test('a difference in random programs is named by its instruction', () => {
  const { reports } = fuzzPrograms(randomNumbers(7), {
    seconds: Number.POSITIVE_INFINITY,
    programs: 50,
    modes: ['32'],
    modules: vmModules(),
    differences: 1,
    // ADD r/m, r is SUB for the translator.
    translate: misreading((page) => {
      for (let i = 0; i < page.length; i++) if (page[i] === 0x01 && page[i - 1] !== 0x0f) page[i] = 0x29;
    }),
  });
  assert.equal(reports.length, 1);
  assert.match(reports[0]!, /^translation differs after \d+ instructions \(mode 32/);
  assert.match(reports[0]!, /first differing instruction: [0-9a-f]+ .*\b01\b/);
});
