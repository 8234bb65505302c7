/** Row 22: MSRs that are handed over or refused, and calls to the machine's maker. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigurationError } from '../../runtime/errors.ts';
import type { HypercallExit, MsrExit } from '../../runtime/vm/exits.ts';
import type { MsrRule } from '../../runtime/vm/msr-policy.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { Assembler, dword } from '../engines/assembler.ts';
import { giveIdt, rdmsr, wrmsr } from '../engines/system-code.ts';
import { guest, hashOf, origin, testEngines } from './vm-harness.ts';

const HLT = 0xf4;
const HANDLER = 0x2000;
const asm = () => new Assembler(BigInt(origin));

/** A guest whose #UD and #GP handlers halt with EBP = the vector. */
function withHandlers(vm: Vm): Vm {
  const handlerOf = (vector: number) => HANDLER + vector * 16;
  for (const vector of [6, 13]) vm.ram.set([0xbd, ...dword(vector), HLT], handlerOf(vector));
  giveIdt(vm, { 6: handlerOf(6), 13: handlerOf(13) });
  vm.vcpu(0).fields.set64('rsp', 0x8000n);
  return vm;
}
const register = (vm: Vm, name: string): number => vm.vcpu(0).fields.get32(name);

/** Runs to the HLT, answering `msr` exits. */
function run(vm: Vm, answer: (exit: MsrExit) => void): number {
  for (let exits = 0; ; exits++) {
    const exit = vm.vcpu(0).enter(10_000);
    if (exit.kind === 'halt') return exits;
    assert.equal(exit.kind, 'msr');
    if (exit.kind === 'msr') answer(exit);
  }
}

testEngines('row 22: MSRs that a rule hands over are the embedder’s, to read and to write', (engine) => {
  const code = asm().put(...wrmsr(0x1a0, 5, 6), ...rdmsr(0x1a0), 0x89, 0xc6, 0x89, 0xd7, ...rdmsr(0x17a), HLT);
  const vm = withHandlers(guest(engine, code.finish()));
  vm.msr.filter([{ first: 0x1a0, last: 0x1a0, read: 'exit', write: 'exit' }]);
  const before = vm.vcpu(0).fields.get64('miscEnable');
  const seen: object[] = [];
  const exits = run(vm, (exit) => {
    seen.push({ ...exit });
    if (exit.write) return;
    exit.low = 0x1111_2222;
    exit.high = 0x8333_4444;
  });
  assert.equal(exits, 2);
  const common = { kind: 'msr', cpu: 0, index: 0x1a0, fault: false };
  assert.deepEqual(seen, [
    { ...common, write: true, low: 5, high: 6 },
    { ...common, write: false, low: 0, high: 0 },
  ]);
  assert.deepEqual([register(vm, 'rsi'), register(vm, 'rdi')], [0x1111_2222, 0x8333_4444]);
  assert.equal(vm.vcpu(0).fields.get64('miscEnable'), before, 'the register itself was not written');
  assert.equal(register(vm, 'rax'), 0, 'no rule is about 17AH');
});

testEngines('row 22: an exit can be answered with #GP, and a rule can fault at once', (engine) => {
  for (const code of [rdmsr(0x10), wrmsr(0x10, 1, 2)]) {
    const vm = withHandlers(
      guest(
        engine,
        asm()
          .put(...code, HLT)
          .finish(),
      ),
    );
    vm.msr.filter([{ first: 0x10, last: 0x10, read: 'exit', write: 'exit' }]);
    const hash = hashOf(vm);
    assert.equal(vm.vcpu(0).enter(10_000).kind, 'msr');
    assert.notEqual(hashOf(vm), hash, 'the instructions before were executed');
    assert.equal(
      run(vm, (exit) => assert.fail(`${exit.index}`)),
      0,
    );
    assert.equal(register(vm, 'rbp') === 13, false, 'answered without a fault');
    vm.msr.filter([{ first: 0x10, last: 0x10, read: 'fault', write: 'fault' }]);
    vm.vcpu(0).fields.set64('rip', BigInt(origin));
    vm.vcpu(0).fields.set32('halted', 0);
    assert.equal(
      run(vm, () => {}),
      0,
    );
    assert.equal(register(vm, 'rbp'), 13);
  }
  const vm = withHandlers(
    guest(
      engine,
      asm()
        .put(...rdmsr(0x777), HLT)
        .finish(),
    ),
  );
  vm.msr.filter([{ first: 0x700, last: 0x7ff, read: 'exit' }]);
  run(vm, (exit) => {
    exit.fault = true;
  });
  assert.equal(register(vm, 'rbp'), 13);
});

testEngines('row 22: MSRs that do not exist fault, are handed over, or are ignored', (engine) => {
  const code = asm()
    .put(...wrmsr(0xc001_0015, 1, 2), ...rdmsr(0xc001_0015), HLT)
    .finish();
  for (const [unknown, exits, vector] of [
    ['fault', 0, 13],
    ['ignore', 0, 0],
    ['exit', 2, 0],
  ] as const) {
    const vm = withHandlers(guest(engine, code));
    vm.msr.unknown = unknown;
    const found = run(vm, (exit) => {
      assert.equal(exit.index, 0xc001_0015);
      if (!exit.write) exit.low = 77;
    });
    assert.equal(found, exits, unknown);
    assert.equal(register(vm, 'rbp'), vector, unknown);
    if (unknown !== 'fault') assert.equal(register(vm, 'rax'), unknown === 'exit' ? 77 : 0);
  }
  // What the processor has, is its own; a value that it does not take is #GP as ever.
  const own = withHandlers(
    guest(
      engine,
      asm()
        .put(...wrmsr(0x277, 0x0202_0202, 0), HLT)
        .finish(),
    ),
  );
  own.msr.unknown = 'exit';
  assert.equal(
    run(own, () => {}),
    0,
  );
  assert.equal(register(own, 'rbp'), 13);
});

