/** Physical memory, page walks in every paging mode, and the look-aside tables. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LogReader } from '../../src/mmu/dirty-logs.ts';
import { indexOf } from '../../src/mmu/look-aside.ts';
import { PAGE_CODE } from '../../src/mmu/physical-memory.ts';
import { cpuBytes, offsetOf, type TlbKind, tlbNeverOffset, tlbOffsets } from '../../src/state/layout.ts';
import { memoryAndMmu } from './machine.ts';

const PG = 0x8000_0001;
const WP = 1 << 16;
const PSE = 1 << 4;
const PAE = 1 << 5;
const SMEP = 1 << 20;
const SMAP = 1 << 21;
const LMA = 1 << 10;
const NXE = 1 << 11;
const AC = 1 << 18;

type Machine = ReturnType<typeof memoryAndMmu>;

function control(m: Machine, cr0: number, cr3: number, cr4: number, efer: number): void {
  m.state.set32('cr0', cr0 >>> 0);
  m.state.set64('cr3', BigInt(cr3));
  m.state.set32('cr4', cr4);
  m.state.set32('efer', efer);
  m.state.set32('csAccess', efer & LMA ? 1 << 13 : 1 << 14);
  for (let i = 0; i < 4; i++) m.state.set64(`pdpte${i}`, m.memory.read64((cr3 & ~31) + i * 8));
  m.mmu.reconfigure();
}

function privilege(m: Machine, cpl: number, rflags = 0): void {
  m.state.set32('cpl', cpl);
  m.state.set32('rflagsRest', rflags);
  m.mmu.updatePrivilege();
}

/** What an access gives: the value, or `#vector(code) address`. */
function read(
  m: Machine,
  linear: number,
  bytes: 1 | 2 | 4 | 8 | 16 = 4,
  intent: 'read' | 'modify' = 'read',
): number | string {
  const ok = m.mmu.slowRead(linear >>> 0, Math.floor(linear / 2 ** 32), bytes, intent, false);
  return ok ? m.state.get32('scratch0') : fault(m);
}
function flushedRead(m: Machine, linear: number): number | string {
  m.mmu.flushAll();
  return read(m, linear);
}
function write(m: Machine, linear: number, value: number, bytes: 1 | 2 | 4 | 8 = 4): 'done' | string {
  m.state.set64('scratch0', BigInt(value));
  return m.mmu.slowWrite(linear >>> 0, Math.floor(linear / 2 ** 32), bytes, 'write', false) ? 'done' : fault(m);
}
function fault(m: Machine): string {
  const vector = m.state.get32('faultVector');
  const text = `#${vector}(${m.state.get32('faultErrorCode')})`;
  return vector === 14 ? `${text} ${m.state.get64('faultAddress').toString(16)}` : text;
}
function fetchPage(m: Machine, linear: number): number | string {
  const page = m.mmu.fetchPage(linear >>> 0, Math.floor(linear / 2 ** 32));
  return page === -1 ? fault(m) : page;
}
function entry(m: Machine, kind: TlbKind, linear: number) {
  const at = (tlbOffsets[kind] >> 2) + indexOf(linear) * 4;
  const [low, high, addend] = [m.state.u32[at]!, m.state.u32[at + 1]!, m.state.u32[at + 2]!];
  return low === (linear & ~0xfff) >>> 0 && high === Math.floor(linear / 2 ** 32) >>> 0
    ? (addend + linear) >>> 0
    : null;
}

