/** KVM's clock: a guest that reads the time from its own memory, with the formula of the interface. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Vm } from '../../runtime/vm/vm.ts';
import { cpuidLeaf } from '../../src/system/cpuid.ts';
import { nanosOfTsc, nanosScale, tscOfNanos, tscRatio } from '../../src/system/tsc-scale.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { wrmsr } from '../engines/system-code.ts';
import { emptyVm, guest, hashOf, origin, testEngines } from './vm-harness.ts';

const SYSTEM_TIME = 0x4b56_4d01;
const WALL_CLOCK = 0x4b56_4d00;
const TIME_AT = 0x20000;
const WALL_AT = 0x20100;
const RESULT = 0x20200;

/** What the guest was told, as struct pvclock_vcpu_time_info has it. */
function timeInfo(vm: Vm) {
  const view = new DataView(vm.ram.buffer, vm.ram.byteOffset);
  return {
    version: view.getUint32(TIME_AT, true),
    tsc: view.getBigUint64(TIME_AT + 8, true),
    nanos: view.getBigUint64(TIME_AT + 16, true),
    multiplier: BigInt(view.getUint32(TIME_AT + 24, true)),
    shift: view.getInt8(TIME_AT + 28),
    flags: view.getUint8(TIME_AT + 29),
  };
}
/** Nanoseconds at a value of the counter, as guests compute them. */
function guestNanos(vm: Vm, tsc: bigint): bigint {
  const { tsc: base, nanos, multiplier, shift } = timeInfo(vm);
  const passed = BigInt.asUintN(64, tsc - base);
  const scaled = shift < 0 ? passed >> BigInt(-shift) : BigInt.asUintN(64, passed << BigInt(shift));
  return nanos + ((scaled * multiplier) >> 32n);
}
const kvm = { paravirt: 'kvm', clock: 'virtual', lapic: 'visible' } as const;

/** Turns the clock on and reads it `rounds` times with RDTSC and a multiplication, as Linux's vDSO does. */
function readingGuest(rounds: number): Uint8Array {
  return new Assembler(BigInt(origin))
    .put(wrmsr(WALL_CLOCK, WALL_AT), wrmsr(SYSTEM_TIME, TIME_AT | 1))
    .put(0xbb, dword(rounds)) // mov ebx, rounds
    .label('again')
    .put(0x8b, 0x35, dword(TIME_AT)) // mov esi, [version]
    .put(0x0f, 0x31) // rdtsc
    .put(0x2b, 0x05, dword(TIME_AT + 8)) // sub eax, [tsc_timestamp]
    .put(0x0f, 0xb6, 0x0d, dword(TIME_AT + 28)) // movzx ecx, byte [shift]
    .put(0xd3, 0xe0) // shl eax, cl
    .put(0xf7, 0x25, dword(TIME_AT + 24)) // mul dword [multiplier]
    .put(0x03, 0x15, dword(TIME_AT + 16)) // add edx, [system_time]
    .put(0x3b, 0x35, dword(TIME_AT), 0x75, to('again', 1)) // cmp esi, [version]; jne
    .put(0x89, 0x15, dword(RESULT)) // mov [result], edx
    .put(0x4b, 0x75, to('again', 1)) // dec ebx; jnz
    .put(0xf4)
    .finish();
}

testEngines('row 17: a guest that reads kvmclock causes no exit, and reads the VM’s time', (engine) => {
  const vm = guest(engine, readingGuest(20_000), kvm);
  const exit = vm.vcpu(0).enter();
  assert.equal(exit.kind, 'halt', 'the first exit is the end');
  const read = vm.physical.read32(RESULT);
  const late = vm.time.now() - read;
  assert.ok(late > 0 && late < 20, `${read} was read at ${vm.time.now()}, some instructions before`);
  if (engine !== 'interpreter') assert.ok(vm.vcpu(0).engine.translated > 100_000);
  const { flags, version } = timeInfo(vm);
  assert.equal(flags, 1, 'the counter is stable');
  assert.equal(version % 2, 0);
  const hash = hashOf(vm);
  const again = guest('interpreter', readingGuest(20_000), kvm);
  while (again.vcpu(0).enter(777).kind !== 'halt');
  assert.equal(hashOf(again), hash, 'two virtual runs end in one state');
});

