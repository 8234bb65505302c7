/**
 * What the micro-ops of src/ir/x87-ops.ts do, as functions of the core module over the vCPU's memory image: stack and
 * tags, operands for softfloat.wasm, masked responses, deferred unmasked exceptions. SDM volume 1, chapter 8.
 *
 * Parameter 0 is the vCPU, parameter 1 the immediate or operand. A register is found by its place in the stack, or is the
 * operand register that stands behind the eight physical ones in the layout.
 */
import { OPERAND, roles } from '../src/ir/x87-ops.ts';
import { offsetOf } from '../src/state/layout.ts';
import type { Emitter, Expr } from './emitter.ts';
import { C1, Stack } from './x87-stack.ts';
import {
  binaries,
  C2,
  CODES,
  constants,
  functionName,
  isInteger,
  pairs,
  results,
  unaries,
  x87Functions,
} from './x87-tables.ts';

const INVALID = 1;
const DENORMAL = 2;
/** Exceptions that keep a result from being computed; overflow and underflow besides from being stored. */
const BEFORE = 7;
const UNSTORABLE = 0x1f;
const EXCEPTIONS = 0x3f;
const STACK_FAULT = 0x40;
const UNDERFLOWED = 0x41; // stack fault and invalid operation
const OVERFLOWED = 0x241;
const SUMMARY = 0x8080;
const TOP_BIT = -(1n << 63n);
/** The real indefinite. */
const INDEFINITE = { significand: -(1n << 62n), exponent: 0xffff };

class Functions {
  private readonly e: Emitter;
  constructor(e: Emitter) {
    this.e = e;
  }

  private add(name: string, body: (s: Stack) => void, f = x87Functions[name]!): void {
    const { e } = this;
    e.addFunction(functionName(name), ['i32', ...f.parameters], f.result, () => body(new Stack(e)));
  }
  private readonly parameter = (): Expr => this.e.get(1, 'i32');
  private role(shift: number): Expr {
    const { e } = this;
    const shifted = shift === 0 ? this.parameter() : e.op('i32.shr_u', this.parameter(), e.i32(shift));
    return e.op('i32.and', shifted, e.i32(15));
  }
  private control(): Expr {
    return this.e.state32('fcw');
  }
  /**
   * The control word that the library gets for an operation: where arithmetic rounds to doubles, it does so to nearest, as
   * the doubles of a translation do.
   */
  private arithmeticControl(name: string): Expr {
    const { e } = this;
    if (name === 'round') return this.control();
    const precision = /^(?:add|sub|mul|div|sqrt)$/.test(name) ? 0x200 : 0x300;
    const plain = e.op('i32.or', e.op('i32.and', this.control(), e.i32(0xff)), e.i32(precision));
    return e.select(e.state32('x87Fast'), plain, this.control());
  }
  /** Rounds a value (in a local) and its exponent to a double, where arithmetic does so. */
  private cut(m: number, se: number): void {
    const { e } = this;
    e.if(e.state32('x87Fast'), () => {
      const double = e.call('f80ToF64', [e.get(m, 'i64'), e.get(se, 'i32'), e.i32(0x37f)], 'i64');
      e.set(m, e.call('f80FromF64', [double], 'i64'));
      e.set(se, e.global('resultSe', 'i32'));
    });
  }
  private raised(): () => Expr {
    return this.e.share(this.e.global('raised', 'i32'), 'i32');
  }
  /** Exceptions among `raised` that are not masked. */
  private unmasked(raised: Expr, which = EXCEPTIONS): Expr {
    const { e } = this;
    return e.op('i32.and', e.op('i32.and', raised, e.op('i32.xor', this.control(), e.i32(-1))), e.i32(which));
  }
  private finish(role: Expr, m: Expr, se: Expr, raised: Expr, mask: number): void {
    const { e } = this;
    e.emit(e.call('x87.finish', [e.cpu(), role, m, se, raised, e.i32(mask)], null));
    e.return();
  }
  /** A stack underflow. Of the condition codes that an instruction defines (`mask`) it clears C1 and C2. */
  private indefinite(role: Expr, mask = 0): void {
    const { e } = this;
    this.finish(role, e.i64(INDEFINITE.significand), e.i32(INDEFINITE.exponent), e.i32(UNDERFLOWED), mask & C2);
  }

