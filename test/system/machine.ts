/** What the tests of src/mmu and src/system share: a vCPU block and RAM in one small memory. */

import assert from 'node:assert/strict';
import { Mmu } from '../../src/mmu/mmu.ts';
import { PhysicalMemory } from '../../src/mmu/physical-memory.ts';
import { CpuState } from '../../src/state/cpu-state.ts';
import { cpuBytes, layout } from '../../src/state/layout.ts';
import { NO_ERROR_CODE } from '../../src/state/vectors.ts';
import { Cpu } from '../../src/system/cpu.ts';
import { type CpuModelName, cpuModel } from '../../src/system/cpu-models.ts';
import { GuestFault } from '../../src/system/fault.ts';
import { type HelperName, helpers } from '../../src/system/helpers.ts';
import { descriptor, gate } from '../engines/system-code.ts';

export const ramBytes = 4 << 20;

export class MmioRecorder {
  readonly log: string[] = [];
  value = 0x44332211;
  read(address: number, bytes: number): number {
    this.log.push(`r${bytes} ${address.toString(16)}`);
    return bytes === 4 ? this.value : this.value & (bytes === 2 ? 0xffff : 0xff);
  }
  write(address: number, bytes: number, value: number): void {
    this.log.push(`w${bytes} ${address.toString(16)}=${value.toString(16)}`);
  }
}

/** RAM at 0, 1 MiB of RAM at 4 GiB (the last one of the four), the rest MMIO. */
export function memoryAndMmu() {
  const buffer = new ArrayBuffer(cpuBytes + ramBytes);
  const state = new CpuState(buffer, 0);
  const mmio = new MmioRecorder();
  const memory = new PhysicalMemory(buffer, mmio);
  const low = ramBytes - (1 << 20);
  memory.replace([
    { kind: 'ram', start: 0, length: low, hostOffset: cpuBytes },
    { kind: 'ram', start: 2 ** 32, length: 1 << 20, hostOffset: cpuBytes + low },
  ]);
  const mmu = new Mmu(state, memory);
  return { buffer, state, mmio, memory, mmu };
}

// --- a whole CPU around it, without an engine

/** What the helpers ask of an engine, recorded. */
export class FakeEngine {
  arithmetic = 0;
  contextChanges = 0;
  flags(): number {
    return this.arithmetic;
  }
  setFlags(word: number): void {
    this.arithmetic = word & 0x8d5;
  }
  setBreakpoints(): void {}
  portAnswered(): void {}
  portProgram(): void {}
  forgetPrograms(): void {}
  contextChanged(): void {
    this.contextChanges++;
  }
}

export class PortRecorder {
  readonly log: string[] = [];
  value = 0x8877_6655;
  read(port: number, bytes: number): number {
    this.log.push(`in${bytes} ${port.toString(16)}`);
    return bytes === 4 ? this.value : this.value & (bytes === 2 ? 0xffff : 0xff);
  }
  write(port: number, bytes: number, value: number): void {
    this.log.push(`out${bytes} ${port.toString(16)}=${value.toString(16)}`);
  }
}

export const everyFeature: ReadonlySet<string> = new Set([
  'base',
  'fpu',
  'cmov',
  'cx8',
  'cx16',
  'mmx',
  'fxsr',
  'sse',
  'sse2',
  'rdtscp',
  'syscall',
  'sep',
  'clflush',
  'lahf64',
  'tsc',
  'msr',
  'fsgsbase',
  'smap',
  'invpcid',
  'pku',
]);

/** A CPU that has just been reset. */
export function machine(model: CpuModelName = 'max') {
  const buffer = new ArrayBuffer(cpuBytes + ramBytes);
  const state = new CpuState(buffer, 0);
  const mmio = new MmioRecorder();
  const memory = new PhysicalMemory(buffer, mmio);
  memory.replace([{ kind: 'ram', start: 0, length: ramBytes, hostOffset: cpuBytes }]);
  const engine = new FakeEngine();
  const ports = new PortRecorder();
  const tsc = { now: 1000n, hertz: 1_000_000_000, read: () => tsc.now, nanosAt: Number };
  const cpu = new Cpu(state, memory, {
    engine,
    ports,
    tsc,
    random: null,
    apic: null,
    model: cpuModel(model, everyFeature),
    index: 0,
    cpus: 1,
  });
  return { buffer, state, memory, mmio, engine, ports, tsc, cpu, p: cpu.processor };
}
export type Machine = ReturnType<typeof machine>;

// Descriptor bits: access byte, then G, D/B, L as flags.
export const G = 8;
export const DB = 4;
export const L = 2;
/** Where the tests keep their tables. */
export const at = { gdt: 0x1000, ldt: 0x1800, idt: 0x2000, tss: 0x3000, otherTss: 0x3800, pml4: 0x10000 } as const;

