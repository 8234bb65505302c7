/** The local APIC's state, in and out: in this process, and on to another one. SDM volume 3, chapter 11. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { StateError } from '../../runtime/index.ts';
import type { RegisterTuple } from '../../runtime/vm/registers.ts';
import { delivery } from '../../src/system/apic-map.ts';
import { ApicTestMachine, type Saved, vectors } from './registers-apic-machine.ts';
import { testEngines } from './vm-harness.ts';

const program = new URL('./registers-apic-machine.ts', import.meta.url).pathname;

function elsewhere(saved: Saved): { before: string; after: string; counts: number[] } {
  const { stdout, stderr, status } = spawnSync(process.execPath, [program], {
    input: JSON.stringify(saved),
    encoding: 'utf8',
    timeout: 120_000,
  });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

const named = ({ vm }: ApicTestMachine, values: Record<string, bigint>): RegisterTuple[] =>
  Object.entries(values).map(([name, value]) => [vm.vcpu(0).state.idOf(name), value]);
const put = (machine: ApicTestMachine, values: Record<string, bigint>) =>
  machine.vm.vcpu(0).state.set(named(machine, values));
const get = ({ vm }: ApicTestMachine, name: string) => vm.vcpu(0).state.get(vm.vcpu(0).state.idOf(name));

/** The timer's modes: what is set, and the period that the handler rearms a deadline with. */
const timers = {
  periodic: [{ apicLvtTimer: 0x2_0091n, apicTimerDivide: 3n, apicTimerInitial: 97n, apicTimerRunning: 1n }, 0],
  'one-shot': [{ apicLvtTimer: 0x91n, apicTimerDivide: 11n, apicTimerInitial: 1501n, apicTimerRunning: 1n }, 0],
  deadline: [{ apicLvtTimer: 0x4_0091n, apicTscDeadline: 1234n }, 777],
} as const;

for (const [mode, [values, period]] of Object.entries(timers))
  testEngines(`row 18: saved, restored in another process and continued: timer ${mode}`, (engine) => {
    const machine = new ApicTestMachine(engine);
    machine.start(period);
    put(machine, values);
    machine.run(1000 + 217);
    const apic = machine.vm.vcpu(0).apic!;
    // One request in service, one that waits behind it, and one that the task priority holds back.
    apic.accept(delivery.fixed, 0x41, false);
    machine.run(3);
    assert.equal(get(machine, 'apicIsr2'), 2n);
    apic.accept(delivery.fixed, 0x51, true);
    put(machine, { cr8: 5n });
    const saved = machine.save(20_000);
    const hash = machine.hash;
    machine.vm.vcpu(0).state.set(machine.vm.vcpu(0).state.get());
    assert.equal(machine.hash, hash);
    const other = elsewhere(saved);
    assert.equal(other.before, hash);
    machine.run(20_000);
    assert.equal(other.after, machine.hash);
    assert.deepEqual(
      other.counts,
      vectors.map((vector) => machine.count(vector)),
    );
    assert.equal(machine.count(0x41), 1);
    assert.equal(machine.count(0x51), 0, 'held back');
    assert.equal(machine.count(0x91), mode === 'one-shot' ? 1 : mode === 'periodic' ? 13 : 26);
    put(machine, { cr8: 0n });
    machine.run(100);
    assert.equal(machine.count(0x51), 1);
  });

testEngines('row 18: a countdown goes on from where it was, and may be moved', (engine) => {
  const machine = new ApicTestMachine(engine);
  machine.start(0);
  put(machine, { apicLvtTimer: 0x91n, apicTimerDivide: 11n, apicTimerInitial: 1000n, apicTimerRunning: 1n });
  machine.run(400);
  assert.equal(get(machine, 'apicTimerElapsed'), 400n);
  machine.run(599);
  assert.equal(machine.count(0x91), 0);
  put(machine, { apicTimerElapsed: 500n });
  machine.run(499);
  assert.equal(machine.count(0x91), 0);
  machine.run(10);
  assert.equal(machine.count(0x91), 1);
  assert.equal(get(machine, 'apicTimerRunning'), 0n);
});

testEngines('row 18: requests, pins and modes can be set; what cannot be changes nothing', (engine) => {
  const machine = new ApicTestMachine(engine);
  machine.start(0);
  machine.run(10);
  const { state } = machine.vm.vcpu(0);
  const before = machine.hash;
  const impossible: Record<string, bigint>[] = [
    { apicTpr: 0x100n },
    { apicSvr: 0x400n },
    { apicIrr0: 1n },
    { apicIsr0: 0x8000n },
    { apicLvtTimer: 0x6_0091n },
    { apicLvtError: 0x400n },
    { apicTimerRunning: 1n },
    { apicTimerInitial: 5n, apicTimerRunning: 2n },
    { apicTscDeadline: 5n },
    { apicTimerDivide: 4n },
    { apicTimerElapsed: 1n << 60n },
    { cr8: 3n, apicTpr: 0x40n },
    { interruptPins: 4n },
    { externalAcknowledge: 2n },
    { apicIcr: 1n << 24n },
    { apicBase: 0xfee0_0500n },
  ];
  for (const values of impossible)
    assert.throws(
      () => state.set(named(machine, { rax: 5n, apicIrr2: 2n, ...values })),
      (error) => error instanceof StateError && error.code === 'bad-register-value',
      JSON.stringify(Object.keys(values)),
    );
  assert.throws(() => put(machine, { apicVersion: 5n }), { code: 'read-only-register' });
  assert.equal(machine.hash, before);
  put(machine, { apicIrr2: 2n });
  machine.run(3);
  assert.equal(machine.count(0x41), 1);
  // LINT0 as ExtINT, and its pin high: the external controller is asked.
  machine.run(50);
  put(machine, { apicLvtLint0: 0x700n, interruptPins: 1n });
  machine.run(3);
  assert.equal(machine.count(0x51), 1);
  put(machine, { interruptPins: 0n });
  machine.run(50);
  assert.equal(machine.count(0x51), 1);
  // As an xAPIC the registers are in memory.
  put(machine, { apicBase: 0xfee0_0900n, apicLdr: 0x0100_0000n });
  assert.equal(machine.vm.vcpu(0).apic!.page, 0xfee00);
  assert.equal(machine.vm.vcpu(0).apic!.read(0xd0, 4), 0x0100_0000);
});
