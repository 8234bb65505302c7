/** Row 21: the task priority is written and read without leaving `enter`, and interrupts come when it lets them. */
import assert from 'node:assert/strict';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { giveIdt, wrmsr } from '../engines/system-code.ts';
import { type engines, guest, hashOf, origin, testEngines } from './vm-harness.ts';

const HLT = 0xf4;
const TPR = 0xfee0_0080;
const visible = { clock: 'virtual', lapic: 'visible' } as const;
const asm = () => new Assembler(BigInt(origin));
const x2apic = wrmsr(0x1b, 0xfee0_0d00);
const toCr8 = [0x44, 0x0f, 0x22, 0xc0]; // mov cr8, rax
const fromCr8 = [0x44, 0x0f, 0x20, 0xc1]; // mov rcx, cr8

const loops = [
  ['the xAPIC page', 'protected', [], [0xa3, ...dword(TPR), 0x8b, 0x0d, ...dword(TPR)]],
  ['x2APIC MSRs', 'protected', x2apic, [0xb9, ...dword(0x808), 0x31, 0xd2, 0x0f, 0x30, 0x0f, 0x32]],
  ['CR8', 'long', [], [...toCr8, ...fromCr8]],
] as const;

testEngines('row 21: loops of writes and reads of the task priority leave `enter` when they are done', (engine) => {
  for (const [name, mode, prologue, body] of loops) {
    const code = asm()
      .put(prologue, 0xbb, dword(20_000))
      .label('again')
      .put(0x89, 0xd8, 0x83, 0xe0, 0x0f) // mov eax, ebx; and eax, 15
      .put(body, 0xff, 0xcb, 0x75, to('again', 1), HLT); // dec ebx; jnz
    const vm = guest(engine, code.finish(), { ...visible, mode });
    assert.equal(vm.vcpu(0).enter().kind, 'halt', `${name}: one exit, at the end`);
    const { apic, fields } = vm.vcpu(0);
    assert.ok(apic !== null);
    assert.equal(apic.read(0x80, 4), name === 'CR8' ? 0x10 : 1, name);
    assert.equal(fields.get32(name === 'x2APIC MSRs' ? 'rax' : 'rcx'), 1, name);
  }
});

const HANDLER = 0x4000;
const COUNT = 0x5000;

/** Sends itself interrupts that CR8 holds back for a while, and writes CR8 in between where none waits. */
function heldBack(rounds: number): Uint8Array {
  return asm()
    .put(x2apic, wrmsr(0x80f, 0x1ff), 0xfb, 0xbb, dword(rounds)) // software-enabled; sti
    .label('again')
    .put(0xb8, dword(15), toCr8, 0x90, toCr8)
    .put(0xf6, 0xc3, 3, 0x75, to('none', 1)) // test bl, 3; jnz
    .put(wrmsr(0x83f, 0x41), 0x90, 0x90) // to itself: held back
    .put(0x8b, 0x34, 0x25, dword(COUNT)) // mov esi, [count]
    .put(0xb8, dword(4), toCr8) // priority 4 holds 41H back still
    .put(0x03, 0x34, 0x25, dword(COUNT), 0x01, 0xf7) // add esi, [count]; add edi, esi
    .label('none')
    .put(0x31, 0xc0, toCr8) // now it comes
    .put(0x03, 0x3c, 0x25, dword(COUNT), fromCr8, 0x01, 0xcf) // add edi, [count]; add edi, ecx
    .put(0xff, 0xcb, 0x0f, 0x85, to('again'), HLT)
    .finish();
}
const handler = [
  ...[0xff, 0x04, 0x25, ...dword(COUNT)], // inc dword [count]
  ...[0x50, 0x51, 0x52, ...wrmsr(0x80b, 0), 0x5a, 0x59, 0x58, 0x48, 0xcf], // EOI; iretq
];

