/**
 * Records micro-ops in program order: the only door through which an instruction acts on the guest.
 *
 * One builder records one block. What computes is in value-builder.ts; here is what reads and changes the guest.
 */

import { ARITHMETIC_FLAGS, type FlagKind } from './flags.ts';
import { microOps, type Node } from './micro-ops.ts';
import type { Insn, MemoryOperand, Operand } from './operand.ts';
import type { Int, Value, Width } from './types.ts';
import { ValueBuilder } from './value-builder.ts';

/** What translation may rely on: part of the key of every block. */
export interface ExecutionContext {
  /** Default operand and address size: 16, 32 or 64 bits. */
  readonly codeSize: 16 | 32 | 64;
  /** Width of the stack pointer. */
  readonly stackSize: 16 | 32 | 64;
  /** CS, DS, ES and SS have base 0, limit 4 GiB and the access rights of a flat program. True in 64-bit mode. */
  readonly flat: boolean;
  readonly cpl: 0 | 1 | 2 | 3;
  readonly protectedMode: boolean;
  readonly virtual8086: boolean;
  readonly iopl: number;
  /** CR0.EM, CR0.TS, CR0.MP and CR4.OSFXSR, as far as they make x87, MMX or SSE instructions fault. */
  readonly x87: 'available' | 'device-not-available';
  readonly waitFaults: boolean;
  readonly mmx: 'available' | 'device-not-available' | 'undefined';
  readonly sse: 'available' | 'device-not-available' | 'undefined';
  /** CR4.OSXSAVE, XCR0 and CR0.TS, as far as they make VEX-encoded vector instructions fault. */
  readonly avx: 'available' | 'device-not-available' | 'undefined';
  /** Bits of a canonical address in 64-bit mode; and of one that a segment's base may be. */
  readonly linearBits: 48 | 57;
  readonly baseBits: 48 | 57;
}

const RSP = 4;
const loads = { 8: 'load.8', 16: 'load.16', 32: 'load.32', 64: 'load.64' } as const;
const modifies = { 8: 'modify.8', 16: 'modify.16', 32: 'modify.32', 64: 'modify.64' } as const;
const stores = { 8: 'store.8', 16: 'store.16', 32: 'store.32', 64: 'store.64' } as const;

export class Builder extends ValueBuilder {
  readonly context: ExecutionContext;
  /** Set once a micro-op has ended the block. */
  ended = false;
  /** Where the scopes that are open begin. */
  private readonly scopes: number[] = [];

  constructor(context: ExecutionContext) {
    super();
    this.context = context;
  }

  // --- general registers
  /** A register's low `width` bits, zero-extended in their type. `high` = bits 8-15. */
  register(index: number, width: Width, high = false): Int {
    const whole = this.emit<'i64'>('reg.get', [], index);
    if (width === 64) return whole;
    if (high) return this.emit('extract8h', [whole]);
    return this.zeroExtend(this.wrap(whole), width);
  }
  /** Writes a register's low `width` bits: 32 clears the upper half, 8 and 16 leave the rest. */
  setRegister(index: number, width: Width, value: Int, high = false): void {
    let whole: Value<'i64'>;
    if (width === 64) whole = value as Value<'i64'>;
    else if (width === 32) whole = this.extendU(value as Value<'i32'>);
    else
      whole = this.emit(high ? 'insert8h' : width === 8 ? 'insert8' : 'insert16', [
        this.emit('reg.get', [], index),
        value,
      ]);
    this.emit('reg.set', [whole], index);
  }
  vector(index: number): Value<'v128'> {
    return this.emit('xmm.get', [], index);
  }
  setVector(index: number, value: Value<'v128'>): void {
    this.emit('xmm.set', [value], index);
  }
  /** The upper half of a ymm register. */
  vectorHigh(index: number): Value<'v128'> {
    return this.emit('ymm.get', [], index);
  }
  setVectorHigh(index: number, value: Value<'v128'>): void {
    this.emit('ymm.set', [value], index);
  }
  /** A field of the layout table. */
  state32(field: string): Value<'i32'> {
    return this.emit('state.get32', [], field);
  }
  state64(field: string): Value<'i64'> {
    return this.emit('state.get64', [], field);
  }
  setState32(field: string, value: Value<'i32'>): void {
    this.emit('state.set32', [value], field);
  }
  setState64(field: string, value: Value<'i64'>): void {
    this.emit('state.set64', [value], field);
  }

