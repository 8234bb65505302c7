/** Row 11: messages taken apart, the routing table and what it refuses, and a guest that re-routes in a storm. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ioApicPins } from '../../runtime/devices/io-apic.ts';
import { InterruptError } from '../../runtime/errors.ts';
import { ioApicOn } from '../../runtime/interrupts/controllers.ts';
import { decodeMsi } from '../../runtime/interrupts/msi.ts';
import type { Route } from '../../runtime/interrupts/routes.ts';
import { randomNumbers } from '../../runtime/lockstep/random-numbers.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { store } from '../engines/system-code.ts';
import { engines, Guest, handler, hlt, loadIdt, registers, sti } from './interrupts-harness.ts';
import { MsixDevice } from './msix-device.ts';
import { hashOf } from './vm-harness.ts';

const apic = (register: number) => 0xfee0_0000 + register;
const end = store(apic(0xb0), 0);

test('row 11: a message: destination, logical, hint, mode, trigger', () => {
  const plain = { destination: 3, wide: false, logical: false, mode: 0, vector: 0x41, level: false, anyOne: false };
  assert.deepEqual(decodeMsi(0xfee0_3000, 0x41), plain);
  assert.deepEqual(decodeMsi(0xfee0_3000n, 0x41), plain);
  assert.deepEqual(decodeMsi(0xfeef_f00c, 0x0141), {
    ...plain,
    destination: 255,
    logical: true,
    mode: 1,
    anyOne: true,
  });
  assert.deepEqual(decodeMsi(0xfee0_3000, 0xc041), { ...plain, level: true });
  assert.equal(decodeMsi(0xfee0_3000, 0x8041), null, 'de-asserted');
  assert.deepEqual(decodeMsi(0xfee0_3000, 0x4041), plain, 'an edge has no level');
  // x2APIC ids: in the upper half, or 15 bits in bits 11-5
  assert.deepEqual(decodeMsi(0x1234_5600_fee7_8000n, 0x41), { ...plain, destination: 0x1234_5678, wide: true });
  assert.deepEqual(decodeMsi(0x0000_0100_fee7_8000, 0x41), { ...plain, destination: 0x178, wide: true });
  assert.deepEqual(decodeMsi(0xfee0_1fe0, 0x41), { ...plain, destination: 0x7f01, wide: true });
});

test('row 11: what is no message is refused, with the value', () => {
  for (const [address, data, text] of [
    [0xfed0_0000, 0x41, /0xfed00000/],
    [0, 0x41, /0x0/],
    [-1, 0x41, /-1/],
    [1.5, 0x41, /1\.5/],
    [Number.NaN, 0x41, /NaN/],
    [2n ** 64n, 0x41, /18446744073709551616/],
    [-1n, 0x41, /-1/],
    ['0xfee00000', 0x41, /0xfee00000/],
    [0x1_fee0_0000, 0x41, /0x1fee00000/],
    [0x100_fee0_0fe0, 0x41, /0x100fee00fe0/],
    [0xfee0_0000, -1, /-1/],
    [0xfee0_0000, 2 ** 32, /4294967296/],
    [0xfee0_0000, 0.5, /0\.5/],
    [0xfee0_0000, undefined, /undefined/],
    [0xfee0_0000, 0x0341, /mode 3, vector 65/],
    [0xfee0_0000, 0x0641, /mode 6/],
  ] as [number, number, RegExp][])
    assert.throws(
      () => decodeMsi(address, data),
      (error) => error instanceof InterruptError && error.code === 'bad-msi' && text.test(error.message),
      `${address} ${data}`,
    );
});

/** Counts by vector, 50H on; enabled and asleep. */
const listener = () => {
  const code = new Assembler(0x1000n)
    .put(loadIdt, store(apic(0xf0), 0x1ff), sti)
    .label('sleep')
    .put(hlt, 0xeb, to('sleep', 1));
  for (let n = 0; n < 8; n++) code.label(`v${n}`).put(handler(n, end));
  return { code, vectors: Object.fromEntries(Array.from({ length: 8 }, (_, n) => [0x50 + n, `v${n}`])) };
};
const message = (gsi: number, n: number): Route => ({ gsi, address: 0xfee0_0000, data: 0x50 + n });