test('RAM, ROM and MMIO are told apart, and what straddles the end of RAM is split', () => {
  const m = memoryAndMmu();
  m.memory.write32(0x1000, 0x12345678);
  assert.equal(m.memory.read16(0x1001), 0x3456);
  m.memory.write32(0x1ffe, 0xaabbccdd);
  assert.equal(m.memory.read32(0x1ffe), 0xaabbccdd);
  m.memory.write64(2 ** 32 + 8, 0x1122334455667788n);
  assert.equal(m.memory.read64(2 ** 32 + 8), 0x1122334455667788n);
  assert.equal(m.memory.read32(0xfee00000), 0x44332211);
  m.memory.write8(0xfee00001, 0x99);
  assert.deepEqual(m.mmio.log, ['r4 fee00000', 'w1 fee00001=99']);
  m.mmio.log.length = 0;
  const end = 3 << 20;
  m.memory.write8(end - 1, 0x77);
  assert.equal(m.memory.read32(end - 1), 0x22111177);
  assert.deepEqual(m.mmio.log, ['r1 300000', 'r2 300001']);
});

test('a memory map with an overlap or a region outside the VM is refused and changes nothing', () => {
  const m = memoryAndMmu();
  const before = m.memory.hostPage;
  assert.throws(
    () => m.memory.add({ kind: 'ram', start: 0x1000, length: 0x1000, hostOffset: 0 }),
    /overlaps ram 0x0\+0x300000/,
  );
  assert.throws(
    () => m.memory.add({ kind: 'ram', start: 2 ** 34, length: 1 << 30, hostOffset: 0 }),
    /leaves the VM's memory/,
  );
  assert.throws(
    () => m.memory.add({ kind: 'rom', start: 2 ** 34 + 1, length: 4096, hostOffset: 0 }),
    /not made of pages/,
  );
  assert.equal(m.memory.hostPage, before);
});

test('writes to code pages and logged pages are announced, by CPU and by device', () => {
  const m = memoryAndMmu();
  const seen: string[] = [];
  m.memory.onCodeWrite = (physical, bytes) => seen.push(`${physical.toString(16)}+${bytes}`);
  assert.equal(write(m, 0x5000, 1), 'done');
  assert.equal(entry(m, 'supervisorWrite', 0x5000), cpuBytes + 0x5000);
  m.memory.protect(5, PAGE_CODE);
  assert.equal(entry(m, 'supervisorWrite', 0x5000), null, 'the write entry goes when the page is protected');
  assert.equal(entry(m, 'supervisorRead', 0x5000), cpuBytes + 0x5000);
  write(m, 0x5004, 7, 8);
  m.memory.writeBytes(0x4ffe, new Uint8Array(4));
  assert.deepEqual(seen, ['5004+8', '5000+2']);
  assert.equal(entry(m, 'supervisorWrite', 0x5000), null);
  m.memory.unprotect(5, PAGE_CODE);
  write(m, 0x5000, 1);
  assert.equal(entry(m, 'supervisorWrite', 0x5000), cpuBytes + 0x5000);
  const log = new LogReader(m.memory.logs);
  log.start('normal', { from: 0, to: 16 });
  write(m, 0x6000, 1);
  const pages = new Uint32Array(16);
  assert.equal(log.collect('normal', 0, 16, pages, 16, false), 1);
  assert.equal(pages[0], 6);
  write(m, 0x6000, 1);
  assert.equal(entry(m, 'supervisorWrite', 0x6000), cpuBytes + 0x6000, 'logged once, then fast');
});

test('ROM is read like RAM and written through the MMIO handler', () => {
  const m = memoryAndMmu();
  m.memory.replace([{ kind: 'rom', start: 0xf0000, length: 0x10000, hostOffset: cpuBytes }]);
  m.memory.u8[cpuBytes + 0xfff0] = 0xea;
  assert.equal(read(m, 0xffff0, 1), 0xea);
  assert.equal(entry(m, 'supervisorRead', 0xffff0), cpuBytes + 0xfff0);
  write(m, 0xffff0, 0x1234, 2);
  assert.equal(read(m, 0xffff0, 1), 0xea);
  assert.deepEqual(m.mmio.log, ['w2 ffff0=1234']);
});

test('a closed A20 gate folds odd megabytes onto even ones', () => {
  const m = memoryAndMmu();
  m.memory.write32(0x100500, 1);
  m.memory.write32(0x500, 2);
  assert.equal(read(m, 0x100500), 1);
  m.memory.a20 = false;
  assert.equal(entry(m, 'supervisorRead', 0x100500), null);
  assert.equal(read(m, 0x100500), 2);
  assert.equal(fetchPage(m, 0x100500), 0);
});

