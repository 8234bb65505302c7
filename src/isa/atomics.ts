/** XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B and the fences. SDM volume 2. */
import type { Builder } from '../ir/builder.ts';
import { ZF } from '../ir/flags.ts';
import { type MemoryOperand, RAX, RBX, RCX, RDX, SS } from '../ir/operand.ts';
import type { Value } from '../ir/types.ts';
import { define, GP } from './define.ts';

// A register exchanged and added with itself ends as the sum: the destination is written last.
define('XADD', ['0F C0 Eb,Gb lock', '0F C1 Ev,Gv lock'], (b, { dst, src, width }) => {
  const addend = b.read(src);
  if (dst.kind === 'memory') {
    const { old } = b.modify(dst, (value) => b.add(value, addend));
    b.write(src, old);
    return b.setFlags('add', width, old, addend);
  }
  const old = b.read(dst);
  b.write(src, old);
  b.write(dst, b.add(old, addend));
  b.setFlags('add', width, old, addend);
});

// Memory is written in either case, with what it held if the comparison fails. A 32-bit register that is not to change
// keeps its upper half.
define('CMPXCHG', ['0F B0 Eb,Gb lock', '0F B1 Ev,Gv lock'], (b, { dst, src, width }) => {
  const wide = b.emit<'i64'>('reg.get', [], RAX);
  const accumulator = width === 64 ? wide : b.zeroExtend(b.wrap(wide), width);
  const replacement = b.read(src);
  if (dst.kind === 'register') {
    const whole = b.emit<'i64'>('reg.get', [], dst.index);
    const old = b.read(dst);
    const equal = b.eq(accumulator, old);
    if (width === 32) {
      b.setRegister(RAX, 64, b.select(equal, wide, b.toI64(old, 32)));
      // Written in this order, a destination that is the accumulator (and so equal) ends as the replacement.
      b.setRegister(dst.index, 64, b.select(equal, b.toI64(replacement, 32), whole));
    } else {
      b.setRegister(RAX, width, old);
      b.write(dst, b.select(equal, replacement, old));
    }
    return b.setFlags('sub', width, accumulator, old);
  }
  const { old } = b.modify(dst, (value) => b.select(b.eq(accumulator, value), replacement, value));
  if (width === 32) b.setRegister(RAX, 64, b.select(b.eq(accumulator, old), wide, b.toI64(old, 32)));
  else b.setRegister(RAX, width, old);
  b.setFlags('sub', width, accumulator, old);
});

/** ZF alone changes. */
const setZero = (b: Builder, equal: Value<'i32'>): void => b.mergeFlags(ZF, b.shl(equal, b.i32(6)));

define(
  'CMPXCHG8B',
  ['0F C7 /1 Mq lock'],
  (b, { dst }) => {
    const pair = (high: number, low: number): Value<'i64'> =>
      b.or(b.shl(b.emit<'i64'>('reg.get', [], high), b.i64(32)), b.toI64(b.register(low, 32), 32));
    const expected = pair(RDX, RAX);
    const replacement = pair(RCX, RBX);
    const found = b.modify(dst, (old) => b.select(b.eq(old, expected), replacement, old)).old as Value<'i64'>;
    const equal = b.eq(found, expected);
    b.when(b.xor(equal, b.i32(1)), () => {
      b.setRegister(RAX, 64, b.zeroExtend(found, 32));
      b.setRegister(RDX, 64, b.shrU(found, b.i64(32)));
    });
    setZero(b, equal);
  },
  'cx8',
);

define(
  'CMPXCHG16B',
  ['0F C7 /1 Mdq lock w1'],
  (b, { dst }) => {
    const memory = dst as MemoryOperand;
    const stack = memory.segment === SS;
    const address = b.address(memory, 16, true);
    b.raiseIf(b.ne(b.and(address, b.i64(15)), b.i64(0)), GP, 0);
    // Aligned, both halves lie in one page: the second cannot fault if the first did not.
    const upper = b.add(address, b.i64(8));
    const low = b.loadForWrite(address, 64, stack) as Value<'i64'>;
    const high = b.loadForWrite(upper, 64, stack) as Value<'i64'>;
    const equal = b.and(b.eq(low, b.register(RAX, 64)), b.eq(high, b.register(RDX, 64)));
    b.store(address, 64, b.select(equal, b.register(RBX, 64), low), stack);
    b.store(upper, 64, b.select(equal, b.register(RCX, 64), high), stack);
    // Where they are equal, the registers hold these values already.
    b.setRegister(RAX, 64, low);
    b.setRegister(RDX, 64, high);
    setZero(b, equal);
  },
  'cx16',
);

// One vCPU sees its own accesses in program order, and the micro-ops of a block keep theirs.
define('LFENCE', ['NP 0F AE /5!'], () => {}, 'sse2');
define('MFENCE', ['NP 0F AE /6!'], () => {}, 'sse2');
define('SFENCE', ['NP 0F AE /7!'], () => {}, 'sse');
