/**
 * UMONITOR, UMWAIT and TPAUSE: in virtual time a wait ends when the counter says so, in both engines and under any slicing; who
 * may wait, for how long, and what faults.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { translate } from '../../jit/translate.ts';
import { loadGuest } from '../../runtime/loaders/load.ts';
import { codeStart, dataStart, Guest, type GuestKind } from '../../runtime/lockstep/guest.ts';
import { IMAGE } from '../../runtime/lockstep/machine-image.ts';
import { stateHash } from '../../runtime/state-hash.ts';
import { cpuBase } from '../../runtime/vm/places.ts';
import { Vm } from '../../runtime/vm/vm.ts';
import { Assembler, dword, to } from './assembler.ts';
import { vmModules } from './modules.ts';
import { wrmsr } from './system-code.ts';

const CODE = 0x1_0000;
const RESULTS = 0x2_0000;
const ways = ['never', 'first', 'hot'] as const;
type Way = (typeof ways)[number];
const TPAUSE = [0x66, 0x0f, 0xae, 0xf1]; // tpause ecx
const UMWAIT = [0xf2, 0x0f, 0xae, 0xf1];
const UMONITOR = [0xf3, 0x0f, 0xae, 0xf7]; // umonitor rdi, edi
const HLT = 0xf4;

function vmOf(way: Way, code: Uint8Array, model: 'max' | 'x86-64-v3' = 'max'): Vm {
  const vm = new Vm({
    memory: 0x80000,
    cpus: 1,
    model,
    modules: vmModules(),
    ports: { read: () => 0xff, write: () => {} },
    random: { seed: 1 },
    clock: 'virtual',
    translate:
      way === 'never'
        ? false
        : { way: { kind: way, translate }, cache: null, mode: { shared: false, x87: 'exact', cpu: cpuBase } },
  });
  const flat = { address: CODE, mode: 'protected' } as const;
  vm.start(0, loadGuest(code, { bytes: vm.ram }, { name: 'guest', commandLine: '', modules: [], flat }).state);
  return vm;
}

/** Waits `rounds` times for 10,000 clocks and adds up CF; the loop is 13 instructions long. */
const waits = (instruction: readonly number[], rounds: number): Uint8Array =>
  new Assembler(BigInt(CODE))
    .put(0xbf, dword(rounds), 0x31, 0xdb) // mov edi, rounds; xor ebx, ebx
    .label('again')
    .put(0x31, 0xc9, 0x0f, 0x31) // xor ecx, ecx; rdtsc
    .put(0x05, dword(10_000), 0x83, 0xd2, 0) // add eax, 10000; adc edx, 0
    .put(0xf9, instruction) // stc; wait
    .put(0x83, 0xd3, 0) // adc ebx, 0
    .put(0x90, 0x90, 0x90, 0x4f, 0x75, to('again', 1)) // dec edi; jnz
    .put(0x89, 0x1d, dword(RESULTS), HLT)
    .finish();
const carries = (vm: Vm): number => new DataView(vm.ram.buffer, vm.ram.byteOffset).getUint32(RESULTS, true);

test('TPAUSE lasts until the counter has come so far, the same in every engine and slicing', () => {
  const rounds = 300;
  const hashes = new Set<string>();
  for (const way of ways)
    for (const slice of [Number.POSITIVE_INFINITY, 1, 7, 50]) {
      const vm = vmOf(way, waits(TPAUSE, rounds));
      const vcpu = vm.vcpu(0);
      for (let n = 0; vcpu.enter(slice).kind !== 'halt'; n++) assert.ok(n < 1e5);
      hashes.add(stateHash(vcpu, vm.ram));
      // From RDTSC the wait is 10,000 ns, the rest of the loop ten instructions.
      assert.ok(Math.abs(vm.time.now() - rounds * 10_008) < rounds, `${way}, ${slice}: ${vm.time.now()} ns`);
      assert.equal(carries(vm), 0);
    }
  assert.equal(hashes.size, 1);
});

test('UMWAIT ends at once; IA32_UMWAIT_CONTROL limits waits, which CF shows', () => {
  for (const way of ways) {
    const vm = vmOf(way, waits(UMWAIT, 100));
    assert.equal(vm.vcpu(0).enter().kind, 'halt');
    assert.ok(vm.time.now() < 100 * 14, `${way}: ${vm.time.now()} ns`);
    const limited = vmOf(way, waits(TPAUSE, 100));
    limited.vcpu(0).fields.set64('umwaitControl', 1001n); // bit 0: not deep; 1000 clocks
    assert.equal(limited.vcpu(0).enter().kind, 'halt');
    assert.ok(Math.abs(limited.time.now() - 100 * 1012) < 100, `${way}: ${limited.time.now()} ns`);
    assert.equal(carries(limited), 100);
  }
});

