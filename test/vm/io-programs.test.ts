/** BPF programs next to the processor: the interval timer's counter, a doorbell, and what is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LoaderError, ProgramError } from '../../runtime/errors.ts';
import { EventCounter } from '../../runtime/io/event-counter.ts';
import { type ProgramOptions, programHeader } from '../../runtime/io/program.ts';
import { assemble } from '../../src/bpf/assemble.ts';
import { BpfError } from '../../src/bpf/errors.ts';
import { compile, withoutClang } from '../bpf/clang.ts';
import { at, dword, to } from '../engines/assembler.ts';
import { flat, lgdt, lidt, putGdt, putIdt, store as storeAt } from '../engines/system-code.ts';
import { code, IoGuest } from './io-guest.ts';
import { fuzzedGuest, RESULTS, readingGuest } from './pit-guest.ts';
import { PitWithProgram, pitOptions } from './pit-program.ts';
import { engines, hashOf, testEngines } from './vm-harness.ts';

const skip = withoutClang;
const pitProgram = () => compile('pit.c', programHeader(pitOptions));

test('row 15: a loop that reads the timer causes no exit, and the device is not asked', { skip }, async () => {
  const program = pitProgram();
  for (const engine of engines) {
    const plain = new IoGuest(engine, readingGuest(20_000));
    const device = new PitWithProgram(plain.vm);
    assert.deepEqual(plain.run(), {});
    assert.equal(device.passed, 20_000);
    const guest = new IoGuest(engine, readingGuest(20_000));
    const pit = new PitWithProgram(guest.vm);
    await pit.use(guest.vm, program);
    assert.deepEqual(guest.run(), {});
    assert.equal(pit.passed, 0);
    assert.equal(hashOf(guest.vm), hashOf(plain.vm), `${engine}: the same values`);
    assert.notEqual(guest.word(RESULTS), guest.word(RESULTS + 4000), 'it counts');
    const { answered } = guest.io.ports;
    if (engine === 'interpreter') assert.equal(answered, 20_000);
    else assert.ok(answered < 4000, `translated code asks by itself: ${answered} reads came by way of the interpreter`);
  }
});

test('row 15: under random use the timer shows the same with its program and without', { skip }, async () => {
  const program = pitProgram();
  let [answered, passed] = [0, 0];
  for (let seed = 1; seed <= 12; seed++) {
    const hashes = new Set<string>();
    for (const engine of engines) {
      const plain = new IoGuest(engine, fuzzedGuest(seed, 120));
      const device = new PitWithProgram(plain.vm);
      assert.deepEqual(plain.run(), {});
      const guest = new IoGuest(engine, fuzzedGuest(seed, 120));
      const pit = new PitWithProgram(guest.vm);
      await pit.use(guest.vm, program);
      assert.deepEqual(guest.run(), {});
      answered += device.passed - pit.passed;
      passed += pit.passed;
      hashes.add(hashOf(plain.vm)).add(hashOf(guest.vm));
    }
    assert.equal(hashes.size, 1, `seed ${seed}`);
  }
  assert.ok(answered > 10_000 && passed > 500, `${answered} reads were answered, ${passed} passed on`);
});

const queueNotify = { space: 'memory', address: 0xf000_0050, length: 4 } as const;
/** mov word [F0000050], 2 so many times */
const ringing = (count: number) =>
  code()
    .put(0xb9, dword(count))
    .label('again')
    .put(0x66, 0xc7, 0x05, dword(queueNotify.address), 2, 0, 0x49, 0x75, to('again', 1), 0xf4);

