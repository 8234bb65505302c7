/** INT and IRET of virtual-8086 programs with CR4.VME: the redirection bitmap. SDM volume 3, section 21.3.3. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gate } from '../engines/system-code.ts';
import { at, attempt, type Machine, protectedMode, run, sel, stackItems, writeGate } from './machine.ts';

const VM = 0x20000;
const VIF = 0x80000;
const VIP = 0x100000;

/** A virtual-8086 program at 1000:0100 with its stack at 2000:0800; the bitmap gives it vector 21H and not 22H. */
function program(flags: number): Machine {
  const m = protectedMode(3);
  for (const [name, selector] of [
    ['cs', 0x1000],
    ['ss', 0x2000],
    ['ds', 0x2000],
  ] as const) {
    m.state.set32(`${name}Selector`, selector);
    m.state.set64(`${name}Base`, BigInt(selector * 16));
    m.state.set32(`${name}Limit`, 0xffff);
    m.state.set32(`${name}Access`, 0x100f3);
  }
  m.state.set64('cr4', 1n);
  m.state.set64('rip', 0x100n);
  m.state.set64('rsp', 0x800n);
  m.p.setRflags(flags | VM | 2);
  m.cpu.stateReplaced();
  m.memory.write16(at.tss + 102, 0x68 + 32);
  for (let i = 0; i < 32; i++) m.memory.write8(at.tss + 0x68 + i, 0);
  m.memory.write8(at.tss + 0x68 + (0x22 >> 3), 1 << (0x22 & 7));
  m.memory.write32(0x21 * 4, 0x3000_0444);
  writeGate(m, 0x22, gate(sel.code0, 0x5555, 0xee));
  return m;
}

test('a vector whose bit is clear goes through the program’s own table, with VIF for IF', () => {
  const m = program(VIF | 0x141);
  run(m, 'int', 0x21);
  assert.equal(m.state.get32('csSelector'), 0x3000);
  assert.equal(m.p.rip, 0x444);
  assert.equal(m.p.cpl, 3);
  assert.deepEqual(stackItems(m, 2, 3, 0x207fa), ['102', '1000', '3343']);
  assert.equal(m.p.rflags & (VIF | VM | 0x100), VM);
  run(m, 'iret', 2);
  assert.equal(m.p.rip, 0x444, 'IRET may not set TF');
});

test('IRET of 16 bits sets VIF from the popped IF, unless an interrupt is pending', () => {
  const back = (flags: number): Machine => {
    const m = program(flags);
    run(m, 'int', 0x21);
    return m;
  };
  const m = back(VIF);
  assert.equal(attempt(m, 'iret', 2), 'done');
  assert.equal(m.p.rip, 0x102);
  assert.equal(m.p.rflags & (VIF | 0x3200), VIF);
  const pending = back(VIF);
  pending.p.setRflags(pending.p.rflags | VIP);
  assert.equal(attempt(pending, 'iret', 2), '#13(0)');
  assert.equal(attempt(back(VIF), 'iret', 4), '#13(0)');
});

test('a vector whose bit is set is the monitor’s: #GP, or with IOPL 3 its gate', () => {
  assert.equal(attempt(program(0), 'int', 0x22), '#13(0)');
  const m = program(0x3000);
  run(m, 'int', 0x22);
  assert.equal(m.p.rip, 0x5555);
  assert.equal(m.p.cpl, 0);
  const trusted = program(0x3200);
  run(trusted, 'int', 0x21);
  assert.equal(trusted.p.rip, 0x444);
  assert.equal(trusted.p.rflags & 0x200, 0, 'IF itself is cleared');
});

test('without CR4.VME there is no bitmap', () => {
  const m = program(0);
  m.state.set64('cr4', 0n);
  assert.equal(attempt(m, 'int', 0x21), '#13(0)');
});
