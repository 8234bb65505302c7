/**
 * MOVS, CMPS, STOS, LODS, SCAS, and how they repeat. SDM volume 2, REP.
 *
 * A repeated one does one element and goes to itself while there is more to do: a fault, an interrupt or a trap between
 * two elements then finds an instruction ready to go on. INS and OUTS stand with the other instructions for ports.
 */
import type { Builder } from '../ir/builder.ts';
import { type Insn, RCX, RDI, RSI } from '../ir/operand.ts';
import type { Value } from '../ir/types.ts';
import { define } from './define.ts';

/** Bit of RFLAGS. */
const DF_BIT = 10;

/** Moves the pointers by one element, down if DF is set. */
function advance(b: Builder, { width, addressWidth }: Insn, ...pointers: readonly number[]): void {
  const bytes = width / 8;
  // bytes - (DF ? 2 * bytes : 0); DF's bit is brought to the place of 2 * bytes.
  const place = Math.log2(2 * bytes);
  const twice = b.and(b.shrU(b.state32('rflagsRest'), b.i32(DF_BIT - place)), b.i32(2 * bytes));
  const step = b.sub(b.i32(bytes), twice);
  const wide = addressWidth === 64 ? b.extendS(step) : step;
  for (const index of pointers) b.setRegister(index, addressWidth, b.add(b.register(index, addressWidth), wide));
}

/**
 * `once` does one element and says, as 0 or 1, whether a REPE or REPNE that counts it goes on (null: whatever it found).
 * The last element goes to the next instruction at once.
 */
function repeat(b: Builder, x: Insn, once: () => Value<'i32'> | null): void {
  if (x.repeat === 'none') {
    once();
    return;
  }
  const width = x.addressWidth;
  const count = b.register(RCX, width);
  b.unlessZero(count, () => {
    const found = once();
    const left = b.sub(count, b.constant(width, 1));
    b.setRegister(RCX, width, left);
    const more = width === 64 ? b.ne(left, b.i64(0)) : b.ne(left, b.i32(0));
    b.branch(found === null ? more : b.and(more, found), x.rip, x.next);
  });
  b.jump(b.i64(x.next));
}

define('MOVS', ['A4 Yb,Xb rep', 'A5 Yv,Xv rep'], (b, x) =>
  repeat(b, x, () => {
    b.write(x.dst, b.read(x.src));
    advance(b, x, RSI, RDI);
    return null;
  }));
define('STOS', ['AA Yb,AL rep', 'AB Yv,rAX rep'], (b, x) =>
  repeat(b, x, () => {
    b.write(x.dst, b.read(x.src));
    advance(b, x, RDI);
    return null;
  }));
define('LODS', ['AC AL,Xb rep', 'AD rAX,Xv rep'], (b, x) =>
  repeat(b, x, () => {
    b.write(x.dst, b.read(x.src));
    advance(b, x, RSI);
    return null;
  }));

/** Compares as CMP does; REPE goes on while equal, REPNE while not. */
function compare(b: Builder, x: Insn, ...pointers: readonly number[]): Value<'i32'> {
  const second = b.read(x.src); // if both fault, the CPU that was measured reports the one at ES:rDI
  const first = b.read(x.dst);
  b.setFlags('sub', x.width, first, second);
  advance(b, x, ...pointers);
  return x.repeat === 'repne' ? b.ne(first, second) : b.eq(first, second);
}
define('CMPS', ['A6 Xb,Yb rep', 'A7 Xv,Yv rep'], (b, x) => repeat(b, x, () => compare(b, x, RSI, RDI)));
define('SCAS', ['AE AL,Yb rep', 'AF rAX,Yv rep'], (b, x) => repeat(b, x, () => compare(b, x, RDI)));
