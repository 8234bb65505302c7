/**
 * Puts records that stand one after the other into fewer (fusions.ts), after a block was encoded: whose results only the
 * next ones take are not stored any more.
 */

import { slotCount, slotsOffset } from '../state/layout.ts';
import { fusions, parseFusion } from './fusions.ts';
import { findKind, fusionKind, kindAt, kindOf, partStep, type RecordKind, recordKinds } from './records.ts';

/** Kinds that some fusions begin with so far: those that are complete, and what they may go on with, by kind. */
interface Begun {
  readonly complete: number[];
  readonly next: Map<number, Begun>;
}
const newBegun = (): Begun => ({ complete: [], next: new Map() });
/** By kind of the first record: the fusions that begin with it, and what becomes of them when it is met. */
const byFirst = new Array<number[] | undefined>(recordKinds.length).fill(undefined);
const beginnings = new Array<Begun | undefined>(recordKinds.length).fill(undefined);
for (const [index, text] of fusions.entries()) {
  const key = text.slice(text.startsWith('=') ? 1 : 0, text.indexOf(' > '));
  const kind = findKind(key);
  if (kind === undefined) throw new Error(`fusions: there is no kind ${key}`);
  (byFirst[kind.id] ??= []).push(index);
}
const mostParts = 16;
function beginning(first: number): Begun | undefined {
  const indices = byFirst[first];
  if (beginnings[first] !== undefined || indices === undefined) return beginnings[first];
  const root = newBegun();
  for (const index of indices) {
    let at = root;
    for (const { key } of parseFusion(fusions[index]!).slice(1)) {
      const { id } = findKind(key)!;
      let next = at.next.get(id);
      if (next === undefined) at.next.set(id, (next = newBegun()));
      at = next;
    }
    at.complete.push(index);
  }
  beginnings[first] = root;
  return root;
}

const mostRecords = 1 << 12;
/** By record: its kind, where it begins (words), and the last record that takes its result, if that is in a slot (-1 = none). */
const kinds = new Uint16Array(mostRecords);
const starts = new Int32Array(mostRecords + 1);
const lastReader = new Int32Array(mostRecords);
/** What a record begins: the rest of an instruction; an instruction; something that is gone to, or must begin a record. */
const entries = new Uint8Array(mostRecords + 1);
const INSTRUCTION = 1;
const RECORD = 2;
/** Where the record has gone (words). */
const moved = new Int32Array(mostRecords + 1);
const readers = new Int32Array(slotCount);
const isStore = Uint8Array.from(recordKinds, ({ op }) => (op.startsWith('store.') ? 1 : 0));
const whenKind = kindOf('when');
const skipWord = whenKind.immediateOffset >> 2;
/** By record of a `when`: the record behind its body. */
const skipsTo = new Int32Array(mostRecords);
const whens = new Int32Array(mostRecords);
let whenCount = 0;
/** By part of the sequence that is looked at: where its result goes. */
const written = new Int32Array(mostParts);
const fusedWords = new Int32Array(64);

const half = (words: Int32Array, start: number, offset: number): number =>
  (words[start + (offset >> 2)]! >>> ((offset & 2) * 8)) & 0xffff;
const slotOf = (place: number): number => (place >= slotsOffset ? (place - slotsOffset) >> 4 : -1);

/**
 * Fuses the records in words `first` to `end` of a block, whose marks move with them. Gives the block's new end.
 */
export function fuse(words: Int32Array, first: number, end: number, marks: Int32Array, instructions: number): number {
  if (first < end && first + (recordKinds[words[first]! & 0xffff]!.bytes >> 2) === end) return end; // only one
  const count = read(words, first, end, marks, instructions);
  if (count < 0) return end;
  let to = first;
  let nextMark = 0;
  whenCount = 0;
  for (let i = 0; i < count; ) {
    const kind = find(words, i, count);
    const length = kind === null ? 1 : kind.parts.length;
    moved[i] = to;
    for (let k = 0; k < length; k++) {
      while (nextMark < instructions && (marks[nextMark]! & 0xffff) >> 2 === starts[i + k]!) {
        marks[nextMark] = (marks[nextMark]! & ~0xffff) | (to * 4 + k * partStep);
        nextMark++;
      }
    }
    if (kind === null) {
      if (kinds[i] === whenKind.id) whens[whenCount++] = i;
      for (let at = starts[i]!; at < starts[i + 1]!; at++) words[to++] = words[at]!;
    } else {
      write(words, i, kind);
      for (let at = 0; at < kind.bytes >> 2; at++) words[to++] = fusedWords[at]!;
    }
    i += length;
  }
  moved[count] = to;
  for (let k = 0; k < whenCount; k++) {
    const i = whens[k]!;
    words[moved[i]! + skipWord] = (moved[skipsTo[i]!]! - moved[i]!) * 4;
  }
  return to;
}