test('wide accesses of devices arrive as eight bytes or two times four, straddling ones in aligned parts', () => {
  const m = memoryAndMmu();
  assert.equal(read(m, 0xfee00000, 8), 0x44332211);
  write(m, 0xfee00ffd, 0x44332211, 4);
  read(m, 0xfee00001, 16);
  assert.deepEqual(m.mmio.log.slice(0, 5), [
    'r4 fee00000',
    'r4 fee00004',
    'w1 fee00ffd=11',
    'w2 fee00ffe=3322',
    'w1 fee01000=44',
  ]);
  assert.deepEqual(m.mmio.log.slice(5), ['r4 fee00001', 'r4 fee00005', 'r4 fee00009', 'r4 fee0000d']);
  assert.equal(m.mmu.resolve(0xfee00000, 0, 4, 'read', false), 'device');
  assert.equal(m.mmu.resolve(0x1000, 0, 4, 'read', false), 'memory');
});

/** A permission matrix: page U, page W, who, what, WP -> allowed? The same in every mode. */
function matrix(
  m: Machine,
  linear: number,
  setFlags: (flags: number) => void,
  cr4: number,
  efer: number,
  cr3: number,
): void {
  for (const flags of [1, 3, 5, 7]) {
    for (const cpl of [0, 3]) {
      for (const wp of [0, WP]) {
        for (const kind of ['read', 'write', 'modify'] as const) {
          setFlags(flags);
          control(m, (PG | wp) >>> 0, cr3, cr4, efer);
          privilege(m, cpl);
          const user = cpl === 3;
          const writes = kind !== 'read';
          const allowed = user
            ? (flags & 4) !== 0 && (!writes || (flags & 2) !== 0)
            : !writes || (flags & 2) !== 0 || wp === 0;
          const got = kind === 'write' ? write(m, linear, 5) : read(m, linear, 4, kind);
          const code = 1 | (writes ? 2 : 0) | (user ? 4 : 0);
          const expected = allowed ? (kind === 'write' ? 'done' : 5) : `#14(${code}) ${linear.toString(16)}`;
          assert.equal(got, expected, `flags ${flags} cpl ${cpl} wp ${wp} ${kind}`);
        }
      }
    }
  }
}

test('32-bit paging: permissions in both levels, accessed and dirty flags', () => {
  const m = memoryAndMmu();
  const linear = 0x00402008;
  m.memory.write32(0x3008, 5);
  for (const level of [0, 1]) {
    const set = (flags: number) => {
      m.memory.write32(0x10004, 0x11000 | (level === 0 ? flags : 7));
      m.memory.write32(0x11008, 0x3000 | (level === 1 ? flags : 7));
    };
    matrix(m, linear, set, 0, 0, 0x10000);
  }
  m.memory.write32(0x10004, 0x11007);
  m.memory.write32(0x11008, 0x3005);
  control(m, PG | WP, 0x10000, 0, 0);
  privilege(m, 0);
  assert.equal(write(m, linear, 1), '#14(3) 402008');
  assert.equal(m.memory.read32(0x11008), 0x3005, 'a walk that faults leaves the flags');
  assert.equal(read(m, linear), 5);
  assert.equal(m.memory.read32(0x10004), 0x11027);
  assert.equal(m.memory.read32(0x11008), 0x3025);
  assert.equal(entry(m, 'supervisorWrite', linear), null);
  m.memory.write32(0x11008, 0x3027);
  m.mmu.flushAll();
  read(m, linear);
  assert.equal(entry(m, 'supervisorWrite', linear), null, 'no write entry before the dirty flag is set');
  write(m, linear, 6);
  assert.equal(m.memory.read32(0x11008), 0x3067);
  assert.equal(entry(m, 'supervisorWrite', linear), cpuBytes + 0x3008);
  m.memory.write32(0x11008, 0);
  m.mmu.flushPage(linear);
  privilege(m, 3);
  assert.equal(read(m, linear), '#14(4) 402008');
});

