/** Which pages were written, asked for by range and by work: row 7 of the VM API. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadGuest } from '../../runtime/loaders/load.ts';
import type { CollectOptions } from '../../runtime/vm/dirty-log.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { MemoryMap } from '../../src/mmu/memory-map.ts';
import { PageLog } from '../../src/mmu/page-log.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { CR0_PG, flat, putGates, putGdt, setControl } from '../engines/system-code.ts';
import { randomNumbers } from '../isa/random.ts';
import { type GuestOptions, guest, origin, type TestEngine, testEngines } from './vm-harness.ts';

const HLT = 0xf4;
const asm = () => new Assembler(BigInt(origin));
/** Addresses that the guest writes to, ended by a zero; pages from here on are the guest's data. */
const TABLE = 0x8000;
const DATA = 0x10_0000;
const dataPages = 256;
const page = (index: number) => DATA / 4096 + index;

/** Adds one to the word at each address of the table, then makes an exit; and again. */
const touching = asm()
  .label('start')
  .put(0xbe, dword(TABLE)) // mov esi, TABLE
  .label('top')
  .put(0x8b, 0x3e, 0x85, 0xff) // mov edi, [esi]; test edi, edi
  .put(0x0f, 0x84, to('done')) // jz done
  .put(0xff, 0x07, 0x83, 0xc6, 0x04) // inc dword [edi]; add esi, 4
  .put(0xeb, to('top', 1))
  .label('done')
  .put(0xe6, 0x10) // out 10h, al
  .put(0xeb, to('start', 1))
  .finish();

/** A guest that writes to pages as told. */
function toucher(engine: TestEngine, options: GuestOptions = {}) {
  const vm = guest(engine, touching, options);
  /** Writes to these pages of the data. */
  const touch = (indices: readonly number[]) => {
    const words = Uint32Array.from([...indices.map((i) => DATA + i * 4096 + ((i * 52) & 0xffc)), 0]);
    vm.ram.set(new Uint8Array(words.buffer), TABLE);
    assert.equal(vm.vcpu(0).enter().kind, 'pio');
  };
  return { vm, touch };
}
const into = new Uint32Array(4096);
function collected(vm: Vm, options: Partial<CollectOptions> = {}): number[] {
  const { count } = vm.dirty.collect({ into, ...options });
  return [...into.subarray(0, count)];
}
const sample = (seed: number, k: number) =>
  [...new Set(Array.from({ length: k }, (_, i) => ((i + 1) * (seed * 2 + 37)) % dataPages))].sort((a, b) => a - b);

testEngines('row 7: k pages written are exactly k pages, once', (engine) => {
  const { vm, touch } = toucher(engine);
  const all = [...Array(dataPages).keys()];
  touch(all); // all of them may be written by way of the look-aside tables now
  assert.deepEqual(collected(vm), [], 'nothing is logged yet');
  vm.dirty.start();
  assert.deepEqual(collected(vm), []);
  for (let round = 1; round <= 30; round++) {
    const wanted = sample(round, round * 5);
    touch([...wanted, ...wanted]);
    assert.equal(vm.dirty.count(), wanted.length);
    assert.deepEqual(collected(vm), wanted.map(page));
    assert.deepEqual(collected(vm), [], 'they were collected');
  }
  touch(all);
  touch(all);
  assert.deepEqual(collected(vm), all.map(page));
});

testEngines('row 7: maxPages bounds the work, and the cursor goes on', (engine) => {
  const { vm, touch } = toucher(engine);
  vm.dirty.start();
  const wanted = sample(3, 100);
  touch(wanted);
  const found: number[] = [];
  for (let start = 0; ; ) {
    const { count, next, done } = vm.dirty.collect({ start, maxPages: 7, into });
    assert.ok(count <= 7);
    found.push(...into.subarray(0, count));
    assert.equal(vm.dirty.count(), wanted.length - found.length, 'the others are still there');
    if (done) break;
    assert.equal(count, 7);
    assert.equal(next, (into[6]! + 1) * 4096);
    start = next;
  }
  assert.deepEqual(found, wanted.map(page));
  touch([1, 2, 3]);
  assert.deepEqual(vm.dirty.collect({ maxPages: 0, into }), { count: 0, next: 0, done: false });
  assert.deepEqual(collected(vm, { start: DATA + 8192, length: 4096 }), [page(2)]);
  assert.deepEqual(collected(vm), [page(1), page(3)]);
});

