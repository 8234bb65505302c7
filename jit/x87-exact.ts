/**
 * Exact x87 values in a region: significand and exponent of each register in two locals. Loads and stores of doubles,
 * singles and integers are done here where nothing is special about them; softfloat.wasm does the rest.
 */
import type { X87Op } from '../src/ir/x87-ops.ts';
import type { Emitter, Expr } from './emitter.ts';
import { f80Functions } from './f80-functions.ts';
import type { X87Unit, X87Values } from './region-x87.ts';
import { binaries, C2, CODES, constants, pairs, results, unaries } from './x87-tables.ts';

const OPERAND = 8;
const TOP_BIT = -(1n << 63n);

/** The function of the library for each micro-op, the condition codes that it defines and an argument before the control word. */
export const libraryOf: ReadonlyMap<string, { name: string; mask: number; extra: number | null }> = new Map(
  [...binaries, ...unaries, ...pairs].map(([op, name, mask, extra]) => [
    `x87.${op}`,
    { name, mask, extra: extra ?? null },
  ]),
);
const resultOf = new Map(
  results.map(([format, name, type]) => [`x87.result.${format}`, { format, name, type }] as const),
);

/** The format of doubles and singles: bits of the exponent and of the fraction, all in an i64. */
const formats = {
  f64: { fraction: 52, maximum: 0x7ff, bias: 1023 },
  f32: { fraction: 23, maximum: 0xff, bias: 127 },
} as const;

export class ExactValues implements X87Values {
  readonly flags = true;
  readonly keepsEmpty = true;
  private readonly unit: X87Unit;
  private readonly e: Emitter;
  private readonly significands: number[] = [];
  private readonly exponents: number[] = [];
  private readonly m0: number;
  private readonly m1: number;
  private readonly n0: number;
  private readonly n1: number;
  /** What a result raised. */
  private readonly pending: number;

  constructor(unit: X87Unit) {
    const { e } = unit;
    this.unit = unit;
    this.e = e;
    this.m0 = e.local('i64');
    this.m1 = e.local('i64');
    this.n0 = e.local('i32');
    this.n1 = e.local('i32');
    this.pending = e.local('i32');
  }
  private mOf(r: number): number {
    return (this.significands[r] ??= this.e.local('i64'));
  }
  private seOf(r: number): number {
    return (this.exponents[r] ??= this.e.local('i32'));
  }
  private m(r: number): Expr {
    return this.e.get(this.mOf(r), 'i64');
  }
  private se(r: number): Expr {
    return this.e.get(this.seOf(r), 'i32');
  }
  private put(r: number, m: Expr, se: Expr): void {
    this.e.set(this.mOf(r), m);
    this.e.set(this.seOf(r), se);
  }
  private l(local: number): Expr {
    return this.e.get(local, 'i64');
  }
  private i(local: number): Expr {
    return this.e.get(local, 'i32');
  }

  fill(r: number, address: () => Expr): void {
    const { e } = this;
    this.put(r, e.load('i64', address()), e.load('i32', address(), 8, 'load16_u'));
  }
  spill(r: number, address: () => Expr): void {
    const { e } = this;
    e.store('i64', address(), this.m(r));
    e.store('i32', address(), this.se(r), 8, 'store16');
  }
  copy(to: number, from: number): void {
    if (to !== from) this.put(to, this.m(from), this.se(from));
  }
  exchange(a: number, b: number): void {
    if (a === b) return;
    this.e.set(this.m0, this.m(a));
    this.e.set(this.n0, this.se(a));
    this.copy(a, b);
    this.put(b, this.l(this.m0), this.i(this.n0));
  }
  select(condition: Expr, to: number, from: number): void {
    const { e } = this;
    e.set(this.n0, condition);
    e.set(this.mOf(to), e.select(this.i(this.n0), this.m(from), this.m(to)));
    e.set(this.seOf(to), e.select(this.i(this.n0), this.se(from), this.se(to)));
  }

