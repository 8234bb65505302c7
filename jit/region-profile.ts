/**
 * What regions are made anew for: targets of indirect jumps that they lack, and instructions that leave them often. Many
 * regions may hold such an instruction, most of which the guest hardly goes through, and the compiler takes as long for each
 * as for other code: so only those are made anew that have gone there. Where that is not told, it is one at a time.
 */
import type { Context } from '../src/execute/context.ts';
import { bigOf } from '../src/mmu/linear.ts';
import { profileEntry, profileEntryBytes } from '../src/state/layout.ts';
import type { IndirectJump } from './compiler-protocol.ts';
import { holds, type Installed, type InstalledRegions } from './installed-regions.ts';

/** Times that a target must stand in one profile to be taken in, and how many a jump may have. */
const profileThreshold = 4;
const maximumTargets = 48;
/** Instructions of all regions that lack targets of a jump for which it is not worth while to tell them apart. */
const small = 400;
/** Leaves at one instruction before its accesses are looked up one by one, and before another region is made anew. */
const retryThreshold = 512;
/** Leaves at one that all regions look up by itself until they are looked at again. */
const knownPatience = 4096;

/** Physical address of the instruction at an instruction pointer of the current context; -1: it cannot be fetched. */
type PhysicalOf = (rip: bigint) => number;

const fields = [profileEntry.site, profileEntry.target, profileEntry.region].map((offset) => offset / 8);

/** The map that stands in a map for a key. */
function within<K>(map: Map<bigint, Map<bigint, K>>, key: bigint): Map<bigint, K> {
  let there = map.get(key);
  if (there === undefined) map.set(key, (there = new Map()));
  return there;
}
const count = (times: Map<bigint, number>, key: bigint, more: number) => times.set(key, (times.get(key) ?? 0) + more);

export class RegionProfile {
  private readonly installed: InstalledRegions;
  private readonly isUnderWay: (region: Installed) => boolean;
  /** Targets of indirect jumps that have been seen. */
  readonly seen = new Map<bigint, readonly bigint[]>();
  /** Instructions that leave their regions often: their accesses are looked up one by one. */
  readonly apart = new Set<bigint>();
  /** How many there were before each of them. */
  private readonly apartBefore = new Map<bigint, number>();
  /** How often regions were left at the others, or at these since a region was last made anew for them. */
  private readonly retries = new Map<number, number>();

  /** @param isUnderWay a region is being made anew already */
  constructor(installed: InstalledRegions, isUnderWay: (region: Installed) => boolean) {
    this.installed = installed;
    this.isUnderWay = isUnderWay;
  }

  /**
   * Takes in the targets that are frequent in a profile of indirect jumps.
   * @param entries as regions have written them (src/state/layout.ts)
   * @returns the regions that are to be made anew with them: those that went there often
   */
  profiled(entries: BigInt64Array, context: Context): Installed[] {
    /** By jump, by region, by target: how often. */
    const jumps = new Map<bigint, Map<bigint, Map<bigint, number>>>();
    for (let i = 0; i < entries.length; i += profileEntryBytes / 8) {
      const [site, target, region] = fields.map((field) => entries[i + field]!) as [bigint, bigint, bigint];
      count(within(within(jumps, site), region), target, 1);
    }
    const chosen = new Set<Installed>();
    const all = this.installed.newest(context.id);
    for (const [site, regions] of jumps) {
      const total = new Map<bigint, number>();
      for (const targets of regions.values()) for (const [target, times] of targets) count(total, target, times);
      const frequent = [...total].flatMap(([target, times]) => (times >= profileThreshold ? [target] : []));
      const known = this.see({ site, targets: frequent });
      const lacking = all
        .map((region) => {
          const targets = region.indirect.find((jump) => jump.site === site)?.targets;
          return { region, targets: known.filter((target) => targets?.includes(target) === false) };
        })
        .filter(({ targets }) => targets.length > 0);
      const goesAlong = lacking.reduce((sum, { region }) => sum + region.instructions, 0) <= small;
      for (const { region, targets } of lacking) {
        const times = targets.reduce((sum, target) => sum + (regions.get(region.rip)?.get(target) ?? 0), 0);
        if (goesAlong || times >= profileThreshold) chosen.add(region);
      }
    }
    return [...chosen];
  }
  /** Notes targets of an indirect jump. Returns those of them that it is known to have from now on. */
  see({ site, targets }: IndirectJump): readonly bigint[] {
    const known = this.seen.get(site) ?? [];
    const more = targets.filter((target) => !known.includes(target));
    const all = more.length > 0 ? [...known, ...more].slice(0, maximumTargets) : known;
    this.seen.set(site, all);
    return targets.filter((target) => all.includes(target));
  }

  /** Notes that an instruction was left to the interpreter. True: often enough for {@link worn}. */
  left(key: number, times: number): boolean {
    const count = (this.retries.get(key) ?? 0) + times;
    this.retries.set(key, count);
    return count >= retryThreshold;
  }
  /** The region to be made anew for an instruction that is left to the interpreter often; null: there is none now. */
  worn(context: Context, key: number, physicalOf: PhysicalOf): Installed | null {
    const rip = bigOf(key);
    const at = physicalOf(rip);
    const holding = this.installed.around(context.id, at);
    if (!this.apart.has(rip)) {
      // What would be next in these regions goes along, for one translation less.
      for (const [other, times] of this.retries)
        if (times >= retryThreshold / 4 && holding.some((region) => holds(region, physicalOf(bigOf(other)))))
          this.lookUpApart(bigOf(other));
      this.lookUpApart(rip);
    }
    const before = this.apartBefore.get(rip)!;
    const old = holding.filter((region) => region.apart <= before);
    this.retries.set(key, old.length > 0 ? 0 : -knownPatience);
    return this.oneOf(old);
  }
  lookUpApart(rip: bigint): void {
    if (this.apart.has(rip)) return;
    this.apartBefore.set(rip, this.apart.size);
    this.apart.add(rip);
  }

  /** The largest: it has most of what the others have. Null while one of them is under way. */
  private oneOf(regions: readonly Installed[]): Installed | null {
    if (regions.length === 0 || regions.some(this.isUnderWay)) return null;
    return regions.reduce((best, region) => (region.instructions > best.instructions ? region : best));
  }

  forget(): void {
    for (const learned of [this.seen, this.apart, this.apartBefore, this.retries]) learned.clear();
  }
}