  // --- memory
  /** Effective address (offset within the segment), zero-extended from the address width. `extra` is added to the displacement. */
  effectiveAddress(o: MemoryOperand, extra = 0): Value<'i64'> {
    const displacement = o.displacement + BigInt(extra);
    const w = o.addressWidth;
    if (o.base < 0 && o.index < 0) return this.i64(w === 64 ? displacement : BigInt.asUintN(w, displacement));
    // A displacement that a number cannot hold exactly comes with no register (moffs), so this is exact.
    const d = Number(displacement);
    if (o.index < 0) {
      const base = this.emit<'i64'>('reg.get', [], o.base);
      if (d === 0 && w === 64) return base;
      return this.emit('address.base', [base], d, w);
    }
    const index = this.emit<'i64'>('reg.get', [], o.index);
    const base = o.base < 0 ? this.i64(0) : this.emit<'i64'>('reg.get', [], o.base);
    return this.emit('address.index', [base, index], o.scale, d, w);
  }
  /** Offset in a segment -> linear address, with the segment's checks where the context is not flat. */
  linear(segment: number, offset: Value<'i64'>, bytes: number, write: boolean): Value<'i64'> {
    if (this.context.codeSize === 64)
      return segment < 4 ? offset : this.add(this.state64(segment === 4 ? 'fsBase' : 'gsBase'), offset);
    // Nobody writes through CS in protected mode, however flat it is.
    if (this.context.flat && segment < 4 && !(segment === 1 && write)) return offset;
    return this.emit('segment', [offset], segment, bytes, write ? 1 : 0);
  }
  /** Linear address of a memory operand. */
  address(o: MemoryOperand, bytes: number, write: boolean, extra = 0): Value<'i64'> {
    return this.linear(o.segment, this.effectiveAddress(o, extra), bytes, write);
  }
  /** `stack`: a non-canonical address is #SS. Values are zero-extended. */
  load(address: Value<'i64'>, width: Width, stack = false): Int {
    return this.emit(loads[width], [address], stack ? 1 : 0);
  }
  loadVector(address: Value<'i64'>, stack = false): Value<'v128'> {
    return this.emit('load.128', [address], stack ? 1 : 0);
  }
  /** Load of a read-modify-write: faults where the store would. */
  loadForWrite(address: Value<'i64'>, width: Width, stack = false): Int {
    return this.emit(modifies[width], [address], stack ? 1 : 0);
  }
  store(address: Value<'i64'>, width: Width, value: Int, stack = false): void {
    this.emit(stores[width], [address, value], stack ? 1 : 0);
  }
  storeVector(address: Value<'i64'>, value: Value<'v128'>, stack = false): void {
    this.emit('store.128', [address, value], stack ? 1 : 0);
  }
  probeWrite(address: Value<'i64'>, bytes: number, stack = false): void {
    this.emit('probe.write', [address], bytes, stack ? 1 : 0);
  }
  probeRead(address: Value<'i64'>, bytes: number, stack = false): void {
    this.emit('probe.read', [address], bytes, stack ? 1 : 0);
  }