  // --- operands
  operand(op: X87Op, args: readonly Expr[]): void {
    const { e } = this;
    switch (op) {
      case 'x87.operand.f32':
        return this.widen('f32', e.op('i64.extend_u', args[0]), (bits) =>
          e.call('f80FromF32', [e.op('i32.wrap', bits)], 'i64'),
        );
      case 'x87.operand.f64':
        return this.widen('f64', args[0]!, (bits) => e.call('f80FromF64', [bits], 'i64'));
      case 'x87.operand.i64': {
        e.set(this.m0, args[0]!);
        const sign = e.op('i64.shr_s', this.l(this.m0), e.i64(63n));
        e.set(
          this.m1,
          e.op('i64.sub', e.op('i64.xor', this.l(this.m0), sign), e.op('i64.shr_s', this.l(this.m0), e.i64(63n))),
        );
        // The magnitude; a zero has neither exponent nor sign.
        const zeros = e.op('i64.clz', this.l(this.m1));
        const exponent = e.op('i32.sub', e.i32(16383 + 63), e.op('i32.wrap', zeros));
        const negative = e.op(
          'i32.wrap',
          e.op('i64.and', e.op('i64.shr_u', this.l(this.m0), e.i64(48n)), e.i64(0x8000n)),
        );
        e.set(
          this.seOf(OPERAND),
          e.select(e.op('i64.eqz', this.l(this.m1)), e.i32(0), e.op('i32.or', exponent, negative)),
        );
        e.set(this.mOf(OPERAND), e.op('i64.shl', this.l(this.m1), e.op('i64.clz', this.l(this.m1))));
        return;
      }
      case 'x87.operand.f80':
        return this.put(OPERAND, args[0]!, args[1]!);
      default:
        e.set(this.mOf(OPERAND), e.call('f80FromBcd', [...args], 'i64'));
        e.set(this.seOf(OPERAND), e.global('resultSe', 'i32'));
    }
  }
  /** The bits of a double or of a single (zero-extended). Signalling NaNs and denormals are the interpreter's. */
  private widen(format: 'f32' | 'f64', bits: Expr, library: (bits: Expr) => Expr): void {
    const { e } = this;
    const { fraction, maximum, bias } = formats[format];
    const lost = BigInt(63 - fraction);
    e.set(this.m0, bits);
    const value = () => this.l(this.m0);
    // Sign and exponent.
    e.set(this.n0, e.op('i32.wrap', e.op('i64.shr_u', value(), e.i64(BigInt(fraction)))));
    const sign = () => e.op('i32.and', this.i(this.n0), e.i32(maximum + 1));
    const places = 16 - Math.log2(2 * (maximum + 1));
    const done = e.label('done');
    const special = e.label('special');
    e.block(done, () => {
      e.block(special, () => {
        const next = e.op('i32.and', e.op('i32.add', this.i(this.n0), e.i32(1)), e.i32(maximum));
        e.brIf(special, e.op('i32.le_u', next, e.i32(1)));
        e.set(this.mOf(OPERAND), e.op('i64.or', e.op('i64.shl', value(), e.i64(lost)), e.i64(TOP_BIT)));
        e.set(this.n1, sign());
        const moved = e.op('i32.sub', e.op('i32.shl', this.i(this.n1), e.i32(places)), this.i(this.n1));
        const biased = e.op('i32.add', this.i(this.n0), e.i32(16383 - bias));
        e.set(this.seOf(OPERAND), e.op('i32.add', biased, moved));
        e.br(done);
      });
      e.if(
        e.op('i64.eqz', e.op('i64.shl', value(), e.i64(format === 'f64' ? 1n : 33n))),
        () => this.put(OPERAND, e.i64(0n), e.op('i32.shl', sign(), e.i32(places))),
        () => {
          e.set(this.mOf(OPERAND), library(value()));
          e.set(this.seOf(OPERAND), e.global('resultSe', 'i32'));
          this.unit.exitIf(e.global('raised', 'i32'));
        },
      );
    });
  }
  constant(n: number): void {
    const { e } = this;
    const { significand, exponent, inexact, up } = constants[n]!;
    const low = e.i64(BigInt.asIntN(64, significand));
    if (!inexact) return this.put(OPERAND, low, e.i32(exponent));
    e.set(this.n0, e.op('i32.and', this.unit.control(), e.i32(0xc00)));
    const away = e.op('i32.eq', this.i(this.n0), e.i32(0x800));
    const more = up ? e.op('i32.or', away, e.op('i32.eqz', this.i(this.n0))) : away;
    this.put(OPERAND, e.op('i64.add', low, e.op('i64.extend_u', more)), e.i32(exponent));
  }

