/** The x87 registers as a generated function sees them: places, tags, TOP, the status word. SDM volume 1, section 8.1.2. */
import { OPERAND } from '../src/ir/x87-ops.ts';
import { offsetOf } from '../src/state/layout.ts';
import type { Emitter, Expr } from './emitter.ts';

/** Condition code C1, at its place in the status word. */
export const C1 = 0x200;
const M = offsetOf('fpr0');
const SE = M + 8;
if (offsetOf('x87Operand') !== M + 16 * OPERAND) throw new Error('x87: the operand register is not behind the others');

/** The registers as one function sees them. */
export class Stack {
  readonly e: Emitter;
  private readonly fsw: number;
  private readonly ftw: number;

  constructor(e: Emitter) {
    this.e = e;
    this.fsw = e.local('i32');
    this.ftw = e.local('i32');
    e.set(this.fsw, e.state32('fsw'));
    e.set(this.ftw, e.op('i32.or', e.state32('ftw'), e.i32(1 << OPERAND)));
  }
  status(): Expr {
    return this.e.get(this.fsw, 'i32');
  }
  private tags(): Expr {
    return this.e.get(this.ftw, 'i32');
  }
  /** Number of the register at a place (0 to 7, or the operand's). */
  number(place: () => Expr): () => Expr {
    const { e } = this;
    const physical = e.op('i32.and', e.op('i32.add', e.op('i32.shr_u', this.status(), e.i32(11)), place()), e.i32(7));
    return e.share(e.select(e.op('i32.and', place(), e.i32(OPERAND)), e.i32(OPERAND), physical), 'i32');
  }
  fixed(place: number): () => Expr {
    const { e } = this;
    if (place === OPERAND) return () => e.i32(OPERAND);
    const sum = e.op('i32.add', e.op('i32.shr_u', this.status(), e.i32(11)), e.i32(place));
    return e.share(e.op('i32.and', sum, e.i32(7)), 'i32');
  }
  /** Base of a register: M and SE are its offsets. */
  base(number: () => Expr): Expr {
    const { e } = this;
    return e.op('i32.add', e.cpu(), e.op('i32.shl', number(), e.i32(4)));
  }
  m(number: () => Expr): Expr {
    return this.e.load('i64', this.base(number), M);
  }
  se(number: () => Expr): Expr {
    return this.e.load('i32', this.base(number), SE, 'load16_u');
  }
  write(number: () => Expr, m: Expr, se: Expr): void {
    const { e } = this;
    e.store('i64', this.base(number), m, M);
    e.store('i32', this.base(number), se, SE, 'store16');
  }
  /** 1 if the register is in use. */
  full(number: () => Expr): Expr {
    const { e } = this;
    return e.op('i32.and', e.op('i32.shr_u', this.tags(), number()), e.i32(1));
  }
  empty(number: () => Expr): Expr {
    return this.e.op('i32.eqz', this.full(number));
  }
  private bit(number: () => Expr): Expr {
    return this.e.op('i32.shl', this.e.i32(1), number());
  }
  fill(number: () => Expr): void {
    const { e } = this;
    e.set(this.ftw, e.op('i32.or', this.tags(), this.bit(number)));
  }
  free(number: () => Expr): void {
    const { e } = this;
    e.set(this.ftw, e.op('i32.and', this.tags(), e.op('i32.xor', this.bit(number), e.i32(-1))));
  }
  /** Replaces the condition codes in `mask` and adds exceptions. */
  raise(flags: Expr, mask = C1): void {
    const { e } = this;
    e.set(this.fsw, e.op('i32.or', e.op('i32.and', this.status(), e.i32(~mask)), flags));
  }
  rotate(by: Expr): void {
    const { e } = this;
    const top = e.op('i32.and', e.op('i32.add', this.status(), e.op('i32.shl', by, e.i32(11))), e.i32(0x3800));
    e.set(this.fsw, e.op('i32.or', e.op('i32.and', this.status(), e.i32(~0x3800)), top));
  }
  pop(): void {
    this.free(this.fixed(0));
    this.rotate(this.e.i32(1));
  }
  /** Pops as often (0 to 2) as the roles say. */
  pops(role: () => Expr): void {
    const { e } = this;
    e.if(e.op('i32.and', role(), e.i32(0x3000)), () => {
      this.pop();
      e.if(e.op('i32.and', role(), e.i32(0x2000)), () => this.pop());
    });
  }
  save(): void {
    const { e } = this;
    e.setState32('fsw', this.status());
    e.setState32('ftw', e.op('i32.and', this.tags(), e.i32(0xff)));
  }
}
