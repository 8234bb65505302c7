/**
 * What the vector families share: operands, alignment, when SSE instructions are available, and common shuffles.
 * SDM volume 1, chapters 10 and 11; volume 2, section 2.4 (exceptions of legacy SSE instructions).
 */
import type { Builder, ExecutionContext } from '../ir/builder.ts';
import type { Immediate, MicroOp } from '../ir/micro-ops.ts';
import type { Insn, MemoryOperand, Operand } from '../ir/operand.ts';
import type { SimdOp } from '../ir/simd-ops.ts';
import type { Value } from '../ir/types.ts';
import { define, type Feature, GP, NM, UD } from './define.ts';

export type V128 = Value<'v128'>;

type Record = (b: Builder, x: Insn) => void;

/** `define`, with the check that a unit is there (of the mode bits, see {@link ExecutionContext}) before everything else. */
function defineOfUnit(unit: 'sse' | 'avx', name: string, forms: readonly string[], feature: Feature, record: Record) {
  const checked: Record = (b, x) => {
    if (b.context[unit] === 'undefined') b.raise(UD);
    else if (b.context[unit] === 'device-not-available') b.raise(NM);
    else record(b, x);
  };
  define(name, forms, checked, feature);
}
/** An SSE instruction: with the checks of CR0.EM, CR0.TS and CR4.OSFXSR. */
export function defineVector(name: string, forms: readonly string[], feature: Feature, record: Record): void {
  defineOfUnit('sse', name, forms, feature, record);
}
/** A VEX-encoded vector instruction: with the checks of CR4.OSXSAVE, XCR0 and CR0.TS. */
export function defineVex(name: string, forms: readonly string[], feature: Feature, record: Record): void {
  defineOfUnit('avx', name, forms, feature, record);
}

/** A vector operation by its WebAssembly name. */
export const simd = (b: Builder, op: SimdOp, args: readonly number[], ...imm: Immediate[]): V128 =>
  b.emit<'v128'>(op as MicroOp, args, ...imm);
export const zero = (b: Builder): V128 => b.emit('v128.const', [], new Array<number>(16).fill(0));
export const ones = (b: Builder): V128 => b.emit('v128.const', [], new Array<number>(16).fill(255));
/** The same 32-bit pattern in all lanes. */
export const splat32 = (b: Builder, n: number): V128 =>
  b.emit(
    'v128.const',
    [],
    Array.from({ length: 16 }, (_, i) => (n >>> ((i & 3) * 8)) & 255),
  );
/** The same 64-bit pattern in both lanes. */
export const splat64 = (b: Builder, n: bigint): V128 =>
  b.emit(
    'v128.const',
    [],
    Array.from({ length: 16 }, (_, i) => Number((n >> BigInt((i & 7) * 8)) & 255n)),
  );
/** Bytes 0-15 are those of the first vector, 16-31 those of the second. */
export const shuffle = (b: Builder, first: V128, second: V128, pattern: readonly number[]): V128 =>
  simd(b, 'i8x16.shuffle', [first, second], pattern);
/** A shuffle of lanes of `size` bytes. */
export const shuffleLanes = (b: Builder, first: V128, second: V128, size: number, lanes: readonly number[]): V128 =>
  shuffle(
    b,
    first,
    second,
    lanes.flatMap((lane) => Array.from({ length: size }, (_, i) => lane * size + i)),
  );

export const f64Lane = (b: Builder, v: V128, lane = 0): Value<'f64'> => b.emit('f64x2.extract_lane', [v], lane);
export const f32Lane = (b: Builder, v: V128, lane = 0): Value<'f32'> => b.emit('f32x4.extract_lane', [v], lane);
export const i64Lane = (b: Builder, v: V128, lane = 0): Value<'i64'> => b.emit('i64x2.extract_lane', [v], lane);
export const i32Lane = (b: Builder, v: V128, lane = 0): Value<'i32'> => b.emit('i32x4.extract_lane', [v], lane);

export const isStack = (o: MemoryOperand): boolean => o.segment === 2;
export const operandIndex = (o: Operand): number => {
  if (o.kind !== 'xmm') throw new Error(`vector: a ${o.kind} operand is no xmm register`);
  return o.index;
};