  // --- arithmetic
  /** Calls the library; the significand of the result is in `m0` then, and the flags have been raised. */
  private call(op: X87Op, args: readonly Expr[]): void {
    const { e, unit } = this;
    const { name, mask, extra } = libraryOf.get(op)!;
    e.set(this.m0, e.call(name, [...args, ...(extra === null ? [] : [e.i32(extra)]), unit.control()], 'i64'));
    e.set(this.n0, e.global('raised', 'i32'));
    unit.exitIf(unit.unmasked(this.i(this.n0)));
    if (mask === C2) unit.exitIf(e.op('i32.and', e.global('condition', 'i32'), e.i32(C2))); // out of range: nothing is done
    if (mask === CODES) {
      // A NaN leaves some condition codes alone.
      unit.exitIf(e.op('i32.eq', e.op('i32.and', e.global('resultSe', 'i32'), e.i32(0x7fff)), e.i32(0x7fff)));
    }
    if (mask !== 0) e.set(this.n0, e.op('i32.or', this.i(this.n0), e.global('condition', 'i32')));
    unit.raise(() => this.i(this.n0), mask);
  }
  binary(op: X87Op, to: number, a: number, b: number): void {
    const { e, unit } = this;
    const own = f80Functions[op];
    if (own !== undefined) {
      const result = e.callPair(own, [this.m(a), this.se(a), this.m(b), this.se(b), unit.turned()]);
      e.set(this.n0, e.op('i32.shr_u', result.second(), e.i32(16)));
      unit.exitIf(unit.unmasked(this.i(this.n0)));
      unit.raise(() => this.i(this.n0), 0);
      return this.put(to, result.first(), e.op('i32.and', result.second(), e.i32(0xffff)));
    }
    this.call(op, [this.m(a), this.se(a), this.m(b), this.se(b)]);
    this.put(to, this.l(this.m0), e.global('resultSe', 'i32'));
  }
  unary(op: X87Op, a: number): void {
    const { e } = this;
    if (op === 'x87.abs') return e.set(this.seOf(a), e.op('i32.and', this.se(a), e.i32(0x7fff)));
    if (op === 'x87.chs') return e.set(this.seOf(a), e.op('i32.xor', this.se(a), e.i32(0x8000)));
    this.call(op, [this.m(a), this.se(a)]);
    this.put(a, this.l(this.m0), e.global('resultSe', 'i32'));
  }
  pair(op: X87Op, a: number, second: number): void {
    const { e } = this;
    this.call(op, [this.m(a), this.se(a)]);
    this.put(a, this.l(this.m0), e.global('resultSe', 'i32'));
    this.put(second, e.global('result2M', 'i64'), e.global('result2Se', 'i32'));
  }
  compare(a: number, b: number, quiet: boolean): () => Expr {
    const { e, unit } = this;
    e.set(this.n0, e.call('f80Compare', [this.m(a), this.se(a), this.m(b), this.se(b), e.i32(quiet ? 1 : 0)], 'i32'));
    e.set(this.n1, e.global('raised', 'i32'));
    unit.exitIf(unit.unmasked(this.i(this.n1)));
    unit.raise(() => this.i(this.n1), 0);
    return e.share(this.i(this.n0), 'i32');
  }
  examine(a: number): () => Expr {
    return this.e.share(this.e.call('f80Examine', [this.m(a), this.se(a)], 'i32'), 'i32');
  }