test('PSE: 4 MiB pages, their PSE-36 address bits and the reserved bit', () => {
  const m = memoryAndMmu();
  m.memory.write32(0x10000, 0x000000e7);
  m.memory.write32(0x10004, 0x00002087); // bit 13: physical bit 32
  m.memory.write32(0x10008, 0x00200087);
  m.memory.write32(0x345678, 0);
  m.memory.write32(0x2345678 & 0x2fffff, 77);
  control(m, PG, 0x10000, PSE, 0);
  m.memory.write32(2 ** 32 + 0x45678, 99);
  assert.equal(read(m, 0x445678), 99);
  assert.equal(m.memory.read32(0x10004), 0x20a7);
  assert.equal(read(m, 0x800000), '#14(9) 800000');
  control(m, PG, 0x10000, 0, 0);
  assert.equal(read(m, 0x445678), '#14(0) 445678', 'without CR4.PSE the entry points to a table');
});

test('PAE: the PDPTE registers, 2 MiB pages, NX and reserved bits', () => {
  const m = memoryAndMmu();
  const linear = 0xc0201010;
  m.memory.write64(0x10018, 0x11001n); // PDPTE 3
  m.memory.write64(0x11008, 0x12007n);
  m.memory.write64(0x12008, 0x3007n);
  m.memory.write64(0x11010, 0x1_0000_0087n);
  m.memory.write32(0x3010, 5);
  const set = (flags: number) => m.memory.write64(0x12008, BigInt(0x3000 | flags));
  matrix(m, linear, set, PAE, 0, 0x10000);
  set(7);
  control(m, PG, 0x10000, PAE, NXE);
  m.memory.write64(0x10018, 0n);
  assert.equal(read(m, linear), 5, 'the registers count, not the table in memory');
  assert.equal(read(m, 0x40000000), '#14(4) 40000000');
  m.memory.write32(2 ** 32 + 0x10, 42);
  assert.equal(read(m, 0xc0400010), 42);
  assert.equal(fetchPage(m, 0xc0400010), 2 ** 32);
  m.memory.write64(0x12008, 0x8000_0000_0000_3007n);
  m.mmu.flushAll();
  assert.equal(read(m, linear), 5);
  assert.equal(fetchPage(m, linear), '#14(21) c0201010');
  m.memory.write64(0x11010, 0x1_0000_2087n);
  assert.equal(flushedRead(m, 0xc0400010), '#14(13) c0400010');
  m.memory.write64(0x12008, 0x0100_0000_0000_3007n);
  assert.equal(flushedRead(m, linear), '#14(13) c0201010', 'bits 52-62 are reserved in PAE');
  m.memory.write64(0x10018, 0x11001n);
  m.memory.write64(0x12008, 0x8000_0000_0000_3007n);
  control(m, PG, 0x10000, PAE, 0);
  privilege(m, 0);
  assert.equal(read(m, linear), '#14(9) c0201010', 'NX is reserved while EFER.NXE = 0');
});

/** Four-level tables for one linear page; returns the physical addresses of the entries, top first. */
function tables4(m: Machine, linear: number, leaf: bigint, levels: 2 | 3 | 4 = 4): number[] {
  const l = BigInt.asUintN(48, BigInt(linear));
  const at = [39n, 30n, 21n, 12n]
    .map((shift, i) => 0x10000 + i * 0x1000 + Number((l >> shift) & 0x1ffn) * 8)
    .slice(0, levels);
  for (const [i, address] of at.entries())
    m.memory.write64(address, i === levels - 1 ? leaf : BigInt(0x11000 + i * 0x1000) | 7n);
  return at;
}