test('row 15: a doorbell clears the flag, then signals, and the device need not be told again', { skip }, async () => {
  const options: ProgramOptions = { shared: 48, events: Array.from({ length: 8 }, () => new EventCounter()) };
  // A driver looks at the flag: while it is clear, the device is awake and needs no notification.
  const source = `#include "device.h"
struct queue { unsigned int wants; unsigned long long rings; };
PROGRAM("doorbell") unsigned long long doorbell(struct device_access *a) {
  struct queue *q = a->state;
  if (!a->write || a->address != 0xf0000050 || (a->value & 0xffff) != 2) return 0;
  q->rings++;
  if (!q->wants) return 1;
  q->wants = 0;
  signal(2);
  return 1;
}
`;
  const object = compile(source, programHeader(options));
  for (const engine of engines) {
    const guest = new IoGuest(engine, ringing(1000));
    const program = await guest.vm.program({ ...queueNotify, access: 'write' }, object, options);
    const words = new Uint32Array(program.shared.buffer, program.shared.byteOffset, 4);
    const flags: number[] = [];
    const stop = options.events![2]!.onAdd(() => flags.push(words[0]!));
    words[0] = 1;
    assert.deepEqual(guest.run(), {});
    assert.equal(options.events![2]!.take(), 1, 'one notification for 1,000 rings');
    assert.deepEqual(flags, [0], 'the flag was clear before the event');
    assert.equal(words[2], 1000);
    stop();
    assert.ok(program.shared.buffer instanceof SharedArrayBuffer, 'other threads can have it');
  }
});

test('row 15: a virtio doorbell out of an object with two programs', { skip }, async () => {
  const events = Array.from({ length: 8 }, () => new EventCounter());
  const levels: string[] = [];
  const lines = [0, 1].map((line) => ({ set: (high: boolean) => void levels.push(`${line} ${high}`) }));
  const options: ProgramOptions = { shared: 48, events, lines };
  const object = compile('doorbell.c', programHeader(options), '-mcpu=v3');
  const guest = new IoGuest('interpreter', ringing(1000));
  const range = { space: 'port', address: 0x50, length: 4, access: 'read-write' } as const;
  await assert.rejects(guest.vm.program(range, object, options), (error) => {
    assert.ok(error instanceof ProgramError);
    assert.equal(error.code, 'no-program');
    assert.match(error.message, /doorbell, status/);
    return true;
  });
  const bell = await guest.vm.program(range, object, { ...options, program: 'doorbell' });
  const view = new DataView(bell.shared.buffer, bell.shared.byteOffset, 48);
  view.setUint32(0, 3, true);
  view.setUint32(4 + 2 * 4, 1, true);
  guest.io.ports.write(0x50, 2, 2);
  guest.io.ports.write(0x50, 4, 0xffff);
  assert.deepEqual([events.map((event) => event.take()), levels], [[0, 0, 1, 0, 0, 0, 0, 0], ['1 true']]);
  assert.equal(view.getUint32(12, true), 0);
  bell.detach();
  guest.io.ports.write(0x50, 2, 2);
  assert.equal(events[2]!.take(), 0);
  assert.equal(guest.vm.vcpu(0).enter({ maxInstructions: 1 }).kind, 'budget');
});

/** Answers each read with the first word of the shared area, and counts writes there. */
const register = `
  r2 = *(u64 *)(r1 + 24)
  r3 = *(u32 *)(r1 + 36)
  if r3 != 0 goto write
  r4 = *(u32 *)(r2 + 0)
  *(u64 *)(r1 + 8) = r4
  r0 = 1
  exit
write:
  r4 = *(u64 *)(r1 + 8)
  if r4 == 99 goto pass
  *(u32 *)(r2 + 4) = r4
  r0 = 1
  exit
pass:
  r0 = 0
  exit`;

testEngines(
  'row 15: a program answers loads and stores of memory, and what it passes on is an exit',
  async (engine) => {
    const at = 0xf000_0100;
    const store = (value: number) => storeAt(at, value);
    const loads = [0xa1, ...dword(at), 0x01, 0xc3]; // mov eax, [at]; add ebx, eax
    const guest = new IoGuest(
      engine,
      code()
        .put(0xb9, dword(300))
        .label('again')
        .put(loads, store(5), store(99), 0x49, 0x75, to('again', 1))
        .put(0x89, 0x1d, dword(RESULTS), 0xf4),
    );
    const range = { space: 'memory', address: at, length: 4, access: 'read-write' } as const;
    const program = await guest.vm.program(range, assemble(register), { shared: 8 });
    const words = new Uint32Array(program.shared.buffer, program.shared.byteOffset, 2);
    words[0] = 7;
    const exits = guest.run((exit) => assert.ok(exit.kind === 'mmio' && exit.low === 99));
    assert.deepEqual(exits, { mmio: 300 });
    assert.deepEqual([guest.word(RESULTS), words[1]], [2100, 5]);
  },
);

