/**
 * The core module's look at an entry of the jump cache that a flush has taken out of force: is its code still where it was,
 * in pages that the instruction look-aside table holds (src/mmu/fetch-look-aside.ts)? Then the entry is in force again. What
 * is to be compared stands in the entry (src/execute/jump-cache.ts); where more is needed the engine looks.
 */
import { fetchTlbBits, fetchTlbOffset, jumpCacheEntry, jumpCacheOffset } from '../src/state/layout.ts';
import type { Emitter, Expr } from './emitter.ts';

const CPU = 0;
const ENTRY = 1;
const RIP = 2;
/** Bytes of an entry of the instruction look-aside table, and of a page in a list. */
const placeBytes = 16;

/** Adds `isRight(cpu, entry, rip)`, with the entry's address less the jump cache's offset: 1 or 0. */
export function addIsRight(e: Emitter): void {
  e.addFunction('isRight', ['i32', 'i32', 'i64'], 'i32', () => {
    const tag = e.local('i64');
    const page = e.local('i32');
    const left = e.local('i32');
    const field = (offset: number) => e.load('i32', e.get(ENTRY, 'i32'), jumpCacheOffset + offset);
    const no = () => e.return(e.i32(0));
    /** Leaves unless the page with the tag is fetched from this physical page. */
    const check = (physical: Expr) => {
      const number = e.op('i32.wrap', e.op('i64.shr_u', e.get(tag, 'i64'), e.i64(1n)));
      const index = e.op('i32.and', number, e.i32((1 << fetchTlbBits) - 1));
      const place = e.share(e.op('i32.add', e.get(CPU, 'i32'), e.op('i32.mul', index, e.i32(placeBytes))), 'i32');
      const other = e.op('i64.ne', e.load('i64', place(), fetchTlbOffset), e.get(tag, 'i64'));
      e.if(e.op('i32.or', other, e.op('i32.ne', e.load('i32', place(), fetchTlbOffset + 8), physical)), no);
    };
    e.if(e.op('i64.ne', e.load('i64', e.get(ENTRY, 'i32'), jumpCacheOffset), e.get(RIP, 'i64')), no);
    e.if(e.op('i32.ne', field(jumpCacheEntry.context), e.state32('context')), no);
    e.set(page, field(jumpCacheEntry.pages));
    e.if(e.op('i32.eq', e.get(page, 'i32'), e.i32(1)), no);
    e.if(
      e.op('i32.eqz', e.get(page, 'i32')),
      () => {
        const user = e.op('i64.extend_u', e.op('i32.eq', e.state32('cpl'), e.i32(3)));
        const number = e.op('i64.shr_s', e.get(RIP, 'i64'), e.i64(12n));
        e.set(tag, e.op('i64.or', e.op('i64.shl', number, e.i64(1n)), user));
        check(field(jumpCacheEntry.physical));
      },
      () => {
        e.set(page, e.op('i32.add', e.get(CPU, 'i32'), e.get(page, 'i32')));
        e.set(left, e.load('i32', e.get(page, 'i32')));
        e.loop('pages', () => {
          e.set(page, e.op('i32.add', e.get(page, 'i32'), e.i32(placeBytes)));
          e.set(tag, e.load('i64', e.get(page, 'i32')));
          check(e.load('i32', e.get(page, 'i32'), 8));
          e.set(left, e.op('i32.sub', e.get(left, 'i32'), e.i32(1)));
          e.brIf('pages', e.get(left, 'i32'));
        });
      },
    );
    e.store('i32', e.get(ENTRY, 'i32'), e.state32('codeEpoch'), jumpCacheOffset + jumpCacheEntry.epoch);
    e.return(e.i32(1));
  });
}
