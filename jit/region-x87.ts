/**
 * The x87 unit of a translated region: registers, status, tags and pointers in locals, the stack resolved while the
 * region is translated (x87-flow.ts). What is not straight leaves to the interpreter before the instruction: a stack
 * fault, an exception that is not masked. So no exception is pending inside a region, and `x87.ready` costs nothing.
 */
import { type Node, nodeOf } from '../src/ir/micro-ops.ts';
import type { X87Op } from '../src/ir/x87-ops.ts';
import { offsetOf, segmentNames } from '../src/state/layout.ts';
import type { Emitter, Expr } from './emitter.ts';
import type { Region } from './region.ts';
import {
  CODE,
  DATA,
  HEADER,
  rolesOf,
  type StackState,
  type StackStep,
  stackStep,
  stateAfter,
  X87Flow,
} from './x87-flow.ts';

const SUMMARY = 0x80;
const C1 = 0x200;
const CODES = 0x4700;
const EXCEPTIONS = 0x3f;
const PRECISION = 0x300;
const TOP_FIELD = 0x3800;
const NEW_CODE = 0x8000;
const FPR = offsetOf('fpr0');
/** The memory operand's place among the values. */
const OPERAND = 8;

/** What values may do with the unit that they belong to. */
export interface X87Unit {
  readonly e: Emitter;
  /** Leaves before the instruction if the condition is not zero. */
  exitIf(condition: Expr): void;
  /** The control word; `turned` has its precision control inverted, so that 64 bits to nearest are zeros. */
  control(): Expr;
  turned(): Expr;
  /** Those of the exceptions that are not masked. */
  unmasked(raised: Expr): Expr;
  /** Replaces C1 and the condition codes in `mask`, and adds exceptions; the flags are used several times. */
  raise(flags: () => Expr, mask: number): void;
}

/** How a region holds register values, numbered 0 to 7, and the memory operand (8). */
export interface X87Values {
  /** From and to the register image at an address. */
  fill(register: number, address: () => Expr): void;
  spill(register: number, address: () => Expr): void;
  /** Whether C1 and the exceptions of arithmetic are kept. */
  readonly flags: boolean;
  /** Whether registers that are empty have values that count. */
  readonly keepsEmpty: boolean;
  copy(to: number, from: number): void;
  exchange(a: number, b: number): void;
  select(condition: Expr, to: number, from: number): void;
  operand(op: X87Op, args: readonly Expr[]): void;
  constant(n: number): void;
  binary(op: X87Op, to: number, a: number, b: number): void;
  unary(op: X87Op, a: number): void;
  /** Two results: the first replaces the operand. */
  pair(op: X87Op, a: number, second: number): void;
  /** Condition codes of a ? b; C1 is clear then. */
  compare(a: number, b: number, quiet: boolean): () => Expr;
  examine(a: number): () => Expr;
  /** The value as it goes to memory; what it raises waits for `commit`. */
  result(op: X87Op, a: number, truncate: boolean): Expr | (() => Expr);
  upper(): Expr;
  commit(): void;
}

export class RegionX87 implements X87Unit {
  readonly e: Emitter;
  readonly exitIf: (condition: Expr) => void;
  private readonly values: X87Values;
  private readonly flow: X87Flow;
  /** Number of the physical register that is register 0 here. */
  private readonly base: number;
  /** The status word but for TOP and C1, which is that of `last`. */
  private readonly fsw: number;
  private readonly last: number;
  private readonly fcw: number;
  /** Exceptions that are not masked. */
  private readonly open: number;
  /** Tags as they were at the last fill or join: 1 = full; what `at` knows goes before it. */
  private readonly tags: number;
  /** The last instruction: its pointer from bit 16 on, FOP, and NEW_CODE if it is one of this region. */
  private readonly code: number;
  /** Where pointers have more than 48 bits, all that but the pointer; null: it stands in `code`. */
  private readonly opcode: number | null;
  private readonly fdp: number;
  /** Offset in the vCPU's block of the selector that goes with the operand's pointer; 0 = it has not changed. */
  private readonly dataSegment: number;
  private readonly leaveState: number;
  /** What is known where code is being emitted. */
  at: StackState = { depth: 0, full: 0, empty: 0, dirty: 0 };