test('4-level paging: permissions in each level, high and low canonical halves', () => {
  for (const linear of [0x7fff_1234_5008, -0x1234_5678_9000 + 8]) {
    const m = memoryAndMmu();
    const at = tables4(m, linear, 0x3007n);
    m.memory.write32(0x3008, 5);
    control(m, PG, 0x10000, PAE, LMA);
    assert.equal(read(m, linear), 5);
    assert.deepEqual(
      at.map((a) => m.memory.read32(a) & 0x60),
      [0x20, 0x20, 0x20, 0x20],
    );
    for (const level of at) {
      const old = m.memory.read32(level);
      const failing = BigInt.asUintN(64, BigInt(linear)).toString(16);
      m.memory.write32(level, old & ~2);
      m.mmu.flushAll();
      privilege(m, 3);
      assert.equal(write(m, linear, 1), `#14(7) ${failing}`);
      m.memory.write32(level, old & ~4);
      m.mmu.flushAll();
      assert.equal(read(m, linear), `#14(5) ${failing}`);
      m.memory.write32(level, old & ~1);
      m.mmu.flushAll();
      privilege(m, 0);
      assert.equal(write(m, linear, 1), `#14(2) ${failing}`);
      m.memory.write32(level, old);
      m.memory.write32(level + 4, 1 << 8);
      m.mmu.flushAll();
      assert.equal(read(m, linear), `#14(9) ${failing}`, 'physical bit 40 is reserved');
      m.memory.write32(level + 4, 1 << 20);
      m.mmu.flushAll();
      assert.equal(read(m, linear), 5, 'bits 52-62 are ignored');
      m.memory.write32(level + 4, 0);
    }
  }
});

test('4-level paging: the permission matrix, with and without NX', () => {
  const m = memoryAndMmu();
  const linear = 0x1_0040_2008;
  m.memory.write32(0x3008, 5);
  matrix(m, linear, (flags) => tables4(m, linear, BigInt(0x3000 | flags)), PAE, LMA | NXE, 0x10000);
  tables4(m, linear, 0x8000_0000_0000_3007n);
  control(m, PG, 0x10000, PAE, LMA | NXE);
  privilege(m, 3);
  assert.equal(fetchPage(m, linear), '#14(21) 100402008');
  assert.equal(read(m, linear), 5);
  tables4(m, linear, 0x3007n);
  m.mmu.flushAll();
  assert.equal(fetchPage(m, linear), 0x3000);
  privilege(m, 0);
  assert.equal(fetchPage(m, linear), 0x3000);
  control(m, PG, 0x10000, PAE | SMEP, LMA);
  assert.equal(fetchPage(m, linear), '#14(17) 100402008');
  privilege(m, 3);
  assert.equal(fetchPage(m, linear), 0x3000);
});

test('4-level paging: 2 MiB and 1 GiB pages with their reserved bits', () => {
  const m = memoryAndMmu();
  const linear = 0x1_0024_5678;
  tables4(m, linear, 0x1_0000_0087n, 3);
  m.memory.write32(2 ** 32 + 0x45678, 7);
  control(m, PG, 0x10000, PAE, LMA);
  assert.equal(read(m, linear), 7);
  tables4(m, linear, 0x1_0000_2087n, 3);
  assert.equal(flushedRead(m, linear), '#14(9) 100245678');
  tables4(m, linear, 0x87n, 2);
  m.memory.write32(0x245678, 8);
  assert.equal(flushedRead(m, linear), 8);
  tables4(m, linear, 0x2087n, 2);
  assert.equal(flushedRead(m, linear), '#14(9) 100245678');
});

test('SMAP: supervisor data accesses to user pages need EFLAGS.AC, implicit ones never pass', () => {
  const m = memoryAndMmu();
  const linear = 0x40_2000;
  tables4(m, linear, 0x3067n);
  control(m, PG, 0x10000, PAE | SMAP, LMA);
  privilege(m, 0);
  assert.equal(read(m, linear), '#14(1) 402000');
  privilege(m, 0, AC);
  assert.equal(read(m, linear), 0);
  assert.equal(entry(m, 'supervisorRead', linear), cpuBytes + 0x3000);
  assert.equal(m.mmu.load(linear, 4, true), false);
  assert.equal(fault(m), '#14(1) 402000');
  assert.equal(m.mmu.load(linear, 4, false), true);
  privilege(m, 0);
  assert.equal(entry(m, 'supervisorRead', linear), null);
  assert.equal(entry(m, 'supervisorWrite', linear), null);
  privilege(m, 3);
  assert.equal(read(m, linear), 0);
});

