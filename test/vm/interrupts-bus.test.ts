/** Row 10: the same controllers, guest and expectations with the controllers in this thread and in a Worker. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { type Transferable, Worker } from 'node:worker_threads';
import type { AccessSize } from '../../runtime/devices/device.ts';
import { ioApicPins } from '../../runtime/devices/io-apic.ts';
import { checkMachineMessage, machinePort, type PortLike } from '../../runtime/interrupts/apic-bus-channel.ts';
import { ioApicOn, picPairOn } from '../../runtime/interrupts/controllers.ts';
import { EventCounter } from '../../runtime/io/event-counter.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { Assembler, to } from '../engines/assembler.ts';
import { out, store } from '../engines/system-code.ts';
import {
  copy,
  count,
  counterAt,
  engines,
  Guest,
  handler,
  hlt,
  loadIdt,
  type Registers,
  registers,
  sti,
} from './interrupts-harness.ts';
import type { RegisterAccess } from './interrupts-worker.ts';
import { hashOf } from './vm-harness.ts';

interface Controllers {
  readonly registers: readonly Registers[];
  close(): Promise<void>;
}
type Place = 'in-process' | 'Worker';

const where = {
  ioApic: ['mmio', 0xfec0_0000, 0x1000],
  first: ['pio', 0x20, 2],
  second: ['pio', 0xa0, 2],
  triggers: ['pio', 0x4d0, 2],
} as const;

const connect: Record<Place, (vm: Vm) => Controllers> = {
  'in-process': (vm) => {
    const pic = picPairOn(vm.irq.attach('pic', 16));
    const devices = { ioApic: ioApicOn(vm.irq.attach('io-apic', ioApicPins)), ...pick(pic) };
    return {
      registers: Object.entries(where).map(([name, [space, base, length]]) =>
        registers(space, base, length, devices[name as keyof typeof where]),
      ),
      close: async () => {},
    };
  },
  Worker: (vm) => {
    const ioApic = new MessageChannel();
    const pic = new MessageChannel();
    vm.irq.connect('io-apic', ioApicPins, machinePort(ioApic.port1 as PortLike));
    vm.irq.connect('pic', 16, machinePort(pic.port1 as PortLike));
    const worker = new Worker(new URL('interrupts-worker.ts', import.meta.url), {
      workerData: { ioApic: ioApic.port2, pic: pic.port2 },
      transferList: [ioApic.port2, pic.port2] as unknown as Transferable[],
    });
    const access = async (message: RegisterAccess): Promise<number> => {
      worker.postMessage(message);
      return ((await once(worker, 'message')) as [number])[0];
    };
    return {
      registers: Object.entries(where).map(([name, [space, base, length]]) => {
        const device = name as keyof typeof where;
        return {
          space,
          base,
          length,
          read: (offset: number, size: AccessSize) => access({ device, offset, size }),
          write: async (offset: number, size: AccessSize, value: number) => {
            await access({ device, offset, size, value });
          },
        };
      }),
      close: async () => {
        vm.routes.replace([]);
        vm.irq.disconnect('io-apic');
        vm.irq.disconnect('pic');
        await worker.terminate();
      },
    };
  },
};
const pick = ({ first, second, triggers }: ReturnType<typeof picPairOn>) => ({ first, second, triggers });

const apic = (register: number) => 0xfee0_0000 + register;
const redirection = (pin: number, low: number) => [
  ...store(0xfec0_0000, 0x11 + pin * 2),
  ...store(0xfec0_0010, 0),
  ...store(0xfec0_0000, 0x10 + pin * 2),
  ...store(0xfec0_0010, low),
];
const end = store(apic(0xb0), 0);
const endPic = out(0x20, 0x20);

/** Input 4 by edges, 9 by level; the 8259s' inputs 3 and 10 through LINT0. */
const code = () =>
  new Assembler(0x1000n)
    .put(loadIdt, store(apic(0xf0), 0x1ff), store(apic(0x350), 0x700))
    .put(out(0x20, 0x11), out(0x21, 0x20), out(0x21, 4), out(0x21, 1))
    .put(out(0xa0, 0x11), out(0xa1, 0x28), out(0xa1, 2), out(0xa1, 1))
    .put(out(0x21, 0xf3), out(0xa1, 0xfb))
    .put(redirection(4, 0x41), redirection(9, 0x8042))
    .put(store(0xfec0_0000, 0x01), copy(0xfec0_0010, counterAt(10)))
    .put(sti, count(9))
    .label('sleep')
    .put(hlt, 0xeb, to('sleep', 1))
    .label('edge')
    .put(handler(0, end))
    .label('level')
    .put(handler(1, end))
    .label('external')
    .put(handler(2, endPic))
    .label('second')
    .put(handler(3, [...out(0xa0, 0x20), ...endPic]));