test('row 11: a table with an error in it changes nothing', async () => {
  const guest = new Guest('interpreter', listener());
  const { vm } = guest;
  ioApicOn(vm.irq.attach('io-apic', ioApicPins));
  const routes = [message(5, 0), { gsi: 6, controller: 'io-apic', pin: 3 }];
  vm.routes.replace(routes);
  await guest.run(1000);
  const before = hashOf(vm);
  const state = JSON.stringify(vm.irq.state);
  const good = message(7, 1);
  for (const [bad, code, text] of [
    [{ gsi: -1, address: 0xfee0_0000, data: 1 }, 'bad-gsi', /-1/],
    [{ gsi: 4096, controller: 'io-apic', pin: 1 }, 'bad-gsi', /4096/],
    [{ gsi: 1.5, controller: 'io-apic', pin: 1 }, 'bad-gsi', /1\.5/],
    [{ gsi: '5', controller: 'io-apic', pin: 1 }, 'bad-gsi', /5/],
    [{ gsi: 9, controller: 'io-apic', pin: 24 }, 'bad-route', /GSI 9: io-apic has inputs 0-23, not 24/],
    [{ gsi: 9, controller: 'io-apic' }, 'bad-route', /undefined/],
    [{ gsi: 9, controller: 'pic', pin: 1 }, 'bad-route', /GSI 9: no controller "pic"/],
    [{ gsi: 9 }, 'bad-route', /GSI 9/],
    [{ gsi: 9, controller: 'io-apic', pin: 1, address: 0xfee0_0000, data: 1 }, 'bad-route', /GSI 9: either/],
    [{ gsi: 9, address: 0x1000, data: 0x41 }, 'bad-msi', /GSI 9: MSI address 0x1000/],
    [{ gsi: 9, address: 0xfee0_0000 }, 'bad-msi', /GSI 9: MSI data undefined/],
    [good, 'bad-route', /GSI 7 to 0xfee00000, 0x51: the same route twice/],
    [null, 'bad-route', /null/],
    [5, 'bad-route', /5/],
  ] as [Route, string, RegExp][]) {
    assert.throws(
      () => vm.routes.replace([good, bad]),
      (error) => error instanceof InterruptError && error.code === code && text.test(error.message),
      JSON.stringify(bad),
    );
  }
  assert.throws(() => vm.routes.replace({} as Route[]), { code: 'bad-route' });
  for (const gsi of [-1, 4096, 0.5, '1' as never]) {
    assert.throws(() => vm.irq.set(gsi, true), { code: 'bad-gsi' });
    assert.throws(() => vm.irq.line(gsi), { code: 'bad-gsi' });
  }
  assert.throws(() => vm.irq.set(5, 1 as never), /GSI 5/);
  assert.throws(() => vm.msi(0xfee0_0000, 0x0341), { code: 'bad-msi' });
  assert.deepEqual(vm.routes.list(), routes);
  assert.equal(JSON.stringify(vm.irq.state), state);
  assert.equal(hashOf(vm), before);
  vm.irq.set(5, true);
  await guest.run(1000);
  assert.equal(guest.runs(0), 1, 'the VM goes on');
});