/** A user page at `linear` whose supervisor entries SMAP hides or not. */
function liftedPage(linear = 0x40_2000): Machine {
  const m = memoryAndMmu();
  tables4(m, linear, 0x3067n);
  control(m, PG, 0x10000, PAE | SMAP, LMA);
  privilege(m, 0, AC);
  assert.equal(read(m, linear), 0);
  assert.equal(write(m, linear, 1), 'done');
  return m;
}

test('SMAP: what AC has let through is known again when AC is set again, and not before', () => {
  const linear = 0x40_2000;
  const m = liftedPage(linear);
  const host = cpuBytes + 0x3000;
  for (let round = 0; round < 3; round++) {
    privilege(m, 0);
    assert.deepEqual([entry(m, 'supervisorRead', linear), entry(m, 'supervisorWrite', linear)], [null, null]);
    assert.equal(read(m, linear), '#14(1) 402000');
    assert.equal(m.mmu.direct(linear, 4, false), -1);
    privilege(m, 0, AC);
    assert.deepEqual([entry(m, 'supervisorRead', linear), entry(m, 'supervisorWrite', linear)], [host, host]);
    assert.equal(m.mmu.load(linear, 4, true), false, 'implicit accesses');
  }
});

test('SMAP: what is hidden is flushed and forgotten like the rest', () => {
  const linear = 0x40_2000;
  for (const [what, act, reads] of [
    ['INVLPG', (m) => m.mmu.flushPage(linear), true],
    ['a load of CR3', (m) => m.mmu.rootChanged(), true],
    ['a flush of all', (m) => m.mmu.flushAll(), true],
    ['a page whose writes must be seen', (m) => m.mmu.pageProtected(cpuBytes + 0x3000), false],
    ['writes that must be seen', (m) => m.mmu.writesProtected(), false],
  ] as readonly (readonly [string, (m: Machine) => void, boolean])[]) {
    const m = liftedPage(linear);
    privilege(m, 0);
    act(m);
    privilege(m, 0, AC);
    if (reads) assert.equal(entry(m, 'supervisorRead', linear), null, what);
    assert.equal(entry(m, 'supervisorWrite', linear), null, what);
  }
});

test('SMAP: a page that has moved to its other place is hidden there, and shown, and dropped', () => {
  const linear = 0x40_2000;
  let far = linear + 2 ** 27;
  while (indexOf(far) !== indexOf(linear)) far += 4096; // it has its place where the first one has
  const m = liftedPage(linear);
  tables4(m, far, 0x5067n);
  assert.equal(read(m, far), 0); // lifted as well
  assert.equal(entry(m, 'supervisorRead', linear), null);
  privilege(m, 0);
  assert.equal(m.mmu.direct(linear, 4, false), -1);
  assert.equal(read(m, linear), '#14(1) 402000');
  privilege(m, 0, AC);
  tables4(m, linear, 0n);
  assert.equal(read(m, linear), 1, 'the entry serves it');
  privilege(m, 0);
  m.mmu.flushPage(linear);
  tables4(m, linear, 0x6067n);
  privilege(m, 0, AC);
  m.memory.write32(0x6000, 77);
  assert.equal(read(m, linear), 77, 'nothing of the old page is left at either place');
});

