/**
 * Row 18 for interrupts: what waits in wires, routes, controllers and local APICs goes on in another VM exactly as in the
 * first, wherever the snapshot was taken.
 */
import assert from 'node:assert/strict';
import { ioApicPins } from '../../runtime/devices/io-apic.ts';
import { ioApicOn, picPairOn } from '../../runtime/interrupts/controllers.ts';
import type { Route } from '../../runtime/interrupts/routes.ts';
import { EventCounter } from '../../runtime/io/event-counter.ts';
import { type Random, randomNumbers } from '../../runtime/lockstep/random-numbers.ts';
import { Assembler, to } from '../engines/assembler.ts';
import { out, store } from '../engines/system-code.ts';
import { count, Guest, handler, loadIdt, sti } from './interrupts-harness.ts';
import { MsixDevice } from './msix-device.ts';
import { hashOf, type TestEngine, testEngines } from './vm-harness.ts';

const apic = (register: number) => 0xfee0_0000 + register;
const end = store(apic(0xb0), 0);
const endPic = out(0x20, 0x20);
const levelDevice = 0xfed0_0000;
const msix = 0xfeb0_0000;
const redirection = (pin: number, low: number) => [
  ...store(0xfec0_0000, 0x11 + pin * 2),
  ...store(0xfec0_0010, 0),
  ...store(0xfec0_0000, 0x10 + pin * 2),
  ...store(0xfec0_0010, low),
];
const others: readonly Route[] = [
  { gsi: 4, controller: 'io-apic', pin: 4 },
  { gsi: 9, controller: 'io-apic', pin: 9 },
  { gsi: 3, controller: 'pic', pin: 3 },
  { gsi: 12, controller: 'pic', pin: 12 },
];

/** Everything at once: 8259s, I/O APIC, MSI-X, the local APIC's timer, events. */
function busyGuest(engine: TestEngine) {
  const code = new Assembler(0x1000n)
    .put(loadIdt, store(apic(0xf0), 0x1ff), store(apic(0x350), 0x700))
    .put(out(0x20, 0x11), out(0x21, 0x20), out(0x21, 4), out(0x21, 1))
    .put(out(0xa0, 0x11), out(0xa1, 0x28), out(0xa1, 2), out(0xa1, 1), out(0x21, 0xf3), out(0xa1, 0xef))
    .put(redirection(4, 0x41), redirection(9, 0x8042))
    .put(store(msix, 0xfee0_0000), store(msix + 8, 0x43), store(msix + 12, 0))
    .put(store(apic(0x3e0), 0xb), store(apic(0x320), 0x2_0044), store(apic(0x380), 1009), sti)
    .label('loop')
    .put(count(9), 0xeb, to('loop', 1));
  const handlers: Record<number, readonly number[]> = {
    65: end,
    66: [...store(levelDevice, 0), ...end],
    67: end,
    68: end,
    35: endPic,
    44: [...out(0xa0, 0x20), ...endPic],
  };
  const vectors: Record<number, string> = {};
  for (const [n, [vector, ending]] of Object.entries(handlers).entries()) {
    code.label(`v${vector}`).put(handler(n, ending));
    vectors[Number(vector)] = `v${vector}`;
  }
  const guest = new Guest(engine, { code, vectors, random: { seed: 1 } });
  const { vm } = guest;
  const pic = picPairOn(vm.irq.attach('pic', 16));
  const ioApic = ioApicOn(vm.irq.attach('io-apic', ioApicPins));
  const device = new MsixDevice(vm, 64, others);
  const level = vm.irq.line(9);
  vm.io.attach({ space: 'port', address: 0x20, length: 2 }, pic.first);
  vm.io.attach({ space: 'port', address: 0xa0, length: 2 }, pic.second);
  vm.io.attach({ space: 'memory', address: 0xfec0_0000, length: 0x1000 }, ioApic);
  vm.io.attach({ space: 'memory', address: msix, length: 0x100 }, device);
  vm.io.attach(
    { space: 'memory', address: levelDevice, length: 4 },
    { name: 'level', read: () => 0, write: () => level.set(false) },
  );
  const counter = new EventCounter();
  vm.irq.event(counter, 4);
  vm.routes.replace(others);
  /** Something from outside. */
  const act = (below: Random) => {
    const what = below(6);
    if (what === 0) vm.irq.set(3, below(2) === 1);
    else if (what === 1) vm.irq.set(12, below(2) === 1);
    else if (what === 2) level.set(true);
    else if (what === 3) device.ring(0);
    else if (what === 4) counter.add(1 + below(5));
    else vm.msi(0xfee0_0000, 0x41 + below(3));
  };
  const run = (instructions: number) =>
    assert.equal(vm.vcpu(0).enter({ maxInstructions: instructions }).kind, 'budget');
  return { guest, vm, act, run };
}

testEngines('row 18: interrupts on their way go on in another VM as in the first', (engine) => {
  const first = busyGuest(engine);
  const below = randomNumbers(engine.length);
  first.run(200);
  for (let round = 0; round < 12; round++) {
    for (let i = 0; i < 20; i++) {
      first.act(below);
      first.run(1 + below(60));
    }
    const second = busyGuest(engine);
    second.vm.restore(first.vm.snapshot());
    assert.deepEqual(second.vm.irq.state, first.vm.irq.state);
    for (const machine of [first, second]) {
      const same = randomNumbers(1000 + round);
      for (let i = 0; i < 30; i++) {
        machine.run(1 + same(80));
        machine.act(same);
      }
      machine.run(3000);
    }
    assert.equal(hashOf(second.vm), hashOf(first.vm), `round ${round}`);
    assert.deepEqual(second.vm.irq.state, first.vm.irq.state);
  }
  for (let n = 0; n < 6; n++) assert.ok(first.guest.runs(n) > 10, `handler ${n} ran ${first.guest.runs(n)} times`);
});
