/**
 * What the calls of the VM API cost, in one run:
 *
 *   npm run build
 *   node bench/costs.ts [--quick] [--json FILE]
 *
 * Each figure is the median of several rounds; with rows that have a target, whether it is met. Guests are loops of two
 * instructions, executed by translations where there is something to translate.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { translate } from '../jit/translate.ts';
import { columns } from '../runtime/cli/bench-table.ts';
import { nodeHost } from '../runtime/hosts/node.ts';
import { EventCounter } from '../runtime/io/event-counter.ts';
import { loadFlatBinary } from '../runtime/loaders/flat-binary.ts';
import type { Exit } from '../runtime/vm/exits.ts';
import { Vm } from '../runtime/vm/vm.ts';
import { assemble } from '../src/bpf/assemble.ts';
import { remoteCosts } from '../test/vm/remote-cost.ts';

interface Cost {
  readonly what: string;
  readonly nanos: number;
  readonly target?: string;
  readonly met?: boolean;
}

const { values: flags } = parseArgs({ options: { quick: { type: 'boolean' }, json: { type: 'string' } } });
const quick = flags.quick === true;
const rounds = quick ? 3 : 9;
const [core, arithmetic] = await Promise.all([nodeHost.readModule('core.wasm'), nodeHost.readModule('softfloat.wasm')]);

const origin = 0x1000;
function guest(code: readonly number[], memory = 4 << 20): Vm {
  const vm = new Vm({
    memory,
    cpus: 1,
    modules: { core, arithmetic },
    translate: { way: { kind: 'hot', translate }, cache: null, mode: { shared: false, x87: 'exact' } },
  });
  vm.start(0, loadFlatBinary(Uint8Array.from(code), { bytes: vm.ram }, { address: origin, mode: 'protected' }));
  return vm;
}

const median = (list: number[]): number => list.sort((a, b) => a - b)[list.length >> 1]!;

/** Nanoseconds of one of `count` repetitions. @param before prepares a round, outside of the time */
function timed(count: number, repeat: (count: number) => void, before: () => void = () => {}): number {
  const times: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    before();
    const started = performance.now();
    repeat(count);
    if (round > 0) times.push(((performance.now() - started) * 1e6) / count); // the first one warms up
  }
  return median(times);
}

/** One entry and one exit. */
function exits(code: readonly number[], answer: (exit: Exit, vm: Vm) => void): number {
  const vm = guest(code);
  const vcpu = vm.vcpu(0);
  return timed(quick ? 20_000 : 200_000, (count) => {
    for (let i = 0; i < count; i++) answer(vcpu.enter(), vm);
  });
}
/** Instructions of a loop of two: nanoseconds of one that makes an access, beside the loop's own. */
function access(code: readonly number[], prepare: (vm: Vm) => void): number {
  const vm = guest(code);
  prepare(vm);
  const vcpu = vm.vcpu(0);
  return timed(quick ? 50_000 : 1_000_000, (count) => void vcpu.enter({ maxInstructions: 2 * count }));
}

const IN = [0xe4, 0x40, 0xeb, 0xfc]; // in al, 40h; jmp
const OUT = [0xe6, 0x40, 0xeb, 0xfc];
const LOAD = [0xa1, 0, 0, 0, 0xe0, 0xeb, 0xf9]; // mov eax, [e0000000h]; jmp
const STORE = [0xa3, 0, 0, 0, 0xe0, 0xeb, 0xf9];
const port = { space: 'port', address: 0x40, length: 1 } as const;
const register = { space: 'memory', address: 0xe000_0000, length: 4 } as const;
const device = { name: 'device', read: () => 7, write: () => {} };
/** A register that shows its address. */
const showing = assemble(`
  r2 = *(u64 *)(r1 + 0)
  *(u64 *)(r1 + 8) = r2
  r0 = 1
  exit
`);

async function exitCosts(): Promise<Cost[]> {
  const pio = exits(IN, (exit) => {
    if (exit.kind === 'pio') exit.value = 1;
  });
  const program = guest(IN);
  const bpf = await (async () => {
    await program.program({ ...port, access: 'read' }, showing, { name: 'costs' });
    const vcpu = program.vcpu(0);
    return timed(quick ? 50_000 : 1_000_000, (count) => void vcpu.enter({ maxInstructions: 2 * count }));
  })();
  const storm = access(STORE, (vm) => {
    vm.io.coalesce(register, () => {});
  });
  return [
    { what: 'enter and exit: IN, answered', nanos: pio, target: 'below 1 us', met: pio < 1000 },
    { what: 'enter and exit: OUT', nanos: exits(OUT, () => {}) },
    {
      what: 'enter and exit: load where there is no memory',
      nanos: exits(LOAD, (exit) => {
        if (exit.kind === 'mmio') exit.low = 1;
      }),
    },
    { what: 'enter and exit: store', nanos: exits(STORE, () => {}) },
    { what: 'enter and exit: HLT', nanos: exits([0xf4, 0xeb, 0xfd], (_exit, vm) => vm.vcpu(0).nmi()) },
    { what: 'device in the process: IN', nanos: access(IN, (vm) => vm.io.attach(port, device)) },
    { what: 'device in the process: store', nanos: access(STORE, (vm) => vm.io.attach(register, device)) },
    { what: 'io.event doorbell', nanos: access(STORE, (vm) => vm.io.event(register, new EventCounter())) },
    { what: 'coalesced write', nanos: storm },
    { what: 'BPF register read', nanos: bpf, target: 'a 20th of an IN exit', met: bpf * 20 <= pio },
  ];
}

