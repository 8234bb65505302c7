/** Global pages, process-context identifiers, protection keys, pages of 1 GiB: SDM volume 3, sections 5.6, 5.10 and 5.5.4. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { indexOf } from '../../src/mmu/look-aside.ts';
import { PAGE_CODE } from '../../src/mmu/physical-memory.ts';
import { offsetOf, type TlbKind, tlbOffsets } from '../../src/state/layout.ts';
import { attempt, longMode, type Machine } from './machine.ts';

const CR4 = { pae: 0x20, pge: 0x80, pcide: 1 << 17, pke: 1 << 22 } as const;
const DIRECTORY = 0x12000;

/** Is there an entry of a linear page in a look-aside table? */
function known(m: Machine, kind: TlbKind, linear: number): boolean {
  const at = (tlbOffsets[kind] >> 2) + indexOf(linear) * 4;
  return m.state.u32[at] === linear && m.state.u32[at + 1] === 0;
}
const touch = (m: Machine, linear: number): string =>
  m.p.mmu.slowRead(linear, 0, 4, 'read', false)
    ? 'read'
    : `#${m.state.get32('faultVector')}(${m.state.get32('faultErrorCode').toString(16)})`;
const write = (m: Machine, linear: number): string =>
  m.p.mmu.slowWrite(linear, 0, 4, 'write', false)
    ? 'written'
    : `#${m.state.get32('faultVector')}(${m.state.get32('faultErrorCode').toString(16)})`;

/** Pages below 2 MiB are global, those above are not. */
function withGlobalPages(cr4: number): Machine {
  const m = longMode(0);
  m.memory.write32(DIRECTORY, 0x187);
  assert.equal(attempt(m, 'mov-to-cr', 4, cr4), 'done');
  for (const linear of [0x1000, 0x20_1000]) assert.equal(touch(m, linear), 'read');
  return m;
}
const both = (m: Machine): string => [0x1000, 0x20_1000].map((at) => known(m, 'supervisorRead', at)).join();

test('a load of CR3 keeps what is known of global pages, as long as CR4.PGE is set', () => {
  const m = withGlobalPages(CR4.pae | CR4.pge);
  assert.equal(both(m), 'true,true');
  assert.equal(attempt(m, 'mov-to-cr', 3, 0x10000), 'done');
  assert.equal(both(m), 'true,false');
  assert.equal(attempt(m, 'invlpg', 3, 0x1000), 'done');
  assert.equal(both(m), 'false,false');
  touch(m, 0x1000);
  assert.equal(attempt(m, 'mov-to-cr', 4, CR4.pae), 'done');
  assert.equal(both(m), 'false,false');
  const plain = withGlobalPages(CR4.pae);
  assert.equal(attempt(plain, 'mov-to-cr', 3, 0x10000), 'done');
  assert.equal(both(plain), 'false,false');
});

test('CR4.PCIDE wants IA-32e mode and an identifier of zero, and lets CR3 name one', () => {
  const m = withGlobalPages(CR4.pae | CR4.pge);
  assert.equal(attempt(m, 'mov-to-cr', 3, 0x10018), 'done');
  assert.equal(attempt(m, 'mov-to-cr', 4, CR4.pae | CR4.pcide), '#13(0)');
  assert.equal(attempt(m, 'mov-to-cr', 3, 0x1_0000_0001_0000n << 15n), '#13(0)', 'bit 63 means nothing yet');
  assert.equal(attempt(m, 'mov-to-cr', 3, 0x10000), 'done');
  assert.equal(attempt(m, 'mov-to-cr', 4, CR4.pae | CR4.pcide), 'done');
  assert.equal(attempt(m, 'mov-to-cr', 3, 0x8000_0000_0001_0005n), 'done');
  assert.equal(m.state.get64('cr3'), 0x10005n);
  assert.equal(touch(m, 0x1000), 'read');
  assert.equal(attempt(m, 'mov-to-cr', 0, 0x11), '#13(0)', 'paging stays on');
});

test('INVPCID drops one page, one context, everything, or everything but global pages', () => {
  const on = () => withGlobalPages(CR4.pae | CR4.pge | CR4.pcide);
  const after = (type: number, linear: number) => {
    const m = on();
    assert.equal(attempt(m, 'invpcid', type, 0, linear), 'done');
    return both(m);
  };
  assert.equal(after(0, 0x20_1000), 'true,false');
  assert.equal(after(1, 0), 'true,false');
  assert.equal(after(2, 0), 'false,false');
  assert.equal(after(3, 0), 'true,false');
  const m = on();
  assert.equal(attempt(m, 'invpcid', 4, 0, 0), '#13(0)');
  assert.equal(attempt(m, 'invpcid', 1, 0x1000, 0), '#13(0)');
  assert.equal(attempt(m, 'invpcid', 0, 0, 0x8000_0000_0000n), '#13(0)');
  assert.equal(attempt(longMode(0), 'invpcid', 1, 1, 0), '#13(0)', 'without CR4.PCIDE');
  assert.equal(attempt(longMode(3), 'invpcid', 2, 0, 0), '#13(0)');
});

