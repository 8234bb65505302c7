/**
 * Learns the patterns that come with the build from a list of instructions (common-instructions.txt, which
 * bench/instructions.ts adds to). Run at build time.
 *
 * The list is made of words: `context` and the number of a flat context (context.ts); `at` and the number of a kind of place
 * (places.ts); and the instructions that were met there, in hexadecimal digits.
 */
import { BlockEnds } from './block-ends.ts';
import { Contexts } from './context.ts';
import type { KnownPatterns } from './known-patterns.ts';
import { QuickBlocks } from './quick-blocks.ts';

/** An instruction, the number of the context that it was met in, and the kind of its place. */
export interface ListedInstruction {
  readonly context: number;
  readonly place: number;
  readonly code: Uint8Array;
}

/** An instruction pointer of each kind of place. */
export const placeOfKind = {
  64: [0x40_1000, -0x7eff_0000, 0x7f00_0000_1000, -0x7780_0000_0000],
  32: [0x0804_9000, 0xc010_0000],
} as const;

/** @throws if the text is no list */
export function readList(text: string): ListedInstruction[] {
  const list: ListedInstruction[] = [];
  let [context, place] = [0, 0];
  const words = text.split(/\s+/).filter((word) => word !== '');
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (word === 'context') context = Number(words[++i]);
    else if (word === 'at') place = Number(words[++i]);
    else if (/^([0-9a-f]{2}){1,15}$/.test(word))
      list.push({ context, place, code: Uint8Array.from(word.match(/../g)!, (digits) => Number.parseInt(digits, 16)) });
    else throw new Error(`patterns: ${word} in the list is no instruction`);
  }
  return list;
}

/** The same list in one order, with each instruction once. */
export function writeList(list: readonly ListedInstruction[]): string {
  const kinds = new Map<string, Set<string>>();
  for (const { context, place, code } of list) {
    const kind = `context ${context} at ${place}`;
    let codes = kinds.get(kind);
    if (codes === undefined) kinds.set(kind, (codes = new Set()));
    codes.add(Array.from(code, (byte) => byte.toString(16).padStart(2, '0')).join(''));
  }
  const lines: string[] = [];
  for (const [kind, codes] of [...kinds].sort(([a], [b]) => (a < b ? -1 : 1))) {
    lines.push(kind);
    let line = '';
    for (const code of [...codes].sort()) {
      if (line.length + code.length > 119) {
        lines.push(line);
        line = '';
      }
      line += line === '' ? code : ` ${code}`;
    }
    lines.push(line);
  }
  return `${lines.join('\n')}\n`;
}

/** @throws if an instruction is not of 32-bit or 64-bit code */
export function learnPatterns(list: readonly ListedInstruction[]): KnownPatterns {
  const helpers: string[] = [];
  const helper = (name: string): number => (helpers.includes(name) ? helpers.indexOf(name) : helpers.push(name) - 1);
  const contexts = new Contexts();
  const quick = new QuickBlocks(helper, new BlockEnds());
  const bytes = new Uint8Array(16);
  for (const { context: id, place, code } of list) {
    const context = contexts.flatOf(id - 1);
    const { codeSize } = context;
    if (codeSize === 16 || !context.flat) throw new Error(`patterns: context ${id} in the list has none`);
    bytes.fill(0);
    bytes.set(code);
    const places = placeOfKind[codeSize];
    quick.make(context, places[place]!, bytes, 0, 16, 1);
    // Where it stands matters to its records, and nothing else: then it may as well stand elsewhere.
    if (quick.takeLearnedByPlace()) for (const elsewhere of places) quick.make(context, elsewhere, bytes, 0, 16, 1);
  }
  return quick.known(helpers);
}
