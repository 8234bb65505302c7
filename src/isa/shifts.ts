/**
 * SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD, SHRD. SDM volume 2.
 *
 * A count is taken modulo 32, or 64 for 64-bit operands; a count of zero leaves the flags alone (but a 32-bit register is
 * still written, which clears its upper half). What the manual leaves undefined: OF follows the formula for a count of 1
 * whatever the count, and SHLD and SHRD of 16 bits by more than 16 take bits of the destination again.
 */
import type { Builder } from '../ir/builder.ts';
import { CF, type FlagKind, OF } from '../ir/flags.ts';
import type { Operand } from '../ir/operand.ts';
import type { Int, Value, Width } from '../ir/types.ts';
import { define } from './define.ts';

/** The masked count. */
function countOf(b: Builder, o: Operand, width: Width): Value<'i32'> {
  const mask = width === 64 ? 63 : 31;
  if (o.kind === 'immediate') return b.i32(Number(o.value) & mask);
  if (o.kind !== 'register') throw new Error(`shifts: a ${o.kind} operand is no count`);
  return b.and(b.register(o.index, 32) as Value<'i32'>, b.i32(mask));
}
/** A count in the type of the value that it shifts. */
const countFor = (b: Builder, count: Value<'i32'>, width: Width): Int => (width === 64 ? b.extendU(count) : count);

const groupForms = (n: number): string[] => [
  `C0 /${n} Eb,Ib`,
  `C1 /${n} Ev,Ib`,
  `D0 /${n} Eb,1`,
  `D1 /${n} Ev,1`,
  `D2 /${n} Eb,CL`,
  `D3 /${n} Ev,CL`,
];

function shift(name: string, numbers: readonly number[], kind: FlagKind & ('shl' | 'shr' | 'sar')): void {
  define(name, numbers.flatMap(groupForms), (b, { dst, src, width }) => {
    const count = countOf(b, src, width);
    const by = countFor(b, count, width);
    const { old } = b.modify(dst, (value) => {
      if (kind === 'shl') return b.shl(value, by);
      return kind === 'shr' ? b.shrU(value, by) : b.shrS(b.signExtend(value, width), by);
    });
    b.when(count, () => b.setFlags(kind, width, old, by));
  });
}
shift('SHL', [4, 6], 'shl');
shift('SHR', [5], 'shr');
shift('SAR', [7], 'sar');

const lowBit = (b: Builder, v: Int): Value<'i32'> =>
  b.and(b.typeOf(v) === 'i64' ? b.wrap(v as Value<'i64'>) : (v as Value<'i32'>), b.i32(1));
const bitAt = (b: Builder, v: Int, n: number): Value<'i32'> =>
  lowBit(b, b.shrU(v, b.typeOf(v) === 'i64' ? b.i64(n) : b.i32(n)));
/** CF and OF from two bits. */
const carryAndOverflow = (b: Builder, carry: Value<'i32'>, overflow: Value<'i32'>): Value<'i32'> =>
  b.or(carry, b.shl(overflow, b.i32(11)));

function rotate(name: string, n: number, left: boolean): void {
  define(name, groupForms(n), (b, { dst, src, width }) => {
    const count = countOf(b, src, width);
    const by = countFor(b, count, width);
    const { value } = b.modify(dst, (old) => {
      // Copies of a narrow operand fill the 32 bits, so that a rotation of them rotates each.
      let copies = old;
      if (width === 8) copies = b.mul(old, b.i32(0x0101_0101));
      else if (width === 16) copies = b.or(old, b.shl(old, b.i32(16)));
      return left ? b.rotl(copies, by) : b.rotr(copies, by);
    });
    b.when(count, () => {
      const top = bitAt(b, value, width - 1);
      const carry = left ? lowBit(b, value) : top;
      const other = left ? top : bitAt(b, value, width - 2);
      b.mergeFlags(CF | OF, carryAndOverflow(b, carry, b.xor(carry, other)));
    });
  });
}
rotate('ROL', 0, true);
rotate('ROR', 1, false);

/** Through the carry: the operand and CF make one number of width + 1 bits, CF on top. Up to 32 bits that fits an i64. */
function rotateNarrowThroughCarry(
  b: Builder,
  dst: Operand,
  masked: Value<'i32'>,
  width: 8 | 16 | 32,
  left: boolean,
): void {
  const bits = width + 1;
  const known = b.constantOf(masked);
  const modulo = known === undefined ? (b.remU(masked, b.i32(bits)) as Value<'i32'>) : b.i32(Number(known) % bits);
  const count = b.extendU(modulo);
  const rest = b.sub(b.i64(bits), count);
  const carry = b.extendU(b.carry());
  let rotated!: Value<'i64'>;
  b.modify(dst, (old) => {
    const number = b.or(b.toI64(old, width), b.shl(carry, b.i64(width)));
    rotated = left
      ? b.or(b.shl(number, count), b.shrU(number, rest))
      : b.or(b.shrU(number, count), b.shl(number, rest));
    return b.wrap(rotated);
  });
  b.when(masked, () => {
    const out = bitAt(b, rotated, width);
    const top = bitAt(b, rotated, width - 1);
    const overflow = b.xor(top, left ? out : bitAt(b, rotated, width - 2));
    b.mergeFlags(CF | OF, carryAndOverflow(b, out, overflow));
  });
}

