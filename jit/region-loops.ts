/**
 * The loops of a region that stand twice (fast-loops.ts): the choice between the copies, how often the fast one goes round,
 * and the lazy flags in it, which are made where they are wanted.
 */
import type { Emitter, Expr } from './emitter.ts';
import type { FastLoop } from './fast-loops.ts';
import type { HeadValue, LoopFlags } from './loop-flags.ts';
import type { RegionBlock } from './region.ts';
import type { RegionFrame } from './region-frame.ts';
import type { RegionMemory } from './region-memory.ts';

/** A fast loop is worth its look-ups if it goes round as often as this; where a look-up misses it is not tried for a while. */
const enoughIterations = 3;
const restAfterMiss = 64;

interface Loop {
  readonly loop: FastLoop;
  /** The budget at which the fast copy ends. */
  readonly limit: number;
  /** How often it is not tried. */
  readonly rest: number;
}

export class RegionLoops {
  private readonly e: Emitter;
  private readonly frame: RegionFrame;
  private readonly places: RegionMemory;
  private readonly loops: readonly Loop[];
  /** In a fast copy whose flags are not set yet: what they are made of. */
  private head: LoopFlags | null = null;

  constructor(e: Emitter, frame: RegionFrame, places: RegionMemory, loops: readonly FastLoop[]) {
    this.e = e;
    this.frame = frame;
    this.places = places;
    this.loops = loops.map((loop) => ({ loop, limit: e.local('i32'), rest: e.local('i32') }));
  }

  isFast(block: RegionBlock): boolean {
    return this.loops.some(({ loop }) => loop.fast === block);
  }
  private of(block: RegionBlock): Loop {
    return this.loops.find(({ loop }) => loop.choose === block || loop.again === block)!;
  }

  /** Goes to the fast copy of a loop if its pages are there and enough iterations stay on them. */
  choose(block: RegionBlock, needed: number, pass: (to: RegionBlock) => void): void {
    const { e, frame } = this;
    const { loop, limit, rest } = this.of(block);
    const register = (index: number) => frame.i64(frame.register('r', index).local);
    const resting = () => frame.i32(rest);
    e.if(
      resting(),
      () => e.set(rest, e.op('i32.sub', resting(), e.i32(1))),
      () => {
        e.set(rest, e.i32(restAfterMiss));
        this.places.findStreams(loop, register, (more) => {
          e.set(rest, e.i32(0));
          e.if(e.op('i32.ge_u', more(), e.i32(enoughIterations)), () => {
            const instructions = e.op('i32.mul', more(), e.i32(loop.shortest));
            e.set(limit, e.op('i32.sub', frame.i32(frame.budget), instructions));
            const above = e.op('i32.gt_s', frame.i32(limit), e.i32(needed));
            e.set(limit, e.select(above, frame.i32(limit), e.i32(needed)));
            pass(loop.fast);
          });
        });
      },
    );
    pass(loop.slow);
  }
  /** Goes round the fast copy once more if the budget allows. */
  again(block: RegionBlock, pass: (to: RegionBlock) => void): void {
    const { e, frame } = this;
    const { loop, limit } = this.of(block);
    const settle = frame.pendingFlags;
    e.if(e.op('i32.ge_s', frame.i32(frame.budget), frame.i32(limit)), () => {
      frame.pendingFlags = null; // the fast copy knows what they are
      pass(loop.fast);
      frame.pendingFlags = settle;
    });
    pass(loop.choose);
  }

  /** A block begins. */
  begin(block: RegionBlock): void {
    const { frame } = this;
    if (block.terminator.kind === 'again') return; // behind the fast copy's block
    const flags = this.loops.find(({ loop }) => loop.fast === block)?.loop.flags ?? null;
    this.head = flags;
    frame.pendingFlags = flags === null ? null : { make: () => this.settleHead(flags, (v) => this.value(v)) };
  }
  /** A register is about to be written: what the flags of the beginning need of it is kept. */
  beforeWrite(register: number): void {
    const { e, frame, head } = this;
    if (head === null || (head.registers & (1 << register)) === 0) return;
    const keep = (v: HeadValue | null) => (v === null || v.op === 'constant' ? null : e.share(this.value(v), 'i64'));
    const kept = new Map<HeadValue | null, (() => Expr) | null>([
      [head.a, keep(head.a)],
      [head.b, keep(head.b)],
    ]);
    this.head = null;
    frame.pendingFlags = { make: () => this.settleHead(head, (v) => kept.get(v)?.() ?? this.value(v)) };
  }
  private settleHead({ a, b, code, carry }: LoopFlags, value: (v: HeadValue) => Expr): void {
    const { e, frame } = this;
    if (a !== null) e.set(frame.flagA, value(a));
    if (b !== null) e.set(frame.flagB, value(b));
    e.set(frame.flagKind, frame.kind(code, carry, true));
  }
  /** The block sets its flags, which are made where they are wanted; false: it must set them at once. */
  setFlags(block: RegionBlock, code: number, a: () => Expr, b: () => Expr, carry: number | null): boolean {
    const { e, frame } = this;
    const flags = this.loops.find(({ loop }) => loop.fast === block)?.loop.flags ?? null;
    if (flags === null || carry === null) return false;
    this.head = null;
    if (flags.a === null) e.set(frame.flagA, a());
    if (flags.b === null) e.set(frame.flagB, b());
    const make = () => {
      if (flags.a !== null) e.set(frame.flagA, a());
      if (flags.b !== null) e.set(frame.flagB, b());
      e.set(frame.flagKind, frame.kind(code, carry, true));
    };
    frame.pendingFlags = { make };
    return true;
  }

  private value(v: HeadValue): Expr {
    const { e, frame } = this;
    switch (v.op) {
      case 'register':
        return frame.i64(frame.register('r', v.register).local);
      case 'constant':
        return e.i64(v.value);
      case 'i32.wrap':
      case 'i64.extend_u':
        return e.op(v.op, this.value(v.of));
      default:
        return e.op(v.op, this.value(v.of), v.op.startsWith('i64') ? e.i64(v.by) : e.i32(Number(v.by)));
    }
  }
}
