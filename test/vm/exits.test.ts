/** Why a guest is left, and how it goes on: rows 1 and 2 of the VM API. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigurationError } from '../../runtime/errors.ts';
import { type Exit, unexpectedExit } from '../../runtime/vm/exits.ts';
import type { Vcpu } from '../../runtime/vm/vcpu.ts';
import { Vm } from '../../runtime/vm/vm.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { vmModules } from '../engines/modules.ts';
import { giveIdt, lidt } from '../engines/system-code.ts';
import { emptyVm, engines, guest, hashOf, loadCode, origin, testEngines } from './vm-harness.ts';

const asm = () => new Assembler(BigInt(origin));
const HLT = 0xf4;

function pio(exit: Exit): Extract<Exit, { kind: 'pio' }> {
  assert.equal(exit.kind, 'pio');
  return exit as Extract<Exit, { kind: 'pio' }>;
}
function mmio(exit: Exit): Extract<Exit, { kind: 'mmio' }> {
  assert.equal(exit.kind, 'mmio');
  return exit as Extract<Exit, { kind: 'mmio' }>;
}
const eax = (vcpu: Vcpu) => vcpu.fields.get32('rax');

testEngines('row 1: two VMs side by side do not see each other', (engine) => {
  const count = asm().label('top').put(0x40, 0xeb, to('top', 1)).finish(); // inc eax; jmp top
  const [first, second] = [guest(engine, count), guest(engine, count)];
  for (let i = 1; i <= 50; i++) {
    assert.equal(first.vcpu(0).enter({ maxInstructions: 200 }).kind, 'budget');
    assert.equal(second.vcpu(0).enter({ maxInstructions: 20 }).kind, 'budget');
  }
  assert.equal(eax(first.vcpu(0)), 5000);
  assert.equal(eax(second.vcpu(0)), 500);
  assert.notEqual(first.linear, second.linear);
});

testEngines('row 1: entering a vCPU that is entered fails loudly and changes nothing', (engine) => {
  let refused: unknown = null;
  const code = asm().put(0xe6, 0x10, 0x40, HLT).finish(); // out 10h, al; inc eax; hlt
  const vm = guest(engine, code, {
    ports: {
      read: () => 0,
      write: () => {
        try {
          vm.vcpu(0).enter();
        } catch (error) {
          refused = error;
        }
      },
    },
  });
  assert.equal(vm.vcpu(0).enter().kind, 'halt');
  assert.ok(refused instanceof ConfigurationError);
  assert.equal(refused.code, 'already-entered');
  assert.equal(eax(vm.vcpu(0)), 1);
});

testEngines('row 2: IN and OUT of every size are exits, and the answer arrives', (engine) => {
  const code = asm()
    .put(0xba, dword(0x1234)) // mov edx, 1234h
    .put(0xb8, dword(0xaabbccdd), 0xee, 0x66, 0xef, 0xef) // mov eax, …; out dx, al; out dx, ax; out dx, eax
    .put(0xec, 0x66, 0xed, 0xed, HLT) // in al, dx; in ax, dx; in eax, dx; hlt
    .finish();
  const vm = guest(engine, code);
  const vcpu = vm.vcpu(0);
  const first = pio(vcpu.enter());
  for (const [size, value] of [
    [1, 0xdd],
    [2, 0xccdd],
    [4, 0xaabbccdd],
  ] as const) {
    assert.deepEqual({ ...first }, { kind: 'pio', cpu: 0, write: true, port: 0x1234, size, value });
    assert.equal(pio(vcpu.enter()), first, 'an exit costs no object');
  }
  assert.deepEqual({ ...first }, { kind: 'pio', cpu: 0, write: false, port: 0x1234, size: 1, value: 0xff });
  first.value = 0x11;
  vcpu.enter();
  assert.equal(eax(vcpu), 0xaabbcc11);
  first.value = 0x2233;
  vcpu.enter();
  assert.equal(eax(vcpu), 0xaabb2233);
  assert.equal(first.size, 4);
  first.value = 0x99887766;
  assert.equal(vcpu.enter().kind, 'halt');
  assert.equal(eax(vcpu) >>> 0, 0x99887766);
});

testEngines('row 2: an unanswered read gives all ones', (engine) => {
  const vm = guest(engine, [0xe5, 0x20, HLT]); // in eax, 20h
  pio(vm.vcpu(0).enter());
  assert.equal(vm.vcpu(0).enter().kind, 'halt');
  assert.equal(eax(vm.vcpu(0)), 0xffff_ffff);
});

testEngines('row 2: INS and OUTS are one exit for each element, in order', (engine) => {
  const code = asm()
    .put(0xfc, 0xba, dword(0x80), 0xbf, dword(0x2000), 0xb9, dword(3), 0xf3, 0x66, 0x6d) // rep insw
    .put(0xbe, dword(0x2000), 0xb9, dword(3), 0xf3, 0x66, 0x6f, HLT) // rep outsw
    .finish();
  const vm = guest(engine, code);
  const vcpu = vm.vcpu(0);
  for (const value of [0x1111, 0x2222, 0x3333]) {
    const exit = pio(vcpu.enter());
    assert.deepEqual([exit.write, exit.size, exit.port], [false, 2, 0x80]);
    exit.value = value;
  }
  for (const value of [0x1111, 0x2222, 0x3333]) {
    const exit = pio(vcpu.enter());
    assert.deepEqual([exit.write, exit.size, exit.value], [true, 2, value]);
  }
  assert.equal(vcpu.enter().kind, 'halt');
  assert.equal(vcpu.fields.get32('rcx'), 0);
});

testEngines('row 2: loads, stores, and read-modify-writes where there is no memory', (engine) => {
  const code = asm()
    .put(0xbb, dword(0xe000_0000)) // mov ebx, e0000000h
    .put(0x8b, 0x03) // mov eax, [ebx]
    .put(0x89, 0x43, 0x08) // mov [ebx + 8], eax
    .put(0x01, 0x43, 0x10) // add [ebx + 10h], eax
    .put(0x0f, 0xb6, 0x4b, 0x21, HLT) // movzx ecx, byte [ebx + 21h]
    .finish();
  const vm = guest(engine, code);
  const vcpu = vm.vcpu(0);
  const exit = mmio(vcpu.enter());
  assert.deepEqual(
    { ...exit, low: 0 },
    { kind: 'mmio', cpu: 0, write: false, physical: 0xe000_0000, size: 4, low: 0, high: 0 },
  );
  exit.low = 0x1000_0001;
  assert.equal(mmio(vcpu.enter()), exit);
  assert.deepEqual([exit.write, exit.physical, exit.low], [true, 0xe000_0008, 0x1000_0001]);
  vcpu.enter();
  assert.deepEqual([exit.write, exit.physical], [false, 0xe000_0010]);
  exit.low = 5;
  vcpu.enter();
  assert.deepEqual([exit.write, exit.physical, exit.low], [true, 0xe000_0010, 0x1000_0006]);
  vcpu.enter();
  assert.deepEqual([exit.write, exit.physical, exit.size], [false, 0xe000_0021, 1]);
  exit.low = 0x7f;
  assert.equal(vcpu.enter().kind, 'halt');
  assert.equal(vcpu.fields.get32('rcx'), 0x7f);
  assert.equal(eax(vcpu), 0x1000_0001);
});

testEngines('row 2: an instruction of several accesses makes each of them once', (engine) => {
  const code = asm()
    .put(0xbb, dword(0xe000_0000))
    .put(0xbe, dword(0xe000_1000), 0xbf, dword(0xe000_2000), 0xa5) // movsd
    .put(0xff, 0x33) // push [ebx]
    .put(0x60, 0x61) // pusha; popa
    .put(0xbc, dword(0xe000_4000), 0x60, HLT) // mov esp, …; pusha
    .finish();
  const vm = guest(engine, code);
  const vcpu = vm.vcpu(0);
  vcpu.fields.set32('rax', 0x11);
  const log: string[] = [];
  for (let exit = vcpu.enter(); exit.kind !== 'halt'; exit = vcpu.enter()) {
    const { write, physical, low, size } = mmio(exit);
    log.push(`${write ? 'w' : 'r'}${size} ${physical.toString(16)}${write ? `=${low.toString(16)}` : ''}`);
    if (!write) mmio(exit).low = physical + 7;
  }
  assert.deepEqual(log.slice(0, 3), ['r4 e0001000', 'w4 e0002000=e0001007', 'r4 e0000000']);
  assert.equal(log.length, 3 + 8);
  assert.equal(log[3], 'w4 e0003ffc=11');
  assert.equal(new Set(log).size, log.length);
  assert.equal(vcpu.fields.get32('rsp') >>> 0, 0xe000_4000 - 32);
});

testEngines('row 2: a budget stands where an access waits, and other state drops the access', (engine) => {
  const code = asm().put(0x40, 0x40, 0xe4, 0x20, 0x40, HLT).finish(); // inc eax twice; in al, 20h; inc eax; hlt
  const vm = guest(engine, code);
  const vcpu = vm.vcpu(0);
  const exit = pio(vcpu.enter({ maxInstructions: 10 }));
  assert.equal(vcpu.left, 8);
  exit.value = 0x40;
  assert.equal(vcpu.enter({ maxInstructions: 0 }).kind, 'budget');
  assert.equal(eax(vcpu), 2, 'nothing is finished without instructions to do it');
  assert.equal(vcpu.enter({ maxInstructions: 1 }).kind, 'budget');
  assert.equal(eax(vcpu), 0x40);
  // Once more, and away from it.
  loadCode(vm, code);
  assert.equal(vcpu.enter().kind, 'pio');
  loadCode(vm, [0xb8, ...dword(3), HLT]);
  assert.equal(vcpu.enter().kind, 'halt');
  assert.equal(eax(vcpu), 3);
});

testEngines('row 2: halt, shutdown, budget and kicked', (engine) => {
  const vm = guest(engine, [0xfb, HLT, 0xfa, HLT]); // sti; hlt; cli; hlt
  const vcpu = vm.vcpu(0);
  assert.deepEqual({ ...vcpu.enter() }, { kind: 'halt', cpu: 0, interruptible: true });
  assert.equal(vcpu.enter().kind, 'halt', 'it still halts');
  assert.equal(vcpu.runnable, false);
  const fatal = guest(engine, [...lidt(0x2000), 0xcc]); // an empty table; int3
  const end = fatal.vcpu(0).enter();
  assert.equal(end.kind, 'shutdown');
  assert.equal((end as Extract<Exit, { kind: 'shutdown' }>).rip, origin + 7);
  assert.equal(fatal.vcpu(0).enter().kind, 'shutdown');
  const loop = guest(engine, [0xeb, 0xfe]);
  assert.deepEqual(
    { ...loop.vcpu(0).enter({ maxInstructions: 1000 }) },
    { kind: 'budget', cpu: 0, limit: 'instructions' },
  );
  assert.equal(loop.vcpu(0).left, 0);
  loop.vcpu(0).kick();
  assert.deepEqual({ ...loop.vcpu(0).enter() }, { kind: 'kicked', cpu: 0 });
  assert.equal(loop.vcpu(0).enter({ maxInstructions: 5 }).kind, 'budget');
});

testEngines('row 2: the interrupt window opens exactly when an interrupt can be taken', (engine) => {
  // cli; nop; sti; nop; nop; cli; hlt, and interrupt 21h counts in ebx
  const code = asm().put(0xfa, 0x90, 0xfb, 0x90, 0x90, 0xfa, HLT).label('handler').put(0x43, 0xcf);
  const vm = guest(engine, code.finish());
  const vcpu = vm.vcpu(0);
  giveIdt(vm, { 33: code.addressOf('handler') });
  assert.equal(vcpu.enter({ interruptWindow: true }).kind, 'interrupt-window');
  assert.equal(vcpu.fields.get64('rip'), BigInt(origin + 4), 'after the instruction that STI shadows');
  vcpu.interrupt(0x21);
  assert.throws(() => vcpu.interrupt(0x22), { code: 'interrupt-pending' });
  assert.throws(() => vcpu.interrupt(256), { code: 'bad-vector' });
  assert.equal(vcpu.enter({ maxInstructions: 1 }).kind, 'budget');
  assert.equal(vcpu.fields.get32('rbx'), 1);
  assert.equal(vcpu.enter().kind, 'halt');
  assert.equal(vcpu.fields.get64('rip'), BigInt(origin + 7));
});

test('row 2: what the emulator cannot carry on from is an exit, with the guest before it', () => {
  const failing = () => {
    throw new Error('out of ideas');
  };
  const vm = new Vm({
    memory: 1 << 20,
    cpus: 1,
    modules: vmModules(),
    translate: { way: { kind: 'first', translate: failing }, cache: null, mode: { shared: false, x87: 'exact' } },
  });
  loadCode(vm, [0x40, 0xeb, 0xfd]); // inc eax; jmp
  const exit = vm.vcpu(0).enter({ maxInstructions: 100 });
  assert.equal(exit.kind, 'internal-error');
  assert.ok(exit.kind === 'internal-error' && exit.rip === origin && /out of ideas/.test(exit.message));
  assert.equal(eax(vm.vcpu(0)), 0);
  assert.equal(vm.vcpu(0).enter({ maxInstructions: 100 }).kind, 'budget', 'without translation it goes on');
  assert.equal(eax(vm.vcpu(0)), 50);
});

test('row 2: limits that are none are refused, and nothing has happened', () => {
  const vm = guest('interpreter', [0xeb, 0xfe]);
  const before = hashOf(vm);
  for (const options of [
    { maxInstructions: -1 },
    { maxInstructions: 1.5 },
    { maxBlocks: Number.NaN },
    { maxBlocks: '3' as never },
    { deadline: Number.NaN },
    { interruptWindow: 1 as never },
  ])
    assert.throws(() => vm.vcpu(0).enter(options), { code: 'bad-option' });
  assert.throws(() => vm.vcpu(1), { code: 'bad-option' });
  assert.equal(hashOf(vm), before);
  assert.equal(vm.vcpu(0).enter({ maxInstructions: 3 }).kind, 'budget');
  for (const cpus of [0, -1, 1.5, 1000])
    assert.throws(() => emptyVm('interpreter', { cpus }), { code: 'bad-cpu-count' });
});

test('row 2: an exhaustive switch compiles, and an unknown kind is loud', () => {
  const name = (exit: Exit): string => {
    switch (exit.kind) {
      case 'pio':
      case 'mmio':
      case 'halt':
      case 'shutdown':
      case 'budget':
      case 'kicked':
      case 'debug':
      case 'msr':
      case 'hypercall':
      case 'interrupt-window':
      case 'internal-error':
        return exit.kind;
      default:
        return unexpectedExit(exit);
    }
  };
  assert.equal(name({ kind: 'kicked', cpu: 0 }), 'kicked');
  assert.throws(() => name({ kind: 'lost' } as never), /lost/);
  assert.equal(engines.length, 3);
});