  build(): void {
    this.support();
    this.operands();
    this.loads();
    this.arithmetic();
    this.compares();
    this.results();
    this.moves();
    this.controls();
  }

  private support(): void {
    const { e } = this;
    // A result that is not plain: exceptions that may not be masked, a register that may be empty.
    this.add(
      'finish',
      (s) => {
        const m = () => e.get(2, 'i64');
        const se = () => e.get(3, 'i32');
        const raised = () => e.get(4, 'i32');
        const mask = e.op('i32.xor', e.op('i32.or', e.get(5, 'i32'), e.i32(C1)), e.i32(-1));
        const old = e.op('i32.and', s.status(), mask);
        e.setState32('fsw', e.op('i32.or', old, raised()));
        const open = e.share(this.unmasked(raised()), 'i32');
        e.if(open(), () => {
          e.setState32('fsw', e.op('i32.or', e.state32('fsw'), e.i32(SUMMARY)));
          e.if(e.op('i32.and', open(), e.i32(BEFORE)), () => e.return());
        });
        const after = new Stack(e);
        const to = after.number(() => this.role(0));
        after.write(to, m(), se());
        after.fill(to);
        after.pops(this.parameter);
        after.save();
      },
      { parameters: ['i32', 'i64', 'i32', 'i32', 'i32'], result: null },
    );
    // What the conversion of a denormal memory operand adds to the exceptions of an operation: nothing if the operation
    // was invalid, divided by zero or had a NaN; nothing else if the denormal exception is not masked.
    e.addFunction('x87.denormal', ['i32', 'i64', 'i32'], 'i32', () => {
      const raised = () => e.get(2, 'i32');
      e.if(e.op('i32.eqz', e.op('i32.and', e.state32('x87Raised'), e.i32(DENORMAL))), () => e.return(raised()));
      e.if(e.op('i32.and', raised(), e.i32(5)), () => e.return(raised()));
      const special = e.op('i32.eq', e.op('i32.and', e.global('resultSe', 'i32'), e.i32(0x7fff)), e.i32(0x7fff));
      const nan = e.op('i32.and', special, e.op('i64.ne', e.get(1, 'i64'), e.i64(TOP_BIT)));
      e.if(nan, () => e.return(raised()));
      e.if(this.unmasked(e.i32(DENORMAL)), () => e.return(e.i32(DENORMAL)));
      e.return(e.op('i32.or', raised(), e.i32(DENORMAL)));
    });
  }

  /** An operand that may have more bits than a double. */
  private setWideOperand(m: Expr, se: Expr): void {
    const { e } = this;
    const [value, exponent] = [e.local('i64'), e.local('i32')];
    e.set(value, m);
    e.set(exponent, se);
    this.cut(value, exponent);
    this.setOperand(e.get(value, 'i64'), e.get(exponent, 'i32'));
  }
  private setOperand(m: Expr, se: Expr): void {
    const { e } = this;
    e.store('i64', e.cpu(), m, offsetOf('x87Operand'));
    e.store('i32', e.cpu(), se, offsetOf('x87Operand') + 8, 'store16');
  }

