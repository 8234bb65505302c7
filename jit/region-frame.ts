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
import { type Held, heldKey, registerBit } from './region-liveness.ts';
import type { RegionX87 } from './region-x87.ts';

const gprNames = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');

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
/** Names of the ways out, by what they write back: without the flags, and with them. */
const labels = [new Map<number, string>(), new Map<number, string>()] as const;
function labelOf(held: Held): string {
  const known = labels[held.flags ? 1 : 0];
  let label = known.get(held.mask);
  if (label === undefined) known.set(held.mask, (label = `left${heldKey(held)}`));
  return label;
}
const isPartOf = (part: Held, all: Held): boolean => (part.mask & ~all.mask) === 0 && (!part.flags || all.flags);
/** How many places are written back. */
function sizeOf({ mask, flags }: Held): number {
  let size = flags ? 3 : 0;
  for (let left = mask; left !== 0; left &= left - 1) size++;
  return size;
}

/** What a leave says, as one number: the reason, instructions of its block that are not done, its place. */
const restShift = 4;
const placeShift = 16;
const mostRest = (1 << (placeShift - restShift)) - 1;
/** Blocks that are farther from the entry than that are not told by their distance. */
const maximumDistance = 1n << 46n;

export class RegionFrame {
  readonly e: Emitter;
  /** By number; xmm registers from 16 on. */
  private readonly registers: RegisterLocal[] = [];
  /** The same in the order in which they are met. */
  private readonly met: RegisterLocal[] = [];
  readonly budget: number;
  /** Code and carry of the lazy flags: together they are the field flagKind. */
  readonly flagCode: number;
  readonly flagCarry: number;
  readonly flagA: number;
  readonly flagB: number;
  /** Next instruction pointer of an exit. */
  private readonly next: number;
  /** What a leave says: `placeShift` and below. */
  private readonly word: number;
  /** What the places in `word` are distances from; a local for the place, if some block is too far from the entry. */
  private readonly origin: bigint;
  private readonly far: number | null;
  /** Number of the combination that a leave writes back, where there is an x87 unit to write back besides. */
  private readonly combination: number;
  private combinations: readonly Held[] = [];
  x87: RegionX87 | null = null;
  /** Sets the flags' locals, which are not right until then; null = they are. */
  pendingFlags: (() => void) | null = null;

  constructor(e: Emitter, region: Region) {
    this.e = e;
    this.next = e.local('i64');
    this.word = e.local('i64');
    this.origin = region.entry.rip;
    const isNear = ({ rip, instructions }: RegionBlock) => {
      const distance = rip - this.origin;
      return instructions === 0 || (-maximumDistance < distance && distance < maximumDistance);
    };
    this.far = region.blocks.every(isNear) ? null : e.local('i64');
    this.combination = e.local('i32');
    this.budget = e.local('i32');
    this.flagCode = e.local('i32');
    this.flagCarry = e.local('i32');
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
    const offset = offsetOf(type === 'v128' ? `xmm${index}` : gprNames[index]!);
    const made = { local: this.e.local(type), type, offset, bit: registerBit(op, index), low: null };
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
      const kind = e.share(e.state32('flagKind'), 'i32');
      e.set(this.flagCode, e.op('i32.and', kind(), e.i32((1 << FLAG_CARRY_BIT) - 1)));
      e.set(this.flagCarry, e.op('i32.shr_u', kind(), e.i32(FLAG_CARRY_BIT)));
      e.set(this.flagA, e.state64('flagA'));
      e.set(this.flagB, e.state64('flagB'));
    }
    e.set(this.budget, e.state32('budget'));
  }
  /** Writes back what differs from memory, and the budget. */
  spill(held: Held): void {
    this.spillLocals(held);
    this.e.setState32('budget', this.i32(this.budget));
  }
  private spillLocals(held: Held): void {
    const { e } = this;
    for (const r of this.met) {
      if ((held.mask & r.bit) === 0) continue;
      e.store(r.type, e.cpu(), e.get(r.local, r.type), r.offset);
      if (r.low !== null) e.store('f64', e.cpu(), e.get(r.low, 'f64'), r.offset);
    }
    if (held.flags) this.spillFlags();
  }
  spillFlags(): void {
    const { e } = this;
    const carry = e.op('i32.shl', this.i32(this.flagCarry), e.i32(FLAG_CARRY_BIT));
    e.setState32('flagKind', e.op('i32.or', this.i32(this.flagCode), carry));
    e.setState64('flagA', this.i64(this.flagA));
    e.setState64('flagB', this.i64(this.flagB));
  }
  /** Makes the lazy flags plain bits, in the locals. */
  flagsToBits(): void {
    const { e } = this;
    e.set(this.flagA, e.op('i64.extend_u', e.call('flagsWord', [e.cpu()], 'i32')));
    e.set(this.flagB, e.i64(0n));
    e.set(this.flagCode, e.i32(plainBits));
    e.set(this.flagCarry, e.i32(0));
  }

  /** Leaves the region for an instruction pointer. */
  exit(next: Expr, held: Held): void {
    const { e } = this;
    this.pendingFlags?.();
    e.set(this.next, next);
    this.spill(held);
    e.return(this.i64(this.next));
  }
  /**
   * Leaves before the instruction at `rip`, for a reason of src/execute/leave.ts. `rest`: instructions that the budget has
   * paid for and that are not done.
   */
  leave(rip: bigint, reason: number, held: Held, rest = 0): void {
    const { e } = this;
    this.pendingFlags?.();
    if (this.far !== null) e.set(this.far, e.i64(rip));
    const distance = this.far === null ? Number(rip - this.origin) : 0;
    e.set(this.word, e.i64(BigInt(distance * 2 ** placeShift) + BigInt((rest << restShift) | reason)));
    if (this.x87 === null) return e.br(labelOf(held));
    this.x87.noteLeave();
    const key = heldKey(held);
    e.set(this.combination, e.i32(this.combinations.findIndex((one) => heldKey(one) === key)));
    e.br('x87left');
  }
  /** Emits the body, and behind it a way out for each combination of registers that `leave` may write back. */
  withLeaves(combinations: readonly Held[], body: () => void): void {
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
  private waysOut(leaves: readonly Held[], index: number, body: () => void): void {
    const { e } = this;
    const held = leaves[index];
    if (held === undefined) return body();
    e.block(labelOf(held), () => this.waysOut(leaves, index + 1, body));
    const rest = leaves.findLastIndex((other, i) => i < index && isPartOf(other, held));
    const { mask, flags } = leaves[rest] ?? noneHeld;
    this.spillLocals({ mask: held.mask & ~mask, flags: held.flags && !flags });
    if (rest >= 0) {
      if (rest < index - 1) e.br(labelOf(leaves[rest]!));
      return;
    }
    const word = () => e.op('i32.wrap', this.i64(this.word));
    const distance = e.op('i64.shr_s', this.i64(this.word), e.i64(BigInt(placeShift)));
    const notDone = e.op('i32.and', e.op('i32.shr_u', word(), e.i32(restShift)), e.i32(mostRest));
    const origin = this.far === null ? e.i64(this.origin) : this.i64(this.far);
    e.setState64('rip', e.op('i64.add', origin, distance));
    e.setState32('leave', e.op('i32.and', word(), e.i32((1 << restShift) - 1)));
    e.setState32('budget', e.op('i32.add', this.i32(this.budget), notDone));
    e.return(e.i64(LEFT));
  }
}