testEngines(
  'row 21: an interrupt waits for CR8 and comes at the instruction after it, however the run is cut',
  (engine) => {
    const rounds = 3000;
    const machine = (which: (typeof engines)[number]) => {
      const vm = guest(which, heldBack(rounds), { ...visible, mode: 'long' });
      const { fields } = vm.vcpu(0);
      vm.physical.writeBytes(HANDLER, Uint8Array.from(handler));
      giveIdt(vm, { 65: HANDLER });
      fields.set64('rsp', 0x8000n);
      return vm;
    };
    const whole = machine('interpreter');
    assert.equal(whole.vcpu(0).enter().kind, 'halt');
    assert.equal(whole.physical.read32(COUNT), rounds / 4);
    const expected = hashOf(whole);
    // Twice the interrupts before and once those after, for each: it came between the two, and nowhere else.
    let sum = 0;
    for (let left = rounds, count = 0; left > 0; left--) {
      if (left % 4 === 0) sum += 2 * count++;
      sum += count;
    }
    assert.equal(whole.vcpu(0).fields.get32('rdi'), sum >>> 0);
    for (const slice of [1, 13, 1000, 10_000_000]) {
      const vm = machine(engine);
      while (vm.vcpu(0).enter(slice).kind !== 'halt');
      assert.equal(hashOf(vm), expected, `slices of ${slice}`);
      assert.equal(vm.time.now(), whole.time.now());
    }
  },
);

testEngines('row 21: CR8 takes four bits, with and without a local APIC', (engine) => {
  for (const lapic of ['visible', 'hidden'] as const) {
    const good = guest(engine, asm().put(0xb8, dword(9), toCr8, 0x31, 0xc0, fromCr8, HLT).finish(), {
      mode: 'long',
      lapic,
    });
    assert.equal(good.vcpu(0).enter(100).kind, 'halt');
    assert.equal(good.vcpu(0).fields.get32('rcx'), 9);
    const bad = guest(engine, asm().put(0xb8, dword(16), toCr8, HLT).finish(), { mode: 'long', lapic });
    assert.equal(bad.vcpu(0).enter(100).kind, 'shutdown', '#GP, and no handler');
  }
});

/** `mov dword [at], value` */
const store = (at: number, value: number) => [0xc7, 0x05, ...dword(at), ...dword(value)];
const apicAt = (register: number) => 0xfee0_0000 + register;

testEngines('row 21: at the xAPIC page too an interrupt waits for the priority, however the run is cut', (engine) => {
  const rounds = 2400;
  const code = asm()
    .put(store(apicAt(0xf0), 0x1ff), 0xfb, 0xbb, dword(rounds)) // software-enabled; sti
    .label('again')
    .put(store(TPR, 0xf0), store(TPR, 0xe5), 0x03, 0x3d, dword(TPR)) // add edi, [TPR]
    .put(0xf6, 0xc3, 7, 0x75, to('none', 1)) // test bl, 7; jnz
    .put(store(apicAt(0x300), 0x4_0041), 0x90) // to itself: held back
    .put(0x03, 0x3d, dword(COUNT), store(TPR, 0x40), 0x03, 0x3d, dword(COUNT)) // 40H holds 41H back still
    .label('none')
    .put(store(TPR, 0x30), 0x03, 0x3d, dword(COUNT)) // now it comes
    .put(0x4b, 0x0f, 0x85, to('again'), HLT) // dec ebx; jnz
    .finish();
  const run = (which: (typeof engines)[number], slice: number) => {
    const vm = guest(which, code, visible);
    const { fields } = vm.vcpu(0);
    vm.physical.writeBytes(HANDLER, Uint8Array.from([0xff, 0x05, ...dword(COUNT), ...store(apicAt(0xb0), 0), 0xcf]));
    giveIdt(vm, { 65: HANDLER });
    fields.set64('rsp', 0x8000n);
    let exit = vm.vcpu(0).enter(slice);
    while (exit.kind === 'budget') exit = vm.vcpu(0).enter(slice);
    assert.equal(exit.kind, 'halt');
    assert.equal(vm.physical.read32(COUNT), rounds / 8);
    return [hashOf(vm), vm.vcpu(0).apic!.read(0x80, 4), vm.time.now()];
  };
  const expected = run('interpreter', Number.POSITIVE_INFINITY);
  for (const slice of [Number.POSITIVE_INFINITY, 1013, 37]) assert.deepEqual(run(engine, slice), expected);
});

