/**
 * Rows 18 and 19 for a PC: whatever its timers, controllers, ports and processors are in the middle of goes on in another
 * machine exactly as in the first.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeHost } from '../../runtime/hosts/node.ts';
import { loadFlatBinary } from '../../runtime/loaders/flat-binary.ts';
import { randomNumbers } from '../../runtime/lockstep/random-numbers.ts';
import type { Engine } from '../../runtime/machines/machine.ts';
import { createPcMachine, type PcMachine } from '../../runtime/machines/pc-machine.ts';
import { machineState } from '../../runtime/snapshot/machine-state.ts';
import { stateHash } from '../../runtime/state-hash.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { CR0_PE, flat, out, putGates, putGdt, setControl, store, tablePointer } from '../engines/system-code.ts';
import { loadIdt } from './interrupts-harness.ts';

const codeAt = 0x1_0000;
const otherAt = 0x8000;
const descriptorsAt = 0x8100;
const idtAt = 0x8_000; // where `loadIdt` looks: the other processor's code lies behind it
const ends = 60;

const apic = (register: number) => 0xfee0_0000 + register;
const end = store(apic(0xb0), 0);
/** `inc dword [address]` */
const inc = (address: number) => [0xff, 0x05, ...dword(address)];
/** `add [address], al` */
const addByte = (address: number) => [0x00, 0x05, ...dword(address)];
/** `mov dx, port` */
const port = (number: number) => [0x66, 0xba, number & 0xff, number >> 8];
const outDx = (number: number, value: number) => [...port(number), 0xb0, value, 0xee];
const inDx = (number: number) => [...port(number), 0xec];
const input = (number: number) => [0xe4, number];
const redirection = (pin: number, low: number) => [
  ...store(0xfec0_0000, 0x11 + pin * 2),
  ...store(0xfec0_0010, 0),
  ...store(0xfec0_0000, 0x10 + pin * 2),
  ...store(0xfec0_0010, low),
];
/** `rdtsc; add eax, 7001; adc edx, 0; mov ecx, 6E0h; wrmsr`: the local APIC's timer rings then. */
const nextDeadline = [0x0f, 0x31, 0x05, ...dword(7001), 0x83, 0xd2, 0, 0xb9, ...dword(0x6e0), 0x0f, 0x30];
const words = { ticks: 0x3000, pit: 0x3004, rtc: 0x3008, serial: 0x300c, deadlines: 0x3010, shared: 0x3014 } as const;
const sums = 0x3040;
const rounds = 0x3060;

const vectors = { 32: 'pit', 64: 'tick', 65: 'serial', 66: 'rtc', 67: 'deadline' } as const;

/** The first processor: every device at once, string instructions, A20 closed and opened, a HLT now and then. */
const first = (cpus: number) =>
  new Assembler(BigInt(codeAt))
    .put(0xbc, dword(0x7000), loadIdt)
    .put(out(0x20, 0x11), out(0x21, 0x20), out(0x21, 4), out(0x21, 1), out(0x21, 0xfe))
    .put(out(0xa0, 0x11), out(0xa1, 0x28), out(0xa1, 2), out(0xa1, 1), out(0xa1, 0xff))
    .put(out(0x43, 0x34), out(0x40, 17), out(0x40, 0))
    .put(out(0x43, 0xb6), out(0x42, 9), out(0x42, 0), out(0x61, 1))
    .put(out(0x70, 10), out(0x71, 0x23), out(0x70, 11), out(0x71, 0x42))
    .put(redirection(8, 0x42), redirection(4, 0x41))
    .put(outDx(0x3fc, 8), outDx(0x3f9, 3))
    .put(store(apic(0x3e0), 0xb), store(apic(0x320), 0x2_0040), store(apic(0x380), 39_989))
    .put(cpus > 1 ? [...store(apic(0x300), 0xc_4500), ...store(apic(0x300), 0xc_4608)] : [])
    .put(0xfb)
    .label('loop')
    .put(0xbe, dword(0x5000), 0xbf, dword(0x5200), 0xb9, dword(300), 0xf3, 0xa4) // rep movsb
    .put(0xfe, 0x05, dword(0x5000))
    .put(out(0x43, 0), input(0x40), addByte(sums), input(0x40), addByte(sums + 1)) // a latched count, in two bytes
    .put(input(0x61), addByte(sums + 2))
    .put(out(0x92, 0), inc(0x10_3800), out(0x92, 2), inc(0x10_3800))
    .put(inc(rounds), 0xf6, 0x05, dword(rounds), 7, 0x75, to('awake', 1), 0xf4)
    .label('awake')
    .put(0x83, 0x3d, dword(words.ticks), ends, 0x0f, 0x82, to('loop'))
    .put(port(0x604), 0x66, 0xb8, 0x00, 0x34, 0x66, 0xef, 0xf4) // power off
    .label('pit')
    .put(0x50, inc(words.pit), out(0x20, 0x20), 0x58, 0xcf)
    .label('rtc')
    .put(0x50, inc(words.rtc), out(0x70, 12), input(0x71), end, 0x58, 0xcf)
    .label('tick')
    .put(0x50, 0x52, inc(words.ticks), 0x0f, 0x31, port(0x3f8), 0xee, end, 0x5a, 0x58, 0xcf) // sends the time's low byte
    .label('serial')
    .put(0x50, 0x52, inc(words.serial))
    .label('again')
    .put(inDx(0x3fa), 0xa8, 1, 0x75, to('served', 1)) // nothing left
    .put(inDx(0x3fd), 0xa8, 1, 0x74, to('again', 1), inDx(0x3f8), addByte(sums + 3), 0xeb, to('again', 1))
    .label('served')
    .put(end, 0x5a, 0x58, 0xcf)
    .label('deadline')
    .put(0x50, 0x51, 0x52, inc(words.deadlines), nextDeadline, end, 0x5a, 0x59, 0x58, 0xcf);