  constructor(e: Emitter, region: Region, exitIf: (condition: Expr) => void, values: (unit: X87Unit) => X87Values) {
    this.e = e;
    this.exitIf = exitIf;
    this.flow = new X87Flow(region);
    this.base = e.local('i32');
    this.fsw = e.local('i32');
    this.last = e.local('i32');
    this.fcw = e.local('i32');
    this.open = e.local('i32');
    this.tags = e.local('i32');
    this.code = e.local('i64');
    this.opcode = region.context.linearBits === 57 ? e.local('i32') : null;
    this.fdp = e.local('i64');
    this.dataSegment = e.local('i32');
    this.leaveState = e.local('i32');
    this.values = values(this);
  }

  private i32(local: number): Expr {
    return this.e.get(local, 'i32');
  }
  private status(): Expr {
    return this.i32(this.fsw);
  }
  turned(): Expr {
    return this.i32(this.fcw);
  }
  control(): Expr {
    return this.e.op('i32.xor', this.turned(), this.e.i32(PRECISION));
  }
  unmasked(raised: Expr): Expr {
    return this.e.op('i32.and', raised, this.i32(this.open));
  }
  private setControl(word: () => Expr): void {
    const { e } = this;
    e.set(this.fcw, e.op('i32.xor', word(), e.i32(PRECISION)));
    e.set(this.open, e.op('i32.xor', e.op('i32.and', word(), e.i32(EXCEPTIONS)), e.i32(EXCEPTIONS)));
  }
  raise(flags: () => Expr, mask: number): void {
    const { e } = this;
    const codes = mask & ~C1;
    const old = codes === 0 ? this.status() : e.op('i32.and', this.status(), e.i32(~codes));
    e.set(this.fsw, e.op('i32.or', old, flags()));
    e.set(this.last, flags());
  }
  /** Nothing was rounded. */
  private plain(): void {
    if (this.values.flags) this.e.set(this.last, this.e.i32(0));
  }
  /** The status word without TOP. */
  private flags(): Expr {
    const { e } = this;
    const rest = e.op('i32.and', this.status(), e.i32(~(TOP_FIELD | C1)));
    return e.op('i32.or', rest, e.op('i32.and', this.i32(this.last), e.i32(C1)));
  }

  // --- between locals and memory
  /** Address of a register's image, less FPR. */
  private address(register: number): Expr {
    const { e } = this;
    const number = e.op('i32.and', e.op('i32.add', this.i32(this.base), e.i32(register)), e.i32(7));
    return e.op('i32.add', e.cpu(), e.op('i32.shl', number, e.i32(4)));
  }
  private image(register: number): () => Expr {
    const address = this.e.share(this.address(register), 'i32');
    return () => this.e.op('i32.add', address(), this.e.i32(FPR));
  }

  begin(order: number): void {
    this.at = this.flow.entry[order]!;
  }
  /** Takes what the block needs from memory. `unfit`: an exception is pending, or the stack is not as the block needs it. */
  fill(order: number, unfit: () => void): void {
    const { e } = this;
    const { depth } = this.flow.entry[order]!;
    const live = this.flow.live[order]!;
    this.at = { depth, full: 0, empty: 0, dirty: 0 };
    if ((live & HEADER) !== 0) {
      e.set(this.fsw, e.state32('fsw'));
      e.set(this.last, this.status());
      const word = e.share(e.state32('fcw'), 'i32');
      this.setControl(word);
      e.if(e.op('i32.and', this.status(), e.i32(SUMMARY)), unfit);
      const top = e.op('i32.shr_u', this.status(), e.i32(11));
      e.set(this.base, e.op('i32.and', e.op('i32.sub', top, e.i32(depth)), e.i32(7)));
      const twice = e.op('i32.mul', e.state32('ftw'), e.i32(0x101));
      e.set(this.tags, e.op('i32.and', e.op('i32.shr_u', twice, this.i32(this.base)), e.i32(0xff)));
      const needs = this.flow.needs[order]!;
      this.unless(needs.full, needs.empty, unfit);
      this.at = { depth, ...needs, dirty: 0 };
    }
    for (let r = 0; r < 8; r++) {
      if ((live & (1 << r)) === 0) continue;
      if (this.values.keepsEmpty) this.values.fill(r, this.image(r));
      else e.if(e.op('i32.and', this.i32(this.tags), e.i32(1 << r)), () => this.values.fill(r, this.image(r)));
    }
    if ((live & CODE) !== 0) {
      if (this.opcode !== null) {
        e.set(this.code, e.state64('fip'));
        e.set(this.opcode, e.state32('fop'));
      } else {
        const opcode = e.op('i64.extend_u', e.state32('fop'));
        e.set(this.code, e.op('i64.or', e.op('i64.shl', e.state64('fip'), e.i64(16n)), opcode));
      }
    }
    if ((live & DATA) !== 0) {
      e.set(this.fdp, e.state64('fdp'));
      e.set(this.dataSegment, e.i32(0));
    }
  }

