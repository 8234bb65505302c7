/** Virtual time: the time-stamp counter is a function of the instruction count, in both engines and under any slicing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { translate } from '../../jit/translate.ts';
import { ConfigurationError } from '../../runtime/errors.ts';
import { loadGuest } from '../../runtime/loaders/load.ts';
import { codeStart, dataStart, Guest } from '../../runtime/lockstep/guest.ts';
import { stateHash } from '../../runtime/state-hash.ts';
import type { VmOptions } from '../../runtime/vm/options.ts';
import { cpuBase } from '../../runtime/vm/places.ts';
import { Vm } from '../../runtime/vm/vm.ts';
import { VmTime, type VmTimeOptions } from '../../runtime/vm/vm-time.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { vmModules } from '../engines/modules.ts';
import { wrmsr } from '../engines/system-code.ts';

type Way = 'never' | 'first' | 'hot';
const ways: readonly Way[] = ['never', 'first', 'hot'];
const CODE = 0x10000;
const RESULTS = 0x20000;

function vmOf(way: Way, code: Uint8Array, options: Partial<VmOptions> = {}): Vm {
  const vm = new Vm({
    memory: 0x80000,
    cpus: 1,
    modules: vmModules(),
    ports: { read: () => 0xff, write: () => {} },
    random: { seed: 1 },
    clock: 'virtual',
    ...options,
    translate:
      way === 'never'
        ? false
        : { way: { kind: way, translate }, cache: null, mode: { shared: false, x87: 'exact', cpu: cpuBase } },
  });
  const flat = { address: CODE, mode: 'protected' } as const;
  vm.start(0, loadGuest(code, { bytes: vm.ram }, { name: 'guest', commandLine: '', modules: [], flat }).state);
  return vm;
}
const word = (vm: Vm, n: number): bigint =>
  new DataView(vm.ram.buffer, vm.ram.byteOffset).getBigUint64(RESULTS + 8 * n, true);

/** Adds up what RDTSC shows, with a few instructions of different lengths between, and keeps the last value. */
function readingLoop(rounds: number): Uint8Array {
  return new Assembler(BigInt(CODE))
    .put(0xb9, dword(rounds)) // mov ecx, rounds
    .put(0x31, 0xf6, 0x31, 0xff) // xor esi, esi; xor edi, edi
    .label('again')
    .put(0x0f, 0x31) // rdtsc
    .put(0x01, 0xc6, 0x11, 0xd7) // add esi, eax; adc edi, edx
    .put(0xf6, 0xc1, 1, 0x74, to('even', 1)) // test cl, 1; jz even
    .put(0x0f, 0x01, 0xf9) // rdtscp: writes ecx
    .put(0x01, 0xc6, 0x90)
    .label('even')
    .put(0xff, 0x05, dword(RESULTS + 16)) // inc dword [count]
    .put(0x8b, 0x0d, dword(RESULTS + 16), 0xf7, 0xd9, 0x81, 0xc1, dword(rounds)) // ecx = rounds - count
    .put(0x75, to('again', 1))
    .put(0x89, 0x35, dword(RESULTS), 0x89, 0x3d, dword(RESULTS + 4))
    .put(0xa3, dword(RESULTS + 8), 0x89, 0x15, dword(RESULTS + 12))
    .put(0xf4)
    .finish();
}

function run(vm: Vm, slice: () => number): { hash: string; exits: number } {
  const vcpu = vm.vcpu(0);
  let exits = 0;
  for (; exits < 1e6; exits++) if (vcpu.enter(slice()).kind === 'halt') break;
  return { hash: stateHash(vcpu, vm.ram), exits };
}

for (const tscHertz of [1e9, 2_894_561_000, 33_333_333]) {
  test(`row 17: with virtual time runs end in one state hash, whatever the engine and the slices (${tscHertz} Hz)`, () => {
    const rounds = 4000;
    const code = readingLoop(rounds);
    const expected = run(vmOf('never', code, { tscHertz }), () => Number.POSITIVE_INFINITY);
    for (const way of ways)
      for (const size of [1, 7, 1000, 1 << 30]) {
        const vm = vmOf(way, code, { tscHertz, clock: 'virtual' });
        const { hash } = run(vm, () => size);
        assert.equal(hash, expected.hash, `${way}, slices of ${size}`);
        if (way !== 'never' && size > 7) assert.ok(vm.vcpu(0).engine.translated > 10_000);
      }
  });
}