  // --- results
  result(op: X87Op, a: number, truncate: boolean): Expr {
    const { e, unit } = this;
    const { format, name, type } = resultOf.get(op as `x87.result.${'f80'}`)!;
    if (name === null) {
      e.set(this.pending, e.i32(0));
      e.set(this.n0, this.se(a));
      return this.m(a);
    }
    const value = e.local(type);
    const library = () => {
      const more = format[0] === 'i' ? [e.i32(truncate ? 1 : 0)] : [];
      e.set(value, e.call(name, [this.m(a), this.se(a), unit.control(), ...more], type));
      e.set(this.pending, e.global('raised', 'i32'));
      if (format === 'bcd') e.set(this.n0, e.global('resultSe', 'i32'));
    };
    if (format === 'f32' || format === 'f64') this.narrow(format, a, value, library);
    else library();
    unit.exitIf(unit.unmasked(this.i(this.pending)));
    return e.get(value, type);
  }
  upper(): Expr {
    return this.i(this.n0);
  }
  commit(): void {
    this.unit.raise(() => this.i(this.pending), 0);
  }
  /** To a double or single: here if it rounds to nearest and neither the value nor the result is special. */
  private narrow(format: 'f32' | 'f64', a: number, value: number, library: () => void): void {
    const { e, unit } = this;
    const { fraction, maximum, bias } = formats[format];
    const lost = 63 - fraction;
    const half = 1n << BigInt(lost - 1);
    const done = e.label('done');
    const special = e.label('special');
    e.block(done, () => {
      e.block(special, () => {
        e.set(this.n0, e.op('i32.sub', e.op('i32.and', this.se(a), e.i32(0x7fff)), e.i32(16384 - bias)));
        // In range even if the rounding carries, with its top bit, to nearest.
        e.brIf(special, e.op('i32.ge_u', this.i(this.n0), e.i32(maximum - 2)));
        e.brIf(special, e.op('i64.ge_s', this.m(a), e.i64(0n)));
        e.brIf(special, e.op('i32.and', unit.turned(), e.i32(0xc00)));
        const kept = () => e.op('i64.shr_u', this.m(a), e.i64(BigInt(lost)));
        e.set(this.m0, e.op('i64.and', this.m(a), e.i64(2n * half - 1n)));
        const odd = e.op('i64.and', kept(), e.i64(1n));
        e.set(this.n1, e.op('i64.gt_u', e.op('i64.add', this.l(this.m0), odd), e.i64(half)));
        const inexact = e.op('i32.shl', e.op('i64.ne', this.l(this.m0), e.i64(0n)), e.i32(5));
        e.set(this.pending, e.op('i32.or', inexact, e.op('i32.shl', this.i(this.n1), e.i32(9))));
        // `n0` is one less than the exponent, to which the integer bit of the significand adds one.
        const sign = e.op('i32.shl', e.op('i32.and', this.se(a), e.i32(0x8000)), e.i32(16));
        if (format === 'f64') {
          const upper = e.op('i64.extend_u', e.op('i32.or', sign, e.op('i32.shl', this.i(this.n0), e.i32(20))));
          const rounded = e.op('i64.add', kept(), e.op('i64.extend_u', this.i(this.n1)));
          e.set(value, e.op('i64.add', e.op('i64.shl', upper, e.i64(32n)), rounded));
        } else {
          const upper = e.op('i32.or', sign, e.op('i32.shl', this.i(this.n0), e.i32(23)));
          const rounded = e.op('i32.add', e.op('i32.wrap', kept()), this.i(this.n1));
          e.set(value, e.op('i32.add', upper, rounded));
        }
        e.br(done);
      });
      library();
    });
  }
}
