/** The guest-physical memory map, replaced as a whole while guests use it: row 6 of the VM API. */
import assert from 'node:assert/strict';
import { ConfigurationError, MemoryError } from '../../runtime/errors.ts';
import type { RemovedDirty } from '../../runtime/vm/dirty-log.ts';
import type { GuestRegion, LazyRegion } from '../../runtime/vm/guest-memory.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { randomNumbers } from '../isa/random.ts';
import { guest, hashOf, origin, type TestEngine, testEngines } from './vm-harness.ts';

const HLT = 0xf4;
const asm = () => new Assembler(BigInt(origin));
const eax = (vm: Vm) => vm.vcpu(0).fields.get32('rax') >>> 0;
/** Guest-physical addresses of the part of the map that changes, and how many pages it has. */
const WINDOW = 0x80_0000;
const windowPages = 64;
/** The pages of RAM that are shown there, in changing order. */
const POOL = 0x10_0000;
const low: GuestRegion = { kind: 'ram', start: 0, length: POOL, backing: 0 };

/** Adds one to a word of the window in each round, EBP of them, and leaves by a port now and then. */
const counting = (rounds: number, device: boolean) =>
  asm()
    .put(0xbd, dword(rounds), 0xbe, dword(1), 0xbc, dword(0x8000)) // mov ebp, rounds; mov esi, 1; mov esp, 8000h
    .label('top')
    .put(0x69, 0xf6, dword(1664525), 0x81, 0xc6, dword(1013904223)) // imul esi, esi, …; add esi, …
    .put(0x89, 0xf7, 0xc1, 0xef, 0x0c, 0x81, 0xe7, dword(windowPages * 4096 - 4)) // mov edi, esi; shr edi, 12; and edi, …
    .put(0xff, 0x87, dword(WINDOW)) // inc dword [edi + WINDOW]
    .put(device ? [0xe6, 0x10] : []) // out 10h, al
    .put(0x4d, 0x0f, 0x85, to('top'), HLT) // dec ebp; jnz top
    .finish();

/** What an embedder keeps that copies dirty pages, and nothing else, to another place. */
class Replica {
  readonly vm: Vm;
  readonly random: (n: number) => number;
  readonly bytes: Uint8Array;
  replacements = 0;
  private readonly into = new Uint32Array(512);

  constructor(vm: Vm, seed: number) {
    this.vm = vm;
    this.random = randomNumbers(seed);
    this.bytes = vm.ram.slice();
    this.replace();
    this.vm.dirty.start();
  }
  /** Another map: pages of the pool in runs of random length and order, with holes. */
  replace(): void {
    const { random, vm } = this;
    const free = [...Array(windowPages).keys()];
    const regions: GuestRegion[] = [low];
    for (let at = 0; at < windowPages; ) {
      const length = Math.min(1 + random(12), windowPages - at);
      const first = free[random(free.length)]!;
      let fits = 0;
      while (fits < length && free.includes(first + fits)) fits++;
      free.splice(free.indexOf(first), fits);
      if (random(8) !== 0)
        regions.push({ kind: 'ram', start: WINDOW + at * 4096, length: fits * 4096, backing: POOL + first * 4096 });
      at += fits;
    }
    this.take(vm.memory.replace(regions));
    this.replacements++;
  }
  private take({ count, pages, backing }: RemovedDirty): void {
    assert.equal(count, pages.length);
    for (const at of backing) this.copy(at);
  }
  private copy(at: number): void {
    this.bytes.set(this.vm.ram.subarray(at, at + 4096), at);
  }
  collect(): void {
    const { vm, into } = this;
    const { count } = vm.dirty.collect({ into });
    for (const page of into.subarray(0, count)) {
      const at = page * 4096;
      const region = vm.memory.regions().find(({ start, length }) => at >= start && at < start + length)!;
      this.copy(region.backing + at - region.start);
    }
  }
}
/** The sum of all words of the pool. */
function total(bytes: Uint8Array): number {
  const words = new Uint32Array(bytes.slice(POOL, POOL + windowPages * 4096).buffer);
  return words.reduce((sum, word) => sum + word, 0);
}