/** Address of an operand that must be aligned to its size: #GP(0) if it is not, even where the stack segment's limit fails too. */
export function alignedAddress(b: Builder, o: MemoryOperand, write: boolean, bytes: 16 | 32 | 64 = 16): Value<'i64'> {
  const misaligned = (address: Value<'i64'>): void =>
    b.raiseIf(b.ne(b.and(address, b.i64(bytes - 1)), b.i64(0)), GP, 0);
  const checked = b.context.codeSize !== 64 && !b.context.flat && isStack(o);
  if (checked) misaligned(b.add(b.state64('ssBase'), b.effectiveAddress(o)));
  const address = b.address(o, bytes, write);
  if (!checked) misaligned(address);
  return address;
}

/** A register, or 16 bytes of memory. */
export function readVector(b: Builder, o: Operand, aligned = true): V128 {
  if (o.kind !== 'memory') return b.vector(operandIndex(o));
  return b.loadVector(aligned ? alignedAddress(b, o, false) : b.address(o, 16, false), isStack(o));
}
export function writeVector(b: Builder, o: Operand, value: V128, aligned = true): void {
  if (o.kind !== 'memory') b.setVector(operandIndex(o), value);
  else b.storeVector(aligned ? alignedAddress(b, o, true) : b.address(o, 16, true), value, isStack(o));
}
/** The low 64 bits of a register, or 8 bytes of memory. */
export function readLow64(b: Builder, o: Operand): Value<'i64'> {
  if (o.kind !== 'memory') return i64Lane(b, b.vector(operandIndex(o)));
  return b.load(b.address(o, 8, false), 64, isStack(o)) as Value<'i64'>;
}
export function readLow32(b: Builder, o: Operand): Value<'i32'> {
  if (o.kind !== 'memory') return i32Lane(b, b.vector(operandIndex(o)));
  return b.load(b.address(o, 4, false), 32, isStack(o)) as Value<'i32'>;
}
export function readF64(b: Builder, o: Operand): Value<'f64'> {
  return o.kind === 'memory' ? b.emit('f64.reinterpret', [readLow64(b, o)]) : f64Lane(b, b.vector(operandIndex(o)));
}
export function readF32(b: Builder, o: Operand): Value<'f32'> {
  return o.kind === 'memory' ? b.emit('f32.reinterpret', [readLow32(b, o)]) : f32Lane(b, b.vector(operandIndex(o)));
}
/** The low 64 bits as a vector whose upper half is zero if they come from memory. */
export function readHalfVector(b: Builder, o: Operand): V128 {
  return o.kind === 'memory' ? simd(b, 'i64x2.replace_lane', [zero(b), readLow64(b, o)], 0) : b.vector(operandIndex(o));
}
export function store64(b: Builder, o: MemoryOperand, value: Value<'i64'>): void {
  b.store(b.address(o, 8, true), 64, value, isStack(o));
}
export function store32(b: Builder, o: MemoryOperand, value: Value<'i32'>): void {
  b.store(b.address(o, 4, true), 32, value, isStack(o));
}
/** The register behind the first operand. */
export const destination = (b: Builder, x: Insn): V128 => b.vector(operandIndex(x.dst));
/** Writes it; a VEX-encoded instruction clears the upper half besides. */
export function setDestination(b: Builder, x: Insn, value: V128): void {
  const index = operandIndex(x.dst);
  b.setVector(index, value);
  if (x.vex) b.setVectorHigh(index, zero(b));
}
/** The low lane of the first operand's register replaced, the others as they were. */
export function setLowF64(b: Builder, x: Insn, value: Value<'f64'>): void {
  setDestination(b, x, simd(b, 'f64x2.replace_lane', [destination(b, x), value], 0));
}
export function setLowF32(b: Builder, x: Insn, value: Value<'f32'>): void {
  setDestination(b, x, simd(b, 'f32x4.replace_lane', [destination(b, x), value], 0));
}
/** The third operand, an immediate byte. */
export function immediateByte(x: Insn): number {
  const o = x.operands.at(-1)!;
  if (o.kind !== 'immediate') throw new Error(`vector: a ${o.kind} operand is no immediate`);
  return Number(o.value & 0xffn);
}
