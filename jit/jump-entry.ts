/** Where a region finds the jump cache's entry of a target (src/state/layout.ts); src/execute/jump-cache.ts computes the same. */
import { jumpCacheBits, jumpCacheEntryBytes } from '../src/state/layout.ts';
import type { Emitter, Expr } from './emitter.ts';

/** Address of the entry, less the cache's offset; `target` is null where it is not known yet. */
export function jumpEntry(e: Emitter, target: bigint | null, to: () => Expr): () => Expr {
  const mask = (1 << jumpCacheBits) - 1;
  if (target !== null) {
    const low = Number(BigInt.asUintN(32, target));
    const offset = ((low ^ (low >>> 12)) & mask) * jumpCacheEntryBytes;
    return e.share(e.op('i32.add', e.cpu(), e.i32(offset)), 'i32');
  }
  const low = e.share(e.op('i32.wrap', to()), 'i32');
  const index = e.op('i32.and', e.op('i32.xor', low(), e.op('i32.shr_u', low(), e.i32(12))), e.i32(mask));
  return e.share(e.op('i32.add', e.cpu(), e.op('i32.mul', index, e.i32(jumpCacheEntryBytes))), 'i32');
}
