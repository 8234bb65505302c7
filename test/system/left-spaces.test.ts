/** A load of CR3 with bit 63 finds what was known of the address space: SDM volume 3, section 5.10.4. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { indexOf } from '../../src/mmu/look-aside.ts';
import { PAGE_CODE } from '../../src/mmu/page-flags.ts';
import { SavedPages } from '../../src/mmu/saved-pages.ts';
import { type TlbKind, tlbOffsets } from '../../src/state/layout.ts';
import { attempt, longMode, type Machine } from './machine.ts';

const CR4 = { pae: 0x20, pge: 0x80, pcide: 1 << 17, smap: 1 << 21, pke: 1 << 22 } as const;
const ROOT = 0x10000;
const OTHER_ROOT = 0x2f_0000;
const AC = 1 << 18;
const KEEP = 1n << 63n;
const page = 0x20_1000;
const known = (m: Machine, kind: TlbKind, linear = page): boolean => {
  const at = (tlbOffsets[kind] >> 2) + indexOf(linear) * 4;
  return m.state.u32[at] === linear && m.state.u32[at + 1] === 0;
};
const space = (m: Machine, identifier: number, keep: boolean, root = ROOT): void =>
  assert.equal(attempt(m, 'mov-to-cr', 3, BigInt(root + identifier) | (keep ? KEEP : 0n)), 'done');
const load = (m: Machine, linear = page): boolean => m.p.mmu.slowRead(linear, 0, 4, 'read', false);
const store = (m: Machine, linear = page): boolean => m.p.mmu.slowWrite(linear, 0, 4, 'write', false);
const fetches = (m: Machine): boolean => m.p.mmu.fetches.find(page, 0, m.p.cpl === 3) >= 0;
/** What is known of the page: the tables for reads, writes, the stack and instructions. */
const all = (m: Machine): string => {
  const user = m.p.cpl === 3;
  const stack = !m.p.mmu.enterStack(page, 0);
  return [
    known(m, user ? 'userRead' : 'supervisorRead'),
    known(m, user ? 'userWrite' : 'supervisorWrite'),
    stack,
    fetches(m),
  ].join();
};

/** In space 1, where the page was read, written, and executed, unless SMAP forbids it. */
function machine(cpl: 0 | 3 = 0, more = 0): Machine {
  const m = longMode(cpl);
  for (let at = 0; at < 4096; at += 8) m.memory.write64(OTHER_ROOT + at, m.memory.read64(ROOT + at));
  m.state.set64('cr4', BigInt(CR4.pae | CR4.pge | CR4.pcide | more));
  m.state.set64('cr3', BigInt(ROOT + 1));
  m.cpu.stateReplaced();
  if ((more & CR4.smap) === 0) touch(m);
  return m;
}
function touch(m: Machine): void {
  assert.ok(load(m) && store(m) && m.p.mmu.enterStack(page, 0) && m.p.mmu.fetchPage(page, 0) >= 0);
}
/** Privileged instructions of a machine whose guest is a program. */
function asSystem(m: Machine, act: () => void): void {
  const cpl = m.p.cpl;
  m.p.setCpl(0);
  act();
  m.p.setCpl(cpl);
}

for (const cpl of [0, 3] as const)
  test(`what was known of a space is known again, with CPL ${cpl}`, () => {
    const m = machine(cpl);
    asSystem(m, () => space(m, 2, false));
    assert.equal(known(m, cpl === 0 ? 'supervisorRead' : 'userRead') || fetches(m), false);
    asSystem(m, () => space(m, 1, true));
    assert.equal(all(m), 'true,true,true,true');
  });

test('without bit 63, or with another root, it is not', () => {
  for (const [keep, root] of [
    [false, ROOT],
    [true, OTHER_ROOT],
  ] as const) {
    const m = machine();
    space(m, 2, true);
    space(m, 1, keep, root);
    assert.equal(known(m, 'supervisorRead') || known(m, 'supervisorWrite') || fetches(m), false);
    space(m, 2, true);
    space(m, 1, true);
    assert.equal(known(m, 'supervisorRead'), false, 'nor later');
  }
});

test('the space in force keeps what it knows where bit 63 says so', () => {
  const m = machine();
  space(m, 1, true);
  assert.ok(known(m, 'supervisorWrite') && fetches(m));
  space(m, 1, true, OTHER_ROOT);
  assert.ok(!known(m, 'supervisorWrite') && !fetches(m));
});

test('translations that are stale in the tables are stale in the list, and no others', () => {
  const m = machine();
  space(m, 2, false);
  m.memory.write32(0x12008, 0); // the page is not mapped any more
  space(m, 1, true);
  assert.ok(known(m, 'supervisorRead'), 'nobody has invalidated it');
  assert.equal(attempt(m, 'invlpg', 3, page), 'done');
  assert.ok(!load(m));
});

test('what invalidates a space that is not in force has it forgotten', () => {
  const flush = (type: number, identifier: number) => (m: Machine) =>
    void assert.equal(attempt(m, 'invpcid', type, BigInt(identifier), page), 'done');
  for (const [what, stays, act] of [
    ['INVLPG', true, (m) => void assert.equal(attempt(m, 'invlpg', 3, page), 'done')],
    ['INVPCID, a page of space 1', false, flush(0, 1)],
    ['INVPCID, a page of space 2', true, flush(0, 2)],
    ['INVPCID, space 1', false, flush(1, 1)],
    ['INVPCID, space 2', true, flush(1, 2)],
    ['INVPCID, all', false, flush(2, 0)],
    ['INVPCID, all but global pages', false, flush(3, 0)],
    ['CR4.PGE', false, (m) => void attempt(m, 'mov-to-cr', 4, CR4.pae | CR4.pcide)],
    ['CR0.WP', false, (m) => void attempt(m, 'mov-to-cr', 0, 0x8000_0011)],
    ['the memory map', false, (m) => m.p.mmu.mapChanged()],
    ['a data breakpoint', false, (m) => m.p.mmu.watch([{ start: 0x1000, length: 4, writesOnly: false, bit: 1 }])],
    ['the state', false, (m) => m.cpu.stateReplaced()],
  ] as readonly (readonly [string, boolean, (m: Machine) => void])[]) {
    const m = machine();
    space(m, 2, false);
    act(m);
    space(m, 1, true);
    assert.equal(known(m, 'supervisorRead'), stays, what);
  }
});

