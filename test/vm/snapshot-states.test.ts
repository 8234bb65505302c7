/**
 * Row 19: state that no device could have come to. What a snapshot holds may come from anywhere: each field of each device, of
 * interrupts and of time is put out of its range in turn. It is refused with a typed error and nothing has changed, or it is
 * harmless: the machine goes on.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FirmwareConfiguration } from '../../runtime/devices/firmware-configuration.ts';
import { ConfigurationError, InterruptError, SnapshotError, StateError } from '../../runtime/errors.ts';
import { randomNumbers } from '../../runtime/lockstep/random-numbers.ts';
import { attachPcDevices } from '../../runtime/machines/pc.ts';
import { type MachineState, machineState, putMachineState } from '../../runtime/snapshot/machine-state.ts';
import { decodePlain, encodePlain } from '../../runtime/snapshot/plain-state.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { Assembler, to } from '../engines/assembler.ts';
import { guest, origin } from './vm-harness.ts';

const out = (port: number, value: number) => [0xb0, value, 0x66, 0xba, port & 0xff, port >> 8, 0xee];
const input = (port: number) => [0x66, 0xba, port & 0xff, port >> 8, 0xec];

/** A PC's devices, all of them used: counters of every kind, a waiting alarm, bytes in the receiver, interrupts masked. */
const using = new Assembler(BigInt(origin))
  .put(out(0x43, 0x34), out(0x40, 17), out(0x40, 0), out(0x43, 0xb6), out(0x42, 9), out(0x42, 0), out(0x61, 1))
  .put(out(0x43, 0x50), out(0x41, 200), out(0x43, 0xe2), input(0x40))
  .put(out(0x70, 10), out(0x71, 0x23), out(0x70, 11), out(0x71, 0x72))
  .put(out(0x3fc, 8), out(0x3f9, 3), out(0x602, 1))
  .label('loop')
  .put(input(0x40), input(0x42), input(0x41), input(0x61), input(0x3f8), input(0x3fa), input(0x3fd), input(0x3fe))
  .put(out(0x70, 12), input(0x71), out(0x70, 0), input(0x71), out(0x70, 9), input(0x71))
  .put(input(0x20), input(0xa1), input(0x608), input(0x511), input(0x92), out(0x43, 0xe2))
  .put(out(0x40, 19), out(0x40, 0), out(0x61, 0), out(0x61, 1), out(0x3f8, 0x41))
  .put(0xeb, to('loop', 1))
  .finish();

function aPc(): Vm {
  const vm = guest('interpreter', using, { clock: 'virtual', random: { seed: 1 }, lapic: 'visible' });
  const { serial } = attachPcDevices(vm.io, {
    ...{ clock: vm.time.clock, epoch: 1e12, memory: 4 << 20, cpus: 1, interrupts: vm.irq, testDevice: false },
    ...{ serial: () => {}, debugcon: () => {}, exit: () => {}, powerOff: () => {}, reset: () => {}, setA20: () => {} },
  });
  serial.receive([1, 2, 3]);
  return vm;
}
const step = (vm: Vm, instructions: number) => {
  const exit = vm.vcpu(0).enter(instructions);
  assert.ok(exit.kind === 'budget', exit.kind);
};

/** Every place in plain state, as the path to it; of long lists the ends. */
function places(value: unknown, path: readonly string[] = []): string[][] {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return [[...path]];
  const entries = Object.entries(value);
  const some = Array.isArray(value) && entries.length > 3 ? [entries[0]!, entries.at(-1)!] : entries;
  return [[...path], ...some.flatMap(([key, item]) => places(item, [...path, key]))];
}
function put(root: unknown, path: readonly string[], value: unknown): unknown {
  if (path.length === 0) return value;
  const holder = path.slice(0, -1).reduce((at, key) => (at as Record<string, unknown>)[key], root);
  (holder as Record<string, unknown>)[path.at(-1)!] = value;
  return root;
}

const numbers = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -1, -5, 0.5, 256, 0x1_0001];
const huge = [2 ** 31, 2 ** 32, -(2 ** 31), 2 ** 53, 2 ** 60, -(2 ** 60), 1e300, -0];
const others: readonly unknown[] = [null, true, '7', '', [], {}, 7n, [Number.NaN], [[1]], new Uint8Array(3)];
const values = [...numbers, ...huge, ...others];

const isTyped = (error: unknown) =>
  error instanceof SnapshotError ||
  error instanceof StateError ||
  error instanceof InterruptError ||
  error instanceof ConfigurationError;