test('row 17: kvmclock follows the counter at any rate, and its moves', () => {
  for (const tscHertz of [1e9, 1e6, 3_000_000_000, 2_893_201_337, 123_456_789]) {
    const vm = guest('interpreter', readingGuest(1), { ...kvm, tscHertz });
    const vcpu = vm.vcpu(0);
    assert.equal(vcpu.enter().kind, 'halt');
    const check = (what: string) => {
      const now = vm.time.now();
      const tsc = BigInt.asUintN(64, vm.time.read() + vcpu.fields.get64('tscOffset'));
      const error = Number(guestNanos(vm, tsc)) - now;
      // One count of the counter, and what 32 bits of the multiplier leave out.
      assert.ok(error <= 0 && error > -(1e9 / vm.time.hertz + now / 2 ** 31 + 2), `${what}: off by ${error} of ${now}`);
    };
    check('at first');
    const { version } = timeInfo(vm);
    const { clock } = vm.time;
    assert.ok('advanceTo' in clock);
    clock.advanceTo(3_600e9);
    check('an hour later');
    vcpu.cpu.processor.setGpr(1, 64, 0x10);
    vm.time.setTscHertz(1_700_000_000);
    assert.equal(timeInfo(vm).version, version + 2, 'a new version, even');
    check('at another rate');
    clock.advanceTo(3_601e9);
    check('a second later');
    vm.time.restore({ ...vm.time.save(), savedAt: Date.now() - 10_000 }, 'catch-up');
    assert.ok(vm.time.now() >= 3_611e9);
    check('after a restore');
  }
});

testEngines('row 17: writing IA32_TSC moves what kvmclock was told, not the time', (engine) => {
  const code = new Assembler(BigInt(origin))
    .put(wrmsr(SYSTEM_TIME, TIME_AT | 1), wrmsr(0x10, 5_000_000), 0xf4)
    .finish();
  const vm = guest(engine, code, kvm);
  assert.equal(vm.vcpu(0).enter().kind, 'halt');
  const tsc = vm.time.read() + vm.vcpu(0).fields.get64('tscOffset');
  assert.equal(BigInt.asUintN(64, tsc), 5_000_001n, 'HLT came after the write');
  assert.equal(guestNanos(vm, BigInt.asUintN(64, tsc)), BigInt(vm.time.now()));
});

testEngines('row 17: the wall clock is the date of time zero; the old registers do the same', (engine) => {
  const epoch = Date.UTC(2030, 5, 6, 7, 8, 9, 250);
  for (const [wall, system] of [
    [WALL_CLOCK, SYSTEM_TIME],
    [0x11, 0x12],
  ] as const) {
    const code = new Assembler(BigInt(origin)).put(wrmsr(wall, WALL_AT), wrmsr(system, TIME_AT | 1), 0xf4).finish();
    const vm = guest(engine, code, { ...kvm, epoch });
    assert.equal(vm.vcpu(0).enter().kind, 'halt');
    const view = new DataView(vm.ram.buffer, vm.ram.byteOffset);
    assert.equal(view.getUint32(WALL_AT, true) % 2, 0);
    assert.equal(view.getUint32(WALL_AT + 4, true), epoch / 1000 - 0.25);
    assert.equal(view.getUint32(WALL_AT + 8, true), 250_000_000);
    assert.equal(timeInfo(vm).flags, 1);
  }
});

test('row 17: what the guest was told is in the dirty log, and nothing is written where no RAM is', () => {
  const code = (at: number) => new Assembler(BigInt(origin)).put(wrmsr(SYSTEM_TIME, at | 1), 0xf4).finish();
  const vm = guest('interpreter', code(TIME_AT), kvm);
  vm.dirty.start({ start: 0, length: vm.ram.length });
  assert.equal(vm.vcpu(0).enter().kind, 'halt');
  const pages = new Uint32Array(16);
  const { count } = vm.dirty.collect({ start: 0, length: vm.ram.length, into: pages, clear: true });
  assert.ok([...pages.subarray(0, count)].includes(TIME_AT / 4096));
  const far = guest('interpreter', code(0xe000_0000), kvm);
  assert.equal(far.vcpu(0).enter().kind, 'halt', 'no exit, as with KVM');
});

