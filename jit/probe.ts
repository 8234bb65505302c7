/**
 * The inline look-up of a linear address in a vCPU's look-aside table (src/state/layout.ts): one load, one compare, and
 * the host address. The compare fails for a page that is not there, for a bad address and for an access that crosses
 * into the next page.
 */
import { tlbBits, tlbEntryBytes } from '../src/state/layout.ts';
import type { Emitter, Expr } from './emitter.ts';

export interface Probe {
  /** True if the access hits. */
  readonly hit: Expr;
  /** The address in the VM's memory; valid on a hit. */
  readonly host: () => Expr;
}

const indexMask = ((1 << tlbBits) - 1) * tlbEntryBytes;
const indexShift = 12 - Math.log2(tlbEntryBytes);

/** `table`: address of the table; `address`: the linear address, each call one use. */
export function probe(e: Emitter, table: Expr, address: () => Expr, bytes: number): Probe {
  const index = e.op(
    'i32.and',
    e.op('i32.wrap', e.op('i64.shr_u', address(), e.i64(BigInt(indexShift)))),
    e.i32(indexMask),
  );
  const entry = e.share(e.op('i32.add', table, index), 'i32');
  const last = bytes === 1 ? address() : e.op('i64.add', address(), e.i64(BigInt(bytes - 1)));
  return {
    hit: e.op('i64.eq', e.load('i64', entry()), e.op('i64.and', last, e.i64(-4096n))),
    host: () => e.op('i32.add', e.load('i32', entry(), 8), e.op('i32.wrap', address())),
  };
}
