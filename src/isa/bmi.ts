/** ANDN, BEXTR, BLSI, BLSMSK, BLSR, BZHI, PDEP, PEXT, MULX, RORX, SARX, SHLX, SHRX. SDM volume 2. */
import type { Builder } from '../ir/builder.ts';
import { CF } from '../ir/flags.ts';
import { RDX, type RegisterOperand } from '../ir/operand.ts';
import type { Int, Value, Width } from '../ir/types.ts';
import { define } from './define.ts';

const one = (b: Builder, width: Width): Int => b.constant(width, 1);
const lowByte = (b: Builder, v: Int): Int => b.and(v, b.typeOf(v) === 'i64' ? b.i64(0xff) : b.i32(0xff));

define(
  'ANDN',
  ['VEX.NP.0F38.L0 F2 Gy,By,Ey'],
  (b, { dst, operands, width }) => {
    const result = b.and(b.not(b.read(operands[1]!)), b.read(operands[2]!));
    b.write(dst, result);
    b.setFlags('logic', width, result);
  },
  'bmi1',
);

define(
  'BEXTR',
  ['VEX.NP.0F38.L0 F7 Gy,Ey,By'],
  (b, { dst, src, operands, width }) => {
    const value = b.toI64(b.read(src), width);
    const control = b.toI64(b.read(operands[2]!), width);
    const start = b.and(control, b.i64(0xff));
    const length = b.and(b.shrU(control, b.i64(8)), b.i64(0xff));
    const limit = b.i64(64);
    const shifted = b.select(b.ltU(start, limit), b.shrU(value, start), b.i64(0));
    const mask = b.select(b.ltU(length, limit), b.sub(b.shl(b.i64(1), length), b.i64(1)), b.i64(-1));
    const result = b.fromI64(b.and(shifted, mask), width);
    b.write(dst, result);
    b.setFlags('logic', width, result);
  },
  'bmi1',
);

/** BLSI, BLSMSK, BLSR: the destination is VEX.vvvv; CF says whether the source was zero (BLSI: was not). */
function lowestBit(
  name: string,
  extension: number,
  carryIfZero: boolean,
  compute: (b: Builder, v: Int, below: Int) => Int,
): void {
  define(
    name,
    [`VEX.NP.0F38.L0 F3 /${extension} By,Ey`],
    (b, { dst, src, width }) => {
      const value = b.read(src);
      const result = compute(b, value, b.sub(value, one(b, width)));
      b.write(dst, result);
      b.setFlags('logic', width, result);
      const zero = b.eqz(value);
      b.mergeFlags(CF, carryIfZero ? zero : b.xor(zero, b.i32(1)));
    },
    'bmi1',
  );
}
lowestBit('BLSR', 1, true, (b, v, below) => b.and(v, below));
lowestBit('BLSMSK', 2, true, (b, v, below) => b.xor(v, below));
lowestBit('BLSI', 3, false, (b, v, below) => b.and(v, b.not(below)));

define(
  'BZHI',
  ['VEX.NP.0F38.L0 F5 Gy,Ey,By'],
  (b, { dst, src, operands, width }) => {
    const value = b.read(src);
    const index = lowByte(b, b.read(operands[2]!));
    const inside = b.ltU(index, b.constant(width, width));
    const result = b.select(inside, b.and(value, b.sub(b.shl(one(b, width), index), one(b, width))), value);
    b.write(dst, result);
    b.setFlags('logic', width, result);
    b.mergeFlags(CF, b.xor(inside, b.i32(1)));
  },
  'bmi2',
);

for (const [name, prefix, op] of [
  ['PDEP', 'F2', 'i64.pdep'],
  ['PEXT', 'F3', 'i64.pext'],
] as const) {
  define(
    name,
    [`VEX.${prefix}.0F38.L0 F5 Gy,By,Ey`],
    (b, { dst, operands, width }) => {
      const value = b.toI64(b.read(operands[1]!), width);
      const mask = b.toI64(b.read(operands[2]!), width);
      b.write(dst, b.fromI64(b.emit(op, [value, mask]), width));
    },
    'bmi2',
  );
}

// If both destinations are one register, it gets the high half.
define(
  'MULX',
  ['VEX.F2.0F38.L0 F6 Gy,By,Ey'],
  (b, { dst, operands, width }) => {
    const source = b.read(operands[2]!);
    const factor = b.register(RDX, width);
    const low = operands[1] as RegisterOperand;
    if (width === 64) {
      const high: Value<'i64'> = b.emit('i64.mul_high_u', [factor, source]);
      b.write(low, b.mul(factor, source));
      return b.write(dst, high);
    }
    const product = b.mul(b.toI64(factor, 32), b.toI64(source, 32));
    b.write(low, b.wrap(product));
    b.setRegister((dst as RegisterOperand).index, 64, b.shrU(product, b.i64(32)));
  },
  'bmi2',
);

define(
  'RORX',
  ['VEX.F2.0F3A.L0 F0 Gy,Ey,Ib'],
  (b, { dst, src, operands, width }) => {
    const count = (operands[2] as { readonly value: bigint }).value & BigInt(width - 1);
    b.write(dst, b.rotr(b.read(src), b.constant(width, count)));
  },
  'bmi2',
);

// Counts are taken modulo the width, as the shifts of micro-ops do.
const shifts: readonly (readonly [string, string, (b: Builder, v: Int, count: Int) => Int])[] = [
  ['SARX', 'F3', (b, v, count) => b.shrS(v, count)],
  ['SHLX', '66', (b, v, count) => b.shl(v, count)],
  ['SHRX', 'F2', (b, v, count) => b.shrU(v, count)],
];
for (const [name, prefix, compute] of shifts) {
  define(
    name,
    [`VEX.${prefix}.0F38.L0 F7 Gy,Ey,By`],
    (b, { dst, src, operands }) => b.write(dst, compute(b, b.read(src), b.read(operands[2]!))),
    'bmi2',
  );
}