test('row 17: KVM’s interface is there when it is asked for, and needs what it stands on', () => {
  const text = (words: readonly number[]) => Buffer.from(Uint32Array.from(words).buffer).toString('latin1');
  const of = (vm: Vm, leaf: number) => cpuidLeaf(vm.vcpu(0).cpu.processor, leaf, 0);
  const vm = emptyVm('interpreter', kvm);
  const [last, b, c, d] = of(vm, 0x4000_0000);
  assert.equal(text([b, c, d]), 'KVMKVMKVM\0\0\0');
  assert.equal(last, 0x4000_0001);
  assert.equal(of(vm, 0x4000_0001)[0], 0x0100_000b);
  const without = emptyVm('interpreter', {});
  assert.equal(of(without, 0x4000_0000)[0], 0x4000_0000);
  // wrmsr of the clock: #GP without the interface, which here is a triple fault
  const code = new Assembler(BigInt(origin)).put(wrmsr(SYSTEM_TIME, TIME_AT | 1), 0xf4).finish();
  assert.equal(guest('interpreter', code).vcpu(0).enter().kind, 'shutdown');
  for (const [options, message] of [
    [{ model: '486', paravirt: 'kvm' }, /hypervisor/],
    [{ paravirt: 'kvm', tsc: { read: () => 0n, hertz: 1e9 } }, /tsc/],
    [{ paravirt: 'xen' as 'kvm' }, /xen/],
  ] as const)
    assert.throws(() => emptyVm('interpreter', options), { code: 'bad-option', message });
});

test('row 17: rates are exact: counter, nanoseconds, CPUID 15H', () => {
  for (const hertz of [1e6, 1e9, 2_893_201_337, 4_294_967_295]) {
    for (const nanos of [0, 1, 999_999_999, 86_400e9 * 90 + 7]) {
      const tsc = tscOfNanos(nanos, hertz);
      assert.ok(nanosOfTsc(tsc, hertz) <= nanos && nanosOfTsc(tsc + 1n, hertz) > nanos);
    }
    const { numerator, denominator } = tscRatio(hertz);
    assert.equal((1e9 / denominator) * numerator, hertz);
    const { multiplier, shift } = nanosScale(hertz);
    assert.ok(multiplier >= 2 ** 31 && multiplier < 2 ** 32);
    const second = Number(
      ((shift < 0 ? BigInt(hertz) >> BigInt(-shift) : BigInt(hertz) << BigInt(shift)) * BigInt(multiplier)) >> 32n,
    );
    assert.ok(second <= 1e9 && second > 1e9 - 2 ** 12, `${hertz}: ${second}`);
    const [a, b, c] = cpuidLeaf(
      emptyVm('interpreter', { tscHertz: hertz, clock: 'virtual' }).vcpu(0).cpu.processor,
      0x15,
      0,
    );
    assert.equal((c / a) * b, hertz);
  }
});

testEngines(
  'row 17: a restored guest finds in its memory what it was told, which holds for the restored time',
  (engine) => {
    const from = guest(engine, readingGuest(1_000_000), { ...kvm, tscHertz: 2_893_201_337 });
    assert.equal(from.vcpu(0).enter(100_000).kind, 'budget');
    const saved = from.snapshot();
    // The other VM's guest had its clock elsewhere: nothing is written there any more.
    const other = new Assembler(BigInt(origin)).put(wrmsr(SYSTEM_TIME, 0x30001), 0xf4).finish();
    for (const policy of ['continue', 'catch-up'] as const) {
      const to = guest(engine, other, { ...kvm });
      assert.equal(to.vcpu(0).enter().kind, 'halt');
      to.restore(saved, { time: policy });
      assert.equal(hashOf(to), hashOf(from), policy);
      assert.ok(policy === 'continue' ? to.time.now() === from.time.now() : to.time.now() >= from.time.now());
      const tsc = BigInt.asUintN(64, to.time.read() + to.vcpu(0).fields.get64('tscOffset'));
      const error = to.time.now() - Number(guestNanos(to, tsc));
      assert.ok(error >= 0 && error < 3 + to.time.now() / 2 ** 31, `${policy}: off by ${error}`);
      assert.equal(to.vcpu(0).enter(1000).kind, 'budget');
      assert.ok(to.time.now() - to.physical.read32(RESULT) < 40 || policy === 'catch-up');
    }
  },
);