/** What there is to know of the records; -1 = they are too many. */
function read(words: Int32Array, first: number, end: number, marks: Int32Array, instructions: number): number {
  let count = 0;
  for (let at = first; at < end; count++) {
    if (count === mostRecords) return -1;
    kinds[count] = words[at]! & 0xffff;
    starts[count] = at;
    at += recordKinds[kinds[count]!]!.bytes >> 2;
  }
  starts[count] = end;
  entries.fill(0, 0, count + 1);
  let mark = 0;
  let stores = false;
  for (let i = 0; i < count; i++) {
    while (mark < instructions && (marks[mark]! & 0xffff) >> 2 === starts[i]!) {
      // Where a store overwrites the block, it ends behind the store's instruction, at a record.
      if (entries[i] === 0) entries[i] = stores ? RECORD : INSTRUCTION;
      stores = false;
      mark++;
    }
    if (isStore[kinds[i]!] === 1) stores = true;
  }
  for (let i = 0; i < count; i++) {
    if (kinds[i] !== whenKind.id) continue;
    const target = starts[i]! + (words[starts[i]! + skipWord]! >> 2);
    let k = i + 1;
    while (starts[k]! < target) k++;
    skipsTo[i] = k;
    entries[k] = RECORD;
  }
  readers.fill(-1);
  for (let i = count - 1; i >= 0; i--) {
    const part = recordKinds[kinds[i]!]!.parts[0]!;
    const start = starts[i]!;
    lastReader[i] = -1;
    if (part.destination >= 0) {
      const slot = slotOf(half(words, start, part.destination));
      if (slot >= 0) {
        lastReader[i] = readers[slot]!;
        readers[slot] = -1;
      }
    }
    for (const offset of part.operands) {
      if (offset < 0) continue;
      const slot = slotOf(half(words, start, offset));
      if (slot >= 0 && readers[slot]! < 0) readers[slot] = i;
    }
  }
  return count;
}

/** The longest fusion of records from the `i`th on. */
function find(words: Int32Array, i: number, count: number): RecordKind | null {
  let begun = beginning(kinds[i]!);
  if (begun === undefined) return null;
  let found: RecordKind | null = null;
  for (let k = i + 1; k < count && entries[k] !== RECORD; k++) {
    begun = begun.next.get(kinds[k]!);
    if (begun === undefined) break;
    for (const index of begun.complete) {
      const kind = fusionKind(index);
      if (fits(words, i, kind)) {
        found = kind;
        break;
      }
    }
  }
  return found;
}

function fits(words: Int32Array, i: number, { parts }: RecordKind): boolean {
  const last = i + parts.length - 1;
  for (let p = 0; p < parts.length; p++) {
    const part = parts[p]!;
    const single = part.kind.parts[0]!;
    const start = starts[i + p]!;
    for (let k = 0; k < part.operands.length; k++) {
      const offset = single.operands[k]!;
      if (offset < 0) continue;
      const place = half(words, start, offset);
      let maker = p - 1;
      while (maker >= 0 && written[maker] !== place) maker--;
      if (part.from[k] !== maker && (part.from[k]! >= 0 || parts[maker]!.destination < 0)) return false;
    }
    written[p] = -1;
    if (single.destination < 0) continue;
    written[p] = half(words, start, single.destination);
    if (part.destination < 0 && (slotOf(written[p]!) < 0 || lastReader[i + p]! > last)) return false;
  }
  return true;
}

/** Makes the record of a fusion of those from the `i`th on. */
function write(words: Int32Array, i: number, kind: RecordKind): void {
  fusedWords.fill(0, 0, kind.immediateOffset >> 2);
  fusedWords[0] = kind.id;
  for (let p = 0; p < kind.parts.length; p++) {
    const part = kind.parts[p]!;
    const single = part.kind.parts[0]!;
    const start = starts[i + p]!;
    const copy = (to: number, from: number): void => {
      if (to >= 0) fusedWords[to >> 2]! |= half(words, start, from) << ((to & 2) * 8);
    };
    copy(part.destination, single.destination);
    copy(part.extra, single.extra);
    for (let k = 0; k < part.operands.length; k++) copy(part.operands[k]!, single.operands[k]!);
    const { bytes, immediateOffset, immediates } = part.kind;
    const to = immediates.length === 0 ? 0 : part.immediates[0]! >> 2;
    for (let n = 0; n < (bytes - immediateOffset) >> 2; n++)
      fusedWords[to + n] = words[start + (immediateOffset >> 2) + n]!;
  }
}

/** Places of the immediates in the records from word `first` to `end`: word index * 2, + 1 where it has 64 bits. */
export function immediatePlaces(words: Int32Array, first: number, end: number): number[] {
  const places: number[] = [];
  for (let at = first; at < end; ) {
    const { parts, bytes } = kindAt(words[at]! & 0xffff);
    for (const { kind, immediates } of parts) {
      for (let k = 0; k < immediates.length; k++) {
        const type = kind.immediates[k]!;
        if (type !== 'v128') places.push((at + (immediates[k]! >> 2)) * 2 + (type === 'i64' ? 1 : 0));
      }
    }
    at += bytes >> 2;
  }
  return places;
}
