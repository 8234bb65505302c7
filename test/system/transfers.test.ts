/** Far jumps, calls and returns, call gates, and hardware task switches. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { descriptor, gate } from '../engines/system-code.ts';
import {
  at,
  attempt,
  longMode,
  type Machine,
  machine,
  protectedMode,
  run,
  sel,
  selectors,
  stackItems,
  writeEntry,
  writeGate,
} from './machine.ts';

const jump = (m: Machine, selector: number, offset = 0x1234) => attempt(m, 'far-jump', selector, offset, 4);
const call = (m: Machine, selector: number, offset = 0x1234) => attempt(m, 'far-call', selector, offset, 4);

test('real mode: far jump, call and return', () => {
  const m = machine();
  run(m, 'mov-to-segment', 2, 0x100);
  m.state.set64('rsp', 0x20n);
  assert.equal(attempt(m, 'far-call', 0x2000, 0x10, 2), 'done');
  assert.equal(m.p.rip, 0x10);
  assert.equal(m.state.get64('csBase'), 0x20000n);
  assert.deepEqual(stackItems(m, 2, 2, 0x101c), ['fff4', 'f000']);
  assert.equal(attempt(m, 'far-return', 2, 4), 'done');
  assert.equal(m.p.rip, 0xfff4);
  assert.equal(m.p.rsp, 0x24);
  assert.equal(attempt(m, 'far-jump', 0x2000, 0x1_0000, 4), '#13(0)', 'the limit holds in real mode');
});

test('protected mode: which code segment a far jump may go to', () => {
  const cases: [cpl: 0 | 3, selector: number, expected: string][] = [
    [0, 0, '#13(0)'],
    [0, sel.code0, 'done'],
    [0, sel.code0 | 3, '#13(8)'],
    [0, sel.data0, '#13(10)'],
    [0, sel.code3, '#13(18)'],
    [3, sel.code0, '#13(8)'],
    [3, sel.code3, 'done'],
    [3, sel.conforming, 'done'],
    [0, 0x100, '#13(100)'],
    [0, sel.ldt, '#13(58)'],
  ];
  for (const [cpl, selector, expected] of cases)
    assert.equal(jump(protectedMode(cpl), selector), expected, `CPL ${cpl}, ${selector.toString(16)}`);
  const m = protectedMode();
  writeEntry(m, at.gdt, sel.absent, descriptor(0, 0xfffff, 0x1a, 0xc));
  assert.equal(jump(m, sel.absent), '#11(40)');
  assert.equal(jump(m, sel.code16, 0x1_0000), '#13(0)');
  const conforming = protectedMode(3);
  jump(conforming, sel.conforming);
  assert.equal(conforming.state.get32('csSelector'), sel.conforming | 3, 'CPL stays');
});

test('a far call pushes CS and the return address; a far return comes back', () => {
  const m = protectedMode();
  assert.equal(call(m, sel.code16), 'done');
  assert.deepEqual(stackItems(m, 4, 2), ['5002', '8']);
  assert.equal(m.state.get32('csSelector'), sel.code16);
  assert.equal(attempt(m, 'far-return', 4, 8), 'done');
  assert.equal(m.p.rip, 0x5002);
  assert.equal(m.p.rsp, 0x8008);
});

test('a call gate to an inner ring switches stacks and copies parameters; RETF n goes back and releases them', () => {
  const m = protectedMode(3);
  writeEntry(m, at.gdt, sel.callGate, gate(sel.code0, 0x7777, 0xec, 2));
  m.memory.write32(0x8000, 0x11);
  m.memory.write32(0x8004, 0x22);
  assert.equal(call(m, sel.callGate | 3, 0xdead), 'done');
  assert.equal(m.p.rip, 0x7777);
  assert.equal(m.p.cpl, 0);
  assert.equal(selectors(m).slice(0, 4), '8 10');
  assert.deepEqual(stackItems(m, 4, 6), ['5002', '1b', '11', '22', '8000', '23']);
  assert.equal(attempt(m, 'far-return', 4, 8), 'done');
  assert.equal(m.p.cpl, 3);
  assert.equal(m.p.rsp, 0x8008);
  assert.equal(m.p.rip, 0x5002);
  assert.equal(selectors(m), '1b 23 23 23 23 23');
});

test('call gates: privileges of gate and code, presence', () => {
  const through = (cpl: 0 | 3, words: [number, number], kind: typeof call, rpl: number = cpl) => {
    const m = protectedMode(cpl);
    writeEntry(m, at.gdt, sel.callGate, words);
    return kind(m, sel.callGate | rpl);
  };
  assert.equal(through(3, gate(sel.code0, 0, 0x8c), call), '#13(a8)', 'the DPL of the gate');
  assert.equal(through(0, gate(sel.code0, 0, 0x8c), call, 3), '#13(a8)', 'the RPL');
  assert.equal(through(3, gate(sel.code0, 0, 0x6c), call), '#11(a8)');
  assert.equal(through(3, gate(0, 0, 0xec), call), '#13(0)');
  assert.equal(through(3, gate(sel.data0, 0, 0xec), call), '#13(10)');
  assert.equal(through(0, gate(sel.code3, 0, 0x8c), call), '#13(18)', 'outward');
  assert.equal(through(3, gate(sel.code0, 0, 0xec), jump), '#13(8)', 'a jump does not change the ring');
  assert.equal(through(3, gate(sel.conforming, 0x10, 0xec), jump), 'done');
  assert.equal(through(0, gate(sel.code0, 0x10, 0x84), call), 'done', '16-bit gate');
});

test('far return: outward only, and checks CS and SS', () => {
  const ret = (cpl: 0 | 3, items: number[]) => {
    const m = protectedMode(cpl);
    for (const [i, value] of items.entries()) m.memory.write32(0x8000 + i * 4, value);
    return attempt(m, 'far-return', 4, 0);
  };
  assert.equal(ret(3, [0, sel.code0]), '#13(8)');
  assert.equal(ret(0, [0, 0]), '#13(0)');
  assert.equal(ret(0, [0x1_0000, sel.code16]), '#13(0)');
  assert.equal(ret(0, [0, sel.code3, 0x5000, sel.data0]), '#13(10)');
  assert.equal(ret(0, [0, sel.code3, 0x5000, 3]), '#13(0)');
  assert.equal(ret(0, [0, sel.code3, 0x5000, sel.data3]), 'done');
});

test('IA-32e mode: to compatibility mode and back, and through a 64-bit call gate', () => {
  const m = longMode(0);
  assert.equal(attempt(m, 'far-jump', sel.code64, 0xffff_8000_0000_1000n, 8), 'done');
  assert.equal(m.state.get64('rip'), 0xffff_8000_0000_1000n);
  assert.equal(attempt(m, 'far-jump', sel.code64, 0x8000_0000_0000n, 8), '#13(0)');
  assert.equal(attempt(m, 'far-jump', sel.code0, 0x1234, 4), 'done');
  assert.equal(m.p.code64, false);
  assert.equal(m.p.stackWidth, 32);
  assert.equal(attempt(m, 'far-jump', sel.otherTss, 0, 4), '#13(98)', 'no task switches');
  const user = longMode(3);
  writeEntry(user, at.gdt, sel.callGate, [...gate(sel.code64, 0x7777, 0xec), 0xffff_8000, 0]);
  assert.equal(attempt(user, 'far-call', sel.callGate | 3, 0, 8), 'done');
  assert.equal(user.state.get64('rip'), 0xffff_8000_0000_7777n);
  assert.deepEqual(stackItems(user, 8, 4), ['5002', '93', '8000', '23']);
  assert.equal(selectors(user).slice(0, 4), '88 0');
  assert.equal(attempt(user, 'far-return', 8, 0), 'done');
  assert.equal(user.p.rsp, 0x8000);
  assert.equal(user.p.cpl, 3);
});

/** A second task: ring 0, flat, with a recognisable value in each register. */
function otherTask(m: Machine): void {
  const write = (offset: number, value: number) => m.memory.write32(at.otherTss + offset, value);
  write(28, 0);
  write(32, 0x6000);
  write(36, 0x202);
  for (let i = 0; i < 8; i++) write(40 + i * 4, 0x100 + i);
  for (const [i, selector] of [sel.data0, sel.code0, sel.data0, sel.data3, 0, sel.small].entries())
    write(72 + i * 4, selector);
  write(96, sel.ldt);
  m.memory.write16(at.otherTss + 102, 0x68);
}