/** Puts changed state into the machine: it says so and is as before, or takes it, goes on, and can be saved. */
function attempt(vm: Vm, good: MachineState, bad: MachineState, what: string): boolean {
  const before = JSON.stringify(machineState(vm), plainly);
  const start = performance.now();
  let taken = true;
  try {
    putMachineState(vm, bad);
  } catch (error) {
    assert.ok(isTyped(error), `${what}: ${String(error)}`);
    assert.equal(JSON.stringify(machineState(vm), plainly), before, what);
    taken = false;
  }
  try {
    step(vm, 1000);
    machineState(vm);
  } catch (error) {
    assert.fail(`${what}: ${(error as Error).stack}`);
  }
  assert.ok(performance.now() - start < 2000, `${what}: it hangs`);
  putMachineState(vm, good);
  return taken;
}
const plainly = (key: string, value: unknown) =>
  key === 'savedAt' ? 0 : key === 'time' ? undefined : typeof value === 'bigint' ? `${value}n` : value;

/** The parts of a machine's state that are plain, and how they are put in another's place. */
function parts(state: MachineState): { name: string; text: string; with: (text: string) => MachineState }[] {
  return [
    { name: 'irq', text: state.irq, with: (irq) => ({ ...state, irq }) },
    { name: 'time', text: state.time, with: (time) => ({ ...state, time }) },
    ...state.devices.map(({ name, state: text }, index) => ({
      name: `${name} (${index})`,
      text,
      with: (changed: string) => ({
        ...state,
        devices: state.devices.map((device, i) => (i === index ? { name, state: changed } : device)),
      }),
    })),
  ];
}

test('row 19: each field of each device, put out of its range, is refused or harmless', () => {
  const vm = aPc();
  step(vm, 5000);
  const good = machineState(vm);
  const counts = { refused: 0, taken: 0 };
  let turn = 0;
  // A third of the values at each place, another third at the next.
  for (const part of parts(good))
    for (const path of places(decodePlain(part.name, part.text)))
      for (const value of values.filter((_, i) => (i + turn) % 3 === 0 || i === turn % numbers.length)) {
        turn++;
        const changed = put(decodePlain(part.name, part.text), path, value);
        const shown = `${part.name} ${path.join('.')} = ${typeof value === 'bigint' ? `${value}n` : JSON.stringify(value)}`;
        const taken = attempt(vm, good, part.with(encodePlain(part.name, changed)), shown);
        counts[taken ? 'taken' : 'refused']++;
      }
  assert.ok(counts.refused > 5 * counts.taken, JSON.stringify(counts));
  assert.ok(counts.taken > 20, 'some of them are in range');
});

test('row 19: several fields at once, at random', () => {
  const vm = aPc();
  step(vm, 5000);
  const good = machineState(vm);
  const below = randomNumbers(19);
  const list = parts(good);
  for (let round = 0; round < 200; round++) {
    const part = list[below(list.length)]!;
    let state = decodePlain(part.name, part.text);
    const all = places(state);
    const seen: string[] = [];
    for (let i = 0; i < 1 + below(4); i++) {
      const path = all[below(all.length)]!;
      const old = path.reduce((at: unknown, key) => (at as Record<string, unknown> | undefined)?.[key], state);
      // Mostly of the kind that belongs there, and more often in range than not.
      const value =
        typeof old === 'number' ? below(2) * below(70_000) : typeof old === 'boolean' ? below(2) === 1 : null;
      if (value === null || path.length === 0) continue;
      state = put(state, path, value);
      seen.push(`${path.join('.')} = ${value}`);
    }
    attempt(vm, good, part.with(encodePlain(part.name, state)), `${part.name}: ${seen.join(', ')}`);
  }
});

test('row 19: a counter of -5 and a divisor that is no number are named', () => {
  const vm = aPc();
  step(vm, 5000);
  const good = machineState(vm);
  for (const [name, path, value, text] of [
    ['pit', ['0', 'reload'], -5, /device pit: pit\[0\]\.reload cannot be -5/],
    ['serial', ['divisor'], Number.NaN, /device serial: serial\.divisor cannot be NaN/],
    ['rtc', ['memory', '12'], 256, /device rtc: rtc\.memory\[12\] cannot be 256/],
    ['io-apic', ['low'], [0], /device io-apic: io-apic\.low has 1 entries/],
    ['pic', ['lowest'], 8, /device pic: pic\.lowest cannot be 8/],
    [new FirmwareConfiguration({ memory: 1, cpus: 1 }).name, ['position'], -1, /position cannot be -1/],
  ] as const) {
    const part = parts(good).find((one) => one.name.startsWith(`${name} (`))!;
    const bad = part.with(encodePlain(name, put(decodePlain(name, part.text), path, value)));
    assert.throws(
      () => putMachineState(vm, bad),
      (error) => error instanceof SnapshotError && error.code === 'bad-device-state' && text.test(error.message),
    );
  }
});