test('row 17: RDTSC shows the instructions executed, itself included, at the rate that was asked for', () => {
  // nop; rdtsc; mov [..], eax; rdtsc; mov [..], eax; hlt
  const code = new Assembler(BigInt(CODE))
    .put(0x90, 0x0f, 0x31, 0xa3, dword(RESULTS), 0x0f, 0x31, 0xa3, dword(RESULTS + 8), 0xf4)
    .finish();
  for (const way of ways) {
    for (const [tscHertz, first, second] of [
      [1e9, 2n, 4n],
      [3e9, 6n, 12n],
      [1.5e9, 3n, 6n],
      [4e8, 0n, 1n],
    ] as const) {
      const vm = vmOf(way, code, { tscHertz });
      assert.equal(vm.vcpu(0).enter().kind, 'halt');
      assert.deepEqual([word(vm, 0), word(vm, 1)], [first, second], `${way}, ${tscHertz} Hz`);
      assert.equal(vm.time.now(), 6);
    }
  }
});

test('row 17, row 21: a loop that reads the time leaves `enter` once, when it is done', () => {
  for (const clock of ['virtual', 'host'] as const)
    for (const way of ways) {
      const vm = vmOf(way, readingLoop(20_000), { clock });
      const { exits } = run(vm, () => Number.POSITIVE_INFINITY);
      assert.equal(exits, 0, `${clock}, ${way}`);
      assert.ok(word(vm, 1) > 0n);
    }
});

test('row 17: CR4.TSD keeps RDTSC from ring 3', () => {
  for (const way of ways)
    for (const mode of ['32', '64'] as const)
      for (const cpl of [0, 3] as const)
        for (const tsd of [0n, 4n]) {
          const kind = {
            mode,
            cpl,
            paging: mode === '32' ? '32-bit' : '4-level',
            code: 0x34500000n,
            data: 0x34567000n,
          } as const;
          const guest = new Guest(kind, way, vmModules());
          guest.write('code', 0, Uint8Array.of(0x0f, 0x31, 0xf4));
          const { fields } = guest.vcpu;
          fields.set64('rip', codeStart(kind));
          fields.set64('rsp', dataStart(kind) + 0x3000n);
          fields.set64('cr4', fields.get64('cr4') | tsd);
          fields.set64('rax', 0n);
          guest.vcpu.cpu.stateReplaced();
          assert.ok(guest.run(100));
          const reads = cpl === 0 || tsd === 0n;
          assert.equal(fields.get32('rax') === 0x23456789, reads, `${way}, ${mode}, CPL ${cpl}, TSD ${tsd}`);
        }
});

test('row 17: IA32_TSC and IA32_TSC_ADJUST move the counter', () => {
  const code = new Assembler(BigInt(CODE))
    .put(...wrmsr(0x10, 1_000_000)) // the write is instruction 4 and sets the counter
    .put(0x0f, 0x31, 0xa3, dword(RESULTS)) // rdtsc: 1 later
    .put(...wrmsr(0x3b, 0)) // instructions 3-6 after that
    .put(0x0f, 0x31, 0xa3, dword(RESULTS + 8), 0xf4)
    .finish();
  for (const way of ways) {
    const vm = vmOf(way, code);
    assert.equal(vm.vcpu(0).enter().kind, 'halt');
    assert.equal(word(vm, 0), 1_000_001n, way);
    assert.equal(word(vm, 1), 11n, `${way}: back at the instruction count`);
  }
});

test('row 17: another rate in the middle of a run: the counter goes on from what it shows', () => {
  const spin = new Assembler(BigInt(CODE)).label('s').put(0x0f, 0x31, 0xeb, to('s', 1)).finish();
  for (const way of ways) {
    const vm = vmOf(way, spin, { tscHertz: 2e9 });
    assert.equal(vm.vcpu(0).enter(1000).kind, 'budget');
    assert.equal(vm.time.read(), 2000n);
    vm.time.setTscHertz(1e6);
    assert.equal(vm.time.read(), 2000n);
    vm.vcpu(0).enter(9_001);
    assert.equal(vm.time.read(), 2009n);
    assert.equal(vm.vcpu(0).fields.get64('rax'), 2009n, way);
  }
});

