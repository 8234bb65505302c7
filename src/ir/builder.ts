/**
 * Records micro-ops in program order: the only door through which an instruction acts on the guest.
 *
 * One builder records one block. Pure micro-ops are numbered by value (the same operation on the same operands is
 * recorded once) and folded where their operands are constants; everything else is recorded as it comes.
 */

import { ARITHMETIC_FLAGS, type FlagKind } from './flags.ts';
import { fold } from './fold-vector.ts';
import {
  codeOf,
  effects,
  type Immediate,
  type MicroOp,
  microOps,
  type Node,
  opList,
  PURE,
  results,
} from './micro-ops.ts';
import { Numbering } from './numbering.ts';
import { opOf } from './op-names.ts';
import type { Insn, MemoryOperand, Operand } from './operand.ts';
import type { Int, IntType, Type, Value, Width } from './types.ts';

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
const none: readonly never[] = [];
/** Integer micro-ops by operation: their numbers for i32 and for i64. */
const integers = new Map<string, readonly [i32: number, i64: number]>();
for (const [code, op] of opList.entries()) {
  if (!op.startsWith('i32.')) continue;
  const wide = opList.indexOf(`i64.${op.slice(4)}` as MicroOp);
  if (wide >= 0) integers.set(op.slice(4), [code, wide]);
}

const loads = { 8: 'load.8', 16: 'load.16', 32: 'load.32', 64: 'load.64' } as const;
const modifies = { 8: 'modify.8', 16: 'modify.16', 32: 'modify.32', 64: 'modify.64' } as const;
const stores = { 8: 'store.8', 16: 'store.16', 32: 'store.32', 64: 'store.64' } as const;

export class Builder {
  readonly nodes: Node[] = [];
  readonly context: ExecutionContext;
  /** Set once a micro-op has ended the block. */
  ended = false;
  private readonly known = new Numbering(this.nodes);
  /** Where the scopes that are open begin. */
  private readonly scopes: number[] = [];

  constructor(context: ExecutionContext) {
    this.context = context;
  }

  // --- recording
  emit<T extends Type>(op: MicroOp, args: readonly number[] = none, ...imm: Immediate[]): Value<T> {
    return this.record(codeOf(op), args, imm.length === 0 ? none : imm) as Value<T>;
  }
  /** Records the micro-op of another recording's node on these values. */
  copy(node: Node, args: readonly number[]): Value {
    return this.record(node.code, args, node.imm);
  }
  private record(code: number, args: readonly number[], imm: readonly Immediate[]): Value {
    const op = opList[code]!;
    if (effects[code] === PURE) {
      const folded = fold(this, code, op, args, imm);
      if (folded !== null) return folded;
      const seen = this.known.find(code, args, imm);
      if (seen >= 0) return seen as Value;
      this.known.note(this.nodes.length);
    }
    return (this.nodes.push({ op, code, args, imm }) - 1) as Value;
  }
  typeOf(v: Value): Type {
    return results[this.nodes[v]!.code]!;
  }
  /** The constant behind a value, or undefined. */
  constantOf(v: Value): bigint | undefined {
    const node = this.nodes[v]!;
    if (node.op === 'i32.const') return BigInt(node.imm[0] as number);
    if (node.op === 'i64.const') return node.imm[0] as bigint;
    return undefined;
  }
  private two<T extends IntType>(name: string, a: Value<T>, c: Value<T>): Value<T> {
    return this.record(this.integer(a, name), [a, c], none) as Value<T>;
  }
  /** The micro-op of an operation on operands of the type of `a`. */
  private integer(a: Value, name: string): number {
    return integers.get(name)![this.typeOf(a) === 'i64' ? 1 : 0];
  }
  private test(name: string, a: Int, c: Int): Value<'i32'> {
    return this.record(this.integer(a, name), [a, c], none) as Value<'i32'>;
  }
  private one<T extends IntType>(name: string, a: Value<T>): Value<T> {
    return this.record(this.integer(a, name), [a], none) as Value<T>;
  }

  // --- constants
  i32(n: number): Value<'i32'> {
    return this.emit('i32.const', [], n | 0);
  }
  i64(n: number | bigint): Value<'i64'> {
    return this.emit('i64.const', [], BigInt.asIntN(64, BigInt(n)));
  }
  /** A constant of the type that holds `width` bits, zero-extended from `width` where that is narrower than the type. */
  constant(width: Width, n: number | bigint): Int {
    if (width === 64) return this.i64(n);
    return this.i32(Number(BigInt.asUintN(width, BigInt(n))));
  }

