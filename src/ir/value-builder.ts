/**
 * Records micro-ops in program order, and has those that compute: constants, integer arithmetic, comparisons, conversions.
 *
 * Pure micro-ops are numbered by value (the same operation on the same operands is recorded once) and folded where their
 * operands are constants; everything else is recorded as it comes.
 */
import { fold } from './fold-vector.ts';
import { codeOf, effects, type Immediate, type MicroOp, type Node, opList, PURE, results } from './micro-ops.ts';
import { Numbering } from './numbering.ts';
import { opOf } from './op-names.ts';
import type { Int, IntType, Type, Value, Width } from './types.ts';

const none: readonly never[] = [];
/** Integer micro-ops by operation: their numbers for i32 and for i64. */
const integers = new Map<string, readonly [i32: number, i64: number]>();
for (const [code, op] of opList.entries()) {
  if (!op.startsWith('i32.')) continue;
  const wide = opList.indexOf(`i64.${op.slice(4)}` as MicroOp);
  if (wide >= 0) integers.set(op.slice(4), [code, wide]);
}

export class ValueBuilder {
  readonly nodes: Node[] = [];
  protected readonly known = new Numbering(this.nodes);

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
}
