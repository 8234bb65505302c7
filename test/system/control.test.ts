/** Control and debug registers, MSRs, CPUID, the fast system calls, time and ports. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cpuidLeaf } from '../../src/system/cpuid.ts';
import { timeStamp } from '../../src/system/time.ts';
import { gate } from '../engines/system-code.ts';
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
  writeGate,
} from './machine.ts';

const cr = (m: Machine, index: number, value: number | bigint) => attempt(m, 'mov-to-cr', index, value);
const PE = 1;
const PG = 0x8000_0000;

test('reset: F000:FFF0 in real mode, with the reset values of the manual', () => {
  const m = machine();
  m.state.set64('rax', 5n);
  m.cpu.reset();
  assert.equal(m.state.get64('rax'), 0n);
  assert.equal(m.state.get64('csBase') + m.state.get64('rip'), 0xffff_fff0n);
  assert.equal(m.state.get64('cr0'), 0x6000_0010n);
  assert.equal(m.p.rflags, 2);
  assert.equal(m.state.get64('dr6'), 0xffff_0ff0n);
  assert.equal(m.state.get64('pat'), 0x0007_0406_0007_0406n);
  assert.equal(m.state.get32('dsReadHigh'), 0xffff);
});

test('CR0: combinations that do not exist are #GP(0)', () => {
  assert.equal(cr(machine(), 0, PG), '#13(0)', 'PG without PE');
  assert.equal(cr(machine(), 0, PE | 0x2000_0000), '#13(0)', 'NW without CD');
  assert.equal(cr(machine(), 0, 0x1_0000_0000n), '#13(0)');
  assert.equal(cr(protectedMode(3), 0, PE), '#13(0)');
  assert.equal(cr(protectedMode(0), 1, 0), '#6');
  const m = machine();
  assert.equal(cr(m, 0, PE), 'done');
  assert.equal(m.state.get32('cr0'), 0x11, 'ET is always set');
  assert.equal(m.p.protectedMode, true);
});

test('into 64-bit mode step by step, and out of it', () => {
  const m = protectedMode(0);
  m.memory.write32(at.pml4, 0x11007);
  m.memory.write32(0x11000, 0x12007);
  m.memory.write32(0x12000, 0x87);
  m.memory.write32(0x12008, 0x200087);
  const efer = (value: bigint) => {
    m.p.setGpr(1, 64, 0xc000_0080);
    m.p.setGpr(0, 64, Number(value));
    m.p.setGpr(2, 64, 0);
    return attempt(m, 'wrmsr');
  };
  assert.equal(efer(0x100n), 'done');
  assert.equal(cr(m, 3, at.pml4), 'done');
  assert.equal(cr(m, 0, PG + 1), '#13(0)', 'without PAE');
  assert.equal(cr(m, 4, 0x20), 'done');
  assert.equal(cr(m, 0, PG + 1), 'done');
  assert.equal(m.p.longMode, true);
  assert.equal(m.p.code64, false);
  assert.equal(efer(0n), '#13(0)', 'LME cannot change under paging');
  assert.equal(cr(m, 4, 0), '#13(0)', 'PAE stays');
  assert.equal(attempt(m, 'far-jump', sel.code64, 0x5000, 4), 'done');
  assert.equal(m.p.code64, true);
  assert.equal(cr(m, 0, 0x11), '#13(0)', 'paging stays on in 64-bit code');
  assert.equal(attempt(m, 'far-jump', sel.code0, 0x5000, 4), 'done');
  assert.equal(cr(m, 0, 0x11), 'done');
  assert.equal(m.state.get64('efer'), 0x100n);
  assert.equal(cr(m, 3, 0x10_0000_0000_0000n), '#13(0)', 'reserved address bits');
});

test('the look-aside tables follow CR0.WP, CR3 and CR4', () => {
  const m = protectedMode(0);
  m.memory.write32(0x20000, 0x87); // 4 MiB, with PSE
  cr(m, 4, 0x10);
  cr(m, 3, 0x20000);
  cr(m, 0, PG + 1);
  let flushes = 0;
  m.p.mmu.onFlush = () => flushes++;
  cr(m, 0, PG + 0x1_0001);
  cr(m, 3, 0x20000);
  cr(m, 4, 0x90);
  assert.equal(flushes, 3);
  cr(m, 0, PG + 0x1_0009); // TS alone
  assert.equal(flushes, 3);
  run(m, 'invlpg', 3, 0x1000);
  assert.equal(flushes, 4);
});

test('PAE: the PDPTE registers are loaded and checked with CR3', () => {
  const m = protectedMode(0);
  m.memory.write64(0x20000, 0x21001n);
  m.memory.write64(0x20008, 0x21003n); // a reserved bit
  cr(m, 4, 0x20);
  cr(m, 3, 0x20000);
  assert.equal(cr(m, 0, PG + 1), '#13(0)');
  m.memory.write64(0x20008, 0n);
  m.memory.write64(0x21000, 0x87n);
  assert.equal(cr(m, 0, PG + 1), 'done');
  assert.equal(m.state.get64('pdpte0'), 0x21001n);
  m.memory.write64(0x20028, 0x100_0000_0001n);
  assert.equal(cr(m, 3, 0x20020), '#13(0)');
});

test('CR4 and EFER take the bits that this CPU has', () => {
  assert.equal(attempt(protectedMode(0), 'mov-to-cr', 4, 0x2000), '#13(0)', 'VMXE is not there');
  assert.equal(cr(protectedMode(0), 4, 1 << 17), '#13(0)', 'nor PCID');
  assert.equal(cr(protectedMode(0), 4, 0x600), 'done');
  const m = protectedMode(0);
  m.p.setGpr(1, 64, 0xc000_0080);
  m.p.setGpr(0, 64, 1 << 12);
  assert.equal(attempt(m, 'wrmsr'), '#13(0)');
});

test('CR8, LMSW, CLTS', () => {
  const m = longMode(0);
  assert.equal(cr(m, 8, 16), '#13(0)');
  assert.equal(cr(m, 8, 5), 'done');
  run(m, 'mov-from-cr8', 3);
  assert.equal(m.p.gpr32(3), 5);
  const n = protectedMode(0);
  run(n, 'lmsw', 0xfffe);
  assert.equal(n.state.get32('cr0') & 0xf, 0xf, 'PE stays set');
  run(n, 'clts');
  assert.equal(n.state.get32('cr0') & 0xf, 7);
});

test('leaving protected mode makes null segments usable again and ring 0', () => {
  const m = protectedMode(0);
  run(m, 'mov-to-segment', 3, 0);
  cr(m, 0, 0x10);
  assert.equal(m.p.cpl, 0);
  assert.equal(m.state.get32('dsReadHigh'), 0xffff);
  assert.equal(m.state.get32('esReadHigh'), 0xffff_ffff, 'the others keep their limits');
});

test('debug registers: aliases, fixed bits, general detect', () => {
  const m = protectedMode(0);
  assert.equal(attempt(m, 'mov-to-dr', 6, 0xffff_ffff), 'done');
  assert.equal(m.state.get64('dr6'), 0xffff_eff0n | 0xfn);
  assert.equal(attempt(m, 'mov-to-dr', 7, 0xffff_dfff), 'done');
  assert.equal(m.state.get64('dr7'), 0xffff_07ffn);
  assert.equal(attempt(m, 'mov-to-dr', 4, 0), 'done');
  assert.equal(m.state.get64('dr6'), 0xffff_0ff0n);
  cr(m, 4, 8);
  assert.equal(attempt(m, 'mov-to-dr', 4, 0), '#6');
  writeGate(m, 1, gate(sel.code0, 0x1111, 0x8e));
  run(m, 'mov-to-dr', 7, 0x2000);
  run(m, 'mov-from-dr', 0, 1);
  assert.equal(m.p.rip, 0x1111);
  assert.equal(m.state.get64('dr6') & 0x2000n, 0x2000n);
  assert.equal(m.state.get64('dr7') & 0x2000n, 0n);
  assert.equal(attempt(protectedMode(3), 'mov-from-dr', 0, 1), '#13(0)');
});

test('MSRs keep what they are given, refuse what they cannot hold, and unknown ones are #GP(0)', () => {
  const m = longMode(0);
  const write = (index: number, value: bigint) => {
    m.p.setGpr(1, 64, index);
    m.p.setGpr(0, 64, Number(value & 0xffff_ffffn));
    m.p.setGpr(2, 64, Number(value >> 32n));
    return attempt(m, 'wrmsr');
  };
  const read = (index: number) => {
    m.p.setGpr(1, 64, index);
    const got = attempt(m, 'rdmsr');
    return got === 'done' ? (BigInt(m.p.gpr32(2)) << 32n) | BigInt(m.p.gpr32(0)) : got;
  };
  for (const [index, value] of [
    [0xc000_0081, 0x0023_0008_0000_0000n],
    [0xc000_0082, 0xffff_8000_1234_5678n],
    [0xc000_0084, 0x47700n],
    [0xc000_0100, 0x7fff_1234_5678n],
    [0xc000_0101, 0xffff_ffff_ffff_f000n],
    [0xc000_0102, 0x1000n],
    [0xc000_0103, 7n],
    [0x48, 0x403n],
    [0x174, 8n],
    [0x277, 0x0706_0504_0100_0706n],
    [0x200, 0x8000_0006n],
    [0x26f, 0x0606_0606_0505_0505n],
    [0x2ff, 0xc06n],
  ] as const) {
    assert.equal(write(index, value), 'done', index.toString(16));
    assert.equal(read(index), value, index.toString(16));
  }
  assert.equal(m.p.segments[5]!.base, -4096);
  assert.equal(write(0xc000_0082, 0x8000_0000_0000n), '#13(0)');
  assert.equal(write(0x277, 2n), '#13(0)');
  assert.equal(write(0x2ff, 0x1000n), '#13(0)');
  assert.equal(read(0x1234_5678), '#13(0)');
  assert.equal(write(0xfe, 0n), '#13(0)', 'read-only');
  assert.equal(write(0x48, 4n), '#13(0)', 'SSBD is not there');
  assert.equal(write(0x49, 1n), 'done', 'a barrier');
  assert.equal(write(0x49, 2n), '#13(0)');
  assert.equal(read(0x49), '#13(0)', 'write-only');
  assert.equal(read(0x802), '#13(0)', 'no local APIC');
  assert.equal(attempt(longMode(3), 'rdmsr'), '#13(0)');
});

test('the time-stamp counter can be read and moved', () => {
  const n = protectedMode(0);
  assert.equal(timeStamp(n.p), 1000n);
  n.p.setGpr(1, 64, 0x10);
  n.p.setGpr(0, 64, 0);
  n.p.setGpr(2, 64, 1);
  run(n, 'wrmsr');
  n.tsc.now += 5n;
  assert.equal(timeStamp(n.p), 0x1_0000_0005n);
  assert.equal(n.state.get64('tscAdjust'), 0x1_0000_0000n - 1000n);
});

test('CPUID names its leaves, and shows the features that have definitions and no others', () => {
  const m = longMode(0);
  const text = (...words: number[]) =>
    words.map((w) => String.fromCharCode(w & 255, (w >> 8) & 255, (w >> 16) & 255, w >>> 24)).join('');
  const [max, b, c, d] = cpuidLeaf(m.p, 0, 0);
  assert.equal(text(b, d, c), 'GenuineIntel');
  assert.deepEqual(cpuidLeaf(m.p, max + 1, 0), cpuidLeaf(m.p, max, 0));
  const brand = [2, 3, 4].map((n) => text(...cpuidLeaf(m.p, 0x8000_0000 + n, 0))).join('');
  assert.equal(brand.replace(/\0+$/, ''), 'jit86 virtual processor');
  const [, , ecx, edx] = cpuidLeaf(m.p, 1, 0);
  assert.equal((edx >>> 26) & 1, 1, 'SSE2');
  assert.equal((edx >>> 9) & 1, 0, 'no APIC');
  assert.equal(ecx & 1, 0, 'no SSE3');
  assert.equal((cpuidLeaf(m.p, 0x8000_0001, 0)[3] >>> 11) & 1, 1, 'SYSCALL in 64-bit mode');
  assert.equal((cpuidLeaf(protectedMode(0).p, 0x8000_0001, 0)[3] >>> 11) & 1, 0, 'and nowhere else');
  assert.equal(cpuidLeaf(m.p, 0x8000_0008, 0)[0], 0x3028);
  assert.equal(cpuidLeaf(m.p, 7, 0)[3] >>> 26, 0b1011, 'IBRS, STIBP and what says that they hold for good');
  assert.deepEqual([cpuidLeaf(m.p, 7, 0)[0], cpuidLeaf(m.p, 7, 2)[3], cpuidLeaf(m.p, 7, 3)[3]], [2, 16, 0]);
  m.p.setGpr(0, 64, 4);
  m.p.setGpr(1, 64, 1);
  run(m, 'cpuid');
  assert.equal(m.p.gpr32(0) & 31, 2, 'the instruction cache');
  m.p.setGpr(0, 64, 4);
  m.p.setGpr(1, 64, 9);
  run(m, 'cpuid');
  assert.equal(m.p.gpr32(0) & 31, 0);
});

test('SYSCALL and SYSRET', () => {
  const m = longMode(3);
  m.state.set64('star', 0x0083_0088_0000_0000n);
  m.state.set64('lstar', 0xffff_8000_0000_4000n);
  m.state.set64('sfmask', 0x200n);
  m.p.setRflags(0x247);
  run(m, 'syscall');
  assert.equal(m.state.get64('rip'), 0xffff_8000_0000_4000n);
  assert.equal(m.state.get64('rcx'), 0x5002n);
  assert.equal(m.state.get64('r11'), 0x247n);
  assert.equal(m.p.rflags, 0x47);
  assert.equal(selectors(m).slice(0, 5), '88 90');
  assert.equal(m.p.cpl, 0);
  run(m, 'sysret', 8);
  assert.equal(m.p.rip, 0x5002);
  assert.equal(m.p.rflags, 0x247);
  assert.equal(selectors(m).slice(0, 5), '93 8b');
  assert.equal(m.p.cpl, 3);
  const k = longMode(0);
  k.state.set64('rcx', 0x8000_0000_0000n);
  assert.equal(attempt(k, 'sysret', 8), '#13(0)');
  assert.equal(attempt(longMode(3), 'sysret', 8), '#13(0)');
  k.state.set64('efer', 0xd00n);
  assert.equal(attempt(k, 'syscall'), '#6');
});

test('SYSENTER and SYSEXIT', () => {
  const m = protectedMode(3);
  assert.equal(attempt(m, 'sysenter'), '#13(0)');
  m.state.set64('sysenterCs', 8n);
  m.state.set64('sysenterEsp', 0x9000n);
  m.state.set64('sysenterEip', 0x4000n);
  m.p.setRflags(0x202);
  run(m, 'sysenter');
  assert.deepEqual([m.p.rip, m.p.rsp, m.p.cpl, m.p.rflags], [0x4000, 0x9000, 0, 2]);
  assert.equal(selectors(m).slice(0, 4), '8 10');
  m.p.setGpr(2, 64, 0x6000);
  m.p.setGpr(1, 64, 0x7000);
  run(m, 'sysexit', 4);
  assert.deepEqual([m.p.rip, m.p.rsp, m.p.cpl], [0x6000, 0x7000, 3]);
  assert.equal(selectors(m).slice(0, 5), '1b 23');
});

test('ports: IOPL, the permission bitmap and its end', () => {
  const m = protectedMode(0);
  run(m, 'in', 0x60, 1);
  m.p.setGpr(0, 64, 0x1234_5678);
  run(m, 'out', 0x1f0, 2);
  assert.deepEqual(m.ports.log, ['in1 60', 'out2 1f0=5678']);
  const user = protectedMode(3);
  const map = at.tss + 0x68;
  user.memory.write8(map + (0x60 >> 3), 0b0000_0001);
  assert.equal(attempt(user, 'in', 0x60, 1), '#13(0)');
  assert.equal(attempt(user, 'in', 0x61, 1), 'done');
  assert.equal(attempt(user, 'in', 0x5f, 2), '#13(0)', 'every port of the access counts');
  assert.equal(attempt(user, 'in', 0x7f8, 1), '#13(0)', 'beyond the TSS');
  user.p.setRflags(0x3002);
  assert.equal(attempt(user, 'in', 0x60, 1), 'done');
  user.p.setRflags(0x2_3002);
  assert.equal(attempt(user, 'in', 0x60, 1), '#13(0)', 'virtual-8086 mode does not ask IOPL');
});

test('INS and OUTS repeat, count down, go backwards, and fault before the port gives its value away', () => {
  const m = protectedMode(0);
  m.p.setGpr(2, 64, 0x1f0);
  m.p.setGpr(7, 64, 0x5000);
  m.p.setGpr(1, 64, 3);
  run(m, 'ins', 2, 32, 1);
  assert.deepEqual(stackItems(m, 2, 3, 0x5000), ['6655', '6655', '6655']);
  assert.deepEqual([m.p.gpr32(7), m.p.gpr32(1), m.p.rip], [0x5006, 0, 0x5002]);
  m.ports.log.length = 0;
  m.p.setRflags(0x402);
  m.p.setGpr(6, 64, 0x5002);
  m.p.setGpr(1, 64, 2);
  m.memory.write16(0x5002, 0xbeef);
  run(m, 'outs', 2, 32, 1, 3);
  assert.deepEqual(m.ports.log, ['out2 1f0=beef', 'out2 1f0=6655']);
  assert.equal(m.p.gpr32(6), 0x4ffe);
  m.ports.log.length = 0;
  run(m, 'mov-to-segment', 0, sel.readOnly);
  assert.equal(attempt(m, 'ins', 1, 32, 0), '#13(0)');
  assert.deepEqual(m.ports.log, []);
  run(m, 'mov-to-segment', 0, sel.data0);
  m.state.set32('attention', 1);
  m.p.setGpr(1, 64, 5);
  const { rip } = m.p;
  run(m, 'ins', 1, 32, 1);
  assert.deepEqual([m.p.gpr32(1), m.p.rip], [4, rip], 'attention: one iteration, then the instruction again');
});

test('FXSAVE and FXRSTOR round trip through memory', () => {
  const m = longMode(0);
  m.state.set32('mxcsr', 0x1fa0);
  m.state.set32('fcw', 0x37f);
  m.memory.write8(0x6000 + 500, 0x77);
  run(m, 'fxsave', 0x6000, 1);
  assert.equal(m.memory.read32(0x6000 + 24), 0x1fa0);
  assert.equal(m.memory.read8(0x6000 + 500), 0x77, 'what is reserved stays');
  m.state.set32('mxcsr', 0x1f80);
  run(m, 'fxrstor', 0x6000, 1);
  assert.equal(m.state.get32('mxcsr'), 0x1fa0);
  m.memory.write32(0x6000 + 24, 0x1_0000);
  assert.equal(attempt(m, 'fxrstor', 0x6000, 1), '#13(0)');
});