  // --- integer arithmetic; both operands have the same type
  add<T extends IntType>(a: Value<T>, c: Value<T>): Value<T>;
  add(a: Int, c: Int): Int;
  add(a: Int, c: Int): Int {
    return this.two('add', a as Value<'i32'>, c as Value<'i32'>);
  }
  sub<T extends IntType>(a: Value<T>, c: Value<T>): Value<T>;
  sub(a: Int, c: Int): Int;
  sub(a: Int, c: Int): Int {
    return this.two('sub', a as Value<'i32'>, c as Value<'i32'>);
  }
  mul<T extends IntType>(a: Value<T>, c: Value<T>): Value<T>;
  mul(a: Int, c: Int): Int;
  mul(a: Int, c: Int): Int {
    return this.two('mul', a as Value<'i32'>, c as Value<'i32'>);
  }
  and<T extends IntType>(a: Value<T>, c: Value<T>): Value<T>;
  and(a: Int, c: Int): Int;
  and(a: Int, c: Int): Int {
    return this.two('and', a as Value<'i32'>, c as Value<'i32'>);
  }
  or<T extends IntType>(a: Value<T>, c: Value<T>): Value<T>;
  or(a: Int, c: Int): Int;
  or(a: Int, c: Int): Int {
    return this.two('or', a as Value<'i32'>, c as Value<'i32'>);
  }
  xor<T extends IntType>(a: Value<T>, c: Value<T>): Value<T>;
  xor(a: Int, c: Int): Int;
  xor(a: Int, c: Int): Int {
    return this.two('xor', a as Value<'i32'>, c as Value<'i32'>);
  }
  /** Shifts take a count of the operand's type, modulo the type's width (as in wasm). */
  shl<T extends IntType>(a: Value<T>, c: Value<T>): Value<T>;
  shl(a: Int, c: Int): Int;
  shl(a: Int, c: Int): Int {
    return this.two('shl', a as Value<'i32'>, c as Value<'i32'>);
  }
  shrU<T extends IntType>(a: Value<T>, c: Value<T>): Value<T>;
  shrU(a: Int, c: Int): Int;
  shrU(a: Int, c: Int): Int {
    return this.two('shr_u', a as Value<'i32'>, c as Value<'i32'>);
  }
  shrS<T extends IntType>(a: Value<T>, c: Value<T>): Value<T>;
  shrS(a: Int, c: Int): Int;
  shrS(a: Int, c: Int): Int {
    return this.two('shr_s', a as Value<'i32'>, c as Value<'i32'>);
  }
  rotl<T extends IntType>(a: Value<T>, c: Value<T>): Value<T>;
  rotl(a: Int, c: Int): Int;
  rotl(a: Int, c: Int): Int {
    return this.two('rotl', a as Value<'i32'>, c as Value<'i32'>);
  }
  rotr<T extends IntType>(a: Value<T>, c: Value<T>): Value<T>;
  rotr(a: Int, c: Int): Int;
  rotr(a: Int, c: Int): Int {
    return this.two('rotr', a as Value<'i32'>, c as Value<'i32'>);
  }
  divU(a: Int, c: Int): Int {
    return this.two('div_u', a as Value<'i32'>, c as Value<'i32'>);
  }
  divS(a: Int, c: Int): Int {
    return this.two('div_s', a as Value<'i32'>, c as Value<'i32'>);
  }
  remU(a: Int, c: Int): Int {
    return this.two('rem_u', a as Value<'i32'>, c as Value<'i32'>);
  }
  remS(a: Int, c: Int): Int {
    return this.two('rem_s', a as Value<'i32'>, c as Value<'i32'>);
  }
  clz<T extends IntType>(a: Value<T>): Value<T>;
  clz(a: Int): Int;
  clz(a: Int): Int {
    return this.one('clz', a as Value<'i32'>);
  }
  ctz<T extends IntType>(a: Value<T>): Value<T>;
  ctz(a: Int): Int;
  ctz(a: Int): Int {
    return this.one('ctz', a as Value<'i32'>);
  }
  popcnt<T extends IntType>(a: Value<T>): Value<T>;
  popcnt(a: Int): Int;
  popcnt(a: Int): Int {
    return this.one('popcnt', a as Value<'i32'>);
  }
  /** Comparisons give 0 or 1 as an i32. */
  eq(a: Int, c: Int): Value<'i32'> {
    return this.test('eq', a, c);
  }
  ne(a: Int, c: Int): Value<'i32'> {
    return this.test('ne', a, c);
  }
  ltU(a: Int, c: Int): Value<'i32'> {
    return this.test('lt_u', a, c);
  }
  ltS(a: Int, c: Int): Value<'i32'> {
    return this.test('lt_s', a, c);
  }
  leU(a: Int, c: Int): Value<'i32'> {
    return this.test('le_u', a, c);
  }
  leS(a: Int, c: Int): Value<'i32'> {
    return this.test('le_s', a, c);
  }
  gtU(a: Int, c: Int): Value<'i32'> {
    return this.test('gt_u', a, c);
  }
  gtS(a: Int, c: Int): Value<'i32'> {
    return this.test('gt_s', a, c);
  }
  geU(a: Int, c: Int): Value<'i32'> {
    return this.test('ge_u', a, c);
  }
  geS(a: Int, c: Int): Value<'i32'> {
    return this.test('ge_s', a, c);
  }
  eqz(a: Int): Value<'i32'> {
    return this.record(this.integer(a, 'eqz'), [a], none) as Value<'i32'>;
  }
  not(a: Int): Int {
    return this.xor(a, this.typeOf(a) === 'i64' ? this.i64(-1) : this.i32(-1));
  }
  select<T extends 'i32' | 'i64' | 'v128'>(condition: Value<'i32'>, yes: Value<T>, no: Value<T>): Value<T>;
  select(condition: Value<'i32'>, yes: Int, no: Int): Int;
  select(condition: Value<'i32'>, yes: Value, no: Value): Value {
    const c = this.constantOf(condition);
    if (c !== undefined) return c !== 0n ? yes : no;
    return this.emit(opOf(this.typeOf(yes), 'select'), [condition, yes, no]);
  }
  extendU(a: Value<'i32'>): Value<'i64'> {
    return this.emit('i64.extend_u', [a]);
  }
  extendS(a: Value<'i32'>): Value<'i64'> {
    return this.emit('i64.extend_s', [a]);
  }
  wrap(a: Value<'i64'>): Value<'i32'> {
    return this.emit('i32.wrap', [a]);
  }
  /** Cuts a value to its low `width` bits (in its own type). */
  zeroExtend(a: Int, width: Width): Int {
    if (this.typeOf(a) === 'i64') {
      if (width === 64) return a;
      return this.and(a, this.i64((1n << BigInt(width)) - 1n));
    }
    if (width >= 32) return a;
    return this.and(a, this.i32((1 << width) - 1));
  }
  /** Spreads bit `width - 1` over the upper bits (in the value's own type). */
  signExtend(a: Int, width: Width): Int {
    if (this.typeOf(a) === 'i64')
      return width === 64
        ? a
        : this.emit(width === 32 ? 'i64.extend32_s' : width === 16 ? 'i64.extend16_s' : 'i64.extend8_s', [a]);
    return width >= 32 ? a : this.emit(width === 16 ? 'i32.extend16_s' : 'i32.extend8_s', [a]);
  }
  /** As i64, zero-extended from `width`. */
  toI64(a: Int, width: Width): Value<'i64'> {
    if (this.typeOf(a) === 'i64') return this.zeroExtend(a, width) as Value<'i64'>;
    return this.extendU(this.zeroExtend(a, width) as Value<'i32'>);
  }
  /** As i64, sign-extended from `width`. */
  toI64Signed(a: Int, width: Width): Value<'i64'> {
    if (this.typeOf(a) === 'i64') return this.signExtend(a, width) as Value<'i64'>;
    return this.extendS(this.signExtend(a, width) as Value<'i32'>);
  }
  /** The low `width` bits of an i64 in the type of `width` (upper bits of a narrow one unspecified). */
  fromI64(a: Value<'i64'>, width: Width): Int {
    return width === 64 ? a : this.wrap(a);
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
    this.emit('jump', [target], kind, returnAddress);
    this.ended = true;
  }
  branch(condition: Value<'i32'>, taken: bigint, next: bigint): void {
    const known = this.constantOf(condition);
    if (known !== undefined) return this.jump(this.i64(known !== 0n ? taken : next));
    this.emit('branch', [condition], taken, next);
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
