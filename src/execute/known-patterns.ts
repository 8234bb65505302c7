/**
 * Patterns that come with the build (patterns.ts): what instructions that most guests have look like as records, learned
 * when the emulator is built (learn-patterns.ts). A machine takes them as they are, so that its first second is not spent
 * on recording and encoding instructions one by one with cold code. They are what it would learn by itself: a block has
 * the same records with them and without.
 *
 * The file: its magic number, the bytes of a description (JSON, padded), the description, and the tables' words.
 */
import type { TableArrays } from './pattern-table.ts';

/** The patterns of code of one kind. */
export interface KnownTable extends TableArrays {
  /** Code size, stack size and what the processor lacks, as in quick-blocks.ts. */
  readonly kind: string;
  /** What is known of layouts (instruction-layout.ts): index and value by turns. */
  readonly modrms: Int32Array;
  readonly facts: Int32Array;
  /** Words of `data` that are the number of a helper, and which of `helperNames` that is, by turns. */
  readonly calls: Int32Array;
}
export interface KnownPatterns {
  /** Contexts by what records depend on (quick-blocks.ts), by their numbers in the tables. */
  readonly modes: readonly string[];
  readonly helperNames: readonly string[];
  readonly tables: readonly KnownTable[];
}

const magic = 0x54_41_50_38; // '8PAT'
const parts = ['slots', 'entries', 'data', 'modrms', 'facts', 'calls'] as const;
type Part = (typeof parts)[number];

interface Description {
  readonly identity: string;
  readonly modes: readonly string[];
  readonly helperNames: readonly string[];
  readonly tables: readonly (Readonly<Record<Part, number>> & { readonly kind: string })[];
}

/** @param identity names the sources that they were made by */
export function writePatterns(
  { modes, helperNames, tables }: KnownPatterns,
  identity: string,
): Uint8Array<ArrayBuffer> {
  const description: Description = {
    identity,
    modes,
    helperNames,
    tables: tables.map((table) => {
      const lengths = Object.fromEntries(parts.map((part) => [part, table[part].length])) as Record<Part, number>;
      return { kind: table.kind, ...lengths };
    }),
  };
  const text = new TextEncoder().encode(JSON.stringify(description));
  const padded = new Uint8Array((text.length + 3) & ~3).fill(0x20);
  padded.set(text);
  const all = tables.flatMap((table) => parts.map((part) => table[part]));
  const words = new Int32Array(2 + padded.length / 4 + all.reduce((sum, { length }) => sum + length, 0));
  words[0] = magic;
  words[1] = padded.length;
  const bytes = new Uint8Array(words.buffer);
  bytes.set(padded, 8);
  let at = 2 + padded.length / 4;
  for (const part of all) {
    words.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** The patterns in a file; null if it was made by other sources. The arrays are the file's own bytes. */
export function readPatterns(bytes: Uint8Array<ArrayBuffer>, identity: string): KnownPatterns | null {
  const whole = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  if (whole.length < 8) return null;
  const words = new Int32Array(whole.buffer, whole.byteOffset, whole.length >> 2);
  if (words[0] !== magic) return null;
  const size = words[1]!;
  const description: Description = JSON.parse(new TextDecoder().decode(whole.subarray(8, 8 + size)));
  if (description.identity !== identity) return null;
  let at = 2 + size / 4;
  const tables = description.tables.map((table) => {
    const arrays = {} as Record<Part, Int32Array>;
    for (const part of parts) arrays[part] = words.subarray(at, (at += table[part]));
    return { kind: table.kind, ...arrays };
  });
  return { modes: description.modes, helperNames: description.helperNames, tables };
}
