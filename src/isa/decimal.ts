/** DAA, DAS, AAA, AAS, AAM, AAD: decimal digits. Flags that are undefined: OF clear, the others those of the result. SDM volume 2. */
import type { Builder } from '../ir/builder.ts';
import { AF, CF } from '../ir/flags.ts';
import { type ImmediateOperand, RAX } from '../ir/operand.ts';
import type { Value } from '../ir/types.ts';
import { DE, define } from './define.ts';

/** AF, or a low digit above 9. */
function lowDigitAdjusts(b: Builder, al: Value<'i32'>): Value<'i32'> {
  const af = b.and(b.shrU(b.flags(AF), b.i32(4)), b.i32(1));
  return b.or(b.gtU(b.and(al, b.i32(15)), b.i32(9)), af);
}

function adjustPacked(name: string, opcode: string, sign: 1 | -1): void {
  define(name, [`${opcode} i64`], (b) => {
    const al = b.register(RAX, 8) as Value<'i32'>;
    const carry = b.carry();
    const low = lowDigitAdjusts(b, al);
    const high = b.or(b.gtU(al, b.i32(0x99)), carry);
    const correction = b.add(b.select(low, b.i32(6), b.i32(0)), b.select(high, b.i32(0x60), b.i32(0)));
    const result = sign > 0 ? b.add(al, correction) : b.sub(al, correction);
    // DAS sets CF where taking 6 away borrows, too; DAA's sum with 6 carries only where the value exceeds 99h anyway.
    const out = sign > 0 ? high : b.or(high, b.and(low, b.ltU(al, b.i32(6))));
    b.setRegister(RAX, 8, result);
    b.setFlags('logic', 8, result);
    b.mergeFlags(AF | CF, b.or(b.shl(low, b.i32(4)), out));
  });
}
adjustPacked('DAA', '27', 1);
adjustPacked('DAS', '2F', -1);

function adjustUnpacked(name: string, opcode: string, sign: 1 | -1): void {
  define(name, [`${opcode} i64`], (b) => {
    const ax = b.register(RAX, 16) as Value<'i32'>;
    const adjusts = lowDigitAdjusts(b, ax);
    const moved = b.add(ax, b.select(adjusts, b.i32(sign * 0x106), b.i32(0)));
    const result = b.and(moved, b.i32(0xff0f));
    b.setRegister(RAX, 16, result);
    b.setFlags('logic', 8, result);
    b.mergeFlags(AF | CF, b.select(adjusts, b.i32(AF | CF), b.i32(0)));
  });
}
adjustUnpacked('AAA', '37', 1);
adjustUnpacked('AAS', '3F', -1);

define('AAM', ['D4 Ib i64'], (b, { dst }) => {
  const radix = Number((dst as ImmediateOperand).value);
  if (radix === 0) return b.raise(DE);
  const al = b.register(RAX, 8);
  const digit = b.remU(al, b.i32(radix));
  b.setRegister(RAX, 16, b.or(digit, b.shl(b.divU(al, b.i32(radix)), b.i32(8))));
  b.setFlags('logic', 8, digit);
});

define('AAD', ['D5 Ib i64'], (b, { dst }) => {
  const radix = Number((dst as ImmediateOperand).value);
  const sum = b.add(b.register(RAX, 8), b.mul(b.register(RAX, 8, true), b.i32(radix)));
  const result = b.zeroExtend(sum, 8);
  b.setRegister(RAX, 16, result);
  b.setFlags('logic', 8, result);
});
