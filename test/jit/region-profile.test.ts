/** Which regions are made anew for what was seen of the guest, and where regions end for others. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Installed, InstalledRegions } from '../../jit/installed-regions.ts';
import { unbounded } from '../../jit/region.ts';
import { besideInstructions, RegionEnds } from '../../jit/region-ends.ts';
import { RegionProfile } from '../../jit/region-profile.ts';
import { Contexts } from '../../src/execute/context.ts';
import { addressOfBig } from '../../src/mmu/linear.ts';
import { profileEntry, profileEntryBytes } from '../../src/state/layout.ts';

const context = new Contexts().flatOf(1);
const site = 0x40_0100n;

/** A region of bytes from `rip` on, where linear and physical addresses are the same. */
function regionAt(rip: bigint, bytes: number, fields: Partial<Installed> = {}): Installed {
  const users = [{ physical: Number(rip), second: -1, length: bytes, invalidate: () => {} }];
  const key = addressOfBig(rip);
  return { rip, key, users, instructions: bytes, indirect: [], apart: 0, ...fields } as unknown as Installed;
}
/** What is asked of the regions that are there. */
function installed(regions: readonly Installed[]): InstalledRegions {
  const at = (_: number, key: number) => regions.filter((region) => region.key === key);
  return {
    at,
    newest: () => regions,
    valid: (context: number, key: number) => at(context, key)[0] ?? null,
    around: (_: number, physical: number) =>
      regions.filter(({ users }) =>
        users.some((user) => physical >= user.physical && physical < user.physical + user.length),
      ),
  } as unknown as InstalledRegions;
}
/** Entries of a profile: so many times of a region and a target. */
function profile(...parts: readonly (readonly [region: bigint, target: bigint, times: number])[]): BigInt64Array {
  const words = parts.flatMap(([region, target, times]) =>
    Array.from({ length: times }, () => {
      const entry = new BigInt64Array(profileEntryBytes / 8);
      entry[profileEntry.site / 8] = site;
      entry[profileEntry.target / 8] = target;
      entry[profileEntry.region / 8] = region;
      return [...entry];
    }),
  );
  return BigInt64Array.from(words.flat());
}

test('of the regions that hold a jump, those go on to a target that have gone there often', () => {
  const jump = (targets: readonly bigint[]) => ({ indirect: [{ site, targets }] });
  const regions = [0x40_0000n, 0x40_0020n, 0x40_0040n].map((rip) => regionAt(rip, 0x200, jump([1n])));
  const [often, seldom, never] = regions as [Installed, Installed, Installed];
  const learned = new RegionProfile(installed(regions), () => false);
  assert.deepEqual(learned.profiled(profile([often.rip, 2n, 40], [seldom.rip, 2n, 3]), context), [often]);
  assert.deepEqual(learned.seen.get(site), [2n], 'all know it that are made from now on');
  assert.deepEqual(learned.profiled(profile([never.rip, 1n, 40]), context), [], 'made before it was learned');
  assert.deepEqual(learned.profiled(profile([seldom.rip, 2n, 4], [never.rip, 3n, 9]), context), [seldom, never]);
  assert.deepEqual(learned.profiled(profile([0x99n, 2n, 40]), context), [], 'of a region that has gone');
  const spread = [4n, 5n, 6n].flatMap((target) => regions.map(({ rip }) => [rip, target, 2] as const));
  assert.deepEqual(learned.profiled(profile(...spread), context), regions, 'to several targets');
});

test('small regions go along', () => {
  const regions = [0x40_0000n, 0x40_0020n].map((rip) => regionAt(rip, 0x80, { indirect: [{ site, targets: [] }] }));
  const learned = new RegionProfile(installed(regions), () => false);
  assert.deepEqual(learned.profiled(profile([regions[0]!.rip, 2n, 40]), context), regions);
});

test('one region at a time looks up an instruction by itself that leaves often', () => {
  const regions = [regionAt(0x40_0000n, 0x180), regionAt(0x40_0080n, 0x200), regionAt(0x40_0400n, 0x100)];
  const underWay = new Set<Installed>();
  const learned = new RegionProfile(installed(regions), (region) => underWay.has(region));
  const key = addressOfBig(site);
  const leave = () => learned.left(key, 512) && learned.worn(context, key, Number);
  assert.equal(learned.left(key, 511), false);
  assert.equal(leave(), regions[1], 'the largest');
  assert.deepEqual([...learned.apart], [site]);
  underWay.add(regions[1]!);
  assert.equal(leave(), null, 'it may be enough');
  underWay.clear();
  regions[1] = regionAt(0x40_0080n, 0x200, { apart: learned.apart.size });
  assert.equal(leave(), regions[0], 'the other one left');
  regions[0] = regionAt(0x40_0000n, 0x180, { apart: learned.apart.size });
  assert.equal(leave(), null);
  assert.equal(leave(), false, 'nothing is to be done for long');
});

test('a region ends where a large one begins close by, and is small where others hold its first instruction', () => {
  const [large, small, far] = [regionAt(0x40_0100n, 300), regionAt(0x40_0800n, 50), regionAt(0x50_0000n, 300)];
  const ends = new RegionEnds(installed([large, small, far]));
  const of = (rip: bigint) => ends.of(context, rip, Number(rip));
  assert.deepEqual(of(0x40_0000n), { ends: new Set([large.rip]), instructions: unbounded.instructions });
  assert.deepEqual(of(large.rip + 8n), { ends: new Set([large.rip]), instructions: besideInstructions });
  assert.deepEqual(of(0x60_0000n), unbounded);
  const beside = new RegionEnds(installed([large, regionAt(large.rip + 8n, 200)]));
  beside.of(context, large.rip + 8n, Number(large.rip) + 8);
  assert.deepEqual(
    beside.of(context, 0x40_0000n, 0x40_0000).ends,
    new Set([large.rip]),
    'one beside others is not whole',
  );
});