  private operands(): void {
    const { e } = this;
    for (const [name, type, f] of [
      ['f32', 'i32', 'f80FromF32'],
      ['f64', 'i64', 'f80FromF64'],
    ] as const) {
      this.add(`operand.${name}`, () => {
        const m = e.share(e.call(f, [e.get(1, type)], 'i64'), 'i64');
        const raised = this.raised();
        // A signalling NaN stays one until it is used.
        const signalling = e.op('i64.shl', e.op('i64.extend_u', e.op('i32.and', raised(), e.i32(INVALID))), e.i64(62n));
        this.setOperand(e.op('i64.xor', m(), signalling), e.global('resultSe', 'i32'));
        e.setState32('x87Raised', raised());
      });
    }
    this.add('operand.i64', () => {
      const m = e.share(e.call('f80FromI64', [e.get(1, 'i64')], 'i64'), 'i64');
      this.setWideOperand(m(), e.global('resultSe', 'i32'));
      e.setState32('x87Raised', e.i32(0));
    });
    this.add('operand.f80', () => {
      this.setWideOperand(e.get(1, 'i64'), e.get(2, 'i32'));
      e.setState32('x87Raised', e.i32(0));
    });
    this.add('operand.bcd', () => {
      const m = e.share(e.call('f80FromBcd', [e.get(1, 'i64'), e.get(2, 'i32')], 'i64'), 'i64');
      this.setWideOperand(m(), e.global('resultSe', 'i32'));
      e.setState32('x87Raised', e.i32(0));
    });
    this.add('operand.constant', () => {
      const mode = e.share(e.op('i32.and', e.op('i32.shr_u', this.control(), e.i32(10)), e.i32(3)), 'i32');
      e.setState32('x87Raised', e.i32(0));
      constants.forEach(({ significand, exponent, inexact, up }, n) => {
        e.if(e.op('i32.eq', this.parameter(), e.i32(n)), () => {
          let more = e.i64(0n);
          if (inexact) {
            const away = e.op('i32.eq', mode(), e.i32(2));
            more = e.op('i64.extend_u', up ? e.op('i32.or', away, e.op('i32.eqz', mode())) : away);
          }
          this.setWideOperand(e.op('i64.add', e.i64(BigInt.asIntN(64, significand)), more), e.i32(exponent));
        });
      });
    });
  }

  private loads(): void {
    const { e } = this;
    const push = (s: Stack, to: () => Expr, m: Expr, se: Expr): void => {
      s.write(to, m, se);
      s.fill(to);
      s.rotate(e.i32(7));
      s.save();
    };
    const fault = (s: Stack, to: () => Expr, flags: Expr): void => {
      s.raise(flags);
      e.if(
        e.op('i32.and', this.control(), e.i32(INVALID)),
        () => push(s, to, e.i64(INDEFINITE.significand), e.i32(INDEFINITE.exponent)),
        () => {
          s.raise(e.i32(SUMMARY), 0);
          s.save();
        },
      );
      e.return();
    };
    this.add('push', (s) => {
      const to = s.fixed(7);
      e.if(s.full(to), () => fault(s, to, e.i32(OVERFLOWED)));
      const operand = s.fixed(OPERAND);
      const raised = e.share(e.state32('x87Raised'), 'i32');
      s.raise(raised());
      const open = e.share(this.unmasked(raised()), 'i32');
      e.if(open(), () => {
        s.raise(e.i32(SUMMARY), 0);
        // A denormal is loaded even so: its conversion is exact.
        e.if(e.op('i32.and', open(), e.i32(INVALID)), () => {
          s.save();
          e.return();
        });
      });
      const quiet = e.op('i64.shl', e.op('i64.extend_u', e.op('i32.and', raised(), e.i32(INVALID))), e.i64(62n));
      push(s, to, e.op('i64.or', s.m(operand), quiet), s.se(operand));
    });
    this.add('load', (s) => {
      const from = s.number(this.parameter);
      const to = s.fixed(7);
      e.if(s.empty(from), () => fault(s, to, e.i32(UNDERFLOWED)));
      e.if(s.full(to), () => fault(s, to, e.i32(OVERFLOWED)));
      s.raise(e.i32(0));
      push(s, to, s.m(from), s.se(from));
    });
  }

