/** BPF programs in guest-physical memory that translated code asks by itself: what they see, and when it must not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assemble } from '../../src/bpf/assemble.ts';
import { type Assembler, dword, to } from '../engines/assembler.ts';
import { code, IoGuest } from './io-guest.ts';
import { engines, hashOf, type TestEngine, testEngines } from './vm-harness.ts';

const DEVICE = 0xf000_0000;
/** Linear address of the device where the guest has paging. */
const LINEAR = 0x80_0000;
const TABLE = 0x1_1000;
const range = { space: 'memory', address: DEVICE, length: 4096, access: 'read-write' } as const;

/** Counts accesses, answers reads with their number and the time, and sums up what is written. */
const counting = assemble(`
  r2 = *(u64 *)(r1 + 24)
  r3 = *(u64 *)(r2 + 0)
  r3 += 1
  *(u64 *)(r2 + 0) = r3
  r4 = *(u32 *)(r1 + 36)
  if r4 != 0 goto write
  r4 = *(u64 *)(r1 + 16)
  r4 <<= 3
  r3 += r4
  *(u64 *)(r1 + 8) = r3
  r0 = 1
  exit
write:
  r3 = *(u64 *)(r1 + 8)
  r4 = *(u64 *)(r1 + 0)
  r3 += r4
  r4 = *(u64 *)(r2 + 8)
  r4 += r3
  *(u64 *)(r2 + 8) = r4
  r0 = 1
  exit`);
/** Answers each second access. */
const everySecond = assemble(`
  r2 = *(u64 *)(r1 + 24)
  r3 = *(u64 *)(r2 + 0)
  r3 += 1
  *(u64 *)(r2 + 0) = r3
  *(u64 *)(r1 + 8) = r3
  r0 = r3
  r0 &= 1
  exit`);

type Paging = 'none' | '32-bit' | 'PAE';
/** Turns paging on: memory where it is, and the device at LINEAR. */
function withPaging(paging: Paging): Assembler {
  const start = code();
  if (paging === 'none') return start;
  const cr4 = paging === 'PAE' ? 0x20 : 0x10;
  return start
    .put(0xb8, dword(cr4), 0x0f, 0x22, 0xe0, 0xb8, dword(0x1_0000), 0x0f, 0x22, 0xd8) // CR4, CR3
    .put(0x0f, 0x20, 0xc0, 0x0d, dword(0x8000_0000), 0x0f, 0x22, 0xc0, 0xeb, 0x00); // CR0.PG
}
function putTables(guest: IoGuest, paging: Paging): void {
  const view = new DataView(guest.vm.ram.buffer, guest.vm.ram.byteOffset);
  const put = (address: number, entry: number) => view.setUint32(address, entry, true);
  if (paging === '32-bit') {
    put(0x1_0000, 0x83);
    put(0x1_0008, TABLE + 3);
    put(TABLE, DEVICE + 3);
    put(TABLE + 4, 0x6003);
  }
  if (paging === 'PAE') {
    put(0x1_0000, 0x1_2001);
    put(0x1_2000, 0x83);
    put(0x1_2008, 0x20_0083);
    put(0x1_2020, TABLE + 3);
    put(TABLE, DEVICE + 3);
    put(TABLE + 8, 0x6003);
  }
}

/** Accesses of all kinds, some of which the region makes and some not. */
const every = [
  [0x8b, 0x07, 0x01, 0xc3], // mov eax, [edi]; add ebx, eax
  [0x89, 0x47, 0x04], // mov [edi+4], eax
  [0x8a, 0x47, 0x08, 0x88, 0x47, 0x09, 0x66, 0x8b, 0x47, 0x0a, 0x66, 0x89, 0x47, 0x0c], // al and ax
  [0x0f, 0xb6, 0x57, 0x01, 0x01, 0xd3, 0x0f, 0xbf, 0x57, 0x02, 0x31, 0xd3], // movzx, movsx
  [0x0f, 0x01, 0x7c, 0x24, 0xfc], // invlpg [esp-4]: the push makes its second access twice
  [0xff, 0x37, 0x5a, 0x31, 0xd3], // push [edi]; pop edx
  [0x01, 0x47, 0x04, 0xf0, 0x0f, 0xc1, 0x5f, 0x10], // add [edi+4], eax; lock xadd [edi+10h], ebx
  [0x39, 0x1f, 0x83, 0xd3, 0x00], // cmp [edi], ebx; adc ebx, 0
  [0x8b, 0x07, 0x33, 0x07, 0x01, 0xc3], // mov eax, [edi]; xor eax, [edi]
  [0x89, 0xfe, 0x57, 0xbf, dword(0x5000), 0xa5, 0x5f].flat(), // mov esi, edi; movsd to 5000h
  [0x57, 0xbe, dword(0x5000), 0xa5, 0x5f].flat(), // movsd from there
  [0xdb, 0x07, 0xdd, 0xd8, 0x0f, 0x45, 0x17], // fild [edi]; fstp st(0); cmovne edx, [edi]
  [0x8b, 0x87, 0xfd, 0x0f, 0x00, 0x00, 0x8b, 0x87, 0xfc, 0x0f, 0x00, 0x00], // over the page's end, and up to it
];