testEngines('row 6: a guest writes through 10,000 replacements, and no dirty page is lost', (engine) => {
  const rounds = 200_000;
  const vm = guest(engine, counting(rounds, false));
  const replica = new Replica(vm, 1);
  let outside = 0;
  let removed = 0;
  for (let ended = false; !ended; ) {
    const exit = vm.vcpu(0).enter({ maxInstructions: 1 + replica.random(200) });
    ended = exit.kind === 'halt';
    if (exit.kind === 'mmio') {
      if (exit.write) outside++;
      else exit.low = 0;
    }
    if (exit.kind === 'mmio' && replica.random(4) !== 0) continue;
    const before = vm.dirty.count();
    replica.replace();
    removed += before - vm.dirty.count();
    if (replica.random(20) === 0) replica.collect();
  }
  assert.ok(replica.replacements >= 10_000, `${replica.replacements} replacements`);
  assert.ok(removed > 10_000 && outside > 1000);
  replica.collect();
  assert.equal(Buffer.compare(replica.bytes, vm.ram), 0, 'the copy of the dirty pages is the memory');
  assert.equal(total(vm.ram) + outside, rounds, 'no store was lost');
});

testEngines('row 6: the map is replaced from within a device, in the middle of an instruction', (engine) => {
  const rounds = 10_000;
  let replica: Replica | null = null;
  let outside = 0;
  const vm: Vm = guest(engine, counting(rounds, true), {
    ports: { read: () => 0, write: () => replica?.replace() },
    mmio: {
      read() {
        replica?.replace();
        return 0;
      },
      write() {
        outside++;
        replica?.replace();
      },
    },
  });
  replica = new Replica(vm, 2);
  assert.equal(vm.vcpu(0).enter().kind, 'halt');
  assert.ok(replica.replacements >= 10_000);
  replica.collect();
  assert.equal(Buffer.compare(replica.bytes, vm.ram), 0);
  // A read that found no memory may be followed by a write that finds some.
  assert.ok(total(vm.ram) + outside <= rounds && total(vm.ram) + outside > rounds / 2);
});

testEngines('row 6: what an instruction stores after it has met a device goes where memory is by then', (engine) => {
  // From a port, from a device in memory by way of a string instruction and of the stack: each lands in the window's first
  // page, and the device has that page moved to the next page of the pool each time.
  const device = 0xe000_0000;
  const code = asm()
    .put(0xfc, 0xba, dword(0x10), 0xbd, dword(100)) // cld; mov edx, 10h; mov ebp, 100
    .label('top')
    .put(0xbf, dword(WINDOW), 0xb9, dword(5), 0xf3, 0x6d) // mov edi, WINDOW; mov ecx, 5; rep insd
    .put(0xbe, dword(device), 0xb9, dword(3), 0xf3, 0xa5) // mov esi, device; mov ecx, 3; rep movsd
    .put(0xbc, dword(WINDOW + 0x800), 0xff, 0x35, dword(device)) // mov esp, WINDOW + 800h; push [device]
    .put(0xa1, dword(device), 0xa3, dword(WINDOW + 0x400)) // mov eax, [device]; mov [WINDOW + 400h], eax
    .put(0x4d, 0x75, to('top', 1), HLT)
    .finish();
  let turn = 0;
  const where = () => POOL + (turn % 16) * 4096;
  const wanted = new Map<number, number>();
  const answer = (): number => {
    turn++;
    vm.memory.replace([low, { kind: 'ram', start: WINDOW, length: 4096, backing: where() }]);
    const step = (turn - 1) % 10;
    const offset = step < 8 ? step * 4 : step === 8 ? 0x7fc : 0x400;
    wanted.set(where() + offset, turn);
    return turn;
  };
  const vm: Vm = guest(engine, code, {
    ports: { read: answer, write: () => {} },
    mmio: { read: answer, write: () => assert.fail('there is memory') },
  });
  vm.memory.replace([low, { kind: 'ram', start: WINDOW, length: 4096, backing: POOL }]);
  assert.equal(vm.vcpu(0).enter().kind, 'halt');
  assert.equal(turn, 1000);
  const words = new Uint32Array(vm.ram.buffer, vm.ram.byteOffset, vm.ram.length / 4);
  for (let at = POOL; at < POOL + 16 * 4096; at += 4) assert.equal(words[at / 4], wanted.get(at) ?? 0, at.toString(16));
});

