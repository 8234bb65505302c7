import assert from 'node:assert/strict';
import { test } from 'node:test';
import { irqLine } from '../../runtime/devices/irq-line.ts';
import { Serial16550 } from '../../runtime/devices/serial-16550.ts';

const data = 0,
  ier = 1,
  iir = 2,
  fcr = 2,
  lcr = 3,
  mcr = 4,
  lsr = 5,
  msr = 6,
  scratch = 7;
const out2 = 0x08;
const loopback = 0x10;

function port() {
  const sent: number[] = [];
  const edges: boolean[] = [];
  let high = false;
  const line = irqLine((level) => {
    edges.push(level);
    high = level;
  });
  const serial = new Serial16550((byte) => sent.push(byte), line);
  return {
    serial,
    sent,
    edges,
    irq: () => high,
    in: (offset: number) => serial.read(offset, 1),
    out: (offset: number, value: number) => serial.write(offset, 1, value),
  };
}

test('what the guest writes to THR reaches the sink in order, and LSR says ready before and after', () => {
  const p = port();
  for (const byte of [0x48, 0x69]) {
    assert.equal(p.in(lsr), 0x60);
    p.out(data, byte);
  }
  assert.deepEqual(p.sent, [0x48, 0x69]);
  assert.equal(p.in(lsr), 0x60);
});

test('a 16-bit write to offset 0 is two byte writes', () => {
  const p = port();
  p.serial.write(data, 2, 0x0141);
  assert.deepEqual(p.sent, [0x41]);
  assert.equal(p.in(ier), 0x01);
  assert.equal(p.serial.read(ier, 2), 0x0101, 'IER and, above it, IIR with nothing pending');
});

test('with DLAB set, offsets 0 and 1 are the divisor and nothing is sent', () => {
  const p = port();
  p.out(lcr, 0x83);
  p.out(data, 0x34);
  p.out(ier, 0x12);
  assert.equal(p.in(data), 0x34);
  assert.equal(p.in(ier), 0x12);
  p.out(lcr, 0x03);
  assert.equal(p.in(ier), 0);
  assert.deepEqual(p.sent, []);
});

test('the scratch register keeps its byte and MCR its five bits', () => {
  const p = port();
  p.out(scratch, 0xa5);
  p.out(mcr, 0xff);
  assert.equal(p.in(scratch), 0xa5);
  assert.equal(p.in(mcr), 0x1f);
});

test('without the FIFO the guest sees one byte at a time and loses none', () => {
  const p = port();
  p.serial.receive([1, 2, 3]);
  const seen: number[] = [];
  while (p.in(lsr) & 1) seen.push(p.in(data));
  assert.deepEqual(seen, [1, 2, 3]);
  assert.equal(p.in(iir), 0x01);
});

test('IIR shows the FIFO, and turning it on or off empties the receiver', () => {
  const p = port();
  p.serial.receive([7]);
  p.out(fcr, 0x01);
  assert.equal(p.in(iir), 0xc1);
  assert.equal(p.in(lsr) & 1, 0);
  p.out(fcr, 0x00);
  assert.equal(p.in(iir), 0x01);
});

test('fewer bytes than the trigger level report a character timeout, enough report data', () => {
  const p = port();
  p.out(fcr, 0x81); // trigger at 8
  p.out(ier, 0x01);
  p.out(mcr, out2);
  p.serial.receive([1, 2, 3]);
  assert.equal(p.in(iir), 0xcc);
  p.serial.receive([4, 5, 6, 7, 8]);
  assert.equal(p.in(iir), 0xc4);
  p.in(data);
  assert.equal(p.in(iir), 0xcc);
  for (let left = 7; left > 0; left--) p.in(data);
  assert.equal(p.in(iir), 0xc1);
  assert.equal(p.irq(), false);
});

test('the transmitter-empty interrupt comes when it is enabled and after each byte, and reading IIR ends it', () => {
  const p = port();
  p.out(mcr, out2);
  p.out(ier, 0x02);
  assert.equal(p.irq(), true);
  assert.equal(p.in(iir), 0x02);
  assert.equal(p.irq(), false);
  assert.equal(p.in(iir), 0x01);
  p.out(data, 0x41);
  p.out(data, 0x42);
  assert.deepEqual(p.edges, [true, false, true, false, true], 'a new edge for each byte');
});

