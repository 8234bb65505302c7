/** Row 12, interrupts: events raise a GSI by edges, none lost and none merged; resampling for level-triggered ones. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { ioApicPins } from '../../runtime/devices/io-apic.ts';
import {
  type ControllerMessage,
  type MachineMessage,
  machinePort,
  type PortLike,
} from '../../runtime/interrupts/apic-bus-channel.ts';
import { ioApicOn, picPairOn } from '../../runtime/interrupts/controllers.ts';
import type { Route } from '../../runtime/interrupts/routes.ts';
import { EventCounter } from '../../runtime/io/event-counter.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { out, store } from '../engines/system-code.ts';
import { count, engines, Guest, handler, hlt, loadIdt, registers, sti } from './interrupts-harness.ts';
import { testEngines } from './vm-harness.ts';

const apic = (register: number) => 0xfee0_0000 + register;
const end = store(apic(0xb0), 0);
const endPic = out(0x20, 0x20);
const deviceAt = 0xfed0_0000;

/** Vectors 50H (edges), 51H (levels, with a device), 23H (8259); the rest of the time it sleeps or counts. */
function listener(engine: (typeof engines)[number], busy = false): Guest {
  const code = new Assembler(0x1000n)
    .put(loadIdt, store(apic(0xf0), 0x1ff), store(apic(0x350), 0x700))
    .put(out(0x20, 0x11), out(0x21, 0x20), out(0x21, 4), out(0x21, 1), out(0x21, 0xf7))
    .put(sti)
    .label('rest')
    .put(busy ? count(9) : [hlt], 0xeb, to('rest', 1))
    .label('edge')
    .put(handler(0, end))
    .label('level')
    .put(handler(1, [...store(deviceAt, 0), ...end]))
    .label('external')
    .put(handler(2, endPic));
  const guest = new Guest(engine, { code, vectors: { 80: 'edge', 81: 'level', 35: 'external' } });
  const { irq } = guest.vm;
  const pic = picPairOn(irq.attach('pic', 16));
  const ioApic = ioApicOn(irq.attach('io-apic', ioApicPins));
  for (const [pin, low] of [
    [5, 0x50],
    [6, 0x8051],
  ] as const) {
    ioApic.write(0, 4, 0x10 + pin * 2);
    ioApic.write(0x10, 4, low);
  }
  guest.devices.push(registers('pio', 0x20, 2, pic.first), registers('pio', 0xa0, 2, pic.second));
  return guest;
}
const ways: readonly (readonly [string, Route, handler: number])[] = [
  ['a message', { gsi: 30, address: 0xfee0_0000, data: 0x50 }, 0],
  ['an I/O APIC', { gsi: 30, controller: 'io-apic', pin: 5 }, 0],
  ['an 8259', { gsi: 30, controller: 'pic', pin: 3 }, 2],
];

