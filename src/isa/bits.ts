/** BT, BTS, BTR, BTC, BSF, BSR, TZCNT, LZCNT, POPCNT, ADCX, ADOX. SDM volume 2. */
import type { Builder } from '../ir/builder.ts';
import { ARITHMETIC_FLAGS, CF, OF } from '../ir/flags.ts';
import { type Operand, type RegisterOperand, SS } from '../ir/operand.ts';
import type { Int, Value, Width } from '../ir/types.ts';
import { define } from './define.ts';

const truth = (b: Builder, v: Int): Value<'i32'> =>
  b.typeOf(v) === 'i64' ? b.wrap(v as Value<'i64'>) : (v as Value<'i32'>);

type Change = ((b: Builder, old: Int, bit: Int) => Int) | null;

/**
 * One bit of the destination to CF, then perhaps changed. A register as bit offset reaches beyond a memory operand: it is
 * signed, counts from the operand's first bit, and its multiple of the width moves the address (cut to its width).
 */
function bitTest(name: string, opcode: string, extension: number, change: Change): void {
  const lock = change === null ? '' : 'lock';
  define(name, [`0F ${opcode} Ev,Gv ${lock}`, `0F BA /${extension} Ev,Ib ${lock}`], (b, { dst, src, width }) => {
    const index: Int =
      src.kind === 'immediate'
        ? b.constant(width, src.value & BigInt(width - 1))
        : b.and(b.read(src), b.constant(width, width - 1));
    const compute = (old: Int): Int => change!(b, old, b.shl(b.constant(width, 1), index));
    let old: Int;
    if (dst.kind === 'memory' && src.kind === 'register') {
      const offset = b.and(b.shrS(b.toI64Signed(b.read(src), width), b.i64(3)), b.i64(-(width / 8)));
      const effective = b.zeroExtend(b.add(b.effectiveAddress(dst), offset), dst.addressWidth) as Value<'i64'>;
      const address = b.linear(dst.segment, effective, width / 8, change !== null);
      const stack = dst.segment === SS;
      if (change === null) old = b.load(address, width, stack);
      else {
        old = b.loadForWrite(address, width, stack);
        b.store(address, width, compute(old), stack);
      }
    } else old = change === null ? b.read(dst) : b.modify(dst, compute).old;
    b.mergeFlags(CF, b.and(truth(b, b.shrU(old, index)), b.i32(1)));
  });
}
bitTest('BT', 'A3', 4, null);
bitTest('BTS', 'AB', 5, (b, old, bit) => b.or(old, bit));
bitTest('BTR', 'B3', 6, (b, old, bit) => b.and(old, b.not(bit)));
bitTest('BTC', 'BB', 7, (b, old, bit) => b.xor(old, bit));

/** A source of zero leaves the destination alone, its upper half included. Flags but ZF: undefined. */
function bitScan(name: string, opcode: string, find: (b: Builder, v: Int, width: Width) => Int): void {
  define(name, [`0F ${opcode} Gv,Ev`], (b, { dst, src, width }) => {
    const value = b.read(src);
    const { index } = dst as RegisterOperand;
    b.unlessZero(value, () => b.setRegister(index, width, find(b, value, width)));
    b.setFlags('logic', width, value);
  });
}
bitScan('BSF', 'BC', (b, v) => b.ctz(v));
bitScan('BSR', 'BD', (b, v, width) =>
  width === 64 ? b.sub(b.i64(63), b.clz(v as Value<'i64'>)) : b.sub(b.i32(31), b.clz(v as Value<'i32'>)),
);

const counted = (b: Builder, source: Int, count: Int): void =>
  b.mergeFlags(ARITHMETIC_FLAGS, b.or(b.eqz(source), b.shl(b.eqz(count), b.i32(6))));

define(
  'TZCNT',
  ['F3 0F BC Gv,Ev'],
  (b, { dst, src, width }) => {
    const value = b.read(src);
    // A bit above a narrow operand bounds the count.
    const count = b.ctz(width === 16 ? b.or(value, b.i32(0x1_0000)) : value);
    b.write(dst, count);
    counted(b, value, count);
  },
  'bmi1',
);

define(
  'LZCNT',
  ['F3 0F BD Gv,Ev'],
  (b, { dst, src, width }) => {
    const value = b.read(src);
    const count = width === 16 ? b.sub(b.clz(value), b.i32(16)) : b.clz(value);
    b.write(dst, count);
    counted(b, value, count);
  },
  'lzcnt',
);

define(
  'POPCNT',
  ['F3 0F B8 Gv,Ev'],
  (b, { dst, src }) => {
    const value = b.read(src);
    b.write(dst, b.popcnt(value));
    b.mergeFlags(ARITHMETIC_FLAGS, b.shl(b.eqz(value), b.i32(6)));
  },
  'popcnt',
);

/** An addition whose only carry, in and out, is one flag. */
function addWith(b: Builder, dst: Operand, src: Operand, width: Width, flag: typeof CF | typeof OF): void {
  const shift = flag === CF ? 0 : 11;
  const carry = flag === CF ? b.carry() : b.condition(0);
  const source = b.read(src);
  const { old, value: sum } = b.modify(dst, (a) => b.add(b.add(a, source), width === 64 ? b.extendU(carry) : carry));
  const out = b.select(carry, b.leU(sum, old), b.ltU(sum, old));
  b.mergeFlags(flag, b.shl(out, b.i32(shift)));
}
define('ADCX', ['66 0F 38 F6 Gy,Ey'], (b, { dst, src, width }) => addWith(b, dst, src, width, CF), 'adx');
define('ADOX', ['F3 0F 38 F6 Gy,Ey'], (b, { dst, src, width }) => addWith(b, dst, src, width, OF), 'adx');