  private arithmetic(): void {
    const { e } = this;
    /** Stores a plain result, or leaves it to `finish`. */
    const done = (s: Stack, m: () => Expr, raised: () => Expr, mask: number): void => {
      const [value, exponent] = [e.local('i64'), e.local('i32')];
      e.set(value, m());
      e.set(exponent, e.global('resultSe', 'i32'));
      this.cut(value, exponent);
      e.if(this.unmasked(raised()), () =>
        this.finish(this.parameter(), e.get(value, 'i64'), e.get(exponent, 'i32'), raised(), mask),
      );
      s.write(
        s.number(() => this.role(0)),
        e.get(value, 'i64'),
        e.get(exponent, 'i32'),
      );
      s.raise(raised(), mask | C1);
      s.pops(this.parameter);
      s.save();
    };
    const flags = (s: Stack, mask: number, m: () => Expr, operand: boolean): (() => Expr) => {
      const raised = this.raised();
      if (mask !== 0) {
        const all = e.op('i32.or', raised(), e.global('condition', 'i32'));
        if (mask !== CODES) return e.share(all, 'i32');
        // No quotient: a remainder that is a NaN leaves C0 and C3 alone.
        const special = e.op('i32.eq', e.op('i32.and', e.global('resultSe', 'i32'), e.i32(0x7fff)), e.i32(0x7fff));
        const nan = e.op('i32.and', special, e.op('i64.ne', m(), e.i64(TOP_BIT)));
        const old = e.select(nan, e.op('i32.and', s.status(), e.i32(CODES & ~(C1 | C2))), e.i32(0));
        return e.share(e.op('i32.or', all, old), 'i32');
      }
      if (!operand) return raised;
      const local = e.share(raised(), 'i32');
      const index = e.local('i32');
      e.set(index, local());
      e.if(e.op('i32.and', this.parameter(), e.i32(roles(0, OPERAND, OPERAND))), () =>
        e.set(index, e.call('x87.denormal', [e.cpu(), m(), local()], 'i32')),
      );
      return () => e.get(index, 'i32');
    };
    for (const [name, f, mask, extra] of binaries) {
      this.add(name, (s) => {
        const a = s.number(() => this.role(4));
        const b = s.number(() => this.role(8));
        e.if(e.op('i32.eqz', e.op('i32.and', s.full(a), s.full(b))), () => this.indefinite(this.parameter(), mask));
        const more = extra === null ? [] : [e.i32(extra)];
        const m = e.share(
          e.call(f, [s.m(a), s.se(a), s.m(b), s.se(b), ...more, this.arithmeticControl(name)], 'i64'),
          'i64',
        );
        done(s, m, flags(s, mask, m, mask === 0), mask);
      });
    }
    for (const [name, f, mask] of unaries) {
      this.add(name, (s) => {
        const a = s.number(() => this.role(4));
        e.if(s.empty(a), () => this.indefinite(this.parameter(), mask));
        const m = e.share(e.call(f, [s.m(a), s.se(a), this.arithmeticControl(name)], 'i64'), 'i64');
        done(s, m, flags(s, mask, m, false), mask);
      });
    }
    for (const [name, change] of [
      ['abs', (se: Expr) => e.op('i32.and', se, e.i32(0x7fff))],
      ['chs', (se: Expr) => e.op('i32.xor', se, e.i32(0x8000))],
    ] as const) {
      this.add(name, (s) => {
        const a = s.fixed(0);
        e.if(s.empty(a), () => this.indefinite(this.parameter()));
        s.write(a, s.m(a), change(s.se(a)));
        s.raise(e.i32(0));
        s.save();
      });
    }
    for (const [name, f, mask] of pairs) {
      this.add(name, (s) => {
        const a = s.fixed(0);
        const to = s.fixed(7);
        const both = (first: [Expr, Expr], second: [Expr, Expr]): void => {
          s.write(a, ...first);
          s.fill(a);
          s.write(to, ...second);
          s.fill(to);
          s.rotate(e.i32(7));
          s.save();
          e.return();
        };
        const indefinite = (): [Expr, Expr] => [e.i64(INDEFINITE.significand), e.i32(INDEFINITE.exponent)];
        const fault = (kind: number): void => {
          s.raise(e.i32(kind), mask | C1);
          e.if(e.op('i32.and', this.control(), e.i32(INVALID)), () => both(indefinite(), indefinite()));
          s.raise(e.i32(SUMMARY), 0);
          s.save();
          e.return();
        };
        e.if(s.empty(a), () => fault(UNDERFLOWED));
        e.if(s.full(to), () => fault(OVERFLOWED));
        const m = e.share(e.call(f, [s.m(a), s.se(a), this.arithmeticControl(name)], 'i64'), 'i64');
        const raised = flags(s, mask, m, false);
        s.raise(raised(), mask | C1);
        const open = e.share(this.unmasked(raised()), 'i32');
        e.if(open(), () => s.raise(e.i32(SUMMARY), 0));
        const stop = e.op('i32.or', e.op('i32.and', open(), e.i32(BEFORE)), e.op('i32.and', raised(), e.i32(mask)));
        e.if(stop, () => {
          s.save();
          e.return();
        });
        const firstM = e.local('i64');
        const firstSe = e.local('i32');
        const secondM = e.local('i64');
        const secondSe = e.local('i32');
        e.set(firstM, m());
        e.set(firstSe, e.global('resultSe', 'i32'));
        e.set(secondM, e.global('result2M', 'i64'));
        e.set(secondSe, e.global('result2Se', 'i32'));
        this.cut(firstM, firstSe);
        this.cut(secondM, secondSe);
        both([e.get(firstM, 'i64'), e.get(firstSe, 'i32')], [e.get(secondM, 'i64'), e.get(secondSe, 'i32')]);
      });
    }
  }