test('row 11: messages find their processors; the lowest priority takes what one of them is to take', () => {
  const code = new Assembler(0x1000n).put(hlt);
  const { vm } = new Guest('interpreter', { code, vectors: {}, cpus: 3 });
  const apics = vm.vcpus.map(({ apic }) => apic!);
  const [a, b, c] = apics;
  for (const [i, apic] of apics.entries()) {
    apic.write(0xf0, 4, 0x1ff);
    apic.write(0xd0, 4, 0x0100_0000 << i); // logical id, flat
  }
  const waiting = () =>
    apics.map((apic) => {
      const vectors: number[] = [];
      for (; apic.requesting; apic.write(0xb0, 4, 0)) vectors.push(apic.acknowledge());
      return vectors;
    });
  assert.equal(vm.msi(0xfee0_1000, 0x41), 'sent');
  assert.equal(vm.msi(0xfee0_1000, 0x41), 'merged');
  assert.deepEqual(waiting(), [[], [0x41], []]);
  assert.equal(vm.msi(0xfee0_9000, 0x41), 'ignored', 'no such processor');
  vm.msi(0xfeef_f000, 0x42);
  assert.deepEqual(waiting(), [[0x42], [0x42], [0x42]]);
  vm.msi(0xfee0_5004, 0x43);
  assert.deepEqual(waiting(), [[0x43], [], [0x43]], 'a logical set');
  a!.write(0x80, 4, 0x30);
  vm.msi(0xfee0_500c, 0x44);
  assert.deepEqual(waiting(), [[], [], [0x44]], 'the hint: the one of lowest priority');
  vm.msi(0xfee0_7004, 0x0145);
  assert.deepEqual(waiting(), [[], [0x45], []], 'lowest priority');
  vm.msi(0xfee0_2000, 0xc046);
  assert.notEqual(c!.read(0x180 + 0x20, 4) & (1 << 6), 0, 'level-triggered');
  b!.baseChanged(0xfee0_0c00n); // x2APIC
  b!.writeMsr(0x80f, 0x1ffn);
  vm.msi(0x100_fee0_1000n, 0x47);
  assert.deepEqual(waiting(), [[], [], [0x46]], 'APIC 257 is not here');
  vm.msi(0xfee0_1000, 0x47);
  assert.deepEqual(waiting(), [[], [0x47], []]);
});

test('row 11: a GSI that is up keeps its interrupt over a replacement, and loses none while it has no route', async () => {
  const guest = new Guest('interpreter', listener());
  const { vm } = guest;
  const ioApic = ioApicOn(vm.irq.attach('io-apic', ioApicPins));
  const program = (pin: number, low: number) => {
    ioApic.write(0, 4, 0x10 + pin * 2);
    ioApic.write(0x10, 4, low);
  };
  program(3, 0x8050);
  program(4, 0x8051);
  await guest.run(1000);
  const device = vm.irq.line(20);
  device.set(true); // no route yet
  vm.routes.replace([{ gsi: 20, controller: 'io-apic', pin: 3 }]);
  await guest.run(200);
  assert.ok(guest.runs(0) > 1, 'the level is there');
  vm.routes.replace([{ gsi: 20, controller: 'io-apic', pin: 4 }]);
  await guest.run(200);
  const runs = guest.runs(0);
  await guest.run(200);
  assert.equal(guest.runs(0), runs, 'not at its old input');
  assert.ok(guest.runs(1) > 1, 'at its new one');
  vm.irq.set(20, true);
  device.set(false);
  const shared = guest.runs(1);
  await guest.run(200);
  assert.ok(guest.runs(1) > shared, 'another wire holds it');
  vm.irq.set(20, false);
  assert.equal(await guest.run(1000), 'halt');
  device.set(true); // up before it is routed: the message comes with the route, once
  vm.routes.replace([]);
  vm.routes.replace([message(20, 2), message(20, 3)]);
  vm.routes.replace([message(20, 3), message(20, 2)]);
  vm.routes.replace([message(20, 3), message(20, 2), message(9, 4)]);
  assert.equal(await guest.run(1000), 'halt');
  assert.deepEqual([guest.runs(2), guest.runs(3), guest.runs(4)], [1, 1, 0]);
});

