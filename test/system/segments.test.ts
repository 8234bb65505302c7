/** Loading segment registers: every mode, every fault, and the ranges that the engines check. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CS, DS, ES, FS, SS } from '../../src/system/segment-register.ts';
import { descriptor } from '../engines/system-code.ts';
import { at, attempt, DB, longMode, type Machine, machine, protectedMode, sel, writeEntry } from './machine.ts';

const move = (m: Machine, index: number, selector: number) => attempt(m, 'mov-to-segment', index, selector);
const ranges = (m: Machine, name: string) =>
  ['ReadLow', 'ReadHigh', 'WriteLow', 'WriteHigh'].map((r) => m.state.get32(name + r).toString(16)).join(' ');
const hex = (m: Machine, field: string) => m.state.get32(field).toString(16);

test('real mode: the base follows the selector, limit and rights stay (unreal mode survives)', () => {
  const m = machine();
  assert.equal(move(m, DS, 0x1234), 'done');
  assert.equal(m.state.get64('dsBase'), 0x12340n);
  assert.equal(ranges(m, 'ds'), '0 ffff 0 ffff');
  m.state.set32('dsLimit', 0xffff_ffff);
  move(m, DS, 0x2000);
  assert.equal(hex(m, 'dsLimit'), 'ffffffff');
  assert.equal(ranges(m, 'ds'), '0 ffffffff 0 ffffffff');
  assert.equal(m.p.rip, 0xfff4);
});

test('virtual-8086 mode: 64 KiB, DPL 3', () => {
  const m = protectedMode(3);
  m.p.setRflags(0x2_0002);
  assert.equal(move(m, ES, 0xb800), 'done');
  assert.equal(m.state.get64('esBase'), 0xb8000n);
  assert.equal(hex(m, 'esLimit'), 'ffff');
  assert.equal(hex(m, 'esAccess'), '100f3');
});

test('a data segment is loaded with its base, limit, rights and ranges, and its accessed flag is set', () => {
  const m = protectedMode();
  assert.equal(move(m, FS, sel.small), 'done');
  assert.equal(m.state.get64('fsBase'), 0x4000n);
  assert.equal(hex(m, 'fsLimit'), 'ff');
  assert.equal(hex(m, 'fsAccess'), '14093');
  assert.equal(ranges(m, 'fs'), '0 ff 0 ff');
  assert.equal(m.memory.read8(at.gdt + sel.small + 5), 0x93);
});

test('expand-down segments hold what lies above the limit', () => {
  const m = protectedMode();
  move(m, DS, sel.down);
  assert.equal(ranges(m, 'ds'), '1000 ffffffff 1000 ffffffff');
  writeEntry(m, at.gdt, sel.down, descriptor(0, 0xfff, 0x96, 0));
  move(m, DS, sel.down);
  assert.equal(ranges(m, 'ds'), '1000 ffff 1000 ffff');
});

test('read-only data cannot be written, readable code can be read, null can do neither', () => {
  const m = protectedMode();
  move(m, DS, sel.readOnly);
  assert.equal(ranges(m, 'ds'), '0 ffffffff 1 0');
  move(m, DS, sel.code0);
  assert.equal(ranges(m, 'ds'), '0 ffffffff 1 0');
  assert.equal(move(m, DS, 3), 'done');
  assert.equal(ranges(m, 'ds'), '1 0 1 0');
  assert.equal(hex(m, 'dsSelector'), '3');
  assert.equal(hex(m, 'dsAccess'), '0');
});

test('data segments: #GP for a bad table, type or privilege, #NP for an absent one', () => {
  const cases: [cpl: 0 | 3, selector: number, expected: string][] = [
    [0, 0x100, '#13(100)'], // beyond the GDT
    [0, 0x84, '#13(84)'], // beyond the LDT
    [0, sel.executeOnly, '#13(30)'],
    [0, sel.tss, '#13(48)'],
    [0, sel.taskGate, '#13(a0)'],
    [0, sel.data0 | 3, '#13(10)'], // RPL above DPL
    [0, sel.data3, 'done'],
    [3, sel.data0, '#13(10)'],
    [3, sel.code0, '#13(8)'],
    [3, sel.code3, 'done'],
    [3, sel.conforming, 'done'], // conforming code may be read from anywhere
    [3, sel.data3 & ~3, 'done'],
  ];
  for (const [cpl, selector, expected] of cases)
    assert.equal(move(protectedMode(cpl), DS, selector), expected, `CPL ${cpl} selector ${selector.toString(16)}`);
  const m = protectedMode();
  writeEntry(m, at.gdt, sel.absent, descriptor(0, 0xfffff, 0x12, 0xc));
  assert.equal(move(m, DS, sel.absent), '#11(40)');
});

test('SS: null, privilege, type and presence, each with its fault', () => {
  const cases: [cpl: 0 | 3, selector: number, expected: string][] = [
    [0, 0, '#13(0)'],
    [0, sel.data0, 'done'],
    [0, sel.data0 | 1, '#13(10)'], // RPL
    [0, sel.data3, '#13(20)'], // DPL and RPL
    [0, sel.data3 & ~3, '#13(20)'],
    [0, sel.readOnly, '#13(38)'],
    [0, sel.code0, '#13(8)'],
    [0, 0x100, '#13(100)'],
    [0, sel.absent, '#12(40)'],
    [3, sel.data3, 'done'],
    [3, sel.data0, '#13(10)'],
  ];
  for (const [cpl, selector, expected] of cases)
    assert.equal(move(protectedMode(cpl), SS, selector), expected, `CPL ${cpl} selector ${selector.toString(16)}`);
});

test('MOV SS and POP SS hold interrupts off, LSS does not', () => {
  const m = protectedMode();
  move(m, SS, sel.data0);
  assert.equal(m.p.interruptShadow, 2);
  m.p.interruptShadow = 0;
  m.memory.write32(0x8000, sel.data0);
  assert.equal(attempt(m, 'pop-segment', SS, 4), 'done');
  assert.equal(m.p.interruptShadow, 2);
  assert.equal(m.p.rsp, 0x8004);
  m.p.interruptShadow = 0;
  assert.equal(attempt(m, 'load-far-pointer', SS, sel.stack16, 4 | (32 << 8), 0x12345678), 'done');
  assert.equal(m.p.interruptShadow, 0);
  assert.equal(m.p.rsp, 0x12345678);
  assert.equal(m.p.stackWidth, 16);
});

test('MOV to CS is undefined', () => {
  assert.equal(move(protectedMode(), CS, sel.code0), '#6');
});

test('64-bit mode: a null SS is allowed below ring 3 if its RPL is the CPL', () => {
  assert.equal(move(longMode(0), SS, 0), 'done');
  assert.equal(move(longMode(0), SS, 1), '#13(0)');
  assert.equal(move(longMode(3), SS, 3), '#13(0)');
});

test('the LDT is used for selectors with TI set, and not at all when LDTR is null', () => {
  const m = protectedMode();
  writeEntry(m, at.ldt, 0x10, descriptor(0x12345, 0x10, 0x92, DB));
  assert.equal(move(m, ES, 0x14), 'done');
  assert.equal(m.state.get64('esBase'), 0x12345n);
  assert.equal(attempt(m, 'lldt', 0), 'done');
  assert.equal(move(m, ES, 0x14), '#13(14)');
});

test('LLDT and LTR: descriptor checks, the busy flag, 16-byte descriptors in IA-32e mode', () => {
  const m = protectedMode();
  assert.equal(attempt(m, 'lldt', sel.data0), '#13(10)');
  assert.equal(attempt(m, 'lldt', 0x0c), '#13(c)');
  assert.equal(attempt(m, 'lldt', sel.ldt), 'done');
  assert.equal(attempt(m, 'ltr', 0), '#13(0)');
  assert.equal(attempt(m, 'ltr', sel.tss), '#13(48)', 'busy');
  assert.equal(attempt(m, 'ltr', sel.otherTss), 'done');
  assert.equal(m.memory.read8(at.gdt + sel.otherTss + 5), 0x8b);
  assert.equal(hex(m, 'trAccess'), '1008b');
  const long = longMode();
  writeEntry(long, at.gdt, sel.otherTss, [...descriptor(0x5000, 0x67, 0x89, 0), 0xffff_8000, 0]);
  assert.equal(attempt(long, 'ltr', sel.otherTss), 'done');
  assert.equal(long.state.get64('trBase'), 0xffff_8000_0000_5000n);
  writeEntry(long, at.gdt, sel.otherTss, [...descriptor(0x5000, 0x67, 0x89, 0), 0x8000, 0]);
  assert.equal(attempt(long, 'ltr', sel.otherTss), '#13(98)', 'a base that is not canonical');
  assert.equal(attempt(protectedMode(3), 'ltr', sel.otherTss), '#13(0)');
  assert.equal(attempt(machine(), 'ltr', sel.otherTss), '#6');
});

test('LAR, LSL, VERR and VERW answer in ZF and fault on nothing', () => {
  const zf = (m: Machine) => (m.engine.arithmetic & 0x40) !== 0;
  const lar = (m: Machine, selector: number) => {
    m.p.setGpr(0, 64, 0x99);
    attempt(m, 'lar', selector, 32 << 8);
    return zf(m) ? m.p.gpr32(0).toString(16) : null;
  };
  const lsl = (m: Machine, selector: number) => {
    attempt(m, 'lsl', selector, 32 << 8);
    return zf(m) ? m.p.gpr32(0).toString(16) : null;
  };
  const m = protectedMode();
  assert.equal(lar(m, sel.code0), 'c09a00');
  assert.equal(lar(m, sel.tss), '8b00');
  assert.equal(lar(m, sel.taskGate), '8500');
  assert.equal(lar(m, 0), null);
  assert.equal(lar(m, 0x1000), null);
  assert.equal(lsl(m, sel.data0), 'ffffffff');
  assert.equal(lsl(m, sel.small), 'ff');
  assert.equal(lsl(m, sel.taskGate), null);
  const user = protectedMode(3);
  assert.equal(lar(user, sel.data0), null);
  assert.equal(lar(user, sel.conforming), 'c09e00');
  const verify = (cpl: 0 | 3, name: 'verr' | 'verw', selector: number) => {
    const v = protectedMode(cpl);
    assert.equal(attempt(v, name, selector), 'done');
    return zf(v);
  };
  assert.equal(verify(0, 'verr', sel.readOnly), true);
  assert.equal(verify(0, 'verw', sel.readOnly), false);
  assert.equal(verify(0, 'verr', sel.executeOnly), false);
  assert.equal(verify(0, 'verw', sel.data0), true);
  assert.equal(verify(3, 'verr', sel.data0), false);
  assert.equal(verify(3, 'verr', sel.tss), false);
  const long = longMode();
  assert.equal(lar(long, sel.tss), '8b00');
  assert.equal(lar(long, sel.taskGate), null, 'no task gates in IA-32e mode');
});
