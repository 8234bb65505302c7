/** Delivery of interrupts and exceptions: the frames in each mode, what is checked, double faults and shutdown; IRET back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NO_ERROR_CODE } from '../../src/state/vectors.ts';
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

const IF = 0x200;
const TF = 0x100;
const NT = 0x4000;
const RF = 0x1_0000;
const VM = 0x2_0000;

test('real mode: FLAGS, CS and IP through the vector table, IF and TF cleared, and back', () => {
  const m = machine();
  m.state.set64('idtrBase', 0n);
  m.memory.write32(0x21 * 4, 0x1234_5678);
  run(m, 'mov-to-segment', 2, 0x100);
  m.state.set64('rsp', 0xffff_0010n);
  m.p.setRflags(IF | TF | 0x8d7);
  const { rip } = m.p;
  run(m, 'int', 0x21);
  assert.equal(m.state.get32('csSelector'), 0x1234);
  assert.equal(m.state.get64('csBase'), 0x12340n);
  assert.equal(m.p.rip, 0x5678);
  assert.equal(m.state.get64('rsp'), 0xffff_000an, 'the upper half of ESP stays');
  assert.deepEqual(stackItems(m, 2, 3, 0x1000 + 10), [(rip + 2).toString(16), 'f000', 'bd7']);
  assert.equal(m.p.rflags, 0x8d7);
  run(m, 'iret', 2);
  assert.equal(m.p.rflags, IF | TF | 0x8d7);
  assert.equal(m.p.rip, rip + 2);
  assert.equal(m.state.get32('csSelector'), 0xf000);
  assert.equal(m.state.get64('rsp'), 0xffff_0010n);
});

test('real mode: exceptions push no error code; a vector table that is too short ends in shutdown', () => {
  const m = machine();
  m.state.set64('idtrBase', 0n);
  m.state.set64('rsp', 0x100n);
  m.memory.write32(13 * 4, 0x0000_4444);
  m.cpu.deliver(13, 'exception', 0);
  assert.equal(m.p.rip, 0x4444);
  assert.equal(m.p.rsp, 0xfa);
  m.state.set32('idtrLimit', 3);
  m.cpu.deliver(0x20, 'external');
  assert.equal(m.state.get32('shutdown'), 1);
});

test('protected mode, same ring: interrupt gates clear IF, trap gates leave it', () => {
  for (const [access, keeps] of [
    [0x8e, false],
    [0x8f, true],
  ] as const) {
    const m = protectedMode();
    writeGate(m, 0x40, gate(sel.code0, 0x1234_5678, access));
    m.p.setRflags(IF | NT | 0x47);
    m.cpu.deliver(0x40, 'external');
    assert.equal(m.p.rip, 0x1234_5678);
    assert.deepEqual(stackItems(m, 4, 3), ['5000', '8', (IF | NT | 0x47).toString(16)]);
    assert.equal(m.p.rflags, (keeps ? IF : 0) | 0x47);
    assert.equal(m.p.rsp, 0x8000 - 12);
  }
});

test('protected mode, inner ring: the stack of the TSS, SS and ESP in the frame, the error code on top; IRET undoes it', () => {
  const m = protectedMode(3);
  writeGate(m, 13, gate(sel.code0, 0x7000, 0x8e));
  m.p.setRflags(IF | 2);
  m.cpu.deliver(13, 'exception', 0x18);
  assert.equal(m.p.cpl, 0);
  assert.equal(selectors(m), '8 10 23 23 23 23');
  assert.deepEqual(stackItems(m, 4, 6), ['18', '5000', '1b', (IF | RF | 2).toString(16), '8000', '23']);
  assert.equal(m.p.rsp, 0x9000 - 24);
  m.p.setStackPointer(m.p.rsp + 4, 32);
  run(m, 'iret', 4);
  assert.equal(m.p.cpl, 3);
  assert.equal(selectors(m), '1b 23 23 23 23 23');
  assert.equal(m.p.rsp, 0x8000);
  assert.equal(m.p.rip, 0x5000);
  assert.equal(m.p.rflags, IF | 2);
});

test('16-bit gates push words', () => {
  const m = protectedMode(3);
  writeGate(m, 0x30, gate(sel.code0, 0xffff_7000, 0xe6));
  m.cpu.deliver(0x30, 'software');
  assert.equal(m.p.rip, 0x7000);
  assert.deepEqual(stackItems(m, 2, 5), ['5000', '1b', '2', '8000', '23']);
});

test('gates: what is checked, with the error codes that tell external from software events', () => {
  const cases: [what: string, words: [number, number], kind: 'external' | 'software', expected: string][] = [
    ['no gate', [0, 0], 'external', '13 203'],
    ['no gate, INT n', [0, 0], 'software', '13 202'],
    ['gate of ring 0 from ring 3', gate(sel.code0, 0, 0x8e), 'software', '13 202'],
    ['absent', gate(sel.code0, 0, 0x0e), 'external', '11 203'],
    ['null code', gate(0, 0, 0x8e), 'external', '13 1'],
    ['data for code', gate(sel.data0, 0, 0x8e), 'external', '13 11'],
    ['beyond the GDT', gate(0x100, 0, 0x8e), 'external', '13 101'],
    ['code of an absent segment', gate(sel.absent, 0, 0x8e), 'external', '11 41'],
  ];
  for (const [what, words, kind, expected] of cases) {
    const m = protectedMode(3);
    writeEntry(m, at.gdt, sel.absent, descriptor(0, 0xfffff, 0x1a, 0xc));
    writeGate(m, 0x40, words);
    for (const vector of [11, 13]) writeGate(m, vector, gate(sel.code0, vector, 0x8e));
    m.cpu.deliver(0x40, kind);
    assert.equal(`${m.p.rip} ${stackItems(m, 4, 1)[0]}`, expected, what);
    assert.equal(stackItems(m, 4, 2)[1], '5000', what);
  }
});

test('the stack of the inner ring: #TS for a bad selector or a short TSS, #SS for an absent one', () => {
  const deliver = (prepare: (m: Machine) => void) => {
    const m = protectedMode(3);
    writeEntry(m, at.gdt, sel.conforming, descriptor(0, 0xfffff, 0x9e, 0xc));
    writeGate(m, 0x40, gate(sel.code0, 0x7000, 0x8e));
    // The handlers run in ring 3 code of their own, so that they need no inner stack.
    for (const vector of [10, 12]) writeGate(m, vector, gate(sel.conforming, vector, 0x8e));
    prepare(m);
    m.cpu.deliver(0x40, 'external');
    return `${m.p.rip} ${stackItems(m, 4, 1)[0]}`;
  };
  const ss0 = at.tss + 8;
  assert.equal(
    deliver((m) => m.memory.write32(ss0, 0)),
    '10 1',
  );
  assert.equal(
    deliver((m) => m.memory.write32(ss0, sel.data3)),
    '10 21',
  );
  assert.equal(
    deliver((m) => m.memory.write32(ss0, sel.code0)),
    '10 9',
  );
  assert.equal(
    deliver((m) => m.memory.write32(ss0, 0x100)),
    '10 101',
  );
  assert.equal(
    deliver((m) => m.memory.write32(ss0, sel.absent)),
    '12 41',
  );
  assert.equal(
    deliver((m) => m.state.set32('trLimit', 8)),
    '10 49',
  );
});

test('a frame that does not fit is #SS and nothing of it is written', () => {
  const m = protectedMode();
  run(m, 'mov-to-segment', 2, sel.small);
  m.state.set64('rsp', 8n);
  writeGate(m, 0x40, gate(sel.code0, 0x7000, 0x8e));
  for (const vector of [8, 12]) writeGate(m, vector, gate(sel.taskGate, 0, 0x85));
  m.cpu.deliver(0x40, 'external');
  assert.equal(m.memory.read32(0x4000), 0);
  assert.equal(m.memory.read32(0x4004), 0);
});

test('virtual-8086 mode: the data segments are in the frame and null afterwards; IRET goes back', () => {
  const m = protectedMode(0);
  writeGate(m, 13, gate(sel.code0, 0x7000, 0x8e));
  // Into it by IRET.
  m.state.set64('rsp', 0x6000n);
  for (const [i, value] of [0x1234, 0x2000, VM | IF | 2, 0xfffe, 0x3000, 1, 2, 3, 4].entries())
    m.memory.write32(0x6000 + i * 4, value);
  run(m, 'iret', 4);
  assert.equal(m.p.virtual8086, true);
  assert.equal(m.p.cpl, 3);
  assert.equal(selectors(m), '2000 3000 2 1 3 4');
  assert.equal(m.state.get64('ssBase'), 0x30000n);
  assert.equal(m.p.rsp, 0xfffe);
  m.cpu.deliver(13, 'exception', 0);
  assert.equal(m.p.virtual8086, false);
  assert.equal(m.p.cpl, 0);
  assert.equal(selectors(m), '8 10 0 0 0 0');
  assert.deepEqual(stackItems(m, 4, 10), [
    '0',
    '1234',
    '2000',
    (VM | IF | RF | 2).toString(16),
    'fffe',
    '3000',
    '1',
    '2',
    '3',
    '4',
  ]);
  m.p.setStackPointer(m.p.rsp + 4, 32);
  run(m, 'iret', 4);
  assert.equal(selectors(m), '2000 3000 2 1 3 4');
});

test('virtual-8086 mode: INT n and IRET need IOPL 3, INT3 does not', () => {
  const m = protectedMode(3);
  m.p.setRflags(VM | 2);
  assert.equal(attempt(m, 'int', 0x21), '#13(0)');
  assert.equal(attempt(m, 'iret', 2), '#13(0)');
  writeGate(m, 3, gate(sel.code0, 0x7000, 0xee));
  run(m, 'int3');
  assert.equal(m.p.rip, 0x7000);
});

test('IA-32e mode: five quadwords, an aligned stack, IST, and a null SS after a change of ring', () => {
  const m = longMode(3);
  writeGate(m, 14, [...gate(sel.code64, 0x7000, 0x8e), 0xffff_8000]);
  m.state.set64('rsp', 0x1234_5678_9abc_def1n);
  m.p.setRflags(IF | 2);
  m.state.set64('faultAddress', 0xdead_beef_000n);
  m.cpu.deliver(14, 'exception', 6);
  assert.equal(m.state.get64('cr2'), 0xdead_beef_000n);
  assert.equal(m.state.get64('rip'), 0xffff_8000_0000_7000n);
  assert.equal(m.p.rsp, 0x9000 - 48);
  assert.deepEqual(stackItems(m, 8, 6), ['6', '5000', '93', (IF | RF | 2).toString(16), '123456789abcdef1', '23']);
  assert.equal(selectors(m), '88 0 23 23 23 23');
  m.p.setStackPointer(m.p.rsp + 8, 64);
  run(m, 'iret', 8);
  assert.equal(m.state.get64('rsp'), 0x1234_5678_9abc_def1n, 'all 64 bits, canonical or not');
  assert.equal(selectors(m), '93 23 23 23 23 23');
  assert.equal(m.p.cpl, 3);

  const k = longMode(0);
  k.state.set64('rsp', 0x8007n);
  writeGate(k, 0x40, [...gate(sel.code64, 0x7000, 0x8e), 0]);
  k.cpu.deliver(0x40, 'external');
  assert.equal(k.p.rsp, 0x8000 - 40);
  assert.equal(selectors(k).slice(0, 5), '88 10');
  writeGate(k, 0x41, [...gate(sel.code64, 0x7000, 0x8e, 1), 0]);
  k.cpu.deliver(0x41, 'external');
  assert.equal(k.p.rsp, 0xb000 - 40, 'IST1, aligned');
});

test('IA-32e mode: gates must be 64-bit ones to 64-bit code, with a canonical offset', () => {
  for (const [words, expected] of [
    [[...gate(sel.code64, 0, 0x86), 0], 'd 203'],
    [[...gate(sel.code0, 0, 0x8e), 0], 'd 9'],
    [[...gate(sel.code64, 0, 0x8e), 0x8000], 'd 1'],
  ] as const) {
    const m = longMode(3);
    writeGate(m, 13, [...gate(sel.code64, 13, 0x8e), 0]);
    writeGate(m, 0x40, words);
    m.cpu.deliver(0x40, 'external');
    assert.equal(`${m.p.rip.toString(16)} ${stackItems(m, 8, 1)[0]}`, expected);
  }
});

test('a contributory exception in the delivery of another is a double fault, a third one shutdown', () => {
  const m = protectedMode();
  writeGate(m, 8, gate(sel.code0, 0x8888, 0x8e));
  m.cpu.deliver(13, 'exception', 0x20);
  assert.equal(m.p.rip, 0x8888);
  assert.deepEqual(stackItems(m, 4, 3), ['0', '5000', '8']);
  writeGate(m, 8, [0, 0]);
  m.cpu.deliver(10, 'exception', 0);
  assert.equal(m.state.get32('shutdown'), 1);
  const benign = protectedMode();
  writeGate(benign, 13, gate(sel.code0, 0xdddd, 0x8e));
  benign.cpu.deliver(6, 'exception');
  assert.equal(benign.p.rip, 0xdddd, '#UD is benign: the #GP is delivered');
  assert.equal(stackItems(benign, 4, 1)[0], (6 * 8 + 3).toString(16));
});

test('a page fault on the frame of a page fault is a double fault', () => {
  const m = longMode(3);
  m.memory.write64(at.tss + 4, 0x7000_0000n); // RSP0 is not mapped
  for (const vector of [13, 14]) writeGate(m, vector, [...gate(sel.code64, 0x7000, 0x8e), 0]);
  writeGate(m, 8, [...gate(sel.code64, 0x8888, 0x8e, 1), 0]);
  m.state.set64('faultAddress', 0x1234n);
  m.cpu.deliver(14, 'exception', 4);
  assert.equal(m.p.rip, 0x8888);
  assert.equal(m.p.rsp, 0xb000 - 48);
  assert.equal(m.state.get64('cr2'), 0x7000_0000n - 8n);
});

test('delivery ends HLT and the interrupt shadow', () => {
  const m = protectedMode();
  writeGate(m, 0x40, gate(sel.code0, 0x7000, 0x8e));
  run(m, 'hlt');
  assert.equal(m.state.get32('halted'), 1);
  assert.equal(m.p.rip, 0x5002);
  m.p.setRflags(IF);
  assert.equal(m.cpu.interruptible, true);
  m.p.interruptShadow = 1;
  assert.equal(m.cpu.interruptible, false);
  m.cpu.deliverInterrupt(0x40);
  assert.equal(m.state.get32('halted'), 0);
  assert.equal(m.p.interruptShadow, 0);
});

test('an NMI is delivered once until IRET', () => {
  const m = protectedMode();
  writeGate(m, 2, gate(sel.code0, 0x2222, 0x8e));
  assert.equal(m.cpu.deliverNmi(), true);
  assert.equal(m.cpu.deliverNmi(), false);
  run(m, 'iret', 4);
  assert.equal(m.p.rip, 0x5000);
  assert.equal(m.cpu.deliverNmi(), true);
});

test("INTO asks OF, INT1 ignores the gate's DPL, single step sets DR6.BS", () => {
  const m = protectedMode(3);
  run(m, 'into');
  assert.equal(m.p.rip, 0x5002);
  writeGate(m, 4, gate(sel.code0, 0x4444, 0xee));
  writeGate(m, 1, gate(sel.code0, 0x1111, 0x8e));
  m.p.setRflags(0x802);
  run(m, 'into');
  assert.equal(m.p.rip, 0x4444);
  const n = protectedMode(3);
  writeGate(n, 1, gate(sel.code0, 0x1111, 0x8e));
  run(n, 'int1');
  assert.equal(n.p.rip, 0x1111);
  assert.equal(stackItems(n, 4, 1)[0], '5002');
  n.state.set32('pendingDebug', 0x4000);
  n.cpu.deliverDebugTraps();
  assert.equal(n.state.get64('dr6') & 0x4000n, 0x4000n);
});

test('IRET checks what it returns to', () => {
  const iret = (cpl: 0 | 3, items: number[]) => {
    const m = protectedMode(cpl);
    for (const [i, value] of items.entries()) m.memory.write32(0x8000 + i * 4, value);
    return attempt(m, 'iret', 4);
  };
  assert.equal(iret(0, [0x100, 0, 2]), '#13(0)');
  assert.equal(iret(0, [0x100, sel.data0, 2]), '#13(10)');
  assert.equal(iret(3, [0x100, sel.code0, 2]), '#13(8)', 'inward');
  assert.equal(iret(0, [0x100, sel.code3 & ~3, 2]), '#13(18)', 'DPL is not RPL');
  assert.equal(iret(0, [0x100, 0x100, 2]), '#13(100)');
  assert.equal(iret(0, [0x100, sel.code3, 2, 0x5000, 0]), '#13(0)', 'null SS');
  assert.equal(iret(0, [0x100, sel.code3, 2, 0x5000, sel.data0]), '#13(10)');
  assert.equal(iret(0, [0x1_0000, sel.code16, 2]), '#13(0)', 'beyond the limit');
  assert.equal(iret(0, [0x100, sel.code3, 2, 0x5000, sel.data3]), 'done');
});

test('IRET to an outer ring takes away data segments of inner rings', () => {
  const m = protectedMode(0);
  run(m, 'mov-to-segment', 4, sel.conforming);
  for (const [i, value] of [0x100, sel.code3, 2, 0x5000, sel.data3].entries()) m.memory.write32(0x8000 + i * 4, value);
  run(m, 'iret', 4);
  assert.equal(selectors(m), '1b 23 0 0 28 0');
});

test('flags: rings below IOPL change neither IF nor IOPL, ring 0 all of them', () => {
  const popf = (cpl: 0 | 3, iopl: number, value: number, bits: 16 | 32) => {
    const m = protectedMode(cpl);
    m.p.setRflags((iopl << 12) | 2);
    run(m, 'popf', value, bits);
    return m.p.rflags;
  };
  assert.equal(popf(3, 0, 0x7fff_ffff, 32), 0x24_4dd7, 'AC, ID, NT, arithmetic flags, DF, TF');
  assert.equal(popf(3, 3, 0x7fff_ffff, 32), 0x24_7fd7);
  assert.equal(popf(0, 0, 0x7fff_ffff, 32), 0x24_7fd7);
  assert.equal(popf(0, 0, 0x7fff_ffff, 16), 0x7fd7);
});

test('CLI and STI obey IOPL; STI holds interrupts off for one instruction if they were off', () => {
  const m = protectedMode(3);
  assert.equal(attempt(m, 'cli'), '#13(0)');
  assert.equal(attempt(m, 'sti'), '#13(0)');
  m.p.setRflags(0x3002);
  run(m, 'sti');
  assert.equal(m.p.interruptShadow, 1);
  run(m, 'sti');
  assert.equal(m.p.interruptShadow, 0);
  run(m, 'cli');
  assert.equal(m.p.rflags, 0x3002);
});

test('a host bug in a helper is not taken for a fault of the guest', () => {
  const m = protectedMode();
  m.engine.flags = () => {
    throw new Error('host bug');
  };
  assert.throws(() => run(m, 'into'), /host bug/);
  assert.equal(NO_ERROR_CODE, 0xffff_ffff);
});