/** The second one: from real to protected mode, then its own timer, in the other mode. */
const second = () =>
  new Assembler(BigInt(otherAt))
    .put(0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x66, 0x0f, 0x01, 0x16, 0x00, 0x81) // lgdt [8100h]
    .put(setControl(0, CR0_PE), 0x66, 0xea, dword(otherAt + 0x40), 8, 0)
    .pad(0x40)
    .put(0x66, 0xb8, 0x10, 0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, dword(0x7800), loadIdt)
    .put(store(apic(0xf0), 0x1ff), store(apic(0x320), 0x4_0043), nextDeadline, 0xfb)
    .label('loop')
    .put(0xbf, dword(0x5800), 0xb9, dword(100), 0xa0, dword(words.shared), 0xf3, 0xaa) // rep stosb
    .put(0xf0, inc(words.shared), 0xf6, 0x05, dword(words.shared), 31, 0x75, to('loop', 1), 0xf4, 0xeb, to('loop', 1));

interface Running {
  readonly machine: PcMachine;
  readonly output: number[];
}

async function emptyMachine(engine: Engine, cpus: number): Promise<Running> {
  const output: number[] = [];
  const write = (byte: number) => void output.push(byte);
  const machine = await createPcMachine(
    { memory: 4 << 20, cpus, engine, x87: 'exact', cache: null, serial: write, debugcon: write },
    nodeHost,
  );
  return { machine, output };
}
async function busyMachine(engine: Engine, cpus: number): Promise<Running> {
  const running = await emptyMachine(engine, cpus);
  const { machine } = running;
  const { bytes } = machine.ram;
  const code = first(cpus);
  const state = loadFlatBinary(code.finish(), machine.ram, { address: codeAt, mode: 'protected' });
  const table = 0x2000;
  const handlers = Object.entries(vectors).map(([vector, label]) => [vector, code.addressOf(label)]);
  putGates(bytes, table, Object.fromEntries(handlers));
  bytes.set(tablePointer(0x7ff, table), idtAt - 8);
  bytes.set(second().finish(), otherAt);
  putGdt(bytes, descriptorsAt + 8, flat.code, flat.data);
  machine.start(state);
  machine.receive(Uint8Array.from({ length: 40 }, (_, i) => i * 5));
  return running;
}

/** All that there is of a machine, and what it has sent. */
function everything({ vm }: PcMachine) {
  const { time, registers, ...state } = machineState(vm);
  return { ...state, hashes: vm.vcpus.map((vcpu) => stateHash(vcpu, vm.ram)), nanos: vm.time.save().nanos };
}
async function finish({ machine, output }: Running, before: readonly number[] = []) {
  assert.deepEqual(await machine.run({ maxInstructions: 50_000_000 }), { reason: 'power-off' });
  return { ...everything(machine), output: [...before, ...output], instructions: machine.instructions() };
}