  // --- operands: general registers, memory and immediates
  private static stack(o: MemoryOperand): boolean {
    return o.segment === 2;
  }
  private static widthOf(o: Operand): Width {
    return (o as { width: Width }).width;
  }
  /** The operand's value, zero-extended from its width in its type. */
  read(o: Operand): Int {
    switch (o.kind) {
      case 'register':
        return this.register(o.index, o.width, o.high);
      case 'immediate':
        return this.constant(o.width, o.value);
      case 'memory':
        return this.load(this.address(o, o.width / 8, false), o.width as Width, Builder.stack(o));
      default:
        throw new Error(`builder: a ${o.kind} operand is no integer`);
    }
  }
  /** Writes the low bits of `value` to the operand. */
  write(o: Operand, value: Int): void {
    switch (o.kind) {
      case 'register':
        return this.setRegister(o.index, o.width, value, o.high);
      case 'memory':
        return this.store(this.address(o, o.width / 8, true), o.width as Width, value, Builder.stack(o));
      default:
        throw new Error(`builder: a ${o.kind} operand cannot be written`);
    }
  }
  /** Read, compute, write: one address, one probe. Returns the old and the new value; set flags and registers after it. */
  modify(o: Operand, compute: (old: Int) => Int): { old: Int; value: Int } {
    if (o.kind !== 'memory') {
      const old = this.read(o);
      const value = compute(old);
      this.write(o, value);
      return { old, value };
    }
    const width = Builder.widthOf(o);
    const address = this.address(o, width / 8, true);
    const old = this.loadForWrite(address, width, Builder.stack(o));
    const value = compute(old);
    this.store(address, width, value, Builder.stack(o));
    return { old, value };
  }

  // --- stack
  /** The stack pointer, zero-extended from the stack's width. */
  stackPointer(): Value<'i64'> {
    return this.zeroExtend(this.emit<'i64'>('reg.get', [], RSP), this.context.stackSize) as Value<'i64'>;
  }
  /** Stack pointer moved by `bytes`, cut to the stack's width. */
  stackOffset(pointer: Value<'i64'>, bytes: number): Value<'i64'> {
    return this.emit('address.base', [pointer], bytes, this.context.stackSize);
  }
  setStackPointer(pointer: Value<'i64'>): void {
    const width = this.context.stackSize;
    this.setRegister(RSP, width, width === 64 ? pointer : this.wrap(pointer));
  }
  loadStack(pointer: Value<'i64'>, width: Width): Int {
    return this.load(this.linear(2, pointer, width / 8, false), width, true);
  }
  storeStack(pointer: Value<'i64'>, width: Width, value: Int): void {
    this.store(this.linear(2, pointer, width / 8, true), width, value, true);
  }
  push(width: Width, value: Int): void {
    const top = this.stackOffset(this.stackPointer(), -width / 8);
    this.storeStack(top, width, value); // may fault: the stack pointer must still be the old one
    this.setStackPointer(top);
  }
  /** Loads the top of the stack and moves the stack pointer; nothing that can fault may follow. */
  pop(width: Width): Int {
    const pointer = this.stackPointer();
    const value = this.loadStack(pointer, width);
    this.setStackPointer(this.stackOffset(pointer, width / 8));
    return value;
  }

  // --- flags
  /** Replaces all arithmetic flags, lazily; see flags.ts for what a, b and carry mean. Operands are taken at `width`. */
  setFlags(kind: FlagKind, width: Width, a: Int, b?: Int, carry?: Value<'i32'>): void {
    const operand = (v: Int | undefined) => (v === undefined ? this.i64(0) : this.toI64(v, width));
    this.emit('flags.set', [operand(a), operand(b), carry ?? this.i32(0)], kind, width);
  }
  /** Replaces the flags in `mask` by those of `word` (at their RFLAGS places). */
  mergeFlags(mask: number, word: Value<'i32'>): void {
    if (mask === ARITHMETIC_FLAGS)
      this.emit('flags.set', [this.extendU(this.and(word, this.i32(mask))), this.i64(0), this.i32(0)], 'bits', 32);
    else this.emit('flags.merge', [word], mask);
  }
  flags(mask: number): Value<'i32'> {
    return this.emit('flags.get', [], mask);
  }
  /** CF as 0 or 1. */
  carry(): Value<'i32'> {
    return this.emit('flags.test', [], 2);
  }
  condition(code: number): Value<'i32'> {
    return this.emit('flags.test', [], code);
  }

