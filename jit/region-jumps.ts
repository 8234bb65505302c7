/**
 * Jumps whose target is a value: the choice among the targets that a region knows, and the note of one that it does not,
 * for the profile (src/state/layout.ts) from which it is translated again.
 */
import { profileEntries, profileEntry, profileEntryBytes, profileOffset } from '../src/state/layout.ts';
import type { Emitter, Expr } from './emitter.ts';

/** Distance between the lowest and the highest target that a jump table may span. */
const largestTable = 2048n;
const ascending = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);

/**
 * Goes to the one of some targets that a value is: by a table where they lie close together, else by bisection. Falls
 * through if it is none of them.
 * @param to the value, each call one use
 * @param go emits the way to a target
 */
export function chooseTarget(
  e: Emitter,
  to: () => Expr,
  targets: readonly bigint[],
  go: (target: bigint) => void,
): void {
  chooseSorted(e, to, [...targets].sort(ascending), go);
}

function chooseSorted(e: Emitter, to: () => Expr, targets: readonly bigint[], go: (target: bigint) => void): void {
  const [first, last] = [targets[0], targets.at(-1)];
  if (first === undefined || last === undefined) return;
  if (targets.length < 4) {
    for (const t of targets) e.if(e.op('i64.eq', to(), e.i64(t)), () => go(t));
    return;
  }
  if (last - first > largestTable) {
    const half = targets.length >> 1;
    const [low, high] = [targets.slice(0, half), targets.slice(half)];
    return e.if(
      e.op('i64.lt_s', to(), e.i64(high[0]!)),
      () => chooseSorted(e, to, low, go),
      () => chooseSorted(e, to, high, go),
    );
  }
  const other = e.label('other');
  const labels = new Map(targets.map((t) => [t, e.label('target')]));
  const table = Array.from({ length: Number(last - first) + 1 }, (_, i) => labels.get(first + BigInt(i)) ?? other);
  const nest = (n: number): void => {
    if (n < 0) {
      const distance = e.share(e.op('i64.sub', to(), e.i64(first)), 'i64');
      e.brIf(other, e.op('i64.gt_u', distance(), e.i64(last - first)));
      return e.switch(table, other, e.op('i32.wrap', distance()));
    }
    e.block(labels.get(targets[n]!)!, () => nest(n - 1));
    go(targets[n]!);
  };
  e.block(other, () => nest(targets.length - 1));
}

/** Notes that the jump at `site` has gone to a target that the region, which begins at `region`, does not know. */
export function noteTarget(e: Emitter, region: bigint, site: bigint, to: () => Expr): void {
  const at = e.op('i32.and', e.state32('profileCount'), e.i32(profileEntries - 1));
  const entry = e.share(e.op('i32.add', e.cpu(), e.op('i32.mul', at, e.i32(profileEntryBytes))), 'i32');
  e.store('i64', entry(), e.i64(site), profileOffset + profileEntry.site);
  e.store('i64', entry(), to(), profileOffset + profileEntry.target);
  e.store('i64', entry(), e.i64(region), profileOffset + profileEntry.region);
  e.setState32('profileCount', e.op('i32.add', e.state32('profileCount'), e.i32(1)));
}
