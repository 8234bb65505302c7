/**
 * Inexact x87 values in a region, by the embedder's choice: plain doubles in locals. Arithmetic raises no exceptions and
 * rounds to 53 bits to nearest; loads, stores, comparisons and conversions to integers are otherwise as they should be.
 * What WebAssembly has no instruction for goes through softfloat.wasm.
 */
import type { X87Op } from '../src/ir/x87-ops.ts';
import type { Emitter, Expr } from './emitter.ts';
import type { X87Unit, X87Values } from './region-x87.ts';
import { libraryOf } from './x87-exact.ts';
import { C2, CODES, constants } from './x87-tables.ts';

const OPERAND = 8;
/** All exceptions masked, 64 bits, to nearest. */
const PLAIN = 0x37f;

/** The nearest double of a positive 80-bit number. */
const toDouble = (significand: bigint, exponent: number): number => Number(significand) * 2 ** (exponent - 16383 - 63);

export class FastValues implements X87Values {
  readonly flags = false;
  readonly keepsEmpty = false;
  private readonly unit: X87Unit;
  private readonly e: Emitter;
  private readonly locals: number[] = [];
  private readonly d0: number;
  private readonly m0: number;
  private readonly n0: number;

  constructor(unit: X87Unit) {
    this.unit = unit;
    this.e = unit.e;
    this.d0 = unit.e.local('f64');
    this.m0 = unit.e.local('i64');
    this.n0 = unit.e.local('i32');
  }
  private localOf(r: number): number {
    return (this.locals[r] ??= this.e.local('f64'));
  }
  private get(r: number): Expr {
    return this.e.get(this.localOf(r), 'f64');
  }
  private set(r: number, value: Expr): void {
    this.e.set(this.localOf(r), value);
  }
  private bits(r: number): Expr {
    return this.e.op('i64.reinterpret', this.get(r));
  }
  /** A double as significand (left in `m0`) and exponent (left in the library). */
  private widen(r: number): void {
    this.e.set(this.m0, this.e.call('f80FromF64', [this.bits(r)], 'i64'));
  }
  private narrow(m: Expr, se: Expr): Expr {
    const { e } = this;
    return e.op('f64.reinterpret', e.call('f80ToF64', [m, se, e.i32(PLAIN)], 'i64'));
  }
  private m(): Expr {
    return this.e.get(this.m0, 'i64');
  }
  private exponent(): Expr {
    return this.e.global('resultSe', 'i32');
  }

  fill(r: number, address: () => Expr): void {
    const { e } = this;
    this.set(r, this.narrow(e.load('i64', address()), e.load('i32', address(), 8, 'load16_u')));
  }
  spill(r: number, address: () => Expr): void {
    const { e } = this;
    this.widen(r);
    e.store('i64', address(), this.m());
    e.store('i32', address(), this.exponent(), 8, 'store16');
  }
  copy(to: number, from: number): void {
    if (to !== from) this.set(to, this.get(from));
  }
  exchange(a: number, b: number): void {
    if (a === b) return;
    this.e.set(this.d0, this.get(a));
    this.copy(a, b);
    this.set(b, this.e.get(this.d0, 'f64'));
  }
  select(condition: Expr, to: number, from: number): void {
    this.set(to, this.e.select(condition, this.get(from), this.get(to)));
  }

  operand(op: X87Op, args: readonly Expr[]): void {
    const { e } = this;
    switch (op) {
      case 'x87.operand.f32':
        return this.set(OPERAND, e.op('f64.promote', e.op('f32.reinterpret', args[0])));
      case 'x87.operand.f64':
        return this.set(OPERAND, e.op('f64.reinterpret', args[0]));
      case 'x87.operand.i64':
        return this.set(OPERAND, e.op('f64.convert_s.i64', args[0]));
      case 'x87.operand.f80':
        return this.set(OPERAND, this.narrow(args[0]!, args[1]!));
      default:
        e.set(this.m0, e.call('f80FromBcd', [...args], 'i64'));
        return this.set(OPERAND, this.narrow(this.m(), this.exponent()));
    }
  }
  constant(n: number): void {
    const { significand, exponent, up } = constants[n]!;
    this.set(OPERAND, this.e.f64(n === 6 ? 0 : toDouble(significand + (up ? 1n : 0n), exponent)));
  }