  /** Does `otherwise` unless registers are full and others empty. */
  private unless(full: number, empty: number, otherwise: () => void): void {
    const { e } = this;
    if ((full | empty) === 0) return;
    e.if(e.op('i32.ne', e.op('i32.and', this.knownTags(), e.i32(full | empty)), e.i32(full)), otherwise);
  }
  /** Tags with what is known, at their physical places. */
  private storeTags(tags: Expr): void {
    const { e } = this;
    const turned = e.share(e.op('i32.shl', tags, this.i32(this.base)), 'i32');
    const folded = e.op('i32.or', turned(), e.op('i32.shr_u', turned(), e.i32(8)));
    e.setState32('ftw', e.op('i32.and', folded, e.i32(0xff)));
  }
  private storeStatus(depth: Expr): void {
    const { e } = this;
    const top = e.op('i32.and', e.op('i32.add', this.i32(this.base), depth), e.i32(7));
    e.setState32('fsw', e.op('i32.or', this.flags(), e.op('i32.shl', top, e.i32(11))));
  }
  private storeCode(): void {
    const { e } = this;
    const { opcode } = this;
    const code = () => e.get(this.code, 'i64');
    const low = () => (opcode === null ? e.op('i32.wrap', code()) : this.i32(opcode));
    e.setState64('fip', opcode === null ? e.op('i64.shr_s', code(), e.i64(16n)) : code());
    e.setState32('fop', e.op('i32.and', low(), e.i32(0x7ff)));
    e.if(e.op('i32.and', low(), e.i32(NEW_CODE)), () => e.setState32('fcs', e.state32('csSelector')));
  }
  private storeData(): void {
    const { e } = this;
    e.setState64('fdp', e.get(this.fdp, 'i64'));
    this.storeDataSegment();
  }
  private storeDataSegment(): void {
    const { e } = this;
    e.if(this.i32(this.dataSegment), () => {
      e.setState32('fds', e.load('i32', e.op('i32.add', e.cpu(), this.i32(this.dataSegment))));
      e.set(this.dataSegment, e.i32(0));
    });
  }
  /** Before a selector changes: that of the last operand is noted by its segment register. */
  selectorChanges(): void {
    if ((this.at.dirty & DATA) !== 0) this.storeDataSegment();
  }

