/**
 * What the powers of the VM API cost, measured in one run:
 *
 *   npm run build
 *   node bench/costs.ts [--only TEXT] [--json FILE]
 *
 * Prints the processor time of this thread for each thing done, the middle of several measurements: other work on the machine
 * does not count, and the times of rows may be compared with each other. Rows that wait for another thread or process are
 * times by the clock. Guests are small loops that do one thing, translated; what a row adds to a loop that does nothing else
 * is not taken off.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { columns, significant } from '../runtime/cli/bench-table.ts';
import { nodeHost, threadSeconds } from '../runtime/hosts/node.ts';
import { EventCounter } from '../runtime/io/event-counter.ts';
import { loadFlatBinary } from '../runtime/loaders/flat-binary.ts';
import { physicalDma } from '../runtime/remote/dma.ts';
import { RemoteDevice } from '../runtime/remote/remote-device.ts';
import type { GuestRegion } from '../runtime/vm/guest-memory.ts';
import type { VmCreation } from '../runtime/vm/options.ts';
import { Vm } from '../runtime/vm/vm.ts';
import { assemble } from '../src/bpf/assemble.ts';
import { otherProcess, type Place, sameThread, workerThread } from '../test/vm/remote-places.ts';
import { reg } from '../test/vm/remote-test-device.ts';

const mebibyte = 1 << 20;
const origin = 0x1000;
const DEVICE = 0xf000_0000;

const word = (n: number): number[] => [0, 8, 16, 24].map((shift) => (n >>> shift) & 0xff);
/** The bytes again and again, with a jump back at their end. */
const forever = (...body: number[]): number[] => [...body, 0xe9, ...word(-(body.length + 5))];
/** `rounds` times, then HLT, and from the start. */
function times(rounds: number, ...body: number[]): number[] {
  const loop = [...body, 0x49]; // dec ecx
  const all = [0xb9, ...word(rounds), ...loop, 0x0f, 0x85, ...word(-(loop.length + 6)), 0xf4];
  return [...all, 0xe9, ...word(-(all.length + 5))];
}
const out = [0xe6, 0x10]; // out 10h, al
const load = [0xa1, ...word(DEVICE)]; // mov eax, [DEVICE]
const rdtsc = [0x0f, 0x31];
const storePriority = [0x89, 0x0d, ...word(0xfee0_0080)]; // mov [FEE00080h], ecx
const store = [0x89, 0x0d, ...word(DEVICE)]; // mov [DEVICE], ecx

async function vmWith(code: readonly number[], mib = 4, options: Partial<VmCreation> = {}): Promise<Vm> {
  const vm = await Vm.create({ memory: mib * mebibyte, cpus: 1, ...options }, nodeHost);
  vm.start(0, loadFlatBinary(Uint8Array.from(code), vm.memory.ram, { address: origin, mode: 'protected' }));
  return vm;
}

/** Nanoseconds of one of `count` things: the middle of five measurements, after the code for it has been compiled. */
async function nanosOf(count: number, work: () => void | Promise<void>, clock = threadSeconds): Promise<number> {
  for (let i = 0; i < 15; i++) {
    await work();
    await new Promise((resolve) => setTimeout(resolve, 100)); // the compiler loads; translations and V8's better code arrive
  }
  const samples: number[] = [];
  for (let i = 0; i < 5; i++) {
    const start = clock();
    let turns = 0;
    let spent = 0;
    // A thread's processor time comes in steps of some milliseconds.
    for (; spent < 0.04; spent = clock() - start, turns++) await work();
    samples.push((spent * 1e9) / (count * turns));
  }
  return samples.sort((a, b) => a - b)[2]!;
}
const wallSeconds = () => performance.now() / 1000;

