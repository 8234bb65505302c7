/**
 * The locals of one translated region, and how they go to and from the vCPU's block: guest registers, lazy flags, the
 * instruction budget. The memory image is made exact wherever the region leaves.
 */
import { LEFT } from '../src/execute/leave.ts';
import { FLAG_CARRY_BIT, flagCode } from '../src/ir/flags.ts';
import type { Type } from '../src/ir/types.ts';
import { offsetOf } from '../src/state/layout.ts';
import type { Emitter, Expr } from './emitter.ts';
import type { Region, RegionBlock } from './region.ts';
import { type Held, registerBit } from './region-liveness.ts';
import type { RegionX87 } from './region-x87.ts';

const gprNames = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');

/** Where the registers' images are, by number. */
const images = [...gprNames, ...gprNames.map((_, i) => `xmm${i}`)].map((name) => offsetOf(name));

/** A register's local and where its image is. */
export interface RegisterLocal {
  readonly local: number;
  readonly type: Type;
  readonly offset: number;
  readonly bit: number;
  /** A local for the low lane, which is then not right in `local` (region-doubles.ts). */
  low: number | null;
}

/** Code of flags that are plain bits. */
export const plainBits = flagCode('bits', 32);
export const noneHeld: Held = { mask: 0, flags: false };

/** Of a register, by an operation's name or `r` or `x`. */
const numberOf = (op: string, index: number): number => (op.charCodeAt(0) === 120 ? 16 + index : index);
/** Names of the ways out, by the registers that they write back. */
const labels = new Map<number, string>();
function labelOf(mask: number): string {
  let label = labels.get(mask);
  if (label === undefined) labels.set(mask, (label = `left${mask >>> 0}`));
  return label;
}
const isPartOf = (part: number, all: number): boolean => (part & ~all) === 0;
/** How many registers are written back. */
function sizeOf(mask: number): number {
  let size = 0;
  for (let left = mask; left !== 0; left &= left - 1) size++;
  return size;
}

/** What a leave says, as one number: the reason, whether flags are written back, instructions not done, the place. */
const flagsShift = 4;
const restShift = 5;
const placeShift = 12;
const mostRest = (1 << (placeShift - restShift)) - 1;
/** Blocks that are farther from the entry than that are not told by their distance. */
const maximumDistance = 1n << 46n;

/** The three values that the lazy flags are. */
export interface FlagValues {
  readonly kind: Expr;
  readonly a: Expr;
  readonly b: Expr;
}
/** Flags that nobody has made yet. */
export interface PendingFlags {
  /** Sets their locals. */
  make(): void;
  /** What they are, for one use; null: that takes a look at which they are. */
  values?(): FlagValues | null;
  /** Control leaves here: they are made behind the region (`makeLeft`). Without it, they must be made before. */
  leave?(): void;
}

export class RegionFrame {
  readonly e: Emitter;
  /** By number; xmm registers from 16 on. */
  private readonly registers: RegisterLocal[] = [];
  /** The same in the order in which they are met. */
  private readonly met: RegisterLocal[] = [];
  readonly budget: number;
  /** The lazy flags, as their fields have them. */
  readonly flagKind: number;
  readonly flagA: number;
  readonly flagB: number;
  /** What a leave says: `placeShift` and below. */
  private readonly word: number;
  /** What the places in `word` are distances from; a local for the place, if some block is too far from the entry. */
  private readonly origin: bigint;
  private readonly far: number | null;
  /** Number of the combination that a leave writes back, where there is an x87 unit to write back besides. */
  private readonly combination: number;
  private combinations: readonly number[] = [];
  /** Flags are written back at some leave. */
  private leavesFlags = false;
  x87: RegionX87 | null = null;
  /** The flags' locals are not right until these are made; null = they are. */
  pendingFlags: PendingFlags | null = null;
  /** Sets the flags' locals where control has left with flags that nobody has made. */
  makeLeft: () => void = () => {};