testEngines('row 21: when the page is another’s, translated code notices', (engine) => {
  const times = 3000;
  const code = asm()
    .put(0xbb, dword(times), 0xbd, dword(3)) // mov ebx, times; mov ebp, 3
    .label('again')
    .put(0x89, 0xd8, 0x83, 0xe0, 0x7f, 0xa3, dword(TPR), 0x8b, 0x0d, dword(TPR)) // as above, with the whole priority
    .put(0x01, 0xcf, 0x4b, 0x75, to('again', 1)) // add edi, ecx; dec ebx; jnz
    .put(wrmsr(0x1b, 0xfee0_0100), 0xbb, dword(3), 0x4d, 0x83, 0xfd, 1) // disabled; ebx = 3; cmp ebp, 1 after its dec
    .put(0x7f, to('again', 1), HLT) // jg
    .finish();
  const vm = guest(engine, code, visible);
  const vcpu = vm.vcpu(0);
  const seen: string[] = [];
  for (let exit = vcpu.enter(); exit.kind !== 'halt'; exit = vcpu.enter()) {
    assert.ok(exit.kind === 'mmio' && exit.physical === TPR);
    seen.push(exit.write ? `w${exit.low}` : 'r');
    if (!exit.write) exit.low = 1000;
  }
  assert.deepEqual(seen, ['w3', 'r', 'w2', 'r', 'w1', 'r']);
  let sum = 3000;
  for (let i = 1; i <= times; i++) sum += i & 0x7f;
  assert.equal(vcpu.fields.get32('rdi'), sum);
});

testEngines(
  'row 21: a watchpoint on the task priority is met, also where translated code has reached it by itself',
  (engine) => {
    const code = asm().put(0xbb, dword(1000)).label('again').put(store(TPR, 0x20), 0x8b, 0x0d, dword(TPR));
    const vm = guest(engine, code.put(0xeb, to('again', 1)).finish(), visible);
    const vcpu = vm.vcpu(0);
    assert.equal(vcpu.enter(20_000).kind, 'budget');
    for (const kind of ['write', 'read'] as const) {
      vcpu.debug.set({ watchpoints: [{ address: TPR, length: 4, kind }] });
      const exit = vcpu.enter(1000);
      assert.ok(exit.kind === 'debug' && exit.reason === 'watchpoint' && exit.address === TPR, exit.kind);
      vcpu.debug.set({});
      assert.equal(vcpu.enter(20_000).kind, 'budget');
    }
  },
);

testEngines('row 21: so is a breakpoint of the guest’s own debug registers', (engine) => {
  const code = asm()
    .put(0xbb, dword(6000), 0xbd, dword(2))
    .label('again')
    .put(store(TPR, 0x20), 0x8b, 0x0d, dword(TPR), 0x4b, 0x75, to('again', 1)) // dec ebx; jnz
    .put(0xb8, dword(TPR), 0x0f, 0x23, 0xc0, 0xb8, dword(0x000d_0402), 0x0f, 0x23, 0xf8) // DR0, DR7: four bytes, writes
    .put(0xbb, dword(3), 0x4d, 0x75, to('again', 1), HLT)
    .finish();
  const vm = guest(engine, code, visible);
  vm.physical.writeBytes(HANDLER, Uint8Array.from([0xff, 0x05, ...dword(COUNT), 0xcf]));
  giveIdt(vm, { 1: HANDLER });
  vm.vcpu(0).fields.set64('rsp', 0x8000n);
  assert.equal(vm.vcpu(0).enter(100_000).kind, 'halt');
  assert.equal(vm.physical.read32(COUNT), 3);
});
