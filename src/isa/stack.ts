/**
 * PUSH, POP, PUSHA, POPA, PUSHF, POPF, ENTER, LEAVE; those of segment registers stand with the segments. The operand
 * width says how much is moved, the stack segment (`context.stackSize`) how wide the stack pointer is. SDM volume 2.
 */
import type { Builder } from '../ir/builder.ts';
import { ARITHMETIC_FLAGS } from '../ir/flags.ts';
import {
  type ImmediateOperand,
  type Insn,
  type MemoryOperand,
  type Operand,
  RAX,
  RBP,
  RBX,
  RCX,
  RDI,
  RDX,
  RSI,
  RSP,
  SS,
} from '../ir/operand.ts';
import type { Int, Value, Width } from '../ir/types.ts';
import { define, GP } from './define.ts';

define('PUSH', ['50+r Zv d64', '68 Iz d64', '6A Ibs d64', 'FF /6 Ev d64'], (b, { dst, width }) =>
  b.push(width, b.read(dst)));

/** An address relative to rSP as it will be once `bytes` have been popped. */
function addressAfterPop(b: Builder, o: MemoryOperand, bytes: number): Value<'i64'> {
  if (o.base !== RSP) return b.address(o, o.width / 8, true);
  const { stackSize } = b.context;
  const whole = b.emit<'i64'>('reg.get', [], RSP);
  const moved = b.stackOffset(b.stackPointer(), bytes);
  const base = stackSize === 16 ? b.emit<'i64'>('insert16', [whole, b.wrap(moved)]) : moved;
  const displacement = Number(o.displacement);
  const offset: Value<'i64'> =
    o.index < 0
      ? b.emit('address.base', [base], displacement, o.addressWidth)
      : b.emit('address.index', [base, b.emit('reg.get', [], o.index)], o.scale, displacement, o.addressWidth);
  return b.linear(o.segment, offset, o.width / 8, true);
}

/** The stack pointer moves before a register is written, so that POP rSP loads what was popped. */
function pop(b: Builder, dst: Operand, width: Width): void {
  if (dst.kind !== 'memory') {
    b.write(dst, b.pop(width));
    return;
  }
  const pointer = b.stackPointer();
  const value = b.loadStack(pointer, width);
  b.store(addressAfterPop(b, dst, width / 8), width, value, dst.segment === SS);
  b.setStackPointer(b.stackOffset(pointer, width / 8));
}
define('POP', ['58+r Zv d64', '8F /0 Ev d64'], (b, { dst, width }) => pop(b, dst, width));

/** Faults now where any of `count` pushes below `top` would. */
function probePushes(b: Builder, top: Value<'i64'>, count: number, width: Width): void {
  const bytes = width / 8;
  // In a flat segment a run shorter than a page touches the pages of its two ends; elsewhere limits and wrapping count.
  const both = b.context.flat && count * bytes <= 4096;
  for (let i = 1; i <= count; i++) {
    if (both && i > 1 && i < count) continue;
    b.probeWrite(b.linear(SS, b.stackOffset(top, -i * bytes), bytes, true), bytes, true);
  }
}

const all = [RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI];

define('PUSHA', ['60 i64'], (b, { width }) => {
  const bytes = width / 8;
  const top = b.stackPointer();
  probePushes(b, top, all.length, width);
  for (const [i, index] of all.entries()) {
    b.storeStack(b.stackOffset(top, -(i + 1) * bytes), width, b.register(index, width));
  }
  b.setStackPointer(b.stackOffset(top, -all.length * bytes));
});

define('POPA', ['61 i64'], (b, { width }) => {
  const bytes = width / 8;
  const top = b.stackPointer();
  const order = all.toReversed();
  const values = order.map((index, i) => (index === RSP ? null : b.loadStack(b.stackOffset(top, i * bytes), width)));
  order.forEach((index, i) => {
    if (values[i] !== null) b.setRegister(index, width, values[i]!);
  });
  b.setStackPointer(b.stackOffset(top, all.length * bytes));
});

/** In virtual-8086 mode PUSHF and POPF belong to the monitor unless IOPL is 3. */
const monitored = (b: Builder) => b.context.virtual8086 && b.context.iopl < 3;

const TF_BIT = 8;
const IF_BIT = 9;
const IOPL = 0x3000;
const VIF_BIT = 19;
const VIP_BIT = 20;
const DF = 0x400;
const CR4_VME = 1;
/** Without CR4.VME, and with 32 bits, they are the monitor's. SDM volume 3, section 21.3. */
function requireVirtualFlags(b: Builder, width: Width): boolean {
  if (width === 16) b.raiseIf(b.eqz(b.and(b.wrap(b.state64('cr4')), b.i32(CR4_VME))), GP, 0);
  else b.raise(GP, 0);
  return width === 16;
}
/** IOPL 3, and IF is VIF. */
function pushVirtualFlags(b: Builder, width: Width): void {
  if (!requireVirtualFlags(b, width)) return;
  const rest = b.state32('rflagsRest');
  const virtual = b.and(b.shrU(rest, b.i32(VIF_BIT - IF_BIT)), b.i32(1 << IF_BIT));
  const kept = b.and(rest, b.i32(0xffff & ~ARITHMETIC_FLAGS & ~(1 << IF_BIT)));
  b.push(16, b.or(b.or(b.or(kept, virtual), b.flags(ARITHMETIC_FLAGS)), b.i32(IOPL | 2)));
}
/** TF, and IF while an interrupt is pending, are the monitor's business. */
function popVirtualFlags(b: Builder, x: Insn): void {
  if (!requireVirtualFlags(b, x.width)) return;
  const pointer = b.stackPointer();
  const value = b.loadStack(pointer, 16) as Value<'i32'>;
  const bit = (from: Value<'i32'>, n: number) => b.and(b.shrU(from, b.i32(n)), b.i32(1));
  const wakes = b.and(bit(value, IF_BIT), bit(b.state32('rflagsRest'), VIP_BIT));
  b.raiseIf(b.or(bit(value, TF_BIT), wakes), GP, 0);
  b.call('popf', x, value, b.i32(16), b.stackOffset(pointer, 2));
}