  binary(op: X87Op, to: number, a: number, b: number): void {
    const { e } = this;
    switch (op) {
      case 'x87.add':
      case 'x87.sub':
      case 'x87.mul':
      case 'x87.div':
        return this.set(to, e.op(`f64.${op.slice(4)}`, this.get(a), this.get(b)));
      default: {
        const second = e.share(e.call('f80FromF64', [this.bits(b)], 'i64'), 'i64');
        const exponent = e.share(this.exponent(), 'i32');
        this.widen(a);
        this.library(op, [this.m(), this.exponent(), second(), exponent()]);
        this.set(to, this.narrow(this.m(), this.exponent()));
      }
    }
  }
  /** Calls the library on 80-bit operands; the significand of the result is in `m0` then. */
  private library(op: X87Op, args: readonly Expr[]): void {
    const { e, unit } = this;
    const { name, mask, extra } = libraryOf.get(op)!;
    e.set(this.m0, e.call(name, [...args, ...(extra === null ? [] : [e.i32(extra)]), e.i32(PLAIN)], 'i64'));
    if (mask === 0) return;
    if (mask === C2) unit.exitIf(e.op('i32.and', e.global('condition', 'i32'), e.i32(C2))); // out of range: nothing is done
    unit.raise(e.share(e.op('i32.and', e.global('condition', 'i32'), e.i32(CODES)), 'i32'), mask);
  }
  unary(op: X87Op, a: number): void {
    const { e } = this;
    switch (op) {
      case 'x87.abs':
        return this.set(a, e.op('f64.abs', this.get(a)));
      case 'x87.chs':
        return this.set(a, e.op('f64.neg', this.get(a)));
      case 'x87.sqrt':
        return this.set(a, e.op('f64.sqrt', this.get(a)));
      case 'x87.round':
        return this.set(a, this.rounded(a, false));
      default:
        this.widen(a);
        this.library(op, [this.m(), this.exponent()]);
        this.set(a, this.narrow(this.m(), this.exponent()));
    }
  }
  pair(op: X87Op, a: number, second: number): void {
    const { e } = this;
    this.widen(a);
    this.library(op, [this.m(), this.exponent()]);
    const m = e.share(e.global('result2M', 'i64'), 'i64');
    const se = e.share(e.global('result2Se', 'i32'), 'i32');
    this.set(a, this.narrow(this.m(), this.exponent()));
    this.set(second, this.narrow(m(), se()));
  }
  compare(a: number, b: number): () => Expr {
    const { e } = this;
    const unless = e.select(e.op('f64.gt', this.get(a), this.get(b)), e.i32(0), e.i32(0x4500));
    const less = e.select(e.op('f64.lt', this.get(a), this.get(b)), e.i32(0x100), unless);
    return e.share(e.select(e.op('f64.eq', this.get(a), this.get(b)), e.i32(0x4000), less), 'i32');
  }
  examine(a: number): () => Expr {
    const { e } = this;
    this.widen(a);
    return e.share(e.call('f80Examine', [this.m(), this.exponent()], 'i32'), 'i32');
  }

  /** Rounded to an integer by the control word. */
  private rounded(a: number, truncate: boolean): Expr {
    const { e, unit } = this;
    if (truncate) return e.op('f64.trunc', this.get(a));
    e.set(this.n0, e.op('i32.and', unit.control(), e.i32(0xc00)));
    const is = (mode: number) => e.op('i32.eq', e.get(this.n0, 'i32'), e.i32(mode));
    e.if(
      is(0),
      () => e.set(this.d0, e.op('f64.nearest', this.get(a))),
      () =>
        e.if(
          is(0xc00),
          () => e.set(this.d0, e.op('f64.trunc', this.get(a))),
          () => e.set(this.d0, e.select(is(0x400), e.op('f64.floor', this.get(a)), e.op('f64.ceil', this.get(a)))),
        ),
    );
    return e.get(this.d0, 'f64');
  }
  result(op: X87Op, a: number, truncate: boolean): Expr | (() => Expr) {
    const { e } = this;
    switch (op) {
      case 'x87.result.f32':
        return () => e.op('i32.reinterpret', e.op('f32.demote', this.get(a)));
      case 'x87.result.f64':
        return () => this.bits(a);
      case 'x87.result.f80':
        this.widen(a);
        e.set(this.n0, this.exponent());
        return this.m();
      case 'x87.result.bcd': {
        this.widen(a);
        const digits = e.share(e.call('f80ToBcd', [this.m(), this.exponent(), this.unit.control()], 'i64'), 'i64');
        e.set(this.n0, this.exponent());
        return digits();
      }
      default: {
        e.set(this.d0, this.rounded(a, truncate));
        const value = () => e.get(this.d0, 'f64');
        const wide = op === 'x87.result.i64';
        const limit = 2 ** (wide ? 63 : op === 'x87.result.i32' ? 31 : 15);
        const fits = e.op('i32.and', e.op('f64.ge', value(), e.f64(-limit)), e.op('f64.lt', value(), e.f64(limit)));
        if (wide) return e.select(fits, e.op('i64.trunc_s_sat.f64', value()), e.i64(-(1n << 63n)));
        return e.select(fits, e.op('i32.trunc_s_sat.f64', value()), e.i32(-limit));
      }
    }
  }
  upper(): Expr {
    return this.e.get(this.n0, 'i32');
  }
  commit(): void {}
}
