/** An IN that the embedder has answered is finished as if it were executed once more, with whatever is around it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Vm } from '../../runtime/vm/vm.ts';
import { dword, to } from '../engines/assembler.ts';
import { lidt, putIdt } from '../engines/system-code.ts';
import { code, IoGuest } from './io-guest.ts';
import { engines, hashOf, origin, type TestEngine, testEngines } from './vm-harness.ts';

const handler = 0x3000;
const idt = 0x8000;

/** Reads of every width; behind STI; single-stepped by the guest; with an NMI now and then. NMI and #DB count in memory. */
const reading = () =>
  code()
    .put(lidt(idt - 8), 0xb9, dword(80), 0xba, dword(0x7123))
    .label('again')
    .put(0xe4, 0x10, 0x01, 0xc3, 0x66, 0xe5, 0x11, 0x01, 0xc3, 0xe5, 0x12, 0x01, 0xc3) // in; add ebx, eax
    .put(0xec, 0x31, 0xc3, 0x66, 0xed, 0x31, 0xc3, 0xed, 0x31, 0xc3) // the same from DX; xor
    .put(0xfb, 0xe4, 0x13, 0xfa, 0x01, 0xc3) // sti; in al, 13h; cli
    .put(0x9c, 0x81, 0x0c, 0x24, dword(0x100), 0x9d, 0xe4, 0x14, 0x90) // pushf; or [esp], TF; popf; in al, 14h; nop
    .put(0x9c, 0x81, 0x24, 0x24, dword(~0x100 >>> 0), 0x9d, 0x01, 0xc3)
    .put(0xbf, dword(0x5000), 0x6c, 0x6d, 0x49, 0x0f, 0x85, to('again'), 0xf4); // insb; insd

function prepare(vm: Vm): void {
  putIdt(vm.ram, idt, { 1: handler, 2: handler }, vm.vcpu(0).fields.get32('csSelector'));
  vm.physical.writeBytes(handler, Uint8Array.from([0x01, 0x1d, ...dword(0x4000), 0xff, 0x05, ...dword(0x4004), 0xcf]));
}

test('row 2: an answered IN leaves what executing it once more would leave', () => {
  const run = (engine: TestEngine, slice: number, again: boolean): string => {
    const guest = new IoGuest(engine, reading());
    const { vm } = guest;
    prepare(vm);
    const vcpu = vm.vcpu(0);
    const alarm = guest.clock.alarm(() => {
      vcpu.nmi();
      alarm.set(guest.clock.now() + 11);
    });
    alarm.set(50);
    const rbx = vcpu.state.idOf('rbx');
    let seen = 0;
    for (;;) {
      const exit = vcpu.enter(slice);
      if (exit.kind === 'halt') break;
      if (exit.kind === 'budget') continue;
      assert.ok(exit.kind === 'pio' && !exit.write);
      seen = (Math.imul(seen, 31) + exit.port * 8 + exit.size + vm.time.now()) | 0;
      exit.value = (seen ^ 0x89ab_cdef) >>> 0;
      // A state that is set by the embedder has the instruction executed.
      if (again) vcpu.state.set([[rbx, vcpu.state.get(rbx) as bigint]]);
    }
    assert.ok(guest.word(0x4004) > 120, 'traps and interrupts were taken');
    return `${hashOf(vm)} ${vm.time.now()} ${seen}`;
  };
  const expected = run('interpreter', 1e9, true);
  for (const engine of engines)
    for (const slice of [1e9, 100, 3, 1])
      for (const again of [false, true]) assert.equal(run(engine, slice, again), expected, `${engine}, ${slice}`);
});

testEngines('row 2: an IN whose code or state the embedder has replaced is not finished', (engine) => {
  const guest = new IoGuest(engine, code().put(0xb8, dword(0x1234), 0xe4, 0x10, 0x90, 0xf4)); // mov eax; in al, 10h; nop
  const { vm } = guest;
  const vcpu = vm.vcpu(0);
  const exit = vcpu.enter(100);
  assert.ok(exit.kind === 'pio');
  exit.value = 0x55;
  vm.physical.writeBytes(origin + 5, Uint8Array.of(0xb0, 0x66)); // mov al, 66h
  assert.equal(vcpu.enter(1).kind, 'budget');
  assert.equal(vcpu.fields.get64('rax'), 0x1266n);
  vm.physical.writeBytes(origin + 5, Uint8Array.of(0xe4, 0x10));
  vcpu.state.set([[vcpu.state.idOf('rip'), BigInt(origin)]]);
  assert.equal(vcpu.enter(100).kind, 'pio');
  vcpu.state.set([[vcpu.state.idOf('rip'), BigInt(origin)]]);
  assert.equal(vcpu.enter(1).kind, 'budget');
  assert.equal(vcpu.fields.get64('rax'), 0x1234n, 'from the start again');
  assert.equal(vcpu.enter(100).kind, 'pio');
  exit.value = 0x177;
  assert.equal(vcpu.enter(0).kind, 'budget');
  assert.equal(vcpu.fields.get64('rax'), 0x1234n, 'not yet');
  assert.equal(vcpu.enter(1).kind, 'budget');
  assert.equal(vcpu.fields.get64('rax'), 0x1277n);
  assert.equal(vcpu.enter(100).kind, 'halt');
});

testEngines('row 17: a clock without alarms is not asked by entries, and with one not more than once', (engine) => {
  let looks = 0;
  const time = () => ++looks * 1000;
  const guest = new IoGuest(engine, code().label('again').put(0xe6, 0x10, 0xe4, 0x10, 0xeb, to('again', 1)), {
    clock: 'host',
    monotonicNanos: time,
  });
  const { vm } = guest;
  const before = looks;
  for (let i = 0; i < 1000; i++) assert.equal(vm.vcpu(0).enter().kind, 'pio');
  assert.equal(looks, before);
  vm.time.clock.alarm(() => {}).set(1e15);
  for (let i = 0; i < 1000; i++) assert.equal(vm.vcpu(0).enter().kind, 'pio');
  assert.ok(looks - before <= 1000, `${looks - before} looks`);
});