testEngines('row 6: code is executed from the memory that is there', (engine) => {
  // Two versions of the page that holds the loop: they add 1 and 1,000, and go on in each other's middle.
  const version = (step: number) =>
    new Assembler(BigInt(WINDOW))
      .label('top')
      .put(0x05, dword(step)) // add eax, step
      .put(0xe6, 0x10) // out 10h, al
      .put(0x05, dword(step))
      .put(0x49, 0x75, to('top', 1), HLT) // dec ecx; jnz top
      .finish();
  const code = asm()
    .put(0x31, 0xc0, 0xb9, dword(600), 0xe9, dword(WINDOW - origin - 12))
    .finish();
  const maps = [0, 1].map((n): GuestRegion[] => [
    low,
    { kind: 'ram', start: WINDOW, length: 4096, backing: POOL + n * 4096 },
  ]);
  let turn = 0;
  const vm: Vm = guest(engine, code, {
    ports: { read: () => 0, write: () => void vm.memory.replace(maps[++turn % 2]!) },
  });
  vm.ram.set(version(1), POOL);
  vm.ram.set(version(1000), POOL + 4096);
  vm.memory.replace(maps[0]!);
  assert.equal(vm.vcpu(0).enter().kind, 'halt');
  assert.equal(turn, 600);
  assert.equal(eax(vm), 300 * 1 + 600 * 1000 + 300 * 1);
});

testEngines('row 6: a map that cannot be is refused, and everything is as it was', (engine) => {
  const vm = guest(engine, counting(1000, false));
  const ram = (start: number, length: number, backing: number): GuestRegion => ({
    kind: 'ram',
    start,
    length,
    backing,
  });
  const good = [low, ram(WINDOW, windowPages * 4096, POOL)];
  vm.memory.replace(good);
  vm.dirty.start();
  vm.vcpu(0).enter({ maxInstructions: 1000 });
  const [hash, dirty, regions] = [hashOf(vm), vm.dirty.count(), vm.memory.regions()];
  assert.deepEqual(regions, good);
  const wrong: [string, RegExp, unknown, unknown?][] = [
    [
      'region-overlap',
      /ram 0x801000\+0x2000 overlaps ram 0x800000\+0x2000/,
      [ram(0x80_1000, 8192, 0), ram(0x80_0000, 8192, 0)],
    ],
    [
      'region-overlap',
      /rom 0x0\+0x1000 overlaps ram 0x0\+0x100000/,
      [low, { kind: 'rom', start: 0, length: 4096, backing: 0 }],
    ],
    ['bad-region', /start 1 /, [ram(1, 4096, 0)]],
    ['bad-region', /length 4097 /, [ram(0, 4097, 0)]],
    ['bad-region', /length 0|0x0\+0x0/, [ram(0, 0, 0)]],
    ['bad-region', /backing 12 /, [ram(0, 4096, 12)]],
    ['bad-region', /start -4096 /, [ram(-4096, 4096, 0)]],
    ['bad-region', /NaN/, [ram(Number.NaN, 4096, 0)]],
    ['bad-region', /Infinity/, [ram(0, Number.POSITIVE_INFINITY, 0)]],
    ['bad-region', /4096n|4096/, [{ ...low, start: 4096n }]],
    ['bad-region', /backing 0x3ff000 leaves/, [ram(0, 8192, 0x3f_f000)]],
    ['bad-region', /beyond/, [ram(2 ** 40 - 4096, 8192, 0)]],
    ['bad-region', /no known kind/, [{ ...low, kind: 'flash' }]],
    ['bad-region', /fill/, [{ ...low, kind: 'lazy' }]],
    ['bad-region', /fill/, [{ ...low, fill() {} }]],
    ['bad-region', /not an object/, [null]],
    ['bad-region', /not a list/, 'everything'],
    ['bad-option', /nether/, [], { space: 'nether' }],
    ['bad-option', /not an object/, [], 'smm'],
  ];
  for (const [code, text, list, options] of wrong) {
    assert.throws(
      () => vm.memory.replace(list as GuestRegion[], options as object),
      (error: unknown) => error instanceof ConfigurationError && error.code === code && text.test(error.message),
      String(text),
    );
    assert.deepEqual([hashOf(vm), vm.dirty.count(), vm.memory.regions()], [hash, dirty, regions]);
  }
  assert.equal(vm.vcpu(0).enter().kind, 'halt');
  assert.equal(total(vm.ram), 1000);
});