/** A guest that makes an exit in each round. */
async function exits(code: readonly number[], kind: string): Promise<number> {
  const vm = await vmWith(code);
  const vcpu = vm.vcpu(0);
  const count = 20_000;
  const nanos = await nanosOf(count, () => {
    for (let i = 0; i < count; i++) if (vcpu.enter().kind !== kind) throw new Error(`no exit ${kind}`);
  });
  await vm.close();
  return nanos;
}
async function halts(): Promise<number> {
  const vm = await vmWith(forever(0xf4));
  const vcpu = vm.vcpu(0);
  const nanos = await nanosOf(10_000, () => {
    for (let i = 0; i < 10_000; i++) {
      vcpu.fields.set32('halted', 0); // as if an interrupt had come and gone
      if (vcpu.enter().kind !== 'halt') throw new Error('no halt');
    }
  });
  await vm.close();
  return nanos;
}
/** A guest that does something so many times and then halts. */
async function rounds(
  body: readonly number[],
  prepare: (vm: Vm) => unknown = () => {},
  count = 100_000,
  options: Partial<VmCreation> = {},
): Promise<number> {
  const vm = await vmWith(times(count, ...body), 4, options);
  await prepare(vm);
  const nanos = await nanosOf(count, () => {
    const { kind } = vm.vcpu(0).enter();
    if (kind !== 'halt') throw new Error(`the guest was left for ${kind}`);
    vm.vcpu(0).state.set([[vm.vcpu(0).state.idOf('halted'), 0n]]);
  });
  await vm.close();
  return nanos;
}

async function remote(open: () => Promise<Place>): Promise<number> {
  const place = await open();
  const vm = await vmWith([0xf4]);
  const device = await RemoteDevice.connect(await place.connect(), { memory: physicalDma(vm.physical), lines: [] });
  vm.remote.attach({ space: 'memory', address: DEVICE, length: 4096 }, device);
  const count = 500;
  const code = times(count, ...load);
  vm.start(0, loadFlatBinary(Uint8Array.from(code), vm.memory.ram, { address: origin, mode: 'protected' }));
  const nanos = await nanosOf(
    count,
    async () => {
      for await (const exit of vm.run()) if (exit.kind === 'halt') break;
      vm.vcpu(0).state.set([[vm.vcpu(0).state.idOf('halted'), 0n]]);
    },
    wallSeconds,
  );
  device.close();
  await vm.close();
  await place.close();
  return nanos;
}

/** A write that nobody waits for to a device elsewhere: of a burst of them, with the read that ends it. */
async function posted(open: () => Promise<Place>): Promise<number> {
  const place = await open();
  const device = await RemoteDevice.connect(await place.connect());
  const count = 200;
  const nanos = await nanosOf(
    count,
    async () => {
      for (let i = 0; i < count; i++) device.write(reg.sum, 4, i);
      await device.startRead(reg.id, 4);
    },
    wallSeconds,
  );
  device.close();
  await place.close();
  return nanos;
}

/** Dirty pages of 1 GiB, one in `step` of them dirty (0: none), for a million pages. */
async function collected(step: number): Promise<number> {
  const vm = await vmWith([0xf4], 1024);
  const pages = vm.memory.backing.length / 4096;
  const into = new Uint32Array(pages);
  vm.dirty.start();
  let spent = 0;
  const work = (turns: number) => {
    spent = 0;
    for (let turn = 0; turn < turns; turn++) {
      if (step > 0) for (let page = 0; page < pages; page += step) vm.physical.write8(page * 4096, 1);
      const start = threadSeconds();
      const { count } = vm.dirty.collect({ into });
      spent += threadSeconds() - start;
      if (count !== (step === 0 ? 0 : Math.ceil(pages / step))) throw new Error(`${count} dirty pages`);
    }
    return (spent * 1e9) / turns;
  };
  let nanos: number;
  if (step === 0) {
    nanos = await nanosOf(1000, () => {
      for (let i = 0; i < 1000; i++) vm.dirty.collect({ into });
    });
  } else {
    work(6);
    nanos = work(step === 1 ? 20 : 200);
  }
  await vm.close();
  return (nanos / pages) * 1e6;
}
/** Looking at a bit for each of a million pages, none of which is set. */
async function scanned(): Promise<number> {
  const pages = 1_000_000;
  const bits = new Uint32Array(pages / 32);
  const into = new Uint32Array(pages);
  return nanosOf(100, () => {
    let count = 0;
    for (let turn = 0; turn < 100; turn++)
      for (let at = 0; at < bits.length; at++)
        for (let rest = bits[at]!; rest !== 0; rest &= rest - 1)
          into[count++] = at * 32 + 31 - Math.clz32(rest & -rest);
  });
}