testEngines('row 15: a program is asked once for each access, whether it answers or passes it on', async (engine) => {
  const count = 4000; // enough for translated code to ask it by itself
  const guest = new IoGuest(
    engine,
    code().put(0xb9, dword(count)).label('again').put(0xe5, 0x60, 0x01, 0xc3, 0x49, 0x75, to('again', 1), 0xf4),
  );
  // Answers each second read.
  const program = await guest.vm.program(
    { space: 'port', address: 0x60, length: 4, access: 'read' },
    assemble(`r2 = *(u64 *)(r1 + 24)
      r3 = *(u32 *)(r2 + 0)
      r3 += 1
      *(u32 *)(r2 + 0) = r3
      *(u64 *)(r1 + 8) = r3
      r0 = r3
      r0 &= 1
      exit`),
    { shared: 8 },
  );
  let reads = 0;
  const answers = { name: 'beneath', read: () => ++reads * 0x1000, write: () => {} };
  guest.io.attach({ space: 'port', address: 0x60, length: 4 }, answers);
  assert.deepEqual(guest.run(), {});
  assert.equal(new Uint32Array(program.shared.buffer, program.shared.byteOffset, 1)[0], count);
  assert.equal(reads, count / 2);
  let sum = 0;
  for (let i = 1; i <= count; i++) sum += i % 2 === 1 ? i : (i / 2) * 0x1000;
  assert.equal(Number(guest.vm.vcpu(0).fields.get64('rbx')), sum % 2 ** 32);
});

testEngines('row 15: an interrupt that a program injects is taken before the next instruction', async (engine) => {
  const handler = 0x3000;
  const idt = 0x8000;
  const guest = new IoGuest(
    engine,
    code()
      .put(lidt(idt - 8), 0xfb, 0xb9, dword(2000))
      .label('again')
      .put(0xe4, 0x60, 0x42, 0x49, 0x75, to('again', 1), 0xf4), // in al, 60h; inc edx; dec ecx
  );
  const { vm } = guest;
  putIdt(vm.ram, idt, { 2: handler }, vm.vcpu(0).fields.get32('csSelector'));
  vm.physical.writeBytes(handler, Uint8Array.from([0x01, 0xd6, 0xff, 0x05, ...dword(RESULTS), 0xcf])); // add esi, edx; inc
  const interrupts = [() => vm.vcpu(0).nmi()];
  await vm.program(
    { space: 'port', address: 0x60, length: 1, access: 'read' },
    assemble('r6 = r1\nr1 = 0\ncall 259\nr0 = 1\nexit'),
    { interrupts },
  );
  assert.deepEqual(guest.run(), {});
  assert.equal(guest.word(RESULTS), 2000);
  assert.equal(Number(vm.vcpu(0).fields.get64('rsi')), 1_999_000, 'each before the instruction that follows IN');
});

test('row 15: what the verifier refuses says which instruction and why, and changes nothing', async () => {
  const guest = new IoGuest('translation', readingGuest(10));
  const hash = hashOf(guest.vm);
  const range = { space: 'port', address: 0x40, length: 4, access: 'read' } as const;
  const options = { shared: 32 };
  const refused = async (text: string, code: string, instruction: number, reason: RegExp) =>
    assert.rejects(guest.vm.program(range, assemble(text), options), (error) => {
      assert.ok(error instanceof BpfError, String(error));
      assert.deepEqual([error.code, error.instruction], [code, instruction], error.message);
      assert.match(error.message, reason);
      assert.match(error.message, new RegExp(`^instruction ${instruction}: `));
      return true;
    });
  await refused('again:\ngoto again', 'endless-loop', 0, /comes back here/);
  await refused('r2 = *(u64 *)(r1 + 24)\nr0 = *(u32 *)(r2 + 32)\nexit', 'out-of-bounds', 1, /32/);
  await refused('r2 = *(u64 *)(r1 + 24)\nr0 = *(u32 *)(r2 - 4)\nexit', 'out-of-bounds', 1, /-4/);
  await refused('r0 = *(u64 *)(r1 + 200)\nexit', 'context-access', 0, /200/);
  await refused('r1 = 0\ncall 257\nr0 = 0\nexit', 'unknown-helper', 1, /257/);
  await refused('call 12345\nr0 = 0\nexit', 'unknown-helper', 0, /12345/);
  await refused('r0 = r5\nexit', 'uninitialised-register', 0, /r5/);
  await refused('r0 = 2\nexit', 'result-range', 1, /2/);
  assert.equal(guest.io.claims('port', 0x40), false);
  assert.equal(hashOf(guest.vm), hash);
  assert.deepEqual(
    guest.run((exit) => exit.kind === 'pio' && !exit.write && (exit.value = 1)),
    { pio: 13 },
  );
});

