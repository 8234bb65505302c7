/**
 * gdb's registers out of a vCPU's (`vcpu.state`). First those that gdb knows by itself, in the features org.gnu.gdb.i386.*;
 * then, in a feature of our own, all others: a new register of src/state/layout.ts appears there. GDB manual, "i386 Features".
 */
import type { RegisterInfo, RegisterTuple } from '../vm/registers.ts';
import type { Vcpu } from '../vm/vcpu.ts';

/** `i8086` has the registers of `i386`, and gdb disassembles 16-bit code. */
export type GdbArchitecture = 'i8086' | 'i386' | 'i386:x86-64';

export interface GdbRegister {
  readonly name: string;
  readonly bytes: number;
  /** As in the target description. */
  readonly type: string;
  readonly group: 'general' | 'float' | 'vector' | 'system';
  read(vcpu: Vcpu): bigint;
  /** What to set. */
  write(vcpu: Vcpu, value: bigint): RegisterTuple[];
}

export interface GdbFeature {
  readonly name: string;
  readonly registers: readonly GdbRegister[];
}

const general64 = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'rbp',
  'rsp',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
  'rip',
];
const general32 = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi', 'eip'];
const segments = ['cs', 'ss', 'ds', 'es', 'fs', 'gs'];

type Group = GdbRegister['group'];

/** A register under gdb's name. */
function alias(name: string, ours: string, bytes: number, type: string, group: Group = 'general'): GdbRegister {
  return {
    name,
    bytes,
    type,
    group,
    read: ({ state }) => BigInt.asUintN(bytes * 8, state.get(state.idOf(ours))),
    write: ({ state }, value) => [[state.idOf(ours), value]],
  };
}

/**
 * The instruction pointer as gdb wants it: a linear address, where memory and breakpoints are; in real mode and with segments
 * CS's base is in it.
 */
export function programCounter(name: string, bytes: 4 | 8): GdbRegister {
  const bits = bytes * 8;
  const base = (vcpu: Vcpu): bigint => (vcpu.cpu.processor.code64 ? 0n : value(vcpu, 'csBase'));
  return {
    name,
    bytes,
    type: 'code_ptr',
    group: 'general',
    read: (vcpu) => BigInt.asUintN(vcpu.cpu.processor.code64 ? bits : 32, value(vcpu, 'rip') + base(vcpu)),
    write: (vcpu, v) => [[vcpu.state.idOf('rip'), BigInt.asUintN(vcpu.cpu.processor.code64 ? 64 : 32, v - base(vcpu))]],
  };
}

const value = ({ state }: Vcpu, name: string): bigint => state.get(state.idOf(name));
/** Number of the physical register that is ST(i). */
const physical = (vcpu: Vcpu, i: number): number => (Number((value(vcpu, 'fsw') >> 11n) & 7n) + i) & 7;

function stackRegister(i: number): GdbRegister {
  return {
    name: `st${i}`,
    bytes: 10,
    type: 'i387_ext',
    group: 'float',
    read: (vcpu) => value(vcpu, `fpr${physical(vcpu, i)}`),
    write: (vcpu, v) => [[vcpu.state.idOf(`fpr${physical(vcpu, i)}`), v]],
  };
}

const EMPTY = 3;
/** Two bits of the full tag word: valid, zero, special. SDM volume 1, section 8.1.7. */
function tagOf(number: bigint): number {
  const exponent = Number((number >> 64n) & 0x7fffn);
  const significand = number & 0xffff_ffff_ffff_ffffn;
  if (exponent === 0 && significand === 0n) return 1;
  return exponent === 0 || exponent === 0x7fff || significand >> 63n === 0n ? 2 : 0;
}
/** The state keeps one bit for each register: is it in use? */
const tagWord: GdbRegister = {
  name: 'ftag',
  bytes: 4,
  type: 'int',
  group: 'float',
  read: (vcpu) => {
    const used = Number(value(vcpu, 'ftw'));
    let word = 0;
    for (let i = 0; i < 8; i++) word |= (((used >> i) & 1) === 0 ? EMPTY : tagOf(value(vcpu, `fpr${i}`))) << (2 * i);
    return BigInt(word);
  },
  write: ({ state }, v) => {
    let used = 0;
    for (let i = 0; i < 8; i++) if (((Number(v & 0xffffn) >> (2 * i)) & 3) !== EMPTY) used |= 1 << i;
    return [[state.idOf('ftw'), BigInt(used)]];
  },
};

