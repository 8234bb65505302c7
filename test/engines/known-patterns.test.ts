/** Patterns that come with the build: blocks have the same records with them and without. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { nodeHost } from '../../runtime/hosts/node.ts';
import { knownPatterns } from '../../runtime/known-patterns.ts';
import { BlockEnds } from '../../src/execute/block-ends.ts';
import { type Context, Contexts } from '../../src/execute/context.ts';
import { type KnownPatterns, readPatterns, writePatterns } from '../../src/execute/known-patterns.ts';
import { learnPatterns, placeOfKind, readList, writeList } from '../../src/execute/learn-patterns.ts';
import { QuickBlocks } from '../../src/execute/quick-blocks.ts';
import { allForms } from '../../src/isa/all.ts';
import { decode } from '../../src/isa/decode.ts';
import { sampleEncodings } from '../../src/isa/samples.ts';
import { spread } from '../isa/random.ts';

const text = readFileSync(new URL('../../src/execute/common-instructions.txt', import.meta.url), 'utf8');
const list = readList(text);
const known = learnPatterns(list);

/** Numbers of helpers as in another run, where others came first. */
const helpers = [...known.helperNames].reverse();
const helper = (name: string): number => (helpers.includes(name) ? helpers.indexOf(name) : helpers.push(name) - 1);
function quickBlocks(patterns: KnownPatterns | null): QuickBlocks {
  const quick = new QuickBlocks(helper, new BlockEnds());
  if (patterns !== null) quick.use(patterns);
  return quick;
}

/** The contexts in the list, and one of each code size that is not. */
const contextIds = new Set(list.map(({ context }) => context));
const contexts = new Contexts();
const flat = [...contextIds].map((id) => contexts.flatOf(id - 1));
for (const mode of [64, 32] as const) {
  const { id } = flat.find(({ codeSize }) => codeSize === mode)!;
  flat.push(contexts.flatOf((id - 1) ^ (3 << 8))); // another IOPL
}

/** What a block of one instruction looks like; null = it cannot be made in haste. */
function made(quick: QuickBlocks, context: Context, ip: number, code: Uint8Array): number[] | null {
  if (!quick.make(context, ip, code, 0, 16, 1)) return null;
  return [quick.codeBytes, quick.repeats ? 1 : 0, quick.marks[0]!, ...quick.words.subarray(0, quick.length)];
}

test('a block has the same records with patterns of the build and without, wherever and whatever it is', () => {
  const [before, after] = [quickBlocks(null), quickBlocks(known)];
  let compared = 0;
  for (const context of flat) {
    const mode = context.codeSize as 64 | 32;
    const own = spread(
      list.map(({ code }) => code),
      250,
    );
    for (const encoding of [...own, ...allForms().flatMap((form) => spread(sampleEncodings(form, mode), 2))]) {
      const code = new Uint8Array(16);
      code.set(encoding.subarray(0, 15));
      const decoded = decode(code, 0, 15, 0x1000n, mode);
      if (decoded.failure !== null) continue;
      for (const [n, place] of placeOfKind[mode].entries()) {
        const ip = place + 0x1234 * n;
        const expected = made(before, context, ip, code);
        assert.deepEqual(
          made(after, context, ip, code),
          expected,
          `${Buffer.from(code.subarray(0, decoded.insn.length)).toString('hex')} at ${ip.toString(16)}`,
        );
        if (expected !== null) compared++;
      }
    }
  }
  assert.ok(compared > 20_000, `${compared} compared`);
});

test('what is in the list need not be learned any more', () => {
  const quick = quickBlocks(known);
  const sizes = (): number[] => quick.known([]).tables.map(({ entries }) => entries.length);
  for (const { context: id, place, code } of list) {
    const context = contexts.flatOf(id - 1);
    const bytes = new Uint8Array(16);
    bytes.set(code);
    quick.make(context, placeOfKind[context.codeSize as 64 | 32][place]!, bytes, 0, 16, 1);
  }
  assert.deepEqual(
    sizes(),
    known.tables.map(({ entries }) => entries.length),
  );
  assert.ok(sizes().every((size) => size > 1000));
});

test('the list is written as it is read', () => {
  assert.equal(writeList(list), text);
  assert.throws(() => readList('context 74 at 0 90 9'), /9 in the list/);
  assert.throws(() => learnPatterns([{ context: 1, place: 0, code: Uint8Array.of(0x90) }]), /context 1/);
});

test('a file of patterns holds them, for the sources that made it', async () => {
  const bytes = writePatterns(known, 'these');
  assert.deepEqual(readPatterns(bytes, 'these'), known);
  assert.equal(readPatterns(bytes, 'others'), null);
  assert.equal(readPatterns(new Uint8Array(5), 'these'), null);
  assert.equal(readPatterns(new Uint8Array(64), 'these'), null);
  // The build has written one.
  assert.deepEqual(await knownPatterns(nodeHost), known);
  assert.equal(await knownPatterns({ ...nodeHost, translatorIdentity: async () => 'others' }), null);
});

test('known patterns come before all others', () => {
  const quick = quickBlocks(null);
  assert.ok(quick.make(flat[0]!, 0x40_1000, new Uint8Array(16).fill(0x90), 0, 16, 1));
  assert.throws(() => quick.use(known), /too late/);
});