testEngines(
  'row 6: two regions may show the same memory, and code written by way of one runs in the other',
  (engine) => {
    // mov [WINDOW + sub], …; call sub, in the memory of POOL that is seen at WINDOW and at WINDOW + 64 KiB
    const other = WINDOW + 0x1_0000;
    const code = asm()
      .put(0xbc, dword(0x8000), 0xb9, dword(400), 0x31, 0xc0) // mov esp, 8000h; mov ecx, 400; xor eax, eax
      .label('top')
      .put(0x89, 0x0d, dword(WINDOW + 1)) // mov [WINDOW + 1], ecx: the operand of the add
      .put(0xe8, dword(other - origin - 0x17)) // call other
      .put(0x49, 0x75, to('top', 1), HLT)
      .finish();
    assert.equal(code[0x12], 0xe8);
    const vm = guest(engine, code);
    vm.ram.set([0x05, 0, 0, 0, 0, 0xc3], POOL); // add eax, 0; ret
    const [at, again] = [WINDOW, other].map((start) => ({ kind: 'ram' as const, start, length: 8192, backing: POOL }));
    vm.memory.replace([low, at!, again!]);
    vm.dirty.start();
    assert.equal(vm.vcpu(0).enter().kind, 'halt');
    assert.equal(eax(vm), (400 * 401) / 2);
    const into = new Uint32Array(8);
    const pages = () => [...into.subarray(0, vm.dirty.collect({ into, start: WINDOW }).count)];
    assert.deepEqual(pages(), [WINDOW / 4096, other / 4096], 'the memory was written, wherever it is seen');
    // The next run's code is the DMA's.
    vm.memory.write(WINDOW, Uint8Array.of(0x2d, 1, 0, 0, 0));
    assert.deepEqual(pages(), [WINDOW / 4096, other / 4096]);
    vm.memory.replace([low, again!]);
    const { fields, cpu } = vm.vcpu(0);
    fields.set32('halted', 0);
    fields.set64('rip', BigInt(other));
    cpu.stateReplaced();
    vm.vcpu(0).enter({ maxInstructions: 1 });
    assert.equal(eax(vm), (400 * 401) / 2 - 1);
  },
);

/** A lazy region, and the pages that it was asked for. */
function lazy(start: number, pages: number, backing: number) {
  const asked: number[] = [];
  const region: LazyRegion = {
    kind: 'lazy',
    start,
    length: pages * 4096,
    backing,
    fill(page, bytes) {
      assert.equal(bytes.length, 4096);
      asked.push(page - start / 4096);
      bytes.fill(0x90);
      new DataView(bytes.buffer, bytes.byteOffset).setUint32(0, page, true);
    },
  };
  return { region, asked };
}

testEngines('row 6: pages of a lazy region are provided at their first touch, once, whoever it is', (engine) => {
  const { region, asked } = lazy(WINDOW, 32, POOL);
  const at = (page: number, offset = 0) => dword(WINDOW + page * 4096 + offset);
  const code = asm()
    .put(0xbc, dword(WINDOW + 0x6800)) // mov esp: page 6
    .put(0xb9, dword(300))
    .label('top')
    .put(0xa1, at(2)) // mov eax, [page 2]
    .put(0x50) // push eax
    .put(0xa3, at(4, 8), 0xff, 0x05, at(4, 0)) // mov [page 4 + 8], eax; inc dword [page 4]
    .put(0x89, 0x05, at(8, 0xffe)) // mov [page 8's end], eax
    .put(0x58, 0xe8, to('there')) // pop eax; call
    .put(0x49, 0x75, to('top', 1), HLT)
    .label('there')
    .put(0xb8, at(11, 0xffb), 0xff, 0xe0) // mov eax, …; jmp eax: NOPs at the end of page 11
    .finish();
  const vm = guest(engine, code);
  vm.memory.replace([low, region]);
  assert.deepEqual(asked, []);
  // A page that comes by DMA is filled before: NOPs, and a return at its start.
  vm.memory.write(WINDOW + 12 * 4096, Uint8Array.of(0xc3));
  assert.deepEqual(asked, [12]);
  assert.deepEqual([...vm.memory.read(WINDOW + 20 * 4096, 8)], [0x14, 8, 0, 0, 0x90, 0x90, 0x90, 0x90]);
  assert.equal(vm.vcpu(0).enter().kind, 'halt');
  assert.deepEqual(asked, [12, 20, 2, 6, 4, 8, 9, 11]);
  const word = (page: number, offset = 0) =>
    new DataView(vm.memory.read(WINDOW + page * 4096 + offset, 4).buffer).getUint32(0, true);
  assert.equal(word(4), WINDOW / 4096 + 4 + 300);
  assert.equal(word(4, 8), WINDOW / 4096 + 2);
  // Elsewhere in another map the pages are what they were, and the others are still to come.
  vm.memory.replace([low, { ...region, start: 2 * WINDOW }]);
  assert.deepEqual([...vm.memory.read(2 * WINDOW + 12 * 4096, 1)], [0xc3]);
  assert.equal(asked.length, 8);
  vm.memory.read(2 * WINDOW + 13 * 4096, 1);
  assert.equal(asked.length, 9);
});