  constructor(e: Emitter, region: Region) {
    this.e = e;
    this.word = e.local('i64');
    this.origin = region.entry.rip;
    const isNear = ({ rip, instructions }: RegionBlock) => {
      const distance = rip - this.origin;
      return instructions === 0 || (-maximumDistance < distance && distance < maximumDistance);
    };
    this.far = region.blocks.every(isNear) ? null : e.local('i64');
    this.combination = e.local('i32');
    this.budget = e.local('i32');
    this.flagKind = e.local('i32');
    this.flagA = e.local('i64');
    this.flagB = e.local('i64');
    for (const { nodes } of region.blocks) {
      for (const { op, imm } of nodes) {
        if (op === 'reg.get' || op === 'reg.set' || op === 'xmm.get' || op === 'xmm.set')
          this.add(op, imm[0] as number);
      }
    }
  }
  private add(op: string, index: number): void {
    const number = numberOf(op, index);
    if (this.registers[number] !== undefined) return;
    const type: Type = number >= 16 ? 'v128' : 'i64';
    const made = { local: this.e.local(type), type, offset: images[number]!, bit: registerBit(op, index), low: null };
    this.registers[number] = made;
    this.met.push(made);
  }
  register(op: string, index: number): RegisterLocal {
    return this.registers[numberOf(op, index)]!;
  }
  /** What a register holds. */
  whole(register: RegisterLocal): Expr {
    const { e } = this;
    const whole = e.get(register.local, register.type);
    return register.low === null ? whole : e.op('f64x2.replace_lane', whole, 0, e.get(register.low, 'f64'));
  }
  /** What `reg.get`, `xmm.get` and `ymm.get` read. */
  read(op: string, index: number): Expr {
    if (op === 'ymm.get') return this.e.load('v128', this.e.cpu(), offsetOf(`ymmHigh${index}`));
    return this.whole(this.register(op, index));
  }
  setUpperHalf(index: number, value: Expr): void {
    this.e.store('v128', this.e.cpu(), value, offsetOf(`ymmHigh${index}`));
  }
  i32(local: number): Expr {
    return this.e.get(local, 'i32');
  }
  i64(local: number): Expr {
    return this.e.get(local, 'i64');
  }

  /** Takes what is needed from memory, and the budget. */
  fill(held: Held): void {
    const { e } = this;
    for (const r of this.met) {
      if ((held.mask & r.bit) === 0) continue;
      e.set(r.local, e.load(r.type, e.cpu(), r.offset));
      if (r.low !== null) e.set(r.low, e.op('f64x2.extract_lane', e.get(r.local, 'v128'), 0));
    }
    if (held.flags) {
      e.set(this.flagKind, e.state32('flagKind'));
      e.set(this.flagA, e.state64('flagA'));
      e.set(this.flagB, e.state64('flagB'));
    }
    e.set(this.budget, e.state32('budget'));
  }
  /** Writes back what differs from memory, and the budget. */
  spill(held: Held): void {
    const values = (held.flags && this.pendingFlags?.values?.()) || null;
    if (values === null) this.pendingFlags?.make();
    this.spillRegisters(held.mask);
    if (held.flags) this.spillFlags(values ?? undefined);
    this.e.setState32('budget', this.i32(this.budget));
  }
  private spillRegisters(mask: number): void {
    const { e } = this;
    for (const r of this.met) {
      if ((mask & r.bit) === 0) continue;
      e.store(r.type, e.cpu(), e.get(r.local, r.type), r.offset);
      if (r.low !== null) e.store('f64', e.cpu(), e.get(r.low, 'f64'), r.offset);
    }
  }
  spillFlags({ kind, a, b } = this.flagsInLocals()): void {
    const { e } = this;
    e.setState32('flagKind', kind);
    e.setState64('flagA', a);
    e.setState64('flagB', b);
  }
  private flagsInLocals(): FlagValues {
    return { kind: this.i32(this.flagKind), a: this.i64(this.flagA), b: this.i64(this.flagB) };
  }
  /** The kind of flags with a carry that is known, or computed. */
  kind(code: number, carry: number | Expr, isKnown: boolean): Expr {
    const { e } = this;
    if (isKnown) return e.i32(code | (carry << FLAG_CARRY_BIT));
    return e.op('i32.or', e.op('i32.shl', carry, e.i32(FLAG_CARRY_BIT)), e.i32(code));
  }
  /** What operations know of the kind: the code, and the carry. */
  flagCode(): Expr {
    return this.e.op('i32.and', this.i32(this.flagKind), this.e.i32((1 << FLAG_CARRY_BIT) - 1));
  }
  flagCarry(): Expr {
    return this.e.op('i32.shr_u', this.i32(this.flagKind), this.e.i32(FLAG_CARRY_BIT));
  }
  /** Makes the lazy flags plain bits, in the locals. */
  flagsToBits(): void {
    const { e } = this;
    e.set(this.flagA, e.op('i64.extend_u', e.call('flagsWord', [e.cpu()], 'i32')));
    e.set(this.flagB, e.i64(0n));
    e.set(this.flagKind, e.i32(plainBits));
  }