  private compares(): void {
    const { e } = this;
    const compare = (s: Stack, flags: boolean): void => {
      const a = s.number(() => this.role(4));
      const b = s.number(() => this.role(8));
      const codes = e.local('i32');
      const raised = e.local('i32');
      e.if(
        e.op('i32.and', s.full(a), s.full(b)),
        () => {
          const quiet = e.op('i32.and', this.parameter(), e.i32(1 << 14));
          e.set(codes, e.call('f80Compare', [s.m(a), s.se(a), s.m(b), s.se(b), quiet], 'i32'));
          e.set(raised, e.global('raised', 'i32'));
          e.if(e.op('i32.and', this.parameter(), e.i32(roles(0, OPERAND, OPERAND))), () => {
            const ordered = e.op('i32.ne', e.get(codes, 'i32'), e.i32(0x4500));
            const denormal = e.op('i32.and', e.state32('x87Raised'), e.i32(DENORMAL));
            e.if(ordered, () => e.set(raised, e.op('i32.or', e.get(raised, 'i32'), denormal)));
          });
        },
        () => {
          e.set(codes, e.i32(0x4500));
          e.set(raised, e.i32(UNDERFLOWED));
        },
      );
      const open = e.share(this.unmasked(e.get(raised, 'i32')), 'i32');
      s.raise(e.get(raised, 'i32'), C1);
      if (!flags) s.raise(e.get(codes, 'i32'), CODES);
      e.if(
        open(),
        () => s.raise(e.i32(SUMMARY), 0),
        () => s.pops(this.parameter),
      );
      s.save();
      if (!flags) return;
      // An empty register compares as unordered even if that is not masked; a NaN leaves the flags alone.
      const underflow = e.op('i32.and', e.get(raised, 'i32'), e.i32(STACK_FAULT));
      const kept = e.op('i32.and', e.op('i32.and', open(), e.i32(INVALID)), e.op('i32.eqz', underflow));
      e.if(kept, () => e.return(e.call('flagsWord', [e.cpu()], 'i32')));
      e.return(e.op('i32.shr_u', e.get(codes, 'i32'), e.i32(8)));
    };
    this.add('compare', (s) => compare(s, false));
    this.add('compare.flags', (s) => compare(s, true));
    this.add('examine', (s) => {
      const a = s.fixed(0);
      const sign = e.op('i32.and', e.op('i32.shr_u', s.se(a), e.i32(6)), e.i32(C1));
      const codes = e.local('i32');
      e.set(codes, e.op('i32.or', sign, e.i32(0x4100)));
      e.if(s.full(a), () => e.set(codes, e.call('f80Examine', [s.m(a), s.se(a)], 'i32')));
      s.raise(e.get(codes, 'i32'), CODES);
      s.save();
    });
  }