testEngines('row 7: what is collected without clear stays, and with it is logged again', (engine) => {
  const { vm, touch } = toucher(engine);
  vm.dirty.start();
  touch([5, 6, 7]);
  assert.deepEqual(collected(vm, { clear: false }), [5, 6, 7].map(page));
  assert.deepEqual(collected(vm, { maxPages: 2 }), [5, 6].map(page));
  touch([5]);
  assert.deepEqual(collected(vm), [5, 7].map(page));
  touch([7]);
  assert.deepEqual(collected(vm), [7].map(page));
});

testEngines('row 7: writes by the embedder and by loaders are logged like those of processors', (engine) => {
  const { vm, touch } = toucher(engine);
  vm.dirty.start();
  touch([9]);
  vm.memory.write(DATA + 20 * 4096 - 2, Uint8Array.of(1, 2, 3, 4));
  assert.deepEqual(collected(vm), [9, 19, 20].map(page));
  vm.memory.write(DATA, new Uint8Array(3 * 4096 + 1));
  vm.memory.view(DATA + 40 * 4096, 8192, { access: 'write' }).fill(7);
  assert.deepEqual(collected(vm), [0, 1, 2, 3, 40, 41].map(page));
  vm.memory.read(DATA, 8192);
  vm.memory.view(DATA, 8192, { access: 'read' });
  assert.deepEqual(collected(vm), []);
});

testEngines(
  'row 7: what a loader writes is dirty, page by page, and what stood there is not executed any more',
  (engine) => {
    const image = (step: number) => {
      // add eax, step; jmp to it; and something on the third page
      const bytes = new Uint8Array(2 * 4096 + 100).fill(0x90);
      bytes.set([0x83, 0xc0, step, 0xeb, 0xfb]);
      return bytes;
    };
    const vm = guest(engine, [HLT]);
    const load = (step: number, at: number) => {
      const flat = { address: at, mode: 'protected' } as const;
      const options = { name: 'image', commandLine: '', modules: [], flat };
      vm.start(0, loadGuest(image(step), vm.memory.ram, options).state);
    };
    load(1, DATA);
    vm.vcpu(0).enter({ maxInstructions: 3000 });
    assert.equal(vm.vcpu(0).fields.get32('rax'), 1500);
    vm.dirty.start();
    load(7, DATA);
    // The descriptor table and a page for the stack come with every image that is not for real mode.
    assert.deepEqual(collected(vm, { start: DATA }), [0, 1, 2].map(page));
    assert.equal(collected(vm).length, 2);
    vm.vcpu(0).enter({ maxInstructions: 3000 });
    assert.equal(vm.vcpu(0).fields.get32('rax'), 7 * 1500);
    assert.deepEqual(collected(vm), []);
  },
);

testEngines('row 7: logging is turned on and off by range', (engine) => {
  const { vm, touch } = toucher(engine);
  const all = [...Array(dataPages).keys()];
  vm.dirty.start({ start: DATA + 10 * 4096, length: 10 * 4096 });
  vm.dirty.start({ start: DATA + 15 * 4096, length: 10 * 4096 });
  vm.dirty.start({ start: DATA + 100 * 4096, length: 4096, initially: 'dirty' });
  assert.deepEqual(collected(vm), [page(100)]);
  touch(all);
  const logged = [...all.slice(10, 25), 100];
  assert.deepEqual(collected(vm, { clear: false }), logged.map(page));
  vm.dirty.stop({ start: DATA + 12 * 4096, length: 4096 });
  const left = logged.filter((i) => i !== 12);
  assert.deepEqual(collected(vm), left.map(page));
  touch(all);
  assert.deepEqual(collected(vm), left.map(page));
  vm.dirty.stop();
  assert.ok(!vm.physical.pageFlags.some((flags) => (flags & 4) !== 0), 'no write is slower than before');
  touch(all);
  assert.deepEqual(collected(vm), []);
  vm.dirty.start({ initially: 'dirty' });
  assert.equal(vm.dirty.count(), vm.ram.length / 4096);
  const first = vm.dirty.collect({ into });
  assert.deepEqual([first.count, first.done], [vm.ram.length / 4096, true]);
});

