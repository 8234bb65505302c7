/**
 * Addition, subtraction and multiplication of 80-bit numbers for translated code, as functions of its own module: the
 * straight case (normal numbers of moderate size, 64 bits of precision, to nearest) without a call into softfloat.wasm,
 * which does all others. src/softfloat/assembly/f80-arithmetic.ts is the general form of the same.
 *
 * `(significand, sign and exponent, significand, sign and exponent, control word) -> (significand, the rest)`. The control
 * word has its precision control inverted; the rest holds sign and exponent in its low half, what was raised in its upper one.
 */
import type { Emitter, Expr } from './emitter.ts';

const TOP_BIT = -(1n << 63n);
const HALF = 0xffffffffn;
/** Biased exponents from here on, so many: no result of such operands is special. */
const LOW = 0x3000;
const COUNT = 0x2000;
/** Precision and rounding control, and the former alone. */
const CONTROL = 0xf00;
const PRECISION = 0x300;
const SIGN = 0x8000;

export const f80Functions: Readonly<Record<string, string>> = {
  'x87.add': 'f80.add',
  'x87.sub': 'f80.sub',
  'x87.mul': 'f80.mul',
};

/** Lets a module have the functions that it calls. The library's must be on offer. */
export function offerF80Functions(e: Emitter): void {
  e.offerOwn('f80.add', () => new Operation(e).add('f80.add', 'f80Add', 0));
  e.offerOwn('f80.sub', () => new Operation(e).add('f80.sub', 'f80Sub', SIGN));
  e.offerOwn('f80.mul', () => new Operation(e).multiply('f80.mul', 'f80Mul'));
}

class Operation {
  private readonly e: Emitter;
  constructor(e: Emitter) {
    this.e = e;
  }
  private ma(): Expr {
    return this.e.get(0, 'i64');
  }
  private ea(): Expr {
    return this.e.get(1, 'i32');
  }
  private mb(): Expr {
    return this.e.get(2, 'i64');
  }
  private eb(): Expr {
    return this.e.get(3, 'i32');
  }
  /** A value in a local of its own. */
  private i32(value: Expr): () => Expr {
    return this.e.share(value, 'i32');
  }
  private i64(value: Expr): () => Expr {
    return this.e.share(value, 'i64');
  }
  private wide(value: Expr): Expr {
    return this.e.op('i64.extend_u', value);
  }

  /** The function: `straight` gives the result, or goes to `slow`, with the operands' exponents without signs. */
  private make(name: string, library: string, straight: (x: () => Expr, y: () => Expr) => void): void {
    const { e } = this;
    e.addFunction(name, ['i64', 'i32', 'i64', 'i32', 'i32'], 'pair', () => {
      e.block('slow', () => {
        const x = this.i32(e.op('i32.and', this.ea(), e.i32(0x7fff)));
        const y = this.i32(e.op('i32.and', this.eb(), e.i32(0x7fff)));
        const above = (exponent: () => Expr) => e.op('i32.sub', exponent(), e.i32(LOW));
        e.brIf('slow', e.op('i32.ge_u', e.op('i32.or', above(x), above(y)), e.i32(COUNT)));
        e.brIf('slow', e.op('i64.ge_s', e.op('i64.and', this.ma(), this.mb()), e.i64(0n)));
        e.brIf('slow', e.op('i32.and', e.get(4, 'i32'), e.i32(CONTROL)));
        straight(x, y);
      });
      const control = e.op('i32.xor', e.get(4, 'i32'), e.i32(PRECISION));
      const m = this.i64(e.call(library, [this.ma(), this.ea(), this.mb(), this.eb(), control], 'i64'));
      e.returnPair(
        m(),
        e.op('i32.or', e.op('i32.shl', e.global('raised', 'i32'), e.i32(16)), e.global('resultSe', 'i32')),
      );
    });
  }

  /** Rounds (high : lower) with its top bit set to nearest, and returns it. */
  private round(sign: Expr, exponent: Expr, high: () => Expr, lower: () => Expr): void {
    const { e } = this;
    const odd = e.op('i64.and', high(), e.i64(1n));
    const up = this.i32(e.op('i64.gt_u', lower(), e.op('i64.sub', e.i64(TOP_BIT), odd)));
    const rounded = this.i64(e.op('i64.add', high(), this.wide(up())));
    const carry = this.i32(e.op('i64.eqz', rounded()));
    const inexact = e.op('i32.shl', e.op('i64.ne', lower(), e.i64(0n)), e.i32(21));
    const raised = e.op('i32.or', inexact, e.op('i32.shl', up(), e.i32(25)));
    e.returnPair(
      e.op('i64.or', rounded(), e.op('i64.shl', this.wide(carry()), e.i64(63n))),
      e.op('i32.or', e.op('i32.or', sign, e.op('i32.add', exponent, carry())), raised),
    );
  }