test('SMAP: of more pages than are remembered none stays in force', () => {
  const m = liftedPage(0x40_0000);
  const pages = Array.from({ length: 40 }, (_, i) => 0x40_0000 + i * 4096);
  for (const linear of pages) {
    tables4(m, linear, 0x3067n);
    assert.equal(read(m, linear), 1);
  }
  privilege(m, 0);
  for (const linear of pages) {
    assert.equal(entry(m, 'supervisorRead', linear), null);
    assert.match(`${read(m, linear)}`, /^#14\(1\)/);
  }
});

test('SMAP: a page that has become the supervisor’s is not hidden', () => {
  const linear = 0x40_2000;
  const m = liftedPage(linear);
  privilege(m, 0);
  tables4(m, linear, 0x3063n);
  m.mmu.flushPage(linear + 4096); // another
  assert.equal(read(m, linear), 1);
  assert.equal(entry(m, 'supervisorRead', linear), cpuBytes + 0x3000);
  privilege(m, 0, AC);
  privilege(m, 0);
  assert.equal(entry(m, 'supervisorRead', linear), cpuBytes + 0x3000);
});

test('non-canonical addresses are #GP(0), or #SS(0) on the stack, also where an access runs over the edge', () => {
  const m = memoryAndMmu();
  tables4(m, 0x7fff_ffff_f000, 0x3007n);
  control(m, PG, 0x10000, PAE, LMA);
  assert.equal(read(m, 0x8000_0000_0000), '#13(0)');
  assert.equal(m.mmu.slowRead(0, 0x8000, 8, 'read', true), false);
  assert.equal(fault(m), '#12(0)');
  assert.equal(read(m, 0x7fff_ffff_fffc, 8), '#13(0)');
  assert.equal(read(m, 0x7fff_ffff_fffc, 4), 0);
});

test('an access over a page boundary writes nothing if the second page faults', () => {
  const m = memoryAndMmu();
  m.memory.write32(0x10000, 0x11007);
  m.memory.write32(0x11004, 0x3007);
  m.memory.write32(0x3ffc, 0x55555555);
  control(m, PG, 0x10000, 0, 0);
  assert.equal(write(m, 0x1ffe, 0), '#14(2) 2000');
  assert.equal(m.memory.read32(0x3ffc), 0x55555555);
  m.memory.write32(0x11008, 0x5007);
  assert.equal(write(m, 0x1ffe, 0x11223344), 'done');
  assert.equal(m.memory.read16(0x3ffe), 0x3344);
  assert.equal(m.memory.read16(0x5000), 0x1122);
  assert.equal(read(m, 0x1ffe), 0x11223344);
});

test('outside 64-bit mode an access wraps at 4 GiB', () => {
  const m = memoryAndMmu();
  m.memory.write32(0x10ffc, 0x13007);
  m.memory.write32(0x13ffc, 0x5007);
  m.memory.write32(0x10000, 0x11007);
  m.memory.write32(0x11000, 0x6007);
  control(m, PG, 0x10000, 0, 0);
  m.memory.write16(0x5ffe, 0x1234);
  m.memory.write16(0x6000, 0x5678);
  assert.equal(read(m, 0xffff_fffe), 0x56781234);
});

test('alignment checks: #AC at CPL 3 with CR0.AM and EFLAGS.AC, through a table that never answers', () => {
  const m = memoryAndMmu();
  m.state.set32('cr0', 1 | (1 << 18));
  m.mmu.reconfigure();
  privilege(m, 3, AC);
  assert.equal(m.state.get32('tlbRead'), tlbNeverOffset);
  assert.equal(read(m, 0x1001), '#17(0)');
  assert.equal(read(m, 0x1002, 2), 0);
  assert.equal(read(m, 0x1004, 8), '#17(0)');
  privilege(m, 3);
  assert.equal(m.state.get32('tlbRead'), tlbOffsets.userRead);
  assert.equal(read(m, 0x1001), 0);
  privilege(m, 0);
  assert.equal(m.state.get32('tlbWrite'), tlbOffsets.supervisorWrite);
});

test('flushes reach every table and their listener, INVLPG only its page', () => {
  const m = memoryAndMmu();
  const flushed: (number | string)[] = [];
  m.mmu.onFlush = (scope) => flushed.push(scope);
  for (let i = 0; i < 3; i++) read(m, 0x1000 * i);
  m.mmu.flushPage(0x1fff);
  assert.equal(entry(m, 'supervisorRead', 0x1000), null);
  assert.equal(entry(m, 'supervisorRead', 0x2000), cpuBytes + 0x2000);
  m.mmu.flushAll();
  assert.equal(entry(m, 'supervisorRead', 0x2000), null);
  assert.deepEqual(flushed, [0x1000, 'all']);
  assert.equal(m.state.u32[offsetOf('faultVector') >> 2], 0);
});

test('a page that is protected leaves the tables wherever it was entered', () => {
  const m = memoryAndMmu();
  // 32-bit paging: three linear pages, two of them with the same place in the tables, lead to physical page 5.
  m.memory.write32(0x10000, 0x11007);
  m.memory.write32(0x10000 + 4 * 32, 0x11007);
  for (const page of [0x20, 0x21, 0x22]) m.memory.write32(0x11000 + 4 * page, 0x5067);
  control(m, PG, 0x10000, 0, 0);
  const places = [0x20000, 0x21000, 0x0802_0000, 0x0802_1000];
  const held = () => places.filter((linear) => m.mmu.direct(linear, 4, true) !== -1);
  for (const some of [[0], [0, 1], [1], [0, 2], [0, 1, 2, 3]]) {
    for (const i of some) assert.equal(write(m, places[i]!, 1), 'done');
    assert.equal(held().length, some.length);
    m.memory.protect(5, PAGE_CODE);
    assert.deepEqual(held(), [], `after writes at ${some}`);
    m.memory.unprotect(5, PAGE_CODE);
  }
});

test('a walk finds what a walk that leaves no trace finds', () => {
  const m = memoryAndMmu();
  const { walker } = m.mmu;
  const linear = 0x7fff_1234_5008;
  const at = tables4(m, linear, 0x3007n);
  const [low, high] = [linear >>> 0, Math.floor(linear / 2 ** 32)];
  const entries = at.map((a) => m.memory.read32(a));
  const bits = [1, 2, 4, 0x20, 0x40, 0x80, 0x100, 0x2000].map((bit) => [bit, 0]);
  const upper = [1, 1 << 8, 1 << 20, 1 << 27, 2 ** 31].map((bit) => [0, bit]);
  const found = () => [walker.physical, walker.writable, walker.user, walker.dirty, walker.global];
  let both = 0;
  for (const cr4 of [PAE, PAE | (1 << 7), PAE | SMEP | SMAP, PAE | (1 << 22)])
    for (const efer of [LMA, LMA | NXE])
      for (const cr0 of [PG, PG | WP])
        for (const level of [-1, 0, 1, 2, 3])
          for (const [flip, flipHigh] of level < 0 ? [[0, 0]] : [...bits, ...upper])
            for (let kind = 0; kind < 16; kind++) {
              at.forEach((a, i) => {
                m.memory.write32(a, (entries[i]! | 0x20 | (i === 3 ? 0x40 : 0)) ^ (i === level ? flip! : 0));
                m.memory.write32(a + 4, i === level ? flipHigh! : 0);
              });
              m.state.set32('pkru', 4); // key 1 is forbidden
              control(m, cr0, 0x10000, cr4, efer);
              const access = [(kind & 1) !== 0, (kind & 2) !== 0, (kind & 4) !== 0, (kind & 8) !== 0] as const;
              const peeked = walker.peek(low, high, ...access);
              const wanted = found();
              const walked = walker.walk(low, high, ...access);
              if (peeked) assert.ok(walked);
              if (peeked) assert.deepEqual(found(), wanted, `level ${level} ^ ${flip} ${flipHigh}, access ${kind}`);
              // Without flags to set the two agree about faults, too.
              if (flip !== 0x20 && flip !== 0x40) assert.equal(walked, peeked);
              if (walked && peeked) both++;
            }
  assert.ok(both > 1000);
});
