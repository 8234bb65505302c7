/** Row 10 as an embedder has it: an I/O APIC on another thread, registers and interrupts, and nothing but `vm.run()`. */
import assert from 'node:assert/strict';
import { type Transferable, Worker } from 'node:worker_threads';
import { ioApicPins } from '../../runtime/devices/io-apic.ts';
import { machinePort, type PortLike } from '../../runtime/interrupts/apic-bus-channel.ts';
import { EventCounter } from '../../runtime/io/event-counter.ts';
import { RemoteDevice } from '../../runtime/remote/remote-device.ts';
import { createRing, ringTransport } from '../../runtime/remote/ring-transport.ts';
import { Assembler, to } from '../engines/assembler.ts';
import { store, wrmsr } from '../engines/system-code.ts';
import { copy, count, counterAt, Guest, handler, hlt, loadIdt, sti } from './interrupts-harness.ts';
import { testEngines } from './vm-harness.ts';

const ioApicAt = 0xfec0_0000;
const redirection = (pin: number, low: number) => [
  ...store(ioApicAt, 0x11 + pin * 2),
  ...store(ioApicAt + 0x10, 0),
  ...store(ioApicAt, 0x10 + pin * 2),
  ...store(ioApicAt + 0x10, low),
];
const end = wrmsr(0x80b, 0);

testEngines(
  'row 10: an I/O APIC that is wholly on another thread serves an x2APIC guest under vm.run()',
  async (engine) => {
    const code = new Assembler(0x1000n)
      .put(loadIdt, wrmsr(0x1b, 0xfee0_0d00), wrmsr(0x80f, 0x1ff))
      .put(redirection(4, 0x41), redirection(9, 0x8042))
      .put(store(ioApicAt, 0x22), copy(ioApicAt + 0x10, counterAt(10)))
      .put(sti, count(9))
      .label('sleep')
      .put(hlt, 0xeb, to('sleep', 1))
      .label('edge')
      .put(handler(0, end))
      .label('level')
      .put(handler(1, end));
    const guest = new Guest(engine, { code, vectors: { 65: 'edge', 66: 'level' } });
    const { vm } = guest;
    const { here, there } = createRing();
    const bus = new MessageChannel();
    const worker = new Worker(new URL('interrupts-remote-worker.ts', import.meta.url), {
      workerData: { ring: there, bus: bus.port2 },
      transferList: [there.port, bus.port2] as unknown as Transferable[],
    });
    const device = await RemoteDevice.connect(ringTransport(here), { name: 'io-apic' });
    vm.remote.attach({ space: 'memory', address: ioApicAt, length: 0x1000 }, device);
    vm.irq.connect('io-apic', ioApicPins, machinePort(bus.port1 as PortLike));
    vm.routes.replace([4, 9].map((gsi) => ({ gsi, controller: 'io-apic', pin: gsi })));

    const until = async (what: string, done: () => boolean) => {
      const stop = new AbortController();
      const timer = setInterval(() => done() && stop.abort(), 1);
      const limit = AbortSignal.timeout(20_000);
      for await (const exit of vm.run({ signal: AbortSignal.any([stop.signal, limit]) }))
        assert.equal(exit.kind, 'halt');
      clearInterval(timer);
      assert.ok(!limit.aborted, `waited for: ${what}`);
    };
    try {
      await until('the guest is ready', () => guest.runs(9) === 1);
      assert.equal(guest.word(counterAt(10)), 0x8042, 'the entry reads as it was written');
      const counter = new EventCounter();
      const event = vm.irq.event(counter, 4);
      counter.add(100);
      await until('100 edges', () => guest.runs(0) >= 100);
      vm.irq.set(9, true);
      await until('the level again and again', () => guest.runs(1) >= 10);
      vm.irq.set(9, false);
      // Edges that come after it are answered after it.
      for (let i = 101; i <= 103; i++) {
        counter.add(1);
        await until(`edge ${i}`, () => guest.runs(0) >= i);
      }
      const runs = guest.runs(1);
      const later = performance.now() + 50;
      await until('quiet', () => performance.now() > later);
      assert.deepEqual([guest.runs(0), guest.runs(1)], [103, runs]);
      event.close();
    } finally {
      vm.routes.replace([]);
      vm.irq.disconnect('io-apic');
      device.close();
      await worker.terminate();
    }
  },
);
