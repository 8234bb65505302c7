/**
 * MUL, IMUL, DIV, IDIV. SDM volume 2.
 *
 * Flags that the manual leaves undefined: a product's sign, zero and parity are those of its low half; a division leaves
 * the flags alone.
 */
import type { Builder } from '../ir/builder.ts';
import { CF, OF } from '../ir/flags.ts';
import { type Operand, RAX, RDX } from '../ir/operand.ts';
import type { Int, Value, Width } from '../ir/types.ts';
import { DE, define } from './define.ts';

/** CF and OF say whether the product needs more than its low half. */
function productFlags(b: Builder, width: Width, low: Int, overflow: Value<'i32'>): void {
  b.setFlags('logic', width, low);
  b.mergeFlags(CF | OF, b.select(overflow, b.i32(CF | OF), b.i32(0)));
}

define('MUL', ['F6 /4 Eb', 'F7 /4 Ev'], (b, { dst, width }) => {
  const source = b.read(dst);
  const accumulator = b.register(RAX, width);
  if (width === 64) {
    const low = b.mul(accumulator, source);
    const high: Value<'i64'> = b.emit('i64.mul_high_u', [accumulator, source]);
    b.setRegister(RAX, 64, low);
    b.setRegister(RDX, 64, high);
    return productFlags(b, 64, low, b.ne(high, b.i64(0)));
  }
  if (width === 32) {
    const product = b.mul(b.toI64(accumulator, 32), b.toI64(source, 32));
    const high = b.shrU(product, b.i64(32));
    const low = b.wrap(product);
    b.setRegister(RAX, 32, low);
    b.setRegister(RDX, 64, high);
    return productFlags(b, 32, low, b.ne(high, b.i64(0)));
  }
  const product = b.mul(accumulator, source);
  const high = b.shrU(product, b.i32(width));
  b.setRegister(RAX, 16, product);
  if (width === 16) b.setRegister(RDX, 16, high);
  productFlags(b, width, product, b.ne(high, b.i32(0)));
});

/** A signed product, and whether it needs more than its low half. */
interface Product {
  /** In the type of the width. */
  readonly low: Int;
  /** All of it; of 64-bit factors the high half. */
  readonly whole: Int;
  readonly overflow: Value<'i32'>;
}
function signedProduct(b: Builder, a: Int, c: Int, width: Width): Product {
  if (width === 64) {
    const low = b.mul(a, c) as Value<'i64'>;
    const high: Value<'i64'> = b.emit('i64.mul_high_s', [a, c]);
    return { low, whole: high, overflow: b.ne(high, b.shrS(low, b.i64(63))) };
  }
  if (width === 32) {
    const whole = b.mul(b.toI64Signed(a, 32), b.toI64Signed(c, 32));
    const low = b.wrap(whole);
    return { low, whole, overflow: b.ne(whole, b.extendS(low)) };
  }
  const low = b.mul(b.signExtend(a, width), b.signExtend(c, width));
  return { low, whole: low, overflow: b.ne(low, b.signExtend(low, width)) };
}

define('IMUL', ['F6 /5 Eb', 'F7 /5 Ev'], (b, { dst, width }) => {
  const { low, whole, overflow } = signedProduct(b, b.register(RAX, width), b.read(dst), width);
  b.setRegister(RAX, width === 8 ? 16 : width, low);
  if (width === 64) b.setRegister(RDX, 64, whole);
  else if (width === 32) b.setRegister(RDX, 64, b.shrU(whole as Value<'i64'>, b.i64(32)));
  else if (width === 16) b.setRegister(RDX, 16, b.shrU(whole as Value<'i32'>, b.i32(16)));
  productFlags(b, width, low, overflow);
});

/** The two- and three-operand forms: a product cut to the width of its factors. */
function multiply(b: Builder, dst: Operand, one: Operand, other: Operand, width: Width): void {
  const { low, overflow } = signedProduct(b, b.read(one), b.read(other), width);
  b.write(dst, low);
  productFlags(b, width, low, overflow);
}
define('IMUL', ['0F AF Gv,Ev'], (b, { dst, src, width }) => multiply(b, dst, dst, src, width));
define('IMUL', ['69 Gv,Ev,Iz', '6B Gv,Ev,Ibs'], (b, { operands, width }) =>
  multiply(b, operands[0]!, operands[1]!, operands[2]!, width));