testEngines('row 7: flags in page tables, frames of exceptions and pushes are writes', (engine) => {
  // Page directory at 40000h, tables at 41000h (which maps itself, too); stack at 50000h, IDT at 60000h, GDT at 61000h.
  const [DIRECTORY, PAGES, STACK, IDT, GDT] = [0x40000, 0x41000, 0x50000, 0x60000, 0x61000];
  const code = asm()
    .put(setControl(0, CR0_PG))
    .label('again')
    .put(0xe6, 0x10) // out 10h, al: 1
    .put(0xa1, dword(DATA)) // a read sets the accessed flag
    .put(0xe6, 0x11) // 2
    .put(0xa3, dword(DATA)) // a write the dirty flag
    .put(0xe6, 0x12) // 3
    .put(0xcd, 0x21) // int 21h
    .put(0xe6, 0x13) // 4
    .put(0x60, 0x61, 0xe6, 0x14) // pusha; popa
    .put(0xeb, to('again', 1))
    .label('handler')
    .put(0xcf); // iret
  const vm = guest(engine, code.finish());
  const view = new DataView(vm.ram.buffer, vm.ram.byteOffset, vm.ram.length);
  view.setUint32(DIRECTORY, PAGES | 7, true);
  for (let i = 0; i < 1024; i++) view.setUint32(PAGES + i * 4, (i * 4096) | 7, true);
  putGates(vm.ram, IDT, { 33: code.addressOf('handler') });
  putGdt(vm.ram, GDT, flat.code, flat.data);
  const { fields, cpu } = vm.vcpu(0);
  fields.set64('cr3', BigInt(DIRECTORY));
  fields.set64('idtrBase', BigInt(IDT));
  fields.set32('idtrLimit', 0x7ff);
  fields.set64('gdtrBase', BigInt(GDT));
  fields.set32('gdtrLimit', 23);
  fields.set32('csSelector', 8);
  fields.set64('rsp', BigInt(STACK + 0x800));
  cpu.stateReplaced();
  const next = () => {
    assert.equal(vm.vcpu(0).enter().kind, 'pio');
    return collected(vm).map((n) => n * 4096);
  };
  assert.deepEqual(next(), []);
  vm.dirty.start();
  assert.deepEqual(next(), [PAGES]);
  assert.deepEqual(next(), [PAGES, DATA]);
  // The stack's page has its flags set, the handler's code and the tables' too: by then each is a write.
  assert.deepEqual(next(), [PAGES, STACK]);
  assert.deepEqual(next(), [STACK]);
  for (let round = 0; round < 200; round++) {
    assert.deepEqual(next(), [], `round ${round}`);
    assert.deepEqual(next(), []);
    assert.deepEqual(next(), [DATA]);
    assert.deepEqual(next(), [STACK]);
    assert.deepEqual(next(), [STACK]);
  }
});

testEngines('row 7: a log that is collected inside a device misses nothing of the loop around it', (engine) => {
  const code = asm()
    .put(0xbc, dword(DATA + 0x800), 0xb9, dword(5000)) // mov esp, DATA + 800h; mov ecx, 5000
    .label('top')
    .put(0x51, 0xff, 0x05, dword(DATA + 0x1000)) // push ecx; inc dword [DATA + 1000h]
    .put(0x89, 0x0d, dword(DATA + 0x1ffe)) // mov [DATA + 1ffeh], ecx: on two pages
    .put(0xe8, to('sub'))
    .put(0xe6, 0x10, 0x58, 0x49) // out 10h, al; pop eax; dec ecx
    .put(0x75, to('top', 1), HLT)
    .label('sub')
    .put(0xc3)
    .finish();
  let rounds = 0;
  const vm = guest(engine, code, {
    ports: {
      read: () => 0,
      write: () => {
        rounds++;
        assert.deepEqual(collected(vm), [0, 1, 2].map(page));
      },
    },
  });
  vm.dirty.start({ start: DATA, length: 16 * 4096 });
  assert.equal(vm.vcpu(0).enter().kind, 'halt');
  assert.equal(rounds, 5000);
});