testEngines(
  'row 6: a lazy page that cannot be had stops the guest before the access, and it goes on later',
  (engine) => {
    // Sums and counts go on over sixteen pages; each page is refused three times, in the midst of a block that has added before,
    // by a read-modify-write, by the second of two pages of a store, or by a push.
    const pages = 16;
    const code = asm()
      .put(0xb9, dword(pages * 8), 0x31, 0xc0, 0x31, 0xdb, 0xbf, dword(WINDOW)) // ecx; xor eax, eax; xor ebx, ebx; edi
      .label('top')
      .put(0x83, 0xc0, 0x02, 0x43) // add eax, 2; inc ebx
      .put(0x01, 0x07) // add [edi], eax
      .put(0x89, 0xfc, 0x53) // mov esp, edi; push ebx: the page before, at each page's start
      .put(0x89, 0x87, dword(0x1fe)) // mov [edi + 1feh], eax: on the next page at each page's end
      .put(0x81, 0xc7, dword(0x200), 0x43) // add edi, 200h; inc ebx
      .put(0x49, 0x75, to('top', 1), HLT)
      .finish();
    const refusals = new Map<number, number>();
    const fill = (page: number, bytes: Uint8Array) => {
      assert.throws(() => vm.memory.replace([low]), { code: 'busy' });
      const count = (refusals.get(page) ?? 0) + 1;
      refusals.set(page, count);
      if (count <= 3) throw new Error(`the disk is away, page ${page}`);
      bytes.fill(0);
    };
    const vm = guest(engine, code);
    vm.memory.replace([
      { ...low, length: POOL - 4096 },
      { kind: 'lazy', start: WINDOW - 4096, length: 4096, backing: POOL - 4096, fill },
      { kind: 'lazy', start: WINDOW, length: (pages + 1) * 4096, backing: POOL, fill },
    ]);
    let errors = 0;
    for (;;) {
      try {
        const exit = vm.vcpu(0).enter({ maxInstructions: 100 });
        if (exit.kind === 'halt') break;
        assert.equal(exit.kind, 'budget');
      } catch (error) {
        assert.match(String(error), /the disk is away/);
        errors++;
      }
    }
    assert.equal(errors, 3 * refusals.size);
    assert.equal(refusals.size, pages + 2);
    const rounds = pages * 8;
    assert.deepEqual([eax(vm), vm.vcpu(0).fields.get32('rbx')], [rounds * 2, rounds * 2]);
    for (let i = 1; i < rounds; i++) {
      // The push of each round, over what the round before has stored there.
      const view = new DataView(vm.memory.read(WINDOW + i * 512 - 4, 4).buffer);
      assert.equal(view.getUint32(0, true), i * 2 + 1, `push ${i}`);
    }
  },
);