const vectors = { 65: 'edge', 66: 'level', 35: 'external', 42: 'second' };

for (const engine of engines) {
  for (const place of ['in-process', 'Worker'] as const) {
    test(`row 10: I/O APIC and 8259s ${place}: edges, levels, end of interrupt, ExtINT (${engine})`, async () => {
      const guest = new Guest(engine, { code: code(), vectors });
      const { vm } = guest;
      const controllers = connect[place](vm);
      guest.devices.push(...controllers.registers);
      try {
        vm.routes.replace([
          { gsi: 4, controller: 'io-apic', pin: 4 },
          { gsi: 9, controller: 'io-apic', pin: 9 },
          { gsi: 3, controller: 'pic', pin: 3 },
          { gsi: 10, controller: 'pic', pin: 10 },
        ]);
        await guest.until('the guest is ready', () => guest.runs(9) === 1);
        assert.equal(guest.word(counterAt(10)), 0x0017_0020, 'the version register');

        let edges = 0;
        const edge = async () => {
          vm.irq.set(4, true);
          vm.irq.set(4, true);
          vm.irq.set(4, false);
          edges++;
          await guest.until(`edge ${edges}`, () => guest.runs(0) === edges);
        };
        /** What was said before has been heard, and so has the answer. */
        const settle = async () => {
          for (let i = 0; i < 3; i++) await edge();
        };
        for (let i = 1; i <= 5; i++) await edge();

        const counter = new EventCounter();
        const event = vm.irq.event(counter, 4);
        for (let i = 0; i < 20; i++) counter.add(10);
        edges += 200;
        await guest.until('200 events', () => guest.runs(0) >= edges);
        await quiet(guest);
        assert.equal(guest.runs(0), edges, 'row 12: each of them once');
        event.close();

        vm.irq.set(9, true);
        await guest.until('the level is asserted again after each end of interrupt', () => guest.runs(1) >= 5);
        vm.irq.set(9, false);
        await settle();
        const runs = guest.runs(1);
        await quiet(guest);
        assert.equal(guest.runs(1), runs, 'no interrupt of a line that is low');
        vm.irq.set(9, true);
        await guest.until('it comes again with the line', () => guest.runs(1) > runs);
        vm.irq.set(9, false);
        await settle();

        const before = guest.runs(1);
        const level = new EventCounter();
        const resample = new EventCounter();
        const resampling = vm.irq.event(level, 9, { resample });
        for (let i = 1; i <= 10; i++) {
          level.add(1);
          await guest.until(`resample ${i}`, () => resample.take() === 1);
          assert.equal(guest.runs(1), before + i);
        }
        await quiet(guest);
        assert.equal(guest.runs(1), before + 10, 'row 12: the line was low before it was looked at again');
        resampling.close();

        for (let i = 1; i <= 5; i++) {
          vm.irq.set(3, true);
          await guest.until(`ExtINT ${i}`, () => guest.runs(2) === i);
          vm.irq.set(3, false);
          vm.irq.set(10, true);
          await guest.until(`ExtINT ${i} of the second one`, () => guest.runs(3) === i);
          vm.irq.set(10, false);
        }
        await quiet(guest);
        assert.deepEqual([guest.runs(0), guest.runs(2), guest.runs(3)], [edges, 5, 5], 'nothing came twice');
      } finally {
        await controllers.close();
      }
    });
  }
}

/** Time for what should not come. */
async function quiet(guest: Guest): Promise<void> {
  const end = performance.now() + 60;
  await guest.until('time has passed', () => performance.now() > end);
}

