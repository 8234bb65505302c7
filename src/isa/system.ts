/**
 * System instructions: control, debug and descriptor-table registers, MSRs, CPUID, time, flags that need a privilege, cache
 * and fence instructions. SDM volume 2. Most are one helper of src/system; what is simple is recorded directly.
 */
import type { Builder } from '../ir/builder.ts';
import type { Insn, MemoryOperand, NumberedOperand, RegisterOperand } from '../ir/operand.ts';
import { RAX, RCX, RDX, SS } from '../ir/operand.ts';
import type { Value } from '../ir/types.ts';
import { define, type Feature, GP, UD } from './define.ts';

/** Records #GP(0) and says so unless CPL is 0. */
function refused(b: Builder): boolean {
  if (b.context.cpl === 0) return false;
  b.raise(GP, 0);
  return true;
}
const privileged = (name: string, forms: readonly string[], helper: string, feature?: Feature) =>
  define(
    name,
    forms,
    (b, x) => {
      if (!refused(b)) b.call(helper, x);
    },
    feature,
  );
const CR4_TSD = 1 << 2;
const CR4_UMIP = 1 << 11;
/** #GP(0) outside CPL 0 where CR4.UMIP keeps programs from reading what only systems need. */
function hidden(b: Builder): void {
  if (b.context.cpl !== 0) b.raiseIf(b.ne(b.and(b.wrap(b.state64('cr4')), b.i32(CR4_UMIP)), b.i32(0)), GP, 0);
}

/** Linear address of what follows at `bytes` after a linear address. */
const further = (b: Builder, address: Value<'i64'>, bytes: number) =>
  b.emit<'i64'>('address.base', [address], bytes, b.context.codeSize === 64 ? 64 : 32);

// --- processor identification, time, MSRs
define('CPUID', ['0F A2'], (b, x) => b.call('cpuid', x));
/** The block ends here: what time it is follows from the instructions that are paid for. */
function readTime(b: Builder, { next }: Insn, processor: boolean): void {
  const { cpl, protectedMode } = b.context;
  if (protectedMode && cpl !== 0) b.raiseIf(b.ne(b.and(b.wrap(b.state64('cr4')), b.i32(CR4_TSD)), b.i32(0)), GP, 0);
  const now = b.emit<'i64'>('time.stamp', []);
  b.setRegister(RAX, 32, b.wrap(now));
  b.setRegister(RDX, 32, b.wrap(b.shrU(now, b.i64(32)) as Value<'i64'>));
  if (processor) b.setRegister(RCX, 32, b.wrap(b.state64('tscAux')));
  b.jump(b.i64(next));
}
define('RDTSC', ['0F 31'], (b, x) => readTime(b, x, false), 'tsc');
define('RDTSCP', ['0F 01 F9'], (b, x) => readTime(b, x, true), 'rdtscp');
define(
  'RDPID',
  ['F3 0F C7 /7! Rq x64', 'F3 0F C7 /7! Rd i64'],
  (b, x) => {
    const id = b.state64('tscAux');
    b.write(x.dst, x.mode === 64 ? id : b.wrap(id));
  },
  'rdpid',
);
for (const [name, extension, feature] of [
  ['RDRAND', 6, 'rdrand'],
  ['RDSEED', 7, 'rdseed'],
] as const)
  define(
    name,
    [`NFx 0F C7 /${extension}! Rv`],
    (b, x) => b.call('random', x, b.i32((x.dst as RegisterOperand).index), b.i32(x.width)),
    feature,
  );
privileged('RDMSR', ['0F 32'], 'rdmsr', 'msr');
privileged('WRMSR', ['0F 30'], 'wrmsr', 'msr');

// --- waiting: for a time, or for a store to a line, which here a waiter looks for by itself
for (const form of ['F3 0F AE /6! Rq x64', 'F3 0F AE /6! Rd i64'])
  define(
    'UMONITOR',
    [form],
    (b, x) => {
      const width = x.addressWidth;
      const offset = b.toI64(b.register((x.dst as RegisterOperand).index, width), width);
      b.probeRead(b.linear(x.segment, offset, 1, false), 1, x.segment === SS); // faults as a byte load does
    },
    'waitpkg',
  );
for (const [name, prefix, helper] of [
  ['TPAUSE', '66', 'tpause'],
  ['UMWAIT', 'F2', 'umwait'],
] as const)
  define(
    name,
    [`${prefix} 0F AE /6! Rd`],
    (b, x) => b.call(helper, x, b.i32((x.dst as RegisterOperand).index)),
    'waitpkg',
  );

// --- calls to the machine's maker: KVM takes either, whatever the processor's maker
define('VMCALL', ['NP 0F 01 C1'], (b, x) => b.call('vmcall', x));
define('VMMCALL', ['NP 0F 01 D9'], (b, x) => b.call('vmcall', x));