testEngines('row 6: code in a lazy page that cannot be had is executed when it is there', (engine) => {
  const code = asm()
    .put(0xbc, dword(0x8000), 0x31, 0xc0, 0xbf, dword(WINDOW), 0xb9, dword(8)) // esp; xor eax, eax; edi; ecx
    .label('top')
    .put(0x40, 0xff, 0xd7, 0x40) // inc eax; call edi; inc eax
    .put(0x81, 0xc7, dword(0x1001), 0x49, 0x75, to('top', 1), HLT) // the next page, one byte further
    .finish();
  let refusals = 0;
  const fill = (page: number, bytes: Uint8Array) => {
    if (++refusals % 4 !== 0) throw new Error('the disk is away');
    bytes.fill(0x90); // nop
    bytes.set([0x83, 0xc0, page - WINDOW / 4096, 0xc3], 16); // add eax, …; ret
  };
  const vm = guest(engine, code);
  vm.memory.replace([low, { kind: 'lazy', start: WINDOW, length: 8 * 4096, backing: POOL, fill }]);
  let errors = 0;
  for (;;) {
    try {
      if (vm.vcpu(0).enter({ maxInstructions: 7 }).kind === 'halt') break;
    } catch (error) {
      assert.match(String(error), /the disk is away/);
      errors++;
    }
  }
  assert.deepEqual([errors, refusals], [24, 32]);
  assert.deepEqual([eax(vm), vm.vcpu(0).fields.get32('rsp')], [16 + 28, 0x8000]);
});

testEngines('row 6: ROM is read and executed, and a write to it is an exit', (engine) => {
  const rom = Uint8Array.of(0x40, 0xc7, 0x05, ...dword(WINDOW), ...dword(0x1234), 0x40, HLT); // inc eax; mov [WINDOW], 1234h; inc eax; hlt
  const vm = guest(
    engine,
    asm()
      .put(0x31, 0xc0, 0xe9, dword(WINDOW - origin - 7))
      .finish(),
  );
  vm.memory.replace([low, { kind: 'rom', start: WINDOW, length: 4096, backing: POOL }]);
  assert.throws(() => vm.memory.write(WINDOW, rom), { code: 'read-only' });
  vm.dirty.start({ start: WINDOW, length: 4096 });
  vm.memory.write(WINDOW, rom, { rom: true });
  assert.equal(vm.dirty.count(), 1);
  const exit = vm.vcpu(0).enter();
  assert.ok(exit.kind === 'mmio');
  assert.deepEqual([exit.write, exit.physical, exit.low], [true, WINDOW, 0x1234]);
  assert.equal(vm.vcpu(0).enter().kind, 'halt');
  assert.equal(eax(vm), 2);
  assert.deepEqual([...vm.memory.read(WINDOW, rom.length)], [...rom]);
});

testEngines('row 6: accesses by address are refused as a whole where there is no memory', (engine) => {
  const vm = guest(engine, [HLT]);
  vm.memory.replace([
    low,
    { kind: 'ram', start: WINDOW, length: 8192, backing: POOL },
    { kind: 'rom', start: WINDOW + 8192, length: 4096, backing: POOL + 8192 },
    { kind: 'ram', start: WINDOW + 12288, length: 4096, backing: POOL + 4 * 4096 },
    { kind: 'ram', start: 2 ** 35, length: 4096, backing: POOL + 5 * 4096 },
  ]);
  const hash = hashOf(vm);
  const bytes = new Uint8Array(8192).fill(0xaa);
  const { memory } = vm;
  const wrong: [string, RegExp, () => unknown][] = [
    ['unbacked', /0x804000 /, () => memory.write(WINDOW + 12288, bytes)],
    ['unbacked', /0x7ff000 /, () => memory.read(WINDOW - 4096, 8192)],
    ['unbacked', /0x100000 /, () => memory.read(POOL - 1, 2)],
    ['unbacked', /0x800001000 /, () => memory.read(2 ** 35, 4097)],
    ['unbacked', / smm /, () => memory.read(WINDOW - 4096, 1, { space: 'smm' })],
    ['unbacked', /0x10000000000 /, () => memory.read(2 ** 40, 1)],
    ['read-only', /0x802000 /, () => memory.write(WINDOW + 4096, bytes)],
    ['read-only', /0x802000 /, () => memory.view(WINDOW + 4096, 8192, { access: 'write' })],
    ['not-contiguous', /0x803000 /, () => memory.view(WINDOW, 16384)],
    ['bad-option', /-1/, () => memory.read(-1, 4)],
    ['bad-option', /1.5/, () => memory.read(0, 1.5)],
    ['bad-option', /NaN/, () => memory.view(Number.NaN, 4)],
    ['bad-option', /undefined/, () => memory.read(0, undefined as unknown as number)],
    ['bad-option', /1,2/, () => memory.write(0, [1, 2] as unknown as Uint8Array)],
    ['bad-option', /0n|0/, () => memory.read(0n as unknown as number, 4)],
    ['bad-option', /modify/, () => memory.view(0, 4, { access: 'modify' as 'read' })],
    ['bad-option', /both/, () => memory.read(0, 4, { space: 'both' as 'smm' })],
  ];
  for (const [code, text, call] of wrong)
    assert.throws(
      call,
      (error: unknown) =>
        (error instanceof MemoryError || error instanceof ConfigurationError) &&
        error.code === code &&
        text.test(error.message),
      String(call),
    );
  assert.equal(hashOf(vm), hash);
  memory.write(WINDOW + 4090, bytes.subarray(0, 12));
  assert.deepEqual([...memory.read(WINDOW + 4088, new Uint8Array(3))], [0, 0, 0xaa]);
  assert.deepEqual([...memory.view(WINDOW + 4095, 8).subarray(6)], [0xaa, 0]);
  memory.write(2 ** 35 + 5, Uint8Array.of(1, 2, 3));
  assert.deepEqual([...memory.read(2 ** 35 + 4, 5)], [0, 1, 2, 3, 0]);
  assert.deepEqual(
    [memory.isBacked(0), memory.isBacked(WINDOW + 16384), memory.isBacked(2 ** 60)],
    [true, false, false],
  );
  assert.equal(memory.read(5, 0).length, 0);
  assert.equal(memory.view(5, 0).length, 0);
});