async function replaced(mib: number, logged: boolean): Promise<number> {
  const vm = await vmWith([0xf4], mib);
  const bytes = mib * mebibyte;
  const ram = (start: number, length: number): GuestRegion => ({ kind: 'ram', start, length, backing: start });
  const whole = [ram(0, bytes)];
  const hole = [ram(0, 0xa_0000), ram(0x10_0000, bytes - 0x10_0000)];
  if (logged) vm.dirty.start();
  const nanos = await nanosOf(200, () => {
    for (let i = 0; i < 100; i++) {
      vm.memory.replace(hole);
      vm.memory.replace(whole);
    }
  });
  await vm.close();
  return nanos;
}

/** A VM that has written every page of so many MiB. */
async function filled(mib: number): Promise<Vm> {
  const vm = await vmWith(forever(0x40, 0xa3, ...word(0x8000)), mib); // inc eax; mov [8000h], eax
  const numbers = new Uint32Array(vm.memory.backing.buffer, vm.memory.backing.byteOffset + mebibyte / 2);
  const end = (mib - 1) * 262144;
  for (let i = 0; i < end; i++) numbers[i] = Math.imul(i, 2654435761);
  vm.vcpu(0).enter({ maxInstructions: 1_000_000 });
  return vm;
}
async function snapshotted(what: 'snapshot' | 'restore' | 'lazy'): Promise<number> {
  const vm = await filled(256);
  const bytes = vm.snapshot();
  const nanos = await nanosOf(1, () => {
    if (what === 'snapshot') vm.snapshot();
    else vm.restore(bytes, { lazily: what === 'lazy' });
  });
  await vm.close();
  return nanos;
}
async function forked(): Promise<number> {
  const vm = await filled(64);
  const children: Vm[] = [];
  const nanos = await nanosOf(1, () => {
    vm.vcpu(0).enter({ maxInstructions: 100_000 });
    children.push(vm.fork());
  });
  for (const child of children) await child.close();
  await vm.close();
  return nanos;
}