for (const paging of ['none', '32-bit', 'PAE'] as const) {
  test(`row 15: accesses to memory that a program answers are the same, however made, paging ${paging}`, async () => {
    const run = async (engine: TestEngine, slice: number): Promise<string> => {
      const program = withPaging(paging)
        .put(0xdb, 0xe3, 0xb9, dword(1000), 0xbf, dword(paging === 'none' ? DEVICE : LINEAR))
        .label('again')
        .put(...every, 0x49, 0x0f, 0x85, to('again'), 0xf4);
      const guest = new IoGuest(engine, program);
      putTables(guest, paging);
      const { vm } = guest;
      const attached = await vm.program({ ...range, length: 8192 }, counting, { shared: 16 });
      const vcpu = vm.vcpu(0);
      let exit = vcpu.enter(slice);
      while (exit.kind === 'budget') exit = vcpu.enter(slice);
      assert.equal(exit.kind, 'halt', JSON.stringify(exit));
      return `${hashOf(vm)} ${vm.time.now()} ${Buffer.from(attached.shared).toString('hex')}`;
    };
    const expected = await run('interpreter', 1e9);
    for (const engine of engines)
      for (const slice of [1e9, 333]) assert.equal(await run(engine, slice), expected, `${engine}, ${slice}`);
  });
}

test('row 15: a program beyond 4 GiB answers 64-bit code, in supervisor mode and through a large page', async () => {
  const far = 0x80_0000_0000;
  const run = async (engine: TestEngine, slice: number): Promise<string> => {
    const linear = 0xc000_0000;
    const program = code()
      .put(0xb9, dword(2000), 0xbf, dword(linear + 0x1230))
      .label('again')
      .put(0x8b, 0x07, 0x01, 0xc3, 0x89, 0x47, 0x04, 0x48, 0x8b, 0x57, 0x08, 0x48, 0x31, 0xd3) // 4 bytes, and 8
      .put(0x66, 0x89, 0x5f, 0x10, 0x41, 0x8a, 0x07, 0x00, 0xc3) // mov [rdi+10h], bx; mov al, [r15]; add bl, al
      .put(0xff, 0xc9, 0x0f, 0x85, to('again'), 0xf4);
    const guest = new IoGuest(engine, program, { mode: 'long' });
    const { vm } = guest;
    const { fields } = vm.vcpu(0);
    fields.set64('r15', BigInt(linear + 0x1240));
    const view = new DataView(vm.ram.buffer, vm.ram.byteOffset);
    const below = (table: number, index: number) => Number(view.getBigUint64(table + index * 8, true) & ~0xfffn);
    const directory = below(below(Number(fields.get64('cr3')), 0), 3);
    view.setBigUint64(directory, BigInt(far) | 0x83n, true);
    const attached = await vm.program({ ...range, address: far + 0x1000 }, counting, { shared: 16 });
    const vcpu = vm.vcpu(0);
    let exit = vcpu.enter(slice);
    while (exit.kind === 'budget') exit = vcpu.enter(slice);
    assert.equal(exit.kind, 'halt', JSON.stringify(exit));
    return `${hashOf(vm)} ${vm.time.now()} ${Buffer.from(attached.shared).toString('hex')}`;
  };
  const expected = await run('interpreter', 1e9);
  for (const engine of engines)
    for (const slice of [1e9, 333]) assert.equal(await run(engine, slice), expected, `${engine}, ${slice}`);
});

/** mov eax, [edi]; add ebx, eax; so many times */
const loop = (start: Assembler, count: number, address: number) =>
  start
    .put(0xb9, dword(count), 0xbf, dword(address))
    .label('again')
    .put(0x8b, 0x07, 0x01, 0xc3, 0x49, 0x75, to('again', 1));

test('row 15: translated code asks a program in memory without the I/O map', async () => {
  for (const paging of ['none', '32-bit', 'PAE'] as const) {
    const guest = new IoGuest(
      'translation',
      loop(withPaging(paging), 20_000, paging === 'none' ? DEVICE : LINEAR).put(0xf4),
    );
    putTables(guest, paging);
    const { shared } = await guest.vm.program(range, counting, { shared: 16 });
    const { memory } = guest.io;
    let asked = 0;
    const { read } = memory;
    memory.read = (...given) => {
      asked++;
      return read.apply(memory, given);
    };
    assert.deepEqual(guest.run(), {});
    assert.equal(new DataView(shared.buffer, shared.byteOffset).getUint32(0, true), 20_000);
    assert.ok(asked < 4000, `${paging}: ${asked} loads went by way of the map`);
  }
});