for (const engine of engines) {
  for (const [way, route, which] of ways) {
    test(`row 12: 1,000 edges through ${way} give 1,000 handler runs (${engine})`, async () => {
      const guest = listener(engine);
      const { vm } = guest;
      vm.routes.replace([route]);
      await guest.run(1000);
      const counter = new EventCounter();
      const attached = vm.irq.event(counter, 30);
      counter.add(400); // at once
      assert.equal(await guest.run(1_000_000), 'halt');
      assert.equal(guest.runs(which), 400);
      for (let i = 0; i < 300; i++) counter.add(2); // before the guest has run
      assert.equal(await guest.run(1_000_000), 'halt');
      assert.equal(guest.runs(which), 1000);
      attached.close();
      attached.close();
      counter.add(5);
      assert.equal(await guest.run(10_000), 'halt');
      assert.equal(guest.runs(which), 1000, 'nobody listens any more');
      assert.equal(counter.take(), 5);
    });
  }

  test(`row 12: 1,000 edges of another thread while the guest runs (${engine})`, async () => {
    const guest = listener(engine, true);
    const { vm } = guest;
    vm.routes.replace([ways[0]![1]]);
    const counter = new EventCounter();
    const attached = vm.irq.event(counter, 30);
    const worker = new Worker(new URL('interrupts-signaller.ts', import.meta.url), {
      workerData: { buffer: counter.buffer, events: 1000, pauseMillis: 0 },
    });
    const ended = once(worker, 'exit');
    // One long entry: nobody but the vCPU itself looks at the counter.
    const seen = () => guest.runs(0) > 0;
    for (const limit = performance.now() + 20_000; !seen() && performance.now() < limit; ) {
      const until = performance.now() + 50;
      guest.vm.vcpu(0).enter({ deadline: guest.clock.now() + 3_000_000 });
      guest.clock.advanceTo(guest.clock.now() + 3_000_000);
      if (performance.now() > until) await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(seen());
    await guest.until('all of them', () => guest.runs(0) >= 1000);
    await ended;
    await guest.run(100_000);
    assert.equal(guest.runs(0), 1000);
    attached.close();
  });

  test(`row 12: re-routing under a storm of events of another thread loses none (${engine})`, async () => {
    const guest = listener(engine, true);
    const { vm } = guest;
    const counter = new EventCounter();
    const attached = vm.irq.event(counter, 30);
    await guest.run(1000);
    const worker = new Worker(new URL('interrupts-signaller.ts', import.meta.url), {
      workerData: { buffer: counter.buffer, events: 500, pauseMillis: 0.2 },
    });
    const total = () => guest.runs(0) + guest.runs(2);
    const tables = [[], ...ways.map(([, route]) => [route])];
    for (let i = 0; total() < 500; i++) {
      vm.routes.replace(tables[i % 4]!);
      await guest.run(300);
      assert.ok(i < 2_000_000, `${total()} of 500`);
      if (i % 32 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await worker.terminate();
    await guest.run(100_000);
    assert.equal(total(), 500);
    assert.ok(guest.runs(0) > 0 && guest.runs(2) > 0, 'both ways');
    attached.close();
  });

  test(`row 12: resample: the end of a level-triggered interrupt lowers the line and asks the device again (${engine})`, async () => {
    const guest = listener(engine);
    const { vm } = guest;
    vm.routes.replace([{ gsi: 31, controller: 'io-apic', pin: 6 }]);
    let work = 0;
    guest.devices.push({ space: 'mmio', base: deviceAt, length: 4, read: () => 0, write: () => void work-- });
    const counter = new EventCounter();
    const resample = new EventCounter();
    let asked = 0;
    // The device's side: whatever is left to do asserts the interrupt again.
    resample.onAdd(() => {
      asked += resample.take();
      if (work > 0) counter.add(1);
    });
    const attached = vm.irq.event(counter, 31, { resample });
    assert.equal(await guest.run(1000), 'halt');
    for (let round = 1; round <= 10; round++) {
      work = 20;
      counter.add(1);
      assert.equal(await guest.run(100_000), 'halt');
      assert.deepEqual([work, guest.runs(1), asked], [0, 20 * round, 20 * round]);
    }
    counter.add(3); // a level has no number
    work = 1;
    assert.equal(await guest.run(100_000), 'halt');
    assert.deepEqual([guest.runs(1), asked], [201, 201]);
    // Another wire holds the line: it stays up, and the counter is told each time.
    const other = vm.irq.line(31);
    counter.add(1);
    other.set(true);
    await guest.run(2000);
    assert.ok(guest.runs(1) > 210, 'asserted again and again');
    assert.equal(asked, 202);
    other.set(false);
    assert.equal(await guest.run(100_000), 'halt');
    attached.close();
  });
}

test('row 12: an event of another thread wakes a VM that sleeps', async () => {
  const guest = listener('interpreter');
  const { vm } = guest;
  vm.routes.replace([ways[0]![1]]);
  const counter = new EventCounter();
  const attached = vm.irq.event(counter, 30);
  const worker = new Worker(new URL('interrupts-signaller.ts', import.meta.url), {
    workerData: { buffer: counter.buffer, events: 20, pauseMillis: 3 },
  });
  const stop = new AbortController();
  let halts = 0;
  const timer = setInterval(() => {
    if (guest.runs(0) >= 20) stop.abort();
  }, 5);
  for await (const exit of vm.run({ signal: AbortSignal.any([stop.signal, AbortSignal.timeout(20_000)]) })) {
    if (exit.kind === 'halt') halts++;
    else if (exit.kind === 'pio' && !exit.write) exit.value = 0xff;
  }
  clearInterval(timer);
  await worker.terminate();
  assert.equal(guest.runs(0), 20);
  assert.ok(halts > 1, `slept ${halts} times`);
  attached.close();
});

test('row 12: what cannot raise an interrupt is refused', () => {
  const guest = listener('interpreter');
  const { irq } = guest.vm;
  const counter = new EventCounter();
  const before = JSON.stringify(irq.state);
  for (const bad of [null, undefined, {}, 5] as unknown as EventCounter[])
    assert.throws(() => irq.event(bad, 30), { code: 'bad-event', message: /GSI 30/ });
  for (const bad of [null, {}, 5] as unknown as EventCounter[])
    assert.throws(() => irq.event(counter, 30, { resample: bad }), { code: 'bad-event', message: /GSI 30/ });
  for (const bad of [-1, 4096, 1.5, 'x'] as number[]) assert.throws(() => irq.event(counter, bad), { code: 'bad-gsi' });
  assert.equal(JSON.stringify(irq.state), before);
  const attached = irq.event(counter, 30);
  assert.throws(() => irq.event(counter, 30), { code: 'bad-event', message: /GSI 30/ });
  attached.close();
  for (let i = 0; i < 3; i++) irq.event(counter, 30, { resample: new EventCounter() }).close();
  assert.equal(JSON.stringify(irq.state), before, 'nothing is left of what was closed');
});

test('row 12: routing state is taken out and put into a VM that was put together alike', async () => {
  const make = () => {
    const guest = listener('interpreter');
    const { vm } = guest;
    const counter = new EventCounter();
    const wire = vm.irq.line(30);
    return { guest, vm, counter, wire, event: vm.irq.event(counter, 30) };
  };
  const a = make();
  a.vm.routes.replace([ways[1]![1], { gsi: 40, address: 0x1_00_fee0_0000n, data: 0x50 }]);
  a.wire.set(true);
  a.vm.irq.set(77, true);
  a.counter.add(3);
  const state = structuredClone(a.vm.irq.state);
  assert.equal(state.events[0]!.pending, 3, 'the line is up: edges wait');
  const b = make();
  b.vm.irq.set(78, true);
  b.vm.irq.state = state;
  assert.deepEqual(b.vm.irq.state, state);
  b.vm.irq.set(77, false);
  assert.deepEqual(b.vm.irq.state.held, []);
  const c = listener('interpreter');
  const empty = JSON.stringify(c.vm.irq.state);
  assert.throws(() => void (c.vm.irq.state = state), { code: 'bad-interrupt-state', message: /1 wires/ });
  assert.equal(JSON.stringify(c.vm.irq.state), empty);
  b.vm.irq.state = state;
  for (const [change, code] of [
    [null, 'bad-interrupt-state'],
    [5, 'bad-interrupt-state'],
    [{}, 'bad-interrupt-state'],
    [{ ...state, wires: undefined }, 'bad-interrupt-state'],
    [{ ...state, wires: [] }, 'bad-interrupt-state'],
    [{ ...state, wires: [{ gsi: 31, high: true }] }, 'bad-interrupt-state'],
    [{ ...state, wires: [{ gsi: 30, high: 1 }] }, 'bad-interrupt-state'],
    [{ ...state, held: 5 }, 'bad-interrupt-state'],
    [{ ...state, held: [5000] }, 'bad-gsi'],
    [{ ...state, controllers: [{ name: 'none', intr: false }] }, 'bad-interrupt-state'],
    [{ ...state, controllers: [] }, 'bad-interrupt-state'],
    [{ ...state, lastIntr: 'none' }, 'bad-interrupt-state'],
    [{ ...state, lastIntr: undefined }, 'bad-interrupt-state'],
    [{ ...state, events: [] }, 'bad-interrupt-state'],
    [{ ...state, events: [{ gsi: 30, pending: -1 }] }, 'bad-interrupt-state'],
    [{ ...state, routes: [{ gsi: 1, controller: 'none', pin: 0 }] }, 'bad-route'],
    [{ ...state, routes: 'all' }, 'bad-route'],
  ] as const)
    assert.throws(
      () => void (b.vm.irq.state = change as never),
      { code },
      JSON.stringify(change, (_, v) => String(v)),
    );
  assert.deepEqual(b.vm.irq.state, state);
});

test('row 12: an edge that another thread says was merged is sent again, also if there has been room meanwhile', () => {
  const { vm } = new Guest('interpreter', { code: new Assembler(0x1000n).put(hlt), vectors: {} });
  const apic0 = vm.vcpu(0).apic!;
  apic0.write(0xf0, 4, 0x1ff);
  let pulses = 0;
  const port: PortLike = {
    postMessage: (message) => void ((message as MachineMessage).kind === 'pulse' && pulses++),
    onmessage: null,
    close() {},
  };
  vm.irq.connect('far', 1, machinePort(port));
  vm.routes.replace([{ gsi: 30, controller: 'far', pin: 0 }]);
  const say = (data: ControllerMessage) => port.onmessage!({ data } as MessageEvent);
  const deliver = () =>
    say({ kind: 'deliver', destination: 0, logical: false, mode: 0, vector: 0x50, level: false, pulsed: true });
  const take = () => {
    assert.equal(apic0.acknowledge(), 0x50);
    apic0.write(0xb0, 4, 0);
  };
  const counter = new EventCounter();
  vm.irq.event(counter, 30);
  counter.add(3);
  assert.equal(pulses, 1, 'one at a time');
  deliver();
  say({ kind: 'pulsed', result: 'sent' });
  assert.equal(pulses, 2);
  deliver(); // merged with the first
  say({ kind: 'pulsed', result: 'sent' });
  assert.equal(pulses, 2, 'it waits for room');
  take();
  assert.equal(pulses, 3);
  deliver();
  say({ kind: 'pulsed', result: 'sent' });
  assert.equal(pulses, 4);
  deliver(); // merged, and
  take(); // there is room before that is known
  say({ kind: 'pulsed', result: 'sent' });
  assert.equal(pulses, 5);
  deliver();
  say({ kind: 'pulsed', result: 'sent' });
  take();
  assert.equal(pulses, 5, 'three edges, three interrupts');
  assert.equal(vm.irq.state.events[0]!.pending, 0);
  vm.irq.close();
});

testEngines('row 12: 1,000 doorbells that raise an interrupt give 1,000 handler runs and no exit', (engine) => {
  const doorbell = 0xfeb0_0000;
  const code = new Assembler(0x1000n)
    .put(loadIdt, store(apic(0xf0), 0x1ff), sti, 0xbe, dword(1000)) // mov esi, 1000
    .label('loop')
    .put(store(doorbell, 7), 0x4e, 0x75, to('loop', 1)) // dec esi; jnz
    .put(hlt)
    .label('edge')
    .put(handler(0, end));
  const guest = new Guest(engine, { code, vectors: { 80: 'edge' } });
  const { vm } = guest;
  const counter = new EventCounter();
  vm.io.event({ space: 'memory', address: doorbell, length: 4 }, counter);
  vm.irq.event(counter, 30);
  vm.routes.replace([{ gsi: 30, address: 0xfee0_0000, data: 0x50 }]);
  assert.equal(vm.vcpu(0).enter({ maxInstructions: 1_000_000 }).kind, 'halt', 'the only exit');
  assert.equal(guest.runs(0), 1000);
  assert.equal(counter.value, 0);
  vm.irq.close();
});