// The quotient fits if the dividend's upper half is below the divisor, which a divisor of zero never is above.
define('DIV', ['F6 /6 Eb', 'F7 /6 Ev'], (b, { dst, width }) => {
  const divisor = b.read(dst);
  if (width === 8) {
    const dividend = b.register(RAX, 16);
    b.raiseIf(b.geU(b.shrU(dividend, b.i32(8)), divisor), DE);
    const quotient = b.divU(dividend, divisor);
    return b.setRegister(RAX, 16, b.or(quotient, b.shl(b.remU(dividend, divisor), b.i32(8))));
  }
  const low = b.register(RAX, width);
  const high = b.register(RDX, width);
  b.raiseIf(b.geU(high, divisor), DE);
  if (width === 64) {
    const quotient: Value<'i64'> = b.emit('i64.div128_u', [high, low, divisor]);
    const remainder: Value<'i64'> = b.emit('i64.rem128_u', [high, low, divisor]);
    b.setRegister(RAX, 64, quotient);
    return b.setRegister(RDX, 64, remainder);
  }
  if (width === 32) {
    const dividend = b.or(b.shl(b.toI64(high, 32), b.i64(32)), b.toI64(low, 32));
    const wide = b.toI64(divisor, 32);
    b.setRegister(RAX, 64, b.divU(dividend, wide));
    return b.setRegister(RDX, 64, b.remU(dividend, wide));
  }
  const dividend = b.or(b.shl(high, b.i32(16)), low);
  b.setRegister(RAX, 16, b.divU(dividend, divisor));
  b.setRegister(RDX, 16, b.remU(dividend, divisor));
});

/**
 * Signed 128 / 64: the absolute values are divided, then the signs put back. What does not fit is caught in two steps:
 * an upper half that is not below the divisor (or a divisor of zero) before dividing, a quotient beyond the signed range after.
 */
function divideSigned128(b: Builder, divisor: Value<'i64'>): void {
  const low = b.register(RAX, 64) as Value<'i64'>;
  const high = b.register(RDX, 64) as Value<'i64'>;
  const zero = b.i64(0);
  const negative = b.ltS(high, zero);
  const borrow = b.extendU(b.ne(low, zero));
  const absoluteLow = b.select(negative, b.sub(zero, low), low);
  const absoluteHigh = b.select(negative, b.sub(b.sub(zero, high), borrow), high);
  const absoluteDivisor = b.select(b.ltS(divisor, zero), b.sub(zero, divisor), divisor);
  b.raiseIf(b.geU(absoluteHigh, absoluteDivisor), DE);
  const quotient: Value<'i64'> = b.emit('i64.div128_u', [absoluteHigh, absoluteLow, absoluteDivisor]);
  const remainder: Value<'i64'> = b.emit('i64.rem128_u', [absoluteHigh, absoluteLow, absoluteDivisor]);
  const differ = b.ltS(b.xor(high, divisor), zero);
  b.raiseIf(b.gtU(quotient, b.add(b.i64(0x7fff_ffff_ffff_ffffn), b.extendU(differ))), DE);
  b.setRegister(RAX, 64, b.select(differ, b.sub(zero, quotient), quotient));
  b.setRegister(RDX, 64, b.select(negative, b.sub(zero, remainder), remainder));
}

define('IDIV', ['F6 /7 Eb', 'F7 /7 Ev'], (b, { dst, width }) => {
  const source = b.read(dst);
  if (width === 64) return divideSigned128(b, source as Value<'i64'>);
  if (width === 8) {
    const dividend = b.signExtend(b.register(RAX, 16), 16);
    const divisor = b.signExtend(source, 8);
    b.raiseIf(b.eqz(divisor), DE);
    const quotient = b.divS(dividend, divisor);
    b.raiseIf(b.ne(quotient, b.signExtend(quotient, 8)), DE);
    const remainder = b.remS(dividend, divisor);
    return b.setRegister(RAX, 16, b.or(b.zeroExtend(quotient, 8), b.shl(remainder, b.i32(8))));
  }
  // In 64 bits no quotient of narrower operands overflows, but for the one case of 32-bit division that is tested here.
  const divisor = b.toI64Signed(source, width);
  const low = b.register(RAX, width);
  const high = b.register(RDX, width);
  const dividend =
    width === 16
      ? b.toI64Signed(b.or(b.shl(high, b.i32(16)), low), 32)
      : b.or(b.shl(b.toI64(high, 32), b.i64(32)), b.toI64(low, 32));
  const impossible =
    width === 16
      ? b.eqz(divisor)
      : b.or(b.eqz(divisor), b.and(b.eq(divisor, b.i64(-1)), b.eq(dividend, b.i64(-0x8000_0000_0000_0000n))));
  b.raiseIf(impossible, DE);
  const quotient = b.divS(dividend, divisor) as Value<'i64'>;
  b.raiseIf(b.ne(quotient, b.signExtend(quotient, width)), DE);
  const remainder = b.remS(dividend, divisor) as Value<'i64'>;
  b.setRegister(RAX, width, b.wrap(quotient));
  b.setRegister(RDX, width, b.wrap(remainder));
});