test('row 15: what cannot be attached is refused with a code, and the VM goes on', async () => {
  const guest = new IoGuest('translation', readingGuest(10));
  const { vm } = guest;
  const range = { space: 'port', address: 0x40, length: 4, access: 'read' } as const;
  const program = assemble('r0 = 0\nexit');
  const bad = async (code: string, run: Promise<unknown>) => assert.rejects(run, { code });
  await bad('bad-region', vm.program({ ...range, length: 0 }, program));
  await bad('bad-region', vm.program({ ...range, address: 0xffff }, program));
  await bad('bad-region', vm.program({ ...range, space: 'disk' as 'port' }, program));
  await bad('bad-option', vm.program({ ...range, access: 'execute' as 'read' }, program));
  await bad('bad-option', vm.program(range, program, { shared: -1 }));
  await bad('bad-option', vm.program(range, program, { shared: 1.5 }));
  await bad('bad-option', vm.program(range, program, { events: [{} as EventCounter] }));
  await bad('bad-option', vm.program(range, program, { lines: [{} as never] }));
  await bad('bad-option', vm.program(range, program, { interrupts: [1 as never] }));
  await bad('bad-option', vm.program(range, program, { engine: 'fast' as 'interpreter' }));
  await bad('bad-program', vm.program(range, 'exit' as never));
  await bad('empty-program', vm.program(range, new Uint8Array(0)));
  await bad('truncated-instruction', vm.program(range, program.subarray(0, 7)));
  const elf = Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0);
  await assert.rejects(vm.program(range, elf), LoaderError);
  const first = await vm.program(range, program, { name: 'first' });
  await assert.rejects(vm.program({ ...range, address: 0x43, length: 1 }, program, { name: 'second' }), {
    code: 'region-overlap',
    message: /second at 0x43-0x43 \(ports\) overlaps first at 0x40-0x43 \(ports\)/,
  });
  first.detach();
  first.detach();
  await vm.program(range, program);
  assert.deepEqual(guest.run(), { pio: 13 });
});

test('row 15: state of a program is saved and restored, its maps included', { skip }, async () => {
  const guest = new IoGuest('interpreter', readingGuest(10));
  const options: ProgramOptions = { shared: 8, engine: 'interpreter' };
  const object = compile('statistics.c', programHeader(options), '-g');
  const program = await guest.vm.program({ space: 'port', address: 0x60, length: 16, access: 'read' }, object, options);
  guest.io.ports.read(0x62, 1);
  program.shared[3] = 9;
  const saved = program.saveState();
  const total = program.map('accesses', 2).slice();
  assert.ok(total.some((byte) => byte !== 0));
  guest.io.ports.read(0x62, 1);
  program.shared[3] = 8;
  assert.notDeepEqual(program.map('accesses', 2), total);
  assert.throws(() => program.loadState(saved.subarray(1)), { code: 'bad-state' });
  program.loadState(saved);
  assert.deepEqual([program.map('accesses', 2), program.shared[3]], [total, 9]);
  assert.throws(() => program.map('accesses', 16), { code: 'bad-placement' });
});

