/** Where generated code finds the jump cache's entry of a target (src/state/layout.ts). */
import { jumpIndexOf } from '../src/execute/jump-cache.ts';
import { jumpCacheBits, jumpCacheEntry, jumpCacheEntryBytes, jumpCacheOffset } from '../src/state/layout.ts';
import type { Emitter, Expr } from './emitter.ts';

/** The own place of an instruction pointer in the cache, by its low half; src/execute/jump-cache.ts computes the same. */
export function jumpIndex(e: Emitter, low: () => Expr): Expr {
  const folded = e.op('i32.xor', low(), e.op('i32.shr_u', low(), e.i32(12)));
  return e.op('i32.and', folded, e.i32((1 << jumpCacheBits) - 1));
}

/** Address of the entry, less the cache's offset; `target` is null where it is not known yet. */
function addressOf(e: Emitter, target: bigint | null, to: () => Expr): () => Expr {
  if (target !== null) {
    const offset = jumpIndexOf(Number(BigInt.asUintN(32, target))) * jumpCacheEntryBytes;
    return e.cpuBase === null ? e.share(e.inCpu(offset), 'i32') : () => e.inCpu(offset);
  }
  const index = jumpIndex(e, e.share(e.op('i32.wrap', to()), 'i32'));
  return e.share(e.op('i32.add', e.cpu(), e.op('i32.mul', index, e.i32(jumpCacheEntryBytes))), 'i32');
}

/** The entry's look-up, emitted now: is it another's or out of force, and its region (0 = none; each call one use). */
export function lookUpJump(
  e: Emitter,
  target: bigint | null,
  to: () => Expr,
): { readonly misses: () => Expr; readonly region: () => Expr } {
  const entry = addressOf(e, target, to);
  const wide = (offset: number) => e.load('i64', entry(), jumpCacheOffset + offset);
  return {
    misses: () =>
      e.op(
        'i32.or',
        e.op('i64.ne', wide(jumpCacheEntry.rip), to()),
        e.op('i64.ne', wide(jumpCacheEntry.context), e.codeInForce()),
      ),
    region: () => e.load('i32', entry(), jumpCacheOffset + jumpCacheEntry.region),
  };
}