/** The full pointer where there is one: its low half is gdb's, the high half stays. */
function lowHalf(name: string, ours: string): GdbRegister {
  return {
    name,
    bytes: 4,
    type: 'int',
    group: 'float',
    read: (vcpu) => BigInt.asUintN(32, value(vcpu, ours)),
    write: (vcpu, v) => [[vcpu.state.idOf(ours), ((value(vcpu, ours) >> 32n) << 32n) | v]],
  };
}

const float: readonly GdbRegister[] = [
  ...Array.from({ length: 8 }, (_, i) => stackRegister(i)),
  alias('fctrl', 'fcw', 4, 'int', 'float'),
  alias('fstat', 'fsw', 4, 'int', 'float'),
  tagWord,
  alias('fiseg', 'fcs', 4, 'int', 'float'),
  lowHalf('fioff', 'fip'),
  alias('foseg', 'fds', 4, 'int', 'float'),
  lowHalf('fooff', 'fdp'),
  alias('fop', 'fop', 4, 'int', 'float'),
];

/** What the features below show already, by our names. */
const shownOtherwise = new Set([
  ...general64,
  'rflags',
  ...segments.map((name) => `${name}Selector`),
  ...Array.from({ length: 8 }, (_, i) => `fpr${i}`),
  'fcw',
  'fsw',
  'ftw',
  'fcs',
  'fip',
  'fds',
  'fdp',
  'fop',
  'mxcsr',
  ...Array.from({ length: 16 }, (_, i) => [`xmm${i}`, `ymmHigh${i}`]).flat(),
]);
const typesBySize: Readonly<Record<number, string>> = { 4: 'uint32', 8: 'uint64', 10: 'i387_ext', 16: 'uint128' };

function otherRegister({ id, name, size }: RegisterInfo): GdbRegister {
  return {
    name,
    bytes: size,
    type: typesBySize[size]!,
    group: 'system',
    read: ({ state }) => state.get(id),
    write: (_, v) => [[id, v]],
  };
}

/** The features of a vCPU, in the order of gdb's numbers. CPUID's leaves are constants and stay out. */
export function gdbFeatures(vcpu: Vcpu, architecture: GdbArchitecture): readonly GdbFeature[] {
  const wide = architecture === 'i386:x86-64';
  const { features } = vcpu.cpu.processor;
  const vectors = Array.from({ length: wide ? 16 : 8 }, (_, i) => i);
  const pointers = ['rsp', 'rbp', 'esp', 'ebp'];
  const general = (name: string, ours: string, bytes: 4 | 8) =>
    name.endsWith('ip')
      ? programCounter(name, bytes)
      : alias(name, ours, bytes, pointers.includes(name) ? 'data_ptr' : `int${bytes * 8}`);
  const core = wide
    ? general64.map((name) => general(name, name, 8))
    : general32.map((name) => general(name, `r${name.slice(1)}`, 4));
  const list: GdbFeature[] = [
    {
      name: 'org.gnu.gdb.i386.core',
      registers: [
        ...core,
        alias('eflags', 'rflags', 4, 'i386_eflags'),
        ...segments.map((name) => alias(name, `${name}Selector`, 4, 'int32')),
        ...float,
      ],
    },
  ];
  if (features.has('sse'))
    list.push({
      name: 'org.gnu.gdb.i386.sse',
      registers: [
        ...vectors.map((i) => alias(`xmm${i}`, `xmm${i}`, 16, 'vec128', 'vector')),
        alias('mxcsr', 'mxcsr', 4, 'i386_mxcsr', 'vector'),
      ],
    });
  if (wide)
    list.push({
      name: 'org.gnu.gdb.i386.segments',
      registers: ['fs', 'gs'].map((name) => alias(`${name}_base`, `${name}Base`, 8, 'int')),
    });
  if (features.has('sse') && features.has('avx'))
    list.push({
      name: 'org.gnu.gdb.i386.avx',
      registers: vectors.map((i) => alias(`ymm${i}h`, `ymmHigh${i}`, 16, 'uint128', 'vector')),
    });
  const others = vcpu.state.list().filter(({ set, name }) => set !== 'cpuid' && !shownOtherwise.has(name));
  list.push({ name: systemFeature, registers: others.map(otherRegister) });
  return list;
}
/** What gdb does not know by itself. */
export const systemFeature = 'org.jit86.system';

/** A register's bytes as gdb has them: little endian. */
export function littleEndian(v: bigint, bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => Number((v >> BigInt(8 * i)) & 0xffn));
}
export function fromLittleEndian(bytes: Uint8Array): bigint {
  let v = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) v = (v << 8n) | BigInt(bytes[i]!);
  return v;
}