const answer = '*(u64 *)(r1 + 8) = 7\nr0 = 1\nexit';
const costs: readonly (readonly [name: string, measure: () => Promise<number>])[] = [
  ['a round of a loop that does nothing', () => rounds([], () => {}, 1_000_000)],
  ['enter and exit: OUT', () => exits(forever(...out), 'pio')],
  ['enter and exit: IN', () => exits(forever(0xe4, 0x10), 'pio')],
  ['enter and exit: store to no memory', () => exits(forever(...store), 'mmio')],
  ['enter and exit: load from no memory', () => exits(forever(...load), 'mmio')],
  ['enter and exit: HLT', halts],
  [
    'doorbell (io.event)',
    () => rounds(store, (vm) => vm.io.event({ space: 'memory', address: DEVICE, length: 4 }, new EventCounter())),
  ],
  [
    'coalesced store, with its delivery',
    () => rounds(store, (vm) => vm.io.coalesce({ space: 'memory', address: DEVICE, length: 4096 }, () => {})),
  ],
  [
    'load from a device in the VM',
    () =>
      rounds(load, (vm) =>
        vm.io.attach({ space: 'memory', address: DEVICE, length: 4096 }, { name: 'device', read: () => 7, write() {} }),
      ),
  ],
  [
    'load that a BPF program answers',
    () =>
      rounds(load, (vm) =>
        vm.program({ space: 'memory', address: DEVICE, length: 4096, access: 'read' }, assemble(answer)),
      ),
  ],
  [
    'IN that a BPF program answers',
    () =>
      rounds([0xe4, 0x10], (vm) =>
        vm.program({ space: 'port', address: 0x10, length: 1, access: 'read' }, assemble(answer)),
      ),
  ],
  ['load from a device behind messages in this thread', () => remote(sameThread)],
  ['load from a device in a worker', () => remote(() => workerThread(true))],
  ['load from a device in a worker that lingers for 0.2 ms', () => remote(() => workerThread(true, 0.2))],
  ['load from a device in a worker, by messages alone', () => remote(() => workerThread(false))],
  ['load from a device in another process (socket)', () => remote(() => otherProcess(true))],
  ['load from a device in another process, not waited for', () => remote(() => otherProcess(false))],
  ['posted write to a device in a worker', () => posted(() => workerThread(true))],
  ['posted write to a device in another process (socket)', () => posted(() => otherProcess(true))],
  ['RDTSC, virtual time', () => rounds(rdtsc, undefined, 1_000_000, { clock: 'virtual' })],
  ['RDTSC, host time', () => rounds(rdtsc, undefined, 1_000_000, { clock: 'host' })],
  ['task priority written, xAPIC page', () => rounds(storePriority, undefined, 100_000, { lapic: 'visible' })],
  ['one register read', () => registers(false)],
  ['all registers read', () => registers(true)],
  ['dirty pages of a million, none', () => collected(0)],
  ['dirty pages of a million, 1 %', () => collected(100)],
  ['dirty pages of a million, all', () => collected(1)],
  ['looking at a million bits, for comparison', scanned],
  ['memory map replaced, 64 MiB', () => replaced(64, false)],
  ['memory map replaced, 1 GiB', () => replaced(1024, false)],
  ['memory map replaced, 1 GiB, log on', () => replaced(1024, true)],
  ['snapshot of 256 MiB', () => snapshotted('snapshot')],
  ['restore of 256 MiB', () => snapshotted('restore')],
  ['restore of 256 MiB, lazily', () => snapshotted('lazy')],
  ['fork of a running guest of 64 MiB', forked],
];

async function registers(all: boolean): Promise<number> {
  const vm = await vmWith([0xf4]);
  const { state } = vm.vcpu(0);
  const id = state.idOf('rbx');
  const count = all ? 100 : 100_000;
  const nanos = await nanosOf(count, () => {
    for (let i = 0; i < count; i++)
      if (all) state.get();
      else state.get(id);
  });
  await vm.close();
  return nanos;
}

const units = [
  [1e9, 's'],
  [1e6, 'ms'],
  [1e3, 'us'],
  [1, 'ns'],
] as const;
function readable(nanos: number): [string, string] {
  const [size, unit] = units.find(([least]) => nanos >= least) ?? [1, 'ns'];
  return [significant(nanos / size), unit];
}

const { values } = parseArgs({ options: { only: { type: 'string', default: '' }, json: { type: 'string' } } });
const results: Record<string, number> = {};
const rows: string[][] = [];
for (const [name, measure] of costs) {
  if (!name.includes(values.only)) continue;
  const nanos = await measure();
  results[name] = nanos;
  rows.push([name, ...readable(nanos)]);
  process.stderr.write(`${columns([rows.at(-1)!], 1)[0]}\n`);
}
console.log(columns(rows, 1).join('\n'));
const loop = results['a round of a loop that does nothing'] ?? 0;
/** What is wanted, and what was measured. */
const targets: readonly (readonly [what: string, value: number, most: number])[] = [
  ['enter and exit with IN, in microseconds', results['enter and exit: IN']! / 1000, 1],
  [
    'BPF read, in 20ths of an exit with IN',
    (20 * (results['IN that a BPF program answers']! - loop)) / results['enter and exit: IN']!,
    1,
  ],
  [
    'collection of clean pages, in 50ths of a scan',
    (50 * results['dirty pages of a million, none']!) / results['looking at a million bits, for comparison']!,
    1,
  ],
  ['fork of 64 MiB, in milliseconds', results['fork of a running guest of 64 MiB']! / 1e6, 20],
];
for (const [what, value, most] of targets)
  if (!Number.isNaN(value))
    console.log(`${what}: ${significant(value)} (${most}) ${value <= most ? 'met' : 'not met'}`);
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
process.exit(0);