test('task switch by far jump: all registers go out and come in, busy flags move', () => {
  const m = protectedMode(0);
  otherTask(m);
  m.p.setGpr(0, 64, 0xaaaa);
  m.p.setRflags(0x47);
  assert.equal(jump(m, sel.otherTss), 'done');
  assert.equal(m.p.rip, 0x6000);
  assert.equal(m.p.rflags, 0x202);
  assert.deepEqual(
    [...Array(8).keys()].map((i) => m.p.gpr32(i)),
    [0x100, 0x101, 0x102, 0x103, 0x104, 0x105, 0x106, 0x107],
  );
  assert.equal(selectors(m), '8 10 23 10 0 78');
  assert.equal(m.state.get32('trSelector'), sel.otherTss);
  assert.equal(m.memory.read8(at.gdt + sel.tss + 5), 0x89, 'the old one is available again');
  assert.equal(m.memory.read8(at.gdt + sel.otherTss + 5), 0x8b);
  assert.equal(m.memory.read32(at.tss + 32), 0x5002);
  assert.equal(m.memory.read32(at.tss + 36), 0x47);
  assert.equal(m.memory.read32(at.tss + 40), 0xaaaa);
  assert.equal(m.memory.read16(at.tss + 76), sel.code0);
  assert.equal(m.state.get32('cr0') & 8, 8, 'TS');
});

