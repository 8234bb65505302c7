/**
 * STAC and CLAC in generated code: `smapAccess(cpu, lifted)` shows or hides the entries of the user pages that the supervisor
 * has reached, as src/mmu/lifted-pages.ts says. Only the interpreter calls it: no region runs then that remembers a page.
 */
import { hiddenTag } from '../src/mmu/look-aside.ts';
import { liftedOffset, tlbBits, tlbEntryBytes, tlbOffsets } from '../src/state/layout.ts';
import type { Emitter } from './emitter.ts';
import { entryOf } from './probe.ts';

const CPU = 0;
const LIFTED = 1;
const tagBytes = 8;

export function addSmapAccess(e: Emitter): void {
  e.addFunction('smapAccess', ['i32', 'i32'], null, () => {
    const at = e.local('i32');
    const left = e.local('i32');
    const before = e.local('i64');
    const after = e.local('i64');
    const get = (local: number) => e.get(local, 'i32');
    const done = e.label('done');
    e.block(done, () => {
      e.brIf(done, e.op('i32.eq', e.state32('liftedShown'), get(LIFTED)));
      e.setState32('liftedShown', get(LIFTED));
      e.set(left, e.state32('liftedCount'));
      e.brIf(done, e.op('i32.eqz', get(left)));
      e.set(at, get(CPU));
      e.loop('pages', () => {
        const tag = e.share(e.load('i64', get(at), liftedOffset), 'i64');
        const hidden = e.share(e.op('i64.xor', tag(), e.i64(hiddenTag)), 'i64');
        e.set(before, e.select(get(LIFTED), hidden(), tag()));
        e.set(after, e.select(get(LIFTED), tag(), hidden()));
        const low = e.share(e.op('i32.wrap', tag()), 'i32');
        const own = e.share(entryOf(e, get(CPU), low, tlbBits), 'i32');
        // vCPU blocks are aligned to more than a table.
        const beside = e.share(e.op('i32.xor', own(), e.i32(((1 << tlbBits) * tlbEntryBytes) / 2)), 'i32');
        for (const table of [tlbOffsets.supervisorRead, tlbOffsets.supervisorWrite])
          for (const place of [own, beside])
            e.if(e.op('i64.eq', e.load('i64', place(), table), e.get(before, 'i64')), () =>
              e.store('i64', place(), e.get(after, 'i64'), table),
            );
        e.set(at, e.op('i32.add', get(at), e.i32(tagBytes)));
        e.set(left, e.op('i32.sub', get(left), e.i32(1)));
        e.brIf('pages', get(left));
      });
    });
  });
}