  /** Writes back what differs from memory here. */
  spill(): void {
    const { e, at } = this;
    if ((at.dirty & HEADER) !== 0) {
      this.storeStatus(e.i32(at.depth));
      const kept = e.op('i32.and', this.i32(this.tags), e.i32(255 & ~(at.full | at.empty)));
      this.storeTags(e.op('i32.or', kept, e.i32(at.full)));
    }
    for (let r = 0; r < 8; r++) {
      if ((at.dirty & (1 << r)) === 0) continue;
      if (this.values.keepsEmpty || (at.empty & (1 << r)) === 0) this.values.spill(r, this.image(r));
    }
    if ((at.dirty & CODE) !== 0) this.storeCode();
    if ((at.dirty & DATA) !== 0) this.storeData();
  }
  /** Before a jump to the code of `spillLater`: notes what differs from memory. */
  noteLeave(): void {
    const { depth, dirty, full, empty } = this.at;
    this.e.set(this.leaveState, this.e.i32(depth | (dirty << 3) | (full << 14) | (empty << 22)));
  }
  /** The same as `spill`, for every place that `noteLeave` was emitted at. */
  spillLater(): void {
    const { e } = this;
    const part = (shift: number, mask: number): Expr =>
      e.op('i32.and', e.op('i32.shr_u', this.i32(this.leaveState), e.i32(shift)), e.i32(mask));
    const isDirty = (mask: number): Expr => e.op('i32.and', this.i32(this.leaveState), e.i32(mask << 3));
    e.if(isDirty(HEADER), () => {
      this.storeStatus(part(0, 7));
      const known = e.op('i32.or', part(14, 255), part(22, 255));
      const kept = e.op('i32.and', this.i32(this.tags), e.op('i32.xor', known, e.i32(255)));
      this.storeTags(e.op('i32.or', kept, part(14, 255)));
    });
    const ever = this.flow.ever;
    for (let r = 0; r < 8; r++) {
      if ((ever & (1 << r)) === 0) continue;
      let needed = isDirty(1 << r);
      if (!this.values.keepsEmpty)
        needed = e.op('i32.and', e.op('i32.shr_u', needed, e.i32(r + 3)), e.op('i32.eqz', part(22 + r, 1)));
      e.if(needed, () => this.values.spill(r, this.image(r)));
    }
    e.if(isDirty(CODE), () => this.storeCode());
    e.if(isDirty(DATA), () => this.storeData());
  }

  /** Passes from here to a block of the region: what it takes for granted must hold, or else the region is left there. */
  edge(order: number, leave: () => void): void {
    const { e, at } = this;
    const to = this.flow.entry[order]!;
    if (at.depth !== to.depth) {
      // Two ways lead there with stacks of different heights: the registers are numbered anew.
      this.spill();
      this.fill(order, leave);
      this.at = { ...to, dirty: 0 };
      return;
    }
    if ((this.flow.live[order]! & HEADER) !== 0) {
      this.unless(to.full & ~at.full, to.empty & ~at.empty, leave);
      const lost = (at.full | at.empty) & ~(to.full | to.empty);
      if (lost !== 0) {
        const kept = e.op('i32.and', this.i32(this.tags), e.i32(255 & ~lost));
        e.set(this.tags, e.op('i32.or', kept, e.i32(at.full & lost)));
      }
    }
    this.at = { ...to, dirty: at.dirty };
  }

  // --- micro-ops
  private check(step: StackStep): void {
    const { at } = this;
    this.unless(step.needsFull & ~at.full, step.needsEmpty & ~at.empty, () => this.exitIf(this.e.i32(1)));
  }
  /** The tags as far as they are looked at. */
  private knownTags(): Expr {
    const { e, at } = this;
    if ((at.full | at.empty) === 0) return this.i32(this.tags);
    const kept = e.op('i32.and', this.i32(this.tags), e.i32(255 & ~(at.full | at.empty)));
    return e.op('i32.or', kept, e.i32(at.full));
  }

