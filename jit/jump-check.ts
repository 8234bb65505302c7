/**
 * The core module's look at what a flush has taken out of force: is the code still where it was, in pages that the
 * instruction look-aside table holds (src/mmu/fetch-look-aside.ts)? Then it is in force again. What is to be compared
 * stands in an entry of the jump cache (src/execute/jump-cache.ts) or before a block's records (src/execute/encode.ts);
 * where more is needed the engine looks.
 */
import { blockPlace } from '../src/execute/encode.ts';
import { noPhysicalNumber } from '../src/mmu/fetch-look-aside.ts';
import { fetchTlbBits, fetchTlbOffset, jumpCacheEntry, jumpCacheOffset } from '../src/state/layout.ts';
import type { Emitter, Expr } from './emitter.ts';

const CPU = 0;
/** An entry of the jump cache, or a block. */
const SUBJECT = 1;
const RIP = 2;
/** Bytes of an entry of the instruction look-aside table, and of a page in a list. */
const placeBytes = 16;

const no = (e: Emitter) => e.return(e.i32(0));
const field = (e: Emitter, offset: number) => e.load('i32', e.get(SUBJECT, 'i32'), offset);

/** Returns 0 unless the page with the tag is fetched from this physical page. */
function check(e: Emitter, tag: number, physical: () => Expr): void {
  const index = e.op('i32.and', e.op('i32.wrap', e.get(tag, 'i64')), e.i32((1 << fetchTlbBits) - 1));
  const place = e.share(e.op('i32.add', e.get(CPU, 'i32'), e.op('i32.mul', index, e.i32(placeBytes))), 'i32');
  const other = e.op('i64.ne', e.load('i64', place(), fetchTlbOffset), e.get(tag, 'i64'));
  e.if(e.op('i32.or', other, e.op('i32.ne', e.load('i32', place(), fetchTlbOffset + 8), physical())), () => no(e));
}
/** The same for the page of the instruction pointer. */
function checkOwn(e: Emitter, tag: number, physical: () => Expr): void {
  const user = e.op('i64.extend_u', e.op('i32.eq', e.state32('cpl'), e.i32(3)));
  const number = e.op('i64.shr_s', e.get(RIP, 'i64'), e.i64(12n));
  e.set(tag, e.op('i64.or', e.op('i64.shl', number, e.i64(1n)), user));
  check(e, tag, physical);
}

/** Adds `isRight(cpu, entry, rip)`, with the entry's address less the jump cache's offset: 1 or 0. */
export function addIsRight(e: Emitter): void {
  e.addFunction('isRight', ['i32', 'i32', 'i64'], 'i32', () => {
    const tag = e.local('i64');
    const page = e.local('i32');
    const left = e.local('i32');
    const at = (offset: number) => field(e, jumpCacheOffset + offset);
    e.if(e.op('i64.ne', e.load('i64', e.get(SUBJECT, 'i32'), jumpCacheOffset), e.get(RIP, 'i64')), () => no(e));
    e.if(e.op('i32.ne', at(jumpCacheEntry.context), e.state32('context')), () => no(e));
    e.set(page, at(jumpCacheEntry.pages));
    e.if(e.op('i32.eq', e.get(page, 'i32'), e.i32(1)), () => no(e));
    e.if(
      e.op('i32.eqz', e.get(page, 'i32')),
      () => checkOwn(e, tag, () => at(jumpCacheEntry.physical)),
      () => {
        e.set(page, e.op('i32.add', e.get(CPU, 'i32'), e.get(page, 'i32')));
        e.set(left, e.load('i32', e.get(page, 'i32')));
        e.loop('pages', () => {
          e.set(page, e.op('i32.add', e.get(page, 'i32'), e.i32(placeBytes)));
          e.set(tag, e.load('i64', e.get(page, 'i32')));
          check(e, tag, () => e.load('i32', e.get(page, 'i32'), 8));
          e.set(left, e.op('i32.sub', e.get(left, 'i32'), e.i32(1)));
          e.brIf('pages', e.get(left, 'i32'));
        });
      },
    );
    e.store('i32', e.get(SUBJECT, 'i32'), e.state32('codeEpoch'), jumpCacheOffset + jumpCacheEntry.epoch);
    e.return(e.i32(1));
  });
}

/** Adds `isRightBlock(cpu, block, rip)` for a block with that instruction pointer: 1 or 0. */
export function addIsRightBlock(e: Emitter): void {
  e.addFunction('isRightBlock', ['i32', 'i32', 'i64'], 'i32', () => {
    const tag = e.local('i64');
    const physical = () => field(e, blockPlace.physical);
    e.if(e.op('i32.ne', field(e, blockPlace.context), e.state32('context')), () => no(e));
    e.if(e.op('i32.eq', physical(), e.i32(noPhysicalNumber | 0)), () => no(e));
    checkOwn(e, tag, physical);
    e.store('i32', e.get(SUBJECT, 'i32'), e.state32('codeEpoch'), blockPlace.epoch);
    e.return(e.i32(1));
  });
}