test('the interrupt line stays low until OUT2 opens its gate', () => {
  const p = port();
  p.out(ier, 0x01);
  p.serial.receive([1]);
  assert.equal(p.irq(), false);
  p.out(mcr, out2);
  assert.equal(p.irq(), true);
  p.in(data);
  assert.equal(p.irq(), false);
});

test('loopback returns bytes to the receiver, not to the sink', () => {
  const p = port();
  p.out(mcr, loopback);
  p.out(data, 0xae);
  assert.equal(p.in(lsr) & 1, 1);
  assert.equal(p.in(data), 0xae);
  assert.deepEqual(p.sent, []);
});

test('loopback overruns: the register is overwritten, the FIFO keeps sixteen, LSR says so once', () => {
  const p = port();
  p.out(mcr, loopback);
  p.out(data, 1);
  p.out(data, 2);
  assert.equal(p.in(lsr), 0x63);
  assert.equal(p.in(lsr), 0x61);
  assert.equal(p.in(data), 2);
  p.out(fcr, 0x01);
  p.out(ier, 0x04);
  for (let byte = 0; byte < 17; byte++) p.out(data, byte);
  assert.equal(p.in(iir), 0xc6);
  assert.equal(p.in(lsr), 0x63);
  const seen: number[] = [];
  while (p.in(lsr) & 1) seen.push(p.in(data));
  assert.deepEqual(seen, [...Array(16).keys()]);
});

test('a break sent in loopback arrives as a zero with the break bit', () => {
  const p = port();
  p.out(mcr, loopback);
  p.out(lcr, 0x43);
  assert.equal(p.in(lsr), 0x71);
  assert.equal(p.in(data), 0);
});

test('bytes from the host wait while loopback cuts the receiver off', () => {
  const p = port();
  p.out(mcr, loopback);
  p.serial.receive([0x55]);
  assert.equal(p.in(lsr) & 1, 0);
  p.out(mcr, 0);
  assert.equal(p.in(data), 0x55);
});

test('in loopback MSR shows MCR, and its delta bits interrupt and clear when read', () => {
  const p = port();
  assert.equal(p.in(msr), 0xb0);
  p.out(mcr, loopback);
  assert.equal(p.in(msr), 0x0b, 'CTS, DSR and DCD fell');
  p.out(ier, 0x08);
  p.out(mcr, loopback | 0x04); // OUT1, which is RI here
  assert.equal(p.in(msr), 0x40, 'RI rising is no event');
  p.out(mcr, loopback);
  assert.equal(p.in(iir), 0x00);
  assert.equal(p.irq(), true);
  assert.equal(p.in(msr), 0x04, 'RI falling is one');
  assert.equal(p.irq(), false);
  for (const [bit, level] of [
    [0x01, 0x22],
    [0x02, 0x11],
    [0x08, 0x88],
  ] as const) {
    p.out(mcr, loopback | bit);
    assert.equal(p.in(msr), level);
    p.out(mcr, loopback);
    p.in(msr);
  }
});

test('line status has priority over data, data over the transmitter', () => {
  const p = port();
  p.out(mcr, loopback);
  p.out(ier, 0x0f);
  p.out(data, 1);
  p.out(data, 2);
  assert.equal(p.in(iir), 0x06);
  p.in(lsr);
  assert.equal(p.in(iir), 0x04);
  p.in(data);
  assert.equal(p.in(iir), 0x02);
  assert.equal(p.in(iir), 0x00, 'the modem lines fell when loopback began');
});

test('a copy of the state in another port goes on where the first stood', () => {
  const p = port();
  p.out(fcr, 0xc1);
  p.out(lcr, 0x1b);
  p.serial.receive([...Array(20).keys()]);
  p.in(data);
  const q = port();
  q.serial.state = structuredClone(p.serial.state);
  const seen: number[] = [];
  while (q.in(lsr) & 1) seen.push(q.in(data));
  assert.deepEqual(
    seen,
    [...Array(19).keys()].map((byte) => byte + 1),
  );
  assert.equal(q.in(lcr), 0x1b);
  assert.equal(p.in(data), 1, 'the first port is untouched');
});