test("a limit in the embedder's time ends an entry, after a wait at the latest", () => {
  for (const way of ways) {
    const vm = vmOf(way, waits(TPAUSE, 1000));
    assert.deepEqual({ ...vm.vcpu(0).enter({ deadline: 1_000_000 }) }, { cpu: 0, kind: 'budget', limit: 'deadline' });
    assert.ok(vm.time.now() >= 1_000_000 && vm.time.now() < 1_010_010, `${vm.time.now()} ns`);
  }
});

/** The vector of the exception that an instruction ends in, or null. */
function fault(
  kind: GuestKind,
  way: 'never' | 'first',
  code: readonly number[],
  set: Record<string, bigint>,
): number | null {
  const guest = new Guest(kind, way, vmModules());
  guest.reset();
  guest.write('code', 0, Uint8Array.from([...code, HLT]));
  const { fields } = guest.vcpu;
  for (const [name, value] of Object.entries({ rip: codeStart(kind), rsp: dataStart(kind) + 0x3000n, ...set }))
    fields.set64(name, value);
  guest.vcpu.cpu.stateReplaced();
  assert.ok(guest.run(100));
  const rip = Number(fields.get64('rip'));
  return rip > IMAGE.handlers && rip <= IMAGE.handlers + 4096 ? (rip - 1 - IMAGE.handlers) / 16 : null;
}

test('reserved bits, CR4.TSD outside ring 0 and addresses that are none fault', () => {
  const kernel: GuestKind = { mode: '64', cpl: 0, paging: '4-level', code: 0x34500000n, data: 0x34567000n };
  const TSD = 4n;
  for (const way of ['never', 'first'] as const) {
    const guest = new Guest(kernel, way, vmModules());
    const cr4 = guest.vcpu.fields.get64('cr4') | TSD;
    for (const code of [TPAUSE, UMWAIT]) {
      assert.equal(fault(kernel, way, code, { rcx: 1n }), null);
      assert.equal(fault(kernel, way, code, { rcx: 2n }), 13);
      assert.equal(fault(kernel, way, code, { rcx: 1n << 32n }), null, 'the register has 32 bits');
      assert.equal(fault(kernel, way, code, { rcx: 0n, cr4 }), null);
    }
    assert.equal(fault(kernel, way, UMONITOR, { rdi: kernel.data }), null);
    assert.equal(fault(kernel, way, UMONITOR, { rdi: 0x7000_0000n }), 14);
    assert.equal(fault(kernel, way, UMONITOR, { rdi: 1n << 62n }), 13);
    assert.equal(fault(kernel, way, [0x67, ...UMONITOR], { rdi: kernel.data | (1n << 62n) }), null, '32-bit address');
    // In ring 3 HLT is #GP too: the registers say whether the wait was.
    const user: GuestKind = { ...kernel, cpl: 3 };
    for (const tsd of [false, true]) {
      const program = new Guest(user, way, vmModules());
      program.reset();
      program.write('code', 0, Uint8Array.of(...TPAUSE, 0x31, 0xdb, HLT)); // xor ebx, ebx
      const { fields } = program.vcpu;
      for (const [name, value] of Object.entries({
        rip: codeStart(user),
        rsp: dataStart(user) + 0x3000n,
        rcx: 0n,
        rbx: 7n,
      }))
        fields.set64(name, value);
      if (tsd) fields.set64('cr4', fields.get64('cr4') | TSD);
      program.vcpu.cpu.stateReplaced();
      assert.ok(program.run(100));
      assert.equal(fields.get64('rbx'), tsd ? 7n : 0n);
    }
  }
});

test('a processor without the feature has neither instructions nor register', () => {
  for (const code of [TPAUSE, UMWAIT, UMONITOR]) {
    const vm = vmOf('never', Uint8Array.of(...code, HLT), 'x86-64-v3');
    assert.equal(vm.vcpu(0).enter(100).kind, 'shutdown'); // #UD, and there is no table of handlers
  }
  for (const [model, value, kind] of [
    ['max', 100_000, 'halt'],
    ['max', 2, 'shutdown'], // a reserved bit
    ['x86-64-v3', 100_000, 'shutdown'],
  ] as const) {
    const code = [...wrmsr(0xe1, value), HLT];
    assert.equal(vmOf('never', Uint8Array.from(code), model).vcpu(0).enter(100).kind, kind, `${model}, ${value}`);
  }
});
