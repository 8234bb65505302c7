/**
 * Near transfers: JMP, Jcc, CALL, RET, LOOP, JrCXZ; UD0, UD1, UD2; BOUND. Far ones and software interrupts stand with the
 * system instructions. SDM volume 2.
 */
import type { Builder } from '../ir/builder.ts';
import { type Insn, type MemoryOperand, RCX, SS } from '../ir/operand.ts';
import type { Int, Value, Width } from '../ir/types.ts';
import { BR, define, GP, UD } from './define.ts';

/**
 * #GP(0) if a near transfer to `target` (zero-extended from the operand size) would leave the code segment or, in 64-bit
 * mode, the canonical addresses: those whose upper bits are all alike. Before anything has changed; `taken` says whether
 * it happens at all, if that is not sure.
 */
function checkTarget(b: Builder, target: Value<'i64'>, taken: Value<'i32'> | null = null): void {
  const { codeSize, flat, linearBits } = b.context;
  if (codeSize !== 64 && flat) return;
  const outside =
    codeSize === 64
      ? b.gtU(b.add(b.shrS(target, b.i64(linearBits - 1)), b.i64(1)), b.i64(1))
      : b.gtU(b.wrap(target), b.state32('csLimit'));
  b.raiseIf(taken === null ? outside : b.and(taken, outside), GP, 0);
}

const jumpTo = (b: Builder, target: bigint): void => {
  const value = b.i64(target);
  checkTarget(b, value);
  b.jump(value);
};
const jumpIf = (b: Builder, taken: Value<'i32'>, { target, next }: Insn): void => {
  checkTarget(b, b.i64(target), taken);
  b.branch(taken, target, next);
};

define('JMP', ['EB Jb f64', 'E9 Jz f64'], (b, { target }) => jumpTo(b, target));
define('JMP', ['FF /4 Ev f64'], (b, { dst, width }) => {
  const target = b.toI64(b.read(dst), width);
  checkTarget(b, target);
  b.jump(target);
});
define('Jcc', ['70+cc Jb f64', '0F 80+cc Jz f64'], (b, x) => jumpIf(b, b.condition(x.cc), x));

function call(b: Builder, target: Value<'i64'>, { next, width }: Insn): void {
  checkTarget(b, target);
  b.push(width, b.constant(width, next));
  b.jump(target, 'call', next);
}
define('CALL', ['E8 Jz f64'], (b, x) => call(b, b.i64(x.target), x));
// The target is read before the return address is pushed: it may be relative to the old stack pointer.
define('CALL', ['FF /2 Ev f64'], (b, x) => call(b, b.toI64(b.read(x.dst), x.width), x));

/** Return, with so many bytes of parameters taken off the stack. */
function ret(b: Builder, width: Width, parameters: number): void {
  const pointer = b.stackPointer();
  const target = b.toI64(b.loadStack(pointer, width), width);
  checkTarget(b, target);
  b.setStackPointer(b.stackOffset(pointer, width / 8 + parameters));
  b.jump(target, 'return');
}
define('RET', ['C3 f64'], (b, { width }) => ret(b, width, 0));
define('RET', ['C2 Iw f64'], (b, { width, dst }) => ret(b, width, Number((dst as { readonly value: bigint }).value)));

const isZero = (b: Builder, v: Int): Value<'i32'> => b.eqz(v);

/** The counter is rCX of the address size; the flags stay. */
function loop(name: string, opcode: string, condition: number | null): void {
  define(name, [`${opcode} Jb f64`], (b, x) => {
    const width = x.addressWidth;
    const count = b.sub(b.register(RCX, width), b.constant(width, 1));
    const more = b.xor(isZero(b, b.zeroExtend(count, width)), b.i32(1));
    const taken = condition === null ? more : b.and(more, b.condition(condition));
    checkTarget(b, b.i64(x.target), taken);
    b.setRegister(RCX, width, count);
    b.branch(taken, x.target, x.next);
  });
}
loop('LOOPNE', 'E0', 5);
loop('LOOPE', 'E1', 4);
loop('LOOP', 'E2', null);

// JCXZ, JECXZ, JRCXZ.
define('JCXZ', ['E3 Jb f64'], (b, x) => jumpIf(b, isZero(b, b.register(RCX, x.addressWidth)), x));

define('UD2', ['0F 0B'], (b) => b.raise(UD));
define('UD1', ['0F B9 Gv,Ev'], (b) => b.raise(UD));
define('UD0', ['0F FF Gv,Ev'], (b) => b.raise(UD));

// The bounds are a pair in memory, both inclusive.
define('BOUND', ['62 Gv,Ma i64'], (b, { dst, src, width }) => {
  const memory = src as MemoryOperand;
  const bytes = width / 8;
  const stack = memory.segment === SS;
  const bound = (which: 0 | 1) =>
    b.signExtend(b.load(b.address(memory, bytes, false, which * bytes), width, stack), width);
  const lower = bound(0);
  const upper = bound(1);
  const index = b.signExtend(b.read(dst), width);
  b.raiseIf(b.or(b.ltS(index, lower), b.gtS(index, upper)), BR);
});
