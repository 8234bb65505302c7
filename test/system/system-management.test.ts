/** SMI and RSM with the save-state areas of both formats. SDM volume 3, chapter 33. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cpuModel } from '../../src/system/cpu-models.ts';
import { attempt, everyFeature, longMode, type Machine, machine, protectedMode, run, selectors } from './machine.ts';

const AREA = 0x3_8000;
const state = (m: Machine): string =>
  ['rip', 'rsp', 'rax', 'r9', 'cr0', 'cr3', 'cr4', 'efer', 'dr7', 'gdtrBase', 'idtrBase', 'csBase', 'trBase']
    .map((name) => `${name}=${m.state.get64(name).toString(16)}`)
    .concat(
      ['csAccess', 'ssAccess', 'csLimit', 'trAccess', 'ldtrSelector', 'cpl', 'gdtrLimit', 'nmiBlocked', 'halted'].map(
        (name) => `${name}=${m.state.get32(name).toString(16)}`,
      ),
      `flags=${m.p.rflags.toString(16)}`,
      selectors(m),
    )
    .join(' ');

function prepared(make: () => Machine): Machine {
  const m = make();
  m.state.set64('rax', 0x1122_3344n);
  m.p.setRflags(0x247);
  m.state.set64('dr7', 0x401n);
  m.cpu.stateReplaced();
  return m;
}

test('an SMI saves everything that RSM brings back, at CPL 3 of every mode', () => {
  for (const make of [() => longMode(3), () => protectedMode(3), () => protectedMode(0)]) {
    const m = prepared(make);
    const before = state(m);
    assert.ok(m.cpu.deliverSmi());
    assert.ok(!m.cpu.deliverSmi(), 'a second one waits');
    assert.deepEqual(
      ['rip', 'csBase', 'cr4', 'efer', 'dr7'].map((name) => m.state.get64(name)),
      [0x8000n, 0x3_0000n, 0n, 0n, 0x400n],
    );
    assert.equal(m.p.rflags, 2);
    assert.equal(m.state.get32('csSelector'), 0x3000);
    assert.equal(m.state.get32('dsLimit'), 0xffff_ffff);
    assert.equal(m.p.protectedMode, false);
    assert.ok(!m.cpu.deliverNmi(), 'NMIs are blocked');
    run(m, 'rsm');
    assert.equal(state(m), before);
    assert.equal(m.state.get32('smm'), 0);
  }
});

test('the area of a processor with 64-bit mode', () => {
  const m = prepared(() => longMode(3));
  m.cpu.deliverSmi();
  const { memory } = m;
  assert.equal(memory.read32(AREA + 0x7efc), 0x2_0064);
  assert.equal(memory.read32(AREA + 0x7f00), 0x3_0000);
  assert.equal(memory.read64(AREA + 0x7ff8), 0x1122_3344n);
  assert.equal(memory.read64(AREA + 0x7f78), 0x5000n);
  assert.equal(memory.read16(AREA + 0x7e10), 0x93, 'CS');
  assert.equal(memory.read32(AREA + 0x7f70), 0x247);
  assert.equal(memory.read64(AREA + 0x7ed0), 0xd01n);
});

test('the area of a processor without it', () => {
  const { buffer, state: fields, memory, cpu } = machine();
  assert.ok(buffer.byteLength > 0);
  Object.assign(cpu.processor, { features: cpuModel('pentium3', everyFeature).features });
  fields.set64('rax', 5n);
  cpu.deliverSmi();
  assert.equal(memory.read32(AREA + 0x7efc), 0x2_0000);
  assert.equal(memory.read32(AREA + 0x7ef8), 0x3_0000);
  assert.equal(memory.read32(AREA + 0x7fd0), 5);
  assert.equal(memory.read32(AREA + 0x7ff0), 0xfff0);
  assert.equal(memory.read32(AREA + 0x7fac), 0xf000, 'CS');
  assert.equal(memory.read32(AREA + 0x7f90 + 8), 0xffff_0000);
  memory.write32(AREA + 0x7ff0, 0x1234);
  cpu.runHelper('rsm', 0x8002);
  assert.equal(fields.get64('rip'), 0x1234n);
  assert.equal(fields.get64('csBase'), 0xffff_0000n);
});

test('RSM takes another SMBASE, and a halted processor halts again if the area says so', () => {
  const m = prepared(() => protectedMode(0));
  m.state.set32('halted', 1);
  m.cpu.deliverSmi();
  assert.equal(m.state.get32('halted'), 0);
  m.memory.write32(AREA + 0x7f00, 0x4_0000);
  run(m, 'rsm');
  assert.equal(m.state.get32('halted'), 1);
  m.cpu.deliverSmi();
  assert.equal(m.state.get64('csBase'), 0x4_0000n);
  m.memory.write8(0x4_8000 + 0x7ec9, 0);
  run(m, 'rsm');
  assert.equal(m.state.get32('halted'), 0);
});

test('outside the mode RSM is no instruction', () => {
  assert.equal(attempt(protectedMode(0), 'rsm'), '#6');
});

test('RSM to control registers that cannot be so is a shutdown', () => {
  const at = { cr0: 0x7f58, cr4: 0x7f48, efer: 0x7ed0 } as const;
  const after = (make: () => Machine, ...writes: readonly (readonly [keyof typeof at, bigint])[]): number => {
    const m = prepared(make);
    m.cpu.deliverSmi();
    for (const [register, value] of writes) m.memory.write64(AREA + at[register], value);
    run(m, 'rsm');
    return m.state.get32('shutdown');
  };
  const [flat, long] = [() => protectedMode(0), () => longMode(0)];
  assert.equal(after(flat), 0);
  assert.equal(after(long), 0);
  assert.equal(after(flat, ['cr0', 0x8000_0000n]), 1, 'paging without protection');
  assert.equal(after(flat, ['cr0', 0x2000_0011n]), 1, 'NW without CD');
  assert.equal(after(flat, ['cr0', 0x6000_0011n]), 0);
  assert.equal(after(flat, ['cr0', 0x1_0000_0011n]), 1);
  assert.equal(after(flat, ['cr4', 0x8000_0000n]), 1, 'a reserved bit of CR4');
  assert.equal(after(flat, ['cr4', 0x1000n]), 1, 'LA57, which this model lacks');
  assert.equal(
    after(() => protectedMode(0, 'max-la57'), ['cr4', 0x1000n]),
    0,
  );
  assert.equal(after(flat, ['cr4', 0x2_0020n]), 1, 'PCIDE outside IA-32e mode');
  assert.equal(after(long, ['cr4', 0x2_0020n]), 0);
  assert.equal(after(long, ['cr4', 0n]), 1, 'IA-32e mode without PAE');
  assert.equal(after(flat, ['efer', 0x400n]), 1, 'LMA without paging');
  assert.equal(after(long, ['efer', 0x901n]), 1, 'LME with paging and no LMA');
  assert.equal(after(flat, ['efer', 2n]), 1, 'a reserved bit of EFER');
});