function stateCosts(): Cost[] {
  const { state } = guest(IN).vcpu(0);
  const [rax] = state.list().filter(({ name }) => name === 'rax');
  const all = state.get();
  return [
    {
      what: 'one register read',
      nanos: timed(100_000, (count) => {
        for (let i = 0; i < count; i++) state.get([rax!.id]);
      }),
    },
    {
      what: `all ${all.length} registers read`,
      nanos: timed(500, (count) => {
        for (let i = 0; i < count; i++) state.get();
      }),
    },
    {
      what: 'all registers written',
      nanos: timed(500, (count) => {
        for (let i = 0; i < count; i++) state.set(all);
      }),
    },
  ];
}

/** Of 2^18 pages (1 GiB), times four: per million. */
function dirtyCosts(): Cost[] {
  const bytes = quick ? 2 ** 28 : 2 ** 30;
  const pages = bytes / 4096;
  const perMillion = 1e6 / pages;
  const vm = guest(IN, bytes);
  vm.dirty.start();
  const into = new Uint32Array(pages);
  const collect = () => {
    for (let start = 0, done = false; !done; ) {
      const cursor = vm.dirty.collect({ start, into });
      start = cursor.next;
      done = cursor.done;
    }
  };
  const byte = Uint8Array.of(1);
  const every = (step: number) => () => {
    for (let page = 0; page < pages; page += step) vm.memory.write(page * 4096, byte);
  };
  collect();
  const clean = timed(quick ? 100 : 1000, (count) => {
    for (let i = 0; i < count; i++) collect();
  });
  const one = timed(1, collect, every(100));
  const all = timed(1, collect, every(1));
  // What looking at each page's bit would cost.
  const bits = new Uint32Array(pages / 32);
  let seen = 0;
  const scan = timed(10, (count) => {
    for (let i = 0; i < count; i++)
      for (let page = 0; page < pages; page++) if (((bits[page >>> 5]! >>> (page & 31)) & 1) !== 0) seen++;
  });
  if (seen !== 0) throw new Error('a page was seen that nobody wrote');
  return [
    {
      what: 'dirty log, per million pages: clean',
      nanos: clean * perMillion,
      target: 'a 50th of a scan',
      met: clean * 50 <= scan,
    },
    { what: 'dirty log, per million pages: 1 % dirty', nanos: one * perMillion },
    { what: 'dirty log, per million pages: all dirty', nanos: all * perMillion },
    { what: 'a scan of a million bits', nanos: scan * perMillion },
  ];
}

function memoryCosts(): Cost[] {
  const vm = guest(IN);
  const regions = vm.memory.regions();
  const half = regions.map((region) => ({ ...region, length: region.length / 2 }));
  const big = guest(IN, 256 << 20);
  for (let at = 0; at < big.ram.length; at += 4096) big.ram[at] = 1;
  let snapshot: Uint8Array = new Uint8Array(0);
  const target = guest(IN, 256 << 20);
  const parent = guest(IN, 64 << 20);
  for (let at = 0; at < parent.ram.length; at += 4096) parent.ram[at] = 1;
  parent.vcpu(0).enter({ maxInstructions: 1 });
  const fork = timed(1, () => parent.fork());
  return [
    {
      what: 'memory map replaced',
      nanos: timed(200, (count) => {
        for (let i = 0; i < count; i++) vm.memory.replace(i % 2 === 0 ? half : regions);
      }),
    },
    { what: 'snapshot of 256 MiB, every page in use', nanos: timed(1, () => (snapshot = big.snapshot())) },
    { what: 'restore of it', nanos: timed(1, () => target.restore(snapshot)) },
    { what: 'restore of it, lazily', nanos: timed(1, () => target.restore(snapshot, { lazily: true })) },
    { what: 'fork of a VM of 64 MiB', nanos: fork, target: 'below 20 ms', met: fork < 20e6 },
  ];
}

async function remote(): Promise<Cost[]> {
  const costs = await remoteCosts(quick ? 200 : 2000);
  return costs.flatMap(({ way, read, write }) => [
    { what: `remote device, ${way}: read`, nanos: read * 1000 },
    { what: `remote device, ${way}: posted write`, nanos: write * 1000 },
  ]);
}

const scaled = (nanos: number): string =>
  nanos < 1000
    ? `${nanos.toFixed(0)} ns`
    : nanos < 1e6
      ? `${(nanos / 1000).toFixed(2)} us`
      : `${(nanos / 1e6).toFixed(2)} ms`;

const costs = [...(await exitCosts()), ...stateCosts(), ...dirtyCosts(), ...memoryCosts(), ...(await remote())];
const rows = costs.map(({ what, nanos, target, met }) => [
  what,
  scaled(nanos),
  target === undefined ? '' : `${target}: ${met ? 'met' : 'not met'}`,
]);
process.stdout.write(`${columns(rows, 1).join('\n')}\n`);
if (flags.json !== undefined) writeFileSync(flags.json, `${JSON.stringify(costs, null, 2)}\n`);
process.exit(costs.every(({ met }) => met !== false) ? 0 : 1);