/** Selectors of the GDT that `protectedMode` sets up. */
export const sel = {
  code0: 0x08,
  data0: 0x10,
  code3: 0x1b,
  data3: 0x23,
  conforming: 0x28,
  executeOnly: 0x30,
  readOnly: 0x38,
  absent: 0x40,
  tss: 0x48,
  ldt: 0x58,
  code1: 0x69,
  data1: 0x71,
  small: 0x78,
  down: 0x80,
  code64: 0x88,
  code64user: 0x93,
  otherTss: 0x98,
  taskGate: 0xa0,
  callGate: 0xa8,
  code16: 0xb0,
  stack16: 0xb8,
} as const;

export function writeEntry(m: Machine, table: number, selector: number, words: readonly number[]): void {
  for (const [i, word] of words.entries()) m.memory.write32(table + (selector & ~7) + i * 4, word);
}

function setSegment(m: Machine, name: string, selector: number, [low, high]: readonly [number, number]): void {
  const limit = (low & 0xffff) | (high & 0xf_0000);
  m.state.set32(`${name}Selector`, selector);
  m.state.set64(`${name}Base`, BigInt(((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000)) >>> 0));
  m.state.set32(`${name}Limit`, (high & 0x80_0000 ? ((limit << 12) | 0xfff) >>> 0 : limit) >>> 0);
  m.state.set32(`${name}Access`, ((high >>> 8) & 0xf0ff) | 0x1_0000);
}

/** 32-bit protected mode at a ring, with GDT, LDT, TSS and IDT in place; paging off. */
export function protectedMode(cpl: 0 | 1 | 3 = 0, model: CpuModelName = 'max'): Machine {
  const m = machine(model);
  const gdt = (selector: number, words: readonly number[]) => writeEntry(m, at.gdt, selector, words);
  gdt(sel.code0, descriptor(0, 0xfffff, 0x9a, G | DB));
  gdt(sel.data0, descriptor(0, 0xfffff, 0x92, G | DB));
  gdt(sel.code3, descriptor(0, 0xfffff, 0xfa, G | DB));
  gdt(sel.data3, descriptor(0, 0xfffff, 0xf2, G | DB));
  gdt(sel.conforming, descriptor(0, 0xfffff, 0x9e, G | DB));
  gdt(sel.executeOnly, descriptor(0, 0xfffff, 0x98, G | DB));
  gdt(sel.readOnly, descriptor(0, 0xfffff, 0x90, G | DB));
  gdt(sel.absent, descriptor(0, 0xfffff, 0x12, G | DB));
  gdt(sel.tss, descriptor(at.tss, 0x67 + 0x100, 0x8b, 0));
  gdt(sel.ldt, descriptor(at.ldt, 0x7f, 0x82, 0));
  gdt(sel.code1, descriptor(0, 0xfffff, 0xba, G | DB));
  gdt(sel.data1, descriptor(0, 0xfffff, 0xb2, G | DB));
  gdt(sel.small, descriptor(0x4000, 0xff, 0x92, DB));
  gdt(sel.down, descriptor(0x4000, 0xfff, 0x96, DB));
  gdt(sel.code64, descriptor(0, 0xfffff, 0x9a, G | L));
  gdt(sel.code64user, descriptor(0, 0xfffff, 0xfa, G | L));
  gdt(sel.otherTss, descriptor(at.otherTss, 0x67, 0x89, 0));
  gdt(sel.taskGate, gate(sel.otherTss, 0, 0x85));
  gdt(sel.code16, descriptor(0, 0xffff, 0x9a, 0));
  gdt(sel.stack16, descriptor(0, 0xffff, 0x92, 0));
  m.state.set64('gdtrBase', BigInt(at.gdt));
  m.state.set32('gdtrLimit', 0xff);
  m.state.set64('idtrBase', BigInt(at.idt));
  m.state.set32('idtrLimit', 0x7ff);
  m.state.set64('cr0', 0x11n);
  const ring = { 0: [sel.code0, sel.data0], 1: [sel.code1, sel.data1], 3: [sel.code3, sel.data3] }[cpl];
  const words = (selector: number): [number, number] => [
    m.memory.read32(at.gdt + (selector & ~7)),
    m.memory.read32(at.gdt + (selector & ~7) + 4) | 0x100,
  ];
  setSegment(m, 'cs', ring[0]!, words(ring[0]!));
  for (const name of ['ds', 'es', 'ss', 'fs', 'gs']) setSegment(m, name, ring[1]!, words(ring[1]!));
  setSegment(m, 'ldtr', sel.ldt, words(sel.ldt));
  setSegment(m, 'tr', sel.tss, words(sel.tss));
  m.state.set32('cpl', cpl);
  m.state.set64('rsp', 0x8000n);
  m.state.set64('rip', 0x5000n);
  for (const [ring0, [ss, esp]] of [
    [sel.data0, 0x9000],
    [sel.data1, 0xa000],
  ].entries()) {
    m.memory.write32(at.tss + 4 + ring0 * 8, esp!);
    m.memory.write32(at.tss + 8 + ring0 * 8, ss!);
  }
  m.memory.write16(at.tss + 102, 0x68);
  m.cpu.stateReplaced();
  return m;
}

