/**
 * Learns the patterns that come with the build from a list of instructions (common-instructions.txt). Run at build time.
 *
 * The list has a line for each kind of code, `context` and the number of a flat context (context.ts), and behind it the
 * instructions that were met there, in hexadecimal digits; after `at` and a digit, instructions at that kind of place
 * (places.ts).
 */
import { BlockEnds } from './block-ends.ts';
import { Contexts } from './context.ts';
import type { KnownPatterns } from './known-patterns.ts';
import { QuickBlocks } from './quick-blocks.ts';

/** An instruction pointer of each kind of place. */
export const placeOfKind = {
  64: [0x40_1000, -0x7eff_0000, 0x7f00_0000_1000, -0x7780_0000_0000],
  32: [0x0804_9000, 0xc010_0000],
} as const;

/** @throws if the list is not one */
export function learnPatterns(list: string): KnownPatterns {
  const helpers: string[] = [];
  const helper = (name: string): number => (helpers.includes(name) ? helpers.indexOf(name) : helpers.push(name) - 1);
  const contexts = new Contexts();
  const quick = new QuickBlocks(helper, new BlockEnds());
  let context = null;
  let kind = 0;
  const code = new Uint8Array(16);
  const words = list.split(/\s+/).filter((word) => word !== '');
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (word === 'context') {
      context = contexts.flatOf(Number(words[++i]) - 1);
      continue;
    }
    if (word === 'at') {
      kind = Number(words[++i]);
      continue;
    }
    if (context === null || context.codeSize === 16 || !/^([0-9a-f]{2}){1,15}$/.test(word))
      throw new Error(`patterns: ${word} in the list is no instruction`);
    code.fill(0);
    for (let k = 0; k < word.length / 2; k++) code[k] = Number.parseInt(word.slice(k * 2, k * 2 + 2), 16);
    const places = placeOfKind[context.codeSize];
    quick.make(context, places[kind]!, code, 0, 16, 1);
    // Where it stands matters to its records, and nothing else: then it may as well stand elsewhere.
    if (quick.takeLearnedByPlace()) for (const place of places) quick.make(context, place, code, 0, 16, 1);
  }
  return quick.known(helpers);
}