test('row 10: a controller that sends nonsense is hung up on, its INTR falls, and the VM goes on', async () => {
  const guest = new Guest('interpreter', { code: code(), vectors });
  const { vm } = guest;
  const vcpu = vm.vcpu(0);
  vcpu.apic!.write(0xf0, 4, 0x1ff);
  vcpu.apic!.write(0x350, 4, 0x700); // LINT0: ExtINT
  const before = hashOf(vm);
  const garbage = [
    null,
    5,
    'deliver',
    {},
    { kind: 'toString' },
    { kind: 'deliver', destination: 0, logical: false, mode: 0, vector: 256, level: false, pulsed: false },
    { kind: 'deliver', destination: 0, logical: 'no', mode: 0, vector: 65, level: false, pulsed: false },
    { kind: 'acknowledged', vector: -1 },
    { kind: 'intr', high: 1 },
    { kind: 'ended', pin: 1.5 },
    { kind: 'pulsed', result: 'lost' },
  ];
  for (const [i, message] of garbage.entries()) {
    const errors: string[] = [];
    const port: PortLike = { postMessage() {}, onmessage: null, close() {} };
    vm.irq.connect(`bad ${i}`, 4, machinePort(port), (error) => errors.push(`${error.code} ${error.message}`));
    const say = port.onmessage!;
    say({ data: { kind: 'intr', high: true } } as MessageEvent);
    assert.equal(vcpu.pins.requesting, true);
    say({ data: message } as MessageEvent);
    assert.equal(errors.length, 1, JSON.stringify(message));
    assert.match(errors[0]!, new RegExp(`^bad-message controller bad ${i}: `));
    say({ data: { kind: 'intr', high: true } } as MessageEvent); // nobody listens
    assert.equal(vcpu.pins.requesting, false, 'INTR has fallen');
    assert.equal(port.onmessage, null);
    assert.equal(hashOf(vm), before);
    vm.irq.disconnect(`bad ${i}`);
  }
  assert.throws(() => checkMachineMessage({ kind: 'line', pin: -1, high: true }), { code: 'bad-message' });
  const good = connect['in-process'](vm);
  guest.devices.push(...good.registers);
  vm.routes.replace([{ gsi: 4, controller: 'io-apic', pin: 4 }]);
  await guest.until('the guest is ready', () => guest.runs(9) === 1);
  vm.irq.set(4, true);
  await guest.until('an edge', () => guest.runs(0) === 1);
});

test('row 10: a VM that is closed hangs up on its controllers and hears no more events', async () => {
  const guest = new Guest('interpreter', { code: code(), vectors });
  const { vm } = guest;
  let closed = 0;
  const port: PortLike = { postMessage() {}, onmessage: null, close: () => void closed++ };
  vm.irq.connect('far', 4, machinePort(port));
  const counter = new EventCounter();
  vm.irq.event(counter, 4);
  assert.equal(vm.irq.polls, true);
  await vm.close();
  await vm.close();
  counter.add(1);
  assert.deepEqual([closed, counter.take(), vm.irq.polls], [1, 1, false]);
});

test('row 10: names and inputs of controllers are checked; who waits for a vector when one goes gets none', () => {
  const guest = new Guest('interpreter', { code: code(), vectors, lapic: 'hidden' });
  const { irq, routes } = guest.vm;
  const { pins } = guest.vm.vcpu(0);
  const end = irq.attach('pic', 16);
  for (const [name, inputs] of [
    ['pic', 16],
    [7, 1],
    ['other', 0],
    ['other', 1.5],
    ['other', 5000],
  ] as [string, number][])
    assert.throws(() => irq.attach(name, inputs), { code: 'bad-controller' });
  routes.replace([{ gsi: 3, controller: 'pic', pin: 3 }]);
  assert.throws(() => irq.disconnect('pic'), /GSI 3/);
  assert.throws(() => irq.disconnect('nobody'), { code: 'bad-controller' });
  routes.replace([]);
  end.receive(() => {}); // never answers
  end.post({ kind: 'intr', high: true });
  assert.equal(pins.requesting, true);
  assert.equal(pins.acknowledge(), -1);
  assert.equal(pins.requesting, false, 'it waits');
  irq.disconnect('pic');
  const other = irq.attach('pic', 16);
  other.receive((message) => {
    if (message.kind === 'acknowledge') other.post({ kind: 'acknowledged', vector: 0x21 });
  });
  other.post({ kind: 'intr', high: true });
  assert.equal(pins.acknowledge(), 0x21);
});