/** Fuzzing: random maps, aliases and kinds among them; what a guest reads and writes is what a model says. */
testEngines('row 6: random maps with aliases behave as their definition says', (engine: TestEngine) => {
  const random = randomNumbers(99);
  const code = asm()
    .label('top')
    .put(0xff, 0x07, 0x8b, 0x07) // inc dword [edi]; mov eax, [edi]
    .put(0xe6, 0x10, 0xeb, to('top', 1)) // out 10h, al
    .finish();
  const vm = guest(engine, code);
  const vcpu = vm.vcpu(0);
  const model = new Uint32Array(windowPages);
  for (let round = 0; round < 300; round++) {
    const regions: GuestRegion[] = [low];
    const shown = new Map<number, number>();
    for (let at = 0; at < windowPages; ) {
      const length = 1 + random(6);
      const first = random(windowPages - length);
      const kind = (['ram', 'ram', 'lazy'] as const)[random(3)]!;
      if (random(4) !== 0 && at + length <= windowPages) {
        const place = { start: WINDOW + at * 4096, length: length * 4096, backing: POOL + first * 4096 };
        regions.push(kind === 'ram' ? { kind, ...place } : { kind, ...place, fill() {} });
        for (let i = 0; i < length; i++) shown.set(at + i, first + i);
      }
      at += length;
    }
    vm.memory.replace(regions);
    for (let access = 0; access < 10; access++) {
      const page = random(windowPages);
      vcpu.fields.set64('rdi', BigInt(WINDOW + page * 4096));
      const target = shown.get(page);
      const exit = vcpu.enter();
      if (target === undefined) {
        assert.ok(exit.kind === 'mmio' && !exit.write);
        exit.low = 76;
        const write = vcpu.enter();
        assert.ok(write.kind === 'mmio' && write.write && write.low === 77);
        const read = vcpu.enter();
        assert.ok(read.kind === 'mmio' && !read.write);
        read.low = 5;
        assert.equal(vcpu.enter().kind, 'pio');
        assert.equal(eax(vm), 5);
        continue;
      }
      assert.equal(exit.kind, 'pio');
      assert.equal(eax(vm), ++model[target]!);
      if (random(4) === 0) {
        vm.memory.write(WINDOW + page * 4096, Uint8Array.from(dword((model[target] = random(1000)))));
      }
    }
  }
  for (const [i, count] of model.entries())
    assert.equal(new DataView(vm.ram.buffer, vm.ram.byteOffset + POOL + i * 4096).getUint32(0, true), count);
});