const saves = 8;

for (const cpus of [1, 2]) {
  test(`rows 18, 19: a PC with ${cpus} processors, saved anywhere, goes on as it would have`, async () => {
    const ways = ['interpreter', 'jit'] as const;
    const uninterrupted = await busyMachine('interpreter', cpus);
    const wanted = await finish(uninterrupted);
    const count = (address: number) => new DataView(wordsOf(uninterrupted)).getUint32(address, true);
    for (const [name, address] of Object.entries(words))
      if (cpus > 1 || (name !== 'deadlines' && name !== 'shared'))
        assert.ok(count(address) > 3, `${name}: ${count(address)}`);
    assert.ok(wanted.instructions > 100_000, `${wanted.instructions} instructions`);
    await uninterrupted.machine.close();
    const below = randomNumbers(cpus);
    for (const engine of ways) {
      const saved = await busyMachine(engine, cpus);
      const used = await busyMachine(engine === 'jit' ? 'interpreter' : 'jit', cpus);
      await used.machine.run({ maxInstructions: 30_000 });
      const points = Array.from({ length: saves }, () => 1 + below(wanted.instructions - 1)).sort((a, b) => a - b);
      const snapshots: { point: number; snapshot: Uint8Array; output: number[] }[] = [];
      for (const point of points) {
        assert.deepEqual(await saved.machine.run({ maxInstructions: point }), { reason: 'instructions' });
        snapshots.push({ point, snapshot: saved.machine.snapshot(), output: [...saved.output] });
      }
      assert.deepEqual(await finish(saved), wanted, `${engine}: to be saved changes nothing`);
      await saved.machine.close();
      for (const { point, snapshot, output } of snapshots.reverse()) {
        const fresh = await emptyMachine(engine, cpus);
        for (const machine of [fresh, used]) {
          machine.output.length = 0;
          machine.machine.restore(snapshot);
          assert.equal(machine.machine.instructions(), point);
          const where = `${engine}, saved after ${point}, in a ${machine === used ? 'used' : 'fresh'} machine`;
          assert.deepEqual(await finish(machine, output), wanted, where);
        }
        await fresh.machine.close();
      }
      await used.machine.close();
    }
  });
}

function wordsOf({ machine }: Running): ArrayBuffer {
  const { bytes } = machine.ram;
  return bytes.slice(0, 0x8000).buffer as ArrayBuffer;
}

test('row 19: a PC is forked, and both go on from there, each for itself', async () => {
  for (const engine of ['interpreter', 'jit'] as const) {
    const parent = await busyMachine(engine, 2);
    assert.deepEqual(await parent.machine.run({ maxInstructions: 123_456 }), { reason: 'instructions' });
    const before = [...parent.output];
    const output: number[] = [];
    const child: Running = { machine: parent.machine.fork({ serial: (byte) => void output.push(byte) }), output };
    const end = await finish(parent);
    await parent.machine.close();
    await child.machine.run({ maxInstructions: 200_000 });
    child.machine.snapshot(); // has it take all of its memory, which is hashed at the end
    assert.deepEqual(await finish(child, before), end, engine);
    await child.machine.close();
  }
});

test('rows 18, 19: what is no snapshot of such a PC is refused, and the machine is as it was', async () => {
  const one = await busyMachine('interpreter', 1);
  await one.machine.run({ maxInstructions: 100_000 });
  const before = everything(one.machine);
  const two = await busyMachine('interpreter', 2);
  assert.throws(() => one.machine.restore(two.machine.snapshot()), { code: 'different-machine' });
  const { vm } = two.machine;
  vm.kept[0]!.state = { ...vm.kept[0]!.state, current: 7 };
  const snapshot = two.machine.snapshot();
  const fresh = await busyMachine('interpreter', 2);
  await fresh.machine.run({ maxInstructions: 70_000 });
  const stands = everything(fresh.machine);
  assert.throws(() => fresh.machine.restore(snapshot), { code: 'bad-device-state', message: /processor 7/ });
  assert.deepEqual(everything(fresh.machine), stands);
  assert.deepEqual(everything(one.machine), before);
  const after = await finish(fresh);
  const never = await busyMachine('interpreter', 2);
  assert.deepEqual(after, await finish(never));
  for (const { machine } of [one, two, fresh, never]) await machine.close();
});