// --- flags
const IF = 0x200;
define('CLI', ['FA'], (b, x) => {
  const { protectedMode, cpl, iopl } = b.context;
  if (protectedMode && cpl > iopl) return cpl === 3 ? b.call('cli', x) : b.raise(GP, 0); // there may be a VIF
  b.setState32('rflagsRest', b.and(b.state32('rflagsRest'), b.i32(~IF)));
});
/**
 * Where nothing waits for IF, STI only begins a shadow, and only if interrupts were off. Whether that is over, the engine
 * tells by the budget when it looks: so the block ends here.
 */
define('STI', ['FB'], (b, x) => {
  const { protectedMode, cpl, iopl } = b.context;
  if (protectedMode && cpl > iopl) return b.call('sti', x); // there may be a VIF
  b.callIf(b.state32('interruptsWait'), 'sti', x);
  const rest = b.state32('rflagsRest');
  b.setState32('interruptShadow', b.eqz(b.and(rest, b.i32(IF))));
  b.setState32('shadowBudget', b.emit('budget.get', []));
  b.setState32('rflagsRest', b.or(rest, b.i32(IF)));
  b.jump(b.i64(x.next));
});
const AC = 1 << 18;
for (const [name, form, lifted] of [
  ['CLAC', 'NP 0F 01 CA', false],
  ['STAC', 'NP 0F 01 CB', true],
] as const)
  define(
    name,
    [form],
    (b, x) => {
      if (b.context.cpl !== 0) return b.raise(UD);
      b.emit('smap.access', [b.i32(lifted ? 1 : 0)]);
      const rest = b.state32('rflagsRest');
      b.setState32('rflagsRest', lifted ? b.or(rest, b.i32(AC)) : b.and(rest, b.i32(~AC)));
      b.jump(b.i64(x.next));
    },
    'smap',
  );
privileged('HLT', ['F4'], 'hlt');

// --- control and debug registers
const isControl = (index: number) => index === 0 || index === 2 || index === 3 || index === 4 || index === 8;
/** CR8, the local APIC's task priority; who does it, the field `priorityPaths` says. */
const HELD_IN_FIELD = 3;
function readPriority(b: Builder, x: Insn): void {
  const { index } = x.dst as RegisterOperand;
  b.callIf(b.eqz(b.state32('priorityPaths')), 'mov-from-cr8', x, b.i32(index));
  b.setRegister(index, 32, b.shrU(b.state32('taskPriority'), b.i32(4)));
  b.jump(b.i64(x.next));
}
function writePriority(b: Builder, x: Insn): void {
  const value = b.toI64(b.read(x.src), x.mode === 64 ? 64 : 32);
  b.raiseIf(b.ne(b.and(value, b.i64(~15)), b.i64(0)), GP, 0);
  b.callIf(b.ne(b.state32('priorityPaths'), b.i32(HELD_IN_FIELD)), 'mov-to-cr', x, b.i32(8), value);
  b.setState32('taskPriority', b.shl(b.wrap(value), b.i32(4)));
  b.jump(b.i64(x.next));
}
define('MOV', ['0F 20 Rq,Cq x64', '0F 20 Rd,Cd i64'], (b, x) => {
  const { index } = x.src as NumberedOperand;
  if (!isControl(index)) return b.raise(UD);
  if (refused(b)) return;
  if (index === 8) return readPriority(b, x);
  b.write(x.dst, b.fromI64(b.state64(`cr${index}`), x.mode === 64 ? 64 : 32));
});
define('MOV', ['0F 22 Cq,Rq x64', '0F 22 Cd,Rd i64'], (b, x) => {
  const { index } = x.dst as NumberedOperand;
  if (!isControl(index)) return b.raise(UD);
  if (refused(b)) return;
  if (index === 8) return writePriority(b, x);
  b.call('mov-to-cr', x, b.i32(index), b.read(x.src));
});
define('MOV', ['0F 21 Rq,Dq x64', '0F 21 Rd,Dd i64'], (b, x) => {
  if (!refused(b))
    b.call('mov-from-dr', x, b.i32((x.src as NumberedOperand).index), b.i32((x.dst as RegisterOperand).index));
});
define('MOV', ['0F 23 Dq,Rq x64', '0F 23 Dd,Rd i64'], (b, x) => {
  if (!refused(b)) b.call('mov-to-dr', x, b.i32((x.dst as NumberedOperand).index), b.read(x.src));
});
privileged('CLTS', ['0F 06'], 'clts');
define('LMSW', ['0F 01 /6 Ew'], (b, x) => {
  if (!refused(b)) b.call('lmsw', x, b.read(x.dst));
});
define('SMSW', ['0F 01 /4 Rv', '0F 01 /4 Mw'], (b, { dst, width }) => {
  hidden(b);
  b.write(dst, b.fromI64(b.state64('cr0'), width));
});
define('INVLPG', ['0F 01 /7@ Mb'], (b, x) => {
  if (refused(b)) return;
  const memory = x.dst as MemoryOperand;
  b.call('invlpg', x, b.i32(memory.segment), b.effectiveAddress(memory));
});
define(
  'INVPCID',
  ['66 0F 38 82 Gq,Mdq x64', '66 0F 38 82 Gd,Mdq i64'],
  (b, x) => {
    if (refused(b)) return;
    const memory = x.src as MemoryOperand;
    const stack = memory.segment === SS;
    const address = b.address(memory, 16, false);
    const identifier = b.load(address, 64, stack);
    const linear = b.load(further(b, address, 8), 64, stack);
    b.call('invpcid', x, b.read(x.dst), identifier, linear);
  },
  'invpcid',
);
const CR4_PKE = 1 << 22;
/** RDPKRU and WRPKRU exist once CR4.PKE is set, and want ECX to be zero. */
function checkKeys(b: Builder): void {
  b.raiseIf(b.eqz(b.and(b.wrap(b.state64('cr4')), b.i32(CR4_PKE))), UD);
  b.raiseIf(b.ne(b.register(RCX, 32), b.i32(0)), GP, 0);
}
define(
  'RDPKRU',
  ['NP 0F 01 EE'],
  (b) => {
    checkKeys(b);
    b.setRegister(RAX, 32, b.state32('pkru'));
    b.setRegister(RDX, 32, b.i32(0));
  },
  'pku',
);
define(
  'WRPKRU',
  ['NP 0F 01 EF'],
  (b, x) => {
    checkKeys(b);
    b.raiseIf(b.ne(b.register(RDX, 32), b.i32(0)), GP, 0);
    b.call('wrpkru', x);
  },
  'pku',
);
define('RSM', ['0F AA'], (b, x) => b.call('rsm', x));
privileged('INVD', ['0F 08'], 'wbinvd');
privileged('WBINVD', ['NP 0F 09'], 'wbinvd');

