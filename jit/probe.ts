/**
 * The inline look-up of a linear address in a vCPU's look-aside table (src/state/layout.ts): one load, one compare, and
 * the host address.
 *
 * The tag is the linear page, so tag ^ address is the offset in the page if the page is the right one and large if not:
 * one unsigned compare with (4096 - bytes) rejects other pages, bad addresses and accesses that cross into the next page.
 */
import { foldOf } from '../src/mmu/look-aside.ts';
import { tlbBits, tlbEntryBytes } from '../src/state/layout.ts';
import type { Emitter, Expr } from './emitter.ts';

export interface Probe {
  /** True if the access hits, or if it does not: one of the two must stand before all that follows, once. */
  readonly hit: () => Expr;
  readonly missed: () => Expr;
  /** The address in the VM's memory; valid on a hit. */
  readonly host: () => Expr;
  /** The page that was found, and what leads from its linear to its host address. */
  readonly tag: () => Expr;
  readonly addend: () => Expr;
}

const indexShift = 12 - Math.log2(tlbEntryBytes);

/** Address of the entry at the page's own place. `first` is evaluated before `low` is. */
export function entryOf(e: Emitter, table: Expr | null, low: () => Expr, bits: number, first = low()): Expr {
  const folded = e.op(
    'i32.xor',
    e.op('i32.shr_u', first, e.i32(indexShift)),
    e.op('i32.shr_u', low(), e.i32(indexShift + foldOf(bits))),
  );
  const index = e.op('i32.and', folded, e.i32(((1 << bits) - 1) * tlbEntryBytes));
  return table === null ? index : e.op('i32.add', table, index);
}
/** `first`: makes the entry's address. */
function found(
  e: Emitter,
  first: Expr,
  entry: () => Expr,
  offset: number,
  address: () => Expr,
  low: () => Expr,
  bytes: number,
): Probe {
  const hit = (): Expr =>
    e.op('i64.le_u', e.op('i64.xor', e.load('i64', first, offset), address()), e.i64(BigInt(4096 - bytes)));
  return {
    hit,
    missed: () => e.op('i32.eqz', hit()), // by `i64.gt_u`, V8 has hits jump and misses go straight on
    host: () => e.op('i32.add', e.load('i32', entry(), offset + 8), low()),
    tag: () => e.load('i64', entry(), offset),
    addend: () => e.load('i32', entry(), offset + 8),
  };
}

/**
 * Looks at the page's own place alone. `table` + `offset` (or `offset` alone): address of the table of 2^bits entries;
 * `address`: the linear address, each call one use.
 */
export function probe(
  e: Emitter,
  table: Expr | null,
  offset: number,
  address: () => Expr,
  bytes: number,
  bits = tlbBits,
): Probe {
  const low = e.local('i32');
  const entry = e.local('i32');
  const lowest = () => e.get(low, 'i32');
  const made = entryOf(e, table, lowest, bits, e.tee(low, e.op('i32.wrap', address()), 'i32'));
  return found(e, e.tee(entry, made, 'i32'), () => e.get(entry, 'i32'), offset, address, lowest, bytes);
}

/** Looks at both places of the page; `missIf` must leave where it stands at neither. */
export function probeBoth(
  e: Emitter,
  table: Expr | null,
  offset: number,
  address: () => Expr,
  bytes: number,
  missIf: (missed: Expr) => void,
): Omit<Probe, 'hit' | 'missed'> {
  const low = e.local('i32');
  const entry = e.local('i32');
  const lowest = () => e.get(low, 'i32');
  const look = (place: Expr) =>
    found(e, e.tee(entry, place, 'i32'), () => e.get(entry, 'i32'), offset, address, lowest, bytes);
  const there = look(entryOf(e, table, lowest, tlbBits, e.tee(low, e.op('i32.wrap', address()), 'i32')));
  e.if(there.missed(), () => {
    // vCPU blocks are aligned to more than a table.
    const beside = e.op('i32.xor', e.get(entry, 'i32'), e.i32(((1 << tlbBits) * tlbEntryBytes) / 2));
    missIf(look(beside).missed());
  });
  return there;
}
