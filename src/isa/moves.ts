/**
 * Moves: MOV and its extending, conditional, exchanging and byte-swapping relatives, and the hints that move nothing.
 * SDM volume 2.
 */
import type { Builder } from '../ir/builder.ts';
import { type Insn, type MemoryOperand, RAX, RBX, RDX, type RegisterOperand, SS } from '../ir/operand.ts';
import type { Int, Value, Width } from '../ir/types.ts';
import { define } from './define.ts';

/** Width of an integer operand. */
const widthOf = (o: { readonly width: number }): Width => o.width as Width;

define('MOV', [
  '88 Eb,Gb',
  '89 Ev,Gv',
  '8A Gb,Eb',
  '8B Gv,Ev',
  'A0 AL,Ob',
  'A1 rAX,Ov',
  'A2 Ob,AL',
  'A3 Ov,rAX',
  'B0+r Zb,Ib',
  'B8+r Zv,Iv',
  'C6 /0 Eb,Ib',
  'C7 /0 Ev,Iz',
], (b, { dst, src }) => b.write(dst, b.read(src)));

define('MOVZX', ['0F B6 Gv,Eb', '0F B7 Gv,Ew'], (b, { dst, src }) => {
  const value = b.read(src);
  b.write(dst, widthOf(dst) === 64 ? b.toI64(value, widthOf(src)) : value);
});

/** Sign-extends a value to the type of a wider operand. */
const signExtendTo = (b: Builder, value: Int, from: Width, to: Width): Int =>
  to === 64 ? b.toI64Signed(value, from) : b.signExtend(value, from);

define('MOVSX', ['0F BE Gv,Eb', '0F BF Gv,Ew'], (b, { dst, src }) =>
  b.write(dst, signExtendTo(b, b.read(src), widthOf(src), widthOf(dst))));
define('MOVSXD', ['63 Gv,Ez x64'], (b, { dst, src }) =>
  b.write(dst, signExtendTo(b, b.read(src), widthOf(src), widthOf(dst))));

// The address is cut to the address width, then to the operand width.
define('LEA', ['8D Gv,M'], (b, { dst, src, width }) => {
  const address = b.effectiveAddress(src as MemoryOperand);
  const { index } = dst as RegisterOperand;
  // An address that has no bits above the register's width fills the whole register.
  if (width === 64 || (width === 32 && (src as MemoryOperand).addressWidth <= 32)) b.setRegister(index, 64, address);
  else b.setRegister(index, width, b.wrap(address));
});

/** With memory it is locked whether it says so or not. */
function exchange(b: Builder, { dst, src }: Insn): void {
  const value = b.read(src);
  const { old } = b.modify(dst, () => value);
  b.write(src, old);
}
define('XCHG', ['86 Eb,Gb lock', '87 Ev,Gv lock', '90+r Zv,rAX'], exchange);
// Not an exchange of eAX with itself, which would clear the upper half of RAX.
define('NOP', ['90'], () => {});
// Whoever spins beside other processors of one thread spins in vain.
define('PAUSE', ['F3 90'], (b, x) => {
  b.callIf(b.state32('hasTurns'), 'pause', x);
  b.jump(b.i64(x.next));
});

define('XLAT', ['D7'], (b, { addressWidth, segment }) => {
  const offset = b.add(b.emit<'i64'>('reg.get', [], RBX), b.extendU(b.register(RAX, 8) as Value<'i32'>));
  const address = b.linear(segment, b.zeroExtend(offset, addressWidth) as Value<'i64'>, 1, false);
  b.setRegister(RAX, 8, b.load(address, 8, segment === SS));
});

// CBW, CWDE, CDQE.
define('CBW', ['98'], (b, { width }) => {
  const half = (width / 2) as Width;
  b.setRegister(RAX, width, signExtendTo(b, b.register(RAX, half), half, width));
});

// CWD, CDQ, CQO.
define('CWD', ['99'], (b, { width }) => {
  const value = b.signExtend(b.register(RAX, width), width);
  b.setRegister(RDX, width, b.shrS(value, width === 64 ? b.i64(63) : b.i32(31)));
});

// The source is read, and may fault, whatever the condition.
define(
  'CMOVcc',
  ['0F 40+cc Gv,Ev'],
  (b, { dst, src, cc }) => {
    const value = b.read(src);
    b.write(dst, b.select(b.condition(cc), value, b.read(dst)));
  },
  'cmov',
);

define('SETcc', ['0F 90+cc Eb'], (b, { dst, cc }) => b.write(dst, b.condition(cc)));

/** Reverses the bytes of the low `width` bits (upper bits unspecified as ever). */
function swapBytes(b: Builder, value: Int, width: 16 | 32 | 64): Int {
  if (width === 64) {
    const v = value as Value<'i64'>;
    const pairs = b.i64(0x00ff_00ff_00ff_00ffn);
    const bytes = b.or(b.and(b.shrU(v, b.i64(8)), pairs), b.shl(b.and(v, pairs), b.i64(8)));
    const quads = b.i64(0x0000_ffff_0000_ffffn);
    const words = b.or(b.and(b.shrU(bytes, b.i64(16)), quads), b.shl(b.and(bytes, quads), b.i64(16)));
    return b.rotl(words, b.i64(32));
  }
  const v = value as Value<'i32'>;
  if (width === 16) return b.or(b.shrU(b.and(v, b.i32(0xff00)), b.i32(8)), b.shl(v, b.i32(8)));
  const mask = b.i32(0x00ff_00ff);
  return b.or(b.and(b.rotl(v, b.i32(8)), mask), b.rotr(b.and(v, mask), b.i32(8)));
}

// With an operand size of 16 bits the manual leaves the result undefined; processors clear the register's low half.
define('BSWAP', ['0F C8+r Zv'], (b, { dst, width }) =>
  b.write(dst, width === 16 ? b.i32(0) : swapBytes(b, b.read(dst), width as 32 | 64)));
define(
  'MOVBE',
  ['NFx 0F 38 F0 Gv,Mv', 'NFx 0F 38 F1 Mv,Gv'],
  (b, { dst, src, width }) => b.write(dst, swapBytes(b, b.read(src), width as 16 | 32 | 64)),
  'movbe',
);

define('MOVNTI', ['NP 0F C3 My,Gy'], (b, { dst, src }) => b.write(dst, b.read(src)), 'sse2');

// Hints: no access, whatever the operand.
define('PREFETCHW', ['0F 0D Mb'], () => {}, 'prefetchw');
define('PREFETCH', ['0F 18 Ev'], () => {}, 'nopl');
define('NOP', ['0F 19 Ev', '0F 1A Ev', '0F 1B Ev', '0F 1C Ev', '0F 1D Ev', '0F 1E Ev', '0F 1F Ev'], () => {}, 'nopl');