  /** Emits a micro-op; its result (a function: to be made where it is used), or null. */
  node({ op, imm }: Node, args: readonly Expr[]): Expr | (() => Expr) | null {
    const { e, values } = this;
    const step = stackStep(nodeOf(op, [], imm), this.at.depth);
    this.check(step);
    const register = (place: number): number => (place === OPERAND ? OPERAND : (this.at.depth + place) & 7);
    const n = imm[0] as number;
    let result: Expr | (() => Expr) | null = null;
    const x87 = op as X87Op;
    switch (x87) {
      case 'x87.ready':
        break;
      case 'x87.operand.f32':
      case 'x87.operand.f64':
      case 'x87.operand.i64':
      case 'x87.operand.f80':
      case 'x87.operand.bcd':
        values.operand(x87, args);
        break;
      case 'x87.operand.constant':
        values.constant(n);
        break;
      case 'x87.push':
        values.copy(register(7), OPERAND);
        this.plain();
        break;
      case 'x87.load':
        values.copy(register(7), register(n));
        this.plain();
        break;
      case 'x87.add':
      case 'x87.sub':
      case 'x87.mul':
      case 'x87.div':
      case 'x87.scale':
      case 'x87.remainder':
      case 'x87.remainder1':
      case 'x87.yl2x':
      case 'x87.yl2xp1':
      case 'x87.patan': {
        const { to, a, b } = rolesOf(n);
        values.binary(x87, register(to), register(a), register(b));
        break;
      }
      case 'x87.sqrt':
      case 'x87.round':
      case 'x87.f2xm1':
      case 'x87.sin':
      case 'x87.cos':
        values.unary(x87, register(0));
        break;
      case 'x87.abs':
      case 'x87.chs':
        values.unary(x87, register(0));
        this.plain();
        break;
      case 'x87.xtract':
      case 'x87.tan':
      case 'x87.sincos':
        values.pair(x87, register(0), register(7));
        break;
      case 'x87.compare':
      case 'x87.compare.flags': {
        const { a, b } = rolesOf(n);
        const codes = values.compare(register(a), register(b), (n & (1 << 14)) !== 0);
        if (x87 === 'x87.compare') this.raise(codes, CODES);
        else {
          result = e.op('i32.shr_u', codes(), e.i32(8));
          this.plain();
        }
        break;
      }
      case 'x87.examine':
        this.raise(values.examine(register(0)), CODES);
        break;
      case 'x87.result.f32':
      case 'x87.result.f64':
      case 'x87.result.i16':
      case 'x87.result.i32':
      case 'x87.result.i64':
      case 'x87.result.f80':
      case 'x87.result.bcd':
        result = values.result(x87, register(0), n === 1);
        break;
      case 'x87.result.upper':
        result = values.upper();
        break;
      case 'x87.done':
      case 'x87.undone':
        break; // there is nothing to ask: what does not come to its end has left
      case 'x87.commit':
        values.commit();
        break;
      case 'x87.store': {
        const { to } = rolesOf(n);
        values.copy(register(to), register(0));
        this.plain();
        break;
      }
      case 'x87.exchange':
        values.exchange(register(0), register(n));
        this.plain();
        break;
      case 'x87.move':
        values.select(args[0]!, register(0), register(n));
        break;
      case 'x87.free':
      case 'x87.pop':
        break;
      case 'x87.rotate':
        this.plain();
        break;
      case 'x87.init':
        this.exitIf(e.i32(1)); // registers would have to be numbered anew
        break;
      case 'x87.clear':
        e.set(this.fsw, e.op('i32.and', this.status(), e.i32(0x7f00)));
        break;
      case 'x87.control': {
        const word = e.share(e.op('i32.or', e.op('i32.and', args[0], e.i32(0x1f3f)), e.i32(0x40)), 'i32');
        const open = e.op('i32.and', e.op('i32.xor', word(), e.i32(-1)), e.i32(EXCEPTIONS));
        this.exitIf(e.op('i32.and', this.status(), open)); // an exception becomes pending
        this.setControl(word);
        e.setState32('fcw', word());
        break;
      }
      case 'x87.status': {
        const top = e.op('i32.and', e.op('i32.add', this.i32(this.base), e.i32(this.at.depth)), e.i32(7));
        result = e.op('i32.or', this.flags(), e.op('i32.shl', top, e.i32(11)));
        break;
      }
      case 'x87.code': {
        const [pointer, opcode] = [imm[0] as bigint, NEW_CODE | (imm[1] as number)];
        if (this.opcode === null) e.set(this.code, e.i64(BigInt.asIntN(64, (pointer << 16n) | BigInt(opcode))));
        else {
          e.set(this.code, e.i64(BigInt.asIntN(64, pointer)));
          e.set(this.opcode, e.i32(opcode));
        }
        break;
      }
      case 'x87.data':
        e.set(this.fdp, args[0]!);
        e.set(this.dataSegment, e.i32(offsetOf(`${segmentNames[n]!}Selector`)));
        break;
      default:
        x87 satisfies never;
    }
    this.at = stateAfter(this.at, step);
    return result;
  }
}