  private results(): void {
    const { e } = this;
    for (const [name, f, type, indefinite] of results) {
      const make = (n: bigint): Expr => (type === 'i64' ? e.i64(BigInt.asIntN(64, n)) : e.i32(Number(n)));
      this.add(`result.${name}`, (s) => {
        const a = s.fixed(0);
        e.if(s.empty(a), () => {
          e.setState32('x87Raised', e.i32(UNDERFLOWED));
          e.setState32('x87Done', e.op('i32.and', this.control(), e.i32(1)));
          this.setOperand(e.i64(0n), e.i32(0xffff));
          e.return(make(indefinite));
        });
        if (f === null) {
          e.setState32('x87Raised', e.i32(0));
          e.setState32('x87Done', e.i32(1));
          this.setOperand(e.i64(0n), s.se(a));
          e.return(s.m(a));
          return;
        }
        const more = isInteger(name) ? [this.parameter()] : [];
        const value = e.share(e.call(f, [s.m(a), s.se(a), this.control(), ...more], type), type);
        const raised = this.raised();
        if (name === 'bcd') this.setOperand(e.i64(0n), e.global('resultSe', 'i32'));
        e.setState32('x87Raised', raised());
        e.setState32('x87Done', e.op('i32.eqz', this.unmasked(raised(), UNSTORABLE)));
        e.return(value());
      });
    }
    this.add('commit', (s) => {
      const raised = e.share(e.state32('x87Raised'), 'i32');
      s.raise(raised());
      e.if(this.unmasked(raised()), () => s.raise(e.i32(SUMMARY), 0));
      e.if(e.state32('x87Done'), () => e.if(this.parameter(), () => s.pop()));
      s.save();
    });
  }

  private moves(): void {
    const { e } = this;
    this.add('store', (s) => {
      const from = s.fixed(0);
      e.if(s.empty(from), () => this.indefinite(this.parameter()));
      const to = s.number(() => this.role(0));
      s.write(to, s.m(from), s.se(from));
      s.fill(to);
      s.raise(e.i32(0));
      s.pops(this.parameter);
      s.save();
    });
    this.add('exchange', (s) => {
      const a = s.fixed(0);
      const b = s.number(this.parameter);
      e.if(e.op('i32.eqz', e.op('i32.and', s.full(a), s.full(b))), () => {
        s.raise(e.i32(UNDERFLOWED));
        e.if(e.op('i32.eqz', e.op('i32.and', this.control(), e.i32(INVALID))), () => {
          s.raise(e.i32(SUMMARY), 0);
          s.save();
          e.return();
        });
        for (const x of [a, b]) {
          e.if(s.empty(x), () => s.write(x, e.i64(INDEFINITE.significand), e.i32(INDEFINITE.exponent)));
          s.fill(x);
        }
        s.save();
      });
      const m = e.share(s.m(a), 'i64');
      const se = e.share(s.se(a), 'i32');
      s.write(a, s.m(b), s.se(b));
      s.write(b, m(), se());
      e.setState32('fsw', e.op('i32.and', e.state32('fsw'), e.i32(~C1)));
    });
    this.add('move', (s) => {
      const a = s.fixed(0);
      const b = s.number(this.parameter);
      e.if(e.op('i32.eqz', e.op('i32.and', s.full(a), s.full(b))), () => this.indefinite(e.i32(0)));
      e.if(e.get(2, 'i32'), () => s.write(a, s.m(b), s.se(b)));
    });
    this.add('free', (s) => {
      s.free(s.number(this.parameter));
      s.save();
    });
    this.add('rotate', (s) => {
      s.rotate(this.parameter());
      s.raise(e.i32(0));
      s.save();
    });
    this.add('pop', (s) => {
      s.pop();
      s.save();
    });
  }

  private controls(): void {
    const { e } = this;
    this.add('init', () => {
      for (const [field, value] of [
        ['fcw', 0x37f],
        ['fsw', 0],
        ['ftw', 0],
        ['fop', 0],
        ['fcs', 0],
        ['fds', 0],
      ] as const)
        e.setState32(field, e.i32(value));
      e.setState64('fip', e.i64(0n));
      e.setState64('fdp', e.i64(0n));
    });
    this.add('clear', () => e.setState32('fsw', e.op('i32.and', e.state32('fsw'), e.i32(0x7f00))));
    // The error summary follows from the exceptions that the new masks leave open.
    this.add('control', (s) => {
      e.setState32('fcw', e.op('i32.or', e.op('i32.and', this.parameter(), e.i32(0x1f3f)), e.i32(0x40)));
      const open = this.unmasked(s.status());
      s.raise(e.select(open, e.i32(SUMMARY), e.i32(0)), SUMMARY);
      s.save();
    });
  }
}

/** Adds all of them to the core module. */
export function addX87Functions(e: Emitter): void {
  new Functions(e).build();
}