test('row 11: whatever rises, falls and is re-routed, an input is up exactly while a GSI that leads to it is', () => {
  const { vm } = new Guest('interpreter', { code: new Assembler(0x1000n).put(hlt), vectors: {} });
  const ioApic = ioApicOn(vm.irq.attach('io-apic', ioApicPins));
  const second = ioApicOn(vm.irq.attach('io-apic 2', ioApicPins));
  const below = randomNumbers(11);
  const wires = Array.from({ length: 40 }, (_, i) => ({ gsi: i % 16, line: vm.irq.line(i % 16), high: false }));
  let routes: Route[] = [];
  let refused = 0;
  for (let step = 0; step < 3000; step++) {
    if (below(4) === 0) {
      const wanted = Array.from({ length: below(20) }, (): Route => {
        const gsi = below(16);
        const pin = below(below(50) === 0 ? 30 : 24);
        return below(5) === 0 ? message(gsi, below(8)) : { gsi, controller: below(2) ? 'io-apic' : 'io-apic 2', pin };
      });
      try {
        vm.routes.replace(wanted);
        routes = wanted;
      } catch (error) {
        assert.ok(error instanceof InterruptError && error.code === 'bad-route');
        refused++;
      }
    } else {
      const wire = wires[below(wires.length)]!;
      wire.high = below(2) === 1;
      wire.line.set(wire.high);
    }
    for (const [name, device] of [
      ['io-apic', ioApic],
      ['io-apic 2', second],
    ] as const) {
      let expected = 0;
      for (const route of routes)
        if ('controller' in route && route.controller === name && wires.some((w) => w.high && w.gsi === route.gsi))
          expected |= 1 << route.pin;
      assert.equal(device.state.pins, expected, `step ${step}`);
    }
  }
  assert.ok(refused > 20, 'some tables were refused');
});

/**
 * Rings the doorbell of vector 0 again and again and in between moves the vector to another interrupt, masks and unmasks
 * it; the handlers count.
 */
const storm = (rings: number) => {
  const device = 0xfeb0_0000;
  const code = new Assembler(0x1000n)
    .put(loadIdt, store(apic(0xf0), 0x1ff))
    .put(store(device, 0xfee0_0000), store(device + 8, 0x50), store(device + 12, 0), sti)
    .put(0xbe, dword(0)) // mov esi, 0
    .label('loop')
    .put(store(device + 0x84, 0)) // ring
    .put(0x89, 0xf0, 0x83, 0xe0, 7, 0x83, 0xc0, 0x50, 0xa3, dword(device + 8)) // data = 50H + esi % 8
    .put(store(device + 0x84, 0))
    .put(store(device + 12, 1)) // mask
    .put(store(device + 0x84, 0))
    .put(store(device + 8, 0x57), store(device + 12, 0)) // elsewhere, unmask
    .put(0x46, 0x81, 0xfe, dword(rings), 0x75, to('loop', 1)) // inc esi; cmp esi, rings; jne
    .label('sleep')
    .put(hlt, 0xeb, to('sleep', 1));
  for (let n = 0; n < 8; n++) code.label(`v${n}`).put(handler(n, end));
  return { code, vectors: Object.fromEntries(Array.from({ length: 8 }, (_, n) => [0x50 + n, `v${n}`])) };
};

const ends: string[] = [];
for (const engine of engines)
  test(`row 11: MSI-X: a guest re-routes 4,000 times in a storm of interrupts and gets each of them (${engine})`, async () => {
    const rings = 1000;
    const guest = new Guest(engine, storm(rings));
    const { vm } = guest;
    const device = new MsixDevice(vm, 64);
    guest.devices.push(registers('mmio', 0xfeb0_0000, 0x100, device));
    assert.equal(await guest.run(10_000_000), 'halt');
    const runs = Array.from({ length: 8 }, (_, n) => guest.runs(n));
    assert.equal(
      runs.reduce((sum, n) => sum + n, 0),
      rings * 3,
      runs.join(' '),
    );
    assert.ok(runs.every((n) => n > 100));
    assert.ok(device.replacements >= 4 * rings);
    ends.push(hashOf(vm));
    assert.equal(ends.at(-1), ends[0], 'registers and RAM as in the other engine');
  });