// --- descriptor tables
for (const [name, extension, table] of [
  ['SGDT', 0, 'gdtr'],
  ['SIDT', 1, 'idtr'],
] as const)
  define(name, [`0F 01 /${extension}@ Ms`], (b, x) => {
    const memory = x.dst as MemoryOperand;
    const wide = x.mode === 64;
    const stack = memory.segment === SS;
    hidden(b);
    const address = b.address(memory, wide ? 10 : 6, true);
    b.probeWrite(address, wide ? 10 : 6, stack);
    b.store(address, 16, b.state32(`${table}Limit`), stack);
    const base = b.state64(`${table}Base`);
    b.store(further(b, address, 2), wide ? 64 : 32, wide ? base : b.wrap(base), stack);
  });

for (const [name, extension, helper] of [
  ['LGDT', 2, 'lgdt'],
  ['LIDT', 3, 'lidt'],
] as const)
  define(name, [`0F 01 /${extension}@ Ms`], (b, x) => {
    if (refused(b)) return;
    const memory = x.dst as MemoryOperand;
    const wide = x.mode === 64;
    const stack = memory.segment === SS;
    const address = b.address(memory, wide ? 10 : 6, false);
    const limit = b.load(address, 16, stack);
    const base = b.load(further(b, address, 2), wide ? 64 : 32, stack);
    // With a 16-bit operand size the base has 24 bits.
    const cut = !wide && x.width === 16 ? b.and(base, b.i32(0xff_ffff)) : base;
    b.call(helper, x, cut, limit);
  });

for (const [name, extension, field] of [
  ['SLDT', 0, 'ldtrSelector'],
  ['STR', 1, 'trSelector'],
] as const)
  define(name, [`0F 00 /${extension} Rv protected`, `0F 00 /${extension} Mw protected`], (b, { dst, width }) => {
    hidden(b);
    const value = b.state32(field);
    b.write(dst, width === 64 ? b.extendU(value) : value);
  });
for (const [name, extension, helper] of [
  ['LLDT', 2, 'lldt'],
  ['LTR', 3, 'ltr'],
] as const)
  define(name, [`0F 00 /${extension} Ew protected`], (b, x) => {
    if (!refused(b)) b.call(helper, x, b.read(x.dst));
  });
for (const [name, extension, helper] of [
  ['VERR', 4, 'verr'],
  ['VERW', 5, 'verw'],
] as const)
  define(name, [`0F 00 /${extension} Ew protected`], (b, x) => b.call(helper, x, b.read(x.dst)));
for (const [name, opcode, helper] of [
  ['LAR', '0F 02', 'lar'],
  ['LSL', '0F 03', 'lsl'],
] as const)
  define(name, [`${opcode} Gv,Rv protected`, `${opcode} Gv,Mw protected`], (b, x) => {
    b.call(helper, x, b.read(x.src), b.i32((x.dst as RegisterOperand).index | (x.width << 8)));
  });

const ZF = 0x40;
define('ARPL', ['63 Ew,Gw i64 protected'], (b, { dst, src }) => {
  const wanted = b.and(b.read(src), b.i32(3));
  let lower = b.i32(0);
  b.modify(dst, (old) => {
    lower = b.ltU(b.and(old, b.i32(3)), wanted);
    return b.select(lower, b.or(b.and(old, b.i32(~3)), wanted), old);
  });
  b.mergeFlags(ZF, b.shl(lower, b.i32(6)));
});
