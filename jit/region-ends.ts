/**
 * Where a region is not to go on. Code that a region holds already gets one of its own where it is entered in another way
 * (by an indirect jump whose target was not known, by a return from what is interpreted): that one ends where the others
 * begin. It is on the way to them, or behind them, and what they have of loops need not be translated once more.
 */
import type { Context } from '../src/execute/context.ts';
import { addressOfBig } from '../src/mmu/linear.ts';
import type { InstalledRegions } from './installed-regions.ts';
import { PlaceMap } from './place-map.ts';

export class RegionEnds {
  private readonly installed: InstalledRegions;
  /** Of places that were asked for: what is made anew ends where it did. */
  private readonly known = new PlaceMap<{ readonly physical: number; readonly ends: ReadonlySet<bigint> }>();

  constructor(installed: InstalledRegions) {
    this.installed = installed;
  }

  /** Instruction pointers that end the region at `rip`, whose first instruction is at a physical address. */
  of(context: Context, rip: bigint, physical: number): ReadonlySet<bigint> {
    const key = addressOfBig(rip);
    const before = this.known.get(context.id, key);
    if (before?.physical === physical) return before.ends;
    const ends = new Set(this.installed.around(context.id, physical).map((region) => region.rip));
    ends.delete(rip);
    this.known.set(context.id, key, { physical, ends });
    return ends;
  }
  forget(): void {
    this.known.clear();
  }
}
