import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IoApic, type IoApicMessage } from '../../runtime/devices/io-apic.ts';

function controller() {
  const sent: IoApicMessage[] = [];
  const apic = new IoApic((message) => void sent.push(message));
  const read = (index: number) => {
    apic.write(0, 4, index);
    return apic.read(0x10, 4);
  };
  const write = (index: number, value: number) => {
    apic.write(0, 4, index);
    apic.write(0x10, 4, value);
  };
  return { apic, sent, read, write, vectors: () => sent.map(({ vector }) => vector) };
}

test('version 20H with 24 masked entries', () => {
  const { read } = controller();
  assert.equal(read(1), 0x0017_0020);
  assert.equal(read(0x10), 0x1_0000);
  assert.equal(read(0x3e), 0x1_0000);
  assert.equal(read(0x40), 0);
});

test('an edge is sent once, with what the entry says', () => {
  const { apic, sent, write, read } = controller();
  write(0x15, 0x0300_0000);
  write(0x14, 0x0000_0931);
  assert.equal(read(0x15), 0x0300_0000);
  apic.set(2, true);
  apic.set(2, true);
  assert.deepEqual(sent, [{ destination: 3, logical: true, mode: 1, vector: 0x31, level: false }]);
  apic.set(2, false);
  apic.set(2, true);
  assert.equal(sent.length, 2);
});

test('a level is sent again after the end of the interrupt while the line is up', () => {
  const { apic, write, read, vectors } = controller();
  write(0x22, 0x8045);
  apic.set(9, true);
  assert.equal(read(0x22), 0xc045, 'remote IRR');
  apic.set(9, false);
  apic.set(9, true);
  assert.deepEqual(vectors(), [0x45]);
  apic.endOfInterrupt(0x46);
  assert.deepEqual(vectors(), [0x45]);
  apic.endOfInterrupt(0x45);
  assert.deepEqual(vectors(), [0x45, 0x45]);
  apic.set(9, false);
  apic.write(0x40, 4, 0x45); // the EOI register
  assert.equal(read(0x22), 0x8045);
  assert.deepEqual(vectors(), [0x45, 0x45]);
});

test('a masked entry sends nothing; unmasked, a level that is up is sent and an edge is lost', () => {
  const { apic, write, vectors } = controller();
  write(0x22, 0x1_8045);
  write(0x24, 0x1_0046);
  apic.set(9, true);
  apic.set(10, true);
  assert.deepEqual(vectors(), []);
  write(0x22, 0x8045);
  write(0x24, 0x46);
  assert.deepEqual(vectors(), [0x45]);
});

test('a pulse is one edge, and says what became of it', () => {
  const { apic, write, vectors } = controller();
  assert.equal(apic.pulse(2), 'ignored', 'masked');
  write(0x14, 0x31);
  assert.equal(apic.pulse(2), 'sent');
  apic.set(2, true);
  assert.equal(apic.pulse(2), 'merged', 'the input is up');
  apic.set(2, false);
  assert.equal(apic.pulse(2), 'sent');
  assert.deepEqual(vectors(), [0x31, 0x31, 0x31]);
  write(0x22, 0x8045);
  assert.equal(apic.pulse(9), 'sent');
  assert.equal(apic.pulse(9), 'merged', 'the last one has not ended');
  apic.endOfInterrupt(0x45);
  assert.equal(apic.pulse(9), 'sent');
  assert.equal(apic.state.pins, 0);
});

test('the end of a level is told before its input is looked at again', () => {
  const sent: number[] = [];
  const ended: number[] = [];
  const apic: IoApic = new IoApic(
    ({ vector }) => void sent.push(vector),
    (pin) => {
      ended.push(pin);
      apic.set(pin, false);
    },
  );
  apic.write(0, 4, 0x22);
  apic.write(0x10, 4, 0x8045);
  apic.set(9, true);
  apic.endOfInterrupt(0x45);
  apic.endOfInterrupt(0x45);
  assert.deepEqual([sent, ended], [[0x45], [9]]);
});