define('PUSHF', ['9C d64'], (b, { width }) => {
  if (monitored(b)) return pushVirtualFlags(b, width);
  // VM and RF are pushed as zero; bit 1 is always set.
  const rest = b.and(b.state32('rflagsRest'), b.i32(0x00fc_ffff & ~ARITHMETIC_FLAGS));
  const word = b.or(b.or(rest, b.flags(ARITHMETIC_FLAGS)), b.i32(2));
  b.push(width, width === 64 ? b.extendU(word) : word);
});

const CHANGES_LITTLE = 0x4_0000 | 0x20_0000; // AC and ID
const TF_NT_IOPL = 0x7100;
const CLEARED = 0x1_0000 | 0x8_0000 | 0x10_0000; // RF, VIF, VIP
/**
 * Which flags may change depends on privilege: the helper decides, from the value popped and the width in bits, unless none
 * but arithmetic flags, DF and IF differ and nothing waits for IF.
 */
define('POPF', ['9D d64'], (b, x) => {
  if (monitored(b)) return popVirtualFlags(b, x);
  const { cpl, iopl, virtual8086 } = b.context;
  const pointer = b.stackPointer();
  const value = b.loadStack(pointer, x.width);
  const top = b.stackOffset(pointer, x.width / 8);
  if (virtual8086) return b.call('popf', x, value, b.i32(x.width), top);
  const word = b.typeOf(value) === 'i64' ? b.wrap(value as Value<'i64'>) : (value as Value<'i32'>);
  const rest = b.state32('rflagsRest');
  const change = b.xor(word, rest);
  const IF = cpl <= iopl ? 1 << IF_BIT : 0;
  const interruptsOn = b.shrU(b.and(b.and(change, word), b.i32(IF)), b.i32(IF_BIT));
  const system = b.and(change, b.i32(x.width === 16 ? TF_NT_IOPL : TF_NT_IOPL | CHANGES_LITTLE));
  const cleared = x.width === 16 ? b.i32(0) : b.and(rest, b.i32(CLEARED));
  const unusual = b.or(b.or(system, cleared), b.and(interruptsOn, b.state32('interruptsWait')));
  b.callIf(unusual, 'popf', x, value, b.i32(x.width), top);
  b.setStackPointer(top);
  b.setState32('rflagsRest', b.xor(rest, b.and(change, b.i32(IF | DF))));
  b.mergeFlags(ARITHMETIC_FLAGS, word);
  b.jump(b.i64(x.next));
});

define('ENTER', ['C8 Iw,Ib d64'], (b, { width, operands }) => {
  const bytes = width / 8;
  const size = Number((operands[0] as ImmediateOperand).value);
  const level = Number((operands[1] as ImmediateOperand).value) & 31;
  const top = b.stackPointer();
  const stackWidth = b.context.stackSize;
  const frame = b.stackOffset(top, -bytes);
  const below = (n: number) => b.stackOffset(top, -n * bytes);
  // rBP, the outer frame pointers, this frame's.
  const pushes = level === 0 ? 1 : level + 1;
  const bottom = b.stackOffset(top, -pushes * bytes - size);
  const base = b.zeroExtend(b.emit<'i64'>('reg.get', [], RBP), stackWidth) as Value<'i64'>;
  const outer = (i: number) => b.stackOffset(base, -i * bytes);
  // Every fault first: the outer frames, the pushes, and the place of the final stack pointer.
  if (level <= 1) probePushes(b, top, pushes, width);
  else {
    const probe = (n: number) => b.probeWrite(b.linear(SS, below(n), bytes, true), bytes, true);
    probe(1);
    for (let i = 1; i < level; i++) {
      b.probeRead(b.linear(SS, outer(i), bytes, false), bytes, true);
      probe(i + 1);
    }
    probe(pushes);
  }
  b.probeWrite(b.linear(SS, bottom, bytes, true), bytes, true);
  b.storeStack(frame, width, b.register(RBP, width));
  for (let i = 1; i < level; i++) b.storeStack(below(i + 1), width, b.loadStack(outer(i), width));
  if (level > 0) b.storeStack(below(pushes), width, b.fromI64(frame, width));
  b.setRegister(RBP, width, b.fromI64(frame, width));
  b.setStackPointer(bottom);
});

define('LEAVE', ['C9 d64'], (b, { width }) => {
  const base = b.zeroExtend(b.emit<'i64'>('reg.get', [], RBP), b.context.stackSize) as Value<'i64'>;
  const value: Int = b.loadStack(base, width);
  b.setStackPointer(b.stackOffset(base, width / 8));
  b.setRegister(RBP, width, value);
});