  /** Leaves the region for an instruction pointer. */
  exit(next: Expr, held: Held): void {
    this.spill(held);
    this.e.return(next);
  }
  /**
   * Leaves before the instruction at `rip`, for a reason of src/execute/leave.ts. `rest`: instructions that the budget has
   * paid for and that are not done.
   */
  leave(rip: bigint, reason: number, { mask, flags }: Held, rest = 0): void {
    const { e } = this;
    if (this.pendingFlags?.leave !== undefined) this.pendingFlags.leave();
    else this.pendingFlags?.make();
    if (flags) this.leavesFlags = true;
    if (this.far !== null) e.set(this.far, e.i64(rip));
    const distance = this.far === null ? Number(rip - this.origin) : 0;
    const rests = (rest << restShift) | ((flags ? 1 : 0) << flagsShift) | reason;
    e.set(this.word, e.i64(BigInt(distance * 2 ** placeShift + rests)));
    if (this.x87 === null) return e.br(labelOf(mask));
    this.x87.noteLeave();
    e.set(this.combination, e.i32(this.combinations.indexOf(mask)));
    e.br('x87left');
  }
  /** The same if a condition is not zero: an `if`, since V8 puts the way on at a distance from a `br_if` to here. */
  leaveIf(condition: Expr, rip: bigint, reason: number, held: Held, rest = 0): void {
    this.e.if(condition, () => this.leave(rip, reason, held, rest));
  }
  /** Emits the body, and behind it a way out for each combination of registers that `leave` may write back. */
  withLeaves(combinations: Iterable<number>, body: () => void): void {
    const { e, x87 } = this;
    const leaves = [...combinations].sort((a, b) => sizeOf(a) - sizeOf(b));
    this.combinations = leaves;
    if (x87 === null) return this.waysOut(leaves, 0, body);
    // All leaves meet where the x87 unit is written back.
    this.waysOut(leaves, 0, () => {
      e.block('x87left', body);
      x87.spillLater();
      const labels = leaves.map(labelOf);
      e.switch(labels, labels[0]!, this.i32(this.combination));
    });
  }
  /** The way out of a combination goes on into that of the largest other one that is part of it. */
  private waysOut(leaves: readonly number[], index: number, body: () => void): void {
    const { e } = this;
    const mask = leaves[index];
    if (mask === undefined) return body();
    e.block(labelOf(mask), () => this.waysOut(leaves, index + 1, body));
    const rest = leaves.findLastIndex((other, i) => i < index && isPartOf(other, mask));
    this.spillRegisters(mask & ~(leaves[rest] ?? 0));
    if (rest < 0) return this.wayOut();
    if (rest < index - 1) e.br(labelOf(leaves[rest]!));
  }
  /** Where all ways out meet. */
  private wayOut(): void {
    const { e } = this;
    const word = () => e.op('i32.wrap', this.i64(this.word));
    if (this.leavesFlags) {
      e.if(e.op('i32.and', word(), e.i32(1 << flagsShift)), () => {
        this.makeLeft();
        this.spillFlags();
      });
    }
    const reason = e.op('i32.and', word(), e.i32((1 << flagsShift) - 1));
    const distance = e.op('i64.shr_s', this.i64(this.word), e.i64(BigInt(placeShift)));
    const notDone = e.op('i32.and', e.op('i32.shr_u', word(), e.i32(restShift)), e.i32(mostRest));
    const origin = this.far === null ? e.i64(this.origin) : this.i64(this.far);
    e.setState32('budget', e.op('i32.add', this.i32(this.budget), notDone));
    e.setState64('rip', e.op('i64.add', origin, distance));
    e.setState32('leave', reason);
    e.return(e.i64(LEFT));
  }
}