  multiply(name: string, library: string): void {
    const { e } = this;
    this.make(name, library, (x, y) => {
      const half = (value: Expr) => e.op('i64.and', value, e.i64(HALF));
      const upper = (value: Expr) => e.op('i64.shr_u', value, e.i64(32n));
      const aLow = this.i64(half(this.ma()));
      const aHigh = this.i64(upper(this.ma()));
      const bLow = this.i64(half(this.mb()));
      const bHigh = this.i64(upper(this.mb()));
      const lowest = this.i64(e.op('i64.mul', aLow(), bLow()));
      const middle = this.i64(e.op('i64.add', e.op('i64.mul', aHigh(), bLow()), upper(lowest())));
      const other = this.i64(e.op('i64.add', e.op('i64.mul', aLow(), bHigh()), half(middle())));
      const sum = e.op('i64.add', upper(middle()), upper(other()));
      const product = this.i64(e.op('i64.add', e.op('i64.mul', aHigh(), bHigh()), sum));
      const productLow = this.i64(e.op('i64.or', e.op('i64.shl', other(), e.i64(32n)), half(lowest())));
      // The product has 127 or 128 bits: its top bit goes to the top.
      const shift = this.i64(e.op('i64.xor', e.op('i64.shr_u', product(), e.i64(63n)), e.i64(1n)));
      const carried = e.op('i64.and', e.op('i64.shr_u', productLow(), e.i64(63n)), shift());
      const high = this.i64(e.op('i64.or', e.op('i64.shl', product(), shift()), carried));
      const lower = this.i64(e.op('i64.shl', productLow(), shift()));
      const sum16 = e.op('i32.sub', e.op('i32.add', x(), y()), e.i32(16382));
      const exponent = e.op('i32.sub', sum16, e.op('i32.wrap', shift()));
      this.round(e.op('i32.and', e.op('i32.xor', this.ea(), this.eb()), e.i32(SIGN)), exponent, high, lower);
    });
  }

  /** a + b, with b's sign changed by `flip`. */
  add(name: string, library: string, flip: number): void {
    const { e } = this;
    this.make(name, library, (x, y) => {
      const between = this.i32(e.op('i32.sub', x(), y()));
      const smaller = e.op('i32.and', e.op('i32.eqz', between()), e.op('i64.lt_u', this.ma(), this.mb()));
      const swap = this.i32(e.op('i32.or', e.op('i32.lt_s', between(), e.i32(0)), smaller));
      const large = this.i64(e.select(swap(), this.mb(), this.ma()));
      const small = this.i64(e.select(swap(), this.ma(), this.mb()));
      const distance = this.i32(e.select(swap(), e.op('i32.sub', e.i32(0), between()), between()));
      e.brIf('slow', e.op('i32.ge_u', distance(), e.i32(64)));
      const by = this.i64(this.wide(distance()));
      // All with one bit of room at the top, so that a sum needs no other way than a difference.
      const apart = e.op('i32.xor', e.op('i32.xor', this.ea(), this.eb()), e.i32(flip));
      const minus = this.i64(this.wide(e.op('i32.and', e.op('i32.shr_u', apart, e.i32(15)), e.i32(1))));
      const mask = this.i64(e.op('i64.sub', e.i64(0n), minus()));
      const largeLow = this.i64(e.op('i64.shl', large(), e.i64(63n)));
      const smallHigh = e.op('i64.shr_u', e.op('i64.shr_u', small(), e.i64(1n)), by());
      const smallLow = e.op('i64.shl', small(), e.op('i64.sub', e.i64(63n), by()));
      const first = this.i64(e.op('i64.add', largeLow(), e.op('i64.xor', smallLow, mask())));
      const carry = e.op('i64.lt_u', first(), largeLow());
      const low = this.i64(e.op('i64.add', first(), minus()));
      const carries = e.op('i32.or', carry, e.op('i64.lt_u', low(), minus()));
      const upper = e.op('i64.add', e.op('i64.shr_u', large(), e.i64(1n)), e.op('i64.xor', smallHigh, mask()));
      const sum = this.i64(e.op('i64.add', upper, this.wide(carries)));
      e.brIf('slow', e.op('i64.eqz', sum()));
      const shift = this.i64(e.op('i64.clz', sum()));
      const moved = e.op('i64.shr_u', e.op('i64.shr_u', low(), e.i64(1n)), e.op('i64.sub', e.i64(63n), shift()));
      const high = this.i64(e.op('i64.or', e.op('i64.shl', sum(), shift()), moved));
      const lower = this.i64(e.op('i64.shl', low(), shift()));
      const larger = e.op('i32.add', e.select(swap(), y(), x()), e.i32(1));
      const exponent = e.op('i32.sub', larger, e.op('i32.wrap', shift()));
      const sign = e.select(swap(), e.op('i32.xor', this.eb(), e.i32(flip)), this.ea());
      this.round(e.op('i32.and', sign, e.i32(SIGN)), exponent, high, lower);
    });
  }
}