testEngines('row 22: many rules: each register finds its own', (engine) => {
  const rules: MsrRule[] = Array.from({ length: 200 }, (_, i) => ({
    first: 0x5000_0000 + i * 4,
    last: 0x5000_0001 + i * 4,
    read: i % 2 === 0 ? 'exit' : 'fault',
  }));
  for (const [index, exits, vector] of [
    [0x5000_0000, 1, 0],
    [0x5000_0001, 1, 0],
    [0x5000_0002, 0, 13],
    [0x5000_0005, 0, 13],
    [0x5000_0000 + 198 * 4, 1, 0],
    [0x5000_0000 + 199 * 4 + 1, 0, 13],
  ] as const) {
    const vm = withHandlers(
      guest(
        engine,
        asm()
          .put(...rdmsr(index), HLT)
          .finish(),
      ),
    );
    vm.msr.filter(rules.toReversed());
    assert.equal(
      run(vm, () => {}),
      exits,
    );
    assert.equal(register(vm, 'rbp'), vector);
  }
});

test('row 22: rules that cannot be are refused by name, and those before stay', () => {
  const vm = withHandlers(
    guest(
      'interpreter',
      asm()
        .put(...rdmsr(0x10), HLT)
        .finish(),
    ),
  );
  vm.msr.filter([{ first: 0x10, last: 0x10, read: 'fault' }]);
  const bad: readonly [readonly MsrRule[], RegExp][] = [
    [[{ first: -1, last: 4 }], /-1/],
    [[{ first: 0, last: 2 ** 32 }], /4294967296/],
    [[{ first: 1.5, last: 2 }], /1\.5/],
    [[{ first: 9, last: 8 }], /0x9.*0x8/],
    [[{ first: 0, last: 0, read: 'maybe' as 'exit' }], /maybe/],
    [
      [
        { first: 0x20, last: 0x30 },
        { first: 0x10, last: 0x20 },
      ],
      /0x10 to 0x20 and 0x20 to 0x30/,
    ],
  ];
  const hash = hashOf(vm);
  for (const [rules, names] of bad)
    assert.throws(
      () => vm.msr.filter(rules),
      (e) => e instanceof ConfigurationError && e.code === 'bad-msr-rule' && names.test(e.message),
    );
  assert.throws(() => {
    vm.msr.unknown = 'perhaps' as 'exit';
  }, /perhaps/);
  assert.equal(vm.msr.unknown, 'fault');
  assert.equal(hashOf(vm), hash);
  assert.equal(
    run(vm, () => {}),
    0,
  );
  assert.equal(register(vm, 'rbp'), 13, 'the rule before the bad ones holds');
});

const VMCALL = [0x0f, 0x01, 0xc1];
const VMMCALL = [0x0f, 0x01, 0xd9];

testEngines('row 22: VMCALL and VMMCALL are #UD, an exit, or KVM’s answer', (engine) => {
  for (const call of [VMCALL, VMMCALL]) {
    const code = asm()
      .put(0xb8, dword(9), 0xbb, dword(1), 0xb9, dword(2), 0xba, dword(3), 0xbe, dword(4), call, HLT)
      .finish();
    const without = withHandlers(guest(engine, code));
    assert.equal(without.vcpu(0).enter(1000).kind, 'halt');
    assert.equal(register(without, 'rbp'), 6);
    const kvm = withHandlers(guest(engine, code, { hypercalls: 'kvm' }));
    assert.equal(kvm.vcpu(0).enter(1000).kind, 'halt');
    assert.equal(register(kvm, 'rax') | 0, -1000);
    const vm = withHandlers(guest(engine, code, { hypercalls: 'exit' }));
    const exit = vm.vcpu(0).enter(1000) as HypercallExit;
    assert.deepEqual(
      { ...exit },
      { kind: 'hypercall', cpu: 0, number: 9, low: [1, 2, 3, 4], high: [0, 0, 0, 0], resultLow: 0, resultHigh: 0 },
    );
    exit.resultLow = 0x5555;
    assert.equal(vm.vcpu(0).enter(1000).kind, 'halt');
    assert.equal(register(vm, 'rax'), 0x5555);
    assert.equal(register(vm, 'rbp'), 0);
  }
});

testEngines('row 22: a call in 64-bit mode has 64-bit arguments and result', (engine) => {
  const code = asm().put(0x48, 0xc7, 0xc3, dword(-2), 0x48, 0x31, 0xc0, VMCALL, HLT).finish();
  const vm = guest(engine, code, { mode: 'long', hypercalls: 'exit' });
  const exit = vm.vcpu(0).enter(1000) as HypercallExit;
  assert.equal(exit.kind, 'hypercall');
  assert.deepEqual([exit.low[0], exit.high[0]], [0xffff_fffe, 0xffff_ffff]);
  exit.resultLow = 1;
  exit.resultHigh = 2;
  assert.equal(vm.vcpu(0).enter(1000).kind, 'halt');
  assert.equal(vm.vcpu(0).fields.get64('rax'), 0x2_0000_0001n);
});
