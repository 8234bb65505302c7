/** The local APIC alone: priorities, messages, timer, LVT, x2APIC, and messages between several. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../runtime/devices/clock.ts';
import { ApicBus } from '../../src/system/apic-bus.ts';
import { delivery } from '../../src/system/apic-map.ts';
import { LocalApic } from '../../src/system/local-apic.ts';

const reg = {
  id: 0x20,
  version: 0x30,
  tpr: 0x80,
  ppr: 0xa0,
  eoi: 0xb0,
  ldr: 0xd0,
  dfr: 0xe0,
  svr: 0xf0,
  isr: 0x100,
  tmr: 0x180,
  irr: 0x200,
  esr: 0x280,
  icr: 0x300,
  icrHigh: 0x310,
  timer: 0x320,
  lint0: 0x350,
  lint1: 0x360,
  error: 0x370,
  initial: 0x380,
  current: 0x390,
  divide: 0x3e0,
} as const;
const base = 0xfee0_0000n;

function machine(cpus = 1) {
  const clock = new VirtualClock();
  const bus = new ApicBus();
  const log: string[] = [];
  const ends: number[] = [];
  bus.onEndOfInterrupt.push((vector) => void ends.push(vector));
  for (let id = 0; id < cpus; id++) {
    const apic: LocalApic = new LocalApic({
      id,
      clock,
      sender: bus,
      acknowledgeExternal: () => 0x21,
      timeOfTsc: (tsc) => Number(tsc),
      listener: {
        interruptRequested: () => void log.push(`${id} intr`),
        nmi: () => void log.push(`${id} nmi`),
        smi: () => void log.push(`${id} smi`),
        init: () => void log.push(`${id} init`),
        startUp: (vector) => void log.push(`${id} sipi ${vector.toString(16)}`),
      },
    });
    bus.apics.push(apic);
    apic.write(reg.svr, 4, 0x1ff);
  }
  const taken = () => bus.apics.map((apic) => (apic.requesting ? apic.acknowledge() : -1));
  return { clock, bus, log, ends, apic: bus.apics[0]!, apics: bus.apics, taken };
}

test('the highest vector is taken first, and a lower one waits for the end of it', () => {
  const { apic } = machine();
  apic.accept(delivery.fixed, 0x45, false);
  apic.accept(delivery.fixed, 0x82, false);
  assert.equal(apic.acknowledge(), 0x82);
  assert.equal(apic.requesting, false);
  assert.equal(apic.read(reg.ppr, 4), 0x80);
  assert.equal(apic.read(reg.isr + 0x40, 4), 1 << 2);
  assert.equal(apic.read(reg.irr + 0x20, 4), 1 << 5);
  apic.write(reg.eoi, 4, 0);
  assert.equal(apic.acknowledge(), 0x45);
  apic.write(reg.eoi, 4, 0);
  assert.equal(apic.acknowledge(), -1);
});

test('the task priority holds back its class and those below; CR8 is its upper half', () => {
  const { apic, log } = machine();
  apic.taskPriority = 4;
  assert.equal(apic.read(reg.tpr, 4), 0x40);
  apic.accept(delivery.fixed, 0x4f, false);
  assert.equal(apic.requesting, false);
  apic.accept(delivery.fixed, 0x50, false);
  assert.equal(apic.acknowledge(), 0x50);
  apic.write(reg.eoi, 4, 0);
  apic.write(reg.tpr, 4, 0x37);
  assert.equal(apic.taskPriority, 3);
  assert.deepEqual(log, ['0 intr', '0 intr']);
  assert.equal(apic.acknowledge(), 0x4f);
});

test('a vector below 16 is an error, at either end', () => {
  const { apic } = machine();
  apic.write(reg.error, 4, 0xe0);
  apic.accept(delivery.fixed, 5, false);
  apic.write(reg.icr, 4, 0x4_000f);
  assert.equal(apic.read(reg.esr, 4), 0);
  apic.write(reg.esr, 4, 0);
  assert.equal(apic.read(reg.esr, 4), 0x60);
  assert.equal(apic.acknowledge(), 0xe0);
  apic.write(reg.esr, 4, 0);
  assert.equal(apic.read(reg.esr, 4), 0);
  apic.write(0x40, 4, 1);
  apic.write(reg.esr, 4, 0);
  assert.equal(apic.read(reg.esr, 4), 0x80);
});

test('the one-shot timer rings once, after count times divisor nanoseconds', () => {
  const { apic, clock } = machine();
  apic.write(reg.timer, 4, 0x30);
  apic.write(reg.divide, 4, 0b1011); // by 1
  apic.write(reg.initial, 4, 1000);
  clock.advanceTo(400);
  assert.equal(apic.read(reg.current, 4), 600);
  clock.advanceTo(999);
  assert.equal(apic.requesting, false);
  clock.advanceTo(1000);
  assert.equal(apic.acknowledge(), 0x30);
  assert.equal(apic.read(reg.current, 4), 0);
  apic.write(reg.eoi, 4, 0);
  clock.advanceTo(100_000);
  assert.equal(apic.requesting, false);
  for (const [code, divisor] of [2, 4, 8, 16, 32, 64, 128, 1].entries()) {
    apic.write(reg.divide, 4, (code & 3) | ((code & 4) << 1));
    apic.write(reg.initial, 4, 10);
    assert.equal(clock.nextDeadline() - clock.now(), 10 * divisor);
  }
});

test('the periodic timer rings again and again without drift; masked it only counts', () => {
  const { apic, clock } = machine();
  apic.write(reg.divide, 4, 0b1011);
  apic.write(reg.timer, 4, 0x2_0031);
  apic.write(reg.initial, 4, 100);
  for (let i = 1; i <= 5; i++) {
    clock.advanceTo(i * 100 - 1);
    assert.equal(apic.requesting, false, `before ring ${i}`);
    clock.advanceTo(i * 100);
    assert.equal(apic.acknowledge(), 0x31);
    apic.write(reg.eoi, 4, 0);
  }
  apic.write(reg.timer, 4, 0x3_0031);
  clock.advanceTo(1000);
  assert.equal(apic.requesting, false);
  assert.equal(apic.read(reg.current, 4), 100);
  apic.write(reg.initial, 4, 0);
  assert.equal(clock.nextDeadline(), Number.POSITIVE_INFINITY);
});

test('the TSC deadline rings once, at once if it has passed, and only in its mode', () => {
  const { apic, clock } = machine();
  apic.writeMsr(0x6e0, 500n);
  assert.equal(apic.readMsr(0x6e0), 0n);
  apic.write(reg.timer, 4, 0x4_0032);
  assert.equal(apic.writeMsr(0x6e0, 500n), true);
  assert.equal(apic.readMsr(0x6e0), 500n);
  clock.advanceTo(499);
  assert.equal(apic.requesting, false);
  clock.advanceTo(500);
  assert.equal(apic.acknowledge(), 0x32);
  assert.equal(apic.readMsr(0x6e0), 0n);
  apic.write(reg.eoi, 4, 0);
  apic.writeMsr(0x6e0, 10n);
  clock.advanceTo(500);
  assert.equal(apic.acknowledge(), 0x32);
  apic.write(reg.eoi, 4, 0);
  apic.writeMsr(0x6e0, 900n);
  apic.write(reg.timer, 4, 0x32); // another mode disarms it
  clock.advanceTo(1000);
  assert.equal(apic.requesting, false);
});

test('LINT0 as ExtINT passes the external controller; LINT1 as NMI is an edge', () => {
  const { apic, log } = machine();
  apic.setPin(0, true);
  assert.equal(apic.requesting, false, 'masked after reset');
  apic.write(reg.lint0, 4, 0x700);
  apic.taskPriority = 15;
  assert.equal(apic.requesting, true, 'no task priority holds it back');
  assert.equal(apic.acknowledge(), 0x21);
  apic.setPin(0, false);
  assert.equal(apic.requesting, false);
  apic.write(reg.lint1, 4, 0x400);
  apic.setPin(1, true);
  apic.setPin(1, true);
  apic.setPin(1, false);
  apic.setPin(1, true);
  assert.deepEqual(
    log.filter((line) => line.endsWith('nmi')),
    ['0 nmi', '0 nmi'],
  );
});

test('a level-triggered LINT0 comes again after its end while the line is up', () => {
  const { apic } = machine();
  apic.write(reg.lint0, 4, 0x8055);
  apic.setPin(0, true);
  assert.equal(apic.acknowledge(), 0x55);
  assert.equal(apic.read(reg.lint0, 4) & 0x4000, 0x4000);
  apic.write(reg.eoi, 4, 0);
  assert.equal(apic.acknowledge(), 0x55);
  apic.setPin(0, false);
  apic.write(reg.eoi, 4, 0);
  assert.equal(apic.requesting, false);
});

test('the end of a level-triggered interrupt is broadcast unless that is suppressed', () => {
  const { apic, ends } = machine();
  apic.accept(delivery.fixed, 0x61, true);
  assert.equal(apic.acknowledge(), 0x61);
  apic.write(reg.eoi, 4, 0);
  apic.accept(delivery.fixed, 0x62, false);
  apic.acknowledge();
  apic.write(reg.eoi, 4, 0);
  assert.deepEqual(ends, [0x61]);
  assert.equal(apic.read(reg.version, 4) & (1 << 24), 1 << 24);
  apic.write(reg.svr, 4, 0x11ff);
  apic.accept(delivery.fixed, 0x63, true);
  apic.acknowledge();
  apic.write(reg.eoi, 4, 0);
  assert.deepEqual(ends, [0x61]);
});

test('switched off by software it takes no interrupts and masks its vector table', () => {
  const { apic } = machine();
  apic.write(reg.timer, 4, 0x30);
  apic.write(reg.svr, 4, 0xff);
  assert.equal(apic.read(reg.timer, 4), 0x1_0030);
  apic.accept(delivery.fixed, 0x50, false);
  assert.equal(apic.requesting, false);
  apic.write(reg.timer, 4, 0x30);
  assert.equal(apic.read(reg.timer, 4), 0x1_0030, 'the mask cannot be lifted');
});

test('destinations: physical, flat and cluster logical, and the shorthands', () => {
  const { apics, apic, taken } = machine(3);
  const send = (destination: number, command: number) => {
    apic.write(reg.icrHigh, 4, (destination << 24) >>> 0);
    apic.write(reg.icr, 4, command);
    const vectors = taken();
    for (const target of apics) target.write(reg.eoi, 4, 0);
    return vectors;
  };
  assert.deepEqual(send(2, 0x4040), [-1, -1, 0x40]);
  assert.deepEqual(send(0xff, 0x4040), [0x40, 0x40, 0x40]);
  assert.deepEqual(send(0, 0x4_4040), [0x40, -1, -1], 'self');
  assert.deepEqual(send(0, 0x8_4040), [0x40, 0x40, 0x40], 'all');
  assert.deepEqual(send(0, 0xc_4040), [-1, 0x40, 0x40], 'all but self');
  for (const [i, target] of apics.entries()) target.write(reg.ldr, 4, 1 << (24 + i));
  assert.deepEqual(send(0b101, 0x4840), [0x40, -1, 0x40], 'flat');
  for (const [i, target] of apics.entries()) {
    target.write(reg.dfr, 4, 0x0fff_ffff);
    target.write(reg.ldr, 4, ((i === 2 ? 0x21 : 0x10 | (1 << i)) << 24) >>> 0);
  }
  assert.equal(apic.read(reg.dfr, 4), 0x0fff_ffff);
  assert.deepEqual(send(0x13, 0x4840), [0x40, 0x40, -1], 'cluster 1');
  assert.deepEqual(send(0x21, 0x4840), [-1, -1, 0x40], 'cluster 2');
});

test('delivery modes: NMI, SMI, INIT, start-up; an INIT taken back is nothing', () => {
  const { apic, log } = machine(2);
  log.length = 0;
  apic.write(reg.icrHigh, 4, 1 << 24);
  for (const command of [0x4400, 0x4200, 0xc500, 0x8500, 0x4699]) apic.write(reg.icr, 4, command);
  assert.deepEqual(log, ['1 nmi', '1 smi', '1 init', '1 sipi 99']);
});

test('lowest priority goes to one: the least busy, then the first', () => {
  const { apic, apics, taken } = machine(3);
  apics[0]!.taskPriority = 5;
  apic.write(reg.icr, 4, 0x8_4141);
  assert.deepEqual(taken(), [-1, 0x41, -1]);
  apic.write(reg.icr, 4, 0x8_4142);
  assert.deepEqual(taken(), [-1, -1, 0x42], 'the one before has an interrupt in service');
});

test('x2APIC: registers are MSRs, identifiers have 32 bits, and what does not exist is #GP', () => {
  const { apic, apics, taken } = machine(2);
  assert.equal(apic.readMsr(0x802), null, 'not in xAPIC mode');
  for (const target of apics) target.baseChanged(base | 0xc00n);
  assert.equal(apics[1]!.readMsr(0x802), 1n);
  assert.equal(apics[1]!.readMsr(0x80d), 0x2n);
  assert.equal(apic.claims(0xfee0_0000), false);
  assert.equal(apic.readMsr(0x80e), null, 'no DFR');
  assert.equal(apic.readMsr(0x831), null);
  assert.equal(apic.readMsr(0x83f), null, 'write-only');
  assert.equal(apic.writeMsr(0x80d, 1n), false, 'LDR is read-only');
  assert.equal(apic.writeMsr(0x80b, 1n), false);
  assert.equal(apic.writeMsr(0x808, 0x100n), false);
  assert.equal(apic.writeMsr(0x808, 1n << 32n), false);
  assert.equal(apic.writeMsr(0x830, 0x1_0000_4077n), true);
  assert.equal(apic.readMsr(0x830), 0x1_0000_4077n);
  assert.deepEqual(taken(), [-1, 0x77]);
  assert.equal(apic.writeMsr(0x83f, 0x88n), true, 'self IPI');
  assert.deepEqual(taken(), [0x88, -1]);
  assert.equal(apic.writeMsr(0x80b, 0n), true);
  assert.equal(apic.writeMsr(0x830, 0xffff_ffff_0000_4078n), true, 'broadcast');
  for (const target of apics) target.writeMsr(0x80b, 0n);
  assert.deepEqual(taken(), [0x78, 0x78]);
  for (const target of apics) target.writeMsr(0x80b, 0n);
  assert.equal(apic.writeMsr(0x830, 0x2_0000_4879n), true, 'logical: cluster 0, second');
  assert.deepEqual(taken(), [-1, 0x79]);
});

test('the page of registers moves with IA32_APIC_BASE, and goes when the APIC is disabled', () => {
  const { apic } = machine();
  assert.equal(apic.claims(0xfee0_0020), true);
  apic.baseChanged(0xd000_0000n | 0x900n);
  assert.equal(apic.claims(0xfee0_0020), false);
  assert.equal(apic.claims(0xd000_0020), true);
  apic.write(reg.tpr, 4, 0x20);
  apic.baseChanged(0xd000_0000n | 0x100n);
  assert.equal(apic.claims(0xd000_0020), false);
  apic.setPin(0, true);
  assert.equal(apic.requesting, true, 'LINT0 is then INTR');
  apic.setPin(0, false);
  apic.baseChanged(0xd000_0000n | 0x900n);
  assert.equal(apic.read(reg.tpr, 4), 0, 'disabling has reset it');
});

test('messages of devices name APICs by 8 bits, whatever mode these are in', () => {
  const { bus, apics, taken } = machine(2);
  const message = { mode: delivery.fixed, vector: 0x90, level: false };
  bus.message({ ...message, destination: 1, logical: false });
  assert.deepEqual(taken(), [-1, 0x90]);
  for (const target of apics) target.write(reg.eoi, 4, 0);
  for (const target of apics) target.baseChanged(base | 0xc00n);
  bus.message({ ...message, destination: 0xff, logical: false });
  assert.deepEqual(taken(), [0x90, 0x90]);
});