/** Stores of many kinds, each through EDI, that leave ECX and ESI alone. */
const stores: readonly (readonly number[])[] = [
  [0x89, 0x07], // mov [edi], eax
  [0x88, 0x07],
  [0x66, 0x89, 0x07],
  [0xff, 0x07], // inc dword [edi]
  [0x01, 0x07], // add [edi], eax
  [0xf0, 0x01, 0x07], // lock add [edi], eax
  [0x87, 0x07], // xchg [edi], eax
  [0xf0, 0x0f, 0xc1, 0x07], // lock xadd [edi], eax
  [0x0f, 0x11, 0x07], // movups [edi], xmm0
  [0xdd, 0x17], // fst qword [edi]
  [0xab], // stosd
  [0x51, 0xb9, ...dword(40), 0xf3, 0xab, 0x59], // push ecx; mov ecx, 40; rep stosd; pop ecx
  [0x8f, 0x07], // pop [edi]
  [0xff, 0x37], // push [edi]
  [0x0f, 0xc0, 0x07], // xadd [edi], al
  [0xc7, 0x07, ...dword(0x1234567)], // mov [edi], imm
];

testEngines('row 7: whatever was changed is found, at any time and however the run is cut', (engine) => {
  for (let seed = 1; seed <= 6; seed++) {
    const random = randomNumbers(seed);
    const program = asm()
      .put(0xbc, dword(DATA + 128 * 4096), 0xb9, dword(3000), 0xbe, dword(seed), 0xd9, 0xe8) // esp, ecx, esi; fld1
      .put(0x66, 0x0f, 0x6e, 0xc6) // movd xmm0, esi
      .label('top');
    for (let i = 0; i < 12; i++)
      program
        .put(0x69, 0xf6, dword(1664525), 0x81, 0xc6, dword(1013904223)) // imul esi, esi, …; add esi, …
        .put(0x89, 0xf7, 0xc1, 0xef, 0x0c, 0x81, 0xe7, dword(0x1f_fff)) // mov edi, esi; shr edi, 12; and edi, 1ffffh
        .put(0x81, 0xc7, dword(DATA), 0x8d, 0x04, 0x37) // add edi, DATA; lea eax, [edi + esi]
        .put(stores[random(stores.length)]!);
    program.put(0x81, 0xe4, dword(0xffff_fffc), 0x81, 0xcc, dword(0x400)); // and esp, …; or esp, 400h
    program.put(0x49, 0x0f, 0x85, to('top'), HLT); // dec ecx; jnz top
    const vm = guest(engine, program.finish());
    const range = { start: 0, length: vm.ram.length };
    vm.dirty.start(range);
    let before = vm.ram.slice();
    for (let slices = 0; slices < 40; slices++) {
      const exit = vm.vcpu(0).enter({ maxInstructions: 1 + random(random(2) === 0 ? 20 : 4000) });
      const found = new Set(collected(vm));
      const changed = [...Array(vm.ram.length / 4096).keys()].filter((n) => {
        const [a, b] = [before, vm.ram].map((bytes) => Buffer.from(bytes.buffer, bytes.byteOffset + n * 4096, 4096));
        return Buffer.compare(a!, b!) !== 0;
      });
      for (const n of changed) assert.ok(found.has(n), `seed ${seed}: page ${n.toString(16)} was changed`);
      for (const n of found) assert.ok(n >= page(0) - 1 && n <= page(dataPages), `page ${n.toString(16)}`);
      before = vm.ram.slice();
      if (exit.kind === 'halt') break;
    }
  }
});

test('row 7: of a million pages, what is dirty is found in order, and nothing else', () => {
  const pages = 1 << 20;
  const map = new MemoryMap([{ kind: 'ram', start: 0, length: pages * 4096, hostOffset: 0 }]);
  const log = new PageLog(map, [{ from: 0, to: pages }]);
  const into = new Uint32Array(pages);
  assert.equal(log.take(0, pages, 0, true, into, 0, pages), 0);
  for (let n = 0; n < pages; n += 100) log.set(n);
  assert.equal(log.take(0, pages, 0, true, into, 0, pages), Math.ceil(pages / 100));
  assert.ok(into.subarray(0, Math.ceil(pages / 100)).every((n, i) => n === i * 100));
  assert.equal(log.count, 0);
  assert.equal(log.next(0), -1);
});