test('row 17: time that was saved goes on where it stood, or as late as it is', () => {
  const from = new VmTime({ clock: 'virtual', tscHertz: 2e9 });
  const saved = { ...from.save(), nanos: 5_000_000, savedAt: Date.now() - 2000 };
  for (const clock of ['virtual', 'host'] as const) {
    const still = new VmTime({ clock, monotonicNanos: () => 77 });
    still.restore(saved, 'continue');
    assert.equal(still.now(), 5_000_000, clock);
    assert.equal(still.read(), 10_000_000n);
    const late = new VmTime({ clock, monotonicNanos: () => 77 });
    late.restore(saved, 'catch-up');
    assert.ok(late.now() >= 2_005_000_000 && late.now() < 60e9, `${clock}: ${late.now()}`);
    assert.equal(late.hertz, 2e9);
  }
});

test('row 17: alarms ring at their instruction, also when one is set while the guest runs', () => {
  const spin = new Assembler(BigInt(CODE)).label('s').put(0x40, 0xeb, to('s', 1)).finish();
  for (const way of ways) {
    const vm = vmOf(way, spin);
    const rang: number[] = [];
    const second = vm.time.clock.alarm(() => rang.push(vm.time.now()));
    const first = vm.time.clock.alarm(() => {
      rang.push(vm.time.now());
      second.set(vm.time.now() + 123);
    });
    first.set(5001);
    assert.equal(vm.vcpu(0).enter(10_000).kind, 'budget');
    assert.deepEqual(rang, [5001, 5124], way);
    assert.equal(vm.vcpu(0).left, 0);
    assert.equal(vm.time.now(), 10_000);
    assert.equal(vm.vcpu(0).fields.get32('rax'), 5000);
  }
});

test('row 17: bad rates, clocks and saved times are refused by name, and change nothing', () => {
  const refused = (make: () => unknown, names: RegExp) =>
    assert.throws(make, (e) => e instanceof ConfigurationError && e.code === 'bad-option' && names.test(e.message));
  for (const tscHertz of [0, -1, 1.5e9 + 0.5, 999_999, 2 ** 32, Number.NaN, Number.POSITIVE_INFINITY])
    refused(() => new VmTime({ tscHertz }), new RegExp(String(tscHertz).replace('+', '\\+')));
  refused(() => new VmTime({ clock: 'sundial' } as unknown as VmTimeOptions), /sundial/);
  refused(() => new VmTime({ epoch: Number.NaN }), /NaN/);
  const time = new VmTime({ clock: 'virtual' });
  const before = time.save();
  const bad = [
    [{ ...before, nanos: -1 }, /-1/],
    [{ ...before, tscHertz: 7 }, /7/],
    [{ ...before, referenceTsc: 'x' }, /x/],
  ] as const;
  for (const [saved, names] of bad) refused(() => time.restore(saved as typeof before), names);
  refused(() => time.restore(before, 'hurry' as 'continue'), /hurry/);
  refused(() => time.setTscHertz(1), /1/);
  assert.deepEqual({ ...time.save(), savedAt: 0 }, { ...before, savedAt: 0 });
});

test('row 17: with the host’s time RDTSC shows its nanoseconds at the rate, also after a change of rate; a counter of the embedder’s as it is', () => {
  const code = new Assembler(BigInt(CODE)).label('s').put(0x0f, 0x31, 0xeb, to('s', 1)).finish();
  const shown = (vm: Vm): bigint => {
    vm.vcpu(0).enter(5);
    const { fields } = vm.vcpu(0);
    return (BigInt(fields.get32('rdx')) << 32n) | BigInt(fields.get32('rax'));
  };
  for (const way of ways) {
    let nanos = 1000;
    const vm = vmOf(way, code, { clock: 'host', tscHertz: 3_333_333_333, monotonicNanos: () => nanos });
    assert.equal(shown(vm), 0n);
    nanos += 12_345_678_901;
    const first = (12_345_678_901n * 3_333_333_333n) / 1_000_000_000n;
    assert.equal(shown(vm), first, way);
    vm.time.setTscHertz(2e6);
    nanos += 5_000_999;
    assert.equal(shown(vm), first + 10_001n, way);
    const own = vmOf(way, code, { tsc: { read: () => 0x1234_5678_9abcn, hertz: 1e9 } });
    assert.equal(shown(own), 0x1234_5678_9abcn, way);
  }
});