  // --- control
  /** Runs `body` unless `v` is zero; a constant decides now and leaves no branch behind. Values made inside stay inside. */
  when(v: Value<'i32'>, body: () => void): void {
    const known = this.constantOf(v);
    if (known === 0n) return;
    if (known !== undefined) return body();
    this.emit('when', [v]);
    this.enterScope();
    body();
    this.leaveScope();
    this.emit('end');
  }
  /** Values recorded from here to `leaveScope` are not used again after it. */
  enterScope(): void {
    this.scopes.push(this.nodes.length);
  }
  leaveScope(): void {
    this.known.hideFrom(this.scopes.pop()!);
  }
  unlessZero(v: Int, body: () => void): void {
    this.when(this.typeOf(v) === 'i32' ? (v as Value<'i32'>) : this.ne(v, this.i64(0)), body);
  }
  /** Ends the block with an exception. `errorCode` null = none. */
  raise(vector: number, errorCode: number | null = null): void {
    this.emit('raise', [], vector, errorCode ?? -1);
    this.ended = true;
  }
  raiseIf(condition: Value<'i32'>, vector: number, errorCode: number | null = null): void {
    const known = this.constantOf(condition);
    if (known === 0n) return;
    this.emit('raise.if', [condition], vector, errorCode ?? -1);
  }
  /** Goes on at an instruction pointer (i64, zero-extended from the operand size). */
  jump(target: Value<'i64'>, kind: 'jump' | 'call' | 'return' = 'jump', returnAddress = 0n): void {
    this.emit('jump', [target], kind, BigInt.asIntN(64, returnAddress));
    this.ended = true;
  }
  branch(condition: Value<'i32'>, taken: bigint, next: bigint): void {
    const known = this.constantOf(condition);
    if (known !== undefined) return this.jump(this.i64(known !== 0n ? taken : next));
    this.emit('branch', [condition], BigInt.asIntN(64, taken), BigInt.asIntN(64, next));
    this.ended = true;
  }
  /**
   * A helper in plain TypeScript (src/system), by name. It sees exact state with rip still at this instruction, and
   * moves rip itself (usually to `x.next`, in the field result0 beforehand). Ends the block.
   */
  call(helper: string, x: Insn, ...args: Int[]): void {
    this.setArguments(args);
    this.emit('call', [], helper, x.rip, x.next);
    this.ended = true;
  }
  /** The same where `condition` is not zero; else the instruction goes on here, which has changed nothing yet, and must end the block. */
  callIf(condition: Value<'i32'>, helper: string, x: Insn, ...args: Int[]): void {
    this.setArguments(args);
    this.emit('call.if', [condition], helper, x.rip, x.next);
  }
  private setArguments(args: readonly Int[]): void {
    args.forEach((v, i) =>
      this.setState64(`argument${i}`, this.typeOf(v) === 'i64' ? (v as Value<'i64'>) : this.extendU(v as Value<'i32'>)),
    );
  }
}

/**
 * The rule that keeps faults precise: within an instruction nothing that can fault follows a change of registers, flags
 * or memory. (A store may follow a `modify` of its own address.) Returns the first offender, or null.
 */
export function faultAfterChange(nodes: readonly Node[]): Node | null {
  let changed = false;
  for (const node of nodes) {
    const { effect } = microOps[node.op];
    if (node.op === 'insn' || node.op === 'restart') changed = false;
    else if ((effect === 'memory' || effect === 'fault') && changed) return node;
    else if (effect === 'write' && !(node.op === 'state.set64' && String(node.imm[0]).startsWith('argument')))
      changed = true;
  }
  return null;
}