test('protection keys forbid data accesses to user pages, and say so in the error code', () => {
  const m = longMode(3);
  m.memory.write32(DIRECTORY + 8 + 4, 5 << 27); // the second page of 2 MiB has key 5
  m.state.set64('cr4', BigInt(CR4.pae | CR4.pke));
  m.cpu.stateReplaced();
  const rights = (value: number) => {
    m.p.setGpr(0, 64, value);
    assert.equal(attempt(m, 'wrpkru'), 'done');
    assert.equal(m.state.get32('pkru'), value);
  };
  assert.equal(write(m, 0x20_1000), 'written');
  rights(2 << 10);
  assert.equal(touch(m, 0x20_1000), 'read');
  assert.ok(known(m, 'userRead', 0x20_1000));
  assert.ok(!known(m, 'userWrite', 0x20_1000));
  assert.equal(write(m, 0x20_1000), '#14(27)');
  assert.equal(write(m, 0x1000), 'written');
  rights(1 << 10);
  assert.ok(!known(m, 'userRead', 0x20_1000));
  assert.equal(touch(m, 0x20_1000), '#14(25)');
  assert.ok(m.p.mmu.fetchPage(0x20_1000, 0) >= 0, 'fetches are not checked');
});

test('a supervisor writes past the key unless CR0.WP is set', () => {
  const m = longMode(0);
  m.memory.write32(DIRECTORY + 8 + 4, 5 << 27);
  m.state.set64('cr4', BigInt(CR4.pae | CR4.pke));
  m.state.set32('pkru', 2 << 10);
  m.cpu.stateReplaced();
  assert.equal(write(m, 0x20_1000), '#14(23)');
  m.state.set64('cr0', 0x8000_0011n);
  m.cpu.stateReplaced();
  assert.equal(write(m, 0x20_1000), 'written');
});

test('a page of 1 GiB', () => {
  const m = longMode(0);
  m.memory.write32(0x11000, 0x87);
  m.cpu.stateReplaced();
  assert.equal(touch(m, 0x1000), 'read');
  m.p.mmu.walker.gigabytePages = false;
  m.cpu.stateReplaced();
  assert.equal(touch(m, 0x1000), '#14(9)');
});

test('INVLPG anywhere in a large page drops all that is known of it', () => {
  for (const kind of ['supervisorRead', 'supervisorWrite'] as const) {
    const m = longMode(0);
    m.memory.write32(DIRECTORY + 16, 0x87);
    for (const linear of [0x20_1000, 0x27_f000, 0x40_1000]) assert.equal(write(m, linear), 'written');
    const knows = () => [0x20_1000, 0x27_f000, 0x40_1000].map((at) => known(m, kind, at)).join();
    assert.equal(knows(), 'true,true,true');
    assert.equal(attempt(m, 'invlpg', 3, 0x3f_f000), 'done');
    assert.equal(knows(), 'false,false,true');
    assert.ok(m.p.mmu.fetchPage(0x20_1000, 0) >= 0);
    m.memory.write32(DIRECTORY + 8, 0x187);
    assert.equal(attempt(m, 'invlpg', 3, 0x20_0000), 'done');
    assert.equal(m.p.mmu.fetchPage(0x20_1000, 0), 0x1000, 'code, too');
  }
});

test('of a large page the neighbours of what is touched are known, as far as they may be', () => {
  const m = longMode(0);
  m.memory.protect(0x203, PAGE_CODE);
  const first = 0x20_0000;
  assert.equal(write(m, first + 0x5000), 'written');
  for (let page = 0; page < 16; page++) {
    assert.ok(known(m, 'supervisorRead', first + page * 4096));
    assert.equal(known(m, 'supervisorWrite', first + page * 4096), page !== 3, 'writes that must be seen');
  }
  assert.ok(!known(m, 'supervisorRead', first + 0x1_0000));
  assert.ok(!known(m, 'userRead', first));
  const clean = longMode(0);
  clean.memory.write32(DIRECTORY + 8, 0x2001a7);
  assert.equal(touch(clean, first), 'read');
  assert.ok(known(clean, 'supervisorRead', first + 4096));
  assert.ok(!known(clean, 'supervisorWrite', first + 4096), 'the dirty flag is not set');
});

test('an access that goes on in the next page needs no walk where both pages are known', () => {
  const m = longMode(0);
  const [low, host] = [0x20_0ffd, m.memory.hostOf(0x200) + 0xffd];
  assert.equal(write(m, low), 'written');
  m.memory.write32(DIRECTORY + 8, 0); // the tables still know the page
  for (const bytes of [2, 4, 8, 16] as const) {
    const at = low + (bytes === 2 ? 2 : 0);
    m.state.u32.fill(0x8765_4321, offsetOf('scratch0') >> 2, (offsetOf('scratch0') >> 2) + 4);
    assert.ok(m.p.mmu.slowWrite(at, 0, bytes, 'write', false));
    assert.equal(m.memory.u8[host + (at - low)], 0x21);
    assert.equal(m.memory.u8[host + (at - low) + bytes - 1], bytes === 2 ? 0x43 : 0x87);
    m.state.set64('scratch0', -1n);
    assert.ok(m.p.mmu.slowRead(at, 0, bytes, 'modify', false));
    assert.equal(
      m.state.get64('scratch0'),
      { 2: 0x4321n, 4: 0x8765_4321n, 8: 0x8765_4321_8765_4321n, 16: 0x8765_4321_8765_4321n }[bytes],
    );
  }
  assert.equal(attempt(m, 'invlpg', 3, 0x20_1000), 'done');
  assert.equal(touch(m, low), '#14(0)');
});
