/**
 * The inline look-up of a linear address in a vCPU's look-aside table (src/state/layout.ts): one load, one compare, and
 * the host address.
 *
 * The tag is the linear page, so tag ^ address is the offset in the page if the page is the right one and large if not:
 * one unsigned compare with (4096 - bytes) rejects other pages, bad addresses and accesses that cross into the next page.
 */
import { tlbBits, tlbEntryBytes } from '../src/state/layout.ts';
import type { Emitter, Expr } from './emitter.ts';

export interface Probe {
  /** True if the access hits. */
  readonly hit: Expr;
  /** The address in the VM's memory; valid on a hit. */
  readonly host: () => Expr;
  /** The page that was found, and what leads from its linear to its host address. */
  readonly tag: () => Expr;
  readonly addend: () => Expr;
}

const indexMask = ((1 << tlbBits) - 1) * tlbEntryBytes;
const indexShift = 12 - Math.log2(tlbEntryBytes);

/** `table` + `offset` (or `offset` alone): address of the table; `address`: the linear address, each call one use. */
export function probe(e: Emitter, table: Expr | null, offset: number, address: () => Expr, bytes: number): Probe {
  const low = e.share(e.op('i32.wrap', address()), 'i32');
  const folded = e.op(
    'i32.xor',
    e.op('i32.shr_u', low(), e.i32(indexShift)),
    e.op('i32.shr_u', low(), e.i32(indexShift + tlbBits)),
  );
  const index = e.op('i32.and', folded, e.i32(indexMask));
  const entry = e.share(table === null ? index : e.op('i32.add', table, index), 'i32');
  return {
    hit: e.op('i64.le_u', e.op('i64.xor', e.load('i64', entry(), offset), address()), e.i64(BigInt(4096 - bytes))),
    host: () => e.op('i32.add', e.load('i32', entry(), offset + 8), low()),
    tag: () => e.load('i64', entry(), offset),
    addend: () => e.load('i32', entry(), offset + 8),
  };
}