test('task switch by call through a task gate, IRET with NT back', () => {
  const m = protectedMode(0);
  otherTask(m);
  assert.equal(call(m, sel.taskGate), 'done');
  assert.equal(m.p.rflags, 0x4202, 'NT');
  assert.equal(m.memory.read16(at.otherTss), sel.tss);
  assert.equal(m.memory.read8(at.gdt + sel.tss + 5), 0x8b, 'both are busy');
  run(m, 'iret', 4);
  assert.equal(m.p.rip, 0x5002);
  assert.equal(m.state.get32('trSelector'), sel.tss);
  assert.equal(m.memory.read8(at.gdt + sel.otherTss + 5), 0x89);
  assert.equal(m.memory.read32(at.otherTss + 36) & 0x4000, 0, 'NT is gone from the task that returned');
});

test("an exception through a task gate pushes its error code on the new task's stack", () => {
  const m = protectedMode(3);
  otherTask(m);
  m.memory.write32(at.otherTss + 56, 0xc000);
  writeGate(m, 13, gate(sel.otherTss, 0, 0x85));
  m.cpu.deliver(13, 'exception', 0x18);
  assert.equal(m.p.cpl, 0);
  assert.equal(m.p.rsp, 0xbffc);
  assert.equal(m.memory.read32(0xbffc), 0x18);
  assert.equal(m.memory.read32(at.tss + 32), 0x5000);
  assert.equal(m.memory.read16(at.tss + 76), sel.code3);
});

test('task switch: a TSS that is too small, busy or absent is refused before anything changes', () => {
  const refused = (change: (m: Machine) => void) => {
    const m = protectedMode(0);
    otherTask(m);
    change(m);
    return jump(m, sel.otherTss);
  };
  const tss = (m: Machine, limit: number, access: number) =>
    writeEntry(m, at.gdt, sel.otherTss, descriptor(at.otherTss, limit, access, 0));
  assert.equal(
    refused((m) => tss(m, 0x66, 0x89)),
    '#10(98)',
  );
  assert.equal(
    refused((m) => tss(m, 0x67, 0x8b)),
    '#13(98)',
  );
  assert.equal(
    refused((m) => tss(m, 0x67, 0x09)),
    '#11(98)',
  );
});

test('task switch: a bad segment is a fault of the new task', () => {
  const m = protectedMode(0);
  otherTask(m);
  m.memory.write32(at.otherTss + 84, sel.executeOnly);
  m.memory.write32(at.otherTss + 56, 0xc000);
  writeGate(m, 10, gate(sel.code0, 0x1010, 0x8e));
  run(m, 'far-jump', sel.otherTss, 0, 4);
  assert.equal(m.state.get32('trSelector'), sel.otherTss);
  assert.equal(m.p.rip, 0x1010);
  assert.deepEqual(stackItems(m, 4, 3), ['30', '6000', '8']);
});

test('task switch to a 16-bit TSS and to one with its T flag set', () => {
  const m = protectedMode(0);
  writeEntry(m, at.gdt, sel.otherTss, descriptor(at.otherTss, 0x2b, 0x81, 0));
  const write = (offset: number, value: number) => m.memory.write16(at.otherTss + offset, value);
  write(14, 0x6000);
  write(16, 2);
  for (let i = 0; i < 8; i++) write(18 + i * 2, 0x50 + i);
  for (const [i, selector] of [sel.data0, sel.code16, sel.stack16, sel.data0].entries()) write(34 + i * 2, selector);
  assert.equal(jump(m, sel.otherTss), 'done');
  assert.equal(selectors(m), 'b0 b8 10 10 0 0');
  assert.equal(m.p.gpr32(1), 0xffff_0051);

  const t = protectedMode(0);
  otherTask(t);
  t.memory.write32(at.otherTss + 56, 0xc000);
  t.memory.write16(at.otherTss + 100, 1);
  writeGate(t, 1, gate(sel.code0, 0x1111, 0x8e));
  run(t, 'far-jump', sel.otherTss, 0, 4);
  assert.equal(t.p.rip, 0x6000);
  t.cpu.deliverDebugTraps();
  assert.equal(t.p.rip, 0x1111);
  assert.equal(t.state.get64('dr6') & 0x8000n, 0x8000n);
  assert.equal(stackItems(t, 4, 1)[0], '6000');
});