/** 64-bit mode at a ring: the first 4 MiB are mapped where they are, and at FFFF_8000_0000_0000H. */
export function longMode(cpl: 0 | 3 = 0, model: CpuModelName = 'max'): Machine {
  const m = protectedMode(cpl, model);
  m.memory.write32(at.pml4, 0x11007);
  m.memory.write32(at.pml4 + 256 * 8, 0x11007);
  m.memory.write32(0x11000, 0x12007);
  m.memory.write32(0x12000, 0x000087);
  m.memory.write32(0x12008, 0x200087);
  m.state.set64('cr3', BigInt(at.pml4));
  m.state.set64('cr4', 0x20n);
  m.state.set64('efer', 0xd01n);
  m.state.set64('cr0', 0x8001_0011n);
  const code = cpl === 0 ? sel.code64 : sel.code64user;
  setSegment(m, 'cs', code, [m.memory.read32(at.gdt + (code & ~7)), m.memory.read32(at.gdt + (code & ~7) + 4) | 0x100]);
  // RSP0-2, IST1-7
  m.memory.write64(at.tss + 4, 0x9000n);
  m.memory.write64(at.tss + 12, 0xa000n);
  m.memory.write64(at.tss + 36, 0xb008n);
  m.cpu.stateReplaced();
  return m;
}

/** An IDT gate of 8 or, in IA-32e mode, 16 bytes. */
export function writeGate(m: Machine, vector: number, words: readonly number[]): void {
  const size = m.p.longMode ? 16 : 8;
  for (const [i, word] of words.entries()) m.memory.write32(at.idt + vector * size + i * 4, word);
}

export const faultText = (f: GuestFault): string =>
  f.errorCode === NO_ERROR_CODE ? `#${f.vector}` : `#${f.vector}(${f.errorCode.toString(16)})`;

const guestState = [...layout.values()].filter(
  (f) => f.set !== null || f.name.startsWith('flag') || /Low|High/.test(f.name),
);
const snapshot = (m: Machine): string =>
  guestState.map((f) => `${f.name}=${m.state.get32(f.name)},${m.state.u32[(f.offset >> 2) + 1]}`).join('\n');

/**
 * Runs a helper on its own at rip; the instruction has two bytes. Returns `done`, or the fault that it raised, after a look
 * that the fault has left registers and memory as they were.
 */
export function attempt(m: Machine, name: HelperName, ...args: (number | bigint)[]): string {
  for (const [i, value] of args.entries()) m.state.set64(`argument${i}`, BigInt.asUintN(64, BigInt(value)));
  m.p.next = m.p.rip + 2;
  const before = snapshot(m);
  const memory = m.memory.u8.slice(cpuBytes);
  try {
    helpers[name](m.p);
    return 'done';
  } catch (thrown) {
    if (!(thrown instanceof GuestFault)) throw thrown;
    assert.equal(snapshot(m), before, `${name} raised ${faultText(thrown)} and changed registers`);
    const after = m.memory.u8.subarray(cpuBytes);
    // Accessed flags of descriptors may have been set.
    const changed = after.findIndex((byte, i) => byte !== memory[i] && !((i & 7) === 5 && byte === (memory[i]! | 1)));
    assert.equal(changed, -1, `${name} raised ${faultText(thrown)} and changed memory at 0x${changed.toString(16)}`);
    return faultText(thrown);
  }
}

/** The same through `runHelper`, faults delivered. */
export function run(m: Machine, name: HelperName, ...args: (number | bigint)[]): void {
  for (const [i, value] of args.entries()) m.state.set64(`argument${i}`, BigInt.asUintN(64, BigInt(value)));
  m.cpu.runHelper(name, m.p.rip + 2);
}

/** Items on the stack from rsp upwards, in hex. */
export function stackItems(m: Machine, bytes: 2 | 4 | 8, count: number, linear = m.p.rsp): string[] {
  return Array.from({ length: count }, (_, i) => {
    const physical = (linear + i * bytes) % 2 ** 32;
    if (bytes === 2) return m.memory.read16(physical).toString(16);
    return (bytes === 4 ? m.memory.read32(physical) : m.memory.read64(physical)).toString(16);
  });
}
export const selectors = (m: Machine): string =>
  ['cs', 'ss', 'ds', 'es', 'fs', 'gs'].map((name) => m.state.get32(`${name}Selector`).toString(16)).join(' ');