testEngines('row 15: the guest writes to a program from translated code, in each width', async (engine) => {
  const out = [0xe6, 0x70, 0x66, 0xe7, 0x70, 0xe7, 0x70]; // out 70h, al; ax; eax
  const guest = new IoGuest(
    engine,
    code()
      .put(0xb9, dword(3000))
      .label('again')
      .put(0x8d, 0x81, dword(0x7f80_0000), out, 0x49, 0x75, to('again', 1), 0xf4),
  );
  // Adds value and size up.
  const program = await guest.vm.program(
    { space: 'port', address: 0x70, length: 4, access: 'write' },
    assemble(`r2 = *(u64 *)(r1 + 24)
      r3 = *(u64 *)(r1 + 8)
      r4 = *(u64 *)(r2 + 0)
      r4 += r3
      *(u64 *)(r2 + 0) = r4
      r3 = *(u32 *)(r1 + 32)
      r4 = *(u64 *)(r2 + 8)
      r4 += r3
      *(u64 *)(r2 + 8) = r4
      r0 = 1
      exit`),
    { shared: 16 },
  );
  assert.deepEqual(guest.run(), {});
  let sum = 0;
  for (let i = 1; i <= 3000; i++) sum += (i & 0xff) + (i & 0xffff) + (0x7f80_0000 + i);
  const words = new BigUint64Array(program.shared.buffer, program.shared.byteOffset, 2);
  assert.deepEqual([Number(words[0]), Number(words[1])], [sum, 3000 * 7]);
});

testEngines(
  'row 15: at IOPL 0 a program with ports answers nothing to CPL 3, also in translated code',
  async (engine) => {
    // The guest turns off its ports by a jump to ring 3: IN raises #GP, whose handler ends in HLT.
    const handler = 0x3000;
    const idt = 0x8000;
    const gdt = 0x8800;
    const tss = 0x9000;
    const guest = new IoGuest(
      engine,
      code()
        .put(0xb9, dword(2000))
        .label('again')
        .put(0xe4, 0x60, 0x49, 0x75, to('again', 1)) // in al, 60h
        .put(lgdt(gdt - 8), lidt(idt - 8))
        .put(0x66, 0xb8, 0x28, 0x00, 0x0f, 0x00, 0xd8) // ltr
        .put(0x6a, 0x23, 0x68, dword(0x6000), 0x6a, 0x02, 0x6a, 0x1b, 0x68, at('user'), 0xcf) // iret to ring 3
        .label('user')
        .put(0xb9, dword(5), 0xe9, to('again')),
    );
    const { vm } = guest;
    const view = new DataView(vm.ram.buffer, vm.ram.byteOffset);
    putGdt(vm.ram, gdt, flat.code, flat.data, flat.userCode, flat.userData, 0x0000_8900_9000_0067n); // the last: the TSS
    view.setUint32(tss + 4, 0x7000, true);
    view.setUint16(tss + 8, 0x10, true);
    view.setUint16(tss + 102, 0x68, true);
    putIdt(vm.ram, idt, { 13: handler });
    vm.physical.writeBytes(handler, Uint8Array.from([0xf4]));
    const program = await vm.program(
      { space: 'port', address: 0x60, length: 1, access: 'read' },
      assemble('r2 = *(u64 *)(r1 + 24)\nr3 = *(u32 *)(r2 + 0)\nr3 += 1\n*(u32 *)(r2 + 0) = r3\nr0 = 1\nexit'),
      { shared: 8 },
    );
    assert.deepEqual(guest.run(), {});
    assert.equal(new Uint32Array(program.shared.buffer, program.shared.byteOffset, 1)[0], 2000);
    assert.equal(Number(vm.vcpu(0).fields.get64('rcx')), 5);
  },
);

test('row 15: what a program answers costs a small part of an exit', async () => {
  // bench/costs.ts measures the whole factor, on a machine that has nothing else to do; here it is to be far beyond doubt.
  const reads = (count: number) =>
    code().put(0xb9, dword(count)).label('again').put(0xe4, 0x60, 0x49, 0x75, to('again', 1), 0xf4);
  const range = { space: 'port', address: 0x60, length: 1, access: 'read' } as const;
  const nanosOf = async (count: number, answers: boolean): Promise<number> => {
    const guest = new IoGuest('hot', reads(count));
    if (answers) await guest.vm.program(range, assemble('*(u64 *)(r1 + 8) = 7\nr0 = 1\nexit'));
    const before = process.threadCpuUsage();
    assert.deepEqual(guest.run(), answers ? {} : { pio: count });
    const { user, system } = process.threadCpuUsage(before);
    return ((user + system) * 1000) / count;
  };
  const [exit, program] = [await nanosOf(200_000, false), await nanosOf(4_000_000, true)];
  assert.ok(exit > 8 * program, `an exit takes ${exit.toFixed(0)} ns, a program's answer ${program.toFixed(0)}`);
});