test('writes that are to be seen are not put back', () => {
  const reads = (m: Machine): string => [known(m, 'supervisorRead'), known(m, 'supervisorWrite')].join();
  const m = machine();
  space(m, 2, false);
  m.memory.protect(page >>> 12, PAGE_CODE);
  space(m, 1, true);
  assert.equal(reads(m), 'true,false');
  m.memory.unprotect(page >>> 12, PAGE_CODE);
  assert.ok(m.p.mmu.enterStack(page, 0), 'nor as a stack');
  const again = machine();
  space(again, 2, false);
  space(again, 1, true);
  assert.equal(reads(again), 'true,true');
  again.memory.protect(page >>> 12, PAGE_CODE);
  assert.equal(reads(again), 'true,false', 'what was put back is found');
  const frozen = machine();
  space(frozen, 2, false);
  frozen.p.mmu.writesProtected();
  space(frozen, 1, true);
  assert.equal(known(frozen, 'supervisorWrite'), false);
});

test('rights of protection keys: the list is good for those that it was made with', () => {
  const rights = (m: Machine, value: number) => {
    m.p.setGpr(0, 64, value);
    assert.equal(attempt(m, 'wrpkru'), 'done');
  };
  const m = machine(3, CR4.pke);
  rights(m, 0);
  assert.ok(known(m, 'userRead'), 'the same rights change nothing');
  asSystem(m, () => space(m, 2, false));
  rights(m, 1);
  asSystem(m, () => space(m, 1, true));
  assert.deepEqual([known(m, 'userRead'), fetches(m)], [false, true]);
  assert.ok(!load(m));
  rights(m, 0);
  touchData(m);
  asSystem(m, () => space(m, 2, false));
  rights(m, 1);
  rights(m, 0);
  asSystem(m, () => space(m, 1, true));
  assert.ok(known(m, 'userRead'));
});
const touchData = (m: Machine): void => {
  assert.ok(load(m) && store(m));
};

test('SMAP: what AC had let through comes back hidden, and is let through again', () => {
  const m = machine(0, CR4.smap);
  const rflags = m.state.get32('rflagsRest');
  const lift = (on: boolean) => {
    m.state.set32('rflagsRest', on ? rflags | AC : rflags & ~AC);
    m.p.mmu.updatePrivilege();
  };
  lift(true);
  touchData(m);
  for (const leftWithAc of [false, true]) {
    lift(leftWithAc);
    space(m, 2, false);
    lift(false);
    space(m, 1, true);
    assert.ok(!known(m, 'supervisorRead') && !load(m) && !store(m), 'hidden');
    lift(true);
    assert.ok(known(m, 'supervisorRead') && known(m, 'supervisorWrite'));
    lift(false);
    assert.ok(!known(m, 'supervisorRead') && !load(m));
  }
});

test('a page that code was fetched from is known as such in a space that comes back, and in no other', () => {
  const m = machine();
  const entered = (): boolean => m.p.mmu.fetches.wasEntered(page / 4096);
  assert.ok(entered());
  space(m, 2, false);
  assert.ok(!entered());
  space(m, 1, true);
  assert.ok(entered());
  assert.equal(m.p.mmu.fetchPage(page, 0), page);
  space(m, 2, true);
  assert.ok(!entered());
  space(m, 1, false);
  assert.ok(!entered());
});

test('eight spaces are kept, and of each table the pages that came last', () => {
  const m = machine();
  for (let identifier = 2; identifier < 8; identifier++) {
    space(m, identifier, false);
    assert.ok(load(m));
  }
  space(m, 8, false); // 1 to 7 were left
  space(m, 1, true);
  assert.ok(known(m, 'supervisorRead'));
  for (const identifier of [9, 10]) space(m, identifier, false); // and 8, 1, 9
  space(m, 2, true);
  assert.ok(!known(m, 'supervisorRead'));
  space(m, 1, false);
  const first = 0x20_0000;
  const pages = SavedPages.most + 8;
  for (let i = 0; i < pages; i++) assert.ok(load(m, first + i * 4096));
  space(m, 2, false);
  space(m, 1, true);
  const there = Array.from({ length: pages }, (_, i) => known(m, 'supervisorRead', first + i * 4096));
  assert.deepEqual(there, [...new Array(8).fill(false), ...new Array(SavedPages.most).fill(true)]);
});

test('global pages are in no list: INVLPG in one space drops them in all', () => {
  const m = longMode(0);
  m.memory.write32(0x12008, 0x200187);
  m.state.set64('cr4', BigInt(CR4.pae | CR4.pge | CR4.pcide));
  m.state.set64('cr3', BigInt(ROOT + 1));
  m.cpu.stateReplaced();
  touch(m);
  space(m, 2, false);
  assert.ok(known(m, 'supervisorRead'), 'they stay');
  assert.equal(attempt(m, 'invlpg', 3, page), 'done');
  space(m, 1, true);
  assert.ok(!known(m, 'supervisorRead') && !known(m, 'supervisorWrite') && !fetches(m));
});
