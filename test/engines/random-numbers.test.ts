/**
 * RDRAND and RDSEED: with a seed the numbers are part of the vCPU's state and the same in every way of running; with a
 * function they are the host's. RDPID gives IA32_TSC_AUX.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codeStart, Guest, type GuestKind } from '../../runtime/lockstep/guest.ts';
import { Vm } from '../../runtime/vm/vm.ts';
import { openBus } from '../../src/mmu/physical-memory.ts';
import { nextRandom } from '../../src/system/random.ts';
import { vmModules } from './modules.ts';

const kind: GuestKind = { mode: '64', cpl: 3, paging: '4-level', code: 0x34500000n, data: 0x34567000n };
const ways = [
  ['never', 1_000_000],
  ['never', 1],
  ['first', 1_000_000],
  ['first', 3],
] as const;

// stc-free start; rdrand rax; setc bl; rdseed ecx; rdrand dx; rdpid rsi; pushfq; pop rdi; hlt (#GP at CPL 3 ends it)
const code = [
  ...[0x31, 0xdb], // xor ebx, ebx
  ...[0x48, 0x0f, 0xc7, 0xf0], // rdrand rax
  ...[0x0f, 0x92, 0xc3], // setc bl
  ...[0x0f, 0xc7, 0xf9], // rdseed ecx
  ...[0x66, 0x0f, 0xc7, 0xf2], // rdrand dx
  ...[0xf3, 0x0f, 0xc7, 0xfe], // rdpid rsi
  ...[0x9c, 0x5f], // pushfq; pop rdi
  0xf4,
];
const ARITHMETIC = 0x8d5n;

test('seeded random numbers are the same in every way of running', () => {
  for (const [translate, slice] of ways) {
    const guest = new Guest(kind, translate, vmModules());
    const { fields: state } = guest.vcpu;
    for (let again = 0; again < 3; again++) {
      guest.reset();
      guest.write('code', 0, Uint8Array.from(code));
      const seed = state.get64('randomState');
      state.set64('rip', codeStart(kind));
      state.set64('rsp', kind.data + 0x3800n);
      for (const name of ['rax', 'rcx', 'rdx', 'rsi']) state.set64(name, -1n);
      state.set64('tscAux', 0x1234_5678n);
      for (let n = 0; !guest.run(slice); n += slice) assert.ok(n < 1000, 'the guest does not end');
      const first = nextRandom(seed);
      const second = nextRandom(first.state);
      const third = nextRandom(second.state);
      assert.equal(state.get64('rax'), first.value);
      assert.equal(state.get64('rbx'), 1n, 'CF');
      assert.equal(state.get64('rcx'), second.value & 0xffff_ffffn, 'a 32-bit register loses its upper half');
      assert.equal(state.get64('rdx'), 0xffff_ffff_ffff_0000n | (third.value & 0xffffn), 'a 16-bit one keeps the rest');
      assert.equal(state.get64('rsi'), 0x1234_5678n);
      assert.equal(state.get64('rdi') & ARITHMETIC, 1n, 'CF alone');
      assert.equal(state.get64('randomState'), third.state);
    }
  }
});

test('two seeds, and two vCPUs of one seed, have different numbers', () => {
  const states = [1, 2].flatMap((seed) => {
    const vm = new Vm({
      mmio: openBus,
      memory: 1 << 20,
      cpus: 2,
      modules: vmModules(),
      ports: { read: () => 0, write: () => {} },
      tsc: { read: () => 0n, hertz: 1e9 },
      random: { seed },
      translate: false,
    });
    // RESET and INIT are the guest's.
    for (const { cpu } of vm.vcpus) {
      cpu.reset();
      cpu.init();
    }
    return vm.vcpus.map(({ fields: state }) => nextRandom(state.get64('randomState')).value);
  });
  assert.equal(new Set(states).size, 4);
});

test("a function's numbers come to the guest, and leave the state alone", () => {
  const drawn: bigint[] = [];
  const vm = new Vm({
    mmio: openBus,
    memory: 1 << 20,
    cpus: 1,
    modules: vmModules(),
    ports: { read: () => 0, write: () => {} },
    tsc: { read: () => 0n, hertz: 1e9 },
    random: () => {
      drawn.push(0xfedc_ba98_7654_3210n + BigInt(drawn.length));
      return drawn.at(-1)!;
    },
    translate: false,
  });
  const { fields: state } = vm.vcpu(0);
  vm.ram.set([0x0f, 0xc7, 0xf0, 0x66, 0x0f, 0xc7, 0xf9, 0xf4]); // rdrand ax; rdseed ecx; hlt
  state.set32('csSelector', 0);
  state.set64('csBase', 0n);
  state.set64('rip', 0n);
  vm.vcpu(0).cpu.stateReplaced();
  assert.equal(vm.vcpu(0).enter(100).kind, 'halt');
  assert.equal(drawn.length, 2);
  assert.equal(state.get64('rax') & 0xffffn, 0x3210n);
  assert.equal(state.get64('rcx') & 0xffff_ffffn, 0x7654_3211n);
  assert.equal(state.get64('randomState'), 0n);
});