/** With 65 bits, each direction is three parts: the operand's two ends and the carry between them. */
function rotateWideThroughCarry(b: Builder, dst: Operand, count: Value<'i32'>, left: boolean): void {
  const by = b.extendU(count);
  const less = b.sub(by, b.i64(1));
  const back = b.sub(b.i64(64), by);
  const carry = b.extendU(b.carry());
  const { old, value } = b.modify(dst, (wide) => {
    const v = wide as Value<'i64'>;
    // Shifts by 65 - count are done in two steps, since one by 64 would be one by 0.
    const rotated = left
      ? b.or(b.or(b.shl(v, by), b.shl(carry, less)), b.shrU(b.shrU(v, b.i64(1)), back))
      : b.or(b.or(b.shrU(v, by), b.shl(carry, back)), b.shl(b.shl(v, b.i64(1)), back));
    return b.select(b.eqz(count), v, rotated);
  });
  b.when(count, () => {
    const out = lowBit(b, b.shrU(old as Value<'i64'>, left ? back : less));
    const top = bitAt(b, value, 63);
    const overflow = b.xor(top, left ? out : bitAt(b, value, 62));
    b.mergeFlags(CF | OF, carryAndOverflow(b, out, overflow));
  });
}

function rotateThroughCarry(name: string, n: number, left: boolean): void {
  define(name, groupForms(n), (b, { dst, src, width }) => {
    const count = countOf(b, src, width);
    if (width === 64) rotateWideThroughCarry(b, dst, count, left);
    else rotateNarrowThroughCarry(b, dst, count, width, left);
  });
}
rotateThroughCarry('RCL', 2, true);
rotateThroughCarry('RCR', 3, false);

/** The result of a double shift, and the last bit shifted out. */
interface DoubleShift {
  readonly value: Int;
  readonly out: Value<'i32'>;
}

/** Up to 32 bits: destination and source as one i64. A 16-bit one holds the destination on both sides of the source. */
function doubleShiftNarrow(
  b: Builder,
  old: Int,
  filler: Int,
  count: Value<'i32'>,
  width: 16 | 32,
  left: boolean,
): DoubleShift {
  const by = b.extendU(count);
  const a = b.toI64(old, width);
  const c = b.toI64(filler, width);
  if (left) {
    const parts = width === 32 ? b.or(b.shl(a, b.i64(32)), c) : b.or(b.or(b.shl(a, b.i64(32)), b.shl(c, b.i64(16))), a);
    const shifted = b.shrU(b.shl(parts, by), b.i64(32));
    // The last bit out stands just above the result, where there is room above it.
    const out = width === 32 ? lowBit(b, b.shrU(a, b.sub(b.i64(32), by))) : bitAt(b, shifted, 16);
    return { value: b.wrap(shifted), out };
  }
  const parts = width === 32 ? b.or(b.shl(c, b.i64(32)), a) : b.or(b.or(b.shl(a, b.i64(32)), b.shl(c, b.i64(16))), a);
  return { value: b.wrap(b.shrU(parts, by)), out: lowBit(b, b.shrU(parts, b.sub(by, b.i64(1)))) };
}

function doubleShiftWide(
  b: Builder,
  a: Value<'i64'>,
  c: Value<'i64'>,
  count: Value<'i32'>,
  left: boolean,
): DoubleShift {
  const by = b.extendU(count);
  const back = b.sub(b.i64(64), by);
  // A count of zero would shift the filler by 64, which is by 0: the destination then stays as it is.
  const filler = b.select(b.eqz(count), b.i64(0), left ? b.shrU(c, back) : b.shl(c, back));
  const value = b.or(left ? b.shl(a, by) : b.shrU(a, by), filler);
  return { value, out: lowBit(b, b.shrU(a, left ? back : b.sub(by, b.i64(1)))) };
}

function doubleShift(name: string, opcode: number, left: boolean): void {
  const hex = (n: number) => n.toString(16).toUpperCase();
  define(name, [`0F ${hex(opcode)} Ev,Gv,Ib`, `0F ${hex(opcode + 1)} Ev,Gv,CL`], (b, { dst, operands, width }) => {
    const count = countOf(b, operands[2]!, width);
    const filler = b.read(operands[1]!);
    let shifted!: DoubleShift;
    const { old } = b.modify(dst, (value) => {
      shifted =
        width === 64
          ? doubleShiftWide(b, value as Value<'i64'>, filler as Value<'i64'>, count, left)
          : doubleShiftNarrow(b, value, filler, count, width as 16 | 32, left);
      return shifted.value;
    });
    b.when(count, () => {
      const { value, out } = shifted;
      b.setFlags('logic', width, value);
      b.mergeFlags(CF | OF, carryAndOverflow(b, out, bitAt(b, b.xor(old, value), width - 1)));
    });
  });
}
doubleShift('SHLD', 0xa4, true);
doubleShift('SHRD', 0xac, false);
