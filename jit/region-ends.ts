/**
 * Where a region is not to go on: where others begin that have most of it already.
 *
 * Code that a region holds gets one of its own where it is entered in another way (by an indirect jump whose target was not
 * known, by a return from what is interpreted): it is on the way to the others, or behind them, and what they have of loops
 * need not be translated once more. The other way round, the inside of a function is often hot before its entry is: the
 * region at the entry then goes over to that of the inside, which has all that follows.
 */
import type { Context } from '../src/execute/context.ts';
import { addressOfBig } from '../src/mmu/linear.ts';
import type { Installed, InstalledRegions } from './installed-regions.ts';
import { PlaceMap } from './place-map.ts';
import { type RegionBounds, unbounded } from './region.ts';

/** Instructions that are enough for a region that others have around them: what is far from it is theirs. */
export const besideInstructions = 200;
/** Instructions of a region that costs more to be translated once more than to go over to, and how far from there it lies. */
const large = 128;
const near = 0x4000;

export class RegionEnds {
  private readonly installed: InstalledRegions;
  /** Of places that were asked for: what is made anew ends where it did. */
  private readonly known = new PlaceMap<{ readonly physical: number; readonly bounds: RegionBounds }>();

  constructor(installed: InstalledRegions) {
    this.installed = installed;
  }

  /** How far the region at `rip` goes, whose first instruction is at a physical address. */
  of(context: Context, rip: bigint, physical: number): RegionBounds {
    const key = addressOfBig(rip);
    const before = this.known.get(context.id, key);
    if (before?.physical === physical) return before.bounds;
    const around = this.installed.around(context.id, physical);
    const others = around.length > 0 ? around : this.largeBy(context, key);
    const ends = new Set(others.map((region) => region.rip));
    ends.delete(rip);
    const instructions = around.length > 0 ? besideInstructions : unbounded.instructions;
    const bounds = { ends, instructions };
    this.known.set(context.id, key, { physical, bounds });
    return bounds;
  }
  private largeBy(context: Context, key: number): Installed[] {
    return this.installed.newest(context.id).filter((region) => {
      if (region.instructions < large || Math.abs(region.key - key) > near) return false;
      // What was made beside others does not have all that follows.
      const isWhole = this.known.get(context.id, region.key)?.bounds.instructions !== besideInstructions;
      return isWhole && this.installed.valid(context.id, region.key) === region;
    });
  }
  forget(): void {
    this.known.clear();
  }
}