testEngines('row 15: a page that leads elsewhere is seen at once, with INVLPG or without', async (engine) => {
  for (const invalidates of [false, true]) {
    const guest = new IoGuest(
      engine,
      loop(withPaging('32-bit'), 3000, LINEAR)
        .put(0xc7, 0x05, dword(TABLE), dword(0xf000_1003)) // the next page of the device
        .put(invalidates ? [0x0f, 0x01, 0x3f] : [0x90])
        .put(0xb9, dword(3000))
        .label('second')
        .put(0x8b, 0x07, 0x01, 0xc3, 0x49, 0x75, to('second', 1))
        .put(0xc7, 0x05, dword(TABLE), dword(DEVICE + 3), 0xb9, dword(1000))
        .label('done')
        .put(0x8b, 0x07, 0x49, 0x75, to('done', 1), 0xf4),
    );
    putTables(guest, '32-bit');
    const programs = [
      await guest.vm.program(range, counting, { shared: 16 }),
      await guest.vm.program({ ...range, address: DEVICE + 4096 }, counting, { shared: 16 }),
    ];
    assert.deepEqual(guest.run(), {});
    const counts = programs.map(({ shared }) => new DataView(shared.buffer, shared.byteOffset).getUint32(0, true));
    assert.deepEqual(counts, [4000, 3000]);
  }
});

testEngines(
  'row 15: a program in memory is asked once for each access, which it answers or passes on',
  async (engine) => {
    const guest = new IoGuest(
      engine,
      code()
        .put(0xb9, dword(3000), 0xbf, dword(DEVICE))
        .label('again')
        .put(0x8b, 0x07, 0x01, 0xc3, 0x89, 0x4f, 0x04, 0x8b, 0x17, 0x01, 0xd3) // load, store, load
        .put(0x49, 0x0f, 0x85, to('again'), 0xf4),
    );
    const { shared } = await guest.vm.program(range, everySecond, { shared: 8 });
    const seen: string[] = [];
    let [reads, writes] = [0, 0];
    const beneath = {
      name: 'beneath',
      read: () => ++reads * 0x1000,
      write: (_offset: number, _size: number, value: number) => {
        writes++;
        if (seen.length < 3) seen.push(`${value}`);
      },
    };
    guest.io.attach({ space: 'memory', address: DEVICE, length: 4096 }, beneath);
    assert.deepEqual(guest.run(), {});
    assert.equal(new DataView(shared.buffer, shared.byteOffset).getUint32(0, true), 9000);
    assert.deepEqual([reads, writes, seen], [3000, 1500, ['3000', '2998', '2996']]);
  },
);

testEngines(
  'row 15: watchpoints, another program, or none: translated code asks no longer as it did',
  async (engine) => {
    const guest = new IoGuest(engine, loop(code(), 100_000, DEVICE).put(0xf4));
    const { vm } = guest;
    const vcpu = vm.vcpu(0);
    const count = ({ shared }: { shared: Uint8Array }) =>
      new DataView(shared.buffer, shared.byteOffset).getUint32(0, true);
    const first = await vm.program(range, counting, { shared: 16 });
    assert.equal(vcpu.enter(2 + 4 * 5000).kind, 'budget');
    assert.equal(count(first), 5000);
    vcpu.debug.set({ watchpoints: [{ address: DEVICE, length: 4, kind: 'read' }] });
    const exit = vcpu.enter(100);
    assert.deepEqual([exit.kind, vcpu.left, count(first)], ['debug', 99, 5001]);
    vcpu.debug.clear();
    assert.equal(vcpu.enter(3 + 4 * 5000).kind, 'budget');
    assert.equal(count(first), 10_001);
    first.detach();
    assert.equal(vcpu.enter(4).kind, 'mmio');
    assert.equal(vcpu.enter(4).kind, 'budget');
    const second = await vm.program(range, counting, { shared: 16 });
    assert.equal(vcpu.enter(4 * 5000).kind, 'budget');
    assert.deepEqual([count(first), count(second)], [10_001, 5000]);
    const start = vm.memory.backing.length - 4096;
    vm.memory.replace([
      { kind: 'ram', start: 0, length: start, backing: 0 },
      { kind: 'ram', start: DEVICE, length: 4096, backing: start },
    ]);
    assert.equal(vcpu.enter(4 * 5000).kind, 'budget');
    assert.equal(count(second), 5000, 'memory lies over it now');
  },
);
