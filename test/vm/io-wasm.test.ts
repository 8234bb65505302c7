/** WebAssembly modules as device programs: the same C sources, the same observables, and a bounded sandbox. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProgramError } from '../../runtime/errors.ts';
import { EventCounter } from '../../runtime/io/event-counter.ts';
import { type ProgramOptions, programHeader } from '../../runtime/io/program.ts';
import { compileWasm, withoutWasmClang } from '../bpf/clang.ts';
import { dword, to } from '../engines/assembler.ts';
import { code, IoGuest } from './io-guest.ts';
import { fuzzedGuest, readingGuest } from './pit-guest.ts';
import { PitWithProgram, pitOptions } from './pit-program.ts';
import { engines, hashOf, testEngines } from './vm-harness.ts';
import { aModule, type ModuleParts } from './wasm-module.ts';

const skip = withoutWasmClang;

test('row 16: a loop that reads the timer causes no exit, and the device is not asked', { skip }, async () => {
  const program = compileWasm('pit.c', programHeader(pitOptions, 'wasm'));
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
  }
});

test('row 16: under random use the timer shows the same with its module and without', { skip }, async () => {
  const program = compileWasm('pit.c', programHeader(pitOptions, 'wasm'));
  let answered = 0;
  for (let seed = 21; seed <= 28; seed++) {
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
      hashes.add(hashOf(plain.vm)).add(hashOf(guest.vm));
    }
    assert.equal(hashes.size, 1, `seed ${seed}`);
  }
  assert.ok(answered > 5000, `${answered} reads were answered`);
});

test('row 16: a doorbell clears the flag, then signals; lines and interrupts are reached', { skip }, async () => {
  const event = new EventCounter();
  const log: string[] = [];
  const options: ProgramOptions = {
    shared: 16,
    events: [event],
    lines: [{ set: (high) => void log.push(`line ${high}`) }],
    interrupts: [() => log.push('interrupt'), () => log.push('other')],
  };
  const source = `#include "device.h"
struct queue { unsigned int wants, rings; unsigned long long at; };
PROGRAM("doorbell") unsigned long long doorbell(struct device_access *a) {
  struct queue *q = a->state;
  if (!a->write) return 0;
  q->rings++;
  q->at = time();
  if (a->value == 7) { set_line(0, 1); set_line(0, 0); inject(1); }
  if (!q->wants) return 1;
  q->wants = 0;
  signal(0);
  return 1;
}
`;
  const module = compileWasm(source, programHeader(options, 'wasm'));
  for (const engine of engines) {
    const guest = new IoGuest(
      engine,
      code()
        .put(0xb9, dword(1000))
        .label('again')
        .put(0xe6, 0x50, 0x49, 0x75, to('again', 1), 0xb0, 7, 0xe6, 0x50, 0xf4),
    );
    const range = { space: 'port', address: 0x50, length: 1, access: 'write' } as const;
    const program = await guest.vm.program(range, module, options);
    const words = new Uint32Array(program.shared.buffer, program.shared.byteOffset, 4);
    const flags: number[] = [];
    const stop = event.onAdd(() => flags.push(words[0]!));
    words[0] = 1;
    assert.deepEqual(guest.run(), {});
    stop();
    assert.deepEqual([event.take(), flags, words[1], words[2]], [1, [0], 1001, 3003]);
    assert.deepEqual(log.splice(0), ['line true', 'line false', 'other']);
  }
});

const range = { space: 'port', address: 0x40, length: 4, access: 'read' } as const;
const endless = [0x03, 0x40, 0x0c, 0, 0x0b, 0x41, 1]; // loop; br 0; end; i32.const 1

testEngines(
  'row 16: a module without an end is stopped; the access is passed on, and nothing else asks it',
  async (engine) => {
    for (const [parts, reason, failure] of [
      [{ body: endless }, /out of fuel/, 'out-of-fuel'],
      // It calls itself.
      [{ body: [0x20, 0, 0x10, 0] }, /out of fuel|stack/, null],
      // A fill of the whole memory again and again.
      [
        { body: [0x03, 0x40, 0x41, 0, 0x41, 0, 0x41, ...[0x80, 0x80, 0x04], 0xfc, 11, 0, 0x0c, 0, 0x0b, 0x41, 1] },
        /fuel/,
        'out-of-fuel',
      ],
      [{ body: [0x00] }, /unreachable/, 'trap'],
      // A load behind the memory.
      [{ body: [0x41, ...[0x80, 0x80, 0x80, 0x80, 0x04], 0x28, 2, 0] }, /memory access out of bounds/, 'trap'],
      // i32.const 1; i32.const 0; i32.div_u
      [{ body: [0x41, 1, 0x41, 0, 0x6e] }, /divide by zero/, 'trap'],
    ] as const) {
      const guest = new IoGuest(engine, readingGuest(50));
      const pit = new PitWithProgram(guest.vm);
      const failures: ProgramError[] = [];
      const options: ProgramOptions = { fuel: 5000, name: 'broken', onFailure: (error) => void failures.push(error) };
      const program = await guest.vm.program(range, aModule(parts), options);
      assert.deepEqual(guest.run(), {});
      assert.equal(pit.passed, 50, 'the device has answered all reads');
      assert.equal(failures.length, 1);
      assert.ok(failures[0] instanceof ProgramError);
      if (failure !== null) assert.equal(failures[0].code, failure, failures[0].message);
      assert.match(failures[0].message, reason);
      assert.equal(program.failure, failures[0]);
    }
  },
);

testEngines('row 16: each access has its fuel anew', async (engine) => {
  // Ninety turns of a loop, which local 1 counts, and the read gives 0.
  const ninety = [0x41, 0xda, 0, 0x21, 1];
  const turns = [...ninety, 0x03, 0x40, 0x20, 1, 0x41, 1, 0x6b, 0x22, 1, 0x0d, 0, 0x0b, 0x41, 1];
  const guest = new IoGuest(engine, readingGuest(1000));
  const pit = new PitWithProgram(guest.vm);
  const program = await guest.vm.program(range, aModule({ body: turns, locals: 1 }), { fuel: 95 });
  assert.deepEqual(guest.run(), {});
  assert.deepEqual([pit.passed, program.failure], [0, null]);
});

test('row 16: what a helper throws is no failure of the module', async () => {
  const guest = new IoGuest('translation', readingGuest(1));
  new PitWithProgram(guest.vm);
  const module = aModule({ imports: [['inject', ['i64'], []]], body: [0x42, 0, 0x10, 0, 0x41, 1] });
  const program = await guest.vm.program(range, module, {
    interrupts: [
      () => {
        throw new TypeError('the embedder');
      },
    ],
  });
  assert.throws(() => guest.io.ports.read(0x40, 1), /the embedder/);
  assert.equal(program.failure, null);
  const other = aModule({ imports: [['inject', ['i64'], []]], body: [0x42, 5, 0x10, 0, 0x41, 1] });
  const failures: ProgramError[] = [];
  program.detach();
  await guest.vm.program(range, other, { interrupts: [() => {}], onFailure: (error) => void failures.push(error) });
  guest.io.ports.read(0x40, 1);
  assert.match(failures[0]!.message, /there is no interrupt 5/);
});

test('row 16: modules that want more than is offered are refused with a code, and nothing changes', async () => {
  const guest = new IoGuest('translation', readingGuest(10));
  const hash = hashOf(guest.vm);
  const refused = async (parts: ModuleParts | Uint8Array, code: string, reason: RegExp, options: ProgramOptions = {}) =>
    assert.rejects(guest.vm.program(range, parts instanceof Uint8Array ? parts : aModule(parts), options), (error) => {
      assert.ok(error instanceof ProgramError, String(error));
      assert.equal(error.code, code, error.message);
      assert.match(error.message, reason);
      return true;
    });
  await refused({ imports: [['exit', ['i64'], []]] }, 'foreign-import', /function jit86.exit, which is not offered/);
  await refused({ imports: [['signal', ['i32'], []]] }, 'foreign-import', /signal is i32 -> , and should be i64 -> /);
  await refused({ imports: [['time', [], ['i64'], 'env']] }, 'foreign-import', /env.time/);
  await refused({ entry: 'main' }, 'no-access-export', /exports no function access/);
  await refused({ parameters: ['i64'], body: [0x41, 1] }, 'unsupported-instruction', /access from i32/);
  await refused({ memory: 'none' }, 'bad-program', /does not import env.memory/);
  await refused({ memory: 'own' }, 'unsupported-instruction', /memory of its own/);
  await refused({ pages: 17 }, 'program-too-big', /17 pages of 16/);
  await refused({ pages: 2 }, 'program-too-big', /2 pages of 1/, { memoryPages: 1 });
  await refused({ body: [0x0b, 0x0b] }, 'bad-program', /no valid module/);
  const whole = aModule({});
  for (const length of [4, 8, 20, whole.length - 1]) {
    const part = whole.subarray(0, length);
    await refused(part, length === 8 ? 'no-access-export' : 'bad-program', length === 8 ? /access/ : /no valid module/);
  }
  // i32.const 0 (address, value), i64.const -1; memory.atomic.wait32: valid with any memory, and blocks.
  const wait = [0x41, 0, 0x41, 0, 0x42, 0x7f, 0xfe, 1, 2, 0];
  await refused({ body: wait, pages: 1 }, 'unsupported-instruction', /wait/);
  // return_call 0
  await refused({ body: [0x20, 0, 0x12, 0] }, 'unsupported-instruction', /0x12/);
  for (const options of [{ fuel: 0 }, { fuel: 1.5 }, { memoryPages: 0 }])
    await assert.rejects(guest.vm.program(range, whole, options), { code: 'bad-option' });
  assert.equal(hashOf(guest.vm), hash);
  assert.deepEqual(guest.run(), { pio: 13 });
});

test('row 16: the memory cannot grow, and the shared area is behind what the module has', async () => {
  // memory.grow(1) is what it answers: value = that.
  const grow = [0x20, 0, 0x41, 1, 0x40, 0, 0x36, 2, 8, 0x41, 1]; // i32.store offset 8
  const guest = new IoGuest('interpreter', readingGuest(1));
  const program = await guest.vm.program(range, aModule({ body: grow, pages: 2 }), { shared: 100 });
  assert.equal(guest.io.ports.read(0x40, 4), 0xffff_ffff);
  assert.equal(program.shared.length, 100);
  assert.equal(program.shared.byteOffset, 2 * 65536 + 64);
  assert.equal(program.saveState().length, 3 * 65536);
});
